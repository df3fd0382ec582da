//! Names in a query string, as the backends' Go servers would read them.

/// Whether a query string has a parameter named `access_token` (RFC 6750 §2.3), in
/// any escaping. Both `&` and `;` separate, because servers differ about `;`.
#[must_use]
pub fn has_access_token(query: &[u8]) -> bool {
    query
        .split(|byte| matches!(byte, b'&' | b';'))
        .any(is_access_token)
}

fn is_access_token(pair: &[u8]) -> bool {
    // Nearly every name is dismissed by its first byte.
    if !matches!(pair.first(), Some(b'a' | b'A' | b'%')) {
        return false;
    }
    let mut bytes = pair.iter().copied();
    for expected in *b"access_token" {
        let byte = match bytes.next() {
            Some(b'%') => {
                let digits = (bytes.next().and_then(hex), bytes.next().and_then(hex));
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

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::has_access_token;

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
}
