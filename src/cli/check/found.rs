//! What the files contain that matters to a gate.

use std::collections::BTreeSet;
use std::ops::Range;
use std::rc::Rc;

use super::diagnostic::Diagnostics;
use super::source::Source;
use super::tree::Node;

/// A module that the proxies of Envoy Gateway fetch.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) name: String,
    /// Whether it says itself that it is the gate.
    pub(super) ours: bool,
    pub(super) source: Rc<Source>,
    pub(super) span: Range<usize>,
    pub(super) place: String,
}

/// Everything that was found in all files together.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) documents: Vec<Document>,
    pub(super) clusters: Clusters,
    /// The environment variables of the proxies' own containers.
    pub(super) proxies: Vec<Variable>,
    pub(super) rules: Vec<RouteRule>,
    pub(super) gateways: Gateways,
    /// The names of Envoy Gateway's `Backend` resources with addresses that take no request.
    pub(super) nowhere: BTreeSet<String>,
    /// The names of the other `Backend` resources.
    pub(super) somewhere: BTreeSet<String>,
    /// The gate's filter configurations in files of Envoy's resources.
    pub(super) extensions: Vec<Extension>,
    /// The names of filters that take a module's configuration from such a file.
    pub(super) subscriptions: BTreeSet<String>,
    /// The modules that proxies of Envoy Gateway fetch.
    pub(super) remotes: Vec<Remote>,
    /// The names by which Envoy Gateway's policies name the gate's native module.
    pub(super) modules: BTreeSet<String>,
    /// The files that contain nothing.
    pub(super) empty: Vec<Rc<Source>>,
    pub(super) diagnostics: Diagnostics,
    /// The secrets in each file, which must not be printed: the position of the file and the
    /// piece, in bytes.
    pub(super) secrets: Vec<(usize, Range<usize>)>,
}

/// A document for the gate.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) source: Rc<Source>,
    pub(super) root: Rc<Node>,
    pub(super) kind: Kind,
    pub(super) host: Host,
    /// Whether the text is JSON, so that it can be handed to the gate unchanged.
    pub(super) is_json: bool,
    /// The environment of its VM; `None` if the files do not define a VM.
    pub(super) machine: Option<Machine>,
    /// The whole file, if it is a deployment file; `root` leaves out its section `deployment:`.
    pub(super) deployment: Option<Rc<Node>>,
}

/// The kind of a document.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// The configuration of a gate.
    Configuration,
    /// Organizations from outside.
    Organizations,
}

/// What a document is a part of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Host {
    /// Nothing: the file holds the document alone.
    Alone,
    /// A bootstrap or a resource of Envoy.
    Envoy,
    /// A resource of Istio.
    Istio,
    /// A resource of Envoy Gateway.
    EnvoyGateway,
}

/// The environment variables of a VM.
#[derive(Clone, Debug, Default)]
pub(super) struct Machine {
    /// Variables whose values are given in the VM's configuration.
    pub(super) given: Vec<Variable>,
    /// Variables whose values the VM takes from the proxy.
    pub(super) passed: Vec<Variable>,
    /// The name of the setting that lists variables to take from the proxy, for messages.
    pub(super) list: &'static str,
    /// Whether it takes all that the proxy has, as the native module does.
    pub(super) everything: bool,
}

/// An environment variable, and the place where it is named.
#[derive(Clone, Debug)]
pub(super) struct Variable {
    pub(super) name: String,
    /// `None` if the value is not in the files.
    pub(super) value: Option<String>,
    pub(super) source: Rc<Source>,
    pub(super) span: Range<usize>,
    pub(super) place: String,
}

/// The configuration of a filter in a file of its own.
#[derive(Debug)]
pub(super) struct Extension {
    pub(super) name: Option<String>,
    pub(super) source: Rc<Source>,
    pub(super) span: Range<usize>,
    pub(super) place: String,
}

/// The clusters of a proxy.
#[derive(Debug, Default)]
pub(super) struct Clusters {
    pub(super) names: BTreeSet<String>,
    /// The names of those that do not verify the server: the certificate's authority, its name or
    /// both go unchecked.
    pub(super) trusting: BTreeSet<String>,
    /// Whether the files contain a bootstrap, or patches that add clusters to one.
    pub(super) bootstrap: bool,
    /// The hosts and ports of `ServiceEntry` resources, from which Istio makes clusters.
    pub(super) entries: BTreeSet<(String, String)>,
    /// Whether a control plane may add other clusters.
    pub(super) discovered: bool,
}

/// The gateways that have a gate.
#[derive(Debug, Default)]
pub(super) struct Gateways {
    pub(super) names: BTreeSet<String>,
    /// Whether a gate names no gateway, and so may stand in any.
    pub(super) any: bool,
}

/// A rule of a route that leads to a backend.
#[derive(Debug)]
pub(super) struct RouteRule {
    pub(super) source: Rc<Source>,
    pub(super) span: Range<usize>,
    pub(super) place: String,
    /// The names of the gateways that the rule belongs to; empty for routes of a listener that has
    /// a gate.
    pub(super) gateways: Vec<String>,
    /// The name of the Envoy Gateway `Backend` that it leads to, if it leads to exactly one.
    pub(super) backend: Option<String>,
    /// Whether it requires the header that only the gate sets.
    pub(super) asks: bool,
}
