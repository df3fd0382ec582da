//! The scenarios that test the endpoint table from outside.
//!
//! `scenarios/endpoints.yaml` says, according to the backends' documentation, what is let through and what never is.
//! Each row yields a few scenarios: every method by a caller who has the permission, one refusal for lack of it in
//! the format of the row's clients, and one request for two tenants.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Deserialize;

use super::row::{
    BodyFamily, Expect, ExpectUpstream, IssuerState, RequestText, Scenario, TokenText,
    UpstreamText, base, both,
};
use crate::bytes::ByteText;
use crate::client::Protocol;
use crate::{paths, yaml};

/// The name of the file.
pub const FILE: &str = "endpoints.yaml";

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoints {
    pub endpoints: Vec<EndpointRow>,
    /// Requests that the servers answer on the same ports but that nobody may make, as `METHOD /path`.
    pub never: Vec<String>,
    /// gRPC methods of the same kind.
    pub never_grpc: Vec<String>,
}

/// One endpoint with a concrete path.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointRow {
    #[serde(deserialize_with = "yaml::one_or_many")]
    pub methods: Vec<String>,
    pub path: String,
    /// The permission that it needs.
    pub needs: String,
    /// loki, mimir or tempo.
    pub backend: String,
    /// The Envoy cluster, if its name is not that of the backend.
    #[serde(default)]
    pub cluster: Option<String>,
    /// The path that the backend sees, if it is a different one.
    #[serde(default)]
    pub forwarded: Option<String>,
    /// The format of its refusals.
    pub refused: BodyFamily,
    /// Whether it accepts several tenants (`a|b`).
    pub federates: bool,
    /// Whether it answers without a tenant, for every caller who is granted anything.
    #[serde(default)]
    pub tenant_optional: bool,
    #[serde(default = "base")]
    pub config: String,
}

/// The file.
pub fn endpoints() -> Result<Endpoints> {
    yaml::read(&paths::integration().join("scenarios").join(FILE))
}

impl Endpoints {
    /// The scenarios for all rows.
    pub fn scenarios(&self) -> Vec<Scenario> {
        let rows = self.endpoints.iter().flat_map(EndpointRow::scenarios);
        let never = self.never.iter().map(|line| unlisted(line, false));
        let never_grpc = self.never_grpc.iter().map(|line| unlisted(line, true));
        rows.chain(never).chain(never_grpc).collect()
    }
}

impl EndpointRow {
    fn is_grpc(&self) -> bool {
        self.refused == BodyFamily::Grpc
    }

    fn scenarios(&self) -> Vec<Scenario> {
        let mut all: Vec<Scenario> = self
            .methods
            .iter()
            .map(|method| self.allowed(method))
            .collect();
        if let Some(method) = self.methods.first() {
            all.push(self.refused(method));
            all.push(self.for_two_tenants(method));
            all.extend(self.without_tenant(method));
        }
        all
    }

    fn allowed(&self, method: &str) -> Scenario {
        let mut scenario = self.scenario(&format!("{method} {} is let through", self.path), method);
        scenario.token = TokenText::Name(self.holder().to_owned());
        scenario.expect = self.passes(self.tenant());
        scenario
    }

    fn refused(&self, method: &str) -> Scenario {
        let name = format!("{method} {} needs {}", self.path, self.needs);
        let mut scenario = self.scenario(&name, method);
        let other = match self.needs.as_str() {
            "read" | "rules-read" | "alerts-read" => "agent",
            "delete" => "editor",
            _ => "reader",
        };
        scenario.token = TokenText::Name(other.to_owned());
        scenario.expect = self.refuses(403, 7, "permission_missing");
        if !self.is_grpc() {
            scenario.expect.says = Some(format!("the permission '{}'", self.needs));
        }
        scenario
    }

    fn for_two_tenants(&self, method: &str) -> Scenario {
        let takes = if self.federates { "takes" } else { "refuses" };
        let name = format!("{method} {} {takes} two tenants", self.path);
        let mut scenario = self.scenario(&name, method);
        scenario.request.tenant = vec!["globex|acme".into()];
        scenario.token = TokenText::Name("wide".to_owned());
        scenario.expect = if self.federates {
            self.passes("acme|globex")
        } else {
            self.refuses(400, 3, "tenant_not_single")
        };
        scenario
    }

    fn without_tenant(&self, method: &str) -> Vec<Scenario> {
        let scenario = |what: &str, token: &str| {
            let name = format!("{method} {} without a tenant {what}", self.path);
            let mut scenario = self.scenario(&name, method);
            scenario.request.tenant = Vec::new();
            scenario.token = TokenText::Name(token.to_owned());
            scenario
        };
        if !self.tenant_optional {
            let mut refused = scenario("is refused", self.holder());
            refused.expect = self.refuses(400, 3, "tenant_missing");
            return vec![refused];
        }
        let mut passes = scenario("is let through", "agent");
        passes.expect = self.passes("");
        if let Some(UpstreamText::Request(upstream)) = &mut passes.expect.upstream {
            upstream.headers.clear();
            upstream.absent.push("x-scope-orgid".to_owned());
        }
        let mut stranger = scenario("is refused to strangers", "stranger");
        stranger.expect = self.refuses(403, 7, "tenant_not_granted");
        vec![passes, stranger]
    }

