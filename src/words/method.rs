//! HTTP methods, as the rows of a table and the `Allow` header list them.

use std::fmt;

/// A set of HTTP methods.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Methods(u8);

impl Methods {
    /// Each method with its name, in the order in which `Allow` lists them.
    pub const NAMES: [(Self, &'static str); 5] = [
        (Self::GET, "GET"),
        (Self::HEAD, "HEAD"),
        (Self::POST, "POST"),
        (Self::PUT, "PUT"),
        (Self::DELETE, "DELETE"),
    ];
    /// The set with the method `DELETE` alone.
    pub const DELETE: Self = Self(8);
    /// The set with the method `GET` alone.
    pub const GET: Self = Self(1);
    /// The set with the method `HEAD` alone.
    pub const HEAD: Self = Self(16);
    /// The set with the method `POST` alone.
    pub const POST: Self = Self(2);
    /// The set with the method `PUT` alone.
    pub const PUT: Self = Self(4);

    /// The method of that name. Names are case-sensitive (RFC 9110 §9.1).
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::NAMES
            .into_iter()
            .find(|(_, known)| known.as_bytes() == name)
            .map(|(method, _)| method)
    }

    /// The union of both sets.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all methods of `other` are in this set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl fmt::Display for Methods {
    /// Formats the set for the `Allow` header (RFC 9110 §10.2.1).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Self::NAMES.into_iter().filter(|(m, _)| self.has(*m));
        for (position, (_, name)) in names.enumerate() {
            if position > 0 {
                f.write_str(", ")?;
            }
            f.write_str(name)?;
        }
        Ok(())
    }
}
