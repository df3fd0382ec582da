//! Whom a token of Keycloak's identifies, and how it is sent: roles of clients, groups that pose as something else,
//! names beyond ASCII, tokens as passwords and beside ID tokens, keys of another algorithm.

#![expect(clippy::float_cmp, reason = "what is compared is whole numbers")]

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use integration::client::RawRequest;
use integration::stack::keycloak::{GRAFANA, PLATFORM, STRANGERS};
use integration::stack::{ACME, GLOBEX, SCRATCH};
use integration::upstream::{Seen, Upstream, UpstreamLog};
use integration::{drill, form, otlp, token};
use serde_json::{Value, json};

use crate::keycloak::{claims_of, header_of, kid_of, published, with_other_signature};
use crate::scene::Scene;
use crate::side_gate::{self, Asked, SideGate};

/// Those that change nothing but the tenant that tests write to.
pub mod together {
    use super::{
        a_bearer_that_was_made_for_us_is_final, a_group_cannot_pose_as_a_client,
        a_machine_pushes_with_its_token_as_a_password,
        a_name_beyond_ascii_is_readable_in_records_and_encoded_in_headers,
        a_role_of_the_right_client_is_a_group,
        an_id_token_decides_where_the_bearer_was_not_made_for_us, each_kind_of_token_has_its_place,
    };

    crate::tests![
        a_role_of_the_right_client_is_a_group,
        a_group_cannot_pose_as_a_client,
        a_name_beyond_ascii_is_readable_in_records_and_encoded_in_headers,
        a_machine_pushes_with_its_token_as_a_password,
        an_id_token_decides_where_the_bearer_was_not_made_for_us,
        a_bearer_that_was_made_for_us_is_final,
        each_kind_of_token_has_its_place,
    ];
}

/// Those that change the realm's keys.
pub mod alone {
    use super::a_key_of_another_algorithm_counts_where_it_is_allowed;

    crate::tests![a_key_of_another_algorithm_counts_where_it_is_allowed];
}

/// A gate that takes tokens by every way, with an echo in the place of Tempo. Started by the first test that needs it.
pub struct IdentityScene {
    gate: SideGate,
    tempo: Upstream,
}

async fn a_role_of_the_right_client_is_a_group(scene: &Scene) -> Result<()> {
    let own_scene = IdentityScene::of(scene).await?;
    for (person, client) in [("rosa", "tenants"), ("wim", "wiki")] {
        let token = scene.token(person).await?;
        let claims = claims_of(&token)?;
        ensure!(claims["groups"].is_null(), "{claims}");
        ensure!(
            claims["resource_access"][client]["roles"] == json!(["acme-reader"]),
            "{claims}"
        );
    }
    let rosa = bearer(scene, &scene.token("rosa").await?);
    own_scene.takes(rosa.clone(), ACME).await?;
    own_scene
        .refuses(rosa, GLOBEX, 403, "tenant_not_granted")
        .await?;
    // It has the same name, and another client gives it.
    let wim = bearer(scene, &scene.token("wim").await?);
    own_scene
        .refuses(wim, ACME, 403, "tenant_not_granted")
        .await?;
    let nobody = bearer(scene, &scene.token("nobody").await?);
    own_scene
        .refuses(nobody, ACME, 403, "tenant_not_granted")
        .await?;
    Ok(())
}

