//! The keys and words of the Envoy messages that the gate's own configuration file consists of,
//! from the descriptors of Envoy 1.40. `envoy --mode validate` does not read that file, and Envoy
//! ignores unknown keys in it unless it runs with `--reject-unknown-dynamic-fields`.

use std::rc::Rc;

use super::fault::Fault;
use super::found::{Found, Host};
use super::place;
use super::source::Source;
use super::tree::{Member, Node, Value, camel};

/// A message with its fields.
pub(super) struct Message {
    fields: &'static [(&'static str, Form)],
}

/// What a field may hold.
enum Form {
    Message(&'static Message),
    /// A word of an enumeration, in the order of its numbers from 0.
    Word(&'static [&'static str]),
    /// The name of a Wasm runtime.
    Runtime,
    /// Anything; it is not judged here.
    Other,
}

/// `envoy.service.discovery.v3.DiscoveryResponse`
pub(super) const RESPONSE: Message = Message {
    fields: &[
        ("version_info", Form::Other),
        ("resources", Form::Other),
        ("canary", Form::Other),
        ("type_url", Form::Other),
        ("nonce", Form::Other),
        ("control_plane", Form::Other),
        ("resource_errors", Form::Other),
    ],
};

/// `envoy.config.core.v3.TypedExtensionConfig`
pub(super) const EXTENSION: Message = Message {
    fields: &[("name", Form::Other), ("typed_config", Form::Other)],
};

/// `envoy.extensions.filters.http.wasm.v3.Wasm`
pub(super) const WASM: Message = Message {
    // The module's configuration is judged on its own.
    fields: &[("config", Form::Other)],
};

/// `envoy.extensions.wasm.v3.PluginConfig`
pub(super) const PLUGIN: Message = Message {
    fields: &[
        ("name", Form::Other),
        ("root_id", Form::Other),
        ("vm_config", Form::Message(&MACHINE)),
        ("configuration", Form::Other),
        ("fail_open", Form::Other),
        (
            "failure_policy",
            Form::Word(&["UNSPECIFIED", "FAIL_RELOAD", "FAIL_CLOSED", "FAIL_OPEN"]),
        ),
        ("reload_config", Form::Message(&RELOAD)),
        ("capability_restriction_config", Form::Message(&RESTRICTION)),
        ("allow_on_headers_stop_iteration", Form::Other),
    ],
};

/// `envoy.extensions.wasm.v3.VmConfig`
const MACHINE: Message = Message {
    fields: &[
        ("vm_id", Form::Other),
        ("runtime", Form::Runtime),
        ("code", Form::Message(&CODE)),
        ("configuration", Form::Other),
        ("allow_precompiled", Form::Other),
        ("nack_on_code_cache_miss", Form::Other),
        ("environment_variables", Form::Message(&VARIABLES)),
        ("capability_restriction_config", Form::Message(&RESTRICTION)),
    ],
};

/// `envoy.extensions.wasm.v3.EnvironmentVariables`
const VARIABLES: Message = Message {
    fields: &[("host_env_keys", Form::Other), ("key_values", Form::Other)],
};

/// `envoy.extensions.wasm.v3.CapabilityRestrictionConfig`
const RESTRICTION: Message = Message {
    fields: &[("allowed_capabilities", Form::Other)],
};

/// `envoy.extensions.wasm.v3.ReloadConfig`
const RELOAD: Message = Message {
    fields: &[("backoff", Form::Other)],
};

/// `envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter`
pub(super) const DYNAMIC: Message = Message {
    // The module's configuration is judged on its own.
    fields: &[
        ("dynamic_module_config", Form::Message(&SHARED_OBJECT)),
        ("filter_name", Form::Other),
        ("filter_config", Form::Other),
        ("terminal_filter", Form::Other),
    ],
};

/// `envoy.extensions.dynamic_modules.v3.DynamicModuleConfig`
const SHARED_OBJECT: Message = Message {
    fields: &[
        ("name", Form::Other),
        ("do_not_close", Form::Other),
        ("load_globally", Form::Other),
        ("metrics_namespace", Form::Other),
        ("module", Form::Message(&CODE)),
        ("nack_on_cache_miss", Form::Other),
    ],
};

/// `envoy.config.core.v3.AsyncDataSource`
const CODE: Message = Message {
    fields: &[
        ("local", Form::Message(&LOCAL)),
        ("remote", Form::Message(&REMOTE)),
    ],
};

/// `envoy.config.core.v3.DataSource`
const LOCAL: Message = Message {
    fields: &[
        ("filename", Form::Other),
        ("inline_bytes", Form::Other),
        ("inline_string", Form::Other),
        ("environment_variable", Form::Other),
        ("watched_directory", Form::Other),
    ],
};

