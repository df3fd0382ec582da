//! One configuration in one worker: its gate, its ticks, and where its keys come from.

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

/// How often the root is called when nothing waits, in milliseconds: clocks, schedules
/// and metrics are this coarse, and workers agree on keys this soon.
const TICK: u32 = 500;

/// How often while requests wait, so that their deadlines are kept.
const TICK_WAITING: u32 = 100;

/// Between two warnings that refusals are only recorded, in milliseconds.
const REPORT_REMINDER: u64 = 60_000;

/// The newest document of organizations that was ever adopted.
#[derive(Clone, Debug)]
pub struct Floor {
    revision: Revision,
    fingerprint: Fingerprint,
    /// The key that vouched for it, where documents are signed.
    signed_with: Option<Arc<VerifyingKey>>,
}

impl Floor {
    /// Whether a document may be adopted: one from before may only if it says the same. A server
    /// that counts otherwise confirms so what is in force, by a signature of now, and revives
    /// nothing.
    #[must_use]
    pub fn admits(&self, revision: Revision, fingerprint: Fingerprint) -> bool {
        revision >= self.revision || fingerprint == self.fingerprint
    }

    /// Whether it counts where these keys must have signed. What nobody of them vouches for may
    /// be anybody's, and would keep all that comes from being newer.
    #[must_use]
    pub fn counts_for(&self, signers: Option<&KeySet>) -> bool {
        match (&self.signed_with, signers) {
            (Some(key), Some(signers)) => signers.holds(key),
            (None, Some(_)) => false,
            (_, None) => true,
        }
    }

    /// The one that counts of two: the newer, and of two with one revision the second.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        if other.revision >= self.revision {
            other
        } else {
            self
        }
    }
}

/// What a root holds of organizations from outside.
#[derive(Debug)]
struct FromOutside {
    source: SourceId,
    /// What is not gone back behind any more.
    floor: Option<Floor>,
    /// The number of the document that was read last, whether or not it was of use.
    read: Option<u64>,
    adopted: Option<Adopted>,
    /// When the document that was adopted last had been signed, where it is.
    issued_at: Option<Timestamp>,
    /// When it was last known to be the newest.
    fresh_as_of: Monotonic,
    /// How long it serves from then on, or from when it was signed, in milliseconds.
    max_stale: u64,
}

/// A document of organizations that is in force.
#[derive(Clone, Debug)]
pub struct Adopted {
    /// Which state of the organizations it is about.
    pub revision: Revision,
    /// What its organizations are, in short.
    pub fingerprint: Fingerprint,
    /// How many there are.
    pub organizations: usize,
    /// When it was signed, where it is.
    pub issued_at: Option<Timestamp>,
    /// The key that signed it, where it is.
    pub signed_with: Option<Arc<VerifyingKey>>,
}

impl FromOutside {
    /// Whether what came last is too old to serve.
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
    /// What decides; closed while there is no good configuration.
    pub gate: Gate,
    /// Whether ticks come.
    pub pulse: Pulse,
    /// Which source the keys of each provider come from, in the order of the
    /// configuration; `None` for inline ones.
    sources: Vec<Option<SourceId>>,
    /// What is known of organizations from outside, where its configuration wants some.
    outside: Option<FromOutside>,
    tick: u32,
    reminded: Option<Monotonic>,
    /// Whether the host is one that cannot be relied on, for one log line a change.
    pub faulty: bool,
}

impl Root {
    /// A root that decides by this gate, from now on.
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
            sources: served.keys,
            outside,
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

    /// Where its organizations come from, if some come from outside.
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

    /// What no document may go back behind.
    #[must_use]
    pub fn floor(&self) -> Option<&Floor> {
        self.outside.as_ref()?.floor.as_ref()
    }

    /// No document goes back behind that one from now on.
    pub fn raise_floor(&mut self, floor: Floor) {
        if let Some(outside) = &mut self.outside {
            let old = outside.floor.take();
            outside.floor = Some(match old {
                Some(old) => old.or(floor),
                None => floor,
            });
        }
    }

    /// What the organizations from outside are that are in force.
    #[must_use]
    pub fn outside_fingerprint(&self) -> Option<Fingerprint> {
        Some(self.organizations()?.fingerprint)
    }

    /// A document of that number is in force from now on.
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

    /// A document of that number cannot be used.
    pub fn passed_over(&mut self, number: u64) {
        if let Some(outside) = &mut self.outside {
            outside.read = Some(number);
        }
    }

    /// The held document was the newest at that time.
    pub fn confirm(&mut self, at: Monotonic) {
        if let Some(outside) = &mut self.outside {
            outside.fresh_as_of = outside.fresh_as_of.max(at);
        }
    }

    /// Whether the held document, which has that number, has not been read yet, or serves
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

    /// Those from outside serve no more. Says whether there were any.
    pub fn withdraw(&mut self) -> bool {
        let Some(outside) = &mut self.outside else {
            return false;
        };
        outside.read = None;
        outside.adopted.take().is_some()
    }

    /// How a source is fetched by its configuration, if it names it.
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
