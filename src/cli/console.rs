//! What a command reads and writes.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::Path;

use super::outcome::Outcome;

/// In which form a command prints what it found.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON document.
    Json,
}

/// What a command reads and writes.
pub struct Console<'a> {
    /// Standard input.
    pub input: &'a mut dyn Read,
    /// Standard output: results.
    pub output: &'a mut dyn Write,
    /// Standard error: what is said about results.
    pub errors: &'a mut dyn Write,
    /// Whether results may have colours.
    pub styled: bool,
    /// The environment.
    pub variables: BTreeMap<String, String>,
}

impl Console<'_> {
    /// The content of a file, or of standard input for `-`.
    ///
    /// # Errors
    /// The error names the file.
    pub fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        let read = if path == Path::new("-") {
            self.input.read_to_end(&mut content).map(|_| ())
        } else {
            std::fs::read(path).map(|bytes| content = bytes)
        };
        match read {
            Ok(()) => Ok(content),
            Err(error) => Err(io::Error::new(
                error.kind(),
                format!("{}: {error}", path.display()),
            )),
        }
    }

    /// Says why a command could not do its work. Whoever reads the output may have closed
    /// it, as `head` does: that is no failure.
    pub(super) fn give_up(&mut self, error: &io::Error) -> Outcome {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Outcome::Good;
        }
        // Nobody is left to tell if this fails too.
        let _ = writeln!(self.errors, "scopegate: {error}");
        Outcome::WrongUse
    }
}
