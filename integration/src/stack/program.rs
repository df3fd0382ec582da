//! Where the programs of the stack come from: named by a variable, else built or fetched by
//! `integration/tools/part.sh`, which keeps them outside the checkout.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};

use crate::paths;

/// The program that `variable` names, else `file` in the folder of that part.
///
/// The part may be built on the way, which takes minutes and tells its progress on standard error.
///
/// # Errors
/// A tool that the build needs is missing; the script has said what to install.
pub fn find(variable: &str, part: &str, file: &str) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(variable).filter(|path| !path.is_empty()) {
        return Ok(PathBuf::from(path));
    }
    Ok(folder_of(part)?.join(file))
}

/// A program named by `variable` or found on PATH.
pub fn on_path(variable: &str, file: &str) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(variable).filter(|path| !path.is_empty()) {
        return Some(PathBuf::from(path));
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(file))
        .find(|path| path.is_file())
}

fn folder_of(part: &str) -> Result<PathBuf> {
    static FOUND: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(folder) = found.get(part) {
        return Ok(folder.clone());
    }
    let script = paths::integration().join("tools/part.sh");
    let output = Command::new(&script)
        .arg(part)
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {}", script.display()))?;
    ensure!(output.status.success(), "no {part}: see above");
    let folder = PathBuf::from(String::from_utf8(output.stdout)?.trim());
    found.insert(part.to_owned(), folder.clone());
    Ok(folder)
}
