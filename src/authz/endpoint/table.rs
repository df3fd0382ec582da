//! The closed table of endpoints: one row per line, each family with the page that it was
//! compared with.
//!
//! It holds reads, writes, rules, deletes and the harmless probes that data sources send. It
//! omits everything else that the servers answer on the same ports (admin, pprof, rings,
//! configuration, shutdown, tenant settings); a path that is not listed is not found. The
//! columns are methods, path, backend, permission, format of refusals, tenants, and how the
//! endpoint is scoped ([`super::scoping`]).

use super::Backend::{Loki, Mimir, Tempo};
use super::ErrorFormat::{Grpc, Otlp, Prometheus, Text};
use super::Rewrite::{Keep, To, WithoutPrefix};
use super::Tenants::{Many, One, Optional};
use super::scoping::{
    EXEMPLARS, LOG_FIELDS, LOG_LABELS, LOG_PATTERNS, LOG_SERIES, LOG_STATS, LOG_VOLUME, LOGS,
    METRIC_SERIES, METRICS, RESOURCE_LOGS, RESOURCE_METRICS, Scoping, TAIL, TRACE_METRICS,
    TRACE_TAG_VALUES, TRACES,
};
use super::{Backend, Endpoint, ErrorFormat, Rewrite, Surface, Tenants};
use crate::words::method::Methods;
use crate::words::permission::Permission::{
    self, AlertsRead, AlertsWrite, Delete, Read, RulesRead, RulesWrite, Write,
};

