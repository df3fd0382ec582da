//! `scopegate install-module`: puts the native module where Envoy finds it.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use super::console::Console;
use super::outcome::Outcome;

/// What the file is called, in the image and where Envoy looks for it.
const NAME: &str = "libscopegate.so";

#[derive(Debug, Args)]
#[command(after_help = "\
For the init container of Envoy Gateway's proxy: the image of the native module holds nothing but the
module and this command. docs/native.md says more.

The file gets its name when it is complete, so that an Envoy that starts meanwhile never loads half
of it. One that is there already is replaced.

Exit status: 0 installed, 2 a file cannot be read or written, or it is not a module.

Example:
  scopegate install-module /opt/scopegate")]
pub(super) struct Arguments {
    /// The folder that gets the file, as libscopegate.so. It must exist.
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,

    /// The file of the module.
    #[arg(long, value_name = "FILE", default_value = "/libscopegate.so")]
    from: PathBuf,
}

/// Copies the module into the folder.
pub(super) fn run(arguments: &Arguments, console: &mut Console<'_>) -> io::Result<Outcome> {
    let module = console.read(&arguments.from)?;
    if !module.starts_with(b"\x7fELF") {
        let from = arguments.from.display();
        let text =
            format!("{from}: expected a shared object for Linux, as `make native` builds it");
        return Err(io::Error::other(text));
    }
    let place = arguments.folder.join(NAME);
    put(&place, &module)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", place.display())))?;
    writeln!(
        console.output,
        "{}: {} bytes",
        place.display(),
        module.len()
    )?;
    Ok(Outcome::Good)
}

/// Writes a file whose name nobody sees before all of it is there.
fn put(place: &Path, content: &[u8]) -> io::Result<()> {
    let mut part = OsString::from(place);
    part.push(".part");
    fs::write(&part, content)?;
    fs::rename(&part, place)
}
