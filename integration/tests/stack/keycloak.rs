//! Keycloak as it is: which of its tokens the gate accepts, which it refuses and why, and what happens to requests
//! while its keys, sessions and memberships change.

#![expect(
    clippy::cast_precision_loss,
    reason = "what is counted here, also in seconds, is far below 2^53"
)]
#![expect(clippy::float_cmp, reason = "what is compared is whole numbers")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::Response;
use integration::client::{self, Protocol, RawRequest, Reply, Target};
use integration::envoy::Envoy;
use integration::server::{self, Server};
use integration::stack::keycloak::{GRAFANA, Keycloak, PLATFORM, STRANGERS};
use integration::stack::{ACME, GLOBEX};
use integration::token;
use serde_json::{Value, json};

use crate::scene::Scene;
use crate::side_gate::SideGate;

/// Those that change nothing.
pub mod together {
    use super::{
        a_session_that_ends_and_a_group_that_is_left_count_from_the_next_token,
        a_token_ends_with_its_lifetime_and_no_kid_reaches_the_encryption_key,
        an_audience_that_is_one_string_counts, people_and_machines_are_let_in_by_their_claims,
        the_encryption_key_is_skipped_and_counted, what_is_no_access_token_for_us_is_refused,
    };

    crate::tests![
        people_and_machines_are_let_in_by_their_claims,
        an_audience_that_is_one_string_counts,
        the_encryption_key_is_skipped_and_counted,
        what_is_no_access_token_for_us_is_refused,
        a_token_ends_with_its_lifetime_and_no_kid_reaches_the_encryption_key,
        a_session_that_ends_and_a_group_that_is_left_count_from_the_next_token,
    ];
}

/// Those that change the realm's keys.
pub mod alone {
    use super::keys_rotate_under_load;

    crate::tests![keys_rotate_under_load];
}

