//! Attacks through keys: one named test for each, and two about the `kid` of a token, as
//! [`KeySet::parse`] and the gate see them.
//!
//! The control is always the same: there is a good key beside the defective one, so that a test
//! also shows that one odd key does not spoil the set.
#![allow(clippy::panic, clippy::unwrap_used)]

use crate::common::{
    ALLOWED, Bench, Request, Token, ask_at, b64, fetched, gate, issuers, jwk, jwk_with, jwks, unb64,
};
use jwt_simple::prelude::{
    Claims, Duration, ECDSAP256KeyPairLike as _, ECDSAP256PublicKeyLike as _, ES256KeyPair,
};
use scopegate::authn::jwks::{JwksError, KeySet, Lookup, MAX_DOCUMENT_BYTES, MAX_KEYS, SkipReason};
use scopegate::authn::keys::{Algorithm, InModule, SignatureEngine as _};
use scopegate::words::identity::Issuers;
use serde_json::{Value, json};

/// Everything that the gate can verify, so that no key is skipped because its algorithm is not
/// allowed.
fn parse(keys: &[Value]) -> Result<KeySet, JwksError> {
    KeySet::parse(&jwks(keys), &Algorithm::ALL, &issuers())
}

/// How many keys were listed in a set of which none was usable.
fn unusable(set: &Result<KeySet, JwksError>) -> Option<usize> {
    match set {
        Err(JwksError::NoUsableKey { listed, .. }) => Some(*listed),
        _ => None,
    }
}

/// The key is skipped for this reason, alone and beside a good one.
#[track_caller]
fn skipped(key: &Value, reason: SkipReason) {
    assert_eq!(
        unusable(&parse(std::slice::from_ref(key))),
        Some(1),
        "{key}"
    );
    let set = parse(&[key.clone(), jwk("p256-b")]).unwrap();
    assert_eq!(set.keys().len(), 1, "{key}");
    assert_eq!(set.keys()[0].key_id(), Some("p256-b"));
    let reasons: Vec<_> = set.skipped().iter().map(|skipped| skipped.reason).collect();
    assert_eq!(reasons, [reason], "{key}");
}

/// The key is kept and verifies what its private half signed.
#[track_caller]
fn kept(key: &Value, name: &str, algorithm: Algorithm) {
    let set = parse(std::slice::from_ref(key)).unwrap();
    assert_eq!(set.skipped(), [], "{key}");
    let [kept] = set.keys() else {
        panic!("{:?}", set.keys());
    };
    assert_eq!(kept.algorithm(), algorithm, "{key}");
    let signature = crate::common::sign(name, algorithm.name(), b"input");
    assert_eq!(InModule.verify(kept, b"input", &signature), Ok(()), "{key}");
    assert!(InModule.verify(kept, b"output", &signature).is_err());
    #[cfg(feature = "native")]
    {
        use scopegate::host::native::engine::Ring;
        assert_eq!(Ring.verify(kept, b"input", &signature), Ok(()), "{key}");
        assert!(Ring.verify(kept, b"output", &signature).is_err());
    }
}

/// An RSA key of this many bits: odd, the top bit set, otherwise meaningless.
fn modulus(bits: usize) -> String {
    let mut n = vec![0xa5; bits.div_ceil(8)];
    n[0] = 0xff >> ((8 - bits % 8) % 8);
    b64(n)
}

#[test]
fn rsa_below_2048_bits_is_skipped() {
    skipped(&jwk("rsa-1024"), SkipReason::Material);
    for bits in [512, 1_024, 2_047] {
        skipped(
            &jwk_with("rsa-a", json!({"n": modulus(bits)})),
            SkipReason::Material,
        );
    }
    skipped(&jwk_with("rsa-a", json!({"n": ""})), SkipReason::Material);
    kept(&jwk("rsa-a"), "rsa-a", Algorithm::RS256);
}

#[test]
fn rsa_above_4096_bits_is_skipped() {
    for bits in [4_097, 5_120, 8_192, 16_384] {
        skipped(
            &jwk_with("rsa-a", json!({"n": modulus(bits)})),
            SkipReason::Material,
        );
    }
    kept(&jwk("rsa-4096"), "rsa-4096", Algorithm::RS256);
}

