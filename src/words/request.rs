//! The head of a request as bytes, including repeated headers.
//!
//! [`Head::read`] makes one pass over the header list. It keeps what decisions need, counts the
//! headers that may not repeat, and notes every header that only the gate or a backend's own
//! components may set, so that forwarding can remove them without a second pass. Envoy hands
//! over header names in lower case. A name spelled with `_` for `-` counts as the same name,
//! because some servers read it so.

/// How often a header occurred, with its value if it occurred once.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Occurrence<'a> {
    /// The header is not there.
    #[default]
    Absent,
    /// The header is there exactly once, with this value.
    Once(&'a [u8]),
    /// The header is there more than once, so none of its values can be trusted.
    Repeated,
}

impl<'a> Occurrence<'a> {
    const fn another(self, value: &'a [u8]) -> Self {
        match self {
            Self::Absent => Self::Once(value),
            Self::Once(_) | Self::Repeated => Self::Repeated,
        }
    }

    /// The value, if there is exactly one.
    #[must_use]
    pub const fn once(self) -> Option<&'a [u8]> {
        match self {
            Self::Once(value) => Some(value),
            Self::Absent | Self::Repeated => None,
        }
    }
}

/// The names, in lower case, of the headers that a configuration makes the gate's own.
#[derive(Clone, Copy, Debug, Default)]
pub struct OwnHeaders<'a> {
    /// The header that carries the subject to the backend.
    pub subject: Option<&'a [u8]>,
    /// The header in which clients pass on an ID token.
    pub id_token: Option<&'a [u8]>,
}

impl<'a> OwnHeaders<'a> {
    fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        self.subject.into_iter().chain(self.id_token)
    }
}

/// The parts of a request's head that the gate reads.
#[derive(Clone, Debug, Default)]
pub struct Head<'a> {
    /// The pseudo-header `:method`.
    pub method: Occurrence<'a>,
    /// The pseudo-header `:path`, including the query string.
    pub path: Occurrence<'a>,
    /// The header `authorization`.
    pub authorization: Occurrence<'a>,
    /// The configured header for ID tokens, if there is one.
    pub id_token: Occurrence<'a>,
    /// The header `x-scope-orgid`, in this spelling.
    pub org_id: Occurrence<'a>,
    /// The header `access-control-request-method` of a preflight request.
    pub asked_method: Occurrence<'a>,
    /// The header `origin`.
    pub origin: Occurrence<'a>,
    /// The header `content-encoding`.
    pub content_encoding: Occurrence<'a>,
    /// The header `content-length`.
    pub content_length: Occurrence<'a>,
    /// The header `content-type`.
    pub content_type: Occurrence<'a>,
    /// The header `x-request-id`.
    pub request_id: Occurrence<'a>,
    /// The header `upgrade`.
    pub upgrade: Occurrence<'a>,
    /// Whether a `connection` header names a header that must not be dropped on the way.
    pub connection_names_protected: bool,
    /// The names, as they were sent, of headers that no client may set.
    pub forbidden: Vec<&'a [u8]>,
    /// Whether anything follows the head. The proxy reports this separately from the headers.
    pub has_body: bool,
}

impl<'a> Head<'a> {
    /// Reads a list of headers in their order, including pseudo-headers.
    pub fn read(headers: impl Iterator<Item = (&'a [u8], &'a [u8])>, own: OwnHeaders<'_>) -> Self {
        let mut head = Self::default();
        for (name, value) in headers {
            match name {
                b":method" => head.method = head.method.another(value),
                b":path" => head.path = head.path.another(value),
                b"authorization" => head.authorization = head.authorization.another(value),
                b"x-scope-orgid" => head.org_id = head.org_id.another(value),
                b"content-encoding" => {
                    head.content_encoding = head.content_encoding.another(value);
                }
                b"content-length" => head.content_length = head.content_length.another(value),
                b"content-type" => head.content_type = head.content_type.another(value),
                b"x-request-id" => head.request_id = head.request_id.another(value),
                b"origin" => head.origin = head.origin.another(value),
                b"access-control-request-method" => {
                    head.asked_method = head.asked_method.another(value);
                }
                b"upgrade" => head.upgrade = head.upgrade.another(value),
                b"connection" => {
                    head.connection_names_protected |= names_protected(value, own);
                }
                _ if is_forbidden(name, own) => {
                    if own.id_token == Some(name) {
                        head.id_token = head.id_token.another(value);
                    }
                    // A name that repeats is listed once, because removing it removes all its
                    // values.
                    if !head.forbidden.contains(&name) {
                        head.forbidden.push(name);
                    }
                }
                _ => {}
            }
        }
        head
    }

    /// Whether a header in another spelling of `x-scope-orgid` is there.
    #[must_use]
    pub fn names_tenant_otherwise(&self) -> bool {
        let mut names = self.forbidden.iter();
        names.any(|name| dashes_equal(name, b"x-scope-orgid"))
    }

