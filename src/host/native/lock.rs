//! Locks whose data are whole at any time, also after a panic.

use std::sync::PoisonError;

#[cfg(test)]
pub(super) use ordered::{Mutex, MutexGuard};
#[cfg(not(test))]
pub(super) use std::sync::{Mutex, MutexGuard};

/// Locks it.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The standard library's lock, for tests under ThreadSanitizer, which does not see what happens
/// inside of that library: the order that the lock gives is repeated where it does.
#[cfg(test)]
mod ordered {
    use std::ops::{Deref, DerefMut};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{self, LockResult, PoisonError};

    #[derive(Debug, Default)]
    pub(in super::super) struct Mutex<T> {
        order: AtomicBool,
        inner: sync::Mutex<T>,
    }

    #[derive(Debug)]
    pub(in super::super) struct MutexGuard<'a, T> {
        order: &'a AtomicBool,
        inner: sync::MutexGuard<'a, T>,
    }

    impl<T> Mutex<T> {
        pub(in super::super) const fn new(value: T) -> Self {
            Self {
                order: AtomicBool::new(false),
                inner: sync::Mutex::new(value),
            }
        }

        pub(in super::super) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
            let inner = self.inner.lock();
            self.order.load(Ordering::Acquire);
            let guard = |inner| MutexGuard {
                order: &self.order,
                inner,
            };
            inner
                .map(guard)
                .map_err(|poisoned| PoisonError::new(guard(poisoned.into_inner())))
        }

        pub(in super::super) fn clear_poison(&self) {
            self.inner.clear_poison();
        }
    }

    impl<T> Drop for MutexGuard<'_, T> {
        fn drop(&mut self) {
            self.order.store(true, Ordering::Release);
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            &self.inner
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            &mut self.inner
        }
    }
}
