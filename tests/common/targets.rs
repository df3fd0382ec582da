//! What hostile bytes are put to, and what must hold of the answer. `fuzz/` tries new bytes, and
//! `tests/corpora.rs` those that were worth keeping.
//!
//! Nothing may panic, whatever the bytes. Besides, each target has a law that it tells in another
//! way than the gate does.
#![allow(
    clippy::cast_precision_loss,
    clippy::unreachable,
    clippy::unwrap_used,
    dead_code
)]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::OnceLock;

use scopegate::authn::jwks::KeySet;
use scopegate::authn::key_lease::{Claim, Document, LONGEST_FETCH, Lease, Reason};
use scopegate::authn::keys::{Algorithm, BadSignature, InModule, SignatureEngine, VerifyingKey};
use scopegate::authn::token::Unverified;
use scopegate::authn::{basic, bearer, discovery, json};
use scopegate::authz::endpoint::{Endpoint, Endpoints, Surface};
use scopegate::config::{Config, Environment, Outside, check_outside};
use scopegate::scoping::form;
use scopegate::scoping::query::{Language, Shape, scope};
use scopegate::words::denial::Denial;
use scopegate::words::permission::Permission;
use scopegate::words::tenant::TenantSet;
use scopegate::words::time::Monotonic;
use scopegate::worker::Action;
use serde_json::{Value, json};

use crate::common::{
    self, ALLOWED, Decided, ISSUER, NOW, Request, Token, UPTIME, ask, attempt, config, decide,
    fetched, gate, issuers, jwk, jwks,
};
use crate::host::{Host, Store};
use crate::laws::{Verdict, is, is_path_of, is_scoped_soundly, matchers, unb64url};
use crate::model;

/// Whether the gate has taken bytes for what the target wants, or how its law was broken.
pub type Tried = Result<bool, String>;

/// A target by its name, which is also that of its corpus.
pub type Target = (&'static str, fn(&[u8]) -> Tried);

pub const TARGETS: [Target; 17] = [
    ("bearer", bearer_token),
    ("claims", claims),
    ("configuration", configuration),
    ("discovery", discovery_document),
    ("form", form_of_a_scoped_query),
    ("grpc", grpc_name),
    ("head", head),
    ("jwks", key_set),
    ("logql", logql),
    ("organizations", organizations),
    ("path", path),
    ("promql", promql),
    ("shared", shared_entry),
    ("tenants", tenants),
    ("token", token),
    ("traceql", traceql),
    ("worker", worker),
];

/// Puts bytes to the target of that name. Returns whether they were taken.
///
/// # Panics
/// If its law does not hold.
pub fn put(name: &str, bytes: &[u8]) -> bool {
    let target = TARGETS.iter().find(|(target, _)| *target == name);
    let (_, target) = target.unwrap_or_else(|| unreachable!("no target {name}"));
    match target(bytes) {
        Ok(taken) => taken,
        Err(broken) => unreachable!("{name}: {broken}: {}", bytes.escape_ascii()),
    }
}

/// The token of alice, the only one that the gate of [`head`] takes.
fn valid_token() -> &'static str {
    static TOKEN: OnceLock<String> = OnceLock::new();
    TOKEN.get_or_init(|| Token::new().build())
}

/// Takes every signature. What is let through then was believed for its claims.
struct Credulous;

impl SignatureEngine for Credulous {
    fn verify(&self, _: &VerifyingKey, _: &[u8], _: &[u8]) -> Result<(), BadSignature> {
        Ok(())
    }
}

