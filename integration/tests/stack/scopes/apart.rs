//! Each read with each method returns the caller's own namespaces and no others, for one tenant and for several,
//! however it is asked.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use futures_util::StreamExt;
use integration::client::websocket::{self, Handshake};
use integration::form;
use integration::stack::{HOOLI, INITECH};
use scopegate::authz::endpoint::Endpoint;

use super::asks::{ASKS, Ask, Tells, request};
use super::data::{EYES, Eye, TeamData, push_tailed};
use crate::reads::{federates, server, settled};
use crate::scene::Scene;

crate::tests![
    a_scoped_caller_sees_its_namespaces_and_no_other,
    several_tenants_are_read_within_one_scope,
    asking_for_another_namespace_finds_nothing,
    a_scoped_tail_gets_the_lines_of_its_namespace,
];

async fn a_scoped_caller_sees_its_namespaces_and_no_other(scene: &Scene) -> Result<()> {
    let data = TeamData::of(scene).await?;
    let mut wrong = Vec::new();
    let mut asked = 0;
    for ask in ASKS {
        for (method, endpoint) in ask.endpoints() {
            for eye in &EYES {
                asked += 1;
                if let Err(error) =
                    compare(scene, data, ask, (method, endpoint), eye, INITECH).await
                {
                    wrong.push(format!(
                        "{method} {} {:?} by {}: {error:#}",
                        ask.path, ask.parameters, eye.who
                    ));
                }
            }
        }
    }
    ensure!(
        wrong.is_empty(),
        "{} of {asked}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    Ok(())
}

async fn several_tenants_are_read_within_one_scope(scene: &Scene) -> Result<()> {
    let data = TeamData::of(scene).await?;
    let both = format!("{HOOLI}|{INITECH}");
    let mut wrong = Vec::new();
    for ask in ASKS {
        let federated = ask
            .endpoints()
            .into_iter()
            .filter(|(_, endpoint)| federates(endpoint));
        for row in federated {
            if let Err(error) = compare(scene, data, ask, row, &EYES[0], &both).await {
                wrong.push(format!(
                    "{} {} {:?}: {error:#}",
                    row.0, ask.path, ask.parameters
                ));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// The answer through the gate is what the server says to the question with the scope written by hand, holds one's own
/// and nothing else, while the server shows the rest to who is not scoped.
async fn compare(
    scene: &Scene,
    data: TeamData,
    ask: &Ask,
    (method, endpoint): (&str, &Endpoint),
    eye: &Eye,
    tenants: &str,
) -> Result<()> {
    let server = server(scene, endpoint.backend);
    let reply = scene
        .send(eye.who, tenants, ask.request(method, data))
        .await?;
    let scoped = scene
        .direct(
            server,
            tenants,
            ask.direct(method, data, endpoint, Some(eye)),
        )
        .await?;
    let control = scene
        .direct(server, tenants, ask.direct(method, data, endpoint, None))
        .await?;
    let text = reply.text();
    ensure!(reply.status == 200, "{} {text}", reply.status);
    if let Some(word) = eye.offence(&text) {
        bail!("shows {word}: {text}");
    }
    ensure!(
        settled(&reply) == settled(&scoped),
        "{} is not {} {}",
        settled(&reply),
        scoped.status,
        settled(&scoped)
    );
    match ask.tells {
        Tells::Names => {
            let missing = eye.shown.iter().find(|word| !text.contains(**word));
            ensure!(missing.is_none(), "nothing of {missing:?}: {text}");
            // Some servers refuse a question without the selector that the gate adds.
            let refused = control.status == 400 && !ask.implied.is_empty();
            ensure!(
                refused || control.text().contains("merlin"),
                "the control shows nothing: {} {}",
                control.status,
                control.text()
            );
        }
        Tells::Numbers => ensure!(
            control.status == 200 && settled(&control) != settled(&reply),
            "the control says the same: {} {}",
            control.status,
            control.text()
        ),
        Tells::Nothing => {}
    }
    for tenant in [HOOLI, INITECH] {
        ensure!(
            !tenants.contains(tenant) || !control.text().contains(tenant) || text.contains(tenant),
            "nothing of {tenant}: {text}"
        );
    }
    Ok(())
}

/// Questions about what wendy may not see; `web` alone would be hers.
#[rustfmt::skip]
const ABOUT_OTHERS: &[(&str, &str, &str)] = &[
    ("/loki/api/v1/query_range", "query", "{namespace=\"shop\"}"),
    ("/loki/api/v1/query_range", "query", "{namespace!=\"web\",plot!=\"\",bird=~\".+\"}"),
    ("/loki/api/v1/query_range", "query", "{namespace=~\"shop|vault\"} | logfmt | namespace=`shop` or namespace!=`web`"),
    ("/loki/api/v1/query", "query", "sum by (bird) (count_over_time({bird!=\"kestrel\",namespace=~\".*\",plot=~\".+\"}[1h]))"),
    ("/loki/api/v1/series", "match[]", "{namespace=~\"shop|vault\"}"),
    ("/loki/api/v1/series", "match", "{namespace!~\"web\",plot!=\"\"}"),
    ("/loki/api/v1/label/bird/values", "query", "{namespace=\"vault\"}"),
    ("/loki/api/v1/label/namespace/values", "query", "{namespace!=\"web\",plot!=\"\"}"),
    ("/loki/api/v1/index/volume", "query", "{namespace=\"vault\",bird!=\"\"}"),
    ("/loki/api/v1/patterns", "query", "{namespace=\"shop\"}"),
    ("/loki/api/v1/detected_field/plumage/values", "query", "{namespace=\"shop\"}"),
    ("/prometheus/api/v1/query", "query", "birds_total{namespace=\"shop\"}"),
    ("/prometheus/api/v1/query", "query", "{namespace!=\"web\",bird!=\"\"}"),
    ("/prometheus/api/v1/query", "query", "birds_total{namespace=~\"shop|vault\"} or merlin_nests"),
    ("/prometheus/api/v1/query", "query", "sum by (bird) (birds_total unless birds_total{namespace=\"web\"})"),
    ("/prometheus/api/v1/query", "query", "birds_total{namespace=\"web\",namespace=~\".*\"} or {__name__=~\".*nests\",namespace!=\"web\"}"),
    ("/prometheus/api/v1/query_exemplars", "query", "birds_total{namespace=\"shop\"}"),
    ("/prometheus/api/v1/series", "match[]", "{namespace=~\"shop|vault\"}"),
    ("/prometheus/api/v1/label/bird/values", "match[]", "{namespace!=\"web\",plot!=\"\"}"),
    ("/tempo/api/search", "q", "{ resource.k8s.namespace.name = \"shop\" }"),
    ("/tempo/api/search", "q", "{ name = \"merlin flies\" }"),
    ("/tempo/api/v2/search/tag/resource.bird/values", "q", "{ resource.bird = \"osprey\" }"),
];

async fn asking_for_another_namespace_finds_nothing(scene: &Scene) -> Result<()> {
    let data = TeamData::of(scene).await?;
    let eye = &EYES[0];
    let mut wrong = Vec::new();
    for (path, name, query) in ABOUT_OTHERS {
        let ask = Ask {
            path,
            parameters: &[],
            implied: &[],
            tells: Tells::Nothing,
        };
        let mut pairs = vec![((*name).to_owned(), (*query).to_owned())];
        let times = [("start", data.from), ("end", data.to), ("time", data.to)];
        let timeless = |which: &str| path.ends_with("/query") == (which == "time");
        let times = times.into_iter().filter(|(which, _)| timeless(which));
        pairs.extend(times.map(|(name, time)| (name.to_owned(), time.to_string())));
        for (method, endpoint) in ask.endpoints() {
            let what = format!("{method} {path} {query}");
            let reply = scene
                .send(eye.who, INITECH, request(method, path, &pairs))
                .await?;
            if reply.status != 200 || eye.offence(&reply.text()).is_some() {
                wrong.push(format!("{what}: {} {}", reply.status, reply.text()));
            }
            let path = path.strip_prefix("/tempo").unwrap_or(path);
            let control = request(method, path, &pairs);
            let control = scene
                .direct(server(scene, endpoint.backend), INITECH, control)
                .await?;
            if eye.offence(&control.text()).is_none() {
                wrong.push(format!(
                    "{what}: the control shows nothing: {} {}",
                    control.status,
                    control.text()
                ));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

async fn a_scoped_tail_gets_the_lines_of_its_namespace(scene: &Scene) -> Result<()> {
    TeamData::of(scene).await?;
    let eye = &EYES[0];
    let path = format!(
        "/loki/api/v1/tail?query={}",
        form::encode("{tailed=\"yes\"}")
    );
    let token = format!("Bearer {}", scene.token(eye.who).await?);
    let credentials = [
        ("authorization", token.as_str()),
        ("x-scope-orgid", INITECH),
    ];
    let gate = websocket::open(scene.stack.plain(), &path, &credentials).await?;
    let control = websocket::open(scene.stack.loki.http(), &path, &credentials[1..]).await?;
    let (Handshake::Open(mut gate), Handshake::Open(mut control)) = (gate, control) else {
        bail!("a tail was refused");
    };
    let (mut seen, mut all) = (String::new(), String::new());
    for _ in 0..ROUNDS {
        push_tailed(scene, INITECH).await?;
        for (socket, text) in [(&mut gate, &mut seen), (&mut control, &mut all)] {
            while let Ok(Some(message)) = tokio::time::timeout(PAUSE, socket.next()).await {
                text.push_str(&message?.into_text()?);
            }
        }
        // A few more once both are open.
        if seen.matches("kestrel").count() > 3 && all.matches("merlin").count() > 3 {
            break;
        }
    }
    ensure!(
        all.contains("merlin") && all.contains("osprey"),
        "the control gets {all}"
    );
    ensure!(seen.contains("kestrel"), "nothing came");
    ensure!(eye.offence(&seen).is_none(), "{seen}");
    Ok(())
}

const ROUNDS: usize = 40;
const PAUSE: Duration = Duration::from_millis(250);
