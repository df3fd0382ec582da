//! What Tempo serves in addition to its API on the same port, and nobody outside should reach.

use std::sync::PoisonError;

use super::shared::Shared;

/// Class A: Tempo answers these requests to anyone who reaches the port. The text is not Tempo's own, but one that a
/// test can recognise.
pub(super) fn page(shared: &Shared, path: &str) -> Option<String> {
    let pages = [
        "/status",
        "/memberlist",
        "/partition-ring",
        "/partition/ring",
        "/live-store/ring",
        "/distributor/ring",
        "/backend-worker/ring",
        "/usage_metrics",
        "/live-store/prepare-downscale",
        "/live-store/prepare-partition-downscale",
    ];
    let below = ["/status/", "/debug/pprof", "/static/"];
    match path {
        "/ready" => Some("ready\n".to_owned()),
        "/metrics" => Some(exposition(shared)),
        "/status/config" => Some(
            "target: all\nmultitenancy_enabled: true\nstream_over_http_enabled: true\n".to_owned(),
        ),
        _ if pages.contains(&path) || below.iter().any(|prefix| path.starts_with(prefix)) => {
            Some(format!("tempo operational page {path}\n"))
        }
        _ => None,
    }
}

fn exposition(shared: &Shared) -> String {
    let mut lines = vec!["# TYPE tempo_request_duration_seconds histogram".to_owned()];
    let answered = shared
        .answered
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    for ((method, route, status), count) in answered.iter() {
        let labels = format!("method={method:?},route={route:?},status_code={status:?}");
        lines.push(format!(
            "tempo_request_duration_seconds_count{{{labels},ws=\"false\"}} {count}"
        ));
    }
    lines.push("# TYPE tempo_distributor_spans_received_total counter".to_owned());
    for (tenant, count) in shared.store.counts() {
        lines.push(format!(
            "tempo_distributor_spans_received_total{{tenant={tenant:?}}} {count}"
        ));
    }
    lines.join("\n") + "\n"
}