async fn a_group_cannot_pose_as_a_client(scene: &Scene) -> Result<()> {
    let own_scene = IdentityScene::of(scene).await?;
    let token = scene.token("mallory").await?;
    let claims = claims_of(&token)?;
    let mut groups: Vec<String> = serde_json::from_value(claims["groups"].clone())?;
    groups.sort();
    ensure!(groups == ["acme-viewers", "client:agent-acme"], "{claims}");

    let envoy = &own_scene.gate.envoy;
    let labels = [("provider", "keycloak")];
    let before = envoy.metric(DROPPED, &labels).await?;
    // Both tenants are of the same people and machines.
    let asked = own_scene
        .ask(push("mallory").bearer(&token), SCRATCH)
        .await?;
    ensure!(asked.is(403, "permission_missing"), "{asked:?}");
    ensure!(asked.record["groups_dropped"] == json!(1), "{asked:?}");
    // One token was judged, once.
    let after =
        drill::wait_for_metric(envoy, DROPPED, &labels, COUNTED, |count| count > before).await?;
    ensure!(after == before + 1.0, "{before}, then {after}");

    // What else the token says still counts.
    let record = own_scene.takes(bearer(scene, &token), ACME).await?;
    ensure!(record["groups_dropped"] == json!(1), "{record}");
    let alice = bearer(scene, &scene.token("alice").await?);
    let record = own_scene.takes(alice, ACME).await?;
    ensure!(record["groups_dropped"].is_null(), "{record}");
    Ok(())
}

