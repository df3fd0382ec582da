//! The input and the output of a command.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

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

/// A document that a command wants from a server.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The URL of the document.
    pub url: &'a str,
    /// Headers to send besides those that every request has.
    pub headers: &'a [(String, Vec<u8>)],
    /// How long to wait for the answer, in milliseconds.
    pub timeout: u64,
    /// The most bytes that are read of the body.
    pub most: usize,
    /// The authorities that may have issued the server's certificate, in PEM; those of the system
    /// if `None`.
    pub authorities: Option<&'a [u8]>,
}

/// The answer of a server, with any status.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Fetched {
    /// The status.
    pub status: u16,
    /// The headers, with names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
}

/// Access to servers.
pub trait Web {
    /// Fetches a document. Redirects are not followed.
    ///
    /// # Errors
    /// A message that says why there is no answer.
    fn get(&mut self, wanted: Wanted<'_>) -> Result<Fetched, String>;
}

/// No access to any server.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unconnected;

impl Web for Unconnected {
    fn get(&mut self, _: Wanted<'_>) -> Result<Fetched, String> {
        Err("there is no network here".to_owned())
    }
}

/// The files that a command can read.
pub trait Files {
    /// Reads a file.
    ///
    /// # Errors
    /// There is no such file, or it cannot be read.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
}

/// The files of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }
}

/// Files that are held in memory.
impl Files for BTreeMap<PathBuf, Vec<u8>> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let found = self.get(path).cloned();
        found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

/// Everything that a command reads and writes.
pub struct Console<'a> {
    /// Standard input.
    pub input: &'a mut dyn Read,
    /// The files that the arguments can name.
    pub files: &'a dyn Files,
    /// Standard output, for results.
    pub output: &'a mut dyn Write,
    /// Standard error, for messages about results.
    pub errors: &'a mut dyn Write,
    /// Whether the output may have colours.
    pub styled: bool,
    /// The environment variables, by name.
    pub variables: BTreeMap<String, String>,
    /// The time, in nanoseconds since the Unix epoch.
    pub now: u64,
    /// Access to servers.
    pub web: &'a mut dyn Web,
}

impl Console<'_> {
    /// Reads a file, or standard input if the path is `-`.
    ///
    /// # Errors
    /// The file cannot be read; the error names it.
    pub fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        let read = if path == Path::new("-") {
            self.input.read_to_end(&mut content).map(|_| ())
        } else {
            self.files.read(path).map(|bytes| content = bytes)
        };
        match read {
            Ok(()) => Ok(content),
            Err(error) => Err(io::Error::new(
                error.kind(),
                format!("{}: {error}", path.display()),
            )),
        }
    }

    /// Says why a command could not do its work, and returns how it ended. A closed output is no
    /// failure, because whoever reads it may have seen enough, as `head` does.
    pub(super) fn give_up(&mut self, error: &io::Error) -> Outcome {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Outcome::Good;
        }
        // If this fails too, there is nobody left to tell.
        let _ = writeln!(self.errors, "scopegate: {error}");
        Outcome::WrongUse
    }
}
