//! One configuration in one worker: its gate, its ticks, and the sources of its keys.

use std::sync::Arc;

use crate::authn::jwks::KeySet;
use crate::authn::keys::VerifyingKey;
use crate::config::{Fingerprint, KeySource, Mode, Remote, Revision};
use crate::gate::Gate;
use crate::words::identity::ProviderIndex;
use crate::words::request::OwnHeaders;
use crate::words::time::{Monotonic, Now, Timestamp};
use crate::worker::clocks::Pulse;
use crate::worker::effect::{Effect, Level, Sink};
use crate::worker::event::{RootId, SourceId};
use crate::worker::sources::Served;
use crate::worker::succession::Succession;

/// The interval at which the root is called if nothing waits, in milliseconds. It is the
/// precision of clocks, schedules and metrics, and the time within which workers agree on keys.
const TICK: u32 = 500;

/// The interval while requests wait, so that their deadlines are kept.
const TICK_WAITING: u32 = 100;

/// The time between two warnings that refusals are only recorded, in milliseconds.
const REPORT_REMINDER: u64 = 60_000;

/// The newest document of organizations that was ever adopted.
#[derive(Clone, Debug)]
pub struct Floor {
    revision: Revision,
    fingerprint: Fingerprint,
    /// The key that vouched for it, if documents are signed.
    signed_with: Option<Arc<VerifyingKey>>,
}

impl Floor {
    /// Whether a document may be adopted. One with an earlier revision may be only if its
    /// organizations are the same. A server whose count has started over can thus confirm what
    /// is in force with a new signature, but revives nothing.
    #[must_use]
    pub fn admits(&self, revision: Revision, fingerprint: Fingerprint) -> bool {
        revision >= self.revision || fingerprint == self.fingerprint
    }

    /// Whether the floor applies where one of these keys must have signed. A document for which
    /// none of them vouches may come from anybody, and would keep all later ones from being
    /// newer.
    #[must_use]
    pub fn counts_for(&self, signers: Option<&KeySet>) -> bool {
        match (&self.signed_with, signers) {
            (Some(key), Some(signers)) => signers.holds(key),
            (None, Some(_)) => false,
            (_, None) => true,
        }
    }

    /// The floor that applies of two: the newer one or, if their revisions are equal, `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        if other.revision >= self.revision {
            other
        } else {
            self
        }
    }
}

/// What a root knows about organizations from outside.
#[derive(Debug)]
struct FromOutside {
    source: SourceId,
    /// The floor below which no document is adopted.
    floor: Option<Floor>,
    /// The number of the document that was read last, whether or not it was usable.
    read: Option<u64>,
    adopted: Option<Adopted>,
    /// When the document that was adopted last had been signed, if it was.
    issued_at: Option<Timestamp>,
    /// When it was last known to be the newest.
    fresh_as_of: Monotonic,
    /// How long it is used from then on, or from when it was signed, in milliseconds.
    max_stale: u64,
}

/// A document of organizations that is in force.
#[derive(Clone, Debug)]
pub struct Adopted {
    /// The state of the organizations that it describes.
    pub revision: Revision,
    /// The fingerprint of its organizations.
    pub fingerprint: Fingerprint,
    /// The number of organizations.
    pub organizations: usize,
    /// When it was signed, if it was.
    pub issued_at: Option<Timestamp>,
    /// The key that signed it, if it was signed.
    pub signed_with: Option<Arc<VerifyingKey>>,
}

impl FromOutside {
    /// Whether what was adopted last is too old to be used.
    fn is_stale(&self, now: Now) -> bool {
        match self.issued_at {
            Some(issued) => now.wall > issued.after(self.max_stale / 1_000),
            None => now.mono.since(self.fresh_as_of) > self.max_stale,
        }
    }
}

/// The state of one configuration.
#[derive(Debug)]
pub struct Root {
    id: RootId,
    /// The gate, which is closed while there is no good configuration.
    pub gate: Gate,
    /// Whether ticks come.
    pub pulse: Pulse,
    /// What it takes over from older configurations.
    pub succession: Succession,
    /// The source of each provider's keys, in the order of the configuration. `None` for inline
    /// keys.
    sources: Vec<Option<SourceId>>,
    /// What is known about organizations from outside, if the configuration wants any.
    outside: Option<FromOutside>,
    tick: u32,
    reminded: Option<Monotonic>,
    /// Whether the host cannot be relied on, so that only changes are logged.
    pub faulty: bool,
}

