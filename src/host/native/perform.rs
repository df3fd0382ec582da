//! Performs each effect in the proxy, or notes it until the worker is no longer in use.
//!
//! Envoy may call other hooks while a stream is resumed or answered. That is therefore left for
//! the end of the hook or, if it concerns another stream, for a wake-up of that stream.

use std::cell::Cell;
use std::collections::HashMap;
use std::time::Instant;

use super::abi::{self, Filter, Map, StreamScheduler, Wake};
use super::calls::Job;
use super::metrics::Board;
use super::{clocks, store};
use crate::forward::Edit;
use crate::reply::Reply;
use crate::words::hash::QuickHash;
use crate::worker::counters::Counters;
use crate::worker::driver::{Performed, Proxy};
use crate::worker::{Effect, Reading, RootId, StreamId};

/// What is left to do with a stream at its wake-up.
#[derive(Debug)]
pub(super) enum Todo {
    /// Answer it.
    Reply(Box<Reply>),
    /// Resume it.
    Resume,
    /// Refuse it, because nothing is known about it any more.
    Refuse,
}

thread_local! {
    /// The configuration of the stream whose hook it is.
    static ROOT: Cell<RootId> = const { Cell::new(RootId(0)) };
}

/// The configuration of the stream whose hook it is.
pub(super) fn current_root() -> RootId {
    ROOT.get()
}

/// A stream that is open.
#[derive(Debug)]
struct Open {
    filter: Filter,
    root: RootId,
    /// What its wake-up does, and the scheduler that brings it.
    todo: Option<(Todo, StreamScheduler)>,
    /// Why Envoy answers it itself, if that was noted.
    details: Option<Box<[u8]>>,
    /// The record for the access log, which is written when the status is known.
    record: Option<String>,
}

/// A stream that nobody knows any more. It is refused when it is woken, or at its next hook.
#[derive(Debug)]
struct Stranded {
    filter: Filter,
    refused: bool,
    /// Wakes it. Envoy wakes no stream whose scheduler is gone.
    _scheduler: Option<StreamScheduler>,
}

/// What is known about the stream of a hook.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Entered {
    /// All that the worker knows, which may be nothing.
    Known,
    /// Nothing, because the worker that knew it has panicked: it must be refused.
    Stranded,
    /// It has been refused for that reason.
    Refused,
}

/// What outlives the worker of a thread.
#[derive(Debug)]
pub(super) struct Remains {
    streams: Vec<(StreamId, Filter)>,
    board: Board,
    speaks: bool,
}

/// When the root of a configuration is called.
#[derive(Debug)]
struct Ticks {
    every: u128,
    last: Instant,
}

/// The proxy that called the module.
#[derive(Debug, Default)]
pub(super) struct Native {
    streams: HashMap<StreamId, Open, QuickHash>,
    /// The streams of a worker that has panicked. They are refused.
    stranded: HashMap<StreamId, Stranded, QuickHash>,
    /// The stream whose hook it is.
    current: Option<(StreamId, Filter)>,
    /// The answer to that stream.
    reply: Option<Reply>,
    /// Whether a header of its request has changed.
    edited: bool,
    jobs: Vec<Job>,
    ticks: HashMap<RootId, Ticks, QuickHash>,
    /// Whether it is the main thread's, which alone sets the gauges that threads do not add up:
    /// it knows the newest configuration first, and a thread only by its first stream.
    speaks: bool,
    counters: Counters,
    board: Board,
}

/// The number of a refusal. The worker knows no more than that there is one.
const REFUSED: u32 = 1;

impl Stranded {
    /// Has it refused, once.
    const fn refuse(&mut self) -> Entered {
        if self.refused {
            return Entered::Refused;
        }
        self.refused = true;
        Entered::Stranded
    }
}

impl Native {
    /// Begins a stream.
    pub(super) fn begin(&mut self, stream: StreamId, filter: Filter, root: RootId) {
        let open = Open {
            filter,
            root,
            todo: None,
            details: None,
            record: None,
        };
        self.streams.insert(stream, open);
    }

    /// Notes why Envoy answers a stream itself.
    pub(super) fn note_details(&mut self, stream: StreamId, details: &[u8]) {
        if let Some(open) = self.streams.get_mut(&stream) {
            open.details = Some(details.into());
        }
    }

