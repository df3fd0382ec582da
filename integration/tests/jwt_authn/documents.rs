//! Key sets as providers publish them, and what can go wrong with them on the way.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use integration::drill::Random;
use integration::keys;
use serde_json::{Map, Value, json};

use crate::signers::{Kind, Pool, Signer, decoded};

/// A key as the document shows it.
#[derive(Clone)]
pub struct Published {
    pub jwk: Value,
    /// The signer whose public half it is, unless nobody here can sign with it.
    pub signer: Option<Arc<Signer>>,
}

/// What is around the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    Plain,
    /// Members beside `keys` that nobody knows.
    Strange,
    /// Line breaks and blanks.
    Pretty,
    ByteOrderMark,
    /// More than 256 KiB.
    Huge,
    /// Objects in objects, twenty of them.
    Deep,
    /// A member that stands there twice: of the document, or of its first key.
    Twice,
    TwiceInKey,
    /// A comma behind the last member, which JSON does not have.
    Comma,
    /// Something behind the document.
    Trailer,
    /// The list of keys alone.
    List,
    /// `keys` is an object by key ID.
    ById,
    /// `{"keys": []}`
    Empty,
    /// Certificates by key ID, as Google's v1 has them.
    Certificates,
    Pem,
}

/// A key set.
pub struct Document {
    pub frame: Frame,
    pub keys: Vec<Published>,
    /// The key that most tokens are signed with, to which the odd things happen.
    pub target: usize,
    /// What is odd about it.
    pub odd: Vec<String>,
}

impl Document {
    /// The set of that number.
    pub fn draw(pool: &Pool, issuer: &str, random: &mut Random) -> Document {
        let mut document = match random.below(20) {
            0..4 => unnamed(pool, random),
            4 if random.below(2) == 0 => many(pool, random),
            _ => ordinary(pool, random),
        };
        match random.below(20) {
            0..9 => document.make_key_odd(pool, issuer, random),
            9..12 => document.add_odd_neighbours(pool, random),
            12 | 13 => document.make_frame_odd(pool, random),
            _ => {}
        }
        document
    }

    /// A set with a key of P-521 before an ordinary one.
    pub fn with_p521(pool: &Pool, random: &mut Random) -> Document {
        let mut jwk = keys::key("p521-a").expect("a test key").jwk();
        jwk["kid"] = "k0".into();
        let ordinary = named(&pool.other(Kind::P256, &[], random), "k1");
        let keys = vec![Published { jwk, signer: None }, ordinary];
        document(keys, 1, Vec::new(), random)
    }

    /// A set of one weak key. Such keys are in no other set, for signing with them is slow here.
    pub fn with_weak_key(pool: &Pool, random: &mut Random) -> Document {
        let odd = vec!["RSA of 1,024 bits".to_owned()];
        document(vec![named(&pool.weak, "k0")], 0, odd, random)
    }

    /// As it is sent.
    pub fn bytes(&self) -> Vec<u8> {
        let keys: Vec<&Value> = self.keys.iter().map(|key| &key.jwk).collect();
        let plain = json!({ "keys": keys });
        let compact = plain.to_string();
        let open = compact.strip_suffix('}').unwrap_or_default();
        match self.frame {
            Frame::Plain => compact.into_bytes(),
            Frame::Strange => format!("{open},\"cache\":[1.5,null,{{\"a\":true}}],\"\":0}}").into(),
            Frame::Pretty => serde_json::to_vec_pretty(&plain).expect("JSON"),
            Frame::ByteOrderMark => format!("\u{feff}{compact}").into_bytes(),
            Frame::Huge => format!("{open},\"pad\":\"{}\"}}", "p".repeat(256 * 1024)).into_bytes(),
            Frame::Deep => {
                let (down, up) = ("{\"a\":".repeat(20), "}".repeat(20));
                format!("{open},\"deep\":{down}0{up}}}").into_bytes()
            }
            Frame::Twice => format!("{open},\"a\":1,\"a\":2}}").into_bytes(),
            Frame::TwiceInKey => compact.replacen("[{", "[{\"a\":1,\"a\":2,", 1).into_bytes(),
            Frame::Comma => format!("{open},}}").into_bytes(),
            Frame::Trailer => format!("{compact}}}").into_bytes(),
            Frame::List => json!(keys).to_string().into_bytes(),
            Frame::ById => {
                let by_id = keys.iter().enumerate();
                let by_id: Map<String, Value> = by_id
                    .map(|(number, key)| (format!("k{number}"), (*key).clone()))
                    .collect();
                json!({ "keys": by_id }).to_string().into_bytes()
            }
            Frame::Empty => b"{\"keys\":[]}".to_vec(),
            Frame::Certificates => json!({"k0": certificate()}).to_string().into_bytes(),
            Frame::Pem => keys::key("rsa-a")
                .and_then(|key| key.spki_pem())
                .expect("PEM")
                .into_bytes(),
        }
    }

