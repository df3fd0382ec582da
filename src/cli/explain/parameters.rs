//! How the gate changes a request's parameters.

use crate::scoping::form::{self, Pair};

use super::insertions::{Piece, pieces};
use super::rehearsal::Forwarded;
use super::request::Request;

/// A parameter whose value is changed, added or removed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Changed {
    pub(super) name: String,
    /// `None` if the request did not have it.
    pub(super) before: Option<String>,
    /// `None` if the forwarded request does not have it.
    pub(super) after: Option<String>,
}

impl Changed {
    /// The new value in pieces, if insertions alone turn the old one into it.
    pub(super) fn pieces(&self) -> Option<Vec<Piece>> {
        pieces(self.before.as_deref()?, self.after.as_deref()?)
    }
}

/// The changed parameters of a request that is forwarded.
pub(super) fn changed(request: &Request, forwarded: &Forwarded) -> Vec<Changed> {
    let path = forwarded.fields.iter().find(|(name, _)| name == b":path");
    let path = path.map_or(&b""[..], |(_, path)| path);
    let Some(body) = &forwarded.body else {
        return difference(query(&request.path), query(path));
    };
    let before = [query(&request.path), pairs(&request.body)].concat();
    let after = [query(path), pairs(body)].concat();
    difference(before, after)
}

fn query(path: &[u8]) -> Vec<Pair> {
    let mut halves = path.splitn(2, |byte| *byte == b'?');
    pairs(halves.nth(1).unwrap_or_default())
}

/// A form that cannot be parsed counts as empty: the gate has not changed it either.
fn pairs(form: &[u8]) -> Vec<Pair> {
    form::parse(form).unwrap_or_default()
}

fn difference(before: Vec<Pair>, mut after: Vec<Pair>) -> Vec<Changed> {
    let mut left = Vec::new();
    for pair in before {
        match after.iter().position(|other| *other == pair) {
            Some(at) => {
                after.remove(at);
            }
            None => left.push(pair),
        }
    }
    let mut changed: Vec<Changed> = Vec::new();
    for Pair { name, value } in left {
        let at = after.iter().position(|other| other.name == name);
        changed.push(Changed {
            name,
            before: Some(value),
            after: at.map(|at| after.remove(at).value),
        });
    }
    changed.extend(after.into_iter().map(|Pair { name, value }| Changed {
        name,
        before: None,
        after: Some(value),
    }));
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_compared_by_name_and_value() {
        let text = |text: &str| Some(text.to_owned());
        let changes = difference(pairs(b"query=a&x=1&x=2"), pairs(b"x=2&query=b&new=3"));
        let expected = [
            ("query", text("a"), text("b")),
            ("x", text("1"), None),
            ("new", None, text("3")),
        ];
        let expected = expected.map(|(name, before, after)| Changed {
            name: name.to_owned(),
            before,
            after,
        });
        assert_eq!(changes, expected);
    }
}
