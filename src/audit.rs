//! The record of a decision: one line of JSON, with the same fields for an allow and a deny.
//!
//! It holds proven facts and what the request itself says about the tenant. If a token was
//! refused and nothing about it is proven, the record holds what that token says about itself,
//! marked as claimed. It never holds a token. Control characters are escaped by JSON, bytes
//! outside UTF-8 are replaced, and every text and list is bounded, so that neither a caller nor
//! a large configuration can forge entries or flood a log: no record is longer than 7 KiB.

use std::fmt::Write as _;

use crate::authn::group_source::{GroupSource, spelt};
use crate::authn::keys::VerifyingKey;
use crate::authn::refused::{Claimed, ClaimedAudience, Refused};
use crate::gate::{DecisionFacts, Gate};
use crate::words::credential::CredentialKind;
use crate::words::identity::{Issuer, Listing, ProviderIndex, Subject};
use crate::words::request::Head;
use crate::words::tenant::TenantSet;
use crate::words::time::Timestamp;
use crate::words::verdict::Verdict;
use crate::words::wire::{is_hidden, push_decimal, push_rfc3339};

/// The longest text of one field, in bytes before it is escaped.
const MAX_FIELD: usize = 256;

/// The longest text of one field as it is written, without its quotes. A byte that must be
/// escaped takes six.
const MAX_WRITTEN: usize = 512;

/// The longest list as it is written, in bytes without its brackets. The tenants of a request
/// that names 64 of them fit if their names have at most 13 bytes on average.
const MAX_LIST: usize = 1_024;

/// The maximum number of places of unusable groups that are recorded.
const MAX_UNREAD: usize = 8;

/// What a record says in addition to what was found out on the way to the decision.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// When it was decided.
    pub time: Timestamp,
    /// The verdict.
    pub verdict: Verdict,
    /// The peer's address, as the proxy states it.
    pub source: Option<&'a [u8]>,
    /// Whether the refusal was only recorded (`mode: report`).
    pub reported: bool,
}

/// The space for a record, in bytes, which most of them do not use up.
const USUAL_BYTES: usize = 768;

/// A record whose status may become known later.
#[derive(Clone, Debug)]
pub struct Record {
    line: String,
    /// The length of what comes before the status.
    known: usize,
}

/// How a record ends as long as no status is known.
const NO_STATUS: &str = "null}";

impl Record {
    /// The complete line. `None` means that no status is known.
    pub fn with_status(&mut self, status: Option<u16>) -> &str {
        self.line.truncate(self.known);
        match status {
            Some(status) => end_with(&mut self.line, status),
            None => self.line.push_str(NO_STATUS),
        }
        &self.line
    }
}

/// Writes the status into a complete line that was written without one.
pub fn add_status(line: &mut String, status: u16) {
    if line.ends_with(NO_STATUS) {
        line.truncate(line.len().saturating_sub(NO_STATUS.len()));
        end_with(line, status);
    }
}

fn end_with(line: &mut String, status: u16) {
    push_decimal(line, u64::from(status));
    line.push('}');
}

/// The name of a member, as it is written behind another one.
macro_rules! member {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}

