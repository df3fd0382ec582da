//! The `credentials` section: the ways in which a token may be sent.

use super::reader::{Node, Section};
use super::table::{credentials, document};
use super::{ConfiguredProvider, Credentials, Forward};
use crate::authn::json::Value;
use crate::words::own_header::IdTokenHeader;

pub(super) fn read_credentials(top: &Section<'_>) -> Option<Credentials> {
    let mut credentials = Credentials::default();
    let form = &document::CREDENTIALS.form;
    let Some(node) = top.get(&document::CREDENTIALS) else {
        return Some(credentials);
    };
    if let Value::String(_) = node.value {
        node.problem("expected a list, found a string: write [bearer]");
        return None;
    }
    let nodes = node.elements(form.most)?;
    let mut bearer = false;
    let mut problems = false;
    for node in nodes.iter() {
        let repeated = match node.value {
            Value::String(word) if word == document::BEARER => std::mem::replace(&mut bearer, true),
            Value::String(word) if word == document::BASIC => {
                std::mem::replace(&mut credentials.basic, true)
            }
            Value::Object(_) => {
                let header = read_id_token_header(&node);
                problems |= header.is_none();
                header.is_some() && {
                    let before = std::mem::replace(&mut credentials.id_token_header, header);
                    before.is_some()
                }
            }
            _ => {
                node.problem("must be bearer, basic, or {id_token_header: NAME}");
                false
            }
        };
        if repeated {
            node.problem("stands in the list before");
        }
    }
    if !problems && !bearer {
        node.problem("must have bearer in the list: the others only come beside it");
    }
    (!problems).then_some(credentials)
}

fn read_id_token_header(node: &Node<'_>) -> Option<IdTokenHeader> {
    let section = node.section(&credentials::TABLE)?;
    let node = section.require(&credentials::ID_TOKEN_HEADER)?;
    match IdTokenHeader::parse(node.text()?) {
        Ok(header) => Some(header),
        Err(rule) => {
            node.problem(rule);
            None
        }
    }
}

/// Checks what the ways of sending a token require of the rest of a configuration.
pub(super) fn check_credentials(
    top: &Section<'_>,
    credentials: &Credentials,
    providers: &[ConfiguredProvider],
    forward: &Forward,
) {
    let expected = |provider: &ConfiguredProvider| !provider.rules.id_token_audiences.is_empty();
    let place = || {
        let credentials = top.get(&document::CREDENTIALS);
        credentials.or_else(|| top.get(&document::PROVIDERS))
    };
    let problem = match &credentials.id_token_header {
        None if providers.iter().any(expected) => {
            "a provider has id_token_audiences, which have no meaning without id_token_header \
             in credentials"
        }
        Some(_) if !providers.iter().any(expected) => {
            "id_token_header has no meaning where no provider has id_token_audiences"
        }
        Some(header)
            if forward
                .subject_header
                .as_ref()
                .is_some_and(|subject| subject.as_str() == header.as_str()) =>
        {
            "id_token_header may not be forward.subject_header"
        }
        _ => return,
    };
    if let Some(node) = place() {
        node.problem(problem);
    }
}
