//! Imports and exports of the proxy-wasm ABI 0.2.1
//! (<https://github.com/proxy-wasm/spec/tree/main/abi-versions/v0.2.1>).
//!
//! All unsafe code of the crate is here. On targets other than wasm, stubs that answer
//! `Unimplemented` replace the imports, so that the host is built, linted and documented
//! natively together with everything else.
#![allow(unsafe_code)]

use std::alloc::Layout;

/// The status of a host call that failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Status(u32);

impl Status {
    pub(super) const NOT_FOUND: Self = Self(1);
    pub(super) const CAS_MISMATCH: Self = Self(8);

    pub(super) const fn code(self) -> u32 {
        self.0
    }
}

/// Declares host functions for wasm, and stubs of them for other targets.
macro_rules! imports {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $kind:ty),* $(,)?);)*) => {
        #[cfg(target_arch = "wasm32")]
        mod import {
            #[link(wasm_import_module = "env")]
            unsafe extern "C" {
                $($(#[$doc])* pub(super) fn $name($($arg: $kind),*) -> u32;)*
            }
        }
        #[cfg(not(target_arch = "wasm32"))]
        #[allow(clippy::too_many_arguments)]
        mod import {
            $($(#[$doc])* pub(super) unsafe fn $name($(_: $kind),*) -> u32 {
                12 // Unimplemented
            })*
        }
    };
}

imports! {
    fn proxy_log(level: u32, message: *const u8, size: usize);
    fn proxy_set_tick_period_milliseconds(period: u32);
    fn proxy_get_current_time_nanoseconds(time: *mut u64);
    fn proxy_get_header_map_pairs(map: u32, pairs: *mut *mut u8, size: *mut usize);
    fn proxy_get_header_map_value(
        map: u32, key: *const u8, key_size: usize, value: *mut *mut u8, value_size: *mut usize,
    );
    fn proxy_add_header_map_value(
        map: u32, key: *const u8, key_size: usize, value: *const u8, value_size: usize,
    );
    fn proxy_replace_header_map_value(
        map: u32, key: *const u8, key_size: usize, value: *const u8, value_size: usize,
    );
    fn proxy_remove_header_map_value(map: u32, key: *const u8, key_size: usize);
    fn proxy_set_header_map_pairs(map: u32, pairs: *const u8, size: usize);
    fn proxy_get_property(
        path: *const u8, path_size: usize, value: *mut *mut u8, value_size: *mut usize,
    );
    fn proxy_set_property(
        path: *const u8, path_size: usize, value: *const u8, value_size: usize,
    );
    fn proxy_send_local_response(
        status: u32, details: *const u8, details_size: usize, body: *const u8, body_size: usize,
        headers: *const u8, headers_size: usize, grpc_status: i32,
    );
    fn proxy_continue_stream(stream: u32);
    fn proxy_set_effective_context(context: u32);
    fn proxy_http_call(
        cluster: *const u8, cluster_size: usize, headers: *const u8, headers_size: usize,
        body: *const u8, body_size: usize, trailers: *const u8, trailers_size: usize,
        timeout: u32, token: *mut u32,
    );
    fn proxy_get_buffer_bytes(
        buffer: u32, start: usize, max: usize, bytes: *mut *mut u8, size: *mut usize,
    );
    fn proxy_set_buffer_bytes(
        buffer: u32, start: usize, length: usize, bytes: *const u8, size: usize,
    );
    fn proxy_define_metric(kind: u32, name: *const u8, name_size: usize, id: *mut u32);
    fn proxy_increment_metric(id: u32, by: i64);
    fn proxy_record_metric(id: u32, value: u64);
    fn proxy_get_shared_data(
        key: *const u8, key_size: usize, value: *mut *mut u8, value_size: *mut usize,
        swap: *mut u32,
    );
    fn proxy_set_shared_data(
        key: *const u8, key_size: usize, value: *const u8, value_size: usize, swap: u32,
    );
    fn proxy_call_foreign_function(
        name: *const u8, name_size: usize, argument: *const u8, argument_size: usize,
        result: *mut *mut u8, result_size: *mut usize,
    );
}

const fn check(code: u32) -> Result<(), Status> {
    match code {
        0 => Ok(()),
        code => Err(Status(code)),
    }
}

/// Runs a call that returns a buffer allocated by [`allocate`].
fn returned(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Result<Box<[u8]>, Status> {
    let mut bytes = std::ptr::null_mut();
    let mut size = 0;
    let status = check(call(&raw mut bytes, &raw mut size));
    if bytes.is_null() || size == 0 {
        return status.map(|()| Box::default());
    }
    // SAFETY: the host got `bytes` from `allocate(size)`, which hands out a block of
    // exactly `size` bytes with alignment 1 from the global allocator, wrote all of
    // it, and does not keep it.
    let owned = unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(bytes, size)) };
    status.map(|()| owned)
}

