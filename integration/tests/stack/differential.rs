//! Requests drawn at random, each judged by a model that knows nothing about the gate. What the model allows must be
//! answered as the server answers it; what it does not allow must be refused and reach no server.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use integration::client::{Protocol, RawRequest, Reply};
use integration::drill::Random;
use integration::stack::{ACME, APOLLO_TENANT, GLOBEX};
use scopegate::authz::endpoint::Backend;

use crate::reads::{READS, federates, server, settled};
use crate::scene::Scene;
use crate::scopes::asks::request;
use crate::scopes::data::TeamData;
use crate::scopes::resources::{LOGS, METRICS, path};

crate::tests![random_requests_are_answered_as_the_model_says];

/// A caller and what they may read, by the realm and the configuration as people read them.
const CALLERS: &[(&str, &[&str], bool)] = &[
    ("alice", &[ACME, "scratch"], true),
    ("bob", &[GLOBEX], true),
    ("carol", &[ACME, GLOBEX, "scratch"], true),
    ("rolf", &[GLOBEX], true),
    ("edith", &[ACME, "scratch"], true),
    ("ada", &[ACME, "scratch"], true),
    ("nobody", &[], true),
    ("agent-acme", &[], false),
    ("agent-globex", &[], false),
    ("pia", &[], true),
    ("iris", &[], true),
];

const TENANTS: &[&str] = &[
    ACME,
    ACME,
    GLOBEX,
    GLOBEX,
    "acme|globex",
    "globex|acme",
    "acme|acme",
    "globex|globex",
    "acme|unknown",
    "unknown",
    "scratch",
    "acme|",
    "|globex",
    "acme:globex",
    "ACME",
    "acme,globex",
    "acme globex",
    "*",
    "",
    "__mimir_cluster",
];

/// Changes to a path, none of which is the path any more.
const BENT: &[fn(&str) -> String] = &[
    |path| format!("{path}/"),
    |path| format!("/{path}"),
    |path| path.replacen("/api/", "//api/", 1),
    |path| path.replacen("/api/", "/api/../api/", 1),
    |path| path.replacen("/api/", "/%61pi/", 1),
    |path| path.replacen("/api/", "/api;x=1/", 1),
    |path| path.replacen("/api/", "\\api/", 1),
    |path| path.replacen("/api/", "%2Fapi/", 1),
    |path| path.to_uppercase(),
    |path| format!("{path}%00"),
    |path| format!("{path}/../../config"),
];

/// Headers that try to say more than they may; none of them changes the answer.
const ASIDES: &[(&str, &str)] = &[
    ("x-scope-userid", "root"),
    ("x_scope_orgid", GLOBEX),
    ("x-prom-label-policy", "acme:%7Bowner%3D%22globex%22%7D"),
    ("x-scopegate-backend", "mimir"),
    ("x-scopegate-subject", "root"),
    ("x-loki-query-limits", "{\"maxEntriesLimitPerQuery\": 1}"),
    ("x-grafana-id", "anything"),
    ("x-original-url", "/config"),
    ("x-forwarded-prefix", "/globex"),
    ("x-http-method-override", "DELETE"),
    ("x-envoy-original-path", "/config"),
];

/// Who may read which resources by the projects API.
const READERS: &[(&str, &str, &[&str])] = &[("pia", "apollo", &["quartz", "basalt"])];

const PROJECTS: &[&str] = &[
    "apollo", "apollo", "apollo", "apollo", "apollo", "artemis", "Apollo", "acme", "-x",
];

const RESOURCES: &[&str] = &[
    "quartz", "quartz", "quartz", "basalt", "basalt", "basalt", "marble", "quartz.", "_",
];

/// A query of the projects API for logs, and what Loki is asked instead; `R` stands for the resource.
const LOG_QUERIES: &[(&str, Option<&str>)] = &[
    ("", Some("{resource_id=\"R\"}")),
    ("|= \"by the\"", Some("{resource_id=\"R\"} |= \"by the\"")),
    (
        "{bird=\"merlin\"} | logfmt",
        Some("{bird=\"merlin\",resource_id=\"R\"} | logfmt"),
    ),
    (
        "{resource_id=~\".+\"}",
        Some("{resource_id=~\".+\",resource_id=\"R\"}"),
    ),
    ("{bird=\"merlin\"} // }", None),
    ("{bird=\"merlin\"", None),
];

/// The same for metrics.
const METRIC_QUERIES: &[(&str, Option<&str>)] = &[
    ("birds_total", Some("birds_total{resource_id=\"R\"}")),
    (
        "sum by (bird, resource_id) (birds_total{bird!=\"merlin\"})",
        Some("sum by (bird, resource_id) (birds_total{bird!=\"merlin\",resource_id=\"R\"})"),
    ),
    ("", None),
    ("info(birds_total)", None),
    ("birds_total{resource_id=\"R\" or bird!=\"\"}", None),
];