    /// Whether the body is a plain form: `application/x-www-form-urlencoded`, in UTF-8 if it
    /// states a character set, and without a content encoding.
    #[must_use]
    pub fn is_form(&self) -> bool {
        let Some(value) = self.content_type.once() else {
            return false;
        };
        let mut parts = value.split(|byte| *byte == b';');
        let kind = parts.next().unwrap_or_default().trim_ascii();
        let charset = parts.next().map(<[u8]>::trim_ascii);
        self.content_encoding == Occurrence::Absent
            && kind.eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
            && charset.is_none_or(|charset| charset.eq_ignore_ascii_case(b"charset=utf-8"))
            && parts.next().is_none()
    }

    /// Whether Envoy takes the request for gRPC and answers accordingly, which it does by the
    /// content type: `application/grpc` or `application/grpc+…`.
    #[must_use]
    pub fn is_grpc(&self) -> bool {
        matches!(self.after_grpc(), Some([] | [b'+', ..]))
    }

    /// Whether gRPC servers take the request for gRPC. Unlike Envoy, they also accept a content
    /// type with parameters (`application/grpc;…`).
    #[must_use]
    pub fn calls_grpc(&self) -> bool {
        matches!(self.after_grpc(), Some([] | [b'+' | b';', ..]))
    }

    /// Whether anything might take the request for gRPC (`application/grpc-web` included).
    #[must_use]
    pub fn resembles_grpc(&self) -> bool {
        self.after_grpc().is_some()
    }

    /// The part of the content type that follows `application/grpc`.
    fn after_grpc(&self) -> Option<&'a [u8]> {
        let kind = b"application/grpc";
        let (head, rest) = self.content_type.once()?.split_at_checked(kind.len())?;
        head.eq_ignore_ascii_case(kind).then_some(rest)
    }
}

/// The header by which the routes select a cluster. Only the gate sets it.
pub const BACKEND_HEADER: &str = "x-scopegate-backend";

/// The longest name worth comparing: the longest name in the list is shorter.
const MAX_NAME: usize = 48;

/// Whether a header names the tenant or the caller, or changes how a backend evaluates a
/// request. The names are those of the components that set them: Grafana dskit and internals of
/// Loki, Mimir and Tempo, prom-label-proxy, Grafana's own proxy, and the gate.
fn is_forbidden(name: &[u8], own: OwnHeaders<'_>) -> bool {
    if !may_be_listed(name) && own.iter().all(|own| own.len() != name.len()) {
        return false;
    }
    // These are compared before the buffer is used, because a name can be too long for it, and
    // a client's copy of such a header would stand beside the gate's.
    if own.iter().any(|own| dashes_equal(own, name))
        || begins_with(name, b"x-scopegate-")
        || begins_with(name, b"x-mimir-")
    {
        return true;
    }
    let mut buffer = [0; MAX_NAME];
    // The name is longer than any in the list.
    let Some(dashed) = buffer.get_mut(..name.len()) else {
        return false;
    };
    for (to, from) in dashed.iter_mut().zip(name) {
        *to = match from {
            b'_' => b'-',
            other => other.to_ascii_lowercase(),
        };
    }
    matches!(
        &*dashed,
        b"authorization" // in another spelling: the plain one is read above
            | b"recent-data-target"
            | b"sharding-control"
            | b"x-access-token"
            | b"x-filter-queryables"
            | b"x-grafana-id"
            | b"x-id-token" // Grafana's Forward OAuth Identity: a credential
            | b"x-loki-actor-path"
            | b"x-loki-disable-pipeline-wrappers"
            | b"x-loki-ingestion-policy"
            | b"x-loki-query-limits"
            | b"x-loki-query-limits-context"
            | b"x-prom-label-policy"
            | b"x-scope-orgid" // in another spelling
            | b"x-scope-userid"
    )
}

fn begins_with(name: &[u8], prefix: &[u8]) -> bool {
    name.get(..prefix.len())
        .is_some_and(|head| dashes_equal(head, prefix))
}

/// Tells from the first and the third byte that most headers cannot be in the list.
fn may_be_listed(name: &[u8]) -> bool {
    let [first, _, third, ..] = name else {
        return false;
    };
    let third = third.to_ascii_lowercase();
    match first.to_ascii_lowercase() {
        b'x' => matches!(third, b'a' | b'f' | b'g' | b'i' | b'l' | b'm' | b'p' | b's'),
        b'a' => third == b't', // authorization
        b'r' => third == b'c', // recent-data-target
        b's' => third == b'a', // sharding-control
        _ => false,
    }
}

fn dashes_equal(a: &[u8], b: &[u8]) -> bool {
    let fold = |byte: &u8| match byte {
        b'_' => b'-',
        other => other.to_ascii_lowercase(),
    };
    a.len() == b.len() && a.iter().map(fold).eq(b.iter().map(fold))
}

