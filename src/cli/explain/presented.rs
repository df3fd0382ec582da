//! The credentials that a request presents, and how they are kept out of what is printed.

use crate::authn::authenticator::Authenticator;
use crate::authn::token;
use crate::authn::{basic, bearer};
use crate::config::Credentials;
use crate::words::credential::CredentialKind;

use super::request::Request;

/// What is printed in place of a token.
const MASK: &str = "<token>";

/// Shorter pieces are not secret, and would be found in many texts. In bytes.
const SHORTEST_SECRET: usize = 16;

/// A token, and the way in which it is sent.
pub(super) struct Credential {
    pub(super) kind: CredentialKind,
    pub(super) token: Vec<u8>,
}

/// All credentials of a request.
pub(super) struct Presented {
    access: Option<Credential>,
    id_token: Option<Credential>,
    /// The names of headers whose values are credentials.
    headers: Vec<Vec<u8>>,
    /// The texts that must not be printed, longest first.
    secrets: Vec<String>,
}

impl Presented {
    /// Finds the credentials of a request.
    pub(super) fn of(request: &Request, accepted: &Credentials) -> Self {
        let id_header = accepted.id_token_header.as_ref();
        let id_header = id_header.map(|name| name.as_str().as_bytes().to_vec());
        let mut headers = vec![b"authorization".to_vec(), b"proxy-authorization".to_vec()];
        headers.extend(id_header.clone());
        let access = once(request, b"authorization").and_then(access);
        let id_token = id_header.and_then(|name| once(request, &name));
        let id_token = id_token.map(|token| Credential {
            kind: CredentialKind::IdToken,
            token: token.to_vec(),
        });
        let values = request.headers.iter();
        let values = values.filter(|(name, _)| headers.contains(name));
        let mut secrets: Vec<String> = Vec::new();
        for (_, value) in values {
            let value = String::from_utf8_lossy(value);
            for word in value.split([' ', ',']) {
                secrets.extend(pieces(word));
            }
        }
        if let Some(access) = &access {
            secrets.extend(pieces(&String::from_utf8_lossy(&access.token)));
        }
        secrets.retain(|secret| secret.len() >= SHORTEST_SECRET);
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        Self {
            access,
            id_token,
            headers,
            secrets,
        }
    }

    /// The credential that the decision rests on. That is the one in `authorization`, unless there
    /// is an ID token too and the one in `authorization` was not made for this service.
    pub(super) fn deciding(&self, authenticator: &Authenticator) -> Option<&Credential> {
        match (&self.access, &self.id_token) {
            (Some(access), Some(id_token)) => {
                let meant = is_meant(&access.token, authenticator);
                Some(if meant { access } else { id_token })
            }
            (access, id_token) => access.as_ref().or(id_token.as_ref()),
        }
    }

    /// The bytes of each token.
    pub(super) fn tokens(&self) -> impl Iterator<Item = &[u8]> {
        let both = self.access.iter().chain(&self.id_token);
        both.map(|credential| credential.token.as_slice())
    }

    /// The value of a header for printing. Of a credential only the scheme is left.
    pub(super) fn masked_header(&self, name: &[u8], value: &[u8]) -> Vec<u8> {
        if !self.headers.iter().any(|known| known == name) {
            return self.masked_bytes(value);
        }
        let space = value.iter().position(|byte| *byte == b' ');
        let scheme = space.and_then(|at| value.get(..=at)).unwrap_or_default();
        [scheme, MASK.as_bytes()].concat()
    }

    /// The bytes with all tokens masked.
    pub(super) fn masked_bytes(&self, bytes: &[u8]) -> Vec<u8> {
        // Bytes that are not text are replaced only if there is a token in them.
        let text = String::from_utf8_lossy(bytes);
        let masked = self.masked(&text);
        if masked == text {
            bytes.to_vec()
        } else {
            masked.into_bytes()
        }
    }

    /// The text with all tokens masked.
    pub(super) fn masked(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.secrets {
            if text.contains(secret) {
                text = text.replace(secret, MASK);
            }
        }
        without_tokens(&text)
    }
}

/// The text with everything masked that looks like a token, even if the request does not present
/// it. That is base64url with a dot in it, whose first part begins as a JSON object does.
fn without_tokens(text: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    // In base64url, `{"` is `eyJ`.
    while let Some((before, after)) = rest.split_once("eyJ") {
        shown.push_str(before);
        let end = after.find(|c: char| !is_part(c)).unwrap_or(after.len());
        let (word, next) = after.split_at_checked(end).unwrap_or((after, ""));
        if word.contains('.') && word.len() >= SHORTEST_SECRET {
            shown.push_str(MASK);
        } else {
            shown.push_str("eyJ");
            shown.push_str(word);
        }
        rest = next;
    }
    shown.push_str(rest);
    shown
}

/// A credential, and the parts between its dots: some of them would serve in place of it, or
/// reveal what it says.
fn pieces(word: &str) -> impl Iterator<Item = String> {
    let parts = word.split('.').map(str::to_owned);
    std::iter::once(word.to_owned()).chain(parts)
}

fn once<'r>(request: &'r Request, name: &[u8]) -> Option<&'r [u8]> {
    let mut values = request.headers.iter().filter(|(known, _)| known == name);
    let (_, value) = values.next()?;
    values.next().is_none().then_some(value.as_slice())
}

fn access(value: &[u8]) -> Option<Credential> {
    if let Ok(token) = bearer::parse(value) {
        return Some(Credential {
            kind: CredentialKind::Bearer,
            token: token.to_vec(),
        });
    }
    let token = basic::parse(value).ok()?;
    Some(Credential {
        kind: CredentialKind::Basic,
        token,
    })
}

/// Whether a token claims to come from one of the providers, and names one of that provider's
/// audiences.
fn is_meant(token: &[u8], authenticator: &Authenticator) -> bool {
    let Some(claims) = token::peek(token) else {
        return false;
    };
    let Ok(issuer) = token::issuer(&claims) else {
        return false;
    };
    let providers = authenticator.providers().iter();
    let mut providers = providers.filter(|one| one.rules.issuers.find(issuer).is_some());
    providers.any(|provider| provider.rules.is_audience(&claims))
}
