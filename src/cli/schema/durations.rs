//! A regular expression that matches the durations between two bounds.

/// The units of durations, each with its length in milliseconds.
const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

/// Matches what the reader of configurations accepts as a duration of at least `least` and at most
/// `most` milliseconds.
pub(super) fn pattern(least: u64, most: u64) -> String {
    let units = UNITS.iter().filter_map(|(name, millis)| {
        let least = least.div_ceil(*millis);
        let most = most.checked_div(*millis)?;
        (least <= most).then(|| format!("({}){name}", numbers(least, most)))
    });
    let units: Vec<String> = units.collect();
    format!("^0*({})$", units.join("|"))
}

/// Matches the numbers from `least` to `most`, without leading zeros.
fn numbers(least: u64, most: u64) -> String {
    let mut alternatives = Vec::new();
    let mut first = Some(least);
    while let Some(start) = first.filter(|start| *start <= most) {
        let end = block(start, most);
        alternatives.push(digits(start, end));
        first = end.checked_add(1);
    }
    alternatives.join("|")
}

/// The end of the longest run of numbers from `start` to at most `most` that fixed digits, then a
/// range of digits and then any digits can match, as in 100 to 999 or 30 to 39.
fn block(start: u64, most: u64) -> u64 {
    let powers = (0..20).rev().filter_map(|place| 10_u64.checked_pow(place));
    let own = powers.filter(|power| *power <= start.max(1));
    let mut even = own.filter(|power| start.checked_rem(*power) == Some(0));
    let end = even.find_map(|power| {
        let digit = start.checked_div(power)?.checked_rem(10)?;
        let ends = (digit..=9).rev().filter_map(|last| {
            let steps = last.checked_sub(digit)?.checked_mul(power)?;
            start.checked_add(steps)?.checked_add(power.checked_sub(1)?)
        });
        ends.filter(|end| *end <= most).max()
    });
    end.unwrap_or(start)
}

/// Matches the numbers between two that have the same number of digits.
fn digits(start: u64, end: u64) -> String {
    let (start, end) = (start.to_string(), end.to_string());
    let digits = start.chars().zip(end.chars()).map(|pair| match pair {
        (one, other) if one == other => one.to_string(),
        (one, other) => format!("[{one}-{other}]"),
    });
    digits.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether any of the alternatives matches a number. They consist of literal digits and of
    /// ranges of digits.
    fn matches(numbers: &str, number: u64) -> bool {
        let number = number.to_string();
        numbers.split('|').any(|alternative| {
            let mut rest = alternative;
            for digit in number.chars() {
                if let Some(range) = rest.strip_prefix('[') {
                    let (range, after) = range.split_once(']').unwrap();
                    let (low, high) = range.split_once('-').unwrap();
                    if digit < low.parse().unwrap() || digit > high.parse().unwrap() {
                        return false;
                    }
                    rest = after;
                } else {
                    let Some(after) = rest.strip_prefix(digit) else {
                        return false;
                    };
                    rest = after;
                }
            }
            rest.is_empty()
        })
    }

    #[test]
    fn numbers_are_those_between_the_bounds() {
        for (least, most) in [
            (0, 0),
            (0, 9),
            (0, 30),
            (1, 24),
            (1, 168),
            (7, 1_234),
            (100, 3_000),
            (99, 101),
            (1_000, 1_000),
            (305, 2_987),
        ] {
            let pattern = numbers(least, most);
            for number in 0..=5_000 {
                let inside = (least..=most).contains(&number);
                assert_eq!(matches(&pattern, number), inside, "{number}: {pattern}");
            }
        }
        assert_eq!(numbers(0, 30), "[0-9]|[1-2][0-9]|30");
    }

    #[test]
    fn units_without_a_number_between_the_bounds_are_left_out() {
        assert_eq!(
            pattern(2_000, 5_000),
            "^0*(([2-4][0-9][0-9][0-9]|5000)ms|([2-5])s)$"
        );
    }
}
