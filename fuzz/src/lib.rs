//! What the fuzzers share with the tests of the gate.

#[path = "../../tests/common/mod.rs"]
mod common;
#[allow(dead_code)]
#[path = "../../tests/common/host.rs"]
mod host;
#[allow(dead_code)]
#[path = "../../tests/common/laws.rs"]
mod laws;
#[allow(dead_code)]
#[path = "../../tests/common/model.rs"]
mod model;
#[allow(dead_code)]
#[path = "../../tests/common/targets.rs"]
mod targets;

pub use targets::put;
