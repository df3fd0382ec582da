//! Each step of a decision, with what it found.
//!
//! Whether a step was passed is the worker's verdict alone. What is said about it is asked of
//! the same parts of the gate once more, so that a step that was not reached says nothing.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use crate::authn::authenticator::Authenticator;
use crate::authn::group_source::spelt;
use crate::authn::refused::{Claimed, ClaimedAudience};
use crate::authn::token::{RegisteredClaims, Unverified};
use crate::authn::verifier::Provider;
use crate::authz::endpoint::{Endpoint, Endpoints, Scoping, Surface};
use crate::authz::policy::Remembered;
use crate::authz::projects::Resource;
use crate::config::{Config, Mode};
use crate::gate::{Gate, Grants};
use crate::words::identity::{Issuer, Principal, ProviderIndex};
use crate::words::permission::Permission;
use crate::words::tenant::TenantSet;
use crate::words::time::Timestamp;
use crate::words::verdict::Verdict;
use crate::words::wire::push_rfc3339;

use super::holders::Holders;
use super::presented::{Credential, Presented};
use super::request::Request;
use super::stage::Stage;

/// Most groups that are listed.
const MAX_GROUPS: usize = 20;

/// Most tenants whose organizations are told of.
const MAX_HINTS: usize = 5;

/// The outcome of a step.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Result {
    Passed,
    /// The request ends here, with an answer that is no refusal.
    Answered,
    Refused,
    NotReached,
}

impl Result {
    /// As in reports.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::NotReached => "not reached",
        }
    }
}

/// A step and what it found.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) stage: Stage,
    pub(super) result: Result,
    /// Lines; none for a step that was not reached.
    pub(super) found: Vec<String>,
}

/// What the steps are told from.
pub(super) struct Context<'a> {
    pub(super) gate: &'a Gate,
    /// As its file has it, so that the number is the one that a gate shows.
    pub(super) loaded: &'a Config,
    pub(super) request: &'a Request,
    pub(super) presented: &'a Presented,
    pub(super) holders: &'a Holders,
    pub(super) verdict: Option<Verdict>,
    pub(super) now: Timestamp,
    /// The tenants that went on to the backend.
    pub(super) tenants: Option<Vec<u8>>,
    pub(super) token_bytes: usize,
}

