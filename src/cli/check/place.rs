//! Places as words, such as `providers[0].jwks`, and the pieces of text that they stand for.

use std::fmt::Write as _;
use std::ops::Range;

use super::tree::{Node, Value};

/// The piece of the text that a place is about. If the place is missing from the text, the piece
/// is the nearest one above it that exists.
pub(super) fn span(root: &Node, place: &str) -> Range<usize> {
    // The end of a place that was too long has been cut off.
    let place = place.trim_end_matches('…');
    let mut best = Reached {
        left: place.len().saturating_add(1),
        span: head(root, None),
    };
    follow(root, None, place, &mut best);
    best.span
}

/// How far along a place the search came.
struct Reached {
    /// How many bytes of the place were left.
    left: usize,
    span: Range<usize>,
}

/// Follows a place into the tree. Names may contain dots and brackets, so every member that could
/// be meant is tried.
fn follow(node: &Node, key: Option<&Range<usize>>, rest: &str, best: &mut Reached) {
    if rest.len() < best.left {
        best.left = rest.len();
        best.span = head(node, key);
    }
    if rest.is_empty() {
        return;
    }
    match &node.value {
        Value::Object(members) => {
            let name = rest.strip_prefix('.').unwrap_or(rest);
            for member in members {
                if let Some(rest) = name.strip_prefix(member.name.as_str())
                    && (rest.is_empty() || rest.starts_with(['.', '[']))
                {
                    follow(&member.value, Some(&member.key), rest, best);
                }
            }
        }
        Value::List(elements) => {
            let element = rest
                .strip_prefix('[')
                .and_then(|rest| rest.split_once(']'))
                .and_then(|(index, rest)| {
                    Some((elements.get(index.parse::<usize>().ok()?)?, rest))
                });
            if let Some((element, rest)) = element {
                follow(element, None, rest, best);
            }
        }
        _ => {}
    }
}

/// The piece that stands for a value. A list or an object may span many lines, so its key is shown
/// instead, or without one the first key or element in it.
pub(super) fn head(node: &Node, key: Option<&Range<usize>>) -> Range<usize> {
    match (&node.value, key) {
        (Value::List(_) | Value::Object(_) | Value::Null, Some(key)) => key.clone(),
        (Value::Object(members), None) => members
            .first()
            .map_or_else(|| node.span.clone(), |member| member.key.clone()),
        (Value::List(elements), None) => elements
            .first()
            .map_or_else(|| node.span.clone(), |element| head(element, None)),
        (Value::Text(text), Some(key)) if text.text.contains('\n') => key.clone(),
        _ => node.span.clone(),
    }
}

/// The piece of the key at a place, or of the value if it has no key.
pub(super) fn key(root: &Node, place: &str) -> Range<usize> {
    let mut best = span(root, place);
    root.walk(&mut |node| {
        for member in node.members() {
            if member.value.span == best {
                best = member.key.clone();
            }
        }
    });
    best
}

/// Visits every value in a tree with its place.
pub(super) fn walk<'a>(root: &'a Node, visit: &mut impl FnMut(&'a Node, &str)) {
    let mut words = String::new();
    walk_in(root, &mut words, visit);
}

fn walk_in<'a>(node: &'a Node, words: &mut String, visit: &mut impl FnMut(&'a Node, &str)) {
    visit(node, words);
    let length = words.len();
    for member in node.members() {
        if !words.is_empty() {
            words.push('.');
        }
        words.push_str(&member.name);
        walk_in(&member.value, words, visit);
        words.truncate(length);
    }
    for (index, element) in node.elements().iter().enumerate() {
        let _ = write!(words, "[{index}]");
        walk_in(element, words, visit);
        words.truncate(length);
    }
}

/// The place of a value in the tree; empty if it is not there.
pub(super) fn of(root: &Node, wanted: &Node) -> String {
    let mut found = None;
    walk(root, &mut |node, place| {
        if found.is_none() && std::ptr::eq(node, wanted) {
            found = Some(place.to_owned());
        }
    });
    found.unwrap_or_default()
}