/// An `Authorization` value: the one token that is read from it stands in it as a word of its own.
fn bearer_token(bytes: &[u8]) -> Tried {
    let mut taken = false;
    if let Ok(token) = bearer::parse(bytes) {
        taken = true;
        let before = &bytes[..bytes.len() - token.len()];
        let scheme = before.trim_ascii_end();
        is(scheme.eq_ignore_ascii_case(b"bearer"), || "scheme".into())?;
        let spaces = &before[scheme.len()..];
        let only_spaces = !spaces.is_empty() && spaces.iter().all(|byte| *byte == b' ');
        is(only_spaces, || "no space before the token".into())?;
        let word = !token.is_empty() && !token.starts_with(b" ") && !token.contains(&b',');
        is(word, || "no single token".into())?;
        is(basic::parse(bytes).is_err(), || "two schemes".into())?;
    }
    if let Ok(token) = basic::parse(bytes) {
        taken = true;
        let scheme = bytes.get(..6).unwrap_or_default();
        is(scheme.eq_ignore_ascii_case(b"basic "), || "scheme".into())?;
        let encoded = bytes[6..].trim_ascii_start();
        // With padding, and in the other alphabet.
        let text: Vec<u8> = encoded
            .iter()
            .filter(|byte| **byte != b'=')
            .map(|byte| match byte {
                b'+' => b'-',
                b'/' => b'_',
                byte => *byte,
            })
            .collect();
        let decoded = unb64url(&text).ok_or("not base64")?;
        let colon = decoded.iter().position(|byte| *byte == b':');
        let password = &decoded[colon.ok_or("no colon")? + 1..];
        is(password == token && !token.is_empty(), || "password".into())?;
    }
    Ok(taken)
}

/// A token: three parts in base64url of which the first two are objects, as another reader finds
/// them.
fn token(bytes: &[u8]) -> Tried {
    let Ok(token) = Unverified::parse(bytes, 16_384) else {
        return Ok(false);
    };
    let parts: Vec<&[u8]> = bytes.split(|byte| *byte == b'.').collect();
    let [header, claims, signature] = parts[..] else {
        return Err("not three parts".into());
    };
    let signed = &bytes[..header.len() + 1 + claims.len()];
    is(token.signing_input == signed, || "other input".into())?;
    let decoded = unb64url(signature).ok_or("signature")?;
    is(decoded == token.signature, || "other signature".into())?;
    let object = |part| -> Result<Value, String> {
        let value = serde_json::from_slice(&unb64url(part).ok_or("base64")?);
        value.map_err(|error| error.to_string())
    };
    let header = object(header)?;
    for refused in ["b64", "crit", "enc", "jwk", "zip"] {
        is(header.get(refused).is_none(), || refused.to_owned())?;
    }
    let algorithm = header["alg"].as_str().ok_or("no alg")?;
    let known = token.header.algorithm.map(Algorithm::name);
    is(known.is_none_or(|known| known == algorithm), || {
        format!("{known:?} for {algorithm}")
    })?;
    let kid = header["kid"].as_str().filter(|kid| !kid.is_empty());
    is(token.header.key_id.as_deref() == kid, || "other kid".into())?;
    let claims = object(claims)?;
    is(is_same(&json::Value::Object(token.claims), &claims), || {
        "other claims".into()
    })?;
    Ok(true)
}

/// Whether two readers have found the same value.
fn is_same(ours: &json::Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (json::Value::Null, Value::Null) => true,
        (json::Value::Bool(ours), Value::Bool(theirs)) => ours == theirs,
        (json::Value::String(ours), Value::String(theirs)) => ours == theirs,
        (json::Value::Number(ours), Value::Number(theirs)) => match ours {
            json::Number::Negative(ours) => theirs.as_i64() == Some(*ours),
            json::Number::Unsigned(ours) => theirs.as_u64() == Some(*ours),
            json::Number::Float(ours) => theirs.as_f64() == Some(*ours),
        },
        (json::Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| is_same(a, b))
        }
        (json::Value::Object(ours), Value::Object(theirs)) => {
            ours.iter().count() == theirs.len()
                && ours.iter().all(|(name, ours)| {
                    let theirs = theirs.get(name);
                    theirs.is_some_and(|theirs| is_same(ours, theirs))
                })
        }
        _ => false,
    }
}

/// The claims of a token whose signature is good. What passes has what the configuration asks for.
fn claims(bytes: &[u8]) -> Tried {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Ok(false);
    };
    let token = Token::new().raw_claims(text).with_signature(&[0; 64]);
    let request = Request::bearing(&token);
    let decided = decide(&mut gate(&config()), &request, attempt(0, 0), &Credulous);
    if decided.code() != ALLOWED {
        return Ok(false);
    }
    let claims: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    is(claims["iss"] == ISSUER, || "issuer".into())?;
    let has = |name: &str, wanted: &str| match &claims[name] {
        Value::Array(list) => list.iter().any(|value| value == wanted),
        value => value == wanted,
    };
    is(has("aud", "observability"), || "audience".into())?;
    is(has("groups", "readers"), || "group".into())?;
    let time = |name: &str| claims[name].as_f64();
    let now = NOW as f64;
    is(time("exp").is_some_and(|exp| exp > now - 61.0), || {
        "expired".into()
    })?;
    for name in ["nbf", "iat"] {
        let early = time(name).is_none_or(|from| from <= now + 61.0);
        is(early, || format!("{name} is to come"))?;
    }
    let subject = claims["sub"].as_str();
    is(subject.is_some_and(|sub| !sub.is_empty()), || {
        "nobody".into()
    })?;
    Ok(true)
}