impl Context<'_> {
    /// All steps, in order.
    pub(super) fn steps(&self) -> Vec<Step> {
        // What is no decision is answered at the entrance.
        let stop = match self.verdict {
            None => Some(Stage::Endpoint),
            Some(verdict) => Stage::of(verdict),
        };
        let refused = matches!(self.verdict, Some(Verdict::Denied(_)));
        let steps = Stage::ALL.into_iter().map(|stage| {
            let result = match stop {
                Some(stop) if stage > stop => Result::NotReached,
                Some(stop) if stage == stop && refused => Result::Refused,
                Some(stop) if stage == stop => Result::Answered,
                _ => Result::Passed,
            };
            let mut found = match result {
                Result::NotReached => Vec::new(),
                _ => self.found(stage),
            };
            if let (Result::Refused, Some(Verdict::Denied(denial))) = (result, self.verdict) {
                found.push(format!("{}: {}", denial.code(), denial.message()));
                found.extend(self.hint());
            }
            Step {
                stage,
                result,
                found,
            }
        });
        steps.collect()
    }

    fn found(&self, stage: Stage) -> Vec<String> {
        match stage {
            Stage::Configuration => self.configuration(),
            Stage::Endpoint => self.endpoint_found(),
            Stage::Credential => self.credential_found(),
            Stage::Token => self.token(),
            Stage::Groups => self.groups(),
            Stage::Tenants => self.tenants_found(),
            Stage::Grants => self.grants(),
            Stage::Scope => self.scope(),
            Stage::Backend => self.backend(),
        }
    }

    fn config(&self) -> &Config {
        self.gate.config()
    }

    fn authenticator(&self) -> &Authenticator {
        self.gate.authenticator()
    }

    fn configuration(&self) -> Vec<String> {
        let loaded = self.loaded;
        let number = loaded.fingerprint.number();
        let mut lines = vec![format!(
            "{}, scopegate_config_hash {number}",
            loaded.summary()
        )];
        if loaded.mode == Mode::Report {
            lines.push("mode: report, so that refusals are recorded and do not take effect".into());
        }
        if loaded.organizations_from.is_some() {
            let policy = &self.config().policy;
            lines.push(match self.gate.grants() {
                Grants::All => format!(
                    "with those from outside: {} organizations, {} tenants",
                    policy.organization_count(),
                    policy.tenants()
                ),
                Grants::Awaited | Grants::Outdated => {
                    "organizations_from: they are not known here".to_owned()
                }
            });
        }
        lines
    }

    fn endpoint(&self) -> Option<&'static Endpoint> {
        let path = self.request.path.split(|byte| *byte == b'?').next()?;
        let endpoints = Endpoints::new(&self.config().surfaces());
        endpoints.find(path, &self.request.method).ok()
    }

    fn endpoint_found(&self) -> Vec<String> {
        let path = self.request.path.split(|byte| *byte == b'?').next();
        let asked = format!(
            "{} {}",
            lossy(&self.request.method),
            lossy(path.unwrap_or_default())
        );
        let Some(endpoint) = self.endpoint() else {
            return vec![asked];
        };
        vec![format!(
            "{asked}: {} of {}, which takes the permission '{}'",
            endpoint.template,
            endpoint.backend.name(),
            endpoint.permission
        )]
    }

    fn credential(&self) -> Option<&Credential> {
        self.presented.deciding(self.authenticator())
    }

    fn credential_found(&self) -> Vec<String> {
        use crate::words::credential::CredentialKind;
        let found = match self.credential().map(|credential| credential.kind) {
            None => return Vec::new(),
            Some(CredentialKind::Bearer) => "a bearer token".to_owned(),
            Some(CredentialKind::Basic) => "a token as the password of Basic".to_owned(),
            Some(CredentialKind::IdToken) => "an ID token in its own header".to_owned(),
        };
        vec![found]
    }

    /// The token with its provider, as far as both can be told.
    fn with_token<T>(
        &self,
        tell: impl FnOnce(&Unverified<'_>, Option<(ProviderIndex, &Arc<Provider>)>) -> T,
    ) -> Option<T> {
        let credential = self.credential()?;
        let unverified = Unverified::parse(&credential.token, self.token_bytes).ok()?;
        let issuer = crate::authn::token::issuer(&unverified.claims).ok();
        let providers = self.authenticator().providers().iter().enumerate();
        let provider = issuer.and_then(|issuer| {
            let mut providers = providers;
            providers.find(|(_, one)| one.rules.issuers.find(issuer).is_some())
        });
        let provider = provider.map(|(at, one)| (ProviderIndex::at(at), &one.rules));
        Some(tell(&unverified, provider))
    }

    fn token(&self) -> Vec<String> {
        let found = self.with_token(|unverified, provider| {
            let claimed = Claimed::by(unverified);
            let header = &unverified.header;
            let algorithm = header
                .algorithm
                .map_or("an algorithm that no gate takes", |it| it.name());
            let mut lines = vec![match (&provider, &claimed.issuer) {
                (Some((_, rules)), Some(issuer)) => format!("of {}: iss {issuer}", rules.name),
                (_, Some(issuer)) => format!("of no provider here: iss {issuer}"),
                (_, None) => "of nobody: there is no iss".to_owned(),
            }];
            let key = header
                .key_id
                .as_deref()
                .map_or_else(|| "no kid".to_owned(), |key| format!("kid {key}"));
            let typ = header.token_type.as_deref().unwrap_or("none");
            lines.push(format!("header: {algorithm}, {key}, typ {typ}"));
            lines.push(audiences(&claimed.audience));
            if let Ok(registered) = RegisteredClaims::read(&unverified.claims) {
                lines.push(times(&registered, self.now));
            }
            if let Some((_, rules)) = provider {
                let subject = rules.mapping.subject(&unverified.claims);
                lines.extend(subject.map(|subject| format!("subject {}", subject.as_str())));
            }
            lines
        });
        found.unwrap_or_default()
    }

    fn groups(&self) -> Vec<String> {
        let found = self.with_token(|unverified, provider| {
            let Some((_, rules)) = provider else {
                return Vec::new();
            };
            let known = self.config().policy.groups();
            let sources = &rules.mapping.groups;
            let place = |at: usize| {
                sources
                    .get(at)
                    .map_or_else(String::new, |it| spelt(&it.path).into_owned())
            };
            let mut lines = Vec::new();
            let mut silent: BTreeSet<usize> = (0..sources.len()).collect();
            let mut seen: usize = 0;
            let most = self.config().limits.groups;
            let listing = rules
                .mapping
                .list(&unverified.claims, most, |at, name, own| {
                    silent.remove(&at);
                    seen = seen.saturating_add(1);
                    if seen > MAX_GROUPS {
                        return;
                    }
                    let place = place(at);
                    lines.push(match (own, known.get(&name)) {
                        (false, _) => format!(
                            "{name} (claim {place}): left out, because its prefix is that of another source"
                        ),
                        (true, Some(_)) => format!("{name} (claim {place})"),
                        (true, None) => format!("{name} (claim {place}): no role names it"),
                    });
                });
            if seen > MAX_GROUPS {
                lines.push(format!("and {} more", seen.saturating_sub(MAX_GROUPS)));
            }
            if let Ok(listing) = listing {
                for at in &listing.unread {
                    silent.remove(at);
                    lines.push(format!("claim {}: nothing that can be used", place(*at)));
                }
                if listing.overage {
                    lines.push("the token points at groups that it does not list".to_owned());
                }
                let silent = silent.into_iter();
                lines.extend(silent.map(|at| format!("claim {}: nothing is there", place(at))));
            }
            lines
        });
        found.unwrap_or_default()
    }

    fn principal(&self) -> Option<Principal> {
        let known = self.config().policy.groups();
        let most = self.config().limits.groups;
        self.with_token(|unverified, provider| {
            let (index, rules) = provider?;
            let mapping = &rules.mapping;
            mapping
                .principal(&unverified.claims, index, known, most)
                .ok()
        })?
    }

    /// The tenants that are asked for.
    fn asked(&self) -> Option<TenantSet<'_>> {
        let headers = self.request.headers.iter();
        let mut headers = headers.filter(|(name, _)| name == b"x-scope-orgid");
        let sent = headers.next().map(|(_, value)| value.as_slice());
        let value = self.tenants.as_deref().or(sent)?;
        TenantSet::parse(value, usize::MAX).ok()
    }

    fn is_of_projects(&self) -> bool {
        let endpoint = self.endpoint();
        endpoint.is_some_and(|endpoint| endpoint.surface == Surface::Projects)
    }

    fn project(&self) -> Option<Resource<'_>> {
        let path = self.request.path.split(|byte| *byte == b'?').next()?;
        Resource::of_path(path)
    }

    fn tenants_found(&self) -> Vec<String> {
        if self.is_of_projects() {
            let projects = self.config().projects.as_ref();
            let tenant = self
                .project()
                .zip(projects)
                .and_then(|(resource, projects)| projects.tenant(resource).ok());
            let tenant = tenant.map(|tenant| format!("{}, by the project", tenant.as_str()));
            return tenant.into_iter().collect();
        }
        let headers = self.request.headers.iter();
        let mut headers = headers.filter(|(name, _)| name == b"x-scope-orgid");
        let sent = headers.next().map(|(_, value)| lossy(value));
        let asked = self.tenants.as_deref().map(lossy);
        vec![match (sent, asked) {
            (Some(sent), Some(asked)) if sent != asked => format!("{sent}, which is {asked}"),
            (Some(sent), _) => sent,
            (None, Some(asked)) if !asked.is_empty() => {
                format!("none is named: {asked}, the caller's only one")
            }
            (None, _) => "none is named".to_owned(),
        }]
    }

    fn grants(&self) -> Vec<String> {
        if self.is_of_projects() {
            return vec!["by the directory of projects".to_owned()];
        }
        if self.asked().is_none() && matches!(self.verdict, Some(Verdict::Allowed)) {
            return vec!["no tenant is needed by whoever holds something on any".to_owned()];
        }
        let (Some(endpoint), Some(principal), Some(asked)) =
            (self.endpoint(), self.principal(), self.asked())
        else {
            return Vec::new();
        };
        let policy = &self.config().policy;
        let mut remembered = Remembered::default();
        let tenants = asked.iter().map(|tenant| {
            let one = TenantSet::of(tenant);
            let mut held = Vec::new();
            for permission in Permission::ALL {
                let scope = policy.authorize(&principal, &one, permission, &mut remembered);
                held.extend(match scope {
                    Ok(None) => Some(permission.name().to_owned()),
                    Ok(Some(scope)) => Some(format!("{permission} within {}", scope.summary())),
                    Err(crate::words::denial::Denial::ScopeAmbiguous) => {
                        Some(format!("{permission} within policies that do not make one"))
                    }
                    Err(_) => None,
                });
            }
            let tenant = lossy(tenant);
            if held.is_empty() {
                return format!("{tenant}: nothing");
            }
            let by = policy.organizations(&principal, &one, endpoint.permission, &mut remembered);
            let names = by.first.iter().filter_map(|one| policy.organization(*one));
            let names: Vec<&str> = names.collect();
            let by = if names.is_empty() {
                String::new()
            } else {
                format!(", '{}' through {}", endpoint.permission, names.join(", "))
            };
            format!("{tenant}: {}{by}", held.join(", "))
        });
        tenants.collect()
    }

    fn scope(&self) -> Vec<String> {
        let Some(endpoint) = self.endpoint() else {
            return Vec::new();
        };
        let summary = if self.is_of_projects() {
            let projects = self.config().projects.as_ref();
            let scope = self
                .project()
                .zip(projects)
                .and_then(|(resource, projects)| projects.scope(resource).ok());
            scope.map(|scope| scope.summary())
        } else {
            let principal = self.principal();
            let scope = principal.zip(self.asked()).and_then(|(principal, asked)| {
                let policy = &self.config().policy;
                let permission = endpoint.permission;
                let mut remembered = Remembered::default();
                let held = policy.authorize(&principal, &asked, permission, &mut remembered);
                held.ok().flatten()
            });
            scope.map(|scope| scope.summary())
        };
        let Some(summary) = summary else {
            return vec!["all of the tenant's data".to_owned()];
        };
        let reported = self.config().mode == Mode::Report;
        let how = match endpoint.scoping {
            Scoping::AnsweredEmpty(_) => "the gate answers as if there were nothing",
            Scoping::Harmless => "which this endpoint shows nothing of",
            Scoping::Parameters(..) if reported && !self.is_of_projects() => {
                "which would be put into each query"
            }
            Scoping::Parameters(..) => "which is put into each query",
            Scoping::Unsupported | Scoping::WholeTrace => {
                "which this endpoint cannot be limited to"
            }
        };
        vec![format!("{summary}, {how}")]
    }

    fn backend(&self) -> Vec<String> {
        let endpoint = self.endpoint();
        let name = endpoint.map(|endpoint| endpoint.backend.name().to_owned());
        name.into_iter().collect()
    }

    /// What may help, where the message alone does not.
    fn hint(&self) -> Vec<String> {
        use crate::words::denial::Denial;
        let Some(Verdict::Denied(denial)) = self.verdict else {
            return Vec::new();
        };
        let rules = self.with_token(|_, provider| provider.map(|(_, rules)| Arc::clone(rules)));
        let rules = rules.flatten();
        let hint = match (denial, rules) {
            (Denial::AudienceMismatch, Some(rules)) => {
                let wanted = rules.audiences.clone().unwrap_or_default();
                format!("{} takes the audiences {}", rules.name, wanted.join(", "))
            }
            (Denial::IssuerUnknown, _) => {
                let providers = self.authenticator().providers().iter();
                let issuers: Vec<&str> = providers
                    .flat_map(|one| one.rules.issuers.iter())
                    .map(Issuer::as_str)
                    .collect();
                format!("the issuers here are {}", issuers.join(", "))
            }
            (Denial::AlgorithmNotAllowed, Some(rules)) => {
                let names: Vec<&str> = rules.algorithms.iter().map(|it| it.name()).collect();
                format!("{} takes {}", rules.name, names.join(", "))
            }
            (Denial::TokenKindRefused, Some(rules)) => {
                let kinds: Vec<&str> = rules.kinds.iter().map(|kind| kind.name()).collect();
                let claims = ["typ", "token_use", "events"];
                let told = self.with_token(|unverified, _| {
                    let claims = claims.into_iter().filter_map(|name| {
                        let value = unverified.claims.get(name)?;
                        Some(match value.as_str() {
                            Some(text) => format!("{name}: {text}"),
                            None => name.to_owned(),
                        })
                    });
                    claims.collect::<Vec<_>>().join(", ")
                });
                let told = told.filter(|told| !told.is_empty());
                let told = told.map_or_else(String::new, |told| format!("; its claims say {told}"));
                format!(
                    "{} takes tokens of the kind {}{told}",
                    rules.name,
                    kinds.join(", ")
                )
            }
            (Denial::TokenTypeRefused, Some(rules)) => {
                format!(
                    "{} takes the types {}",
                    rules.name,
                    rules.token_types.join(", ")
                )
            }
            (Denial::ClientNotAllowed, Some(rules)) => {
                format!(
                    "{} takes the clients {}",
                    rules.name,
                    rules.clients.join(", ")
                )
            }
            (Denial::UnknownKey | Denial::SignatureInvalid, Some(rules)) => {
                let providers = self.authenticator().providers().iter();
                let mut providers = providers.filter(|one| one.rules.name == rules.name);
                let keys = providers.find_map(|one| one.keys.held());
                let names: Vec<&str> = keys.iter().flat_map(|set| set.key_ids()).collect();
                format!("{} has the keys {}", rules.name, names.join(", "))
            }
            (Denial::TenantNotGranted | Denial::PermissionMissing(_), _) => {
                let asked = self.asked();
                let tenants = asked.iter().flat_map(TenantSet::iter).take(MAX_HINTS);
                return tenants
                    .flat_map(|tenant| self.holders.on(&lossy(tenant)))
                    .collect();
            }
            _ => return Vec::new(),
        };
        vec![hint]
    }
}

