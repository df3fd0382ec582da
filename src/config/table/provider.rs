//! `providers[]`

use super::{Duration, Exactly, Flag, Object, Required, Span, Text, Texts, Words, claims, jwks};
use crate::authn::keys::Algorithm;
use crate::authn::verifier::TokenKind;

/// An issuer. The rest of its rules needs the others.
const ISSUER_TEXT: Text = Text::of("issuer").like(r"^[^{}\u0000-\u001f]+$");

section! {
    /// A provider that is trusted, and how its tokens are read.
    section where [
        Constraint::OneOf(&[ISSUER.name, ISSUERS.name]),
        Constraint::OneOf(&[AUDIENCES.name, AUDIENCE_CHECK.name]),
    ];

    /// Stands in logs and metrics: at most 63 of `a`-`z`, `0`-`9` and `-`, and not the name of
    /// another provider.
    NAME: Required<Text> = "name", Required::always(
        Text::of("name").up_to(63).like("^[a-z0-9][a-z0-9-]*$"),
        "it stands in logs and metrics",
    );

    /// Is compared with `iss` byte for byte. No other provider has it, and templates are
    /// refused.
    ISSUER: Required<Text> = "issuer", Required::otherwise(
        ISSUER_TEXT,
        "the exact iss of its tokens (or issuers, a list)",
    );

    /// Spellings of one issuer, as Google has two: each is compared byte for byte, the first
    /// one serves discovery.
    ISSUERS: Texts = "issuers", Texts::of(ISSUER_TEXT).at_least(2).up_to(8);

    /// One of them must be in `aud`.
    AUDIENCES: Required<Texts> = "audiences", Required::otherwise(
        Texts::of(Text::of("audience")).at_least(1),
        "name the accepted aud values, or set audience_check: off",
    );

    /// Must be spelled out to go without `audiences`: then tokens for any service of the
    /// provider are accepted.
    AUDIENCE_CHECK: Exactly = "audience_check", Exactly { word: "off", or_false: true };

    /// One of them must be in `aud` of an ID token that comes in its [own
    /// header](configuring.md#ways-of-a-token).
    ID_TOKEN_AUDIENCES: Texts = "id_token_audiences", Texts::of(Text::of("audience"));

    /// Accepted `alg`.
    ALGORITHMS: Words<Algorithm> = "algorithms", Words {
        all: &Algorithm::ALL,
        name: Algorithm::name,
        least: 1,
        default: &[Algorithm::RS256, Algorithm::ES256],
    };

    /// By how much clocks may differ.
    CLOCK_SKEW: Duration = "clock_skew", Duration::new("0s", "5m", "60s");

    /// Longest `exp - iat`, and how far `exp` may be ahead of now. There is no limit without it.
    MAX_LIFETIME: Span = "max_lifetime", Span { least: "1m", most: "8760h" };

    /// Accepted `typ` of the header; one that is absent is accepted always.
    TOKEN_TYPES: Texts = "token_types", Texts::of(Text::of("type")).or(&["JWT", "at+jwt"]);

    /// Kinds of token, by what Keycloak (`typ`) and Cognito (`token_use`) state.
    ACCEPT: Words<TokenKind> = "accept", Words {
        all: &[TokenKind::Access, TokenKind::Id],
        name: TokenKind::name,
        least: 1,
        default: &[TokenKind::Access],
    };

    /// Claims that only ID tokens have, such as `at_hash`, where the provider states no kind
    /// and gives both the same audience (Zitadel).
    ID_TOKEN_CLAIMS: Texts = "id_token_claims", Texts::of(Text::of("claim"));

    /// If not empty, `azp`, `appid`, `cid`, `client_id` must be among them.
    CLIENTS: Texts = "clients", Texts::of(Text::of("client"));

    /// Refuse tokens with `cnf`, which plain Bearer does not prove.
    REJECT_BOUND_TOKENS: Flag = "reject_bound_tokens", Flag { default: false };

    /// Where its keys come from.
    JWKS: Required<Object> = "jwks", Required::always(
        Object(&jwks::TABLE),
        "one of inline, uri or discovery",
    );

    /// Who its tokens speak of.
    CLAIMS: Object = "claims", Object(&claims::TABLE);

    /// `true` in two providers: they may have prefixes in common.
    SHARED_GROUPS: Flag = "shared_groups", Flag { default: false };
}