    /// The position of a key that this pair signs with.
    pub fn position(&self, signer: &Arc<Signer>) -> Option<usize> {
        let is_it = |key: &Published| {
            key.signer
                .as_ref()
                .is_some_and(|own| Arc::ptr_eq(own, signer))
        };
        self.keys.iter().position(is_it)
    }

    /// All that somebody could sign with.
    pub fn signers(&self) -> Vec<Arc<Signer>> {
        self.keys
            .iter()
            .filter_map(|key| key.signer.clone())
            .collect()
    }

    fn make_key_odd(&mut self, pool: &Pool, issuer: &str, random: &mut Random) {
        let what = match random.below(12) {
            0..4 => self.write_numbers_otherwise(pool, random),
            4..10 => {
                let (member, value) = odd_member(issuer, random);
                let jwk = object(&mut self.keys[self.target].jwk);
                set(jwk, member, value.as_ref());
                format!("{member}: {}", value.unwrap_or("left out".into()))
            }
            10 => {
                const MEMBERS: [&str; 12] = [
                    "kty", "crv", "x", "y", "n", "e", "use", "alg", "kid", "key_ops", "issuer",
                    "ext",
                ];
                let member = MEMBERS[random.below(MEMBERS.len())];
                let value = anything(random);
                set(
                    object(&mut self.keys[self.target].jwk),
                    member,
                    value.as_ref(),
                );
                format!("{member}: {}", value.unwrap_or("left out".into()))
            }
            _ => self.duplicate(pool, random),
        };
        self.odd.push(what);
    }

    /// The same key with other characters, or a weaker one.
    fn write_numbers_otherwise(&mut self, pool: &Pool, random: &mut Random) -> String {
        let choice = random.below(24);
        if choice < 6 {
            self.replace(&pool.short[random.below(pool.short.len())]);
        } else if choice == 6 {
            self.replace(&pool.strong);
            return "RSA of 4,096 bits".to_owned();
        }
        let key = &mut self.keys[self.target];
        let members: &[&str] = match key.signer.as_ref().map(|signer| signer.kind) {
            Some(Kind::Rsa) => &["n", "e"],
            Some(Kind::P256 | Kind::P384) => &["x", "y"],
            _ => &["x"],
        };
        let member = members[random.below(members.len())];
        if choice < 6 {
            for member in members {
                let bytes = decoded(&key.jwk, member);
                let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
                key.jwk[member] = URL_SAFE_NO_PAD.encode(&bytes[zeros..]).into();
            }
            return "no zeros before coordinates".to_owned();
        }
        let bytes = decoded(&key.jwk, member);
        let text = key.jwk[member].as_str().unwrap_or_default().to_owned();
        let (text, how) = match random.below(9) {
            0 | 1 => (padded(&text), "with ="),
            2 => (STANDARD_NO_PAD.encode(&bytes), "in standard base64"),
            3 | 4 => (with_zeros(1, &bytes), "with a zero before it"),
            5 => (with_zeros(2, &bytes), "with two zeros before it"),
            6 => (format!("{text}\n"), "with a line break"),
            7 => (
                format!("{}==", text.trim_end_matches('=')),
                "with too many =",
            ),
            _ => (text.chars().skip(4).collect(), "cut"),
        };
        key.jwk[member] = text.into();
        format!("{member} {how}")
    }

