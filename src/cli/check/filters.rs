//! The filters of a listener, and the files that they take their configuration from.

use std::rc::Rc;

use super::diagnostic::Diagnostics;
use super::dynamic;
use super::fault::Fault;
use super::found::{Extension, Found};
use super::messages;
use super::place;
use super::source::Source;
use super::tree::{Node, Value};

/// The end of the type of the resources in such a file.
const EXTENSION: &str = ".core.v3.TypedExtensionConfig";

/// The ends of the types of the gate's filter, in its two forms.
const FILTERS: [&str; 2] = [".http.wasm.v3.Wasm", dynamic::FILTER];

/// Whether a document is a file of extension configurations, even if its key `resources` is
/// misspelt.
pub(super) fn is_file(root: &Node) -> bool {
    extensions(root).next().is_some()
}

fn extensions(root: &Node) -> impl Iterator<Item = &Node> {
    let members = root.members().iter();
    let elements = members.flat_map(|member| member.value.elements());
    elements.map(AsRef::as_ref).filter(|element| {
        let kind = element.text_of("@type");
        kind.is_some_and(|kind| kind.ends_with(EXTENSION))
    })
}

/// Reads a file of extension configurations in which something belongs to the gate.
pub(super) fn read_file(source: &Rc<Source>, root: &Node, found: &mut Found) {
    let mut before = false;
    for extension in extensions(root) {
        if before {
            let text = "a second resource: Envoy takes one from a file, and refuses several";
            let fault = Fault::new(place::head(extension, None), text)
                .help("give each filter a file of its own");
            let place = place::of(root, extension);
            found.diagnostics.error(source, fault, place);
        } else {
            messages::judge(source, root, root, &messages::RESPONSE, found);
        }
        before = true;
        messages::judge(source, root, extension, &messages::EXTENSION, found);
        let name = extension.get("name");
        let at = name.map(|name| name.span.clone());
        found.extensions.push(Extension {
            name: name.and_then(|name| name.text()).map(str::to_owned),
            source: Rc::clone(source),
            span: at.unwrap_or_else(|| place::head(extension, None)),
            place: place::of(root, name.map_or(extension, AsRef::as_ref)),
        });
    }
}

/// Notes the filters of a listener that take a module's configuration from a file of its own, and
/// warns if the gate is among the filters but switched off.
pub(super) fn read(source: &Rc<Source>, root: &Node, manager: &Node, found: &mut Found) {
    let Some(filters) = manager.field("http_filters") else {
        return;
    };
    for filter in filters.value.elements() {
        let name = filter.text_of("name").unwrap_or_default();
        let mut is_one = false;
        filter.walk(&mut |node| {
            let text = node.text().unwrap_or_default();
            is_one |= FILTERS.iter().any(|kind| text.ends_with(kind));
        });
        if !is_one {
            continue;
        }
        if filter.field("config_discovery").is_some() {
            found.subscriptions.insert(name.to_owned());
        }
        let Some(member) = filter.field("disabled") else {
            continue;
        };
        if filter.mentions("scopegate") && matches!(member.value.value, Value::Bool(true)) {
            let text = "the gate is switched off: requests pass it unless their route enables it";
            let fault = Fault::new(member.value.span.clone(), text).help("leave out disabled");
            let place = place::of(root, &member.value);
            found.diagnostics.warning(source, fault, place);
        }
    }
}

/// Reports files whose configuration no filter of the bootstrap takes.
pub(super) fn judge(found: &Found, diagnostics: &mut Diagnostics) {
    if found.subscriptions.is_empty() {
        return;
    }
    for extension in &found.extensions {
        let name = extension.name.as_deref().unwrap_or_default();
        if found.subscriptions.contains(name) {
            continue;
        }
        let known: Vec<&str> = found.subscriptions.iter().map(String::as_str).collect();
        let text = format!("no filter of the bootstrap takes a configuration for {name:?}");
        let help = format!(
            "name it as the filter is named: {}. Envoy refuses another name",
            known.join(" or ")
        );
        let fault = Fault::new(extension.span.clone(), text).help(help);
        diagnostics.error(&extension.source, fault, extension.place.clone());
    }
}
