//! Where the gate and `jwt_authn` differ, and why.
//!
//! A difference describes pairs of key set and token, independent of their verdicts. The test fails on a pair that
//! the two judge differently and that no difference describes. It also fails on a difference that was never the only
//! one to describe such a pair.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use serde_json::{Map, Value};

use crate::documents::{Frame, Published, padded};
use crate::tokens::{AUDIENCE, Credential, Pair, SKEW, Shape, Writing};

/// One way in which they differ.
pub struct Difference {
    /// What characterises such a pair.
    pub what: &'static str,
    /// Why that is right.
    pub why: &'static str,
    applies: fn(&Pair) -> bool,
}

impl Difference {
    pub fn applies(&self, pair: &Pair) -> bool {
        (self.applies)(pair)
    }
}

/// What `jwt_authn` lets in and the gate refuses.
pub const ONLY_BY_JWT_AUTHN: &[Difference] = &[
    // ---- the signing key
    Difference {
        what: "a key whose `use` or `key_ops` is not for signatures",
        why: "The provider has said that it signs no tokens with it, and whoever decrypts with it may hold it as well.",
        applies: |pair| pair.signing_key().is_some_and(is_for_something_else),
    },
    Difference {
        what: "a key that is published with private members",
        why: "Everybody who can read the key set can sign with it.",
        applies: |pair| {
            pair.signing_key()
                .is_some_and(|key| has_any(key, &["d", "k"]))
        },
    },
    Difference {
        what: "HS256 with an `oct` key of the set",
        why: "A secret that is published is none.",
        applies: |pair| {
            let mut keys = pair.document.keys.iter();
            text(&pair.header, "alg").starts_with("HS") && keys.any(|key| key.jwk["kty"] == "oct")
        },
    },
    Difference {
        what: "an algorithm that a key without `alg` is not bound to",
        why: "One algorithm a key: an RSA key that names none is for RS256, and a curve has its own. Else the token \
              chooses (RFC 8725 §3.1); `jwt_authn` even verifies ECDSA under the name RS256 or HS256.",
        applies: is_of_another_algorithm,
    },
    Difference {
        what: "a key whose `alg` is no string",
        why: "It says which algorithm it is for, and nobody can tell what it says.",
        applies: |pair| {
            let algorithm = pair.signing_key().and_then(|key| key.get("alg"));
            algorithm.is_some_and(|alg| !alg.is_string() && !alg.is_null())
        },
    },
    Difference {
        what: "an EC key without `crv`, or with an empty one",
        why: "RFC 7518 §6.2.1.1 requires it. `jwt_authn` takes P-256 for granted.",
        applies: |pair| {
            let key = pair.signing_key();
            key.is_some_and(|key| {
                key["kty"] == "EC" && (key.get("crv").is_none() || key["crv"] == "")
            })
        },
    },
    Difference {
        what: "RSA of less than 2,048 bits",
        why: "RFC 7518 §3.3 forbids it, because it can be broken.",
        applies: |pair| number(pair, "n").is_some_and(|n| n.len() < 256),
    },
    Difference {
        what: "a number with two zeros before it",
        why: "One zero is the sign of DER, which some providers leave on. Nobody is known to write two, and a key is \
              not guessed at.",
        applies: |pair| {
            // A coordinate may begin with zeros of its own.
            let most = match signing_text(pair, "crv") {
                "P-256" => 33,
                "P-384" => 49,
                _ => 0,
            };
            let two_zeros = |member: &str| {
                number(pair, member).is_some_and(|n| n.starts_with(&[0, 0]) && n.len() > most)
            };
            ["n", "x", "y"].into_iter().any(two_zeros)
        },
    },
    Difference {
        what: "blanks in the base64url of a key",
        why: "No provider is known to publish them (RFC 7515 §2 forbids them), and a key is not guessed at.",
        applies: |pair| {
            let texts = ["n", "e", "x", "y"].map(|member| signing_text(pair, member));
            texts.iter().any(|text| text.contains(char::is_whitespace))
        },
    },
    Difference {
        what: "a key that names another issuer of the same host",
        why: "Entra publishes keys of several issuers in one document; each is good for its own tokens only.",
        applies: |pair| {
            let theirs = signing_text(pair, "issuer");
            theirs.starts_with("https://idp.example.com/")
                && !theirs.contains("{tenantid}")
                && theirs != text(&pair.claims, "iss")
        },
    },
    Difference {
        what: "ES512, with a key of P-521",
        why: "The gate does not know it; `algorithms` lists what it knows.",
        applies: |pair| {
            text(&pair.header, "alg") == "ES512" && signing_text(pair, "crv") == "P-521"
        },
    },
    // ---- which of the keys
    Difference {
        what: "one ID on two keys of one algorithm",
        why: "Neither can be meant (RFC 7517 §4.5), so the gate takes neither, and says so in its log.",
        applies: has_twin,
    },
    Difference {
        what: "a token that names one key and is signed with another, which has no ID",
        why: "Whoever names a key means that one (RFC 7515 §4.1.4); a key without an ID is tried where none has the \
              name.",
        applies: |pair| {
            let id = text(&pair.header, "kid");
            let mut keys = pair.document.keys.iter();
            let is_of_nobody = pair.signing_key().is_some_and(is_unnamed);
            is_of_nobody && !id.is_empty() && keys.any(|key| key.jwk["kid"] == id)
        },
    },
    Difference {
        what: "a token that names no key and is signed with the fifth that may be meant, or a later one",
        why: "Verifying costs; without a bound every forged token would be tried with every key. OpenID Connect Core \
              §10.1 requires the name where there are several.",
        applies: |pair| candidates_before(pair) >= 4,
    },
    Difference {
        what: "a key behind the first 64 of its set",
        why: "Memory and time of each worker are bounded; providers publish two to ten.",
        applies: |pair| pair.signer.is_some_and(|position| position >= 64),
    },
    // ---- the document
    Difference {
        what: "a key set with a comma behind the last member",
        why: "It is not JSON (RFC 8259): two readers may understand it differently.",
        applies: |pair| pair.document.frame == Frame::Comma,
    },
    Difference {
        what: "a key set that is nested deeper than 16",
        why: "The reader's stack is bounded; real key sets use three or four levels.",
        applies: |pair| pair.document.frame == Frame::Deep,
    },
    Difference {
        what: "a key set of more than 256 KiB",
        why: "What a provider can make every worker hold is bounded; a hundred RSA keys with certificates fit.",
        applies: |pair| pair.document.frame == Frame::Huge,
    },
    Difference {
        what: "certificates by key ID",
        why: "Google's v1 form is no JWK Set; Google publishes one too, at another address.",
        applies: |pair| pair.document.frame == Frame::Certificates,
    },
    // ---- the compact form
    Difference {
        what: "more dots than two",
        why: "Three parts that are not empty (RFC 7515 §7.1). `jwt_authn` skips empty ones.",
        applies: |pair| {
            matches!(
                pair.shape,
                Shape::DotBefore | Shape::DotBehind | Shape::TwoDots
            )
        },
    },
    Difference {
        what: "`=` behind a part",
        why: "RFC 7515 §2 forbids it, and one token shall not have several spellings.",
        applies: |pair| matches!(pair.shape, Shape::Padded | Shape::PaddedSignature),
    },
    Difference {
        what: "a blank in a part",
        why: "A token is made of letters, digits, `-`, `_` and dots; what is behind a blank is something else.",
        applies: |pair| pair.shape == Shape::Blank,
    },
    Difference {
        what: "bits in the last character that stand for nothing",
        why: "RFC 4648 §3.5 lets a reader refuse them, and one token shall not have several spellings.",
        applies: |pair| pair.shape == Shape::TrailingBits,
    },
    Difference {
        what: "zeros before the halves of an ECDSA signature",
        why: "RFC 7518 §3.4 fixes its length, and one token shall not have several spellings.",
        applies: |pair| pair.shape == Shape::LongHalves,
    },
    Difference {
        what: "a header of more than 2,048 characters, or a token of more than 16 KiB",
        why: "What a stranger can make a worker read is bounded (`limits.token_bytes`).",
        applies: |pair| {
            let header = pair.token.split('.').next().unwrap_or_default();
            header.len() > 2048 || pair.token.len() > 16_384
        },
    },
    // ---- JSON
    Difference {
        what: "claims with a comma behind the last member, or a name in single quotes",
        why: "It is not JSON (RFC 8259): two readers may understand it differently.",
        applies: |pair| matches!(pair.writing, Writing::Comma | Writing::SingleQuotes),
    },
    Difference {
        what: "claims that are nested deeper than 16",
        why: "The reader's stack is bounded; real tokens use three or four levels.",
        applies: |pair| pair.writing == Writing::Deep,
    },
    // ---- the header
    Difference {
        what: "`crit`, `b64`, `enc`, `zip` or `jwk` in the header",
        why: "An extension that is not understood must be refused (RFC 7515 §4.1.11), a payload that is not base64url \
              or is packed is another one than was read, and a key never comes from the token.",
        applies: |pair| {
            let refused = ["crit", "b64", "enc", "zip", "jwk"];
            refused
                .iter()
                .any(|member| pair.header.contains_key(*member))
        },
    },
    Difference {
        what: "a `cty` that calls the payload another token, or is no string",
        why: "The inner token would have to be judged as well (RFC 8725 §3.3).",
        applies: |pair| {
            let cty = pair.header.get("cty");
            cty.is_some_and(|cty| {
                cty.as_str()
                    .is_none_or(|cty| is_type(cty, &["jwt", "at+jwt"]))
            })
        },
    },
    Difference {
        what: "a `typ` that is not in `token_types`, or is no string",
        why: "Logout tokens, DPoP proofs and security events are signed by the same keys (RFC 8725 §3.11).",
        applies: |pair| {
            let typ = pair.header.get("typ");
            typ.is_some_and(|typ| {
                typ.as_str()
                    .is_none_or(|typ| !is_type(typ, &["jwt", "at+jwt"]))
            })
        },
    },
    Difference {
        what: "a `kid` of more than 256 bytes",
        why: "What a stranger can have looked up and logged is bounded.",
        applies: |pair| text(&pair.header, "kid").len() > 256,
    },
    // ---- the claims
    Difference {
        what: "an `iat` in the future",
        why: "A token that is not issued yet comes from a clock that is wrong, and its `exp` is as wrong.",
        applies: |pair| {
            let issued = pair.claims.get("iat").and_then(Value::as_f64);
            #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit")]
            let latest = (pair.now + SKEW) as f64;
            issued.is_some_and(|issued| issued > latest)
        },
    },
    Difference {
        what: "an `aud` that is ours but for `https://` before it or `/` behind it",
        why: "Audiences are compared as they are (RFC 7519 §4.1.3): another text is another service.",
        applies: |pair| {
            audiences(pair)
                .iter()
                .any(|aud| *aud != AUDIENCE && is_nearly_ours(aud))
        },
    },
    Difference {
        what: "no subject, or one of more than 1,024 bytes",
        why: "The backend and the audit record are told who asks, so there must be somebody.",
        applies: |pair| {
            let subject = text(&pair.claims, "sub");
            subject.is_empty() || subject.len() > 1024
        },
    },
    Difference {
        what: "a `nonce` that is no string",
        why: "OpenID Connect Core §2 types it; a claim of a wrong type is refused and never skipped.",
        applies: |pair| {
            pair.claims
                .get("nonce")
                .is_some_and(|nonce| !nonce.is_string())
        },
    },
    Difference {
        what: "an ID, refresh or logout token, or one of unknown kind, by `typ`, `token_use` or `events`",
        why: "It is signed by the same key but was not given out to call anybody with (RFC 8725 §3.12).",
        applies: is_of_another_kind,
    },
    // ---- the request
    Difference {
        what: "something between `Bearer ` and the token",
        why: "The grammar is the scheme, blanks and the token (RFC 9110 §11.4). `jwt_authn` looks for where it begins.",
        applies: |pair| matches!(pair.credential, Credential::BlankAndTab | Credential::Mark),
    },
    Difference {
        what: "`Bearer ` behind another credential",
        why: "It is a credential of another scheme, with something behind it.",
        applies: |pair| pair.credential == Credential::BehindAnother,
    },
    Difference {
        what: "two credentials",
        why: "Which of them the backend or a log would believe is unknown (RFC 6750 §2, §3.1), even if both are good.",
        applies: |pair| matches!(pair.credential, Credential::Twice | Credential::InBoth),
    },
    Difference {
        what: "a token in the query string",
        why: "It would be logged everywhere on the way, and OAuth 2.1 has dropped it.",
        applies: |pair| pair.credential == Credential::InQuery,
    },
];

