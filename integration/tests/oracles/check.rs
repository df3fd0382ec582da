//! Whether every selector that an oracle finds is scoped.

use scopegate::scoping::query::{Language, Scoped};

use crate::oracle::{Answer, Selector};
use crate::scopes::Case;

/// Taking the insertions out must leave the original.
pub fn original(scoped: &Scoped, text: &str) -> Result<(), String> {
    let mut left = String::with_capacity(text.len());
    let mut done = 0;
    for insertion in &scoped.insertions {
        left.push_str(
            scoped
                .text
                .get(done..insertion.start)
                .ok_or("insertions overlap or split a character")?,
        );
        done = insertion.end;
    }
    left.push_str(scoped.text.get(done..).ok_or("an insertion past the end")?);
    if left == text {
        Ok(())
    } else {
        Err(format!("without the insertions {left:?} is left"))
    }
}

/// What is wrong with what an oracle found in a scoped text; nothing when it refuses the text.
pub fn selectors(
    language: Language,
    case: &Case,
    counted: usize,
    answer: &Answer,
) -> Result<(), String> {
    if let Some(fault) = &answer.fault {
        return Err(fault.clone());
    }
    let Some(found) = &answer.selectors else {
        return Ok(());
    };
    for selector in found {
        if !is_scoped(language, case, selector) {
            return Err(format!("unscoped: {selector:?}"));
        }
    }
    if found.len() > counted {
        return Err(format!(
            "{} selectors, of which the gate knows {counted}",
            found.len()
        ));
    }
    // A printer might leave one out.
    if answer.printed && found.len() < counted {
        return Err(format!(
            "{} selectors printed of {counted} that the gate knows",
            found.len()
        ));
    }
    // A pipeline without a filter reads all spans.
    if language == Language::TraceQl && found.is_empty() {
        return Err("no filter".to_owned());
    }
    Ok(())
}

fn is_scoped(language: Language, case: &Case, selector: &Selector) -> bool {
    match selector {
        Selector::Matchers(found) => case.matchers.iter().all(|&(name, op, value)| {
            found
                .iter()
                .any(|has| has.name == name && has.op == op && has.value == value)
        }),
        Selector::Text(text) => match language {
            Language::LogQl => begins_with_matcher(text, case.labels),
            Language::PromQl => begins_with_matcher(after_metric(text), case.labels),
            Language::TraceQl => filter_is_scoped(text, case.attributes),
        },
    }
}

fn begins_with_matcher(text: &str, matcher: &str) -> bool {
    text.strip_prefix('{')
        .and_then(|rest| rest.strip_prefix(matcher))
        .is_some_and(|rest| after_trivia(rest).starts_with([',', '}']))
}

/// What follows a metric's name and what may stand between it and its braces.
fn after_metric(text: &str) -> &str {
    let name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let rest = text.trim_start_matches(name);
    if rest.len() == text.len() {
        return text;
    }
    after_trivia(rest)
}

/// What follows spaces and comments.
fn after_trivia(text: &str) -> &str {
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let Some(comment) = rest.strip_prefix('#') else {
            return rest;
        };
        let end = comment.find(['\n', '\r']).unwrap_or(comment.len());
        rest = comment.get(end..).unwrap_or("");
    }
}

/// `{ M }` or `{ M && ( … ) }` whose parenthesis ends where the filter does.
fn filter_is_scoped(text: &str, matcher: &str) -> bool {
    let Some(rest) = text
        .strip_prefix("{ ")
        .and_then(|rest| rest.strip_prefix(matcher))
    else {
        return false;
    };
    if rest.trim() == "}" {
        return true;
    }
    let Some(rest) = rest.strip_prefix(" && (") else {
        return false;
    };
    let mut depth = 1_usize;
    let mut characters = rest.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '(' => depth = depth.saturating_add(1),
            ')' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return rest.get(at..).is_some_and(|end| {
                        end.strip_prefix(')').is_some_and(|end| end.trim() == "}")
                    });
                }
            }
            '`' => {
                let _ = characters.by_ref().find(|(_, raw)| *raw == '`');
            }
            '"' => {
                while let Some((_, quoted)) = characters.next() {
                    match quoted {
                        '"' => break,
                        '\\' => {
                            let _ = characters.next();
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    false
}
