//! The files that are printed: made, read again, written, and compared with those that are
//! there.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use serde::Deserialize as _;
use serde_yaml_ng::Value;
use similar::TextDiff;

/// A file that is printed.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct File {
    /// Relative to the folder.
    pub(super) path: &'static str,
    pub(super) text: String,
}

impl File {
    /// Its documents.
    ///
    /// # Errors
    /// It is not YAML: a fault of this program.
    pub(super) fn documents(&self) -> Result<Vec<Value>, serde_yaml_ng::Error> {
        serde_yaml_ng::Deserializer::from_str(&self.text)
            .map(Value::deserialize)
            .filter(|document| !matches!(document, Ok(Value::Null)))
            .collect()
    }

    /// Writes it below `folder`, through a file beside it: whoever reads it meanwhile has
    /// the old one or the new one, and nothing of both. What is as it should be is not
    /// touched, and what takes the place of a file may be read by those who could read that.
    /// Returns whether anything was written.
    ///
    /// # Errors
    /// It cannot be written; the error names it.
    pub(super) fn write(&self, folder: &Path) -> io::Result<bool> {
        let path = folder.join(self.path);
        let name = |error: io::Error| named(&path, &error);
        if fs::read(&path).is_ok_and(|there| there == self.text.as_bytes()) {
            return Ok(false);
        }
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent).map_err(name)?;
        // Beside the folder that it goes to, and not in it: Envoy looks when something is
        // moved into that.
        let beside = folder.join(format!(".{}.part", self.path.replace('/', "-")));
        let permissions = fs::metadata(&path).map(|there| there.permissions()).ok();
        let written =
            write(&beside, &self.text, permissions).and_then(|()| fs::rename(&beside, &path));
        if written.is_err() {
            // It may not even have come to be.
            let _ = fs::remove_file(&beside);
        }
        written.map_err(name)?;
        Ok(true)
    }

    /// How it differs from the file below `folder`, line by line; nothing if it does not.
    ///
    /// # Errors
    /// That file is there and cannot be read; the error names it.
    pub(super) fn difference(&self, folder: &Path) -> io::Result<Option<String>> {
        let path = folder.join(self.path);
        let there = match fs::read(&path) {
            Ok(there) => String::from_utf8_lossy(&there).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(named(&path, &error)),
        };
        if there == self.text {
            return Ok(None);
        }
        let mut text = String::new();
        let lines = TextDiff::from_lines(&there, &self.text);
        let shown = path.display().to_string();
        let _ = write!(
            text,
            "{}",
            lines
                .unified_diff()
                .context_radius(3)
                .header(&shown, &format!("{shown} (rendered)"))
        );
        Ok(Some(text))
    }
}

/// Writes a file with these permissions, which it has before anything stands in it.
fn write(path: &Path, text: &str, permissions: Option<fs::Permissions>) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    if let Some(permissions) = permissions {
        file.set_permissions(permissions)?;
    }
    file.write_all(text.as_bytes())
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