/// A key set: each key that is used is listed, for signatures, without its private half.
fn key_set(bytes: &[u8]) -> Tried {
    let Ok(set) = KeySet::parse(bytes, &Algorithm::ALL, &issuers()) else {
        return Ok(false);
    };
    let document: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let listed = document["keys"].as_array().ok_or("no list")?;
    let told = set.keys().len() + set.skipped().len() + set.untold() + set.surplus();
    is(told <= listed.len(), || "more keys than listed".into())?;
    is(!set.keys().is_empty(), || "an empty set".into())?;
    for key in set.keys() {
        let family = match key.algorithm().name().get(..2) {
            Some("ES") => "EC",
            Some("Ed") => "OKP",
            _ => "RSA",
        };
        let mut candidates = listed.iter().filter(|jwk| {
            let kid = jwk["kid"].as_str().filter(|kid| !kid.is_empty());
            let usable = jwk.get("use").is_none_or(|it| it == "sig");
            let public = ["d", "p", "q", "k"].iter().all(|it| jwk.get(it).is_none());
            kid == key.key_id() && jwk["kty"] == family && usable && public
        });
        is(candidates.next().is_some(), || format!("{key:?}"))?;
    }
    let again = KeySet::parse(bytes, &Algorithm::ALL, &issuers());
    is(again.is_ok_and(|again| again.is_same(&set)), || {
        "another set the second time".into()
    })?;
    Ok(true)
}

/// A discovery document: keys come from the issuer itself or a host that is listed, by TLS.
fn discovery_document(bytes: &[u8]) -> Tried {
    let hosts = ["keys.example.com".to_owned()];
    let Ok(address) = discovery::keys_address(bytes, ISSUER, &hosts) else {
        return Ok(false);
    };
    let document: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    is(document["issuer"] == ISSUER, || "issuer".into())?;
    let stated = document["jwks_uri"].as_str().ok_or("no address")?;
    let address = address.to_string();
    is(address.starts_with("https://"), || address.clone())?;
    let rest = address.trim_start_matches("https://");
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let own = ["login.example.com", "keys.example.com"];
    let is_own = |name: &str| {
        let name = name.to_ascii_lowercase();
        own.contains(&name.strip_suffix(":443").unwrap_or(&name))
    };
    is(is_own(authority), || format!("{address} of {stated}"))?;
    let clean = !authority.contains('@') && !rest.contains(['\\', ' ', '#']) && rest.is_ascii();
    is(clean, || address.clone())?;
    Ok(true)
}

/// A configuration: whatever it says, nobody passes without a credential while it is enforced.
fn configuration(bytes: &[u8]) -> Tried {
    let parsed = Config::parse(bytes, &Environment::default());
    let again = Config::parse(bytes, &Environment::default());
    let (parsed, again) = match (parsed, again) {
        (Ok(parsed), Ok(again)) => (parsed, again),
        (Err(problems), Err(again)) => {
            is(!problems.is_empty(), || "refused without a word".into())?;
            is(problems == again, || "other problems".into())?;
            return Ok(false);
        }
        _ => return Err("not the same the second time".into()),
    };
    is(!parsed.providers.is_empty(), || "no provider".into())?;
    is(parsed.policy.tenants() == again.policy.tenants(), || {
        "other tenants".into()
    })?;
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let mut gate = gate(&value);
    let forged = Token::new().with_signature(&[7; 64]);
    for request in [Request::new(), Request::bearing(&forged)] {
        let code = ask(&mut gate, &request).code();
        is(code != ALLOWED, || "passes without a credential".into())?;
    }
    Ok(true)
}

