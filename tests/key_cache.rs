//! A provider's keys over time: the state machine event by event, then the same
//! rules as a request meets them in the gate.
#![allow(missing_docs)]

mod common;

use std::collections::HashSet;
use std::sync::Arc;

use common::{
    ALLOWED, Answer, ISSUER, NOW, Request, Token, UPTIME, ask_at, at, config, decide, fetched,
    gate, jwk, jwk_with, jwks, provider,
};
use scopegate::authn::jwks::KeySet;
use scopegate::authn::key_cache::{COOL_DOWN, Demand, KeyCache, Schedule};
use scopegate::authn::keys::{Algorithm, InModule};
use scopegate::config::Start;
use scopegate::gate::{Attempt, Gate};
use scopegate::words::denial::Denial;
use scopegate::words::identity::ProviderIndex;
use scopegate::words::time::{Leeway, Monotonic, Now, Timestamp};
use serde_json::{Value, json};

const SCHEDULE: Schedule = Schedule {
    refresh_interval: 600_000,
    max_stale: 3_600_000,
    timeout: 5_000,
    wait: 3_000,
};

const LEEWAY: Leeway = Leeway::from_secs(60);

fn set(names: &[&str]) -> Arc<KeySet> {
    let keys: Vec<Value> = names.iter().map(|name| jwk(name)).collect();
    Arc::new(KeySet::parse(&jwks(&keys), &Algorithm::ALL, ISSUER).unwrap())
}

fn mono(millis: u64) -> Monotonic {
    at(millis).mono
}

/// A demand by a request that came at `arrived`, with a token that says no `iat`.
fn demand(cache: &mut KeyCache, now: u64, arrived: u64) -> Demand {
    cache.demand(at(now), mono(arrived), None, LEEWAY)
}

/// A cache whose first fetch was asked for at 0 and came at 100.
fn loaded(seed: u64) -> KeyCache {
    let mut cache = KeyCache::fetched(SCHEDULE, seed);
    assert!(cache.tick(at(0)));
    assert!(cache.loaded(set(&["p256-a"]), at(100), None).is_none());
    cache
}

/// Milliseconds from `since` until a tick would start a fetch.
fn due(cache: &KeyCache, since: u64) -> u64 {
    let fires = |after: u64| cache.clone().tick(at(since + after));
    let (mut early, mut late) = (0, 10_000_000);
    assert!(fires(late));
    while early < late {
        let middle = early.midpoint(late);
        if fires(middle) {
            late = middle;
        } else {
            early = middle + 1;
        }
    }
    late
}

#[test]
fn the_first_fetch_is_due_at_once_and_is_one() {
    let mut cache = KeyCache::fetched(SCHEDULE, 1);
    assert!(cache.keys(mono(0)).is_none());
    assert!(cache.held().is_none());
    assert_eq!(cache.age(mono(0)), None);
    // A clock that has only just begun makes no difference.
    let zero = Now::default();
    assert!(cache.clone().tick(zero));
    assert!(cache.tick(at(0)));
    for now in [0, 1, 100, 9_999] {
        assert!(!cache.tick(at(now)), "{now}");
    }
}

#[test]
fn the_refresh_is_due_at_80_percent_give_or_take_10() {
    let mut seen = HashSet::new();
    for seed in 0..300 {
        let after = due(&loaded(seed), 100);
        assert!((432_000..=528_000).contains(&after), "{after}");
        seen.insert(after / 10_000);
    }
    // Spread over the whole range, so that gates do not meet.
    assert!(seen.len() >= 9, "{seen:?}");
}

#[test]
fn each_refresh_draws_anew() {
    let mut cache = loaded(1);
    let mut seen = HashSet::new();
    let mut now = 100;
    for _ in 0..20 {
        let after = due(&cache, now);
        seen.insert(after);
        now += after;
        assert!(cache.tick(at(now)));
        assert!(cache.loaded(set(&["p256-a"]), at(now), None).is_some());
    }
    assert!(seen.len() > 15, "{seen:?}");
}

