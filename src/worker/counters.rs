//! Metrics: what is counted and shown, under which names, and the counts between two flushes.
//!
//! A call into the proxy for each count would cost more than the decision, so a host may keep
//! [`Counters`] and flush them from time to time. For hosts without labels, labels are part of
//! the name (`scopegate_decisions_total.decision=deny.code=…`), and the `stats_tags` of the
//! shipped Envoy configuration extract them again. Every label has a closed set of values; none
//! is a tenant or a subject.

use std::collections::{BTreeMap, HashMap};

use crate::authn::keys::{Algorithm, Place};
use crate::authz::endpoint::Endpoint;
use crate::words::hash::QuickHash;
use crate::words::verdict::Verdict;

/// Something that is counted.
#[derive(Clone, Copy, Debug)]
pub enum Count<'a> {
    /// A decision about a request.
    Decision {
        /// The endpoint that the request is for, if it is known.
        endpoint: Option<&'static Endpoint>,
        /// The verdict.
        verdict: Verdict,
    },
    /// The end of a fetch of keys.
    Fetch {
        /// The provider whose keys were fetched.
        provider: &'a str,
        /// The outcome, as in the label of the metric.
        result: &'static str,
    },
    /// Group values of a token that pose as those of another source.
    GroupsDropped {
        /// The provider of the token.
        provider: &'a str,
        /// The number of values.
        values: usize,
    },
    /// The end of a fetch of organizations.
    OrganizationsFetch {
        /// The outcome, as in the label of the metric.
        result: &'static str,
    },
    /// The end of a stream that had reached its limit.
    StreamEnded {
        /// The reason, as in the label of the metric.
        reason: &'static str,
    },
    /// A look into the token cache.
    Lookup {
        /// Whether the token was there.
        hit: bool,
    },
    /// A check of a signature.
    Verification {
        /// The provider of the token.
        provider: &'a str,
        /// The algorithm.
        algorithm: Algorithm,
        /// Whether the signature was good.
        held: bool,
    },
}

/// Something that has a value at any time.
#[derive(Clone, Copy, Debug)]
pub enum Gauge<'a> {
    /// 1, with the version of this build.
    BuildInfo,
    /// The configuration in force, as 48 bits of a hash.
    ConfigHash,
    /// The number of organizations from outside that are in force.
    Organizations,
    /// Seconds since the organizations from outside were last known to be the newest.
    OrganizationsAge,
    /// The organizations from outside, as 48 bits of a hash, or 0 if there are none.
    OrganizationsHash,
    /// Seconds since a provider's keys were requested.
    KeyAge(&'a str),
    /// The number of a provider's usable keys.
    Keys(&'a str),
    /// The number of keys in a provider's document that cannot be used.
    KeysSkipped(&'a str),
    /// Whether refusals are only recorded.
    ReportMode,
    /// The streams that are open, over all workers.
    Streams,
    /// Where signatures of an algorithm are checked.
    Verifier(Algorithm, Place),
    /// The requests that wait, over all workers.
    WaitingRequests,
}

impl Gauge<'_> {
    /// The name of the metric, including its labels.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::BuildInfo => {
                format!(
                    "scopegate_build_info.version={}",
                    crate::words::build::VERSION
                )
            }
            Self::ConfigHash => "scopegate_config_hash".to_owned(),
            Self::Organizations => "scopegate_organizations".to_owned(),
            Self::OrganizationsAge => "scopegate_organizations_age_seconds".to_owned(),
            Self::OrganizationsHash => "scopegate_organizations_hash".to_owned(),
            Self::KeyAge(provider) => format!("scopegate_jwks_age_seconds.provider={provider}"),
            Self::Keys(provider) => format!("scopegate_jwks_keys.provider={provider}"),
            Self::KeysSkipped(provider) => {
                format!("scopegate_jwks_keys_skipped.provider={provider}")
            }
            Self::ReportMode => "scopegate_report_mode".to_owned(),
            Self::Streams => "scopegate_streams".to_owned(),
            Self::Verifier(algorithm, place) => format!(
                "scopegate_verifier.algorithm={algorithm}.engine={}",
                place.name()
            ),
            Self::WaitingRequests => "scopegate_waiting_requests".to_owned(),
        }
    }

    /// Whether each worker shows its own part of a sum, rather than what all workers see.
    #[must_use]
    pub const fn adds_up(self) -> bool {
        matches!(self, Self::Streams | Self::WaitingRequests)
    }
}

