//! Attacks through tokens: how a token is sent, its structure and header, its claims. There is
//! one named test for each, through the whole gate.
//!
//! What is in `integration/scenarios` is not repeated. These tests have the exact limits,
//! further spellings of a defect, and configurations of their own.
//!
//! Each test asserts the exact code of the refusal and, as a control, that the same token
//! without the defect passes, so that no token is refused for another reason.
#![allow(clippy::unwrap_used)]

use crate::common::{
    ALLOWED, Bench, Decided, ISSUER, NOW, Request, Token, accepted, answer, ask, b64, config,
    fetched, gate, hmac, jwk, jwk_with, keys, merge, provider, refused, sign, spki, verdict,
};
use scopegate::authn::token::Unverified;
use scopegate::config::{Config, Environment};
use scopegate::words::denial::{Challenge, Denial};
use serde_json::{Value, json};

fn good() -> String {
    Token::new().build()
}

/// Asserts that a token which is good except for `defect` is refused.
#[track_caller]
fn refuse(defect: &Token, code: &str) {
    refused(&config(), defect, code, &Token::new());
}

/// A token that was put together by hand.
#[track_caller]
fn refuse_text(defect: &str, code: &str) {
    assert_eq!(verdict(&config(), defect), code, "{defect:.200}");
    assert_eq!(verdict(&config(), &good()), ALLOWED);
}

#[track_caller]
fn refuse_authorization(values: &[&[u8]], code: &str) {
    let mut request = Request::new();
    for value in values {
        request = request.and("authorization", value);
    }
    assert_eq!(answer(&config(), &request), code, "{values:?}");
    assert_eq!(verdict(&config(), &good()), ALLOWED);
}

// Transport

#[test]
fn no_authorization_is_a_plain_challenge() {
    refuse_authorization(&[], "credential_missing");
    assert_eq!(
        Denial::CredentialMissing.challenge(),
        Some(Challenge::Plain)
    );
}

#[test]
fn another_scheme_is_a_plain_challenge() {
    for value in ["Basic YTpi", "Negotiate YII", "DPoP a.b.c", "", "Token x"] {
        refuse_authorization(&[value.as_bytes()], "scheme_not_supported");
    }
    // Not even with a good token in it: the scheme is anchored at the start.
    let inside = format!("Basic Bearer {}", good());
    refuse_authorization(&[inside.as_bytes()], "scheme_not_supported");
    refuse_authorization(&[good().as_bytes()], "scheme_not_supported");
    assert_eq!(
        Denial::SchemeNotSupported.challenge(),
        Some(Challenge::Plain)
    );
}

#[test]
fn the_scheme_is_case_insensitive() {
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        let value = format!("{scheme} {}", good());
        let request = Request::new().set("authorization", value);
        assert_eq!(answer(&config(), &request), ALLOWED, "{scheme}");
    }
}

#[test]
fn spaces_may_repeat_and_tabs_or_nothing_are_malformed() {
    let request = Request::new().set("authorization", format!("Bearer    {}", good()));
    assert_eq!(answer(&config(), &request), ALLOWED);
    let tab = format!("Bearer\t{}", good());
    let space_tab = format!("Bearer \t{}", good());
    let glued = format!("Bearer={}", good());
    for value in ["Bearer", "Bearer ", "Bearer    ", &tab, &space_tab, &glued] {
        refuse_authorization(&[value.as_bytes()], "authorization_malformed");
    }
    assert_eq!(
        Denial::AuthorizationMalformed.challenge(),
        Some(Challenge::InvalidRequest)
    );
}

#[test]
fn two_authorizations_are_refused_apart_and_joined() {
    let one = format!("Bearer {}", good());
    // Twice the same, and either order of a good and another one.
    refuse_authorization(&[one.as_bytes(), one.as_bytes()], "credential_repeated");
    refuse_authorization(&[one.as_bytes(), b"Basic YTpi"], "credential_repeated");
    refuse_authorization(&[b"Basic YTpi", one.as_bytes()], "credential_repeated");
    refuse_authorization(&[one.as_bytes(), b""], "credential_repeated");
    // As a proxy joins them.
    for joined in [
        format!("{one},{one}"),
        format!("{one}, Basic YTpi"),
        format!("{one},"),
        format!("Bearer ,{}", good()),
    ] {
        refuse_authorization(&[joined.as_bytes()], "credential_repeated");
    }
    assert_eq!(
        Denial::CredentialRepeated.challenge(),
        Some(Challenge::InvalidRequest)
    );
}

#[test]
fn a_token_in_header_and_query_is_two_credentials() {
    for query in [
        "access_token=x",
        "a=b&access_token=",
        "%61ccess%5ftoken=x",
        "a=1;access_token=x",
    ] {
        let path = format!("/loki/api/v1/query?{query}");
        let request = Request::bearing(&good()).set(":path", path);
        assert_eq!(
            answer(&config(), &request),
            "credential_repeated",
            "{query}"
        );
    }
    let control = Request::bearing(&good()).set(":path", "/loki/api/v1/query?xaccess_token=x");
    assert_eq!(answer(&config(), &control), ALLOWED);
}

