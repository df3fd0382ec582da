//! Forms that must be read before there is a verdict.

use super::decision::{Step, deny, is_otlp_json};
use super::desk::{Desk, Peer};
use super::state::{Exchange, Forwarded, Reading};
use crate::gate::{DecisionFacts, Form};
use crate::scoping::narrow::MAX_BODY;
use crate::words::denial::Denial;
use crate::words::request::Head;
use crate::words::tenant::TenantSet;
use crate::worker::effect::Effect;
use crate::worker::event::{Action, Lazy};

/// Takes more of a body. If the body is to be replaced, it is held back until it has ended.
pub fn on_body(
    desk: &mut Desk<'_>,
    mut reading: Box<Reading>,
    size: usize,
    end: bool,
    read: Lazy<'_>,
) -> Step {
    let verdict = match &reading.form {
        Form::Replaced(narrowing) => {
            if size > MAX_BODY {
                Err(Denial::BodyTooLarge)
            } else if !end {
                return (Exchange::Reading(reading), Action::Pause);
            } else {
                match read().filter(|body| body.len() == size) {
                    Some(body) => narrowing.form(Some(&body)).map(Some),
                    None => Err(Denial::GateUnavailable),
                }
            }
        }
        // The body passes piece by piece, because a proxy refuses a body that it cannot hold.
        Form::Overheard(narrowing) => {
            if reading.heard.len().saturating_add(size) > MAX_BODY {
                Err(Denial::BodyTooLarge)
            } else {
                let piece = read().unwrap_or_default();
                reading.heard.extend_from_slice(&piece);
                if !end {
                    return (Exchange::Reading(reading), Action::Continue);
                }
                narrowing.form(Some(&reading.heard)).map(|_| None)
            }
        }
    };
    let verdict = verdict.map(|form| {
        if let Some(form) = form {
            let stream = desk.stream;
            desk.out.emit(Effect::ReplaceBody {
                stream,
                size,
                body: form.as_bytes(),
            });
        }
    });
    conclude(desk, &reading, verdict)
}

/// Acts on what was found in a body.
pub fn conclude(desk: &mut Desk<'_>, reading: &Reading, verdict: Result<(), Denial>) -> Step {
    let head = Head::read(reading.headers.iter(), desk.root.own_headers());
    let facts = DecisionFacts {
        endpoint: reading.endpoint,
        credential: reading.credential,
        session: reading.session.clone(),
        tenants: reading.tenants.as_deref().map(TenantSet::of),
        scope: reading.scope.clone(),
        ..DecisionFacts::default()
    };
    let peer = Peer::Known(reading.peer.as_deref());
    let denial = verdict.err();
    if let (Some(denial), Form::Replaced(_)) = (denial, &reading.form) {
        return deny(desk, &head, &facts, denial, &peer);
    }
    let record = desk.decided(&head, &facts, denial.into(), denial.is_some(), &peer);
    let forwarded = Forwarded {
        // A form is answered once, so the grant is not examined again.
        opening: None,
        root: reading.root,
        lifetime: None,
        cors: reading.cors.clone(),
        endpoint: facts.endpoint,
        json: is_otlp_json(facts.endpoint, &head),
        record,
    };
    (Exchange::Forwarded(forwarded), Action::Continue)
}
