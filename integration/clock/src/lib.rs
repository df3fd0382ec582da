//! A `clock_gettime` whose clocks are off by the seconds in the file that `SCOPEGATE_CLOCK` names. The file holds two
//! signed 64-bit numbers, little-endian. The first is for the wall clock. The second is for the monotonic clock and
//! must never decrease; to the process, an increase looks as if the machine had been suspended.

use std::ptr;
use std::sync::atomic::{AtomicI64, AtomicPtr, Ordering};

/// The file in memory; null until it is first asked for.
static OFFSETS: AtomicPtr<Offsets> = AtomicPtr::new(ptr::null_mut());
static NONE: Offsets = Offsets {
    wall: AtomicI64::new(0),
    monotonic: AtomicI64::new(0),
};

#[repr(C)]
struct Offsets {
    wall: AtomicI64,
    monotonic: AtomicI64,
}

/// # Safety
/// As of libc's function of that name, which it takes the place of.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(
    clock: libc::clockid_t,
    time: *mut libc::timespec,
) -> libc::c_int {
    // SAFETY: the caller's own arguments, passed on.
    let result = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) };
    if result == 0 {
        let offset = match clock {
            libc::CLOCK_REALTIME => offsets().wall.load(Ordering::Relaxed),
            libc::CLOCK_MONOTONIC | libc::CLOCK_MONOTONIC_COARSE => {
                offsets().monotonic.load(Ordering::Relaxed)
            }
            _ => 0,
        };
        // SAFETY: the kernel has just written it.
        unsafe { (*time).tv_sec += offset };
    }
    if result == 0 { 0 } else { -1 }
}

fn offsets() -> &'static Offsets {
    let mut known = OFFSETS.load(Ordering::Acquire);
    if known.is_null() {
        known = map().unwrap_or(ptr::from_ref(&NONE).cast_mut());
        OFFSETS.store(known, Ordering::Release);
    }
    // SAFETY: the mapping is large enough, aligned, and never taken back.
    unsafe { &*known }
}

fn map() -> Option<*mut Offsets> {
    // SAFETY: plain calls into libc; every result is looked at.
    unsafe {
        let name = libc::getenv(c"SCOPEGATE_CLOCK".as_ptr());
        if name.is_null() {
            return None;
        }
        let file = libc::open(name, libc::O_RDONLY);
        if file < 0 {
            return None;
        }
        let mapped = libc::mmap(
            ptr::null_mut(),
            size_of::<Offsets>(),
            libc::PROT_READ,
            libc::MAP_SHARED,
            file,
            0,
        );
        libc::close(file);
        (mapped != libc::MAP_FAILED).then_some(mapped.cast())
    }
}
