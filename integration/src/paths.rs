//! Where things lie in the repository, independent of the directory a test is started from.

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
