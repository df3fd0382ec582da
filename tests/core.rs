//! The tests of the core, one module for each subject. They are one program, because each program takes ten seconds to
//! build.

mod common;
#[allow(dead_code)]
#[path = "common/host.rs"]
mod host;
#[path = "common/laws.rs"]
mod laws;
#[path = "common/model.rs"]
mod model;
#[path = "common/targets.rs"]
mod targets;

mod configuration;
mod corpora;
mod credentials;
mod fair_shares;
mod key_cache;
mod key_fetch;
mod key_lease;
mod key_rows;
mod openapi;
mod organizations_from;
mod properties;
mod queries;
mod records;
mod regression;
#[path = "model.rs"]
mod sequences;
mod streams;
mod succession;
mod token_cache;
mod token_rows;
mod vectors;
mod worker;
