//! From the document to [`Config`], section by section.

use std::collections::{BTreeMap, HashSet};

use super::reader::{Node, Problem, Problems, Section};
use super::{
    Audit, AuditLog, Backends, Config, DEFAULT_ALGORITHMS, Forward, KeySource, KeyUri, Limits, Mode,
};
use crate::claims::{ClaimMapping, GroupSource};
use crate::endpoint::BACKEND_NAMES;
use crate::identity::Issuer;
use crate::json::{self, Value};
use crate::jwks::KeySet;
use crate::keys::Algorithm;
use crate::policy::{Permission, Permissions, Policy};
use crate::request::BACKEND_HEADER;
use crate::tenant::TenantId;
use crate::time::Leeway;
use crate::token::normal_type;
use crate::verifier::{Provider, TokenKind};

/// Nesting a configuration may use; the reference uses seven levels.
const MAX_DEPTH: usize = 32;

/// Said of sections that a later version brings.
const NOT_YET: &str = "not supported yet";

/// Overrides from the environment: names and raw values, as Envoy's
/// `environment_variables` hands them in.
#[derive(Clone, Debug, Default)]
pub struct Environment(Vec<(String, String)>);

impl Environment {
    /// From pairs; names that are not ours are ignored.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(
            pairs
                .into_iter()
                .filter(|(name, _)| name.starts_with("SCOPEGATE_"))
                .collect(),
        )
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }
}

