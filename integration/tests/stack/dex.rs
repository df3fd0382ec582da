//! Dex as it is: a provider whose tokens do not state their kind, whose audience is the client that asks, and whose
//! keys change at fixed times.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use integration::client::{Protocol, RawRequest, Reply};
use integration::otlp;
use integration::stack::dex::{
    AGENTS, ALICE, Dex, DexSettings, GRAFANA, LOCAL, MOCK, Person, Storage, ZOFIE,
};
use integration::stack::keycloak::PLATFORM;
use integration::stack::{ACME, GLOBEX, SCRATCH};
use serde_json::{Value, json};

use crate::keycloak::{claims_of, header_of, kid_of};
use crate::scene::Scene;
use crate::side_gate::SideGate;

crate::tests![DEX =>
    people_read_with_tokens_for_their_password,
    a_browser_gets_a_token_by_a_code,
    a_machine_writes_with_a_token_that_it_has_exchanged,
    access_and_id_tokens_are_told_apart_by_nothing,
    what_is_no_jwt_is_refused,
    a_new_key_signs_at_once,
];

/// Dex with the gate that trusts it. Started by the first test that needs it.
pub struct DexScene {
    gate: SideGate,
    dex: Dex,
}

async fn people_read_with_tokens_for_their_password(scene: &Scene) -> Result<()> {
    let dex_scene = DexScene::of(scene).await?;
    let mut subjects = Vec::new();
    for (person, own, other) in [(ALICE, ACME, GLOBEX), (ZOFIE, GLOBEX, ACME)] {
        let token = dex_scene.dex.login(GRAFANA, &person, SCOPE).await?.access;
        let claims = claims_of(&token)?;
        ensure!(claims["iss"] == json!(dex_scene.dex.issuer()), "{claims}");
        ensure!(claims["aud"] == json!([AUDIENCE, GRAFANA]), "{claims}");
        ensure!(claims["azp"] == json!(GRAFANA), "{claims}");
        ensure!(claims["name"] == json!(person.name), "{claims}");
        ensure!(claims["sub"] == json!(subject(&person)), "{claims}");
        // The password database knows of no groups.
        ensure!(claims["groups"].is_null(), "{claims}");
        let record = dex_scene.takes(scene, &token, own).await?;
        subjects.push(record["subject"].clone());
        dex_scene
            .refuses(scene, &token, other, 403, "tenant_not_granted")
            .await?;
    }
    ensure!(subjects == [ALICE.name, ZOFIE.name], "{subjects:?}");

    let for_grafana = dex_scene.dex.login(GRAFANA, &ALICE, "openid email").await?;
    dex_scene
        .refuses(scene, &for_grafana.access, ACME, 401, "audience_mismatch")
        .await?;
    let of_keycloak = scene.token("alice").await?;
    dex_scene
        .refuses(scene, &of_keycloak, ACME, 401, "issuer_unknown")
        .await?;
    Ok(())
}

async fn a_browser_gets_a_token_by_a_code(scene: &Scene) -> Result<()> {
    let dex_scene = DexScene::of(scene).await?;
    let alice = (ALICE.email, ALICE.password);
    let token = dex_scene
        .dex
        .browse(GRAFANA, LOCAL, alice, SCOPE)
        .await?
        .access;
    dex_scene.takes(scene, &token, ACME).await?;
    dex_scene
        .refuses(scene, &token, GLOBEX, 403, "tenant_not_granted")
        .await?;
    let wrong = (ALICE.email, "wrong");
    let refused = dex_scene.dex.browse(GRAFANA, LOCAL, wrong, SCOPE).await;
    let reason = refused.err().context("let in with a wrong password")?;
    ensure!(reason.to_string().contains("is not let in"), "{reason:#}");

    // Known by a group of the connector's, and by nothing else.
    let tokens = dex_scene.dex.browse(GRAFANA, MOCK, ("", ""), SCOPE).await?;
    let claims = claims_of(&tokens.access)?;
    ensure!(claims["groups"] == json!(["authors"]), "{claims}");
    dex_scene.takes(scene, &tokens.access, GLOBEX).await?;
    dex_scene
        .refuses(scene, &tokens.access, ACME, 403, "tenant_not_granted")
        .await?;
    // Groups and the audience are there for those who ask.
    let scope = format!("openid {FOR_THE_GATE}");
    let tokens = dex_scene
        .dex
        .browse(GRAFANA, MOCK, ("", ""), &scope)
        .await?;
    dex_scene
        .refuses(scene, &tokens.access, GLOBEX, 403, "tenant_not_granted")
        .await?;
    let tokens = dex_scene
        .dex
        .browse(GRAFANA, MOCK, ("", ""), "openid groups")
        .await?;
    dex_scene
        .refuses(scene, &tokens.access, GLOBEX, 401, "audience_mismatch")
        .await?;
    Ok(())
}

