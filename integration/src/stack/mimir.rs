//! A real Mimir in one process, with `integration/stack/mimir/mimir.yaml`.

use anyhow::Result;

use super::backend::{Backend, Ports};
use crate::part;

/// Starts Mimir. `MIMIR` may name the program.
pub async fn start() -> Result<Backend> {
    Backend::start("mimir", Ports::free()?, || Ok(part::MIMIR.find()?)).await
}
