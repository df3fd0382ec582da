//! Rewrites a request's parameters so that every selector holds the scope.
//!
//! Parameters are decoded strictly, checked against the endpoint's closed list and written from
//! scratch in one place: in the body if the request has one, otherwise in the query string. A
//! backend that reads both places, or the first of the two, or merges them, therefore reads
//! exactly what was read here.

use std::sync::Arc;

use crate::scoping::form::{self, Pair};
use crate::scoping::parameters::{Absent, Carrier, Parameters};
use crate::scoping::query::{self, Failure, Language, MAX_TRACEQL, Matcher, Shape};
use crate::scoping::scope::{Attributes, LabelValue, Scope};
use crate::words::denial::Denial;
use crate::words::refusal::{Refusal, Rule};
use crate::words::unscoped::{Label, Unscoped};

/// The longest body that is read, in bytes. A query string cannot be as long.
pub const MAX_BODY: usize = 262_144;

/// The longest form that a request's many selectors may become once they are scoped and
/// escaped, in bytes.
const MAX_FORM: usize = 1_048_576;

/// A scope, and the endpoint's parameters into which it is inserted.
#[derive(Debug)]
pub struct Narrowing {
    parameters: &'static Parameters,
    /// Whether queries about traces as a whole are refused.
    spans_only: bool,
    matcher: Matcher,
    url: Vec<Pair>,
}

impl Narrowing {
    /// Reads the query string of a request that is to be narrowed.
    ///
    /// # Errors
    /// [`Denial::ScopeUnsupported`] for a scope that the backend cannot apply here, or
    /// [`Denial::ParametersMalformed`] for a query string that servers would read differently.
    pub fn new(
        parameters: &'static Parameters,
        scope: &Scope,
        attributes: &Attributes,
        query: Option<&[u8]>,
    ) -> Result<Self, Denial> {
        let matcher = Matcher::new(parameters.language, scope, attributes);
        if let Some(why) = is_beyond(parameters, scope, &matcher) {
            return Err(Denial::ScopeUnsupported(why));
        }
        Ok(Self {
            parameters,
            spans_only: false,
            matcher,
            url: parse(query.unwrap_or_default())?,
        })
    }

    /// Refuses queries about traces as a whole.
    #[must_use]
    pub const fn of_spans_only(mut self) -> Self {
        self.spans_only = true;
        self
    }

