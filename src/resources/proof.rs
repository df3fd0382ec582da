//! Ensures that organizations load, by having the reader of configurations read them.

use serde::Serialize;

use crate::config::{Config, Environment, Problem};

/// The rest of a configuration. Nobody owns the key, which is the example of RFC 7517, appendix
/// A.1.
const BEFORE: &str = r#"{"providers":[{"name":"none","issuer":"https://none.invalid","audience_check":"off","algorithms":["ES256"],"jwks":{"inline":{"keys":[{"kty":"EC","crv":"P-256","alg":"ES256","kid":"1","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}}}],"#;

/// The problems that the reader finds in the organizations, together with the roles of a
/// configuration if there is one.
#[must_use]
pub fn problems<T: Serialize>(
    organizations: &[T],
    roles: Option<&serde_json::Value>,
) -> Vec<Problem> {
    let text = match serde_json::to_string(organizations) {
        Ok(text) => text,
        Err(error) => return vec![whole(error.to_string())],
    };
    let roles = roles.map_or_else(String::new, |roles| format!(",\"roles\":{roles}"));
    let document = format!("{BEFORE}\"organizations\":{text}{roles}}}");
    let outcome = Config::parse(document.as_bytes(), &Environment::default());
    outcome.err().unwrap_or_default()
}

/// The problems of the organizations that the reader refuses, each with the position of the
/// organization. The others load together.
#[must_use]
pub fn refused<T: Serialize>(organizations: &[T]) -> Vec<(usize, Problem)> {
    let mut refused: Vec<(usize, Problem)> = Vec::new();
    // All of them are tried at once first, because nearly always there is no problem.
    if problems(organizations, None).is_empty() {
        return refused;
    }
    for (place, organization) in organizations.iter().enumerate() {
        let alone = problems(std::slice::from_ref(organization), None);
        refused.extend(alone.into_iter().map(|problem| (place, problem)));
    }
    refused
}

fn whole(text: String) -> Problem {
    Problem {
        place: String::new(),
        text,
    }
}
