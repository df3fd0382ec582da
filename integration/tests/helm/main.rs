//! The Helm chart `envoy/helm/`, rendered by Helm itself.
//!
//! | module | asks |
//! |---|---|
//! | [`chart`] | what Helm prints of values, and what `scopegate render` prints of the same |
//! | [`alike`] | are they the same for the shipped files, for those of `alike.yaml` and for random ones; is refused what `refused.yaml` has |
//! | [`random`] | deployment files that are drawn |
//! | [`parts`] | what only the chart has: the organizations server, monitoring, its schema and its notes |

mod alike;
mod chart;
mod parts;
mod random;

use std::process::ExitCode;

use libtest_mimic::Arguments;

fn main() -> ExitCode {
    let tests = [alike::tests(), parts::tests()];
    let tests = tests.into_iter().flatten().collect();
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}
