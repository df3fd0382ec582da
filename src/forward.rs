//! From a permit to the header edits that let the request pass.
//!
//! Edits that change nothing are left out, because each is a call into the proxy:
//! a canonical tenant header stays, a header that is not there is not removed.

use std::borrow::Cow;

use crate::config::Forward;
use crate::endpoint::{Endpoint, Rewrite};
use crate::gate::Permit;
use crate::request::{BACKEND_HEADER, Head, Occurrence};

/// One change of a request's headers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Edit<'a> {
    /// Add a header that is not there: cheaper than to look for one to replace.
    Add(&'a [u8], Cow<'a, [u8]>),
    /// Remove every value of a header.
    Remove(&'a [u8]),
    /// Give a header exactly this value.
    Set(&'a [u8], Cow<'a, [u8]>),
}

/// The edits for a permitted request, in the order to make them.
#[must_use]
pub fn permitted<'a>(
    permit: &'a Permit<'a>,
    head: &Head<'a>,
    forward: &'a Forward,
) -> Vec<Edit<'a>> {
    let mut edits = hygiene(head, forward);
    // What a client sent of it was removed above, in every spelling.
    edits.push(Edit::Add(
        BACKEND_HEADER.as_bytes(),
        Cow::Borrowed(permit.endpoint().backend.name().as_bytes()),
    ));
    if let Cow::Owned(tenants) = permit.tenants() {
        edits.push(Edit::Set(b"x-scope-orgid", Cow::Borrowed(tenants)));
    }
    if let Some(name) = &forward.subject_header {
        let subject = permit.session().principal.subject.as_str();
        edits.push(Edit::Add(
            name.as_bytes(),
            Cow::Borrowed(subject.as_bytes()),
        ));
    }
    if forward.rewrite_paths {
        edits.extend(rewrite(permit.endpoint(), permit.query(), head));
    }
    edits
}

/// The edits for a request that would have been refused in enforce mode: no trust
/// header passes, and where the endpoint is known it still reaches its backend.
#[must_use]
pub fn reported<'a>(
    endpoint: Option<&'static Endpoint>,
    head: &Head<'a>,
    forward: &'a Forward,
) -> Vec<Edit<'a>> {
    let mut edits = hygiene(head, forward);
    let Some(endpoint) = endpoint else {
        return edits;
    };
    // What a client sent of it was removed above, in every spelling.
    edits.push(Edit::Add(
        BACKEND_HEADER.as_bytes(),
        Cow::Borrowed(endpoint.backend.name().as_bytes()),
    ));
    if forward.rewrite_paths {
        let query = head
            .path
            .once()
            .and_then(|path| path.splitn(2, |byte| *byte == b'?').nth(1));
        edits.extend(rewrite(endpoint, query, head));
    }
    edits
}

fn hygiene<'a>(head: &Head<'a>, forward: &Forward) -> Vec<Edit<'a>> {
    let mut edits: Vec<Edit<'a>> = Vec::with_capacity(head.forbidden.len().saturating_add(5));
    edits.extend(head.forbidden.iter().map(|name| Edit::Remove(name)));
    if !forward.keep_authorization && head.authorization != Occurrence::Absent {
        edits.push(Edit::Remove(b"authorization"));
    }
    edits
}

fn rewrite<'a>(endpoint: &Endpoint, query: Option<&[u8]>, head: &Head<'_>) -> Option<Edit<'a>> {
    let mut path = match endpoint.rewrite {
        Rewrite::Keep => return None,
        Rewrite::To(path) => path.as_bytes().to_vec(),
        Rewrite::WithoutPrefix(prefix) => {
            let whole = head.path.once()?;
            let end = whole.iter().position(|byte| *byte == b'?');
            let raw = whole.get(..end.unwrap_or(whole.len()))?;
            raw.strip_prefix(prefix.as_bytes())?.to_vec()
        }
    };
    if let Some(query) = query {
        path.push(b'?');
        path.extend_from_slice(query);
    }
    Some(Edit::Set(b":path", Cow::Owned(path)))
}
