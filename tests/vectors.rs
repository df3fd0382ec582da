//! Public test vectors: Project Wycheproof's JOSE files, RFC 7520, RFC 7515, RFC 8037.
//!
//! Their payloads are not claims, so each is checked twice: below the layer of claims, where
//! the verdict must be that of the file, except for the differences listed here; and through
//! the whole gate, where none may pass. The files are byte for byte those of their origin; see
//! the licences beside them.
#![allow(clippy::panic, clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{
    ALLOWED, Request, Token, ask_at, b64, config, fetched, gate, issuers, jwk, sign,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use scopegate::authn::jwks::{KeySet, Lookup};
use scopegate::authn::keys::{Algorithm, InModule, SignatureEngine};
use scopegate::authn::token::Unverified;
use scopegate::words::denial::Denial;
use serde_json::{Value, json};
use superboring::reexports::hmac_sha256::Hash as Sha256;

/// A limit that does not matter for the vectors.
const ANY_SIZE: usize = 1 << 20;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

fn read(path: &str) -> Value {
    let text = fs::read_to_string(folder().join(path)).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// A JWK or a JWK Set as the document a provider would publish.
fn document(keys: &Value) -> Vec<u8> {
    match keys.get("keys") {
        Some(_) => keys.to_string().into_bytes(),
        None => json!({ "keys": [keys] }).to_string().into_bytes(),
    }
}

/// Verifies a compact JWS with the gate's own parts: header rules and base64 by
/// [`Unverified`], which demands claims and so gets an empty object in place of the
/// payload; keys by [`KeySet`]; the signature by every engine over the real input.
fn verifies(keys: &Value, jws: &str) -> bool {
    let parts: Vec<&str> = jws.split('.').collect();
    let [header, payload, signature] = parts[..] else {
        return false;
    };
    if URL_SAFE_NO_PAD.decode(payload).is_err() {
        return false;
    }
    let probe = format!("{header}.e30.{signature}");
    let Ok(token) = Unverified::parse(probe.as_bytes(), ANY_SIZE) else {
        return false;
    };
    let Some(algorithm) = token.header.algorithm else {
        return false;
    };
    let Ok(set) = KeySet::parse(&document(keys), &Algorithm::ALL, &issuers()) else {
        return false;
    };
    let keys = match set.find(token.header.key_id.as_deref(), algorithm) {
        Lookup::Found(key) => vec![key],
        Lookup::Candidates(keys) => keys,
        Lookup::AlgorithmMismatch | Lookup::Unknown => return false,
    };
    let input = format!("{header}.{payload}");
    let signs = |engine: &dyn SignatureEngine| {
        let mut keys = keys.iter();
        keys.any(|key| {
            engine
                .verify(key, input.as_bytes(), &token.signature)
                .is_ok()
        })
    };
    let verdict = signs(&InModule);
    #[cfg(feature = "native")]
    assert_eq!(
        signs(&scopegate::host::native::engine::Ring),
        verdict,
        "{jws}"
    );
    verdict
}

/// The whole gate, with these keys in hand if they are usable, lets nothing pass.
fn assert_refused_by_the_gate(keys: &Value, text: &str, case: &str) {
    let mut config = fetched(json!({}));
    let names = Algorithm::ALL.map(Algorithm::name);
    config["providers"][0]["algorithms"] = json!(names);
    let mut gate = gate(&config);
    // What cannot be used leaves the gate without keys, which refuses as well.
    let _ = gate.give(0, &document(keys), 0);
    let answer = ask_at(&mut gate, &Request::bearing(text), 0);
    let crate::common::Decided::Denied(denial) = answer else {
        panic!("{case}: {answer:?}");
    };
    assert!(matches!(denial.status(), 400 | 401), "{case}: {denial:?}");
}

/// One case of a Wycheproof file.
struct Case {
    id: u64,
    name: String,
    keys: Value,
    /// Compact, or the JSON text where the file has an object.
    text: String,
    encrypted: bool,
    valid: bool,
}

fn cases(file: &str) -> Vec<Case> {
    let file = read(&format!("wycheproof/{file}"));
    let mut cases = Vec::new();
    for group in file["testGroups"].as_array().unwrap() {
        for test in group["tests"].as_array().unwrap() {
            let public = group.get("public").filter(|keys| !keys.is_null());
            let content = test.get("jws").or(test.get("jwe")).unwrap();
            cases.push(Case {
                id: test["tcId"].as_u64().unwrap(),
                name: format!("{} {} {}", test["tcId"], group["comment"], test["comment"]),
                keys: public.unwrap_or(&group["private"]).clone(),
                text: content
                    .as_str()
                    .map_or_else(|| content.to_string(), Into::into),
                encrypted: test.get("jwe").is_some(),
                valid: test["result"] == "valid",
            });
        }
    }
    assert_eq!(file["numberOfTests"], cases.len());
    cases
}

/// Runs a file. `refused` are valid cases that are refused here, `taken` invalid
/// ones that are not; every other verdict must be the file's.
fn run(file: &str, refused: &[(u64, &str)], taken: &[(u64, &str)]) -> (usize, usize) {
    let mut counts = (0, 0);
    for case in cases(file) {
        let listed = |list: &[(u64, &str)]| list.iter().any(|(id, _)| *id == case.id);
        let expected = if listed(refused) {
            assert!(case.valid, "{}: no difference", case.name);
            false
        } else if listed(taken) {
            assert!(!case.valid, "{}: no difference", case.name);
            true
        } else {
            case.valid
        };
        let verdict = !case.encrypted && verifies(&case.keys, &case.text);
        assert_eq!(verdict, expected, "{}", case.name);
        assert_refused_by_the_gate(&case.keys, &case.text, &case.name);
        if case.encrypted {
            let parsed = Unverified::parse(case.text.as_bytes(), ANY_SIZE);
            assert_eq!(parsed.unwrap_err(), Denial::TokenMalformed, "{}", case.name);
        }
        if verdict {
            counts.0 += 1;
        } else {
            counts.1 += 1;
        }
    }
    counts
}

const HMAC: &str = "a shared secret is never a key";
const P521: &str = "ES512 is not supported";
const OTHER_PSS: &str = "the JWK says PS256, the token PS384: a key has one algorithm";
const ROCA: &str = "the modulus has ROCA's form, which nobody's keys have in practice";

#[test]
fn wycheproof_json_web_signature() {
    let refused = [
        (1, HMAC),
        (346, OTHER_PSS),
        (347, P521),
        (348, HMAC),
        (350, OTHER_PSS),
        (351, P521),
        (352, HMAC),
        (357, HMAC),
        (358, HMAC),
        (359, HMAC),
        (372, HMAC),
        (373, HMAC),
        (376, HMAC),
        (377, HMAC),
    ];
    let counts = run("json_web_signature_test.json", &refused, &[]);
    assert_eq!(counts, (32, 369));
}

#[test]
fn wycheproof_json_web_key() {
    let refused = [(2, HMAC), (13, HMAC), (14, HMAC), (15, HMAC)];
    let counts = run("json_web_key_test.json", &refused, &[(7, ROCA)]);
    assert_eq!(counts, (2, 24));
}

#[test]
fn wycheproof_json_web_crypto() {
    const JWE: &str = "encrypted tokens are not opened";
    let refused = [(1, HMAC), (48, HMAC), (50, JWE), (67, JWE)];
    let counts = run("json_web_crypto_test.json", &refused, &[(46, ROCA)]);
    assert_eq!(counts, (3, 80));
}

/// Wycheproof's group `base64` uses HS256, which is refused for its name alone.
/// The same 21 cases with an ES256 key of ours and claims for a payload, so that
/// each reaches the rule that it is about.
#[test]
fn wycheproof_base64_group_with_an_asymmetric_key() {
    let signed = |input: &str| b64(sign("p256-a", "ES256", input.as_bytes()));
    let token = Token::new();
    let input = token.signing_input();
    let (header, payload) = input.split_once('.').unwrap();
    let signature = signed(&input);
    // A signature that begins with the alphabet's first or last character.
    let beginning = |first: char| {
        (0..10_000)
            .map(|number| Token::new().claim("n", number).build())
            .find(|token| token.rsplit('.').next().unwrap().starts_with(first))
            .unwrap()
    };
    let (first, last) = (beginning('A'), beginning('_'));
    let replaced = |token: &str| {
        let (input, signature) = token.rsplit_once('.').unwrap();
        format!("{input}.?{}", &signature[1..])
    };
    // Signed as they stand, so that only the encoding is wrong.
    let over = |header: &str, payload: &str| {
        let input = format!("{header}.{payload}");
        format!("{input}.{}", signed(&input))
    };
    // Padding with space until the last character of the payload has unused bits.
    let text = |payload: &str| URL_SAFE_NO_PAD.decode(payload).unwrap();
    let mut plain = text(payload);
    while plain.len() % 3 != 1 {
        plain.push(b' ');
    }
    let canonical = b64(&plain);
    let unused_bits = {
        let last = canonical.chars().last().unwrap();
        let next = char::from(u8::try_from(last).unwrap() + 1);
        format!("{}{next}", &canonical[..canonical.len() - 1])
    };
    let spaced = b64(r#"{ "kid" : "p256-a", "alg" : "ES256" }"#);
    let newline = b64("{\"kid\":\"p256-a\",\n\t\"alg\":\"ES256\"}");
    let (bad, good) = ("token_malformed", ALLOWED);
    let cases = [
        (357, good, format!("{input}.{signature}")),
        (358, good, first.clone()),
        (359, good, last.clone()),
        (360, bad, format!("{input}.    {signature}")),
        (361, bad, format!("{input}.?{signature}")),
        (362, bad, format!("{input}.{signature}?")),
        (363, bad, replaced(&first)),
        (364, bad, replaced(&last)),
        (365, bad, over(&format!("{header}    "), payload)),
        (366, bad, over(&format!("{header}####"), payload)),
        (367, bad, format!("{input}.{signature}==")),
        (368, bad, over(header, &format!("    {payload}"))),
        (369, bad, over(header, &format!("####{payload}"))),
        (370, bad, over(header, &format!("{canonical}=="))),
        (371, bad, over(header, &format!("?{payload}"))),
        // Valid there for those who skip strange characters; not here.
        (
            372,
            bad,
            format!("{}?{}.{payload}.{signature}", &header[..9], &header[9..]),
        ),
        (373, bad, format!("{input}?.{signature}")),
        (374, bad, over(header, &unused_bits)),
        // The signature is over the canonical spelling, the token is not.
        (
            375,
            bad,
            format!(
                "{header}.{unused_bits}.{}",
                signed(&format!("{header}.{canonical}"))
            ),
        ),
        (376, good, over(&spaced, payload)),
        (377, good, over(&newline, payload)),
    ];
    assert_eq!(cases.len(), 21);
    for (id, expected, token) in cases {
        assert_eq!(
            crate::common::verdict(&config(), &token),
            expected,
            "{id}: {token}"
        );
    }
    assert_eq!(
        crate::common::verdict(&config(), &over(header, &canonical)),
        ALLOWED
    );
}

/// The duplicate-kid case (JWK file, 4) uses secrets: the same with two ES256 keys.
#[test]
fn wycheproof_duplicate_kid_with_asymmetric_keys() {
    let twin = crate::common::jwk_with("p256-b", json!({"kid": "p256-a"}));
    let token = Token::new().build();
    let both = json!({"keys": [jwk("p256-a"), twin.clone()]});
    assert!(!verifies(&both, &token));
    let both = json!({"keys": [twin, jwk("p256-a")]});
    assert!(!verifies(&both, &token));
    assert!(verifies(&jwk("p256-a"), &token));
}

fn rfc7520(name: &str) -> Value {
    read(&format!("rfc7520/jws/{name}.json"))
}

/// The public half of the example's key, with the algorithm of the example unless
/// the key states its own.
fn public(example: &Value) -> Value {
    let mut key = example["input"]["key"].clone();
    let members = key.as_object_mut().unwrap();
    for private in ["d", "p", "q", "dp", "dq", "qi"] {
        members.remove(private);
    }
    key["alg"] = example["input"]["alg"].clone();
    key
}

#[test]
fn rfc7520_examples_by_supported_algorithms_verify() {
    for (name, algorithm) in [
        ("4_1.rsa_v15_signature", "RS256"),
        ("4_2.rsa-pss_signature", "PS384"),
    ] {
        let example = rfc7520(name);
        assert_eq!(example["input"]["alg"], algorithm);
        let compact = example["output"]["compact"].as_str().unwrap();
        assert!(verifies(&public(&example), compact), "{name}");
        assert_refused_by_the_gate(&public(&example), compact, name);
        // As printed, with the private half, it is an accident and no key.
        assert!(!verifies(&example["input"]["key"], compact), "{name}");
        let changed = compact.replacen("..", ".", 1).replace("SXTig", "SXTih");
        assert_ne!(changed, compact);
        assert!(!verifies(&public(&example), &changed), "{name}");
    }
}

#[test]
fn rfc7520_examples_by_other_algorithms_or_forms_are_refused() {
    for name in [
        "4_3.ecdsa_signature",
        "4_4.hmac-sha2_integrity_protection",
        "4_5.signature_with_detached_content",
        "4_6.protecting_specific_header_fields",
        "4_7.protecting_content_only",
        "4_8.multiple_signatures",
    ] {
        let example = rfc7520(name);
        let outputs = example["output"].as_object().unwrap();
        assert!(!outputs.is_empty());
        let keys = match &example["input"]["key"] {
            Value::Array(keys) => json!({ "keys": keys }),
            key => key.clone(),
        };
        for (form, output) in outputs {
            let text = output
                .as_str()
                .map_or_else(|| output.to_string(), Into::into);
            assert!(!verifies(&keys, &text), "{name} {form}");
            assert_refused_by_the_gate(&keys, &text, &format!("{name} {form}"));
        }
    }
    // JSON serialisations of what would be fine in compact form.
    for name in ["4_1.rsa_v15_signature", "4_2.rsa-pss_signature"] {
        let example = rfc7520(name);
        for form in ["json", "json_flat"] {
            let text = example["output"][form].to_string();
            assert!(!verifies(&public(&example), &text), "{name} {form}");
            assert_refused_by_the_gate(&public(&example), &text, name);
        }
    }
}

#[test]
fn rfc7520_keys_are_taken_or_skipped_as_the_rules_say() {
    for (name, usable) in [
        // P-521
        ("3_1.ec_public_key", false),
        ("3_2.ec_private_key", false),
        ("3_3.rsa_public_key", true),
        ("3_4.rsa_private_key", false),
        ("3_5.symmetric_key_mac_computation", false),
        ("3_6.symmetric_key_encryption", false),
    ] {
        let key = read(&format!("rfc7520/jwk/{name}.json"));
        let set = KeySet::parse(&document(&key), &Algorithm::ALL, &issuers());
        assert_eq!(set.is_ok(), usable, "{name}");
    }
}

const RFC7515_PAYLOAD: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

#[test]
fn rfc7515_appendix_a2_rs256() {
    let key = json!({
        "kty": "RSA",
        "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
        "e": "AQAB",
    });
    let signature = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    let jws = format!("eyJhbGciOiJSUzI1NiJ9.{RFC7515_PAYLOAD}.{signature}");
    assert!(verifies(&key, &jws));
    // Its payload is claims, so the whole parser takes it, too.
    let token = Unverified::parse(jws.as_bytes(), ANY_SIZE).unwrap();
    assert_eq!(token.claims.get("iss").unwrap().as_str(), Some("joe"));
    assert_eq!(token.header.algorithm, Some(Algorithm::RS256));
}

#[test]
fn rfc7515_appendix_a3_es256() {
    let key = json!({
        "kty": "EC",
        "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    });
    let signature =
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    let jws = format!("eyJhbGciOiJFUzI1NiJ9.{RFC7515_PAYLOAD}.{signature}");
    assert!(verifies(&key, &jws));
    let off_curve = json!({"kty": "EC", "crv": "P-256", "x": key["y"], "y": key["x"]});
    assert!(!verifies(&off_curve, &jws));
}

#[test]
fn rfc7515_appendices_of_other_algorithms_are_refused() {
    // A.1 with HS256, A.5 with none, A.6 in JSON form.
    let hs256 = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let secret = json!({
        "kty": "oct",
        "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
    });
    for jws in [
        format!("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{RFC7515_PAYLOAD}.{hs256}"),
        format!("eyJhbGciOiJub25lIn0.{RFC7515_PAYLOAD}."),
        format!(
            r#"{{"payload":"{RFC7515_PAYLOAD}","protected":"eyJhbGciOiJFUzI1NiJ9","signature":"x"}}"#
        ),
    ] {
        assert!(!verifies(&secret, &jws), "{jws}");
        assert_refused_by_the_gate(&secret, &jws, &jws);
    }
    // RFC 7797 §4: an unencoded payload.
    let unencoded = "eyJhbGciOiJIUzI1NiIsImI2NCI6ZmFsc2UsImNyaXQiOlsiYjY0Il19";
    let error = Unverified::parse(format!("{unencoded}.e30.YQ").as_bytes(), ANY_SIZE).unwrap_err();
    assert_eq!(error, Denial::TokenHeaderRefused);
}

#[test]
fn rfc8037_appendix_a4_eddsa() {
    let key = json!({
        "kty": "OKP",
        "crv": "Ed25519",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    });
    let jws = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    assert!(verifies(&key, jws));
    assert!(!verifies(&key, &jws.replace("RXhh", "RXhi")));
    // A.1: with its private half it is an accident and no key.
    let mut private = key;
    private["d"] = json!("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A");
    assert!(!verifies(&private, jws));
}

/// The files are as their origin published them: `sha256sum -c SHA256SUMS`.
#[test]
fn the_vector_files_are_unchanged() {
    let sums = fs::read_to_string(folder().join("SHA256SUMS")).unwrap();
    let mut listed = Vec::new();
    for line in sums.lines() {
        let (sum, path) = line.split_once("  ").unwrap();
        let hash = Sha256::hash(&fs::read(folder().join(path)).unwrap());
        assert_eq!(hex::encode(hash), sum, "{path}");
        listed.push(path);
    }
    // 3 + 14 files and a licence each.
    assert_eq!(listed.len(), 19);
}
