//! Keys that sign organizations, and what happens to a signed document on the shelf.
#![allow(clippy::panic, clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{b64, jwk, pem, unb64};
use scopegate::authn::json::{MAX_DEPTH, parse_object};
use scopegate::authn::jwks::KeySet;
use scopegate::authn::keys::{Algorithm, InModule};
use scopegate::authn::signed_document::{SignedDocument, SignedDocumentError};
use scopegate::resources::document::{MAX_DOCUMENT, Mark};
use scopegate::serve::shelf::{Placed, Refused, Shelf};
use scopegate::serve::signer::Signer;
use scopegate::serve::signing_key::{SigningKey, SigningKeyError, jwk_set};
use scopegate::words::identity::Issuers;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const PAYLOAD: &str = r#"{"version":1,"epoch":1,"revision":2,"iat":3,"organizations":[]}"#;

fn key(name: &str) -> SigningKey {
    SigningKey::parse(pem(name).as_bytes()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn set(document: &Value) -> KeySet {
    let document = parse_object(document.to_string().as_bytes(), MAX_DEPTH).unwrap();
    KeySet::from_object(&document, &Algorithm::ALL, &Issuers::new("", [])).unwrap()
}

fn open(jws: &str, keys: &Value) -> Result<SignedDocument, SignedDocumentError> {
    SignedDocument::open(jws.as_bytes(), &set(keys), &InModule)
}

/// The header and the payload of a JWS.
fn parts(jws: &str) -> [Value; 2] {
    let mut parts = jws.split('.');
    [(); 2].map(|()| serde_json::from_slice(&unb64(parts.next().unwrap())).unwrap())
}

fn wrapped(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

fn unwrapped(pem: &str) -> Vec<u8> {
    use base64::Engine as _;
    let text: String = pem
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .collect();
    base64::engine::general_purpose::STANDARD
        .decode(text)
        .unwrap()
}

#[test]
fn the_algorithm_follows_the_key_and_a_gate_believes_what_it_signs() {
    let stranger = jwk_set([&key("p256-stranger")]);
    for (name, algorithm) in [
        ("ed25519-a", "EdDSA"),
        ("p256-a", "ES256"),
        ("p384-a", "ES384"),
        ("rsa-a", "RS256"),
        ("rsa-4096", "RS256"),
    ] {
        let signer = key(name);
        let jws = signer.sign(PAYLOAD).unwrap();
        // Replicas say the same.
        assert_eq!(key(name).sign(PAYLOAD).unwrap(), jws, "{name}");
        let [header, payload] = parts(&jws);
        assert_eq!(
            header,
            json!({"alg": algorithm, "kid": signer.key_id(), "typ": "scopegate-organizations+jws"})
        );
        assert_eq!(
            payload.to_string(),
            serde_json::from_str::<Value>(PAYLOAD).unwrap().to_string()
        );
        // What is printed is what the gate's own reader makes of the key, and a good name.
        let printed = jwk_set([&signer]);
        let mut known = jwk(name);
        let members = known.as_object_mut().unwrap();
        members.remove("kid");
        let named = Sha256::digest(json!(members).to_string());
        assert_eq!(signer.key_id(), b64(named), "{name}");
        members.extend([
            ("alg".to_owned(), algorithm.into()),
            ("kid".to_owned(), signer.key_id().into()),
            ("use".to_owned(), "sig".into()),
        ]);
        assert_eq!(printed["keys"], json!([known]), "{name}");
        assert!(open(&jws, &printed).is_ok(), "{name}");
        let both = jwk_set([&key("p256-stranger"), &signer]);
        assert!(open(&jws, &both).is_ok(), "{name}");
        let error = open(&jws, &stranger).unwrap_err();
        let wanted = format!(
            "none of the keys of signed_by has signed it, which names the kid \"{}\"",
            signer.key_id()
        );
        assert_eq!(error.to_string(), wanted, "{name}");
        // Not even the length of what is secret.
        assert_eq!(
            format!("{signer:?}"),
            format!("{algorithm} {}", signer.key_id())
        );
    }
}

/// RFC 8037, appendices A.1 to A.3.
#[test]
fn the_key_of_the_standard_has_the_name_that_the_standard_gives_it() {
    let secret = unb64("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A");
    let der = [
        &hex::decode("302e020100300506032b657004220420").unwrap()[..],
        &secret,
    ]
    .concat();
    let key = SigningKey::parse(wrapped("PRIVATE KEY", &der).as_bytes()).unwrap();
    assert_eq!(key.key_id(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    assert_eq!(
        key.jwk()["x"],
        "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    );
}

#[test]
fn older_forms_of_pem_are_taken_and_what_cannot_sign_is_refused() {
    // A PKCS#8 key of RSA holds one of PKCS#1 behind 26 bytes.
    let rsa = wrapped("RSA PRIVATE KEY", &unwrapped(&pem("rsa-a"))[26..]);
    let sec1 = |name: &str| -> String {
        use p256::pkcs8::DecodePrivateKey as _;
        let pem = pem(name);
        let der = if name.starts_with("p256") {
            p256::SecretKey::from_pkcs8_pem(&pem)
                .unwrap()
                .to_sec1_der()
                .unwrap()
        } else {
            p384::SecretKey::from_pkcs8_pem(&pem)
                .unwrap()
                .to_sec1_der()
                .unwrap()
        };
        wrapped("EC PRIVATE KEY", &der)
    };
    for (older, name) in [
        (rsa, "rsa-a"),
        (sec1("p256-a"), "p256-a"),
        (sec1("p384-a"), "p384-a"),
        (format!("# a comment\n{}", pem("ed25519-a")), "ed25519-a"),
    ] {
        let read = SigningKey::parse(older.as_bytes()).unwrap();
        assert_eq!(read.key_id(), key(name).key_id());
    }
    let good = pem("ed25519-a");
    let encrypted = good.replace("PRIVATE", "ENCRYPTED PRIVATE");
    let (_, public) = common::spki("rsa-a");
    for (file, error) in [
        ("", SigningKeyError::None),
        ("nothing", SigningKeyError::None),
        (&good[..60], SigningKeyError::None),
        (&encrypted, SigningKeyError::None),
        (&public, SigningKeyError::None),
        (&pem("rsa-1024"), SigningKeyError::Unfit),
        (&pem("p521-a"), SigningKeyError::Unfit),
        (&wrapped("PRIVATE KEY", b"no key"), SigningKeyError::Unfit),
        (
            &wrapped("EC PRIVATE KEY", b"no key"),
            SigningKeyError::Unfit,
        ),
    ] {
        assert_eq!(
            SigningKey::parse(file.as_bytes()).err(),
            Some(error),
            "{file}"
        );
    }
}

/// A public half that is another key's: gates would refuse whatever is signed.
#[test]
fn halves_that_do_not_belong_together_are_refused() {
    let pair = |secret: &str, public: &str| {
        let secret = &unwrapped(&pem(secret))[16..48];
        let public = unb64(jwk(public)["x"].as_str().unwrap());
        let head = hex::decode("3051020101300506032b657004220420").unwrap();
        wrapped(
            "PRIVATE KEY",
            &[&head[..], secret, &[0x81, 0x21, 0x00], &public].concat(),
        )
    };
    let good = SigningKey::parse(pair("ed25519-a", "ed25519-a").as_bytes()).unwrap();
    assert_eq!(good.key_id(), key("ed25519-a").key_id());
    let bad = SigningKey::parse(pair("ed25519-a", "ed25519-stranger").as_bytes());
    assert_eq!(bad.err(), Some(SigningKeyError::Unfit));
}

/// So long that no test sees its end.
const LONG: Duration = Duration::from_secs(1 << 40);

fn mark(revision: u64) -> Mark {
    Mark::new(1, revision).unwrap()
}

#[test]
fn a_document_on_the_shelf_is_signed_anew_with_another_key_or_date_alone() {
    let signer = Arc::new(Signer::new(key("ed25519-a"), LONG));
    let shelf = Shelf::signed_by(Arc::clone(&signer));
    assert_eq!(shelf.renew(), Ok(false), "nothing is there");
    assert_eq!(shelf.put(mark(4), "[]", 0), Ok(Placed::New));
    let first = shelf.document().unwrap();
    assert_eq!(first.media_type(), "application/jose");
    let jws = str::from_utf8(first.body()).unwrap();
    let [_, payload] = parts(jws);
    assert_eq!(
        payload,
        json!({"version": 1, "epoch": 1, "revision": 4, "iat": 0, "organizations": []})
    );
    assert_eq!(first.issued(), Some(0));
    assert!(open(jws, &jwk_set([&key("ed25519-a")])).is_ok());
    assert_eq!(shelf.renew(), Ok(false), "it is as it should be");
    // A replica has the same bytes.
    let replica = Shelf::signed_by(Arc::new(Signer::new(key("ed25519-a"), LONG)));
    replica.put(mark(4), "[]", 0).unwrap();
    let other = replica.document().unwrap();
    assert_eq!((other.tag(), other.body()), (first.tag(), first.body()));

    signer.replace(key("p256-a"));
    assert_eq!(shelf.renew(), Ok(true));
    let second = shelf.document().unwrap();
    assert_eq!((second.mark(), second.issued()), (first.mark(), Some(0)));
    assert_ne!(second.tag(), first.tag());
    let jws = str::from_utf8(second.body()).unwrap();
    assert!(open(jws, &jwk_set([&key("p256-a")])).is_ok());
    assert_eq!(shelf.put(mark(4), "[]", 0), Ok(Placed::Same));
    assert_eq!(shelf.renew(), Ok(false));

    // Of now, for whoever signs each second.
    let shelf = Shelf::signed_by(Arc::new(Signer::new(key("p256-a"), Duration::from_secs(1))));
    shelf.put(mark(4), "[]", 0).unwrap();
    let issued = shelf.document().unwrap().issued().unwrap();
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_secs();
    assert!((now - 5..=now).contains(&issued), "{issued} {now}");
}

#[test]
fn whoever_has_an_earlier_date_or_another_keys_signature_needs_the_document() {
    let shelf = Shelf::signed_by(Arc::new(Signer::new(
        key("ed25519-a"),
        Duration::from_secs(1),
    )));
    shelf.put(mark(4), "[]", 0).unwrap();
    let document = shelf.document().unwrap();
    let tag = document.tag();
    let hash = tag.split('.').nth(2).unwrap().to_owned();
    let (issued, kid) = (
        document.issued().unwrap(),
        key("ed25519-a").key_id().to_owned(),
    );
    let other = key("p256-a").key_id().to_owned();
    assert!(document.is_had_with(&tag));
    assert!(document.is_had_with(&format!("W/{tag}")));
    for (revision, issued, kid, had) in [
        (4, issued, &kid, true),
        // Another replica's.
        (5, issued + 1, &kid, true),
        (5, issued, &kid, true),
        (4, issued - 1, &kid, false),
        (5, issued - 1, &kid, false),
        (3, issued, &kid, false),
        (4, issued, &other, false),
    ] {
        let tag = format!("\"1.{revision}.{hash}.{issued}.{kid}\"");
        assert_eq!(document.is_had_with(&tag), had, "{tag}");
    }
    let plain = format!("\"1.4.{hash}\"");
    for tag in [
        &plain,
        &format!("\"1.4.{hash}.{issued}\""),
        &format!("\"1.4.{hash}.x.{kid}\""),
    ] {
        assert!(!document.is_had_with(tag), "{tag}");
    }
    // And the other way round: whoever has a signature that is no more.
    let shelf = Shelf::default();
    shelf.put(mark(4), "[]", 0).unwrap();
    let unsigned = shelf.document().unwrap();
    assert_eq!(unsigned.tag(), plain);
    assert_eq!(
        (unsigned.media_type(), unsigned.issued()),
        ("application/json", None)
    );
    assert!(unsigned.is_had_with(&plain) && !unsigned.is_had_with(&tag));
    assert_eq!(shelf.renew(), Ok(false));
}

/// A gate counts the bytes of what is inside.
#[test]
fn the_longest_document_is_signed_and_no_longer_one() {
    let shelf = Shelf::signed_by(Arc::new(Signer::new(key("ed25519-a"), LONG)));
    let around = r#"{"version":1,"epoch":1,"revision":4,"iat":0,"organizations":}"#.len();
    let text = |length: usize| format!("[{}]", " ".repeat(length - 2));
    let most = MAX_DOCUMENT - around;
    let refused = shelf.put(mark(4), &text(most + 1), 0);
    let length = MAX_DOCUMENT + 1;
    assert_eq!(refused, Err(Refused::TooLong { length }));
    assert_eq!(shelf.put(mark(4), &text(most), 0), Ok(Placed::New));
    // And it takes as much room for a header and a signature.
    let length = shelf.document().unwrap().body().len();
    assert!(length <= MAX_DOCUMENT / 3 * 4 + 4096, "{length}");
}