#[test]
fn failures_back_off_from_1_to_60_seconds_and_keep_the_set() {
    let mut cache = loaded(5);
    let mut now = 100 + due(&cache, 100);
    for (failures, pause) in (1..).zip([1, 2, 4, 8, 16, 32, 60, 60, 60, 60]) {
        assert!(cache.tick(at(now)), "{failures}");
        cache.failed(at(now));
        assert_eq!(cache.failures(), failures);
        let after = due(&cache, now);
        let span = pause * 1_000;
        assert!(
            (span * 9 / 10..=span * 11 / 10).contains(&after),
            "{pause}: {after}"
        );
        assert!(cache.keys(mono(now)).is_some());
        now += after;
    }
    // One success forgets them all.
    assert!(cache.tick(at(now)));
    cache.loaded(set(&["p256-a"]), at(now), None);
    assert_eq!(cache.failures(), 0);
    assert!(due(&cache, now) >= 432_000);
    // A thousand do not overflow anything.
    for _ in 0..1_000 {
        cache.failed(at(now));
    }
    assert!(due(&cache, now) <= 66_000);
}

#[test]
fn a_fetch_that_is_never_answered_counts_as_failed() {
    let mut cache = KeyCache::fetched(SCHEDULE, 1);
    assert!(cache.tick(at(0)));
    assert!(!cache.tick(at(10_000)));
    assert_eq!(cache.failures(), 0);
    assert!(!cache.tick(at(10_001)));
    assert_eq!(cache.failures(), 1);
    let after = due(&cache, 10_001);
    assert!((900..=1_100).contains(&after), "{after}");
}

#[test]
fn a_set_serves_until_it_is_too_stale() {
    let cache = loaded(1);
    // From when it was asked for: what changed while it travelled is not in it.
    assert_eq!(cache.age(mono(100)), Some(100));
    assert!(cache.keys(mono(3_600_000)).is_some());
    assert!(cache.keys(mono(3_600_001)).is_none());
    // It is still there to be compared with the next one.
    assert!(cache.held().is_some());
    assert_eq!(cache.age(mono(3_600_001)), Some(3_600_001));
}

#[test]
fn a_stale_set_is_like_none() {
    let mut cache = loaded(1);
    let now = 3_700_000;
    assert_eq!(demand(&mut cache, now, now), Demand::Fetch);
    assert_eq!(demand(&mut cache, now, now), Demand::Wait);
    cache.failed(at(now));
    // The second try is near enough to wait for, the third is not.
    assert_eq!(demand(&mut cache, now + 1, now), Demand::Wait);
    for step in 1..4 {
        assert!(cache.tick(at(now + step * 10_000)));
        cache.failed(at(now + step * 10_000));
    }
    let refusal = Demand::Refuse(Denial::KeysUnavailable);
    assert_eq!(demand(&mut cache, now + 30_001, now), refusal);
    assert!(cache.tick(at(now + 50_000)));
    assert!(
        cache
            .loaded(set(&["p256-a"]), at(now + 50_100), None)
            .is_some()
    );
    assert!(cache.keys(mono(now + 50_100)).is_some());
}

#[test]
fn without_keys_one_request_fetches_and_all_wait() {
    let mut cache = KeyCache::fetched(SCHEDULE, 1);
    assert_eq!(demand(&mut cache, 0, 0), Demand::Fetch);
    for now in 1..100 {
        assert_eq!(demand(&mut cache, now, now), Demand::Wait);
    }
    assert!(!cache.tick(at(100)));
    cache.failed(at(200));
    assert_eq!(demand(&mut cache, 201, 201), Demand::Wait);
    // The next try is the tick's or a request's, whichever comes first.
    assert_eq!(demand(&mut cache, 1_400, 1_400), Demand::Fetch);
    assert!(!cache.tick(at(1_400)));
}

#[test]
fn an_unknown_kid_fetches_once_and_is_refused_by_the_set_that_was_asked_for_since() {
    let mut cache = loaded(1);
    assert_eq!(demand(&mut cache, 1_000, 1_000), Demand::Fetch);
    assert_eq!(demand(&mut cache, 1_001, 1_001), Demand::Wait);
    let old = cache.loaded(set(&["p256-a", "p256-b"]), at(1_100), None);
    assert_eq!(old.unwrap().keys().len(), 1);
    let unknown = Demand::Refuse(Denial::UnknownKey);
    // The fetch was asked for at 1000: definitive for who came until then.
    assert_eq!(demand(&mut cache, 1_101, 1_000), unknown);
    assert_eq!(demand(&mut cache, 1_101, 500), unknown);
    // A doubt about our own knowledge is never a 401.
    let unavailable = Demand::Refuse(Denial::KeysUnavailable);
    assert_eq!(demand(&mut cache, 1_101, 1_001), unavailable);
}

