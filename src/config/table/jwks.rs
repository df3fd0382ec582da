//! The keys of `providers[].jwks`: where the provider's keys come from.

use super::{Duration, Flag, JwkSet, Object, Required, Text, Texts, authorization};

section! {
    /// Where the keys of a provider come from.
    section where [
        Constraint::OneOf(&[INLINE.name, URI.name, DISCOVERY.name]),
        Constraint::Beside(HOSTS.name, DISCOVERY.name),
        Constraint::Unless(CLUSTER.name, INLINE.name),
        Constraint::NotBeside(INLINE.name, ONLY_FETCHED),
    ];

    /// A JWK Set with keys that are never fetched. Each of them must be usable.
    INLINE: JwkSet = "inline", JwkSet;

    /// The URL of a JWK Set: `http` or `https`, without a user and a fragment.
    URI: Text = "uri", Text::of("URL").like("^https?://[!-~]+$");

    /// With `true`, `{issuer}/.well-known/openid-configuration` says where the keys are. Its
    /// `issuer` must be this one, and its `jwks_uri` must be on the same host. It is read at
    /// start, daily, and when keys fail.
    DISCOVERY: Flag = "discovery", Flag { default: false };

    /// Further `host[:port]` on which a discovered `jwks_uri` may be.
    HOSTS: Texts = "hosts", Texts::of(Text::of("host"));

    /// Envoy's cluster that reaches the provider, for the discovery document as well as for the
    /// keys.
    CLUSTER: Required<Text> = "cluster", Required::otherwise(
        Text::of("cluster"),
        "Envoy's cluster that reaches the provider",
    );

    /// A credential for the key endpoint, [as Kubernetes requires
    /// one](configuring.md#key-endpoints-that-want-a-credential). It is sent to the authority
    /// of `uri` or `issuer` and to no other.
    AUTHORIZATION: Object = "authorization", Object(&authorization::TABLE);

    /// How long a fetch may take.
    TIMEOUT: Duration = "timeout", Duration::new("100ms", "30s", "5s");

    /// The time from one successful fetch to the next. The next one begins after 80 % of it ±
    /// 10 %, or sooner if the provider's `Cache-Control` says so, but not within a minute.
    REFRESH_INTERVAL: Duration = "refresh_interval", Duration::new("1m", "24h", "10m");

    /// How long the last good keys are used after they were fetched, which is at least one
    /// `refresh_interval`.
    MAX_STALE: Duration = "max_stale", Duration::new("0s", "168h", "24h");

    /// Whether one worker fetches for all workers of a process. Set it to `false` if the
    /// `vm_id` is shared with modules of strangers, who could write keys there.
    SHARE: Flag = "share", Flag { default: true };
}

/// The keys that have no meaning beside [`INLINE`].
pub const ONLY_FETCHED: &[&str] = &[
    CLUSTER.name,
    AUTHORIZATION.name,
    TIMEOUT.name,
    REFRESH_INTERVAL.name,
    MAX_STALE.name,
    SHARE.name,
];
