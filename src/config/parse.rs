//! From the document to [`Config`]: the top level and its small sections.

use std::sync::Arc;

use super::credentials::{check_credentials, read_credentials};
use super::entrance::read_entrance;
use super::environment::Environment;
use super::fingerprint::Fingerprint;
use super::organizations::{read_organizations, read_roles};
use super::organizations_from::read_organizations_from;
use super::projects::read_projects;
use super::providers::read_providers;
use super::reader::{MAX_ELEMENTS, Node, Problem, Problems, Section, flag, shortened, word};
use super::{Audit, AuditLog, Backends, Config, DEFAULT_REALM, Forward, Limits, Mode, TenantRules};
use crate::authn::json::{self, JsonError};
use crate::authz::endpoint::BACKEND_NAMES;
use crate::scoping::scope::{AttributeName, Attributes, LabelName};
use crate::words::hash::QuickHash;
use crate::words::own_header::SubjectHeader;
use crate::words::version::Version;

/// Longest document, in bytes: room for 30,000 organizations with ten groups each. Time
/// and memory grow with the length of a document and with nothing else, so that this
/// bounds them: loading a document takes at most thirty times its length for a moment,
/// and the policy that comes of it four times for good, in each worker.
pub const MAX_DOCUMENT: usize = 8_388_608;

/// Nesting a configuration may use; the reference uses seven levels.
pub(super) const MAX_DEPTH: usize = 32;

/// The members of a configuration.
pub(super) const KNOWN: [&str; 15] = [
    "mode",
    "realm",
    "credentials",
    "providers",
    "organizations",
    "organizations_from",
    "roles",
    "backends",
    "projects",
    "tenants",
    "health",
    "cors",
    "forward",
    "limits",
    "audit",
];

impl Config {
    /// Parses a configuration document.
    ///
    /// # Errors
    /// Every problem there is, each with its place. Never empty.
    pub fn parse(document: &[u8], environment: &Environment) -> Result<Self, Vec<Problem>> {
        if document.len() > MAX_DOCUMENT {
            return Err(vec![Problem {
                place: String::new(),
                text: format!(
                    "has {} bytes: a configuration has at most {MAX_DOCUMENT}",
                    document.len()
                ),
            }]);
        }
        let object = json::parse_object(document, MAX_DEPTH).map_err(|error| {
            vec![Problem {
                place: String::new(),
                text: shortened(&not_a_document(document, &error)),
            }]
        })?;
        let problems = Problems::default();
        let hash = QuickHash::of_document(document);
        let config = read((document, &object), environment, hash, &problems);
        let problems = problems.into_vec();
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ if problems.is_empty() => Err(vec![Problem {
                place: String::new(),
                text: "the configuration is incomplete".to_owned(),
            }]),
            _ => Err(problems),
        }
    }
}

/// What is said of bytes that are not the JSON that the module takes. Most often they are
/// something else that a proxy or a person took for it.
fn not_a_document(document: &[u8], error: &JsonError) -> String {
    let text = document.trim_ascii();
    if text.is_empty() || text == b"null" {
        return "no configuration was handed over: it stands in configuration in Envoy, in \
                pluginConfig in Istio's WasmPlugin, in config in Envoy Gateway's \
                EnvoyExtensionPolicy"
            .to_owned();
    }
    // A field of a map, whose members have fields with the tags 0x0a and 0x12.
    let control = |byte: &u8| byte.is_ascii_control() && !byte.is_ascii_whitespace();
    if document.starts_with(b"\n") && document.iter().any(control) {
        return "this is a Struct in binary form: use a StringValue, with the document as JSON \
                in value"
            .to_owned();
    }
    if matches!(error, JsonError::Syntax { .. }) && looks_like_yaml(text) {
        return "this looks like YAML, and the module takes JSON".to_owned();
    }
    error.to_string()
}

/// Whether the first line that is no comment begins a YAML document.
fn looks_like_yaml(text: &[u8]) -> bool {
    let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let mut lines = lines.filter(|line| !line.is_empty() && !line.starts_with(b"#"));
    lines.next().is_some_and(|line| {
        let name = line
            .iter()
            .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_')
            .count();
        let rest = line.get(name..).unwrap_or_default();
        line.starts_with(b"---") || (name > 0 && (rest == b":" || rest.starts_with(b": ")))
    })
}