/// The maximum number of metrics of each kind whose names hold that of a provider. Proxies keep
/// a metric for as long as they live, so there must be a limit to names that every
/// configuration can choose freely. This is room for 64 providers that each use every algorithm.
const MAX_NAMES: usize = 4_096;

/// A metric by the name that its labels follow.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: &'static str,
    /// The names of its labels, in their order.
    pub labels: &'static [&'static str],
}

/// The panics that a host has caught, if it is one that can.
pub const PANICS_TOTAL: &str = "scopegate_panics_total";

/// All metrics, for hosts that want to know them in advance.
pub const METRICS: [Metric; 20] = [
    metric(
        Kind::Counter,
        "scopegate_decisions_total",
        &["decision", "code", "backend", "permission"],
    ),
    metric(
        Kind::Counter,
        "scopegate_groups_dropped_total",
        &["provider"],
    ),
    metric(
        Kind::Counter,
        "scopegate_jwks_fetch_total",
        &["provider", "result"],
    ),
    metric(
        Kind::Counter,
        "scopegate_organizations_fetch_total",
        &["result"],
    ),
    metric(Kind::Counter, PANICS_TOTAL, &[]),
    metric(Kind::Counter, "scopegate_streams_ended_total", &["reason"]),
    metric(Kind::Counter, "scopegate_token_cache_total", &["result"]),
    metric(
        Kind::Counter,
        "scopegate_verify_total",
        &["provider", "algorithm", "result"],
    ),
    metric(Kind::Gauge, "scopegate_build_info", &["version"]),
    metric(Kind::Gauge, "scopegate_config_hash", &[]),
    metric(Kind::Gauge, "scopegate_jwks_age_seconds", &["provider"]),
    metric(Kind::Gauge, "scopegate_jwks_keys", &["provider"]),
    metric(Kind::Gauge, "scopegate_jwks_keys_skipped", &["provider"]),
    metric(Kind::Gauge, "scopegate_organizations", &[]),
    metric(Kind::Gauge, "scopegate_organizations_age_seconds", &[]),
    metric(Kind::Gauge, "scopegate_organizations_hash", &[]),
    metric(Kind::Gauge, "scopegate_report_mode", &[]),
    metric(Kind::Gauge, "scopegate_streams", &[]),
    metric(Kind::Gauge, "scopegate_verifier", &["algorithm", "engine"]),
    metric(Kind::Gauge, "scopegate_waiting_requests", &[]),
];

const fn metric(kind: Kind, name: &'static str, labels: &'static [&'static str]) -> Metric {
    Metric { kind, name, labels }
}

impl Metric {
    /// The values of the labels in a name with labels, if it is one of this metric.
    #[must_use]
    pub fn values<'a>(&self, full: &'a str) -> Option<Vec<&'a str>> {
        let mut rest = full.strip_prefix(self.name)?;
        let mut labels = self.labels.iter().peekable();
        let mut values = Vec::with_capacity(self.labels.len());
        while let Some(label) = labels.next() {
            rest = rest
                .strip_prefix('.')?
                .strip_prefix(label)?
                .strip_prefix('=')?;
            let end = labels
                .peek()
                .map_or(Some(rest.len()), |next| rest.find(&format!(".{next}=")))?;
            let (value, others) = rest.split_at_checked(end)?;
            values.push(value);
            rest = others;
        }
        rest.is_empty().then_some(values)
    }
}

/// A proxy's metrics. A metric that cannot be defined or written is dropped, because no
/// decision depends on it.
pub trait Registry {
    /// Defines a counter or a gauge, and returns its number.
    fn define(&self, kind: Kind, name: &str) -> Option<u32>;
    /// Adds to a counter or a gauge. Returns whether the proxy accepted it.
    fn add(&self, id: u32, by: i64) -> bool;
    /// Sets a gauge. Returns whether the proxy accepted it.
    fn set(&self, id: u32, value: u64) -> bool;
}

/// The kinds of metrics.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A metric that only grows.
    Counter,
    /// A metric that has a value at any time.
    Gauge,
}

/// A row of the table (by address, or 0 for none) and a code (by address). Both are static, and
/// comparing their addresses is quicker than comparing their texts.
type DecisionKey = (usize, usize);

#[derive(Debug)]
struct Decisions {
    verdict: Verdict,
    endpoint: Option<&'static Endpoint>,
    counter: Counter,
}

#[derive(Debug, Default)]
struct Counter {
    id: Option<u32>,
    pending: i64,
}