    fn scenario(&self, name: &str, method: &str) -> Scenario {
        let query = if self.is_grpc() { "" } else { QUERY };
        let mut scenario = scenario(name, method, &format!("{}{query}", self.path));
        scenario.config.clone_from(&self.config);
        scenario.request.tenant = vec![self.tenant().into()];
        if self.is_grpc() {
            make_grpc(&mut scenario);
        } else if matches!(
            self.refused,
            BodyFamily::OtlpProtobuf | BodyFamily::OtlpJson
        ) {
            scenario.request.content_type = Some("application/x-protobuf".to_owned());
        }
        scenario
    }

    /// A persona with the permission on [`EndpointRow::tenant`].
    fn holder(&self) -> &'static str {
        match self.needs.as_str() {
            "write" => "agent",
            "rules-write" | "alerts-write" => "editor",
            "delete" => "admin",
            _ => "reader",
        }
    }

    fn tenant(&self) -> &'static str {
        match self.needs.as_str() {
            "rules-write" | "alerts-read" | "alerts-write" => "acme-alerts",
            _ => "acme",
        }
    }

    fn passes(&self, tenants: &str) -> Expect {
        let path = self.forwarded.as_ref().unwrap_or(&self.path);
        let query = if self.is_grpc() { "" } else { QUERY };
        let upstream = ExpectUpstream {
            backend: Some(self.backend.clone()),
            cluster: self.cluster.clone(),
            path: Some(format!("{path}{query}")),
            headers: [("x-scope-orgid".to_owned(), ByteText::from(tenants))].into(),
            absent: vec!["authorization".to_owned(), "x-scopegate-backend".to_owned()],
            ..ExpectUpstream::default()
        };
        Expect {
            status: 200,
            grpc_status: self.is_grpc().then_some(0),
            upstream: Some(UpstreamText::Request(Box::new(upstream))),
            ..Expect::default()
        }
    }

    fn refuses(&self, status: u16, grpc_status: i32, code: &str) -> Expect {
        Expect {
            status: if self.is_grpc() { 200 } else { status },
            grpc_status: self.is_grpc().then_some(grpc_status),
            code: Some(code.to_owned()),
            body: Some(self.refused),
            challenge: Some("none".to_owned()),
            retry_after: Some(false),
            ..Expect::default()
        }
    }
}

/// The path is not found, whoever asks.
fn unlisted(line: &str, grpc: bool) -> Scenario {
    let (method, path) = line.split_once(' ').unwrap_or(("GET", line));
    let mut scenario = scenario(&format!("{method} {path} is never reached"), method, path);
    scenario.request.tenant = vec!["acme".into()];
    scenario.token = TokenText::Name("admin".to_owned());
    scenario.expect = Expect {
        status: if grpc { 200 } else { 404 },
        grpc_status: grpc.then_some(12),
        code: Some("route_not_listed".to_owned()),
        body: Some(if grpc {
            BodyFamily::Grpc
        } else {
            BodyFamily::Text
        }),
        says_only: (!grpc).then(|| "not found\n".to_owned()),
        challenge: Some("none".to_owned()),
        retry_after: Some(false),
        ..Expect::default()
    };
    if grpc {
        make_grpc(&mut scenario);
    }
    scenario
}

fn scenario(name: &str, method: &str, path: &str) -> Scenario {
    Scenario {
        name: name.to_owned(),
        config: base(),
        issuer: IssuerState::default(),
        environment: BTreeMap::new(),
        down: Vec::new(),
        alone: false,
        protocols: both(),
        not_native: None,
        not_envoy: None,
        request: RequestText {
            method: method.to_owned(),
            path: path.into(),
            tenant: Vec::new(),
            headers: Vec::new(),
            content_type: None,
            body: None,
        },
        token: TokenText::Absent,
        authorization: Vec::new(),
        expect: Expect::default(),
    }
}

/// Turns the scenario into a gRPC call with one empty message over HTTP/2.
fn make_grpc(scenario: &mut Scenario) {
    scenario.protocols = vec![Protocol::H2];
    scenario.request.content_type = Some("application/grpc".to_owned());
    scenario.request.headers = vec![("te".to_owned(), "trailers".into())];
    scenario.request.body = Some(ByteText::Hex(crate::bytes::Hex {
        hex: "00 00000000".to_owned(),
    }));
}

/// A query string that is sent with every request and must reach the backend unchanged.
const QUERY: &str = "?start=1&x=%7B%22a%22%7D";
