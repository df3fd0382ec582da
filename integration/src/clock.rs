//! The clocks of one process under test, which a test can step with `integration/clock`.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::Result;
use tempfile::NamedTempFile;

use crate::envoy::{self, EnvoySettings};

/// The handle, which must outlive the process that uses these clocks.
pub struct Clock {
    library: PathBuf,
    offsets: NamedTempFile,
    suspended: AtomicI64,
}

impl Clock {
    /// Creates clocks that are correct until they are stepped.
    pub fn new() -> Result<Clock> {
        let mut offsets = NamedTempFile::new()?;
        offsets.write_all(&[0; 16])?;
        Ok(Clock {
            library: envoy::tool("SCOPEGATE_CLOCK_LIBRARY", "clock.sh")?,
            offsets,
            suspended: AtomicI64::new(0),
        })
    }

    /// Makes an Envoy use these clocks.
    pub fn of(&self, settings: EnvoySettings) -> EnvoySettings {
        let (library, offsets) = (self.library.display(), self.offsets.path().display());
        settings
            .process_environment("LD_PRELOAD", &library.to_string())
            .process_environment("SCOPEGATE_CLOCK", &offsets.to_string())
    }

    /// Sets the wall clock this many seconds ahead of the true one, or behind it.
    pub fn set_wall(&self, seconds: i64) -> Result<()> {
        write(self.offsets.as_file(), seconds, 0)
    }

    /// Lets this many seconds pass on the monotonic clock, as after the machine was suspended.
    pub fn pass(&self, seconds: u32) -> Result<()> {
        let seconds = i64::from(seconds);
        let suspended = self.suspended.fetch_add(seconds, Ordering::Relaxed) + seconds;
        write(self.offsets.as_file(), suspended, 8)
    }
}

fn write(file: &File, seconds: i64, at: u64) -> Result<()> {
    Ok(file.write_all_at(&seconds.to_le_bytes(), at)?)
}