async fn a_machine_writes_with_a_token_that_it_has_exchanged(scene: &Scene) -> Result<()> {
    let dex_scene = DexScene::of(scene).await?;
    // Newer versions have this grant, for those who switch it on.
    let published = dex_scene.dex.discovery().await?;
    let grants = published["grant_types_supported"].as_array();
    let grants = grants.context("no grant types")?;
    ensure!(!grants.contains(&json!("client_credentials")), "{grants:?}");
    let reply = dex_scene
        .dex
        .grant(
            AGENTS,
            &[("grant_type", "client_credentials"), ("scope", "openid")],
        )
        .await?;
    ensure!(reply.status == 400, "{} {}", reply.status, reply.text());
    ensure!(
        reply.json()?["error"] == json!("unsupported_grant_type"),
        "{}",
        reply.text()
    );

    let secret = "agent-acme-secret";
    let at_keycloak = scene
        .stack
        .keycloak
        .grant(
            PLATFORM,
            &[
                ("grant_type", "client_credentials"),
                ("client_id", "agent-acme"),
                ("client_secret", secret),
                ("scope", "openid"),
            ],
        )
        .await?;
    let identity = at_keycloak.id.context("no ID token of a service account")?;
    let scope = format!("openid groups profile {FOR_THE_GATE}");
    let token = dex_scene.dex.exchange(AGENTS, &identity, &scope).await?;
    let claims = claims_of(&token)?;
    ensure!(claims["groups"] == json!(["client:agent-acme"]), "{claims}");
    ensure!(claims["azp"] == json!(AGENTS), "{claims}");

    let line = json!([
        otlp::unix_nanos().to_string(),
        "written by a machine of Dex"
    ]);
    let body = json!({"streams": [{"stream": {"source": "dex"}, "values": [line]}]}).to_string();
    let push = || {
        RawRequest::post("/loki/api/v1/push", body.clone())
            .header("content-type", "application/json")
    };
    let asked = dex_scene.ask(push(), &token, SCRATCH).await?;
    ensure!(asked.reply.status == 204, "{asked:?}");
    let asked = dex_scene.ask(push(), &token, ACME).await?;
    ensure!(asked.is(403, "tenant_not_granted"), "{asked:?}");
    dex_scene
        .refuses(scene, &token, SCRATCH, 403, "permission_missing")
        .await?;
    // What Keycloak has signed is nothing to this gate before Dex has signed for it.
    dex_scene
        .refuses(scene, &identity, SCRATCH, 401, "issuer_unknown")
        .await?;
    Ok(())
}

async fn access_and_id_tokens_are_told_apart_by_nothing(scene: &Scene) -> Result<()> {
    let dex_scene = DexScene::of(scene).await?;
    let tokens = dex_scene.dex.login(GRAFANA, &ALICE, SCOPE).await?;
    let (access, id) = (tokens.access, tokens.id.context("no ID token")?);
    let header = header_of(&access)?;
    ensure!(header == header_of(&id)?, "{header}");
    ensure!(
        header == json!({"alg": "RS256", "kid": header["kid"]}),
        "{header}"
    );
    let (mut access_claims, mut id_claims) = (claims_of(&access)?, claims_of(&id)?);
    for claims in [&mut access_claims, &mut id_claims] {
        let claims = claims.as_object_mut().context("no claims")?;
        // Of the access token in the one, of something that nobody is given in the other.
        ensure!(claims.remove("at_hash").is_some(), "{claims:?}");
        // Made one after the other.
        ensure!(claims.remove("iat").is_some(), "{claims:?}");
        ensure!(claims.remove("exp").is_some(), "{claims:?}");
    }
    ensure!(access_claims == id_claims, "{access_claims} {id_claims}");
    for token in [&access, &id] {
        dex_scene.takes(scene, token, ACME).await?;
    }

    // So the audience is all that keeps out the ID tokens of a client that only logs people in.
    let tokens = dex_scene.dex.login(GRAFANA, &ALICE, "openid email").await?;
    for token in [tokens.access, tokens.id.context("no ID token")?] {
        let claims = claims_of(&token)?;
        ensure!(claims["aud"] == json!(GRAFANA), "{claims}");
        ensure!(claims["azp"].is_null(), "{claims}");
        dex_scene
            .refuses(scene, &token, ACME, 401, "audience_mismatch")
            .await?;
    }
    Ok(())
}

