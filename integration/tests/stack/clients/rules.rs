//! Rule groups of Mimir and Loki, as mimirtool and lokitool send them: YAML, with escapes in the path.

use anyhow::{Context, Result, ensure};
use integration::client::{RawRequest, Reply};
use integration::stack::{ACME, GLOBEX};
use serde_json::json;

use super::{NOT_GRANTED, NOT_SINGLE, check_status, eventually};
use crate::scene::Scene;
use crate::tests;

tests![mimir_rules_live_and_end, loki_rules_live_and_end];

async fn mimir_rules_live_and_end(scene: &Scene) -> Result<()> {
    let rules = Rules {
        base: "/prometheus/config/v1/rules",
        // A slash, a blank and a letter beyond ASCII in one name.
        namespace: ("acme/our café", "acme%2Four%20caf%C3%A9"),
        expression: "sum(acme_orders_total)",
    };
    rules.create_and_read(scene).await?;
    // What alerting UIs ask for, once the ruler has noticed.
    eventually("the new group is evaluated", || async {
        let reply = scene
            .send("alice", ACME, RawRequest::get("/prometheus/api/v1/rules"))
            .await?;
        check_status(&reply, 200)?;
        check_ours(&reply)?;
        Ok(reply.text().contains(GROUP))
    })
    .await?;
    let control = scene
        .direct(
            scene.stack.mimir.http(),
            GLOBEX,
            RawRequest::get("/prometheus/api/v1/rules"),
        )
        .await?;
    check_status(&control, 200)?;
    let alerts = scene
        .send("alice", ACME, RawRequest::get("/prometheus/api/v1/alerts"))
        .await?;
    check_status(&alerts, 200)?;
    check_ours(&alerts)?;
    rules.delete(scene).await
}

async fn loki_rules_live_and_end(scene: &Scene) -> Result<()> {
    let rules = Rules {
        base: "/loki/api/v1/rules",
        // Loki's router decodes before it looks for slashes: no client can use one. A tool would take 404 for a group
        // that does not exist.
        namespace: ("acme shop", "acme%20shop"),
        expression: "sum(count_over_time({owner=\\\"acme\\\"}[1m]))",
    };
    rules.create_and_read(scene).await?;
    rules.delete(scene).await?;
    let slash = RawRequest::get("/loki/api/v1/rules/acme%2Fshop");
    check_status(&scene.send("edith", ACME, slash).await?, 400)
}

/// One group of rules of acme at one of the two rule APIs.
struct Rules {
    base: &'static str,
    /// As the server shows it, and as it stands in paths.
    namespace: (&'static str, &'static str),
    expression: &'static str,
}

impl Rules {
    fn namespace(&self) -> String {
        format!("{}/{}", self.base, self.namespace.1)
    }

    fn group(&self) -> String {
        format!("{}/{GROUP}", self.namespace())
    }

    fn create(&self) -> RawRequest {
        let yaml = format!(
            "name: {GROUP}\nrules:\n- record: acme:orders:again\n  expr: \"{}\"\n",
            self.expression
        );
        RawRequest::post(&self.namespace(), yaml).header("content-type", "application/yaml")
    }

    /// An editor makes it, a viewer reads it, nobody else does either.
    async fn create_and_read(&self, scene: &Scene) -> Result<()> {
        let others = match self.base {
            "/loki/api/v1/rules" => scene.stack.loki.http(),
            _ => scene.stack.mimir.http(),
        };
        let control = scene
            .direct(others, GLOBEX, RawRequest::get(self.base))
            .await?;
        check_status(&control, 200)?;
        ensure!(
            control.text().contains("globex-group"),
            "{}",
            control.text()
        );

        let remove = || {
            [
                RawRequest::new("DELETE", &self.namespace()),
                RawRequest::new("DELETE", &self.group()),
            ]
        };
        for request in remove().into_iter().chain([self.create()]) {
            let reply = scene.send("alice", ACME, request.clone()).await?;
            check_json(&reply, 403, "permission 'rules-write'")?;
            let reply = scene.send("edith", GLOBEX, request.clone()).await?;
            check_json(&reply, 403, NOT_GRANTED)?;
            let reply = scene.send("carol", "acme|globex", request).await?;
            check_json(&reply, 400, NOT_SINGLE)?;
        }
        self.check_absent(scene).await?;

        let reply = scene.send("edith", ACME, self.create()).await?;
        check_status(&reply, 202)?;
        // A viewer's attempts change nothing.
        for request in remove() {
            check_json(
                &scene.send("alice", ACME, request).await?,
                403,
                "permission 'rules-write'",
            )?;
        }
        for path in [self.base.to_owned(), self.namespace(), self.group()] {
            let reply = scene.send("alice", ACME, RawRequest::get(&path)).await?;
            check_status(&reply, 200).context(path.clone())?;
            check_ours(&reply)?;
            let text = reply.text();
            ensure!(text.contains(GROUP), "{path}: {text}");
            let named = text.contains(self.namespace.0);
            ensure!(named || path == self.group(), "{path}: {text}");
            let reply = scene.send("alice", GLOBEX, RawRequest::get(&path)).await?;
            check_json(&reply, 403, NOT_GRANTED)?;
        }
        Ok(())
    }

    async fn delete(&self, scene: &Scene) -> Result<()> {
        let reply = scene
            .send("edith", ACME, RawRequest::new("DELETE", &self.group()))
            .await?;
        check_status(&reply, 202)?;
        self.check_absent(scene).await?;
        check_status(&scene.send("edith", ACME, self.create()).await?, 202)?;
        let reply = scene
            .send("ada", ACME, RawRequest::new("DELETE", &self.namespace()))
            .await?;
        check_status(&reply, 202)?;
        self.check_absent(scene).await
    }

    async fn check_absent(&self, scene: &Scene) -> Result<()> {
        let reply = scene
            .send("alice", ACME, RawRequest::get(&self.group()))
            .await?;
        check_status(&reply, 404)?;
        let reply = scene
            .send("alice", ACME, RawRequest::get(self.base))
            .await?;
        check_status(&reply, 200)?;
        check_ours(&reply)?;
        ensure!(!reply.text().contains(GROUP), "{}", reply.text());
        Ok(())
    }
}

/// A list with the rules that the scene has from the beginning, and none of globex.
fn check_ours(reply: &Reply) -> Result<()> {
    ensure!(!reply.text().contains(GLOBEX), "{}", reply.text());
    Ok(())
}

/// A refusal as Grafana's alerting and mimirtool read it.
fn check_json(reply: &Reply, status: u16, reason: &str) -> Result<()> {
    check_status(reply, status)?;
    let answer = reply.json()?;
    ensure!(answer["status"] == json!("error"), "{answer}");
    for member in ["error", "message"] {
        let text = answer[member].as_str().unwrap_or_default();
        ensure!(text.contains(reason), "{answer}");
    }
    Ok(())
}

const GROUP: &str = "acme-by-edith";