#[test]
fn a_token_in_the_query_alone_is_no_credential() {
    let path = format!("/loki/api/v1/query?access_token={}", good());
    let request = Request::new().set(":path", path);
    assert_eq!(answer(&config(), &request), "token_in_query");
    assert_eq!(Denial::TokenInQuery.challenge(), Some(Challenge::Plain));
    assert_eq!(verdict(&config(), &good()), ALLOWED);
}

#[test]
fn a_byte_outside_the_alphabet_is_refused_wherever_it_stands() {
    let good = good();
    let middle = good.len() / 2;
    for stray in [
        &b" "[..],
        b"\t",
        b"\r\n",
        b"\n",
        b"\0",
        b"\x7f",
        b"\xff",
        "é".as_bytes(),
        b"+",
        b"/",
        b"=",
        b"\"",
        b"%2E",
    ] {
        for place in [0, 1, middle, good.len()] {
            // A space or tab at the beginning belongs to the frame: row T4.
            if place == 0 && matches!(stray, b" " | b"\t") {
                continue;
            }
            let (before, after) = good.as_bytes().split_at(place);
            let token = [b"Bearer ", before, stray, after].concat();
            refuse_authorization(&[&token], "token_malformed");
        }
    }
}

#[test]
fn a_token_over_the_limit_is_refused_before_it_is_read() {
    let filler = |bytes: usize| Token::new().claim("filler", "x".repeat(bytes)).build();
    // The default is 16 KiB.
    let long = filler(12_200);
    assert!(long.len() > 16_384 && long.len() < 17_000);
    refuse_text(&long, "token_too_large");
    let fits = filler(11_000);
    assert!(fits.len() > 15_000 && fits.len() < 16_384);
    assert_eq!(verdict(&config(), &fits), ALLOWED);
    // Exactly at the limit, and one byte beyond.
    let mut config = config();
    config["limits"] = json!({"token_bytes": good().len()});
    assert_eq!(verdict(&config, &good()), ALLOWED);
    config["limits"] = json!({"token_bytes": good().len() - 1});
    assert_eq!(verdict(&config, &good()), "token_too_large");
    // Junk of that size is not even scanned.
    refuse_text(&"!".repeat(100_000), "token_too_large");
}

#[test]
fn a_hundred_thousand_dots_are_refused() {
    refuse_text(&".".repeat(100_000), "token_too_large");
    refuse_text(&".".repeat(16_000), "token_malformed");
    for parts in ["", ".", "..", "...", "a.b", "a.b.c.d", "....."] {
        let token = format!("x{parts}");
        refuse_text(&token, "token_malformed");
    }
}

#[test]
fn trust_headers_of_the_client_never_pass() {
    let request = Request::bearing(&good())
        .and("x_scope_orgid", "b")
        .and("x-scope-userid", "root")
        .and("x-scopegate-backend", "tempo")
        .and("x-scopegate-subject", "root")
        .and("x-mimir-anything", "1")
        .and("x-grafana-id", "1");
    let Decided::Allowed { tenants, edits } = ask(&mut gate(&config()), &request) else {
        panic!("a stray header is removed, not refused");
    };
    assert_eq!(tenants, b"a");
    let removed = |name: &str| edits.contains(&(name.to_owned(), None));
    for name in [
        "authorization",
        "x_scope_orgid",
        "x-scope-userid",
        "x-scopegate-backend",
        "x-scopegate-subject",
        "x-mimir-anything",
        "x-grafana-id",
    ] {
        assert!(removed(name), "{name} in {edits:?}");
    }
    // What the gate sets comes after what it removes.
    for (name, value) in [
        ("x-scopegate-backend", "loki"),
        ("x-scopegate-subject", "alice"),
    ] {
        let set = edits
            .iter()
            .position(|edit| *edit == (name.into(), Some(value.into())));
        let removal = edits.iter().position(|edit| *edit == (name.into(), None));
        assert!(set > removal, "{name} in {edits:?}");
    }
    // The tenant header itself is a question, not a claim: b is answered like any.
    let foreign = Request::bearing(&good()).set("x-scope-orgid", "c");
    assert_eq!(answer(&config(), &foreign), "tenant_not_granted");
}

// Structure and header

#[test]
fn only_allowed_algorithm_names_in_their_exact_case() {
    for alg in [
        json!({"ES256": 1}),
        json!(256),
        json!(true),
        json!("Es256"),
        json!("ES256 "),
        json!(""),
        json!("ES256K"),
        json!("Ed25519"),
        json!("ML-DSA-44"),
        json!("HS256"),
    ] {
        refuse(&Token::new().header("alg", alg), "algorithm_not_allowed");
    }
    // Known to the gate, and not in this provider's list.
    for alg in ["RS384", "PS256", "ES384"] {
        refuse(&Token::new().header("alg", alg), "algorithm_not_allowed");
    }
}

