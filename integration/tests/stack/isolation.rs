//! What one tenant writes, only that tenant can read.

use anyhow::{Result, bail, ensure};
use integration::client::{Protocol, RawRequest, Reply};
use integration::grpc::{self, GrpcClient};
use integration::stack::{ACME, GLOBEX};
use scopegate::authz::endpoint::{Endpoint, Tenants};

use crate::reads::{READS, Read, federates, remote_read, remote_read_text, server, settled};
use crate::scene::Scene;
use crate::servers::Servers;

/// Side by side with others that read.
pub mod quiet {
    use super::{
        a_reader_of_both_sees_both, a_reader_of_one_never_sees_the_other,
        remote_read_and_streams_keep_tenants_apart,
    };

    crate::tests![
        a_reader_of_one_never_sees_the_other,
        a_reader_of_both_sees_both,
        remote_read_and_streams_keep_tenants_apart,
    ];
}

/// They count what reaches the servers.
pub mod alone {
    use super::{
        a_request_that_is_refused_reaches_no_server, an_allowed_request_is_counted_by_the_server,
    };

    crate::tests![
        an_allowed_request_is_counted_by_the_server,
        a_request_that_is_refused_reaches_no_server,
    ];
}

/// Each read there is, with each method it takes.
fn all_reads() -> impl Iterator<Item = (&'static Read, &'static str, &'static Endpoint)> {
    READS.iter().flat_map(|read| {
        read.endpoints(ACME)
            .into_iter()
            .map(move |(method, endpoint)| (read, method, endpoint))
    })
}

