//! The native module: where Envoy takes the shared object from, and what is handed over to it.

use std::rc::Rc;

use super::diagnostic::Diagnostics;
use super::fault::Fault;
use super::found::{Found, Machine, Remote};
use super::source::Source;
use super::tree::{Node, Value};
use super::{embedded, messages, place};

/// The end of the type of its filter.
pub(super) const FILTER: &str = ".http.dynamic_modules.v3.DynamicModuleFilter";

/// What happens to requests where the module is fetched.
const OPEN: &str = "requests pass without the gate when the module cannot be fetched";

/// The native module's environment is Envoy's own.
pub(super) fn machine() -> Machine {
    Machine {
        list: "the environment of Envoy",
        everything: true,
        ..Machine::default()
    }
}

/// Reads a filter of Envoy's, but for what is handed over to the module. Returns whether it is
/// the gate.
pub(super) fn read(source: &Rc<Source>, root: &Node, filter: &Node, found: &mut Found) -> bool {
    let config = filter.field("dynamic_module_config");
    let config = config.map(|member| &member.value);
    let document = filter.field("filter_config");
    let document = document.and_then(|member| member.value.get("value"));
    let by_document = document.is_some_and(|value| match value.text() {
        Some(text) => text.contains("providers") && text.contains("jwks"),
        None => embedded::kind(value).is_some(),
    });
    let name = filter.field("filter_name");
    let by_name = name.and_then(|member| member.value.text());
    let ours = by_document
        || by_name.is_some_and(|name| name.contains("scopegate"))
        || config.is_some_and(|config| config.mentions("scopegate"));
    if !ours {
        return false;
    }
    messages::judge(source, root, filter, &messages::DYNAMIC, found);
    let module = config.and_then(|config| config.field("module"));
    let remote = module.and_then(|module| module.value.field("remote"));
    let flag = config.and_then(|config| config.field("nack_on_cache_miss"));
    let refuses = flag.is_some_and(|flag| matches!(flag.value.value, Value::Bool(true)));
    if let Some(remote) = remote.filter(|_| !refuses) {
        let fault = Fault::new(remote.key.clone(), OPEN)
            .help("write local: {filename: /etc/envoy/libscopegate.so}");
        let place = place::of(root, &remote.value);
        found.diagnostics.error(source, fault, place);
    }
    true
}

/// Notes the modules that an `EnvoyProxy` has its proxies fetch.
pub(super) fn note_remote(source: &Rc<Source>, root: &Node, proxy: &Node, found: &mut Found) {
    for module in proxy.list("dynamicModules") {
        let from = module.get("source");
        let kind = from.and_then(|from| from.get("type"));
        let is_remote = kind.and_then(|kind| kind.text()) == Some("Remote");
        let remote = from.and_then(|from| from.get("remote"));
        let Some(at) = kind.filter(|_| is_remote).or(remote) else {
            continue;
        };
        found.remotes.push(Remote {
            name: module.text_of("name").unwrap_or_default().to_owned(),
            ours: module.mentions("scopegate"),
            source: Rc::clone(source),
            span: place::head(at, None),
            place: place::of(root, at),
        });
    }
}

/// Reports those of them that are the gate.
pub(super) fn judge(found: &Found, diagnostics: &mut Diagnostics) {
    for remote in &found.remotes {
        if remote.ours || found.modules.contains(&remote.name) {
            let fault = Fault::new(remote.span.clone(), OPEN)
                .help("write source: {type: Local, local: {path: /opt/scopegate/libscopegate.so}}");
            diagnostics.error(&remote.source, fault, remote.place.clone());
        }
    }
}
