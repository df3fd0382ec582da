//! The rules of routes, and whether they require the header that only the gate sets.

use std::rc::Rc;

use super::found::{Found, RouteRule};
use super::place;
use super::source::Source;
use super::tree::{Node, Value};
use crate::words::request::BACKEND_HEADER;

/// Notes the rules of an `HTTPRoute` or a `GRPCRoute`. Returns whether any of them requires the
/// header.
pub(super) fn of_gateway_api(
    source: &Rc<Source>,
    root: &Node,
    spec: &Node,
    found: &mut Found,
) -> bool {
    let parents = spec.list("parentRefs").iter();
    let gateways = parents.filter_map(|parent| parent.text_of("name"));
    let gateways: Vec<String> = gateways.map(str::to_owned).collect();
    let asks = |node: &Node| {
        node.list("headers").iter().any(|header| {
            header.text_of("name").is_some_and(is_ours)
                && header.text_of("type").is_none_or(|kind| kind == "Exact")
        })
    };
    let mut any = false;
    for rule in spec.list("rules") {
        let backends = rule.list("backendRefs");
        let Some(first) = backends.first() else {
            continue;
        };
        // A `Backend` is a resource of Envoy Gateway.
        let own = first.text_of("kind") == Some("Backend") && backends.len() == 1;
        let backend = first.text_of("name").filter(|_| own);
        for (node, asks) in judged(rule, rule.list("matches"), asks) {
            any |= asks;
            found.rules.push(RouteRule {
                source: Rc::clone(source),
                span: place::head(node, None),
                place: place::of(root, node),
                gateways: gateways.clone(),
                backend: backend.map(str::to_owned),
                asks,
            });
        }
    }
    any
}

/// Notes the rules of a `VirtualService`. Returns whether any of them requires the header.
pub(super) fn of_istio(source: &Rc<Source>, root: &Node, spec: &Node, found: &mut Found) -> bool {
    let gateways = spec.list("gateways").iter();
    // A namespace before the name is left out.
    let gateways = gateways.filter_map(|gateway| gateway.text()?.rsplit('/').next());
    let gateways: Vec<String> = gateways.map(str::to_owned).collect();
    let asks = |node: &Node| {
        let headers = node.get("headers");
        let headers = headers.map_or(&[][..], |headers| headers.members());
        headers
            .iter()
            .any(|header| is_ours(&header.name) && header.value.get("exact").is_some())
    };
    let mut any = false;
    let rules = spec.list("http").iter();
    for rule in rules.filter(|rule| rule.get("route").is_some()) {
        for (node, asks) in judged(rule, rule.list("match"), asks) {
            any |= asks;
            found.rules.push(RouteRule {
                source: Rc::clone(source),
                span: place::head(node, None),
                place: place::of(root, node),
                gateways: gateways.clone(),
                backend: None,
                asks,
            });
        }
    }
    any
}

/// The matches of a rule, each with whether it requires the header. A rule without a match matches
/// everything, and so requires nothing.
fn judged<'a>(
    rule: &'a Node,
    matches: &'a [Rc<Node>],
    asks: impl Fn(&Node) -> bool,
) -> Vec<(&'a Node, bool)> {
    if matches.is_empty() {
        return vec![(rule, false)];
    }
    let judged = matches.iter().map(|node| (&**node, asks(node)));
    judged.collect()
}

/// Notes the routes of an Envoy connection manager that has a gate or whose routes require the
/// header. Returns whether it is such a manager.
pub(super) fn of_envoy(
    source: &Rc<Source>,
    root: &Node,
    manager: &Node,
    found: &mut Found,
) -> bool {
    let hosts = manager
        .field("route_config")
        .and_then(|config| config.value.field("virtual_hosts"));
    let hosts = hosts.map_or(&[][..], |hosts| hosts.value.elements());
    let routes = hosts.iter().flat_map(|host| host.list("routes"));
    let routes: Vec<&Rc<Node>> = routes.collect();
    let mut named = false;
    if let Some(filters) = manager.field("http_filters") {
        filters
            .value
            .walk(&mut |node| named |= node.text().is_some_and(|text| text.contains("scopegate")));
    }
    if !named && !routes.iter().any(|route| route_asks(route)) {
        return false;
    }
    for route in routes {
        let Some(action) = route.member("route") else {
            continue;
        };
        let shown = route.member("match").unwrap_or(action);
        found.rules.push(RouteRule {
            source: Rc::clone(source),
            span: shown.key.clone(),
            place: place::of(root, route),
            gateways: Vec::new(),
            backend: None,
            asks: route_asks(route),
        });
    }
    true
}

/// Whether a route of Envoy matches only requests with the gate's header.
fn route_asks(route: &Node) -> bool {
    let headers = route
        .get("match")
        .map_or(&[][..], |node| node.list("headers"));
    headers.iter().any(|header| {
        let is = |name: &str, wanted: bool| {
            header
                .field(name)
                .is_some_and(|m| matches!(m.value.value, Value::Bool(flag) if flag == wanted))
        };
        header.text_of("name").is_some_and(is_ours)
            && !is("invert_match", true)
            && !is("present_match", false)
            && !is("treat_missing_header_as_empty", true)
    })
}

fn is_ours(name: &str) -> bool {
    name.eq_ignore_ascii_case(BACKEND_HEADER)
}