#[test]
fn rsa_exponents_other_than_65537_and_even_moduli_are_skipped() {
    for e in [
        &[][..],
        &[0],
        &[1],
        &[3],
        &[17],
        &[1, 0, 0],
        &[1, 0, 2],
        &[1, 0, 1, 1],
        &[0xff; 8],
    ] {
        skipped(
            &jwk_with("rsa-a", json!({"e": b64(e)})),
            SkipReason::Material,
        );
    }
    let mut n = unb64(jwk("rsa-a")["n"].as_str().unwrap());
    *n.last_mut().unwrap() &= 0xfe;
    skipped(
        &jwk_with("rsa-a", json!({"n": b64(n)})),
        SkipReason::Material,
    );
    kept(
        &jwk_with("rsa-a", json!({"e": "AQAB"})),
        "rsa-a",
        Algorithm::RS256,
    );
}

#[test]
fn a_roca_modulus_is_a_known_difference() {
    // Wycheproof's ROCA key is taken: no provider in use made keys with that
    // library, and telling them needs a discrete logarithm. See tests/vectors.rs.
    let text = include_str!("vectors/wycheproof/json_web_key_test.json");
    let file: Value = serde_json::from_str(text).unwrap();
    let group = file["testGroups"]
        .as_array()
        .unwrap()
        .iter()
        .find(|group| group["comment"] == "jws_rsa_roca_key")
        .unwrap();
    let set = parse(group["public"]["keys"].as_array().unwrap()).unwrap();
    assert_eq!(set.keys().len(), 1);
}

#[test]
fn keys_for_encryption_are_skipped() {
    for members in [
        json!({"use": "enc"}),
        json!({"use": "SIG"}),
        json!({"use": ["sig"]}),
        json!({"use": 1}),
    ] {
        skipped(&jwk_with("rsa-a", members), SkipReason::Use);
    }
    for alg in [
        json!("RSA-OAEP"),
        json!("RSA1_5"),
        json!("HS256"),
        json!("none"),
        json!("rs256"),
        json!(1),
    ] {
        skipped(
            &jwk_with("rsa-a", json!({"alg": alg})),
            SkipReason::Algorithm,
        );
    }
    let keycloak = json!({"alg": "RSA-OAEP", "use": "enc", "kid": "enc"});
    let set = parse(&[jwk_with("rsa-b", keycloak), jwk("rsa-a")]).unwrap();
    assert_eq!(set.keys().len(), 1);
    kept(
        &jwk_with("rsa-a", json!({"use": "sig"})),
        "rsa-a",
        Algorithm::RS256,
    );
}

#[test]
fn key_ops_must_hold_verify() {
    for ops in [
        json!(["sign"]),
        json!(["encrypt", "wrapKey"]),
        json!("verify"),
        json!({"verify": true}),
        json!(["Verify"]),
        json!([["verify"]]),
    ] {
        skipped(
            &jwk_with("p256-a", json!({"key_ops": ops})),
            SkipReason::Use,
        );
    }
    // A public key that says it could sign is odd and harmless.
    for ops in [
        json!(["verify"]),
        json!(["sign", "verify"]),
        json!(["verify", 1]),
    ] {
        kept(
            &jwk_with("p256-a", json!({"key_ops": ops})),
            "p256-a",
            Algorithm::ES256,
        );
    }
}

#[test]
fn published_private_keys_are_skipped() {
    for member in ["d", "p", "q", "dp", "dq", "qi", "k"] {
        for value in [json!("AQAB"), json!(""), json!(1)] {
            let mut key = jwk("rsa-a");
            key[member] = value;
            skipped(&key, SkipReason::PrivateKey);
        }
    }
    for name in ["p256-a", "ed25519-a"] {
        skipped(
            &jwk_with(name, json!({"d": "AQAB"})),
            SkipReason::PrivateKey,
        );
    }
}

#[test]
fn quirks_that_are_no_attacks_keep_the_key() {
    let null = Value::Null;
    let mut odd = jwk("rsa-a");
    for (name, value) in [
        ("x-foreign", json!({"a": [1]})),
        ("alg", null.clone()),
        ("use", null.clone()),
        ("key_ops", null.clone()),
        ("x5u", null),
        ("x5t", json!("dGh1bWI")),
        ("x5c", json!(["M".repeat(12_000)])),
        ("kid", json!(42)),
    ] {
        odd[name] = value;
    }
    // What is empty is not there.
    let empty = json!({"use": "", "alg": "", "key_ops": [], "kid": ""});
    for name in ["rsa-a", "p256-a", "ed25519-a"] {
        let set = parse(&[jwk_with(name, empty.clone())]).unwrap();
        assert_eq!(set.keys()[0].key_id(), None, "{name}");
    }
    kept(&odd, "rsa-a", Algorithm::RS256);
    // A kid that is no string is no kid.
    let set = parse(std::slice::from_ref(&odd)).unwrap();
    assert_eq!(set.keys()[0].key_id(), None);
    assert!(matches!(
        set.find(Some("42"), Algorithm::RS256),
        Lookup::Candidates(_)
    ));
    assert!(matches!(
        set.find(None, Algorithm::RS256),
        Lookup::Candidates(_)
    ));
}

