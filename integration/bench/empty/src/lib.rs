//! A proxy-wasm module that lets every request through. What it costs is what it costs Envoy to have a module at all.
//!
//! It uses the bare ABI 0.2.1 without an SDK: only the callbacks without which Envoy refuses a module, and the one in
//! which a gate would have to decide.

const CONTINUE: u32 = 0;

/// Tells the host which ABI this is; never called.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_abi_version_0_2_1() {}

/// Linked as a reactor: the host calls this once, before anything else.
#[unsafe(no_mangle)]
pub extern "C" fn _initialize() {}

/// The host's way to hand over values; asked for, never used here.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
    let mut bytes = Vec::<u8>::with_capacity(size);
    let start = bytes.as_mut_ptr();
    std::mem::forget(bytes);
    start
}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_context_create(_context: u32, _parent: u32) {}

#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_request_headers(_context: u32, _headers: u32, _end: u32) -> u32 {
    CONTINUE
}
