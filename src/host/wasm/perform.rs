//! Performs each effect in the proxy.

use std::collections::HashMap;

use super::abi::Status;
use super::call::{self, Map, Metrics};
use crate::forward::Edit;
use crate::worker::counters::Counters;
use crate::worker::driver::{Performed, Proxy};
use crate::worker::{CallId, Effect, Reading, RootId};

/// The proxy that called the module.
#[derive(Debug, Default)]
pub(super) struct Caller {
    /// The context that calls act on.
    context: u32,
    /// The context that the callback belongs to.
    home: u32,
    /// The worker's requests that are under way, with their roots, by the numbers that the
    /// proxy gave them.
    calls: HashMap<u32, (CallId, u64)>,
    counters: Counters,
}

impl Caller {
    /// Notes the context of a callback. Calls act on it until they name another one.
    pub(super) const fn called_by(&mut self, context: u32) {
        (self.context, self.home) = (context, context);
    }

    /// The worker's number of a request that has ended.
    pub(super) fn ended(&mut self, token: u32) -> Option<CallId> {
        self.calls.remove(&token).map(|(call, _)| call)
    }

    /// Forgets the requests of a root that is gone.
    pub(super) fn forget(&mut self, root: RootId) {
        self.calls.retain(|_, (_, known)| *known != root.0);
    }

    /// Writes the counters to the proxy.
    pub(super) fn flush(&mut self) {
        self.counters.flush(&Metrics);
    }

    fn act_on(&mut self, context: u64) -> Result<(), Status> {
        let context = u32::try_from(context).map_err(|_| Status::NOT_FOUND)?;
        if self.context != context {
            call::act_on(context)?;
            self.context = context;
        }
        Ok(())
    }

    fn try_perform(&mut self, effect: &Effect<'_>) -> Result<Performed, Status> {
        if let Some(context) = effect.context() {
            self.act_on(context)?;
        }
        match effect {
            Effect::Edit { edit, .. } => edit_header(Map::Request, edit)?,
            Effect::EditResponse { edit, .. } => edit_header(Map::Response, edit)?,
            Effect::ReplaceBody { size, body, .. } => call::replace_body(*size, body)?,
            Effect::DropTrailers { .. } => call::drop_trailers()?,
            Effect::Reply { reply, .. } => call::reply(reply)?,
            Effect::Resume { .. } => call::resume_request()?,
            Effect::FilterState { record, .. } => call::set_filter_state("scopegate", record),
            Effect::TickEvery { millis, .. } => call::set_tick_period(*millis),
            Effect::Count { count, .. } => self.counters.count(*count),
            Effect::Show { gauge, value } => self.counters.show(&Metrics, *gauge, *value),
            Effect::Log { level, line, .. } => call::log(*level, line),
            Effect::Look { key, .. } => return Ok(Performed::Looked(call::shared(key))),
            Effect::Swap {
                key, value, swap, ..
            } => return Ok(Performed::Swapped(call::swap_shared(key, value, *swap))),
            Effect::Call {
                root,
                call,
                cluster,
                headers,
                timeout,
            } => {
                let token = call::http(cluster, headers, *timeout)?;
                self.calls.insert(token, (*call, root.0));
            }
        }
        Ok(Performed::Done)
    }
}

fn edit_header(map: Map, edit: &Edit<'_>) -> Result<(), Status> {
    match edit {
        Edit::Add(name, value) => call::add_header(map, name, value),
        // Some hosts report an error when a header that is not there is removed.
        Edit::Remove(name) => match call::remove_header(map, name) {
            Err(Status::NOT_FOUND) => Ok(()),
            removed => removed,
        },
        Edit::Set(name, value) => call::set_header(map, name, value),
    }
}

impl Proxy for Caller {
    fn clocks(&mut self) -> Reading {
        call::clocks()
    }

    fn perform(&mut self, effect: &Effect<'_>) -> Performed {
        let performed = self.try_perform(effect);
        // What the worker wants done to the stream of this callback must act on that stream.
        if self.context != self.home && call::act_on(self.home).is_ok() {
            self.context = self.home;
        }
        performed.unwrap_or_else(|status| Performed::Refused(status.code()))
    }
}
