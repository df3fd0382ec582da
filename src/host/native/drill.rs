//! Panics on purpose, in a build for drills alone.

/// Panics if this is the hook that the file named by `SCOPEGATE_PANIC_AT` holds.
#[cfg(feature = "panics")]
pub(super) fn panic_at(hook: &str) {
    let chosen = std::env::var_os("SCOPEGATE_PANIC_AT").and_then(|file| std::fs::read(file).ok());
    let here = chosen.is_some_and(|chosen| chosen.trim_ascii() == hook.as_bytes());
    assert!(!here, "on purpose, in {hook}");
}

/// Does nothing.
#[cfg(not(feature = "panics"))]
pub(super) const fn panic_at(_: &str) {}