#[test]
fn numbers_that_are_no_canonical_base64url_are_skipped() {
    let n = jwk("rsa-a")["n"].as_str().unwrap().to_owned();
    let standard = n.replace('-', "+").replace('_', "/");
    assert_ne!(
        standard, n,
        "the key must need the alphabet's last two characters"
    );
    // Padding is a slip of theirs.
    for padding in ["=", "=="] {
        let padded = jwk_with("rsa-a", json!({"n": format!("{n}{padding}"), "e": "AQAB="}));
        kept(&padded, "rsa-a", Algorithm::RS256);
    }
    for n in [
        json!(format!("{n}===")),
        json!(format!("={n}")),
        json!(standard),
        json!(format!("{n}\n")),
        json!(format!(" {n}")),
        json!(1),
        json!([n]),
    ] {
        skipped(&jwk_with("rsa-a", json!({ "n": n })), SkipReason::Material);
    }
    // DER's sign byte is a known slip; a second one is not.
    let signed = |zeros: usize| {
        let n = [vec![0; zeros], unb64(&n)].concat();
        jwk_with("rsa-a", json!({"n": b64(n)}))
    };
    kept(&signed(1), "rsa-a", Algorithm::RS256);
    skipped(&signed(2), SkipReason::Material);
    for member in ["n", "e"] {
        let mut key = jwk("rsa-a");
        key.as_object_mut().unwrap().remove(member);
        skipped(&key, SkipReason::Material);
    }
    // An exponent of a fixed size is the same exponent.
    kept(
        &jwk_with("rsa-a", json!({"e": b64([0, 0, 0, 0, 0, 1, 0, 1])})),
        "rsa-a",
        Algorithm::RS256,
    );
    skipped(
        &jwk_with("rsa-a", json!({"e": b64([0, 0, 0])})),
        SkipReason::Material,
    );
    // A coordinate is a number: zeros before it may be too few, or one too many.
    let x = unb64(jwk("p256-a")["x"].as_str().unwrap());
    let one_more = jwk_with("p256-a", json!({"x": b64([&[0], &x[..]].concat())}));
    kept(&one_more, "p256-a", Algorithm::ES256);
    for x in [
        [&[0, 0], &x[..]].concat(),
        [&[1], &x[..]].concat(),
        x[1..].to_vec(),
        x[..31].to_vec(),
        Vec::new(),
    ] {
        skipped(
            &jwk_with("p256-a", json!({"x": b64(x)})),
            SkipReason::Material,
        );
    }
}

/// One key in 128 has a coordinate that begins with a zero, which some providers leave out.
#[test]
fn coordinates_that_lack_their_first_zeros_are_the_same_points() {
    let keys = std::iter::repeat_with(ES256KeyPair::generate);
    let short = keys.take(4_096).find(|pair| {
        let point = pair.public_key().public_key().to_bytes_uncompressed();
        point[1] == 0 || point[33] == 0
    });
    let pair = short.expect("one of 4,096 keys has such a coordinate");
    let point = pair.public_key().public_key().to_bytes_uncompressed();
    let zeroless = |coordinate: &[u8]| {
        let zeros = coordinate.iter().take_while(|byte| **byte == 0).count();
        b64(&coordinate[zeros..])
    };
    let (x, y) = (zeroless(&point[1..33]), zeroless(&point[33..]));
    let key = json!({"kty": "EC", "crv": "P-256", "kid": "short", "x": x, "y": y});
    let set = parse(&[key]).unwrap();
    let whole = json!({"kty": "EC", "crv": "P-256", "kid": "short", "x": b64(&point[1..33]), "y": b64(&point[33..])});
    assert!(set.is_same(&parse(&[whole]).unwrap()));
    let token = pair.sign(Claims::create(Duration::from_secs(60))).unwrap();
    let (input, signature) = token.rsplit_once('.').unwrap();
    let signature = unb64(signature);
    assert_eq!(
        InModule.verify(&set.keys()[0], input.as_bytes(), &signature),
        Ok(())
    );
}

