//! The Tempo data source with streaming: gRPC at the root of the host, whatever the data source's path.

use anyhow::{Context, Result, ensure};
use integration::grpc::{GrpcClient, SEARCH, SearchRequest, SearchResponse};
use integration::stack::tempo_stand_in::wire::{
    SearchTagValuesRequest, SearchTagValuesV2Response, SearchTagsRequest, SearchTagsV2Response,
};
use integration::stack::{ACME, GLOBEX};
use prost::Message;
use tonic::Code;

use super::{BOTH, NOT_GRANTED};
use crate::clients::{GRANTED, Whose};
use crate::scene::Scene;
use crate::tests;

tests![
    a_search_streams_traces,
    tags_and_their_values_stream,
    refusals_come_as_grpc_statuses,
    no_other_method_is_served,
];

async fn a_search_streams_traces(scene: &Scene) -> Result<()> {
    let request = SearchRequest {
        query: "{}".to_owned(),
        limit: 20,
        start: u32::try_from(scene.from)?,
        end: u32::try_from(scene.to)?,
        ..SearchRequest::default()
    };
    check::<_, SearchResponse>(scene, SEARCH, &request).await
}

async fn tags_and_their_values_stream(scene: &Scene) -> Result<()> {
    for tag in ["resource.service.name", "span.owner"] {
        let request = SearchTagValuesRequest {
            tag_name: tag.to_owned(),
            ..SearchTagValuesRequest::default()
        };
        check::<_, SearchTagValuesV2Response>(scene, TAG_VALUES, &request).await?;
    }
    // Names of tags are the same for both tenants.
    let client = GrpcClient::connect(scene.stack.plain()).await?;
    let token = format!("Bearer {}", scene.token("alice").await?);
    let metadata = [("authorization", token.as_str()), ("x-scope-orgid", ACME)];
    let answers: Vec<SearchTagsV2Response> = client
        .server_streaming(TAGS, &metadata, SearchTagsRequest::default())
        .await?;
    let text = format!("{answers:?}");
    ensure!(
        text.contains("\"owner\"") && text.contains("\"service.name\""),
        "{text}"
    );
    Ok(())
}

async fn refusals_come_as_grpc_statuses(scene: &Scene) -> Result<()> {
    let client = GrpcClient::connect(scene.stack.plain()).await?;
    let refused = [
        ("alice", Some(GLOBEX), Code::PermissionDenied, NOT_GRANTED),
        ("alice", Some(BOTH), Code::PermissionDenied, NOT_GRANTED),
        (
            "agent-acme",
            Some(ACME),
            Code::PermissionDenied,
            "permission 'read'",
        ),
        ("alice", None, Code::InvalidArgument, "no tenant"),
        (
            "alice",
            Some("acme|"),
            Code::InvalidArgument,
            "malformed X-Scope-OrgID",
        ),
    ];
    for (who, tenants, code, reason) in refused {
        let token = format!("Bearer {}", scene.token(who).await?);
        let mut metadata = vec![("authorization", token.as_str())];
        metadata.extend(tenants.map(|tenants| ("x-scope-orgid", tenants)));
        let answer = client
            .server_streaming::<_, SearchResponse>(SEARCH, &metadata, SearchRequest::default())
            .await;
        let status = answer
            .err()
            .with_context(|| format!("{who}, {tenants:?}: let through"))?;
        let told = status.code() == code && status.message().contains(reason);
        ensure!(told, "{who}, {tenants:?}: {status:?}");
    }
    let metadata = [("x-scope-orgid", ACME)];
    let answer = client
        .server_streaming::<_, SearchResponse>(SEARCH, &metadata, SearchRequest::default())
        .await;
    let status = answer.err().context("let through without a token")?;
    ensure!(status.code() == Code::Unauthenticated, "{status:?}");
    Ok(())
}

/// The one that would carry a request with a tenant of its own, and Tempo's way inside.
async fn no_other_method_is_served(scene: &Scene) -> Result<()> {
    let client = GrpcClient::connect(scene.stack.plain()).await?;
    let token = format!("Bearer {}", scene.token("alice").await?);
    let metadata = [("authorization", token.as_str()), ("x-scope-orgid", ACME)];
    for method in ["/httpgrpc.HTTP/Handle", "/tempopb.Querier/FindTraceByID"] {
        let answer = client
            .unary::<_, SearchResponse>(method, &metadata, SearchRequest::default())
            .await;
        let status = answer
            .err()
            .with_context(|| format!("{method}: let through"))?;
        ensure!(status.code() == Code::Unimplemented, "{method}: {status:?}");
        ensure!(status.message() == "not found", "{method}: {status:?}");
    }
    Ok(())
}

/// As Tempo itself answers about both tenants; then through the gate, where each caller gets what is theirs.
async fn check<Q, R>(scene: &Scene, method: &str, request: &Q) -> Result<()>
where
    Q: Message + Clone + Default + 'static,
    R: std::fmt::Debug + Message + Default + 'static,
{
    let tempo = GrpcClient::connect(scene.stack.tempo.http()).await?;
    let metadata = [("x-scope-orgid", BOTH)];
    let control: Vec<R> = tempo
        .server_streaming(method, &metadata, request.clone())
        .await?;
    Whose::Both
        .check(&format!("{control:?}"))
        .context("Tempo itself")?;
    let client = GrpcClient::connect(scene.stack.plain()).await?;
    for (who, tenants) in GRANTED {
        let token = format!("Bearer {}", scene.token(who).await?);
        let metadata = [
            ("authorization", token.as_str()),
            ("x-scope-orgid", tenants),
            ("user-agent", "Grafana/12.2.0"),
        ];
        let answers: Vec<R> = client
            .server_streaming(method, &metadata, request.clone())
            .await?;
        let checked = Whose::of(tenants).check(&format!("{answers:?}"));
        checked.with_context(|| format!("{who}, {tenants}, {method}"))?;
    }
    Ok(())
}

const TAGS: &str = "/tempopb.StreamingQuerier/SearchTagsV2";
const TAG_VALUES: &str = "/tempopb.StreamingQuerier/SearchTagValuesV2";
