//! What news from a source of organizations means for the configurations that name it.
//!
//! Each configuration reads a document by its own rules, and adopts it if it can use it: the
//! organizations in it are then in force beside the configuration's own. A document with an
//! earlier revision than one that was adopted before is refused unless its organizations are
//! the same, so a replica that lags behind cannot revive a grant that was withdrawn. A document
//! that has become too old is no longer used.

use std::sync::Arc;

use crate::authn::key_lease::Document;
use crate::authn::keys::SignatureEngine;
use crate::config::{Config, MAX_DOCUMENT, Outside, Problem, Revision};
use crate::gate::Grants;
use crate::words::time::Now;
use crate::worker::commons::Owners;
use crate::worker::counters::Count;
use crate::worker::document_fetch::{DocumentFetch, News};
use crate::worker::effect::{Effect, Level, Sink};
use crate::worker::event::{CallOutcome, Entry, RootId, SourceId, Swap};
use crate::worker::excerpt::{MAX_EXPLANATION, excerpt, say};
use crate::worker::keyring::Roots;
use crate::worker::received::{Failure, Received, is_unchanged};
use crate::worker::root::{Adopted, Floor, Root};
use crate::worker::sources::Sources;

/// The longest answer, in bytes: a document in base64url, with a header and a signature.
const MAX_ANSWER: usize = MAX_DOCUMENT / 3 * 4 + 4096;

/// How far the signer's clock may be ahead, in seconds.
const MAX_AHEAD: u64 = 300;

/// The maximum number of problems of a document that are logged.
const MAX_TOLD: usize = 8;

/// The organizations of all configurations of a worker, at the time of an event.
pub struct Roster<'a> {
    /// The sources of documents.
    pub sources: &'a mut Sources,
    /// The configurations that need organizations.
    pub roots: &'a mut Roots,
    /// The numbers for sessions.
    pub owners: &'a mut Owners,
    /// The engine that checks signatures.
    pub engine: &'a dyn SignatureEngine,
    /// The current time.
    pub now: Now,
    /// Takes the effects.
    pub out: &'a mut dyn Sink,
}

/// The roots whose organizations have changed.
pub type Changed = Vec<RootId>;

/// Why a document cannot be used. It becomes a label for metrics and an explanation.
enum Unfit {
    /// Its revision is earlier than that of a document that was adopted.
    Older(Revision),
    /// It breaks rules.
    Wrong(Vec<Problem>),
}

impl Unfit {
    fn failure(&self) -> Failure {
        match self {
            Self::Older(Revision { epoch, revision }) => (
                "older",
                format!("epoch {epoch}, revision {revision} is older than what is in use"),
            ),
            Self::Wrong(problems) => {
                let told = problems.iter().take(MAX_TOLD).map(ToString::to_string);
                let mut told: Vec<String> = told.collect();
                let untold = problems.len().saturating_sub(MAX_TOLD);
                if untold > 0 {
                    told.push(format!("and {untold} more"));
                }
                ("unusable", told.join("; "))
            }
        }
    }
}

