//! Tokens for a key set, valid and invalid: each begins as a valid one, is changed, and is then signed.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use integration::drill::Random;
use integration::keys;
use serde_json::{Map, Value, json};

use crate::documents::{Document, OCT, anything, padded, set};
use crate::signers::{Kind, Pool, Signer};
use crate::tokens::{AUDIENCE, Credential, Pair, SKEW, Shape, Writing};

/// A pair of that set and a token. `now` is in seconds since 1970.
pub fn draw(
    document: &Arc<Document>,
    pool: &Pool,
    issuer: &str,
    id: &str,
    now: i64,
    random: &mut Random,
) -> Pair {
    let mut draft = Draft::plain(document, issuer, id, now);
    let changes = [0, 0, 0, 1, 1, 1, 1, 1, 1, 2][random.below(10)];
    for _ in 0..changes {
        match random.below(20) {
            0..4 => draft.sign_otherwise(document, pool, random),
            4..6 => draft.name_otherwise(random),
            6..8 => draft.change_header(random),
            8..12 => draft.change_claims(issuer, now, random),
            12 | 13 => draft.write_otherwise(random),
            14..17 => draft.shape = draft.odd_shape(random),
            17 | 18 => draft.credential = odd_credential(random),
            _ => draft.grow(random),
        }
    }
    draft.finish(document, now)
}

/// A token before it is signed.
struct Draft {
    by: By,
    /// The name that the signature is made under.
    algorithm: String,
    header: Map<String, Value>,
    claims: Map<String, Value>,
    writing: Writing,
    shape: Shape,
    credential: Credential,
    odd: Vec<String>,
}

/// Who signs.
enum By {
    Pair(Arc<Signer>),
    /// HMAC with that.
    Secret(Vec<u8>),
    Nobody,
}

impl Draft {
    fn plain(document: &Document, issuer: &str, id: &str, now: i64) -> Draft {
        let target = &document.keys[document.target];
        let signer = target.signer.clone().expect("the target signs");
        let algorithm = signer.kind.algorithm();
        let mut header = Map::new();
        header.insert("alg".to_owned(), algorithm.into());
        header.insert("typ".to_owned(), "JWT".into());
        if let Some(id @ Value::String(_)) = target.jwk.get("kid") {
            header.insert("kid".to_owned(), id.clone());
        }
        let claims = json!({
            "iss": issuer,
            "sub": "alice",
            "aud": AUDIENCE,
            "exp": now + 3600,
            "iat": now - 5,
            "jti": id,
            "groups": ["readers"],
        });
        let Value::Object(claims) = claims else {
            unreachable!("an object is written above")
        };
        Draft {
            by: By::Pair(signer),
            algorithm: algorithm.to_owned(),
            header,
            claims,
            writing: Writing::Plain,
            shape: Shape::Plain,
            credential: Credential::Bearer,
            odd: Vec::new(),
        }
    }

    fn kind(&self) -> Option<Kind> {
        match &self.by {
            By::Pair(signer) => Some(signer.kind),
            _ => None,
        }
    }