#[test]
fn a_public_key_is_never_a_shared_secret() {
    let config = keys(&[jwk("rsa-a"), jwk("p256-a")], &["RS256", "ES256"]);
    let jwk = jwk("rsa-a");
    let (der, pem) = spki("rsa-a");
    for alg in ["HS384", "HS512"] {
        let token = Token::new().header("kid", "rsa-a").header("alg", alg);
        for secret in [&der, pem.as_bytes(), jwk.to_string().as_bytes(), b""] {
            let mac = hmac(secret, alg, token.signing_input().as_bytes());
            let forged = token.with_signature(&mac);
            assert_eq!(verdict(&config, &forged), "algorithm_not_allowed", "{alg}");
        }
    }
    accepted(&config, &Token::new().by("rsa-a", "RS256"));
}

#[test]
fn pkcs1_and_pss_never_share_a_key() {
    let both = ["RS256", "PS256"];
    let rs = keys(&[jwk_with("rsa-a", json!({"alg": "RS256"}))], &both);
    let rs_token = Token::new().by("rsa-a", "RS256");
    // The header says what the key expects, the signature is of the other kind.
    let forged = Token::new()
        .by("rsa-a", "RS256")
        .forged_by("rsa-a", "PS256");
    refused(&rs, &forged, "signature_invalid", &rs_token);
    // Other hashes are other algorithms, too.
    let forged = Token::new()
        .by("rsa-a", "RS256")
        .forged_by("rsa-a", "RS384");
    refused(&rs, &forged, "signature_invalid", &rs_token);
}

#[test]
fn a_curve_is_for_one_algorithm() {
    let config = keys(&[jwk("p256-a"), jwk("p384-a")], &["ES256", "ES384"]);
    accepted(&config, &Token::new().by("p384-a", "ES384"));
    let wrong = Token::new().header("alg", "ES384");
    refused(&config, &wrong, "key_algorithm_mismatch", &Token::new());
}

#[test]
fn a_key_in_the_token_is_refused_in_any_form() {
    // Signed by the very key it brings along.
    let own = Token::new()
        .header("jwk", jwk("p256-stranger"))
        .forged_by("p256-stranger", "ES256");
    refuse(&own, "token_header_refused");
    for value in [json!(null), json!([]), json!({})] {
        refuse(&Token::new().header("jwk", value), "token_header_refused");
    }
}

#[test]
fn key_addresses_are_not_trusted() {
    let token = Token::new()
        .header("jku", "https://evil.example/keys")
        .header("x5u", "http://169.254.169.254/");
    refuse(
        &token.forged_by("p256-stranger", "ES256"),
        "signature_invalid",
    );
}

#[test]
fn certificates_are_not_trusted() {
    let token = Token::new()
        .header("x5c", json!(["MIIB"]))
        .header("x5t", "dGh1bWI")
        .header("x5t#S256", "dGh1bWI");
    refuse(
        &token.forged_by("p256-stranger", "ES256"),
        "signature_invalid",
    );
}

#[test]
fn crit_in_any_form_is_refused() {
    for crit in [
        json!(["unknown"]),
        json!(["b64", "b64"]),
        json!(["alg"]),
        json!("exp"),
        json!({}),
        json!(false),
    ] {
        refuse(&Token::new().header("crit", crit), "token_header_refused");
    }
}

#[test]
fn b64_is_refused_with_and_without_crit() {
    for b64 in [json!(false), json!(true), json!(null)] {
        let token = Token::new().header("b64", b64);
        let token = token.header("crit", json!(["b64"]));
        refuse(&token, "token_header_refused");
    }
    refuse(
        &Token::new().header("b64", json!(null)),
        "token_header_refused",
    );
}

#[test]
fn encrypted_and_compressed_tokens_are_refused() {
    for name in ["enc", "zip"] {
        refuse(
            &Token::new().header(name, json!(null)),
            "token_header_refused",
        );
    }
}

#[test]
fn nested_tokens_are_refused() {
    for cty in [
        json!("JWT"),
        json!("jwt"),
        json!("at+jwt"),
        json!(1),
        json!(null),
        json!(["JWT"]),
    ] {
        refuse(&Token::new().header("cty", cty), "token_header_refused");
    }
    // The payload is itself a token.
    let inner = Token::new().build();
    refuse(&Token::new().raw_claims(inner), "token_malformed");
    accepted(&config(), &Token::new().header("cty", "json"));
}

