//! What the files hold together that matters to a gate.

use std::collections::BTreeSet;
use std::ops::Range;
use std::rc::Rc;

use super::diagnostic::Diagnostics;
use super::source::Source;
use super::tree::Node;

/// Everything that was found in all files.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) documents: Vec<Document>,
    pub(super) clusters: Clusters,
    /// Variables of the proxies' own environment.
    pub(super) proxies: Vec<Variable>,
    pub(super) rules: Vec<RouteRule>,
    pub(super) gateways: Gateways,
    /// Addresses of Envoy Gateway's that take no request.
    pub(super) nowhere: BTreeSet<String>,
    /// Those that may take some.
    pub(super) somewhere: BTreeSet<String>,
    /// Files of Envoy's resources that hold the gate.
    pub(super) extensions: Vec<Extension>,
    /// The filters that take a module's configuration from such a file.
    pub(super) subscriptions: BTreeSet<String>,
    /// Files with nothing in them.
    pub(super) empty: Vec<Rc<Source>>,
    pub(super) diagnostics: Diagnostics,
    /// What is not to be repeated, by file.
    pub(super) secrets: Vec<(usize, Range<usize>)>,
}

/// A document of the gate's own.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) source: Rc<Source>,
    pub(super) root: Rc<Node>,
    pub(super) kind: Kind,
    pub(super) host: Host,
    /// The very text, where it is JSON.
    pub(super) is_json: bool,
    /// The environment of its VM; `None` where nothing is known of it.
    pub(super) machine: Option<Machine>,
    /// All of it, where it is a deployment file.
    pub(super) deployment: Option<Rc<Node>>,
}

/// What a document is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// A configuration.
    Configuration,
    /// Organizations from outside.
    Organizations,
}

/// In what a document stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Host {
    /// A file of its own.
    Alone,
    /// A bootstrap or a resource of Envoy.
    Envoy,
    /// A resource of Istio.
    Istio,
    /// A resource of Envoy Gateway.
    EnvoyGateway,
}

/// The environment of a VM.
#[derive(Clone, Debug, Default)]
pub(super) struct Machine {
    /// With their values.
    pub(super) given: Vec<Variable>,
    /// Whose values come from the proxy.
    pub(super) passed: Vec<Variable>,
    /// Where more of these would be named, in words.
    pub(super) list: &'static str,
}

/// A variable and where it is named.
#[derive(Clone, Debug)]
pub(super) struct Variable {
    pub(super) name: String,
    /// `None` if the value stands elsewhere.
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

/// The clusters that an Envoy has.
#[derive(Debug, Default)]
pub(super) struct Clusters {
    pub(super) names: BTreeSet<String>,
    /// Those of them that take anybody for the server.
    pub(super) trusting: BTreeSet<String>,
    /// Whether there is a bootstrap, or what is put into one.
    pub(super) bootstrap: bool,
    /// Hosts and ports that Istio is told of by a `ServiceEntry`.
    pub(super) entries: BTreeSet<(String, String)>,
    /// Whether others may come from a control plane.
    pub(super) discovered: bool,
}

/// The gateways that a gate stands in.
#[derive(Debug, Default)]
pub(super) struct Gateways {
    pub(super) names: BTreeSet<String>,
    /// Whether there is one that may stand in any.
    pub(super) any: bool,
}

/// A rule of a route that leads to a backend.
#[derive(Debug)]
pub(super) struct RouteRule {
    pub(super) source: Rc<Source>,
    pub(super) span: Range<usize>,
    pub(super) place: String,
    /// The gateways that it belongs to; none for the routes of a listener with a gate.
    pub(super) gateways: Vec<String>,
    /// Where it leads, if that has a name that matters.
    pub(super) backend: Option<String>,
    /// Whether it asks for the header that only the gate sets.
    pub(super) asks: bool,
}
