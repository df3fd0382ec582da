//! Strict parsing of JSON: whatever two parsers could understand differently is an error.
//!
//! serde_json does the lexing (RFC 8259: UTF-8, no lone surrogates, no trailing bytes, numbers
//! in range). These rules are added to it:
//!
//! 1. Member names are unique at every depth (RFC 7515 §4, RFC 7519 §4). Escapes are resolved
//!    first, so `"alg"` and `"\u0061lg"` collide.
//! 2. Nesting is at most what the caller allows.
//! 3. [`parse_object`] accepts nothing but an object at the top.

use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};

/// The nesting that tokens and key sets may use. Real ones have three or four levels.
pub const MAX_DEPTH: usize = 16;

/// Above this number of members a set is used to find repeats; up to it, a scan is cheaper.
const SCAN_MEMBERS: usize = 16;

/// A JSON value whose objects have distinct member names, in document order.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// An array.
    Array(Vec<Value>),
    /// `true` or `false`.
    Bool(bool),
    /// The value `null`.
    Null,
    /// A number that fits `u64`, `i64` or a finite `f64`.
    Number(Number),
    /// An object.
    Object(Object),
    /// A string.
    String(String),
}

/// A JSON number, as precise as its text allows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// A whole number below zero.
    Negative(i64),
    /// A whole number of zero or more.
    Unsigned(u64),
    /// A number with a fraction or an exponent, or a whole number beyond 64 bits.
    Float(f64),
}

/// Members with distinct names, in document order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object(Vec<(String, Value)>);

impl Object {
    /// The member of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0
            .iter()
            .find(|(member, _)| member == name)
            .map(|(_, value)| value)
    }

    /// The member of that name, together with its name as stored here.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<(&str, &Value)> {
        self.iter().find(|(member, _)| *member == name)
    }

    /// Whether there is a member of that name, `null` included.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The members in document order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

impl Value {
    /// The text of a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The members of an object.
    #[must_use]
    pub const fn as_object(&self) -> Option<&Object> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The elements of an array.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(elements) => Some(elements),
            _ => None,
        }
    }

    /// The kind of the value, for messages.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Array(_) => "a list",
            Self::Bool(_) => "true or false",
            Self::Null => "null",
            Self::Number(_) => "a number",
            Self::Object(_) => "an object",
            Self::String(_) => "a string",
        }
    }
}

/// Why bytes are not accepted as JSON.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum JsonError {
    /// A member name occurs twice in one object.
    Duplicate(String),
    /// The document is valid JSON, but not an object at the top.
    NotAnObject,
    /// The document is not JSON. The position is the one that serde_json reports.
    Syntax {
        /// The line, counted from 1.
        line: usize,
        /// The column, counted from 1.
        column: usize,
    },
    /// The document is nested deeper than the limit.
    TooDeep,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duplicate(name) => write!(f, "the name {name:?} stands twice in one object"),
            Self::NotAnObject => f.write_str("not a JSON object"),
            Self::Syntax { line, column } => {
                write!(f, "not valid JSON at line {line}, column {column}")
            }
            Self::TooDeep => f.write_str("nested too deeply"),
        }
    }
}

/// Parses a document that must be one object, nested at most `depth` levels.
///
/// # Errors
/// The first rule of the module documentation that the bytes break.
pub fn parse_object(bytes: &[u8], depth: usize) -> Result<Object, JsonError> {
    match parse(bytes, depth)? {
        Value::Object(object) => Ok(object),
        _ => Err(JsonError::NotAnObject),
    }
}

/// Parses any JSON value, nested at most `depth` levels.
///
/// # Errors
/// The same as for [`parse_object`].
pub fn parse(bytes: &[u8], depth: usize) -> Result<Value, JsonError> {
    let refusal = Cell::new(None);
    let seed = Strict {
        depth,
        refusal: &refusal,
    };
    let mut lexer = serde_json::Deserializer::from_slice(bytes);
    let value = seed.deserialize(&mut lexer);
    let end = value.and_then(|value| lexer.end().map(|()| value));
    end.map_err(|error| {
        refusal.take().unwrap_or(JsonError::Syntax {
            line: error.line(),
            column: error.column(),
        })
    })
}

