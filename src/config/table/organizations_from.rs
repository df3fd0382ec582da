//! `organizations_from`: organizations that come from outside.

use super::{Duration, Flag, JwkSet, Object, Required, Text, authorization};

section! {
    /// Where more organizations come from, and what is believed.
    section;

    /// The URL of the document: `https`, without user and fragment.
    URI: Required<Text> = "uri", Required::always(
        Text::of("URL").like("^https?://[!-~]+$"),
        "where the document is",
    );

    /// Envoy's cluster that reaches it. Have it verify the server's certificate and name.
    CLUSTER: Required<Text> = "cluster", Required::always(
        Text::of("cluster"),
        "Envoy's cluster that reaches it",
    );

    /// How long a fetch may take.
    TIMEOUT: Duration = "timeout", Duration::new("100ms", "30s", "5s");

    /// From one fetch to the next, ± 10 %. What has not changed is not sent again, if the server
    /// knows `If-None-Match`.
    REFRESH_INTERVAL: Duration = "refresh_interval", Duration::new("5s", "10m", "15s");

    /// How long the last good document serves after it was last found to be the newest, at least
    /// one `refresh_interval`. After that the configuration's own organizations serve alone.
    MAX_STALE: Duration = "max_stale", Duration::new("1m", "168h", "24h");

    /// One fetch for all workers of a process; `false` where the `vm_id` is shared with modules
    /// of strangers, who could write grants there.
    SHARE: Flag = "share", Flag { default: true };

    /// A credential for the server: it is shown to the authority of `uri` and to no other.
    AUTHORIZATION: Object = "authorization", Object(&authorization::TABLE);

    /// Must be spelled out for an `http:` URL: whoever can change the document on its way can give
    /// themselves any tenant.
    ALLOW_HTTP: Flag = "allow_http", Flag { default: false };

    /// Must be spelled out for a document without an organization to count: it withdraws every
    /// grant from outside.
    ALLOW_EMPTY: Flag = "allow_empty", Flag { default: false };

    /// One of these public keys must have signed the document, which is then a JWS in compact form.
    /// Its `iat` counts for `max_stale`. For hosts where modules of strangers share the `vm_id`.
    /// `scopegate public-keys` prints the set for `serve-organizations --signing-key`.
    SIGNED_BY: JwkSet = "signed_by", JwkSet;
}