fn read(
    (document, object): (&[u8], &json::Object),
    environment: &Environment,
    hash: QuickHash,
    problems: &Problems,
) -> Option<Config> {
    let top = Section::top(object, &KNOWN, problems);
    let mode = read_mode(&top);
    let realm = read_realm(&top);
    let credentials = read_credentials(&top);
    let limits = read_limits(&top);
    let providers = read_providers(&top, environment);
    let roles = read_roles(&top);
    let mut policy = read_organizations(&top, &roles, hash);
    let organizations_from = read_organizations_from(&top, environment, document);
    // Its readers are groups that principals must be asked for.
    let projects = read_projects(&top, policy.as_mut(), hash);
    let entrance = read_entrance(&top, policy.as_ref());
    let backends = read_backends(&top, environment, problems);
    let forward = read_forward(&top);
    let audit = read_audit(&top);
    if let (Some(credentials), Some(providers), Some(forward)) =
        (&credentials, &providers, &forward)
    {
        check_credentials(&top, credentials, providers, forward);
    }
    let entrance = entrance?;
    let TenantRules {
        only_one_may_be_absent,
        star_is_all,
    } = entrance.tenants;
    Some(Config {
        mode: mode?,
        realm: realm?,
        credentials: credentials?,
        providers: providers?,
        policy: Arc::new(policy?.finish(only_one_may_be_absent || star_is_all)),
        organizations_from: organizations_from?,
        backends,
        projects: projects?.map(Arc::new),
        entrance,
        forward: forward?,
        limits: limits?,
        audit: audit?,
        fingerprint: Fingerprint::of(object, &overrides(environment)),
    })
}

/// What the environment says whatever the document does.
fn overrides(environment: &Environment) -> Vec<(String, String)> {
    let names = BACKEND_NAMES.into_iter().map(override_of);
    let set = names.filter_map(|name| {
        let value = environment.get(&name)?;
        let on = matches!(value.to_ascii_lowercase().as_str(), "true" | "1");
        Some((name, on.to_string()))
    });
    set.collect()
}

/// The variable that enables or disables a backend.
fn override_of(backend: &str) -> String {
    format!("SCOPEGATE_{}_ENABLED", backend.to_ascii_uppercase())
}

fn read_mode(top: &Section<'_>) -> Option<Mode> {
    word(
        top,
        "mode",
        Mode::Enforce,
        &[("enforce", Mode::Enforce), ("report", Mode::Report)],
    )
}

