//! The keys of `providers[]`.

use super::{Duration, Exactly, Flag, Object, Required, Span, Text, Texts, Words, claims, jwks};
use crate::authn::keys::Algorithm;
use crate::authn::verifier::TokenKind;

/// An issuer. Its other rules depend on the other providers.
const ISSUER_TEXT: Text = Text::of("issuer").like(r"^[^{}\u0000-\u001f]+$");

section! {
    /// A provider that is trusted, and how its tokens are read.
    section where [
        Constraint::OneOf(&[ISSUER.name, ISSUERS.name]),
        Constraint::OneOf(&[AUDIENCES.name, AUDIENCE_CHECK.name]),
    ];

    /// Its name in logs and metrics: at most 63 of `a`-`z`, `0`-`9` and `-`. No other provider
    /// may have it.
    NAME: Required<Text> = "name", Required::always(
        Text::of("name").up_to(63).like("^[a-z0-9][a-z0-9-]*$"),
        "it stands in logs and metrics",
    );

    /// The issuer, which is compared with `iss` byte for byte. No other provider may have it,
    /// and templates are refused.
    ISSUER: Required<Text> = "issuer", Required::otherwise(
        ISSUER_TEXT,
        "the exact iss of its tokens (or issuers, a list)",
    );

    /// Several spellings of one issuer; Google has two. Each is compared byte for byte, and the
    /// first one is used for discovery.
    ISSUERS: Texts = "issuers", Texts::of(ISSUER_TEXT).at_least(2).up_to(8);

    /// The accepted audiences. One of them must be in `aud`.
    AUDIENCES: Required<Texts> = "audiences", Required::otherwise(
        Texts::of(Text::of("audience")).at_least(1),
        "name the accepted aud values, or set audience_check: off",
    );

    /// Must be set to `off` if `audiences` is left out. Tokens for any service of the provider
    /// are then accepted.
    AUDIENCE_CHECK: Exactly = "audience_check", Exactly { word: "off", or_false: true };

    /// The accepted audiences of an ID token that is sent in its [own
    /// header](configuring.md#ways-of-a-token). One of them must be in its `aud`.
    ID_TOKEN_AUDIENCES: Texts = "id_token_audiences", Texts::of(Text::of("audience"));

    /// The accepted values of `alg`.
    ALGORITHMS: Words<Algorithm> = "algorithms", Words {
        all: &Algorithm::ALL,
        name: Algorithm::name,
        least: 1,
        default: &[Algorithm::RS256, Algorithm::ES256],
    };

    /// The clock difference that is tolerated.
    CLOCK_SKEW: Duration = "clock_skew", Duration::new("0s", "5m", "60s");

    /// The longest `exp - iat`, and how far `exp` may be ahead of the current time. Without it
    /// there is no limit.
    MAX_LIFETIME: Span = "max_lifetime", Span { least: "1m", most: "8760h" };

    /// The accepted values of `typ` in the header. A token without `typ` is always accepted.
    TOKEN_TYPES: Texts = "token_types", Texts::of(Text::of("type")).or(&["JWT", "at+jwt"]);

    /// The accepted kinds of tokens, as Keycloak (`typ`) and Cognito (`token_use`) state them.
    ACCEPT: Words<TokenKind> = "accept", Words {
        all: &[TokenKind::Access, TokenKind::Id],
        name: TokenKind::name,
        least: 1,
        default: &[TokenKind::Access],
    };

    /// Claims that only ID tokens have, such as `at_hash`, for a provider that does not state
    /// the kind and gives both kinds the same audience (Zitadel).
    ID_TOKEN_CLAIMS: Texts = "id_token_claims", Texts::of(Text::of("claim"));

    /// The accepted clients. If the list is not empty, `azp`, `appid`, `cid` and `client_id`
    /// must be among them.
    CLIENTS: Texts = "clients", Texts::of(Text::of("client"));

    /// Whether tokens with `cnf` are refused, because a plain Bearer request does not prove
    /// possession of the key.
    REJECT_BOUND_TOKENS: Flag = "reject_bound_tokens", Flag { default: false };

    /// Where the provider's keys come from.
    JWKS: Required<Object> = "jwks", Required::always(
        Object(&jwks::TABLE),
        "one of inline, uri or discovery",
    );

    /// Which claims name the caller and its groups.
    CLAIMS: Object = "claims", Object(&claims::TABLE);

    /// Must be `true` in two providers for them to have prefixes in common.
    SHARED_GROUPS: Flag = "shared_groups", Flag { default: false };
}