/// What the gate lets in and `jwt_authn` refuses. None of these means that the gate takes a signature, a date, an
/// issuer or an audience on trust: it has verified the same token with a key that this provider publishes for it.
pub const ONLY_BY_GATE: &[Difference] = &[
    Difference {
        what: "a byte order mark before the key set",
        why: "Some servers of static files put it there (RFC 8259 §8.1 lets a reader ignore it). What follows is read \
              strictly.",
        applies: |pair| pair.document.frame == Frame::ByteOrderMark,
    },
    Difference {
        what: "more `=` behind a number of a key than its length asks for",
        why: "All padding is cut off, and what is left must be canonical base64url: the number is the same. It is the \
              provider's document, not the token.",
        applies: |pair| {
            let texts = ["n", "e", "x", "y"].map(|member| signing_text(pair, member));
            texts.iter().any(|text| {
                let digits = text.trim_end_matches('=');
                digits != *text && padded(digits) != *text
            })
        },
    },
    Difference {
        what: "an Ed25519 key that says no `alg` and stands before the signing key, where no ID tells them apart",
        why: "`jwt_authn` gives up at the first signature that has not 64 bytes. The gate tries only keys of the \
              token's algorithm, so it comes to the right one and verifies with it.",
        applies: |pair| {
            let id = text(&pair.header, "kid");
            let short = ["P-256", "Ed25519"].contains(&signing_text(pair, "crv"));
            let tried = |key: &Value| id.is_empty() || is_unnamed(key) || key["kid"] == id;
            let mut before = pair.document.keys[..pair.signer.unwrap_or_default()].iter();
            !short
                && before.any(|Published { jwk, .. }| {
                    jwk["crv"] == "Ed25519" && states_none(jwk) && tried(jwk)
                })
        },
    },
    Difference {
        what: "an `exp` of 2^64 and more",
        why: "It is a number (RFC 7519 §2) and stands for the end of time, as the greatest that `jwt_authn` takes does \
              in effect. Who wants tokens to end sooner sets `max_lifetime`.",
        applies: |pair| {
            let expires = pair.claims.get("exp").and_then(Value::as_f64);
            expires.is_some_and(|expires| expires >= 18_446_744_073_709_551_615.0)
        },
    },
    Difference {
        what: "`bearer` or `BEARER`",
        why: "The scheme is the same in any case (RFC 9110 §11.1), and clients that write it small are common.",
        applies: |pair| {
            matches!(
                pair.credential,
                Credential::LowerCase | Credential::UpperCase
            )
        },
    },
];