impl Config {
    /// Parses a configuration document.
    ///
    /// # Errors
    /// Every problem there is, each with its place. Never empty.
    pub fn parse(document: &[u8], environment: &Environment) -> Result<Self, Vec<Problem>> {
        let object = json::parse_object(document, MAX_DEPTH).map_err(|error| {
            vec![Problem {
                place: String::new(),
                text: error.to_string(),
            }]
        })?;
        let problems = Problems::default();
        let config = read(&object, environment, &problems);
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

fn read(object: &json::Object, environment: &Environment, problems: &Problems) -> Option<Config> {
    const KNOWN: [&str; 10] = [
        "mode",
        "realm",
        "providers",
        "organizations",
        "roles",
        "backends",
        "projects",
        "forward",
        "limits",
        "audit",
    ];
    let top = Section::top(object, &KNOWN, problems);
    if let Some(node) = top.get("projects") {
        node.problem(NOT_YET);
    }
    let mode = read_mode(&top);
    let realm = read_realm(&top);
    let limits = read_limits(&top);
    let providers = read_providers(&top);
    let roles = read_roles(&top);
    let policy = read_organizations(&top, &roles);
    let backends = read_backends(&top, environment, problems);
    let forward = read_forward(&top);
    let audit = read_audit(&top);
    Some(Config {
        mode: mode?,
        realm: realm?,
        providers: providers?,
        policy: policy?,
        backends,
        forward: forward?,
        limits: limits?,
        audit: audit?,
    })
}

/// A member that is one of a few words.
fn word<T: Copy>(section: &Section<'_>, name: &str, default: T, words: &[(&str, T)]) -> Option<T> {
    let Some(node) = section.get(name) else {
        return Some(default);
    };
    let text = node.text()?;
    let found = words.iter().find(|(word, _)| *word == text);
    if found.is_none() {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        node.problem(format!("must be one of {}", known.join(", ")));
    }
    found.map(|(_, value)| *value)
}

fn flag(section: &Section<'_>, name: &str, default: bool) -> Option<bool> {
    section.get(name).map_or(Some(default), |node| node.flag())
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
        return Some("observability".to_owned());
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
    const KNOWN: [&str; 6] = [
        "token_bytes",
        "groups",
        "tenants_per_request",
        "cached_tokens",
        "waiting_requests",
        "wait",
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
    let wait = section
        .as_ref()
        .and_then(|section| section.get("wait"))
        .map_or(Some(3_000), |node| node.duration("0s", "30s"));
    Some(Limits {
        token_bytes: token_bytes?,
        groups: groups?,
        tenants_per_request: tenants_per_request?,
        cached_tokens: cached_tokens?,
        waiting_requests: waiting_requests?,
        wait: wait?,
    })
}

fn read_providers(top: &Section<'_>) -> Option<Vec<(Provider, KeySource)>> {
    let node = top.require("providers", "without one no token can be verified")?;
    let nodes = node.list()?;
    if nodes.is_empty() {
        node.problem("must list at least one provider");
        return None;
    }
    let mut names = HashSet::new();
    let mut issuers = HashSet::new();
    let mut providers = Vec::new();
    for node in &nodes {
        let Some((provider, source)) = read_provider(node) else {
            continue;
        };
        if !names.insert(provider.name.clone()) {
            node.problem(format!("the name {:?} is taken", provider.name));
        }
        if !issuers.insert(provider.issuer.clone()) {
            node.problem("another provider has the same issuer: tokens choose by it");
        }
        providers.push((provider, source));
    }
    (providers.len() == nodes.len()).then_some(providers)
}

fn read_provider(node: &Node<'_>) -> Option<(Provider, KeySource)> {
    const KNOWN: [&str; 13] = [
        "name",
        "issuer",
        "audiences",
        "audience_check",
        "algorithms",
        "clock_skew",
        "max_lifetime",
        "token_types",
        "accept",
        "clients",
        "reject_bound_tokens",
        "jwks",
        "claims",
    ];
    let section = node.section(&KNOWN)?;
    let name = read_provider_name(&section);
    let issuer = section
        .require("issuer", "the exact iss of its tokens")
        .and_then(|node| read_issuer(&node));
    let audiences = read_audiences(&section);
    let algorithms = read_algorithms(&section);
    let clock_skew = section
        .get("clock_skew")
        .map_or(Some(60_000), |node| node.duration("0s", "5m"));
    let max_lifetime = match section.get("max_lifetime") {
        Some(node) => node.duration("1m", "8760h").map(Some),
        None => Some(None),
    };
    let token_types = match section.get("token_types") {
        Some(node) => node.texts(),
        None => Some(vec!["JWT", "at+jwt"]),
    };
    let kinds = read_kinds(&section);
    let clients = match section.get("clients") {
        Some(node) => node.texts(),
        None => Some(Vec::new()),
    };
    let reject_bound_tokens = flag(&section, "reject_bound_tokens", false);
    let mapping = read_mapping(&section);
    let source = section
        .require("jwks", "one of inline, uri or discovery")
        .and_then(|node| {
            read_key_source(
                &node,
                algorithms.as_deref().unwrap_or(&DEFAULT_ALGORITHMS),
                issuer.unwrap_or_default(),
            )
        });
    let owned = |texts: Vec<&str>| texts.into_iter().map(ToOwned::to_owned).collect();
    let provider = Provider {
        name: name?.to_owned(),
        issuer: Issuer::new(issuer?),
        audiences: audiences?,
        algorithms: algorithms?,
        leeway: Leeway::from_secs(clock_skew? / 1000),
        max_lifetime: max_lifetime?.map(|millis| millis / 1000),
        token_types: token_types?.into_iter().map(normal_type).collect(),
        kinds: kinds?,
        clients: owned(clients?),
        reject_bound_tokens: reject_bound_tokens?,
        mapping: mapping?,
    };
    Some((provider, source?))
}

fn read_provider_name<'a>(section: &Section<'a>) -> Option<&'a str> {
    let node = section.require("name", "it stands in logs and metrics")?;
    let name = node.text()?;
    let mut bytes = name.bytes();
    let first = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let fits = name.len() <= 63
        && bytes.next().is_some_and(first)
        && bytes.all(|byte| first(byte) || byte == b'-');
    if !fits {
        node.problem("must be 1 to 63 of a-z, 0-9 and -, not starting with -");
        return None;
    }
    Some(name)
}

fn read_issuer<'a>(node: &Node<'a>) -> Option<&'a str> {
    let issuer = node.text()?;
    if issuer.contains(['{', '}']) {
        node.problem(
            "a template would trust any tenant of the provider: \
             write one provider per exact issuer",
        );
        return None;
    }
    if issuer.trim() != issuer || issuer.chars().any(char::is_control) {
        node.problem("must not begin or end with spaces or hold control characters");
        return None;
    }
    Some(issuer)
}

