//! The document that [`super::OrganizationsFrom`] names.
//!
//! ```json
//! {"version": 1, "epoch": 1, "revision": 42, "organizations": [ … ]}
//! ```
//!
//! `organizations` has the same form as in a configuration, and refers to the roles of the
//! configuration. The pair of `epoch` and `revision` grows with every change, so that a replica
//! that lags behind cannot revive a grant that was withdrawn. If the configuration names keys,
//! the document is the payload of a JWS, and has an `iat`.

use std::sync::Arc;

use super::fingerprint::Fingerprint;
use super::organizations::{Bound, OrganizationNames, add_organizations, read_roles};
use super::parse::{MAX_DEPTH, MAX_DOCUMENT};
use super::projects::read_projects;
use super::reader::{Node, Problem, Problems, Section, shortened};
use super::table::{Key, Number, Required, document, outside};
use super::{Config, OrganizationsFrom};
use crate::authn::json::{self, Object};
use crate::authn::keys::{SignatureEngine, VerifyingKey};
use crate::authn::signed_document::{SignedDocument, looks_signed};
use crate::authz::policy::Draft;
use crate::words::hash::QuickHash;
use crate::words::time::Timestamp;

/// The state of the organizations that a document describes. A greater one is newer.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Revision {
    /// Grows whenever `revision` starts again.
    pub epoch: u64,
    /// Grows with every change.
    pub revision: u64,
}

/// A document of organizations that is well-formed and, if required, signed.
#[derive(Debug)]
pub struct Outside {
    /// The state that it describes.
    pub revision: Revision,
    /// When it was signed, if it has to be.
    pub issued_at: Option<Timestamp>,
    /// The key that signed it, if it has to be signed.
    pub signed_with: Option<Arc<VerifyingKey>>,
    /// The fingerprint of its organizations.
    pub fingerprint: Fingerprint,
    /// The number of organizations.
    pub organizations: usize,
    object: Object,
    hash: QuickHash,
}

impl Outside {
    /// Reads a document for the given section of the configuration.
    ///
    /// # Errors
    /// Every problem in it, each with its place. Problems of the organizations themselves are
    /// found by [`Config::with`].
    pub fn parse(
        document: &[u8],
        from: &OrganizationsFrom,
        engine: &dyn SignatureEngine,
    ) -> Result<Self, Vec<Problem>> {
        let mut signed_with = None;
        let object = match &from.signers {
            None if looks_signed(document) => {
                return Err(vec![problem(
                    "it is signed, a JWS, and organizations_from has no signed_by: put the public \
                     keys of whoever signs it there",
                )]);
            }
            None => read_object(document)?,
            Some(keys) => {
                let signed = SignedDocument::open(document, keys, engine);
                let signed = signed.map_err(|error| vec![problem(&error.to_string())])?;
                signed_with = Some(signed.key);
                signed.payload
            }
        };
        let problems = Problems::default();
        let read = read_header(&object, from, &problems);
        let problems = problems.into_vec();
        let Some((revision, organizations, issued_at)) = read.filter(|_| problems.is_empty())
        else {
            return Err(problems);
        };
        Ok(Self {
            revision,
            issued_at,
            signed_with,
            fingerprint: Fingerprint::of_member(&object, outside::ORGANIZATIONS.name),
            organizations,
            hash: QuickHash::of_document(document),
            object,
        })
    }
}

/// Checks a document that is not signed, without a gate. `configuration` defines roles in
/// addition to the default ones.
///
/// # Errors
/// Every problem in the document, each with its place. The list is never empty.
pub fn check_outside(document: &[u8], configuration: &Object) -> Result<(), Vec<Problem>> {
    let object = read_object(document)?;
    // Problems of the configuration are reported where the configuration itself is checked.
    let elsewhere = Problems::default();
    let roles = read_roles(&Section::top(configuration, &document::TABLE, &elsewhere));
    let problems = Problems::default();
    let mut draft = Draft::default();
    let header = header(&object, &problems);
    if let Some((_, nodes)) = &header {
        let mut names = OrganizationNames::default();
        add_organizations(nodes, &Bound::of(&roles), &mut draft, &mut names);
    }
    let problems = problems.into_vec();
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems)
    }
}