    /// The parameters to send, made from those in the query string and in the body, if there is
    /// one.
    ///
    /// # Errors
    /// The [`Denial`] for parameters or a query that cannot be read without doubt.
    pub fn form(&self, body: Option<&[u8]>) -> Result<String, Denial> {
        let body = parse(body.unwrap_or_default())?;
        let Parameters {
            carrier,
            others,
            refused,
            defaults,
            closed,
            ..
        } = *self.parameters;
        let carried = match carrier {
            Carrier::Fixed(_) => &[],
            Carrier::One { names, .. } | Carrier::Many(names) => names,
        };
        let mut texts: Vec<(&'static str, &str)> = Vec::new();
        let mut passed: Vec<(&'static str, &str)> = Vec::new();
        let mut last = None;
        let both = self.url.iter().map(|pair| (pair, false));
        for (pair, in_body) in both.chain(body.iter().map(|pair| (pair, true))) {
            let known = |names: &[&'static str]| {
                let mut names = names.iter().copied();
                names.find(|name| *name == pair.name)
            };
            if let Some(name) = known(carried) {
                // If both the query string and the body hold it, some servers take one and some
                // take both.
                let mixed = last.is_some_and(|before| before != in_body);
                let one = matches!(carrier, Carrier::One { .. });
                if mixed || (one && !texts.is_empty()) {
                    return Err(Denial::ParameterRepeated(name));
                }
                last = Some(in_body);
                texts.push((name, &pair.value));
            } else if let Some(name) = known(others) {
                if passed.iter().any(|(passed, _)| *passed == name) {
                    return Err(Denial::ParameterRepeated(name));
                }
                passed.push((name, &pair.value));
            } else if let Some(name) = known(refused) {
                return Err(Denial::ParameterRefused(name));
            } else if closed {
                return Err(Denial::ParameterUnknown);
            }
        }
        let mut form = String::new();
        self.push_selectors(&mut form, &texts)?;
        for (name, value) in passed {
            // Servers that distinguish an empty value from a missing one would report a
            // mistake. For the endpoints with a closed list, an empty value is the same as
            // none.
            if !(closed && value.is_empty()) {
                form::push_pair(&mut form, name, value);
            }
        }
        for (name, value) in defaults {
            let given = |pair: &&Pair| pair.name == *name && !pair.value.is_empty();
            if self.url.iter().chain(&body).find(given).is_none() {
                form::push_pair(&mut form, name, value);
            }
        }
        Ok(form)
    }

    fn push_selectors(
        &self,
        form: &mut String,
        texts: &[(&'static str, &str)],
    ) -> Result<(), Denial> {
        match self.parameters.carrier {
            Carrier::Fixed(name) => self.push_scope(form, name, Shape::Selector)?,
            Carrier::One {
                names,
                shape,
                absent,
            } => {
                let name = first(names);
                let given = texts.first().filter(|(_, text)| !text.trim().is_empty());
                match (given, absent) {
                    (None, Absent::Scope) => self.push_scope(form, name, shape)?,
                    (None, Absent::Refuse) => return Err(Denial::QueryMissing),
                    (Some((sent, text)), _) => {
                        let least = usize::from(absent == Absent::Scope);
                        let text = self.scoped(sent, shape, text, least)?;
                        form::push_pair(form, name, &text);
                    }
                }
            }
            Carrier::Many(names) => {
                let name = first(names);
                for (sent, text) in texts {
                    let text = self.scoped(sent, Shape::Selector, text, 1)?;
                    form::push_pair(form, name, &text);
                    if form.len() > MAX_FORM {
                        return Err(Denial::BodyTooLarge);
                    }
                }
                if texts.is_empty() {
                    self.push_scope(form, name, Shape::Selector)?;
                }
            }
        }
        Ok(())
    }

    fn push_scope(&self, form: &mut String, name: &str, shape: Shape) -> Result<(), Denial> {
        let text = query::whole(self.parameters.language, shape, &self.matcher);
        let text = text.map_err(|failure| match failure {
            // The scope alone is too long; the caller's request has nothing to do with it.
            Failure::Refused(_) => Denial::ScopeUnsupported(Unscoped::Length),
            Failure::Unsound => Denial::ScopeUnsound,
        })?;
        form::push_pair(form, name, &text);
        Ok(())
    }

    /// The text with the scope inserted, which must have at least `least` selectors.
    fn scoped(
        &self,
        parameter: &'static str,
        shape: Shape,
        text: &str,
        least: usize,
    ) -> Result<String, Denial> {
        let language = self.parameters.language;
        let shape = match shape {
            Shape::Query if self.spans_only => Shape::SpanQuery,
            shape => shape,
        };
        match query::scope(language, shape, text, &self.matcher) {
            Ok(scoped) if scoped.selectors >= least => Ok(scoped.text),
            Ok(_) => Err(Denial::QueryRefused(
                parameter,
                Refusal {
                    at: 0,
                    rule: Rule::OneSelector,
                },
            )),
            Err(Failure::Refused(refusal)) => Err(Denial::QueryRefused(parameter, refusal)),
            Err(Failure::Unsound) => Err(Denial::ScopeUnsound),
        }
    }
}

/// Why the server would not apply the scope on this endpoint, whatever is asked.
fn is_beyond(parameters: &Parameters, scope: &Scope, matcher: &Matcher) -> Option<Unscoped> {
    let selector = matcher.selector(parameters.language);
    if parameters.language == Language::TraceQl && selector.len() > MAX_TRACEQL {
        return Some(Unscoped::Length);
    }
    match parameters.carrier {
        // To find the values of a tag, Tempo takes a filter apart with patterns of its own. If
        // they do not recognise something, it falls back to no filter at all. The patterns of
        // all versions recognise these characters.
        Carrier::Fixed(_) => {
            let known = |byte: u8| is_plain(byte) || byte == b'.';
            label_beyond(scope, known).map(Unscoped::Value)
        }
        // Where Loki stores patterns, the scope becomes a label filter in its second query. If
        // two of several values begin alike there, Loki also accepts other values that begin
        // like them.
        Carrier::One {
            shape: Shape::PlainQuery,
            ..
        } if let Some(label) = label_with_a_common_beginning(scope) => {
            Some(Unscoped::Beginning(label))
        }
        // Whatever is pasted into another query unchanged must be plain in the gate's own
        // matchers too.
        Carrier::One {
            shape: Shape::PlainQuery,
            ..
        } if selector.contains(['\\', '`']) => {
            let label = label_beyond(scope, is_plain);
            Some(label.map_or(Unscoped::Endpoint, Unscoped::Value))
        }
        Carrier::One { .. } | Carrier::Many(_) => None,
    }
}

/// The first label that has two values which begin with the same character.
fn label_with_a_common_beginning(scope: &Scope) -> Option<Label> {
    let mut rules = scope.rules();
    let (label, _) = rules.find(|(_, values)| {
        // The values are sorted, so those that begin alike are neighbours.
        let first = |value: &LabelValue| value.as_str().chars().next();
        let beside = values.iter().zip(values.iter().skip(1));
        beside.clone().any(|(one, next)| first(one) == first(next))
    })?;
    Some(Label::new(label.as_str()))
}

/// The first label with a value that holds a character which is not `known`.
fn label_beyond(scope: &Scope, known: impl Fn(u8) -> bool) -> Option<Label> {
    let mut rules = scope.rules();
    let (label, _) = rules.find(|(_, values)| {
        let mut bytes = values.iter().flat_map(|value| value.as_str().bytes());
        !bytes.all(&known)
    })?;
    Some(Label::new(label.as_str()))
}

const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'/')
}

fn first(names: &[&'static str]) -> &'static str {
    names.first().copied().unwrap_or_default()
}

fn parse(form: &[u8]) -> Result<Vec<Pair>, Denial> {
    form::parse(form).map_err(Denial::ParametersMalformed)
}

/// The scope as a selector, which is the form that `X-Prom-Label-Policy` holds.
#[must_use]
pub fn label_policy(scope: &Arc<Scope>) -> String {
    let matcher = Matcher::new(Language::PromQl, scope, &Attributes::default());
    let mut policy = String::new();
    form::push_escaped(&mut policy, &format!("{{{}}}", matcher.as_str()));
    policy
}

#[cfg(test)]
mod tests;