/// Absent audiences are an error unless the operator spells out that none are
/// checked: else a token for any service of the provider would do.
#[expect(clippy::option_option)]
fn read_audiences(section: &Section<'_>) -> Option<Option<Vec<String>>> {
    let off = match section.get("audience_check") {
        None => false,
        // YAML reads a bare `off` as false.
        Some(node) => match node.value {
            Value::Bool(false) => true,
            Value::String(text) if text == "off" => true,
            _ => {
                node.problem("can only be off; leave it out to check audiences");
                return None;
            }
        },
    };
    match (section.get("audiences"), off) {
        (Some(node), true) => {
            node.problem("audience_check is off: remove one of the two");
            None
        }
        (Some(node), false) => {
            let audiences = node.texts()?;
            if audiences.is_empty() {
                node.problem("must name at least one audience, or set audience_check: off");
                return None;
            }
            Some(Some(audiences.into_iter().map(ToOwned::to_owned).collect()))
        }
        (None, true) => Some(None),
        (None, false) => {
            section.require(
                "audiences",
                "name the accepted aud values, or set audience_check: off",
            )?;
            None
        }
    }
}

fn read_algorithms(section: &Section<'_>) -> Option<Vec<Algorithm>> {
    let Some(node) = section.get("algorithms") else {
        return Some(DEFAULT_ALGORITHMS.to_vec());
    };
    let nodes = node.list()?;
    if nodes.is_empty() {
        node.problem("must name at least one algorithm");
        return None;
    }
    let mut algorithms = Vec::new();
    for node in &nodes {
        let Some(name) = node.text() else { continue };
        match Algorithm::from_name(name) {
            Some(algorithm) => algorithms.push(algorithm),
            None if name.starts_with("HS") || name.eq_ignore_ascii_case("none") => {
                node.problem("is never accepted: anyone could sign");
            }
            None => {
                let known: Vec<&str> = Algorithm::ALL.iter().map(|a| a.name()).collect();
                node.problem(format!("must be one of {}", known.join(", ")));
            }
        }
    }
    (algorithms.len() == nodes.len()).then_some(algorithms)
}

fn read_kinds(section: &Section<'_>) -> Option<Vec<TokenKind>> {
    let Some(node) = section.get("accept") else {
        return Some(vec![TokenKind::Access]);
    };
    let nodes = node.list()?;
    let mut kinds = Vec::new();
    for node in &nodes {
        match node.text() {
            Some("access") => kinds.push(TokenKind::Access),
            Some("id") => kinds.push(TokenKind::Id),
            Some(_) => node.problem("must be access or id"),
            None => {}
        }
    }
    if nodes.is_empty() {
        node.problem("must name at least one of access, id");
    }
    (!kinds.is_empty() && kinds.len() == nodes.len()).then_some(kinds)
}

fn read_path(node: &Node<'_>) -> Option<Vec<String>> {
    let segments = node.texts()?;
    if segments.is_empty() {
        node.problem("must name at least one claim");
        return None;
    }
    Some(segments.into_iter().map(ToOwned::to_owned).collect())
}

fn read_mapping(section: &Section<'_>) -> Option<ClaimMapping> {
    let default_subject = || vec![vec!["sub".to_owned()]];
    let Some(node) = section.get("claims") else {
        return Some(ClaimMapping {
            subject: default_subject(),
            groups: vec![GroupSource {
                path: vec!["groups".to_owned()],
                prefix: String::new(),
                split: None,
            }],
        });
    };
    let claims = node.section(&["subject", "groups"])?;
    let subject = match claims.get("subject") {
        None => Some(default_subject()),
        Some(node) => node.list().and_then(|nodes| {
            if nodes.is_empty() {
                node.problem("must list at least one path, such as [[sub]]");
                return None;
            }
            let paths: Vec<_> = nodes.iter().map(read_path).collect();
            paths.into_iter().collect()
        }),
    };
    let groups = match claims.get("groups") {
        None => Some(vec![GroupSource {
            path: vec!["groups".to_owned()],
            prefix: String::new(),
            split: None,
        }]),
        Some(node) => node.list().and_then(|nodes| {
            let sources: Vec<_> = nodes.iter().map(read_group_source).collect();
            sources.into_iter().collect()
        }),
    };
    Some(ClaimMapping {
        subject: subject?,
        groups: groups?,
    })
}

fn read_group_source(node: &Node<'_>) -> Option<GroupSource> {
    let section = node.section(&["path", "prefix", "split"])?;
    let path = section
        .require("path", "where in the claims the groups stand")
        .and_then(|node| read_path(&node));
    let text = |name| match section.get(name) {
        None => Some(None),
        Some(node) => node.text().map(Some),
    };
    let prefix = text("prefix");
    let split = text("split");
    Some(GroupSource {
        path: path?,
        prefix: prefix?.unwrap_or_default().to_owned(),
        split: split?.map(ToOwned::to_owned),
    })
}

