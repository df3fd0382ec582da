//! `integration/docker-compose.yaml` where there is no engine: whatever of it can be tried without one.
//!
//! | module | asks |
//! |---|---|
//! | [`file`] | is it a Compose file, and would a slip be noticed; do the names and ports in it fit together |
//! | [`bootstrap`] | is Envoy's file the shipped one but for what must differ; does Envoy take it, does it let the right people in |
//! | [`clients`] | can Grafana, Alloy and the Collector do with their files what they are meant to |

mod bootstrap;
mod clients;
mod file;

use std::process::ExitCode;

use libtest_mimic::Arguments;

fn main() -> ExitCode {
    let tests = [
        bootstrap::tests(),
        clients::tests(),
        file::tests(),
        file::read_by_compose(),
    ];
    libtest_mimic::run(
        &Arguments::from_args(),
        tests.into_iter().flatten().collect(),
    )
    .exit_code()
}
