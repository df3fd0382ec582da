//! Versions of servers, as precisely as the gate needs them.

use std::fmt;

/// Major and minor version. A patch release does not change what the gate has to know.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Version {
    major: u16,
    minor: u16,
}

impl Version {
    /// Takes the two numbers.
    #[must_use]
    pub const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }

    /// Parses `3.7` or `3.7.8`.
    ///
    /// # Errors
    /// The form that a version has to have.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const RULE: &str = "must be a version such as \"3.7\" or \"3.7.8\"";
        let mut numbers = text.split('.').map(|number| {
            let plain = number.bytes().all(|byte| byte.is_ascii_digit());
            number.parse::<u16>().ok().filter(|_| plain)
        });
        let (Some(Some(major)), Some(Some(minor))) = (numbers.next(), numbers.next()) else {
            return Err(RULE);
        };
        match (numbers.next(), numbers.next()) {
            (None | Some(Some(_)), None) => Ok(Self { major, minor }),
            _ => Err(RULE),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_two_or_three_numbers() {
        assert_eq!(Version::parse("3.7"), Ok(Version::new(3, 7)));
        assert_eq!(Version::parse("3.10.8"), Ok(Version::new(3, 10)));
        for bad in [
            "", "3", "v3.7", "3.", ".7", "3.7.", "3.7.8.9", "3.7-rc1", "3.+7", "3.x", "70000.1",
        ] {
            assert!(Version::parse(bad).is_err(), "{bad}");
        }
        assert!(Version::new(2, 10) > Version::new(2, 9));
        assert!(Version::new(3, 0) > Version::new(2, 10));
    }
}