async fn people_and_machines_are_let_in_by_their_claims(scene: &Scene) -> Result<()> {
    let alice = scene.token("alice").await?;
    let claims = claims_of(&alice)?;
    let audiences = claims["aud"].as_array().context("aud is no list")?;
    ensure!(
        audiences.len() > 1 && audiences.contains(&json!("observability")),
        "{claims}"
    );
    ensure!(claims["groups"] == json!(["acme-viewers"]), "{claims}");
    let gate = Gate::of_scene(scene)?;
    gate.takes(&alice, ACME).await?;
    gate.refuses(&alice, GLOBEX, 403, "tenant_not_granted")
        .await?;

    let carol = scene.token("carol").await?;
    gate.takes(&carol, "acme|globex").await?;
    gate.refuses(&alice, "acme|globex", 403, "tenant_not_granted")
        .await?;

    // In no group: his role is all that he has.
    let rolf = scene.token("rolf").await?;
    let claims = claims_of(&rolf)?;
    ensure!(claims["groups"].is_null(), "{claims}");
    let roles = claims["realm_access"]["roles"]
        .as_array()
        .context("no roles")?;
    ensure!(roles.contains(&json!("globex-reader")), "{claims}");
    gate.takes(&rolf, GLOBEX).await?;
    gate.refuses(&rolf, ACME, 403, "tenant_not_granted").await?;

    // A service account has neither; it is known by its client.
    let agent = scene.token("agent-acme").await?;
    let claims = claims_of(&agent)?;
    ensure!(
        claims["groups"].is_null() && claims["azp"] == json!("agent-acme"),
        "{claims}"
    );
    gate.refuses(&agent, ACME, 403, "permission_missing")
        .await?;
    gate.refuses(&agent, GLOBEX, 403, "tenant_not_granted")
        .await?;
    // A push of nothing changes nothing, and is Loki's to judge.
    let push = RawRequest::post("/loki/api/v1/push", r#"{"streams":[]}"#)
        .header("content-type", "application/json");
    let (_, details) = gate.ask(push, &agent, ACME).await?;
    ensure!(details == PASSED, "{details}");
    Ok(())
}

async fn an_audience_that_is_one_string_counts(scene: &Scene) -> Result<()> {
    let keycloak = &scene.stack.keycloak;
    let mapper = |name: &str, kind: &str, config: Value| json!({"name": name, "protocol": "openid-connect", "protocolMapper": kind, "config": config});
    // Without the scope of all roles the token is not for the client `account` as well.
    let reply = keycloak
        .admin(
            "POST",
            "/clients",
            Some(json!({
                "clientId": SOLO,
                "protocol": "openid-connect",
                "publicClient": false,
                "secret": format!("{SOLO}-secret"),
                "directAccessGrantsEnabled": true,
                "fullScopeAllowed": false,
                "protocolMappers": [
                    mapper("audience", "oidc-audience-mapper", json!({
                        "included.custom.audience": "observability",
                        "access.token.claim": "true",
                    })),
                    mapper("groups", "oidc-group-membership-mapper", json!({
                        "claim.name": "groups",
                        "full.path": "false",
                        "access.token.claim": "true",
                    })),
                ],
            })),
        )
        .await?;
    let location = reply.header("location").context("no location")?;
    let id = location.rsplit('/').next().context("no id")?;
    let checked = async {
        let token = keycloak.login_to(PLATFORM, SOLO, "alice").await?.access;
        let claims = claims_of(&token)?;
        ensure!(claims["aud"] == json!("observability"), "{claims}");
        Gate::of_scene(scene)?.takes(&token, ACME).await
    }
    .await;
    keycloak
        .admin("DELETE", &format!("/clients/{id}"), None)
        .await?;
    checked
}

async fn the_encryption_key_is_skipped_and_counted(scene: &Scene) -> Result<()> {
    let keys = published(scene).await?;
    let (signing, others): (Vec<_>, Vec<_>) =
        keys.iter().partition(|key| key["use"] == json!("sig"));
    ensure!(!signing.is_empty(), "{keys:?}");
    ensure!(
        others.iter().any(|key| key["alg"] == json!("RSA-OAEP")),
        "{keys:?}"
    );
    let envoy = scene.stack.envoy()?;
    let provider = [("provider", "keycloak")];
    for (metric, count) in [
        ("scopegate_jwks_keys", signing.len()),
        ("scopegate_jwks_keys_skipped", others.len()),
    ] {
        let shown = envoy.metric(metric, &provider).await?;
        ensure!(
            shown == count as f64,
            "{metric} is {shown}, published are {count}"
        );
    }
    Ok(())
}

async fn what_is_no_access_token_for_us_is_refused(scene: &Scene) -> Result<()> {
    let keycloak = &scene.stack.keycloak;
    let gate = Gate::of_scene(scene)?;
    let alice = keycloak.login("alice").await?;
    let refresh = alice.refresh.context("no refresh token")?;
    ensure!(header_of(&refresh)?["alg"] == json!("HS512"), "{refresh}");
    let identity = alice.id.context("no ID token")?;
    let stranger = keycloak.login_to(STRANGERS, GRAFANA, "alice").await?.access;
    let elsewhere = keycloak
        .login_to(PLATFORM, "elsewhere", "alice")
        .await?
        .access;
    let access = alice.access;
    gate.takes(&access, ACME).await?;

    let mut answers = Vec::new();
    for (token, code) in [
        (refresh, "algorithm_not_allowed"),
        (identity.clone(), "audience_mismatch"),
        (stranger, "issuer_unknown"),
        (elsewhere, "audience_mismatch"),
        (with_other_signature(&access)?, "signature_invalid"),
        (
            with_other_claim(&access, "groups", json!(["acme-admins"]))?,
            "signature_invalid",
        ),
        (unsecured(&access, true)?, "algorithm_not_allowed"),
        (unsecured(&access, false)?, "token_malformed"),
    ] {
        let reply = gate.refuses(&token, ACME, 401, code).await?;
        let challenge = reply.header("www-authenticate").unwrap_or_default();
        ensure!(
            challenge.contains("error=\"invalid_token\""),
            "{code}: {challenge}"
        );
        answers.push(reply.text());
    }
    answers.dedup();
    ensure!(
        answers.len() == 1,
        "a forger can tell these apart: {answers:?}"
    );

    // Where a login client is listed as an audience, the provider's own word about the kind is what is left.
    let mut configuration = scene.stack.configuration();
    configuration["providers"][0]["audiences"] = json!(["observability", GRAFANA]);
    let side_gate = SideGate::start(scene, configuration, |settings| settings).await?;
    let gate = Gate::of(&side_gate);
    gate.takes(&access, ACME).await?;
    gate.refuses(&identity, ACME, 401, "token_kind_refused")
        .await?;

    let nobody = scene.token("nobody").await?;
    Gate::of_scene(scene)?
        .refuses(&nobody, ACME, 403, "tenant_not_granted")
        .await?;
    Ok(())
}

async fn a_token_ends_with_its_lifetime_and_no_kid_reaches_the_encryption_key(
    scene: &Scene,
) -> Result<()> {
    let mut configuration = scene.stack.configuration();
    configuration["providers"][0]["clock_skew"] = json!("0s");
    let side_gate = SideGate::start(scene, configuration, |settings| settings).await?;
    side_gate.wait_for_keys().await?;
    let gate = Gate::of(&side_gate);
    let token = scene
        .stack
        .keycloak
        .login_to(PLATFORM, "hasty", "alice")
        .await?
        .access;
    let claims = claims_of(&token)?;
    let (issued, expires) = (seconds(&claims, "iat")?, seconds(&claims, "exp")?);
    ensure!(expires - issued == 15, "{claims}");
    gate.takes(&token, ACME).await?;
    // For a token that it remembers the gate reads the clock once a second.
    while token::now() <= expires + 1 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    gate.refuses(&token, ACME, 401, "token_expired").await?;
    // The scene's gate allows for clocks that differ by a minute.
    Gate::of_scene(scene)?.takes(&token, ACME).await?;

    // Were the encryption key among the keys, this would be `signature_invalid`.
    let keys = published(scene).await?;
    let encryption = keys
        .iter()
        .find(|key| key["use"] == json!("enc"))
        .context("no such key")?;
    let mut header = header_of(&token)?;
    header["kid"] = encryption["kid"].clone();
    let fresh = scene.stack.keycloak.user("alice").await?;
    gate.refuses(&with_header(&fresh, &header)?, ACME, 401, "unknown_key")
        .await?;
    Ok(())
}

async fn a_session_that_ends_and_a_group_that_is_left_count_from_the_next_token(
    scene: &Scene,
) -> Result<()> {
    let keycloak = &scene.stack.keycloak;
    let gate = Gate::of_scene(scene)?;
    let before = keycloak.login(LEAVER).await?;
    let refresh = before.refresh.context("no refresh token")?;
    gate.takes(&before.access, ACME).await?;

    keycloak
        .membership("DELETE", LEAVER, "acme-viewers")
        .await?;
    let checked = async {
        // A stateless check cannot know it: the token says what was true when it was issued.
        gate.takes(&before.access, ACME).await?;
        let next = renew(keycloak, &refresh)
            .await
            .context("the session is still there")?;
        let claims = claims_of(&next)?;
        ensure!(
            claims["groups"] == json!([]) || claims["groups"].is_null(),
            "{claims}"
        );
        gate.refuses(&next, ACME, 403, "tenant_not_granted").await?;
        gate.takes(&before.access, ACME).await
    }
    .await;
    keycloak.membership("PUT", LEAVER, "acme-viewers").await?;
    checked?;

    keycloak.logout(LEAVER).await?;
    ensure!(
        renew(keycloak, &refresh).await.is_err(),
        "the session has not ended"
    );
    gate.takes(&before.access, ACME).await?;
    Ok(())
}

/// Three keys: the realm's own, which stays; an older one that is taken away; a new one that comes under load. The
/// realm's own stays so that the tests that follow keep their tokens.
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
async fn keys_rotate_under_load(scene: &Scene) -> Result<()> {
    let keycloak = &scene.stack.keycloak;
    let older = keycloak.add_signing_key(200).await?;
    let old = tokens(keycloak, "alice", 2).await?;
    demote(keycloak, &older).await?;
    let own = tokens(keycloak, "alice", 2).await?;
    ensure!(
        kid_of(&old[0])? != kid_of(&own[0])?,
        "the realm still signs with the same key"
    );

    let relay = Relay::start(keycloak.address()).await?;
    let idp = relay.server.address();
    let mut configuration = scene.stack.configuration();
    configuration["providers"][0]["jwks"]["refresh_interval"] = json!("1m");
    let side_gate = SideGate::start(scene, configuration, |settings| {
        settings.cluster("idp", idp)
    })
    .await?;
    side_gate.wait_for_keys().await?;
    ensure!(
        relay.fetches() == 1,
        "{} fetches at the start",
        relay.fetches()
    );

    let load = Load::start(&side_gate);
    load.send(Signer::Own, own);
    load.send(Signer::Old, old);
    tokio::time::sleep(Duration::from_secs(3)).await;

    let rotated = Instant::now();
    keycloak.add_signing_key(300).await?;
    let new = tokens(keycloak, "alice", 2).await?;
    load.send(Signer::New, new);
    tokio::time::sleep(Duration::from_secs(4)).await;
    let new_key = load.answers();
    // One for all workers, whoever asked first.
    let at_once = relay.fetches();
    ensure!(at_once == 2, "{at_once} fetches after the new key");
    let waited = |answer: &&Answer| answer.signer == Signer::New;
    let longest = new_key
        .iter()
        .filter(waited)
        .map(|answer| answer.took)
        .max();
    let longest = longest.context("nothing was asked with the new key")?;
    let other = new_key.iter().filter(|answer| answer.signer != Signer::New);
    let other = other.map(|answer| answer.took).max().unwrap_or_default();
    for answer in &new_key {
        ensure!(answer.status == 200, "{answer:?}");
    }

    let removed = Instant::now();
    keycloak.remove_key(&older).await?;
    // Refused for good is what is refused for two seconds on, by whichever worker.
    let ended = loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let old: Vec<Answer> = load
            .answers()
            .into_iter()
            .filter(|answer| answer.signer == Signer::Old)
            .collect();
        let last = old
            .iter()
            .rev()
            .find(|answer| answer.status == 200)
            .context("never let in")?;
        let ended = last.sent.saturating_duration_since(removed);
        if last.sent.elapsed() > Duration::from_secs(2) {
            break ended;
        }
        ensure!(
            removed.elapsed() < REFRESH + Duration::from_secs(15),
            "{last:?} after {:?}",
            removed.elapsed()
        );
    };
    // Long enough for the first refusals to become final.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (answers, rate) = load.stop().await;

    ensure!(
        ended <= REFRESH,
        "a removed key's tokens were let in for {ended:?}"
    );
    ensure!(rate >= 100.0, "only {rate:.0} requests a second");
    let mut refusals = [0; 2];
    for answer in &answers {
        match (answer.signer, answer.status) {
            (_, 200) => {}
            // Final, or in doubt while another fetch is not allowed yet: see `unknown_key` and `keys_unavailable`.
            (Signer::Old, 401) if answer.sent > removed => refusals[0] += 1,
            (Signer::Old, 503) if answer.sent > removed => refusals[1] += 1,
            _ => bail!(
                "{answer:?}, {:?} after the rotation",
                answer.sent.duration_since(rotated)
            ),
        }
    }
    ensure!(refusals[0] > 0, "never a final refusal");
    // And then one on schedule, and one or two that the old tokens demand, half a minute apart.
    let fetches = relay.fetches();
    ensure!(fetches <= at_once + 3, "{fetches} fetches");
    println!(
        "rotation: {} requests at {rate:.0}/s, 0 valid ones failed; longest with the new key {} ms, with the others {} \
         ms; a removed key's tokens ended after {:.0} s, refused with {} × 401 and {} × 503; {fetches} fetches",
        answers.len(),
        longest.as_millis(),
        other.as_millis(),
        ended.as_secs_f32(),
        refusals[0],
        refusals[1],
    );
    Ok(())
}

