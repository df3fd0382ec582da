//! The part that all hosts share: it hands in an event, has its effects performed, and hands in
//! their outcomes until there are none left.

use std::collections::VecDeque;

use crate::worker::counters::Count;
use crate::worker::effect::{Effect, Sink};
use crate::worker::event::{
    Action, CallId, CallOutcome, Entry, Event, Reading, SourceId, StreamId, Swap,
};
use crate::worker::machine::Worker;

/// A proxy, as far as a worker needs one.
pub trait Proxy {
    /// Reads the clocks.
    fn clocks(&mut self) -> Reading;

    /// Performs an effect.
    fn perform(&mut self, effect: &Effect<'_>) -> Performed;
}

/// The outcome of an effect.
#[derive(Debug)]
pub enum Performed {
    /// The effect is done, or its outcome will be handed in as an event.
    Done,
    /// A shared entry was read: its bytes and the number with which to swap it, or `None` on a
    /// host that shares nothing.
    Looked(Option<(Box<[u8]>, u32)>),
    /// The proxy refused, with this number as the reason.
    Refused(u32),
    /// A swap of a shared entry has ended.
    Swapped(Swap),
}

/// An outcome that is to be handed in.
#[derive(Debug)]
enum Outcome {
    Looked(SourceId, Entry, Option<(Box<[u8]>, u32)>),
    NotSent(CallId, u32),
    Swapped(SourceId, Entry, Swap),
    Unperformed(StreamId, bool),
}

/// A worker, and the proxy that it works for.
#[derive(Debug)]
pub struct Driver<P> {
    worker: Worker,
    performer: Performer<P>,
}

/// Performs effects at once, in the order in which they are emitted.
#[derive(Debug)]
struct Performer<P> {
    proxy: P,
    /// The stream that the current event belongs to. It continues by the answer to that event.
    current: Option<StreamId>,
    /// Whether that stream was resumed in the meantime.
    resumed: bool,
    /// The stream of which an effect was refused during this event.
    refused: Option<StreamId>,
    outcomes: VecDeque<Outcome>,
}

impl<P: Proxy> Driver<P> {
    /// Creates a driver for a worker and its proxy.
    pub const fn new(worker: Worker, proxy: P) -> Self {
        Self {
            worker,
            performer: Performer {
                proxy,
                current: None,
                resumed: false,
                refused: None,
                outcomes: VecDeque::new(),
            },
        }
    }

    /// The worker.
    pub const fn worker(&self) -> &Worker {
        &self.worker
    }

    /// The proxy.
    pub const fn proxy(&mut self) -> &mut P {
        &mut self.performer.proxy
    }

    /// Hands in an event that does not belong to a stream, with the clocks.
    pub fn on(&mut self, event: Event<'_>) -> Action {
        self.begin(None);
        let reading = Some(self.performer.proxy.clocks());
        let action = self.worker.on(event, reading, &mut self.performer);
        self.settle(reading);
        action
    }

    /// Hands in an event of a stream. The clocks are read only if the worker asks for them.
    pub fn on_stream(&mut self, stream: StreamId, event: Event<'_>) -> Action {
        self.begin(Some(stream));
        self.worker.in_callback_of(Some(stream));
        let mut reading = None;
        let mut action = self.worker.on(event, reading, &mut self.performer);
        if action == Action::Exact {
            reading = Some(self.performer.proxy.clocks());
            action = self.worker.on(event, reading, &mut self.performer);
        }
        let unperformed = self.settle(reading);
        self.worker.in_callback_of(None);
        if unperformed {
            Action::Pause
        } else if self.performer.resumed {
            Action::Continue
        } else {
            action
        }
    }

    const fn begin(&mut self, current: Option<StreamId>) {
        self.performer.current = current;
        self.performer.resumed = false;
        self.performer.refused = None;
    }

    /// Hands in the outcomes of effects until there are none left. Returns whether an effect of
    /// the event's own stream was not performed.
    fn settle(&mut self, mut reading: Option<Reading>) -> bool {
        let Self { worker, performer } = self;
        let mut unperformed = false;
        while let Some(outcome) = performer.outcomes.pop_front() {
            let reading = *reading.get_or_insert_with(|| performer.proxy.clocks());
            performer.refused = None;
            let event = match &outcome {
                Outcome::Looked(source, entry, value) => Event::Looked {
                    source: *source,
                    entry: *entry,
                    value: value.as_ref().map(|(bytes, swap)| (&**bytes, *swap)),
                },
                Outcome::NotSent(call, status) => Event::Answered {
                    call: *call,
                    answer: CallOutcome::NotSent(*status),
                },
                Outcome::Swapped(source, entry, swap) => Event::Swapped {
                    source: *source,
                    entry: *entry,
                    swap: *swap,
                },
                Outcome::Unperformed(stream, uncounted) => {
                    unperformed |= performer.current == Some(*stream);
                    Event::Unperformed {
                        stream: *stream,
                        uncounted: *uncounted,
                    }
                }
            };
            worker.on(event, Some(reading), performer);
        }
        unperformed
    }
}

impl<P> Performer<P> {
    /// Skips an effect that follows a refused one of the same stream.
    fn skip(&mut self, effect: &Effect<'_>) {
        let counts = matches!(
            effect,
            Effect::Count {
                count: Count::Decision { .. },
                ..
            }
        );
        for outcome in &mut self.outcomes {
            if let Outcome::Unperformed(stream, uncounted) = outcome
                && Some(*stream) == self.refused
            {
                *uncounted |= counts;
            }
        }
    }
}

impl<P: Proxy> Sink for Performer<P> {
    fn emit(&mut self, effect: Effect<'_>) {
        let stream = effect.stream();
        if self.refused.is_some() && stream == self.refused {
            self.skip(&effect);
            return;
        }
        if let Effect::Resume { stream } = effect
            && self.current == Some(stream)
        {
            self.resumed = true;
            return;
        }
        let outcome = match (self.proxy.perform(&effect), &effect) {
            (Performed::Done, _) => return,
            (Performed::Looked(value), Effect::Look { source, entry, .. }) => {
                Outcome::Looked(*source, *entry, value)
            }
            (Performed::Swapped(swap), Effect::Swap { source, entry, .. }) => {
                Outcome::Swapped(*source, *entry, swap)
            }
            (Performed::Refused(status), Effect::Call { call, .. }) => {
                Outcome::NotSent(*call, status)
            }
            (Performed::Refused(_), _) => {
                let Some(stream) = stream else { return };
                self.refused = Some(stream);
                Outcome::Unperformed(stream, false)
            }
            _ => return,
        };
        self.outcomes.push_back(outcome);
    }
}
