//! The record of a decision: the same fields for allow and deny, one JSON line.
//!
//! It holds proven facts and the request's own words about the tenant, never a
//! token. Control characters are escaped by JSON, bytes outside UTF-8 replaced,
//! and every text is bounded, so that a caller cannot forge or flood a log.

use crate::config::Config;
use crate::gate::Trace;
use crate::words::denial::Denial;
use crate::words::identity::ProviderIndex;
use crate::words::request::Head;
use crate::words::tenant::TenantSet;
use crate::words::time::Timestamp;
use crate::words::wire::push_rfc3339;

/// Longest text of one field, in bytes.
const MAX_FIELD: usize = 256;

/// What a record says besides what was found out on the way.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// When it was decided.
    pub time: Timestamp,
    /// Why not; `None` is an allow.
    pub denial: Option<Denial>,
    /// The peer's address as the proxy states it.
    pub source: Option<&'a [u8]>,
    /// Whether a refusal was only recorded (`mode: report`).
    pub reported: bool,
}

/// A record that lacks only the status, which may come later.
#[derive(Clone, Debug)]
pub struct Record(String);

impl Record {
    /// The complete line. `None` says that no status is known.
    #[must_use]
    pub fn with_status(&self, status: Option<u16>) -> String {
        let status = status.map_or("null".to_owned(), |status| status.to_string());
        [self.0.as_str(), ",\"status\":", &status, "}"].concat()
    }
}

/// Writes the record.
#[must_use]
pub fn record(config: &Config, head: &Head<'_>, trace: &Trace<'_>, facts: Facts<'_>) -> Record {
    let mut line = Line(String::with_capacity(512));
    line.0.push('{');
    line.0.push_str("\"time\":\"");
    push_rfc3339(&mut line.0, facts.time);
    line.0.push('"');
    line.text("request_id", head.request_id.once());
    let decision = match (facts.denial, facts.reported) {
        (None, _) => "allow",
        (Some(_), false) => "deny",
        (Some(_), true) => "report",
    };
    line.plain("decision", Some(decision));
    line.plain("code", Some(facts.denial.map_or("allowed", Denial::code)));
    let session = trace.session.as_deref();
    let provider = session.and_then(|session| {
        let ProviderIndex(position) = session.principal.provider;
        config
            .providers
            .get(position)
            .map(|provider| &provider.rules)
    });
    line.plain("provider", provider.map(|p| p.name.as_str()));
    line.text("issuer", provider.map(|p| p.issuer.as_str().as_bytes()));
    let subject = session.map(|session| session.principal.subject.as_str());
    line.text("subject", subject.map(str::as_bytes));
    let key = session.and_then(|session| session.key.key_id());
    line.text("key_id", key.map(str::as_bytes));
    let organizations = match (session, &trace.tenants, trace.endpoint) {
        (Some(session), Some(tenants), Some(endpoint)) => {
            config
                .policy
                .organizations(&session.principal, tenants, endpoint.permission)
        }
        _ => Vec::new(),
    };
    line.list("organizations", organizations.iter().map(|o| o.as_bytes()));
    let tenants = trace.tenants.iter().flat_map(TenantSet::iter);
    let tenant = trace.tenant.iter().map(|tenant| tenant.as_bytes());
    line.list("tenants", tenants.chain(tenant));
    line.plain("endpoint", trace.endpoint.map(|e| e.template));
    line.plain("backend", trace.endpoint.map(|e| e.backend.name()));
    line.plain("permission", trace.endpoint.map(|e| e.permission.name()));
    let scope = trace.scope.as_ref().map(|scope| scope.summary());
    line.text("scope", scope.as_ref().map(String::as_bytes));
    line.text("source", facts.source);
    Record(line.0)
}

/// The beginning of a text, cut between two characters if it is UTF-8.
fn bounded(value: &[u8]) -> &[u8] {
    let Some((mut beginning, [next, ..])) = value.split_at_checked(MAX_FIELD) else {
        return value;
    };
    let mut next = *next;
    // At most three bytes of a character stand behind its first one.
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
    /// A text of ours: no character needs escaping.
    fn plain(&mut self, name: &str, value: Option<&str>) {
        self.name(name);
        match value {
            Some(value) => {
                self.0.push('"');
                self.0.push_str(value);
                self.0.push('"');
            }
            None => self.0.push_str("null"),
        }
    }

    /// A text of theirs.
    fn text(&mut self, name: &str, value: Option<&[u8]>) {
        self.name(name);
        match value {
            Some(value) => self.quoted(value),
            None => self.0.push_str("null"),
        }
    }

    fn list<'a>(&mut self, name: &str, values: impl Iterator<Item = &'a [u8]>) {
        self.name(name);
        self.0.push('[');
        for (position, value) in values.enumerate() {
            if position > 0 {
                self.0.push(',');
            }
            self.quoted(value);
        }
        self.0.push(']');
    }

    fn name(&mut self, name: &str) {
        self.0.push_str(",\"");
        self.0.push_str(name);
        self.0.push_str("\":");
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
                let text = String::from_utf8_lossy(bounded);
                match serde_json::to_string(&text) {
                    Ok(quoted) => self.0.push_str(&quoted),
                    Err(_) => self.0.push_str("null"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_bytes_cannot_break_out_of_a_field() {
        let mut line = Line(String::new());
        line.quoted(b"a\"b\\c\n\x00\xff");
        assert_eq!(line.0, "\"a\\\"b\\\\c\\n\\u0000\u{fffd}\"");
        let mut line = Line(String::new());
        line.quoted(&[b'a'; 1000]);
        assert_eq!(line.0.len(), 258);
    }
}
