//! The table.

use std::time::Duration;

use crate::scene::RATE;

/// What a drill brought, and what it may bring.
#[derive(Clone, Debug, Default)]
pub struct Row {
    pub drill: &'static str,
    pub requests: usize,
    pub failed: usize,
    /// Answered 401 or 403: what an agent drops its data for.
    pub refused: usize,
    pub fetches: usize,
    pub longest: Duration,
    pub waiting: u64,
    pub rate: f64,
    /// The requests a second that there should be; 0 where it is the load of all drills.
    pub due: f64,
    /// Of a caller that nothing was done to: its p99 alone, and beside what was done.
    pub p99: Option<(Duration, Duration)>,
    /// Whether requests may be answered 503 for a while.
    pub may_fail: bool,
    /// 0 is any number.
    pub most_fetches: usize,
    pub note: String,
}

impl Row {
    /// Whether there were too few requests. Those that wait for keys hold up the ones
    /// after them on their connections.
    pub fn is_too_slow(&self) -> bool {
        let due = if self.due > 0.0 {
            self.due
        } else {
            f64::from(RATE)
        };
        !self.may_fail && self.rate < due * 0.8
    }

    /// Whether the other's p99 is too long, which may be the machine's doing too.
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

/// Below this a p99 is not compared. Envoy, the backends and all callers share two cores with whatever else runs
/// there, in a debug build, and a process that has lost its core gets it back after a few slices of 3 to 4 ms each.
const FLOOR: Duration = Duration::from_millis(25);