/// `envoy.config.core.v3.RemoteDataSource`
const REMOTE: Message = Message {
    fields: &[
        ("http_uri", Form::Other),
        ("sha256", Form::Other),
        ("retry_policy", Form::Other),
    ],
};

/// The runtimes that Envoy can be built with.
const RUNTIMES: [&str; 4] = [
    "envoy.wasm.runtime.v8",
    "envoy.wasm.runtime.wamr",
    "envoy.wasm.runtime.wasmtime",
    "envoy.wasm.runtime.null",
];

/// Reports the keys and words of a message that Envoy does not know.
pub(super) fn judge(
    source: &Rc<Source>,
    root: &Node,
    node: &Node,
    message: &Message,
    found: &mut Found,
) {
    for member in node.members() {
        let names = |name: &str| member.name == name || member.name == camel(name);
        // This key names the type of the message.
        if member.name == "@type" {
            continue;
        }
        let field = message.fields.iter().find(|(name, _)| names(name));
        let fault = match field.map(|(_, form)| form) {
            None => Some(unknown(member, message)),
            Some(Form::Message(message)) => {
                judge(source, root, &member.value, message, found);
                let sound = member.value.is_object() || matches!(member.value.value, Value::Null);
                (!sound).then(|| Fault::new(span(member), "expected an object"))
            }
            Some(Form::Word(words)) => word(member, words),
            Some(Form::Runtime) => {
                let text = member.value.text();
                let known = text.is_none_or(|text| text.is_empty() || RUNTIMES.contains(&text));
                (!known).then(|| {
                    let text = "Envoy has no such runtime for modules";
                    Fault::new(span(member), text)
                        .help(format!("known here are {}", RUNTIMES.join(", ")))
                })
            }
            Some(Form::Other) => None,
        };
        if let Some(fault) = fault {
            let place = place::of(root, &member.value);
            found.diagnostics.error(source, fault, place);
        }
    }
}

/// Reports a module without code.
pub(super) fn judge_code(
    source: &Rc<Source>,
    root: &Node,
    config: &Node,
    host: Host,
    found: &mut Found,
) {
    // A patch may leave out what is in the configuration that it patches.
    if host != Host::Envoy {
        return;
    }
    let machine = config.field("vm_config");
    let code = machine.and_then(|machine| machine.value.field("code"));
    if code.is_some_and(|code| !code.value.members().is_empty()) {
        return;
    }
    let at = code.or(machine).map(|member| member.key.clone());
    let at = at.unwrap_or_else(|| place::head(config, None));
    let fault = Fault::new(at, "no code: Envoy has no module to run")
        .help("write code: {local: {filename: /etc/envoy/scopegate.wasm}} in vm_config");
    let place = place::of(
        root,
        code.or(machine).map_or(config, |member| &member.value),
    );
    found.diagnostics.error(source, fault, place);
}

fn span(member: &Member) -> std::ops::Range<usize> {
    place::head(&member.value, Some(&member.key))
}

fn unknown(member: &Member, message: &Message) -> Fault {
    let names: Vec<&str> = message.fields.iter().map(|(name, _)| *name).collect();
    let camels: Vec<String> = names.iter().map(|name| camel(name)).collect();
    let both = names
        .iter()
        .copied()
        .chain(camels.iter().map(String::as_str));
    let fault = Fault::new(
        member.key.clone(),
        "unknown key: Envoy refuses it, or passes over it",
    );
    match nearest(&member.name, both) {
        Some(meant) => fault.help(format!("did you mean {meant}?")),
        None => fault.help(format!("known here are {}", names.join(", "))),
    }
}

fn word(member: &Member, words: &[&'static str]) -> Option<Fault> {
    let meant = match &member.value.value {
        Value::Null => return None,
        Value::Text(text) if words.contains(&text.text.as_str()) => return None,
        Value::Number(number) => {
            let number: Option<usize> = number.parse().ok();
            if number.is_some_and(|number| number < words.len()) {
                return None;
            }
            None
        }
        Value::Text(text) => nearest(&text.text.to_ascii_uppercase(), words.iter().copied()),
        Value::Bool(_) | Value::List(_) | Value::Object(_) => None,
    };
    let (_, told) = words.split_first()?;
    let fault = Fault::new(
        span(member),
        "unknown word: Envoy refuses it, or passes over it",
    );
    Some(match meant {
        Some(meant) => fault.help(format!("did you mean {meant}?")),
        None => fault.help(format!("known here are {}", told.join(", "))),
    })
}

/// The known word most similar to `word`; `None` if none is similar enough.
fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |known: &str| strsim::damerau_levenshtein(word, known);
    let nearest = known.min_by_key(|known| distance(known))?;
    // At most a third may differ: with more, a short word would resemble any other.
    let near = distance(nearest).saturating_mul(3) <= nearest.len();
    near.then_some(nearest)
}