/// Allocates a block in which the host returns a value. The result is null if there is no
/// memory.
fn allocate(size: usize) -> *mut u8 {
    match Layout::array::<u8>(size) {
        // SAFETY: the layout is not of size zero.
        Ok(layout) if size > 0 => unsafe { std::alloc::alloc(layout) },
        _ => std::ptr::null_mut(),
    }
}

/// A slice in the form that the ABI takes.
const fn raw(bytes: &[u8]) -> (*const u8, usize) {
    (bytes.as_ptr(), bytes.len())
}

// SAFETY of every call below: pointers and sizes come from live slices or from locals that
// outlive the call; the host copies and keeps none of them.

pub(super) fn log(level: u32, message: &[u8]) -> Result<(), Status> {
    check(unsafe { import::proxy_log(level, message.as_ptr(), message.len()) })
}

pub(super) fn set_tick_period(millis: u32) -> Result<(), Status> {
    check(unsafe { import::proxy_set_tick_period_milliseconds(millis) })
}

pub(super) fn current_time_nanos() -> Result<u64, Status> {
    let mut time = 0;
    check(unsafe { import::proxy_get_current_time_nanoseconds(&raw mut time) })?;
    Ok(time)
}

pub(super) fn header_pairs(map: u32) -> Result<Box<[u8]>, Status> {
    returned(|pairs, size| unsafe { import::proxy_get_header_map_pairs(map, pairs, size) })
}

pub(super) fn header(map: u32, name: &[u8]) -> Result<Box<[u8]>, Status> {
    returned(|value, size| unsafe {
        import::proxy_get_header_map_value(map, name.as_ptr(), name.len(), value, size)
    })
}

pub(super) fn add_header(map: u32, name: &[u8], value: &[u8]) -> Result<(), Status> {
    let ((name, name_size), (value, size)) = (raw(name), raw(value));
    check(unsafe { import::proxy_add_header_map_value(map, name, name_size, value, size) })
}

pub(super) fn replace_header(map: u32, name: &[u8], value: &[u8]) -> Result<(), Status> {
    let ((name, name_size), (value, size)) = (raw(name), raw(value));
    check(unsafe { import::proxy_replace_header_map_value(map, name, name_size, value, size) })
}

pub(super) fn remove_header(map: u32, name: &[u8]) -> Result<(), Status> {
    check(unsafe { import::proxy_remove_header_map_value(map, name.as_ptr(), name.len()) })
}

/// Replaces a whole header map with another one.
pub(super) fn set_header_pairs(map: u32, pairs: &[u8]) -> Result<(), Status> {
    check(unsafe { import::proxy_set_header_map_pairs(map, pairs.as_ptr(), pairs.len()) })
}

pub(super) fn property(path: &[u8]) -> Result<Box<[u8]>, Status> {
    returned(|value, size| unsafe {
        import::proxy_get_property(path.as_ptr(), path.len(), value, size)
    })
}

pub(super) fn set_property(path: &[u8], value: &[u8]) -> Result<(), Status> {
    let ((path, path_size), (value, size)) = (raw(path), raw(value));
    check(unsafe { import::proxy_set_property(path, path_size, value, size) })
}

pub(super) fn send_local_response(
    status: u32,
    details: &[u8],
    body: &[u8],
    headers: &[u8],
    grpc_status: i32,
) -> Result<(), Status> {
    check(unsafe {
        import::proxy_send_local_response(
            status,
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            grpc_status,
        )
    })
}

pub(super) fn continue_stream(stream: u32) -> Result<(), Status> {
    check(unsafe { import::proxy_continue_stream(stream) })
}

pub(super) fn set_effective_context(context: u32) -> Result<(), Status> {
    check(unsafe { import::proxy_set_effective_context(context) })
}

pub(super) fn http_call(cluster: &[u8], headers: &[u8], timeout: u32) -> Result<u32, Status> {
    let mut token = 0;
    // No trailers: an empty pair list is four zero bytes.
    let none = [0_u8; 4];
    check(unsafe {
        import::proxy_http_call(
            cluster.as_ptr(),
            cluster.len(),
            headers.as_ptr(),
            headers.len(),
            none.as_ptr(),
            0,
            none.as_ptr(),
            none.len(),
            timeout,
            &raw mut token,
        )
    })?;
    Ok(token)
}

pub(super) fn buffer(buffer: u32, max: usize) -> Result<Box<[u8]>, Status> {
    returned(|bytes, size| unsafe { import::proxy_get_buffer_bytes(buffer, 0, max, bytes, size) })
}

/// Replaces the first `length` bytes of a buffer.
pub(super) fn set_buffer(buffer: u32, length: usize, bytes: &[u8]) -> Result<(), Status> {
    check(unsafe { import::proxy_set_buffer_bytes(buffer, 0, length, bytes.as_ptr(), bytes.len()) })
}

