//! The stand-in for Tempo behaves like Tempo in these respects, so that a test which passes with it says something
//! about Tempo.

#![allow(clippy::expect_used, clippy::unwrap_used)]
#![expect(clippy::float_cmp, reason = "what is compared is whole numbers")]

use std::io::Write;
use std::net::SocketAddr;

use flate2::Compression;
use flate2::write::GzEncoder;
use integration::client::{Protocol, RawRequest, Reply, Target};
use integration::grpc::{
    EXPORT_TRACES, ExportResponse, GrpcClient, SEARCH, SEARCH_TAGS, SearchRequest, SearchResponse,
    SearchTagsResponse, framed,
};
use integration::otlp::{self, ExportTraceServiceRequest};
use integration::stack::tempo_stand_in::TempoStandIn;
use integration::stack::tempo_stand_in::wire::{
    QueryInstantResponse, QueryRangeRequest, QueryRangeResponse, RpcStatus, SearchTagValuesRequest,
    SearchTagValuesResponse, SearchTagValuesV2Response, SearchTagsRequest, SearchTagsV2Response,
    TraceByIdResponse,
};
use prost::Message;
use serde_json::{Value, json};
use tonic::Code;

const CHECKOUT: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
const SHORT: u128 = 0xab;
const PROTOBUF: &str = "application/x-protobuf";

