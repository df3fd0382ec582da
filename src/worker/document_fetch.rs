//! The fetches of one source of documents: when they happen, which worker does them, and how
//! they end.
//!
//! ```text
//!            look at the lease        swap it          the documents
//!   Idle ───────────────────▶ Leasing ──────▶ Claiming ──────▶ Asking
//!    ▲  ◀── held, too soon ────┘  ◀── conflict ──┘                │
//!    └────────────────── Returning ◀── a document, or a failure ──┘
//! ```
//!
//! If the workers of a process share a source, the lease and the newest document are shared
//! entries ([`crate::authn::key_lease`]) that effects read and swap. Any change between a read
//! and its swap makes the swap fail. Otherwise the lease belongs to this worker alone, and the
//! same steps are taken at once.
//!
//! The document takes a path of its own that never waits for a fetch: each tick reads the
//! shared one. A newer one is adopted, and an older one is overwritten with the one held here,
//! so that workers agree whatever failed before. Documents of organizations may be megabytes
//! long. For them, each tick reads the lease, which has the number of the newest document, and
//! reads the document only if that number is new.
//!
//! A source outlives the configurations that name it. Another configuration with the same
//! issuer and the same way to the keys finds them here.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _};

use crate::authn::discovery::{self, Address};
use crate::authn::key_cache::{Edition, Need};
use crate::authn::key_lease::{Claim, Document, LONGEST_FETCH, Lease, Reason};
use crate::config::{Remote, Start};
use crate::words::hash::QuickHash;
use crate::words::time::{Monotonic, Now};
use crate::worker::dice::Dice;
use crate::worker::effect::{Effect, Sink};
use crate::worker::event::{CallId, Entry, RootId, SourceId, Swap};

/// The media types of a key set or a discovery document (RFC 7517 §8.5.2), and whatever servers
/// use that do not know these.
const ACCEPTED_KEYS: &[u8] = b"application/json, application/jwk-set+json, */*;q=0.1";

/// The media types of a document of organizations, plain or signed.
const ACCEPTED_ORGANIZATIONS: &[u8] = b"application/json, application/jose;q=0.9, */*;q=0.1";

/// How often a worker looks for a document that the lease announces.
const LOOKS: u8 = 20;

/// How long a discovered address is used before it is requested again, in milliseconds.
const DISCOVERED_FOR: u64 = 24 * 3_600_000;

/// The shortest time between two fetches that a provider's `Cache-Control` can ask for, in
/// milliseconds.
const LEAST_INTERVAL: u64 = 60_000;

/// How long a fetch is assumed to take beyond its timeouts, in milliseconds.
const SLACK: u64 = 1_000;

/// How long the host may take to read or write a shared entry before it is taken never to
/// answer, in milliseconds.
const PATIENCE: u64 = 1_000;

/// How often a swap is tried before it is left to the next tick.
const TRIES: u8 = 4;

/// The kind of documents that a source has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A provider's keys.
    Keys,
    /// Organizations.
    Organizations,
}

/// The properties of a source that identify it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// The kind of its documents.
    pub kind: Kind,
    /// The issuer of the keys, or an empty text for other documents.
    pub issuer: String,
    /// The host's name of the way to the server.
    pub cluster: String,
    /// The first document to fetch.
    pub start: Start,
}

/// The outcome of a step, for those who wait.
#[derive(Debug)]
#[must_use]
pub enum News {
    /// Nothing that they would notice has happened.
    None,
    /// Nothing is under way any more.
    Settled,
    /// There is a document that may be newer than the held one. It must be passed to
    /// [`DocumentFetch::hold`] or [`DocumentFetch::pass_over`].
    Offered(Document),
}

/// What is being done with the shared document.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Sharing {
    Idle,
    Looking { tries: u8, then: Then },
    Writing { tries: u8 },
}

/// What follows after the shared document was read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Then {
    /// A fetch begins if one is due.
    Proceed,
    /// Nothing follows. The lease says that there is a newer document; if it could not be read
    /// yet, the next tick looks again.
    Rest,
}

/// The step of a fetch that is under way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    Discovery,
    Keys,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fetch {
    Idle,
    /// Reading the lease to see whether there is a newer document.
    Peeking,
    Leasing {
        reason: Reason,
        tries: u8,
    },
    Claiming {
        reason: Reason,
        lease: Lease,
        tries: u8,
    },
    Asking {
        root: RootId,
        serial: u64,
        step: Step,
        asked: Now,
    },
    Returning {
        end: Ended,
        tries: u8,
    },
    GivingBack {
        end: Ended,
        lease: Lease,
        tries: u8,
    },
}