const FREE: Scoping = Scoping::Harmless;
const NO: Scoping = Scoping::Unsupported;
const NO_METADATA: Scoping = Scoping::AnsweredEmpty(r#"{"status":"success","data":{}}"#);
const NO_RULES: Scoping = Scoping::AnsweredEmpty(r#"{"status":"success","data":{"groups":[]}}"#);
const NO_ALERTS: Scoping = Scoping::AnsweredEmpty(r#"{"status":"success","data":{"alerts":[]}}"#);
const GET: Methods = Methods::GET;
const POST: Methods = Methods::POST;
const DELETE: Methods = Methods::DELETE;
const GET_POST: Methods = GET.or(POST);
const POST_PUT: Methods = POST.or(Methods::PUT);
const POST_DELETE: Methods = POST.or(DELETE);
const GET_POST_DELETE: Methods = GET_POST.or(DELETE);

const fn row(
    methods: Methods,
    template: &'static str,
    backend: Backend,
    permission: Permission,
    error_format: ErrorFormat,
    tenants: Tenants,
    scoping: Scoping,
) -> Endpoint {
    Endpoint {
        methods,
        template,
        backend,
        permission,
        error_format,
        tenants,
        scoping,
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

    const fn without_tenant(self) -> Self {
        Self {
            tenants: Optional,
            ..self
        }
    }

    const fn of_projects(self) -> Self {
        Self {
            surface: Surface::Projects,
            ..self
        }
    }
}

const fn tempo(template: &'static str, scoping: Scoping) -> Endpoint {
    row(GET, template, Tempo, Read, Text, Many, scoping).rewritten(WithoutPrefix("/tempo"))
}

const fn grpc_read(template: &'static str) -> Endpoint {
    row(POST, template, Tempo, Read, Grpc, Many, NO)
}

const fn grpc_write(template: &'static str, backend: Backend) -> Endpoint {
    row(POST, template, backend, Write, Grpc, One, NO)
}

// The tests on real servers which show that the answers of these rows are limited to the scope.
const APART: &str = "stack::scopes::twins::what_is_out_of_scope_is_neither_named_nor_counted";
const TAILED: &str = "stack::scopes::apart::a_scoped_tail_gets_the_lines_of_its_namespace";
const PATTERNS_APART: &str =
    "stack::scopes::patterns::patterns_are_those_of_the_scope_whether_loki_keeps_them_or_not";
const SEARCHED: &str =
    "stack::scopes::traces::a_search_shows_traces_with_a_span_in_scope_and_of_them_no_other_span";
const TAGS_APART: &str = "stack::scopes::traces::values_of_tags_are_those_of_spans_in_scope";
const SPANS_APART: &str = "stack::scopes::traces::a_metric_of_spans_counts_those_in_scope";
const RESOURCE_APART: &str = "stack::scopes::resources::a_resources_logs_are_its_own";
const RESOURCE_METRICS_APART: &str = "stack::scopes::resources::a_resources_metrics_are_its_own";

/// Paths that tools ask for although no server has them or anything below them, with the path
/// to use instead. They are those of mimirtool's `--use-legacy-routes`.
pub(super) const MOVED: [(&str, &str); 2] = [
    ("/api/v1/rules", "/prometheus/config/v1/rules"),
    ("/prometheus/api/v1/rules", "/prometheus/config/v1/rules"),
];

/// All endpoints.
#[rustfmt::skip]
pub const TABLE: &[Endpoint] = &[
    // Loki: https://grafana.com/docs/loki/latest/reference/loki-http-api/
    row(POST, "/loki/api/v1/push", Loki, Write, Text, One, NO),
    row(POST, "/otlp/v1/logs", Loki, Write, Otlp, One, NO),
    row(POST, "/v1/logs", Loki, Write, Otlp, One, NO).rewritten(To("/otlp/v1/logs")),
    row(GET_POST, "/loki/api/v1/query", Loki, Read, Text, Many, LOGS.since(2, 8, APART)),
    row(GET_POST, "/loki/api/v1/query_range", Loki, Read, Text, Many, LOGS.since(2, 8, APART)),
    row(GET_POST, "/loki/api/v1/labels", Loki, Read, Text, Many, LOG_LABELS.since(3, 1, APART)),
    row(GET_POST, "/loki/api/v1/label", Loki, Read, Text, Many, LOG_LABELS.since(3, 1, APART)),
    row(GET_POST, "/loki/api/v1/label/{name}/values", Loki, Read, Text, Many, LOG_LABELS.since(3, 0, APART)),
    row(GET_POST, "/loki/api/v1/series", Loki, Read, Text, Many, LOG_SERIES.since(2, 8, APART)),
    row(GET_POST, "/loki/api/v1/index/stats", Loki, Read, Text, Many, LOG_STATS.since(2, 8, APART)),
    row(GET_POST, "/loki/api/v1/index/shards", Loki, Read, Text, Many, NO),
    row(GET_POST, "/loki/api/v1/index/volume", Loki, Read, Text, Many, LOG_VOLUME.since(2, 9, APART)),
    row(GET_POST, "/loki/api/v1/index/volume_range", Loki, Read, Text, Many, LOG_VOLUME.since(2, 9, APART)),
    row(GET_POST, "/loki/api/v1/patterns", Loki, Read, Text, Many, LOG_PATTERNS.since(3, 0, PATTERNS_APART)),
    row(GET_POST, "/loki/api/v1/detected_labels", Loki, Read, Text, Many, LOG_FIELDS.since(3, 2, APART)),
    row(GET_POST, "/loki/api/v1/detected_fields", Loki, Read, Text, Many, LOG_FIELDS.since(3, 0, APART)),
    row(GET_POST, "/loki/api/v1/detected_field/{name}/values", Loki, Read, Text, Many, LOG_FIELDS.since(3, 3, APART)),
    row(GET, "/loki/api/v1/tail", Loki, Read, Text, One, TAIL.since(2, 8, TAILED)).websocket(),
    row(GET_POST, "/loki/api/v1/format_query", Loki, Read, Text, Many, FREE),
    row(GET, "/loki/api/v1/status/buildinfo", Loki, Read, Text, Optional, FREE),
    row(GET, "/loki/api/v1/drilldown-limits", Loki, Read, Text, One, FREE),
    row(GET, "/loki/api/v1/rules", Loki, RulesRead, Prometheus, One, NO),
    row(GET, "/loki/api/v1/rules/{namespace}", Loki, RulesRead, Prometheus, One, NO),
    row(POST_DELETE, "/loki/api/v1/rules/{namespace}", Loki, RulesWrite, Prometheus, One, NO),
    row(GET, "/loki/api/v1/rules/{namespace}/{group}", Loki, RulesRead, Prometheus, One, NO),
    row(DELETE, "/loki/api/v1/rules/{namespace}/{group}", Loki, RulesWrite, Prometheus, One, NO),
    row(GET, "/loki/api/v1/delete", Loki, RulesRead, Text, One, NO),
    row(POST_PUT, "/loki/api/v1/delete", Loki, Delete, Text, One, NO),
    row(DELETE, "/loki/api/v1/delete", Loki, Delete, Text, One, NO),

    // Loki before /loki/api/v1, for old promtail and for Grafana's Loki rule editor
    row(POST, "/api/prom/push", Loki, Write, Text, One, NO).legacy(),
    row(GET_POST, "/api/prom/query", Loki, Read, Text, Many, NO).legacy(),
    row(GET_POST, "/api/prom/label", Loki, Read, Text, Many, NO).legacy(),
    row(GET_POST, "/api/prom/label/{name}/values", Loki, Read, Text, Many, NO).legacy(),
    row(GET_POST, "/api/prom/series", Loki, Read, Text, Many, NO).legacy(),
    row(GET, "/api/prom/tail", Loki, Read, Text, One, NO).websocket().legacy(),
    row(GET, "/api/prom/rules", Loki, RulesRead, Prometheus, One, NO).legacy(),
    row(GET, "/api/prom/rules/{namespace}", Loki, RulesRead, Prometheus, One, NO).legacy(),
    row(POST_DELETE, "/api/prom/rules/{namespace}", Loki, RulesWrite, Prometheus, One, NO).legacy(),
    row(GET, "/api/prom/rules/{namespace}/{group}", Loki, RulesRead, Prometheus, One, NO).legacy(),
    row(DELETE, "/api/prom/rules/{namespace}/{group}", Loki, RulesWrite, Prometheus, One, NO).legacy(),

    // Mimir: https://grafana.com/docs/mimir/latest/references/http-api/
    row(POST, "/prometheus/api/v1/push", Mimir, Write, Text, One, NO).rewritten(To("/api/v1/push")),
    row(POST, "/api/v1/push", Mimir, Write, Text, One, NO),
    row(POST, "/otlp/v1/metrics", Mimir, Write, Otlp, One, NO),
    row(POST, "/v1/metrics", Mimir, Write, Otlp, One, NO).rewritten(To("/otlp/v1/metrics")),
    row(GET_POST, "/prometheus/api/v1/query", Mimir, Read, Prometheus, Many, METRICS.since(2, 0, APART)),
    row(GET_POST, "/prometheus/api/v1/query_range", Mimir, Read, Prometheus, Many, METRICS.since(2, 0, APART)),
    row(GET_POST, "/prometheus/api/v1/query_exemplars", Mimir, Read, Prometheus, Many, EXEMPLARS.since(2, 0, APART)),
    row(GET_POST, "/prometheus/api/v1/labels", Mimir, Read, Prometheus, Many, METRIC_SERIES.since(2, 0, APART)),
    row(GET, "/prometheus/api/v1/label/{name}/values", Mimir, Read, Prometheus, Many, METRIC_SERIES.since(2, 0, APART)),
    row(GET_POST, "/prometheus/api/v1/series", Mimir, Read, Prometheus, Many, METRIC_SERIES.since(2, 0, APART)),
    row(GET, "/prometheus/api/v1/metadata", Mimir, Read, Prometheus, Many, NO_METADATA),
    row(POST, "/prometheus/api/v1/read", Mimir, Read, Prometheus, Many, NO),
    row(GET_POST, "/prometheus/api/v1/format_query", Mimir, Read, Prometheus, Many, FREE),
    row(GET_POST, "/prometheus/api/v1/cardinality/label_names", Mimir, Read, Prometheus, One, NO),
    row(GET_POST, "/prometheus/api/v1/cardinality/label_values", Mimir, Read, Prometheus, One, NO),
    row(GET_POST, "/prometheus/api/v1/cardinality/active_series", Mimir, Read, Prometheus, One, NO),
    row(GET_POST, "/prometheus/api/v1/cardinality/active_native_histogram_metrics", Mimir, Read, Prometheus, One, NO),
    row(GET, "/prometheus/api/v1/rules", Mimir, RulesRead, Prometheus, One, NO_RULES),
    row(GET, "/prometheus/api/v1/alerts", Mimir, RulesRead, Prometheus, One, NO_ALERTS),
    row(GET, "/prometheus/api/v1/status/buildinfo", Mimir, Read, Prometheus, Optional, FREE),
    // Grafana's Alertmanager data source requests these: at the root of the host, or below its own path.
    row(GET, "/api/v1/status/buildinfo", Mimir, Read, Prometheus, Optional, FREE),
    row(GET, "/alertmanager/api/v1/status/buildinfo", Mimir, Read, Prometheus, Optional, FREE),
    row(GET, "/prometheus/config/v1/rules", Mimir, RulesRead, Prometheus, One, NO),
    row(GET, "/prometheus/config/v1/rules/{namespace%}", Mimir, RulesRead, Prometheus, One, NO),
    row(POST_DELETE, "/prometheus/config/v1/rules/{namespace%}", Mimir, RulesWrite, Prometheus, One, NO),
    row(GET, "/prometheus/config/v1/rules/{namespace%}/{group%}", Mimir, RulesRead, Prometheus, One, NO),
    row(DELETE, "/prometheus/config/v1/rules/{namespace%}/{group%}", Mimir, RulesWrite, Prometheus, One, NO),

    // Mimir's Alertmanager: https://grafana.com/docs/mimir/latest/references/http-api/#alertmanager
    // Its configuration holds the secrets of receivers in clear text, so whoever may see it may as well change it.
    row(GET, "/alertmanager/api/v2/status", Mimir, AlertsRead, Prometheus, One, NO),
    row(GET, "/alertmanager/api/v2/receivers", Mimir, AlertsRead, Prometheus, One, NO),
    row(GET, "/alertmanager/api/v2/alerts", Mimir, AlertsRead, Prometheus, One, NO),
    row(POST, "/alertmanager/api/v2/alerts", Mimir, AlertsWrite, Prometheus, One, NO),
    row(GET, "/alertmanager/api/v2/alerts/groups", Mimir, AlertsRead, Prometheus, One, NO),
    row(GET, "/alertmanager/api/v2/silences", Mimir, AlertsRead, Prometheus, One, NO),
    row(POST, "/alertmanager/api/v2/silences", Mimir, AlertsWrite, Prometheus, One, NO),
    row(GET, "/alertmanager/api/v2/silence/{id}", Mimir, AlertsRead, Prometheus, One, NO),
    row(DELETE, "/alertmanager/api/v2/silence/{id}", Mimir, AlertsWrite, Prometheus, One, NO),
    row(GET_POST_DELETE, "/api/v1/alerts", Mimir, AlertsWrite, Prometheus, One, NO),

    // Tempo: https://grafana.com/docs/tempo/latest/api_docs/
    // GET only, although Tempo itself registers most handlers for every method.
    tempo("/tempo/api/traces/{traceID}", Scoping::WholeTrace),
    tempo("/tempo/api/v2/traces/{traceID}", Scoping::WholeTrace),
    row(POST, "/tempo/api/v2/traces/diff", Tempo, Read, Text, Many, NO).rewritten(WithoutPrefix("/tempo")),
    tempo("/tempo/api/search", TRACES.since(2, 0, SEARCHED)),
    tempo("/tempo/api/search/tags", NO),
    // Tempo remembers the names of tags regardless of the filter in the request.
    tempo("/tempo/api/v2/search/tags", NO),
    tempo("/tempo/api/search/tag/{tag%2F}/values", NO),
    tempo("/tempo/api/v2/search/tag/{tag%2F}/values", TRACE_TAG_VALUES.since(2, 10, TAGS_APART)),
    tempo("/tempo/api/metrics/query", TRACE_METRICS.since(2, 6, SPANS_APART)),
    tempo("/tempo/api/metrics/query_range", TRACE_METRICS.since(2, 4, SPANS_APART)),
    tempo("/tempo/api/echo", FREE).without_tenant(),
    tempo("/tempo/api/status/buildinfo", FREE).without_tenant(),
    row(POST, "/v1/traces", Tempo, Write, Otlp, One, NO),
    row(POST, "/otlp/v1/traces", Tempo, Write, Otlp, One, NO).rewritten(To("/v1/traces")),
    row(POST, "/tempo/v1/traces", Tempo, Write, Otlp, One, NO).rewritten(To("/v1/traces")),

    // gRPC: only these methods. Every dskit server also registers /httpgrpc.HTTP/Handle,
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

    // The projects API: docs/openapi.yaml
    row(GET, "/api/v1/projects/{project}/resources/{resource}/logs", Loki, Read, Prometheus, One, RESOURCE_LOGS.since(2, 8, RESOURCE_APART)).rewritten(To("/loki/api/v1/query_range")).of_projects(),
    row(GET, "/api/v1/projects/{project}/resources/{resource}/metrics/query_range", Mimir, Read, Prometheus, One, RESOURCE_METRICS.since(2, 0, RESOURCE_METRICS_APART)).rewritten(To("/prometheus/api/v1/query_range")).of_projects(),
];