/// Carries the remaining depth down, and the refusal up, which serde's error type could carry
/// only as text.
#[derive(Clone, Copy)]
struct Strict<'a> {
    depth: usize,
    refusal: &'a Cell<Option<JsonError>>,
}

impl Strict<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Self { depth, ..self }),
            None => Err(self.refuse(JsonError::TooDeep)),
        }
    }

    fn refuse<E: serde::de::Error>(self, error: JsonError) -> E {
        self.refusal.set(Some(error));
        E::custom("refused")
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, lexer: D) -> Result<Value, D::Error> {
        lexer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(
            u64::try_from(value).map_or(Number::Negative(value), Number::Unsigned),
        ))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(Number::Unsigned(value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(Number::Float(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let seed = self.deeper()?;
        let mut array = Vec::new();
        while let Some(element) = elements.next_element_seed(seed)? {
            array.push(element);
        }
        // The vector has reserved more than a short list needs.
        array.shrink_to_fit();
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let seed = self.deeper()?;
        let mut object: Vec<(String, Value)> = Vec::new();
        let mut names = HashSet::new();
        while let Some(name) = members.next_key::<String>()? {
            if object.len() == SCAN_MEMBERS {
                names.extend(object.iter().map(|(name, _)| name.clone()));
            }
            let repeated = if object.len() < SCAN_MEMBERS {
                object.iter().any(|(earlier, _)| *earlier == name)
            } else {
                !names.insert(name.clone())
            };
            if repeated {
                return Err(self.refuse(JsonError::Duplicate(name)));
            }
            let value = members.next_value_seed(seed)?;
            object.push((name, value));
        }
        object.shrink_to_fit();
        Ok(Value::Object(Object(object)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> JsonError {
        parse_object(text.as_bytes(), MAX_DEPTH).unwrap_err()
    }

    #[test]
    fn objects_keep_order_and_types() {
        let object = parse_object(br#"{"b":1,"a":[true,null,-1,1.5,"x"]}"#, 4).unwrap();
        assert_eq!(
            object.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            ["b", "a"]
        );
        let array = object.get("a").unwrap().as_array().unwrap();
        assert_eq!(
            array,
            [
                Value::Bool(true),
                Value::Null,
                Value::Number(Number::Negative(-1)),
                Value::Number(Number::Float(1.5)),
                Value::String("x".into()),
            ]
        );
    }

    #[test]
    fn duplicates_are_refused_at_any_depth_and_behind_escapes() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"alg":1,"\u0061lg":1}"#,
            r#"{"x":[{"y":{"a":1,"b":2,"a":3}}]}"#,
        ] {
            assert!(matches!(error(text), JsonError::Duplicate(_)), "{text}");
        }
    }

    #[test]
    fn duplicates_are_found_in_long_objects_on_either_side_of_the_threshold() {
        for twin in [0, 5, 15, 16, 17, 40] {
            let members: Vec<String> = (0..60).map(|i| format!("\"m{i}\":0")).collect();
            let text = format!("{{{},\"m{twin}\":1}}", members.join(","));
            assert!(matches!(error(&text), JsonError::Duplicate(_)), "{twin}");
        }
    }

    #[test]
    fn only_objects_at_the_top() {
        for text in ["[]", "1", "\"a\"", "null", r#"["ES256"]"#] {
            assert_eq!(error(text), JsonError::NotAnObject);
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |n: usize| format!("{{\"a\":{}{}}}", "[".repeat(n), "]".repeat(n));
        assert!(parse_object(nested(15).as_bytes(), 16).is_ok());
        assert_eq!(error(&nested(16)), JsonError::TooDeep);
        assert!(matches!(
            error(&"{\"a\":".repeat(10_000)),
            JsonError::TooDeep
        ));
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in [
            "",
            "{",
            "{}x",
            "{} {}",
            "\u{feff}{}",
            r#"{"a":1e400}"#,
            r#"{"a":NaN}"#,
            r#"{"a":"\ud800"}"#,
            r#"{"a":01}"#,
            r#"{'a':1}"#,
            r#"{"a":1,}"#,
            "{\"a\":\"\n\"}",
        ] {
            assert!(matches!(error(text), JsonError::Syntax { .. }), "{text}");
        }
        assert!(parse_object(b"{\"a\":\"\xff\"}", 16).is_err());
    }
}
