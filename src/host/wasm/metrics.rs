//! Counters and gauges, kept in the module and flushed on ticks.
//!
//! A call into the proxy for each count would cost more than the decision, so
//! counts lag by at most a tick. The ABI has no labels: they are spelt into the
//! name (`scopegate_decisions_total.decision=deny.code=…`) and taken out again by
//! the `stats_tags` of the shipped Envoy configuration. Every label has a closed
//! set of values; no tenant or subject is one. A metric that cannot be defined or
//! written is dropped: records never decide.

use std::collections::{BTreeMap, HashMap};

use super::abi;
use crate::authn::keys::Algorithm;
use crate::authz::endpoint::Endpoint;
use crate::gate::Gate;
use crate::words::denial::Denial;
use crate::words::hash::QuickHash;

const COUNTER: u32 = 0;
const GAUGE: u32 = 1;

/// A row of the table (by address, 0 for none) and a code (by address): static
/// both, and quicker to compare than their texts.
type DecisionKey = (usize, usize);

/// A count of decisions with its labels.
#[derive(Debug)]
struct Decisions {
    code: &'static str,
    endpoint: Option<&'static Endpoint>,
    counter: Counter,
}

/// Everything that is counted.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    decisions: HashMap<DecisionKey, Decisions, QuickHash>,
    named: BTreeMap<String, Counter>,
    gauges: BTreeMap<String, Gauge>,
    hits: Counter,
    misses: Counter,
}

#[derive(Debug, Default)]
struct Counter {
    id: Option<u32>,
    pending: i64,
}

#[derive(Debug, Default)]
struct Gauge {
    id: Option<u32>,
    shown: Option<i64>,
}

impl Counter {
    fn add(&mut self) {
        self.pending = self.pending.saturating_add(1);
    }

    fn flush(&mut self, name: impl FnOnce() -> String) {
        if self.pending == 0 {
            return;
        }
        let id = match self.id {
            Some(id) => id,
            None => match abi::define_metric(COUNTER, name().as_bytes()) {
                Ok(id) => *self.id.insert(id),
                Err(_) => return,
            },
        };
        if abi::increment_metric(id, self.pending).is_ok() {
            self.pending = 0;
        }
    }
}

impl Metrics {
    /// Counts a decision.
    pub(super) fn decided(&mut self, endpoint: Option<&'static Endpoint>, denial: Option<Denial>) {
        let code = denial.map_or("allowed", Denial::code);
        let key = (
            endpoint.map_or(0, |endpoint| std::ptr::from_ref(endpoint).addr()),
            code.as_ptr().addr(),
        );
        let decisions = self.decisions.entry(key).or_insert_with(|| Decisions {
            code,
            endpoint,
            counter: Counter::default(),
        });
        decisions.counter.add();
    }

    /// Counts a look into the token cache.
    pub(super) fn looked_up(&mut self, hit: bool) {
        if hit {
            self.hits.add();
        } else {
            self.misses.add();
        }
    }

    /// Counts a signature check.
    pub(super) fn verified(&mut self, provider: &str, algorithm: Algorithm, held: bool) {
        let result = if held { "ok" } else { "bad" };
        self.count(format!(
            "scopegate_verify_total.provider={provider}.algorithm={algorithm}.result={result}"
        ));
    }

    /// Counts a key fetch.
    pub(super) fn fetched(&mut self, provider: &str, result: &str) {
        self.count(format!(
            "scopegate_jwks_fetch_total.provider={provider}.result={result}"
        ));
    }

    /// Counts a stream that was ended because its time was up.
    pub(super) fn ended(&mut self, reason: &str) {
        self.count(format!("scopegate_streams_ended_total.reason={reason}"));
    }

    fn count(&mut self, name: String) {
        self.named.entry(name).or_default().add();
    }

    /// Shows a value that is the same on every worker.
    pub(super) fn show(&mut self, name: &str, value: u64) {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        let gauge = self.gauges.entry(name.to_owned()).or_default();
        if gauge.shown == Some(value) {
            return;
        }
        if let Some(id) = gauge.define(name)
            && abi::record_metric(id, value.unsigned_abs()).is_ok()
        {
            gauge.shown = Some(value);
        }
    }

    /// Shows this worker's part of a value that adds up over workers.
    pub(super) fn contribute(&mut self, name: &str, value: usize) {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        let gauge = self.gauges.entry(name.to_owned()).or_default();
        let change = value.saturating_sub(gauge.shown.unwrap_or(0));
        if change == 0 && gauge.shown.is_some() {
            return;
        }
        if let Some(id) = gauge.define(name)
            && (change == 0 || abi::increment_metric(id, change).is_ok())
        {
            gauge.shown = Some(value);
        }
    }

    /// Writes everything that changed.
    pub(super) fn flush(&mut self) {
        for decisions in self.decisions.values_mut() {
            let Decisions { code, endpoint, .. } = *decisions;
            decisions.counter.flush(|| {
                let decision = if code == "allowed" { "allow" } else { "deny" };
                let backend = endpoint.map_or("none", |e| e.backend.name());
                let permission = endpoint.map_or("none", |e| e.permission.name());
                format!(
                    "scopegate_decisions_total.decision={decision}.code={code}\
                     .backend={backend}.permission={permission}"
                )
            });
        }
        for (name, counter) in &mut self.named {
            counter.flush(|| name.clone());
        }
        self.hits
            .flush(|| "scopegate_token_cache_total.result=hit".to_owned());
        self.misses
            .flush(|| "scopegate_token_cache_total.result=miss".to_owned());
    }

    /// Shows the state of the providers' keys.
    pub(super) fn show_keys(&mut self, gate: &Gate, now: crate::words::time::Monotonic) {
        for (provider, keys) in gate.key_states() {
            let (held, skipped) = keys
                .held()
                .map_or((0, 0), |set| (set.keys().len(), set.skipped().len()));
            self.show(
                &format!("scopegate_jwks_keys.provider={provider}"),
                held as u64,
            );
            self.show(
                &format!("scopegate_jwks_keys_skipped.provider={provider}"),
                skipped as u64,
            );
            if let Some(age) = keys.age(now) {
                self.show(
                    &format!("scopegate_jwks_age_seconds.provider={provider}"),
                    age / 1000,
                );
            }
        }
    }
}

impl Gauge {
    fn define(&mut self, name: &str) -> Option<u32> {
        if self.id.is_none() {
            self.id = abi::define_metric(GAUGE, name.as_bytes()).ok();
        }
        self.id
    }
}
