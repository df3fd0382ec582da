//! Organizations from files that are read at intervals, because neither a mount that is swapped
//! by a symlink nor a network file system reports every change.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use tokio::task::block_in_place;
use tokio::time::{Duration, sleep};

use super::catalog::{Catalog, Change};
use super::counters::Counters;
use super::options::Options;
use super::shelf::{Placed, Shelf};
use crate::resources::document::Mark;
use crate::resources::grafana::{self, GROUP, KIND, Kind};
use crate::resources::manifests;

/// How long to wait before reading again files that have changed while they were being read.
const SETTLE: Duration = Duration::from_millis(20);

/// The content of the files at one moment.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Look {
    files: Vec<(PathBuf, Vec<u8>)>,
    revision: Option<Vec<u8>>,
}

/// Why the files do not give a list.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Trouble {
    /// A document cannot be read, so it is not known what the rest of the file was to say.
    Document(PathBuf, manifests::Unreadable),
    /// There is not a single organization. This is also what a folder looks like that is not
    /// mounted.
    Nothing,
    /// A file cannot be read.
    Read(PathBuf, String),
    /// The revision cannot be read.
    Revision,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Document(path, why) => {
                let (document, text) = (why.document, &why.text);
                write!(f, "{}, document {document}: {text}", path.display())
            }
            Self::Nothing => write!(f, "there is no {KIND} of {GROUP} in the files"),
            Self::Read(path, why) => write!(f, "{}: {why}", path.display()),
            Self::Revision => f.write_str("the revision is no whole number below 2^53"),
        }
    }
}

/// Follows the files until the program ends.
pub async fn follow(
    paths: Vec<PathBuf>,
    revision: Option<PathBuf>,
    options: Arc<Options>,
    shelf: Arc<Shelf>,
    counters: Arc<Counters>,
) {
    let mut follower = Follower {
        options,
        shelf,
        counters,
        catalog: Catalog::default(),
        taken: None,
        last: 0,
        refused: false,
        trouble: None,
        passed_over: BTreeMap::new(),
    };
    loop {
        if let Err(trouble) = follower.turn(&paths, revision.as_deref()).await {
            follower.hold(&trouble);
        }
        sleep(follower.options.poll).await;
    }
}

struct Follower {
    options: Arc<Options>,
    shelf: Arc<Shelf>,
    counters: Arc<Counters>,
    catalog: Catalog,
    /// The content that the document was made from.
    taken: Option<Look>,
    /// The highest revision that the clock has given.
    last: u64,
    /// Whether the content of the files could not be served.
    refused: bool,
    /// The trouble that has been logged already.
    trouble: Option<String>,
    /// The files that hold documents of other kinds, with their number, as they were logged.
    passed_over: BTreeMap<PathBuf, usize>,
}

impl Follower {
    async fn turn(&mut self, paths: &[PathBuf], revision: Option<&Path>) -> Result<(), Trouble> {
        let look = block_in_place(|| read_all(paths, revision))?;
        if self.taken.as_ref() == Some(&look) {
            self.healthy();
            return Ok(());
        }
        // One part of the files may have been read before a swap, and the other part after it.
        sleep(SETTLE).await;
        if block_in_place(|| read_all(paths, revision))? != look {
            return Ok(());
        }
        let revision = match &look.revision {
            Some(content) => Some(parse_revision(content).ok_or(Trouble::Revision)?),
            None => None,
        };
        let changes = self.changes(&look)?;
        let (rules, log) = (&self.options.rules, self.options.log);
        let latest = self.catalog.apply(changes, rules, log, &self.counters);
        self.taken = Some(look);
        match revision {
            Some(revision) => self.put(revision),
            // The clock counts changes to what is served, not to comments.
            None if latest.is_none() && self.shelf.document().is_some() => {}
            None => {
                let now = self.clock();
                self.put(now);
            }
        }
        self.healthy();
        Ok(())
    }

    /// The changes that the files bring, including the organizations that are gone.
    fn changes(&mut self, look: &Look) -> Result<Vec<(u64, String, Change)>, Trouble> {
        let log = self.options.log;
        let mut listed: BTreeSet<String> = BTreeSet::new();
        let mut changes = Vec::new();
        let mut passed_over: BTreeMap<PathBuf, usize> = BTreeMap::new();
        for (path, content) in &look.files {
            let (manifests, unreadable) = manifests::read(content);
            if let Some(unreadable) = unreadable {
                return Err(Trouble::Document(path.clone(), unreadable));
            }
            for manifest in manifests {
                let name = grafana::name(&manifest.value)
                    .unwrap_or_default()
                    .to_owned();
                let file = path.display();
                match grafana::kind(&manifest.value) {
                    Kind::Organization(_) if listed.contains(&name) => {
                        log.warn(
                            "resource dropped",
                            &[
                                ("file", &file),
                                ("name", &name),
                                ("problems", &"the name is taken"),
                            ],
                        );
                    }
                    Kind::Organization(version) => {
                        listed.insert(name.clone());
                        changes.push((0, name, Change::of(manifest.value, version)));
                    }
                    Kind::OtherVersion => {
                        log.warn(
                            "resource dropped",
                            &[
                                ("file", &file),
                                ("name", &name),
                                ("problems", &"unknown version"),
                            ],
                        );
                    }
                    Kind::Other => {
                        let count = passed_over.entry(path.clone()).or_default();
                        *count = count.saturating_add(1);
                    }
                }
            }
        }
        self.tell_of(passed_over);
        if listed.is_empty() {
            return Err(Trouble::Nothing);
        }
        let listed = listed.iter().map(String::as_str).collect();
        let missing = self.catalog.missing(&listed);
        changes.extend(missing.into_iter().map(|name| (0, name, Change::Remove)));
        Ok(changes)
    }

