//! Finds what was inserted into a text, by comparing it with the text before.

use core::ops::Range;

/// The most cells of the table that [`insertions`] fills. Each takes two bytes.
const MAX_CELLS: usize = 1 << 22;

/// A part of a text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Piece {
    pub(super) text: String,
    /// Whether it was inserted.
    pub(super) is_inserted: bool,
}

/// `after` in pieces, with the fewest insertions that turn `before` into it. `None` if insertions
/// alone do not, or if the texts are too long to compare.
pub(super) fn pieces(before: &str, after: &str) -> Option<Vec<Piece>> {
    let before: Vec<char> = before.chars().collect();
    let after: Vec<char> = after.chars().collect();
    let start = common(before.iter(), after.iter());
    let (rest, middle) = (before.get(start..)?, after.get(start..)?);
    let end = common(rest.iter().rev(), middle.iter().rev());
    let rest = rest.get(..rest.len().checked_sub(end)?)?;
    let middle = middle.get(..middle.len().checked_sub(end)?)?;
    let mut pieces = Vec::new();
    let mut push = |range: Range<usize>, is_inserted| {
        let text: String = after.get(range)?.iter().collect();
        if !text.is_empty() {
            pieces.push(Piece { text, is_inserted });
        }
        Some(())
    };
    let mut from = 0;
    for inserted in insertions(rest, middle)? {
        let inserted = inserted.start.checked_add(start)?..inserted.end.checked_add(start)?;
        let inserted = on_words(&after, from, inserted);
        push(from..inserted.start, false)?;
        from = inserted.end;
        push(inserted, true)?;
    }
    push(from..after.len(), false)?;
    Some(pieces)
}

/// How many characters two texts have in common at the beginning.
fn common<'c>(one: impl Iterator<Item = &'c char>, other: impl Iterator<Item = &'c char>) -> usize {
    one.zip(other)
        .take_while(|(one, other)| one == other)
        .count()
}

/// The same insertion, moved as far to the left as possible without dividing a word. Between
/// `{app="y"}` and `{app_id="x",app="y"}`, for example, either `app_id="x",` or `_id="x",app` may
/// have been inserted.
fn on_words(after: &[char], least: usize, found: Range<usize>) -> Range<usize> {
    let is_word = |at: Option<usize>| {
        let c = at.and_then(|at| after.get(at));
        c.is_some_and(|c| c.is_alphanumeric() || *c == '_')
    };
    let divides = |at: usize| is_word(at.checked_sub(1)) && is_word(Some(at));
    let whole = |range: &Range<usize>| !divides(range.start) && !divides(range.end);
    let mut moved = found.clone();
    let mut best = found;
    while let (Some(start), Some(end)) = (moved.start.checked_sub(1), moved.end.checked_sub(1))
        && start >= least
        && after.get(start) == after.get(end)
    {
        moved = start..end;
        if whole(&moved) {
            best = moved.clone();
        }
    }
    best
}

/// How an inserted character leads to a cell of the table.
#[derive(Clone, Copy)]
enum Added {
    /// It cannot.
    Never,
    /// It follows a character that is in both texts.
    First,
    /// It follows another inserted character.
    Next,
}

/// The ranges of `after` that were inserted; `None` if insertions alone do not turn `before` into
/// it, or if the table would have more than [`MAX_CELLS`] cells.
///
/// The table has a row for each character of `after`. A cell holds the fewest insertions with
/// which the characters up to there use up a given number of characters of `before`, once if the
/// last character was kept and once if it was inserted.
fn insertions(before: &[char], after: &[char]) -> Option<Vec<Range<usize>>> {
    let width = before.len().checked_add(1)?;
    let cells = after.len().checked_mul(width)?;
    if cells > MAX_CELLS {
        return None;
    }
    let nothing: Vec<Option<u32>> = vec![None; width];
    let (mut kept, mut added) = (nothing.clone(), nothing.clone());
    *kept.first_mut()? = Some(0);
    // For each cell: how an inserted character leads to it, and whether a kept character there
    // follows an inserted one.
    let mut ways: Vec<(Added, bool)> = Vec::with_capacity(cells);
    for c in after {
        let (mut next_kept, mut next_added) = (nothing.clone(), nothing.clone());
        for at in 0..width {
            let first = kept.get(at)?.and_then(|count| count.checked_add(1));
            let (count, way) = match (first, *added.get(at)?) {
                (None, None) => (None, Added::Never),
                (Some(first), next) if next.is_none_or(|next| first < next) => {
                    (Some(first), Added::First)
                }
                (_, next) => (next, Added::Next),
            };
            *next_added.get_mut(at)? = count;
            let mut behind_added = false;
            let last = at.checked_sub(1);
            if let Some(last) = last.filter(|last| before.get(*last) == Some(c)) {
                let (kept, added) = (*kept.get(last)?, *added.get(last)?);
                behind_added = is_less(added, kept);
                *next_kept.get_mut(at)? = if behind_added { added } else { kept };
            }
            ways.push((way, behind_added));
        }
        (kept, added) = (next_kept, next_added);
    }
    let (kept, added) = (*kept.last()?, *added.last()?);
    if kept.is_none() && added.is_none() {
        return None;
    }
    let mut is_added = is_less(added, kept);
    // Follow the choices back from the last cell.
    let mut used = before.len();
    let mut found: Vec<Range<usize>> = Vec::new();
    for row in (0..after.len()).rev() {
        let cell = row.checked_mul(width)?.checked_add(used)?;
        let (way, behind_added) = *ways.get(cell)?;
        if !is_added {
            is_added = behind_added;
            used = used.checked_sub(1)?;
            continue;
        }
        let end = row.checked_add(1)?;
        match found.last_mut() {
            Some(last) if last.start == end => last.start = row,
            _ => found.push(row..end),
        }
        is_added = matches!(way, Added::Next);
    }
    found.reverse();
    Some(found)
}

