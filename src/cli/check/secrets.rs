//! Secrets, which must not be repeated on a terminal or in the log of a pipeline.

use std::ops::Range;

use super::tree::{Node, Value};

/// Members whose texts are treated as secrets wherever they appear, because people paste secrets
/// there.
const SECRETS: [&str; 9] = [
    "client_secret",
    "clientSecret",
    "secret",
    "password",
    "access_token",
    "refresh_token",
    "private_key",
    "inline_bytes",
    "authorization",
];

/// Members that only a private (RFC 7518 §6) or a symmetric JWK has.
const PRIVATE: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "k"];

/// The pieces of a text that hold secrets.
pub(super) fn spans(root: &Node) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    root.walk(&mut |node| {
        spans.extend(of_variables(node));
        let is_key = node.member("kty").is_some();
        for member in node.members() {
            let name = member.name.as_str();
            let secret = SECRETS.contains(&name) || (is_key && PRIVATE.contains(&name));
            if let Value::Text(text) = &member.value.value
                && secret
                // `forward.authorization` takes these words, which are not secrets.
                && !matches!(text.text.as_str(), "strip" | "keep")
            {
                spans.push(member.value.span.clone());
            }
        }
    });
    spans
}

/// The values of environment variables, except for those named `SCOPEGATE_…`.
fn of_variables(node: &Node) -> Vec<Range<usize>> {
    let hidden = |name: &str| !name.starts_with("SCOPEGATE_");
    let mut spans = Vec::new();
    if let Some(given) = node.field("key_values") {
        let given = given.value.members().iter();
        let given = given.filter(|member| hidden(&member.name));
        spans.extend(given.map(|member| member.value.span.clone()));
    }
    for entry in node.list("env") {
        if let (Some(name), Some(value)) = (entry.text_of("name"), entry.get("value"))
            && hidden(name)
        {
            spans.push(value.span.clone());
        }
    }
    spans
}

/// The text with every byte of its secrets replaced by `*`, except for white space. It has the
/// same length.
pub(super) fn masked(text: &str, spans: &[Range<usize>]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for span in spans {
        for byte in bytes.get_mut(span.clone()).into_iter().flatten() {
            if !byte.is_ascii_whitespace() {
                *byte = b'*';
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_default()
}
