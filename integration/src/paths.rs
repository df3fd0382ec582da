//! Paths in the repository, independent of the directory in which a test is started.

use std::path::{Path, PathBuf};

/// The top of the repository.
pub fn repository() -> PathBuf {
    integration()
        .parent()
        .map_or_else(|| PathBuf::from(".."), Path::to_path_buf)
}

/// The folder of this crate.
#[must_use]
pub fn integration() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
