//! Query strings and forms (`application/x-www-form-urlencoded`).
//!
//! [`parse`] reads them as the backends' Go servers do (`net/url.ParseQuery`) where all readers
//! agree, and refuses the rest: Go drops a pair with a raw `;` or a broken escape, while others
//! keep it. What is forwarded is written from scratch by [`push_pair`], so a backend sees no
//! byte that was not read here.

use std::fmt::Write as _;

use crate::words::refusal::FormError;
use crate::words::wire::hex_digit;

/// The maximum number of pairs that are read. Grafana sends about ten.
const MAX_PAIRS: usize = 64;

/// One parameter, decoded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pair {
    /// The name, which is compared exactly.
    pub name: String,
    /// The value, which is empty if the parameter has none.
    pub value: String,
}

/// Reads a query string (without its `?`) or a form body.
///
/// # Errors
/// [`FormError`] for anything that servers read differently.
pub fn parse(form: &[u8]) -> Result<Vec<Pair>, FormError> {
    let mut pairs = Vec::new();
    for piece in form.split(|byte| *byte == b'&') {
        if piece.is_empty() {
            continue;
        }
        if piece.contains(&b';') {
            return Err(FormError::Semicolon);
        }
        if pairs.len() >= MAX_PAIRS {
            return Err(FormError::TooMany);
        }
        let mut halves = piece.splitn(2, |byte| *byte == b'=');
        pairs.push(Pair {
            name: decode(halves.next().unwrap_or_default())?,
            value: decode(halves.next().unwrap_or_default())?,
        });
    }
    Ok(pairs)
}

fn decode(text: &[u8]) -> Result<String, FormError> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = (
                    bytes.next().and_then(hex_digit),
                    bytes.next().and_then(hex_digit),
                );
                let (Some(high), Some(low)) = digits else {
                    return Err(FormError::Escape);
                };
                high << 4 | low
            }
            byte => byte,
        });
    }
    let text = String::from_utf8(decoded).map_err(|_| FormError::Text)?;
    let control = |byte: u8| byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r');
    if text.bytes().any(|byte| control(byte) || byte == 0x7f) {
        return Err(FormError::Text);
    }
    Ok(text)
}

/// Appends a pair, escaping everything except the unreserved characters of RFC 3986.
pub fn push_pair(form: &mut String, name: &str, value: &str) {
    if !form.is_empty() {
        form.push('&');
    }
    push_escaped(form, name);
    form.push('=');
    push_escaped(form, value);
}

/// Appends a text, escaping everything except the unreserved characters of RFC 3986.
pub fn push_escaped(to: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            to.push(char::from(byte));
        } else {
            let _ = write!(to, "%{byte:02X}");
        }
    }
}

/// Whether a query string has a parameter named `access_token` (RFC 6750 §2.3), however it is
/// escaped. Both `&` and `;` count as separators, because servers differ about `;`.
#[must_use]
pub fn has_access_token(query: &[u8]) -> bool {
    query
        .split(|byte| matches!(byte, b'&' | b';'))
        .any(is_access_token)
}

fn is_access_token(pair: &[u8]) -> bool {
    // The first byte rules out nearly every name.
    if !matches!(pair.first(), Some(b'a' | b'A' | b'%')) {
        return false;
    }
    let mut bytes = pair.iter().copied();
    for expected in *b"access_token" {
        let byte = match bytes.next() {
            Some(b'%') => {
                let digits = (
                    bytes.next().and_then(hex_digit),
                    bytes.next().and_then(hex_digit),
                );
                let (Some(high), Some(low)) = digits else {
                    return false;
                };
                high << 4 | low
            }
            Some(byte) => byte,
            None => return false,
        };
        if !byte.eq_ignore_ascii_case(&expected) {
            return false;
        }
    }
    matches!(bytes.next(), None | Some(b'='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_found_in_any_spelling_and_place() {
        for query in [
            "access_token=x",
            "access_token",
            "a=b&access_token=",
            "a=b;access_token=x",
            "%61ccess_token=x",
            "access%5Ftoken=x",
            "%61%63%63%65%73%73%5f%74%6f%6b%65%6e=x",
            "Access_Token=x",
        ] {
            assert!(has_access_token(query.as_bytes()), "{query}");
        }
    }

    #[test]
    fn other_names_are_not() {
        for query in [
            "",
            "query=access_token=x",
            "query={access_token=\"x\"}",
            "access_tokens=x",
            "xaccess_token=x",
            "access_toke%6=x",
            "access_toke%",
            "query=%26access_token=x",
        ] {
            assert!(!has_access_token(query.as_bytes()), "{query}");
        }
    }

    fn read(form: &str) -> Result<Vec<(String, String)>, FormError> {
        let pairs = parse(form.as_bytes())?;
        Ok(pairs.into_iter().map(|p| (p.name, p.value)).collect())
    }

    #[test]
    fn pairs_are_read_as_gos_servers_read_them() {
        for (form, expected) in [
            ("", &[][..]),
            ("a=b", &[("a", "b")]),
            ("&&a=b&", &[("a", "b")]),
            ("a", &[("a", "")]),
            ("a=", &[("a", "")]),
            ("=a", &[("", "a")]),
            ("a=b=c", &[("a", "b=c")]),
            ("a+b=c+d", &[("a b", "c d")]),
            ("match%5B%5d=%7b%7D", &[("match[]", "{}")]),
            ("a=%C3%A9%0A%09", &[("a", "\u{e9}\n\t")]),
            ("a=1&a=2", &[("a", "1"), ("a", "2")]),
            ("a=%3B%26%3D", &[("a", ";&=")]),
            ("a={b}", &[("a", "{b}")]),
        ] {
            let expected: Vec<(String, String)> = expected
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect();
            assert_eq!(read(form), Ok(expected), "{form}");
        }
    }

    #[test]
    fn what_servers_read_differently_is_refused() {
        for (form, error) in [
            ("a=b;c=d", FormError::Semicolon),
            (";", FormError::Semicolon),
            ("a=%", FormError::Escape),
            ("a=%4", FormError::Escape),
            ("a=%zz", FormError::Escape),
            ("%z1=a", FormError::Escape),
            ("a=%+1", FormError::Escape),
            ("a=%ff", FormError::Text),
            ("a=%c3", FormError::Text),
            ("a=%00", FormError::Text),
            ("a=%1f", FormError::Text),
            ("a=\u{7f}", FormError::Text),
        ] {
            assert_eq!(read(form), Err(error), "{form}");
        }
        assert_eq!(parse(b"a=\xff"), Err(FormError::Text));
        assert!(read(&"a=b&".repeat(64)).is_ok());
        assert_eq!(read(&"a=b&".repeat(65)), Err(FormError::TooMany));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let value = "{a=\"b;c\"} |= `%+&#\u{e9}` \n";
        let mut form = String::new();
        push_pair(&mut form, "match[]", value);
        push_pair(&mut form, "x", "");
        assert!(form.starts_with("match%5B%5D=%7Ba%3D%22b%3Bc%22%7D%20%7C%3D%20"));
        let expected = [("match[]", value), ("x", "")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(read(&form), Ok(expected.to_vec()));
    }
}