async fn a_reader_of_one_never_sees_the_other(scene: &Scene) -> Result<()> {
    let mut wrong = Vec::new();
    for (read, method, endpoint) in all_reads() {
        for (who, own, other) in [
            ("alice", ACME, GLOBEX),
            ("bob", GLOBEX, ACME),
            ("rolf", GLOBEX, ACME),
        ] {
            // rolf holds a role of the realm, bound to viewers: the same permissions.
            let what = format!("{method} {} by {who}", read.path);
            let control = scene
                .direct(
                    server(scene, endpoint.backend),
                    other,
                    read.direct(scene, method, other, endpoint),
                )
                .await?;
            if read.tells && !control.text().contains(other) {
                wrong.push(format!("{what}: control shows nothing of {other}"));
            }
            let reply = scene
                .send(who, own, read.request(scene, method, own))
                .await?;
            let text = reply.text();
            if text.contains(other) || (read.tells && !text.contains(own)) {
                wrong.push(format!("{what}: {} {text}", reply.status));
            }
            // The paths and parameters of the other tenant, under one's own: their names alone give nothing.
            let reply = scene
                .send(who, own, read.request(scene, method, other))
                .await?;
            if reply.status == 200 && leaks(&reply, other, read) {
                wrong.push(format!(
                    "{what}, asked for what {other} has: {}",
                    reply.text()
                ));
            }
            for tenants in [
                other.to_owned(),
                format!("{own}|{other}"),
                format!("{other}|{own}"),
            ] {
                let reply = scene
                    .send(who, &tenants, read.request(scene, method, other))
                    .await?;
                let status = if tenants.contains('|') && !federates(endpoint) {
                    400
                } else {
                    403
                };
                if reply.status != status || reply.text().contains(other) {
                    wrong.push(format!(
                        "{what} for {tenants}: {} {}",
                        reply.status,
                        reply.text()
                    ));
                }
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Whether a good answer holds the other tenant's data and does not only repeat the question.
fn leaks(reply: &Reply, other: &str, read: &Read) -> bool {
    let asked = read.path.contains("T-")
        || read
            .parameters
            .iter()
            .any(|(_, value)| value.contains("T-"));
    !asked && reply.text().contains(other)
}

async fn a_reader_of_both_sees_both(scene: &Scene) -> Result<()> {
    let both = format!("{ACME}|{GLOBEX}");
    let mut wrong = Vec::new();
    for (read, method, endpoint) in all_reads() {
        let what = format!("{method} {}", read.path);
        // Whatever the order and however often: the gate forwards the same.
        for tenants in [
            both.clone(),
            format!("{GLOBEX}|{ACME}"),
            format!("{ACME}|{GLOBEX}|{ACME}"),
        ] {
            let reply = scene
                .send("carol", &tenants, read.request(scene, method, &both))
                .await?;
            if !federates(endpoint) {
                if reply.status != 400 {
                    wrong.push(format!(
                        "{what} for {tenants}: {} {}",
                        reply.status,
                        reply.text()
                    ));
                }
                continue;
            }
            let direct = scene
                .direct(
                    server(scene, endpoint.backend),
                    &both,
                    read.direct(scene, method, &both, endpoint),
                )
                .await?;
            if (reply.status, settled(&reply)) != (direct.status, settled(&direct)) {
                wrong.push(format!(
                    "{what} for {tenants}: {} is not {}",
                    settled(&reply),
                    settled(&direct)
                ));
            }
            // A trace is one tenant's.
            let of_one = read.path.contains("TRACE");
            let text = reply.text();
            if read.tells && (!text.contains(ACME) || (!of_one && !text.contains(GLOBEX))) {
                wrong.push(format!("{what} for {tenants}: {} {text}", reply.status));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

async fn remote_read_and_streams_keep_tenants_apart(scene: &Scene) -> Result<()> {
    let gate = GrpcClient::connect(scene.stack.plain()).await?;
    let both = format!("{ACME}|{GLOBEX}");
    for (who, tenants, shown, hidden) in [
        ("alice", ACME, vec![ACME], vec![GLOBEX]),
        ("bob", GLOBEX, vec![GLOBEX], vec![ACME]),
        ("carol", both.as_str(), vec![ACME, GLOBEX], vec![]),
    ] {
        let read = remote_read_text(&scene.send(who, tenants, remote_read(scene)).await?)?;
        let found = search(&gate, scene, who, tenants).await?;
        for text in [read, found] {
            ensure!(
                shown.iter().all(|tenant| text.contains(tenant)),
                "{who}: {text}"
            );
            ensure!(
                !hidden.iter().any(|tenant| text.contains(tenant)),
                "{who}: {text}"
            );
        }
    }
    for (who, tenants) in [("alice", GLOBEX), ("alice", both.as_str()), ("bob", ACME)] {
        let reply = scene.send(who, tenants, remote_read(scene)).await?;
        ensure!(
            reply.status == 403,
            "{who} for {tenants}: {} {}",
            reply.status,
            reply.text()
        );
        let refused = search(&gate, scene, who, tenants).await;
        let Err(error) = refused else {
            bail!("{who} for {tenants} got an answer");
        };
        let status = error
            .downcast_ref::<tonic::Status>()
            .map(tonic::Status::code);
        ensure!(status == Some(tonic::Code::PermissionDenied), "{error:?}");
    }
    Ok(())
}

async fn search(gate: &GrpcClient, scene: &Scene, who: &str, tenants: &str) -> Result<String> {
    let token = format!("Bearer {}", scene.token(who).await?);
    let query = grpc::SearchRequest {
        query: "{}".to_owned(),
        limit: 50,
        ..grpc::SearchRequest::default()
    };
    let answers: Vec<grpc::SearchResponse> = gate
        .server_streaming(
            grpc::SEARCH,
            &[
                ("authorization", token.as_str()),
                ("x-scope-orgid", tenants),
            ],
            query,
        )
        .await?;
    Ok(format!("{answers:?}"))
}

/// The control of the test below: the counters do count.
async fn an_allowed_request_is_counted_by_the_server(scene: &Scene) -> Result<()> {
    let before = Servers::seen(scene).await?;
    let paths = [
        "/loki/api/v1/labels",
        "/prometheus/api/v1/labels",
        "/tempo/api/search/tags",
    ];
    for path in paths {
        let reply = scene.send("alice", ACME, RawRequest::get(path)).await?;
        ensure!(
            reply.status == 200,
            "{path}: {} {}",
            reply.status,
            reply.text()
        );
    }
    let after = Servers::seen(scene).await?;
    // Loki's front end asks its querier by a request that is counted as well, and Tempo 2 counts some of its own.
    let tempo = after.tempo - before.tempo;
    let by_tempo = tempo == 1 || (scene.stack.tempo.is_2() && tempo > 1);
    ensure!(
        after.loki > before.loki && after.mimir == before.mimir + 1 && by_tempo,
        "{before:?} became {after:?}"
    );
    Ok(())
}

async fn a_request_that_is_refused_reaches_no_server(scene: &Scene) -> Result<()> {
    let token = scene.token("alice").await?;
    let both = format!("{ACME}|{GLOBEX}");
    let long = "a".repeat(151);
    let values: Vec<Vec<&str>> = vec![
        vec![],
        vec![""],
        vec![" "],
        vec![ACME, ACME],
        vec![ACME, GLOBEX],
        vec!["acme|"],
        vec!["|acme"],
        vec!["acme||acme"],
        vec!["|"],
        vec!["acme:x"],
        vec!["acme:globex=1"],
        vec!["Acme"],
        vec!["ACME"],
        vec!["acme,globex"],
        vec!["acme, globex"],
        vec!["acme;globex"],
        vec!["acme globex"],
        vec!["acme| globex"],
        vec!["acme%7Cglobex"],
        vec!["*"],
        vec![".*"],
        vec![".."],
        vec!["__mimir_cluster"],
        vec!["fake"],
        vec!["anonymous"],
        vec!["single-tenant"],
        vec![&long],
        vec![GLOBEX],
        vec![&both],
        vec!["globex|acme"],
        vec!["unknown"],
        vec!["acme|unknown"],
    ];
    let before = Servers::seen(scene).await?;
    let mut wrong = Vec::new();
    let mut sent = 0;
    for (read, method, endpoint) in all_reads() {
        for (number, tenants) in values.iter().enumerate() {
            // What a server says of itself is for whoever is granted anything.
            if tenants.is_empty() && endpoint.tenants == Tenants::Optional {
                continue;
            }
            let mut request = read.request(scene, method, ACME).bearer(&token);
            for tenant in tenants {
                request = request.tenant(tenant);
            }
            let protocol = if number % 2 == 0 {
                Protocol::H1
            } else {
                Protocol::H2
            };
            let reply = request.send(&scene.stack.target(), protocol).await?;
            sent += 1;
            if reply.status != 400 && reply.status != 403 {
                wrong.push(format!(
                    "{method} {} for {tenants:?}: {} {}",
                    read.path,
                    reply.status,
                    reply.text()
                ));
            }
        }
    }
    let after = Servers::seen(scene).await?;
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    ensure!(
        before == after,
        "{sent} refusals, yet {before:?} became {after:?}"
    );
    println!("{sent} requests refused, none of them seen by a server");
    Ok(())
}