fn read_key_source(node: &Node<'_>, algorithms: &[Algorithm], issuer: &str) -> Option<KeySource> {
    const KNOWN: [&str; 8] = [
        "inline",
        "uri",
        "discovery",
        "cluster",
        "timeout",
        "refresh_interval",
        "max_stale",
        "share",
    ];
    let section = node.section(&KNOWN)?;
    for later in ["discovery", "share"] {
        if let Some(node) = section.get(later) {
            node.problem(NOT_YET);
        }
    }
    match (section.get("inline"), section.get("uri")) {
        (Some(_), Some(_)) => {
            section.problem("must have one of inline and uri, not both");
            None
        }
        (None, None) => {
            if section.get("discovery").is_none() {
                section.problem("must have one of inline and uri");
            }
            None
        }
        (Some(inline), None) => {
            for name in ["cluster", "timeout", "refresh_interval", "max_stale"] {
                if let Some(node) = section.get(name) {
                    node.problem("has no meaning beside inline: nothing is fetched");
                }
            }
            let Some(document) = inline.value.as_object() else {
                inline.problem("must be a JWK Set: {keys: […]}");
                return None;
            };
            match KeySet::from_object(document, algorithms, issuer) {
                Ok(keys) => {
                    for skipped in keys.skipped() {
                        inline.problem(format!(
                            "key {:?} cannot be used: {}",
                            skipped.key_id.as_deref().unwrap_or("without kid"),
                            skipped.reason.name()
                        ));
                    }
                    Some(KeySource::Inline(keys))
                }
                Err(error) => {
                    inline.problem(error.to_string());
                    None
                }
            }
        }
        (None, Some(uri)) => read_key_uri(&section, &uri).map(KeySource::Uri),
    }
}

fn read_key_uri(section: &Section<'_>, uri: &Node<'_>) -> Option<KeyUri> {
    let address = uri.text().and_then(|text| {
        let parts = split_uri(text);
        if parts.is_none() {
            uri.problem("must be an http or https URL without user, spaces or fragment");
        }
        parts
    });
    let cluster = section
        .require("cluster", "Envoy's cluster that reaches the provider")
        .and_then(|node| node.text());
    let duration = |name: &str, default: u64, least: &str, most: &str| {
        section
            .get(name)
            .map_or(Some(default), |node| node.duration(least, most))
    };
    let timeout = duration("timeout", 5_000, "100ms", "30s");
    let refresh_interval = duration("refresh_interval", 600_000, "1m", "24h");
    let max_stale = duration("max_stale", 86_400_000, "0s", "168h");
    let (scheme, authority, path) = address?;
    let refresh_interval = refresh_interval?;
    Some(KeyUri {
        cluster: cluster?.to_owned(),
        scheme,
        authority,
        path,
        timeout: timeout?,
        refresh_interval,
        // A set must at least live until its successor is due.
        max_stale: max_stale?.max(refresh_interval),
    })
}

fn split_uri(uri: &str) -> Option<(String, String, String)> {
    let (scheme, rest) = uri.split_once("://")?;
    if !matches!(scheme, "http" | "https") {
        return None;
    }
    let (authority, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, "/"),
    };
    let visible = |text: &str| text.bytes().all(|byte| matches!(byte, 0x21..=0x7e));
    let sound = !authority.is_empty()
        && visible(authority)
        && visible(path)
        && !authority.contains(['@', '?', '#', '\\'])
        && !path.contains('#');
    sound.then(|| (scheme.to_owned(), authority.to_owned(), path.to_owned()))
}

/// Role name → permissions.
type Roles = BTreeMap<String, Permissions>;

