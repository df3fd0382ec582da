//! One configuration in one worker: its gate, its ticks, and where its keys come from.

use crate::config::{KeySource, KeyUri, Mode};
use crate::gate::Gate;
use crate::words::identity::ProviderIndex;
use crate::words::request::OwnHeaders;
use crate::words::time::Monotonic;
use crate::worker::clocks::Pulse;
use crate::worker::effect::{Effect, Level, Sink};
use crate::worker::event::{RootId, SourceId};

/// How often the root is called when nothing waits, in milliseconds: clocks, schedules
/// and metrics are this coarse, and workers agree on keys this soon.
const TICK: u32 = 500;

/// How often while requests wait, so that their deadlines are kept.
const TICK_WAITING: u32 = 100;

/// Between two warnings that refusals are only recorded, in milliseconds.
const REPORT_REMINDER: u64 = 60_000;

/// The state of one configuration.
#[derive(Debug)]
pub struct Root {
    id: RootId,
    /// What decides; closed while there is no good configuration.
    pub gate: Gate,
    /// Whether ticks come.
    pub pulse: Pulse,
    /// Which source the keys of each provider come from, in the order of the
    /// configuration; `None` for inline ones.
    sources: Vec<Option<SourceId>>,
    tick: u32,
    reminded: Option<Monotonic>,
    /// Whether the host is one that cannot be relied on, for one log line a change.
    pub faulty: bool,
}

impl Root {
    /// A root that decides by this gate, from now on.
    #[must_use]
    pub fn new(id: RootId, gate: Gate, sources: Vec<Option<SourceId>>, now: Monotonic) -> Self {
        Self {
            id,
            pulse: Pulse::new(now),
            sources,
            tick: 0,
            reminded: None,
            faulty: false,
            gate,
        }
    }

    /// Its number.
    #[must_use]
    pub const fn id(&self) -> RootId {
        self.id
    }

    /// The headers that its configuration makes the gate's own.
    #[must_use]
    pub fn own_headers(&self) -> OwnHeaders<'_> {
        let config = self.gate.config();
        let subject = config.forward.subject_header.as_ref();
        let id_token = config.credentials.id_token_header.as_ref();
        OwnHeaders {
            subject: subject.map(|header| header.as_str().as_bytes()),
            id_token: id_token.map(|header| header.as_str().as_bytes()),
        }
    }

    /// Where a provider's keys come from, if they are fetched.
    #[must_use]
    pub fn source(&self, ProviderIndex(position): ProviderIndex) -> Option<SourceId> {
        self.sources.get(position).copied().flatten()
    }

    /// The sources of its providers, each with the provider.
    pub fn sources(&self) -> impl Iterator<Item = (ProviderIndex, SourceId)> {
        let numbered = self.sources.iter().enumerate();
        numbered.filter_map(|(position, source)| Some((ProviderIndex(position), (*source)?)))
    }

    /// The provider whose keys come from that source.
    #[must_use]
    pub fn provider_of(&self, source: SourceId) -> Option<ProviderIndex> {
        self.sources()
            .find(|(_, known)| *known == source)
            .map(|(provider, _)| provider)
    }

    /// How the keys of that source are fetched by its configuration.
    #[must_use]
    pub fn key_uri(&self, source: SourceId) -> Option<&KeyUri> {
        let ProviderIndex(position) = self.provider_of(source)?;
        match &self.gate.config().providers.get(position)?.source {
            KeySource::Uri(uri) => Some(uri),
            KeySource::Inline(_) => None,
        }
    }

    /// Asks for ticks as often as they are needed.
    pub fn tick_every(&mut self, waiting: bool, out: &mut dyn Sink) {
        self.tick_after(if waiting { TICK_WAITING } else { TICK }, out);
    }

    /// Asks for a first tick at once: fetches belong there, since what is begun while a
    /// configuration is only tried is cancelled, and clusters may not be there yet.
    pub fn tick_soon(&mut self, out: &mut dyn Sink) {
        self.tick_after(1, out);
    }

    fn tick_after(&mut self, millis: u32, out: &mut dyn Sink) {
        if self.tick != millis {
            self.tick = millis;
            let root = self.id;
            out.emit(Effect::TickEvery { root, millis });
        }
    }

    /// Says once a minute that refusals are only recorded, if that is so.
    pub fn remind(&mut self, now: Monotonic, out: &mut dyn Sink) {
        let due = self
            .reminded
            .is_none_or(|last| now.since(last) >= REPORT_REMINDER);
        if self.gate.config().mode == Mode::Report && due {
            self.reminded = Some(now);
            out.emit(Effect::Log {
                level: Level::Warn,
                line: "mode is report: refusals are recorded, every request is passed on",
                about: None,
            });
        }
    }
}