async fn what_is_no_jwt_is_refused(scene: &Scene) -> Result<()> {
    let dex_scene = DexScene::of(scene).await?;
    let scope = format!("{SCOPE} offline_access");
    let tokens = dex_scene.dex.login(GRAFANA, &ALICE, &scope).await?;
    let opaque = tokens.refresh.context("no refresh token")?;
    ensure!(!opaque.contains('.'), "{opaque}");
    let record = dex_scene
        .refuses(scene, &opaque, ACME, 401, "token_malformed")
        .await?;
    ensure!(record["decision"] == json!("deny"), "{record}");
    ensure!(record["provider"].is_null(), "{record}");
    dex_scene.takes(scene, &tokens.access, ACME).await?;
    Ok(())
}

/// Dex replaces a key that is old enough when it starts, and then by the clock every 30 seconds: a restart is quicker.
async fn a_new_key_signs_at_once(scene: &Scene) -> Result<()> {
    let started = Instant::now();
    let keeps = start(Storage::Sqlite, ROTATION).await?;
    let forgets = start(Storage::Memory, "6h").await?;
    let configuration = configuration(&[
        provider("dex", &keeps, "idp"),
        provider("forgetful", &forgets, "idp_that_forgets"),
    ]);
    let gate = SideGate::start(scene, configuration, |settings| {
        settings
            .cluster("idp", keeps.address())
            .cluster("idp_that_forgets", forgets.address())
    })
    .await?;
    let reader = Reader { scene, gate };

    // The old key stays published for as long as its last token lives.
    let old = access(&keeps).await?;
    reader.is_let_in(&old).await?;
    tokio::time::sleep_until((started + LEAST_AGE).into()).await;
    keeps.daemon().restart().await?;
    let new = access(&keeps).await?;
    let published = keeps.key_ids().await?;
    ensure!(published == [kid_of(&new)?, kid_of(&old)?], "{published:?}");
    reader.is_let_in(&old).await?;
    let kept = reader.waits_for(&new).await?;
    for _ in 0..20 {
        reader.is_let_in(&new).await?;
        reader.is_let_in(&old).await?;
    }

    // What is in memory only ends with the process, and so do the tokens, though not before the gate hears of it.
    let old = access(&forgets).await?;
    reader.is_let_in(&old).await?;
    forgets.daemon().restart().await?;
    let new = access(&forgets).await?;
    let published = forgets.key_ids().await?;
    ensure!(published == [kid_of(&new)?], "{published:?}");
    ensure!(published != [kid_of(&old)?], "{published:?}");
    reader.is_let_in(&old).await?;
    let forgotten = reader.waits_for(&new).await?;
    // A second on, all workers know. Whether the old key comes back is asked half a minute after the last fetch.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut refusals = Vec::new();
    for _ in 0..4 {
        reader.is_let_in(&new).await?;
        let status = reader.read(&old).await?.status;
        ensure!(
            matches!(status, 401 | 503),
            "{status} for a key that is gone"
        );
        refusals.push(status);
    }
    println!(
        "Dex: let in with a new key after {} ms beside the old one, {} ms without it; {refusals:?} with a key that is gone",
        kept.as_millis(),
        forgotten.as_millis(),
    );
    Ok(())
}

/// Somebody who reads the data of acme through that gate.
struct Reader<'scene> {
    scene: &'scene Scene,
    gate: SideGate,
}

