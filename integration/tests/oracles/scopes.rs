//! The scopes that are inserted into queries, and what an oracle must find of them.
//!
//! The expectation is written out here rather than taken from the gate, because a matcher that the gate writes
//! incorrectly would otherwise be found where the gate has put it.

use anyhow::{Result, anyhow};
use scopegate::scoping::query::{Language, Matcher};
use scopegate::scoping::scope::{Attributes, LabelName, LabelValue, Scope};

/// A scope in all languages.
pub struct Case {
    /// Labels and values.
    rules: &'static [(&'static str, &'static [&'static str])],
    /// Each matcher as a parser understands it: name, operator, value.
    pub matchers: &'static [(&'static str, &'static str, &'static str)],
    /// In PromQL and LogQL.
    pub labels: &'static str,
    /// In TraceQL.
    pub attributes: &'static str,
}

impl Case {
    /// What the gate makes of it.
    pub fn matcher(&self, language: Language) -> Result<Matcher> {
        let mut rules = Vec::new();
        for (label, values) in self.rules {
            let values = values
                .iter()
                .map(|value| LabelValue::parse(value))
                .collect::<Result<_, _>>()
                .map_err(|error| anyhow!(error))?;
            let label = LabelName::parse(label).map_err(|error| anyhow!(error))?;
            rules.push((label, values));
        }
        let scope = Scope::new(rules).map_err(|error| anyhow!(error))?;
        Ok(Matcher::new(language, &scope, &Attributes::default()))
    }
}

/// One label with one value, which no query of the corpora has.
pub const PLAIN: &Case = &CASES[0];

pub const CASES: &[Case] = &[
    Case {
        rules: &[("scope_rid", &["r-1"])],
        matchers: &[("scope_rid", "=", "r-1")],
        labels: r#"scope_rid="r-1""#,
        attributes: r#"resource.scope_rid = "r-1""#,
    },
    Case {
        rules: &[("namespace", &["web", "shop"])],
        matchers: &[("namespace", "=~", "shop|web")],
        labels: r#"namespace=~"shop|web""#,
        attributes: r#"resource.namespace =~ "^(?:shop|web)$""#,
    },
    Case {
        rules: &[("rid", &[r"a.b|c(\d"])],
        matchers: &[("rid", "=", r"a.b|c(\d")],
        labels: r#"rid="a.b|c(\\d""#,
        attributes: r#"resource.rid = "a.b|c(\\d""#,
    },
    Case {
        rules: &[("ns", &[r"(x|y)*", "a.b", r#"c"d\e"#])],
        matchers: &[("ns", "=~", r#"\(x\|y\)\*|a\.b|c"d\\e"#)],
        labels: r#"ns=~"\\(x\\|y\\)\\*|a\\.b|c\"d\\\\e""#,
        attributes: r#"resource.ns =~ "^(?:\\(x\\|y\\)\\*|a\\.b|c\"d\\\\e)$""#,
    },
    Case {
        rules: &[("rid", &["r1"]), ("namespace", &["a", "b"])],
        matchers: &[("namespace", "=~", "a|b"), ("rid", "=", "r1")],
        labels: r#"namespace=~"a|b",rid="r1""#,
        attributes: r#"resource.namespace =~ "^(?:a|b)$" && resource.rid = "r1""#,
    },
    // A value that reads like a query.
    Case {
        rules: &[("rid", &[r#""} or {a=" # /* // `é"#])],
        matchers: &[("rid", "=", r#""} or {a=" # /* // `é"#)],
        labels: r#"rid="\"} or {a=\" # /* // `é""#,
        attributes: r#"resource.rid = "\"} or {a=\" # /* // `é""#,
    },
];
