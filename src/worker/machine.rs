//! The worker itself, which passes each event to the parts that it concerns.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use crate::authn::key_cache::Keys;
use crate::authn::key_lease::Lease;
use crate::authn::keys::{Algorithm, SignatureEngine};
use crate::authz::projects;
use crate::config::{Config, Environment, Mode};
use crate::gate::Gate;
use crate::words::build::{COMMIT, VERSION};
use crate::words::denial::Denial;
use crate::words::hash::QuickHash;
use crate::words::time::{Monotonic, Now, Time};
use crate::worker::announcement::Announcement;
use crate::worker::clocks::Fault;
use crate::worker::commons::Commons;
use crate::worker::counters::Gauge;
use crate::worker::document_fetch::Kind;
use crate::worker::effect::{Effect, Level, Sink};
use crate::worker::event::{
    Action, CallId, CallOutcome, Entry, Event, Lazy, Reading, ResponseHead, RootId, SourceId,
    StreamId, Swap,
};
use crate::worker::excerpt::say;
use crate::worker::exchange::{self, Case, Cause, Desk, Exchange, Standing, Why};
use crate::worker::headers::HeaderBlock;
use crate::worker::keyring::{Heard, Keyring, Roots};
use crate::worker::received::not_sent;
use crate::worker::root::Root;
use crate::worker::roster::Roster;
use crate::worker::sources::Served;

/// The state machine of one thread of a proxy.
pub struct Worker {
    roots: Roots,
    /// The root that refuses requests whose own root is not known.
    stranger: Root,
    exchanges: HashMap<StreamId, Exchange, QuickHash>,
    commons: Commons,
    /// The announcement of the configuration that was loaded last.
    announcement: Option<Announcement>,
    /// The stream whose callback the host is in, if any.
    callback: Option<StreamId>,
    /// Streams that have to be examined once the host is in no stream's callback.
    deferred: Vec<(StreamId, Why)>,
    /// Whether what is fetched is shared even where a configuration says that it is not.
    shares_everything: bool,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("exchanges", &self.exchanges)
            .field("sources", &self.commons.sources)
            .finish_non_exhaustive()
    }
}

/// The head of a request, and what the host can say about it.
struct Arriving<'a> {
    headers: &'a HeaderBlock,
    end: bool,
    peer: Lazy<'a>,
    entrance: Lazy<'a>,
}

/// What an event learns about the time.
enum Judged {
    At(Time),
    Faulty,
    Unread,
}

impl Worker {
    /// Creates a worker without a configuration. `seed` is a secret number of its own. It keys
    /// hashes, spreads schedules and distinguishes the worker from others of the process.
    #[must_use]
    pub fn new(engine: Box<dyn SignatureEngine>, seed: u64) -> Self {
        let nowhere = RootId(u64::MAX);
        let stranger = Root::new(
            nowhere,
            Gate::closed(),
            Served::default(),
            Monotonic::default(),
        );
        Self {
            roots: BTreeMap::new(),
            stranger,
            exchanges: HashMap::default(),
            commons: Commons::new(engine, seed),
            announcement: None,
            callback: None,
            deferred: Vec::new(),
            shares_everything: false,
        }
    }

    /// Has the worker share everything that it fetches. This is for hosts whose shared entries
    /// nobody else can write.
    #[must_use]
    pub fn sharing_everything(mut self) -> Self {
        self.shares_everything = true;
        self
    }

    /// Says that the host is in the callback of that stream, or no longer in any. During a
    /// callback no other stream is resumed or answered, because proxies do not expect it (Envoy
    /// would stop the stream whose callback it is).
    pub const fn in_callback_of(&mut self, stream: Option<StreamId>) {
        self.callback = stream;
    }