/// How a fetch ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Ended {
    Abandoned,
    Failed,
    Succeeded(Monotonic),
}

/// A request needs a fetch because of an unknown key ID.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    /// When that fetch may begin.
    at: Monotonic,
}

/// The state machine of one source.
#[derive(Debug)]
pub struct DocumentFetch {
    id: SourceId,
    identity: Identity,
    uri: Remote,
    keys: [String; 2],
    /// The newest root that names the source. Calls are made on its behalf.
    owner: Option<RootId>,
    /// The time from one good fetch to the next, as set by each root that names the source.
    intervals: BTreeMap<RootId, u64>,
    worker_id: u64,
    dice: Dice,
    held: Option<Document>,
    /// When the held document was last found to be the newest.
    confirmed: Monotonic,
    /// When the newest document that cannot be used here was requested.
    passed_over: Monotonic,
    /// The number of the newest document that was seen here.
    seen: u64,
    /// The number of the newest document that is known to be in the shared entry.
    published: u64,
    /// The number of a document that was looked for, and how often.
    looked_for: (u64, u8),
    /// When the held document should be followed by another one.
    refresh: Monotonic,
    /// The lease as it was last seen or, if nothing is shared, the worker's own.
    lease: Lease,
    /// Whether the host has turned out to share nothing.
    unshared: bool,
    sharing: Sharing,
    /// When the host was last asked to read or write the shared document.
    document_asked: Monotonic,
    fetch: Fetch,
    /// When the host was last asked to read or write the shared lease.
    lease_asked: Monotonic,
    wanted: Option<Wanted>,
    /// When the last request that needed a fetch was answered without one.
    owed: Option<Monotonic>,
    found: Option<(Address, Monotonic)>,
    /// Whether the last fetch failed, so that only changes are logged.
    failing: bool,
    /// A hash of the reason for the failure, so that each reason is logged once.
    reason: u64,
    serial: u64,
    /// How many fetches were started at that instant.
    starts: (Monotonic, u8),
}

impl DocumentFetch {
    /// A source about which nothing is known. `worker_id` identifies this worker and is not 0.
    #[must_use]
    pub fn new(id: SourceId, identity: Identity, uri: Remote, worker_id: u64) -> Self {
        let keys = [Entry::Document, Entry::Lease].map(|entry| shared_key(entry, &identity));
        Self {
            id,
            identity,
            uri,
            keys,
            owner: None,
            intervals: BTreeMap::new(),
            worker_id,
            dice: Dice::new(worker_id ^ u64::from(id.0)),
            held: None,
            confirmed: Monotonic::from_millis(0),
            passed_over: Monotonic::from_millis(0),
            seen: 0,
            published: 0,
            looked_for: (0, 0),
            refresh: Monotonic::from_millis(0),
            lease: Lease::default(),
            unshared: false,
            sharing: Sharing::Idle,
            document_asked: Monotonic::from_millis(0),
            fetch: Fetch::Idle,
            lease_asked: Monotonic::from_millis(0),
            wanted: None,
            owed: None,
            found: None,
            failing: false,
            reason: 0,
            serial: 0,
            starts: (Monotonic::from_millis(0), 0),
        }
    }

    /// The properties that identify the source.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Notes that a configuration names the source and how it fetches. The held document stays.
    pub fn serve(&mut self, root: RootId, uri: &Remote) {
        self.owner = Some(root);
        let interval = self.intervals.insert(root, uri.refresh_interval);
        // This configuration may be able to use what others could not.
        self.passed_over = Monotonic::from_millis(0);
        self.seen = self.held.as_ref().map_or(0, |held| held.edition.number);
        self.looked_for = (0, 0);
        if self.uri != *uri {
            if self.is_shared() && !uri.share {
                self.lease = self.lease.alone();
            }
            self.uri = uri.clone();
        }
        if interval != Some(uri.refresh_interval) {
            self.plan();
        }
    }

    /// The root on whose behalf calls are made.
    #[must_use]
    pub const fn owner(&self) -> Option<RootId> {
        self.owner
    }

    /// The newest document.
    #[must_use]
    pub const fn held(&self) -> Option<&Document> {
        self.held.as_ref()
    }