    fn sign_otherwise(&mut self, document: &Document, pool: &Pool, random: &mut Random) {
        let By::Pair(signer) = &self.by else { return };
        let signer = Arc::clone(signer);
        let with_secret = document.keys.iter().any(|key| key.jwk["kty"] == "oct");
        if with_secret && random.below(3) == 0 {
            return self.sign_with_secret(URL_SAFE_NO_PAD.decode(OCT).expect("base64url"), random);
        }
        let what = match random.below(12) {
            0 | 1 => {
                self.by = By::Pair(pool.other(signer.kind, &document.signers(), random));
                "signed by somebody else".to_owned()
            }
            2 | 3 => {
                let signers = document.signers();
                let other = &signers[random.below(signers.len())];
                self.call(other.kind.algorithm());
                let position = document.position(other);
                self.by = By::Pair(Arc::clone(other));
                let jwk = position.and_then(|position| document.keys.get(position));
                let id = jwk.and_then(|key| key.jwk.get("kid"));
                if random.below(4) > 0 {
                    set(&mut self.header, "kid", id.filter(|id| id.is_string()));
                }
                "signed with another key".to_owned()
            }
            4..7 => {
                let names = signer.kind.algorithms();
                self.call(names[random.below(names.len())]);
                format!("signed as {}", self.algorithm)
            }
            7 | 8 => {
                let names = [
                    "RS256", "PS256", "ES256", "ES384", "ES512", "HS256", "HS384", "EdDSA",
                ];
                self.call(names[random.below(names.len())]);
                format!("signed and called {}", self.algorithm)
            }
            9 => return self.sign_with_secret(signer.jwk.to_string().into_bytes(), random),
            10 => {
                self.by = By::Nobody;
                let name = ["none", "NONE", "", "RS256"][random.below(4)];
                self.header.insert("alg".to_owned(), name.into());
                "not signed".to_owned()
            }
            _ => {
                let names = [
                    "RS256", "RS384", "PS256", "ES256", "ES384", "EdDSA", "Ed25519",
                ];
                let name = names[random.below(names.len())];
                self.header.insert("alg".to_owned(), name.into());
                format!("called {name}")
            }
        };
        self.odd.push(what);
    }

    /// Signs under that name, and says so.
    fn call(&mut self, algorithm: &str) {
        algorithm.clone_into(&mut self.algorithm);
        self.header.insert("alg".to_owned(), algorithm.into());
    }

    fn sign_with_secret(&mut self, secret: Vec<u8>, random: &mut Random) {
        self.by = By::Secret(secret);
        self.call("HS256");
        match random.below(3) {
            0 => drop(self.header.remove("kid")),
            1 => drop(self.header.insert("kid".to_owned(), "o".into())),
            _ => {}
        }
        self.odd.push("HS256 with what is public".to_owned());
    }

    fn name_otherwise(&mut self, random: &mut Random) {
        let id = match random.below(10) {
            0..3 => None,
            3 => Some(json!("")),
            4 => Some([json!(7), json!(null)][random.below(2)].clone()),
            5 => Some(json!("i".repeat(300))),
            _ => Some(json!(
                ["k0", "k1", "k2", "K0", "of nobody"][random.below(5)]
            )),
        };
        self.odd.push(match &id {
            Some(id) => format!("kid {id}"),
            None => "no kid".to_owned(),
        });
        set(&mut self.header, "kid", id.as_ref());
    }

    fn change_header(&mut self, random: &mut Random) {
        let types = [
            "at+jwt",
            "application/at+jwt",
            "jwt",
            "JWS",
            "logout+jwt",
            "dpop+jwt",
            "JOSE",
            "",
        ];
        let (member, value) = match random.below(20) {
            0..5 => ("typ", Some(json!(types[random.below(types.len())]))),
            5 | 6 => ("typ", anything(random)),
            7 => ("crit", Some(json!([["b64"], ["exp"]][random.below(2)]))),
            8 => ("crit", anything(random)),
            9 => ("b64", Some(json!(random.below(2) == 0))),
            10 => ("zip", Some(json!("DEF"))),
            11 => ("enc", Some(json!("A256GCM"))),
            12 => ("jwk", Some(json!({"kty": "oct", "k": OCT}))),
            13 | 14 => (
                "cty",
                Some(json!(["JWT", "at+jwt", "text/plain"][random.below(3)])),
            ),
            15 => ("jku", Some(json!("https://elsewhere.example.org/keys"))),
            16 => ("x5t", anything(random)),
            17 => ("alg", anything(random)),
            _ => ("kid", anything(random)),
        };
        self.change(true, member, value.as_ref());
    }