/// Two traces of the shop, one of them with a child span.
fn shop() -> ExportTraceServiceRequest {
    otlp::traces(
        "shop",
        &[
            (CHECKOUT, "checkout", &[("http.method", "POST")]),
            (CHECKOUT, "charge", &[("card/kind", "debit")]),
            (SHORT, "browse", &[("http.method", "GET")]),
        ],
    )
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

async fn send(address: SocketAddr, request: RawRequest) -> Reply {
    let reply = request.send(&Target::plain(address), Protocol::H1).await;
    reply.expect("an answer")
}

async fn push(tempo: &TempoStandIn, content_type: &str, tenants: &[&str], body: Vec<u8>) -> Reply {
    let mut request = RawRequest::post("/v1/traces", body).header("content-type", content_type);
    for tenant in tenants {
        request = request.tenant(tenant);
    }
    send(tempo.otlp_http(), request).await
}

/// With the shop's spans in tenant `a` and an office's in `b`.
async fn filled() -> TempoStandIn {
    let tempo = TempoStandIn::start().await.expect("listeners");
    let office = otlp::traces("office", &[(CHECKOUT + 1, "print", &[])]);
    for (tenant, request) in [("a", shop()), ("b", office)] {
        let reply = push(&tempo, PROTOBUF, &[tenant], request.encode_to_vec()).await;
        assert_eq!((reply.status, reply.body.len()), (200, 0));
    }
    tempo
}

async fn get(tempo: &TempoStandIn, tenant: &str, path: &str) -> Reply {
    send(tempo.http(), RawRequest::get(path).tenant(tenant)).await
}

async fn get_json(tempo: &TempoStandIn, tenant: &str, path: &str) -> Value {
    let reply = get(tempo, tenant, path).await;
    assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    reply.json().expect("JSON")
}

/// The root span names a search finds, sorted.
async fn found(tempo: &TempoStandIn, tenant: &str, parameters: &str) -> Vec<String> {
    let answer = get_json(tempo, tenant, &format!("/api/search?{parameters}")).await;
    let traces = answer["traces"].as_array().expect("a list");
    let name = |trace: &Value| trace["rootTraceName"].as_str().expect("a name").to_owned();
    let mut names: Vec<String> = traces.iter().map(name).collect();
    names.sort();
    names
}

fn escaped(query: &str) -> String {
    format!("q={}", integration::form::encode(query))
}

#[tokio::test]
async fn a_write_without_one_tenant_is_worth_a_retry_and_with_a_wrong_one_is_not() {
    let tempo = TempoStandIn::start().await.expect("listeners");
    let body = shop().encode_to_vec();
    let cases: [(&[&str], u16, i32); 8] = [
        (&[], 503, 14),
        (&[""], 503, 14),
        (&["a", "b"], 503, 14),
        (&["", "a"], 503, 14),
        (&["a|b"], 400, 3),
        (&["a|"], 400, 3),
        (&["a b"], 400, 3),
        (&[".."], 400, 3),
    ];
    for (tenants, status, code) in cases {
        let reply = push(&tempo, PROTOBUF, tenants, body.clone()).await;
        assert_eq!(reply.status, status, "{tenants:?}");
        assert_eq!(reply.header("content-type").as_deref(), Some(PROTOBUF));
        let refusal = RpcStatus::decode(reply.body.as_slice()).expect("a Status");
        assert_eq!(refusal.code, code, "{tenants:?}");
        let json = otlp::json::traces(&shop()).to_string().into_bytes();
        let reply = push(&tempo, "application/json", tenants, json).await;
        let refusal = reply.json().expect("a JSON Status");
        assert_eq!((reply.status, &refusal["code"]), (status, &json!(code)));
        let client = GrpcClient::connect(tempo.otlp_grpc()).await.expect("gRPC");
        let metadata: Vec<(&str, &str)> = tenants.iter().map(|it| ("x-scope-orgid", *it)).collect();
        let refused = client
            .unary::<_, ExportResponse>(EXPORT_TRACES, &metadata, shop())
            .await;
        assert_eq!(
            refused.expect_err("refused").code(),
            Code::from(code),
            "{tenants:?}"
        );
    }
    assert_eq!((tempo.spans("a"), tempo.spans("b")), (0, 0));
    assert_eq!(tempo.requests(), 3 * cases.len());
}

#[tokio::test]
async fn every_encoding_of_a_write_stores_the_same_trace() {
    let tempo = TempoStandIn::start().await.expect("listeners");
    let request = shop();
    let protobuf = request.encode_to_vec();
    let json = otlp::json::traces(&request).to_string().into_bytes();
    let pushes = [
        ("plain", PROTOBUF, false, &protobuf),
        ("packed", PROTOBUF, true, &protobuf),
        ("json", "application/json; charset=utf-8", false, &json),
        ("packed-json", "application/json", true, &json),
    ];
    for (tenant, content_type, packed, body) in pushes {
        let body = if packed { gzip(body) } else { body.clone() };
        let mut push = RawRequest::post("/v1/traces", body)
            .header("content-type", content_type)
            .tenant(tenant);
        if packed {
            push = push.header("content-encoding", "gzip");
        }
        assert_eq!(send(tempo.otlp_http(), push).await.status, 200, "{tenant}");
    }
    let client = GrpcClient::connect(tempo.otlp_grpc()).await.expect("gRPC");
    let metadata = [("x-scope-orgid", "grpc")];
    let exported = client
        .unary::<_, ExportResponse>(EXPORT_TRACES, &metadata, request)
        .await;
    exported.expect("taken");
    // As the Collector's exporter sends it unless told otherwise.
    let mut frame = framed(&gzip(&protobuf)).to_vec();
    frame[0] = 1;
    let packed = RawRequest::post(EXPORT_TRACES, frame)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-encoding", "gzip")
        .tenant("packed-grpc");
    let reply = packed
        .send(&Target::plain(tempo.otlp_grpc()), Protocol::H2)
        .await
        .expect("an answer");
    assert_eq!(reply.grpc_status(), Some(0));
    let path = format!("/api/v2/traces/{CHECKOUT:032x}");
    let first = get_json(&tempo, "plain", &path).await;
    assert_eq!(
        first["trace"]["resourceSpans"][0]["scopeSpans"][1]["spans"][0]["name"],
        "charge"
    );
    for tenant in ["packed", "json", "packed-json", "grpc", "packed-grpc"] {
        assert_eq!(tempo.spans(tenant), 3, "{tenant}");
        assert_eq!(get_json(&tempo, tenant, &path).await, first, "{tenant}");
    }
}

#[tokio::test]
async fn what_is_no_export_is_refused() {
    let tempo = TempoStandIn::start().await.expect("listeners");
    let mut short = shop();
    short.resource_spans[0].scope_spans[0].spans[0]
        .trace_id
        .pop();
    let wrong =
        json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [{ "traceId": "xy" }] }] }] });
    for (content_type, body, status) in [
        (PROTOBUF, b"\xff\xff".to_vec(), 400),
        (PROTOBUF, short.encode_to_vec(), 400),
        ("application/json", wrong.to_string().into_bytes(), 400),
        ("application/json", b"[]".to_vec(), 400),
        ("text/plain", shop().encode_to_vec(), 415),
    ] {
        assert_eq!(
            push(&tempo, content_type, &["a"], body).await.status,
            status
        );
    }
    let get = RawRequest::get("/v1/traces").tenant("a");
    assert_eq!(send(tempo.otlp_http(), get).await.status, 405);
    let elsewhere = RawRequest::post("/v1/logs", "").tenant("a");
    assert_eq!(send(tempo.otlp_http(), elsewhere).await.status, 404);
    assert_eq!(tempo.spans("a"), 0);
}