    /// Logs for each file how many of its documents are of another kind, unless that was logged
    /// already.
    fn tell_of(&mut self, passed_over: BTreeMap<PathBuf, usize>) {
        for (path, count) in &passed_over {
            if self.passed_over.get(path) != Some(count) {
                self.options.log.warn(
                    "documents passed over",
                    &[
                        ("file", &path.display()),
                        ("documents", count),
                        ("why", &format!("they are no {KIND} of {GROUP}")),
                    ],
                );
            }
        }
        self.passed_over = passed_over;
    }

    fn put(&mut self, revision: u64) {
        let log = self.options.log;
        let Some(mark) = Mark::new(self.options.epoch, revision) else {
            return;
        };
        let organizations = self.catalog.organizations();
        let count = self.catalog.len();
        match self.shelf.put(mark, &organizations, count) {
            Ok(Placed::New) => {
                log.info("published", &[("mark", &mark), ("organizations", &count)]);
                self.refused = false;
            }
            Ok(Placed::Same) => self.refused = false,
            Err(refused) => {
                Counters::count(&self.counters.refused_documents);
                self.refused = true;
                log.error("document refused", &[("why", &refused)]);
            }
        }
    }

    fn healthy(&mut self) {
        self.counters.contact();
        if self.trouble.take().is_some() {
            self.options.log.info("files are readable again", &[]);
        }
        // What was refused remains refused until the files change.
        self.counters.held.store(self.refused, Ordering::Relaxed);
    }

    /// Keeps what is served, and logs each trouble once.
    fn hold(&mut self, trouble: &Trouble) {
        Counters::count(&self.counters.source_errors);
        self.counters.held.store(true, Ordering::Relaxed);
        let why = trouble.to_string();
        if self.trouble.as_ref() != Some(&why) {
            self.options.log.error(
                "files cannot be used: the last list is held",
                &[("why", &why)],
            );
            self.trouble = Some(why);
        }
    }

    /// The time in milliseconds since 1970. It is always later than any time returned before.
    fn clock(&mut self) -> u64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = since.map_or(0, |since| since.as_millis());
        let now = u64::try_from(now).unwrap_or(0);
        self.last = now.max(self.last.saturating_add(1));
        self.last
    }
}

/// Reads all files, in the order of their paths.
fn read_all(paths: &[PathBuf], revision: Option<&Path>) -> Result<Look, Trouble> {
    let mut files: BTreeSet<PathBuf> = BTreeSet::new();
    for path in paths {
        if path.is_dir() {
            files.extend(inside(path)?);
        } else {
            files.insert(path.clone());
        }
    }
    let read = |path: &Path| {
        std::fs::read(path).map_err(|error| Trouble::Read(path.to_owned(), error.to_string()))
    };
    Ok(Look {
        files: files
            .into_iter()
            .map(|path| read(&path).map(|content| (path, content)))
            .collect::<Result<_, _>>()?,
        revision: revision.map(read).transpose()?,
    })
}

/// The files of a folder that may hold resources. In a mounted ConfigMap, names that begin with
/// a dot belong to its implementation.
fn inside(folder: &Path) -> Result<Vec<PathBuf>, Trouble> {
    let trouble = |error: std::io::Error| Trouble::Read(folder.to_owned(), error.to_string());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(trouble)? {
        let path = entry.map_err(trouble)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let ending = path.extension().and_then(|ending| ending.to_str());
        let known = matches!(ending, Some("yaml" | "yml" | "json"));
        if known && !name.starts_with('.') && path.is_file() {
            files.push(path);
        }
    }
    Ok(files)
}

/// The revision that a file holds.
///
/// # Errors
/// The file, and why it holds none.
pub fn revision_in(path: &Path) -> Result<u64, String> {
    let name = path.display();
    let content = std::fs::read(path).map_err(|error| format!("{name}: {error}"))?;
    parse_revision(&content).ok_or_else(|| format!("{name}: {}", Trouble::Revision))
}

fn parse_revision(content: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(content).ok()?.trim();
    let revision = text.parse().ok()?;
    Mark::new(0, revision).map(Mark::revision)
}