fn read_realm(top: &Section<'_>) -> Option<String> {
    let Some(node) = top.get("realm") else {
        return Some(DEFAULT_REALM.to_owned());
    };
    let realm = node.text()?;
    let quotable = |byte: u8| matches!(byte, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    if realm.len() > 128 || !realm.bytes().all(quotable) {
        node.problem("must be at most 128 printable ASCII characters without \" and \\");
        return None;
    }
    Some(realm.to_owned())
}

fn read_limits(top: &Section<'_>) -> Option<Limits> {
    const KNOWN: [&str; 7] = [
        "token_bytes",
        "groups",
        "tenants_per_request",
        "cached_tokens",
        "waiting_requests",
        "wait",
        "stream_duration",
    ];
    let section = match top.get("limits") {
        Some(node) => Some(node.section(&KNOWN)?),
        None => None,
    };
    let count = |name: &str, default: usize, least: usize, most: usize| {
        section
            .as_ref()
            .and_then(|section| section.get(name))
            .map_or(Some(default), |node| node.count(least, most))
    };
    // Every value is read before the first `?` so that all problems show.
    let token_bytes = count("token_bytes", 16_384, 256, 49_152);
    let groups = count("groups", 2_048, 1, 10_000);
    let tenants_per_request = count("tenants_per_request", 64, 1, 1_000);
    let cached_tokens = count("cached_tokens", 4_096, 0, 65_536);
    let waiting_requests = count("waiting_requests", 256, 0, 4_096);
    let duration = |name: &str, default: u64, least: &str, most: &str| {
        section
            .as_ref()
            .and_then(|section| section.get(name))
            .map_or(Some(default), |node| node.duration(least, most))
    };
    let wait = duration("wait", 3_000, "0s", "30s");
    let stream_duration = duration("stream_duration", 3_600_000, "1s", "24h");
    Some(Limits {
        token_bytes: token_bytes?,
        groups: groups?,
        tenants_per_request: tenants_per_request?,
        cached_tokens: cached_tokens?,
        waiting_requests: waiting_requests?,
        wait: wait?,
        stream_duration: stream_duration?,
    })
}

fn read_backends(top: &Section<'_>, environment: &Environment, problems: &Problems) -> Backends {
    let section = top
        .get("backends")
        .and_then(|node| node.section(&BACKEND_NAMES));
    let mut backends = Backends::default();
    for (position, name) in BACKEND_NAMES.into_iter().enumerate() {
        let known: &[&str] = match name {
            "loki" => &["enabled", "version", "legacy_api"],
            "tempo" => &["enabled", "version", "attributes", "scoped_search"],
            _ => &["enabled", "version"],
        };
        let backend = section
            .as_ref()
            .and_then(|section| section.get(name))
            .and_then(|node| node.section(known));
        let mut enabled = backend
            .as_ref()
            .is_some_and(|backend| flag(backend, "enabled", true) == Some(true));
        let version = backend.as_ref().and_then(|backend| backend.get("version"));
        let version = version.and_then(|node| read_version(&node));
        if let Some(place) = backends.versions.get_mut(position) {
            *place = version;
        }
        let variable = override_of(name);
        if let Some(value) = environment.get(&variable) {
            match value.to_ascii_lowercase().as_str() {
                "true" | "1" => enabled = true,
                "false" | "0" => enabled = false,
                _ => problems.add(
                    &variable,
                    &format!("{value:?} is neither true nor false (environment)"),
                ),
            }
        }
        match name {
            "loki" => {
                backends.loki = enabled;
                backends.loki_legacy_api = backend
                    .as_ref()
                    .is_some_and(|backend| flag(backend, "legacy_api", false) == Some(true));
            }
            "mimir" => backends.mimir = enabled,
            _ => {
                backends.tempo = enabled;
                let denied = [("allow", false), ("deny", true)];
                backends.tempo_search_denied = backend.as_ref().is_some_and(|backend| {
                    word(backend, "scoped_search", false, &denied) == Some(true)
                });
                let node = backend.as_ref().and_then(|b| b.get("attributes"));
                backends.tempo_attributes = node
                    .and_then(|node| read_attributes(&node))
                    .unwrap_or_default();
            }
        }
    }
    backends
}

/// A number would lose its last zero: 3.10 is 3.1.
fn read_version(node: &Node<'_>) -> Option<Version> {
    let version = Version::parse(node.text()?);
    if let Err(rule) = version {
        node.problem(rule);
    }
    version.ok()
}

/// `label: attribute`
fn read_attributes(node: &Node<'_>) -> Option<Attributes> {
    let mut attributes = Attributes::default();
    for (name, node) in node.members(MAX_ELEMENTS)? {
        let label = LabelName::parse(name);
        if let Err(rule) = label {
            node.problem(rule);
        }
        let attribute = AttributeName::parse(node.text()?);
        if let Err(rule) = attribute {
            node.problem(rule);
        }
        if let (Ok(label), Ok(attribute)) = (label, attribute) {
            attributes.insert(label, attribute);
        }
    }
    Some(attributes)
}

fn read_forward(top: &Section<'_>) -> Option<Forward> {
    let default = SubjectHeader::standard();
    let Some(node) = top.get("forward") else {
        return Some(Forward {
            keep_authorization: false,
            label_policy_header: false,
            subject_header: Some(default),
            rewrite_paths: true,
        });
    };
    let section = node.section(&[
        "authorization",
        "label_policy_header",
        "subject_header",
        "rewrite_paths",
    ])?;
    let keep_authorization = word(
        &section,
        "authorization",
        false,
        &[("strip", false), ("keep", true)],
    );
    let subject_header = match section.get("subject_header") {
        None if section.is_null("subject_header") => Some(None),
        None => Some(Some(default)),
        Some(node) => node.text().and_then(|name| {
            let header = SubjectHeader::parse(name);
            if let Err(rule) = header {
                node.problem(rule);
            }
            header.ok().map(Some)
        }),
    };
    let rewrite_paths = flag(&section, "rewrite_paths", true);
    let label_policy_header = flag(&section, "label_policy_header", false);
    Some(Forward {
        keep_authorization: keep_authorization?,
        label_policy_header: label_policy_header?,
        subject_header: subject_header?,
        rewrite_paths: rewrite_paths?,
    })
}

fn read_audit(top: &Section<'_>) -> Option<Audit> {
    let Some(node) = top.get("audit") else {
        return Some(Audit {
            log: AuditLog::Denied,
            access_log: true,
        });
    };
    let section = node.section(&["log", "access_log"])?;
    let log = word(
        &section,
        "log",
        AuditLog::Denied,
        &[
            ("denied", AuditLog::Denied),
            ("all", AuditLog::All),
            ("none", AuditLog::None),
        ],
    );
    let access_log = flag(&section, "access_log", true);
    Some(Audit {
        log: log?,
        access_log: access_log?,
    })
}
