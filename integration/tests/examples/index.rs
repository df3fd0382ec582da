//! What the index promises: the file `README.md` beside the examples.

use std::fs;

use anyhow::Result;

use integration::examples::example;

/// The whole page.
pub struct Index {
    /// What is to be replaced in every file.
    pub replaced: Vec<String>,
    pub sections: Vec<Section>,
}

/// What it says of one file.
#[derive(Default)]
pub struct Section {
    pub name: String,
    pub replaced: Vec<String>,
    /// Requests, and what is answered.
    pub answers: Vec<(String, String)>,
    /// Where its links lead.
    pub next: Vec<String>,
}

pub fn read() -> Result<Index> {
    let text = fs::read_to_string(example::folder().join("README.md"))?;
    let mut parts = text.split("\n## `");
    let (replaced, _) = tables(parts.next().unwrap_or_default());
    let mut sections = Vec::new();
    for part in parts {
        let (heading, body) = part.split_once('\n').unwrap_or_default();
        let (name, _) = heading.split_once(".yaml`").unwrap_or_default();
        if name == example::REQUESTS {
            continue;
        }
        let (replaced, answers) = tables(body);
        let links = body.split("](").skip(1);
        sections.push(Section {
            name: name.to_owned(),
            replaced,
            answers,
            next: links
                .filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()))
                .collect(),
        });
    }
    Ok(Index { replaced, sections })
}

/// The values in the first column of tables of what to replace, and the rows of those of requests.
fn tables(text: &str) -> (Vec<String>, Vec<(String, String)>) {
    let (mut replaced, mut answers) = (Vec::new(), Vec::new());
    let mut heading: Option<[&str; 2]> = None;
    for line in text.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, first, second, _] = cells[..] else {
            heading = None;
            continue;
        };
        match heading {
            None => heading = Some([first, second]),
            Some(_) if first.starts_with("---") => {}
            Some(["replace", _]) => {
                replaced.extend(first.split('`').skip(1).step_by(2).map(str::to_owned));
            }
            Some([_, "answer"]) => answers.push((first.to_owned(), second.to_owned())),
            Some(_) => {}
        }
    }
    (replaced, answers)
}