    fn change_claims(&mut self, issuer: &str, now: i64, random: &mut Random) {
        // Well inside of what is tolerated, and well outside.
        let (near, far) = (SKEW / 3, 3 * SKEW);
        let fraction: Option<f64> = format!("{now}.5").parse().ok();
        let times = [
            Some(json!(now)),
            Some(json!(now - near)),
            Some(json!(now + near)),
            Some(json!(now - far)),
            Some(json!(now + far)),
            Some(json!((now + 3600).to_string())),
            Some(json!(fraction)),
            Some(json!(0)),
            Some(json!(-5)),
            Some(json!(1e15)),
            Some(json!(1e19)),
            Some(json!(1e300)),
            Some(json!(u64::MAX)),
            None,
            anything(random),
        ];
        let time = times[random.below(times.len())].clone();
        let audiences = [
            Some(json!([AUDIENCE])),
            Some(json!(["other", AUDIENCE])),
            Some(json!([AUDIENCE, 7])),
            Some(json!(format!("https://{AUDIENCE}/"))),
            Some(json!([format!("http://{AUDIENCE}")])),
            Some(json!(format!("{AUDIENCE}/"))),
            Some(json!("Observability")),
            Some(json!("observability other")),
            Some(json!("other")),
            Some(json!([])),
            None,
            anything(random),
        ];
        let issuers = [
            Some(json!([issuer])),
            Some(json!(format!("{issuer}/"))),
            Some(json!(issuer.to_uppercase())),
            Some(json!(issuer.replace("https", "http"))),
            Some(json!("https://elsewhere.example.org/s1")),
            None,
            anything(random),
        ];
        let (member, value) = match random.below(24) {
            0..4 => ("exp", time),
            4..7 => ("nbf", time),
            7..10 => ("iat", time),
            10..14 => ("aud", audiences[random.below(audiences.len())].clone()),
            14..16 => ("iss", issuers[random.below(issuers.len())].clone()),
            16 => ("sub", anything(random)),
            17 => ("sub", Some(json!("s".repeat([255, 2000][random.below(2)])))),
            18 => ("jti", anything(random)),
            19 => ("nonce", anything(random)),
            20 => (
                "typ",
                Some(json!(
                    ["Bearer", "ID", "Refresh", "Logout"][random.below(4)]
                )),
            ),
            21 => ("token_use", Some(json!(["access", "id"][random.below(2)]))),
            22 => (
                "events",
                Some(json!({"http://schemas.openid.net/event/backchannel-logout": {}})),
            ),
            _ => (
                ["typ", "token_use", "azp", "cnf"][random.below(4)],
                anything(random),
            ),
        };
        self.change(false, member, value.as_ref());
    }

    fn change(&mut self, header: bool, member: &str, value: Option<&Value>) {
        let (object, what) = if header {
            (&mut self.header, "header")
        } else {
            (&mut self.claims, "claim")
        };
        set(object, member, value);
        let value = value.map_or("left out".to_owned(), Value::to_string);
        let value: String = value.chars().take(80).collect();
        self.odd.push(format!("{what} {member}: {value}"));
    }

    fn write_otherwise(&mut self, random: &mut Random) {
        const WRITINGS: [Writing; 18] = [
            Writing::Blanks,
            Writing::HeaderTwice,
            Writing::AlgorithmTwice,
            Writing::ClaimTwice,
            Writing::ExpiryTwice,
            Writing::EscapedTwice,
            Writing::SingleQuotes,
            Writing::Comma,
            Writing::Comment,
            Writing::ByteOrderMark,
            Writing::Array,
            Writing::Deep,
            Writing::Deeper,
            Writing::HugeNumber,
            Writing::NotUtf8,
            Writing::LoneSurrogate,
            Writing::Nul,
            Writing::Trailer,
        ];
        self.writing = WRITINGS[random.below(WRITINGS.len())];
    }

