//! The keys of `organizations_from`: organizations that come from outside.

use super::{Duration, Flag, JwkSet, Object, Required, Text, authorization};

section! {
    /// Where further organizations come from, and which documents are believed.
    section;

    /// The URL of the document: `https`, without a user and a fragment.
    URI: Required<Text> = "uri", Required::always(
        Text::of("URL").like("^https?://[!-~]+$"),
        "where the document is",
    );

    /// Envoy's cluster that reaches the server. Let it verify the server's certificate and
    /// name.
    CLUSTER: Required<Text> = "cluster", Required::always(
        Text::of("cluster"),
        "Envoy's cluster that reaches it",
    );

    /// How long a fetch may take.
    TIMEOUT: Duration = "timeout", Duration::new("100ms", "30s", "5s");

    /// The time from one fetch to the next, ± 10 %. If the server supports `If-None-Match`, an
    /// unchanged document is not sent again.
    REFRESH_INTERVAL: Duration = "refresh_interval", Duration::new("5s", "10m", "15s");

    /// How long the last good document is used after it was last found to be the newest, which
    /// is at least one `refresh_interval`. After that, only the configuration's own
    /// organizations are used.
    MAX_STALE: Duration = "max_stale", Duration::new("1m", "168h", "24h");

    /// Whether one worker fetches for all workers of a process. Set it to `false` if the
    /// `vm_id` is shared with modules of strangers, who could write grants there.
    SHARE: Flag = "share", Flag { default: true };

    /// A credential for the server. It is sent to the authority of `uri` and to no other.
    AUTHORIZATION: Object = "authorization", Object(&authorization::TABLE);

    /// Must be set to accept an `http:` URL. Whoever can change the document on its way can
    /// then give themselves any tenant.
    ALLOW_HTTP: Flag = "allow_http", Flag { default: false };

    /// Must be set to accept a document without organizations, which withdraws every grant from
    /// outside.
    ALLOW_EMPTY: Flag = "allow_empty", Flag { default: false };

    /// Public keys, one of which must have signed the document. The document is then a JWS in
    /// compact form, and its `iat` counts for `max_stale`. This is for hosts on which modules
    /// of strangers share the `vm_id`. `scopegate public-keys` prints the set for
    /// `serve-organizations --signing-key`.
    SIGNED_BY: JwkSet = "signed_by", JwkSet;
}
