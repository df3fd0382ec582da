//! The document that is served.

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use ring::digest::{SHA256, digest};

use crate::resources::document::{self, MAX_DOCUMENT, Mark};

/// A document as it is sent.
#[derive(Clone, Debug)]
pub struct Document {
    mark: Mark,
    /// Of the organizations alone, in hexadecimal.
    hash: String,
    body: Bytes,
    organizations: u64,
}

impl Document {
    /// How new it is.
    #[must_use]
    pub const fn mark(&self) -> Mark {
        self.mark
    }

    /// Its bytes.
    #[must_use]
    pub const fn body(&self) -> &Bytes {
        &self.body
    }

    /// How many organizations are in it.
    #[must_use]
    pub const fn organizations(&self) -> u64 {
        self.organizations
    }

    /// Its entity tag, which is another for every other document: mark and hash.
    #[must_use]
    pub fn tag(&self) -> String {
        format!("\"{}.{}\"", self.mark, self.hash)
    }

    /// Whether whoever has the document of this tag needs this one: not if it has the same
    /// organizations and is as new, or newer, as another server's can be. The tag may be weak,
    /// as proxies make it that compress.
    #[must_use]
    pub fn is_had_with(&self, tag: &str) -> bool {
        let tag = tag.strip_prefix("W/").unwrap_or(tag);
        let parsed = || {
            let mut parts = tag.strip_prefix('"')?.strip_suffix('"')?.splitn(3, '.');
            let epoch = parts.next()?.parse().ok()?;
            let revision = parts.next()?.parse().ok()?;
            Some((Mark::new(epoch, revision)?, parts.next()?))
        };
        parsed().is_some_and(|(mark, hash)| hash == self.hash && mark >= self.mark)
    }
}

/// What became of a document that was to be put on the shelf.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Placed {
    /// It is served.
    New,
    /// It says what is served already.
    Same,
}

/// Why a document is not served.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refused {
    /// It says something else, and its mark is not higher.
    NotNewer {
        /// Of the one that is served.
        served: Mark,
        /// Of the other.
        refused: Mark,
    },
    /// No gate would take it.
    TooLong {
        /// In bytes.
        length: usize,
    },
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
        }
    }
}

/// Holds the document, and whether it is to be had.
#[derive(Debug, Default)]
pub struct Shelf {
    document: RwLock<Option<Arc<Document>>>,
    ending: AtomicBool,
}

impl Shelf {
    /// Puts organizations on the shelf.
    ///
    /// With the same organizations as before a higher mark counts, and a lower one does not.
    ///
    /// # Errors
    /// It differs and is not newer, or is too long. What was there stays.
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
        let body = document::document(mark, organizations);
        if body.len() > MAX_DOCUMENT {
            let length = body.len();
            return Err(Refused::TooLong { length });
        }
        *place = Some(Arc::new(Document {
            mark,
            hash,
            body: body.into(),
            organizations: u64::try_from(count).unwrap_or(u64::MAX),
        }));
        Ok(Placed::New)
    }

    /// What is there.
    #[must_use]
    pub fn document(&self) -> Option<Arc<Document>> {
        let place = self.document.read().unwrap_or_else(PoisonError::into_inner);
        place.clone()
    }

    /// Whether whoever balances load should send somebody here.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.document().is_some() && !self.ending.load(Ordering::Relaxed)
    }

    /// From now on nobody should be sent here. Whoever asks is still answered.
    pub fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }
}

/// 128 bits of SHA-256, in hexadecimal.
fn hash_of(text: &str) -> String {
    let digest = digest(&SHA256, text.as_bytes());
    let mut hash = String::with_capacity(32);
    for byte in digest.as_ref().iter().take(16) {
        let _ = write!(hash, "{byte:02x}");
    }
    hash
}