    /// When the held document was last known to be the newest.
    #[must_use]
    pub fn fresh_as_of(&self) -> Option<Monotonic> {
        let held = self.held.as_ref()?;
        Some(held.edition.asked.mono.max(self.confirmed))
    }

    /// The lease as it was last seen.
    #[must_use]
    pub const fn lease(&self) -> Lease {
        self.lease
    }

    /// How the source is fetched.
    #[must_use]
    pub const fn uri(&self) -> &Remote {
        &self.uri
    }

    /// Notes whether the last fetch failed. Returns whether that has changed.
    pub fn note_failing(&mut self, failing: bool) -> bool {
        self.reason = 0;
        std::mem::replace(&mut self.failing, failing) != failing
    }

    /// Notes that the last fetch failed. Returns whether that, or the reason, is new.
    pub fn note_failing_for(&mut self, reason: &str) -> bool {
        let mut hasher = QuickHash::default().build_hasher();
        hasher.write(reason.as_bytes());
        let reason = hasher.finish();
        let other = std::mem::replace(&mut self.reason, reason) != reason;
        self.failing = true;
        other
    }

    /// The address from which the last document was requested, or would be.
    #[must_use]
    pub fn address(&self) -> &Address {
        match (&self.uri.start, &self.found) {
            (Start::Document(address), _) | (_, Some((address, _))) => address,
            (Start::Discovery { address, .. }, None) => address,
        }
    }

    /// Notes that a root is gone. `heir` is the newest of the remaining roots that name the
    /// source. A call on behalf of the root that is gone will not be answered.
    pub fn orphaned(
        &mut self,
        gone: RootId,
        heir: Option<(RootId, Remote)>,
        now: Now,
        out: &mut dyn Sink,
    ) -> News {
        self.intervals.remove(&gone);
        if self.owner == Some(gone) {
            self.owner = None;
            if let Some((heir, uri)) = heir {
                self.serve(heir, &uri);
            }
        }
        match self.fetch {
            Fetch::Asking { root, .. } if root == gone => {
                self.give_back(Ended::Abandoned, now, out)
            }
            _ => News::None,
        }
    }

    /// Handles a tick.
    pub fn tick(&mut self, now: Now, out: &mut dyn Sink) -> News {
        if let Fetch::Asking { asked, .. } = self.fetch
            && now.mono.since(asked.mono) > self.longest()
        {
            // The host answers every call. Should it ever fail to, the worker starts over.
            return self.failed(now, out);
        }
        self.forget_unanswered(now, out);
        if !self.is_shared() {
            return self.proceed(now, out);
        }
        match self.identity.kind {
            Kind::Keys => self.look_at_document(0, Then::Proceed, now, out),
            Kind::Organizations if self.fetch == Fetch::Idle && self.sharing == Sharing::Idle => {
                return self.look_at_lease(Fetch::Peeking, now, out);
            }
            Kind::Organizations => {}
        }
        News::None
    }

    /// Gives up on reads and swaps that the host has not answered in time.
    fn forget_unanswered(&mut self, now: Now, out: &mut dyn Sink) {
        if now.mono.since(self.document_asked) > PATIENCE {
            self.sharing = Sharing::Idle;
        }
        if now.mono.since(self.lease_asked) <= PATIENCE {
            return;
        }
        match self.fetch {
            Fetch::Idle | Fetch::Asking { .. } => {}
            Fetch::Peeking | Fetch::Leasing { .. } | Fetch::Claiming { .. } => {
                self.fetch = Fetch::Idle;
            }
            Fetch::Returning { end, tries } | Fetch::GivingBack { end, tries, .. } => {
                let tries = tries.saturating_add(1);
                self.fetch = Fetch::Idle;
                if tries < TRIES {
                    // The outcome shows at the next event.
                    let _ = self.look_at_lease(Fetch::Returning { end, tries }, now, out);
                }
            }
        }
    }

    /// Starts a fetch that is due by schedule, or that a request wanted to begin by now.
    fn proceed(&mut self, now: Now, out: &mut dyn Sink) -> News {
        let due = now.mono >= self.refresh && now.mono >= self.lease.retry;
        // A request that waits for another worker's fetch learns from the lease that it has
        // ended.
        let elsewhere = self.is_shared() && self.lease.other(self.worker_id, now.mono).is_some();
        let booked = self
            .wanted
            .is_some_and(|wanted| elsewhere || wanted.at <= now.mono);
        match (due, booked) {
            (true, _) => self.start(Reason::Schedule, now, out),
            (false, true) => self.start(Reason::Demand, now, out),
            (false, false) => News::None,
        }
    }

