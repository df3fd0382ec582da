//! Writes organizations in the form in which people write them in a configuration.
//!
//! The text means the same to every reader of YAML: to those of version 1.1, which take `no`
//! for false and `1_000` for a number, and to those of version 1.2.

use std::fmt::Write as _;

use serde_json::Value;

use super::organization::{Organization, Tenant};

/// Writes the `organizations` section.
#[must_use]
pub fn section(organizations: &[Organization]) -> String {
    if organizations.is_empty() {
        return "organizations: []\n".to_owned();
    }
    let items = organizations.iter().map(|it| item(it, 2));
    ["organizations:\n".to_owned()]
        .into_iter()
        .chain(items)
        .collect()
}

/// Writes one element of the section, with its dash at column `indent`.
#[must_use]
pub fn item(organization: &Organization, indent: usize) -> String {
    let dash = " ".repeat(indent);
    let inner = " ".repeat(indent.saturating_add(2));
    let mut text = format!("{dash}- name: {}\n", scalar(&organization.name));
    let _ = writeln!(
        text,
        "{inner}display_name: {}",
        scalar(&organization.display_name)
    );
    if organization.tenants.is_empty() {
        let _ = writeln!(text, "{inner}tenants: []");
    } else {
        let _ = writeln!(text, "{inner}tenants:");
    }
    for tenant in &organization.tenants {
        let _ = writeln!(text, "{inner}  - {}", tenant_text(tenant));
    }
    let roles = organization.rbac.held();
    if roles.is_empty() {
        let _ = writeln!(text, "{inner}rbac: {{}}");
    } else {
        let _ = writeln!(text, "{inner}rbac:");
    }
    for (role, groups) in roles {
        let groups: Vec<String> = groups.iter().map(|group| scalar(group)).collect();
        let _ = writeln!(text, "{inner}  {role}: [{}]", groups.join(", "));
    }
    text
}

/// Writes an element that somebody else has written on one line. JSON is YAML too.
#[must_use]
pub fn foreign_item(value: &Value, indent: usize) -> String {
    format!("{}- {}\n", " ".repeat(indent), flow(value))
}

fn tenant_text(tenant: &Tenant) -> String {
    let name = scalar(&tenant.name);
    if tenant.is_plain() {
        return name;
    }
    let types = tenant.types.names().join(", ");
    let reserved = if tenant.reserved {
        ", allow_reserved: true"
    } else {
        ""
    };
    format!("{{name: {name}, types: [{types}]{reserved}}}")
}

fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        Value::Array(elements) => {
            let elements: Vec<String> = elements.iter().map(flow).collect();
            format!("[{}]", elements.join(", "))
        }
        Value::Object(members) => {
            let member =
                |(name, value): (&String, &Value)| format!("{}: {}", scalar(name), flow(value));
            let members: Vec<String> = members.iter().map(member).collect();
            format!("{{{}}}", members.join(", "))
        }
        other => other.to_string(),
    }
}

/// Writes a string, in quotes unless it cannot be taken for anything else.
fn scalar(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            ' '..='~' => quoted.push(letter),
            letter if letter.is_alphanumeric() => quoted.push(letter),
            // Among these are line breaks that only YAML knows, and characters that it refuses
            // unescaped.
            letter => {
                let code = u32::from(letter);
                let _ = if code > 0xffff {
                    write!(quoted, "\\U{code:08x}")
                } else {
                    write!(quoted, "\\u{code:04x}")
                };
            }
        }
    }
    quoted.push('"');
    quoted
}

/// Whether a text begins with a letter, has only letters, digits, `-` and `_`, and is not a
/// word that has a meaning in YAML 1.1.
fn is_plain(text: &str) -> bool {
    let words = [
        "y", "yes", "n", "no", "true", "false", "on", "off", "null", "nan", "inf",
    ];
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(plain)
        && !words.iter().any(|word| text.eq_ignore_ascii_case(word))
}