impl Reader<'_> {
    async fn read(&self, token: &str) -> Result<Reply> {
        let request = read(self.scene).bearer(token).tenant(ACME);
        request.send(&self.gate.target, Protocol::H1).await
    }

    async fn is_let_in(&self, token: &str) -> Result<()> {
        let reply = self.read(token).await?;
        ensure!(reply.status == 200, "{} {}", reply.status, reply.text());
        Ok(())
    }

    /// Ask until it is let in, where nothing but an answer to try again may come before. How long that took.
    async fn waits_for(&self, token: &str) -> Result<Duration> {
        let began = Instant::now();
        loop {
            let reply = self.read(token).await?;
            if reply.status == 200 {
                return Ok(began.elapsed());
            }
            ensure!(
                reply.status == 503 && reply.header("retry-after").is_some(),
                "{} {}",
                reply.status,
                reply.text()
            );
            ensure!(began.elapsed() < PENDING, "{}", reply.text());
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

async fn access(dex: &Dex) -> Result<String> {
    Ok(dex.login(GRAFANA, &ALICE, SCOPE).await?.access)
}

/// What came back, and what the gate has recorded about it.
#[derive(Debug)]
struct Asked {
    reply: Reply,
    details: String,
    record: Value,
}

impl Asked {
    /// Is it that refusal, in the answer and in the record?
    fn is(&self, status: u16, code: &str) -> bool {
        self.reply.status == status
            && self.details == format!("scopegate{{{code}}}")
            && self.record["code"] == json!(code)
    }
}

impl DexScene {
    async fn of(scene: &Scene) -> Result<&DexScene> {
        let start = async || {
            let dex = Dex::start(DexSettings {
                storage: Storage::Memory,
                signing_keys: "6h",
                upstream: Some(scene.stack.keycloak.issuer(PLATFORM)),
            })
            .await?;
            let configuration = configuration(&[provider("dex", &dex, "idp")]);
            let gate = SideGate::start(scene, configuration, |settings| {
                settings.cluster("idp", dex.address())
            })
            .await?;
            Ok(DexScene { gate, dex })
        };
        scene.dex.get_or_try_init(start).await
    }

    async fn ask(&self, request: RawRequest, token: &str, tenant: &str) -> Result<Asked> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let id = format!("dex-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let request = request
            .bearer(token)
            .tenant(tenant)
            .header("x-test-id", id.as_str());
        let reply = request.send(&self.gate.target, Protocol::H1).await?;
        let line = self.gate.envoy.access_line(&id, RECORDED).await?;
        let record = line.scopegate.context("no record")?;
        Ok(Asked {
            reply,
            details: line.details.unwrap_or_default(),
            record: match record.as_str() {
                Some(text) => serde_json::from_str(text)?,
                None => record,
            },
        })
    }

    /// The token reads that tenant's own data. Returns the record.
    async fn takes(&self, scene: &Scene, token: &str, tenant: &str) -> Result<Value> {
        let asked = self.ask(read(scene), token, tenant).await?;
        ensure!(
            asked.reply.status == 200 && asked.reply.text().contains(tenant),
            "{tenant}: {asked:?}, {}",
            claims_of(token)?
        );
        Ok(asked.record)
    }

    /// The token reads nothing of that tenant's. Returns the record.
    async fn refuses(
        &self,
        scene: &Scene,
        token: &str,
        tenant: &str,
        status: u16,
        code: &str,
    ) -> Result<Value> {
        let asked = self.ask(read(scene), token, tenant).await?;
        ensure!(
            asked.is(status, code),
            "{tenant}: {asked:?}, wanted {status} {code}"
        );
        Ok(asked.record)
    }
}

async fn start(storage: Storage, signing_keys: &'static str) -> Result<Dex> {
    Dex::start(DexSettings {
        storage,
        signing_keys,
        upstream: None,
    })
    .await
}

fn configuration(providers: &[Value]) -> Value {
    json!({
        "providers": providers,
        "organizations": [
            {"name": "acme", "tenants": [ACME], "rbac": {"viewers": [
                "dex-user:alice@acme.example",
                "forgetful-user:alice@acme.example",
            ]}},
            {"name": "globex", "tenants": [GLOBEX], "rbac": {
                "viewers": ["dex-user:zofie@globex.example", "dex-group:authors"],
            }},
            {"name": "scratch", "tenants": [SCRATCH], "rbac": {
                "writers": ["dex-group:client:agent-acme"],
            }},
        ],
        "backends": {"loki": {}, "mimir": {}, "tempo": {}},
    })
}

fn provider(name: &str, dex: &Dex, cluster: &str) -> Value {
    json!({
        "name": name,
        "issuer": dex.issuer(),
        "audiences": [AUDIENCE],
        "jwks": {"discovery": true, "cluster": cluster},
        "claims": {
            "subject": [["name"], ["sub"]],
            "groups": [
                {"path": ["groups"], "prefix": format!("{name}-group:")},
                {"path": ["email"], "prefix": format!("{name}-user:")},
            ],
        },
    })
}

/// A read of the names in the label `owner`, which are those of the tenants.
fn read(scene: &Scene) -> RawRequest {
    RawRequest::get(&format!(
        "/prometheus/api/v1/label/owner/values?start={}&end={}",
        scene.from, scene.to
    ))
}

/// What `sub` is for Dex: a message of Protocol Buffers with the ID and the connector.
fn subject(person: &Person) -> String {
    let mut message = Vec::new();
    for (tag, text) in [(0x0a, person.id), (0x12, LOCAL)] {
        message.push(tag);
        message.extend(u8::try_from(text.len()));
        message.extend(text.as_bytes());
    }
    URL_SAFE_NO_PAD.encode(message)
}

/// The client that is the gate's audience. Nobody logs in to it.
const AUDIENCE: &str = "observability";
/// What asks for it.
const FOR_THE_GATE: &str = "audience:server:client_id:observability";
const SCOPE: &str = "openid email profile groups audience:server:client_id:observability";
/// At this age a key is replaced when Dex starts.
const ROTATION: &str = "1s";
const LEAST_AGE: Duration = Duration::from_millis(1_200);
/// As long as a key may be unknown.
const PENDING: Duration = Duration::from_secs(35);
const RECORDED: Duration = Duration::from_secs(5);
