//! Prints an explanation, for people and for programs.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::builder::styling::{AnsiColor, Style};
use serde_json::{Value, json};

use crate::reply::Reply;
use crate::words::request::BACKEND_HEADER;
use crate::words::verdict::Verdict;
use crate::words::wire::is_hidden;

use super::parameters::Changed;
use super::presented::Presented;
use super::rehearsal::{Change, Fate, Forwarded};
use super::request::Request;
use super::steps::{Result, Step};

/// The longest body that is shown to people, in bytes.
const MAX_SHOWN: usize = 4_096;

/// Everything there is to report about a request.
pub(super) struct Report<'a> {
    pub(super) steps: Vec<Step>,
    pub(super) verdict: Option<Verdict>,
    pub(super) request: &'a Request,
    pub(super) fate: &'a Fate,
    pub(super) changed: Vec<Changed>,
    /// The parameters that would be changed in `mode: enforce`.
    pub(super) enforced: &'a [Changed],
    pub(super) record: Option<&'a str>,
    pub(super) notes: Vec<String>,
    pub(super) presented: &'a Presented,
}

impl Report<'_> {
    /// Whether the request was refused but passes nevertheless, because the mode is `report`.
    fn is_report_only(&self) -> bool {
        let denied = matches!(self.verdict, Some(Verdict::Denied(_)));
        denied && matches!(self.fate, Fate::Forwarded { .. })
    }

    fn decision(&self) -> &'static str {
        match (self.is_report_only(), self.verdict) {
            (true, _) => "report",
            (false, Some(verdict)) => verdict.decision(),
            (false, None) => "answer",
        }
    }

    fn code(&self) -> String {
        match (self.verdict, self.fate) {
            (Some(verdict), _) => verdict.code().to_owned(),
            // The details have the form `scopegate{code}`.
            (None, Fate::Answered(reply)) => {
                let code = reply.details.strip_prefix("scopegate{");
                let code = code.and_then(|rest| rest.strip_suffix('}'));
                code.unwrap_or_default().to_owned()
            }
            (None, Fate::Forwarded { .. }) => String::new(),
        }
    }

    /// The report for people. `styled` adds colours for a terminal.
    pub(super) fn text(&self, styled: bool) -> String {
        let paint = |style: Style, text: &str| {
            if styled {
                format!("{style}{text}{style:#}")
            } else {
                text.to_owned()
            }
        };
        let good = AnsiColor::Green.on_default().bold();
        let bad = AnsiColor::Red.on_default().bold();
        let faint = Style::new().dimmed();
        let mut text = String::new();
        for step in &self.steps {
            let (mark, style) = match step.result {
                Result::Passed => ("ok     ", good),
                Result::Answered => ("answer ", good),
                Result::Refused => ("refused", bad),
                Result::NotReached => ("-      ", faint),
            };
            let mut lines = step.found.iter();
            let first = lines.next().map(|line| plain(line)).unwrap_or_default();
            let name = step.stage.name();
            let line = format!("{}  {name:<15}{first}", paint(style, mark));
            let _ = writeln!(text, "{}", line.trim_end());
            for line in lines {
                let _ = writeln!(text, "{:24}{}", "", plain(line));
            }
        }
        let code = self.code();
        let verdict = match (self.decision(), self.verdict) {
            ("report", Some(verdict)) => paint(
                bad,
                &format!(
                    "WOULD BE REFUSED with {} {code}; passes, because of mode: report",
                    verdict.status().unwrap_or_default()
                ),
            ),
            ("deny", Some(verdict)) => paint(
                bad,
                &format!("REFUSED: {} {code}", verdict.status().unwrap_or_default()),
            ),
            ("allow", _) => paint(good, "ALLOWED"),
            _ => paint(good, &format!("ANSWERED by the gate: {code}")),
        };
        let _ = writeln!(text, "\n{verdict}");
        match self.fate {
            Fate::Answered(reply) => self.push_reply(&mut text, reply),
            Fate::Forwarded { request, response } => {
                self.push_forwarded(&mut text, request, response, styled);
            }
        }
        if let Some(record) = self.record {
            let _ = writeln!(text, "\nThe record:\n  {record}");
        }
        if !self.notes.is_empty() {
            text.push_str("\nNotes:\n");
            for note in &self.notes {
                let _ = writeln!(text, "  - {note}");
            }
        }
        self.presented.masked(&text)
    }

    fn push_reply(&self, text: &mut String, reply: &Reply) {
        text.push_str("\nThe client gets:\n");
        let is_grpc =
            self.request.headers.iter().any(|(name, value)| {
                name == b"content-type" && value.starts_with(b"application/grpc")
            });
        if reply.grpc_status.is_none() && is_grpc {
            let status = reply.status;
            let _ = writeln!(
                text,
                "  HTTP 200 without a body, as Envoy answers gRPC: {status} as a grpc-status"
            );
        } else if let Some(status) = reply.grpc_status {
            let message = String::from_utf8_lossy(&reply.body);
            let _ = writeln!(
                text,
                "  HTTP 200, grpc-status {status}, grpc-message: {message}"
            );
        } else {
            let _ = writeln!(text, "  HTTP {}", reply.status);
        }
        for (name, value) in &reply.headers {
            let _ = writeln!(text, "  {name}: {value}");
        }
        if reply.grpc_status.is_none() && !is_grpc && self.request.method != b"HEAD" {
            push_body(text, &reply.body);
        }
        text.push_str("\nThe backend sees nothing.\n");
    }

    fn push_forwarded(
        &self,
        text: &mut String,
        forwarded: &Forwarded,
        response: &[Change],
        styled: bool,
    ) {
        for changed in &self.changed {
            push_changed(text, changed, "", styled);
        }
        for changed in self.enforced {
            push_changed(text, changed, ", in mode: enforce", styled);
        }
        let Some(backend) = value_of(forwarded, BACKEND_HEADER.as_bytes()) else {
            text.push_str("\nNone of the shipped routes takes it: Envoy answers 404.\n");
            return;
        };
        let backend = lossy(backend);
        let _ = writeln!(text, "\nThe backend ({backend}) sees:");
        let line = |name: &[u8]| value_of(forwarded, name).map(lossy).unwrap_or_default();
        let _ = writeln!(text, "  {} {}", line(b":method"), line(b":path"));
        for (name, value) in shown_headers(forwarded) {
            let value = self.presented.masked_header(name, value);
            let _ = writeln!(text, "  {}: {}", lossy(name), lossy(&value));
        }
        match &forwarded.body {
            Some(body) => push_body(text, body),
            None if self.request.body.is_empty() => {}
            None => {
                let size = self.request.body.len();
                let _ = writeln!(text, "\n  (the body as it came: {size} bytes)");
            }
        }
        text.push_str("\nThe client gets the backend's answer");
        if response.is_empty() {
            text.push_str(".\n");
            return;
        }
        text.push_str(", changed:\n");
        for change in response {
            let _ = match change {
                Change::Add(name, value) | Change::Set(name, value) => {
                    writeln!(text, "  {}: {}", lossy(name), lossy(value))
                }
                Change::Remove(name) => writeln!(text, "  without {}", lossy(name)),
            };
        }
    }

    /// The report for programs: one JSON document.
    pub(super) fn json(&self) -> String {
        let steps = self.steps.iter().map(|step| {
            json!({
                "step": step.stage.name(),
                "result": step.result.name(),
                "found": step.found,
            })
        });
        let (reply, forwarded) = match self.fate {
            Fate::Answered(reply) => (self.reply(reply), Value::Null),
            Fate::Forwarded { request, response } => {
                (Value::Null, self.forwarded(request, response))
            }
        };
        let message = match self.verdict {
            Some(Verdict::Denied(denial)) => Some(denial.message()),
            _ => None,
        };
        let parameters = |changed: &[Changed]| -> Vec<Value> {
            let changed = changed.iter().map(|changed| {
                json!({
                    "parameter": changed.name,
                    "before": changed.before,
                    "after": changed.after,
                    "pieces": changed.pieces().map(|pieces| {
                        let pieces = pieces.into_iter();
                        let pieces = pieces.map(|piece| {
                            json!({"text": piece.text, "inserted": piece.is_inserted})
                        });
                        pieces.collect::<Vec<_>>()
                    }),
                })
            });
            changed.collect()
        };
        let record: Option<Value> = self.record.and_then(|it| serde_json::from_str(it).ok());
        let document = json!({
            "decision": self.decision(),
            "code": self.code(),
            "status": self.verdict.and_then(Verdict::status),
            "message": message,
            "steps": steps.collect::<Vec<_>>(),
            "reply": reply,
            "forwarded": forwarded,
            "parameters": parameters(&self.changed),
            "enforced_parameters": parameters(self.enforced),
            "record": record,
            "notes": self.notes,
        });
        let text = serde_json::to_string_pretty(&document).unwrap_or_default();
        self.presented.masked(&format!("{text}\n"))
    }

    fn reply(&self, reply: &Reply) -> Value {
        let headers = reply.headers.iter();
        let headers: Vec<Value> = headers.map(|(name, value)| json!([name, value])).collect();
        json!({
            "status": reply.status,
            "grpc_status": reply.grpc_status,
            "headers": headers,
            "body": self.bytes(&reply.body),
        })
    }

    fn forwarded(&self, forwarded: &Forwarded, response: &[Change]) -> Value {
        let value = |name: &[u8]| value_of(forwarded, name).map(|value| self.bytes(value));
        let headers = shown_headers(forwarded).map(|(name, value)| {
            let value = self.presented.masked_header(name, value);
            json!([lossy(name), self.bytes(&value)])
        });
        let response = response.iter().map(|change| match change {
            Change::Add(name, value) | Change::Set(name, value) => {
                json!([lossy(name), lossy(value)])
            }
            Change::Remove(name) => json!([lossy(name), null]),
        });
        json!({
            "backend": value(BACKEND_HEADER.as_bytes()),
            "method": value(b":method"),
            "path": value(b":path"),
            "headers": headers.collect::<Vec<_>>(),
            "body": forwarded.body.as_ref().map(|body| self.bytes(body)),
            "response": response.collect::<Vec<_>>(),
        })
    }

    /// The bytes as a text, or as an object with base64 if they are not UTF-8. Tokens are masked.
    fn bytes(&self, bytes: &[u8]) -> Value {
        let bytes = self.presented.masked_bytes(bytes);
        match String::from_utf8(bytes) {
            Ok(text) => Value::String(text),
            Err(error) => json!({"base64": STANDARD.encode(error.as_bytes())}),
        }
    }
}

