//! `integration/docker-compose.yaml` without a container engine: everything in it that can be tried without one.
//!
//! | module | asks |
//! |---|---|
//! | [`file`] | is it a Compose file, and would a mistake be noticed; do the names and ports in it fit together |
//! | [`bootstrap`] | is Envoy's file the shipped one except for what must differ; does Envoy accept it, and does it let the right people in |
//! | [`clients`] | can Grafana, Alloy and the Collector use their files as intended |

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
