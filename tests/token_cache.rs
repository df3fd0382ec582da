//! The memory of verified tokens: its limits, its exactness, and what it may answer.
#![allow(clippy::unwrap_used)]

use std::cell::Cell;
use std::sync::{Arc, OnceLock};

use crate::common::{
    ALLOWED, Bench, Decided, ISSUER, NOW, Request, Token, ask, ask_at, at, attempt, b64, config,
    decide, gate, issuers, jwk, jwk_with, jwks, parse, provider, sign,
};
use scopegate::authn::jwks::KeySet;
use scopegate::authn::keys::{
    Algorithm, BadSignature, InModule, Proof, SignatureEngine, VerifyingKey,
};
use scopegate::authn::token_cache::{Owner, Sent, Session, TokenCache};
use scopegate::authn::verifier::TokenTimes;
use scopegate::gate::{Attempt, Gate};
use scopegate::words::credential::Purpose;
use scopegate::words::identity::{Groups, Issuer, Listing, Principal, ProviderIndex, Subject};
use scopegate::words::time::{Now, Time, Timestamp};
use serde_json::{Value, json};

/// The configuration that most sessions here are made by.
const OURS: Owner = Owner(1);

/// Keys the hashes.
const SEED: u64 = 7;

fn key() -> Arc<VerifyingKey> {
    let set = KeySet::parse(&jwks(&[jwk("p256-a")]), &Algorithm::ALL, &issuers()).unwrap();
    Arc::clone(&set.keys()[0])
}

fn session(subject: &str) -> Arc<Session> {
    Arc::new(Session {
        owner: Owner(1),
        recorded: OnceLock::new(),
        issuer: Issuer::new(ISSUER),
        principal: Principal {
            listing: Listing::default(),
            provider: ProviderIndex::at(0),
            subject: Subject::parse(subject).unwrap(),
            groups: [].into(),
        },
        times: TokenTimes {
            expires: Timestamp::from_secs(NOW + 300),
            not_before: None,
            issued_at: None,
        },
        key: key(),
    })
}

/// Calls every signature good: the cache itself must not care.
struct Trusting;

impl SignatureEngine for Trusting {
    fn verify(&self, _: &VerifyingKey, _: &[u8], _: &[u8]) -> Result<(), BadSignature> {
        Ok(())
    }
}

fn proof(key: &Arc<VerifyingKey>) -> Proof {
    Proof::by(&Trusting, key, b"", b"").unwrap()
}

/// A token that came as an access token.
fn sent(token: &[u8]) -> Sent<'_> {
    Sent {
        token,
        purpose: Purpose::Access,
    }
}

/// Remembers a token for [`OURS`].
fn insert(cache: &mut TokenCache, token: &[u8], session: &Arc<Session>) {
    cache.insert(sent(token), proof(&session.key), OURS, Arc::clone(session));
}

/// A token of exactly this many bytes whose end tells its number.
fn token(number: usize, bytes: usize) -> Vec<u8> {
    format!("{number:0>bytes$}").into_bytes()
}

fn has(cache: &mut TokenCache, token: &[u8]) -> bool {
    cache.session(sent(token), OURS).is_some()
}

#[test]
fn entries_are_bounded() {
    let session = session("alice");
    let mut cache = TokenCache::new(10, 1 << 20, SEED);
    assert!(cache.is_empty());
    for number in 0..1_000 {
        insert(&mut cache, &token(number, 100), &session);
        assert_eq!(cache.len(), (number + 1).min(10));
        assert!(has(&mut cache, &token(number, 100)), "the newest is in");
    }
    assert_eq!(
        (0..1_000)
            .filter(|n| has(&mut cache, &token(*n, 100)))
            .count(),
        10
    );
}

/// A session of somebody whom some role names.
fn member() -> Arc<Session> {
    let group = Groups::default().name("readers");
    let Session { times, key, .. } = Arc::into_inner(session("alice")).unwrap();
    let principal = Principal {
        listing: Listing::default(),
        provider: ProviderIndex::at(0),
        subject: Subject::parse("alice").unwrap(),
        groups: [group].into(),
    };
    Arc::new(Session {
        owner: Owner(1),
        recorded: OnceLock::new(),
        issuer: Issuer::new(ISSUER),
        principal,
        times,
        key,
    })
}