fn read_roles(top: &Section<'_>) -> Roles {
    use Permission::{Delete, Read, RulesRead, RulesWrite, Write};
    let set = |permissions: &[Permission]| {
        permissions
            .iter()
            .fold(Permissions::default(), |set, p| set.with(*p))
    };
    let mut roles = Roles::from([
        (
            "admin".to_owned(),
            set(&[Read, Write, RulesRead, RulesWrite, Delete]),
        ),
        (
            "editor".to_owned(),
            set(&[Read, Write, RulesRead, RulesWrite]),
        ),
        ("viewer".to_owned(), set(&[Read, RulesRead])),
        ("writer".to_owned(), set(&[Write])),
    ]);
    let Some(node) = top.get("roles") else {
        return roles;
    };
    if node.value.as_object().is_none() {
        node.problem("must be an object: role name to list of permissions");
        return roles;
    }
    let Some(members) = node.value.as_object() else {
        return roles;
    };
    let names: Vec<&str> = members.iter().map(|(name, _)| name).collect();
    let Some(section) = node.section(&names) else {
        return roles;
    };
    for (role, node) in section.members() {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'-' || byte == b'_';
        if role.is_empty() || !role.bytes().all(plain) {
            node.problem("a role's name consists of a-z, - and _");
            continue;
        }
        let mut permissions = Permissions::default();
        for element in node.list().unwrap_or_default() {
            match element.text().map(Permission::from_name) {
                Some(Some(permission)) => permissions = permissions.with(permission),
                Some(None) => {
                    let known: Vec<&str> = Permission::ALL.iter().map(|p| p.name()).collect();
                    element.problem(format!("must be one of {}", known.join(", ")));
                }
                None => {}
            }
        }
        roles.insert(role.to_owned(), permissions);
    }
    roles
}

fn read_organizations(top: &Section<'_>, roles: &Roles) -> Option<Policy> {
    let node = top.require("organizations", "without one nothing is granted")?;
    let nodes = node.list()?;
    let mut policy = Policy::default();
    let mut names = HashSet::new();
    for node in &nodes {
        let Some(section) = node.section(&["name", "display_name", "tenants", "rbac"]) else {
            continue;
        };
        let name = section
            .require("name", "it stands in audit records")
            .and_then(|node| node.text());
        if let Some(node) = section.get("display_name") {
            node.text();
        }
        let tenants = read_tenants(&section);
        let bindings = read_rbac(&section, roles);
        let Some(name) = name else { continue };
        if !names.insert(name) {
            node.problem(format!("the name {name:?} is taken"));
            continue;
        }
        let organization = policy.organization(name);
        for (tenant, mask) in &tenants {
            for (group, permissions) in &bindings {
                policy.grant(organization, tenant, group, mask.apply(*permissions));
            }
        }
    }
    Some(policy)
}

/// What a tenant's `types` leave of a role.
#[derive(Clone, Copy, Debug)]
struct TypeMask {
    data: bool,
    alerting: bool,
}

impl TypeMask {
    fn apply(self, permissions: Permissions) -> Permissions {
        use Permission::{Delete, Read, RulesRead, RulesWrite, Write};
        let mut left = permissions;
        if !self.data {
            left = left.without(Read).without(Write).without(Delete);
        }
        if !self.alerting {
            left = left.without(RulesWrite);
        }
        if !self.data && !self.alerting {
            left = left.without(RulesRead);
        }
        left
    }
}

fn read_tenants(organization: &Section<'_>) -> Vec<(TenantId, TypeMask)> {
    let Some(nodes) = organization
        .require("tenants", "the tenants that the organization may use")
        .and_then(|node| node.list())
    else {
        return Vec::new();
    };
    let mut seen = HashSet::new();
    let mut tenants = Vec::new();
    for node in nodes {
        let Some((tenant, mask)) = read_tenant(&node) else {
            continue;
        };
        if !seen.insert(tenant.clone()) {
            node.problem(format!("the tenant {:?} is listed twice", tenant.as_str()));
        }
        tenants.push((tenant, mask));
    }
    tenants
}

fn read_tenant(node: &Node<'_>) -> Option<(TenantId, TypeMask)> {
    let data_only = TypeMask {
        data: true,
        alerting: false,
    };
    let (name, mask, allow_reserved) = if let Value::String(_) = node.value {
        (node.clone(), data_only, false)
    } else {
        let section = node.section(&["name", "types", "allow_reserved"])?;
        let name = section.require("name", "the tenant's ID");
        let mask = match section.get("types") {
            None => Some(data_only),
            Some(types) => read_types(&types),
        };
        let allow_reserved = flag(&section, "allow_reserved", false);
        (name?, mask?, allow_reserved?)
    };
    let text = name.text()?;
    let tenant = match TenantId::parse(text) {
        Ok(tenant) => tenant,
        Err(error) => {
            name.problem(format!("{text:?} is no tenant ID: {}", error.rule()));
            return None;
        }
    };
    if tenant.is_reserved() && !allow_reserved {
        name.problem(format!(
            "{text:?} is a name that a backend uses itself: \
             if it is meant, write {{name: {text}, allow_reserved: true}}"
        ));
        return None;
    }
    Some((tenant, mask))
}

