//! What was sent, by its kind, and how it was answered.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, ensure};

/// A kind of request, and the statuses that it may be answered with.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Kind {
    pub name: &'static str,
    /// The statuses, of which one must be seen.
    pub wanted: &'static [u16],
    /// Those that it may have besides while keys are fetched or a worker dies. 0 is no answer.
    pub excused: &'static [u16],
}

/// How many requests of each kind had which status.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<BTreeMap<Kind, BTreeMap<u16, u64>>>);

impl Ledger {
    /// Notes an answer; 0 stands for none.
    pub fn note(&self, kind: Kind, status: u16) {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *kinds.entry(kind).or_default().entry(status).or_default() += 1;
    }

    fn rows(&self) -> BTreeMap<Kind, BTreeMap<u16, u64>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn sum(&self, which: impl Fn(u16) -> bool) -> u64 {
        let rows = self.rows().into_values().flatten();
        rows.filter(|(status, _)| which(*status))
            .map(|(_, count)| count)
            .sum()
    }

    /// The requests that were answered.
    pub fn answered(&self) -> u64 {
        self.sum(|status| status != 0)
    }

    /// Those that were not.
    pub fn unanswered(&self) -> u64 {
        self.sum(|status| status == 0)
    }

    pub fn print(&self) {
        for (kind, statuses) in self.rows() {
            let statuses: Vec<String> = statuses
                .iter()
                .map(|(status, count)| format!("{count} × {status}"))
                .collect();
            println!("{:<24} {}", kind.name, statuses.join(", "));
        }
    }

    /// Each kind was answered as it may be, and mostly as it should.
    pub fn check(&self) -> Result<()> {
        for (kind, statuses) in self.rows() {
            let count = |list: &[u16]| -> u64 {
                let counts = list.iter().filter_map(|status| statuses.get(status));
                counts.sum()
            };
            let all: u64 = statuses.values().sum();
            let (wanted, excused) = (count(kind.wanted), count(kind.excused));
            ensure!(
                wanted + excused == all,
                "{}: {statuses:?}, where {:?} are wanted and {:?} excused",
                kind.name,
                kind.wanted,
                kind.excused
            );
            ensure!(
                wanted * 100 >= all * 97,
                "{}: only {wanted} of {all} as wanted: {statuses:?}",
                kind.name
            );
        }
        Ok(())
    }
}