/// Whether a `connection` value asks the next hop to drop a header that carries the decision.
/// RFC 9110 §7.6.1 allows any header to be named there.
fn names_protected(value: &[u8], own: OwnHeaders<'_>) -> bool {
    value.split(|byte| *byte == b',').any(|option| {
        let option = option.trim_ascii();
        dashes_equal(option, b"authorization")
            || dashes_equal(option, b"x-scope-orgid")
            || dashes_equal(option, b"content-type")
            || dashes_equal(option, b"content-length")
            || is_forbidden(option, own)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(name: &[u8]) -> OwnHeaders<'_> {
        OwnHeaders {
            subject: Some(name),
            id_token: None,
        }
    }

    fn read<'a>(headers: &[(&'a str, &'a str)]) -> Head<'a> {
        let pairs = headers.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes()));
        Head::read(pairs, subject(b"x-scopegate-subject"))
    }

    #[test]
    fn repeats_are_kept_apart_from_single_values() {
        let head = read(&[
            (":method", "GET"),
            (":path", "/"),
            ("x-scope-orgid", "a"),
            ("x-scope-orgid", "a"),
            ("authorization", "Bearer x"),
        ]);
        assert_eq!(head.org_id, Occurrence::Repeated);
        assert_eq!(head.authorization, Occurrence::Once(b"Bearer x"));
        assert_eq!(head.content_type, Occurrence::Absent);
    }

    #[test]
    fn forbidden_headers_are_noted_in_every_spelling() {
        let names = [
            "x_scope_orgid",
            "x-scope_orgid",
            "x_authorization",
            "authorization_",
            "x-scope-userid",
            "x-prom-label-policy",
            "x_prom_label_policy",
            "x-access-token",
            "x-grafana-id",
            "x-id-token",
            "x-loki-ingestion-policy",
            "x-loki-query-limits",
            "x-loki-query-limits-context",
            "x-loki-actor-path",
            "x-loki-disable-pipeline-wrappers",
            "x-mimir-skiplabelnamevalidation",
            "x-mimir-otlp-addsuffixes",
            "x-filter-queryables",
            "sharding-control",
            "sharding_control",
            "recent-data-target",
            "x-scopegate-backend",
            "x_scopegate_backend",
            "x-scopegate-subject",
            "x-scopegate-anything-at-all-and-as-long-as-it-likes-to-be",
        ];
        for name in names {
            let expected = !matches!(name, "x_authorization" | "authorization_");
            let head = read(&[(name, "v")]);
            assert_eq!(!head.forbidden.is_empty(), expected, "{name}");
        }
    }

    #[test]
    fn a_subject_header_of_any_name_is_forbidden_to_clients() {
        let pair = (&b"remote_user"[..], &b"root"[..]);
        let head = Head::read([pair].into_iter(), subject(b"remote-user"));
        assert_eq!(head.forbidden, [b"remote_user"]);
        let head = Head::read([pair].into_iter(), OwnHeaders::default());
        assert!(head.forbidden.is_empty());
    }

    #[test]
    fn names_of_any_length_are_recognised() {
        let name = "x-".to_owned() + &"subject-".repeat(7) + "header";
        let sent = name.replace('-', "_");
        assert_eq!(name.len(), 64);
        let pair = (sent.as_bytes(), &b"root"[..]);
        let head = Head::read([pair].into_iter(), subject(name.as_bytes()));
        assert_eq!(head.forbidden, [sent.as_bytes()]);
        // This must also hold where no header in the list begins like the name.
        let name = "remote-user-".to_owned() + &"b".repeat(45);
        let sent = name.replace('-', "_");
        let pair = (sent.as_bytes(), &b"root"[..]);
        let head = Head::read([pair].into_iter(), subject(name.as_bytes()));
        assert_eq!(head.forbidden, [sent.as_bytes()]);
        let long = "x-mimir-".to_owned() + &"y".repeat(90);
        assert_eq!(read(&[(&long, "v")]).forbidden, [long.as_bytes()]);
    }

    #[test]
    fn harmless_headers_pass() {
        for name in [
            "x-query-tags",
            "x-loki-response-encoding-flags",
            "x-prometheus-remote-write-version",
            "retry-attempt",
            "accept",
            "x-request-id",
            "x-forwarded-for",
            "referer",
        ] {
            assert!(read(&[(name, "v")]).forbidden.is_empty(), "{name}");
        }
    }

    #[test]
    fn connection_may_not_nominate_what_the_gate_sets() {
        for (value, expected) in [
            ("close", false),
            ("keep-alive, Upgrade", false),
            ("X-Scope-OrgID", true),
            ("upgrade, x-scope-orgid", true),
            ("keep-alive,x_scope_orgid", true),
            ("X-Scopegate-Backend", true),
            ("Authorization", true),
        ] {
            let head = read(&[("connection", value)]);
            assert_eq!(head.connection_names_protected, expected, "{value}");
        }
    }

    #[test]
    fn grpc_is_told_by_content_type() {
        for (value, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("Application/gRPC", true),
            ("application/grpc-web", false),
            ("application/grpc;x=y", false),
            ("application/json", false),
        ] {
            assert_eq!(
                read(&[("content-type", value)]).is_grpc(),
                expected,
                "{value}"
            );
        }
    }
}