#[test]
fn unknown_kids_start_one_fetch_per_cool_down() {
    let mut cache = loaded(1);
    let mut fetches = Vec::new();
    // Two requests a second, each with another kid, for five minutes.
    for now in (1_000..301_000).step_by(500) {
        if demand(&mut cache, now, now) == Demand::Fetch {
            fetches.push(now);
            cache.loaded(set(&["p256-a"]), at(now + 100), None);
        }
    }
    assert_eq!(fetches.len(), 10);
    assert!(
        fetches
            .windows(2)
            .all(|pair| pair[1] - pair[0] == COOL_DOWN)
    );
    // Nor do failures make room for more.
    let mut cache = loaded(1);
    assert_eq!(demand(&mut cache, 1_000, 1_000), Demand::Fetch);
    cache.failed(at(1_100));
    let unavailable = Demand::Refuse(Denial::KeysUnavailable);
    assert_eq!(demand(&mut cache, 1_101, 1_000), unavailable);
    assert_eq!(demand(&mut cache, 30_999, 30_999), unavailable);
    assert_eq!(demand(&mut cache, 31_000, 31_000), Demand::Fetch);
}

#[test]
fn in_the_cool_down_only_a_token_issued_clearly_before_the_fetch_is_refused_for_good() {
    let mut cache = loaded(1);
    assert_eq!(demand(&mut cache, 10_000, 10_000), Demand::Fetch);
    cache.loaded(set(&["p256-a"]), at(10_100), None);
    let asked = NOW + 10;
    let mut ask = |now: u64, iat: u64| {
        cache.demand(at(now), mono(now), Some(Timestamp::from_secs(iat)), LEEWAY)
    };
    let unknown = Demand::Refuse(Denial::UnknownKey);
    let unavailable = Demand::Refuse(Denial::KeysUnavailable);
    assert_eq!(ask(20_000, asked - 60), unknown);
    assert_eq!(ask(20_000, asked - 61), unknown);
    assert_eq!(ask(20_000, asked - 59), unavailable);
    assert_eq!(ask(20_000, asked + 1_000), unavailable);
    assert_eq!(ask(20_000, u64::MAX), unavailable);
    // Outside of it a fetch settles the matter, whatever an unproven iat says.
    assert_eq!(ask(40_000, asked - 3_600), Demand::Fetch);
}

#[test]
fn a_fetch_that_began_before_the_request_is_not_definitive() {
    let mut cache = loaded(1);
    let start = 100 + due(&cache, 100);
    assert!(cache.tick(at(start)));
    // The refresh is under way: the request waits for it …
    assert_eq!(demand(&mut cache, start + 50, start + 50), Demand::Wait);
    cache.loaded(set(&["p256-a"]), at(start + 100), None);
    // … and when that set lacks the key, it may have been made before the key was.
    assert_eq!(demand(&mut cache, start + 101, start + 50), Demand::Fetch);
    cache.loaded(set(&["p256-a"]), at(start + 200), None);
    let unknown = Demand::Refuse(Denial::UnknownKey);
    assert_eq!(demand(&mut cache, start + 201, start + 50), unknown);
}

#[test]
fn a_refresh_by_tick_is_definitive_for_who_came_before() {
    let mut cache = loaded(1);
    let start = 100 + due(&cache, 100);
    assert_eq!(demand(&mut cache.clone(), start, start), Demand::Fetch);
    assert!(cache.tick(at(start)));
    cache.loaded(set(&["p256-a"]), at(start + 100), None);
    let unknown = Demand::Refuse(Denial::UnknownKey);
    assert_eq!(demand(&mut cache, start + 101, start), unknown);
    assert_eq!(demand(&mut cache, start + 101, start - 1), unknown);
}