/// A document of organizations: nobody whom it does not name gets to a tenant.
fn organizations(bytes: &[u8]) -> Tried {
    let mut from = config();
    from["organizations_from"] = json!({"uri": "https://o.example.com/v1", "cluster": "o"});
    let from = common::parse(&from);
    let settings = from.organizations_from.as_ref().ok_or("no section")?;
    let object = json::parse_object(config().to_string().as_bytes(), 32);
    let checked = check_outside(bytes, &object.map_err(|error| error.to_string())?);
    let outside = match Outside::parse(bytes, settings, &InModule) {
        Ok(outside) => outside,
        Err(problems) => {
            is(!problems.is_empty(), || "no reason".into())?;
            return Ok(false);
        }
    };
    let document: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let listed = document["organizations"].as_array().ok_or("no list")?;
    is(listed.len() == outside.organizations, || "count".into())?;
    let Ok(merged) = from.with(&outside) else {
        return Ok(false);
    };
    is(checked.is_ok(), || "checked as bad, and taken".to_owned())?;
    let mut names = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
    for organization in listed {
        for tenant in organization["tenants"].as_array().into_iter().flatten() {
            let name = tenant.as_str().or_else(|| tenant["name"].as_str());
            names.extend(name.map(str::to_owned));
        }
    }
    let known = merged.policy.tenants();
    is(known <= names.len(), || format!("{known} of {names:?}"))?;
    Ok(true)
}

/// A list of tenants, as another reader splits it.
fn tenants(bytes: &[u8]) -> Tried {
    let Ok(set) = TenantSet::parse(bytes, 64) else {
        return Ok(false);
    };
    let names: Vec<&[u8]> = bytes.split(|byte| *byte == b'|').collect();
    is(names.len() == set.asked() && names.len() <= 64, || {
        "count".into()
    })?;
    let expected: BTreeSet<&[u8]> = names.into_iter().collect();
    is(set.iter().eq(expected.iter().copied()), || "names".into())?;
    for name in &expected {
        let good = |byte: &u8| byte.is_ascii_alphanumeric() || b"!-_.*'()".contains(byte);
        let fine = (1..=150).contains(&name.len()) && name.iter().all(good);
        let whole = *name != b"." && *name != b"..";
        is(fine && whole, || name.escape_ascii().to_string())?;
    }
    let canonical = set.canonical();
    let joined = expected.into_iter().collect::<Vec<_>>().join(&b'|');
    is(canonical.as_ref() == joined, || "canonical form".into())?;
    Ok(true)
}

fn endpoints() -> Endpoints {
    Endpoints::new(&[Surface::Platform, Surface::LokiLegacy])
}

/// A method and a path, with a space between them: the row that is found has both.
fn path(bytes: &[u8]) -> Tried {
    let space = bytes.iter().position(|byte| *byte == b' ');
    let (method, path) = match space {
        Some(space) => (&bytes[..space], &bytes[space + 1..]),
        None => (&b"GET"[..], bytes),
    };
    match endpoints().find(path, method) {
        Ok(row) => is_row_of(row, method, path).map(|()| true),
        Err(
            Denial::RouteNotListed
            | Denial::MethodNotAllowed(_)
            | Denial::PathEscapeRefused(_)
            | Denial::RouteMoved(_),
        ) => Ok(false),
        Err(denial) => Err(format!("{denial:?}")),
    }
}

fn is_row_of(row: &Endpoint, method: &[u8], path: &[u8]) -> Verdict {
    let methods = row.methods.to_string();
    let listed = methods.split(", ").any(|known| known.as_bytes() == method);
    is(listed, || format!("{methods} only"))?;
    is_path_of(row, path)
}

/// The path of a gRPC call: exactly that of a row, and nothing else is a call.
fn grpc_name(bytes: &[u8]) -> Tried {
    let request = Request::bearing(valid_token())
        .set(":method", "POST")
        .set(":path", bytes)
        .set("content-type", "application/grpc")
        .set("te", "trailers");
    let decided = ask(&mut gate(&config()), &request);
    if decided.code() != ALLOWED {
        return Ok(false);
    }
    let before = bytes.split(|byte| *byte == b'?').next();
    let before = before.unwrap_or_default();
    let row = endpoints().find(before, b"POST");
    let row = row.map_err(|denial| format!("{denial:?}"))?;
    is(row.is_grpc() && row.template.as_bytes() == bytes, || {
        row.template.to_owned()
    })?;
    Ok(true)
}

