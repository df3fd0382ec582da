//! scopegate with one additional callback, which ends the VM.

// All of its callbacks, as they are.
extern crate scopegate;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_get_header_map_value(
        map: u32,
        key: *const u8,
        key_size: usize,
        value: *mut *mut u8,
        value_size: *mut usize,
    ) -> u32;
}

const REQUEST_HEADERS: u32 = 0;

/// Asks for the crash.
const NAME: &[u8] = b"x-crash";

/// The module itself asks for no bodies of responses, so this is called for nothing
/// else.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_body(_context: u32, _size: usize, _end: u32) -> u32 {
    end_if_asked();
    0
}

/// Nor for the end of a stream, which an answer without a body has too.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_log(_context: u32) {
    end_if_asked();
}

fn end_if_asked() {
    let mut value = std::ptr::null_mut();
    let mut size = 0;
    // SAFETY: live pointers of the sizes given; what the host returns is leaked.
    let status = unsafe {
        proxy_get_header_map_value(
            REQUEST_HEADERS,
            NAME.as_ptr(),
            NAME.len(),
            &raw mut value,
            &raw mut size,
        )
    };
    if status == 0 && size > 0 {
        std::process::abort()
    }
}