/// Writes the record.
#[must_use]
pub fn record(
    gate: &mut Gate,
    head: &Head<'_>,
    decision: &DecisionFacts<'_>,
    facts: Facts<'_>,
) -> Record {
    let organizations = gate.organizations(decision);
    let config = gate.config();
    let mut line = Line(String::with_capacity(USUAL_BYTES));
    line.0.push_str("{\"time\":\"");
    push_rfc3339(&mut line.0, facts.time);
    line.0.push('"');
    line.text(member!("request_id"), head.request_id.once());
    let kind = if facts.reported {
        "report"
    } else {
        facts.verdict.decision()
    };
    line.plain(member!("decision"), Some(kind));
    line.plain(member!("code"), Some(facts.verdict.code()));
    let session = decision.session.as_deref();
    let proven = TokenFacts::of(decision);
    let rules = proven.as_ref().and_then(|proven| {
        let ProviderIndex(position) = proven.provider;
        let provider = config.providers.get(position)?;
        Some(&provider.rules)
    });
    let name = rules.map(|rules| rules.name.as_str());
    match session {
        // It is the same in each record about this session.
        Some(session) => line.0.push_str(session.recorded.get_or_init(|| {
            let mut caller = Line(String::new());
            caller.caller(name, proven.as_ref());
            caller.0.into_boxed_str()
        })),
        None => line.caller(name, proven.as_ref()),
    }
    line.plain(
        member!("credential"),
        decision.credential.map(CredentialKind::name),
    );
    match &decision.refused {
        Some(Refused::Claimed(claimed)) if session.is_none() => line.claimed(claimed),
        _ => {}
    }
    if let (Some(session), Some(rules)) = (session, rules) {
        line.listing(&session.principal.listing, &rules.mapping.groups);
    }
    let names = organizations.first.iter();
    let names = names.filter_map(|organization| config.policy.organization(*organization));
    let names = names.map(str::as_bytes);
    line.list(member!("organizations"), names, organizations.all);
    let tenants = decision.tenants.iter().flat_map(TenantSet::iter);
    let tenant = decision.tenant.iter().map(|tenant| tenant.as_bytes());
    line.list(member!("tenants"), tenants.chain(tenant), 0);
    let endpoint = decision.endpoint;
    line.plain(member!("endpoint"), endpoint.map(|e| e.template));
    line.plain(member!("backend"), endpoint.map(|e| e.backend.name()));
    line.plain(member!("permission"), endpoint.map(|e| e.permission.name()));
    let scope = decision.scope.as_ref().map(|scope| scope.summary());
    line.text(member!("scope"), scope.as_ref().map(String::as_bytes));
    line.text(member!("source"), facts.source);
    line.0.push_str(member!("status"));
    Record {
        known: line.0.len(),
        line: line.0,
    }
}

/// What was proven about a token, whether it was accepted or refused.
struct TokenFacts<'a> {
    provider: ProviderIndex,
    issuer: &'a Issuer,
    subject: Option<&'a Subject>,
    key: &'a VerifyingKey,
}

impl<'a> TokenFacts<'a> {
    fn of(decision: &'a DecisionFacts<'_>) -> Option<Self> {
        match (&decision.session, &decision.refused) {
            (Some(session), _) => Some(Self {
                provider: session.principal.provider,
                issuer: &session.issuer,
                subject: Some(&session.principal.subject),
                key: &session.key,
            }),
            (None, Some(Refused::Proven(proven))) => Some(Self {
                provider: proven.provider,
                issuer: &proven.issuer,
                subject: proven.subject.as_ref(),
                key: &proven.key,
            }),
            (None, Some(Refused::Claimed(_)) | None) => None,
        }
    }
}

/// The beginning of a text. If it is UTF-8, it is cut between two characters.
fn bounded(value: &[u8]) -> &[u8] {
    let Some((mut beginning, [next, ..])) = value.split_at_checked(MAX_FIELD) else {
        return value;
    };
    let mut next = *next;
    // At most three bytes of a character follow its first one.
    for _ in 0..3 {
        if next & 0xc0 != 0x80 {
            break;
        }
        let Some((last, rest)) = beginning.split_last() else {
            break;
        };
        (beginning, next) = (rest, *last);
    }
    beginning
}

struct Line(String);

impl Line {
    /// Writes a text from the gate, in which no character needs escaping.
    fn plain(&mut self, member: &str, value: Option<&str>) {
        self.0.push_str(member);
        match value {
            Some(value) => {
                self.0.push('"');
                self.0.push_str(value);
                self.0.push('"');
            }
            None => self.0.push_str("null"),
        }
    }

