//! Turns a scope into the parameters with which a request is forwarded.

use std::sync::Arc;

use super::Gate;
use super::head::{is_at_most, request_line};
use super::outcome::{Query, Stop};
use crate::authz::endpoint::{Backend, Endpoint, Honoured, Scoping};
use crate::scoping::narrow::{MAX_BODY, Narrowing, label_policy};
use crate::scoping::parameters::Parameters;
use crate::scoping::scope::Scope;
use crate::scoping::tags;
use crate::words::denial::Denial;
use crate::words::own_answer::OwnAnswer;
use crate::words::request::{Head, Occurrence};
use crate::words::tenant::TenantSet;
use crate::words::unscoped::Unscoped;

/// The longest `X-Prom-Label-Policy`, in bytes. It is the limit that Envoy has for all headers
/// of a client, and far below that of the backends.
const MAX_LABEL_POLICY: usize = 61_440;

impl Gate {
    /// Checks that the server behind an endpoint honours the parameters that limit it, as far
    /// as this is known.
    fn check_backend(
        &self,
        endpoint: &Endpoint,
        parameters: &Parameters,
        honoured: Honoured,
    ) -> Result<(), Denial> {
        let backends = &self.config.backends;
        let backend = endpoint.backend;
        if backends
            .version(backend)
            .is_some_and(|version| version < honoured.since)
        {
            return Err(unscoped(Unscoped::Version(backend.name(), honoured.since)));
        }
        if parameters.whole_traces && backends.tempo_search_denied {
            return Err(unscoped(Unscoped::Denied));
        }
        Ok(())
    }

    /// Checks that the scope can also be sent as a label policy, if that is configured.
    pub(super) fn check_label_policy(
        &self,
        endpoint: &Endpoint,
        tenants: &TenantSet<'_>,
        scope: &Arc<Scope>,
    ) -> Result<(), Denial> {
        if !self.config.forward.label_policy_header || endpoint.backend == Backend::Tempo {
            return Ok(());
        }
        // The policy is repeated for each tenant, with a colon and a comma.
        let policy = label_policy(scope).len().saturating_add(2);
        let policies = policy.saturating_mul(tenants.iter().count());
        let size = tenants.canonical().len().saturating_add(policies);
        if size > MAX_LABEL_POLICY {
            return Err(unscoped(Unscoped::Header));
        }
        Ok(())
    }

    /// Inserts the scope into the parameters, or returns how to insert it into the body.
    pub(super) fn narrow<'a>(
        &self,
        head: &Head<'a>,
        endpoint: &Endpoint,
        query: Option<&'a [u8]>,
        scope: &Scope,
    ) -> Result<Query<'a>, Stop> {
        let parameters = match endpoint.scoping {
            // The gate answers on behalf of a backend, so there must be one.
            Scoping::AnsweredEmpty(_) if !self.has(endpoint) => {
                return Err(Denial::BackendNotConfigured.into());
            }
            Scoping::AnsweredEmpty(document) => {
                return Err(OwnAnswer::Empty(document).into());
            }
            Scoping::Harmless => return Ok(Query::AsSent(query)),
            Scoping::Parameters(parameters, honoured) => {
                self.check_backend(endpoint, parameters, honoured)?;
                parameters
            }
            Scoping::Unsupported => return Err(unscoped(Unscoped::Endpoint).into()),
            // If searches are denied too, there is no alternative to suggest.
            Scoping::WholeTrace if self.config.backends.tempo_search_denied => {
                return Err(unscoped(Unscoped::Endpoint).into());
            }
            Scoping::WholeTrace => return Err(unscoped(Unscoped::TraceById).into()),
        };
        let spans_only =
            endpoint.backend == Backend::Tempo && self.config.backends.tempo_search_denied;
        if parameters.tag_in_path {
            let (_, path, _) = request_line(head)?;
            let tag = endpoint.segment(path);
            match tag {
                Some(tag) if spans_only && tags::are_of_whole_traces(&tag) => {
                    return Err(unscoped(Unscoped::Denied).into());
                }
                Some(tag) if tags::are_filtered(&tag) => {}
                _ => return Err(unscoped(Unscoped::Tag).into()),
            }
        }
        let attributes = &self.config.backends.tempo_attributes;
        let narrowing = Narrowing::new(parameters, scope, attributes, query)?;
        let narrowing = if spans_only {
            narrowing.of_spans_only()
        } else {
            narrowing
        };
        // What follows the head of a WebSocket request is not a body.
        if !head.has_body || head.upgrade != Occurrence::Absent {
            return Ok(Query::Narrowed(narrowing.form(None)?));
        }
        if head.method.once() != Some(b"POST") {
            return Err(Denial::BodyNotExpected.into());
        }
        if !head.is_form() {
            return Err(Denial::ContentTypeNotSupported.into());
        }
        let length = match head.content_length {
            Occurrence::Absent => None,
            Occurrence::Once(length) => Some(length),
            Occurrence::Repeated => return Err(Denial::RequestMalformed.into()),
        };
        if length.is_some_and(|length| !is_at_most(length, MAX_BODY)) {
            return Err(Denial::BodyTooLarge.into());
        }
        Ok(Query::InBody(narrowing))
    }
}

const fn unscoped(why: Unscoped) -> Denial {
    Denial::ScopeUnsupported(why)
}
