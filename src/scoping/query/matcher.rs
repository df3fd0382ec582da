//! A scope written as text in a query language.

use super::language::Language;
use crate::scoping::scope::{Attributes, LabelValue, Scope};

/// The text with which every selector begins: one matcher, or several that must all hold.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Matcher(String);

impl Matcher {
    /// Writes a scope. In TraceQL a label becomes the resource attribute of the same name,
    /// unless `attributes` gives another name.
    #[must_use]
    pub fn new(language: Language, scope: &Scope, attributes: &Attributes) -> Self {
        let mut text = String::new();
        for (label, values) in scope.rules() {
            match language {
                Language::LogQl | Language::PromQl => {
                    if !text.is_empty() {
                        text.push(',');
                    }
                    text.push_str(label.as_str());
                    push_operator(&mut text, values, "=", "=~");
                    push_values(&mut text, values, "", "");
                }
                Language::TraceQl => {
                    if !text.is_empty() {
                        text.push_str(" && ");
                    }
                    text.push_str("resource.");
                    text.push_str(attributes.get(label));
                    push_operator(&mut text, values, " = ", " =~ ");
                    // Only newer versions anchor patterns themselves.
                    push_values(&mut text, values, "^(?:", ")$");
                }
            }
        }
        Self(text)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A selector that holds the scope alone.
    #[must_use]
    pub fn selector(&self, language: Language) -> String {
        let matcher = self.as_str();
        match language {
            Language::LogQl | Language::PromQl => format!("{{{matcher}}}"),
            Language::TraceQl => format!("{{ {matcher} }}"),
        }
    }
}

fn push_operator(text: &mut String, values: &[LabelValue], one: &str, many: &str) {
    text.push_str(if values.len() == 1 { one } else { many });
}

/// Writes one value as a string, or several as a pattern of quoted alternatives.
fn push_values(text: &mut String, values: &[LabelValue], before: &str, after: &str) {
    let many = values.len() > 1;
    text.push('"');
    text.push_str(if many { before } else { "" });
    for (position, value) in values.iter().enumerate() {
        if position > 0 {
            text.push('|');
        }
        for character in value.as_str().chars() {
            // In RE2 syntax these characters have a meaning in a pattern, and no others do.
            let special = matches!(
                character,
                '\\' | '.' | '+' | '*' | '?' | '(' | ')' | '|' | '[' | ']' | '{' | '}' | '^' | '$'
            );
            if many && special {
                text.push_str("\\\\");
            }
            if matches!(character, '"' | '\\') {
                text.push('\\');
            }
            text.push(character);
        }
    }
    text.push_str(if many { after } else { "" });
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scoping::scope::{AttributeName, LabelName};

    fn write(language: Language, rules: &[(&str, &[&str])]) -> String {
        let attribute = AttributeName::parse("k8s.namespace.name").unwrap();
        let mut attributes = Attributes::default();
        attributes.insert(LabelName::parse("ns").unwrap(), attribute);
        let scope = Scope::new(rules.iter().map(|(label, values)| {
            let values = values.iter().map(|v| LabelValue::parse(v).unwrap());
            (LabelName::parse(label).unwrap(), values.collect())
        }));
        Matcher::new(language, &scope.unwrap(), &attributes).0
    }

    #[test]
    fn one_value_is_an_equality_and_several_a_pattern() {
        for (language, rules, expected) in [
            (Language::PromQl, &[("rid", &["r1"][..])][..], r#"rid="r1""#),
            (Language::LogQl, &[("ns", &["b", "a"])], r#"ns=~"a|b""#),
            (
                Language::LogQl,
                &[("b", &["x"]), ("a", &["y"])],
                r#"a="y",b="x""#,
            ),
            (
                Language::TraceQl,
                &[("rid", &["r1"])],
                r#"resource.rid = "r1""#,
            ),
            (
                Language::TraceQl,
                &[("ns", &["b", "a"]), ("rid", &["x"])],
                r#"resource.k8s.namespace.name =~ "^(?:a|b)$" && resource.rid = "x""#,
            ),
        ] {
            assert_eq!(write(language, rules), expected);
        }
    }

    #[test]
    fn values_are_quoted_for_patterns_and_strings() {
        let one = &[("a", &[r#"x"\.("#][..])][..];
        assert_eq!(write(Language::PromQl, one), r#"a="x\"\\.(""#);
        let many = &[("a", &[r#"a|b"#, r#"c"\.("#][..])][..];
        assert_eq!(write(Language::PromQl, many), r#"a=~"a\\|b|c\"\\\\\\.\\(""#);
    }
}
