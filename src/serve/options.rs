//! The options of the program.

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::time::Duration;

use super::log::Log;
use crate::resources::rules::Rules;

/// All options.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where organizations come from.
    pub source: Source,
    /// How they are converted.
    pub rules: Rules,
    /// The epoch, which is the first number of every mark.
    pub epoch: u64,
    /// The address on which the document is served.
    pub listen: SocketAddr,
    /// The address on which health and metrics are served, without TLS.
    pub health_listen: SocketAddr,
    /// The files with the certificate chain and its key, or none for plain HTTP.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// The file with the bearer tokens that are admitted. Without it, everybody is admitted.
    pub tokens: Option<PathBuf>,
    /// The file with the key that signs documents, if they are signed.
    pub signing_key: Option<PathBuf>,
    /// How long the date of a signature is used.
    pub sign_every: Duration,
    /// The time between two looks at files.
    pub poll: Duration,
    /// How long connections are still accepted after the signal to end.
    pub drain: Duration,
    /// The log for events.
    pub log: Log,
}

/// Where organizations come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// Files, and all `.yaml`, `.yml` and `.json` files in folders.
    Files {
        /// The paths of the files and folders.
        paths: Vec<PathBuf>,
        /// A file that holds the revision. Without it, the revision is the time of the change.
        revision: Option<PathBuf>,
    },
    /// The resources of a cluster.
    Kubernetes {
        /// The time between two complete lists.
        resync: Duration,
        /// How long the last list is kept while the resources of a new definition are being
        /// created.
        settle: Duration,
    },
}
