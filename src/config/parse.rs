//! Turns the document into [`Config`]: the top level and its small sections.

use std::sync::Arc;

use super::credentials::{check_credentials, read_credentials};
use super::entrance::read_entrance;
use super::environment::Environment;
use super::fingerprint::Fingerprint;
use super::organizations::{read_organizations, read_roles};
use super::organizations_from::read_organizations_from;
use super::projects::read_projects;
use super::providers::read_providers;
use super::reader::{Node, Problem, Problems, Section, shortened};
use super::table::backends::{self, loki, tempo};
use super::table::{audit, document, forward, limits};
use super::{Audit, Backends, Config, Forward, Limits, TenantRules};
use crate::authn::json::{self, JsonError};
use crate::authz::endpoint::Backend;
use crate::scoping::scope::{AttributeName, Attributes, LabelName};
use crate::words::hash::QuickHash;
use crate::words::own_header::SubjectHeader;
use crate::words::version::Version;

/// The longest document, in bytes: room for 30,000 organizations with ten groups each. Time and
/// memory depend only on the length of a document, so this limits both. Loading a document
/// takes, for a moment, at most thirty times its length in each worker, and the policy made
/// from it permanently takes at most four times its length.
pub const MAX_DOCUMENT: usize = 8_388_608;

/// The nesting that a configuration may have. The reference has seven levels.
pub(super) const MAX_DEPTH: usize = 32;

impl Config {
    /// Parses a configuration document.
    ///
    /// # Errors
    /// Every problem in it, each with its place. The list is never empty.
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

/// The message about bytes that are not the JSON that the module accepts. Usually a proxy or a
/// person has mistaken something else for it.
fn not_a_document(document: &[u8], error: &JsonError) -> String {
    let text = document.trim_ascii();
    if text.is_empty() || text == b"null" {
        return "no configuration was handed over: it stands in configuration in Envoy, in \
                pluginConfig in Istio's WasmPlugin, in config in Envoy Gateway's \
                EnvoyExtensionPolicy"
            .to_owned();
    }
    // This is a field of a map, whose entries have fields with the tags 0x0a and 0x12.
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

/// Whether the first line that is not a comment begins a YAML document.
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
    let top = Section::top(object, &document::TABLE, problems);
    let mode = top.word(&document::MODE);
    let realm = read_realm(&top);
    let credentials = read_credentials(&top);
    let limits = read_limits(&top);
    let providers = read_providers(&top, environment);
    let roles = read_roles(&top);
    let mut policy = read_organizations(&top, &roles, hash);
    let organizations_from = read_organizations_from(&top, environment, document);
    // Its readers are groups that the policy has to know.
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
        left_out: Arc::default(),
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

/// The settings with which the environment overrides the document.
fn overrides(environment: &Environment) -> Vec<(String, String)> {
    let names = Backend::ALL.into_iter().map(override_of);
    let set = names.filter_map(|name| {
        let value = environment.get(&name)?;
        let on = matches!(value.to_ascii_lowercase().as_str(), "true" | "1");
        Some((name, on.to_string()))
    });
    set.collect()
}

/// The variable that enables or disables a backend.
fn override_of(backend: Backend) -> String {
    format!("SCOPEGATE_{}_ENABLED", backend.name().to_ascii_uppercase())
}

fn read_realm(top: &Section<'_>) -> Option<String> {
    let form = &document::REALM.form;
    let Some(node) = top.get(&document::REALM) else {
        return Some(form.default.to_owned());
    };
    let realm = node.text()?;
    let quotable = |byte: u8| matches!(byte, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    if realm.len() > form.text.longest || !realm.bytes().all(quotable) {
        node.problem(format!(
            "must be at most {} printable ASCII characters without \" and \\",
            form.text.longest
        ));
        return None;
    }
    Some(realm.to_owned())
}

fn read_limits(top: &Section<'_>) -> Option<Limits> {
    let section = top.open(&document::LIMITS)?;
    // Every value is read before the first `?`, so that all problems are reported.
    let token_bytes = section.count(&limits::TOKEN_BYTES);
    let groups = section.count(&limits::GROUPS);
    let tenants_per_request = section.count(&limits::TENANTS_PER_REQUEST);
    let cached_tokens = section.count(&limits::CACHED_TOKENS);
    let waiting_requests = section.count(&limits::WAITING_REQUESTS);
    let wait = section.duration(&limits::WAIT);
    let stream_duration = section.duration(&limits::STREAM_DURATION);
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
        .get(&document::BACKENDS)
        .and_then(|node| node.section(&backends::TABLE));
    let mut read = Backends::default();
    let known = Backend::ALL.into_iter().zip(backends::ALL);
    for ((backend, keys), place) in known.zip(&mut read.versions) {
        let node = section
            .as_ref()
            .and_then(|section| section.get(&keys.section));
        let section = node.and_then(|node| node.section(keys.section.form.0));
        let section = section.as_ref();
        let mut enabled = section.is_some_and(|section| section.flag(&keys.enabled) == Some(true));
        let version = section.and_then(|section| section.get(&keys.version));
        *place = version.and_then(|node| read_version(&node));
        let variable = override_of(backend);
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
        match backend {
            Backend::Loki => {
                read.loki = enabled;
                read.loki_legacy_api =
                    section.is_some_and(|section| section.flag(&loki::LEGACY_API) == Some(true));
            }
            Backend::Mimir => read.mimir = enabled,
            Backend::Tempo => {
                read.tempo = enabled;
                read.tempo_search_denied = section.is_some_and(|section| {
                    section.word(&tempo::SCOPED_SEARCH) == Some(tempo::Search::Denied)
                });
                let node = section.and_then(|section| section.get(&tempo::ATTRIBUTES));
                read.tempo_attributes = node
                    .and_then(|node| read_attributes(&node))
                    .unwrap_or_default();
            }
        }
    }
    read
}

/// A version must be a text, because a number would lose its last zero: 3.10 is 3.1.
fn read_version(node: &Node<'_>) -> Option<Version> {
    let version = Version::parse(node.text()?);
    if let Err(rule) = version {
        node.problem(rule);
    }
    version.ok()
}

/// Reads `label: attribute`.
fn read_attributes(node: &Node<'_>) -> Option<Attributes> {
    let mut attributes = Attributes::default();
    for (name, node) in node.members(tempo::ATTRIBUTES.form.most)? {
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
    let section = top.open(&document::FORWARD)?;
    let authorization = section.word(&forward::AUTHORIZATION);
    let key = &forward::SUBJECT_HEADER;
    let subject_header = match section.get(key) {
        None if section.is_null(key) => Some(None),
        None => SubjectHeader::parse(key.form.default).ok().map(Some),
        Some(node) => node.text().and_then(|name| {
            let header = SubjectHeader::parse(name);
            if let Err(rule) = header {
                node.problem(rule);
            }
            header.ok().map(Some)
        }),
    };
    let rewrite_paths = section.flag(&forward::REWRITE_PATHS);
    let label_policy_header = section.flag(&forward::LABEL_POLICY_HEADER);
    Some(Forward {
        keep_authorization: authorization? == forward::Token::Kept,
        label_policy_header: label_policy_header?,
        subject_header: subject_header?,
        rewrite_paths: rewrite_paths?,
    })
}

fn read_audit(top: &Section<'_>) -> Option<Audit> {
    let section = top.open(&document::AUDIT)?;
    let log = section.word(&audit::LOG);
    let access_log = section.flag(&audit::ACCESS_LOG);
    Some(Audit {
        log: log?,
        access_log: access_log?,
    })
}
