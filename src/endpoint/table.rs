//! The closed table: one row a line, each family with the page it was compared with.
//!
//! In: reads, writes, rules, deletes and the harmless probes that data sources
//! send. Out: everything else that the servers answer on the same ports (admin,
//! pprof, rings, configuration, shutdown, tenant settings), because a path that is
//! not listed is not found. Columns: methods, path, backend, permission, refusal
//! family, tenants, parameters that carry selectors.

use super::Backend::{Loki, Mimir, Tempo};
use super::Family::{Grpc, Otlp, Prometheus, Text};
use super::Rewrite::{Keep, To, WithoutPrefix};
use super::Tenants::{Many, One};
use super::{Backend, Endpoint, Family, Methods, Rewrite, Surface, Tenants};
use crate::policy::Permission::{self, Delete, Read, RulesRead, RulesWrite, Write};

const GET: Methods = Methods::GET;
const POST: Methods = Methods::POST;
const DELETE: Methods = Methods::DELETE;
const GET_POST: Methods = GET.or(POST);
const POST_PUT: Methods = POST.or(Methods::PUT);
const POST_DELETE: Methods = POST.or(DELETE);

const fn row(
    methods: Methods,
    template: &'static str,
    backend: Backend,
    permission: Permission,
    family: Family,
    tenants: Tenants,
    selectors: &'static [&'static str],
) -> Endpoint {
    Endpoint {
        methods,
        template,
        backend,
        permission,
        family,
        tenants,
        selectors,
        upgrade: false,
        rewrite: Keep,
        surface: Surface::Platform,
    }
}

impl Endpoint {
    const fn rewritten(self, rewrite: Rewrite) -> Self {
        Self { rewrite, ..self }
    }

    const fn websocket(self) -> Self {
        Self {
            upgrade: true,
            ..self
        }
    }

    const fn legacy(self) -> Self {
        Self {
            surface: Surface::LokiLegacy,
            ..self
        }
    }
}