#[test]
fn inline_keys_never_age_and_are_never_fetched() {
    let mut cache = KeyCache::inline(SCHEDULE, set(&["p256-a"]));
    let never = Now {
        wall: Timestamp::from_secs(u64::MAX),
        mono: Monotonic::from_millis(u64::MAX),
    };
    for now in [Now::default(), at(0), never] {
        assert!(!cache.tick(now));
        assert!(cache.keys(now.mono).is_some());
        assert_eq!(cache.age(now.mono), None);
        let answer = cache.demand(now, now.mono, None, LEEWAY);
        assert_eq!(answer, Demand::Refuse(Denial::UnknownKey));
    }
}

// Through the gate

const NO_TIME_LEFT: bool = true;

fn ask_as(gate: &mut Gate, token: &str, arrived: u64, now: u64, last: bool) -> &'static str {
    let attempt = Attempt {
        arrived: mono(arrived),
        last,
        coarse: false,
    };
    decide(gate, &Request::bearing(token), attempt, at(now), &InModule).code()
}

/// A request that came at `arrived` and still has time.
fn ask(gate: &mut Gate, token: &str, arrived: u64, now: u64) -> &'static str {
    ask_as(gate, token, arrived, now, false)
}

fn by_a() -> String {
    Token::new().claim("exp", NOW + 100_000).build()
}

fn by_b() -> String {
    Token::new()
        .claim("exp", NOW + 100_000)
        .by("p256-b", "ES256")
        .build()
}

/// A gate that fetches, with the keys of this name in hand since 100.
fn gate_with(names: &[&str]) -> (Gate, ProviderIndex) {
    let mut gate = gate(&fetched(json!({})));
    let provider = gate.tick(at(0))[0];
    arrive(&mut gate, provider, names, 100);
    (gate, provider)
}

fn arrive(gate: &mut Gate, provider: ProviderIndex, names: &[&str], now: u64) {
    let keys: Vec<Value> = names.iter().map(|name| jwk(name)).collect();
    gate.keys_arrived(provider, &jwks(&keys), at(now), None)
        .unwrap();
}

/// The one provider of the gates here.
fn only_provider() -> ProviderIndex {
    gate(&fetched(json!({}))).tick(at(0))[0]
}

#[test]
fn a_request_before_the_first_set_waits_and_then_passes() {
    let mut gate = gate(&fetched(json!({})));
    let token = by_a();
    assert_eq!(ask(&mut gate, &token, 0, 0), "waits and fetches");
    assert_eq!(ask(&mut gate, &token, 1, 1), "waits");
    assert_eq!(
        gate.tick(at(2)).len(),
        0,
        "the request's fetch is the fetch"
    );
    // Out of time it is our fault, not the caller's.
    assert_eq!(
        ask_as(&mut gate, &token, 0, 3_000, NO_TIME_LEFT),
        "keys_unavailable"
    );
    arrive(&mut gate, only_provider(), &["p256-a"], 3_100);
    assert_eq!(ask(&mut gate, &token, 1, 3_101), ALLOWED);
    assert_eq!(ask_as(&mut gate, &token, 1, 3_101, NO_TIME_LEFT), ALLOWED);
}

#[test]
fn a_request_whose_fetch_fails_is_told_to_try_again() {
    let mut gate = gate(&fetched(json!({"timeout": "1s"})));
    let token = by_a();
    assert_eq!(ask(&mut gate, &token, 0, 0), "waits and fetches");
    gate.keys_failed(only_provider(), at(10));
    // The next try is near: worth the rest of its time, but no longer.
    assert_eq!(ask(&mut gate, &token, 0, 11), "waits");
    assert_eq!(
        ask_as(&mut gate, &token, 0, 11, NO_TIME_LEFT),
        "keys_unavailable"
    );
    for (now, bad) in [(5_000, &b"<html>"[..]), (10_000, b"{}"), (20_000, b"")] {
        assert_eq!(gate.tick(at(now)).len(), 1);
        gate.keys_arrived(only_provider(), bad, at(now), None)
            .unwrap_err();
    }
    assert_eq!(ask(&mut gate, &token, 20_001, 20_001), "keys_unavailable");
    assert_eq!(Denial::KeysUnavailable.status(), 503);
}