impl Roster<'_> {
    /// Handles a tick.
    pub fn tick(&mut self, source: SourceId) -> Changed {
        let fetch = self.sources.get_mut(source);
        let news = fetch.map_or(News::None, |fetch| fetch.tick(self.now, self.out));
        self.hear(source, news)
    }

    /// Handles the end of a root, which is no longer among the others.
    pub fn root_gone(&mut self, gone: RootId, source: SourceId) -> Changed {
        let heirs = self.roots.values().rev();
        let heir = heirs.filter_map(|root| Some((root.id(), root.remote(source)?)));
        let heir = heir.map(|(heir, remote)| (heir, remote.clone())).next();
        let fetch = self.sources.get_mut(source);
        let news = fetch.map_or(News::None, |fetch| {
            fetch.orphaned(gone, heir, self.now, self.out)
        });
        self.hear(source, news)
    }

    /// Handles a shared entry that was read.
    pub fn looked(
        &mut self,
        source: SourceId,
        entry: Entry,
        value: Option<(&[u8], u32)>,
    ) -> Changed {
        let fetch = self.sources.get_mut(source);
        let news = fetch.map_or(News::None, |fetch| {
            fetch.looked(entry, value, self.now, self.out)
        });
        self.hear(source, news)
    }

    /// Handles the outcome of swapping a shared entry.
    pub fn swapped(&mut self, source: SourceId, entry: Entry, swap: Swap) -> Changed {
        let fetch = self.sources.get_mut(source);
        let news = fetch.map_or(News::None, |fetch| {
            fetch.swapped(entry, swap, self.now, self.out)
        });
        self.hear(source, news)
    }

    fn hear(&mut self, source: SourceId, news: News) -> Changed {
        let News::Offered(document) = news else {
            return self.reconcile(source);
        };
        let (readings, changed) = self.read(source, &document, false);
        let Some(fetch) = self.sources.get_mut(source) else {
            return changed;
        };
        if readings.iter().any(Result::is_ok) {
            let _ = fetch.hold(document, self.now, self.out);
        } else {
            let _ = fetch.pass_over(document.edition, self.now, self.out);
            for unfit in readings.iter().filter_map(|reading| reading.as_ref().err()) {
                let (_, what) = unfit.failure();
                let what = excerpt(&what, MAX_EXPLANATION);
                let line = format!("organizations: a shared document cannot be used: {what}");
                say(self.out, Level::Warn, &line);
            }
        }
        let mut all = changed;
        all.extend(self.reconcile(source));
        all
    }

    /// Handles the outcome of a fetch.
    pub fn answered(&mut self, source: SourceId, serial: u64, answer: CallOutcome<'_>) -> Changed {
        let fetch = self.sources.get(source);
        if fetch.and_then(|fetch| fetch.awaits(serial)).is_none() {
            return Changed::new();
        }
        let held = fetch.and_then(DocumentFetch::held);
        let tagged = held.is_some_and(|held| held.tag.is_some());
        let held = held.map(|held| &held.bytes);
        let came = match Received::of(answer, MAX_ANSWER) {
            // The answer confirms the document that the request named, and without a tag it
            // named none.
            _ if is_unchanged(answer) && tagged => Ok(None),
            Ok(received) if held == Some(&received.bytes) => Ok(None),
            Ok(received) => match received.other_kind() {
                None => Ok(Some(received)),
                Some(kind) => Err(("unusable", format!("the answer is {kind}, not JSON"))),
            },
            Err(failure) => Err(failure),
        };
        let done = match came {
            Ok(None) => {
                self.succeeded(source, "unchanged");
                let fetch = self.sources.get_mut(source);
                let news = fetch.map_or(News::None, |fetch| fetch.unchanged(self.now, self.out));
                Ok(self.hear(source, news))
            }
            Ok(Some(received)) => self.arrived(source, received),
            Err(failure) => Err(failure),
        };
        done.unwrap_or_else(|(result, what)| self.failed(source, result, &what))
    }

    fn arrived(&mut self, source: SourceId, received: Received) -> Result<Changed, Failure> {
        let Received { bytes, tag, .. } = received;
        let fetch = self.sources.get(source);
        let document = fetch.and_then(|fetch| fetch.arrived(bytes, None, tag.as_deref()));
        let Some(document) = document else {
            return Ok(Changed::new());
        };
        let (readings, mut changed) = self.read(source, &document, true);
        if readings.iter().all(Result::is_err) {
            let mut unfit = readings.iter().filter_map(|reading| reading.as_ref().err());
            let failure = unfit.next().map(Unfit::failure);
            return Err(failure.unwrap_or(("unusable", "nobody needs it".to_owned())));
        }
        self.succeeded(source, "ok");
        if let Some(fetch) = self.sources.get_mut(source) {
            let _ = fetch.succeeded(document, self.now, self.out);
        }
        changed.extend(self.reconcile(source));
        Ok(changed)
    }

    fn succeeded(&mut self, source: SourceId, result: &'static str) {
        self.out.emit(Effect::Count {
            count: Count::OrganizationsFetch { result },
            about: None,
        });
        let fetch = self.sources.get_mut(source);
        if fetch.is_some_and(|fetch| fetch.note_failing(false)) {
            say(
                self.out,
                Level::Info,
                "organizations: they can be fetched again",
            );
        }
    }

    fn failed(&mut self, source: SourceId, result: &'static str, what: &str) -> Changed {
        self.out.emit(Effect::Count {
            count: Count::OrganizationsFetch { result },
            about: None,
        });
        let Some(fetch) = self.sources.get_mut(source) else {
            return Changed::new();
        };
        if fetch.note_failing_for(what) {
            let address = fetch.address().to_string();
            let line = format!(
                "organizations: none can be taken from {} by cluster {}, what was good before \
                 serves for organizations_from.max_stale: {}",
                excerpt(&address, MAX_EXPLANATION),
                fetch.uri().cluster,
                excerpt(what, MAX_EXPLANATION),
            );
            say(self.out, Level::Warn, &line);
        }
        let news = fetch.failed(self.now, self.out);
        self.hear(source, news)
    }

    /// Reads a document by the rules of each root that names the source. The roots that can use
    /// it adopt it. `told` says whether to log this, which one worker does for all.
    fn read(
        &mut self,
        source: SourceId,
        document: &Document,
        mut told: bool,
    ) -> (Vec<Result<(), Unfit>>, Changed) {
        let mut readings = Vec::new();
        let mut changed = Changed::new();
        let ids: Vec<RootId> = self.roots.keys().copied().collect();
        for id in ids {
            let Some(root) = self.roots.get(&id) else {
                continue;
            };
            if root.organizations_source() != Some(source) {
                continue;
            }
            let reading = prepared(root, document, self.engine, self.now);
            readings.push(reading.map(|prepared| {
                if self.adopt(id, document, prepared, told) {
                    changed.push(id);
                    told = false;
                }
            }));
        }
        (readings, changed)
    }

    /// Puts a document's organizations in force. Returns whether they are different ones.
    fn adopt(&mut self, id: RootId, document: &Document, prepared: Prepared, told: bool) -> bool {
        let Some(root) = self.roots.get_mut(&id) else {
            return false;
        };
        let Prepared { adopted, config } = prepared;
        let other = config.is_some();
        if let Some(mut config) = config {
            config.share(&root.gate.config().policy);
            let left_out = Arc::clone(&config.left_out);
            root.gate.adopt(config, self.owners.next(), Grants::All);
            if told {
                tell(&adopted, &left_out, self.out);
            }
        }
        root.adopted(document.edition.number, adopted);
        other
    }

    /// Gives a new root, which is not among the others yet, the organizations that are
    /// available.
    pub fn take_over(&mut self, root: &mut Root) {
        let Some(source) = root.organizations_source() else {
            return;
        };
        // It adopts nothing below the floor of the others, even if it cannot use their document
        // itself.
        let others = self.roots.values();
        let others = others.filter(|other| other.organizations_source() == Some(source));
        let from = root.gate.config().organizations_from.as_ref();
        let signers = from.and_then(|from| from.signers.clone());
        let floors = others.filter_map(Root::floor);
        let floors = floors.filter(|floor| floor.counts_for(signers.as_deref()));
        if let Some(floor) = floors.cloned().reduce(Floor::or) {
            root.raise_floor(floor);
        }
        let Some(fetch) = self.sources.get(source) else {
            return;
        };
        let (Some(document), Some(fresh)) = (fetch.held(), fetch.fresh_as_of()) else {
            return;
        };
        root.confirm(fresh);
        match prepared(root, document, self.engine, self.now) {
            Ok(Prepared { adopted, config }) => {
                if let Some(mut config) = config {
                    let newest = self.roots.values().next_back();
                    if let Some(newest) = newest {
                        config.share(&newest.gate.config().policy);
                    }
                    root.gate.adopt(config, self.owners.next(), Grants::All);
                }
                root.adopted(document.edition.number, adopted);
                if root.is_overdue(self.now) {
                    self.withdraw_from(root);
                }
            }
            Err(unfit) => {
                let (_, what) = unfit.failure();
                let what = excerpt(&what, MAX_EXPLANATION);
                let line = format!("organizations: those at hand cannot be used: {what}");
                say(self.out, Level::Warn, &line);
            }
        }
    }

    /// Makes each root that names the source use the held document as long as it is fresh, and
    /// only its own organizations when it is not.
    pub fn reconcile(&mut self, source: SourceId) -> Changed {
        let mut changed = Changed::new();
        let Some(fetch) = self.sources.get(source) else {
            return changed;
        };
        let (Some(document), Some(fresh)) = (fetch.held(), fetch.fresh_as_of()) else {
            return changed;
        };
        let number = document.edition.number;
        let again = self.roots.iter_mut().filter_map(|(id, root)| {
            if root.organizations_source() != Some(source) {
                return None;
            }
            root.confirm(fresh);
            // The document has become fresh again, or arrived through another worker.
            root.lacks(number, self.now).then_some(*id)
        });
        let again: Vec<RootId> = again.collect();
        let document = (!again.is_empty()).then(|| document.clone());
        for id in again {
            let (Some(root), Some(document)) = (self.roots.get_mut(&id), &document) else {
                continue;
            };
            match prepared(root, document, self.engine, self.now) {
                Ok(prepared) => {
                    if self.adopt(id, document, prepared, false) {
                        changed.push(id);
                    }
                }
                Err(_) => root.passed_over(number),
            }
        }
        let overdue = self.roots.iter();
        let overdue = overdue.filter(|(_, root)| {
            root.organizations_source() == Some(source) && root.is_overdue(self.now)
        });
        let overdue: Vec<RootId> = overdue.map(|(id, _)| *id).collect();
        changed.extend(overdue.into_iter().filter(|id| self.withdraw(*id)));
        changed
    }

    /// Leaves only the configuration's own organizations in force, because those from outside
    /// are too old. Returns whether there were any.
    pub fn withdraw(&mut self, id: RootId) -> bool {
        // It is taken out so that it can be told apart from the others.
        let Some(mut root) = self.roots.remove(&id) else {
            return false;
        };
        let withdrawn = self.withdraw_from(&mut root);
        self.roots.insert(id, root);
        withdrawn
    }

    fn withdraw_from(&mut self, root: &mut Root) -> bool {
        if !root.withdraw() {
            return false;
        }
        // A gate whose configuration could not be made grants nothing, which has the same
        // effect here.
        let config = root.gate.config().without_outside();
        let config = config.unwrap_or_else(|| Config {
            policy: Arc::default(),
            ..Config::clone(root.gate.config())
        });
        root.gate
            .adopt(config, self.owners.next(), Grants::Outdated);
        say(
            self.out,
            Level::Error,
            "organizations: those from outside are older than organizations_from.max_stale \
             and serve no more",
        );
        true
    }
}

