//! What a command reads and writes.

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
    /// Where it is.
    pub url: &'a str,
    /// Headers of the request, beside those that every request has.
    pub headers: &'a [(String, Vec<u8>)],
    /// Longest time, in milliseconds.
    pub timeout: u64,
    /// Most bytes that are read of it.
    pub most: usize,
    /// The authorities, in PEM, that the server's certificate must be from; the system's if
    /// there are none.
    pub authorities: Option<&'a [u8]>,
}

/// A server's answer, whatever its status is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Fetched {
    /// Its status.
    pub status: u16,
    /// Its headers, names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Its body.
    pub body: Vec<u8>,
}

/// The way to servers.
pub trait Web {
    /// Asks for a document, and follows nothing that the answer points at.
    ///
    /// # Errors
    /// Why there is no answer, in words.
    fn get(&mut self, wanted: Wanted<'_>) -> Result<Fetched, String>;
}

/// No way to any server.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unconnected;

impl Web for Unconnected {
    fn get(&mut self, _: Wanted<'_>) -> Result<Fetched, String> {
        Err("there is no network here".to_owned())
    }
}

/// The files that a command is told to read.
pub trait Files {
    /// The content of a file.
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

/// What a command reads and writes.
pub struct Console<'a> {
    /// Standard input.
    pub input: &'a mut dyn Read,
    /// Where the files are that arguments name.
    pub files: &'a dyn Files,
    /// Standard output: results.
    pub output: &'a mut dyn Write,
    /// Standard error: what is said about results.
    pub errors: &'a mut dyn Write,
    /// Whether results may have colours.
    pub styled: bool,
    /// The environment.
    pub variables: BTreeMap<String, String>,
    /// The time, in nanoseconds since the Unix epoch.
    pub now: u64,
    /// The way to servers.
    pub web: &'a mut dyn Web,
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
