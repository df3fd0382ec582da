//! Stores spans by tenant, and answers queries about them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::span::StoredSpan;
use super::traceql::{Field, Filter};
use crate::grpc::TraceSearchMetadata;
use crate::otlp::{AnyValue, ExportTraceServiceRequest, ResourceSpans, ScopeSpans, Value};

/// The spans in memory. They are kept while the listeners are down, as a real Tempo does with its write-ahead log.
#[derive(Default)]
pub(super) struct Store {
    tenants: Mutex<BTreeMap<String, Vec<Arc<StoredSpan>>>>,
}

/// A trace that a search has found.
pub(super) struct Found {
    pub(super) metadata: TraceSearchMetadata,
    pub(super) matched: Vec<Arc<StoredSpan>>,
}

/// The bounds of a search in Unix seconds, or 0 for none, and the largest number of traces to return.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) limit: u32,
}

impl Store {
    pub(super) fn insert(&self, tenant: &str, request: ExportTraceServiceRequest) {
        let mut tenants = self.lock();
        let kept = tenants.entry(tenant.to_owned()).or_default();
        for group in request.resource_spans {
            let resource = group.resource.unwrap_or_default();
            for scoped in group.scope_spans {
                kept.extend(scoped.spans.into_iter().map(|span| {
                    Arc::new(StoredSpan {
                        resource: resource.clone(),
                        scope: scoped.scope.clone(),
                        span,
                    })
                }));
            }
        }
    }

    /// Every span of these tenants.
    pub(super) fn spans(&self, names: &[String]) -> Vec<Arc<StoredSpan>> {
        let tenants = self.lock();
        let lists = names.iter().filter_map(|name| tenants.get(name));
        lists.flatten().cloned().collect()
    }

    /// The number of spans that each tenant has.
    pub(super) fn counts(&self) -> BTreeMap<String, usize> {
        let tenants = self.lock();
        let count = |(name, spans): (&String, &Vec<_>)| (name.clone(), spans.len());
        tenants.iter().map(count).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Vec<Arc<StoredSpan>>>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One trace, grouped by resource. It is empty if none of the spans belongs to it.
pub(super) fn trace(spans: &[Arc<StoredSpan>], id: &[u8]) -> Vec<ResourceSpans> {
    let mut groups: Vec<ResourceSpans> = Vec::new();
    for stored in spans.iter().filter(|stored| stored.span.trace_id == id) {
        let scoped = ScopeSpans {
            scope: stored.scope.clone(),
            spans: vec![stored.span.clone()],
            ..ScopeSpans::default()
        };
        let known = groups
            .iter_mut()
            .find(|group| group.resource.as_ref() == Some(&stored.resource));
        match known {
            Some(group) => group.scope_spans.push(scoped),
            None => groups.push(ResourceSpans {
                resource: Some(stored.resource.clone()),
                scope_spans: vec![scoped],
                ..ResourceSpans::default()
            }),
        }
    }
    groups
}

/// The traces with a span that the filter matches, latest first.
pub(super) fn search(spans: &[Arc<StoredSpan>], filter: &Filter, bounds: Bounds) -> Vec<Found> {
    let mut traces: BTreeMap<&[u8], Vec<&Arc<StoredSpan>>> = BTreeMap::new();
    for stored in spans {
        let trace = traces.entry(&stored.span.trace_id).or_default();
        trace.push(stored);
    }
    let within = |stored: &StoredSpan| {
        let second = stored.span.start_time_unix_nano / 1_000_000_000;
        second >= u64::from(bounds.start) && (bounds.end == 0 || second <= u64::from(bounds.end))
    };
    let mut found: Vec<Found> = traces
        .into_iter()
        .filter_map(|(id, all)| {
            let matching = all
                .iter()
                .filter(|stored| within(stored) && filter.matches(stored));
            let matched: Vec<Arc<StoredSpan>> = matching.map(|stored| (*stored).clone()).collect();
            let metadata = metadata(id, &all)?;
            (!matched.is_empty()).then_some(Found { metadata, matched })
        })
        .collect();
    found.sort_by_key(|found| std::cmp::Reverse(found.metadata.start_time_unix_nano));
    found.truncate(bounds.limit as usize);
    found
}

fn metadata(id: &[u8], spans: &[&Arc<StoredSpan>]) -> Option<TraceSearchMetadata> {
    let start = spans.iter().map(|it| it.span.start_time_unix_nano).min()?;
    let end = spans.iter().map(|it| it.span.end_time_unix_nano).max()?;
    let root = spans.iter().find(|it| it.span.parent_span_id.is_empty());
    let of_root = |field: Field| {
        let value = root.and_then(|root| field.values(root).into_iter().next());
        value.map_or_else(
            || "<root span not yet received>".to_owned(),
            |value| typed(&value).1,
        )
    };
    Some(TraceSearchMetadata {
        // Search answers omit leading zeros (tempo#4723), unlike the paths, which accept both forms.
        trace_id: hex::encode(id).trim_start_matches('0').to_owned(),
        root_service_name: of_root(Field::Resource("service.name".to_owned())),
        root_trace_name: of_root(Field::Name),
        start_time_unix_nano: start,
        duration_ms: u32::try_from(end.saturating_sub(start) / 1_000_000).unwrap_or(u32::MAX),
    })
}

/// The names of attributes by scope, `resource` and `span`, and the intrinsics that can be queried.
pub(super) fn tags(
    spans: &[Arc<StoredSpan>],
    filter: &Filter,
) -> [(&'static str, BTreeSet<String>); 3] {
    let (mut resource, mut own) = (BTreeSet::new(), BTreeSet::new());
    for stored in spans.iter().filter(|stored| filter.matches(stored)) {
        let keys = stored.resource.attributes.iter().map(|pair| &pair.key);
        resource.extend(keys.cloned());
        own.extend(stored.span.attributes.iter().map(|pair| pair.key.clone()));
    }
    let intrinsic = BTreeSet::from(["name".to_owned()]);
    [
        ("resource", resource),
        ("span", own),
        ("intrinsic", intrinsic),
    ]
}

/// The values of that field, as `(type, text)`.
pub(super) fn tag_values(
    spans: &[Arc<StoredSpan>],
    field: &Field,
    filter: &Filter,
) -> BTreeSet<(&'static str, String)> {
    let matching = spans.iter().filter(|stored| filter.matches(stored));
    matching
        .flat_map(|stored| field.values(stored))
        .map(|value| typed(&value))
        .collect()
}

fn typed(value: &AnyValue) -> (&'static str, String) {
    match &value.value {
        Some(Value::StringValue(text)) => ("string", text.clone()),
        Some(Value::BoolValue(flag)) => ("bool", flag.to_string()),
        Some(Value::IntValue(number)) => ("int", number.to_string()),
        Some(Value::DoubleValue(number)) => ("float", number.to_string()),
        other => ("string", format!("{other:?}")),
    }
}