    /// Handles an event. `reading` holds the clocks if the host has read them, which it does
    /// for [`Action::Exact`] and for every event that does not belong to a stream.
    pub fn on(&mut self, event: Event<'_>, reading: Option<Reading>, out: &mut dyn Sink) -> Action {
        if self.callback.is_none() && !self.deferred.is_empty() {
            for (stream, why) in std::mem::take(&mut self.deferred) {
                self.wake(stream, why, out);
            }
        }
        match event {
            Event::Configured {
                root,
                document,
                environment,
            } => return self.on_configured(root, document, environment, reading, out),
            Event::RootGone { root } => self.on_root_gone(root, reading, out),
            Event::Tick { root } => self.on_tick(root, reading, out),
            Event::Opened { stream, root } => {
                self.exchanges.insert(stream, Exchange::Opened { root });
            }
            Event::Head {
                stream,
                headers,
                end,
                peer,
                entrance,
            } => {
                let head = Arriving {
                    headers,
                    end,
                    peer,
                    entrance,
                };
                return self.on_head(stream, &head, reading, out);
            }
            Event::Body {
                stream,
                size,
                end,
                read,
            } => return self.on_body(stream, (size, end), read, out),
            Event::Trailers { stream } => return self.on_trailers(stream, out),
            Event::ResponseHead {
                stream,
                headers,
                end,
                head,
            } => return self.on_response(stream, (headers, end), head, out),
            Event::Wake { stream } => self.on_deadline(stream, reading, out),
            Event::Unperformed { stream, uncounted } => {
                self.step(stream, out, |desk, exchange| {
                    let exchange = exchange::on_unperformed(desk, &exchange, uncounted);
                    (exchange, Action::Pause)
                });
                return Action::Pause;
            }
            Event::Gone { stream } => self.on_gone(stream, out),
            Event::Looked {
                source,
                entry,
                value,
            } => self.on_looked(source, entry, value, reading, out),
            Event::Swapped {
                source,
                entry,
                swap,
            } => self.on_swapped(source, entry, swap, reading, out),
            Event::Answered { call, answer } => self.on_answered(call, answer, reading, out),
        }
        Action::Continue
    }

    /// Whether a configuration with that number is loaded.
    #[must_use]
    pub fn is_root(&self, root: RootId) -> bool {
        self.roots.contains_key(&root)
    }