#[test]
fn json_serialisations_are_refused() {
    let good = good();
    let parts: Vec<&str> = good.split('.').collect();
    let flat = json!({"protected": parts[0], "payload": parts[1], "signature": parts[2]});
    let general = json!({
        "payload": parts[1],
        "signatures": [{"protected": parts[0], "signature": parts[2]}],
    });
    for text in [flat.to_string(), general.to_string()] {
        let request = Request::new().set("authorization", format!("Bearer {text}"));
        // Their commas already look like two credentials.
        assert_eq!(answer(&config(), &request), "credential_repeated");
        let error = Unverified::parse(text.as_bytes(), 16_384).unwrap_err();
        assert_eq!(error, Denial::TokenMalformed);
    }
    refuse_text(r#"{"payload":"e30"}"#, "token_malformed");
}

#[test]
fn duplicate_names_are_refused_at_any_depth() {
    for twin in [
        r#"{"alg":"ES256","#,
        r#"{"x":{"y":1,"y":2},"#,
        r#"{"x":[{"y":{"z":1,"\u007a":2}}],"#,
        r#"{"ki\u0064":"p256-a","#,
    ] {
        refuse(&Token::new().header_text("{", twin), "token_malformed");
    }
}

#[test]
fn a_header_or_payload_that_is_no_object_is_refused() {
    for header in [r#""ES256""#, "1", "null", "true", "[]"] {
        refuse(&Token::new().raw_header(header), "token_malformed");
    }
    for claims in [r#"["ES256"]"#, "1", "null", "true"] {
        refuse(&Token::new().raw_claims(claims), "token_malformed");
    }
    refuse_text("..", "token_malformed");
}

#[test]
fn kid_must_be_a_string() {
    for kid in [json!(["p256-a"]), json!({}), json!(true)] {
        refuse(&Token::new().header("kid", kid), "token_malformed");
    }
}

#[test]
fn kid_is_opaque_and_bounded() {
    for kid in ["' OR 1=1 --", "p256-a ", "http://evil.example/key"] {
        refuse(&Token::new().header("kid", kid), "unknown_key");
    }
    // What is empty is not there, here as in keys.
    let nameless = keys(&[jwk("p256-a")], &["ES256"]);
    refused(
        &nameless,
        &Token::new().by("p256-b", "ES256").header("kid", ""),
        "unknown_key",
        &Token::new().header("kid", ""),
    );
    refuse(&Token::new().header("kid", "k".repeat(256)), "unknown_key");
    // What real providers use is a name like any other: Cognito's have + / =.
    let odd = "aB+/c==\u{e9}|\"";
    let config = keys(&[jwk_with("p256-a", json!({"kid": odd}))], &["ES256"]);
    refused(
        &config,
        &Token::new().header("kid", "aB+/c=="),
        "unknown_key",
        &Token::new().header("kid", odd),
    );
}

#[test]
fn without_kid_one_key_per_algorithm_is_still_one() {
    let token = Token::new().without_header("kid");
    let mixed = keys(&[jwk("p256-a"), jwk("rsa-a")], &["ES256", "RS256"]);
    accepted(&mixed, &token);
}

#[test]
fn two_keys_under_one_kid_and_algorithm_are_none() {
    let twin = jwk_with("p256-b", json!({"kid": "p256-a"}));
    let document = crate::common::jwks(&[jwk("p256-a"), twin.clone(), jwk("p256-b")]);
    let mut gate = gate(&fetched(json!({})));
    gate.give(0, &document, 10).unwrap();
    let ask = |gate: &mut Bench, token: &Token| {
        crate::common::ask_at(gate, &Request::bearing(&token.build()), 20).code()
    };
    // Neither is used; what the newest set lacks may be in a newer one.
    assert_eq!(ask(&mut gate, &Token::new()), "waits for a key");
    assert_eq!(ask(&mut gate, &Token::new().by("p256-b", "ES256")), ALLOWED);
    // Under one kid with different types, the algorithm tells.
    let other_type = jwk_with("rsa-a", json!({"kid": "p256-a"}));
    let config = keys(&[jwk("p256-a"), other_type], &["ES256", "RS256"]);
    accepted(&config, &Token::new());
    let by_rsa = Token::new().by("rsa-a", "RS256").header("kid", "p256-a");
    accepted(&config, &by_rsa);
    // Inline, the operator is told.
    let config = keys(&[jwk("p256-a"), twin, jwk("p256-b")], &["ES256"]);
    let text = config.to_string();
    let problems = Config::parse(text.as_bytes(), &Environment::default()).unwrap_err();
    assert!(problems[0].text.contains("duplicate_kid"), "{problems:?}");
}

#[test]
fn typ_is_an_allow_list() {
    for typ in [
        "application/logout+jwt",
        "text/jwt",
        "application/application/jwt",
        "JWT ",
        "id+jwt",
    ] {
        refuse(&Token::new().header("typ", typ), "token_type_refused");
    }
    for typ in [json!(null), json!(["JWT"])] {
        refuse(&Token::new().header("typ", typ), "token_malformed");
    }
    accepted(&config(), &Token::new().header("typ", "Application/JWT"));
}

#[test]
fn an_ecdsa_signature_is_r_and_s_of_full_length_in_range() {
    let token = Token::new();
    let sound = sign("p256-a", "ES256", token.signing_input().as_bytes());
    let order = {
        let mut order = [0xff; 32];
        order[4..8].fill(0);
        order[16..].copy_from_slice(&[
            0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63,
            0x25, 0x51,
        ]);
        order
    };
    let (r, s) = sound.split_at(32);
    for signature in [
        [r, &[0; 32]].concat(),
        [&[0; 32], s].concat(),
        [&order[..], s].concat(),
        [r, &order[..]].concat(),
        [&order[..], &order[..]].concat(),
        vec![0xff; 64],
        [&[0], &sound[..]].concat(),
        sound[..63].to_vec(),
        sound[..32].to_vec(),
        [s, r].concat(),
        vec![0],
    ] {
        let forged = token.with_signature(&signature);
        assert_eq!(
            verdict(&config(), &forged),
            "signature_invalid",
            "{signature:?}"
        );
    }
    assert_eq!(verdict(&config(), &token.with_signature(&sound)), ALLOWED);
}

#[test]
fn only_canonical_base64url() {
    let good = good();
    let parts: Vec<&str> = good.split('.').collect();
    for (position, part) in parts.iter().enumerate() {
        let spoil = |text: String| {
            let mut parts = parts.clone();
            parts[position] = &text;
            refuse_text(&parts.join("."), "token_malformed");
        };
        spoil(format!("{part}="));
        spoil(format!("{part}=="));
        spoil(format!("+{}", &part[1..]));
        spoil(format!("/{}", &part[1..]));
        // A length that no bytes encode to.
        let whole = part.len() / 4 * 4;
        spoil(format!("{}A", &part[..whole]));
    }
    // The last character of the signature carries four bits that must be zero.
    let last = good.as_bytes()[good.len() - 1];
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let value = alphabet.iter().position(|byte| *byte == last).unwrap();
    assert_eq!(value % 16, 0);
    for bits in 1..16 {
        let twin = char::from(alphabet[value + bits]);
        refuse_text(
            &format!("{}{twin}", &good[..good.len() - 1]),
            "token_malformed",
        );
    }
}

#[test]
fn the_header_has_a_limit_of_its_own() {
    let fill = |bytes: usize| Token::new().header("x", "x".repeat(bytes));
    let length = |token: &Token| token.signing_input().find('.').unwrap();
    let most = fill(1_487);
    assert_eq!(length(&most), 2_048);
    accepted(&config(), &most);
    let more = fill(1_488);
    assert!(length(&more) > 2_048);
    refuse(&more, "token_malformed");
}

#[test]
fn what_parsers_could_read_differently_is_no_json() {
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    for member in [
        r#""x":Infinity"#.to_owned(),
        r#""x":01"#.to_owned(),
        r#""x":+1"#.to_owned(),
        r#""x":"\udc00\ud800""#.to_owned(),
        "\"x\":\"\u{1}\"".to_owned(),
        r#""x":'y'"#.to_owned(),
        r#""x":1,"#.to_owned(),
        format!("\"x\":{}", nested(16)),
    ] {
        let text = format!("{{{member},");
        refuse(&Token::new().header_text("{", &text), "token_malformed");
        refuse(&Token::new().claims_text("{", &text), "token_malformed");
    }
    // The scenarios have these in a payload.
    for member in [
        r#""x":1e400"#.to_owned(),
        r#""x":NaN"#.to_owned(),
        r#""x":"\ud800""#.to_owned(),
        "/**/\"x\":1".to_owned(),
        format!("\"x\":{}", nested(129)),
    ] {
        let text = format!("{{{member},");
        refuse(&Token::new().header_text("{", &text), "token_malformed");
    }
    for (before, after) in [
        ("\u{feff}", ""),
        ("", " x"),
        ("", "{}"),
        ("", "\0"),
        ("", "]"),
    ] {
        let text = format!("{before}{}{after}", r#"{"alg":"ES256","kid":"p256-a"}"#);
        refuse(&Token::new().raw_header(text), "token_malformed");
    }
    // White space around an object is JSON, and so are fifteen levels in it.
    accepted(&config(), &Token::new().header_text("{", " {\n "));
    accepted(
        &config(),
        &Token::new().claim("x", serde_json::from_str::<Value>(&nested(15)).unwrap()),
    );
    // Bytes that are not UTF-8.
    let header = b64(b"{\"alg\":\"ES256\",\"x\":\"\xff\"}");
    refuse_text(&format!("{header}.e30.YQ"), "token_malformed");
}

// Claims

#[test]
fn dates_of_another_type_are_never_skipped() {
    for name in ["exp", "nbf", "iat"] {
        for value in [json!({}), json!("")] {
            refuse(&Token::new().claim(name, value), "token_malformed");
        }
    }
    for name in ["nbf", "iat"] {
        for value in [json!(null), json!(true), json!([NOW])] {
            refuse(&Token::new().claim(name, value), "token_malformed");
        }
    }
}

#[test]
fn fractions_of_seconds_are_rounded_down() {
    for (claims, code) in [
        (format!("\"exp\":{}.9", NOW - 60), "token_expired"),
        (format!("\"exp\":{}.0", NOW - 59), ALLOWED),
        (format!("\"exp\":{}.5e1", (NOW + 300) / 10), ALLOWED),
    ] {
        let from = format!("\"exp\":{}", NOW + 300);
        let token = Token::new().claims_text(&from, &claims).build();
        assert_eq!(verdict(&config(), &token), code, "{claims}");
    }
}

#[test]
fn negative_dates_are_malformed() {
    for name in ["exp", "nbf", "iat"] {
        for value in [json!(-0.5), json!(i64::MIN), json!(-1e300)] {
            refuse(&Token::new().claim(name, value), "token_malformed");
        }
    }
    for (name, value) in [
        ("exp", json!(-1.5)),
        ("nbf", json!(-1)),
        ("iat", json!(-1)),
        ("iat", json!(-1.5)),
    ] {
        refuse(&Token::new().claim(name, value), "token_malformed");
    }
}

#[test]
fn huge_dates_are_legal_unless_a_lifetime_is_configured() {
    let bounded = provider(json!({"max_lifetime": "24h"}));
    for exp in [
        json!(10_000_000_000_u64),
        json!(1e300),
        json!(u64::MAX),
        json!(1.9e19),
    ] {
        let token = Token::new().claim("exp", exp);
        refused(&bounded, &token, "lifetime_too_long", &Token::new());
    }
    for exp in [json!(u64::MAX), json!(1.9e19)] {
        accepted(&config(), &Token::new().claim("exp", exp));
    }
    // Not by leaving iat out, and by exp - iat where it is there.
    let day = 24 * 3600;
    let without = Token::new().without("iat");
    let long = without.clone().claim("exp", NOW + day + 61);
    refused(
        &bounded,
        &long,
        "lifetime_too_long",
        &without.claim("exp", NOW + day),
    );
    let old = Token::new()
        .claim("iat", NOW - day + 100)
        .claim("exp", NOW + 101);
    let fits = Token::new()
        .claim("iat", NOW - day + 100)
        .claim("exp", NOW + 100);
    refused(&bounded, &old, "lifetime_too_long", &fits);
    // A future so far that adding to it would wrap.
    for name in ["nbf", "iat"] {
        let code = if name == "nbf" {
            "token_not_yet_valid"
        } else {
            "issued_in_future"
        };
        refuse(&Token::new().claim(name, u64::MAX), code);
    }
}

#[test]
fn a_token_is_expired_on_the_very_second() {
    // The default skew is 60 seconds.
    for (exp, code) in [(NOW - 60, "token_expired"), (NOW - 59, ALLOWED)] {
        let token = Token::new()
            .claim("exp", exp)
            .claim("iat", NOW - 600)
            .build();
        assert_eq!(verdict(&config(), &token), code, "{exp}");
    }
    for (nbf, code) in [(NOW + 60, ALLOWED), (NOW + 61, "token_not_yet_valid")] {
        let token = Token::new().claim("nbf", nbf).build();
        assert_eq!(verdict(&config(), &token), code, "{nbf}");
    }
    let strict = provider(json!({"clock_skew": "0s"}));
    for (exp, code) in [(NOW, "token_expired"), (NOW + 1, ALLOWED)] {
        let token = Token::new().claim("exp", exp).build();
        assert_eq!(verdict(&strict, &token), code, "{exp}");
    }
}

#[test]
fn iat_in_the_future_is_refused_beyond_the_skew() {
    for (iat, code) in [
        (NOW, ALLOWED),
        (NOW + 60, ALLOWED),
        (NOW + 61, "issued_in_future"),
    ] {
        let token = Token::new().claim("iat", iat).build();
        assert_eq!(verdict(&config(), &token), code, "{iat}");
    }
}

#[test]
fn iss_is_one_exact_string() {
    for iss in [
        json!(null),
        json!(1),
        json!({}),
        json!(format!(" {ISSUER}")),
        json!(ISSUER.replace("https", "http")),
        json!(ISSUER.replace(".com", ".com:443")),
        json!("https"),
        json!(format!("{ISSUER}\0")),
    ] {
        refuse(&Token::new().claim("iss", iss), "issuer_unknown");
    }
}

/// Two providers: `corporate` with p256-a, `partner` with p256-b under `kid`.
fn two_providers(kid: &str) -> Value {
    let mut config = config();
    config["providers"][0]["shared_groups"] = json!(true);
    let partner = json!({
        "name": "partner",
        "shared_groups": true,
        "issuer": "https://partner.example",
        "audiences": ["observability"],
        "jwks": {"inline": {"keys": [jwk_with("p256-b", json!({"kid": kid}))]}},
    });
    config["providers"].as_array_mut().unwrap().push(partner);
    config
}

#[test]
fn a_key_is_good_for_its_own_issuer_only() {
    let partner = Token::new()
        .by("p256-b", "ES256")
        .claim("iss", "https://partner.example");
    let mixed = Token::new().by("p256-b", "ES256");
    refused(&two_providers("p256-b"), &mixed, "unknown_key", &partner);
    // Without kid, each key that may have signed is tried, and none has.
    let config = two_providers("p256-a");
    let mixed = mixed.without_header("kid");
    refused(&config, &mixed, "unknown_key", &Token::new());
}

#[test]
fn an_entra_template_is_no_issuer_and_its_keys_name_theirs() {
    let entra = "https://login.microsoftonline.com/1d0e9f0c-6a3b-4a8e-9f6e-2f2f6c1f8a11/v2.0";
    let template = "https://login.microsoftonline.com/{tenantid}/v2.0";
    let text = provider(json!({"issuer": template})).to_string();
    let problems = Config::parse(text.as_bytes(), &Environment::default()).unwrap_err();
    assert_eq!(problems[0].place, "providers[0].issuer");
    assert!(problems[0].text.contains("one provider per exact issuer"));
    // One exact tenant; another tenant of the same Entra is nobody.
    let with_issuer = |issuer: &str| {
        let key = jwk_with("p256-a", json!({"issuer": issuer}));
        let mut config = provider(json!({"issuer": entra}));
        config["providers"][0]["jwks"]["inline"]["keys"] = json!([key, jwk("p256-b")]);
        config
    };
    let other = entra.replace("1d0e", "2d0e");
    let token = Token::new().claim("iss", entra);
    let foreign = Token::new().claim("iss", other.clone());
    refused(&with_issuer(template), &foreign, "issuer_unknown", &token);
    accepted(&with_issuer(entra), &token);
    let foreign = Token::new().claim("iss", template);
    refused(&with_issuer(template), &foreign, "issuer_unknown", &token);
    // A key that Entra publishes for another tenant is not one of ours.
    let text = with_issuer(&other).to_string();
    let problems = Config::parse(text.as_bytes(), &Environment::default()).unwrap_err();
    assert!(problems[0].text.contains("foreign_issuer"), "{problems:?}");
}

#[test]
fn one_audience_must_be_ours() {
    for aud in [
        json!("observability "),
        json!("observability,loki"),
        json!(["loki", "mimir"]),
        json!({"observability": 1}),
        // Half a list is no list.
        json!(["observability", 1]),
        json!(["observability", null]),
    ] {
        refuse(&Token::new().claim("aud", aud), "audience_mismatch");
    }
    let several = provider(json!({"audiences": ["x", "loki"]}));
    refused(
        &several,
        &Token::new(),
        "audience_mismatch",
        &Token::new().claim("aud", "loki"),
    );
    // Cognito's access tokens have none: switched off by name only.
    let off = provider(json!({"audiences": null, "audience_check": "off"}));
    accepted(&off, &Token::new().without("aud"));
    accepted(&off, &Token::new().claim("aud", "anything"));
}

#[test]
fn the_client_must_be_on_the_list() {
    let config = provider(json!({"clients": ["grafana", "alloy"]}));
    for name in ["azp", "appid", "cid", "client_id"] {
        let control = Token::new().claim(name, "grafana");
        for client in [
            json!("evil"),
            json!("Grafana"),
            json!(1),
            json!(["grafana"]),
            json!(""),
        ] {
            let defect = Token::new().claim(name, client);
            refused(&config, &defect, "client_not_allowed", &control);
        }
    }
    accepted(&config, &Token::new().claim("azp", "alloy"));
    accepted(&crate::common::config(), &Token::new().claim("azp", "evil"));
}

#[test]
fn an_id_token_is_taken_where_it_is_accepted() {
    let ids = [("typ", "ID"), ("typ", "id"), ("token_use", "id")];
    let id_only = provider(json!({"accept": ["id"]}));
    let both = provider(json!({"accept": ["access", "id"]}));
    for (name, value) in ids {
        let id = Token::new().claim(name, value);
        accepted(&id_only, &id);
        accepted(&both, &id);
        refused(&id_only, &Token::new(), "token_kind_refused", &id);
    }
    accepted(&both, &Token::new());
    refuse(&Token::new().claim("typ", "id"), "token_kind_refused");
}

#[test]
fn tokens_of_other_kinds_are_refused() {
    let both = provider(json!({"accept": ["access", "id"]}));
    for (name, value) in [
        ("typ", json!("Refresh")),
        ("typ", json!("Offline")),
        ("typ", json!("Logout")),
        ("typ", json!(1)),
        ("typ", json!(null)),
        ("token_use", json!("refresh")),
        ("token_use", json!(["access"])),
        (
            "events",
            json!({"http://schemas.openid.net/event/backchannel-logout": {}}),
        ),
        ("events", json!(null)),
    ] {
        let token = Token::new().claim(name, value);
        refused(&both, &token, "token_kind_refused", &Token::new());
    }
    for (name, value) in [
        ("typ", json!(1)),
        ("typ", json!(null)),
        ("token_use", json!("refresh")),
        ("token_use", json!(["access"])),
        ("events", json!(null)),
    ] {
        refuse(&Token::new().claim(name, value), "token_kind_refused");
    }
}

#[test]
fn the_subject_is_short_text_without_control_characters() {
    for sub in [
        json!(null),
        json!(["alice"]),
        json!("a\u{7f}"),
        json!(""),
        json!("a".repeat(1_025)),
    ] {
        refuse(&Token::new().claim("sub", sub), "subject_invalid");
    }
    accepted(&config(), &Token::new().claim("sub", "a".repeat(1_024)));
    // The first that says something.
    let paths = provider(json!({"claims": {"subject": [["oid"], ["sub"]]}}));
    let mut gate = gate(&paths);
    for (oid, subject) in [
        (json!("o"), "o"),
        (json!(""), "alice"),
        (json!(null), "alice"),
        // What cannot be used is as good as none.
        (json!("a\nb"), "alice"),
        (json!("J\u{fc}rgen"), "J%C3%BCrgen"),
        (json!("J%C3%BCrgen"), "J%25C3%25BCrgen"),
        (json!(" a "), "%20a%20"),
    ] {
        let token = Token::new().claim("oid", oid).build();
        let Decided::Allowed { edits, .. } = ask(&mut gate, &Request::bearing(&token)) else {
            panic!("{subject}");
        };
        let set = ("x-scopegate-subject".to_owned(), Some(subject.to_owned()));
        assert!(edits.contains(&set), "{edits:?}");
    }
}

#[test]
fn duplicate_claims_are_refused() {
    for twin in [
        r#"{"x":1,"x":1,"#,
        r#"{"realm_access":{"roles":[],"roles":["a"]},"#,
    ] {
        refuse(&Token::new().claims_text("{", twin), "token_malformed");
    }
    // jti and nonce are text.
    refuse(&Token::new().claim("nonce", 1), "token_malformed");
    for name in ["jti", "nonce"] {
        accepted(&config(), &Token::new().claim(name, "1"));
    }
}

#[test]
fn overage_is_not_an_empty_list() {
    let token = Token::new().without("groups");
    refuse(&token.clone().claim("hasgroups", "true"), "groups_overage");
    refuse(&token, "tenant_not_granted");
}

#[test]
fn an_unverified_email_authorises_nobody() {
    let mut config = provider(json!({
        "claims": {"groups": [{"path": ["email"], "prefix": "email:"}]}
    }));
    let viewers = json!(["email:alice@example.com"]);
    merge(
        &mut config["organizations"][0]["rbac"],
        json!({ "viewers": viewers }),
    );
    let token = Token::new().claim("email", "alice@example.com");
    let verified = token.clone().claim("email_verified", true);
    for unverified in [
        token.clone(),
        token.clone().claim("email_verified", false),
        token.clone().claim("email_verified", json!(null)),
        token.clone().claim("email_verified", 1),
        token.clone().claim("email_verified", "True"),
        token.clone().claim("email_verified", "false"),
    ] {
        refused(&config, &unverified, "tenant_not_granted", &verified);
    }
    // Some providers write it as a text.
    accepted(&config, &token.claim("email_verified", "true"));
}

#[test]
fn too_many_too_long_or_too_deep_claims_are_refused() {
    let many = |count: usize| Token::new().claim("groups", json!(vec!["readers"; count]));
    let mut wide = config();
    wide["limits"] = json!({"token_bytes": 49_152});
    refused(&wide, &many(2_049), "groups_over_limit", &many(2_048));
    let long = |bytes: usize| Token::new().claim("groups", json!(["readers", "g".repeat(bytes)]));
    accepted(&config(), &long(512));
    let ten_thousand = Token::new().claim("groups", json!(vec!["r"; 10_000]));
    refuse(&ten_thousand, "token_too_large");
    let deep = format!("{{\"x\":{}1{},", "{\"y\":".repeat(16), "}".repeat(16));
    refuse(&Token::new().claims_text("{", &deep), "token_malformed");
}

#[test]
fn claim_values_are_never_taken_apart() {
    let mut config = config();
    merge(
        &mut config["organizations"][0]["rbac"],
        json!({"viewers": ["readers", "team/a", "x|y"]}),
    );
    for group in [
        json!("other|readers"),
        json!("readers|other"),
        json!("readers\r\n"),
        json!("readers\n"),
        json!("../readers"),
        json!("/readers"),
        json!("readers,other"),
        json!("other readers"),
        json!("READERS"),
        json!("x"),
        json!({"readers": true}),
        json!([["readers"]]),
        json!(null),
    ] {
        for groups in [group.clone(), json!([group])] {
            let defect = Token::new().claim("groups", groups);
            refused(&config, &defect, "tenant_not_granted", &Token::new());
        }
    }
    accepted(&config, &Token::new().claim("groups", json!(["x|y"])));
    // The tenant header has its own alphabet, whatever the token says.
    for tenant in ["a\r\n", "a/b", "a,b", "..", "a|", "a|..", "a:x", "a b"] {
        let request = Request::bearing(&good()).set("x-scope-orgid", tenant);
        assert_eq!(answer(&config, &request), "tenant_malformed", "{tenant:?}");
    }
}

#[test]
fn bound_tokens_are_refused_where_configured() {
    let strict = provider(json!({"reject_bound_tokens": true}));
    for cnf in [
        json!({"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}),
        json!(null),
    ] {
        let bound = Token::new().claim("cnf", cnf);
        refused(&strict, &bound, "bound_token", &Token::new());
        accepted(&config(), &bound);
    }
}

#[test]
fn a_bearer_token_may_be_used_again() {
    let mut gate = gate(&config());
    let request = Request::bearing(&Token::new().claim("jti", "1").build());
    for _ in 0..3 {
        assert_eq!(ask(&mut gate, &request).code(), ALLOWED);
    }
    assert_eq!(gate.cached_tokens(), 1);
}