#[tokio::test]
async fn a_trace_is_its_tenants_alone() {
    let tempo = filled().await;
    let id = format!("{CHECKOUT:032x}");
    let v1 = get_json(&tempo, "a", &format!("/api/traces/{id}")).await;
    let span = &v1["batches"][0]["scopeSpans"][0]["spans"][0];
    // Base64 and names of enums, as Tempo has it.
    assert_eq!(
        (&span["traceId"], &span["kind"]),
        (
            &json!("S/kvNXezTaajzpKdDg5HNg=="),
            &json!("SPAN_KIND_SERVER")
        )
    );
    let protobuf = RawRequest::get(&format!("/api/v2/traces/{id}"))
        .tenant("a")
        .header("accept", "application/protobuf");
    let reply = send(tempo.http(), protobuf).await;
    let answer = TraceByIdResponse::decode(reply.body.as_slice()).expect("protobuf");
    assert_eq!(
        answer.trace.expect("a trace").resource_spans[0]
            .scope_spans
            .len(),
        2
    );
    // Another tenant: v1 does not find it, v2 answers an empty trace.
    assert_eq!(
        get(&tempo, "b", &format!("/api/traces/{id}")).await.status,
        404
    );
    let none = get_json(&tempo, "b", &format!("/api/v2/traces/{id}")).await;
    assert_eq!(none["trace"], json!({}));
    let empty = RawRequest::get(&format!("/api/traces/{id}"))
        .tenant("")
        .tenant("a");
    assert_eq!(send(tempo.http(), empty).await.status, 401);
    // Both tenants; then the first of two headers; then what dskit cuts off.
    for tenant in ["a|b", "b|a|a", "a:x"] {
        assert_eq!(
            get(&tempo, tenant, &format!("/api/traces/{id}"))
                .await
                .status,
            200,
            "{tenant}"
        );
    }
    let two = RawRequest::get(&format!("/api/traces/{id}"))
        .tenant("b")
        .tenant("a");
    assert_eq!(send(tempo.http(), two).await.status, 404);
    assert_eq!(get(&tempo, "a", "/api/traces/ab").await.status, 200);
    assert_eq!(get(&tempo, "a", "/api/traces/xyz").await.status, 400);
}