/// A request and what the model says of it.
struct Drawn {
    method: &'static str,
    who: &'static str,
    tenants: &'static str,
    request: RawRequest,
    protocol: Protocol,
    /// What the server is asked, when it is asked.
    allowed: Option<Allowed>,
    /// What no answer may hold.
    hidden: Vec<&'static str>,
}

/// What reaches a server.
struct Allowed {
    backend: Backend,
    tenants: String,
    direct: RawRequest,
}

async fn random_requests_are_answered_as_the_model_says(scene: &Scene) -> Result<()> {
    let seed = match std::env::var("SCOPEGATE_SEED") {
        Ok(seed) => seed.parse()?,
        Err(_) => u64::try_from(integration::token::now())?,
    };
    println!("SCOPEGATE_SEED={seed} repeats it");
    let data = TeamData::of(scene).await?;
    let mut random = Random(seed | 1);
    let before = passed(scene).await?;
    let mut expected = before.clone();
    let mut wrong = Vec::new();
    let mut allowed = 0;
    let mut closed = 0;
    for number in 0..REQUESTS {
        let drawn = match random.below(4) {
            0 => draw_of_project(data, &mut random),
            _ => draw(scene, &mut random),
        };
        let token = scene.token(drawn.who).await?;
        let request = drawn.request.clone().bearer(&token).tenant(drawn.tenants);
        let target = scene.stack.target();
        let reply = match request.send(&target, drawn.protocol).await {
            // Envoy closes a connection whose path is none, and a refusal that does not read the body may end one too.
            Err(_) if drawn.allowed.is_none() => {
                closed += 1;
                continue;
            }
            reply => reply?,
        };
        let what = format!(
            "{number}: {} {} by {} for {:?}",
            drawn.method,
            String::from_utf8_lossy(&drawn.request.path),
            drawn.who,
            drawn.tenants
        );
        if drawn.hidden.iter().any(|word| reply.text().contains(word)) {
            wrong.push(format!("{what}: {}", reply.text()));
        }
        if let Some(asked) = &drawn.allowed {
            allowed += 1;
            let direct = scene
                .direct(
                    server(scene, asked.backend),
                    &asked.tenants,
                    asked.direct.clone(),
                )
                .await?;
            *expected.entry(asked.backend.name()).or_default() += 1;
            if (reply.status, settled(&reply)) != (direct.status, settled(&direct)) {
                wrong.push(format!(
                    "{what}: {} {} is not {} {}",
                    reply.status,
                    settled(&reply),
                    direct.status,
                    settled(&direct)
                ));
            }
        } else if !(400..500).contains(&reply.status) || tells(&reply) {
            wrong.push(format!("{what}: {} {}", reply.status, reply.text()));
        }
    }
    let after = passed(scene).await?;
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    ensure!(
        after == expected,
        "{before:?} became {after:?}, not {expected:?}"
    );
    println!(
        "{REQUESTS} requests, {allowed} of them allowed, {closed} answered by the end of the connection"
    );
    ensure!(closed < REQUESTS / 10, "{closed} connections were closed");
    // Neither side may starve, or the test shows less than it says.
    ensure!(
        allowed > REQUESTS / 6 && allowed < REQUESTS * 5 / 6,
        "{allowed} of {REQUESTS} allowed"
    );
    Ok(())
}

/// Requests that Envoy has passed on, by backend.
async fn passed(scene: &Scene) -> Result<BTreeMap<&'static str, i64>> {
    let stats = scene.stack.envoy()?.stats().await?;
    let count = |backend: Backend| {
        let name = format!("cluster.{}.upstream_rq_total", backend.name());
        (
            backend.name(),
            stats.get(&name).copied().unwrap_or_default(),
        )
    };
    Ok(Backend::ALL.into_iter().map(count).collect())
}

/// Whether an answer contains a tenant's data, which no refusal may.
fn tells(reply: &Reply) -> bool {
    reply.text().contains(ACME) || reply.text().contains(GLOBEX)
}

