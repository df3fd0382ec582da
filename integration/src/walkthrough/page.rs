//! A page of the manual: what its blocks say has to be done, and what the result has to be.

use std::collections::VecDeque;
use std::fs;

use anyhow::{Context, Result, bail, ensure};

use crate::paths;

/// The page. It is read from its beginning to its end: each block is taken once, and none before its turn.
pub struct Page {
    /// Those with blocks that nobody has taken.
    sections: VecDeque<Section>,
}

struct Section {
    heading: String,
    blocks: VecDeque<Block>,
}

/// What stands between two fences.
struct Block {
    /// The word behind the first of them.
    kind: String,
    lines: Vec<String>,
}

/// A command and what it prints.
#[derive(Clone, Debug)]
pub struct Step {
    pub command: String,
    pub output: String,
}

impl Step {
    /// Whether it asks for nothing but what has been written and counted.
    #[must_use]
    pub fn only_looks(&self) -> bool {
        let places = [":9901/", ":9902/", "/healthz"];
        let asks = places.iter().any(|place| self.command.contains(place));
        let reads = self.command.starts_with("kubectl ") && self.command.contains(" logs ");
        asks || reads || self.command.starts_with("grep ")
    }

    /// Whether it gives Envoy another file, or the API another resource.
    #[must_use]
    pub fn changes(&self) -> bool {
        let renders = self.command.starts_with("scopegate render");
        let really = self.command.contains("kubectl ") && !self.command.contains("--dry-run");
        let asks = |word: &str| really && self.command.contains(word);
        renders || self.command.starts_with("mv ") || asks(" apply ") || asks(" delete ")
    }
}

impl Page {
    /// The page at that path in the repository.
    ///
    /// # Errors
    /// There is none, a block stands before the first heading below the title, or a block would be overlooked: it does
    /// not end, or does not begin at the beginning of a line.
    pub fn read(path: &str) -> Result<Page> {
        let text = fs::read_to_string(paths::repository().join(path)).context(path.to_owned())?;
        Page::parse(&text).with_context(|| format!("in {path}"))
    }

    fn parse(text: &str) -> Result<Page> {
        let mut sections: VecDeque<Section> = VecDeque::new();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if let Some(kind) = line.strip_prefix(FENCE) {
                let mut block = Vec::new();
                loop {
                    match lines.next() {
                        Some(FENCE) => break,
                        Some(line) => block.push(line.to_owned()),
                        None => bail!("a block of {kind} without an end"),
                    }
                }
                let section = sections.back_mut().context("a block before a heading")?;
                section.blocks.push_back(Block {
                    kind: kind.to_owned(),
                    lines: block,
                });
            } else if line.starts_with("##") {
                let heading = line.trim_start_matches(['#', ' ']).to_owned();
                let blocks = VecDeque::new();
                sections.push_back(Section { heading, blocks });
            } else {
                ensure!(!line.contains(FENCE) && !line.contains("~~~"), "{line}");
            }
        }
        sections.retain(|section| !section.blocks.is_empty());
        Ok(Page { sections })
    }

    /// The text of the next block, which must be one of that kind under that heading.
    pub fn block(&mut self, heading: &str, kind: &str) -> Result<String> {
        let found = self.next_heading().unwrap_or("its end").to_owned();
        ensure!(
            found == heading,
            "the page goes on with {found}, not {heading}"
        );
        let lines = self.next_of(kind);
        let lines = lines.with_context(|| format!("{heading} does not go on with {kind}"))?;
        Ok(format!("{}\n", lines.join("\n")))
    }

    /// All blocks of that kind that come next under that heading; at least one.
    pub fn blocks(&mut self, heading: &str, kind: &str) -> Result<Vec<String>> {
        let mut blocks = vec![self.block(heading, kind)?];
        while self.next_heading() == Some(heading) && self.next_kind() == Some(kind) {
            blocks.push(self.block(heading, kind)?);
        }
        Ok(blocks)
    }

    /// The commands that come next under that heading; at least one.
    pub fn steps(&mut self, heading: &str) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        for block in self.blocks(heading, "console")? {
            steps.extend(steps_of(&block)?);
        }
        Ok(steps)
    }

    /// Everything has been tried.
    pub fn end(&self) -> Result<()> {
        let left = self.sections.iter().map(|section| &section.heading);
        let left: Vec<&String> = left.collect();
        ensure!(left.is_empty(), "nobody has tried {left:?}");
        Ok(())
    }

    fn next_heading(&self) -> Option<&str> {
        Some(&self.sections.front()?.heading)
    }

    fn next_kind(&self) -> Option<&str> {
        Some(&self.sections.front()?.blocks.front()?.kind)
    }

    /// The lines of the next block, if it is of that kind.
    fn next_of(&mut self, kind: &str) -> Option<Vec<String>> {
        let section = self.sections.front_mut()?;
        if section.blocks.front()?.kind != kind {
            return None;
        }
        let block = section.blocks.pop_front()?;
        if section.blocks.is_empty() {
            self.sections.pop_front();
        }
        Some(block.lines)
    }
}

