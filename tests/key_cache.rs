//! The keys that a configuration holds of a provider, and the verdict on a token whose key is
//! not among them: first the rules alone, and then as a request meets them in the gate.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use crate::common::{
    ALLOWED, Bench, Decided, NOW, Request, Token, UPTIME, ask_at, at, attempt, config, decide,
    fetched, gate, issuers, jwk, jwk_with, jwks, merge, misfits,
};
use scopegate::authn::jwks::KeySet;
use scopegate::authn::key_cache::{Edition, KeyCache, Keys, Missing, Need, Stranger};
use scopegate::authn::keys::{Algorithm, InModule};
use scopegate::words::denial::Denial;
use scopegate::words::time::{Leeway, Monotonic, Now, Timestamp};
use serde_json::{Value, json};

const MAX_STALE: u64 = 3_600_000;

const LEEWAY: Leeway = Leeway::from_secs(60);

/// How many first arrivals, and how many withdrawn names, are remembered.
const REMEMBERED: usize = 256;

const NO_KEYS: Missing = Missing::Awaits {
    need: Need::Keys,
    otherwise: Denial::KeysUnavailable,
};

const PENDING: Missing = Missing::Awaits {
    need: Need::Key,
    otherwise: Denial::KeyPending,
};

/// A newer document is still awaited, but there is little hope.
const WITHDRAWN: Missing = Missing::Awaits {
    need: Need::Key,
    otherwise: Denial::UnknownKey,
};

const UNKNOWN: Missing = Missing::Final(Denial::UnknownKey);

fn set(names: &[&str]) -> Arc<KeySet> {
    let keys: Vec<Value> = names.iter().map(|name| jwk(name)).collect();
    Arc::new(KeySet::parse(&jwks(&keys), &Algorithm::ALL, &issuers()).unwrap())
}

/// As many usable keys as that, `k0` and so on, from `first` on.
fn named(first: usize, count: usize) -> Arc<KeySet> {
    let names = (first..first + count).map(|number| format!("k{number}"));
    let keys: Vec<Value> = names
        .map(|name| jwk_with("p256-a", json!({ "kid": name })))
        .collect();
    Arc::new(KeySet::parse(&jwks(&keys), &Algorithm::ALL, &issuers()).unwrap())
}

fn mono(millis: u64) -> Monotonic {
    at(millis).mono
}

fn edition(asked: u64) -> Edition {
    Edition {
        number: 1,
        asked: at(asked),
    }
}

/// Adopts the keys of these names, from a document that was asked for at that time.
fn adopt(cache: &mut KeyCache, names: &[&str], asked: u64) {
    cache.adopt(Some(set(names)), edition(asked));
}

/// Keys with `p256-a`, asked for at 0.
fn loaded() -> KeyCache {
    let mut cache = KeyCache::new(MAX_STALE, 7);
    adopt(&mut cache, &["p256-a"], 0);
    cache
}

fn stranger(token: &[u8], arrived: u64) -> Stranger<'_> {
    Stranger {
        token,
        key_id: Some("p256-z"),
        arrived: mono(arrived),
        issued_at: None,
        leeway: LEEWAY,
    }
}

/// The verdict on a token that arrives now.
fn missing(cache: &mut Keys, token: &[u8], now: u64) -> Missing {
    cache.missing(&stranger(token, now), mono(now))
}

#[test]
fn a_set_serves_until_it_is_too_stale() {
    let cache = loaded();
    // From when it was asked for: what changed while it travelled is not in it.
    assert_eq!(cache.age(mono(100)), Some(100));
    let keys = Keys::Fetched(cache);
    assert!(keys.usable(mono(MAX_STALE)).is_some());
    assert!(keys.usable(mono(MAX_STALE + 1)).is_none());
    // It is still there to be compared with the next one, and to be shown.
    assert!(keys.held().is_some());
    let Keys::Fetched(mut cache) = keys else {
        panic!("{keys:?}");
    };
    assert_eq!(cache.age(mono(MAX_STALE + 1)), Some(MAX_STALE + 1));
    // The next one serves from its own beginning.
    adopt(&mut cache, &["p256-a"], MAX_STALE + 50_000);
    let keys = Keys::Fetched(cache);
    assert!(keys.usable(mono(2 * MAX_STALE + 50_000)).is_some());
    assert!(keys.usable(mono(2 * MAX_STALE + 50_001)).is_none());
}