    /// The number of streams that the worker knows.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.exchanges.len()
    }

    /// The number of requests that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.commons.waiting.len()
    }

    /// The configurations in use, with their gates.
    pub fn gates(&self) -> impl Iterator<Item = (RootId, &Gate)> {
        self.roots.iter().map(|(id, root)| (*id, &root.gate))
    }

    /// The lease of each source, as it was last seen.
    pub fn leases(&self) -> impl Iterator<Item = Lease> {
        self.commons.sources.leases()
    }

    /// Whether the host has been asked to read that entry, and the worker still waits for it.
    #[must_use]
    pub fn looks_at(&self, source: SourceId, entry: Entry) -> bool {
        let fetch = self.commons.sources.get(source);
        fetch.is_some_and(|fetch| fetch.looks_at(entry))
    }

    /// Whether the answer to that call is still awaited.
    #[must_use]
    pub fn awaits(&self, call: CallId) -> bool {
        match call {
            CallId::Directory(serial) => self.commons.directory.awaits(serial),
            CallId::Document(source, serial) => {
                let fetch = self.commons.sources.get(source);
                fetch.is_some_and(|fetch| fetch.awaits(serial).is_some())
            }
        }
    }

    // Time

    /// The clocks for an event that does not belong to a stream. `None` if the host's clocks
    /// cannot be relied on, which is then logged.
    fn now(&mut self, reading: Option<Reading>, out: &mut dyn Sink) -> Option<Now> {
        let reading = reading?;
        match self.commons.clocks.read(reading) {
            Ok(now) => Some(now),
            Err(fault) => {
                let roots: Vec<RootId> = self.roots.keys().copied().collect();
                for root in roots {
                    self.note_fault(root, Some(fault), out);
                }
                None
            }
        }
    }

    /// The same, or the last clocks that could be relied on. This is for answers, because
    /// nothing may be awaited endlessly.
    fn now_or_last(&mut self, reading: Option<Reading>, out: &mut dyn Sink) -> Now {
        let now = self.now(reading, out);
        now.unwrap_or_else(|| self.commons.clocks.last())
    }

    /// The clocks for a request of a root.
    fn time(&mut self, root: RootId, reading: Option<Reading>, out: &mut dyn Sink) -> Judged {
        let clocks = &mut self.commons.clocks;
        let known = self.roots.get_mut(&root);
        let Some(reading) = reading else {
            let steady = known.is_none_or(|root| root.pulse.is_steady() && !root.faulty);
            if steady && !clocks.is_sampled() {
                return Judged::At(Time::Coarse(clocks.last()));
            }
            return Judged::Unread;
        };
        let judged = clocks.read(reading).and_then(|now| match known {
            Some(root) => root.pulse.call(now.mono).map(|()| now),
            None => Ok(now),
        });
        match judged {
            Ok(now) => {
                self.note_fault(root, None, out);
                Judged::At(Time::Exact(now))
            }
            Err(fault) => {
                self.note_fault(root, Some(fault), out);
                Judged::Faulty
            }
        }
    }

    /// Logs each change once. Requests that wait on a host that cannot be relied on have
    /// nothing to wait for, so they are refused.
    fn note_fault(&mut self, id: RootId, fault: Option<Fault>, out: &mut dyn Sink) {
        let Some(root) = self.roots.get_mut(&id) else {
            return;
        };
        if root.faulty == fault.is_some() {
            return;
        }
        root.faulty = fault.is_some();
        let Some(fault) = fault else {
            say(
                out,
                Level::Warn,
                "the host's clocks and ticks can be relied on again",
            );
            return;
        };
        let line = format!(
            "EVERY REQUEST IS REFUSED: this host cannot be relied on, {fault}. \
             Look at its capability_restriction_config and at its clocks."
        );
        say(out, Level::Error, &line);
        let all = self.commons.waiting.clone();
        for stream in all {
            if self.root_of(stream) == Some(id) {
                self.wake(stream, Why::Faulty, out);
            }
        }
    }

    // Roots

    fn on_configured(
        &mut self,
        id: RootId,
        document: &[u8],
        environment: &[(String, String)],
        reading: Option<Reading>,
        out: &mut dyn Sink,
    ) -> Action {
        // A host without clocks is reported when a decision is needed. Whether a document is
        // good depends on nothing except the document.
        let mono = reading.and_then(|reading| self.commons.clocks.read(reading).ok());
        let now = mono.map_or(Monotonic::default(), |now| now.mono);
        let environment = Environment::new(environment.iter().cloned());
        let config = match Config::parse(document, &environment) {
            Ok(mut config) => {
                let policies = self.roots.values().rev();
                let mut policies = policies.map(|root| &root.gate.config().policy);
                if let Some(newest) = policies.find(|policy| policy.tenants() > 0) {
                    config.share(newest);
                }
                if self.shares_everything {
                    config.share_fetches();
                }
                Arc::new(config)
            }
            Err(problems) => {
                for problem in &problems {
                    say(out, Level::Error, &format!("configuration: {problem}"));
                }
                let mut root = Root::new(id, Gate::closed(), Served::default(), now);
                root.tick_soon(out);
                self.replace(root, out);
                return Action::Pause;
            }
        };
        let announcement = Announcement::new(
            match COMMIT {
                Some(commit) => format!("scopegate {VERSION} ({commit}): {}", config.summary()),
                None => format!("scopegate {VERSION}: {}", config.summary()),
            },
            config.fingerprint.number(),
        );
        let served = self.commons.sources.serve(id, &config);
        let owner = self.commons.owners.next();
        let gate = Gate::new(config, owner, self.commons.dice.roll());
        let mut root = Root::new(id, gate, served, now);
        let now = self.commons.clocks.last();
        self.keyring(now, out).take_over(&mut root);
        self.roster(now, out).take_over(&mut root);
        root.tick_soon(out);
        self.replace(root, out);
        announcement.begin(out);
        self.announcement = Some(announcement);
        Action::Continue
    }

    /// Adds a root, replacing the one with its number if there was one. Calls that the old root
    /// made are not for the new one.
    fn replace(&mut self, root: Root, out: &mut dyn Sink) {
        let id = root.id();
        if self.roots.insert(id, root).is_some() {
            self.commons.directory.forget(id);
            let now = self.commons.clocks.last();
            for source in self.commons.sources.ids() {
                let named = self.roots.get(&id).and_then(|root| root.remote(source));
                if named.is_none() {
                    self.forget_source_of(id, source, now, out);
                }
            }
            self.commons.sources.tidy();
        }
        self.fit_cache();
    }

    /// Notes that a root which is gone no longer names a source.
    fn forget_source_of(&mut self, id: RootId, source: SourceId, now: Now, out: &mut dyn Sink) {
        if self.is_of_organizations(source) {
            let changed = self.roster(now, out).root_gone(id, source);
            self.regrant(&changed, now, out);
        } else {
            let heard = self.keyring(now, out).root_gone(id, source);
            self.tell(source, heard, now, out);
        }
    }

    /// Makes the token cache as large as the most demanding configuration wants it.
    fn fit_cache(&mut self) {
        let limits = self.roots.values().map(|root| root.gate.config().limits);
        let tokens = limits.clone().map(|limits| limits.cached_tokens).max();
        let bytes = limits.map(|limits| limits.cached_bytes()).max();
        let cache = &mut self.commons.tokens;
        cache.resize(tokens.unwrap_or_default(), bytes.unwrap_or_default());
    }

    fn on_root_gone(&mut self, id: RootId, reading: Option<Reading>, out: &mut dyn Sink) {
        self.roots.remove(&id);
        self.commons.directory.forget(id);
        let now = self.now_or_last(reading, out);
        for source in self.commons.sources.ids() {
            self.forget_source_of(id, source, now, out);
        }
        self.commons.sources.tidy();
        self.fit_cache();
        let all = self.commons.waiting.clone();
        for stream in all {
            if self.root_of(stream) == Some(id) {
                self.wake(stream, Why::Faulty, out);
            }
        }
        self.show_sums(out);
    }

    fn on_tick(&mut self, id: RootId, reading: Option<Reading>, out: &mut dyn Sink) {
        let Some(now) = self.now(reading, out) else {
            if let Some(root) = self.roots.get_mut(&id) {
                root.tick_every(false, out);
            }
            return;
        };
        let Some(root) = self.roots.get_mut(&id) else {
            return;
        };
        root.pulse.tick(now.mono);
        let served: Vec<SourceId> = root.sources().map(|(_, source)| source).collect();
        let organizations = root.organizations_source();
        self.note_fault(id, None, out);
        if let Some(source) = organizations {
            let changed = self.roster(now, out).tick(source);
            self.regrant(&changed, now, out);
        }
        for source in served {
            let heard = self.keyring(now, out).tick(source);
            self.tell(source, heard, now, out);
        }
        while let Some(stream) = self.commons.lifetimes.take_due(now) {
            self.time_is_up(stream, now, out);
        }
        self.succeed(id, now, out);
        self.show(id, now, out);
        let waiting = self.commons.waiting.iter();
        let waits = waiting.filter(|stream| self.root_of(**stream) == Some(id));
        let waits = waits.count() > 0;
        if let Some(root) = self.roots.get_mut(&id) {
            root.remind(now.mono, out);
            root.tick_every(waits, out);
        }
    }

    fn show(&self, id: RootId, now: Now, out: &mut dyn Sink) {
        let Some(root) = self.roots.get(&id) else {
            return;
        };
        let mut show = |gauge, value| out.emit(Effect::Show { gauge, value });
        let config = root.gate.config();
        // Only the newest configuration is shown. Earlier ones may still have open streams.
        if self.roots.keys().next_back() == Some(&id) {
            show(Gauge::BuildInfo, 1);
            show(Gauge::ConfigHash, config.fingerprint.number());
            if root.organizations_source().is_some() {
                let held = root.organizations();
                let count = held.map_or(0, |held| held.organizations);
                let hash = held.map_or(0, |held| held.fingerprint.number());
                show(Gauge::Organizations, count as u64);
                show(Gauge::OrganizationsHash, hash);
                if let Some(as_of) = root.organizations_as_of() {
                    show(Gauge::OrganizationsAge, now.mono.since(as_of) / 1_000);
                }
            }
        }
        show(Gauge::ReportMode, u64::from(config.mode == Mode::Report));
        for provider in root.gate.authenticator().providers() {
            let name = provider.rules.name.as_str();
            let held = provider.keys.held();
            let (keys, skipped) = held.map_or((0, 0), |set| {
                let skipped = set.skipped().len().saturating_add(set.untold());
                (set.keys().len(), skipped)
            });
            show(Gauge::Keys(name), keys as u64);
            show(Gauge::KeysSkipped(name), skipped as u64);
            if let Keys::Fetched(cache) = &provider.keys
                && let Some(age) = cache.age(now.mono)
            {
                show(Gauge::KeyAge(name), age / 1_000);
            }
        }
        for algorithm in Algorithm::ALL {
            let mut providers = config.providers.iter();
            if providers.any(|provider| provider.rules.algorithms.contains(&algorithm)) {
                let place = self.commons.engine.place(algorithm);
                show(Gauge::Verifier(algorithm, place), 1);
            }
        }
        self.show_sums(out);
    }

    fn show_sums(&self, out: &mut dyn Sink) {
        out.emit(Effect::Show {
            gauge: Gauge::WaitingRequests,
            value: self.commons.waiting.len() as u64,
        });
        out.emit(Effect::Show {
            gauge: Gauge::Streams,
            value: self.commons.lifetimes.streams() as u64,
        });
    }

    // Streams

    fn root_of(&self, stream: StreamId) -> Option<RootId> {
        self.exchanges.get(&stream)?.root()
    }

    /// Takes the exchange of a stream, and replaces it with what the step returns.
    fn step<T>(
        &mut self,
        stream: StreamId,
        out: &mut dyn Sink,
        step: impl FnOnce(&mut Desk<'_>, Exchange) -> (Exchange, T),
    ) -> Option<T> {
        self.step_by(None, stream, out, step)
    }

    /// The same, with another configuration at the desk than the one that answers for the stream.
    fn step_by<T>(
        &mut self,
        by: Option<RootId>,
        stream: StreamId,
        out: &mut dyn Sink,
        step: impl FnOnce(&mut Desk<'_>, Exchange) -> (Exchange, T),
    ) -> Option<T> {
        let slot = self.exchanges.get_mut(&stream)?;
        let exchange = std::mem::replace(slot, Exchange::Refused);
        exchange.leave(stream, &mut self.commons);
        let root = by.or_else(|| exchange.root());
        let root = root.and_then(|root| self.roots.get_mut(&root));
        let now = self.commons.clocks.last();
        let mut desk = Desk {
            stream,
            root: root.unwrap_or(&mut self.stranger),
            commons: &mut self.commons,
            now,
            held: matches!(exchange, Exchange::Waiting(_)),
            out,
        };
        let (exchange, result) = step(&mut desk, exchange);
        exchange.enter(stream, &mut self.commons);
        *slot = exchange;
        Some(result)
    }

    fn on_head(
        &mut self,
        stream: StreamId,
        head: &Arriving<'_>,
        reading: Option<Reading>,
        out: &mut dyn Sink,
    ) -> Action {
        let root = match self.exchanges.get(&stream) {
            Some(Exchange::Opened { root }) => *root,
            // It is not known whose stream this is, so the request would otherwise pass
            // undecided.
            _ => self.stranger.id(),
        };
        let time = match self.time(root, reading, out) {
            Judged::At(time) => Some(time),
            Judged::Faulty => None,
            Judged::Unread => return Action::Exact,
        };
        let now = time.map_or_else(|| self.commons.clocks.last(), Time::now);
        // Organizations that are too old are not used, whether or not a tick has noticed it.
        if self.roots.get(&root).is_some_and(|it| it.is_overdue(now))
            && self.roster(now, out).withdraw(root)
        {
            self.regrant(&[root], now, out);
        }
        let mut desk = Desk {
            stream,
            root: self.roots.get_mut(&root).unwrap_or(&mut self.stranger),
            commons: &mut self.commons,
            now,
            held: false,
            out,
        };
        let case = Case {
            headers: head.headers,
            end: head.end,
            arrived: now.mono,
            peer: head.peer,
            entrance: head.entrance,
        };
        let step = match time {
            Some(time) => exchange::on_head(&mut desk, &case, time),
            None => Some(exchange::on_faulty_host(&mut desk, &case)),
        };
        let Some((exchange, action)) = step else {
            return Action::Exact;
        };
        if let Some(root) = self.roots.get_mut(&root) {
            let (id, open) = (root.id(), &self.commons.open);
            root.succession.note(id, open, head.entrance);
        }
        if let Some(slot) = self.exchanges.get_mut(&stream) {
            slot.leave(stream, &mut self.commons);
            exchange.enter(stream, &mut self.commons);
            *slot = exchange;
        } else {
            exchange.enter(stream, &mut self.commons);
            self.exchanges.insert(stream, exchange);
        }
        action
    }

    fn on_body(
        &mut self,
        stream: StreamId,
        (size, end): (usize, bool),
        read: Lazy<'_>,
        out: &mut dyn Sink,
    ) -> Action {
        match self.exchanges.get(&stream) {
            Some(Exchange::Forwarded(_) | Exchange::Streaming(_) | Exchange::Done) => {
                return Action::Continue;
            }
            Some(Exchange::Refused) => return Action::Pause,
            _ => {}
        }
        let action = self.step(stream, out, |desk, exchange| match exchange {
            Exchange::Reading(reading) => exchange::on_body(desk, reading, size, end, read),
            // The head is held back, and a body that goes on would pull it along. Only a host
            // that was configured to do so gets here (Envoy's allow_on_headers_stop_iteration).
            Exchange::Waiting(waiting) => {
                exchange::on_breach(desk, exchange::endpoint_of(&waiting))
            }
            _ => exchange::on_breach(desk, None),
        });
        action.unwrap_or(Action::Pause)
    }

    fn on_trailers(&mut self, stream: StreamId, out: &mut dyn Sink) -> Action {
        let action = self.step(stream, out, |desk, exchange| {
            let (exchange, action) = match exchange {
                // Trailers end a body without telling the filter that holds it back.
                Exchange::Reading(reading) => {
                    exchange::conclude(desk, &reading, Err(Denial::TrailersNotExpected))
                }
                Exchange::Waiting(waiting) => {
                    exchange::on_breach(desk, exchange::endpoint_of(&waiting))
                }
                Exchange::Opened { .. } => exchange::on_breach(desk, None),
                Exchange::Refused => (Exchange::Refused, Action::Pause),
                on_its_way => (on_its_way, Action::Continue),
            };
            if action == Action::Continue {
                // No request of these APIs needs trailers, and a gRPC server that receives
                // certain ones closes the connection, with everybody's calls on it.
                let stream = desk.stream;
                desk.out.emit(Effect::DropTrailers { stream });
            }
            (exchange, action)
        });
        action.unwrap_or(Action::Pause)
    }

    fn on_response(
        &mut self,
        stream: StreamId,
        head: (usize, bool),
        response: &dyn ResponseHead,
        out: &mut dyn Sink,
    ) -> Action {
        match self.exchanges.get_mut(&stream) {
            None | Some(Exchange::Streaming(_) | Exchange::Done) => return Action::Continue,
            Some(exchange) => {
                if exchange.expects_nothing_of(head) {
                    *exchange = Exchange::Done;
                    return Action::Continue;
                }
            }
        }
        let action = self.step(stream, out, |desk, exchange| match exchange {
            Exchange::Forwarded(forwarded) => {
                let action = exchange::on_response(desk, forwarded.kept(), head, response);
                if action == Action::Pause {
                    return (Exchange::Refused, action);
                }
                (forwarded.begun(), action)
            }
            // A server that answers before the end of the body must still receive no unchanged
            // part of it.
            Exchange::Reading(reading) => {
                let action = exchange::on_response(desk, reading.kept(), head, response);
                if action == Action::Pause {
                    return (Exchange::Refused, action);
                }
                (Exchange::Reading(reading), action)
            }
            // Something else has answered a request that waited.
            Exchange::Waiting(_) | Exchange::Refused => (Exchange::Refused, Action::Continue),
            other => (other, Action::Continue),
        });
        action.unwrap_or(Action::Continue)
    }

    fn on_gone(&mut self, stream: StreamId, out: &mut dyn Sink) {
        let Some(exchange) = self.exchanges.remove(&stream) else {
            return;
        };
        exchange.leave(stream, &mut self.commons);
        if let Exchange::Forwarded(forwarded) = &exchange {
            forwarded.log_gone(stream, out);
        }
    }

    fn on_deadline(&mut self, stream: StreamId, reading: Option<Reading>, out: &mut dyn Sink) {
        if let Some(now) = self.now(reading, out) {
            self.time_is_up(stream, now, out);
        }
    }

    /// Handles a deadline of a stream that may have passed.
    fn time_is_up(&mut self, stream: StreamId, now: Now, out: &mut dyn Sink) {
        if let Some(Exchange::Waiting(waiting)) = self.exchanges.get(&stream) {
            if waiting.deadline <= now.mono {
                self.wake(stream, Why::Hopeless, out);
            }
            return;
        }
        self.step(stream, out, |desk, exchange| match exchange {
            Exchange::Reading(reading) if reading.deadline <= now.mono => {
                let late = Err(Denial::BodyTimeout);
                let (exchange, _) = exchange::conclude(desk, &reading, late);
                (exchange, ())
            }
            other => {
                let span = other.span();
                if let Some((lifetime, endpoint)) = span
                    && exchange::end_stream(desk, lifetime, endpoint)
                {
                    if let Exchange::Forwarded(forwarded) = &other {
                        forwarded.log_gone(desk.stream, desk.out);
                    }
                    return (Exchange::Refused, ());
                }
                (other, ())
            }
        });
    }

    /// Examines a waiting request again.
    fn wake(&mut self, stream: StreamId, why: Why, out: &mut dyn Sink) {
        if self.callback.is_some_and(|callback| callback != stream) {
            // What is hopeless now will be found to be so again, or not.
            let why = if why == Why::Faulty { why } else { Why::Came };
            self.deferred.push((stream, why));
            return;
        }
        self.step(stream, out, |desk, exchange| match exchange {
            Exchange::Waiting(waiting) => (exchange::on_wake(desk, &waiting, why), ()),
            other => (other, ()),
        });
    }

    // Keys

    fn on_looked(
        &mut self,
        source: SourceId,
        entry: Entry,
        value: Option<(&[u8], u32)>,
        reading: Option<Reading>,
        out: &mut dyn Sink,
    ) {
        let now = self.now_or_last(reading, out);
        if entry == Entry::Load {
            let announcement = self.announcement.take();
            self.announcement = announcement.filter(|it| it.looked(value, now, out));
        } else if self.is_of_organizations(source) {
            let changed = self.roster(now, out).looked(source, entry, value);
            self.regrant(&changed, now, out);
        } else {
            let heard = self.keyring(now, out).looked(source, entry, value);
            self.tell(source, heard, now, out);
        }
    }

    fn on_swapped(
        &mut self,
        source: SourceId,
        entry: Entry,
        swap: Swap,
        reading: Option<Reading>,
        out: &mut dyn Sink,
    ) {
        let now = self.now_or_last(reading, out);
        if entry == Entry::Load {
            if let Some(announcement) = self.announcement.take() {
                announcement.swapped(swap, out);
            }
        } else if self.is_of_organizations(source) {
            let changed = self.roster(now, out).swapped(source, entry, swap);
            self.regrant(&changed, now, out);
        } else {
            let heard = self.keyring(now, out).swapped(source, entry, swap);
            self.tell(source, heard, now, out);
        }
    }

    fn is_of_organizations(&self, source: SourceId) -> bool {
        let fetch = self.commons.sources.get(source);
        fetch.is_some_and(|fetch| fetch.identity().kind == Kind::Organizations)
    }

    fn roster<'a>(&'a mut self, now: Now, out: &'a mut dyn Sink) -> Roster<'a> {
        let Commons {
            sources,
            owners,
            engine,
            ..
        } = &mut self.commons;
        let engine = &*engine;
        Roster {
            sources,
            roots: &mut self.roots,
            owners,
            engine: engine.as_ref(),
            now,
            out,
        }
    }

    /// Ends the streams that the organizations now in force no longer grant, and refuses the
    /// requests whose form is still being read if they are not granted any more.
    fn regrant(&mut self, changed: &[RootId], now: Now, out: &mut dyn Sink) {
        if changed.is_empty() {
            return;
        }
        let streams = self.exchanges.iter();
        let streams = streams.filter(|(_, exchange)| {
            let root = exchange.root();
            let goes_on = exchange.opening().is_some() || matches!(exchange, Exchange::Reading(_));
            goes_on && root.is_some_and(|root| changed.contains(&root))
        });
        let mut streams: Vec<StreamId> = streams.map(|(stream, _)| *stream).collect();
        streams.sort_unstable();
        for stream in streams {
            self.step(stream, out, |desk, exchange| {
                desk.now = now;
                if let Exchange::Reading(reading) = exchange {
                    let refused = reading.opening().refusal(desk);
                    let exchange = match refused {
                        Some(denial) => exchange::conclude(desk, &reading, Err(denial)).0,
                        None => Exchange::Reading(reading),
                    };
                    return (exchange, ());
                }
                let withdrawn = exchange.opening().and_then(|opening| opening.refusal(desk));
                let Some(denial) = withdrawn else {
                    return (exchange, ());
                };
                (withdraw(desk, &exchange, denial), ())
            });
        }
    }

    /// Decides on streams of older configurations in whose place that one serves, and ends those
    /// that it would refuse.
    fn succeed(&mut self, id: RootId, now: Now, out: &mut dyn Sink) {
        let Some(root) = self.roots.get_mut(&id) else {
            return;
        };
        let exchanges = &self.exchanges;
        let streams = root.succession.next(id, &self.commons.open, |stream| {
            exchanges.get(&stream)?.opening()?.entrance()
        });
        for stream in streams {
            self.step_by(Some(id), stream, out, |desk, exchange| {
                desk.now = now;
                let endpoint = exchange.span().and_then(|(_, endpoint)| endpoint);
                let standing = match exchange.opening() {
                    Some(opening) if desk.root.gate.enforces(endpoint) => opening.succession(desk),
                    _ => Standing::Granted,
                };
                let exchange = match standing {
                    Standing::Granted => exchange.taken_over(id),
                    Standing::Unknown => exchange,
                    Standing::Withdrawn(denial) => withdraw(desk, &exchange, denial),
                };
                (exchange, ())
            });
        }
    }

    fn keyring<'a>(&'a mut self, now: Now, out: &'a mut dyn Sink) -> Keyring<'a> {
        let Commons {
            sources, tokens, ..
        } = &mut self.commons;
        Keyring {
            sources,
            roots: &mut self.roots,
            tokens,
            now,
            out,
        }
    }

    /// Passes news from a source on to the requests that wait for it.
    fn tell(&mut self, source: SourceId, heard: Heard, now: Now, out: &mut dyn Sink) {
        match heard {
            Heard::Changed => self.wake_all(source, out),
            Heard::Nothing => {}
            Heard::Settled => self.reconsider(source, now, out),
        }
    }

    /// Decides again on all requests that wait for keys of a source.
    fn wake_all(&mut self, source: SourceId, out: &mut dyn Sink) {
        for stream in self.waiting_for(|cause| is_of(cause, source)) {
            self.wake(stream, Why::Came, out);
        }
    }

    fn waiting_for(&self, wanted: impl Fn(&Cause) -> bool) -> Vec<StreamId> {
        let waiting = self.commons.waiting.iter().copied();
        let those = waiting.filter(|stream| match self.exchanges.get(stream) {
            Some(Exchange::Waiting(waiting)) => wanted(&waiting.cause),
            _ => false,
        });
        those.collect()
    }

    /// Refuses the requests that wait for keys of a source but have nothing to hope for.
    fn reconsider(&mut self, source: SourceId, now: Now, out: &mut dyn Sink) {
        for stream in self.waiting_for(|cause| is_of(cause, source)) {
            let Some(Exchange::Waiting(waiting)) = self.exchanges.get(&stream) else {
                continue;
            };
            let Cause::Keys { need, .. } = waiting.cause else {
                continue;
            };
            let deadline = waiting.deadline;
            let Some(fetch) = self.commons.sources.get_mut(source) else {
                continue;
            };
            let hopes =
                fetch.is_expected(need, now.mono, deadline) || fetch.want(need, now, deadline, out);
            if !hopes {
                self.wake(stream, Why::Hopeless, out);
            }
        }
    }

    fn on_answered(
        &mut self,
        call: CallId,
        answer: CallOutcome<'_>,
        reading: Option<Reading>,
        out: &mut dyn Sink,
    ) {
        let now = self.now_or_last(reading, out);
        match call {
            CallId::Directory(serial) => self.on_directory(serial, answer, now, out),
            CallId::Document(source, serial) if self.is_of_organizations(source) => {
                let changed = self.roster(now, out).answered(source, serial, answer);
                self.regrant(&changed, now, out);
            }
            CallId::Document(source, serial) => {
                let heard = self.keyring(now, out).answered(source, serial, answer);
                self.tell(source, heard, now, out);
            }
        }
    }

    /// Handles the answer of the directory of projects, or the lack of one.
    fn on_directory(&mut self, serial: u64, answer: CallOutcome<'_>, now: Now, out: &mut dyn Sink) {
        let Some((id, question)) = self.commons.directory.take(serial) else {
            return;
        };
        let status = match answer {
            CallOutcome::Response { status, .. } => std::str::from_utf8(status)
                .ok()
                .and_then(|s| s.parse().ok()),
            CallOutcome::Nothing | CallOutcome::NotSent(_) => None,
        };
        let useless =
            projects::DirectoryAnswer::of_status(status) == projects::DirectoryAnswer::Unavailable;
        if self.commons.directory.note_failing(useless) {
            let line = match (useless, status, answer) {
                (false, ..) => "the directory of projects answers again".to_owned(),
                (true, Some(status), _) => {
                    format!("the directory of projects cannot be asked: it answered {status}")
                }
                (true, None, CallOutcome::NotSent(status)) => {
                    let why = not_sent(status);
                    format!("the directory of projects cannot be asked: {why}")
                }
                (true, None, _) => {
                    "the directory of projects cannot be asked: no answer".to_owned()
                }
            };
            say(out, Level::Warn, &line);
        }
        if let Some(root) = self.roots.get_mut(&id) {
            root.gate.directory_answered(question.clone(), status, now);
        }
        let cause = Cause::Directory(question);
        for stream in self.waiting_for(|known| *known == cause) {
            if self.root_of(stream) == Some(id) {
                self.wake(stream, Why::Came, out);
            }
        }
    }
}

/// Ends a stream that is no longer granted.
fn withdraw(desk: &mut Desk<'_>, exchange: &Exchange, denial: Denial) -> Exchange {
    let endpoint = exchange.span().and_then(|(_, endpoint)| endpoint);
    exchange::withdraw_stream(desk, denial, endpoint);
    if let Exchange::Forwarded(forwarded) = exchange {
        forwarded.log_gone(desk.stream, desk.out);
    }
    Exchange::Refused
}

fn is_of(cause: &Cause, source: SourceId) -> bool {
    matches!(cause, Cause::Keys { source: known, .. } if *known == source)
}