/// Logs what is in use from now on, and which organizations are ignored.
fn tell(adopted: &Adopted, left_out: &[Box<str>], out: &mut dyn Sink) {
    let line = format!(
        "organizations: {} from outside in use, epoch {}, revision {}, sha256 {}",
        adopted.organizations,
        adopted.revision.epoch,
        adopted.revision.revision,
        adopted.fingerprint,
    );
    say(out, Level::Info, &line);
    if left_out.is_empty() {
        return;
    }
    let names: Vec<&str> = left_out.iter().map(AsRef::as_ref).take(MAX_TOLD).collect();
    let names = excerpt(&names.join(", "), MAX_EXPLANATION);
    let line = format!(
        "organizations: {} from outside left out, because the configuration has one of the same \
         name: {names}",
        left_out.len()
    );
    say(out, Level::Warn, &line);
}

/// What a document would be for a root.
struct Prepared {
    adopted: Adopted,
    /// `None` if its organizations are those in force.
    config: Option<Config>,
}

fn prepared(
    root: &Root,
    document: &Document,
    engine: &dyn SignatureEngine,
    now: Now,
) -> Result<Prepared, Unfit> {
    let config = root.gate.config();
    let Some(from) = &config.organizations_from else {
        return Err(Unfit::Wrong(Vec::new()));
    };
    let outside = Outside::parse(&document.bytes, from, engine).map_err(Unfit::Wrong)?;
    if let Some(issued) = outside.issued_at {
        let rule = if now.wall > issued.after(from.remote.max_stale / 1_000) {
            Some("was signed longer ago than organizations_from.max_stale")
        } else if issued > now.wall.after(MAX_AHEAD) {
            Some("was signed in the future")
        } else {
            None
        };
        if let Some(rule) = rule {
            let place = "iat".to_owned();
            let text = rule.to_owned();
            return Err(Unfit::Wrong(vec![Problem { place, text }]));
        }
    }
    let admitted = root
        .floor()
        .is_none_or(|floor| floor.admits(outside.revision, outside.fingerprint));
    if !admitted {
        return Err(Unfit::Older(outside.revision));
    }
    let same = root.outside_fingerprint() == Some(outside.fingerprint);
    let other = if same {
        None
    } else {
        Some(config.with(&outside).map_err(Unfit::Wrong)?)
    };
    let left_out = other.as_ref().unwrap_or(config).left_out.len();
    Ok(Prepared {
        adopted: Adopted {
            revision: outside.revision,
            fingerprint: outside.fingerprint,
            organizations: outside.organizations.saturating_sub(left_out),
            issued_at: outside.issued_at,
            signed_with: outside.signed_with.clone(),
        },
        config: other,
    })
}