#[test]
fn without_usable_keys_all_wait_for_some_and_nothing_is_final() {
    let mut keys = Keys::Fetched(KeyCache::new(MAX_STALE, 7));
    assert!(keys.usable(mono(0)).is_none() && keys.held().is_none());
    for now in [0, 1, 100_000] {
        assert_eq!(missing(&mut keys, b"token", now), NO_KEYS);
    }
    // A stale set is like none, however early the token came.
    let mut keys = Keys::Fetched(loaded());
    let stale = MAX_STALE + 1;
    let early = Stranger {
        arrived: Monotonic::default(),
        ..stranger(b"token", 0)
    };
    assert_eq!(keys.missing(&early, mono(stale)), NO_KEYS);
    assert_eq!(Denial::KeysUnavailable.status(), 503);
}

#[test]
fn a_key_does_not_exist_when_a_document_lacks_it_that_was_asked_for_since() {
    let mut keys = Keys::Fetched(loaded());
    assert_eq!(missing(&mut keys, b"token", 1_000), PENDING);
    assert_eq!(Denial::KeyPending.status(), 503);
    assert_eq!(Denial::UnknownKey.status(), 401);
    // However long it asks in vain: no newer document, no verdict.
    assert_eq!(missing(&mut keys, b"token", 1_200_000), PENDING);
    // One that was asked for a moment before the token came may not have the key yet.
    let Keys::Fetched(cache) = &mut keys else {
        unreachable!();
    };
    adopt(cache, &["p256-a"], 999);
    assert_eq!(missing(&mut keys, b"token", 1_300_000), PENDING);
    let Keys::Fetched(cache) = &mut keys else {
        unreachable!();
    };
    adopt(cache, &["p256-a"], 1_000);
    assert_eq!(missing(&mut keys, b"token", 1_300_000), UNKNOWN);
    // Another token is another matter.
    assert_eq!(missing(&mut keys, b"tokem", 1_300_000), PENDING);
}

#[test]
fn a_token_that_came_before_the_document_was_asked_for_is_judged_at_once() {
    let mut keys = Keys::Fetched(loaded());
    // It waits since before, and the document has come meanwhile.
    assert_eq!(keys.missing(&stranger(b"token", 0), mono(100)), UNKNOWN);
    // A set that stands for a document of an earlier clock says nothing.
    let later = Stranger {
        arrived: mono(1),
        ..stranger(b"another", 0)
    };
    assert_eq!(keys.missing(&later, mono(100)), PENDING);
}

#[test]
fn the_first_arrival_counts_and_not_the_latest() {
    let mut keys = Keys::Fetched(loaded());
    assert_eq!(missing(&mut keys, b"token", 5_000), PENDING);
    let Keys::Fetched(cache) = &mut keys else {
        unreachable!();
    };
    adopt(cache, &["p256-a"], 6_000);
    // The retry comes long after the document that answers for its first attempt.
    assert_eq!(missing(&mut keys, b"token", 90_000), UNKNOWN);
    assert_eq!(missing(&mut keys, b"token", 90_000), UNKNOWN);
    // Whoever comes for the first time now is to ask again.
    assert_eq!(missing(&mut keys, b"other", 90_000), PENDING);
}

