//! What other threads leave for the worker of a thread.

use std::sync::atomic::{AtomicBool, Ordering};

use super::abi::{Filter, StreamScheduler, Wake};
use super::answer::Answer;
use super::lock::{Mutex, lock};
use crate::worker::{CallId, RootId, StreamId};

/// Something that another thread leaves for a worker.
#[derive(Debug)]
pub(super) enum Message {
    /// A request of the worker's own has ended.
    Answered(CallId, Answer),
    /// A configuration is no longer in use.
    Gone(RootId),
    /// Time has passed.
    Tick,
}

/// The messages for one worker, and the way to wake its thread.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    messages: Mutex<Vec<Message>>,
    /// Whether there are any.
    mail: AtomicBool,
    /// An open stream of the thread, through which the thread can be woken. Envoy calls a thread
    /// only for a stream. The lock is held while Envoy is asked to, because Envoy 1.38 may not be
    /// asked while it destroys the stream.
    beacon: Mutex<Option<(StreamId, StreamScheduler)>>,
}

impl Inbox {
    /// Leaves a message that may wait for the next event.
    pub(super) fn leave(&self, message: Message) {
        let mut messages = lock(&self.messages);
        // Ticks that nobody takes say no more than one.
        if !matches!(
            (&message, messages.last()),
            (Message::Tick, Some(Message::Tick))
        ) {
            messages.push(message);
        }
        self.mail.store(true, Ordering::Release);
    }

    /// Leaves a message and wakes the thread, if it has a stream.
    pub(super) fn deliver(&self, message: Message) {
        self.leave(message);
        if let Some((_, scheduler)) = &*lock(&self.beacon) {
            scheduler.commit(Wake::Thread);
        }
    }

    /// Takes all messages.
    pub(super) fn take(&self) -> Vec<Message> {
        if self.mail.swap(false, Ordering::AcqRel) {
            std::mem::take(&mut *lock(&self.messages))
        } else {
            Vec::new()
        }
    }

    /// Whether there are messages that no stream of the thread's will bring.
    pub(super) fn is_neglected(&self) -> bool {
        self.mail.load(Ordering::Acquire) && lock(&self.beacon).is_none()
    }

    /// Has a stream wake the thread, if there is none yet.
    pub(super) fn light(&self, stream: StreamId, filter: Filter) {
        let mut beacon = lock(&self.beacon);
        if beacon.is_none() {
            *beacon = StreamScheduler::new(filter).map(|scheduler| (stream, scheduler));
        }
    }

    /// Has another stream wake the thread, if that one did, which is about to end.
    pub(super) fn hand_over(
        &self,
        stream: StreamId,
        another: impl FnOnce() -> Option<(StreamId, Filter)>,
    ) {
        let mut beacon = lock(&self.beacon);
        if beacon.as_ref().is_some_and(|(known, _)| *known == stream) {
            *beacon = another().and_then(|(other, filter)| {
                StreamScheduler::new(filter).map(|scheduler| (other, scheduler))
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_in_a_row_are_one() {
        let inbox = Inbox::default();
        for _ in 0..3 {
            inbox.leave(Message::Tick);
        }
        inbox.leave(Message::Gone(RootId(1)));
        inbox.leave(Message::Tick);
        assert_eq!(inbox.take().len(), 3);
        assert!(inbox.take().is_empty());
    }

    #[test]
    fn without_a_stream_messages_are_neglected() {
        let inbox = Inbox::default();
        assert!(!inbox.is_neglected());
        inbox.deliver(Message::Tick);
        assert!(inbox.is_neglected());
        assert_eq!(inbox.take().len(), 1);
        assert!(!inbox.is_neglected());
    }
}
