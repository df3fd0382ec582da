//! The request to explain.

use std::fmt;

use crate::scoping::form;

/// The names and values of headers, in order.
pub(super) type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// Headers whose values Envoy joins with a comma if they are repeated.
const JOINED: [&[u8]; 6] = [
    b"authorization",
    b"connection",
    b"content-type",
    b"upgrade",
    b"user-agent",
    b"x-request-id",
];

/// A request as a client sends it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Request {
    pub(super) method: Vec<u8>,
    /// The path, with the query string.
    pub(super) path: Vec<u8>,
    pub(super) authority: Option<Vec<u8>>,
    /// The headers other than `Host`, with names in lower case.
    pub(super) headers: Fields,
    pub(super) body: Vec<u8>,
}

/// Why a file does not hold a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum RequestError {
    /// The first line is not `METHOD PATH` or `METHOD PATH HTTP/1.1`.
    Line,
    /// A line of the head has no colon.
    Header,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Line => {
                "the first line must be like GET /loki/api/v1/labels, with or without HTTP/1.1"
            }
            Self::Header => "each line up to the first empty one must be like name: value",
        })
    }
}

impl Request {
    /// Parses a request in the form of HTTP/1.1 (RFC 9112 §2). Lines may end with LF or CRLF.
    ///
    /// # Errors
    /// [`RequestError`]
    pub(super) fn parse(text: &[u8]) -> Result<Self, RequestError> {
        let (line, mut rest) = cut_line(text);
        let mut request = Self::default();
        let mut line = line;
        for version in [&b" HTTP/1.1"[..], b" HTTP/1.0", b" HTTP/2"] {
            line = line.strip_suffix(version).unwrap_or(line);
        }
        let space = line.iter().position(|byte| *byte == b' ');
        let (method, path) = line.split_at(space.ok_or(RequestError::Line)?);
        let path = path.strip_prefix(b" ").unwrap_or(path);
        let is_method = method.iter().all(u8::is_ascii_alphabetic);
        // A path with a blank or an `@` in it belongs to something else, such as a command, and
        // may hold a token.
        let is_path =
            path.starts_with(b"/") || !path.iter().any(|byte| matches!(byte, b' ' | b'@'));
        if method.is_empty() || !is_method || !is_path {
            return Err(RequestError::Line);
        }
        request.method = method.to_vec();
        request.path = path.to_vec();
        loop {
            let (line, after) = cut_line(rest);
            rest = after;
            if line.is_empty() {
                break;
            }
            let colon = line.iter().position(|byte| *byte == b':');
            let (name, value) = line.split_at(colon.ok_or(RequestError::Header)?);
            if name.is_empty() {
                return Err(RequestError::Header);
            }
            let value = value.strip_prefix(b":").unwrap_or(value).trim_ascii();
            request.header(name, value);
        }
        request.body = rest.to_vec();
        Ok(request)
    }

    /// Adds a header. The first `Host` becomes the authority.
    pub(super) fn header(&mut self, name: &[u8], value: &[u8]) {
        let name = name.to_ascii_lowercase();
        if name == b"host" && self.authority.is_none() {
            self.authority = Some(value.to_vec());
        } else {
            self.headers.push((name, value.to_vec()));
        }
    }

    /// Adds a parameter to the query string, and escapes its name and value.
    pub(super) fn parameter(&mut self, name: &str, value: &str) {
        let mut pair = String::new();
        form::push_pair(&mut pair, name, value);
        let sign = if self.path.contains(&b'?') {
            b'&'
        } else {
            b'?'
        };
        self.path.push(sign);
        self.path.extend_from_slice(pair.as_bytes());
    }

    /// Whether the request has a header with this name, which is in lower case.
    pub(super) fn has(&self, name: &[u8]) -> bool {
        self.headers.iter().any(|(known, _)| known == name)
    }

    /// The header list in the form in which Envoy hands it to a filter.
    pub(super) fn fields(&self) -> Fields {
        let mut fields: Fields = vec![
            (b":method".to_vec(), self.method.clone()),
            (b":path".to_vec(), self.path.clone()),
            (b":scheme".to_vec(), b"https".to_vec()),
        ];
        if let Some(authority) = &self.authority {
            fields.push((b":authority".to_vec(), authority.clone()));
        }
        // Envoy recognises an upgrade only if `connection` names it (RFC 9110 §7.8).
        let connection = self.headers.iter();
        let mut connection = connection.filter(|(name, _)| name == b"connection");
        let upgrades = connection.any(|(_, value)| {
            let mut options = value.split(|byte| *byte == b',');
            options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
        });
        for (name, value) in &self.headers {
            if name == b"upgrade" && !upgrades {
                continue;
            }
            let joined = JOINED.contains(&name.as_slice());
            let mut known = fields.iter_mut();
            match known.find(|(known, _)| joined && known == name) {
                Some((_, values)) => {
                    values.push(b',');
                    values.extend_from_slice(value);
                }
                None => fields.push((name.clone(), value.clone())),
            }
        }
        let sized = self.has(b"content-length") || self.has(b"transfer-encoding");
        if !self.body.is_empty() && !sized {
            let length = self.body.len().to_string();
            fields.push((b"content-length".to_vec(), length.into_bytes()));
        }
        fields
    }
}

/// The first line without its end, and the text after it.
fn cut_line(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| *byte == b'\n');
    let (line, rest) = text.split_at(end.unwrap_or(text.len()));
    let rest = rest.strip_prefix(b"\n").unwrap_or(rest);
    (line.strip_suffix(b"\r").unwrap_or(line), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_as_it_is_written() {
        let text = b"POST /a?b=c HTTP/1.1\r\nHost: h\r\nX-Scope-OrgID:  acme \r\n\r\nbo\ndy";
        let request = Request::parse(text).unwrap();
        assert_eq!(request.method, b"POST");
        assert_eq!(request.path, b"/a?b=c");
        assert_eq!(request.authority.as_deref(), Some(&b"h"[..]));
        assert_eq!(
            request.headers,
            [(b"x-scope-orgid".to_vec(), b"acme".to_vec())]
        );
        assert_eq!(request.body, b"bo\ndy");
        let short = Request::parse(b"GET /a b").unwrap();
        assert_eq!(short.path, b"/a b");
    }

    #[test]
    fn what_is_no_request_is_told_apart() {
        for (text, error) in [
            ("", RequestError::Line),
            ("GET", RequestError::Line),
            (
                "curl -H 'Authorization: Bearer x' https://h/",
                RequestError::Line,
            ),
            ("GET https://user:token@h/ HTTP/1.1", RequestError::Line),
            ("{\"method\": \"GET\"}", RequestError::Line),
            ("GET / HTTP/1.1\nno header", RequestError::Header),
            ("GET / HTTP/1.1\n:path: /", RequestError::Header),
        ] {
            assert_eq!(Request::parse(text.as_bytes()), Err(error), "{text:?}");
        }
    }

    #[test]
    fn parameters_are_escaped_and_repeats_joined_where_envoy_does() {
        let mut request = Request::parse(b"GET /a").unwrap();
        request.parameter("query", "{a=\"b\"}");
        request.parameter("limit", "5");
        assert_eq!(request.path, b"/a?query=%7Ba%3D%22b%22%7D&limit=5");
        for value in [&b"x"[..], b"y"] {
            request.header(b"Authorization", value);
            request.header(b"X-Scope-OrgID", value);
        }
        let fields = request.fields();
        let count = |name: &[u8]| fields.iter().filter(|(known, _)| known == name).count();
        assert_eq!(count(b"authorization"), 1);
        assert_eq!(count(b"x-scope-orgid"), 2);
    }
}