#[test]
fn a_first_arrival_that_was_forgotten_is_pending_once_more() {
    let mut keys = Keys::Fetched(loaded());
    let token = |number: usize| format!("token {number}").into_bytes();
    for number in 0..REMEMBERED {
        assert_eq!(missing(&mut keys, &token(number), 1_000), PENDING);
    }
    let Keys::Fetched(cache) = &mut keys else {
        unreachable!();
    };
    adopt(cache, &["p256-a"], 2_000);
    for number in 0..REMEMBERED {
        assert_eq!(missing(&mut keys, &token(number), 3_000), UNKNOWN);
    }
    // One more pushes the first out, and nobody else.
    assert_eq!(missing(&mut keys, b"one more", 3_000), PENDING);
    for number in 1..REMEMBERED {
        assert_eq!(missing(&mut keys, &token(number), 3_000), UNKNOWN);
    }
    // Never a 401 too many.
    assert_eq!(missing(&mut keys, &token(0), 3_000), PENDING);
    // A flood forgets all of them, and the next document settles what is asked again.
    for number in 0..10_000 {
        assert_eq!(missing(&mut keys, &token(number + 1_000), 4_000), PENDING);
    }
    assert_eq!(missing(&mut keys, &token(5), 5_000), PENDING);
    let Keys::Fetched(cache) = &mut keys else {
        unreachable!();
    };
    adopt(cache, &["p256-a"], 6_000);
    assert_eq!(missing(&mut keys, &token(5), 7_000), UNKNOWN);
}

#[test]
fn a_withdrawn_key_of_a_token_from_before_is_gone() {
    let mut cache = loaded();
    adopt(&mut cache, &["p256-b"], 100_000);
    let mut keys = Keys::Fetched(cache);
    let asked = NOW + 100;
    let mut ask = |name: Option<&'static str>, iat: Option<u64>| {
        // Each a token of its own.
        let token = format!("{name:?} {iat:?}");
        let stranger = Stranger {
            key_id: name,
            issued_at: iat.map(Timestamp::from_secs),
            ..stranger(token.as_bytes(), 200_000)
        };
        keys.missing(&stranger, mono(200_000))
    };
    // Issued so early that no clock makes it later than the document that lacks its key.
    assert_eq!(ask(Some("p256-a"), Some(asked - 61)), WITHDRAWN);
    assert_eq!(ask(Some("p256-a"), Some(asked - 60)), WITHDRAWN);
    assert_eq!(ask(Some("p256-a"), Some(0)), WITHDRAWN);
    // Later, or who knows when: a key may come back under its name.
    assert_eq!(ask(Some("p256-a"), Some(asked - 59)), PENDING);
    assert_eq!(ask(Some("p256-a"), Some(asked + 1_000)), PENDING);
    assert_eq!(ask(Some("p256-a"), Some(u64::MAX)), PENDING);
    assert_eq!(ask(Some("p256-a"), None), PENDING);
    // A key that never was may come to be, whatever an unproven `iat` says.
    assert_eq!(ask(Some("p256-z"), Some(0)), PENDING);
    assert_eq!(ask(None, Some(0)), PENDING);
}

#[test]
fn a_key_that_comes_back_is_not_withdrawn() {
    let mut cache = loaded();
    adopt(&mut cache, &["p256-b"], 100);
    adopt(&mut cache, &["p256-a", "p256-b"], 200);
    let old = |cache: &KeyCache, name: &'static str, token: &'static [u8]| {
        let stranger = Stranger {
            key_id: Some(name),
            issued_at: Some(Timestamp::from_secs(0)),
            ..stranger(token, 1_000)
        };
        Keys::Fetched(cache.clone()).missing(&stranger, mono(1_000))
    };
    assert_eq!(old(&cache, "p256-a", b"1"), PENDING);
    // And is, when it goes again.
    adopt(&mut cache, &["p256-b"], 300);
    assert_eq!(old(&cache, "p256-a", b"2"), WITHDRAWN);
    // A set that lacks nothing withdraws nothing.
    adopt(&mut cache, &["p256-b", "p256-a"], 400);
    adopt(&mut cache, &["p256-a", "p256-b"], 500);
    assert_eq!(old(&cache, "p256-a", b"3"), PENDING);
    assert_eq!(old(&cache, "p256-b", b"4"), PENDING);
}