fn audiences(audience: &ClaimedAudience) -> String {
    match audience {
        ClaimedAudience::Unreadable => "no aud that can be read".to_owned(),
        ClaimedAudience::One(one) => format!("aud {one}"),
        ClaimedAudience::List { first, all } => {
            let more = all.saturating_sub(first.len());
            let more = if more == 0 {
                String::new()
            } else {
                format!(" and {more} more")
            };
            format!("aud {}{more}", first.join(", "))
        }
    }
}

fn times(registered: &RegisteredClaims<'_>, now: Timestamp) -> String {
    let mut line = format!("exp {}", at(registered.expires, now));
    for (name, time) in [
        ("iat", registered.issued_at),
        ("nbf", registered.not_before),
    ] {
        if let Some(time) = time {
            let _ = write!(line, ", {name} {}", at(time, now));
        }
    }
    line
}

/// A time, and how far from now it is.
fn at(time: Timestamp, now: Timestamp) -> String {
    let mut text = String::new();
    push_rfc3339(&mut text, time);
    let (span, side) = match time.since(now) {
        0 => (now.since(time), "ago"),
        ahead => (ahead, "ahead"),
    };
    let span = match span {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ ..7_200 => format!("{} min", seconds / 60),
        seconds @ ..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    };
    format!("{text} ({span} {side})")
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
