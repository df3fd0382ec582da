//! A document that a request of the worker's own has brought.

use crate::worker::event::CallOutcome;
use crate::worker::excerpt::{MAX_NAME, excerpt};

/// The outcome of a fetch that failed: a label for metrics, and an explanation.
pub type Failure = (&'static str, String);

/// Longest `ETag` that is sent back, in bytes.
const MAX_TAG: usize = 256;

/// A document that came, as it is.
#[derive(Debug)]
pub struct Received {
    /// Its bytes, without a mark at the beginning.
    pub bytes: Box<[u8]>,
    /// How long its server calls it fresh, in milliseconds, if it says so.
    pub max_age: Option<u64>,
    /// What its server calls this state of it, if it says so.
    pub tag: Option<Box<[u8]>>,
}

/// Whether an answer says that a document is the one which is held.
#[must_use]
pub fn is_unchanged(answer: CallOutcome<'_>) -> bool {
    matches!(answer, CallOutcome::Response { status: b"304", .. })
}

impl Received {
    /// Takes the document of an answer: status first, then size, then the body, which has at
    /// most `most` bytes.
    ///
    /// # Errors
    /// [`Failure`]
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
                // A mark at the beginning says that it is UTF-8, as all JSON is (RFC 8259 §8.1).
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

    /// What it is if it is no document, as far as that is plain.
    #[must_use]
    pub fn other_kind(&self) -> Option<&'static str> {
        if self.bytes.starts_with(b"\x1f\x8b") {
            return Some("compressed by gzip, though that was not asked for");
        }
        let html = self.bytes.trim_ascii_start().starts_with(b"<");
        html.then_some("HTML or XML")
    }
}

/// Why a request of the worker's own was not sent.
#[must_use]
pub fn not_sent(status: u32) -> String {
    format!(
        "the host does not take the request (status {status}): does the cluster exist, and do \
         its filters let the request through?"
    )
}

/// `max-age` of a `Cache-Control` header, in milliseconds (RFC 9111 §5.2.2.1); what
/// must not be kept is fresh for no time.
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