pub(super) fn define_metric(kind: u32, name: &[u8]) -> Result<u32, Status> {
    let mut id = 0;
    check(unsafe { import::proxy_define_metric(kind, name.as_ptr(), name.len(), &raw mut id) })?;
    Ok(id)
}

pub(super) fn increment_metric(id: u32, by: i64) -> Result<(), Status> {
    check(unsafe { import::proxy_increment_metric(id, by) })
}

pub(super) fn record_metric(id: u32, value: u64) -> Result<(), Status> {
    check(unsafe { import::proxy_record_metric(id, value) })
}

pub(super) fn call_foreign_function(name: &[u8], argument: &[u8]) -> Result<Box<[u8]>, Status> {
    let ((name, name_size), (argument, argument_size)) = (raw(name), raw(argument));
    returned(|result, size| unsafe {
        import::proxy_call_foreign_function(name, name_size, argument, argument_size, result, size)
    })
}

/// A value that all VMs with the same `vm_id` share, and the number with which to swap it.
pub(super) fn shared_data(key: &[u8]) -> Result<(Box<[u8]>, u32), Status> {
    let mut swap = 0;
    let value = returned(|value, size| unsafe {
        import::proxy_get_shared_data(key.as_ptr(), key.len(), value, size, &raw mut swap)
    })?;
    Ok((value, swap))
}

/// Writes a shared value, provided that it is still the one with that number. With 0 it writes
/// in any case.
pub(super) fn set_shared_data(key: &[u8], value: &[u8], swap: u32) -> Result<(), Status> {
    check(unsafe {
        import::proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), swap)
    })
}

/// The host's monotonic clock, in nanoseconds since a zero that all VMs of the process share.
#[cfg(target_arch = "wasm32")]
pub(super) fn monotonic_nanos() -> Option<u64> {
    #[link(wasm_import_module = "wasi_snapshot_preview1")]
    unsafe extern "C" {
        fn clock_time_get(clock: u32, precision: u64, time: *mut u64) -> u32;
    }
    const MONOTONIC: u32 = 1;
    let mut time = 0;
    // A host that restricts what modules may call returns an error here.
    let code = unsafe { clock_time_get(MONOTONIC, 1, &raw mut time) };
    (code == 0).then_some(time)
}

#[cfg(not(target_arch = "wasm32"))]
pub(super) fn monotonic_nanos() -> Option<u64> {
    None
}

/// The callbacks of the proxy. Each one costs a crossing into the module whether it does
/// anything or not, so only those that are used are defined.
mod export {
    use super::super::dispatch;

    #[cfg(target_arch = "wasm32")]
    unsafe extern "C" {
        fn __wasm_call_ctors();
    }

    #[unsafe(no_mangle)]
    extern "C" fn proxy_abi_version_0_2_1() {}

    #[cfg(target_arch = "wasm32")]
    #[unsafe(no_mangle)]
    extern "C" fn _initialize() {
        // SAFETY: the linker's constructor list, called once, before anything else.
        unsafe { __wasm_call_ctors() }
    }

    macro_rules! exports {
        ($(fn $name:ident($($arg:ident: $kind:ty),* $(,)?) $(-> $result:ty)? $body:block)*) => {
            $(#[unsafe(no_mangle)] extern "C" fn $name($($arg: $kind),*) $(-> $result)? $body)*
        };
    }

    exports! {
        fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
            super::allocate(size)
        }
        fn proxy_on_context_create(context: u32, parent: u32) {
            dispatch::on_context_create(context, parent);
        }
        fn proxy_on_configure(context: u32, size: usize) -> u32 {
            u32::from(dispatch::on_configure(context, size))
        }
        fn proxy_on_tick(context: u32) {
            dispatch::on_tick(context);
        }
        fn proxy_on_http_call_response(
            context: u32, token: u32, headers: usize, body_size: usize, _trailers: usize,
        ) {
            dispatch::on_http_call_response(context, token, headers, body_size);
        }
        fn proxy_on_request_headers(context: u32, _headers: usize, end: u32) -> u32 {
            dispatch::on_request_headers(context, end != 0)
        }
        fn proxy_on_request_body(context: u32, size: usize, end: u32) -> u32 {
            dispatch::on_request_body(context, size, end != 0)
        }
        fn proxy_on_request_trailers(context: u32, _trailers: usize) -> u32 {
            dispatch::on_request_trailers(context)
        }
        fn proxy_on_response_headers(context: u32, headers: usize, end: u32) -> u32 {
            dispatch::on_response_headers(context, headers, end != 0)
        }
        fn proxy_on_delete(context: u32) {
            dispatch::on_delete(context);
        }
    }
}
