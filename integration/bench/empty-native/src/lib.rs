//! A dynamic module that lets every request through. What it costs is what it costs Envoy to have such a module at all.
//!
//! It exports every hook that Envoy 1.40 wants of an HTTP filter, and calls nothing. It needs no library, not even the
//! standard one.
#![no_std]
#![allow(unsafe_code)]

use core::ffi::{c_char, c_void};
use core::ptr::without_provenance_mut;

type Pointer = *mut c_void;

/// Bytes of Envoy's.
#[repr(C)]
pub struct Bytes(*const u8, usize);

const CONTINUE: u32 = 0;

/// What stands for a configuration and for a stream, of which Envoy wants a pointer that is not null.
const SOMETHING: usize = 1;

macro_rules! hooks {
    ($(fn $name:ident($($kind:ty),*) $(-> $result:ty = $value:expr)?;)*) => {
        $(
            #[unsafe(export_name = concat!("envoy_dynamic_module_on_", stringify!($name)))]
            extern "C" fn $name($(_: $kind),*) $(-> $result)? { $($value)? }
        )*
    };
}

hooks! {
    fn program_init() -> *const c_char = c"v0.2.0".as_ptr();
    fn http_filter_config_new(Pointer, Bytes, Bytes) -> Pointer = without_provenance_mut(SOMETHING);
    fn http_filter_config_destroy(Pointer);
    fn http_filter_new(Pointer, Pointer) -> Pointer = without_provenance_mut(SOMETHING);
    fn http_filter_destroy(Pointer);
    fn http_filter_request_headers(Pointer, Pointer, bool) -> u32 = CONTINUE;
    fn http_filter_request_body(Pointer, Pointer, bool) -> u32 = CONTINUE;
    fn http_filter_request_trailers(Pointer, Pointer) -> u32 = CONTINUE;
    fn http_filter_response_headers(Pointer, Pointer, bool) -> u32 = CONTINUE;
    fn http_filter_response_body(Pointer, Pointer, bool) -> u32 = CONTINUE;
    fn http_filter_response_trailers(Pointer, Pointer) -> u32 = CONTINUE;
    fn http_filter_stream_complete(Pointer, Pointer);
    fn http_filter_scheduled(Pointer, Pointer, u64);
    fn http_filter_http_callout_done(Pointer, Pointer, u64, u32, Pointer, usize, Pointer, usize);
    fn http_filter_http_stream_headers(Pointer, Pointer, u64, Pointer, usize, bool);
    fn http_filter_http_stream_data(Pointer, Pointer, u64, Pointer, usize, bool);
    fn http_filter_http_stream_trailers(Pointer, Pointer, u64, Pointer, usize);
    fn http_filter_http_stream_complete(Pointer, Pointer, u64);
    fn http_filter_http_stream_reset(Pointer, Pointer, u64, u32);
    fn http_filter_downstream_above_write_buffer_high_watermark(Pointer, Pointer);
    fn http_filter_downstream_below_write_buffer_low_watermark(Pointer, Pointer);
}

/// Nothing here can panic.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