fn text<'a>(object: &'a Map<String, Value>, member: &str) -> &'a str {
    object
        .get(member)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn signing_text<'a>(pair: &'a Pair, member: &str) -> &'a str {
    let value = pair.signing_key().and_then(|key| key.get(member));
    value.and_then(Value::as_str).unwrap_or_default()
}

/// The bytes of a number of the signing key.
fn number(pair: &Pair, member: &str) -> Option<Vec<u8>> {
    let text = signing_text(pair, member);
    let text = padded(text.trim_end_matches('='));
    URL_SAFE.decode(text).ok().filter(|bytes| !bytes.is_empty())
}

fn has_any(key: &Value, members: &[&str]) -> bool {
    members.iter().any(|member| key.get(member).is_some())
}

fn is_for_something_else(key: &Value) -> bool {
    let by_use = match &key["use"] {
        Value::Null => false,
        Value::String(usage) => usage != "sig" && !usage.is_empty(),
        _ => true,
    };
    let by_operations = match &key["key_ops"] {
        Value::Null => false,
        Value::Array(operations) => {
            !operations.is_empty() && !operations.iter().any(|operation| operation == "verify")
        }
        _ => true,
    };
    by_use || by_operations
}

fn is_unnamed(key: &Value) -> bool {
    key["kid"].as_str().unwrap_or_default().is_empty()
}

