//! The functions that a module uses of its host, read from its import and export sections.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Every function that the module imports or exports, except `denied`, which must be one of them.
pub(super) fn of_module_without(module: &Path, denied: &str) -> Result<Vec<String>> {
    let bytes = fs::read(module).with_context(|| format!("no module {}", module.display()))?;
    let mut functions = functions(&bytes).context("the module's sections")?;
    let all = functions.len();
    functions.retain(|function| function != denied);
    ensure!(functions.len() < all, "the module has no {denied}");
    Ok(functions)
}

/// <https://webassembly.github.io/spec/core/binary/modules.html>, sections 2 and 7.
fn functions(bytes: &[u8]) -> Option<Vec<String>> {
    let mut module = Reader(bytes.strip_prefix(b"\0asm\x01\0\0\0")?);
    let mut names = Vec::new();
    while let Some(id) = module.byte() {
        let size = module.number()?;
        let mut section = Reader(module.take(size)?);
        match id {
            IMPORTS => {
                for _ in 0..section.number()? {
                    section.name()?;
                    let name = section.name()?;
                    // Rust modules import only functions.
                    if section.byte()? != FUNCTION {
                        return None;
                    }
                    section.number()?;
                    names.push(name);
                }
            }
            EXPORTS => {
                for _ in 0..section.number()? {
                    let name = section.name()?;
                    let kind = section.byte()?;
                    section.number()?;
                    if kind == FUNCTION {
                        names.push(name);
                    }
                }
            }
            _ => {}
        }
    }
    Some(names)
}

struct Reader<'bytes>(&'bytes [u8]);

impl<'bytes> Reader<'bytes> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn take(&mut self, length: usize) -> Option<&'bytes [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number in LEB128, of at most 32 bits.
    fn number(&mut self) -> Option<usize> {
        let mut number = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            number |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn name(&mut self) -> Option<String> {
        let length = self.number()?;
        Some(String::from_utf8_lossy(self.take(length)?).into_owned())
    }
}

const IMPORTS: u8 = 2;
const EXPORTS: u8 = 7;
const FUNCTION: u8 = 0;
