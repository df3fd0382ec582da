//! `scopegate public-keys`: prints the public halves of signing keys.

use std::io;
use std::path::PathBuf;

use clap::Args;

use super::console::Console;
use super::outcome::Outcome;
use crate::serve::signing_key::{SigningKey, jwk_set};

#[derive(Debug, Args)]
#[command(after_help = "\
Prints on one line the JWK Set that organizations_from.signed_by takes, in YAML as in JSON. It has
nothing secret in it. A kid is the thumbprint of its key (RFC 7638), which serve-organizations writes
into what it signs.

To change the key: print the old and the new one, give both to the gates, then replace the file of
--signing-key, and at last print the new one alone. docs/organizations.md says more.

Exit status: 0 printed, 2 a file cannot be read or has no key that gates take.

Examples:
  openssl genpkey -algorithm ed25519 -out signing.pem
  scopegate public-keys signing.pem
  scopegate public-keys old.pem new.pem
  scopegate serve-organizations --signing-key signing.pem …")]
pub(super) struct Arguments {
    /// Private keys in PEM, as --signing-key takes them; `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Prints the public halves of the keys in the files, as one JWK Set.
pub(super) fn run(arguments: &Arguments, console: &mut Console<'_>) -> io::Result<Outcome> {
    let mut keys: Vec<SigningKey> = Vec::new();
    for file in &arguments.files {
        let content = console.read(file)?;
        let key = SigningKey::parse(&content)
            .map_err(|error| io::Error::other(format!("{}: {error}", file.display())))?;
        // The ID of a key is its thumbprint, so this leaves out a key that is given twice.
        if keys.iter().all(|known| known.key_id() != key.key_id()) {
            keys.push(key);
        }
    }
    writeln!(console.output, "{}", jwk_set(&keys))?;
    Ok(Outcome::Good)
}
