//! The keys of the document itself.

use super::{
    List, Object, OrObject, Preset, Required, Roles, Text, Word, audit, backends, cors,
    credentials, forward, health, limits, organization, organizations_from, projects, provider,
    roles, tenants,
};
use crate::config::Mode;

/// The maximum number of providers. Each has fetches, waiting requests and metrics of its own.
const MAX_PROVIDERS: usize = 64;

/// The name for a token that is sent as a bearer token.
pub const BEARER: &str = "bearer";

/// The name for a token that is sent as a password.
pub const BASIC: &str = "basic";

section! {
    /// One document configures the gate: YAML in files, JSON on the wire. Keys that are not
    /// listed here are refused by name. A key that is `null` is treated as if it were left out,
    /// except for `forward.subject_header`, and for `labels`, where it is refused.
    section where [Constraint::Unless(ORGANIZATIONS.name, ORGANIZATIONS_FROM.name)];

    /// With `report`, the gate decides and records what would be refused, and passes every
    /// request on, so that a configuration can be tried on live traffic.
    MODE: Word<Mode> = "mode", Word {
        words: &[("enforce", Mode::Enforce), ("report", Mode::Report)],
        default: Mode::Enforce,
    };

    /// The realm in `WWW-Authenticate`: printable ASCII without `"` and `\`.
    REALM: Preset = "realm", Preset {
        text: Text::of("text").up_to(128).like(r"^[ !#-\[\]-~]+$"),
        default: "observability",
    };

    /// [How a token may be sent](configuring.md#ways-of-a-token). The list must contain
    /// `bearer`; the others can only be added to it. `basic` accepts the token as a password,
    /// for agents that can do nothing else.
    CREDENTIALS: List<OrObject> = "credentials", List::of(OrObject {
        text: Text::of("word"),
        words: &[BEARER, BASIC],
        table: &credentials::TABLE,
    }).holding(BEARER);

    /// The OpenID Connect providers that are trusted. A token is matched to one by its exact
    /// `iss`.
    PROVIDERS: Required<List<Object>> = "providers", Required::always(
        List::of(Object(&provider::TABLE)).at_least(1).up_to(MAX_PROVIDERS),
        "without one no token can be verified",
    );

    /// Who may use which tenant. If a tenant is listed in several organizations, rights add up.
    ORGANIZATIONS: Required<List<Object>> = "organizations", Required::otherwise(
        List::of(Object(&organization::TABLE)).endless(),
        "without one nothing is granted",
    );

    /// [More organizations](organizations.md), from a document that is polled, so that tenants
    /// come and go without a new configuration. It may be used beside `organizations` or
    /// instead of it, but no organization may be in both.
    ORGANIZATIONS_FROM: Object = "organizations_from", Object(&organizations_from::TABLE);

    /// What each role may do, by its name of `a`-`z`, `-` and `_`. A role that is listed here
    /// has these permissions and no others. Default roles that are not listed keep theirs. More
    /// roles may be added.
    ROLES: Roles = "roles", roles::ROLES;

    /// Which backends there are. Requests for one that is absent or not enabled are answered
    /// with 503 `backend_not_configured`.
    BACKENDS: Object = "backends", Object(&backends::TABLE);

    /// [The projects API](projects.md): logs and metrics of one resource, for those who may
    /// read its project. It exists only if this section does.
    PROJECTS: Object = "projects", Object(&projects::TABLE);

    /// How a request may ask for [tenants without naming
    /// them](configuring.md#tenants-that-are-not-named).
    TENANTS: Object = "tenants", Object(&tenants::TABLE);

    /// [Health checks](configuring.md#health-checks), which are answered if this section
    /// exists.
    HEALTH: Object = "health", Object(&health::TABLE);

    /// [Pages in browsers](configuring.md#pages-in-browsers) that may call the gate. Without
    /// this section, none may.
    CORS: Object = "cors", Object(&cors::TABLE);

    /// What is sent to a backend in addition to the request.
    FORWARD: Object = "forward", Object(&forward::TABLE);

    /// Limits on what strangers can make the gate hold or do, for each worker.
    LIMITS: Object = "limits", Object(&limits::TABLE);

    /// What is recorded about decisions.
    AUDIT: Object = "audit", Object(&audit::TABLE);
}
