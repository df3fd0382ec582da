//! Converts GrafanaOrganization resources to organizations of a configuration.
//!
//! This code is pure: it turns bytes and values into organizations. The result has been read by
//! the same reader as a configuration, so it loads wherever its roles are known.
//!
//! ```text
//!  file ─▶ manifests ─▶ grafana ─▶ organization ─▶ proof ─▶ yaml: a section of a configuration
//!  API ──────────────────▲                          └─────▶ document: what is served
//! ```

pub mod document;
pub mod grafana;
pub mod manifests;
pub mod organization;
pub mod proof;
pub mod rules;
pub mod yaml;