#[test]
fn a_new_key_is_found_by_the_first_request_that_needs_it() {
    let (mut gate, provider) = gate_with(&["p256-a"]);
    let token = by_b();
    assert_eq!(ask(&mut gate, &token, 1_000, 1_000), "waits and fetches");
    assert_eq!(ask(&mut gate, &token, 1_001, 1_001), "waits");
    // Others are served meanwhile.
    assert_eq!(ask(&mut gate, &by_a(), 1_002, 1_002), ALLOWED);
    arrive(&mut gate, provider, &["p256-a", "p256-b"], 1_100);
    assert_eq!(ask(&mut gate, &token, 1_000, 1_101), ALLOWED);
    assert_eq!(ask(&mut gate, &token, 1_001, 1_101), ALLOWED);
}

#[test]
fn a_key_that_a_newer_set_lacks_is_a_401_and_a_failed_fetch_is_a_503() {
    let (mut gate, provider) = gate_with(&["p256-a"]);
    // Just issued, so that no iat can settle it.
    let token = Token::new()
        .claim("iat", NOW + 50)
        .by("p256-b", "ES256")
        .build();
    assert_eq!(ask(&mut gate, &token, 1_000, 1_000), "waits and fetches");
    gate.keys_failed(provider, at(1_100));
    assert_eq!(ask(&mut gate, &token, 1_000, 1_101), "keys_unavailable");
    assert_eq!(ask(&mut gate, &token, 31_000, 31_000), "waits and fetches");
    arrive(&mut gate, provider, &["p256-a"], 31_100);
    assert_eq!(ask(&mut gate, &token, 31_000, 31_101), "unknown_key");
    assert_eq!(
        ask_as(&mut gate, &token, 31_000, 31_101, NO_TIME_LEFT),
        "unknown_key"
    );
    // Who came after it was asked for cannot be told yet.
    assert_eq!(ask(&mut gate, &token, 31_001, 31_101), "keys_unavailable");
}

#[test]
fn a_last_attempt_waits_for_nothing_that_is_under_way() {
    let (mut gate, provider) = gate_with(&["p256-a"]);
    let token = Token::new()
        .claim("iat", NOW + 50)
        .by("p256-b", "ES256")
        .build();
    assert_eq!(ask(&mut gate, &token, 1_000, 1_000), "waits and fetches");
    assert_eq!(ask(&mut gate, &token, 1_000, 2_000), "waits");
    assert_eq!(
        ask_as(&mut gate, &token, 1_000, 4_000, NO_TIME_LEFT),
        "keys_unavailable"
    );
    arrive(&mut gate, provider, &["p256-a", "p256-b"], 4_100);
    assert_eq!(ask(&mut gate, &token, 5_000, 5_000), ALLOWED);
}

/// A last attempt may find that a fetch has only now become worth starting (the
/// refresh it waited for began before it came). The fetch must be started all the
/// same, for the sake of those who come next; the attempt after it is refused.
#[test]
fn a_last_attempt_that_starts_a_fetch_is_refused_at_the_next() {
    let (mut gate, provider) = gate_with(&["p256-a"]);
    let start = 600_000;
    assert_eq!(gate.tick(at(start)).len(), 1);
    let token = Token::new()
        .claim("exp", NOW + 1_000)
        .claim("iat", NOW + 590)
        .by("p256-b", "ES256")
        .build();
    assert_eq!(ask(&mut gate, &token, start + 50, start + 50), "waits");
    arrive(&mut gate, provider, &["p256-a"], start + 3_060);
    let late = start + 3_061;
    let answer = ask_as(&mut gate, &token, start + 50, late, NO_TIME_LEFT);
    assert_eq!(answer, "waits and fetches");
    let answer = ask_as(&mut gate, &token, start + 50, late + 1, NO_TIME_LEFT);
    assert_eq!(answer, "keys_unavailable");
}