#[test]
fn as_many_withdrawn_names_are_remembered_and_no_more() {
    let mut cache = KeyCache::new(MAX_STALE, 7);
    // 64 keys at a time, of which each set has none in common with the one before.
    for round in 0..6 {
        cache.adopt(Some(named(round * 64, 64)), edition(round as u64 * 100));
    }
    let mut keys = Keys::Fetched(cache);
    let withdrawn = (0..384_usize).filter(|number| {
        let name = format!("k{number}");
        let stranger = Stranger {
            key_id: Some(&name),
            issued_at: Some(Timestamp::from_secs(0)),
            ..stranger(name.as_bytes(), 1_000)
        };
        keys.missing(&stranger, mono(1_000)) == WITHDRAWN
    });
    // Those of the last four sets that went; the names of the held one are not asked for
    // here, for they are found.
    let withdrawn: Vec<usize> = withdrawn.collect();
    assert_eq!(withdrawn, (64..64 + REMEMBERED).collect::<Vec<_>>());
}

#[test]
fn inline_keys_never_age_and_lack_what_they_lack() {
    let mut keys = Keys::Inline(set(&["p256-a"]));
    let never = Now {
        wall: Timestamp::from_secs(u64::MAX),
        mono: Monotonic::from_millis(u64::MAX),
    };
    for now in [Now::default(), at(0), never] {
        assert!(keys.usable(now.mono).is_some() && keys.held().is_some());
        let stranger = Stranger {
            arrived: now.mono,
            ..stranger(b"token", 0)
        };
        assert_eq!(keys.missing(&stranger, now.mono), UNKNOWN);
    }
}

#[test]
fn a_new_configuration_remembers_what_the_old_one_knew_of_tokens() {
    let mut old = loaded();
    adopt(&mut old, &["p256-b"], 100);
    let mut keys = Keys::Fetched(old);
    assert_eq!(missing(&mut keys, b"token", 1_000), PENDING);
    let Keys::Fetched(old) = keys else {
        unreachable!();
    };
    // Its hashes are keyed otherwise until then.
    let mut new = KeyCache::new(MAX_STALE, 8);
    new.inherit(&old);
    assert_eq!(new.edition(), None, "the set comes by itself");
    adopt(&mut new, &["p256-b"], 2_000);
    let mut keys = Keys::Fetched(new);
    assert_eq!(missing(&mut keys, b"token", 9_000), UNKNOWN);
    let of_withdrawn = Stranger {
        key_id: Some("p256-a"),
        issued_at: Some(Timestamp::from_secs(0)),
        ..stranger(b"another", 9_000)
    };
    assert_eq!(keys.missing(&of_withdrawn, mono(9_000)), WITHDRAWN);
}

// Through the gate

/// A request that came at `arrived`.
fn ask(bench: &mut Bench, token: &str, arrived: u64, now: u64) -> Decided {
    let attempt = attempt(arrived, now);
    decide(bench, &Request::bearing(token), attempt, &InModule)
}

fn code(bench: &mut Bench, token: &str, arrived: u64, now: u64) -> &'static str {
    ask(bench, token, arrived, now).code()
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

/// A gate that fetches, with the keys of these names, asked for at 100.
fn gate_with(names: &[&str]) -> Bench {
    let mut bench = gate(&fetched(json!({})));
    bench.give_keys(0, names, 100);
    bench
}

const AWAITS_KEYS: Decided = Decided::Waits(Need::Keys, Denial::KeysUnavailable);
const AWAITS_KEY: Decided = Decided::Waits(Need::Key, Denial::KeyPending);

#[test]
fn a_request_before_the_first_set_waits_and_then_passes() {
    let mut bench = gate(&fetched(json!({})));
    let token = by_a();
    assert_eq!(ask(&mut bench, &token, 0, 0), AWAITS_KEYS);
    assert_eq!(ask(&mut bench, &token, 0, 3_000), AWAITS_KEYS);
    bench.give_keys(0, &["p256-a"], 3_100);
    assert_eq!(code(&mut bench, &token, 0, 3_101), ALLOWED);
}

