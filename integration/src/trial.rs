//! Tests that need parts, and are skipped by name if there are none. The harness that is built into Rust cannot skip
//! a test that has begun.

use anyhow::Result;
use libtest_mimic::{Completion, Failed, Trial};

use crate::part::{self, Part};

/// A test that needs these parts. If one is missing, the test is skipped and says why.
pub fn needing<F>(name: &str, needs: &'static [Part], test: F) -> Trial
where
    F: FnOnce() -> Result<()> + Send + 'static,
{
    wanting(name, needs, &[], test)
}

/// A test that needs some parts and can do without others. If one of the latter is missing, the test still runs. If
/// it passes, it counts as skipped and says why, because it has not shown everything that it should.
pub fn wanting<F>(name: &str, needs: &'static [Part], wants: &'static [Part], test: F) -> Trial
where
    F: FnOnce() -> Result<()> + Send + 'static,
{
    Trial::ignorable_test(name, move || {
        let told = |error: anyhow::Error| Failed::from(format!("{error:?}"));
        if let Some(reason) = part::lacking(needs).map_err(told)? {
            return Ok(Completion::ignored_with(reason));
        }
        let lacking = part::lacking(wants).map_err(told)?;
        test().map_err(told)?;
        Ok(match lacking {
            Some(reason) => Completion::ignored_with(format!("passed without: {reason}")),
            None => Completion::Completed,
        })
    })
}

/// A test that is skipped, with the reason.
#[must_use]
pub fn skipped(name: &str, reason: &str) -> Trial {
    let reason = reason.to_owned();
    Trial::ignorable_test(name, move || Ok(Completion::ignored_with(reason)))
}

/// Defines `tests()` of a module, from the names of its functions `fn() -> Result<()>`. `NAME needs [PART, …]` names
/// the parts that a test needs.
#[macro_export]
macro_rules! trials {
    ($($name:ident $(needs [$($part:ident),+])?),* $(,)?) => {
        pub fn tests() -> Vec<::libtest_mimic::Trial> {
            vec![$($crate::trial::needing(
                concat!(module_path!(), "::", stringify!($name)),
                &[$($($crate::part::$part),+)?],
                $name,
            )),*]
        }
    };
}

#[cfg(test)]
mod tests {
    use libtest_mimic::Arguments;

    use super::*;

    #[test]
    fn skipped_tests_are_counted_and_no_failure() {
        let trials = vec![
            needing("needs nothing", &[], || Ok(())),
            skipped("needs what is not there", "no such part"),
        ];
        let arguments = Arguments {
            test_threads: Some(1),
            // Its result would otherwise be counted with those of the run that it is part of.
            logfile: Some("/dev/null".to_owned()),
            ..Arguments::default()
        };
        let conclusion = libtest_mimic::run(&arguments, trials);
        assert_eq!((conclusion.num_passed, conclusion.num_ignored), (1, 1));
        assert!(!conclusion.has_failed());
    }
}
