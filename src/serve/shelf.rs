//! The document that is served.

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use ring::digest::{SHA256, digest};

use super::signer::{Seal, Signer};
use crate::resources::document::{self, MAX_DOCUMENT, Mark};

/// A document in the form in which it is sent.
#[derive(Clone, Debug)]
pub struct Document {
    mark: Mark,
    /// The hash of the organizations alone, in hexadecimal.
    hash: String,
    body: Bytes,
    organizations: u64,
    signed: Option<Signed>,
}

/// What a signed document has in addition.
#[derive(Clone, Debug)]
struct Signed {
    /// The name of the key.
    key_id: String,
    /// Its date, in seconds since 1970.
    issued: u64,
    /// The organizations as text, to be signed again.
    text: Arc<str>,
}

impl Signed {
    /// Whether signing again would give the same signature.
    fn is_by(&self, seal: &Seal) -> bool {
        self.issued == seal.issued && self.key_id == seal.key.key_id()
    }
}

impl Document {
    /// The mark, which says how new it is.
    #[must_use]
    pub const fn mark(&self) -> Mark {
        self.mark
    }

    /// The bytes of the document.
    #[must_use]
    pub const fn body(&self) -> &Bytes {
        &self.body
    }

    /// The number of organizations in it.
    #[must_use]
    pub const fn organizations(&self) -> u64 {
        self.organizations
    }

    /// The media type with which it is sent.
    #[must_use]
    pub const fn media_type(&self) -> &'static str {
        match self.signed {
            // RFC 7515 §9.2.1
            Some(_) => "application/jose",
            None => "application/json",
        }
    }

    /// When it was signed, in seconds since 1970.
    #[must_use]
    pub fn issued(&self) -> Option<u64> {
        self.signed.as_ref().map(|signed| signed.issued)
    }

    /// Its entity tag, which differs for every document. It consists of mark and hash and, for
    /// a signed document, of date and key.
    #[must_use]
    pub fn tag(&self) -> String {
        let (mark, hash) = (self.mark, &self.hash);
        match &self.signed {
            None => format!("\"{mark}.{hash}\""),
            Some(signed) => format!("\"{mark}.{hash}.{}.{}\"", signed.issued, signed.key_id),
        }
    }

    /// Whether a client that has the document with this tag needs no other. This is so if that
    /// document has the same organizations and is at least as new, as one from another server
    /// can be, and if this document is signed, that one must have been signed by the same key
    /// with a date that is not earlier. The tag may be weak, because proxies that compress make
    /// it weak.
    #[must_use]
    pub fn is_had_with(&self, tag: &str) -> bool {
        let tag = tag.strip_prefix("W/").unwrap_or(tag);
        let parsed = || {
            let mut parts = tag.strip_prefix('"')?.strip_suffix('"')?.splitn(4, '.');
            let epoch = parts.next()?.parse().ok()?;
            let revision = parts.next()?.parse().ok()?;
            let mark = Mark::new(epoch, revision)?;
            Some((mark, parts.next()?, parts.next()))
        };
        parsed().is_some_and(|(mark, hash, signature)| {
            hash == self.hash && mark >= self.mark && self.is_signed_as_in(signature)
        })
    }

    /// Whether the rest of a tag names the same key and a date that is not earlier.
    fn is_signed_as_in(&self, tag: Option<&str>) -> bool {
        let Some(signed) = &self.signed else {
            return tag.is_none();
        };
        let parts = tag.and_then(|tag| tag.split_once('.'));
        parts.is_some_and(|(issued, key_id)| {
            let issued = issued.parse();
            key_id == signed.key_id && issued.is_ok_and(|issued: u64| issued >= signed.issued)
        })
    }

    /// Creates a document of these organizations, whose text has that hash. It is signed if
    /// there is a seal.
    fn new(
        mark: Mark,
        (hash, text, organizations): (String, Arc<str>, u64),
        seal: Option<Seal>,
    ) -> Result<Self, Refused> {
        let content = match &seal {
            None => document::document(mark, &text),
            Some(seal) => document::payload(mark, seal.issued, &text),
        };
        if content.len() > MAX_DOCUMENT {
            let length = content.len();
            return Err(Refused::TooLong { length });
        }
        let (body, signed) = match seal {
            None => (content, None),
            Some(Seal { key, issued }) => {
                let key_id = key.key_id().to_owned();
                let jws = key.sign(&content).ok_or(Refused::Unsigned)?;
                let signed = Signed {
                    key_id,
                    issued,
                    text,
                };
                (jws, Some(signed))
            }
        };
        Ok(Self {
            mark,
            hash,
            body: body.into(),
            organizations,
            signed,
        })
    }
}

