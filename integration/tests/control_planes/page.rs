//! The page of the manual that says what was run: its table is written by a run, `SCOPEGATE_WRITE=1 make
//! test-control-planes`, and every other run sees that it lists the cases that there are. A second table is that of
//! `HOST=native`.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use integration::{envoy, paths};

use crate::product::Kind;

/// As a test, behind all cases.
pub const NAME: &str = "the_page_lists_every_case";

const START: &str = "<!-- table of cases: generated -->\n";
const START_OF_NATIVE: &str = "<!-- table of cases with the native module: generated -->\n";
const END: &str = "<!-- end of the table -->\n";
const PAGE: &str = "docs/control-planes.md";

/// Where a run leaves the table for whoever has started it: what it writes to the checkout is thrown away.
pub const FILE: &str = "SCOPEGATE_TABLE";

/// What stands before the table of this run.
fn start() -> &'static str {
    if envoy::native().is_some() {
        START_OF_NATIVE
    } else {
        START
    }
}

/// Put a table into the page, if there is one.
pub fn write(table: &Path) -> Result<()> {
    let table = fs::read_to_string(table)?;
    if table.is_empty() {
        return Ok(());
    }
    let path = paths::repository().join(PAGE);
    let page = fs::read_to_string(&path).context(PAGE)?;
    let start = start();
    let (before, rest) = page.split_once(start).context("no table")?;
    let (_, after) = rest.split_once(END).context("no end of the table")?;
    fs::write(&path, [before, start, &table, END, after].concat())?;
    Ok(())
}

/// What came of the cases that were run.
#[derive(Default)]
pub struct Seen {
    rows: Vec<&'static str>,
    cells: BTreeMap<(&'static str, &'static str), (bool, Vec<String>)>,
}

impl Seen {
    pub fn note(&mut self, kind: Kind, case: &'static str, good: bool, facts: Vec<String>) {
        if !self.rows.contains(&case) {
            self.rows.push(case);
        }
        self.cells.insert((case, kind.name()), (good, facts));
    }

    fn is_whole(&self) -> bool {
        let kinds = Kind::ALL.into_iter();
        let cases: usize = kinds.map(|kind| super::running(kind).count()).sum();
        self.cells.len() == cases && self.cells.values().all(|(good, _)| *good)
    }

    fn table(&self) -> String {
        let (head, kinds): (_, &[Kind]) = if envoy::native().is_some() {
            (
                "| case | Envoy Gateway |\n|---|---|\n",
                &[Kind::EnvoyGateway],
            )
        } else {
            (
                "| case | Istio | Envoy Gateway |\n|---|---|---|\n",
                &Kind::ALL,
            )
        };
        let mut text = head.to_owned();
        for case in &self.rows {
            let cells = kinds.iter().map(|kind| self.cell(case, *kind));
            let cells = cells.collect::<Vec<_>>().join(" | ");
            let _ = writeln!(text, "| {} | {cells} |", sentence(case));
        }
        text
    }

    fn cell(&self, case: &'static str, kind: Kind) -> String {
        match self.cells.get(&(case, kind.name())) {
            None => "–".to_owned(),
            Some((_, facts)) if facts.is_empty() => "yes".to_owned(),
            Some((_, facts)) => format!("yes: {}", facts.join("; ")),
        }
    }
}

/// What a name cannot spell.
const SPELLED: [(&str, &str); 8] = [
    ("gates ", "gate's "),
    ("grpc", "gRPC"),
    (" api", " API"),
    ("edge", "EDGE"),
    ("helm", "Helm"),
    ("what render ", "what `scopegate render` "),
    ("forms paths", "forms, paths"),
    ("pod security", "Pod Security"),
];

/// What a case is called, as a sentence.
fn sentence(case: &str) -> String {
    let mut text = case.replace('_', " ");
    for (word, written) in SPELLED {
        text = text.replace(word, written);
    }
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

/// Hand the table out, if that is wanted and everything was run, or see that the page has these rows.
pub fn show(seen: &Seen) -> Result<()> {
    if let Some(file) = env::var_os(FILE).filter(|_| seen.is_whole()) {
        fs::write(file, seen.table())?;
        return Ok(());
    }
    let mut cases: Vec<&str> = Vec::new();
    for kind in Kind::ALL {
        for (case, _) in super::cases_of(kind) {
            if !cases.contains(case) {
                cases.push(case);
            }
        }
    }
    lists(START, &cases)?;
    let natively = super::cases_of(Kind::EnvoyGateway).map(|(case, _)| *case);
    let natively: Vec<&str> = natively
        .filter(|case| super::native::is_for_both(case))
        .collect();
    lists(START_OF_NATIVE, &natively)
}

/// See that a table of the page has these rows.
fn lists(start: &str, cases: &[&str]) -> Result<()> {
    let page = fs::read_to_string(paths::repository().join(PAGE)).context(PAGE)?;
    let (_, rest) = page.split_once(start).context("no table")?;
    let (table, _) = rest.split_once(END).context("no end of the table")?;
    let listed: Vec<&str> = table
        .lines()
        .skip(2)
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next())
        .collect();
    let expected: Vec<String> = cases.iter().map(|case| sentence(case)).collect();
    ensure!(
        listed.len() == expected.len()
            && expected.iter().all(|case| listed.contains(&case.as_str())),
        "{PAGE} lists other cases: run SCOPEGATE_WRITE=1 make test-control-planes, and the same with HOST=native"
    );
    Ok(())
}
