//! The tools with which scopegate is tested: everything around the module, and nothing of the module itself.
//!
//! | module | gives |
//! |---|---|
//! | [`keys`], [`token`] | test keys, and tokens by recipe: valid ones and hostile ones |
//! | [`issuer`] | an OpenID provider that misbehaves on demand |
//! | [`identity`] | ten real providers as data: what they publish, and tokens in their shapes |
//! | [`directory`] | a directory of projects that misbehaves on demand |
//! | [`upstream`] | backends that record what reached them |
//! | [`envoy`], [`prometheus`] | the real servers, each gone when its handle is dropped |
//! | [`client`], [`grpc`] | requests, byte for byte where that matters |
//! | [`examples`] | the files from which users start, and requests that show what they promise |
//! | [`scenario`], [`replay`] | the scenario table and its run through a real Envoy |
//! | [`clock`] | clocks for a process under test that a test steps |
//! | [`command`] | the command `scopegate`, as a program for a shell and as a function |
//! | [`walkthrough`] | a page of the manual as a script, and the shell that types it |
//! | [`served`] | `scopegate serve-organizations` as a process |
//! | [`authority`], [`terminator`] | certificates for one run, and TLS in front of a server that has none |
//! | [`stack`] | the real backends, provider and agents, as processes on this machine |
//! | [`rate_limits`] | the shipped limits, put into a bootstrap |
//! | [`drill`] | what the tests of a gate under stress share |
//! | [`firehose`], [`pace`] | a server and readers that fill every window, and timed calls beside them |
//! | [`part`], [`trial`] | the parts that are built or fetched for the tests, and tests that are skipped without them |
//!
//! Everything listens on loopback, on a free port, and belongs to the handle that started it.
//!
//! No two modules depend on each other, even indirectly: `tests/layers` of the core fails on a cycle.

#![expect(
    clippy::missing_errors_doc,
    reason = "an error here ends a test, which prints all of it"
)]

pub mod adapter;
pub mod authority;
pub mod bytes;
pub mod client;
pub mod clock;
pub mod command;
pub mod directory;
pub mod drill;
pub mod envoy;
pub mod examples;
pub mod firehose;
pub mod form;
pub mod grpc;
pub mod identity;
pub mod issuer;
pub mod keys;
pub mod kubernetes;
pub mod load;
pub mod loki_push;
pub mod organizations;
pub mod otlp;
pub mod pace;
pub mod part;
pub mod paths;
pub mod process;
pub mod prometheus;
pub mod rate_limits;
pub mod remote_write;
pub mod replay;
pub mod scenario;
pub mod scene;
pub mod served;
pub mod server;
pub mod stack;
pub mod terminator;
pub mod token;
pub mod trial;
pub mod upstream;
pub mod walkthrough;
pub mod yaml;