    /// What was noted about a stream.
    pub(super) fn details_of(&self, stream: StreamId) -> Option<Box<[u8]>> {
        self.streams.get(&stream)?.details.clone()
    }

    /// Takes the record of a stream.
    pub(super) fn record(&mut self, stream: StreamId) -> Option<String> {
        self.streams.get_mut(&stream)?.record.take()
    }

    /// The configuration of a stream.
    pub(super) fn root_of(&self, stream: StreamId) -> Option<RootId> {
        Some(self.streams.get(&stream)?.root)
    }

    /// Ends a stream.
    pub(super) fn end(&mut self, stream: StreamId) {
        self.streams.remove(&stream);
        self.stranded.remove(&stream);
    }

    /// Enters the hook of a stream. One that is stranded is going to be refused by the caller.
    pub(super) fn enter(&mut self, stream: StreamId, filter: Filter) -> Entered {
        if !self.stranded.is_empty()
            && let Some(stranded) = self.stranded.get_mut(&stream)
        {
            return stranded.refuse();
        }
        self.reply = None;
        self.edited = false;
        self.current = Some((stream, filter));
        if let Some(open) = self.streams.get(&stream) {
            ROOT.set(open.root);
        }
        Entered::Known
    }

    /// Leaves the hook. Returns the answer to its stream, if there is one, and whether a header of
    /// its request has changed.
    pub(super) fn leave(&mut self) -> (Option<Reply>, bool) {
        self.current = None;
        (self.reply.take(), self.edited)
    }

    /// Whether no stream is open.
    pub(super) fn is_idle(&self) -> bool {
        self.streams.is_empty() && self.stranded.is_empty()
    }

    /// Any stream that is open.
    pub(super) fn any_stream(&self) -> Option<(StreamId, Filter)> {
        let known = self
            .streams
            .iter()
            .map(|(stream, open)| (*stream, open.filter));
        let stranded = self
            .stranded
            .iter()
            .map(|(stream, stranded)| (*stream, stranded.filter));
        known.chain(stranded).next()
    }

    /// What outlives the worker: the streams that are open, which a new one will not know, and
    /// what was counted.
    pub(super) fn leave_behind(&mut self) -> Remains {
        let open = std::mem::take(&mut self.streams);
        let known = open.into_iter().map(|(stream, open)| (stream, open.filter));
        let stranded = std::mem::take(&mut self.stranded);
        let stranded = stranded
            .into_iter()
            .map(|(stream, stranded)| (stream, stranded.filter));
        self.counters.flush(&self.board);
        self.counters.retract(&self.board);
        Remains {
            streams: known.chain(stranded).collect(),
            board: std::mem::take(&mut self.board),
            speaks: self.speaks,
        }
    }

    /// Takes over from a worker that has panicked. Its streams are woken one by one, to be
    /// refused.
    pub(super) fn take_over(&mut self, remains: Remains) {
        self.board = remains.board;
        self.speaks = remains.speaks;
        for (stream, filter) in remains.streams {
            let scheduler = StreamScheduler::new(filter);
            if let Some(scheduler) = &scheduler {
                scheduler.commit(Wake::Stream);
            }
            let stranded = Stranded {
                filter,
                refused: false,
                _scheduler: scheduler,
            };
            self.stranded.insert(stream, stranded);
        }
    }

    /// Notes that a stream is being refused because its hook has panicked.
    pub(super) fn give_up(&mut self, stream: StreamId, filter: Filter) {
        self.streams.remove(&stream);
        let stranded = Stranded {
            filter,
            refused: true,
            _scheduler: None,
        };
        self.stranded.insert(stream, stranded);
    }

    /// What the wake-up of a stream does.
    pub(super) fn todo(&mut self, stream: StreamId) -> Option<Todo> {
        if let Some(stranded) = self.stranded.get_mut(&stream) {
            return (stranded.refuse() == Entered::Stranded).then_some(Todo::Refuse);
        }
        let (todo, _) = self.streams.get_mut(&stream)?.todo.take()?;
        Some(todo)
    }

    /// The requests of the worker's own that have not been sent.
    pub(super) fn jobs(&mut self) -> Vec<Job> {
        std::mem::take(&mut self.jobs)
    }

