//! From a scope to the parameters that a request goes on with.

use super::Gate;
use super::head::{is_at_most, request_line};
use super::outcome::{Query, Stop};
use crate::authz::endpoint::{Endpoint, Honoured, Scoping};
use crate::scoping::narrow::{MAX_BODY, Narrowing};
use crate::scoping::parameters::Parameters;
use crate::scoping::scope::Scope;
use crate::scoping::tags;
use crate::words::denial::Denial;
use crate::words::own_answer::OwnAnswer;
use crate::words::request::{Head, Occurrence};
use crate::words::unscoped::Unscoped;

impl Gate {
    /// Whether the server behind an endpoint honours what limits it, as far as it is known.
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

    /// Puts the scope into the parameters, or says how it will be put into the body.
    pub(super) fn narrow<'a>(
        &self,
        head: &Head<'a>,
        endpoint: &Endpoint,
        query: Option<&'a [u8]>,
        scope: &Scope,
    ) -> Result<Query<'a>, Stop> {
        let parameters = match endpoint.scoping {
            // It is said for a backend, so that there must be one.
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
            // Where a search is denied as well, there is nothing to do instead.
            Scoping::WholeTrace if self.config.backends.tempo_search_denied => {
                return Err(unscoped(Unscoped::Endpoint).into());
            }
            Scoping::WholeTrace => return Err(unscoped(Unscoped::TraceById).into()),
        };
        if parameters.tag_in_path {
            let (_, path, _) = request_line(head)?;
            let tag = endpoint.segment(path);
            if !tag.is_some_and(|tag| tags::are_filtered(&tag)) {
                return Err(unscoped(Unscoped::Tag).into());
            }
        }
        let attributes = &self.config.backends.tempo_attributes;
        let narrowing = Narrowing::new(parameters, scope, attributes, query)?;
        // What follows the head of a websocket is no body.
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