#[test]
fn points_off_the_curve_and_weak_keys_are_skipped() {
    let zero = b64([0; 32]);
    let key = jwk("p256-a");
    let mut y = unb64(key["y"].as_str().unwrap());
    y[31] ^= 1;
    for members in [
        json!({"y": b64(y)}),
        json!({"x": key["y"], "y": key["x"]}),
        json!({"x": zero, "y": zero}),
        json!({"x": b64([0xff; 32])}),
    ] {
        skipped(&jwk_with("p256-a", members), SkipReason::Material);
    }
    // The points of small order, with which a signature says nothing.
    let one = b64([&[1][..], &[0; 31]].concat());
    let minus_one = b64([&[0xec][..], &[0xff; 30], &[0x7f]].concat());
    let order_8 = b64([
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ]);
    for x in [zero, one, minus_one, order_8, b64([0; 31]), b64([7; 33])] {
        skipped(
            &jwk_with("ed25519-a", json!({"x": x})),
            SkipReason::Material,
        );
    }
    // Curves and types that the gate does not verify.
    for members in [
        json!({"crv": "P-521"}),
        json!({"crv": "secp256k1"}),
        json!({"crv": "p-256"}),
        json!({"crv": null}),
        json!({"crv": "Ed25519"}),
        json!({"alg": "ES384"}),
        json!({"alg": "RS256"}),
        json!({"alg": "ES512"}),
    ] {
        skipped(&jwk_with("p256-a", members), SkipReason::Algorithm);
    }
    for members in [
        json!({"crv": "X25519"}),
        json!({"crv": "Ed448"}),
        json!({"alg": "Ed25519x"}),
    ] {
        skipped(&jwk_with("ed25519-a", members), SkipReason::Algorithm);
    }
    for kty in [
        json!(null),
        json!("oct"),
        json!("rsa"),
        json!(1),
        json!("AKP"),
    ] {
        skipped(&jwk_with("rsa-a", json!({ "kty": kty })), SkipReason::Type);
    }
    // A curve under another name has other lengths.
    skipped(
        &jwk_with("p384-a", json!({"crv": "P-256"})),
        SkipReason::Material,
    );
    kept(&jwk("p384-a"), "p384-a", Algorithm::ES384);
    kept(&jwk("ed25519-a"), "ed25519-a", Algorithm::EdDSA);
}

/// A gate whose provider's keys are fetched, with `p256-a` in hand.
fn loaded() -> Bench {
    let mut gate = gate(&fetched(json!({})));
    gate.give_keys(0, &["p256-a"], 10);
    gate
}

