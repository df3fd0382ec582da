//! From a permit to the header edits that let the request pass.
//!
//! Edits that change nothing are left out, because each is a call into the proxy:
//! a canonical tenant header stays, a header that is not there is not removed.

use std::borrow::Cow;

use crate::authz::endpoint::{Backend, Endpoint, Rewrite};
use crate::config::Forward;
use crate::gate::{Permit, Query};
use crate::scoping::narrow;
use crate::words::request::{BACKEND_HEADER, Head, Occurrence};

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
///
/// With `narrow` its parameters are those of the permit; without it they stay as they
/// came, which only `mode: report` may wish.
#[must_use]
pub fn permitted<'a>(
    permit: &'a Permit<'a>,
    head: &Head<'a>,
    forward: &'a Forward,
    narrow: bool,
) -> Vec<Edit<'a>> {
    let mut edits = hygiene(head, forward);
    // What a client sent of it was removed above, in every spelling.
    edits.push(Edit::Add(
        BACKEND_HEADER.as_bytes(),
        Cow::Borrowed(permit.endpoint().backend.name().as_bytes()),
    ));
    if let Cow::Owned(tenants) = permit.tenants() {
        let tenants = Cow::Borrowed(tenants.as_slice());
        match head.org_id {
            Occurrence::Absent => edits.push(Edit::Add(b"x-scope-orgid", tenants)),
            Occurrence::Once(_) => edits.push(Edit::Set(b"x-scope-orgid", tenants)),
            // The projects API asks for none, and older hosts set the first only.
            Occurrence::Repeated => {
                edits.push(Edit::Remove(b"x-scope-orgid"));
                edits.push(Edit::Add(b"x-scope-orgid", tenants));
            }
        }
    }
    if let Some(name) = &forward.subject_header {
        let subject = permit.session().principal.subject.as_str();
        edits.push(Edit::Add(
            name.as_bytes(),
            Cow::Borrowed(subject.as_bytes()),
        ));
    }
    if narrow && permit.scope().is_some() {
        // Loki takes hints from it how to evaluate a query.
        edits.push(Edit::Remove(b"x-query-tags"));
        if forward.label_policy_header {
            edits.extend(label_policy(permit));
        }
    }
    let rewrite_path = forward.rewrite_paths;
    match permit.query() {
        Query::AsSent(query) => {
            if rewrite_path {
                edits.extend(rewrite(permit.endpoint(), *query, head));
            }
        }
        _ if !narrow => {
            if rewrite_path {
                edits.extend(rewrite(permit.endpoint(), sent_query(head), head));
            }
        }
        Query::Narrowed(query) => {
            edits.extend(path_with(
                permit,
                Some(query.as_bytes()),
                head,
                rewrite_path,
            ));
        }
        Query::InBody(_) => {
            edits.extend(path_with(permit, None, head, rewrite_path));
            // The body that follows will be another one.
            if head.content_length != Occurrence::Absent {
                edits.push(Edit::Remove(b"content-length"));
            }
        }
    }
    edits
}

/// `:path` with another query string, whether the path itself changes or not.
fn path_with<'a>(
    permit: &Permit<'_>,
    query: Option<&[u8]>,
    head: &Head<'_>,
    rewrite_path: bool,
) -> Option<Edit<'a>> {
    let rewritten = rewrite_path
        .then(|| rewritten_path(permit.endpoint(), head))
        .flatten();
    let path = match rewritten {
        Some(path) => path,
        None => raw_path(head)?.to_vec(),
    };
    Some(Edit::Set(b":path", Cow::Owned(with_query(path, query))))
}

/// For backends that enforce label policies themselves, as Grafana Enterprise Metrics
/// and Logs do: `tenant:selector`, escaped, one for each tenant.
fn label_policy<'a>(permit: &Permit<'_>) -> Option<Edit<'a>> {
    let scope = permit.scope()?;
    if permit.endpoint().backend == Backend::Tempo {
        return None;
    }
    let policy = narrow::label_policy(scope);
    let mut value = Vec::new();
    for tenant in permit.tenants().split(|byte| *byte == b'|') {
        if !value.is_empty() {
            value.push(b',');
        }
        value.extend_from_slice(tenant);
        value.push(b':');
        value.extend_from_slice(policy.as_bytes());
    }
    Some(Edit::Set(b"x-prom-label-policy", Cow::Owned(value)))
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
        edits.extend(rewrite(endpoint, sent_query(head), head));
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
    let path = rewritten_path(endpoint, head)?;
    Some(Edit::Set(b":path", Cow::Owned(with_query(path, query))))
}

/// The path at the backend, if it is another one.
fn rewritten_path(endpoint: &Endpoint, head: &Head<'_>) -> Option<Vec<u8>> {
    match endpoint.rewrite {
        Rewrite::Keep => None,
        Rewrite::To(path) => Some(path.as_bytes().to_vec()),
        Rewrite::WithoutPrefix(prefix) => {
            let raw = raw_path(head)?.strip_prefix(prefix.as_bytes())?;
            Some(raw.to_vec())
        }
    }
}

fn with_query(mut path: Vec<u8>, query: Option<&[u8]>) -> Vec<u8> {
    if let Some(query) = query {
        path.push(b'?');
        path.extend_from_slice(query);
    }
    path
}

fn raw_path<'a>(head: &Head<'a>) -> Option<&'a [u8]> {
    head.path.once()?.split(|byte| *byte == b'?').next()
}

fn sent_query<'a>(head: &Head<'a>) -> Option<&'a [u8]> {
    head.path.once()?.splitn(2, |byte| *byte == b'?').nth(1)
}