    fn replace(&mut self, signer: &Arc<Signer>) {
        let key = &mut self.keys[self.target];
        let id = key.jwk.get("kid").cloned();
        *key = published(signer);
        set(object(&mut key.jwk), "kid", id.as_ref());
    }

    /// Another key with the same ID.
    fn duplicate(&mut self, pool: &Pool, random: &mut Random) -> String {
        let id = self.keys[self.target].jwk.get("kid").cloned();
        let kind = self.keys[self.target]
            .signer
            .as_ref()
            .map(|signer| signer.kind);
        let kind = kind.unwrap_or(Kind::P256);
        let (mut twin, what) = match random.below(4) {
            0 => (self.keys[self.target].clone(), "listed twice"),
            1 => {
                let other = if kind == Kind::Rsa {
                    Kind::P256
                } else {
                    Kind::Rsa
                };
                let other = pool.other(other, &self.signers(), random);
                (published(&other), "its ID on a key of another type")
            }
            _ => {
                let other = pool.other(kind, &self.signers(), random);
                (published(&other), "its ID on another key")
            }
        };
        set(object(&mut twin.jwk), "kid", id.as_ref());
        let at = random.below(self.keys.len() + 1);
        self.keys.insert(at, twin);
        if at <= self.target {
            self.target += 1;
        }
        what.to_owned()
    }

    fn add_odd_neighbours(&mut self, pool: &Pool, random: &mut Random) {
        for _ in 0..=random.below(3) {
            let (jwk, what) = odd_neighbour(pool, random);
            let at = random.below(self.keys.len() + 1);
            self.keys.insert(at, Published { jwk, signer: None });
            if at <= self.target {
                self.target += 1;
            }
            self.odd.push(format!("beside {what}"));
        }
    }

    fn make_frame_odd(&mut self, pool: &Pool, random: &mut Random) {
        const FRAMES: [Frame; 14] = [
            Frame::Strange,
            Frame::Pretty,
            Frame::ByteOrderMark,
            Frame::Huge,
            Frame::Deep,
            Frame::Twice,
            Frame::TwiceInKey,
            Frame::Comma,
            Frame::Trailer,
            Frame::List,
            Frame::ById,
            Frame::Empty,
            Frame::Certificates,
            Frame::Pem,
        ];
        self.frame = FRAMES[random.below(FRAMES.len())];
        if matches!(self.frame, Frame::Certificates | Frame::Pem) {
            self.keys = vec![named(&pool.certified, "k0")];
            self.target = 0;
        }
        self.odd.push(format!("document: {:?}", self.frame));
    }
}

/// Keys of several kinds with IDs, one of which is sometimes missing.
fn ordinary(pool: &Pool, random: &mut Random) -> Document {
    let mut signers: Vec<Arc<Signer>> = Vec::new();
    for _ in 0..=random.below(3) {
        signers.push(pool.other(any_kind(random), &signers, random));
    }
    let keys = signers.iter().enumerate();
    let mut keys: Vec<_> = keys
        .map(|(number, signer)| named(signer, &format!("k{number}")))
        .collect();
    let target = random.below(keys.len());
    let mut odd = Vec::new();
    if random.below(3) == 0 {
        set(object(&mut keys[target].jwk), "kid", None);
        odd.push("a key without an ID".to_owned());
    }
    document(keys, target, odd, random)
}

