#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    scopegate_fuzz::put("path", bytes);
});
