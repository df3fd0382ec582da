//! Turns a passage into the header edits that let the request pass.
//!
//! Edits that would change nothing are left out, because each one is a call into the proxy: a
//! canonical tenant header stays, and a header that is not there is not removed. Edits are
//! passed on one by one, so that a request with a remembered token allocates nothing for them.

use std::borrow::Cow;

use crate::authn::token_cache::Session;
use crate::authz::endpoint::{Backend, Endpoint, Rewrite};
use crate::config::Forward;
use crate::gate::{Passage, Permit, Query};
use crate::scoping::narrow;
use crate::words::credential::CredentialKind;
use crate::words::request::{BACKEND_HEADER, Head, Occurrence};

/// One change to a request's headers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Edit<'a> {
    /// Add a header that is not there. This is cheaper than looking for one to replace.
    Add(&'a [u8], Cow<'a, [u8]>),
    /// Remove every value of a header.
    Remove(&'a [u8]),
    /// Set a header to exactly this value.
    Set(&'a [u8], Cow<'a, [u8]>),
}

/// Emits the edits for a request that passes, in the order in which they have to be made.
///
/// If the passage is enforced, the edits set the parameters that the gate has written; if it is
/// only reported, the parameters stay unchanged. In both cases, headers that only the gate may
/// set are removed.
pub fn edits(
    passage: &Passage<'_>,
    head: &Head<'_>,
    forward: &Forward,
    mut emit: impl FnMut(Edit<'_>),
) {
    let emit = &mut emit;
    hygiene(passage, head, forward, emit);
    let Some(endpoint) = passage.endpoint() else {
        return;
    };
    // Whatever the client sent under this name has been removed above, in every spelling.
    emit(Edit::Add(
        BACKEND_HEADER.as_bytes(),
        Cow::Borrowed(endpoint.backend.name().as_bytes()),
    ));
    match passage {
        Passage::Enforced(permit) => {
            identify(permit.tenants(), permit.session(), head, forward, emit);
            if permit.scope().is_some() {
                scope(permit, forward, emit);
            }
            parameters(permit, head, forward, emit);
        }
        Passage::Reported(finding) => {
            if let Some((session, tenants)) = finding.granted() {
                identify(tenants, session, head, forward, emit);
            }
            if forward.rewrite_paths
                && let Some(edit) = rewrite(endpoint, sent_query(head), head)
            {
                emit(edit);
            }
        }
    }
}

/// Sets the canonical tenant header and the subject. Tenants that are borrowed are in the
/// request already.
#[expect(clippy::ptr_arg)]
fn identify(
    tenants: &Cow<'_, [u8]>,
    session: &Session,
    head: &Head<'_>,
    forward: &Forward,
    emit: &mut impl FnMut(Edit<'_>),
) {
    if let Cow::Owned(tenants) = tenants {
        let tenants = Cow::Borrowed(tenants.as_slice());
        match head.org_id {
            Occurrence::Absent => emit(Edit::Add(b"x-scope-orgid", tenants)),
            Occurrence::Once(_) => emit(Edit::Set(b"x-scope-orgid", tenants)),
            // The projects API does not use what the client sent, and older hosts set only the
            // first value.
            Occurrence::Repeated => {
                emit(Edit::Remove(b"x-scope-orgid"));
                emit(Edit::Add(b"x-scope-orgid", tenants));
            }
        }
    }
    if let Some(name) = &forward.subject_header {
        let subject = session.principal.subject.in_header();
        emit(Edit::Add(
            name.as_str().as_bytes(),
            Cow::Borrowed(subject.as_bytes()),
        ));
    }
}

fn scope(permit: &Permit<'_>, forward: &Forward, emit: &mut impl FnMut(Edit<'_>)) {
    // Loki takes hints about the evaluation of a query from this header.
    emit(Edit::Remove(b"x-query-tags"));
    if forward.label_policy_header
        && let Some(edit) = label_policy(permit)
    {
        emit(edit);
    }
}

fn parameters(
    permit: &Permit<'_>,
    head: &Head<'_>,
    forward: &Forward,
    emit: &mut impl FnMut(Edit<'_>),
) {
    let rewrite_path = forward.rewrite_paths;
    let path = match permit.query() {
        Query::AsSent(query) => rewrite_path
            .then(|| rewrite(permit.endpoint(), *query, head))
            .flatten(),
        Query::Narrowed(query) => path_with(permit, Some(query.as_bytes()), head, rewrite_path),
        Query::InBody(_) => path_with(permit, None, head, rewrite_path),
    };
    if let Some(edit) = path {
        emit(edit);
    }
    // The body that follows will be a different one.
    if matches!(permit.query(), Query::InBody(_)) && head.content_length != Occurrence::Absent {
        emit(Edit::Remove(b"content-length"));
    }
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

/// The header for backends that enforce label policies themselves, such as Grafana Enterprise
/// Metrics and Logs: `tenant:selector`, escaped, once for each tenant.
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

fn hygiene(
    passage: &Passage<'_>,
    head: &Head<'_>,
    forward: &Forward,
    emit: &mut impl FnMut(Edit<'_>),
) {
    for name in &head.forbidden {
        emit(Edit::Remove(name));
    }
    // If an ID token decided, nothing is known about what this header holds. If the token was
    // sent as a password, the header also holds a user name that nobody has verified.
    let unknown = matches!(
        passage.credential(),
        Some(CredentialKind::IdToken | CredentialKind::Basic)
    );
    if (unknown || !forward.keep_authorization) && head.authorization != Occurrence::Absent {
        emit(Edit::Remove(b"authorization"));
    }
}

fn rewrite<'a>(endpoint: &Endpoint, query: Option<&[u8]>, head: &Head<'_>) -> Option<Edit<'a>> {
    let path = rewritten_path(endpoint, head)?;
    Some(Edit::Set(b":path", Cow::Owned(with_query(path, query))))
}

/// The path at the backend, if it is a different one.
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