#[derive(Debug, Default)]
struct Shown {
    id: Option<u32>,
    value: Option<i64>,
    /// Whether all workers add to it.
    adds_up: bool,
}

/// Counts that have not been flushed, and values as they were last shown.
#[derive(Debug, Default)]
pub struct Counters {
    decisions: HashMap<DecisionKey, Decisions, QuickHash>,
    named: BTreeMap<String, Counter>,
    gauges: BTreeMap<String, Shown>,
    hits: Counter,
    misses: Counter,
}

impl Counter {
    fn add(&mut self, by: i64) {
        self.pending = self.pending.saturating_add(by);
    }

    fn flush(&mut self, registry: &dyn Registry, name: impl FnOnce() -> String) {
        if self.pending == 0 {
            return;
        }
        if self.id.is_none() {
            self.id = registry.define(Kind::Counter, &name());
        }
        if let Some(id) = self.id
            && registry.add(id, self.pending)
        {
            self.pending = 0;
        }
    }
}

impl Counters {
    /// Counts something once.
    pub fn count(&mut self, count: Count<'_>) {
        match count {
            Count::Decision { endpoint, verdict } => self.decided(endpoint, verdict),
            Count::Lookup { hit: true } => self.hits.add(1),
            Count::Lookup { hit: false } => self.misses.add(1),
            Count::Fetch { provider, result } => {
                let name =
                    format!("scopegate_jwks_fetch_total.provider={provider}.result={result}");
                self.named(name, 1);
            }
            Count::GroupsDropped { provider, values } => {
                let name = format!("scopegate_groups_dropped_total.provider={provider}");
                self.named(name, i64::try_from(values).unwrap_or(i64::MAX));
            }
            Count::OrganizationsFetch { result } => {
                self.named(
                    format!("scopegate_organizations_fetch_total.result={result}"),
                    1,
                );
            }
            Count::StreamEnded { reason } => {
                self.named(format!("scopegate_streams_ended_total.reason={reason}"), 1);
            }
            Count::Verification {
                provider,
                algorithm,
                held,
            } => {
                let result = if held { "ok" } else { "bad" };
                let name = format!(
                    "scopegate_verify_total.provider={provider}.algorithm={algorithm}.result={result}"
                );
                self.named(name, 1);
            }
        }
    }

    fn decided(&mut self, endpoint: Option<&'static Endpoint>, verdict: Verdict) {
        let key = (
            endpoint.map_or(0, |endpoint| std::ptr::from_ref(endpoint).addr()),
            verdict.code().as_ptr().addr(),
        );
        let decisions = self.decisions.entry(key).or_insert_with(|| Decisions {
            verdict,
            endpoint,
            counter: Counter::default(),
        });
        decisions.counter.add(1);
    }

    fn named(&mut self, name: String, by: i64) {
        if self.named.len() < MAX_NAMES || self.named.contains_key(&name) {
            self.named.entry(name).or_default().add(by);
        }
    }

    /// Shows a value, if it has changed.
    pub fn show(&mut self, registry: &dyn Registry, gauge: Gauge<'_>, value: u64) {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        let name = gauge.name();
        if self.gauges.len() >= MAX_NAMES && !self.gauges.contains_key(&name) {
            return;
        }
        let shown = self.gauges.entry(name.clone()).or_default();
        if shown.value == Some(value) {
            return;
        }
        if shown.id.is_none() {
            shown.id = registry.define(Kind::Gauge, &name);
        }
        let Some(id) = shown.id else { return };
        shown.adds_up = gauge.adds_up();
        let taken = if shown.adds_up {
            let change = value.saturating_sub(shown.value.unwrap_or(0));
            change == 0 || registry.add(id, change)
        } else {
            registry.set(id, value.unsigned_abs())
        };
        if taken {
            shown.value = Some(value);
        }
    }

    /// Takes back what it has added to the gauges to which workers add.
    pub fn retract(&mut self, registry: &dyn Registry) {
        for shown in self.gauges.values_mut().filter(|shown| shown.adds_up) {
            if let (Some(id), Some(value)) = (shown.id, shown.value.take()) {
                registry.add(id, value.saturating_neg());
            }
        }
    }