/// One to six keys of one kind, or of several, without IDs.
fn unnamed(pool: &Pool, random: &mut Random) -> Document {
    let mixed = random.below(3) == 0;
    let kind = [Kind::P256, Kind::P384, Kind::Ed25519][random.below(3)];
    let mut signers: Vec<Arc<Signer>> = Vec::new();
    for _ in 0..=random.below(6) {
        let kind = if mixed { any_kind(random) } else { kind };
        signers.push(pool.other(kind, &signers, random));
    }
    let keys: Vec<_> = signers.iter().map(published).collect();
    let target = random.below(keys.len());
    let odd = vec![format!("{} keys without IDs", keys.len())];
    document(keys, target, odd, random)
}

/// More keys than the gate keeps.
fn many(pool: &Pool, random: &mut Random) -> Document {
    let signer = pool.other(Kind::P256, &[], random);
    let other = pool.other(Kind::P256, &[Arc::clone(&signer)], random);
    let count = 66 + random.below(30);
    let target = match random.below(2) {
        0 => random.below(count),
        _ => count - 1,
    };
    let keys = (0..count).map(|number| {
        let signer = if number == target { &signer } else { &other };
        named(signer, &format!("k{number}"))
    });
    let odd = vec![format!("key {target} of {count}")];
    document(keys.collect(), target, odd, random)
}

fn document(
    mut keys: Vec<Published>,
    target: usize,
    odd: Vec<String>,
    random: &mut Random,
) -> Document {
    for key in &mut keys {
        // Half of the providers say no algorithm, and some no use.
        let jwk = object(&mut key.jwk);
        if random.below(2) == 0 {
            jwk.remove("alg");
        }
        if random.below(3) == 0 {
            jwk.remove("use");
        }
    }
    Document {
        frame: Frame::Plain,
        keys,
        target,
        odd,
    }
}

fn published(signer: &Arc<Signer>) -> Published {
    let mut jwk = signer.jwk.clone();
    jwk["alg"] = signer.kind.algorithm().into();
    jwk["use"] = "sig".into();
    Published {
        jwk,
        signer: Some(Arc::clone(signer)),
    }
}

fn named(signer: &Arc<Signer>, id: &str) -> Published {
    let mut key = published(signer);
    key.jwk["kid"] = id.into();
    key
}

fn any_kind(random: &mut Random) -> Kind {
    match random.below(8) {
        0 | 1 => Kind::Rsa,
        2..5 => Kind::P256,
        5 => Kind::P384,
        _ => Kind::Ed25519,
    }
}

