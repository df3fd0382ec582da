//! Matches a raw path against a template whose segments may hold escapes.

use crate::words::wire::hex_digit;

/// The escapes of separators that a segment may hold. Those of other characters are always
/// accepted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Separators {
    /// None.
    None,
    /// `%2F`.
    Slash,
    /// `%2F`, `%25`, `%3B` and `%5C`, for a server that decodes only once.
    All,
}

impl Separators {
    /// The escapes for a free segment of a template, by the name between its braces.
    fn of(name: &[u8]) -> Self {
        if name.ends_with(b"%}") {
            Self::All
        } else if name.ends_with(b"%2F}") {
            Self::Slash
        } else {
            Self::None
        }
    }
}

/// Whether `path` is the template with every `{…}` filled by one sound segment.
///
/// Literal segments are compared byte for byte, so `//`, `;`, `\`, `#`, NUL, an escape or a dot
/// segment in one of them does not match.
pub(super) fn matches(template: &str, path: &[u8]) -> bool {
    let mut ours = template.as_bytes().split(|byte| *byte == b'/');
    let mut theirs = path.split(|byte| *byte == b'/');
    loop {
        let matching = match (ours.next(), theirs.next()) {
            (None, None) => return true,
            // This comes before the comparison, because a client may send a template's segment
            // literally.
            (Some([b'{', name @ ..]), Some(segment)) => is_sound(segment, Separators::of(name)),
            (Some(literal), Some(segment)) => literal == segment,
            _ => false,
        };
        if !matching {
            return false;
        }
    }
}

/// Whether a segment means the same to every parser. It must consist of RFC 3986 `pchar`
/// without `;`, with well-formed escapes, and its decoded form must be valid UTF-8 without
/// control characters, dot segments or separators other than those that it may hold.
fn is_sound(segment: &[u8], separators: Separators) -> bool {
    let mut decoded = Vec::with_capacity(segment.len());
    let mut bytes = segment.iter().copied();
    while let Some(byte) = bytes.next() {
        let value = match byte {
            b'%' => {
                let (Some(high), Some(low)) = (bytes.next(), bytes.next()) else {
                    return false;
                };
                let (Some(high), Some(low)) = (hex_digit(high), hex_digit(low)) else {
                    return false;
                };
                match high << 4 | low {
                    b'/' if separators != Separators::None => b'/',
                    value @ (b'\\' | b'%' | b';') if separators == Separators::All => value,
                    // Whoever decodes twice would read `%25` as the beginning of an escape.
                    b'/' | b'\\' | b'.' | b'%' | b';' | 0x7f | 0..=0x1f => return false,
                    value => value,
                }
            }
            b'a'..=b'z'
            | b'A'..=b'Z'
            | b'0'..=b'9'
            | b'-'
            | b'.'
            | b'_'
            | b'~'
            | b'!'
            | b'$'
            | b'&'
            | b'\''
            | b'('
            | b')'
            | b'*'
            | b'+'
            | b','
            | b'='
            | b':'
            | b'@' => byte,
            _ => return false,
        };
        decoded.push(value);
    }
    let dots = |part: &[u8]| part == b"." || part == b"..";
    !decoded.is_empty()
        && !decoded.windows(2).any(|pair| pair == b"//")
        && !decoded.split(|byte| *byte == b'/').any(dots)
        && std::str::from_utf8(&decoded).is_ok()
}

/// Decodes the escapes of a segment. Returns `None` if one of them is malformed.
pub(super) fn decoded(segment: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(segment.len());
    let mut bytes = segment.iter().copied();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hex_digit(bytes.next()?)? << 4 | hex_digit(bytes.next()?)?,
            plain => plain,
        });
    }
    Some(decoded)
}