/// A gate, and how it says yes and no.
struct Gate<'gate> {
    envoy: Envoys<'gate>,
    target: Target,
}

enum Envoys<'gate> {
    Scene(Arc<Envoy>),
    SideGate(&'gate Envoy),
}

/// Under which key a token was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signer {
    /// The realm's own.
    Own,
    /// The one that is taken away.
    Old,
    New,
}

/// What became of one request of the load.
#[derive(Clone, Copy, Debug)]
struct Answer {
    signer: Signer,
    sent: Instant,
    took: Duration,
    /// 0 where there was no answer at all.
    status: u16,
}

/// Requests at a steady rate with all tokens in turn, each on a connection of its own.
struct Load {
    shared: Arc<Shared>,
    began: Instant,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    tokens: Mutex<Vec<(Signer, String)>>,
    answers: Mutex<Vec<Answer>>,
    done: AtomicBool,
}

/// Keycloak's front, which counts who asks for keys.
struct Relay {
    server: Server,
    fetches: Arc<AtomicUsize>,
}

impl Gate<'_> {
    fn of_scene(scene: &Scene) -> Result<Gate<'static>> {
        Ok(Gate {
            envoy: Envoys::Scene(scene.stack.envoy()?),
            target: scene.stack.target(),
        })
    }

    fn of(side_gate: &SideGate) -> Gate<'_> {
        Gate {
            envoy: Envoys::SideGate(&side_gate.envoy),
            target: side_gate.target.clone(),
        }
    }

    /// The answer, and Envoy's details about it.
    async fn ask(&self, request: RawRequest, token: &str, tenant: &str) -> Result<(Reply, String)> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let id = format!("keycloak-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let request = request
            .bearer(token)
            .tenant(tenant)
            .header("x-test-id", id.as_str());
        let reply = request.send(&self.target, Protocol::H1).await?;
        let envoy = match &self.envoy {
            Envoys::Scene(envoy) => envoy.as_ref(),
            Envoys::SideGate(envoy) => envoy,
        };
        let line = envoy.access_line(&id, Duration::from_secs(5)).await?;
        Ok((reply, line.details.unwrap_or_default()))
    }

    async fn takes(&self, token: &str, tenant: &str) -> Result<()> {
        let (reply, details) = self.ask(RawRequest::get(READ), token, tenant).await?;
        ensure!(
            reply.status == 200 && details == PASSED,
            "{tenant}: {} {details} {}, {}",
            reply.status,
            reply.text(),
            claims_of(token)?
        );
        Ok(())
    }

    async fn refuses(&self, token: &str, tenant: &str, status: u16, code: &str) -> Result<Reply> {
        let (reply, details) = self.ask(RawRequest::get(READ), token, tenant).await?;
        ensure!(
            reply.status == status && details == format!("scopegate{{{code}}}"),
            "{tenant}: {} {details} {}, wanted {status} {code}",
            reply.status,
            reply.text()
        );
        Ok(reply)
    }
}