fn read_types(node: &Node<'_>) -> Option<TypeMask> {
    let mut mask = TypeMask {
        data: false,
        alerting: false,
    };
    let nodes = node.list()?;
    for element in &nodes {
        match element.text() {
            Some("data") => mask.data = true,
            Some("alerting") => mask.alerting = true,
            Some(_) => element.problem("must be data or alerting"),
            None => {}
        }
    }
    if nodes.is_empty() {
        node.problem("must name at least one of data, alerting");
    }
    Some(mask)
}

fn read_rbac(organization: &Section<'_>, roles: &Roles) -> Vec<(String, Permissions)> {
    // Without one the organization exists and nobody may use it.
    let Some(node) = organization.get("rbac") else {
        return Vec::new();
    };
    let plural: Vec<(String, Permissions)> = roles
        .iter()
        .map(|(role, permissions)| (format!("{role}s"), *permissions))
        .collect();
    let known: Vec<&str> = plural.iter().map(|(name, _)| name.as_str()).collect();
    let Some(section) = node.section(&known) else {
        return Vec::new();
    };
    let mut bindings = Vec::new();
    for (name, permissions) in &plural {
        let Some(node) = section.get(name) else {
            continue;
        };
        for element in node.list().unwrap_or_default() {
            if let Some(group) = read_group(&element) {
                bindings.push((group.to_owned(), *permissions));
            }
        }
    }
    bindings
}

fn read_group<'a>(node: &Node<'a>) -> Option<&'a str> {
    if let Value::String(_) = node.value {
        return node.text();
    }
    let section = node.section(&["group", "labels"])?;
    if let Some(labels) = section.get("labels") {
        labels.problem(NOT_YET);
    }
    section
        .require("group", "the group that holds the role")?
        .text()
}

fn read_backends(top: &Section<'_>, environment: &Environment, problems: &Problems) -> Backends {
    let section = top
        .get("backends")
        .and_then(|node| node.section(&BACKEND_NAMES));
    let mut backends = Backends::default();
    for name in BACKEND_NAMES {
        let known: &[&str] = match name {
            "loki" => &["enabled", "legacy_api"],
            _ => &["enabled"],
        };
        let backend = section
            .as_ref()
            .and_then(|section| section.get(name))
            .and_then(|node| node.section(known));
        let mut enabled = backend
            .as_ref()
            .is_some_and(|backend| flag(backend, "enabled", true) == Some(true));
        let variable = format!("SCOPEGATE_{}_ENABLED", name.to_ascii_uppercase());
        if let Some(value) = environment.get(&variable) {
            match value.to_ascii_lowercase().as_str() {
                "true" | "1" => enabled = true,
                "false" | "0" => enabled = false,
                _ => problems.add(
                    &variable,
                    format!("{value:?} is neither true nor false (environment)"),
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
            _ => backends.tempo = enabled,
        }
    }
    backends
}

fn read_forward(top: &Section<'_>) -> Option<Forward> {
    let default = "x-scopegate-subject";
    let Some(node) = top.get("forward") else {
        return Some(Forward {
            keep_authorization: false,
            subject_header: Some(default.to_owned()),
            rewrite_paths: true,
        });
    };
    let section = node.section(&["authorization", "subject_header", "rewrite_paths"])?;
    let keep_authorization = word(
        &section,
        "authorization",
        false,
        &[("strip", false), ("keep", true)],
    );
    let subject_header = match section.get("subject_header") {
        None if section.is_null("subject_header") => Some(None),
        None => Some(Some(default.to_owned())),
        Some(node) => read_header_name(&node).map(Some),
    };
    let rewrite_paths = flag(&section, "rewrite_paths", true);
    Some(Forward {
        keep_authorization: keep_authorization?,
        subject_header: subject_header?,
        rewrite_paths: rewrite_paths?,
    })
}

fn read_header_name(node: &Node<'_>) -> Option<String> {
    const TAKEN: [&str; 8] = [
        "authorization",
        "connection",
        "content-length",
        "content-type",
        "host",
        "transfer-encoding",
        "upgrade",
        "x-scope-orgid",
    ];
    let name = node.text()?.to_ascii_lowercase();
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.len() > 64 || !name.bytes().all(plain) {
        node.problem("must be a header name of at most 64 letters, digits and -");
        return None;
    }
    if TAKEN.contains(&name.as_str()) || name == BACKEND_HEADER {
        node.problem("this header has another meaning");
        return None;
    }
    Some(name)
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
