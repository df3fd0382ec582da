//! The deletion of logs through Loki's API, by administrators only.

use anyhow::{Context, Result, ensure};
use integration::client::RawRequest;
use integration::stack::{ACME, GLOBEX};
use integration::{form, token};
use serde_json::{Value, json};

use super::{NOT_GRANTED, NOT_SINGLE, check_status};
use crate::scene::Scene;
use crate::tests;

tests![an_administrator_deletes_and_takes_it_back];

async fn an_administrator_deletes_and_takes_it_back(scene: &Scene) -> Result<()> {
    // Matches nothing: a request counts at once, the lines of others are to stay.
    let query = r#"{service_name="acme-by-ada"}"#;
    let (start, end) = (token::now() - 7200, token::now() - 3600);
    let encoded = form::encode(query);
    let path = format!("{DELETE}?query={encoded}&start={start}&end={end}");
    let create = || RawRequest::post(&path, "");
    let list = || RawRequest::get(DELETE);

    let control = scene
        .direct(scene.stack.loki.http(), GLOBEX, list())
        .await?;
    check_status(&control, 200)?;
    ensure!(control.text().contains(GLOBEX), "{}", control.text());

    let needs = "this needs the permission 'delete' on the tenant, which you do not hold\n";
    let not_granted = format!("{NOT_GRANTED}\n");
    let not_single = format!("{NOT_SINGLE}\n");
    let refused = [
        ("alice", ACME, 403, needs),
        ("edith", ACME, 403, needs),
        ("agent-acme", ACME, 403, needs),
        ("ada", GLOBEX, 403, &not_granted),
        ("carol", "acme|globex", 400, &not_single),
    ];
    for (who, tenant, status, reason) in refused {
        for request in [create(), RawRequest::new("PUT", &path), cancel("0")] {
            let reply = scene.send(who, tenant, request).await?;
            check_status(&reply, status)?;
            ensure!(reply.text() == reason, "{who}, {tenant}: {}", reply.text());
        }
    }
    ensure!(
        find(scene, query).await?.is_none(),
        "one of these got through"
    );

    check_status(&scene.send("ada", ACME, create()).await?, 204)?;
    let found = find(scene, query).await?.context("it is not listed")?;
    let id = found["request_id"].as_str().context("no id")?.to_owned();
    // Nobody else cancels it.
    for (who, tenant) in [("edith", ACME), ("alice", ACME), ("ada", GLOBEX)] {
        check_status(&scene.send(who, tenant, cancel(&id)).await?, 403)?;
    }
    ensure!(
        find(scene, query).await?.is_some(),
        "one of these got through"
    );
    check_status(&scene.send("ada", ACME, cancel(&id)).await?, 204)?;
    ensure!(find(scene, query).await?.is_none(), "it is still listed");
    Ok(())
}

/// The request for that query, as a viewer sees it in the list.
async fn find(scene: &Scene, query: &str) -> Result<Option<Value>> {
    let reply = scene.send("alice", ACME, RawRequest::get(DELETE)).await?;
    check_status(&reply, 200)?;
    ensure!(!reply.text().contains(GLOBEX), "{}", reply.text());
    let requests = reply.json()?;
    let all = requests.as_array().context("no list")?;
    Ok(all
        .iter()
        .find(|request| request["query"] == json!(query))
        .cloned())
}

fn cancel(id: &str) -> RawRequest {
    RawRequest::new("DELETE", &format!("{DELETE}?request_id={id}"))
}

const DELETE: &str = "/loki/api/v1/delete";
