//! A number that identifies a configuration document and that a gauge can show.
//!
//! The number is the first 48 bits of SHA-256 over the document as canonical JSON. Two gates
//! therefore show the same number exactly if they use the same document, whether they received
//! it as YAML, as JSON or as a protobuf Struct. A double represents 48 bits exactly.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::authn::json::{Number, Object, Value};

/// The first 48 bits of the hash.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Fingerprint([u8; 6]);

/// The hash over canonical JSON, in the spirit of RFC 8785: members are sorted by the bytes of
/// their names, whole numbers are written without a fraction, and strings escape nothing except
/// `"`, `\` and control characters.
struct Canonical(Sha256);

impl Fingerprint {
    /// The fingerprint of a whole document. `overrides` are the names and values that override
    /// the document.
    #[must_use]
    pub fn of(document: &Object, overrides: &[(String, String)]) -> Self {
        let mut canonical = Canonical(Sha256::new());
        canonical.object(document);
        for (name, value) in overrides {
            canonical.string(name);
            canonical.string(value);
        }
        canonical.finish()
    }

    /// The fingerprint of one member of a document.
    #[must_use]
    pub fn of_member(document: &Object, name: &str) -> Self {
        let mut canonical = Canonical(Sha256::new());
        if let Some(value) = document.get(name) {
            canonical.value(value);
        }
        canonical.finish()
    }

    /// The number that a gauge shows.
    #[must_use]
    pub fn number(self) -> u64 {
        let bytes = self.0.into_iter();
        bytes.fold(0, |number, byte| (number << 8) | u64::from(byte))
    }
}

/// Writes twelve hexadecimal digits: the beginning of the SHA-256.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.0.iter();
        bytes.try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Canonical {
    fn finish(self) -> Fingerprint {
        let digest: [u8; 32] = self.0.finalize().into();
        let mut first = [0; 6];
        for (to, from) in first.iter_mut().zip(digest) {
            *to = from;
        }
        Fingerprint(first)
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.text("null"),
            Value::Bool(flag) => self.text(if *flag { "true" } else { "false" }),
            Value::Number(number) => self.number(*number),
            Value::String(text) => self.string(text),
            Value::Object(object) => self.object(object),
            Value::Array(elements) => {
                self.text("[");
                for element in elements {
                    self.value(element);
                    self.text(",");
                }
                self.text("]");
            }
        }
    }

    fn object(&mut self, object: &Object) {
        let mut members: Vec<_> = object.iter().collect();
        members.sort_unstable_by_key(|(name, _)| *name);
        self.text("{");
        for (name, value) in members {
            self.string(name);
            self.text(":");
            self.value(value);
            self.text(",");
        }
        self.text("}");
    }

    /// A Struct holds only doubles, so a double without a fraction is hashed as the integer
    /// that it stands for.
    fn number(&mut self, number: Number) {
        let text = match number {
            Number::Unsigned(number) => number.to_string(),
            Number::Negative(number) => number.to_string(),
            Number::Float(number) => number.to_string(),
        };
        self.text(&text);
    }

    fn string(&mut self, text: &str) {
        self.text("\"");
        let mut rest = text;
        while let Some(at) = rest.find(|c: char| c.is_control() || matches!(c, '"' | '\\')) {
            let (plain, special) = rest.split_at_checked(at).unwrap_or((rest, ""));
            self.text(plain);
            let mut chars = special.chars();
            if let Some(char) = chars.next() {
                self.text(&format!("\\u{:04x}", u32::from(char)));
            }
            rest = chars.as_str();
        }
        self.text(rest);
        self.text("\"");
    }

    fn text(&mut self, text: &str) {
        self.0.update(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::json;

    fn of(document: &str) -> Fingerprint {
        let object = json::parse_object(document.as_bytes(), 32).unwrap();
        Fingerprint::of(&object, &[])
    }

    #[test]
    fn the_same_document_has_the_same_number_however_it_is_written() {
        let plain = of(r#"{"a":1,"b":["x",true,null],"c":{"d":"é\n"}}"#);
        for other in [
            r#"{ "b": ["x", true, null], "c": {"d": "\u00e9\u000a"}, "a": 1 }"#,
            r#"{"a":1.0,"c":{"d":"é\n"},"b":["x",true,null]}"#,
            r#"{"a":1e0,"b":["x",true,null],"c":{"d":"é\n"}}"#,
        ] {
            assert_eq!(of(other), plain, "{other}");
        }
    }

    #[test]
    fn another_document_has_another_number() {
        let documents = [
            r#"{"a":1}"#,
            r#"{"a":2}"#,
            r#"{"a":"1"}"#,
            r#"{"a":-1}"#,
            r#"{"a":1.5}"#,
            r#"{"a":[1]}"#,
            r#"{"a":[[1]]}"#,
            r#"{"a":[1,1]}"#,
            r#"{"a":["b","c"]}"#,
            r#"{"a":["b\",\"c"]}"#,
            r#"{"a":{"b":1}}"#,
            r#"{"a":null}"#,
            "{}",
        ];
        for (at, one) in documents.iter().enumerate() {
            for other in &documents[at + 1..] {
                assert_ne!(of(one), of(other), "{one} {other}");
            }
        }
    }

    #[test]
    fn overrides_count_and_a_gauge_keeps_every_bit() {
        let object = json::parse_object(b"{}", 32).unwrap();
        let pair = |value: &str| [("SCOPEGATE_LOKI_ENABLED".to_owned(), value.to_owned())];
        let on = Fingerprint::of(&object, &pair("true"));
        assert_ne!(on, Fingerprint::of(&object, &pair("false")));
        assert_ne!(on, Fingerprint::of(&object, &[]));
        assert!(on.number() < 1 << 48);
        assert_eq!(format!("{:012x}", on.number()), on.to_string());
    }
}