const fn tempo(template: &'static str, selectors: &'static [&'static str]) -> Endpoint {
    row(GET, template, Tempo, Read, Text, Many, selectors).rewritten(WithoutPrefix("/tempo"))
}

const fn grpc_read(template: &'static str) -> Endpoint {
    row(POST, template, Tempo, Read, Grpc, Many, &[])
}

const fn grpc_write(template: &'static str, backend: Backend) -> Endpoint {
    row(POST, template, backend, Write, Grpc, One, &[])
}

/// Every endpoint there is.
#[rustfmt::skip]
pub const TABLE: &[Endpoint] = &[
    // Loki: https://grafana.com/docs/loki/latest/reference/loki-http-api/
    row(POST, "/loki/api/v1/push", Loki, Write, Text, One, &[]),
    row(POST, "/otlp/v1/logs", Loki, Write, Otlp, One, &[]),
    row(GET_POST, "/loki/api/v1/query", Loki, Read, Text, Many, &["query"]),
    row(GET_POST, "/loki/api/v1/query_range", Loki, Read, Text, Many, &["query"]),
    row(GET_POST, "/loki/api/v1/labels", Loki, Read, Text, Many, &["query"]),
    row(GET_POST, "/loki/api/v1/label", Loki, Read, Text, Many, &["query"]),
    row(GET_POST, "/loki/api/v1/label/{name}/values", Loki, Read, Text, Many, &["query"]),
    row(GET_POST, "/loki/api/v1/series", Loki, Read, Text, Many, &["match[]", "match"]),
    row(GET_POST, "/loki/api/v1/index/stats", Loki, Read, Text, Many, &["query"]),
    row(GET_POST, "/loki/api/v1/index/shards", Loki, Read, Text, Many, &["query"]),
    row(GET_POST, "/loki/api/v1/index/volume", Loki, Read, Text, Many, &["query"]),
    row(GET_POST, "/loki/api/v1/index/volume_range", Loki, Read, Text, Many, &["query"]),
    row(GET_POST, "/loki/api/v1/patterns", Loki, Read, Text, Many, &["query"]),
    row(GET_POST, "/loki/api/v1/detected_labels", Loki, Read, Text, Many, &["query"]),
    row(GET_POST, "/loki/api/v1/detected_fields", Loki, Read, Text, Many, &["query"]),
    row(GET_POST, "/loki/api/v1/detected_field/{name}/values", Loki, Read, Text, Many, &["query"]),
    row(GET, "/loki/api/v1/tail", Loki, Read, Text, One, &["query"]).websocket(),
    row(GET_POST, "/loki/api/v1/format_query", Loki, Read, Text, Many, &["query"]),
    row(GET, "/loki/api/v1/status/buildinfo", Loki, Read, Text, Many, &[]),
    row(GET, "/loki/api/v1/drilldown-limits", Loki, Read, Text, One, &[]),
    row(GET, "/loki/api/v1/rules", Loki, RulesRead, Prometheus, One, &[]),
    row(GET, "/loki/api/v1/rules/{namespace}", Loki, RulesRead, Prometheus, One, &[]),
    row(POST_DELETE, "/loki/api/v1/rules/{namespace}", Loki, RulesWrite, Prometheus, One, &[]),
    row(GET, "/loki/api/v1/rules/{namespace}/{group}", Loki, RulesRead, Prometheus, One, &[]),
    row(DELETE, "/loki/api/v1/rules/{namespace}/{group}", Loki, RulesWrite, Prometheus, One, &[]),
    row(GET, "/loki/api/v1/delete", Loki, RulesRead, Text, One, &[]),
    row(POST_PUT, "/loki/api/v1/delete", Loki, Delete, Text, One, &["query"]),
    row(DELETE, "/loki/api/v1/delete", Loki, Delete, Text, One, &[]),

    // Loki before /loki/api/v1, for old promtail and for Grafana's Loki rule editor
    row(POST, "/api/prom/push", Loki, Write, Text, One, &[]).legacy(),
    row(GET_POST, "/api/prom/query", Loki, Read, Text, Many, &["query", "regexp"]).legacy(),
    row(GET_POST, "/api/prom/label", Loki, Read, Text, Many, &[]).legacy(),
    row(GET_POST, "/api/prom/label/{name}/values", Loki, Read, Text, Many, &[]).legacy(),
    row(GET_POST, "/api/prom/series", Loki, Read, Text, Many, &["match[]", "match"]).legacy(),
    row(GET, "/api/prom/tail", Loki, Read, Text, One, &["query", "regexp"]).websocket().legacy(),
    row(GET, "/api/prom/rules", Loki, RulesRead, Prometheus, One, &[]).legacy(),
    row(GET, "/api/prom/rules/{namespace}", Loki, RulesRead, Prometheus, One, &[]).legacy(),
    row(POST_DELETE, "/api/prom/rules/{namespace}", Loki, RulesWrite, Prometheus, One, &[]).legacy(),
    row(GET, "/api/prom/rules/{namespace}/{group}", Loki, RulesRead, Prometheus, One, &[]).legacy(),
    row(DELETE, "/api/prom/rules/{namespace}/{group}", Loki, RulesWrite, Prometheus, One, &[]).legacy(),

    // Mimir: https://grafana.com/docs/mimir/latest/references/http-api/
    row(POST, "/prometheus/api/v1/push", Mimir, Write, Text, One, &[]).rewritten(To("/api/v1/push")),
    row(POST, "/otlp/v1/metrics", Mimir, Write, Otlp, One, &[]),
    row(GET_POST, "/prometheus/api/v1/query", Mimir, Read, Prometheus, Many, &["query"]),
    row(GET_POST, "/prometheus/api/v1/query_range", Mimir, Read, Prometheus, Many, &["query"]),
    row(GET_POST, "/prometheus/api/v1/query_exemplars", Mimir, Read, Prometheus, Many, &["query"]),
    row(GET_POST, "/prometheus/api/v1/labels", Mimir, Read, Prometheus, Many, &["match[]"]),
    row(GET, "/prometheus/api/v1/label/{name}/values", Mimir, Read, Prometheus, Many, &["match[]"]),
    row(GET_POST, "/prometheus/api/v1/series", Mimir, Read, Prometheus, Many, &["match[]"]),
    row(GET, "/prometheus/api/v1/metadata", Mimir, Read, Prometheus, Many, &[]),
    row(POST, "/prometheus/api/v1/read", Mimir, Read, Prometheus, Many, &[]),
    row(GET_POST, "/prometheus/api/v1/format_query", Mimir, Read, Prometheus, Many, &["query"]),
    row(GET_POST, "/prometheus/api/v1/cardinality/label_names", Mimir, Read, Prometheus, One, &["selector"]),
    row(GET_POST, "/prometheus/api/v1/cardinality/label_values", Mimir, Read, Prometheus, One, &["selector"]),
    row(GET_POST, "/prometheus/api/v1/cardinality/active_series", Mimir, Read, Prometheus, One, &["selector"]),
    row(GET_POST, "/prometheus/api/v1/cardinality/active_native_histogram_metrics", Mimir, Read, Prometheus, One, &["selector"]),
    row(GET, "/prometheus/api/v1/rules", Mimir, RulesRead, Prometheus, One, &[]),
    row(GET, "/prometheus/api/v1/alerts", Mimir, RulesRead, Prometheus, One, &[]),
    row(GET, "/prometheus/api/v1/status/buildinfo", Mimir, Read, Prometheus, Many, &[]),
    row(GET, "/prometheus/config/v1/rules", Mimir, RulesRead, Prometheus, One, &[]),
    row(GET, "/prometheus/config/v1/rules/{namespace%}", Mimir, RulesRead, Prometheus, One, &[]),
    row(POST_DELETE, "/prometheus/config/v1/rules/{namespace%}", Mimir, RulesWrite, Prometheus, One, &[]),
    row(GET, "/prometheus/config/v1/rules/{namespace%}/{group%}", Mimir, RulesRead, Prometheus, One, &[]),
    row(DELETE, "/prometheus/config/v1/rules/{namespace%}/{group%}", Mimir, RulesWrite, Prometheus, One, &[]),

    // Tempo: https://grafana.com/docs/tempo/latest/api_docs/
    // GET only, though Tempo itself registers most handlers for every method.
    tempo("/tempo/api/traces/{traceID}", &[]),
    tempo("/tempo/api/v2/traces/{traceID}", &["q"]),
    row(POST, "/tempo/api/v2/traces/diff", Tempo, Read, Text, Many, &[]).rewritten(WithoutPrefix("/tempo")),
    tempo("/tempo/api/search", &["q", "tags"]),
    tempo("/tempo/api/search/tags", &[]),
    tempo("/tempo/api/v2/search/tags", &["q"]),
    tempo("/tempo/api/search/tag/{tag%}/values", &[]),
    tempo("/tempo/api/v2/search/tag/{tag%}/values", &["q"]),
    tempo("/tempo/api/metrics/query", &["q", "query"]),
    tempo("/tempo/api/metrics/query_range", &["q", "query"]),
    tempo("/tempo/api/echo", &[]),
    tempo("/tempo/api/status/buildinfo", &[]),
    row(POST, "/v1/traces", Tempo, Write, Otlp, One, &[]),
    row(POST, "/otlp/v1/traces", Tempo, Write, Otlp, One, &[]).rewritten(To("/v1/traces")),
    row(POST, "/tempo/v1/traces", Tempo, Write, Otlp, One, &[]).rewritten(To("/v1/traces")),

    // gRPC: these methods only. Every dskit server also registers /httpgrpc.HTTP/Handle,
    // which carries an HTTP request with a tenant header of its own.
    grpc_read("/tempopb.StreamingQuerier/Search"),
    grpc_read("/tempopb.StreamingQuerier/SearchTags"),
    grpc_read("/tempopb.StreamingQuerier/SearchTagsV2"),
    grpc_read("/tempopb.StreamingQuerier/SearchTagValues"),
    grpc_read("/tempopb.StreamingQuerier/SearchTagValuesV2"),
    grpc_read("/tempopb.StreamingQuerier/MetricsQueryRange"),
    grpc_read("/tempopb.StreamingQuerier/MetricsQueryInstant"),
    grpc_write("/opentelemetry.proto.collector.trace.v1.TraceService/Export", Tempo),
    grpc_write("/opentelemetry.proto.collector.logs.v1.LogsService/Export", Loki),
    grpc_write("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", Mimir),
];