    /// Writes what has been counted since the last flush.
    pub fn flush(&mut self, registry: &dyn Registry) {
        for decisions in self.decisions.values_mut() {
            let Decisions {
                verdict, endpoint, ..
            } = *decisions;
            decisions.counter.flush(registry, || {
                let (decision, code) = (verdict.decision(), verdict.code());
                let backend = endpoint.map_or("none", |e| e.backend.name());
                let permission = endpoint.map_or("none", |e| e.permission.name());
                format!(
                    "scopegate_decisions_total.decision={decision}.code={code}\
                     .backend={backend}.permission={permission}"
                )
            });
        }
        for (name, counter) in &mut self.named {
            counter.flush(registry, || name.clone());
        }
        let lookups = |result: &str| format!("scopegate_token_cache_total.result={result}");
        self.hits.flush(registry, || lookups("hit"));
        self.misses.flush(registry, || lookups("miss"));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Accepts everything unless it is full.
    #[derive(Default)]
    struct Metrics {
        names: RefCell<Vec<String>>,
        values: RefCell<BTreeMap<u32, i64>>,
        full: bool,
    }

    impl Registry for Metrics {
        fn define(&self, _: Kind, name: &str) -> Option<u32> {
            let mut names = self.names.borrow_mut();
            names.push(name.to_owned());
            u32::try_from(names.len() - 1).ok()
        }

        fn add(&self, id: u32, by: i64) -> bool {
            if !self.full {
                *self.values.borrow_mut().entry(id).or_default() += by;
            }
            !self.full
        }

        fn set(&self, id: u32, value: u64) -> bool {
            let value = i64::try_from(value).unwrap();
            self.values.borrow_mut().insert(id, value);
            true
        }
    }

    impl Metrics {
        fn value(&self, name: &str) -> Option<i64> {
            let id = self.names.borrow().iter().position(|known| known == name)?;
            let id = u32::try_from(id).ok()?;
            self.values.borrow().get(&id).copied()
        }
    }

    #[test]
    fn what_a_worker_has_added_to_a_gauge_it_takes_back() {
        let metrics = Metrics::default();
        let [mut one, mut other] = [Counters::default(), Counters::default()];
        one.show(&metrics, Gauge::Streams, 3);
        one.show(&metrics, Gauge::ReportMode, 1);
        other.show(&metrics, Gauge::Streams, 2);
        one.retract(&metrics);
        one.retract(&metrics);
        let added = metrics
            .names
            .borrow()
            .iter()
            .filter(|name| name.contains("streams"))
            .count();
        assert_eq!(added, 2);
        let values = metrics.values.borrow();
        assert_eq!(values.values().copied().collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn counts_add_up_until_they_are_taken() {
        let mut metrics = Metrics {
            full: true,
            ..Metrics::default()
        };
        let mut counters = Counters::default();
        let allowed = Count::Decision {
            endpoint: None,
            verdict: Verdict::Allowed,
        };
        counters.count(allowed);
        counters.flush(&metrics);
        metrics.full = false;
        counters.count(allowed);
        counters.count(Count::Lookup { hit: true });
        counters.flush(&metrics);
        counters.flush(&metrics);
        let name =
            "scopegate_decisions_total.decision=allow.code=allowed.backend=none.permission=none";
        assert_eq!(metrics.value(name), Some(2));
        assert_eq!(metrics.names.borrow().len(), 2);
    }

    #[test]
    fn names_that_come_and_go_do_not_pile_up() {
        let metrics = Metrics::default();
        let mut counters = Counters::default();
        for number in 0..10_000 {
            let provider = format!("p{number}");
            counters.count(Count::Fetch {
                provider: &provider,
                result: "ok",
            });
            counters.show(&metrics, Gauge::Keys(&provider), 1);
        }
        // The metrics that are known are still counted.
        counters.count(Count::Fetch {
            provider: "p0",
            result: "ok",
        });
        counters.show(&metrics, Gauge::Keys("p0"), 7);
        counters.flush(&metrics);
        assert_eq!(metrics.names.borrow().len(), 2 * MAX_NAMES);
        let name = "scopegate_jwks_fetch_total.provider=p0.result=ok";
        assert_eq!(metrics.value(name), Some(2));
        assert_eq!(metrics.value("scopegate_jwks_keys.provider=p0"), Some(7));
    }

    #[test]
    fn sums_are_changed_and_values_set() {
        let metrics = Metrics::default();
        let mut counters = Counters::default();
        for value in [3, 3, 1] {
            counters.show(&metrics, Gauge::Streams, value);
            counters.show(&metrics, Gauge::Keys("corporate"), value);
        }
        assert_eq!(metrics.value("scopegate_streams"), Some(1));
        assert_eq!(
            metrics.value("scopegate_jwks_keys.provider=corporate"),
            Some(1)
        );
    }
}