    /// Notes that a request lacks its key and can wait until `deadline`. Returns whether there
    /// is something to wait for.
    pub fn want(&mut self, need: Need, now: Now, deadline: Monotonic, out: &mut dyn Sink) -> bool {
        if need == Need::Key || self.is_useless(now.mono) {
            self.wanted = Some(Wanted {
                at: self.lease.cool(),
            });
        }
        // The outcome shows in `is_expected`, and at the next event.
        let _ = self.proceed(now, out);
        self.is_expected(need, now.mono, deadline)
    }

    /// Notes that a request that needed a fetch is answered without one. The fetch still
    /// happens, so that the next try finds its answer. Requests that wait ask again when they
    /// are woken.
    pub fn owe(&mut self, now: Monotonic) {
        if self.wanted.is_some() {
            self.owed = Some(now);
        }
    }

    /// Whether a document may arrive by `deadline` for a request that lacks its key.
    #[must_use]
    pub fn is_expected(&self, need: Need, now: Monotonic, deadline: Monotonic) -> bool {
        let busy = matches!(
            self.fetch,
            Fetch::Leasing { .. } | Fetch::Claiming { .. } | Fetch::Asking { .. }
        );
        let elsewhere = self.lease.other(self.worker_id, now).is_some()
            || self.lease.tells_of_newer(now, self.known());
        if busy || self.sharing != Sharing::Idle || elsewhere {
            return true;
        }
        match need {
            Need::Keys => {
                let next = match self.wanted {
                    Some(wanted) if self.is_useless(now) => wanted.at.max(self.lease.retry),
                    _ => self.lease.retry.max(self.refresh),
                };
                self.owner.is_some() && next <= deadline
            }
            Need::Key => false,
        }
    }

    /// Whether there is a document that is not due to be followed by another one. A caller who
    /// has no keys in spite of it needs a fetch all the same, which is limited like one for an
    /// unknown key.
    fn is_useless(&self, now: Monotonic) -> bool {
        self.held.is_some() && now < self.refresh
    }

    fn is_shared(&self) -> bool {
        self.uri.share && !self.unshared
    }

    fn start(&mut self, reason: Reason, now: Now, out: &mut dyn Sink) -> News {
        if self.fetch != Fetch::Idle || self.owner.is_none() {
            return News::None;
        }
        // One event may lead to another start if the first achieves nothing, but not endlessly.
        let (instant, starts) = self.starts;
        let starts = if instant == now.mono { starts } else { 0 };
        if starts >= TRIES {
            return News::None;
        }
        self.starts = (now.mono, starts.saturating_add(1));
        self.look_at_lease(Fetch::Leasing { reason, tries: 0 }, now, out)
    }

    /// Reads the lease for a step. If it is not shared, it is known already.
    fn look_at_lease(&mut self, step: Fetch, now: Now, out: &mut dyn Sink) -> News {
        self.fetch = step;
        if !self.is_shared() {
            return self.leased(self.lease, 0, now, out);
        }
        self.lease_asked = now.mono;
        let [_, key] = &self.keys;
        out.emit(Effect::Look {
            source: self.id,
            entry: Entry::Lease,
            key,
        });
        News::None
    }

    fn look_at_document(&mut self, tries: u8, then: Then, now: Now, out: &mut dyn Sink) {
        if self.sharing != Sharing::Idle {
            return;
        }
        self.document_asked = now.mono;
        self.sharing = Sharing::Looking { tries, then };
        let [key, _] = &self.keys;
        out.emit(Effect::Look {
            source: self.id,
            entry: Entry::Document,
            key,
        });
    }

    /// Whether the host has been asked to read that entry.
    #[must_use]
    pub const fn looks_at(&self, entry: Entry) -> bool {
        match entry {
            Entry::Lease => matches!(
                self.fetch,
                Fetch::Peeking | Fetch::Leasing { .. } | Fetch::Returning { .. }
            ),
            Entry::Document => matches!(self.sharing, Sharing::Looking { .. }),
            Entry::Load => false,
        }
    }

