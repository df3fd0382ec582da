//! Which streams a newer configuration takes over from an older one.
//!
//! A proxy that loads another configuration leaves the streams that are open to the one that
//! let them in. A right that the newer one withdraws would thus be good for as long as a tail
//! lasts. Nothing tells a worker that one configuration replaces another, since it may serve
//! several listeners with one each. The requests show it: once a configuration is given a
//! request that came in where an older one has a stream, it decides on that stream too.

use std::collections::BTreeSet;

use crate::worker::event::{Lazy, RootId, StreamId};

/// The maximum number of requests between two ticks that are asked where they came in.
const MAX_QUESTIONS: u8 = 16;

/// The maximum number of streams on which a tick decides again. Each may cost the verification
/// of a signature.
const MAX_STREAMS: usize = 128;

/// Where a request came in: by which plugin, and at which port of the proxy's. Two requests with
/// the same entrance are meant for the same configuration.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Entrance(Box<[u8]>);

impl Entrance {
    /// Asks the host. A host that does not know gives no entrance, and nothing is taken over.
    #[must_use]
    pub fn ask(host: Lazy<'_>) -> Option<Self> {
        host().map(Self)
    }

    /// The entrance as the host spells it.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The open streams whose grant may be examined again, by the configuration that answers for
/// them.
#[derive(Debug, Default)]
pub struct OpenStreams(BTreeSet<(RootId, StreamId)>);

impl OpenStreams {
    /// Notes a stream for which that configuration answers.
    pub fn begin(&mut self, root: RootId, stream: StreamId) {
        self.0.insert((root, stream));
    }

    /// Removes it.
    pub fn end(&mut self, root: RootId, stream: StreamId) {
        self.0.remove(&(root, stream));
    }

    /// Whether an older configuration than that one answers for any stream.
    #[must_use]
    pub fn has_older(&self, root: RootId) -> bool {
        self.0.first().is_some_and(|(first, _)| *first < root)
    }

    /// The streams of older configurations than that one, beginning behind `last`.
    fn older(
        &self,
        root: RootId,
        last: Option<(RootId, StreamId)>,
    ) -> impl Iterator<Item = (RootId, StreamId)> {
        let older = self.0.range(..(root, StreamId(0)));
        older
            .copied()
            .filter(move |known| last.is_none_or(|last| *known > last))
    }
}

/// What a configuration has to take over from older ones.
#[derive(Debug, Default)]
pub struct Succession {
    /// The number of requests that were asked since the last tick.
    asked: u8,
    /// Where they came in.
    entrances: BTreeSet<Entrance>,
    /// The last stream that was examined, if not all have been.
    last: Option<(RootId, StreamId)>,
}

impl Succession {
    /// Notes a request of that configuration.
    pub fn note(&mut self, root: RootId, open: &OpenStreams, entrance: Lazy<'_>) {
        if self.asked >= MAX_QUESTIONS || !open.has_older(root) {
            return;
        }
        self.asked = self.asked.saturating_add(1);
        self.entrances.extend(Entrance::ask(entrance));
    }

    /// The streams that the configuration with that number examines now, a limited number at a
    /// time. `entrance` gives the entrance of a stream.
    pub fn next<'a>(
        &mut self,
        root: RootId,
        open: &OpenStreams,
        entrance: impl Fn(StreamId) -> Option<&'a Entrance>,
    ) -> Vec<StreamId> {
        self.asked = 0;
        if self.entrances.is_empty() {
            return Vec::new();
        }
        let ours = |stream| entrance(stream).is_some_and(|it| self.entrances.contains(it));
        let older = open.older(root, self.last);
        let taken: Vec<(RootId, StreamId)> = older
            .filter(|(_, stream)| ours(*stream))
            .take(MAX_STREAMS)
            .collect();
        self.last = taken.last().copied().filter(|_| taken.len() == MAX_STREAMS);
        if self.last.is_none() {
            self.entrances.clear();
        }
        taken.into_iter().map(|(_, stream)| stream).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(name: &str) -> Entrance {
        Entrance(name.as_bytes().into())
    }

    fn noted(names: &[&str], open: &OpenStreams) -> Succession {
        let mut succession = Succession::default();
        for name in names {
            succession.note(RootId(9), open, &|| Some(name.as_bytes().into()));
        }
        succession
    }

    #[test]
    fn only_older_streams_of_the_same_entrance_are_taken_over() {
        let mut open = OpenStreams::default();
        for (root, stream) in [(1, 10), (1, 11), (9, 12), (12, 13)] {
            open.begin(RootId(root), StreamId(stream));
        }
        let (here, there) = (at("here"), at("there"));
        let entrance = |stream| match stream {
            StreamId(11) => Some(&there),
            StreamId(_) => Some(&here),
        };
        let mut succession = noted(&["here"], &open);
        assert_eq!(succession.next(RootId(9), &open, entrance), [StreamId(10)]);
        assert!(succession.next(RootId(9), &open, entrance).is_empty());
        let mut nobody = noted(&[], &open);
        assert!(nobody.next(RootId(9), &open, entrance).is_empty());
    }

    #[test]
    fn nobody_is_asked_without_an_older_stream_and_few_otherwise() {
        let asked = std::cell::Cell::new(0);
        let ask = || {
            asked.set(asked.get() + 1);
            None
        };
        let mut open = OpenStreams::default();
        let mut succession = Succession::default();
        succession.note(RootId(9), &open, &ask);
        assert_eq!(asked.get(), 0);
        open.begin(RootId(1), StreamId(10));
        for _ in 0..100 {
            succession.note(RootId(9), &open, &ask);
        }
        assert_eq!(asked.get(), u32::from(MAX_QUESTIONS));
        open.end(RootId(1), StreamId(10));
        assert!(!open.has_older(RootId(9)));
    }

    #[test]
    fn many_streams_are_examined_a_few_at_a_time() {
        let mut open = OpenStreams::default();
        let all: u64 = 300;
        for stream in 0..all {
            open.begin(RootId(1), StreamId(stream));
        }
        let here = at("here");
        let mut succession = noted(&["here"], &open);
        let mut examined = BTreeSet::new();
        let mut rounds = Vec::new();
        loop {
            let streams = succession.next(RootId(9), &open, |_| Some(&here));
            if streams.is_empty() {
                break;
            }
            rounds.push(streams.len());
            examined.extend(streams);
        }
        assert_eq!(rounds, [MAX_STREAMS, MAX_STREAMS, 300 - 2 * MAX_STREAMS]);
        assert_eq!(examined.len() as u64, all);
    }
}