/// A head, a header to a line: only one with the valid token passes, and its tenants are alice's.
fn head(bytes: &[u8]) -> Tried {
    let fields: Vec<(Vec<u8>, Vec<u8>)> = bytes
        .split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let colon = line.get(1..)?.windows(2).position(|it| it == b": ")? + 1;
            Some((line[..colon].to_vec(), line[colon + 2..].to_vec()))
        })
        .collect();
    let values = |name: &[u8]| -> Vec<&[u8]> {
        let of_name = fields.iter().filter(|(other, _)| other == name);
        of_name.map(|(_, value)| value.as_slice()).collect()
    };
    let decided = ask(&mut gate(&config()), &Request::of(fields.clone()));
    let Decided::Allowed { tenants, edits } = decided else {
        return Ok(false);
    };
    let [authorization] = values(b"authorization")[..] else {
        return Err("not one credential".into());
    };
    let sent = authorization.get(7..).unwrap_or_default();
    let sent = sent.trim_ascii_start() == valid_token().as_bytes();
    let scheme = authorization.get(..7).unwrap_or_default();
    is(sent && scheme.eq_ignore_ascii_case(b"bearer "), || {
        "another token".into()
    })?;
    let [asked] = values(b"x-scope-orgid")[..] else {
        return Err("not one tenant header".into());
    };
    let asked: BTreeSet<&[u8]> = asked.split(|byte| *byte == b'|').collect();
    let canonical = asked.iter().copied().collect::<Vec<_>>().join(&b'|');
    let own = asked.iter().all(|name| *name == b"a" || *name == b"b");
    is(own && tenants == canonical, || "another's tenant".into())?;
    let ([method], [path]) = (&values(b":method")[..], &values(b":path")[..]) else {
        return Err("not one method and path".into());
    };
    let path = path.split(|byte| *byte == b'?').next().unwrap_or_default();
    let row = endpoints().find(path, method);
    let row = row.map_err(|denial| format!("{denial:?}"))?;
    is_row_of(row, method, path)?;
    let reads = [Permission::Read, Permission::RulesRead];
    is(reads.contains(&row.permission), || "a viewer writes".into())?;
    let backend = Some(row.backend.name().to_owned());
    let steered = edits.contains(&("x-scopegate-backend".to_owned(), backend));
    is(steered, || "not steered".into())?;
    // What a client may not set is removed, unless it is set to something else.
    for (name, value) in &fields {
        let folded = String::from_utf8_lossy(name).to_ascii_lowercase();
        let folded = folded.replace('_', "-");
        if folded == "x-scope-orgid" || folded.starts_with("x-scopegate-") {
            let name = String::from_utf8_lossy(name).into_owned();
            let edited = edits.iter().any(|(edited, _)| *edited == name);
            let kept = name == "x-scope-orgid" && *value == tenants;
            is(edited || kept, || format!("{name} is the client's"))?;
        }
    }
    Ok(true)
}

/// The parameters of a scoped query: each query that goes on has the matcher, unless it selects
/// nothing.
fn form_of_a_scoped_query(bytes: &[u8]) -> Tried {
    if let Ok(pairs) = form::parse(bytes) {
        let mut again = String::new();
        for pair in &pairs {
            form::push_pair(&mut again, &pair.name, &pair.value);
        }
        let same = form::parse(again.as_bytes()).is_ok_and(|again| again == pairs);
        is(same, || format!("not the same again: {again}"))?;
    }
    let mut scoped = config();
    let viewer = json!({"group": "readers", "labels": {"rid": ["r1"]}});
    scoped["organizations"][0]["rbac"] = json!({"viewers": [viewer]});
    let mut gate = gate(&scoped);
    let mut taken = false;
    for (path, names, language) in [
        ("/loki/api/v1/query_range", &["query"][..], Language::LogQl),
        (
            "/prometheus/api/v1/series",
            &["match[]", "match"],
            Language::PromQl,
        ),
        ("/prometheus/api/v1/query", &["query"], Language::PromQl),
    ] {
        let whole = [path.as_bytes(), b"?", bytes].concat();
        let request = Request::bearing(valid_token()).set(":path", &whole);
        let Decided::Allowed { edits, .. } = ask(&mut gate, &request) else {
            continue;
        };
        taken = true;
        let edit = edits.iter().find(|(name, _)| name == ":path");
        let edit = edit.and_then(|(_, value)| value.as_deref());
        let edited = edit.ok_or("a scoped query goes on as it came")?;
        let (_, query) = edited.split_once('?').ok_or("no parameters")?;
        let pairs = form::parse(query.as_bytes()).map_err(|error| format!("{error:?}"))?;
        let mut queries = pairs.iter().filter(|pair| names.contains(&&*pair.name));
        is(queries.clone().next().is_some(), || "no query".into())?;
        let within = queries.all(|pair| {
            pair.value.contains("rid=\"r1\"") || selects_nothing(language, &pair.value)
        });
        is(within, || format!("{path} without the matcher: {query}"))?;
    }
    Ok(taken)
}