impl Load {
    fn start(side_gate: &SideGate) -> Load {
        let shared = Arc::<Shared>::default();
        let target = side_gate.target.clone();
        Load {
            task: tokio::spawn(run(Arc::clone(&shared), target)),
            shared,
            began: Instant::now(),
        }
    }

    /// Use these as well from now on.
    fn send(&self, signer: Signer, tokens: Vec<String>) {
        let tokens = tokens.into_iter().map(|token| (signer, token));
        lock(&self.shared.tokens).extend(tokens);
    }

    /// All answers so far, in the order in which they came.
    fn answers(&self) -> Vec<Answer> {
        lock(&self.shared.answers).clone()
    }

    /// All answers, and how many there were in a second.
    async fn stop(self) -> (Vec<Answer>, f64) {
        self.shared.done.store(true, Ordering::SeqCst);
        let _ = self.task.await;
        let answers = lock(&self.shared.answers).clone();
        let rate = answers.len() as f64 / self.began.elapsed().as_secs_f64();
        (answers, rate)
    }
}

async fn run(shared: Arc<Shared>, target: Target) {
    let mut requests = tokio::task::JoinSet::new();
    // Behind its time it catches up.
    let mut interval = tokio::time::interval(PACE);
    for turn in 0.. {
        interval.tick().await;
        if shared.done.load(Ordering::SeqCst) {
            break;
        }
        let next = {
            let tokens = lock(&shared.tokens);
            tokens.get(turn % tokens.len().max(1)).cloned()
        };
        let Some((signer, token)) = next else {
            continue;
        };
        let (shared, target) = (Arc::clone(&shared), target.clone());
        requests.spawn(async move {
            let sent = Instant::now();
            let request = RawRequest::get(READ).bearer(&token).tenant(ACME);
            let reply = request.send(&target, Protocol::H1).await;
            let status = reply.map_or(0, |reply| reply.status);
            let took = sent.elapsed();
            lock(&shared.answers).push(Answer {
                signer,
                sent,
                took,
                status,
            });
        });
        while requests.try_join_next().is_some() {}
    }
    while requests.join_next().await.is_some() {}
}