/// Whether a key leaves open which algorithm it is for.
fn states_none(key: &Value) -> bool {
    key["alg"].as_str().unwrap_or_default().is_empty()
}

fn is_of_another_algorithm(pair: &Pair) -> bool {
    let signer = pair
        .signer
        .and_then(|position| pair.document.keys.get(position));
    signer.is_some_and(|key| {
        let own = key.signer.as_ref().map(|signer| signer.kind.algorithm());
        states_none(&key.jwk) && own.is_some_and(|own| own != text(&pair.header, "alg"))
    })
}

/// What tells which algorithm a key is for.
fn bound(key: &Value) -> [&str; 3] {
    let text = |member: &str| key[member].as_str().unwrap_or_default();
    let algorithm = match text("kty") {
        // For the others it is the curve that tells.
        "RSA" if states_none(key) => "RS256",
        "RSA" => text("alg"),
        _ => "",
    };
    [text("kty"), text("crv"), algorithm]
}

/// What tells two keys apart: type, curve and numbers.
fn material(key: &Value) -> [&Value; 5] {
    ["kty", "crv", "n", "x", "y"].map(|member| &key[member])
}

/// Whether another key for that algorithm has the ID of the signing key.
fn has_twin(pair: &Pair) -> bool {
    let Some(key) = pair.signing_key() else {
        return false;
    };
    let id = signing_text(pair, "kid");
    let mut others = pair.document.keys.iter().map(|other| &other.jwk);
    !id.is_empty()
        && others.any(|other| {
            other["kid"] == id && bound(other) == bound(key) && material(other) != material(key)
        })
}

