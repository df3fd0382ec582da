//! The messages about files on standard error.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use super::merge::Merged;
use crate::cli::console::Format;
use crate::config::Problem;

/// A place in a file, as precisely as it is known.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub(super) struct Place {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<String>,
    /// The number of the document in its file, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) document: Option<usize>,
    /// The position in a list of resources, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) item: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) resource: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) field: Option<String>,
}

impl Place {
    pub(super) fn file(path: &Path) -> Self {
        Self {
            file: Some(path.display().to_string()),
            ..Self::default()
        }
    }
}

/// Formats a place as in `orgs.yaml, document 2, items[3], acme: spec.tenants: `.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words: Vec<String> = self.file.iter().map(|file| escaped(file)).collect();
        words.extend(self.document.map(|document| format!("document {document}")));
        words.extend(self.item.map(|item| format!("items[{item}]")));
        words.extend(self.resource.as_deref().map(escaped));
        if !words.is_empty() {
            write!(f, "{}: ", words.join(", "))?;
        }
        match &self.field {
            Some(field) => write!(f, "{}: ", escaped(field)),
            None => Ok(()),
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Error,
    Note,
}

#[derive(Clone, Debug, Serialize)]
struct Line {
    level: Level,
    #[serde(flatten)]
    place: Place,
    text: String,
}

/// All messages about the files.
#[derive(Debug, Default)]
pub(super) struct Report {
    lines: Vec<Line>,
}

impl Report {
    pub(super) fn error(&mut self, place: Place, text: impl Into<String>) {
        self.add(Level::Error, place, text.into());
    }

    pub(super) fn note(&mut self, place: Place, text: impl Into<String>) {
        self.add(Level::Note, place, text.into());
    }

    fn add(&mut self, level: Level, place: Place, text: String) {
        self.lines.push(Line { level, place, text });
    }

    /// Adds a problem that the reader of configurations found.
    pub(super) fn refused(&mut self, problem: &Problem) {
        let place = Place {
            field: Some(problem.place.clone()).filter(|place| !place.is_empty()),
            ..Place::default()
        };
        self.error(place, &problem.text);
    }

    /// Adds the messages about a merge, and returns the merged text.
    pub(super) fn merged(
        &mut self,
        path: &Path,
        merged: Result<Merged, Vec<Problem>>,
    ) -> Option<String> {
        match merged {
            Ok(merged) => {
                for name in merged.replaced {
                    let place = Place {
                        resource: Some(name),
                        ..Place::file(path)
                    };
                    self.note(place, "replaced by the resource of this name");
                }
                Some(merged.text)
            }
            Err(problems) => {
                for problem in problems {
                    let place = Place {
                        field: Some(problem.place).filter(|place| !place.is_empty()),
                        ..Place::file(path)
                    };
                    self.error(place, problem.text);
                }
                None
            }
        }
    }

    pub(super) fn is_good(&self) -> bool {
        self.lines.iter().all(|line| line.level == Level::Note)
    }

    /// Writes each message on a line of its own.
    pub(super) fn write(&self, format: Format, to: &mut dyn Write) -> io::Result<()> {
        for line in &self.lines {
            match format {
                Format::Text => {
                    let note = if line.level == Level::Note {
                        "note: "
                    } else {
                        ""
                    };
                    writeln!(to, "{note}{}{}", line.place, escaped(&line.text))?;
                }
                Format::Json => writeln!(to, "{}", serde_json::to_string(line)?)?,
            }
        }
        Ok(())
    }
}

/// The text with control characters escaped, so that a file cannot control the terminal.
fn escaped(text: &str) -> String {
    let letter = |letter: char| {
        if letter.is_control() {
            letter.escape_default().to_string()
        } else {
            letter.to_string()
        }
    };
    text.chars().map(letter).collect()
}