    /// Writes a text from outside, escaping it.
    fn text(&mut self, member: &str, value: Option<&[u8]>) {
        self.0.push_str(member);
        match value {
            Some(value) => self.quoted(value),
            None => self.0.push_str("null"),
        }
    }

    /// Writes what was proven about a token: who called, and by which key.
    fn caller(&mut self, provider: Option<&str>, proven: Option<&TokenFacts<'_>>) {
        self.plain(member!("provider"), provider);
        let issuer = proven.map(|proven| proven.issuer.as_str());
        self.text(member!("issuer"), issuer.map(str::as_bytes));
        let subject = proven.and_then(|proven| proven.subject);
        let subject = subject.map(Subject::as_str);
        self.text(member!("subject"), subject.map(str::as_bytes));
        let key = proven.and_then(|proven| proven.key.key_id());
        self.text(member!("key_id"), key.map(str::as_bytes));
    }

    /// Writes the beginning of a list and, if it was cut, how many more elements there are.
    /// `all` is the number of elements, if there are more than `values` yields.
    fn list<'a>(&mut self, member: &str, values: impl Iterator<Item = &'a [u8]>, all: usize) {
        self.0.push_str(member);
        self.0.push('[');
        let start = self.0.len();
        let mut written: usize = 0;
        let mut seen: usize = 0;
        for value in values {
            seen = seen.saturating_add(1);
            if written.saturating_add(1) < seen {
                continue;
            }
            let before = self.0.len();
            if before > start {
                self.0.push(',');
            }
            self.quoted(value);
            if self.0.len().saturating_sub(start) > MAX_LIST {
                self.0.truncate(before);
            } else {
                written = seen;
            }
        }
        self.0.push(']');
        let omitted = all.max(seen).saturating_sub(written);
        if omitted > 0 {
            let beginning = member.strip_suffix("\":").unwrap_or(member);
            let _ = write!(self.0, "{beginning}_omitted\":{omitted}");
        }
    }

    /// Writes what a token says about itself, which is not proven. An audience that is a list
    /// is written as one.
    fn claimed(&mut self, claimed: &Claimed) {
        let issuer = claimed.issuer.as_deref().map(str::as_bytes);
        self.text(member!("claimed_issuer"), issuer);
        match &claimed.audience {
            ClaimedAudience::Unreadable => self.text(member!("claimed_audience"), None),
            ClaimedAudience::One(one) => {
                self.text(member!("claimed_audience"), Some(one.as_bytes()));
            }
            ClaimedAudience::List { first, all } => {
                let first = first.iter().map(|audience| audience.as_bytes());
                self.list(member!("claimed_audience"), first, *all);
            }
        }
        let key_id = claimed.key_id.as_deref().map(str::as_bytes);
        self.text(member!("claimed_key_id"), key_id);
    }

    /// Writes which of a token's groups could not be used, if there are any.
    fn listing(&mut self, listing: &Listing, sources: &[GroupSource]) {
        if !listing.unread.is_empty() {
            let sources = listing.unread.iter().filter_map(|at| sources.get(*at));
            let paths = sources.take(MAX_UNREAD).map(|source| spelt(&source.path));
            let paths: Vec<_> = paths.collect();
            let paths = paths.iter().map(|path| path.as_bytes());
            self.list(member!("groups_unread"), paths, listing.unread.len());
        }
        if listing.overage {
            self.0.push_str(",\"groups_overage\":true");
        }
        if listing.dropped > 0 {
            let _ = write!(self.0, ",\"groups_dropped\":{}", listing.dropped);
        }
    }

    fn quoted(&mut self, value: &[u8]) {
        let bounded = bounded(value);
        let plain = |byte: &u8| matches!(byte, 0x20..=0x7e) && !matches!(byte, b'"' | b'\\');
        match std::str::from_utf8(bounded) {
            Ok(text) if bounded.iter().all(plain) => {
                self.0.push('"');
                self.0.push_str(text);
                self.0.push('"');
            }
            _ => {
                self.0.push('"');
                let start = self.0.len();
                for character in String::from_utf8_lossy(bounded).chars() {
                    let before = self.0.len();
                    self.escaped(character);
                    if self.0.len().saturating_sub(start) > MAX_WRITTEN {
                        self.0.truncate(before);
                        break;
                    }
                }
                self.0.push('"');
            }
        }
    }

    /// Writes a character of a JSON string (RFC 8259 §7).
    fn escaped(&mut self, character: char) {
        match character {
            '"' => self.0.push_str("\\\""),
            '\\' => self.0.push_str("\\\\"),
            '\n' => self.0.push_str("\\n"),
            '\r' => self.0.push_str("\\r"),
            '\t' => self.0.push_str("\\t"),
            // Some readers of logs take more than `\n` for the end of a line.
            hidden if is_hidden(hidden) => {
                let _ = write!(self.0, "\\u{:04x}", u32::from(character));
            }
            plain => self.0.push(plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(value: &[u8]) -> String {
        let mut line = Line(String::new());
        line.quoted(value);
        line.0
    }

    #[test]
    fn hostile_bytes_cannot_break_out_of_a_field() {
        let plain = "\"a\\\"b\\\\c\\n\\u0000\u{fffd}\"";
        assert_eq!(quoted(b"a\"b\\c\n\x00\xff"), plain);
        let separators = quoted("\u{2028}\u{2029}\u{7f}\u{85}\r\té".as_bytes());
        assert_eq!(separators, "\"\\u2028\\u2029\\u007f\\u0085\\r\\té\"");
        for character in (0..=0x10_ffff).filter_map(char::from_u32) {
            let text = character.to_string();
            let written = quoted(text.as_bytes());
            assert_eq!(serde_json::from_str::<String>(&written).unwrap(), text);
        }
    }

    #[test]
    fn texts_are_bounded_as_they_come_and_as_they_are_written() {
        assert_eq!(quoted(&[b'a'; 1000]).len(), 258);
        assert_eq!(quoted(&[0; 1000]), format!("\"{}\"", "\\u0000".repeat(85)));
    }

    fn list(values: &[&str]) -> String {
        let mut line = Line(String::new());
        line.list(
            member!("tenants"),
            values.iter().map(|value| value.as_bytes()),
            0,
        );
        line.0
    }

    #[test]
    fn the_status_of_a_record_may_come_later() {
        let beginning = "{\"code\":\"allowed\",\"status\":";
        let mut record = Record {
            line: beginning.to_owned(),
            known: beginning.len(),
        };
        let mut line = record.with_status(None).to_owned();
        assert_eq!(line, "{\"code\":\"allowed\",\"status\":null}");
        assert_eq!(record.with_status(Some(404)), beginning.to_owned() + "404}");
        add_status(&mut line, 200);
        assert_eq!(line, beginning.to_owned() + "200}");
        // One that is known stays.
        add_status(&mut line, 503);
        assert_eq!(line, beginning.to_owned() + "200}");
    }

    #[test]
    fn lists_are_bounded_and_tell_how_much_is_left_out() {
        assert_eq!(list(&[]), ",\"tenants\":[]");
        assert_eq!(list(&["a", "b"]), ",\"tenants\":[\"a\",\"b\"]");
        let long = "t".repeat(150);
        let line = list(&[long.as_str(); 64]);
        assert!(line.ends_with(",\"tenants_omitted\":58"), "{line}");
        assert_eq!(line.matches(&long).count(), 6);
        // As many names as there is room for, and one more.
        let names: Vec<String> = (0..64)
            .map(|number| format!("tenant-{number:06}"))
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert!(!list(&names).contains("omitted"));
        let more: Vec<&str> = names.iter().copied().chain(["x"]).collect();
        assert!(list(&more).ends_with(",\"tenants_omitted\":1"));
    }
}