    /// The roots that are to be called now.
    pub(super) fn due(&mut self) -> Vec<RootId> {
        let now = Instant::now();
        let mut due = Vec::new();
        for (root, ticks) in &mut self.ticks {
            if now.duration_since(ticks.last).as_millis() >= ticks.every {
                ticks.last = now;
                due.push(*root);
            }
        }
        due
    }

    /// Forgets a root that is gone.
    pub(super) fn forget(&mut self, root: RootId) {
        self.ticks.remove(&root);
    }

    /// Has it set all gauges from now on.
    pub(super) const fn speak(&mut self) {
        self.speaks = true;
    }

    /// Takes what was counted since the last time.
    pub(super) fn flush(&mut self, board: &mut Board) {
        self.counters.flush(&self.board);
        self.board.pour(board);
    }

    fn filter(&self, stream: StreamId) -> Option<Filter> {
        match self.current {
            Some((current, filter)) if current == stream => Some(filter),
            _ => self.streams.get(&stream).map(|open| open.filter),
        }
    }

    /// Leaves something to do for the wake-up of a stream.
    fn leave_for(&mut self, stream: StreamId, todo: Todo) -> Option<()> {
        let open = self.streams.get_mut(&stream)?;
        let scheduler = StreamScheduler::new(open.filter)?;
        scheduler.commit(Wake::Stream);
        open.todo = Some((todo, scheduler));
        Some(())
    }

    fn is_current(&self, stream: StreamId) -> bool {
        self.current.is_some_and(|(current, _)| current == stream)
    }

    /// Performs it. `None` means that the proxy refuses.
    fn try_perform(&mut self, effect: &Effect<'_>) -> Option<Performed> {
        match effect {
            Effect::Edit { stream, edit } => {
                edit_header(self.filter(*stream)?, Map::Request, edit)?;
                self.edited |= self.is_current(*stream);
            }
            Effect::EditResponse { stream, edit } => {
                edit_header(self.filter(*stream)?, Map::Response, edit)?;
            }
            Effect::ReplaceBody { stream, body, .. } => {
                abi::replace_body(self.filter(*stream)?, body)?;
            }
            Effect::DropTrailers { stream } => abi::drop_trailers(self.filter(*stream)?)?,
            Effect::Reply { stream, reply } if self.is_current(*stream) => {
                self.reply = Some((*reply).clone());
            }
            Effect::Reply { stream, reply } => {
                self.leave_for(*stream, Todo::Reply(Box::new((*reply).clone())))?;
            }
            Effect::Resume { stream } => self.leave_for(*stream, Todo::Resume)?,
            Effect::FilterState { stream, record } => {
                if let Some(open) = self.streams.get_mut(stream) {
                    open.record = Some((*record).to_owned());
                }
            }
            Effect::TickEvery { root, millis } => self.tick_every(*root, *millis),
            Effect::Count { count, .. } => self.counters.count(*count),
            Effect::Show { gauge, .. } if !self.speaks && !gauge.adds_up() => {}
            Effect::Show { gauge, value } => self.counters.show(&self.board, *gauge, *value),
            Effect::Log { level, line, .. } => abi::log(*level, line),
            Effect::Look { key, .. } => return Some(Performed::Looked(Some(store::look(key)))),
            Effect::Swap {
                key, value, swap, ..
            } => return Some(Performed::Swapped(store::swap(key, value, *swap))),
            Effect::Call {
                root,
                call,
                cluster,
                headers,
                timeout,
            } => self
                .jobs
                .push(Job::new(*root, *call, cluster, headers, *timeout)),
        }
        Some(Performed::Done)
    }

    fn tick_every(&mut self, root: RootId, millis: u32) {
        let every = u128::from(millis);
        let now = Instant::now();
        let ticks = self.ticks.entry(root);
        ticks.or_insert(Ticks { every, last: now }).every = every;
    }
}

fn edit_header(filter: Filter, map: Map, edit: &Edit<'_>) -> Option<()> {
    match edit {
        Edit::Add(name, value) => abi::add_header(filter, map, name, value),
        Edit::Remove(name) => abi::remove_header(filter, map, name),
        Edit::Set(name, value) => abi::set_header(filter, map, name, value),
    }
}

impl Proxy for Native {
    fn clocks(&mut self) -> Reading {
        clocks::read()
    }

    fn perform(&mut self, effect: &Effect<'_>) -> Performed {
        self.try_perform(effect)
            .unwrap_or(Performed::Refused(REFUSED))
    }
}
