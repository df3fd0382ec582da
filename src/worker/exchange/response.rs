//! The answer, and the end of streams that go on after it.

use super::cors::Cors;
use super::desk::{Desk, head_for};
use super::state::{Kept, may_be_own};
use crate::authz::endpoint::{Endpoint, ErrorFormat};
use crate::words::denial::Denial;
use crate::words::request::Occurrence;
use crate::words::verdict::Verdict;
use crate::worker::counters::Count;
use crate::worker::effect::Effect;
use crate::worker::event::{Action, ResponseHead};
use crate::worker::lifetimes::{End, Lifetime};

/// Handles the beginning of the answer. A proxy's own 503 means that the backend cannot be
/// reached. It is replaced with a 502, which tells clients and operators that neither the gate
/// nor the backend gave that answer.
///
/// At this point a proxy's own answer has a body and two or three headers or, for gRPC,
/// trailers only. Any other answer is the backend's. It passes without a call into the proxy,
/// unless a record waits for its status or a page needs permission to read it.
pub fn on_response(
    desk: &mut Desk<'_>,
    kept: Kept<'_>,
    (headers, end): (usize, bool),
    response: &dyn ResponseHead,
) -> Action {
    let Kept {
        endpoint,
        json,
        cors,
        record,
    } = kept;
    let error_format = endpoint.map(|endpoint| endpoint.error_format);
    let grpc = error_format == Some(ErrorFormat::Grpc);
    let may_be_own = may_be_own(endpoint, (headers, end));
    if record.is_none() && cors.is_off() && !may_be_own {
        return Action::Continue;
    }
    let status = response.status();
    let unreachable =
        may_be_own && (grpc || status == Some(503)) && is_unreachable(&response.details());
    if !unreachable {
        let stream = desk.stream;
        let out = &mut *desk.out;
        cors.edits(|edit| out.emit(Effect::EditResponse { stream, edit }));
        desk.log_record(record, status);
        return Action::Continue;
    }
    let denial = Denial::BackendUnavailable;
    let id = response.request_id();
    let reply = desk.denial(denial, error_format, &head_for(endpoint, json, &id, cors));
    desk.answer(&reply);
    desk.log_record(record, Some(denial.status()));
    desk.count(Count::Decision {
        endpoint,
        verdict: Verdict::Denied(denial),
    });
    Action::Pause
}

/// Whether the proxy itself made the response, because no upstream answered.
fn is_unreachable(details: &[u8]) -> bool {
    [
        &b"cluster_not_found"[..],
        b"no_healthy_upstream",
        b"upstream_reset_before_response_started",
    ]
    .iter()
    .any(|kind| details.starts_with(kind))
}

/// Ends a stream if its time is up, and returns whether it did.
///
/// The stream is ended with a reply, which is correct at any moment. If no response has begun,
/// the client reads it. Otherwise a proxy can only reset the stream.
pub fn end_stream(
    desk: &mut Desk<'_>,
    lifetime: Lifetime,
    endpoint: Option<&'static Endpoint>,
) -> bool {
    let Some(end) = lifetime.over(desk.now) else {
        return false;
    };
    let (denial, text) = match end {
        // This is not a refusal. It can be retried like a fault of the gate, but has a text of
        // its own.
        End::MaxDuration => (
            Denial::GateUnavailable,
            Some("limits.stream_duration is over: open it again"),
        ),
        End::TokenExpired => (Denial::TokenExpired, None),
    };
    farewell(desk, endpoint, denial, text, end.reason());
    true
}

/// Ends a stream that is no longer granted. `denial` says why the same request would be refused
/// now.
pub fn withdraw_stream(desk: &mut Desk<'_>, denial: Denial, endpoint: Option<&'static Endpoint>) {
    farewell(desk, endpoint, denial, None, "grant_withdrawn");
}

/// Ends a stream with a text that the client reads if its response has not begun.
fn farewell(
    desk: &mut Desk<'_>,
    endpoint: Option<&'static Endpoint>,
    denial: Denial,
    text: Option<&str>,
    reason: &'static str,
) {
    let error_format = endpoint.map(|endpoint| endpoint.error_format);
    let mut head = head_for(endpoint, false, &[], &Cors::Off);
    head.request_id = Occurrence::Absent;
    let mut reply = desk.denial(denial, error_format, &head);
    reply.details = format!("scopegate{{{reason}}}");
    if let Some(text) = text {
        let line_end = if error_format == Some(ErrorFormat::Grpc) {
            ""
        } else {
            "\n"
        };
        reply.body = format!("{text}{line_end}").into_bytes();
    }
    desk.answer(&reply);
    desk.count(Count::StreamEnded { reason });
}