/// Commands begin with `$ `, and go on after a backslash and to the end of a here-document.
fn steps_of(block: &str) -> Result<Vec<Step>> {
    let mut steps: Vec<Step> = Vec::new();
    let mut lines = block.lines();
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

/// Whether `said` is what the page shows, where `…` stands for anything that is not empty, and on a line of its own for any lines.
#[must_use]
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
        match something(left).and_then(|left| left.split_once(piece)) {
            Some((_, after)) => left = after,
            None => return false,
        }
    }
    something(left).is_some_and(|left| left.ends_with(last))
}

/// What is left behind the one character that `…` stands for at least.
fn something(text: &str) -> Option<&str> {
    let mut letters = text.chars();
    letters.next()?;
    Some(letters.as_str())
}

/// How a reader's lines are told from the page's.
const FENCE: &str = "```";

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Page {
        let text = "# Title\n\n## One\n```yaml\na: 1\n```\n```console\n$ a \\\n  b\nsaid\n$ c\n```\n## None\n\n### Two\n```sh\nd\n```\n";
        Page::parse(text).unwrap()
    }

    #[test]
    fn a_page_is_taken_in_its_order_and_whole() {
        let mut page = page();
        assert!(page.steps("One").is_err());
        assert!(page.block("Two", "sh").is_err());
        assert_eq!(page.block("One", "yaml").unwrap(), "a: 1\n");
        let steps = page.steps("One").unwrap();
        let [first, second] = steps.as_slice() else {
            panic!("{steps:?}");
        };
        assert_eq!(
            (first.command.as_str(), first.output.as_str()),
            ("a \\\n  b", "said\n")
        );
        assert_eq!((second.command.as_str(), second.output.as_str()), ("c", ""));
        assert!(page.end().is_err());
        assert_eq!(page.blocks("Two", "sh").unwrap(), ["d\n"]);
        page.end().unwrap();
        assert!(page.block("Two", "sh").is_err());
    }

    #[test]
    fn what_changes_something_is_known() {
        let step = |command: &str| Step {
            command: command.to_owned(),
            output: String::new(),
        };
        for (command, changes, looks) in [
            ("kubectl apply -f a.yaml", true, false),
            ("sed 's/a/b/' a.yaml | kubectl apply -f -", true, false),
            ("kubectl -n a delete b c", true, false),
            ("kubectl apply --dry-run=server -f a.yaml", false, false),
            ("kubectl -n a logs -l b --tail=-1 | grep c", false, true),
            ("kubectl -n a get b", false, false),
            ("scopegate render istio a.yaml", true, false),
            ("curl http://127.0.0.1:9901/stats", false, true),
            ("curl https://a", false, false),
        ] {
            let step = step(command);
            assert_eq!(
                (step.changes(), step.only_looks()),
                (changes, looks),
                "{command}"
            );
        }
    }

    #[test]
    fn no_block_is_overlooked() {
        for text in [
            "```sh\na\n```\n",
            "## One\n```sh\na\n",
            "## One\n- two\n  ```sh\n  a\n  ```\n",
            "## One\n~~~\na\n~~~\n",
        ] {
            assert!(Page::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_ellipsis_stands_for_anything_and_nothing_else_does() {
        for (page, said) in [
            ("a\n", "a\n"),
            ("a…c…e\n", "abcde\n"),
            ("a\n…\nd\n", "a\nb\nc\nd\n"),
            ("a\n…\nd\n", "a\nd\n"),
        ] {
            assert!(shows(page, said), "{page}{said}");
        }
        for (page, said) in [
            ("a\n", "b\n"),
            ("a\n", "a\nb\n"),
            ("", "a\n"),
            ("a\n", ""),
            ("a…c\n", "abcd\n"),
            ("a…c\n", "ac\n"),
            ("a…\n", "a\n"),
            ("a…b…c\n", "a.bc\n"),
        ] {
            assert!(!shows(page, said), "{page}{said}");
        }
    }
}