/// A member of a key and what stands in it; `None` leaves it out.
fn odd_member(issuer: &str, random: &mut Random) -> (&'static str, Option<Value>) {
    let long = "i".repeat(300);
    let foreign = issuer.replace("/s", "/t");
    let of_any_tenant = issuer.replace("/s", "/s{tenantid}");
    let mut members: Vec<(&'static str, Option<Value>)> = Vec::new();
    for value in [
        json!(""),
        json!(7),
        json!(null),
        json!(long),
        json!("K0"),
        json!("k0 "),
    ] {
        members.push(("kid", Some(value)));
    }
    for value in [
        json!(""),
        json!("enc"),
        json!("sig"),
        json!(null),
        json!(1),
        json!("SIG"),
    ] {
        members.push(("use", Some(value)));
    }
    for name in [
        "", "RSA-OAEP", "RS512", "PS256", "ES384", "ES256K", "es256", "HS256", "none",
    ] {
        members.push(("alg", Some(json!(name))));
    }
    for value in [json!(null), json!(256), json!(["RS256"])] {
        members.push(("alg", Some(value)));
    }
    for value in [
        json!([]),
        json!(["verify"]),
        json!(["sign"]),
        json!(["sign", "verify"]),
        json!(["encrypt"]),
        json!(null),
        json!("verify"),
        json!([1]),
    ] {
        members.push(("key_ops", Some(value)));
    }
    members.extend([
        ("kid", None),
        ("use", None),
        ("alg", None),
        ("kty", None),
        ("crv", None),
        ("crv", None),
        ("crv", Some(json!(""))),
        ("crv", Some(json!(""))),
        ("crv", Some(json!("secp256k1"))),
        ("kty", Some(json!("rsa"))),
        ("d", Some(json!("AQAB"))),
        ("k", Some(json!("AQAB"))),
        ("x5c", Some(json!(["MIIB".repeat(3000)]))),
        ("x5t#S256", Some(json!(null))),
        ("nested", Some(json!({"a": [{"b": {}}], "c": 1e300}))),
        ("issuer", Some(json!(issuer))),
        ("issuer", Some(json!(foreign))),
        ("issuer", Some(json!(foreign))),
        ("issuer", Some(json!(foreign))),
        ("issuer", Some(json!(of_any_tenant))),
        ("issuer", Some(json!("https://elsewhere.example.org/s1"))),
    ]);
    members.swap_remove(random.below(members.len()))
}

/// Something in the list of keys that nobody here signs with.
fn odd_neighbour(pool: &Pool, random: &mut Random) -> (Value, &'static str) {
    let broken = |member: &str, value: Value| {
        let mut jwk = pool.short[0].jwk.clone();
        jwk["kid"] = json!("broken");
        jwk[member] = value;
        jwk
    };
    match random.below(16) {
        0 | 14 => (
            json!({"kty": "oct", "kid": "o", "k": OCT, "alg": "HS256"}),
            "an oct key",
        ),
        1 => (json!({"kty": "oct", "k": OCT}), "an oct key without a name"),
        2 => (
            keys::key("p521-a").expect("a test key").jwk(),
            "a P-521 key",
        ),
        3 => (broken("crv", json!("secp256k1")), "a secp256k1 key"),
        4 => (
            json!({"kty": "OKP", "crv": "X25519", "kid": "x", "x": OCT}),
            "an X25519 key",
        ),
        5 => (broken("x", json!(OCT)), "a point off the curve"),
        6 => (broken("y", json!(null)), "a coordinate that is null"),
        7 => (broken("kty", json!("AKP")), "an unknown type"),
        8 => (json!(null), "null"),
        9 => (json!("k0"), "a string"),
        10 => (json!([]), "a list"),
        11 => (json!({}), "an empty key"),
        12 => (
            json!({"kty": "RSA", "use": "enc", "alg": "RSA-OAEP", "kid": "e", "n": OCT, "e": "AQAB"}),
            "a key for encryption",
        ),
        _ => (broken("d", json!("AQAB")), "a private key"),
    }
}

/// A secret that somebody publishes, and so everybody knows.
pub const OCT: &str = "c2NvcGVnYXRlLXNjb3BlZ2F0ZS1zY29wZWdhdGUtISE";

/// Any value, or none.
pub fn anything(random: &mut Random) -> Option<Value> {
    let values = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(""),
        json!("x"),
        json!([]),
        json!(["x"]),
        json!({}),
        json!({"x": "x"}),
    ];
    values.get(random.below(values.len() + 1)).cloned()
}

/// Puts a value into an object, or takes the member out.
pub fn set(object: &mut Map<String, Value>, member: &str, value: Option<&Value>) {
    match value {
        Some(value) => drop(object.insert(member.to_owned(), value.clone())),
        None => drop(object.remove(member)),
    }
}

fn object(value: &mut Value) -> &mut Map<String, Value> {
    value.as_object_mut().expect("an object")
}

pub fn padded(text: &str) -> String {
    format!("{text}{}", "=".repeat((4 - text.len() % 4) % 4))
}

fn with_zeros(count: usize, bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode([&vec![0; count], bytes].concat())
}

/// A certificate for the RSA key that such documents publish.
fn certificate() -> String {
    let path = integration::paths::integration().join("keys/rsa-a.pem");
    let pem = std::fs::read_to_string(path).expect("a test key");
    let pair = rcgen::KeyPair::from_pem(&pem).expect("an RSA key");
    let parameters = rcgen::CertificateParams::new(vec!["idp.example.com".to_owned()]);
    let signed = parameters.and_then(|parameters| parameters.self_signed(&pair));
    signed.expect("a certificate").pem().replace("\r\n", "\n")
}
