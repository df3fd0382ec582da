//! The current organizations, as far as they can be converted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use serde_json::Value;

use super::counters::Counters;
use super::log::Log;
use crate::resources::document::{self, Entry};
use crate::resources::grafana::{self, Converted, Remark, Version};
use crate::resources::proof;
use crate::resources::rules::Rules;

/// What a source says about one organization.
#[derive(Clone, Debug)]
pub enum Change {
    /// The organization now has this form.
    Put(Box<Value>, Version),
    /// The organization does not exist any more, or is being deleted.
    Remove,
}

impl Change {
    /// The change that follows from an existing resource.
    #[must_use]
    pub fn of(resource: Value, version: Version) -> Self {
        if grafana::is_going(&resource) {
            Self::Remove
        } else {
            Self::Put(Box::new(resource), version)
        }
    }
}

/// The organizations by name.
#[derive(Debug, Default)]
pub struct Catalog {
    entries: BTreeMap<String, Entry>,
    /// The resources that cannot be converted, and why.
    dropped: BTreeMap<String, String>,
}

impl Catalog {
    /// The number of organizations.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no organizations.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether there is an organization of that name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// Whether a list lacks one of the organizations.
    #[must_use]
    pub fn is_missing_from(&self, listed: &BTreeSet<&str>) -> bool {
        let mut names = self.entries.keys();
        names.any(|name| !listed.contains(name.as_str()))
    }

    /// The names of the organizations that a list lacks, including those that cannot be
    /// converted.
    #[must_use]
    pub fn missing(&self, listed: &BTreeSet<&str>) -> Vec<String> {
        let names = self.entries.keys().chain(self.dropped.keys());
        let missing = names.filter(|name| !listed.contains(name.as_str()));
        missing.cloned().collect()
    }

    /// The `organizations` of a document.
    #[must_use]
    pub fn organizations(&self) -> String {
        document::organizations(&self.entries)
    }

    /// Applies changes in their order, each with its position in the history of the source.
    /// Returns the highest position that changed something.
    pub fn apply(
        &mut self,
        changes: Vec<(u64, String, Change)>,
        rules: &Rules,
        log: Log,
        counters: &Counters,
    ) -> Option<u64> {
        let mut latest = None;
        for (place, name, converted) in convert(changes, rules) {
            let differs = match converted {
                None => {
                    let dropped = self.dropped.remove(&name).is_some();
                    if dropped {
                        log.info("resource removed", &[("name", &name)]);
                    }
                    self.entries.remove(&name).is_some()
                }
                Some(Ok((entry, notes))) => {
                    self.dropped.remove(&name);
                    let other = self.entries.get(&name) != Some(&entry);
                    if other && !notes.is_empty() {
                        log.info("resource adapted", &[("name", &name), ("notes", &notes)]);
                    }
                    self.entries.insert(name, entry);
                    other
                }
                Some(Err(why)) => {
                    // This is logged once, and not for each list.
                    if self.dropped.get(&name) != Some(&why) {
                        log.warn("resource dropped", &[("name", &name), ("problems", &why)]);
                        self.dropped.insert(name.clone(), why);
                    }
                    self.entries.remove(&name).is_some()
                }
            };
            if differs {
                latest = latest.max(Some(place));
            }
        }
        let dropped = u64::try_from(self.dropped.len()).unwrap_or(u64::MAX);
        counters.dropped.store(dropped, Ordering::Relaxed);
        latest
    }
}

/// An entry and a note on what was changed to obtain it, or why there is none.
type Outcome = Result<(Entry, String), String>;

/// Converts new and changed resources. The reader of configurations reads all of them at once.
fn convert(
    changes: Vec<(u64, String, Change)>,
    rules: &Rules,
) -> Vec<(u64, String, Option<Outcome>)> {
    let mut good: Vec<Converted> = Vec::new();
    let mut good_at: Vec<usize> = Vec::new();
    let mut outcomes: Vec<(u64, String, Option<Outcome>)> = Vec::new();
    for (place, name, change) in changes {
        let outcome = match change {
            Change::Remove => None,
            Change::Put(resource, version) => {
                Some(match grafana::convert(&resource, version, rules) {
                    Err(problems) => Err(joined(&problems)),
                    Ok(converted) => {
                        good_at.push(outcomes.len());
                        let notes = joined(&converted.notes);
                        let entry = Entry::new(&converted.organization);
                        good.push(converted);
                        let entry = entry.map_err(|error| error.to_string());
                        entry.map(|entry| (entry, notes))
                    }
                })
            }
        };
        outcomes.push((place, name, outcome));
    }
    let organizations: Vec<_> = good.iter().map(|it| &it.organization).collect();
    for (index, problem) in proof::refused(&organizations) {
        let at = good_at.get(index).and_then(|at| outcomes.get_mut(*at));
        if let Some((_, _, outcome)) = at {
            *outcome = Some(Err(problem.to_string()));
        }
    }
    outcomes
}

fn joined(remarks: &[Remark]) -> String {
    let remarks: Vec<String> = remarks.iter().map(ToString::to_string).collect();
    remarks.join("; ")
}