#[test]
fn a_bad_document_leaves_the_old_set_as_it_is() {
    let spki = jwk("p256-b");
    let large = json!({"keys": [spki], "x": "x".repeat(MAX_DOCUMENT_BYTES)}).to_string();
    let huge = vec![b' '; 5 * 1024 * 1024];
    let many: Vec<Value> = (0..=MAX_KEYS)
        .map(|i| jwk_with("p256-b", json!({"kid": format!("k{i}")})))
        .collect();
    let html = b"<html><body>503</body></html>".to_vec();
    let two_names = br#"{"keys":[],"keys":[{"kty":"RSA"}]}"#.to_vec();
    let no_json = "not valid JSON at line 1";
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (Vec::new(), no_json),
        (html, no_json),
        (b"[]".to_vec(), "not a JSON object"),
        (two_names, "the name \"keys\" stands twice"),
        (b"{}".to_vec(), "no list named keys"),
        (br#"{"keys":{}}"#.to_vec(), "no list named keys"),
        (br#"{"keys":null}"#.to_vec(), "no list named keys"),
        (
            br#"{"error":"rate limited"}"#.to_vec(),
            "no list named keys",
        ),
        (br#"{"keys":[]}"#.to_vec(), "none of its 0 keys"),
        (
            br#"{"keys":[1,null,"k",[]]}"#.to_vec(),
            "none of its 4 keys",
        ),
        (jwks(&[jwk("rsa-1024")]), "none of its 1 keys"),
        (large.into_bytes(), "larger than 262144 bytes"),
        (huge, "larger than 262144 bytes"),
    ];
    for (document, words) in cases {
        let mut gate = loaded();
        let shown: String = String::from_utf8_lossy(&document)
            .chars()
            .take(60)
            .collect();
        let refusal = gate.give(0, &document, 700_100).unwrap_err();
        assert!(refusal.to_string().starts_with(words), "{shown}: {refusal}");
        assert_eq!(gate.keys_from(0), Some(10), "{shown}");
        // The token's own times move along with the clock.
        let token = Token::new()
            .claim("exp", crate::common::NOW + 2_000)
            .build();
        let answer = ask_at(&mut gate, &Request::bearing(&token), 700_200);
        assert_eq!(answer.code(), ALLOWED, "{shown}");
    }
    // As many as fit.
    assert_eq!(parse(&many[1..]).unwrap().surplus(), 0);
    // The first ones are kept, and the rest is counted.
    let set = parse(&many).unwrap();
    assert_eq!((set.keys().len(), set.surplus()), (MAX_KEYS, 1));
    assert_eq!(set.keys()[0].key_id(), Some("k0"));
    // Ten thousand unusable ones are only long.
    let mut gate = loaded();
    let odd = format!(r#"{{"keys":[{}1]}}"#, "1,".repeat(9_999));
    let refusal = gate.give(0, odd.as_bytes(), 20).unwrap_err();
    assert!(refusal.to_string().starts_with("none of its 10000 keys"));
}

#[test]
fn a_lookup_without_kid_finds_all_that_may_have_signed() {
    let names = |lookup: Lookup<'_>| match lookup {
        Lookup::Candidates(keys) => keys
            .iter()
            .map(|key| key.key_id().unwrap_or("-").to_owned())
            .collect(),
        other => vec![format!("{other:?}")],
    };
    let set = parse(&[jwk("p256-a"), jwk("rsa-a"), jwk("rsa-b")]).unwrap();
    assert_eq!(names(set.find(None, Algorithm::ES256)), ["p256-a"]);
    assert_eq!(names(set.find(None, Algorithm::RS256)), ["rsa-a", "rsa-b"]);
    assert!(matches!(set.find(None, Algorithm::EdDSA), Lookup::Unknown));
    // With one that a key has, nothing but that name counts.
    assert!(matches!(
        set.find(Some("rsa-b"), Algorithm::RS256),
        Lookup::Found(_)
    ));
    assert!(matches!(
        set.find(Some("rsa-b"), Algorithm::RS384),
        Lookup::AlgorithmMismatch
    ));
    assert!(matches!(
        set.find(Some("RSA-B"), Algorithm::RS256),
        Lookup::Unknown
    ));
    // With one that no key has, those without a name count.
    let nameless = |name| jwk_with(name, json!({"kid": null}));
    let set = parse(&[jwk("rsa-a"), nameless("p256-a"), nameless("rsa-b")]).unwrap();
    assert_eq!(names(set.find(Some("new"), Algorithm::ES256)), ["-"]);
    assert_eq!(names(set.find(Some("new"), Algorithm::RS256)), ["-"]);
    assert_eq!(names(set.find(None, Algorithm::RS256)), ["rsa-a", "-"]);
    // As many as a token may have tried.
    let many: Vec<Value> = ["a", "b", "c", "d", "e"]
        .map(|kid| jwk_with("p256-a", json!({"kid": kid})))
        .into();
    let set = parse(&many).unwrap();
    assert_eq!(
        names(set.find(None, Algorithm::ES256)),
        ["a", "b", "c", "d"]
    );
}

#[test]
fn duplicate_kids_are_told_apart_by_algorithm_or_dropped() {
    let twin = jwk_with("p256-b", json!({"kid": "p256-a"}));
    let set = parse(&[jwk("p256-a"), twin.clone(), jwk("rsa-a")]).unwrap();
    assert_eq!(set.keys().len(), 1);
    let reasons: Vec<_> = set
        .skipped()
        .iter()
        .map(|skipped| (skipped.key_id.as_deref(), skipped.reason))
        .collect();
    let dropped = (Some("p256-a"), SkipReason::DuplicateKeyId);
    assert_eq!(reasons, [dropped, dropped]);
    assert!(matches!(
        set.find(Some("p256-a"), Algorithm::ES256),
        Lookup::Unknown
    ));
    assert_eq!(unusable(&parse(&[jwk("p256-a"), twin])), Some(2));
    // The same key twice is one key.
    let set = parse(&[jwk("p256-a"), jwk("p256-a")]).unwrap();
    assert_eq!(set.keys().len(), 1);
    assert_eq!(set.skipped(), []);
    // RFC 7517 §4.5 allows one name for different types.
    let other = jwk_with("rsa-a", json!({"kid": "p256-a"}));
    let set = parse(&[jwk("p256-a"), other]).unwrap();
    for algorithm in [Algorithm::ES256, Algorithm::RS256] {
        let Lookup::Found(key) = set.find(Some("p256-a"), algorithm) else {
            panic!("{algorithm}");
        };
        assert_eq!(key.algorithm(), algorithm);
    }
    // One modulus under one name for two algorithms: two keys, never confused.
    let pss = jwk_with("rsa-a", json!({"alg": "PS256"}));
    let set = parse(&[jwk("rsa-a"), pss]).unwrap();
    assert_eq!(set.keys().len(), 2);
    // Keys without kid are not duplicates of each other.
    let nameless = |name| jwk_with(name, json!({"kid": null}));
    let set = parse(&[nameless("p256-a"), nameless("p256-b")]).unwrap();
    assert_eq!(set.keys().len(), 2);
    assert!(
        matches!(set.find(None, Algorithm::ES256), Lookup::Candidates(keys) if keys.len() == 2)
    );
}

#[test]
fn an_rsa_key_without_alg_is_bound_by_the_configuration() {
    use Algorithm::{ES256, PS256, PS384, RS256, RS384};
    for (allowed, bound) in [
        (&[RS256][..], Ok(RS256)),
        (&[RS384, RS256, PS256], Ok(RS256)),
        (&[PS256], Ok(PS256)),
        (&[ES256, RS384], Ok(RS384)),
        (&[PS256, PS384], Err(SkipReason::AlgorithmUnclear)),
        (&[ES256], Err(SkipReason::Algorithm)),
    ] {
        let document = jwks(&[jwk("rsa-a"), jwk("p256-a")]);
        let with_ec = [allowed, &[ES256]].concat();
        let set = KeySet::parse(&document, &with_ec, &issuers()).unwrap();
        let rsa = set.keys().iter().find(|key| key.key_id() == Some("rsa-a"));
        match bound {
            Ok(algorithm) => assert_eq!(rsa.unwrap().algorithm(), algorithm, "{allowed:?}"),
            Err(reason) => assert_eq!(set.skipped()[0].reason, reason, "{allowed:?}"),
        }
    }
}

#[test]
fn an_algorithm_that_is_not_allowed_is_never_bound() {
    let document = jwks(&[
        jwk_with("rsa-a", json!({"alg": "RS512"})),
        jwk("p384-a"),
        jwk("p256-a"),
    ]);
    let set = KeySet::parse(&document, &[Algorithm::RS256, Algorithm::ES256], &issuers()).unwrap();
    assert_eq!(set.keys().len(), 1);
    assert!(
        set.skipped()
            .iter()
            .all(|skipped| skipped.reason == SkipReason::Algorithm)
    );
}

#[test]
fn entra_keys_of_other_issuers_are_skipped() {
    let ours = "https://login.microsoftonline.com/aaaa/v2.0";
    for (theirs, usable) in [
        (ours, true),
        ("https://login.microsoftonline.com/{tenantid}/v2.0", true),
        ("https://login.microsoftonline.com/bbbb/v2.0", false),
        ("https://login.microsoftonline.com/{tenantid}/", false),
        ("https://login.microsoftonline.com/aaaa/v2.0/", false),
        // Elsewhere the member means nothing that we know.
        ("https://other.example/", true),
        ("whatever", true),
    ] {
        let document = jwks(&[jwk_with("p256-a", json!({"issuer": theirs}))]);
        let set = KeySet::parse(&document, &Algorithm::ALL, &Issuers::new(ours, []));
        assert_eq!(set.is_ok(), usable, "{theirs}");
    }
}

/// A provider that lists thousands of unusable keys does not cause thousands of log lines.
#[test]
fn keys_of_no_use_are_told_of_until_there_are_many() {
    let weak = |number: usize| json!({"kty": "RSA", "kid": format!("k{number}"), "n": "AQAB", "e": "AQAB"});
    let mut keys: Vec<Value> = (0..3_000).map(weak).collect();
    keys.push(jwk("p256-a"));
    let set = parse(&keys).unwrap();
    assert_eq!(set.keys().len(), 1);
    assert_eq!((set.skipped().len(), set.untold()), (16, 2_984));
    assert_eq!(set.skipped()[15].key_id.as_deref(), Some("k15"));
}