/// Whoever gets tokens can show many of them, once or often.
#[test]
fn a_flood_of_tokens_pushes_out_none_that_is_in_use() {
    let (member, stranger) = (member(), session("mallory"));
    for (entries, bytes) in [(100, 1 << 20), (10_000, 10_000)] {
        for (flooder, often) in [(&stranger, true), (&stranger, false), (&member, false)] {
            let mut cache = TokenCache::new(entries, bytes, SEED);
            for number in 0..74 {
                insert(&mut cache, &token(number, 100), &member);
                assert!(has(&mut cache, &token(number, 100)));
            }
            for number in 1_000..4_000 {
                insert(&mut cache, &token(number, 100), flooder);
                assert!(!often || has(&mut cache, &token(number, 100)));
                assert!(cache.len() <= 100);
            }
            let left = (0..74).filter(|number| has(&mut cache, &token(*number, 100)));
            assert_eq!(left.count(), 74, "{entries} {bytes} {often}");
        }
    }
}

/// Two configurations that share a worker see the same tokens.
#[test]
fn a_token_that_two_configurations_use_is_in_use() {
    let member = member();
    let mut cache = TokenCache::new(100, 1 << 20, SEED);
    for number in 0..60 {
        insert(&mut cache, &token(number, 100), &member);
        let proof = cache.proof(sent(&token(number, 100))).cloned().unwrap();
        let other = Owner(OURS.0 + 1);
        cache.insert(sent(&token(number, 100)), proof, other, Arc::clone(&member));
    }
    for number in 1_000..4_000 {
        insert(&mut cache, &token(number, 100), &member);
    }
    let left = (0..60).filter(|number| cache.proof(sent(&token(*number, 100))).is_some());
    assert_eq!(left.count(), 60);
}

#[test]
fn tokens_in_use_may_take_the_whole_cache_and_make_way_for_each_other() {
    let member = member();
    let mut cache = TokenCache::new(100, 1 << 20, SEED);
    for number in 0..300 {
        insert(&mut cache, &token(number, 100), &member);
        assert!(has(&mut cache, &token(number, 100)));
        assert_eq!(cache.len(), (number + 1).min(100));
    }
    cache.resize(10, 1 << 20);
    assert_eq!(cache.len(), 10);
    cache.resize(0, 0);
    assert!(cache.is_empty());
}

#[test]
fn bytes_are_bounded() {
    let session = session("alice");
    let mut cache = TokenCache::new(1_000, 1_000, SEED);
    let size = |number: usize| 70 + number * 37 % 400;
    for number in 0..500 {
        insert(&mut cache, &token(number, size(number)), &session);
        let held: usize = (0..=number)
            .map(|n| (n, size(n)))
            .filter(|(n, size)| has(&mut cache, &token(*n, *size)))
            .map(|(_, size)| size)
            .sum();
        assert!(held <= 1_000, "{held}");
        // Room is used, too: what was evicted made way for something.
        assert!(held >= 500 || number < 5, "{held} after {number}");
    }
}

#[test]
fn a_token_that_can_never_fit_evicts_nobody() {
    let session = session("alice");
    let mut cache = TokenCache::new(10, 1_000, SEED);
    for number in 0..5 {
        insert(&mut cache, &token(number, 100), &session);
    }
    insert(&mut cache, &token(9, 1_001), &session);
    assert_eq!(cache.len(), 5);
    assert!(!has(&mut cache, &token(9, 1_001)));
    insert(&mut cache, &token(9, 1_000), &session);
    assert_eq!(cache.len(), 1);
    assert!(has(&mut cache, &token(9, 1_000)));
}