fn read_object(document: &[u8]) -> Result<Object, Vec<Problem>> {
    if document.len() > MAX_DOCUMENT {
        let length = document.len();
        let text = format!("has {length} bytes: such a document has at most {MAX_DOCUMENT}");
        return Err(vec![problem(&text)]);
    }
    json::parse_object(document, MAX_DEPTH).map_err(|error| vec![problem(&error.to_string())])
}

fn problem(text: &str) -> Problem {
    Problem {
        place: String::new(),
        text: shortened(text),
    }
}

/// Reads the members of the document, and returns the list of organizations.
fn header<'a>(object: &'a Object, problems: &'a Problems) -> Option<(Revision, Node<'a>)> {
    let top = Section::top(object, &outside::TABLE, problems);
    let number = |key: &Key<Required<Number>>| top.require(key)?.number(&key.form.of);
    let version = number(&outside::VERSION);
    let epoch = number(&outside::EPOCH);
    let revision = number(&outside::REVISION);
    let organizations = top.require(&outside::ORGANIZATIONS);
    version?;
    let revision = Revision {
        epoch: epoch?,
        revision: revision?,
    };
    Some((revision, organizations?))
}

/// The number of elements in the list.
fn length(node: &Node<'_>) -> Option<usize> {
    let most = outside::ORGANIZATIONS.form.of.most;
    node.elements(most).map(|nodes| nodes.len())
}

fn read_header(
    object: &Object,
    from: &OrganizationsFrom,
    problems: &Problems,
) -> Option<(Revision, usize, Option<Timestamp>)> {
    let (revision, node) = header(object, problems)?;
    let mut issued_at = None;
    if from.signers.is_some() {
        let key = &outside::SIGNED_AT;
        let node = Section::top(object, &outside::TABLE, problems).require(key);
        issued_at = Some(Timestamp::from_secs(node?.number(&key.form.of)?));
    }
    let count = length(&node)?;
    if count == 0 && !from.allow_empty {
        node.problem(
            "is empty, which would withdraw every grant: if it may be, write \
             allow_empty: true in organizations_from",
        );
        return None;
    }
    Some((revision, count, issued_at))
}

impl Config {
    /// The same configuration with the organizations of a document in addition to its own.
    ///
    /// # Errors
    /// Every problem in the document, each with its place. The list is never empty.
    pub fn with(&self, outside: &Outside) -> Result<Self, Vec<Problem>> {
        self.reread(Some(outside))
    }

    /// The same configuration with only its own organizations. `None` if it never has any
    /// others.
    #[must_use]
    pub fn without_outside(&self) -> Option<Self> {
        self.organizations_from.as_ref()?;
        // This has been read without problems before.
        self.reread(None).ok()
    }

    fn reread(&self, outside: Option<&Outside>) -> Result<Self, Vec<Problem>> {
        let Some(from) = &self.organizations_from else {
            return Err(vec![problem("the configuration has no organizations_from")]);
        };
        let configuration = read_object(&from.configuration)?;
        let problems = Problems::default();
        let top = Section::top(&configuration, &document::TABLE, &problems);
        let roles = read_roles(&top);
        let bound = Bound::of(&roles);
        let hash = QuickHash::of_document(&from.configuration);
        let hash = outside.map_or(hash, |outside| hash.and(outside.hash));
        let mut draft = Draft::hashed(hash);
        let mut names = OrganizationNames::default();
        if let Some(node) = top.get(&document::ORGANIZATIONS) {
            add_organizations(&node, &bound, &mut draft, &mut names);
        }
        names.are_of_the_configuration();
        if let Some(outside) = outside {
            let top = Section::top(&outside.object, &outside::TABLE, &problems);
            if let Some(node) = top.get(&outside::ORGANIZATIONS) {
                add_organizations(&node, &bound, &mut draft, &mut names);
                if self.entrance.tenants.star_is_all && draft.has_star() {
                    node.problem("a tenant is named \"*\", which stands for all tenants here");
                }
            }
        }
        let left_out = names.left_out();
        let projects = read_projects(&top, Some(&mut draft), hash);
        let problems = problems.into_vec();
        if !problems.is_empty() {
            return Err(problems);
        }
        let tenants = self.entrance.tenants;
        let indexed = tenants.only_one_may_be_absent || tenants.star_is_all;
        Ok(Self {
            left_out,
            policy: Arc::new(draft.finish(indexed)),
            projects: projects.flatten().map(Arc::new),
            ..self.clone()
        })
    }
}
