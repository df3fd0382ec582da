//! `scopegate serve-organizations`: serves organizations to gates.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgGroup, Args};
use tokio::time::Duration;

use super::console::Format;
use super::organizations::RuleArguments;
use super::outcome::Outcome;
use crate::resources::document::MAX_NUMBER;
use crate::resources::rules::Unknown;
use crate::serve::log::{Form, Log};
use crate::serve::options::{Options, Source};
use crate::serve::program;

#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("source").required(true).args(["files", "kubernetes"]),
    group = ArgGroup::new("transport").required(true).args(["tls_cert", "insecure_http"]),
    after_help = "\
Serves at /organizations what the gates' organizations_from reads, made of GrafanaOrganization
resources as `scopegate organizations` makes it. /livez, /readyz and /metrics are at --health-listen,
without TLS. One line an event on standard error; --output json makes objects of them.

What was read last is served whatever becomes of its source, and nothing before everything was read
once. A resource that does not convert is left out, told of and counted. While the definition of the
resources is being deleted, or is gone, the last list is held. Certificate, keys and tokens are read
again when their files change. SIGTERM ends it in order: first not ready, after --drain no more
connections.

Several replicas: with --kubernetes they agree by themselves; with --files give them the same
--revision-file. Raise --epoch, which counts before every revision, when you change --writers or
--allow-reserved, restore a cluster or move to another one. docs/organizations.md says why.

With --signing-key the document is a JWS for gates with organizations_from.signed_by, whose value
`scopegate public-keys` prints. Its date is the beginning of the current --sign-every, so that
replicas with the same key sign alike; keep that to a quarter of the gates' max_stale.

Exit status: 0 ended by a signal, 2 wrong use, also a file or port that cannot be had at the start.

Examples:
  scopegate serve-organizations --kubernetes --tls-cert tls.crt --tls-key tls.key --writers 'client:{name}'
  scopegate serve-organizations --files organizations/ --insecure-http --listen 127.0.0.1:8080"
)]
pub(super) struct Arguments {
    /// Files with resources, or folders with .yaml, .yml and .json files; watched.
    #[arg(long, value_name = "PATH", num_args = 1..)]
    files: Vec<PathBuf>,

    /// Watch the cluster of KUBECONFIG, or the one that this pod is in.
    #[arg(long)]
    kubernetes: bool,

    /// A file with the revision of --files, a whole number that grows with every change.
    #[arg(long, value_name = "FILE", requires = "files")]
    revision_file: Option<PathBuf>,

    /// Raised by hand when revisions begin anew.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(..=MAX_NUMBER))]
    epoch: u64,

    #[command(flatten)]
    rules: RuleArguments,

    /// Where the document is served.
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:8443")]
    listen: SocketAddr,

    /// Where health and metrics are served.
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:8081")]
    health_listen: SocketAddr,

    /// The certificate chain, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// Its private key, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// Serve without TLS: whoever is on the way can then grant everything.
    #[arg(long)]
    insecure_http: bool,

    /// Bearer tokens that are admitted, one a line; without them everybody is.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Sign the document with this private key, in PEM: Ed25519, P-256, P-384 or RSA.
    #[arg(long, value_name = "FILE")]
    signing_key: Option<PathBuf>,

    /// How often it is signed anew though nothing changes: well within the gates' max_stale.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = between("1s", "24h"), requires = "signing_key")]
    sign_every: Duration,

    /// From one look at files to the next, certificate, keys and tokens included.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = between("100ms", "1h"))]
    poll: Duration,

    /// From one whole list of the cluster to the next.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = between("1s", "24h"))]
    resync: Duration,

    /// How long the last list is held, once the definition is back, while resources are missing
    /// that it had.
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = between("0s", "1h"))]
    settle: Duration,

    /// How long connections are still taken after SIGTERM.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = between("0s", "1h"))]
    drain: Duration,
}

/// A parser of durations between two bounds, which are written like durations themselves.
fn between(
    least: &'static str,
    most: &'static str,
) -> impl Fn(&str) -> Result<Duration, String> + Clone + Send + Sync + 'static {
    move |text| {
        let bounds = duration(least).zip(duration(most));
        let meant = duration(text).zip(bounds);
        let within = meant.filter(|(time, (least, most))| (least..=most).contains(&time));
        let time = within.map(|(time, _)| time);
        time.ok_or_else(|| {
            format!("write a whole number with ms, s, m or h, from {least} to {most}")
        })
    }
}

/// Parses a duration such as `500ms`, `2s`, `10m` or `1h`. `None` if it is not one, or is too long
/// to count in milliseconds.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let unit: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    let number: u64 = number.parse().ok()?;
    number.checked_mul(unit).map(Duration::from_millis)
}

/// Serves until a signal ends it.
///
/// # Errors
/// The server could not start or could not go on; the error says why.
pub(super) fn run(arguments: Arguments, format: Format) -> io::Result<Outcome> {
    let unknown = if arguments.kubernetes {
        Unknown::PassOver
    } else {
        Unknown::Refuse
    };
    let source = if arguments.kubernetes {
        Source::Kubernetes {
            resync: arguments.resync,
            settle: arguments.settle,
        }
    } else {
        Source::Files {
            paths: arguments.files,
            revision: arguments.revision_file,
        }
    };
    let form = match format {
        Format::Text => Form::Plain,
        Format::Json => Form::Json,
    };
    let options = Options {
        source,
        rules: arguments.rules.rules(unknown),
        epoch: arguments.epoch,
        listen: arguments.listen,
        health_listen: arguments.health_listen,
        tls: arguments.tls_cert.zip(arguments.tls_key),
        tokens: arguments.token_file,
        signing_key: arguments.signing_key,
        sign_every: arguments.sign_every,
        poll: arguments.poll,
        drain: arguments.drain,
        log: Log::new(form),
    };
    match program::run(options) {
        Ok(()) => Ok(Outcome::Good),
        Err(why) => Err(io::Error::other(why)),
    }
}