#[test]
fn no_entries_means_no_memory() {
    let mut cache = TokenCache::new(0, 1_000, SEED);
    insert(&mut cache, b"token", &session("alice"));
    assert!(cache.is_empty());
    assert!(!has(&mut cache, b"token"));
    let mut forgetful = config();
    forgetful["limits"] = json!({"cached_tokens": 0});
    let mut gate = gate(&forgetful);
    let request = Request::bearing(&Token::new().build());
    for _ in 0..2 {
        assert_eq!(ask(&mut gate, &request).code(), ALLOWED);
        assert_eq!(gate.cached_tokens(), 0);
    }
}

#[test]
fn only_the_exact_bytes_are_remembered() {
    let mut cache = TokenCache::new(10, 10_000, SEED);
    let mut known = vec![b'h'; 300];
    known.extend([b's'; 64]);
    insert(&mut cache, &known, &session("alice"));
    assert!(has(&mut cache, &known));
    // The same end and length, so the same hash, and one other byte.
    for position in 0..known.len() {
        let mut other = known.clone();
        other[position] ^= 1;
        assert!(!has(&mut cache, &other), "{position}");
    }
    let longer = [&b"h"[..], &known].concat();
    for other in [
        &known[1..],
        &known[..known.len() - 1],
        &longer,
        &known[300..],
        b"",
    ] {
        assert!(!has(&mut cache, other));
    }
    assert!(has(&mut cache, &known), "a miss takes nothing away");
}

#[test]
fn tokens_with_the_same_end_displace_each_other_without_mixing() {
    let twin = |head: u8| [vec![head; 300], vec![b's'; 64]].concat();
    let mut cache = TokenCache::new(10, 10_000, SEED);
    insert(&mut cache, &twin(b'a'), &session("alice"));
    insert(&mut cache, &twin(b'b'), &session("bob"));
    assert!(!has(&mut cache, &twin(b'a')));
    let held = cache.session(sent(&twin(b'b')), OURS).unwrap();
    assert_eq!(held.principal.subject.as_str(), "bob");
    assert_eq!(cache.len(), 1);
    cache.forget(sent(&twin(b'b')));
    assert!(cache.is_empty());
}

#[test]
fn a_token_is_counted_once_however_often_it_comes() {
    let mut cache = TokenCache::new(10, 1_000, SEED);
    for _ in 0..100 {
        insert(&mut cache, &token(1, 400), &session("alice"));
    }
    insert(&mut cache, &token(2, 600), &session("alice"));
    assert_eq!(
        cache.len(),
        2,
        "the bytes of replaced entries are free again"
    );
}

#[test]
fn the_unused_go_first() {
    let session = session("alice");
    let mut cache = TokenCache::new(100, 1 << 20, SEED);
    for number in 0..100 {
        insert(&mut cache, &token(number, 100), &session);
    }
    let used: Vec<usize> = (0..100).filter(|n| n % 2 == 0).collect();
    for number in &used {
        assert!(has(&mut cache, &token(*number, 100)));
    }
    for number in 100..150 {
        insert(&mut cache, &token(number, 100), &session);
    }
    for number in used {
        assert!(has(&mut cache, &token(number, 100)), "{number}");
    }
    for number in (0..100).filter(|n| n % 2 == 1) {
        assert!(!has(&mut cache, &token(number, 100)), "{number}");
    }
}

#[test]
fn a_flood_of_tokens_used_once_does_not_wash_out_one_in_use() {
    let session = session("alice");
    let mut cache = TokenCache::new(8, 1 << 20, SEED);
    insert(&mut cache, b"steady", &session);
    for number in 0..10_000 {
        assert!(has(&mut cache, b"steady"), "{number}");
        insert(&mut cache, &token(number, 100), &session);
    }
}

#[test]
fn eviction_ends_when_all_are_in_use() {
    let session = session("alice");
    let mut cache = TokenCache::new(4, 1 << 20, SEED);
    for round in 0..50 {
        for number in 0..4 {
            has(&mut cache, &token(round * 4 + number, 100));
        }
        insert(&mut cache, &token(1_000 + round, 100), &session);
        assert!(cache.len() <= 4);
    }
}