#[test]
fn forged_and_misdirected_tokens_never_start_a_fetch() {
    let (mut gate, _) = gate_with(&["p256-a"]);
    let unknown = || Token::new().header("kid", "nobody-knows");
    for (defect, code) in [
        (
            Token::new().forged_by("p256-stranger", "ES256"),
            "signature_invalid",
        ),
        (
            unknown().claim("iss", "https://evil.example"),
            "issuer_unknown",
        ),
        (unknown().claim("aud", "loki"), "audience_mismatch"),
        (unknown().claim("exp", NOW - 100), "token_expired"),
        (unknown().claim("nbf", NOW + 100), "token_not_yet_valid"),
        (unknown().claim("iat", NOW + 100), "issued_in_future"),
        (unknown().claim("typ", "ID"), "token_kind_refused"),
        (unknown().header("typ", "logout+jwt"), "token_type_refused"),
        (unknown().header("alg", "HS256"), "algorithm_not_allowed"),
        (unknown().header("alg", "RS512"), "algorithm_not_allowed"),
        (
            unknown().header("crit", json!(["exp"])),
            "token_header_refused",
        ),
        (
            Token::new().header("kid", "k".repeat(257)),
            "token_malformed",
        ),
        // The key is there, for another algorithm.
        (
            Token::new().header("alg", "RS256"),
            "key_algorithm_mismatch",
        ),
    ] {
        let token = defect.build();
        assert_eq!(ask(&mut gate, &token, 1_000, 1_000), code);
    }
    // The very next unknown kid may fetch: nothing was used up.
    assert_eq!(
        ask(&mut gate, &unknown().build(), 1_001, 1_001),
        "waits and fetches"
    );
}

#[test]
fn strangers_with_random_kids_delay_a_rotation_by_the_cool_down_at_most() {
    let (mut gate, provider) = gate_with(&["p256-a"]);
    let mut fetches = 0;
    // The provider rotates at 40 s; strangers ask ten times a second all along.
    let mut first_success = None;
    for now in (1_000..90_000).step_by(100) {
        let stranger = Token::new()
            .header("kid", format!("k{now}"))
            .with_signature(b"x");
        let rotated = now >= 40_000 && (now / 100) % 5 == 0;
        let answers = [
            ask(&mut gate, &stranger, now, now),
            if rotated {
                ask(&mut gate, &by_b(), now, now)
            } else {
                ""
            },
        ];
        if answers.contains(&ALLOWED) {
            first_success = first_success.or(Some(now));
        }
        if answers.contains(&"waits and fetches") {
            fetches += 1;
            let names: &[&str] = if now >= 40_000 {
                &["p256-a", "p256-b"]
            } else {
                &["p256-a"]
            };
            arrive(&mut gate, provider, names, now + 50);
        }
    }
    assert!(fetches <= 3, "{fetches}");
    assert!(
        first_success.unwrap() <= 40_000 + COOL_DOWN + 500,
        "{first_success:?}"
    );
}

#[test]
fn a_key_that_left_the_set_takes_its_remembered_tokens_with_it() {
    let mut config = fetched(json!({}));
    let mut partner = config["providers"][0].clone();
    common::merge(
        &mut partner,
        json!({"name": "partner", "issuer": "https://partner.example"}),
    );
    config["providers"].as_array_mut().unwrap().push(partner);
    let mut gate = gate(&config);
    let providers = gate.tick(at(0));
    arrive(&mut gate, providers[0], &["p256-a", "p256-b"], 100);
    // The partner has a key of the same name and bytes as the corporate one.
    arrive(&mut gate, providers[1], &["p256-a"], 100);
    let foreign = Token::new().claim("iss", "https://partner.example").build();
    for token in [&by_a(), &by_b(), &foreign] {
        assert_eq!(ask(&mut gate, token, 200, 200), ALLOWED);
    }
    assert_eq!(gate.cached_tokens(), 3);
    // A set that is the same but for its order changes nothing.
    arrive(&mut gate, providers[0], &["p256-b", "p256-a"], 300);
    assert_eq!(gate.cached_tokens(), 3);
    arrive(&mut gate, providers[0], &["p256-b"], 400);
    assert_eq!(gate.cached_tokens(), 2);
    assert_eq!(ask(&mut gate, &by_b(), 500, 500), ALLOWED);
    assert_eq!(ask(&mut gate, &foreign, 500, 500), ALLOWED);
    assert_ne!(ask(&mut gate, &by_a(), 500, 500), ALLOWED);
    arrive(&mut gate, providers[0], &["p256-b"], 600);
    assert_eq!(ask(&mut gate, &by_a(), 500, 601), "unknown_key");
    // A failed fetch ends nobody's token.
    gate.keys_arrived(providers[0], b"{\"keys\":[]}", at(700), None)
        .unwrap_err();
    gate.keys_failed(providers[1], at(700));
    assert_eq!(gate.cached_tokens(), 2);
}