/// How many keys before the signing one may have signed as well, as far as the token says.
fn candidates_before(pair: &Pair) -> usize {
    let Some(position) = pair.signer else {
        return 0;
    };
    let own = &pair.document.keys[position].jwk;
    let id = text(&pair.header, "kid");
    let before = pair.document.keys[..position].iter().map(|key| &key.jwk);
    let alike = before.filter(|key| {
        let meant = id.is_empty() || is_unnamed(key);
        meant && key["kty"] == own["kty"] && key["crv"] == own["crv"]
    });
    alike.count()
}

fn is_type(name: &str, types: &[&str]) -> bool {
    let name = name.to_ascii_lowercase();
    types.contains(&name.strip_prefix("application/").unwrap_or(&name))
}

fn audiences(pair: &Pair) -> Vec<&str> {
    match pair.claims.get("aud") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn is_nearly_ours(audience: &str) -> bool {
    let rest = audience
        .strip_prefix("https://")
        .or(audience.strip_prefix("http://"));
    let rest = rest.unwrap_or(audience);
    rest.strip_suffix('/').unwrap_or(rest) == AUDIENCE
}

fn is_of_another_kind(pair: &Pair) -> bool {
    let unlike = |member: &str, kinds: &[&str]| {
        let value = pair.claims.get(member);
        value.is_some_and(|value| value.as_str().is_none_or(|kind| !kinds.contains(&kind)))
    };
    pair.claims.contains_key("events")
        || unlike("typ", &["Bearer"])
        || unlike("token_use", &["access"])
}
