//! A configuration summed up in one line.

use std::fmt;

use super::{Config, Mode};
use crate::authz::endpoint::Backend;

/// The line that a gate logs when it has loaded a configuration, and that `scopegate check`
/// prints for a good one:
/// `2 providers, 12 organizations, 14 tenants, backends loki mimir, mode enforce, sha256 0123456789ab`.
#[derive(Clone, Copy, Debug)]
pub struct Summary<'a>(&'a Config);

impl Config {
    /// Sums up the configuration in one line.
    #[must_use]
    pub const fn summary(&self) -> Summary<'_> {
        Summary(self)
    }
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(config) = self;
        let policy = &config.policy;
        let providers = config.providers.len();
        write!(f, "{providers} provider{}, ", Plural(providers))?;
        let organizations = policy.organization_count();
        write!(f, "{organizations} organization{}, ", Plural(organizations))?;
        let tenants = policy.tenants();
        write!(f, "{tenants} tenant{}", Plural(tenants))?;
        if config.organizations_from.is_some() {
            f.write_str(" and those from outside")?;
        }
        let backends = Backend::ALL.into_iter();
        let mut backends = backends
            .filter(|backend| config.backends.has(*backend))
            .peekable();
        f.write_str(", backends")?;
        if backends.peek().is_none() {
            f.write_str(" none")?;
        }
        backends.try_for_each(|backend| write!(f, " {}", backend.name()))?;
        let mode = match config.mode {
            Mode::Enforce => "enforce",
            Mode::Report => "report",
        };
        write!(f, ", mode {mode}, sha256 {}", config.fingerprint)
    }
}

/// Writes an `s` unless the number is one.
struct Plural(usize);

impl fmt::Display for Plural {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0 == 1 { "" } else { "s" })
    }
}