impl Relay {
    async fn start(keycloak: SocketAddr) -> Result<Relay> {
        let fetches = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&fetches);
        let server = Server::start(move |stream| {
            let counted = Arc::clone(&counted);
            async move {
                let _ = server::serve_http(stream, move |request| {
                    counted.fetch_add(1, Ordering::SeqCst);
                    let path = request.uri().path().to_owned();
                    async move {
                        let reply = client::get(keycloak, &path).await?;
                        Ok(Response::builder()
                            .status(reply.status)
                            .body(server::full(reply.body))?)
                    }
                })
                .await;
            }
        })
        .await?;
        Ok(Relay { server, fetches })
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }
}

async fn tokens(keycloak: &Keycloak, user: &str, count: usize) -> Result<Vec<String>> {
    let mut tokens = Vec::new();
    for _ in 0..count {
        tokens.push(keycloak.user(user).await?);
    }
    Ok(tokens)
}

/// Let a key sign no longer, but stay published.
async fn demote(keycloak: &Keycloak, component: &str) -> Result<()> {
    let path = format!("/components/{component}");
    let mut settings = keycloak.admin("GET", &path, None).await?.json()?;
    settings["config"]["active"] = json!(["false"]);
    keycloak.admin("PUT", &path, Some(settings)).await?;
    Ok(())
}