#[test]
fn retain_and_forget_leave_the_rest() {
    let mut cache = TokenCache::new(10, 1_000, SEED);
    for (number, subject) in ["alice", "bob", "alice", "carol"].into_iter().enumerate() {
        insert(&mut cache, &token(number, 200), &session(subject));
    }
    cache.retain(|_, session| session.principal.subject.as_str() != "alice");
    assert_eq!(cache.len(), 2);
    assert!(!has(&mut cache, &token(0, 200)) && has(&mut cache, &token(1, 200)));
    cache.forget(sent(&token(1, 200)));
    cache.forget(sent(&token(1, 200)));
    cache.forget(sent(b"never seen"));
    assert_eq!(cache.len(), 1);
    // Their room is free again.
    for number in 10..14 {
        insert(&mut cache, &token(number, 200), &session("dave"));
    }
    assert_eq!(cache.len(), 5);
    cache.retain(|_, _| false);
    assert!(cache.is_empty());
    insert(&mut cache, &token(20, 1_000), &session("erin"));
    assert_eq!(cache.len(), 1);
}

#[test]
fn another_owner_gets_no_session_but_the_proof() {
    let mut cache = TokenCache::new(10, 1_000, SEED);
    let theirs = Owner(2);
    assert!(cache.proof(sent(b"token")).is_none());
    insert(&mut cache, b"token", &session("alice"));
    assert!(cache.session(sent(b"token"), theirs).is_none());
    assert!(cache.proof(sent(b"token")).unwrap().key().is_same(&key()));
    assert!(cache.proof(sent(b"tokem")).is_none());
    // Whoever derives a session of its own takes the place, and the proof stays.
    let bob = session("bob");
    cache.insert(sent(b"token"), proof(&bob.key), theirs, bob);
    assert_eq!(cache.len(), 1);
    assert!(!has(&mut cache, b"token"));
    let held = cache.session(sent(b"token"), theirs).unwrap();
    assert_eq!(held.principal.subject.as_str(), "bob");
    assert!(cache.proof(sent(b"token")).is_some());
    cache.retain(|owner, _| owner != theirs);
    assert!(
        cache.proof(sent(b"token")).is_none(),
        "it goes with its entry"
    );
}

#[test]
fn other_bounds_keep_what_fits() {
    let mut cache = TokenCache::new(0, 0, SEED);
    insert(&mut cache, &token(0, 100), &session("alice"));
    assert!(cache.is_empty());
    cache.resize(10, 1_000);
    for number in 0..10 {
        insert(&mut cache, &token(number, 100), &session("alice"));
    }
    assert_eq!(cache.len(), 10);
    cache.resize(4, 1_000);
    assert_eq!(cache.len(), 4);
    cache.resize(4, 250);
    assert_eq!(cache.len(), 2);
    cache.resize(100, 10_000);
    assert_eq!(cache.len(), 2);
    cache.resize(0, 10_000);
    assert!(cache.is_empty());
}

// Through the gate

/// Counts the signatures it checks.
struct Counting(Cell<usize>);

impl SignatureEngine for Counting {
    fn verify(
        &self,
        key: &VerifyingKey,
        input: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        self.0.set(self.0.get() + 1);
        InModule.verify(key, input, signature)
    }
}

/// A request that came at the beginning and is looked at with clocks that may lag.
fn coarse(now: Now) -> Attempt {
    Attempt {
        arrived: at(0).mono,
        time: Time::Coarse(now),
    }
}

#[test]
fn a_signature_is_checked_once_and_a_bad_one_is_not_remembered() {
    let engine = Counting(Cell::new(0));
    let mut gate = gate(&config());
    let good = Request::bearing(&Token::new().build());
    for _ in 0..5 {
        let answer = decide(&mut gate, &good, attempt(0, 0), &engine);
        assert_eq!(answer.code(), ALLOWED);
    }
    assert_eq!((engine.0.get(), gate.cached_tokens()), (1, 1));
    let bad = Request::bearing(&Token::new().forged_by("p256-stranger", "ES256").build());
    for checked in 2..5 {
        let answer = decide(&mut gate, &bad, attempt(0, 0), &engine);
        assert_eq!(answer.code(), "signature_invalid");
        assert_eq!((engine.0.get(), gate.cached_tokens()), (checked, 1));
    }
}

