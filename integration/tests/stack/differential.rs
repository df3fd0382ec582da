//! Requests drawn at random, each judged by a model that knows nothing of the gate: what it allows is answered as by
//! the server, what it does not is refused and seen by no server.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use integration::client::{Protocol, RawRequest, Reply};
use integration::drill::Random;
use integration::stack::{ACME, GLOBEX};
use scopegate::endpoint::{Backend, Endpoint};

use crate::reads::{READS, Read, federates, server, settled};
use crate::world::World;

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

/// A request and what the model says of it.
struct Drawn {
    read: &'static Read,
    method: &'static str,
    endpoint: &'static Endpoint,
    who: &'static str,
    tenants: &'static str,
    request: RawRequest,
    protocol: Protocol,
    /// The tenants that the server is asked for, when it is asked.
    allowed: Option<String>,
}

async fn random_requests_are_answered_as_the_model_says(world: &World) -> Result<()> {
    let seed = match std::env::var("SCOPEGATE_SEED") {
        Ok(seed) => seed.parse()?,
        Err(_) => u64::try_from(integration::token::now())?,
    };
    println!("SCOPEGATE_SEED={seed} repeats it");
    let mut random = Random(seed | 1);
    let before = passed(world).await?;
    let mut expected = before.clone();
    let mut wrong = Vec::new();
    let mut allowed = 0;
    let mut closed = 0;
    for number in 0..REQUESTS {
        let drawn = draw(world, &mut random);
        let token = world.token(drawn.who).await?;
        let request = drawn.request.clone().bearer(&token).tenant(drawn.tenants);
        let target = world.stack.target();
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
        if let Some(tenants) = &drawn.allowed {
            allowed += 1;
            let first = tenants.split('|').next().unwrap_or_default();
            let direct = drawn
                .read
                .direct(world, drawn.method, first, drawn.endpoint);
            let direct = world
                .direct(server(world, drawn.endpoint.backend), tenants, direct)
                .await?;
            *expected.entry(drawn.endpoint.backend.name()).or_default() += 1;
            if (reply.status, settled(&reply)) != (direct.status, settled(&direct)) {
                wrong.push(format!(
                    "{what}: {} {} is not {} {}",
                    reply.status,
                    settled(&reply),
                    direct.status,
                    settled(&direct)
                ));
            }
            for tenant in [ACME, GLOBEX] {
                if !tenants.contains(tenant) && reply.text().contains(tenant) {
                    wrong.push(format!("{what}: {}", reply.text()));
                }
            }
        } else if !(400..500).contains(&reply.status) || tells(&reply) {
            wrong.push(format!("{what}: {} {}", reply.status, reply.text()));
        }
    }
    let after = passed(world).await?;
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
async fn passed(world: &World) -> Result<BTreeMap<&'static str, i64>> {
    let stats = world.stack.envoy()?.stats().await?;
    let count = |backend: Backend| {
        let name = format!("cluster.{}.upstream_rq_total", backend.name());
        (
            backend.name(),
            stats.get(&name).copied().unwrap_or_default(),
        )
    };
    Ok(Backend::ALL.into_iter().map(count).collect())
}

/// A refusal holds nobody's data.
fn tells(reply: &Reply) -> bool {
    reply.text().contains(ACME) || reply.text().contains(GLOBEX)
}

fn draw(world: &World, random: &mut Random) -> Drawn {
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
    let mut request = read.request(world, method, first);
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
    Drawn {
        read,
        method,
        endpoint,
        who,
        tenants,
        request,
        protocol,
        allowed: good.then(|| elements.join("|")),
    }
}

const REQUESTS: usize = 800;