impl Root {
    /// Creates a root that decides with this gate from now on.
    #[must_use]
    pub fn new(id: RootId, gate: Gate, served: Served, now: Monotonic) -> Self {
        let from = gate.config().organizations_from.as_ref();
        let outside = from.zip(served.organizations);
        let outside = outside.map(|(from, source)| FromOutside {
            source,
            floor: None,
            read: None,
            adopted: None,
            issued_at: None,
            fresh_as_of: Monotonic::default(),
            max_stale: from.remote.max_stale,
        });
        Self {
            id,
            pulse: Pulse::new(now),
            succession: Succession::default(),
            sources: served.keys,
            outside,
            tick: 0,
            reminded: None,
            faulty: false,
            gate,
        }
    }

    /// The number of the root.
    #[must_use]
    pub const fn id(&self) -> RootId {
        self.id
    }

    /// The names of the headers that its configuration makes the gate's own.
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

    /// The source of a provider's keys, if they are fetched.
    #[must_use]
    pub fn source(&self, ProviderIndex(position): ProviderIndex) -> Option<SourceId> {
        self.sources.get(position).copied().flatten()
    }

    /// The sources of its providers, each with its provider.
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

    /// The source of organizations from outside, if there are any.
    #[must_use]
    pub fn organizations_source(&self) -> Option<SourceId> {
        self.outside.as_ref().map(|outside| outside.source)
    }

    /// The document of organizations that is in force.
    #[must_use]
    pub fn organizations(&self) -> Option<&Adopted> {
        self.outside.as_ref()?.adopted.as_ref()
    }

    /// When that document was last known to be the newest.
    #[must_use]
    pub fn organizations_as_of(&self) -> Option<Monotonic> {
        let outside = self.outside.as_ref()?;
        outside.adopted.as_ref().map(|_| outside.fresh_as_of)
    }

    /// The floor below which no document is adopted.
    #[must_use]
    pub fn floor(&self) -> Option<&Floor> {
        self.outside.as_ref()?.floor.as_ref()
    }

    /// Adopts no document below this floor from now on.
    pub fn raise_floor(&mut self, floor: Floor) {
        if let Some(outside) = &mut self.outside {
            let old = outside.floor.take();
            outside.floor = Some(match old {
                Some(old) => old.or(floor),
                None => floor,
            });
        }
    }

    /// The fingerprint of the organizations from outside that are in force.
    #[must_use]
    pub fn outside_fingerprint(&self) -> Option<Fingerprint> {
        Some(self.organizations()?.fingerprint)
    }

    /// Notes that the document with that number is in force from now on.
    pub fn adopted(&mut self, number: u64, adopted: Adopted) {
        self.raise_floor(Floor {
            revision: adopted.revision,
            fingerprint: adopted.fingerprint,
            signed_with: adopted.signed_with.clone(),
        });
        if let Some(outside) = &mut self.outside {
            outside.read = Some(number);
            outside.issued_at = adopted.issued_at;
            outside.adopted = Some(adopted);
        }
    }

    /// Notes that the document with that number cannot be used.
    pub fn passed_over(&mut self, number: u64) {
        if let Some(outside) = &mut self.outside {
            outside.read = Some(number);
        }
    }

    /// Notes that the held document was the newest at that time.
    pub fn confirm(&mut self, at: Monotonic) {
        if let Some(outside) = &mut self.outside {
            outside.fresh_as_of = outside.fresh_as_of.max(at);
        }
    }

    /// Whether the held document, which has that number, has not been read yet, or can be used
    /// again after it had become too old.
    #[must_use]
    pub fn lacks(&self, number: u64, now: Now) -> bool {
        let Some(outside) = &self.outside else {
            return false;
        };
        outside.read.is_none_or(|read| read != number) && !outside.is_stale(now)
    }

    /// Whether the organizations from outside that are in force have become too old.
    #[must_use]
    pub fn is_overdue(&self, now: Now) -> bool {
        let Some(outside) = &self.outside else {
            return false;
        };
        outside.adopted.is_some() && outside.is_stale(now)
    }

    /// Ends the use of organizations from outside. Returns whether there were any.
    pub fn withdraw(&mut self) -> bool {
        let Some(outside) = &mut self.outside else {
            return false;
        };
        outside.read = None;
        outside.adopted.take().is_some()
    }

    /// How its configuration fetches a source, if it names the source.
    #[must_use]
    pub fn remote(&self, source: SourceId) -> Option<&Remote> {
        if self.organizations_source() == Some(source) {
            let from = self.gate.config().organizations_from.as_ref();
            return from.map(|from| &from.remote);
        }
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

    /// Asks for a first tick at once. Fetches begin there, because what begins while a
    /// configuration is only being tried is cancelled, and clusters may not exist yet.
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

    /// Logs once a minute that refusals are only recorded, if that is the case.
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