#[test]
fn a_remembered_tokens_signature_vouches_for_nothing_else() {
    let mut gate = gate(&config());
    let token = Token::new();
    assert_eq!(
        ask(&mut gate, &Request::bearing(&token.build())).code(),
        ALLOWED
    );
    // Same length, same last 64 bytes, more rights.
    let signature = sign("p256-a", "ES256", token.signing_input().as_bytes());
    let root = token.claim("sub", "malin").with_signature(&signature);
    assert_eq!(
        ask(&mut gate, &Request::bearing(&root)).code(),
        "signature_invalid"
    );
    // Nor does the forgery push the original out.
    assert_eq!(gate.cached_tokens(), 1);
    assert_eq!(b64(signature).len(), 86);
}

#[test]
fn times_are_checked_again_at_each_use() {
    let mut gate = gate(&config());
    let request = Request::bearing(&Token::new().claim("exp", NOW + 100).build());
    // Valid until exp plus 60 seconds, not one second more.
    for (millis, code, left) in [
        (0, ALLOWED, 1),
        (100_000, ALLOWED, 1),
        (159_999, ALLOWED, 1),
        (160_000, "token_expired", 0),
        (160_001, "token_expired", 0),
        (999_000, "token_expired", 0),
    ] {
        assert_eq!(ask_at(&mut gate, &request, millis).code(), code, "{millis}");
        assert_eq!(gate.cached_tokens(), left, "{millis}");
    }
}

#[test]
fn a_coarse_clock_expires_a_remembered_token_as_well() {
    let mut gate = gate(&config());
    let request = Request::bearing(&Token::new().claim("exp", NOW + 100).build());
    assert_eq!(ask(&mut gate, &request).code(), ALLOWED);
    let answer = decide(&mut gate, &request, coarse(at(160_000)), &InModule);
    assert_eq!(answer.code(), "token_expired");
}

#[test]
fn a_coarse_clock_does_for_remembered_tokens_only() {
    let mut gate = gate(&config());
    let request = Request::bearing(&Token::new().build());
    let ask_coarsely = |gate: &mut Bench| decide(gate, &request, coarse(at(0)), &InModule);
    assert_eq!(ask_coarsely(&mut gate), Decided::NeedsClock);
    assert_eq!(gate.cached_tokens(), 0);
    assert_eq!(ask(&mut gate, &request).code(), ALLOWED);
    assert_eq!(ask_coarsely(&mut gate).code(), ALLOWED);
    // What needs no token needs no clock.
    let none = Request::new();
    let answer = decide(&mut gate, &none, coarse(at(0)), &InModule);
    assert_eq!(answer.code(), "credential_missing");
}

/// The coarse clock lags by up to a second. A token that the exact clock has found
/// valid must not be refused because the coarse one has not come that far: a 401
/// makes agents drop their data.
#[test]
fn a_lagging_coarse_clock_refuses_no_token_that_the_exact_one_took() {
    let bounded = json!({"clock_skew": "0s", "max_lifetime": "5m"});
    for token in [
        Token::new().claim("exp", NOW + 200).claim("iat", NOW),
        Token::new().claim("exp", NOW + 200).claim("nbf", NOW),
        Token::new().without("iat").claim("exp", NOW + 300),
    ] {
        let mut gate = gate(&provider(bounded.clone()));
        let request = Request::bearing(&token.build());
        // Verified exactly at NOW; the last tick was just before.
        assert_eq!(ask(&mut gate, &request).code(), ALLOWED);
        let mut before = at(0);
        before.wall = Timestamp::from_secs(NOW - 1);
        let answer = decide(&mut gate, &request, coarse(before), &InModule);
        assert!(
            matches!(answer, Decided::NeedsClock | Decided::Allowed { .. }),
            "{answer:?}"
        );
    }
}

