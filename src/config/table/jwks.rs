//! `providers[].jwks`: where keys come from.

use super::{Duration, Flag, JwkSet, Object, Required, Text, Texts, authorization};

section! {
    /// Where the keys of a provider come from.
    section where [
        Constraint::OneOf(&[INLINE.name, URI.name, DISCOVERY.name]),
        Constraint::Beside(HOSTS.name, DISCOVERY.name),
        Constraint::Unless(CLUSTER.name, INLINE.name),
        Constraint::NotBeside(INLINE.name, ONLY_FETCHED),
    ];

    /// A JWK Set: keys that are never fetched. Each must be usable.
    INLINE: JwkSet = "inline", JwkSet;

    /// The URL of a JWK Set: `http` or `https`, without user and fragment.
    URI: Text = "uri", Text::of("URL").like("^https?://[!-~]+$");

    /// `true`: `{issuer}/.well-known/openid-configuration` says where the keys are. Its `issuer`
    /// must be this one, its `jwks_uri` on the same host. It is read at start, daily, and when
    /// keys fail.
    DISCOVERY: Flag = "discovery", Flag { default: false };

    /// Further `host[:port]` that a discovered `jwks_uri` may be on.
    HOSTS: Texts = "hosts", Texts::of(Text::of("host"));

    /// Envoy's cluster that reaches the provider, for both documents.
    CLUSTER: Required<Text> = "cluster", Required::otherwise(
        Text::of("cluster"),
        "Envoy's cluster that reaches the provider",
    );

    /// A credential for the key endpoint, [as Kubernetes wants
    /// one](configuring.md#key-endpoints-that-want-a-credential): it is shown to the authority of
    /// `uri` or `issuer` and to no other.
    AUTHORIZATION: Object = "authorization", Object(&authorization::TABLE);

    /// How long a fetch may take.
    TIMEOUT: Duration = "timeout", Duration::new("100ms", "30s", "5s");

    /// From one good fetch to the next: at 80 % of it ± 10 %, sooner if the provider's
    /// `Cache-Control` says so, but not within a minute.
    REFRESH_INTERVAL: Duration = "refresh_interval", Duration::new("1m", "24h", "10m");

    /// How long the last good keys serve after their fetch, at least one `refresh_interval`.
    MAX_STALE: Duration = "max_stale", Duration::new("0s", "168h", "24h");

    /// One fetch for all workers of a process; `false` where the `vm_id` is shared with modules
    /// of strangers, who could write keys there.
    SHARE: Flag = "share", Flag { default: true };
}

/// What has no meaning beside [`INLINE`].
pub const ONLY_FETCHED: &[&str] = &[
    CLUSTER.name,
    AUTHORIZATION.name,
    TIMEOUT.name,
    REFRESH_INTERVAL.name,
    MAX_STALE.name,
    SHARE.name,
];
