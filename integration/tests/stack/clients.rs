//! Real clients, unchanged, through the gate with TLS.
//!
//! | module | client |
//! |---|---|
//! | [`logcli`], [`statistics`], [`tail`] | logcli: queries, and `--tail` over its websocket |
//! | [`promtool`] | promtool |
//! | [`remote_read`] | a Prometheus that reads another one's data |
//! | [`rules`], [`deletes`] | the requests of mimirtool, lokitool and curl that change rules and delete logs |
//!
//! An answer belongs to a tenant if it contains the tenant's name. Asking the server itself, past the gate, shows
//! that the same question has an answer for the other tenant as well.

mod deletes;
mod logcli;
mod promtool;
mod remote_read;
mod rules;
mod statistics;
mod tail;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use integration::client::Reply;
use integration::stack::{ACME, GLOBEX};

use crate::Test;

/// Those that only read.
pub fn quiet() -> Vec<Test> {
    [logcli::tests(), promtool::tests(), remote_read::tests()].concat()
}

/// Those that write lines of their own, rules and requests for deletion.
pub fn together() -> Vec<Test> {
    [tail::tests(), rules::tests(), deletes::tests()].concat()
}

/// Those that make a server write.
pub fn alone() -> Vec<Test> {
    statistics::tests()
}

/// What a program has printed and whether it was content.
pub struct Said {
    pub content: bool,
    pub out: String,
    pub err: String,
}

/// Run a program to its end.
///
/// # Errors
/// It cannot be started, or goes on for longer than any of these should.
pub async fn run(mut command: Command) -> Result<Said> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut command = tokio::process::Command::from(command);
    let child = command.kill_on_drop(true).spawn()?;
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output())
        .await
        .with_context(|| format!("it goes on after {PATIENCE:?}: {command:?}"))??;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Said {
        content: output.status.success(),
        out: text(&output.stdout),
        err: text(&output.stderr),
    })
}

/// Whose data an answer holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Whose {
    Acme,
    Globex,
    Both,
    Nobodys,
}

impl Whose {
    /// For the data of those tenants, as `X-Scope-OrgID` names them.
    pub fn of(tenants: &str) -> Whose {
        match tenants {
            ACME => Whose::Acme,
            GLOBEX => Whose::Globex,
            _ => Whose::Both,
        }
    }

    /// # Errors
    /// The text holds a name that it should not, or lacks one that it should hold.
    pub fn check(self, text: &str) -> Result<()> {
        let found = match (text.contains(ACME), text.contains(GLOBEX)) {
            (true, true) => Whose::Both,
            (true, false) => Whose::Acme,
            (false, true) => Whose::Globex,
            (false, false) => Whose::Nobodys,
        };
        ensure!(found == self, "this is {found:?}, not {self:?}: {text}");
        Ok(())
    }
}

impl Said {
    /// It succeeded and printed data of those tenants.
    pub fn check(&self, whose: Whose) -> Result<()> {
        ensure!(self.content, "it failed: {}", self.err);
        whose.check(&self.out)
    }

    /// It failed, printed no data, and told the reason.
    pub fn check_refused(&self, reason: &str) -> Result<()> {
        ensure!(!self.content, "it succeeded: {}", self.out);
        ensure!(
            self.err.contains(reason),
            "not told {reason:?}: {}",
            self.err
        );
        Whose::Nobodys.check(&self.out)
    }
}

/// A status, and the body for whoever reads the failure.
pub fn check_status(reply: &Reply, status: u16) -> Result<()> {
    let text = reply.text();
    ensure!(
        reply.status == status,
        "{} instead of {status}: {text}",
        reply.status
    );
    Ok(())
}

/// Call `done` until it says so.
pub async fn eventually<F, D>(what: &str, mut done: F) -> Result<()>
where
    F: FnMut() -> D,
    D: Future<Output = Result<bool>>,
{
    let deadline = Instant::now() + PATIENCE;
    while !done().await? {
        if Instant::now() > deadline {
            bail!("{what}: not within {PATIENCE:?}");
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    Ok(())
}

/// The caller and the tenants that they ask for, each of which they may read.
pub const GRANTED: [(&str, &str); 3] = [("alice", ACME), ("bob", GLOBEX), ("carol", BOTH)];

/// A federated read.
pub const BOTH: &str = "acme|globex";

/// The reasons that callers are shown, word for word.
pub const NOT_GRANTED: &str =
    "no such tenant, or no access to it: check X-Scope-OrgID and your groups";
pub const NOT_SINGLE: &str = "this endpoint takes exactly one tenant in X-Scope-OrgID";
pub const NO_TENANT: &str = "no tenant: send one X-Scope-OrgID header";
pub const NO_TOKEN: &str = "no bearer token: send 'Authorization: Bearer <token>'";
pub const INVALID_TOKEN: &str = "the bearer token is not valid for this service: request a new access token for its \
                                 audience from your identity provider";

/// For a program on a machine that starts five servers beside it.
const PATIENCE: Duration = Duration::from_secs(60);