#[test]
fn decisions_are_not_remembered() {
    let mut gate = gate(&config());
    let token = Token::new().build();
    let request = Request::bearing(&token);
    assert_eq!(ask(&mut gate, &request).code(), ALLOWED);
    let tenant = request.clone().set("x-scope-orgid", "c");
    assert_eq!(ask(&mut gate, &tenant).code(), "tenant_not_granted");
    let write = request
        .clone()
        .set(":method", "POST")
        .set(":path", "/loki/api/v1/push");
    assert_eq!(ask(&mut gate, &write).code(), "permission_missing");
    let elsewhere = request.clone().set(":path", "/loki/api/v1/admin");
    assert_eq!(ask(&mut gate, &elsewhere).code(), "route_not_listed");
    let twice = request
        .clone()
        .and("authorization", format!("Bearer {token}"));
    assert_eq!(ask(&mut gate, &twice).code(), "credential_repeated");
    assert_eq!(ask(&mut gate, &request).code(), ALLOWED);
}

#[test]
fn the_trace_tells_how_the_token_was_known() {
    let mut gate = gate(&config());
    let request = Request::bearing(&Token::new().build());
    for cached in [false, true] {
        let head = request.head();
        let evaluation = gate.evaluate(&head, attempt(0, 0), &InModule);
        let facts = evaluation.facts;
        assert_eq!(facts.cached, Some(cached));
        assert_eq!(!facts.verified.is_empty(), !cached);
        let session = facts.session.unwrap();
        assert_eq!(session.principal.subject.as_str(), "alice");
    }
    // Before the signature holds, nobody is named.
    let forged = Request::bearing(&Token::new().forged_by("p256-b", "ES256").build());
    let head = forged.head();
    let facts = gate.evaluate(&head, attempt(0, 0), &InModule).facts;
    assert!(facts.session.is_none());
    assert!(matches!(facts.verified[..], [(_, Algorithm::ES256, false)]));
}

#[test]
fn the_gate_bounds_its_memory_by_entries_and_bytes() {
    let mut small = config();
    small["limits"] = json!({"cached_tokens": 4});
    let mut gate = gate(&small);
    for number in 0..12 {
        let token = Token::new().claim("n", number).build();
        assert_eq!(ask(&mut gate, &Request::bearing(&token)).code(), ALLOWED);
        assert!(gate.cached_tokens() <= 4);
    }
    assert_eq!(gate.cached_tokens(), 4);
    // Four entries have room for 8 KiB: of the largest tokens that is one or none.
    for number in 0..4 {
        let filler = "x".repeat(4_000);
        let token = Token::new()
            .claim("n", number)
            .claim("filler", filler)
            .build();
        assert!(token.len() > 5_000);
        assert_eq!(ask(&mut gate, &Request::bearing(&token)).code(), ALLOWED);
        assert!(gate.cached_tokens() <= 4);
    }
    assert_eq!(gate.cached_tokens(), 1);
}

// Two configurations over one memory, as in a worker

/// The verdict of a gate with its own owner on this token, and how many signatures were checked
/// for it.
fn judged(
    config: &Value,
    owner: u64,
    tokens: &mut TokenCache,
    token: &str,
) -> (&'static str, usize) {
    let engine = Counting(Cell::new(0));
    let mut bench = Bench {
        gate: Gate::new(Arc::new(parse(config)), Owner(owner), SEED),
        tokens: std::mem::replace(tokens, TokenCache::new(0, 0, SEED)),
    };
    let answer = decide(&mut bench, &Request::bearing(token), attempt(0, 0), &engine);
    *tokens = bench.tokens;
    (answer.code(), engine.0.get())
}

fn memory() -> TokenCache {
    TokenCache::new(100, 100_000, SEED)
}

