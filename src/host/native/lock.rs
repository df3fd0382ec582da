//! Locks whose data are whole at any time, also after a panic.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks it.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
