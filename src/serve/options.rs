//! What the program is told.

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::time::Duration;

use super::log::Log;
use crate::resources::rules::Rules;

/// All of it.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where organizations come from.
    pub source: Source,
    /// How they are converted.
    pub rules: Rules,
    /// The first number of every mark.
    pub epoch: u64,
    /// Where the document is served.
    pub listen: SocketAddr,
    /// Where health and metrics are served, without TLS.
    pub health_listen: SocketAddr,
    /// The certificate chain and its key; none for plain HTTP.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// The bearer tokens that are admitted; without them everybody is.
    pub tokens: Option<PathBuf>,
    /// The file of the key that documents are signed with, if they are.
    pub signing_key: Option<PathBuf>,
    /// How long a signature's date lasts.
    pub sign_every: Duration,
    /// From one look at files to the next.
    pub poll: Duration,
    /// How long connections are still taken after the signal to end.
    pub drain: Duration,
    /// Where events are told.
    pub log: Log,
}

/// Where organizations come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// Files, and all `.yaml`, `.yml` and `.json` in folders.
    Files {
        /// They.
        paths: Vec<PathBuf>,
        /// A file with the revision; else it is the time of the change.
        revision: Option<PathBuf>,
    },
    /// The resources of a cluster.
    Kubernetes {
        /// From one whole list to the next.
        resync: Duration,
        /// How long the last list is held while the resources of a new definition come.
        settle: Duration,
    },
}
