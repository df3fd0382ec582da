//! The document itself.

use super::{
    List, Object, OrObject, Preset, Required, Roles, Text, Word, audit, backends, cors,
    credentials, forward, health, limits, organization, organizations_from, projects, provider,
    roles, tenants,
};
use crate::config::Mode;

/// Most providers: each has fetches, waiting requests and metrics of its own.
const MAX_PROVIDERS: usize = 64;

/// A token that comes as bearer token.
pub const BEARER: &str = "bearer";

/// A token that comes as a password.
pub const BASIC: &str = "basic";

section! {
    /// One document configures the gate: YAML in files, JSON on the wire. Keys that are not
    /// listed here are refused by name. `null` says the same as leaving a key out, but for
    /// `forward.subject_header`, and for `labels`, where it is refused.
    section where [Constraint::Unless(ORGANIZATIONS.name, ORGANIZATIONS_FROM.name)];

    /// `report` decides and records what would be refused, and passes every request on: for
    /// trying a configuration on live traffic.
    MODE: Word<Mode> = "mode", Word {
        words: &[("enforce", Mode::Enforce), ("report", Mode::Report)],
        default: Mode::Enforce,
    };

    /// Stands in `WWW-Authenticate`: printable ASCII without `"` and `\`.
    REALM: Preset = "realm", Preset {
        text: Text::of("text").up_to(128).like(r"^[ !#-\[\]-~]+$"),
        default: "observability",
    };

    /// [How a token may be sent](configuring.md#ways-of-a-token). `bearer` must be in the list:
    /// the others only come beside it. `basic` takes the token as a password, for agents
    /// that can do nothing else.
    CREDENTIALS: List<OrObject> = "credentials", List::of(OrObject {
        text: Text::of("word"),
        words: &[BEARER, BASIC],
        table: &credentials::TABLE,
    }).holding(BEARER);

    /// The OpenID Connect providers that are trusted. A token chooses by its exact `iss`.
    PROVIDERS: Required<List<Object>> = "providers", Required::always(
        List::of(Object(&provider::TABLE)).at_least(1).up_to(MAX_PROVIDERS),
        "without one no token can be verified",
    );

    /// Who may use which tenant. A tenant may stand in several organizations: rights add up.
    ORGANIZATIONS: Required<List<Object>> = "organizations", Required::otherwise(
        List::of(Object(&organization::TABLE)).endless(),
        "without one nothing is granted",
    );

    /// [More organizations](organizations.md), from a document that is polled: tenants come and go
    /// without a new configuration. It stands beside `organizations`, which no name may be in as
    /// well, or instead of it.
    ORGANIZATIONS_FROM: Object = "organizations_from", Object(&organizations_from::TABLE);

    /// What each role may do, by its name of `a`-`z`, `-` and `_`. A role that stands here has
    /// these permissions and no others; the default roles that do not stand here stay as they
    /// are. More roles may be added.
    ROLES: Roles = "roles", roles::ROLES;

    /// Which backends there are. One that is absent or not enabled is answered with 503
    /// `backend_not_configured`.
    BACKENDS: Object = "backends", Object(&backends::TABLE);

    /// [The projects API](projects.md): logs and metrics of one resource,
    /// for those who may read its project. It is there if this section is.
    PROJECTS: Object = "projects", Object(&projects::TABLE);

    /// What may be done about [tenants that are not named](configuring.md#tenants-that-are-not-named).
    TENANTS: Object = "tenants", Object(&tenants::TABLE);

    /// [Health checks](configuring.md#health-checks), which are answered if this section is there.
    HEALTH: Object = "health", Object(&health::TABLE);

    /// [Pages in browsers](configuring.md#pages-in-browsers) that may call the gate: none
    /// without this section.
    CORS: Object = "cors", Object(&cors::TABLE);

    /// What goes on to a backend besides the request.
    FORWARD: Object = "forward", Object(&forward::TABLE);

    /// Bounds on what strangers can make the gate hold or do, for each worker.
    LIMITS: Object = "limits", Object(&limits::TABLE);

    /// What is recorded about decisions.
    AUDIT: Object = "audit", Object(&audit::TABLE);
}