/// A token for the same session.
async fn renew(keycloak: &Keycloak, refresh: &str) -> Result<String> {
    let secret = format!("{GRAFANA}-secret");
    let tokens = keycloak
        .grant(
            PLATFORM,
            &[
                ("grant_type", "refresh_token"),
                ("client_id", GRAFANA),
                ("client_secret", &secret),
                ("refresh_token", refresh),
            ],
        )
        .await?;
    Ok(tokens.access)
}

/// The keys that the realm publishes.
pub async fn published(scene: &Scene) -> Result<Vec<Value>> {
    let keycloak = &scene.stack.keycloak;
    let url = keycloak.jwks_url();
    let path = url
        .strip_prefix(&format!("http://{}", keycloak.address()))
        .context("no path")?;
    let set = client::get(keycloak.address(), path).await?.json()?;
    Ok(set["keys"].as_array().context("no keys")?.clone())
}

fn parts(token: &str) -> Result<(&str, &str, &str)> {
    let mut parts = token.split('.');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(header), Some(claims), Some(signature), None) => Ok((header, claims, signature)),
        _ => bail!("no token: {token}"),
    }
}

fn decoded(part: &str) -> Result<Value> {
    Ok(serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part)?)?)
}

fn encoded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

pub fn header_of(token: &str) -> Result<Value> {
    decoded(parts(token)?.0)
}

pub fn claims_of(token: &str) -> Result<Value> {
    decoded(parts(token)?.1)
}

pub fn kid_of(token: &str) -> Result<String> {
    let kid = header_of(token)?["kid"].as_str().map(str::to_owned);
    kid.context("no kid")
}

fn seconds(claims: &Value, name: &str) -> Result<i64> {
    claims[name].as_i64().with_context(|| format!("no {name}"))
}

fn with_header(token: &str, header: &Value) -> Result<String> {
    let (_, claims, signature) = parts(token)?;
    Ok(format!("{}.{claims}.{signature}", encoded(header)))
}

fn with_other_claim(token: &str, name: &str, value: Value) -> Result<String> {
    let (header, _, signature) = parts(token)?;
    let mut claims = claims_of(token)?;
    claims[name] = value;
    Ok(format!("{header}.{}.{signature}", encoded(&claims)))
}

/// One bit of it is another.
pub fn with_other_signature(token: &str) -> Result<String> {
    let (header, claims, signature) = parts(token)?;
    let mut bytes = URL_SAFE_NO_PAD.decode(signature)?;
    *bytes.first_mut().context("no signature")? ^= 1;
    Ok(format!(
        "{header}.{claims}.{}",
        URL_SAFE_NO_PAD.encode(bytes)
    ))
}

/// `alg: none`, with what was the signature or with nothing there.
fn unsecured(token: &str, keep: bool) -> Result<String> {
    let (_, claims, signature) = parts(token)?;
    let header = encoded(&json!({"alg": "none", "typ": "JWT"}));
    Ok(format!(
        "{header}.{claims}.{}",
        if keep { signature } else { "" }
    ))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// It needs no data, and Mimir answers it at once.
const READ: &str = "/prometheus/api/v1/status/buildinfo";
/// Envoy's details where the backend has answered.
const PASSED: &str = "via_upstream";
/// A client that this module makes and removes.
const SOLO: &str = "solo";
/// Whom no other test needs.
const LEAVER: &str = "leaver";
/// 125 requests a second.
const PACE: Duration = Duration::from_millis(8);
/// The shortest `refresh_interval`.
const REFRESH: Duration = Duration::from_secs(60);
