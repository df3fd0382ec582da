//! Collects organizations from several files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::report::{Place, Report};
use crate::resources::grafana::{self, GROUP, KIND, Kind};
use crate::resources::manifests::{self, Manifest};
use crate::resources::organization::Organization;
use crate::resources::rules::Rules;

/// The organizations collected so far.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    organizations: BTreeMap<String, (Organization, Place)>,
    report: Report,
    /// Whether there was a resource that is an organization, in any version.
    found: bool,
}

impl Gathered {
    /// Adds the resources in a file.
    pub(super) fn file(&mut self, path: &Path, content: &[u8], rules: &Rules) {
        let (manifests, unreadable) = manifests::read(content);
        let mut others: BTreeSet<String> = BTreeSet::new();
        let mut passed_over: usize = 0;
        for manifest in &manifests {
            let place = Place {
                document: Some(manifest.document),
                item: manifest.item,
                resource: grafana::name(&manifest.value).map(str::to_owned),
                ..Place::file(path)
            };
            match grafana::kind(&manifest.value) {
                Kind::Organization(version) => {
                    self.found = true;
                    self.resource(manifest, version, place, rules);
                }
                Kind::OtherVersion => {
                    self.found = true;
                    let text = format!("{KIND} is read as {GROUP}/v1alpha1 and {GROUP}/v1alpha2");
                    let field = Some("apiVersion".to_owned());
                    self.report.error(Place { field, ..place }, text);
                }
                Kind::Other => {
                    passed_over = passed_over.saturating_add(1);
                    let kind = manifest.value.get("kind").and_then(|kind| kind.as_str());
                    others.insert(kind.unwrap_or("no kind").to_owned());
                }
            }
        }
        if passed_over > 0 {
            let others: Vec<String> = others.into_iter().take(8).collect();
            let text = format!(
                "passed over {passed_over} that are no {KIND} of {GROUP}: {}",
                others.join(", ")
            );
            self.report.note(Place::file(path), text);
        }
        if let Some(unreadable) = unreadable {
            let place = Place {
                document: Some(unreadable.document),
                ..Place::file(path)
            };
            let text = format!("cannot be read, nor what follows it: {}", unreadable.text);
            self.report.error(place, text);
        }
    }

    fn resource(
        &mut self,
        manifest: &Manifest,
        version: grafana::Version,
        place: Place,
        rules: &Rules,
    ) {
        if grafana::is_going(&manifest.value) {
            self.report.note(place, "is being deleted: left out");
            return;
        }
        let at = |remark: &grafana::Remark| Place {
            field: Some(remark.field.clone()),
            ..place.clone()
        };
        let converted = match grafana::convert(&manifest.value, version, rules) {
            Ok(converted) => converted,
            Err(problems) => {
                for problem in &problems {
                    self.report.error(at(problem), &problem.text);
                }
                return;
            }
        };
        for note in &converted.notes {
            self.report.note(at(note), &note.text);
        }
        let organization = converted.organization;
        if let Some((_, first)) = self.organizations.get(&organization.name) {
            let first = first.to_string();
            let text = format!(
                "the name is taken by {}: give one of them another name, or leave one out",
                first.trim_end_matches(": ")
            );
            let field = Some("metadata.name".to_owned());
            self.report.error(Place { field, ..place }, text);
            return;
        }
        let name = organization.name.clone();
        self.organizations.insert(name, (organization, place));
    }

    /// The organizations, sorted by name, and the report about them.
    pub(super) fn finish(mut self) -> (Vec<Organization>, Report) {
        if !self.found && self.report.is_good() {
            let text = format!("there is no {KIND} of {GROUP} in what was given");
            self.report.error(Place::default(), text);
        }
        let organizations = self.organizations.into_values();
        (organizations.map(|(it, _)| it).collect(), self.report)
    }
}
