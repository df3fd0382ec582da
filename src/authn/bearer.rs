//! From an `Authorization` value to the one token in it (RFC 6750 §2.1).

/// Why an `Authorization` value carries no bearer token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BearerError {
    /// The scheme is `Bearer`, but it is not followed by spaces and a token.
    Malformed,
    /// There is another scheme, or none.
    OtherScheme,
    /// There is a comma. No token holds one, and proxies (Envoy too) join two headers with it.
    Several,
}

/// The text that follows `Bearer 1*SP`. The scheme may be in any case (RFC 9110 §11.1).
///
/// Only this frame is checked. The bytes of the token are left to [`crate::authn::token`], so
/// that a token with a stray byte is refused as a token and not as a header.
///
/// # Errors
/// [`BearerError`]. The scheme is anchored at the start of the value.
pub fn parse(value: &[u8]) -> Result<&[u8], BearerError> {
    let end = value
        .iter()
        .position(|byte| !byte.is_ascii_alphanumeric())
        .unwrap_or(value.len());
    let (scheme, rest) = value.split_at(end);
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Err(BearerError::OtherScheme);
    }
    if rest.contains(&b',') {
        return Err(BearerError::Several);
    }
    let spaces = rest.iter().take_while(|byte| **byte == b' ').count();
    let token = rest.get(spaces..).unwrap_or_default();
    if spaces == 0 || matches!(token.first(), None | Some(b'\t')) {
        return Err(BearerError::Malformed);
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t3_scheme_in_any_case_and_t4_several_spaces() {
        for value in [
            "Bearer a.b.c",
            "bearer a.b.c",
            "BEARER a.b.c",
            "Bearer   a.b.c",
        ] {
            assert_eq!(parse(value.as_bytes()), Ok(&b"a.b.c"[..]), "{value}");
        }
    }

    #[test]
    fn t2_other_schemes() {
        for value in [
            "",
            "Basic YTpi",
            "Negotiate x",
            "a.b.c",
            " Bearer a",
            "Bearerx a",
            "DPoP a",
        ] {
            assert_eq!(
                parse(value.as_bytes()),
                Err(BearerError::OtherScheme),
                "{value}"
            );
        }
    }

    #[test]
    fn t4_malformed_values() {
        for value in [
            "Bearer",
            "Bearer ",
            "Bearer   ",
            "Bearer\ta.b.c",
            "Bearer \ta.b.c",
            "Bearer=a",
        ] {
            assert_eq!(
                parse(value.as_bytes()),
                Err(BearerError::Malformed),
                "{value}"
            );
        }
    }

    #[test]
    fn t5_joined_values_are_several_credentials() {
        for value in ["Bearer a,Bearer b", "Bearer a, b", "Bearer ,", "Bearer,a"] {
            assert_eq!(
                parse(value.as_bytes()),
                Err(BearerError::Several),
                "{value}"
            );
        }
    }

    #[test]
    fn t8_stray_bytes_are_left_to_the_token() {
        for value in [
            &b"Bearer a b"[..],
            b"Bearer a ",
            b"Bearer a\xff",
            b"Bearer a=",
        ] {
            assert!(parse(value).is_ok(), "{value:?}");
        }
    }
}
