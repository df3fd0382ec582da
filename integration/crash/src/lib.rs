//! scopegate with one callback more, which ends the VM.

// All of its callbacks, as they are.
extern crate scopegate;

/// The module itself asks for no bodies, so this is called for nothing else.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_body(_context: u32, _size: usize, _end: u32) -> u32 {
    std::process::abort()
}
