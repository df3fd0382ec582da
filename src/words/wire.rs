//! Forms that values take on the wire, each written or read only here: hexadecimal digits,
//! fields of protobuf messages and RFC 3339 times.

use crate::words::time::Timestamp;

/// The value of a hexadecimal digit of either case, 0 to 15; `None` for other bytes.
#[must_use]
pub const fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte.wrapping_sub(b'0')),
        b'a'..=b'f' => Some(byte.wrapping_sub(b'a').wrapping_add(10)),
        b'A'..=b'F' => Some(byte.wrapping_sub(b'A').wrapping_add(10)),
        _ => None,
    }
}

/// Writes an integer field of a protobuf message (wire type 0, a base 128 varint).
///
/// `field` is the field's number and must be at most 15, so that its tag is one byte.
pub fn push_integer(message: &mut Vec<u8>, field: u8, value: u64) {
    message.push(field << 3);
    push_varint(message, value);
}

/// Writes a bytes or string field of a protobuf message (wire type 2, preceded by its length).
///
/// `field` is the field's number and must be at most 15, so that its tag is one byte.
pub fn push_bytes(message: &mut Vec<u8>, field: u8, value: &[u8]) {
    message.push((field << 3) | 2);
    push_varint(message, value.len() as u64);
    message.extend_from_slice(value);
}

/// Writes seven bits per byte, the least significant first. The top bit says that more follow.
fn push_varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(u8::try_from(value & 0x7f).unwrap_or(0) | 0x80);
        value >>= 7;
    }
    message.push(u8::try_from(value).unwrap_or(0));
}

/// Writes a time in UTC with a resolution of one second, such as
/// `2024-02-29T23:59:59Z` (RFC 3339 §5.6). Years beyond 9999 take more digits.
///
/// The civil date follows Hinnant's days-from-epoch algorithm, all of whose divisors
/// are constants.
pub fn push_rfc3339(text: &mut String, time: Timestamp) {
    let (days, second) = (time.as_secs() / 86_400, time.as_secs() % 86_400);
    let shifted = days.saturating_add(719_468);
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = day_of_era
        .saturating_sub(day_of_era / 1_460)
        .saturating_add(day_of_era / 36_524)
        .saturating_sub(day_of_era / 146_096)
        / 365;
    let day_of_year = day_of_era.saturating_sub(
        year_of_era
            .saturating_mul(365)
            .saturating_add(year_of_era / 4)
            .saturating_sub(year_of_era / 100),
    );
    let shifted_month = day_of_year.saturating_mul(5).saturating_add(2) / 153;
    let day = day_of_year
        .saturating_sub(shifted_month.saturating_mul(153).saturating_add(2) / 5)
        .saturating_add(1);
    let (month, carry) = if shifted_month < 10 {
        (shifted_month.saturating_add(3), 0)
    } else {
        (shifted_month.saturating_sub(9), 1)
    };
    let year = era
        .saturating_mul(400)
        .saturating_add(year_of_era)
        .saturating_add(carry);
    let mut written = *b"0000-00-00T00:00:00Z";
    for (at, number) in [
        (0, year / 100),
        (2, year % 100),
        (5, month),
        (8, day),
        (11, second / 3_600),
        (14, second / 60 % 60),
        (17, second % 60),
    ] {
        if let Some([tens, ones, ..]) = written.get_mut(at..) {
            (*tens, *ones) = (digit(number / 10), digit(number));
        }
    }
    text.push_str(std::str::from_utf8(&written).unwrap_or_default());
}

/// The last digit of a number.
fn digit(number: u64) -> u8 {
    b'0'.saturating_add(u8::try_from(number % 10).unwrap_or(0))
}

/// Appends a number in decimal.
pub fn push_decimal(text: &mut String, mut number: u64) {
    let mut digits = [b'0'; 20];
    let mut begin = digits.len();
    for (at, digit) in digits.iter_mut().enumerate().rev() {
        *digit = self::digit(number);
        number /= 10;
        begin = at;
        if number == 0 {
            break;
        }
    }
    let digits = digits.get(begin..).unwrap_or_default();
    text.push_str(std::str::from_utf8(digits).unwrap_or_default());
}

/// Whether a character would end a line, or make a text look different from what is written:
/// control characters, including those beyond ASCII, separators of lines and paragraphs, and
/// marks of direction.
#[must_use]
pub const fn is_hidden(c: char) -> bool {
    matches!(
        c,
        '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_hexadecimal() {
        for byte in 0..=u8::MAX {
            let expected = char::from(byte).to_digit(16);
            assert_eq!(hex_digit(byte).map(u32::from), expected, "{byte}");
        }
    }

    #[test]
    fn fields_are_those_of_protobuf() {
        let mut message = Vec::new();
        push_integer(&mut message, 1, 16);
        push_integer(&mut message, 3, 300);
        push_bytes(&mut message, 2, b"text");
        assert_eq!(message, b"\x08\x10\x18\xac\x02\x12\x04text");
        let mut message = Vec::new();
        push_bytes(&mut message, 2, &[7; 300]);
        assert_eq!(&message[..3], [0x12, 0xac, 0x02]);
        assert_eq!(message.len(), 303);
    }

    #[test]
    fn numbers_are_decimal() {
        for (number, expected) in [(0, "0"), (200, "200"), (u64::MAX, "18446744073709551615")] {
            let mut text = String::new();
            push_decimal(&mut text, number);
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn times_are_rfc_3339() {
        for (secs, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (4_102_444_799, "2099-12-31T23:59:59Z"),
        ] {
            let mut text = String::new();
            push_rfc3339(&mut text, Timestamp::from_secs(secs));
            assert_eq!(text, expected);
        }
    }
}