    /// Handles a shared entry that was read.
    pub fn looked(
        &mut self,
        entry: Entry,
        value: Option<(&[u8], u32)>,
        now: Now,
        out: &mut dyn Sink,
    ) -> News {
        if !self.looks_at(entry) {
            return News::None;
        }
        let Some((bytes, swap)) = value else {
            return self.alone(entry, now, out);
        };
        match entry {
            Entry::Lease => {
                self.lease = Lease::parse(bytes, now.mono);
                self.leased(self.lease, swap, now, out)
            }
            Entry::Document => self.document_read(bytes, swap, now, out),
            Entry::Load => News::None,
        }
    }

    /// Goes on without sharing, because the host shares nothing.
    fn alone(&mut self, entry: Entry, now: Now, out: &mut dyn Sink) -> News {
        self.unshared = true;
        self.sharing = Sharing::Idle;
        match entry {
            Entry::Lease => self.leased(self.lease, 0, now, out),
            Entry::Document | Entry::Load => self.proceed(now, out),
        }
    }

    fn document_read(&mut self, bytes: &[u8], swap: u32, now: Now, out: &mut dyn Sink) -> News {
        let Sharing::Looking { tries, then } = self.sharing else {
            return News::None;
        };
        self.sharing = Sharing::Idle;
        let theirs = Document::parse(bytes, now.mono);
        self.published = theirs.as_ref().map_or(0, |theirs| theirs.edition.number);
        if let Some(theirs) = &theirs
            && theirs.is_newer(self.held.as_ref())
        {
            if theirs.edition.asked.mono > self.passed_over {
                return News::Offered(theirs.clone());
            }
            return self.looked_at(then, now, out);
        }
        let ours = self.held.as_mut();
        let Some(held) = ours.filter(|held| held.is_newer(theirs.as_ref())) else {
            return self.looked_at(then, now, out);
        };
        let after = theirs.map_or(0, |theirs| theirs.edition.number);
        held.edition.number = held.edition.number.max(after.saturating_add(1));
        self.sharing = Sharing::Writing { tries };
        self.document_asked = now.mono;
        let [key, _] = &self.keys;
        out.emit(Effect::Swap {
            source: self.id,
            entry: Entry::Document,
            key,
            value: &held.to_bytes(),
            swap,
        });
        News::None
    }

    fn looked_at(&mut self, then: Then, now: Now, out: &mut dyn Sink) -> News {
        match then {
            Then::Proceed => self.proceed(now, out),
            Then::Rest => News::Settled,
        }
    }

    /// Takes an offered document, which is good here.
    pub fn hold(&mut self, document: Document, now: Now, out: &mut dyn Sink) -> News {
        self.take(document);
        // The worker that fetched it has finished, although the lease as it was last seen does
        // not say so.
        self.lease = self.lease.abandoned();
        self.proceed(now, out)
    }

    /// Passes over an offered document that no configuration here can use.
    pub fn pass_over(&mut self, edition: Edition, now: Now, out: &mut dyn Sink) -> News {
        self.passed_over = self.passed_over.max(edition.asked.mono);
        self.seen = self.seen.max(edition.number);
        self.proceed(now, out)
    }

    fn take(&mut self, document: Document) {
        let asked = document.edition.asked.mono;
        self.owed = self.owed.filter(|owed| *owed > asked);
        if self.owed.is_none() {
            self.wanted = None;
        }
        self.seen = self.seen.max(document.edition.number);
        self.held = Some(document);
        self.plan();
    }

    /// Plans when the held document should be followed by another one. For keys it is after 80
    /// % of the interval, or of the time for which the provider calls them fresh if that is
    /// less; for organizations it is after the interval. Both are spread by a tenth.
    fn plan(&mut self) {
        let Some(held) = &self.held else { return };
        // The configuration that wants the newest keys most often determines the interval.
        let shortest = self.intervals.values().min();
        let longest = shortest.copied().unwrap_or(self.uri.refresh_interval);
        let interval = held
            .max_age
            .map_or(longest, |age| age.max(LEAST_INTERVAL).min(longest));
        let span = match self.identity.kind {
            Kind::Keys => interval.saturating_mul(8) / 10,
            Kind::Organizations => interval,
        };
        let since = held.edition.asked.mono.max(self.confirmed);
        self.refresh = since.after(self.dice.spread(span));
    }