#[test]
fn another_configuration_keeps_the_proof_and_judges_the_rest_anew() {
    let mut tokens = memory();
    let token = Token::new().build();
    assert_eq!(judged(&config(), 1, &mut tokens, &token), (ALLOWED, 1));
    // The same key: no signature is checked again.
    assert_eq!(judged(&config(), 2, &mut tokens, &token), (ALLOWED, 0));
    assert_eq!(tokens.len(), 1);
    // Every other rule of the new configuration holds all the same.
    let strict = json!({"clients": ["grafana"]});
    for (rules, code) in [
        (json!({"audiences": ["elsewhere"]}), "audience_mismatch"),
        (json!({"issuer": "https://elsewhere"}), "issuer_unknown"),
        (json!({"accept": ["id"]}), "token_kind_refused"),
        (strict, "client_not_allowed"),
    ] {
        assert_eq!(judged(&provider(rules), 3, &mut tokens, &token), (code, 0));
    }
    let mut nobody = config();
    nobody["organizations"][0]["rbac"] = json!({"viewers": ["others"]});
    let refused = judged(&nobody, 4, &mut tokens, &token);
    assert_eq!(refused, ("tenant_not_granted", 0));
    // And the first one derives its session again, from the proof.
    assert_eq!(judged(&config(), 1, &mut tokens, &token), (ALLOWED, 0));
    assert_eq!(judged(&config(), 1, &mut tokens, &token), (ALLOWED, 0));
}

#[test]
fn a_proof_is_no_use_with_another_key_of_the_same_kid() {
    let mut tokens = memory();
    let token = Token::new().build();
    assert_eq!(judged(&config(), 1, &mut tokens, &token), (ALLOWED, 1));
    let twin = jwk_with("p256-b", json!({"kid": "p256-a"}));
    let other = crate::common::keys(&[twin], &["ES256"]);
    // The signature is checked with the other key, and is bad.
    let refused = judged(&other, 2, &mut tokens, &token);
    assert_eq!(refused, ("signature_invalid", 1));
    // Where the first key is trusted still, nothing has changed.
    assert_eq!(judged(&config(), 1, &mut tokens, &token), (ALLOWED, 0));
    // The same bytes under another name are another key as well.
    let renamed = crate::common::keys(&[jwk_with("p256-a", json!({"kid": "p256-z"}))], &["ES256"]);
    let refused = judged(&renamed, 3, &mut tokens, &token);
    assert_eq!(refused, ("unknown_key", 0));
}

#[test]
fn a_key_that_left_one_configuration_leaves_the_tokens_of_others_alone() {
    let mut tokens = memory();
    let token = Token::new().build();
    assert_eq!(judged(&config(), 1, &mut tokens, &token), (ALLOWED, 1));
    let mut bench = gate(&crate::common::fetched(json!({})));
    bench.gate = Gate::new(Arc::clone(bench.gate.config()), Owner(2), SEED);
    bench.tokens = tokens;
    bench.give_keys(0, &["p256-a"], 0);
    bench.give_keys(0, &["p256-b"], 10);
    assert_eq!(bench.cached_tokens(), 1);
    // A token that it has no key for is none of its business, proven or not.
    let answer = ask_at(&mut bench, &Request::bearing(&token), 20);
    assert_eq!(answer.code(), "waits for a key");
}

/// A token that was sent as an ID token is not an access token because it was proven once.
#[test]
fn the_same_bytes_for_another_purpose_are_another_token() {
    let mut cache = TokenCache::new(8, 10_000, SEED);
    insert(&mut cache, b"token", &session("alice"));
    let as_id_token = Sent {
        token: b"token",
        purpose: Purpose::Identity,
    };
    assert!(cache.session(as_id_token, OURS).is_none());
    assert!(cache.proof(as_id_token).is_none());
    cache.forget(as_id_token);
    assert!(has(&mut cache, b"token"));

    let bob = session("bob");
    cache.insert(as_id_token, proof(&bob.key), OURS, Arc::clone(&bob));
    assert!(
        !has(&mut cache, b"token"),
        "one takes the place of the other"
    );
    let held = cache.session(as_id_token, OURS).unwrap();
    assert_eq!(held.principal.subject.as_str(), "bob");
    assert_eq!(cache.len(), 1);
}
