//! The organizations document, from which a gate learns of organizations from outside.
//!
//! ```json
//! {"version": 1, "epoch": 1, "revision": 4711, "organizations": […]}
//! ```
//!
//! `organizations` has the same form as in a configuration, sorted by name. Documents are
//! compared by their [`Mark`]; `docs/organizations.md` explains how it is determined.

use std::collections::BTreeMap;
use std::fmt;

use super::organization::Organization;

/// The version of the format.
pub const VERSION: u32 = 1;

/// The longest document that a gate accepts, in bytes.
pub const MAX_DOCUMENT: usize = crate::config::MAX_DOCUMENT;

/// The largest number in a [`Mark`]. Every JSON reader represents numbers below 2⁵³ exactly.
pub const MAX_NUMBER: u64 = (1 << 53) - 1;

/// How new a document is: the pair (epoch, revision), compared in this order.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Mark {
    epoch: u64,
    revision: u64,
}

impl Mark {
    /// Combines both numbers, or returns `None` if one of them is not below 2⁵³.
    #[must_use]
    pub fn new(epoch: u64, revision: u64) -> Option<Self> {
        let fits = epoch <= MAX_NUMBER && revision <= MAX_NUMBER;
        fits.then_some(Self { epoch, revision })
    }

    /// The number that operators raise when revisions start again.
    #[must_use]
    pub const fn epoch(self) -> u64 {
        self.epoch
    }

    /// The number that the source counts.
    #[must_use]
    pub const fn revision(self) -> u64 {
        self.revision
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.revision)
    }
}

/// One organization, ready to be written into documents.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    json: Box<str>,
}

impl Entry {
    /// Prepares an organization.
    ///
    /// # Errors
    /// None that an organization can cause.
    pub fn new(organization: &Organization) -> Result<Self, serde_json::Error> {
        let json = serde_json::to_string(organization)?.into();
        Ok(Self { json })
    }
}

/// The `organizations` of a document, which depend on the entries alone.
#[must_use]
pub fn organizations(entries: &BTreeMap<String, Entry>) -> String {
    let bytes = entries.values().map(|entry| entry.json.len());
    let room = bytes.fold(2, |sum: usize, bytes| {
        sum.saturating_add(bytes).saturating_add(1)
    });
    let mut text = String::with_capacity(room);
    text.push('[');
    for (index, entry) in entries.values().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(&entry.json);
    }
    text.push(']');
    text
}

/// The same as the payload of a JWS, with the time of its signature in seconds since 1970.
#[must_use]
pub fn payload(mark: Mark, issued: u64, organizations: &str) -> String {
    let (epoch, revision) = (mark.epoch, mark.revision);
    format!(
        "{{\"version\":{VERSION},\"epoch\":{epoch},\"revision\":{revision},\"iat\":{issued},\
         \"organizations\":{organizations}}}"
    )
}

/// The document with these organizations.
#[must_use]
pub fn document(mark: Mark, organizations: &str) -> String {
    let (epoch, revision) = (mark.epoch, mark.revision);
    format!(
        "{{\"version\":{VERSION},\"epoch\":{epoch},\"revision\":{revision},\
         \"organizations\":{organizations}}}\n"
    )
}