#[test]
fn a_new_key_is_found_by_those_who_waited_for_it() {
    let mut bench = gate_with(&["p256-a"]);
    let token = by_b();
    assert_eq!(ask(&mut bench, &token, 1_000, 1_000), AWAITS_KEY);
    // Others are served meanwhile.
    assert_eq!(code(&mut bench, &by_a(), 1_002, 1_002), ALLOWED);
    bench.give_keys(0, &["p256-a", "p256-b"], 1_100);
    assert_eq!(code(&mut bench, &token, 1_000, 1_101), ALLOWED);
    assert_eq!(code(&mut bench, &token, 1_001, 1_101), ALLOWED);
}

#[test]
fn a_key_that_a_document_lacks_is_a_401_if_that_was_asked_for_since_the_token_came() {
    let mut bench = gate_with(&["p256-a"]);
    let token = by_b();
    assert_eq!(ask(&mut bench, &token, 1_000, 1_000), AWAITS_KEY);
    // A document that cannot be used tells nothing.
    bench.give(0, b"{\"keys\":[]}", 1_100).unwrap_err();
    assert_eq!(ask(&mut bench, &token, 1_000, 1_101), AWAITS_KEY);
    // Nor does one that was asked for just before.
    bench.give_keys(0, &["p256-a"], 999);
    assert_eq!(ask(&mut bench, &token, 1_000, 1_102), AWAITS_KEY);
    bench.give_keys(0, &["p256-a"], 1_000);
    assert_eq!(code(&mut bench, &token, 1_000, 1_103), "unknown_key");
    // The same token later, in another request: it has its verdict.
    assert_eq!(code(&mut bench, &token, 40_000, 40_000), "unknown_key");
    // Another token of the same key has not.
    let another = Token::new().claim("n", 1).by("p256-b", "ES256").build();
    assert_eq!(ask(&mut bench, &another, 40_000, 40_000), AWAITS_KEY);
}

#[test]
fn a_token_of_a_withdrawn_key_is_a_401_where_no_newer_document_can_be_had() {
    let mut bench = gate_with(&["p256-a", "p256-b"]);
    let old = Token::new().by("p256-b", "ES256").build();
    assert_eq!(code(&mut bench, &old, 200, 200), ALLOWED);
    bench.give_keys(0, &["p256-a"], 100_000);
    let gone = Decided::Waits(Need::Key, Denial::UnknownKey);
    assert_eq!(ask(&mut bench, &old, 100_001, 100_001), gone);
    // One that says it is younger than that document may be of a key that came back.
    let young = Token::new()
        .claim("iat", NOW + 99)
        .by("p256-b", "ES256")
        .build();
    assert_eq!(ask(&mut bench, &young, 100_001, 100_001), AWAITS_KEY);
}

#[test]
fn forged_and_misdirected_tokens_ask_for_no_keys() {
    let mut bench = gate_with(&["p256-a"]);
    for (defect, denial) in misfits() {
        let token = defect.build();
        assert_eq!(code(&mut bench, &token, 1_000, 1_000), denial);
    }
    // None of them is taken for a first arrival.
    bench.give_keys(0, &["p256-a"], 2_000);
    for (defect, denial) in misfits() {
        let token = defect.build();
        assert_eq!(code(&mut bench, &token, 3_000, 3_000), denial);
    }
}