#[test]
fn another_key_under_the_same_kid_ends_the_old_ones_tokens() {
    let (mut gate, provider) = gate_with(&["p256-a"]);
    assert_eq!(ask(&mut gate, &by_a(), 200, 200), ALLOWED);
    let twin = jwk_with("p256-b", json!({"kid": "p256-a"}));
    gate.keys_arrived(provider, &jwks(&[twin]), at(300), None)
        .unwrap();
    assert_eq!(gate.cached_tokens(), 0);
    assert_eq!(ask(&mut gate, &by_a(), 400, 400), "signature_invalid");
}

#[test]
fn remembered_tokens_stop_when_the_set_is_too_stale() {
    let mut gate = gate(&fetched(json!({"max_stale": "1h"})));
    let provider = gate.tick(at(0))[0];
    arrive(&mut gate, provider, &["p256-a"], 100);
    let hour = 3_600_000;
    assert_eq!(ask(&mut gate, &by_a(), 200, 200), ALLOWED);
    assert_eq!(ask(&mut gate, &by_a(), hour, hour), ALLOWED);
    let beyond = hour + 1;
    assert_eq!(ask(&mut gate, &by_a(), beyond, beyond), "waits and fetches");
    gate.keys_failed(provider, at(beyond + 10));
    let answer = ask_as(&mut gate, &by_a(), beyond, beyond + 3_000, NO_TIME_LEFT);
    // Once more it may be asked to start the fetch that has become due meanwhile.
    assert!(
        matches!(answer, "keys_unavailable" | "waits and fetches"),
        "{answer}"
    );
    arrive(&mut gate, provider, &["p256-a"], beyond + 4_000);
    assert_eq!(
        ask(&mut gate, &by_a(), beyond + 4_001, beyond + 4_001),
        ALLOWED
    );
}

#[test]
fn inline_keys_serve_for_good_and_lack_what_they_lack() {
    let mut gate = gate(&config());
    let later = 400 * 24 * 3_600_000;
    let token = Token::new().claim("exp", NOW + 1_000_000_000).build();
    for now in [0, 1_000, later] {
        assert_eq!(gate.tick(at(now)).len(), 0);
        assert_eq!(ask(&mut gate, &token, now, now), ALLOWED);
    }
    assert_eq!(ask(&mut gate, &by_b(), 0, 0), "unknown_key");
    let states: Vec<_> = gate
        .key_states()
        .map(|(name, cache)| (name.to_owned(), cache.age(mono(0))))
        .collect();
    assert_eq!(states, [("corporate".to_owned(), None)]);
}

#[test]
fn a_set_serves_at_least_until_its_successor_is_due() {
    // max_stale below the refresh interval would leave a gap at every refresh.
    let mut gate = gate(&fetched(
        json!({"max_stale": "0s", "refresh_interval": "10m"}),
    ));
    let provider = gate.tick(at(0))[0];
    arrive(&mut gate, provider, &["p256-a"], 100);
    assert_eq!(ask(&mut gate, &by_a(), 590_000, 590_000), ALLOWED);
    assert_ne!(ask(&mut gate, &by_a(), 600_001, 600_001), ALLOWED);
}

#[test]
fn the_fetch_goes_where_the_configuration_says() {
    let gate = gate(&fetched(
        json!({"uri": "http://idp.example:8080/certs?x=1", "timeout": "2s"}),
    ));
    let uri = gate.key_uri(only_provider()).unwrap();
    let Start::Keys(address) = &uri.start else {
        panic!("{uri:?}");
    };
    assert_eq!(uri.cluster, "idp");
    assert_eq!(address.scheme, "http");
    assert_eq!(address.authority, "idp.example:8080");
    assert_eq!(address.path, "/certs?x=1");
    assert!(uri.share);
    assert_eq!(uri.timeout, 2_000);
    assert_eq!(gate.provider_name(only_provider()), "corporate");
    let inline = common::gate(&provider(json!({"name": "other"})));
    assert!(inline.key_uri(only_provider()).is_none());
}

#[test]
fn the_clocks_of_the_tests_are_apart_from_zero() {
    // Else "before the request came" could not be told from "never".
    assert_ne!(at(0).mono, Monotonic::from_millis(0));
    assert_eq!(at(0).mono, Monotonic::from_millis(UPTIME));
    let mut gate = gate(&fetched(json!({})));
    let answer = ask_at(&mut gate, &Request::bearing(&by_a()), 0);
    assert_eq!(answer, Answer::Waits { fetch: true });
}