#[tokio::test]
async fn a_read_needs_a_tenant() {
    let tempo = filled().await;
    for path in [
        "/api/search",
        "/api/search/tags",
        "/api/v2/search/tag/name/values",
        "/api/traces/ab",
        "/api/metrics/query",
    ] {
        let reply = send(tempo.http(), RawRequest::get(path)).await;
        assert_eq!(
            (reply.status, reply.text().as_str()),
            (401, "no org id"),
            "{path}"
        );
    }
    for tenant in ["a|", "a/b", ".", &"a".repeat(151)] {
        assert_eq!(
            get(&tempo, tenant, "/api/search").await.status,
            400,
            "{tenant}"
        );
    }
    for path in ["/api/echo", "/api/status/buildinfo"] {
        assert_eq!(
            send(tempo.http(), RawRequest::get(path)).await.status,
            200,
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_search_finds_what_the_query_says() {
    let tempo = filled().await;
    for (query, names) in [
        ("", vec!["browse", "checkout"]),
        ("{}", vec!["browse", "checkout"]),
        (
            "{ resource.service.name = \"shop\" }",
            vec!["browse", "checkout"],
        ),
        ("{ resource.service.name = \"office\" }", vec![]),
        ("{ .http.method = `GET` }", vec!["browse"]),
        (
            "{ .service.name = \"shop\" && span.http.method=\"POST\" }",
            vec!["checkout"],
        ),
        ("{ span.service.name = \"shop\" }", vec![]),
        ("{ name = \"charge\" }", vec!["checkout"]),
        ("{ name = \"charge\" && .http.method = \"POST\" }", vec![]),
    ] {
        assert_eq!(found(&tempo, "a", &escaped(query)).await, names, "{query}");
    }
    assert_eq!(
        found(&tempo, "a|b", "").await,
        ["browse", "checkout", "print"]
    );
    assert_eq!(found(&tempo, "b", "").await, ["print"]);
    assert_eq!(
        found(
            &tempo,
            "a",
            "tags=service.name%3Dshop%20name%3D%22charge%22"
        )
        .await,
        ["checkout"]
    );
    assert_eq!(found(&tempo, "a", "limit=1").await.len(), 1);
    assert!(found(&tempo, "a", "start=1&end=2").await.is_empty());
    // The first of a repeated parameter counts.
    assert!(found(&tempo, "a", "end=2&end=4000000000").await.is_empty());
    let answer = get_json(
        &tempo,
        "a",
        &format!("/api/search?{}", escaped("{ name = \"browse\" }")),
    )
    .await;
    assert_eq!(answer["traces"][0]["traceID"], "ab");
    assert_eq!(answer["traces"][0]["rootServiceName"], "shop");
    assert_eq!(answer["traces"][0]["durationMs"], 5);
    assert_eq!(answer["traces"][0]["spanSets"][0]["matched"], 1);
}

#[tokio::test]
async fn what_is_not_understood_is_never_answered() {
    let tempo = filled().await;
    for query in [
        "{",
        "{ }x",
        "shop",
        "{ status = error }",
        "{ .a = 1 }",
        "{ .a != \"x\" }",
        "{ .a =~ \"x\" }",
        "{ .a = \"x }",
        "{ .a = \"x\" || .b = \"y\" }",
        "{ name = \"x\" } | rate()",
        "{} >> {}",
        "{ service.name = \"x\" }",
        "{ . = \"x\" }",
        "{ .a = \"\\n\" }",
        "{ .a = \"x\" && }",
        "{ !(.a = \"x\") }",
    ] {
        let reply = get(&tempo, "a", &format!("/api/search?{}", escaped(query))).await;
        assert_eq!(reply.status, 400, "{query}");
        assert!(
            reply.text().contains("invalid TraceQL query"),
            "{}",
            reply.text()
        );
    }
    for path in [
        "/api/search?tags=broken",
        "/api/search?limit=x",
        "/api/search?start=-1",
        "/api/search/tags?scope=x",
        "/api/v2/search/tag/service.name/values",
        "/api/metrics/query_range?q=%7B%7D",
        "/api/metrics/query?q=x",
        "/api/metrics/query_range?q=%7B%7D%7Crate()&step=0",
        "/api/metrics/query_range?q=%7B%7D%7Crate()&step=1ms",
    ] {
        assert_eq!(get(&tempo, "a", path).await.status, 400, "{path}");
    }
    for path in [
        "/",
        "/api/overrides",
        "/api/mcp",
        "/api/metrics/summary",
        "/tempo/api/search",
        "/api/traces/ab/cd",
    ] {
        assert_eq!(get(&tempo, "a", path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn tags_and_their_values() {
    let tempo = filled().await;
    let tags = get_json(&tempo, "a", "/api/search/tags").await;
    assert_eq!(
        tags["tagNames"],
        json!(["service.name", "card/kind", "http.method", "name"])
    );
    let tags = get_json(&tempo, "a", "/api/v2/search/tags?scope=span").await;
    assert_eq!(
        tags["scopes"],
        json!([{ "name": "span", "tags": ["card/kind", "http.method"] }])
    );
    let tags = get_json(&tempo, "b", "/api/v2/search/tags?scope=span").await;
    assert_eq!(tags["scopes"], json!([]));
    for path in ["card/kind", "card%2Fkind"] {
        let values = get_json(&tempo, "a", &format!("/api/search/tag/{path}/values")).await;
        assert_eq!(values["tagValues"], json!(["debit"]), "{path}");
    }
    let values = get_json(
        &tempo,
        "a|b",
        "/api/v2/search/tag/resource.service.name/values",
    )
    .await;
    let text = |value| json!({ "type": "string", "value": value });
    assert_eq!(values["tagValues"], json!([text("office"), text("shop")]));
    let filtered = format!(
        "/api/v2/search/tag/.http.method/values?{}",
        escaped("{ name = \"browse\" }")
    );
    assert_eq!(
        get_json(&tempo, "a", &filtered).await["tagValues"],
        json!([text("GET")])
    );
}

#[tokio::test]
async fn metrics_count_spans() {
    let tempo = filled().await;
    let count = escaped("{ resource.service.name = \"shop\" } | count_over_time()");
    let answer = get_json(
        &tempo,
        "a",
        &format!("/api/metrics/query_range?{count}&step=30s"),
    )
    .await;
    let samples = answer["series"][0]["samples"].as_array().expect("samples");
    let total: f64 = samples
        .iter()
        .map(|sample| sample["value"].as_f64().expect("a number"))
        .sum();
    assert_eq!((samples.len(), total), (120, 3.0));
    // Both names are read, and q wins.
    let query = format!("/api/metrics/query?query=nonsense&{count}");
    assert_eq!(
        get_json(&tempo, "a", &query).await["series"][0]["value"],
        3.0
    );
    let rate = format!(
        "/api/metrics/query?since=1m&{}",
        escaped("{ name = \"browse\" } | rate()")
    );
    let value = get_json(&tempo, "a", &rate).await["series"][0]["value"]
        .as_f64()
        .expect("a number");
    assert!((value - 1.0 / 60.0).abs() < 1e-9, "{value}");
    assert_eq!(get_json(&tempo, "b", &query).await["series"], json!([]));
}

#[tokio::test]
async fn any_method_reads_and_operational_pages_answer_anyone() {
    let tempo = filled().await;
    for method in ["GET", "POST", "PUT", "DELETE"] {
        let mut request = RawRequest::new(method, "/api/search?limit=1").tenant("a");
        request.body = b"q={ nonsense".to_vec();
        let request = request.header("content-length", "12");
        assert_eq!(send(tempo.http(), request).await.status, 200, "{method}");
    }
    for (path, text) in [
        ("/status/config", "multitenancy_enabled: true"),
        ("/status%2Fconfig", "multitenancy_enabled: true"),
        ("/status", "tempo operational page"),
        ("/debug/pprof/", "tempo operational page"),
        ("/live-store/prepare-downscale", "tempo operational page"),
        ("/ready", "ready"),
    ] {
        let reply = send(tempo.http(), RawRequest::new("DELETE", path)).await;
        assert_eq!(reply.status, 200, "{path}");
        assert!(reply.text().contains(text), "{path}: {}", reply.text());
    }
    assert_eq!(get(&tempo, "a", "/querier/api/search").await.status, 200);
    let metrics = send(tempo.http(), RawRequest::get("/metrics")).await.text();
    let counted = "{method=\"DELETE\",route=\"api_search\",status_code=\"200\",ws=\"false\"} 1\n";
    assert!(
        metrics.contains(&format!("tempo_request_duration_seconds_count{counted}")),
        "{metrics}"
    );
    assert!(
        metrics.contains("tempo_distributor_spans_received_total{tenant=\"a\"} 3\n"),
        "{metrics}"
    );
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
async fn streaming_queries_share_the_http_port() {
    let tempo = filled().await;
    let client = GrpcClient::connect(tempo.http()).await.expect("gRPC");
    let a = [("x-scope-orgid", "a")];
    let search = |query: &str| SearchRequest {
        query: query.to_owned(),
        ..SearchRequest::default()
    };
    let messages: Vec<SearchResponse> = client
        .server_streaming(SEARCH, &a, search("{}"))
        .await
        .expect("a stream");
    let names: Vec<&str> = messages
        .iter()
        .map(|it| it.traces[0].root_trace_name.as_str())
        .collect();
    assert_eq!((messages.len(), names.contains(&"browse")), (2, true));
    let tagged = SearchRequest {
        tags: [("http.method".to_owned(), "GET".to_owned())].into(),
        ..SearchRequest::default()
    };
    let messages: Vec<SearchResponse> = client
        .server_streaming(SEARCH, &a, tagged)
        .await
        .expect("a stream");
    assert_eq!(messages.len(), 1);
    let refused = client
        .server_streaming::<_, SearchResponse>(SEARCH, &a, search("{ x }"))
        .await
        .expect_err("refused");
    assert_eq!(refused.code(), Code::InvalidArgument);
    for metadata in [&[][..], &[("x-scope-orgid", "a"), ("x-scope-orgid", "b")]] {
        let refused = client
            .server_streaming::<_, SearchResponse>(SEARCH, metadata, search("{}"))
            .await
            .expect_err("refused");
        assert_eq!(
            (refused.code(), refused.message()),
            (Code::Unknown, "no org id")
        );
    }

    let path = |method: &str| format!("/tempopb.StreamingQuerier/{method}");
    let tags = SearchTagsRequest {
        scope: "resource".to_owned(),
        query: String::new(),
    };
    let reply: Vec<SearchTagsResponse> = client
        .server_streaming(SEARCH_TAGS, &a, tags.clone())
        .await
        .expect("tags");
    assert_eq!(reply[0].tag_names, ["service.name"]);
    let reply: Vec<SearchTagsV2Response> = client
        .server_streaming(&path("SearchTagsV2"), &a, tags)
        .await
        .expect("tags");
    assert_eq!(
        (
            reply[0].scopes[0].name.as_str(),
            &reply[0].scopes[0].tags[..]
        ),
        ("resource", &["service.name".to_owned()][..])
    );
    let values = |tag: &str| SearchTagValuesRequest {
        tag_name: tag.to_owned(),
        query: String::new(),
    };
    let reply: Vec<SearchTagValuesResponse> = client
        .server_streaming(&path("SearchTagValues"), &a, values("service.name"))
        .await
        .expect("values");
    assert_eq!(reply[0].tag_values, ["shop"]);
    let reply: Vec<SearchTagValuesV2Response> = client
        .server_streaming(&path("SearchTagValuesV2"), &a, values("span.card/kind"))
        .await
        .expect("values");
    assert_eq!(
        (
            reply[0].tag_values[0].r#type.as_str(),
            reply[0].tag_values[0].value.as_str()
        ),
        ("string", "debit")
    );
    let end = otlp::unix_nanos();
    let minute = 60_000_000_000;
    let query = QueryRangeRequest {
        query: "{} | count_over_time()".to_owned(),
        start: end - minute,
        end,
        step: minute / 2,
    };
    let reply: Vec<QueryRangeResponse> = client
        .server_streaming(&path("MetricsQueryRange"), &a, query.clone())
        .await
        .expect("series");
    let samples: Vec<f64> = reply[0].series[0]
        .samples
        .iter()
        .map(|sample| sample.value)
        .collect();
    assert_eq!((samples.len(), samples.iter().sum::<f64>()), (2, 3.0));
    let reply: Vec<QueryInstantResponse> = client
        .server_streaming(&path("MetricsQueryInstant"), &a, query)
        .await
        .expect("series");
    assert_eq!(reply[0].series[0].value, 3.0);

    for open in [
        "/tempopb.Querier/FindTraceByID",
        "/httpgrpc.HTTP/Handle",
        "/grpc.health.v1.Health/Check",
    ] {
        let reply = client
            .unary::<_, ExportResponse>(open, &[], ExportResponse {})
            .await;
        assert!(reply.is_ok(), "{open}: {reply:?}");
    }
    let unknown = client
        .unary::<_, ExportResponse>(&path("Delete"), &a, ExportResponse {})
        .await
        .expect_err("refused");
    assert_eq!(unknown.code(), Code::Unimplemented);
}

#[tokio::test]
async fn spans_outlive_a_time_without_ports() {
    let tempo = filled().await;
    let before = tempo.requests();
    tempo.down().await;
    for address in [tempo.http(), tempo.otlp_http(), tempo.otlp_grpc()] {
        let refused = RawRequest::get("/ready")
            .send(&Target::plain(address), Protocol::H1)
            .await;
        assert!(refused.is_err(), "{address} is still open");
    }
    assert_eq!(tempo.requests(), before);
    tempo.up().await.expect("the same ports");
    assert_eq!(found(&tempo, "a", "").await, ["browse", "checkout"]);
    assert_eq!(tempo.requests(), before + 1);
}