    /// Handles the lease once it is known: claims it, gives it back, or leaves it.
    fn leased(&mut self, lease: Lease, swap: u32, now: Now, out: &mut dyn Sink) -> News {
        match self.fetch {
            Fetch::Peeking => {
                self.fetch = Fetch::Idle;
                self.peeked(lease, now, out)
            }
            Fetch::Leasing { reason, tries } => {
                let known = self.known();
                match lease.claim(self.worker_id, now.mono, self.longest(), reason, known) {
                    Claim::Take(claimed) => {
                        let step = Fetch::Claiming {
                            reason,
                            lease: claimed,
                            tries,
                        };
                        self.swap_lease(step, claimed, swap, now, out)
                    }
                    Claim::Held(_) => self.settle(),
                    Claim::NotBefore(at) => {
                        if let Some(wanted) = &mut self.wanted
                            && reason == Reason::Demand
                        {
                            wanted.at = at;
                        }
                        self.settle()
                    }
                    Claim::Newer => {
                        self.fetch = Fetch::Idle;
                        self.look_at_document(0, Then::Rest, now, out);
                        News::None
                    }
                }
            }
            Fetch::Returning { end, tries } => {
                if self.is_shared() && lease.holder != self.worker_id {
                    // Another worker holds it now, and will report how its own fetch ends.
                    return self.settle();
                }
                // The pause is limited so that a withdrawn grant ends within two polls, even
                // after an outage.
                let longest = match self.identity.kind {
                    Kind::Keys => u64::MAX,
                    Kind::Organizations => self.uri.refresh_interval,
                };
                let returned = match end {
                    Ended::Abandoned => lease.abandoned(),
                    Ended::Failed => {
                        lease.after_failure(now.mono, longest, |span| self.dice.spread(span))
                    }
                    Ended::Succeeded(asked) => {
                        let number = self.held.as_ref().map(|held| held.edition.number);
                        lease.after_success(asked, number.unwrap_or_default())
                    }
                };
                let step = Fetch::GivingBack {
                    end,
                    lease: returned,
                    tries,
                };
                self.swap_lease(step, returned, swap, now, out)
            }
            _ => News::None,
        }
    }

    /// Handles a lease that was read to see which document is the newest.
    fn peeked(&mut self, lease: Lease, now: Now, out: &mut dyn Sink) -> News {
        if lease.number > self.seen && self.may_look_for(lease.number) {
            self.look_at_document(0, Then::Proceed, now, out);
            return News::None;
        }
        let ours = self.held.as_ref().map(|held| held.edition.number);
        if ours.is_some_and(|ours| lease.number <= ours) {
            self.confirm(lease.fetched);
        }
        if ours.is_some_and(|ours| ours > self.published) {
            // The document could not be written to the shared entry when it arrived.
            self.look_at_document(0, Then::Proceed, now, out);
            return News::None;
        }
        self.proceed(now, out)
    }

    /// Whether it is worth looking again. The worker that fetched the document writes it before
    /// the lease, so one that is missing after a while will never appear.
    fn may_look_for(&mut self, number: u64) -> bool {
        let (known, looks) = self.looked_for;
        let looks = if known == number { looks } else { 0 };
        self.looked_for = (number, looks.saturating_add(1));
        looks < LOOKS
    }

    /// Notes that the held document was the newest at that time.
    fn confirm(&mut self, at: Monotonic) {
        if at > self.confirmed {
            self.confirmed = at;
            self.plan();
        }
    }

    /// Handles the server's answer that nothing has changed.
    pub fn unchanged(&mut self, now: Now, out: &mut dyn Sink) -> News {
        let Fetch::Asking { asked, .. } = self.fetch else {
            return News::None;
        };
        self.confirm(asked.mono);
        self.give_back(Ended::Succeeded(asked.mono), now, out)
    }

    /// When the newest document that was seen here was requested.
    fn known(&self) -> Monotonic {
        self.fresh_as_of().unwrap_or_default().max(self.passed_over)
    }

    fn settle(&mut self) -> News {
        self.fetch = Fetch::Idle;
        News::Settled
    }

    fn swap_lease(
        &mut self,
        step: Fetch,
        lease: Lease,
        swap: u32,
        now: Now,
        out: &mut dyn Sink,
    ) -> News {
        self.fetch = step;
        if !self.is_shared() {
            return self.lease_swapped(Swap::Done, now, out);
        }
        self.lease_asked = now.mono;
        let [_, key] = &self.keys;
        out.emit(Effect::Swap {
            source: self.id,
            entry: Entry::Lease,
            key,
            value: &lease.to_bytes(),
            swap,
        });
        News::None
    }

