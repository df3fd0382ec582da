//! `docs/openapi.yaml` compared with its own standard, and the gate compared with `docs/openapi.yaml`.
//!
//! | module | asks |
//! |---|---|
//! | [`document`] | is it valid OpenAPI 3.1; does every example satisfy its schema |
//! | [`answers`] | does schemathesis get an answer, through Envoy from Loki and Mimir, that the document does not describe |
//! | [`scene`] | the servers that run for this |

mod answers;
mod document;
mod scene;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use integration::{part, paths};
use libtest_mimic::Arguments;

fn main() -> ExitCode {
    let tests = [document::tests(), answers::tests()];
    libtest_mimic::run(
        &Arguments::from_args(),
        tests.into_iter().flatten().collect(),
    )
    .exit_code()
}

/// The document.
fn document() -> PathBuf {
    paths::repository().join("docs/openapi.yaml")
}

/// A Python that has the validator and schemathesis; `OPENAPI_PYTHON` may name one.
fn python() -> Result<PathBuf> {
    Ok(part::OPENAPI_PYTHON.find()?)
}
