//! From an `Authorization` value with the scheme Basic to the token in it (RFC 7617 §2).
//!
//! Some agents can send nothing but a user name and a password. The password is then the token,
//! as with Grafana Enterprise, and the user name has no meaning.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::authn::bearer::BearerError;

/// The text behind the first colon of the decoded credentials that follow `Basic 1*SP`. The
/// scheme may be in any case (RFC 9110 §11.1).
///
/// # Errors
/// [`BearerError`], as for the scheme Bearer. Malformed is what is not padded base64, holds no
/// colon, or holds nothing behind it.
pub fn parse(value: &[u8]) -> Result<Vec<u8>, BearerError> {
    let end = value
        .iter()
        .position(|byte| !byte.is_ascii_alphanumeric())
        .unwrap_or(value.len());
    let (scheme, rest) = value.split_at(end);
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return Err(BearerError::OtherScheme);
    }
    if rest.contains(&b',') {
        return Err(BearerError::Several);
    }
    let spaces = rest.iter().take_while(|byte| **byte == b' ').count();
    let encoded = rest.get(spaces..).filter(|_| spaces > 0);
    let decoded = encoded.and_then(|encoded| STANDARD.decode(encoded).ok());
    let mut decoded = decoded.ok_or(BearerError::Malformed)?;
    let colon = decoded.iter().position(|byte| *byte == b':');
    let colon = colon.ok_or(BearerError::Malformed)?;
    let token = decoded.split_off(colon.saturating_add(1));
    if token.is_empty() {
        return Err(BearerError::Malformed);
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_follows_the_first_colon() {
        for (value, token) in [
            ("Basic YWdlbnQ6YS5iLmM=", "a.b.c"),
            ("basic   OmEuYi5j", "a.b.c"),
            ("BASIC YTpiOmM=", "b:c"),
            // "é" in Latin-1 before the colon.
            ("Basic 6TphLmIuYw==", "a.b.c"),
        ] {
            assert_eq!(parse(value.as_bytes()), Ok(token.into()), "{value}");
        }
    }

    #[test]
    fn what_is_not_padded_base64_with_a_colon_is_malformed() {
        for value in [
            "Basic",
            "Basic ",
            "Basic\tOmEuYi5j",
            "Basic YWdlbnQ6YS5iLmM",   // no padding
            "Basic YWdlbnQ6YS5iLmM==", // too much
            "Basic OmEuYi5j OmEuYi5j",
            "Basic OmEuYi5j\n",
            "Basic Oj-_",     // the other alphabet
            "Basic YWdlbnQ=", // no colon
            "Basic YWdlbnQ6", // nothing behind it
            "Basic OmF=",     // bits that are set behind the end
        ] {
            assert_eq!(
                parse(value.as_bytes()),
                Err(BearerError::Malformed),
                "{value:?}"
            );
        }
        assert_eq!(parse(b"Basic OmEuYi5j,OmEuYi5j"), Err(BearerError::Several));
        for value in ["", "Bearer a.b.c", "Basics OmEuYi5j"] {
            assert_eq!(
                parse(value.as_bytes()),
                Err(BearerError::OtherScheme),
                "{value:?}"
            );
        }
    }
}
