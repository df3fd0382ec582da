//! Pairs of a key set and a token, and the requests that carry the token.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use integration::client::RawRequest;
use integration::token;
use serde_json::{Map, Value};

use crate::documents::Document;

/// What both tolerate between clocks.
pub const SKEW: i64 = 300;
/// What both are configured to accept.
pub const AUDIENCE: &str = "observability";

/// A key set and a request with a token.
pub struct Pair {
    pub document: Arc<Document>,
    /// Which of the published keys has signed it: none for a stranger's signature, and for what is no signature.
    pub signer: Option<usize>,
    pub header: Map<String, Value>,
    pub claims: Map<String, Value>,
    pub writing: Writing,
    pub shape: Shape,
    pub credential: Credential,
    pub token: String,
    /// When it was made, in seconds since 1970.
    pub now: i64,
    /// What is odd about the token.
    pub odd: Vec<String>,
}

/// How header and claims are written as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writing {
    Plain,
    Blanks,
    /// A member stands there twice: one that decides nothing, one that is judged, one whose name is escaped the second
    /// time.
    HeaderTwice,
    AlgorithmTwice,
    ClaimTwice,
    ExpiryTwice,
    EscapedTwice,
    SingleQuotes,
    Comma,
    Comment,
    ByteOrderMark,
    Array,
    /// Twenty objects in each other, a hundred and twenty.
    Deep,
    Deeper,
    HugeNumber,
    NotUtf8,
    LoneSurrogate,
    Nul,
    Trailer,
}

/// What becomes of the compact form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Plain,
    /// `=` behind the parts, signed so.
    Padded,
    PaddedSignature,
    DotBefore,
    DotBehind,
    TwoDots,
    FourParts,
    Behind,
    BehindOfAlphabet,
    Blank,
    TrailingBits,
    Der,
    /// Zeros before each half of an ECDSA signature.
    LongHalves,
    Flipped,
    NoSignature,
    Zeros,
    OtherHalf,
}

/// How the request carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    Bearer,
    LowerCase,
    UpperCase,
    Blanks,
    Tab,
    BlankAndTab,
    Mark,
    Twice,
    BesideBad,
    Joined,
    InQuery,
    InBoth,
    BehindAnother,
    Quoted,
    NoBlank,
    OtherScheme,
    Missing,
    Empty,
}

impl Pair {
    /// The token in [`ES512`] for a set whose first key is that of P-521.
    pub fn es512(document: &Arc<Document>) -> Pair {
        let object = |part: usize| {
            let text = ES512.split('.').nth(part).unwrap_or_default();
            let bytes = URL_SAFE_NO_PAD.decode(text).expect("base64url");
            serde_json::from_slice(&bytes).expect("an object")
        };
        Pair {
            document: Arc::clone(document),
            signer: Some(0),
            header: object(0),
            claims: object(1),
            writing: Writing::Plain,
            shape: Shape::Plain,
            credential: Credential::Bearer,
            token: ES512.to_owned(),
            now: token::now(),
            odd: vec!["signed as ES512".to_owned()],
        }
    }

    /// The published key that has signed it.
    pub fn signing_key(&self) -> Option<&Value> {
        Some(&self.document.keys.get(self.signer?)?.jwk)
    }

    /// The request with it, and what it asks for of which provider.
    pub fn request(&self, provider: &str) -> RawRequest {
        let token = &self.token;
        let path = match self.credential {
            Credential::InQuery | Credential::InBoth => {
                format!("/loki/api/v1/labels?access_token={token}")
            }
            _ => "/loki/api/v1/labels".to_owned(),
        };
        let values = match self.credential {
            Credential::Bearer | Credential::InBoth => vec![format!("Bearer {token}")],
            Credential::LowerCase => vec![format!("bearer {token}")],
            Credential::UpperCase => vec![format!("BEARER {token}")],
            Credential::Blanks => vec![format!("Bearer   {token}")],
            Credential::Tab => vec![format!("Bearer\t{token}")],
            Credential::BlankAndTab => vec![format!("Bearer \t{token}")],
            Credential::Mark => vec![format!("Bearer !{token}")],
            Credential::Twice => vec![format!("Bearer {token}"); 2],
            Credential::BesideBad => vec![format!("Bearer {token}"), "Bearer a.b.c".to_owned()],
            Credential::Joined => vec![format!("Bearer {token}, Bearer {token}")],
            Credential::BehindAnother => vec![format!("Basic YTpi Bearer {token}")],
            Credential::Quoted => vec![format!("Bearer \"{token}\"")],
            Credential::NoBlank => vec![format!("Bearer{token}")],
            Credential::OtherScheme => vec![format!("Token {token}")],
            Credential::Empty => vec!["Bearer ".to_owned()],
            Credential::InQuery | Credential::Missing => Vec::new(),
        };
        let request = RawRequest::get(&path)
            .tenant("acme")
            .header("x-provider", provider);
        values.into_iter().fold(request, |request, value| {
            request.header("authorization", value)
        })
    }

    /// All that is odd about it, for messages.
    pub fn story(&self) -> String {
        let mut odd = self.document.odd.clone();
        odd.extend(self.odd.iter().cloned());
        if self.writing != Writing::Plain {
            odd.push(format!("writing: {:?}", self.writing));
        }
        if self.shape != Shape::Plain {
            odd.push(format!("shape: {:?}", self.shape));
        }
        if self.credential != Credential::Bearer {
            odd.push(format!("credential: {:?}", self.credential));
        }
        odd.join("; ")
    }
}

/// By the key `p521-a` for the first of the issuers, until the year 2100: nothing here signs with such a key.
const ES512: &str = concat!(
    "eyJhbGciOiJFUzUxMiIsImtpZCI6ImswIiwidHlwIjoiSldUIn0.",
    "eyJpc3MiOiJodHRwczovL2lkcC5leGFtcGxlLmNvbS9zMCIsInN1YiI6ImFsaWNlIiwiYXVkIjoib2JzZXJ2YWJpbGl0eSIsImV4",
    "cCI6NDEwMjQ0NDgwMCwiaWF0IjoxNzAwMDAwMDAwLCJqdGkiOiJlczUxMiIsImdyb3VwcyI6WyJyZWFkZXJzIl19.",
    "AVCEjgqoW1SVFl09GIpML2lftLr2cLb9hTooGJwhWGiS3NELrE9wZb1BULYwbsNBSSEwrkCawrTHAtfBxNm8QtBdAMEmohiWKdit",
    "7jOiMFcbNCuNoq5Cbya_amGatn73kH3qk5eNjwJ6PoBLMUBSUGt258K52MBew6xYgt7gfULbu-B-",
);
