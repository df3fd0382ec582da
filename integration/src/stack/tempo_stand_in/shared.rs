//! What the ports share: the stored spans, the tenant of a request, and refusals.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Mutex, PoisonError};

use hyper::header::{HeaderMap, HeaderValue};

use super::store::Store;

#[derive(Default)]
pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) requests: AtomicUsize,
    /// The number of answers of the query port by (method, route, status code), for `/metrics`.
    pub(super) answered: Mutex<BTreeMap<(String, String, String), u64>>,
}

impl Shared {
    pub(super) fn count(&self, method: &str, route: &str, status: &str) {
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (method.to_owned(), route.to_owned(), status.to_owned());
        *answered.entry(key).or_default() += 1;
    }
}

/// A refusal, in both protocols.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) http: u16,
    pub(super) grpc: i32,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn bad_request(message: impl Into<String>) -> Refusal {
        Refusal {
            http: 400,
            grpc: INVALID_ARGUMENT,
            message: message.into(),
        }
    }
}

/// The value of the tenant header, if it occurs once and is not empty.
pub(super) fn only_tenant(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(TENANT).iter();
    let only = values.next().filter(|value| !value.is_empty());
    only.filter(|_| values.next().is_none())
        .map(HeaderValue::as_bytes)
}

/// The tenants that a header value names, by the rules of dskit, which Tempo uses.
pub(super) fn tenants(value: &[u8]) -> Result<Vec<String>, Refusal> {
    let invalid = |what: &str| Refusal::bad_request(format!("tenant ID {what}"));
    let text = std::str::from_utf8(value).map_err(|_| invalid("contains unsupported character"))?;
    let mut names = Vec::new();
    for element in text.split('|') {
        // dskit takes what follows a colon for metadata and cuts it off, which is one of the reasons for a gate.
        let name = element.split(':').next().unwrap_or_default();
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!-_.*'()".contains(&byte);
        if !name.bytes().all(allowed) {
            return Err(invalid("contains unsupported character"));
        }
        if name.is_empty() || name == "." || name == ".." {
            return Err(invalid("is empty, '.' or '..'"));
        }
        if name.len() > MAX_TENANT_LENGTH {
            return Err(invalid("is too long"));
        }
        names.push(name.to_owned());
    }
    names.sort();
    names.dedup();
    Ok(names)
}

pub(super) const TENANT: &str = "x-scope-orgid";

/// dskit's limit, in bytes.
pub(super) const MAX_TENANT_LENGTH: usize = 150;

pub(super) const UNKNOWN: i32 = 2;
pub(super) const INVALID_ARGUMENT: i32 = 3;
pub(super) const UNIMPLEMENTED: i32 = 12;
pub(super) const UNAVAILABLE: i32 = 14;
