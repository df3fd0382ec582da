//! Tenant IDs and the sets of them that a request asks for.
//!
//! The alphabet is the strictest of those of the three backends (Grafana dskit `tenant`): what
//! passes here names the same tenant for Loki, Mimir and Tempo. `:` would start dskit's
//! metadata suffix, and `,` is what proxies put between joined headers, so both are refused
//! rather than interpreted.

use std::borrow::Cow;
use std::fmt;

/// The longest tenant ID that the backends accept, in bytes.
pub const MAX_TENANT_BYTES: usize = 150;

/// Names that backends use for themselves or to say that there is no tenant.
pub const RESERVED: [&str; 4] = ["__mimir_cluster", "anonymous", "fake", "single-tenant"];

/// The name of one tenant, known to be within the alphabet and the length limit.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TenantId(Box<str>);

impl TenantId {
    /// Parses a configured name.
    ///
    /// # Errors
    /// The rule that the name breaks.
    pub fn parse(name: &str) -> Result<Self, TenantError> {
        check(name.as_bytes())?;
        Ok(Self(name.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a backend reserves this name for itself.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        RESERVED.contains(&self.as_str())
    }
}

/// Why a tenant header or name was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TenantError {
    /// There is a byte other than letters, digits and `!-_.*'()`.
    Character,
    /// The header, or an element of the list, is empty.
    Empty,
    /// An element is longer than [`MAX_TENANT_BYTES`].
    Length,
    /// An element is `.` or `..`, which the backends refuse as path segments.
    Path,
    /// The star, which stands for all of a caller's tenants, is beside other tenants.
    StarBeside,
    /// The list has more elements than the configured limit.
    TooMany,
}

impl TenantError {
    /// What is wrong, for a caller or an operator to read.
    #[must_use]
    pub const fn rule(self) -> &'static str {
        match self {
            Self::Character => "allowed are letters, digits and ! - _ . * ' ( )",
            Self::Empty => "no element may be empty",
            Self::Length => "an ID has at most 150 bytes",
            Self::Path => "an ID may not be . or ..",
            Self::StarBeside => "* stands for all of your tenants, and stands alone",
            Self::TooMany => "too many tenants in one request",
        }
    }
}

impl fmt::Display for TenantError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.rule())
    }
}

/// The tenants that one request asks for. The set is never empty, and every element is
/// well-formed.
///
/// It borrows from the header if that is canonical already. A single tenant, the common case,
/// allocates nothing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TenantSet<'a> {
    /// Sorted, distinct, joined by `|`.
    canonical: Cow<'a, [u8]>,
    asked: usize,
}

impl<'a> TenantSet<'a> {
    /// Splits an `X-Scope-OrgID` value at `|` and checks every element.
    ///
    /// # Errors
    /// The rule that the value breaks. `limit` bounds the number of elements as they are
    /// written, repeats included.
    pub fn parse(header: &'a [u8], limit: usize) -> Result<Self, TenantError> {
        if !header.contains(&b'|') {
            check(header)?;
            return Ok(Self {
                canonical: Cow::Borrowed(header),
                asked: 1,
            });
        }
        let mut many = Vec::new();
        for element in header.split(|byte| *byte == b'|') {
            if many.len() >= limit {
                return Err(TenantError::TooMany);
            }
            check(element)?;
            many.push(element);
        }
        let asked = many.len();
        many.sort_unstable();
        many.dedup();
        let joined = many.join(&b'|');
        let canonical = if joined == header {
            Cow::Borrowed(header)
        } else {
            Cow::Owned(joined)
        };
        Ok(Self { canonical, asked })
    }

    /// Takes tenants that do not come from the header, in their canonical spelling.
    #[must_use]
    pub fn of(canonical: &[u8]) -> Self {
        Self {
            asked: canonical.split(|byte| *byte == b'|').count(),
            canonical: Cow::Owned(canonical.to_vec()),
        }
    }

    /// The number of elements that the header listed, repeats included.
    ///
    /// Endpoints that take one tenant refuse `a|a` too: backends differ in what they make of
    /// it, so its meaning is in doubt.
    #[must_use]
    pub const fn asked(&self) -> usize {
        self.asked
    }

    /// The distinct tenants, in byte order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.canonical.split(|byte| *byte == b'|')
    }

    /// The canonical spelling that is forwarded: sorted, distinct, joined by `|`.
    #[must_use]
    pub fn canonical(&self) -> Cow<'a, [u8]> {
        self.canonical.clone()
    }
}

fn check(id: &[u8]) -> Result<(), TenantError> {
    if id.is_empty() {
        return Err(TenantError::Empty);
    }
    if id.len() > MAX_TENANT_BYTES {
        return Err(TenantError::Length);
    }
    if id == b"." || id == b".." {
        return Err(TenantError::Path);
    }
    if id.iter().all(|byte| is_tenant_byte(*byte)) {
        Ok(())
    } else {
        Err(TenantError::Character)
    }
}

const fn is_tenant_byte(byte: u8) -> bool {
    matches!(byte,
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9'
        | b'!' | b'-' | b'_' | b'.' | b'*' | b'\'' | b'(' | b')')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tenant_is_borrowed_and_forwarded_as_it_came() {
        let set = TenantSet::parse(b"team-a", 64).unwrap();
        assert_eq!(set.iter().collect::<Vec<_>>(), [b"team-a"]);
        assert!(matches!(set.canonical(), Cow::Borrowed(b"team-a")));
    }

    #[test]
    fn lists_are_sorted_and_distinct() {
        let set = TenantSet::parse(b"b|a|b", 64).unwrap();
        assert_eq!(set.asked(), 3);
        assert_eq!(set.canonical().as_ref(), b"a|b");
        assert!(matches!(
            TenantSet::parse(b"a|b", 64).unwrap().canonical(),
            Cow::Borrowed(_)
        ));
    }

    #[test]
    fn every_rule_refuses() {
        let cases: &[(&[u8], TenantError)] = &[
            (b"", TenantError::Empty),
            (b"a|", TenantError::Empty),
            (b"|a", TenantError::Empty),
            (b"a||b", TenantError::Empty),
            (b"|", TenantError::Empty),
            (b"a:x", TenantError::Character),
            (b"a,b", TenantError::Character),
            (b"a b", TenantError::Character),
            (b" a", TenantError::Character),
            (b"a\tb", TenantError::Character),
            (b"a/b", TenantError::Character),
            (b"a\\b", TenantError::Character),
            (b"\xff", TenantError::Character),
            ("é".as_bytes(), TenantError::Character),
            (b"a\0", TenantError::Character),
            (b".", TenantError::Path),
            (b"a|..", TenantError::Path),
            (&[b'a'; 151], TenantError::Length),
        ];
        for (header, error) in cases {
            assert_eq!(TenantSet::parse(header, 64), Err(*error), "{header:?}");
        }
        assert!(TenantSet::parse(&[b'a'; 150], 64).is_ok());
        assert!(TenantSet::parse(b"!-_.*'()", 64).is_ok());
        assert!(TenantSet::parse(b"...", 64).is_ok());
    }

    #[test]
    fn the_limit_counts_repeats() {
        assert!(TenantSet::parse(b"a|a", 2).is_ok());
        assert_eq!(TenantSet::parse(b"a|a|a", 2), Err(TenantError::TooMany));
    }
}
