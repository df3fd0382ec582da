//! `docs/first-steps.md` as a script: what its blocks say has to be done, and what the result has to be.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, bail, ensure};
use integration::paths;

/// The page.
pub struct Page {
    /// The deployment file that it begins with.
    pub deployment: String,
    /// How Envoy is started on it.
    pub start: String,
    /// What is typed under each heading, in the order of the page.
    headings: Vec<(String, Vec<Step>)>,
}

/// A command and what it prints.
#[derive(Clone, Debug)]
pub struct Step {
    pub command: String,
    pub output: String,
}

impl Step {
    /// Whether it asks for nothing but what has been written and counted.
    pub fn only_looks(&self) -> bool {
        let places = [":9902/", "/healthz"];
        let asks = places.iter().any(|place| self.command.contains(place));
        asks || self.command.starts_with("grep ")
    }

    /// Whether it gives Envoy another file.
    pub fn changes(&self) -> bool {
        let renders = self.command.starts_with("scopegate render");
        renders || self.command.starts_with("mv ")
    }
}

impl Page {
    pub fn read() -> Result<Page> {
        let text = fs::read_to_string(paths::repository().join("docs/first-steps.md"))?;
        let mut blocks: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let mut headings: Vec<(String, Vec<Step>)> = Vec::new();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if let Some(kind) = line.strip_prefix("```") {
                let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
                if kind == "console" {
                    let (_, steps) = headings.last_mut().context("a block before a heading")?;
                    steps.extend(steps_of(&block)?);
                } else {
                    let block = format!("{}\n", block.join("\n"));
                    blocks.entry(kind).or_default().push(block);
                }
            } else if line.starts_with("##") {
                let heading = line.trim_start_matches(['#', ' ']);
                headings.push((heading.to_owned(), Vec::new()));
            }
        }
        headings.retain(|(_, steps)| !steps.is_empty());
        let mut only = |kind: &str| match blocks.remove(kind).as_deref() {
            Some([block]) => Ok(block.clone()),
            other => bail!("not one block of {kind}: {other:?}"),
        };
        Ok(Page {
            deployment: only("yaml")?,
            start: only("sh")?,
            headings,
        })
    }

    /// The steps under that heading, which must be the next one that has any.
    pub fn next(&mut self, heading: &str) -> Result<Vec<Step>> {
        ensure!(!self.headings.is_empty(), "the page ends before {heading}");
        let (found, steps) = self.headings.remove(0);
        ensure!(found == heading, "the page goes on with {found}");
        Ok(steps)
    }

    /// Everything has been tried.
    pub fn end(&self) -> Result<()> {
        let left: Vec<&String> = self.headings.iter().map(|(heading, _)| heading).collect();
        ensure!(left.is_empty(), "nobody has tried {left:?}");
        Ok(())
    }
}

/// Commands begin with `$ `, and go on after a backslash and to the end of a here-document.
fn steps_of(block: &[&str]) -> Result<Vec<Step>> {
    let mut steps: Vec<Step> = Vec::new();
    let mut lines = block.iter();
    while let Some(line) = lines.next() {
        if let Some(command) = line.strip_prefix("$ ") {
            let mut command = command.to_owned();
            let document = command.contains("<<'END'");
            while command.ends_with('\\') || (document && !command.ends_with("\nEND")) {
                let more = lines.next().context("a command without an end")?;
                command = format!("{command}\n{more}");
            }
            let output = String::new();
            steps.push(Step { command, output });
        } else {
            let step = steps.last_mut().context("output before a command")?;
            step.output.push_str(line);
            step.output.push('\n');
        }
    }
    Ok(steps)
}

/// Whether `said` is what the page shows, where `…` stands for anything, on a line of its own for any lines.
pub fn shows(page: &str, said: &str) -> bool {
    let page: Vec<&str> = page.lines().collect();
    let said: Vec<&str> = said.lines().collect();
    lines_show(&page, &said)
}

fn lines_show(page: &[&str], said: &[&str]) -> bool {
    match page {
        [] => said.is_empty(),
        ["…", rest @ ..] => (0..=said.len()).any(|skipped| lines_show(rest, &said[skipped..])),
        [line, rest @ ..] => said
            .split_first()
            .is_some_and(|(first, others)| line_shows(line, first) && lines_show(rest, others)),
    }
}

fn line_shows(page: &str, said: &str) -> bool {
    let Some((before, rest)) = page.split_once('…') else {
        return page == said;
    };
    let Some(mut left) = said.strip_prefix(before) else {
        return false;
    };
    let mut pieces: Vec<&str> = rest.split('…').collect();
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        match left.split_once(piece) {
            Some((_, after)) => left = after,
            None => return false,
        }
    }
    left.ends_with(last)
}
