//! The files, functions and types that the pages for contributors name must exist.
//!
//! A page names something in a paragraph that links the file in which it is defined. Each name
//! in back quotes is therefore looked for in the files that its own paragraph links, and
//! `name()` must be a function there. Queries that a page shows before and after scoping are
//! scoped here.

#![allow(clippy::panic, clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use scopegate::scoping::query::{Language, Matcher, Shape, scope};
use scopegate::scoping::scope::{Attributes, LabelName, LabelValue, Scope};

const PAGES: [&str; 2] = [
    "docs/how-a-request-travels.md",
    "docs/why-no-selector-is-missed.md",
];

/// Words in back quotes that are not names in this repository, but words of query languages,
/// configurations and protocols.
const FOREIGN: [&str; 23] = [
    "__",
    "__name__",
    "acme",
    "bool",
    "by",
    "canary",
    "corpus",
    "fill",
    "group_left",
    "group_right",
    "ignoring",
    "inf",
    "info()",
    "mutations",
    "name",
    "nan",
    "offset",
    "on",
    "query_refused",
    "scope_ambiguous",
    "scope_unsupported",
    "target_info",
    "without",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Whether a text contains that word, and not only as a part of a longer one.
fn has_word(text: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(part) && !after.is_some_and(part)
    })
}

/// What stands in back quotes.
fn spans(paragraph: &str) -> impl Iterator<Item = &str> {
    paragraph.split('`').skip(1).step_by(2)
}

/// The targets of links within the repository, without what follows `#`.
fn links(paragraph: &str) -> impl Iterator<Item = &str> {
    let targets = paragraph.split("](").skip(1);
    let targets = targets.filter_map(|rest| rest.split(')').next()?.split('#').next());
    targets.filter(|target| !target.is_empty() && !target.contains("://"))
}

/// The parts of a compound name, and whether it is a function. `None` if it is not a name.
fn name(span: &str) -> Option<(Vec<&str>, bool)> {
    let bare = span.strip_suffix("()");
    let names: Vec<&str> = bare.unwrap_or(span).split("::").collect();
    let is_name = |name: &&str| {
        let mut bytes = name.bytes();
        bytes
            .next()
            .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
            && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    names.iter().all(is_name).then_some((names, bare.is_some()))
}

/// The blocks of a page that are prose, and each row of its tables by itself.
fn paragraphs(page: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    let mut fenced = false;
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            if line.trim().is_empty() || line.starts_with('|') || line.starts_with("- ") {
                found.push(String::new());
            }
            let last = found.last_mut().unwrap();
            last.push_str(line);
            last.push('\n');
        }
    }
    found
}

/// The statements of a page that are false, and the number of names on it.
fn problems(page: &str, folder: &Path) -> (Vec<String>, usize) {
    let (mut problems, mut names_said) = (Vec::new(), 0);
    for paragraph in paragraphs(page) {
        let mut sources = String::new();
        for link in links(&paragraph) {
            let path: PathBuf = folder.join(link);
            match fs::read_to_string(&path) {
                Ok(text) => sources.push_str(&text),
                Err(error) => problems.push(format!("{link}: {error}")),
            }
        }
        for span in spans(&paragraph) {
            let in_repository = ["src/", "tests/", "integration/"];
            if in_repository.iter().any(|it| span.starts_with(it)) && !root().join(span).exists() {
                problems.push(format!("{span} is not there"));
            }
            let Some((names, function)) = name(span).filter(|_| !FOREIGN.contains(&span)) else {
                continue;
            };
            names_said += 1;
            let mut known = names.iter().all(|name| has_word(&sources, name));
            if let (true, Some(last)) = (function, names.last()) {
                known &= has_word(&sources, &format!("fn {last}"));
            }
            if !known {
                problems.push(format!("no file that is linked beside it has {span}"));
            }
        }
    }
    (problems, names_said)
}

#[test]
fn every_name_on_the_pages_for_contributors_stands_in_the_file_beside_it() {
    for name in PAGES {
        let page = fs::read_to_string(root().join(name)).unwrap();
        let (problems, names) = problems(&page, &root().join("docs"));
        assert!(problems.is_empty(), "{name}:\n{}", problems.join("\n"));
        assert!(names >= 20, "{name} says {names} names only");
    }
}

#[test]
fn a_name_that_moved_is_noticed() {
    let folder = root().join("docs");
    for (text, good) in [
        ("`Gate::decide()` in [it](../src/gate/mod.rs)", true),
        ("`Gate` in\n[it](../src/gate/mod.rs)", true),
        ("`mode: report`, `x-scope-orgid`, `bool`", true),
        ("```\n`nowhere()`\n```", true),
        ("`Gate::decides()` in [it](../src/gate/mod.rs)", false),
        ("`Gates` in [it](../src/gate/mod.rs)", false),
        // It is there, and no function.
        ("`Gate()` in [it](../src/gate/mod.rs)", false),
        ("`Gate::decide()`\n\n[elsewhere](../src/gate/mod.rs)", false),
        ("| `decide()` |\n| [elsewhere](../src/gate/mod.rs) |", false),
        ("[it](../src/gate/none.rs)", false),
        ("`src/gate/none.rs`", false),
    ] {
        let (problems, _) = problems(text, &folder);
        assert_eq!(problems.is_empty(), good, "{text}: {problems:?}");
    }
}

/// The rows of the tables of queries under a heading: what is sent, and what goes on.
fn examples(page: &str, heading: &str) -> Vec<(String, String)> {
    let section = page.split(heading).nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let table = section.split("| the caller sends | the backend gets |\n|---|---|\n");
    let rows = table
        .skip(1)
        .flat_map(|table| table.lines().take_while(|it| it.starts_with('|')));
    rows.map(|row| {
        let row = row.replace("\\|", "\u{1}");
        let mut cells = spans(&row).map(|cell| cell.replace('\u{1}', "|"));
        (cells.next().unwrap(), cells.next().unwrap())
    })
    .collect()
}

#[test]
fn the_queries_on_the_page_are_scoped_as_it_says() {
    let page = fs::read_to_string(root().join("docs/why-no-selector-is-missed.md")).unwrap();
    let web = Scope::single(
        LabelName::parse("namespace").unwrap(),
        LabelValue::parse("web").unwrap(),
    );
    for (heading, language, least) in [
        ("\n## PromQL\n", Language::PromQl, 5),
        ("\n## LogQL\n", Language::LogQl, 2),
        ("\n## TraceQL\n", Language::TraceQl, 3),
    ] {
        let matcher = Matcher::new(language, &web, &Attributes::default());
        let examples = examples(&page, heading);
        assert!(examples.len() >= least, "{language:?}");
        for (sent, expected) in examples {
            let scoped = scope(language, Shape::Query, &sent, &matcher).unwrap();
            assert_eq!(scoped.text, expected, "{sent}");
        }
    }
}