/// Whether `one` is a number, and is less than `other` if that is one too.
fn is_less(one: Option<u32>, other: Option<u32>) -> bool {
    one.is_some_and(|one| other.is_none_or(|other| one < other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scoping::query::{Language, Matcher, Shape, scope};
    use crate::scoping::scope::{Attributes, LabelName, LabelValue, Scope};

    /// The text after the insertions, with `[` and `]` around each of them.
    fn marked(before: &str, after: &str) -> Option<String> {
        let pieces = pieces(before, after)?.into_iter();
        let pieces = pieces.map(|Piece { text, is_inserted }| {
            if is_inserted {
                format!("[{text}]")
            } else {
                text
            }
        });
        Some(pieces.collect())
    }

    #[test]
    fn what_was_added_is_marked() {
        let cases = [
            ("", "", Some("")),
            ("same", "same", Some("same")),
            ("", "new", Some("[new]")),
            ("up", r#"up{ns="web"}"#, Some(r#"up[{ns="web"}]"#)),
            (
                r#"{app="y"}"#,
                r#"{app_id="x",app="y"}"#,
                Some(r#"{[app_id="x",]app="y"}"#),
            ),
            ("a/b", "a{x}/b{x}", Some("a[{x}]/b[{x}]")),
            ("ü", "äüß", Some("[ä]ü[ß]")),
            ("ab", "ba", None),
            ("longer", "long", None),
        ];
        for (before, after, expected) in cases {
            assert_eq!(marked(before, after).as_deref(), expected, "{after}");
        }
    }

    #[test]
    fn what_the_gate_inserts_is_found() {
        let corpora = [
            (
                Language::LogQl,
                include_str!("../../../tests/queries/logql.txt"),
            ),
            (
                Language::PromQl,
                include_str!("../../../tests/queries/promql.txt"),
            ),
            (
                Language::TraceQl,
                include_str!("../../../tests/queries/traceql.txt"),
            ),
        ];
        let label = LabelName::parse("namespace").unwrap();
        let scope_of_caller = Scope::single(label, LabelValue::parse("web").unwrap());
        let mut seen = 0;
        for (language, corpus) in corpora {
            let matcher = Matcher::new(language, &scope_of_caller, &Attributes::default());
            for query in corpus.lines().filter(|line| !line.starts_with("##")) {
                let Ok(scoped) = scope(language, Shape::Query, query, &matcher) else {
                    continue;
                };
                seen += 1;
                let pieces = pieces(query, &scoped.text).unwrap();
                let whole: String = pieces.iter().map(|piece| &*piece.text).collect();
                assert_eq!(whole, scoped.text);
                // If there are several brackets in a row, nobody can tell which of them was
                // inserted.
                let found = pieces.iter().filter(|piece| piece.is_inserted);
                let found: Vec<&str> = found.map(|piece| &*piece.text).collect();
                let inserted = scoped.insertions.iter();
                let inserted: Vec<&str> = inserted.map(|at| &scoped.text[at.clone()]).collect();
                assert_eq!(found, inserted, "{whole}");
            }
        }
        assert!(seen > 500, "{seen}");
    }

    #[test]
    fn long_texts_are_not_compared() {
        let long = "a".repeat(3_000);
        let inserted = long.replace('a', "ab");
        assert_eq!(pieces(&long, &format!("b{inserted}")), None);
        let added = format!("{long}{{x}}{long}");
        assert_eq!(
            pieces(&long.repeat(2), &added).map(|pieces| pieces.len()),
            Some(3)
        );
    }
}
