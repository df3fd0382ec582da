//! Which build this is.

/// The version of this crate, as the log, the metrics and the command tell it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit, if the build was told it by the variable `SCOPEGATE_COMMIT`.
pub const COMMIT: Option<&str> = option_env!("SCOPEGATE_COMMIT");