fn push_changed(text: &mut String, changed: &Changed, when: &str, styled: bool) {
    let shown = |value: &Option<String>| match value {
        Some(value) => plain(value),
        None => "(not there)".to_owned(),
    };
    let after = match changed.pieces().filter(|_| styled) {
        Some(pieces) => {
            let style = AnsiColor::Green.on_default().bold();
            let pieces = pieces.into_iter().map(|piece| {
                let text = plain(&piece.text);
                if piece.is_inserted {
                    format!("{style}{text}{style:#}")
                } else {
                    text
                }
            });
            pieces.collect()
        }
        None => shown(&changed.after),
    };
    let _ = writeln!(text, "\nThe parameter {}{when}:", plain(&changed.name));
    let _ = writeln!(text, "  before  {}", shown(&changed.before));
    let _ = writeln!(text, "  after   {after}");
}

fn value_of<'f>(forwarded: &'f Forwarded, name: &[u8]) -> Option<&'f [u8]> {
    let found = forwarded.fields.iter().find(|(known, _)| known == name);
    found.map(|(_, value)| value.as_slice())
}

/// The headers that are shown: all but the pseudo-headers and the one that chooses the route,
/// which does not reach the backend.
fn shown_headers(forwarded: &Forwarded) -> impl Iterator<Item = (&[u8], &[u8])> {
    let fields = forwarded.fields.iter();
    let shown =
        fields.filter(|(name, _)| !name.starts_with(b":") && name != BACKEND_HEADER.as_bytes());
    shown.map(|(name, value)| (name.as_slice(), value.as_slice()))
}

fn push_body(text: &mut String, body: &[u8]) {
    if body.is_empty() {
        return;
    }
    let printable = |c: char| !c.is_control() || matches!(c, '\n' | '\t' | '\r');
    match std::str::from_utf8(body) {
        Ok(body) if body.len() <= MAX_SHOWN && body.chars().all(printable) => {
            text.push('\n');
            for line in body.lines() {
                let _ = writeln!(text, "  {line}");
            }
        }
        _ => {
            let _ = writeln!(text, "\n  (a body of {} bytes)", body.len());
        }
    }
}

/// The bytes as a text that is safe to print on a terminal.
fn lossy(bytes: &[u8]) -> String {
    plain(&String::from_utf8_lossy(bytes))
}

/// The text in a form that is safe to print on a terminal: hidden characters are escaped.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) {
            plain.extend(c.escape_default());
        } else {
            plain.push(c);
        }
    }
    plain
}
