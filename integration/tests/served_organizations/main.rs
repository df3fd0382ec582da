//! `scopegate serve-organizations` from files: a real process on loopback, and its clients.
//!
//! | module | asks |
//! |---|---|
//! | [`answers`] | the answers that different callers get: before the first list, with a tag, without a token |
//! | [`crowds`] | one caller among hundreds of connections that ask for nothing |
//! | [`files`] | files that change, are swapped, break and disappear |
//! | [`gates`] | gates in real Envoys: over TLS, and by signatures |
//! | [`process`] | certificates and tokens that are renewed, the signal to end, incorrect use |
//! | [`signatures`] | signed documents: the same signature in replicas, signing again, another key |

mod answers;
mod crowds;
mod files;
mod gates;
mod process;
mod signatures;

use std::process::ExitCode;

use anyhow::Result;
use integration::served;
use libtest_mimic::Arguments;
use serde_json::json;

fn main() -> ExitCode {
    if let Some(code) = served::as_command() {
        return code;
    }
    let tests = [
        answers::tests(),
        crowds::tests(),
        files::tests(),
        gates::tests(),
        process::tests(),
        signatures::tests(),
    ];
    libtest_mimic::run(
        &Arguments::from_args(),
        tests.into_iter().flatten().collect(),
    )
    .exit_code()
}

/// Run one test on a runtime of its own.
fn block_on(test: impl Future<Output = Result<()>>) -> Result<()> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build()?.block_on(test)
}

/// A key of `integration/keys`, for a command line.
fn key_file(name: &str) -> String {
    let file = integration::paths::integration().join(format!("keys/{name}.pem"));
    file.display().to_string()
}

/// A resource with that name, and a tenant of the same, which that group views.
fn resource(name: &str, viewer: &str) -> String {
    let resource = json!({
        "apiVersion": "observability.giantswarm.io/v1alpha2",
        "kind": "GrafanaOrganization",
        "metadata": {"name": name},
        "spec": {
            "displayName": name,
            "rbac": {"admins": [], "viewers": [viewer]},
            "tenants": [{"name": name}],
        },
    });
    format!("{resource}\n---\n")
}