#[test]
fn cache_control_shortens_the_interval_within_bounds() {
    for (max_age, interval) in [
        (None, 600_000),
        (Some(120_000), 120_000),
        (Some(0), 60_000),
        (Some(u64::MAX), 600_000),
    ] {
        let mut cache = KeyCache::fetched(SCHEDULE, 7);
        assert!(cache.tick(at(0)));
        cache.loaded(set(&["p256-a"]), at(100), max_age);
        let next = due(&cache, 100);
        let refresh = interval * 8 / 10;
        assert!(
            next >= refresh * 9 / 10 && next <= refresh * 11 / 10,
            "{max_age:?}: {next}"
        );
    }
}

#[test]
fn a_fetch_of_another_worker_is_waited_for_and_adopted() {
    let mut cache = KeyCache::fetched(SCHEDULE, 7);
    assert!(cache.tick(at(0)));
    cache.defer(mono(6_000));
    assert!(!cache.tick(at(5_999)));
    assert_eq!(demand(&mut cache, 1_000, 1_000), Demand::Wait);
    assert!(
        cache
            .adopt(set(&["p256-a"]), at(500), mono(480_000))
            .is_none()
    );
    // The other worker goes first at the next refresh.
    assert!(!cache.tick(at(480_000)));
    assert!(cache.tick(at(483_000)));
    // What the other asked for before a request came says nothing against its key.
    let mut cache = KeyCache::fetched(SCHEDULE, 7);
    assert!(cache.tick(at(0)));
    cache.adopt(set(&["p256-a"]), at(500), mono(480_000));
    assert_eq!(demand(&mut cache, 1_000, 1_000), Demand::Fetch);
    // It was asked for by another worker just before: nothing to wait for.
    cache.cool(mono(900));
    assert_eq!(
        demand(&mut cache, 1_001, 1_000),
        Demand::Refuse(Denial::KeysUnavailable)
    );
    assert!(!cache.tick(at(2_000)));
}

#[test]
fn whoever_waits_for_a_worker_that_died_fetches_itself() {
    let mut cache = KeyCache::fetched(SCHEDULE, 7);
    assert!(cache.tick(at(0)));
    cache.defer(mono(6_000));
    assert!(cache.tick(at(6_000)));
    let mut cache = KeyCache::fetched(SCHEDULE, 7);
    assert!(cache.tick(at(0)));
    cache.defer(mono(6_000));
    cache.released(at(1_000));
    assert!(cache.tick(at(1_000)));
}

#[test]
fn a_failure_of_another_worker_keeps_the_set_and_its_time() {
    let mut cache = loaded(7);
    cache.adopt_failure(2, mono(5_000));
    assert!(cache.keys(mono(4_000)).is_some());
    assert_eq!(cache.failures(), 2);
    assert!(!cache.tick(at(7_999)));
    assert!(cache.tick(at(8_000)));
}

#[test]
fn a_new_configuration_keeps_what_is_known_of_signatures_and_judges_the_rest_anew() {
    let first = json!({"jwks": {"inline": {"keys": [jwk("p256-a")]}}});
    let mut old = gate(&provider(first.clone()));
    let token = by_a();
    assert_eq!(ask(&mut old, &token, 0, 0), ALLOWED);
    // The same key: no signature is checked, yet a token of another audience is refused.
    let mut new = gate(&provider(first.clone()));
    new.succeed(&old);
    assert_eq!(ask(&mut new, &token, 10, 10), ALLOWED);
    assert!(old.cached_tokens() == 1 && new.cached_tokens() == 1);
    let mut strict = gate(&provider(json!({"audiences": ["elsewhere"]})));
    strict.succeed(&new);
    assert_ne!(ask(&mut strict, &token, 20, 20), ALLOWED);
    // Another key under the same ID: what was proven is proven no more.
    let mut twin = jwk("p256-b");
    twin["kid"] = json!("p256-a");
    let mut old = gate(&provider(first));
    assert_eq!(ask(&mut old, &token, 0, 0), ALLOWED);
    let mut other = gate(&provider(json!({"jwks": {"inline": {"keys": [twin]}}})));
    other.succeed(&old);
    assert_eq!(ask(&mut other, &token, 30, 30), "signature_invalid");
}
