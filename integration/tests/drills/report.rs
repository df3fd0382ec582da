//! The table of results.

use std::time::Duration;

use crate::scene::RATE;

/// The results of a drill, and its targets.
#[derive(Clone, Debug, Default)]
pub struct Row {
    pub drill: &'static str,
    pub requests: usize,
    pub failed: usize,
    /// Requests that were answered with 401 or 403, for which an agent drops its data.
    pub refused: usize,
    pub fetches: usize,
    pub longest: Duration,
    pub waiting: u64,
    pub rate: f64,
    /// The number of requests per second that there should be, or 0 for the load of all drills.
    pub due: f64,
    /// The p99 of a caller who was not attacked: alone, and during the attack.
    pub p99: Option<(Duration, Duration)>,
    /// Whether requests may be answered 503 for a while.
    pub may_fail: bool,
    /// The maximum number of fetches. 0 stands for any number.
    pub most_fetches: usize,
    pub note: String,
}

impl Row {
    /// Whether there were too few requests. Those that wait for keys delay those after them on their connections.
    pub fn is_too_slow(&self) -> bool {
        let due = if self.due > 0.0 {
            self.due
        } else {
            f64::from(RATE)
        };
        !self.may_fail && self.rate < due * 0.8
    }

    /// Whether the p99 of the other caller is too long, which may also be due to the machine.
    pub fn is_too_long(&self) -> bool {
        self.failed == 0
            && self
                .p99
                .is_some_and(|(alone, beside)| beside > FLOOR.max(alone * 2))
    }

    /// # Errors
    /// The target that was missed.
    pub fn verdict(&self) -> Result<(), String> {
        if self.refused > 0 {
            return Err(format!(
                "{} valid requests were answered 401 or 403",
                self.refused
            ));
        }
        if self.failed > 0 && !self.may_fail {
            return Err(format!("{} valid requests failed", self.failed));
        }
        if self.is_too_slow() {
            return Err(format!("only {:.0} requests a second", self.rate));
        }
        if let Some((alone, beside)) = self.p99
            && self.is_too_long()
        {
            return Err(format!("a p99 of {beside:?}, and of {alone:?} alone"));
        }
        if self.most_fetches > 0 && self.fetches > self.most_fetches {
            return Err(format!(
                "{} fetches, not {}",
                self.fetches, self.most_fetches
            ));
        }
        Ok(())
    }
}

pub fn print(rows: &[Row]) {
    println!(
        "{:<40} {:>8} {:>6} {:>7} {:>8} {:>8} {:>9} {:>8}  ",
        "drill", "requests", "a s", "failed", "401, 403", "fetches", "longest", "waiting"
    );
    for row in rows {
        let p99 = row.p99.map_or_else(String::new, |(alone, beside)| {
            let [alone, beside] = [alone, beside].map(|time| time.as_secs_f64() * 1_000.0);
            format!("p99 {alone:.1} ms alone, {beside:.1} ms here; ")
        });
        println!(
            "{:<40} {:>8} {:>6.0} {:>7} {:>8} {:>8} {:>6} ms {:>8}  {p99}{}",
            row.drill,
            row.requests,
            row.rate,
            row.failed,
            row.refused,
            row.fetches,
            row.longest.as_millis(),
            row.waiting,
            row.note
        );
    }
}

/// A p99 below this is not compared. Envoy, the backends and all callers share two cores with whatever else runs
/// there, in a debug build, and a process that has lost its core gets it back after a few time slices of 3 to 4 ms
/// each.
const FLOOR: Duration = Duration::from_millis(25);