/// The outcome of putting a document on the shelf.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Placed {
    /// It is now served.
    New,
    /// It says the same as the one that is already served.
    Same,
}

/// Why a document is not served.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refused {
    /// It says something else, but its mark is not higher.
    NotNewer {
        /// The mark of the document that is served.
        served: Mark,
        /// The mark of the document that was refused.
        refused: Mark,
    },
    /// It is longer than any gate would accept.
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// It could not be signed.
    Unsigned,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotNewer { served, refused } => write!(
                f,
                "it differs from what is served and its mark {refused} is not above {served}: \
                 raise the revision, or --epoch where revisions have begun anew"
            ),
            Self::TooLong { length } => write!(
                f,
                "it has {length} bytes, and a gate takes {MAX_DOCUMENT} at most"
            ),
            Self::Unsigned => f.write_str("it could not be signed"),
        }
    }
}

/// Holds the document, and whether it is served.
#[derive(Debug, Default)]
pub struct Shelf {
    document: RwLock<Option<Arc<Document>>>,
    signer: Option<Arc<Signer>>,
    ending: AtomicBool,
}

impl Shelf {
    /// Creates a shelf whose documents are signed by that signer.
    #[must_use]
    pub fn signed_by(signer: Arc<Signer>) -> Self {
        Self {
            signer: Some(signer),
            ..Self::default()
        }
    }

    /// Puts organizations on the shelf.
    ///
    /// If the organizations are the same as before, a higher mark is adopted and a lower one is
    /// ignored.
    ///
    /// # Errors
    /// The document differs without being newer, is too long, or could not be signed. What was
    /// there stays.
    pub fn put(&self, mark: Mark, organizations: &str, count: usize) -> Result<Placed, Refused> {
        let hash = hash_of(organizations);
        let mut place = self
            .document
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(served) = place.as_deref() {
            if served.hash == hash && mark <= served.mark {
                return Ok(Placed::Same);
            }
            if mark <= served.mark {
                let served = served.mark;
                let refused = mark;
                return Err(Refused::NotNewer { served, refused });
            }
        }
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        let seal = self.signer.as_ref().map(|signer| signer.seal());
        let document = Document::new(mark, (hash, organizations.into(), count), seal)?;
        *place = Some(Arc::new(document));
        Ok(Placed::New)
    }

    /// Signs the document again if its key or its date has changed. Returns whether it did.
    ///
    /// # Errors
    /// The document could not be signed. What was there stays.
    pub fn renew(&self) -> Result<bool, Refused> {
        let Some(signer) = &self.signer else {
            return Ok(false);
        };
        let seal = signer.seal();
        let Some(served) = self.document() else {
            return Ok(false);
        };
        let Some(last) = served.signed.as_ref().filter(|last| !last.is_by(&seal)) else {
            return Ok(false);
        };
        // No request waits for the signature.
        let content = (
            served.hash.clone(),
            Arc::clone(&last.text),
            served.organizations,
        );
        let document = Document::new(served.mark, content, Some(seal))?;
        let mut place = self
            .document
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        // A document that has arrived in the meantime is newer, and has a signature of its own.
        let is_same = place.as_ref().is_some_and(|now| Arc::ptr_eq(now, &served));
        if is_same {
            *place = Some(Arc::new(document));
        }
        Ok(is_same)
    }

    /// The document on the shelf.
    #[must_use]
    pub fn document(&self) -> Option<Arc<Document>> {
        let place = self.document.read().unwrap_or_else(PoisonError::into_inner);
        place.clone()
    }

    /// Whether a load balancer should send requests here.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.document().is_some() && !self.ending.load(Ordering::Relaxed)
    }

    /// Says that no more requests should be sent here. Those that arrive are still answered.
    pub fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }
}

/// The first 128 bits of SHA-256, in hexadecimal.
fn hash_of(text: &str) -> String {
    let digest = digest(&SHA256, text.as_bytes());
    let mut hash = String::with_capacity(32);
    for byte in digest.as_ref().iter().take(16) {
        let _ = write!(hash, "{byte:02x}");
    }
    hash
}
