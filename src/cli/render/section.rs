//! Reading the section `deployment:` member by member, with every problem at its place.

use std::cell::RefCell;

use serde_yaml_ng::{Mapping, Value};

use crate::config::Problem;

/// The problems found so far.
#[derive(Debug, Default)]
pub(super) struct Problems(RefCell<Vec<Problem>>);

impl Problems {
    pub(super) fn add(&self, place: &str, text: impl Into<String>) {
        self.0.borrow_mut().push(Problem {
            place: place.to_owned(),
            text: text.into(),
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// Whether there is one at that very place.
    pub(super) fn are_at(&self, place: &str) -> bool {
        self.0.borrow().iter().any(|problem| problem.place == place)
    }

    pub(super) fn into_vec(self) -> Vec<Problem> {
        self.0.into_inner()
    }
}

/// An object whose members are known.
#[derive(Debug)]
pub(super) struct Section<'a> {
    pub(super) place: String,
    members: Option<&'a Mapping>,
    pub(super) problems: &'a Problems,
}

impl<'a> Section<'a> {
    /// What is not there is empty. With `known`, no other member may stand in it.
    pub(super) fn new(
        value: Option<&'a Value>,
        place: String,
        known: Option<&[&str]>,
        problems: &'a Problems,
    ) -> Self {
        let members = match value {
            None | Some(Value::Null) => None,
            Some(Value::Mapping(members)) => Some(members),
            Some(_) => {
                problems.add(&place, "expected an object");
                None
            }
        };
        let section = Self {
            place,
            members,
            problems,
        };
        for name in section.names() {
            if known.is_some_and(|known| !known.contains(&name)) {
                let known = known.unwrap_or_default().join(", ");
                section.problems.add(
                    &section.at(name),
                    format!("unknown key: known here are {known}"),
                );
            }
        }
        section
    }

    /// Its members, in order.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> {
        let members = self.members.into_iter().flat_map(Mapping::keys);
        members.filter_map(Value::as_str)
    }

    /// The place of a member.
    pub(super) fn at(&self, name: &str) -> String {
        format!("{}.{name}", self.place)
    }

    pub(super) fn member(&self, name: &str) -> Option<&'a Value> {
        self.members
            .and_then(|members| members.get(name))
            .filter(|value| !value.is_null())
    }

    /// A section in it.
    pub(super) fn section(&self, name: &str, known: Option<&[&str]>) -> Self {
        Self::new(self.member(name), self.at(name), known, self.problems)
    }

    /// A text that is understood by `read`; nothing if it is absent or wrong.
    pub(super) fn text<T>(
        &self,
        name: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let read = match self.member(name)? {
            Value::String(text) => read(text),
            _ => Err("expected a text; put it between quotes".to_owned()),
        };
        read.map_err(|problem| self.problems.add(&self.at(name), problem))
            .ok()
    }

    /// A number in these bounds.
    pub(super) fn number(&self, name: &str, bounds: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let value = self.member(name)?;
        let number = value.as_u64().filter(|number| bounds.contains(number));
        if number.is_none() {
            let text = format!(
                "expected a number from {} to {}",
                bounds.start(),
                bounds.end()
            );
            self.problems.add(&self.at(name), text);
        }
        number
    }
}
