//! A document that the worker has requested and received.

use crate::worker::event::CallOutcome;
use crate::worker::excerpt::{MAX_NAME, excerpt};

/// How a fetch failed: a label for metrics, and an explanation.
pub type Failure = (&'static str, String);

/// The longest `ETag` that is sent back, in bytes.
const MAX_TAG: usize = 256;

/// A document as it was received.
#[derive(Debug)]
pub struct Received {
    /// Its bytes, without a byte order mark.
    pub bytes: Box<[u8]>,
    /// How long its server calls it fresh, in milliseconds, if the server says so.
    pub max_age: Option<u64>,
    /// The entity tag that its server gave it, if any.
    pub tag: Option<Box<[u8]>>,
}

/// Whether an answer says that the document has not changed.
#[must_use]
pub fn is_unchanged(answer: CallOutcome<'_>) -> bool {
    matches!(answer, CallOutcome::Response { status: b"304", .. })
}

impl Received {
    /// Takes the document of an answer. The status is checked first, then the size and then the
    /// body, which may have at most `most` bytes.
    ///
    /// # Errors
    /// [`Failure`] if there is no such document.
    pub fn of(answer: CallOutcome<'_>, most: usize) -> Result<Self, Failure> {
        match answer {
            CallOutcome::Nothing => Err(("unreachable", "no answer".to_owned())),
            CallOutcome::NotSent(status) => Err(("error", not_sent(status))),
            CallOutcome::Response {
                status,
                cache_control,
                content_encoding,
                etag,
                size,
                body,
            } => {
                if status != b"200" {
                    let status = String::from_utf8_lossy(status);
                    return Err(("status", format!("status {}", excerpt(&status, MAX_NAME))));
                }
                let encoding = content_encoding.map(String::from_utf8_lossy);
                let encoding = encoding.filter(|name| !name.eq_ignore_ascii_case("identity"));
                if let Some(encoding) = encoding {
                    let encoding = excerpt(&encoding, MAX_NAME);
                    let said = format!("compressed ({encoding}), though that was not asked for");
                    return Err(("unusable", said));
                }
                if size > most {
                    return Err(("unusable", format!("{size} bytes are too many")));
                }
                let bytes = body().ok_or_else(|| ("error", "no body".to_owned()))?;
                // A byte order mark says that the text is UTF-8, as all JSON is
                // (RFC 8259 §8.1).
                let bytes = match bytes.strip_prefix(b"\xef\xbb\xbf") {
                    Some(rest) => rest.into(),
                    None => bytes,
                };
                let fits = |tag: &&[u8]| {
                    (1..=MAX_TAG).contains(&tag.len())
                        && tag.iter().all(|byte| matches!(byte, 0x21..=0x7e))
                };
                Ok(Self {
                    bytes,
                    max_age: cache_control.and_then(max_age),
                    tag: etag.filter(fits).map(Into::into),
                })
            }
        }
    }

    /// What the bytes are if they are not a document, as far as that is plain.
    #[must_use]
    pub fn other_kind(&self) -> Option<&'static str> {
        if self.bytes.starts_with(b"\x1f\x8b") {
            return Some("compressed by gzip, though that was not asked for");
        }
        let html = self.bytes.trim_ascii_start().starts_with(b"<");
        html.then_some("HTML or XML")
    }
}

/// Explains why a request of the worker was not sent.
#[must_use]
pub fn not_sent(status: u32) -> String {
    format!(
        "the host does not take the request (status {status}): does the cluster exist, and do \
         its filters let the request through?"
    )
}

/// The `max-age` of a `Cache-Control` header, in milliseconds (RFC 9111 §5.2.2.1). It is 0 for
/// what must not be kept.
fn max_age(header: &[u8]) -> Option<u64> {
    let header = std::str::from_utf8(header).ok()?.to_ascii_lowercase();
    let mut age = None;
    for directive in header.split(',').map(str::trim) {
        match directive.split_once('=') {
            Some(("max-age", seconds)) => {
                let seconds: u64 = seconds.trim_matches('"').parse().ok()?;
                age = Some(seconds.saturating_mul(1000));
            }
            None if matches!(directive, "no-store" | "no-cache") => return Some(0),
            _ => {}
        }
    }
    age
}

#[cfg(test)]
mod tests {
    use super::max_age;

    #[test]
    fn freshness_is_read_from_cache_control() {
        for (header, age) in [
            ("max-age=300", Some(300_000)),
            ("public, Max-Age=\"60\", must-revalidate", Some(60_000)),
            ("no-cache", Some(0)),
            ("max-age=300, no-store", Some(0)),
            ("s-maxage=300", None),
            ("max-age=soon", None),
            ("", None),
        ] {
            assert_eq!(max_age(header.as_bytes()), age, "{header}");
        }
        assert_eq!(max_age(b"\xff"), None);
    }
}
