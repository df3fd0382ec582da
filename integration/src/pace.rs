//! Calls at a steady pace, none of which waits for another, and the time that each took.
//!
//! A call's time begins when it was due. If a system stops for a moment, all calls that were due in that moment show
//! it, and not only one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::task::JoinSet;

/// The outcomes of the calls in one window.
#[derive(Clone, Debug, Default)]
pub struct Window {
    took: Vec<Duration>,
    pub errors: Vec<String>,
}

impl Window {
    #[must_use]
    pub fn calls(&self) -> usize {
        self.took.len() + self.errors.len()
    }

    /// The time within which 99 in 100 calls were answered. Failed calls are not counted.
    #[must_use]
    pub fn p99(&self) -> Duration {
        let mut took = self.took.clone();
        took.sort_unstable();
        let rank = took.len().saturating_sub(took.len() / 100 + 1);
        took.get(rank).copied().unwrap_or_default()
    }

    #[must_use]
    pub fn longest(&self) -> Duration {
        self.took.iter().max().copied().unwrap_or_default()
    }
}

/// The median of the windows' p99, so that a moment in which the machine was busy with something else affects one
/// window only.
#[must_use]
pub fn median_p99(windows: &[Window]) -> Duration {
    let mut all: Vec<Duration> = windows.iter().map(Window::p99).collect();
    all.sort_unstable();
    all.get(all.len() / 2).copied().unwrap_or_default()
}

/// The outcomes of all windows in one.
#[must_use]
pub fn together(windows: &[Window]) -> Window {
    let mut all = Window::default();
    for window in windows {
        all.took.extend_from_slice(&window.took);
        all.errors.extend_from_slice(&window.errors);
    }
    all
}

/// Runs `count` windows of that length, with `rate` calls per second. `call` receives the number of each call.
pub async fn windows<F>(
    count: u32,
    length: Duration,
    rate: u32,
    call: impl Fn(usize) -> F,
) -> Vec<Window>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let pause = Duration::from_secs(1) / rate.max(1);
    let mut due = Instant::now();
    let mut number = 0;
    let mut ended = Vec::new();
    for _ in 0..count {
        let until = due + length;
        let mut calls = JoinSet::new();
        while due < until {
            tokio::time::sleep_until(due.into()).await;
            let (begun, answer) = (due, call(number));
            calls.spawn(async move {
                let outcome = tokio::time::timeout(PATIENCE, answer).await;
                (outcome, begun.elapsed())
            });
            number += 1;
            due += pause;
        }
        ended.push(calls);
    }
    let mut windows = Vec::new();
    for calls in ended {
        let mut window = Window::default();
        for (outcome, took) in calls.join_all().await {
            match outcome {
                Ok(Ok(())) => window.took.push(took),
                Ok(Err(error)) => window.errors.push(format!("{error:#}")),
                Err(_) => window.errors.push(format!("no answer in {PATIENCE:?}")),
            }
        }
        windows.push(window);
    }
    windows
}

/// Things that are used in turns, such as connections or tokens.
#[derive(Clone)]
pub struct Turns<T>(Arc<[T]>);

impl<T: Clone> Turns<T> {
    #[must_use]
    pub fn new(things: Vec<T>) -> Turns<T> {
        Turns(things.into())
    }

    /// The one for the call of that number. `None` if there are none.
    #[must_use]
    pub fn at(&self, number: usize) -> Option<T> {
        self.0.get(number % self.0.len().max(1)).cloned()
    }
}

const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_that_fails_is_an_error_and_one_that_is_late_counts_from_when_it_was_due() {
        let windows = windows(2, Duration::from_millis(50), 100, |number| async move {
            anyhow::ensure!(number != 0, "the first one fails");
            tokio::time::sleep(Duration::from_millis(5)).await;
            Ok(())
        })
        .await;
        assert_eq!(windows.len(), 2);
        let all = together(&windows);
        assert_eq!((all.calls(), all.errors.len()), (10, 1));
        assert!(all.p99() >= Duration::from_millis(5));
        assert!(median_p99(&windows) <= all.longest());
    }
}
