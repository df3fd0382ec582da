//! `application/x-www-form-urlencoded` and its parts, by the crates of rust-url.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// The fields of a form. If a name is repeated, the last value counts.
#[must_use]
pub fn parse(text: &str) -> BTreeMap<String, String> {
    form_urlencoded::parse(text.as_bytes())
        .into_owned()
        .collect()
}

/// Decodes one name or value of a form. What is not a valid escape stays as it is.
#[must_use]
pub fn decode(text: &str) -> String {
    decode_path(&text.replace('+', " "))
}

/// Decodes a segment of a path, in which a plus is a plus.
#[must_use]
pub fn decode_path(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Encodes one name or value, escaping everything that is not unreserved (RFC 3986 §2.3). The result fits into
/// queries as well as paths, because it does not write a blank as a plus.
#[must_use]
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
