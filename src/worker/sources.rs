//! All sources of documents of a worker.

use std::collections::BTreeMap;

use crate::authn::key_lease::Lease;
use crate::config::{Config, KeySource, Remote};
use crate::worker::document_fetch::{DocumentFetch, Identity, Kind};
use crate::worker::event::{RootId, SourceId};

/// The maximum number of sources that are kept although no configuration names them. The next
/// configuration may name them again.
const UNNAMED: usize = 64;

/// The sources of one configuration.
#[derive(Clone, Debug, Default)]
pub struct Served {
    /// The source of each provider's keys, in the order of the configuration. `None` for inline
    /// keys.
    pub keys: Vec<Option<SourceId>>,
    /// The source of organizations from outside, if there are any.
    pub organizations: Option<SourceId>,
}

/// The sources by their numbers.
#[derive(Debug, Default)]
pub struct Sources {
    fetches: BTreeMap<SourceId, DocumentFetch>,
    next: u32,
    worker_id: u64,
}

impl Sources {
    /// No sources yet. `worker_id` identifies this worker among those of the process, and is
    /// not 0.
    #[must_use]
    pub const fn new(worker_id: u64) -> Self {
        Self {
            fetches: BTreeMap::new(),
            next: 0,
            worker_id,
        }
    }

    /// The sources of the keys and of the organizations of a configuration that a root has
    /// loaded. Those that are known keep the documents that they hold; the others are created.
    pub fn serve(&mut self, root: RootId, config: &Config) -> Served {
        let providers = config.providers.iter();
        let sources = providers.map(|provider| match &provider.source {
            KeySource::Inline(_) => None,
            KeySource::Uri(uri) => {
                let issuer = provider.rules.issuers.first().as_str();
                Some(self.source(root, Kind::Keys, issuer, uri))
            }
        });
        let keys = sources.collect();
        let from = config.organizations_from.as_ref();
        Served {
            keys,
            organizations: from
                .map(|from| self.source(root, Kind::Organizations, "", &from.remote)),
        }
    }

    fn source(&mut self, root: RootId, kind: Kind, issuer: &str, uri: &Remote) -> SourceId {
        let identity = Identity {
            kind,
            issuer: issuer.to_owned(),
            cluster: uri.cluster.clone(),
            start: uri.start.clone(),
        };
        let known = self
            .fetches
            .iter_mut()
            .find(|(_, fetch)| *fetch.identity() == identity);
        if let Some((source, fetch)) = known {
            fetch.serve(root, uri);
            return *source;
        }
        let source = SourceId(self.next);
        self.next = self.next.wrapping_add(1);
        let mut fetch = DocumentFetch::new(source, identity, uri.clone(), self.worker_id);
        fetch.serve(root, uri);
        self.fetches.insert(source, fetch);
        source
    }

    /// The source with that number.
    pub fn get_mut(&mut self, source: SourceId) -> Option<&mut DocumentFetch> {
        self.fetches.get_mut(&source)
    }

    /// The source with that number.
    #[must_use]
    pub fn get(&self, source: SourceId) -> Option<&DocumentFetch> {
        self.fetches.get(&source)
    }

    /// The lease of each source, as it was last seen.
    pub fn leases(&self) -> impl Iterator<Item = Lease> {
        self.fetches.values().map(DocumentFetch::lease)
    }

    /// The numbers of all sources.
    #[must_use]
    pub fn ids(&self) -> Vec<SourceId> {
        self.fetches.keys().copied().collect()
    }

    /// Drops the sources that no configuration names, except the latest.
    pub fn tidy(&mut self) {
        let unnamed = self.fetches.iter().filter(|(_, f)| f.owner().is_none());
        let unnamed: Vec<SourceId> = unnamed.map(|(source, _)| *source).collect();
        let over = unnamed.len().saturating_sub(UNNAMED);
        for source in unnamed.into_iter().take(over) {
            self.fetches.remove(&source);
        }
    }
}