    fn odd_shape(&self, random: &mut Random) -> Shape {
        const ANY: [Shape; 13] = [
            Shape::Padded,
            Shape::PaddedSignature,
            Shape::DotBefore,
            Shape::DotBehind,
            Shape::TwoDots,
            Shape::FourParts,
            Shape::Behind,
            Shape::BehindOfAlphabet,
            Shape::Blank,
            Shape::TrailingBits,
            Shape::Flipped,
            Shape::NoSignature,
            Shape::Zeros,
        ];
        const ECDSA: [Shape; 2] = [Shape::Der, Shape::LongHalves];
        match self.kind() {
            Some(Kind::P256) if random.below(4) == 0 => Shape::OtherHalf,
            Some(Kind::P256 | Kind::P384) if random.below(3) == 0 => ECDSA[random.below(2)],
            _ => ANY[random.below(ANY.len())],
        }
    }

    /// More than is usual.
    fn grow(&mut self, random: &mut Random) {
        let (header, length) =
            [(true, 500), (true, 3000), (false, 8000), (false, 20_000)][random.below(4)];
        let text = "g".repeat(length);
        let (object, what) = if header {
            (&mut self.header, "header")
        } else {
            (&mut self.claims, "claims")
        };
        object.insert("pad".to_owned(), text.into());
        self.odd.push(format!("{length} more bytes of {what}"));
    }

    fn finish(self, document: &Arc<Document>, now: i64) -> Pair {
        let (header, claims) = self.written();
        let (mut header, mut claims) = (
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims),
        );
        if self.shape == Shape::Padded {
            (header, claims) = (padded(&header), padded(&claims));
        }
        let input = format!("{header}.{claims}");
        let signature = match &self.by {
            By::Pair(signer) => signer.sign(&self.algorithm, input.as_bytes()),
            By::Secret(secret) => keys::hmac("HS256", secret, input.as_bytes()).expect("an HMAC"),
            By::Nobody => Vec::new(),
        };
        let token = shaped(self.shape, &header, &claims, signature);
        let signer = match &self.by {
            By::Pair(signer) => document.position(signer),
            _ => None,
        };
        Pair {
            document: Arc::clone(document),
            signer,
            header: self.header,
            claims: self.claims,
            writing: self.writing,
            shape: self.shape,
            credential: self.credential,
            token,
            now,
            odd: self.odd,
        }
    }

    /// Header and claims as JSON, or nearly.
    fn written(&self) -> (Vec<u8>, Vec<u8>) {
        let header = Value::Object(self.header.clone()).to_string();
        let claims = Value::Object(self.claims.clone()).to_string();
        let with = |object: &str, members: &str| {
            format!(
                "{},{members}}}",
                object.strip_suffix('}').unwrap_or_default()
            )
        };
        let again = |object: &Map<String, Value>, member: &str| {
            object
                .get(member)
                .map_or("null".to_owned(), Value::to_string)
        };
        let (header, claims) = match self.writing {
            Writing::Plain => (header, claims),
            Writing::Blanks => (format!(" {header}\n"), format!("\t{claims}\r\n")),
            Writing::HeaderTwice => (with(&header, "\"a\":1,\"a\":1"), claims),
            Writing::AlgorithmTwice => {
                let again = format!("\"alg\":{}", again(&self.header, "alg"));
                (with(&header, &again), claims)
            }
            Writing::ClaimTwice => (header, with(&claims, "\"a\":1,\"a\":1")),
            Writing::ExpiryTwice => {
                let again = format!("\"exp\":{}", again(&self.claims, "exp"));
                (header, with(&claims, &again))
            }
            Writing::EscapedTwice => (header, with(&claims, "\"s\\u0075b\":\"bob\"")),
            Writing::SingleQuotes => (header, with(&claims, "'a':'b'")),
            Writing::Comma => (header, with(&claims, "")),
            Writing::Comment => (header, with(&claims, "/* */\"a\":1")),
            Writing::ByteOrderMark => (header, format!("\u{feff}{claims}")),
            Writing::Array => (header, format!("[{claims}]")),
            Writing::Deep => (header, with(&claims, &nested(20))),
            Writing::Deeper => (header, with(&claims, &nested(120))),
            Writing::HugeNumber => (header, with(&claims, "\"a\":1e400")),
            Writing::LoneSurrogate => (header, with(&claims, "\"a\":\"\\ud800\"")),
            Writing::Nul => (header, with(&claims, "\"a\":\"\\u0000\"")),
            Writing::Trailer => (header, format!("{claims}{{}}")),
            Writing::NotUtf8 => {
                let claims = with(&claims, "\"a\":\"\u{1}\"").into_bytes();
                let claims = claims
                    .into_iter()
                    .map(|byte| if byte == 1 { 0xff } else { byte });
                return (header.into_bytes(), claims.collect());
            }
        };
        (header.into_bytes(), claims.into_bytes())
    }
}