#[test]
fn a_key_that_left_the_set_takes_its_remembered_tokens_with_it() {
    let mut config = fetched(json!({}));
    config["providers"][0]["shared_groups"] = json!(true);
    let mut partner = config["providers"][0].clone();
    merge(
        &mut partner,
        json!({"name": "partner", "issuer": "https://partner.example"}),
    );
    config["providers"].as_array_mut().unwrap().push(partner);
    let mut bench = gate(&config);
    bench.give_keys(0, &["p256-a", "p256-b"], 100);
    // The partner has a key of the same name and bytes as the corporate one.
    bench.give_keys(1, &["p256-a"], 100);
    let foreign = Token::new().claim("iss", "https://partner.example").build();
    for token in [&by_a(), &by_b(), &foreign] {
        assert_eq!(code(&mut bench, token, 200, 200), ALLOWED);
    }
    assert_eq!(bench.cached_tokens(), 3);
    // A set that is the same but for its order changes nothing.
    bench.give_keys(0, &["p256-b", "p256-a"], 300);
    assert_eq!(bench.cached_tokens(), 3);
    bench.give_keys(0, &["p256-b"], 400);
    assert_eq!(bench.cached_tokens(), 2);
    assert_eq!(code(&mut bench, &by_b(), 500, 500), ALLOWED);
    assert_eq!(code(&mut bench, &foreign, 500, 500), ALLOWED);
    assert_ne!(code(&mut bench, &by_a(), 500, 500), ALLOWED);
    bench.give_keys(0, &["p256-b"], 600);
    assert_eq!(code(&mut bench, &by_a(), 601, 601), "unknown_key");
    // A document that cannot be used ends nobody's token.
    bench.give(0, b"{\"keys\":[]}", 700).unwrap_err();
    assert_eq!(bench.cached_tokens(), 2);
}

#[test]
fn another_key_under_the_same_kid_ends_the_old_ones_tokens() {
    let mut bench = gate_with(&["p256-a"]);
    assert_eq!(code(&mut bench, &by_a(), 200, 200), ALLOWED);
    let twin = jwk_with("p256-b", json!({"kid": "p256-a"}));
    bench.give(0, &jwks(&[twin]), 300).unwrap();
    assert_eq!(bench.cached_tokens(), 0);
    assert_eq!(code(&mut bench, &by_a(), 400, 400), "signature_invalid");
}

#[test]
fn remembered_tokens_stop_when_the_set_is_too_stale() {
    let mut bench = gate(&fetched(json!({"max_stale": "1h"})));
    bench.give_keys(0, &["p256-a"], 0);
    let hour = 3_600_000;
    for now in [200, hour] {
        assert_eq!(code(&mut bench, &by_a(), now, now), ALLOWED);
    }
    let beyond = hour + 1;
    assert_eq!(ask(&mut bench, &by_a(), beyond, beyond), AWAITS_KEYS);
    bench.give_keys(0, &["p256-a"], beyond);
    assert_eq!(code(&mut bench, &by_a(), beyond, beyond), ALLOWED);
}

#[test]
fn inline_keys_serve_for_good() {
    let mut bench = gate(&config());
    let later = 400 * 24 * 3_600_000;
    let token = Token::new().claim("exp", NOW + 1_000_000_000).build();
    for now in [0, 1_000, later] {
        assert_eq!(code(&mut bench, &token, now, now), ALLOWED);
    }
    assert_eq!(code(&mut bench, &by_b(), 0, 0), "unknown_key");
}

#[test]
fn a_set_serves_at_least_until_its_successor_is_due() {
    // max_stale below the refresh interval would leave a gap at every refresh.
    let mut bench = gate(&fetched(
        json!({"max_stale": "0s", "refresh_interval": "10m"}),
    ));
    bench.give_keys(0, &["p256-a"], 100);
    assert_eq!(code(&mut bench, &by_a(), 600_100, 600_100), ALLOWED);
    assert_eq!(ask(&mut bench, &by_a(), 600_101, 600_101), AWAITS_KEYS);
}

#[test]
fn the_clocks_of_the_tests_are_apart_from_zero() {
    // Else "before the request came" could not be told from "never".
    assert_ne!(at(0).mono, Monotonic::from_millis(0));
    assert_eq!(at(0).mono, Monotonic::from_millis(UPTIME));
    let mut bench = gate(&fetched(json!({})));
    let answer = ask_at(&mut bench, &Request::bearing(&by_a()), 0);
    assert_eq!(answer, AWAITS_KEYS);
}
