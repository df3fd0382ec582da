//! `application/x-www-form-urlencoded` and what it is made of, by the crates of rust-url.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// The fields of a form; of a repeated name the last value.
#[must_use]
pub fn parse(text: &str) -> BTreeMap<String, String> {
    form_urlencoded::parse(text.as_bytes())
        .into_owned()
        .collect()
}

/// One name or value of a form, decoded; what is no escape stays as it is.
#[must_use]
pub fn decode(text: &str) -> String {
    decode_path(&text.replace('+', " "))
}

/// A piece of a path, decoded: a plus is a plus there.
#[must_use]
pub fn decode_path(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// One name or value, with everything escaped that is not unreserved (RFC 3986 §2.3): it fits queries and paths alike,
/// unlike what writes a blank as a plus.
#[must_use]
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