    /// Handles the outcome of swapping a shared entry.
    pub fn swapped(&mut self, entry: Entry, swap: Swap, now: Now, out: &mut dyn Sink) -> News {
        let expected = match entry {
            Entry::Lease => matches!(
                self.fetch,
                Fetch::Claiming { .. } | Fetch::GivingBack { .. }
            ),
            Entry::Document => matches!(self.sharing, Sharing::Writing { .. }),
            Entry::Load => false,
        };
        if !expected {
            return News::None;
        }
        if swap == Swap::Unshared {
            self.unshared = true;
        }
        match entry {
            Entry::Lease => self.lease_swapped(swap, now, out),
            Entry::Load => News::None,
            Entry::Document => {
                let Sharing::Writing { tries } = self.sharing else {
                    return News::None;
                };
                self.sharing = Sharing::Idle;
                if swap == Swap::Done {
                    self.published = self.held.as_ref().map_or(0, |held| held.edition.number);
                }
                let again = tries.saturating_add(1);
                if swap == Swap::Conflict && again < TRIES {
                    self.look_at_document(again, Then::Proceed, now, out);
                    return News::None;
                }
                self.proceed(now, out)
            }
        }
    }

    fn lease_swapped(&mut self, swap: Swap, now: Now, out: &mut dyn Sink) -> News {
        let conflict = swap == Swap::Conflict;
        match self.fetch {
            Fetch::Claiming { reason, tries, .. } if conflict => {
                let tries = tries.saturating_add(1);
                if tries >= TRIES {
                    // There is so much contention that another worker must have got it. The
                    // next tick looks again.
                    return self.settle();
                }
                self.look_at_lease(Fetch::Leasing { reason, tries }, now, out)
            }
            Fetch::Claiming { lease, .. } => {
                self.lease = lease;
                self.ask(now, out)
            }
            Fetch::GivingBack { end, tries, .. } if conflict => {
                let tries = tries.saturating_add(1);
                if tries >= TRIES {
                    // The lease ends by itself when its time is up.
                    return self.settle();
                }
                self.look_at_lease(Fetch::Returning { end, tries }, now, out)
            }
            Fetch::GivingBack { lease, .. } => {
                self.lease = lease;
                self.fetch = Fetch::Idle;
                // A request may have needed a fetch in the meantime.
                match self.proceed(now, out) {
                    News::None => News::Settled,
                    news => news,
                }
            }
            _ => News::None,
        }
    }

    /// Requests the first document, now that this worker holds the lease.
    fn ask(&mut self, now: Now, out: &mut dyn Sink) -> News {
        let found = self
            .found
            .as_ref()
            .filter(|(_, since)| !self.failing && now.mono.since(*since) < DISCOVERED_FOR);
        let (step, address) = match (&self.uri.start, found) {
            (Start::Document(address), _) => (Step::Keys, address.clone()),
            (Start::Discovery { .. }, Some((address, _))) => (Step::Keys, address.clone()),
            (Start::Discovery { address, .. }, None) => (Step::Discovery, address.clone()),
        };
        self.call(step, &address, now, out)
    }

    fn call(&mut self, step: Step, address: &Address, now: Now, out: &mut dyn Sink) -> News {
        let Some(root) = self.owner else {
            return self.give_back(Ended::Abandoned, now, out);
        };
        self.serial = self.serial.wrapping_add(1);
        self.fetch = Fetch::Asking {
            root,
            serial: self.serial,
            step,
            asked: now,
        };
        let bearer = self.authorization(address);
        let mut headers: Vec<(&str, &[u8])> = vec![
            (":method", b"GET"),
            (":scheme", address.scheme.as_bytes()),
            (":authority", address.authority.as_bytes()),
            (":path", address.path.as_bytes()),
            (
                "accept",
                match self.identity.kind {
                    Kind::Keys => ACCEPTED_KEYS,
                    Kind::Organizations => ACCEPTED_ORGANIZATIONS,
                },
            ),
            // Nothing here could decompress it.
            ("accept-encoding", b"identity"),
            ("user-agent", b"scopegate"),
        ];
        headers.extend(
            bearer
                .iter()
                .map(|value| ("authorization", value.as_bytes())),
        );
        let tag = self.held.as_ref().and_then(|held| held.tag.as_deref());
        headers.extend(tag.map(|tag| ("if-none-match", tag)));
        out.emit(Effect::Call {
            root,
            call: CallId::Document(self.id, self.serial),
            cluster: &self.uri.cluster,
            headers: &headers,
            timeout: self.uri.timeout,
        });
        News::None
    }