fn draw(scene: &Scene, random: &mut Random) -> Drawn {
    let read = &READS[random.below(READS.len())];
    let rows = read.endpoints(ACME);
    let (method, endpoint) = rows[random.below(rows.len())];
    let (who, granted, reads) = CALLERS[random.below(CALLERS.len())];
    let mut tenants = TENANTS[random.below(TENANTS.len())];
    // Half of the time something that the caller may ask for, so that enough is let through.
    if random.below(2) == 0 && !granted.is_empty() {
        tenants = granted[random.below(granted.len())];
    }
    let mut elements: Vec<&str> = tenants.split('|').collect();
    elements.sort_unstable();
    elements.dedup();
    let first = elements[0];
    let first = if first == GLOBEX { GLOBEX } else { ACME };
    let mut request = read.request(scene, method, first);
    let mut good = reads
        && elements.iter().all(|tenant| granted.contains(tenant))
        && (tenants.split('|').count() == 1 || federates(endpoint));
    if random.below(6) == 0 {
        let path = String::from_utf8_lossy(&request.path).into_owned();
        let (path, query) = path
            .split_once('?')
            .map_or((path.as_str(), None), |(path, query)| (path, Some(query)));
        let bent = BENT[random.below(BENT.len())](path);
        let query = query.map_or(String::new(), |query| format!("?{query}"));
        // Not every path has the piece that a change is about.
        good &= bent == path;
        request.path = format!("{bent}{query}").into_bytes();
    }
    if random.below(3) == 0 {
        let (name, value) = ASIDES[random.below(ASIDES.len())];
        request = request.header(name, value);
    }
    if random.below(20) == 0 {
        request = request.tenant(GLOBEX);
        good = false;
    }
    let protocol = if random.below(2) == 0 {
        Protocol::H1
    } else {
        Protocol::H2
    };
    let hidden = [ACME, GLOBEX].into_iter();
    let hidden = hidden.filter(|tenant| good && !elements.contains(tenant));
    let allowed = good.then(|| Allowed {
        backend: endpoint.backend,
        tenants: elements.join("|"),
        direct: read.direct(scene, method, first, endpoint),
    });
    Drawn {
        method,
        who,
        tenants,
        request,
        protocol,
        allowed,
        hidden: hidden.collect(),
    }
}

/// A request of the projects API. The tenant in its header, and what stands beside it, are not looked at.
fn draw_of_project(data: TeamData, random: &mut Random) -> Drawn {
    let mut who = CALLERS[random.below(CALLERS.len())].0;
    if random.below(3) > 0 {
        who = "pia";
    }
    let project = PROJECTS[random.below(PROJECTS.len())];
    let resource = RESOURCES[random.below(RESOURCES.len())];
    let (backend, what, queries, direct) = if random.below(2) == 0 {
        (Backend::Loki, LOGS, LOG_QUERIES, "/loki/api/v1/query_range")
    } else {
        let direct = "/prometheus/api/v1/query_range";
        (Backend::Mimir, METRICS, METRIC_QUERIES, direct)
    };
    let (query, scoped) = queries[random.below(queries.len())];
    let mut pairs: Vec<(String, String)> = [("start", data.from), ("end", data.to), ("step", 10)]
        .map(|(name, value)| (name.to_owned(), value.to_string()))
        .to_vec();
    let mut sent = pairs.clone();
    if !query.is_empty() {
        sent.push(("query".to_owned(), query.to_owned()));
    }
    if random.below(2) == 0 {
        sent.push(("limit".to_owned(), "9".to_owned()));
        pairs.push(("limit".to_owned(), "9".to_owned()));
    } else if backend == Backend::Loki {
        pairs.push(("limit".to_owned(), "1000".to_owned()));
    }
    let readable = |(reader, granted, resources): &(&str, &str, &[&str])| {
        *reader == who && *granted == project && resources.contains(&resource)
    };
    let mut good = READERS.iter().any(readable) && scoped.is_some();
    let mut method = "GET";
    match random.below(8) {
        0 => {
            method = "POST";
            good = false;
        }
        1 => {
            sent.push(("tenant".to_owned(), GLOBEX.to_owned()));
            good = false;
        }
        _ => {}
    }
    let mut asked = request(method, &path(project, resource, what), &sent);
    if random.below(3) == 0 {
        let (name, value) = ASIDES[random.below(ASIDES.len())];
        asked = asked.header(name, value);
    }
    let scoped = scoped.unwrap_or_default().replace('R', resource);
    pairs.push(("query".to_owned(), scoped));
    let others = ["quartz", "basalt", ACME, GLOBEX].into_iter();
    let hidden = others.filter(|word| good && !resource.contains(word));
    let allowed = good.then(|| Allowed {
        backend,
        tenants: APOLLO_TENANT.to_owned(),
        direct: request("GET", direct, &pairs),
    });
    Drawn {
        method,
        who,
        tenants: TENANTS[random.below(TENANTS.len())],
        request: asked,
        protocol: [Protocol::H1, Protocol::H2][random.below(2)],
        allowed,
        hidden: hidden.collect(),
    }
}

const REQUESTS: usize = 1000;
