//! TraceQL metrics: counts of matching spans over time.

use std::sync::Arc;
use std::time::Duration;

use super::shared::Refusal;
use super::span::StoredSpan;
use super::traceql::{Metric, parse_metrics};
use super::wire::{InstantSeries, Sample, TimeSeries};
use crate::otlp::{self, KeyValue};

/// The start, the end (exclusive) and the step, in nanoseconds.
#[derive(Clone, Copy)]
pub(super) struct Window {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) step: u64,
}

/// One sample for each step. As in Tempo, there is no series if nothing matches.
pub(super) fn range(
    spans: &[Arc<StoredSpan>],
    query: &str,
    window: Window,
) -> Result<Vec<TimeSeries>, Refusal> {
    let (labels, values) = counted(spans, query, window)?;
    let sample = |(index, value): (usize, &f64)| {
        let time = window.start + index as u64 * window.step;
        Sample {
            timestamp_ms: i64::try_from(time / 1_000_000).unwrap_or(i64::MAX),
            value: *value,
        }
    };
    let samples = values.iter().enumerate().map(sample).collect();
    let series = TimeSeries { labels, samples };
    Ok(some_if_counted(series, &values))
}

/// The same over the whole window at once.
pub(super) fn instant(
    spans: &[Arc<StoredSpan>],
    query: &str,
    window: Window,
) -> Result<Vec<InstantSeries>, Refusal> {
    let step = window.end.saturating_sub(window.start);
    let (labels, values) = counted(spans, query, Window { step, ..window })?;
    let value = values.iter().sum();
    Ok(some_if_counted(InstantSeries { labels, value }, &values))
}

fn some_if_counted<T>(series: T, values: &[f64]) -> Vec<T> {
    let counted = values.iter().any(|value| *value > 0.0);
    counted.then_some(series).into_iter().collect()
}

fn counted(
    spans: &[Arc<StoredSpan>],
    query: &str,
    window: Window,
) -> Result<(Vec<KeyValue>, Vec<f64>), Refusal> {
    let (filter, metric) = parse_metrics(query).map_err(Refusal::bad_request)?;
    let Window { start, end, step } = window;
    if end <= start || step == 0 {
        return Err(Refusal::bad_request(
            "the end must be after the start, and the step positive",
        ));
    }
    let steps = usize::try_from((end - start).div_ceil(step));
    let Some(steps) = steps.ok().filter(|steps| *steps <= MAX_STEPS) else {
        return Err(Refusal::bad_request("more steps than a test can want"));
    };
    let mut values = vec![0.0; steps];
    let (name, weight) = match metric {
        Metric::CountOverTime => ("count_over_time", 1.0),
        Metric::Rate => ("rate", 1.0 / Duration::from_nanos(step).as_secs_f64()),
    };
    for stored in spans.iter().filter(|stored| filter.matches(stored)) {
        let time = stored.span.start_time_unix_nano;
        if (start..end).contains(&time) {
            let at = usize::try_from((time - start) / step).ok();
            if let Some(value) = at.and_then(|at| values.get_mut(at)) {
                *value += weight;
            }
        }
    }
    Ok((vec![otlp::attribute("__name__", name)], values))
}

/// The limit that Prometheus has. It keeps a hostile step from requesting unlimited memory.
const MAX_STEPS: usize = 11_000;