    /// The operator's credential for a request to that address. It is omitted if the address is
    /// not the authority that the credential is for, because a provider names the address of
    /// its keys itself.
    fn authorization(&self, address: &Address) -> Option<String> {
        let secret = self.uri.authorization.as_ref()?;
        let (Start::Document(home) | Start::Discovery { address: home, .. }) = &self.uri.start;
        let is_home = home.authority == address.authority && home.scheme == address.scheme;
        is_home.then(|| ["Bearer ", secret.expose()].concat())
    }

    /// Whether the call is the one under way and, if so, whether it requests keys rather than
    /// their address. `None` for an answer that comes late or twice.
    #[must_use]
    pub fn awaits(&self, serial: u64) -> Option<bool> {
        match self.fetch {
            Fetch::Asking {
                serial: ours, step, ..
            } if ours == serial => Some(step == Step::Keys),
            _ => None,
        }
    }

    /// Goes on to the keys with the discovery document that has arrived.
    ///
    /// # Errors
    /// The reason why it is not followed. The fetch continues until [`DocumentFetch::failed`]
    /// ends it.
    pub fn discovered(
        &mut self,
        document: &[u8],
        now: Now,
        out: &mut dyn Sink,
    ) -> Result<News, discovery::DiscoveryError> {
        let hosts: &[String] = match &self.uri.start {
            Start::Discovery { hosts, .. } => hosts,
            Start::Document(_) => &[],
        };
        let address = discovery::keys_address(document, &self.identity.issuer, hosts)?;
        self.found = Some((address.clone(), now.mono));
        Ok(self.call(Step::Keys, &address, now, out))
    }

    /// The document that has arrived, in the form in which it would be the next one.
    #[must_use]
    pub fn arrived(
        &self,
        bytes: Box<[u8]>,
        max_age: Option<u64>,
        tag: Option<&[u8]>,
    ) -> Option<Document> {
        let Fetch::Asking { asked, .. } = self.fetch else {
            return None;
        };
        let number = self.held.as_ref().map_or(0, |held| held.edition.number);
        Some(Document {
            edition: Edition {
                number: number.saturating_add(1),
                asked,
            },
            max_age,
            tag: tag.map(Into::into),
            bytes,
        })
    }

    /// Ends a fetch that yielded a good document.
    pub fn succeeded(&mut self, document: Document, now: Now, out: &mut dyn Sink) -> News {
        let asked = document.edition.asked.mono;
        if document.is_newer(self.held.as_ref()) {
            self.take(document);
        }
        if self.is_shared() {
            // This worker's document is the newer one unless another worker was quicker, which
            // reading the shared one will show.
            self.look_at_document(0, Then::Proceed, now, out);
        }
        self.give_back(Ended::Succeeded(asked), now, out)
    }

    /// Ends a fetch that failed or yielded nothing usable. The held document stays.
    pub fn failed(&mut self, now: Now, out: &mut dyn Sink) -> News {
        self.give_back(Ended::Failed, now, out)
    }

    fn give_back(&mut self, end: Ended, now: Now, out: &mut dyn Sink) -> News {
        self.look_at_lease(Fetch::Returning { end, tries: 0 }, now, out)
    }

    /// How long a fetch is assumed to take, in milliseconds. With discovery it consists of two
    /// requests.
    const fn longest(&self) -> u64 {
        let steps = match self.uri.start {
            Start::Discovery { .. } => 2,
            Start::Document(_) => 1,
        };
        let longest = self.uri.timeout.saturating_mul(steps).saturating_add(SLACK);
        if longest < LONGEST_FETCH {
            longest
        } else {
            LONGEST_FETCH
        }
    }
}

/// The key of a shared entry. Workers with the same way to the same documents share them,
/// whatever else differs.
fn shared_key(entry: Entry, identity: &Identity) -> String {
    // Which hosts may hold the keys is a part of the way to them.
    let (step, address, hosts) = match &identity.start {
        Start::Discovery { address, hosts } => ("discovery", address, hosts.join(",")),
        Start::Document(address) => ("uri", address, String::new()),
    };
    let Identity {
        issuer, cluster, ..
    } = identity;
    let kind = match identity.kind {
        Kind::Keys => "keys",
        Kind::Organizations => "organizations",
    };
    format!(
        "scopegate/3/{kind}/{}/{step}/{cluster}/{address}/{hosts}/{issuer}",
        entry.name()
    )
}