async fn a_name_beyond_ascii_is_readable_in_records_and_encoded_in_headers(
    scene: &Scene,
) -> Result<()> {
    let own_scene = IdentityScene::of(scene).await?;
    let token = scene.token("jörg").await?;
    let claims = claims_of(&token)?;
    ensure!(claims["name"] == json!("Jörg Müßig"), "{claims}");
    ensure!(claims["preferred_username"] == json!("jörg"), "{claims}");
    let (asked, seen) = own_scene.echo(search().bearer(&token), ACME).await?;
    ensure!(asked.record["subject"] == json!("Jörg Müßig"), "{asked:?}");
    ensure!(
        seen.header(SUBJECT) == [b"J%C3%B6rg M%C3%BC%C3%9Fig"],
        "{seen:?}"
    );
    own_scene.takes(bearer(scene, &token), ACME).await?;
    own_scene
        .refuses(bearer(scene, &token), GLOBEX, 403, "tenant_not_granted")
        .await?;
    let envoy = &own_scene.gate.envoy;
    let written = envoy.log_contains(r#""subject":"Jörg Müßig""#);
    ensure!(written, "{}", envoy.log());
    Ok(())
}

async fn a_machine_pushes_with_its_token_as_a_password(scene: &Scene) -> Result<()> {
    let own_scene = IdentityScene::of(scene).await?;
    let token = scene.token("agent-acme").await?;
    let password = format!("Basic {}", STANDARD.encode(format!("whoever:{token}")));
    let with = |request: RawRequest| request.header("authorization", password.as_str());
    let source = format!("password-{}", otlp::unix_nanos());
    let asked = own_scene.ask(with(push(&source)), SCRATCH).await?;
    ensure!(asked.reply.status == 204, "{asked:?}");
    ensure!(asked.record["credential"] == json!("basic"), "{asked:?}");
    // The account of a machine has no name.
    let subject = &claims_of(&token)?["sub"];
    ensure!(asked.record["subject"] == *subject, "{asked:?}");
    let query = form::encode(&format!("{{source=\"{source}\"}}"));
    let found = RawRequest::get(&format!("/loki/api/v1/query_range?since=5m&query={query}"));
    let found = scene
        .direct(scene.stack.loki.http(), SCRATCH, found)
        .await?;
    ensure!(found.text().contains(LINE), "{}", found.text());

    let asked = own_scene.ask(with(push(&source)), GLOBEX).await?;
    ensure!(asked.is(403, "tenant_not_granted"), "{asked:?}");
    own_scene
        .refuses(with(read(scene)), ACME, 403, "permission_missing")
        .await?;
    // The gate of the scene was not told to take passwords.
    let refused = with(push(&source)).tenant(SCRATCH);
    let envoy = scene.stack.envoy()?;
    let asked = side_gate::ask(&envoy, &scene.stack.target(), refused).await?;
    ensure!(asked.is(401, "scheme_not_supported"), "{asked:?}");
    Ok(())
}

async fn an_id_token_decides_where_the_bearer_was_not_made_for_us(scene: &Scene) -> Result<()> {
    let own_scene = IdentityScene::of(scene).await?;
    let keycloak = &scene.stack.keycloak;
    let id = id_token(scene, "alice").await?;
    let claims = claims_of(&id)?;
    ensure!(claims["aud"] == json!(GRAFANA), "{claims}");
    ensure!(claims["typ"] == json!("ID"), "{claims}");
    let elsewhere = keycloak.login_to(PLATFORM, "elsewhere", "alice").await?;
    let stranger = keycloak.login_to(STRANGERS, GRAFANA, "alice").await?;
    for other in [OPAQUE, &elsewhere.access, &stranger.access] {
        let both = bearer(scene, other).header(ID_TOKEN, id.as_str());
        let record = own_scene.takes(both.clone(), ACME).await?;
        ensure!(record["credential"] == json!("id_token"), "{record}");
        ensure!(record["subject"] == json!("Alice Example"), "{record}");
        own_scene
            .refuses(both, GLOBEX, 403, "tenant_not_granted")
            .await?;
    }
    let alone = read(scene).header(ID_TOKEN, id.as_str());
    own_scene.takes(alone, ACME).await?;

    // The backend gets neither.
    let both = search().bearer(OPAQUE).header(ID_TOKEN, id.as_str());
    let (asked, seen) = own_scene.echo(both, ACME).await?;
    ensure!(asked.record["credential"] == json!("id_token"), "{asked:?}");
    for name in ["authorization", ID_TOKEN] {
        ensure!(seen.header(name).is_empty(), "{seen:?}");
    }
    Ok(())
}

async fn a_bearer_that_was_made_for_us_is_final(scene: &Scene) -> Result<()> {
    let own_scene = IdentityScene::of(scene).await?;
    let id = id_token(scene, "alice").await?;
    let brief = scene.stack.keycloak.login_to(PLATFORM, "brief", "alice");
    let brief = brief.await?.access;
    let expires = claims_of(&brief)?["exp"].as_i64().context("no exp")?;
    while token::now() <= expires {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let forged = with_other_signature(&scene.token("alice").await?)?;
    let bob = scene.token("bob").await?;
    for (token, status, code) in [
        (&brief, 401, "token_expired"),
        (&forged, 401, "signature_invalid"),
        (&bob, 403, "tenant_not_granted"),
    ] {
        let both = bearer(scene, token).header(ID_TOKEN, id.as_str());
        let record = own_scene.refuses(both, ACME, status, code).await?;
        ensure!(record["credential"] == json!("bearer"), "{record}");
    }
    // Nor does it matter that the ID token would be refused here.
    let both = bearer(scene, &bob).header(ID_TOKEN, id.as_str());
    let record = own_scene.takes(both, GLOBEX).await?;
    ensure!(record["subject"] == json!("Bob Example"), "{record}");
    Ok(())
}

async fn each_kind_of_token_has_its_place(scene: &Scene) -> Result<()> {
    let own_scene = IdentityScene::of(scene).await?;
    let keycloak = &scene.stack.keycloak;
    let alice = keycloak.login("alice").await?;
    let id = alice.id.context("no ID token")?;
    let refresh = alice.refresh.context("no refresh token")?;
    let elsewhere = keycloak.login_to(PLATFORM, "elsewhere", "alice").await?;
    let stranger = keycloak.login_to(STRANGERS, GRAFANA, "alice").await?;
    for (token, code) in [
        // Its audience is listed for ID tokens too, and still it is none.
        (&alice.access, "token_kind_refused"),
        (&elsewhere.access, "audience_mismatch"),
        (&refresh, "algorithm_not_allowed"),
        (
            &stranger.id.context("no ID token of a stranger")?,
            "issuer_unknown",
        ),
        (&with_other_signature(&id)?, "signature_invalid"),
    ] {
        let both = bearer(scene, OPAQUE).header(ID_TOKEN, token.as_str());
        let record = own_scene.refuses(both, ACME, 401, code).await?;
        ensure!(record["credential"] == json!("id_token"), "{record}");
    }
    let record = own_scene
        .refuses(bearer(scene, &id), ACME, 401, "audience_mismatch")
        .await?;
    ensure!(record["credential"] == json!("bearer"), "{record}");
    let password = format!("Basic {}", STANDARD.encode(format!("alice:{id}")));
    let password = read(scene).header("authorization", password);
    let record = own_scene
        .refuses(password, ACME, 401, "audience_mismatch")
        .await?;
    ensure!(record["credential"] == json!("basic"), "{record}");
    // To a gate that knows no such header an ID token is nothing, and so is no bearer.
    let alone = read(scene).header(ID_TOKEN, id.as_str()).tenant(ACME);
    let envoy = scene.stack.envoy()?;
    let asked = side_gate::ask(&envoy, &scene.stack.target(), alone).await?;
    ensure!(asked.is(401, "credential_missing"), "{asked:?}");
    Ok(())
}

async fn a_key_of_another_algorithm_counts_where_it_is_allowed(scene: &Scene) -> Result<()> {
    let own_scene = IdentityScene::of(scene).await?;
    let keycloak = &scene.stack.keycloak;
    let key = keycloak.add_elliptic_key().await?;
    let checked = async {
        let elliptic = keycloak.login_to(PLATFORM, "elliptic", "alice").await?;
        let (elliptic, own) = (elliptic.access, keycloak.user("alice").await?);
        ensure!(header_of(&elliptic)?["alg"] == json!("ES256"), "{elliptic}");
        ensure!(header_of(&own)?["alg"] == json!("RS256"), "{own}");
        let keys = published(scene).await?;
        let kid = kid_of(&elliptic)?;
        let key = keys.iter().find(|key| key["kid"] == json!(kid));
        let key = key.context("the key is not published")?;
        ensure!(key["alg"] == json!("ES256"), "{key}");

        // This one meets the key for the first time.
        for (token, kid) in [(&own, kid_of(&own)?), (&elliptic, kid.clone())] {
            let record = own_scene.takes(bearer(scene, token), ACME).await?;
            ensure!(record["key_id"] == json!(kid), "{record}");
        }
        let forged = bearer(scene, &with_other_signature(&elliptic)?);
        own_scene
            .refuses(forged, ACME, 401, "signature_invalid")
            .await?;

        let mut configuration = scene.stack.configuration();
        configuration["providers"][0]["algorithms"] = json!(["RS256"]);
        let strict = SideGate::start(scene, configuration, |settings| settings).await?;
        strict.wait_for_keys().await?;
        let asked = strict.ask(bearer(scene, &own).tenant(ACME)).await?;
        ensure!(asked.reply.status == 200, "{asked:?}");
        let asked = strict.ask(bearer(scene, &elliptic).tenant(ACME)).await?;
        ensure!(asked.is(401, "algorithm_not_allowed"), "{asked:?}");
        let claims = claims_of(&elliptic)?;
        for (name, claimed) in [
            ("claimed_issuer", &claims["iss"]),
            ("claimed_audience", &claims["aud"]),
            ("claimed_key_id", &json!(kid)),
        ] {
            ensure!(asked.record[name] == *claimed, "{name}: {asked:?}");
        }
        // Of what nobody has checked nothing stands where facts stand.
        for name in ["provider", "issuer", "subject", "key_id"] {
            ensure!(asked.record[name].is_null(), "{name}: {asked:?}");
        }
        anyhow::Ok(())
    }
    .await;
    keycloak.remove_key(&key).await?;
    checked
}

impl IdentityScene {
    async fn of(scene: &Scene) -> Result<&IdentityScene> {
        let start = async || {
            let tempo = Upstream::start("tempo", &UpstreamLog::new()).await?;
            let address = tempo.address();
            let gate = SideGate::start(scene, configuration(scene), |settings| {
                settings.cluster("tempo", address)
            })
            .await?;
            gate.wait_for_keys().await?;
            Ok(IdentityScene { gate, tempo })
        };
        scene.identity.get_or_try_init(start).await
    }

    async fn ask(&self, request: RawRequest, tenant: &str) -> Result<Asked> {
        self.gate.ask(request.tenant(tenant)).await
    }

    /// That read finds the tenant's own data. Returns the record.
    async fn takes(&self, read: RawRequest, tenant: &str) -> Result<Value> {
        let asked = self.ask(read, tenant).await?;
        ensure!(
            asked.reply.status == 200 && asked.reply.text().contains(tenant),
            "{tenant}: {asked:?}"
        );
        Ok(asked.record)
    }

    /// That read finds nothing of the tenant's. Returns the record.
    async fn refuses(
        &self,
        read: RawRequest,
        tenant: &str,
        status: u16,
        code: &str,
    ) -> Result<Value> {
        let asked = self.ask(read, tenant).await?;
        ensure!(
            asked.is(status, code),
            "{tenant}: {asked:?}, wanted {status} {code}"
        );
        Ok(asked.record)
    }

    /// A read of traces, and what the backend has seen of it.
    async fn echo(&self, read: RawRequest, tenant: &str) -> Result<(Asked, Seen)> {
        let asked = self.ask(read, tenant).await?;
        ensure!(asked.reply.status == 200, "{tenant}: {asked:?}");
        let seen = self.tempo.log().wait_for(&asked.id, COUNTED).await?;
        Ok((asked, seen))
    }
}

fn configuration(scene: &Scene) -> Value {
    let mut configuration = scene.stack.configuration();
    configuration["credentials"] = json!(["bearer", "basic", {"id_token_header": ID_TOKEN}]);
    let provider = &mut configuration["providers"][0];
    // The second is that of access tokens, so that it is their kind which shuts them out.
    provider["id_token_audiences"] = json!([GRAFANA, "observability"]);
    // All clocks are the same one.
    provider["clock_skew"] = json!("0s");
    provider["claims"] = json!({
        "subject": [["name"], ["sub"]],
        "groups": [
            {"path": ["groups"]},
            {"path": ["realm_access", "roles"], "prefix": "role:"},
            {"path": ["resource_access", "tenants", "roles"], "prefix": "tenants:"},
            {"path": ["azp"], "prefix": "client:"},
        ],
    });
    configuration["organizations"][0]["rbac"]["viewers"] =
        json!(["acme-viewers", "tenants:acme-reader"]);
    configuration
}

/// The ID token of a person who has logged in to Grafana.
async fn id_token(scene: &Scene, user: &str) -> Result<String> {
    let tokens = scene.stack.keycloak.login(user).await?;
    tokens.id.context("no ID token")
}

/// The names in the label `owner`, which are those of the tenants.
fn read(scene: &Scene) -> RawRequest {
    RawRequest::get(&format!(
        "/prometheus/api/v1/label/owner/values?start={}&end={}",
        scene.from, scene.to
    ))
}

/// The same with that token as bearer.
fn bearer(scene: &Scene, token: &str) -> RawRequest {
    read(scene).bearer(token)
}

fn search() -> RawRequest {
    RawRequest::get("/tempo/api/search?q=%7B%7D")
}

/// A line for Loki, with that label.
fn push(source: &str) -> RawRequest {
    let values = json!([[otlp::unix_nanos().to_string(), LINE]]);
    let body = json!({"streams": [{"stream": {"source": source}, "values": values}]});
    RawRequest::post("/loki/api/v1/push", body.to_string())
        .header("content-type", "application/json")
}

/// Where Grafana puts an ID token.
const ID_TOKEN: &str = "x-id-token";
/// As Google's access tokens look.
const OPAQUE: &str = "ya29.a0AfH6SMBxyz";
const SUBJECT: &str = "x-scopegate-subject";
const DROPPED: &str = "scopegate_groups_dropped_total";
const LINE: &str = "written by somebody whom Keycloak knows";
/// Counts reach Envoy once a second.
const COUNTED: Duration = Duration::from_secs(5);
