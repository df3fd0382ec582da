//! The playground: in Node its module says byte for byte what `scopegate explain` says, and a real Chromium is walked
//! through the page, sees each example decided, and connects to nothing.
//!
//! | module | asks |
//! |---|---|
//! | [`agreement`] | does the module say the same as the command, of the scenarios and of the examples |
//! | [`walk`] | does the page do with it what it should, and nothing else |

mod agreement;
mod walk;

use std::process::ExitCode;

use libtest_mimic::Arguments;

fn main() -> ExitCode {
    let tests = [agreement::tests(), walk::tests()];
    let tests = tests.into_iter().flatten().collect();
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}