fn nested(depth: usize) -> String {
    let (down, up) = ("{\"a\":".repeat(depth), "}".repeat(depth));
    format!("\"deep\":{down}0{up}")
}

/// The compact form, or something like it.
fn shaped(shape: Shape, header: &str, claims: &str, mut signature: Vec<u8>) -> String {
    match shape {
        Shape::Der => {
            if let Ok(der) = keys::der_signature(&signature) {
                signature = der;
            }
        }
        Shape::LongHalves => {
            let (r, s) = signature.split_at(signature.len() / 2);
            signature = [&[0], r, &[0], s].concat();
        }
        Shape::Flipped => {
            let middle = signature.len() / 2;
            if let Some(byte) = signature.get_mut(middle) {
                *byte ^= 0x10;
            }
        }
        Shape::NoSignature => signature.clear(),
        Shape::Zeros => signature.fill(0),
        Shape::OtherHalf => {
            if let Ok(other) = keys::high_s(&signature) {
                signature = other;
            }
        }
        _ => {}
    }
    let text = URL_SAFE_NO_PAD.encode(&signature);
    let text = match shape {
        Shape::Padded | Shape::PaddedSignature => padded(&text),
        Shape::TrailingBits => with_trailing_bit(&text),
        Shape::Blank if !text.is_empty() => format!("{} {}", &text[..9], &text[9..]),
        _ => text,
    };
    match shape {
        Shape::DotBefore => format!(".{header}.{claims}.{text}"),
        Shape::DotBehind => format!("{header}.{claims}.{text}."),
        Shape::TwoDots => format!("{header}..{claims}.{text}"),
        Shape::FourParts => format!("{header}.{claims}.{text}.{text}"),
        Shape::Behind => format!("{header}.{claims}.{text}!"),
        Shape::BehindOfAlphabet => format!("{header}.{claims}.{text}AAAA"),
        _ => format!("{header}.{claims}.{text}"),
    }
}

/// The same with a bit set that stands for nothing, where there is one.
fn with_trailing_bit(text: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    if text.len().is_multiple_of(4) {
        return text.to_owned();
    }
    let (rest, last) = text.split_at(text.len() - 1);
    let position = ALPHABET
        .iter()
        .position(|known| [*known] == *last.as_bytes());
    let other = ALPHABET[position.unwrap_or_default() | 1];
    format!("{rest}{}", char::from(other))
}

fn odd_credential(random: &mut Random) -> Credential {
    const CREDENTIALS: [Credential; 17] = [
        Credential::LowerCase,
        Credential::UpperCase,
        Credential::Blanks,
        Credential::Tab,
        Credential::BlankAndTab,
        Credential::Mark,
        Credential::Twice,
        Credential::BesideBad,
        Credential::Joined,
        Credential::InQuery,
        Credential::InBoth,
        Credential::BehindAnother,
        Credential::Quoted,
        Credential::NoBlank,
        Credential::OtherScheme,
        Credential::Missing,
        Credential::Empty,
    ];
    CREDENTIALS[random.below(CREDENTIALS.len())]
}