/// Whether a query is a number, a text or the like, which nobody's data is asked for with.
fn selects_nothing(language: Language, text: &str) -> bool {
    let [matcher, _] = matchers(language);
    scope(language, Shape::Query, text, &matcher).is_ok_and(|scoped| scoped.selectors == 0)
}

fn query(language: Language, bytes: &[u8]) -> Tried {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Ok(false);
    };
    for matcher in &matchers(language) {
        for shape in [Shape::Pipeline, Shape::Query, Shape::Selector] {
            is_scoped_soundly(language, shape, text, matcher)
                .map_err(|broken| format!("{shape:?}: {broken}"))?;
        }
    }
    let [matcher, _] = matchers(language);
    Ok(scope(language, Shape::Query, text, &matcher).is_ok())
}

fn logql(bytes: &[u8]) -> Tried {
    query(Language::LogQl, bytes)
}

fn promql(bytes: &[u8]) -> Tried {
    query(Language::PromQl, bytes)
}

fn traceql(bytes: &[u8]) -> Tried {
    query(Language::TraceQl, bytes)
}

/// How long after it met a bad entry a worker may do without keys, in milliseconds: the longest
/// lease, the longest pause after failures, and a fetch.
const HEALED: u64 = LONGEST_FETCH + 66_001 + 3_000;

/// An entry that another worker has written, the first byte says which: whatever it is, it keeps
/// nobody from the keys for long, and its keys are believed only if they are a document.
fn shared_entry(bytes: &[u8]) -> Tried {
    let Some((which, entry)) = bytes.split_first() else {
        return Ok(false);
    };
    let now = Monotonic::from_millis(UPTIME);
    let part = if which % 2 == 0 {
        if let Some(document) = Document::parse(entry, now) {
            is(document.to_bytes() == entry, || "another document".into())?;
        }
        "/document/"
    } else {
        let lease = Lease::parse(entry, now);
        let again = Lease::parse(&lease.to_bytes(), now);
        is(again == lease, || format!("{lease:?} is {again:?}"))?;
        for reason in [Reason::Demand, Reason::Schedule] {
            let never = Monotonic::from_millis(0);
            if let Claim::Held(until) | Claim::NotBefore(until) =
                lease.claim(9, now, LONGEST_FETCH, reason, never)
            {
                is(until <= now.after(66_001), || format!("{lease:?}"))?;
            }
        }
        "/lease/"
    };
    // One worker has keys, the other meets the entry first.
    let store: Rc<RefCell<Store>> = Rc::default();
    let document = fetched(json!({"share": true})).to_string();
    let keys = jwks(&[jwk("p256-a")]);
    let mut first = Host::new(Box::new(InModule), &store, NOW, UPTIME, 1);
    is(first.configure(1, &document, &[]), || "refused".into())?;
    first.tick(1);
    for call in first.take_calls() {
        first.answer(&call, "200", &keys);
    }
    store.borrow_mut().put(part, entry);
    let mut second = Host::new(Box::new(InModule), &store, NOW, UPTIME, 2);
    is(second.configure(2, &document, &[]), || "refused".into())?;
    let fields = Request::bearing(valid_token()).fields();
    let mut stream = 1 << 20;
    let mut passed = 0;
    loop {
        second.tick(2);
        for call in second.take_calls() {
            second.answer(&call, "200", &keys);
        }
        stream += 1;
        second.open(stream, 2);
        let action = second.head(stream, &fields, true);
        second.gone(stream);
        if action == Action::Continue {
            return Ok(passed == 0);
        }
        is(passed <= HEALED, || "no keys for good".into())?;
        second.pass(500);
        passed += 500;
    }
}

/// Events of several workers, three bytes or more to each: the model expects what they do.
fn worker(bytes: &[u8]) -> Tried {
    let codes = model::play(&model::sequence_of(bytes))?;
    Ok(codes.contains_key("allowed"))
}
