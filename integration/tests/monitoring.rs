//! The files that monitor a gate, under `envoy/monitoring`: the rules pass their unit tests, and every expression of
//! the rules and the dashboard is tried in a real Prometheus that scrapes gates with something to report.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures_util::StreamExt;
use integration::client::websocket::{self, Handshake};
use integration::client::{Protocol, RawRequest};
use integration::envoy::{Envoy, EnvoySettings, Update};
use integration::issuer::{Issuer, PARTNER};
use integration::organizations::{OrganizationServer, document};
use integration::prometheus::{self, Prometheus, PrometheusSettings};
use integration::scene::Scene;
use integration::token::{Recipe, Tamper};
use integration::{drill, paths, yaml};
use scopegate::words::denial;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::sleep;

fn shipped(file: &str) -> PathBuf {
    paths::repository().join("envoy/monitoring").join(file)
}

/// The alerts on gates, each with its expression.
fn alerts() -> Result<BTreeMap<String, String>> {
    alerts_in("rules.yaml")
}

fn alerts_in(file: &str) -> Result<BTreeMap<String, String>> {
    let rules = yaml::read::<Value>(&shipped(file))?;
    let groups = rules["groups"].as_array().context("no groups")?;
    let rules = groups.iter().filter_map(|group| group["rules"].as_array());
    rules
        .flatten()
        .map(|rule| {
            let text = |member: &str| rule[member].as_str().map(str::to_owned);
            Ok((
                text("alert").context("no alert")?,
                text("expr").context("no expr")?,
            ))
        })
        .collect()
}

fn promtool(arguments: &[&str], folder: &Path) -> Result<Output> {
    let mut command = Command::new(prometheus::promtool()?);
    Ok(command.args(arguments).current_dir(folder).output()?)
}

#[test]
fn alerts_fire_when_they_should_and_only_then() -> Result<()> {
    let folder = paths::integration().join("monitoring");
    for (_, tests, _) in RULES {
        let output = promtool(&["test", "rules", tests], &folder)?;
        ensure!(output.status.success(), "{output:?}");
    }

    // And it would be noticed if they did not.
    let copy = tempfile::tempdir()?;
    for (file, tests, wrongs) in [
        (
            "rules.yaml",
            TESTS,
            [
                ("> 0.02", "> 0.9"),
                ("_config_fail|", "_update_failure|"),
                ("key_pending|", ""),
            ],
        ),
        (
            SERVER,
            SERVER_TESTS,
            [
                ("_dropped > 0", "_dropped > 2"),
                ("> 900", "> 500"),
                (
                    "and scopegate_organizations_signed",
                    "or scopegate_organizations_signed",
                ),
            ],
        ),
    ] {
        let rules = fs::read_to_string(shipped(file))?;
        let text = fs::read_to_string(folder.join(tests))?;
        let text = text.replace("../../envoy/monitoring/", "");
        fs::write(copy.path().join(tests), text)?;
        for (right, wrong) in wrongs {
            ensure!(rules.contains(right), "{right}");
            fs::write(copy.path().join(file), rules.replacen(right, wrong, 1))?;
            let output = promtool(&["test", "rules", tests], copy.path())?;
            ensure!(
                !output.status.success(),
                "nobody minds {wrong} for {right}: {output:?}"
            );
        }
    }
    Ok(())
}

#[test]
fn each_alert_is_tested_and_says_what_to_do() -> Result<()> {
    for (file, tests, page) in RULES {
        let output = promtool(
            &["check", "rules", &shipped(file).to_string_lossy()],
            Path::new("."),
        )?;
        ensure!(output.status.success(), "{output:?}");
        let tests = fs::read_to_string(paths::integration().join("monitoring").join(tests))?;
        let page = fs::read_to_string(paths::repository().join("docs").join(page))?;
        for name in alerts_in(file)?.keys() {
            let fires = format!("alertname=\"{name}\", alertstate=\"firing\"");
            let absent = format!("alertname: {name}\n");
            ensure!(tests.contains(&fires) || tests.contains(&absent), "{name}");
            ensure!(
                page.contains(&format!("`{name}`")),
                "{name} is not on the page"
            );
        }
        let rules: Value = yaml::read(&shipped(file))?;
        let rules = rules["groups"][0]["rules"].as_array().context("no rules")?;
        for rule in rules {
            for annotation in ["summary", "description", "remedy"] {
                let text = rule["annotations"][annotation].as_str().unwrap_or_default();
                ensure!(
                    text.len() > 20 && !text.contains("http"),
                    "{}: {text}",
                    rule["alert"]
                );
            }
            let severity = rule["labels"]["severity"].as_str();
            ensure!(matches!(severity, Some("critical" | "warning")), "{rule}");
        }
    }
    Ok(())
}

#[test]
fn the_operators_rules_are_the_same() -> Result<()> {
    let rules: Value = yaml::read(&shipped("rules.yaml"))?;
    let resource: Value = yaml::read(&shipped("prometheusrule.yaml"))?;
    ensure!(resource["spec"] == rules, "the two differ");
    Ok(())
}

/// Codes for faults of the gate or its environment are in one alert, and codes for faults of callers in the other.
#[test]
fn each_code_is_in_one_alert() -> Result<()> {
    let alerts = alerts()?;
    let codes = |alert: &str, before: &str| -> Result<BTreeSet<String>> {
        let expression = alerts.get(alert).context("no such alert")?;
        let (_, rest) = expression.split_once(before).context("no codes")?;
        let (codes, _) = rest.split_once('"').context("no end")?;
        Ok(codes.split('|').map(str::to_owned).collect())
    };
    let of = |wanted: &dyn Fn(&denial::Row) -> bool| -> BTreeSet<String> {
        let rows = denial::ROWS.iter().filter(|row| wanted(row));
        rows.map(|row| row.code.to_owned()).collect()
    };
    // A key that is awaited is no outage, and a backend that is switched off is meant to be.
    let normal = ["key_pending", "backend_not_configured"];
    let ours = of(&|row| row.status == 503 && !normal.contains(&row.code));
    ensure!(codes("ScopegateUnavailable", "code=~\"")? == ours);
    let others = of(&|row| row.status >= 500);
    ensure!(codes("ScopegateDenials", "code!~\"")? == others);
    let dashboard = fs::read_to_string(shipped("dashboard.json"))?;
    let list: Vec<String> = ours.into_iter().collect();
    ensure!(dashboard.contains(&format!("code=~\\\"{}\\\"", list.join("|"))));
    Ok(())
}

/// A panel, and what is asked for it.
struct Question {
    panel: String,
    expression: String,
    /// Labels that stand in the legend.
    legend: Vec<String>,
}

fn questions() -> Result<Vec<Question>> {
    let dashboard: Value = serde_json::from_slice(&fs::read(shipped("dashboard.json"))?)?;
    let panels = dashboard["panels"].as_array().context("no panels")?;
    let mut questions = Vec::new();
    for panel in panels {
        let targets = panel["targets"].as_array();
        for target in targets.into_iter().flatten() {
            let expression = target["expr"].as_str().context("no expr")?;
            let legend = target["legendFormat"].as_str().unwrap_or_default();
            questions.push(Question {
                panel: panel["title"].as_str().context("no title")?.to_owned(),
                expression: expression
                    .replace("$job", "scopegate")
                    .replace("$instance", ".*")
                    .replace("$__rate_interval", "5s"),
                legend: legend
                    .split("{{")
                    .skip(1)
                    .filter_map(|rest| Some(rest.split_once("}}")?.0.to_owned()))
                    .collect(),
            });
        }
    }
    ensure!(questions.iter().all(|q| !q.expression.contains('$')));
    Ok(questions)
}

/// An alert's expression for a Prometheus that is a few seconds old.
fn young(expression: &str) -> String {
    expression
        .replace(":1m]", ":1s]")
        .replace(" offset 10m", "")
        .replace(" offset 70m", "")
}

/// The expression that an alert compares, without its thresholds. It must exist for the alert to mean anything.
fn left_hand(expression: &str) -> String {
    let expression = match expression
        .strip_prefix("absent(")
        .and_then(|rest| rest.strip_suffix(')'))
    {
        Some(inner) => inner.to_owned(),
        None => expression
            .split(" unless ")
            .next()
            .unwrap_or_default()
            .to_owned(),
    };
    let words: Vec<&str> = expression.split_whitespace().collect();
    let mut kept = Vec::new();
    let mut words = words.iter().peekable();
    while let Some(word) = words.next() {
        if !matches!(*word, ">" | "==") {
            kept.push((*word).to_owned());
            continue;
        }
        let Some(threshold) = words.next() else { break };
        if words.next_if_eq(&&"*").is_some() {
            // What a multiple of another series is compared with: both sides.
            kept.push("+".to_owned());
            kept.push("0 *".to_owned());
        } else {
            kept.extend(threshold.ends_with(')').then(|| ")".to_owned()));
        }
    }
    kept.join(" ")
}

/// Every series in an expression by itself.
fn selectors(expression: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(start) = rest.find(|c: char| c == '{' || c == '_' || c.is_ascii_alphabetic()) {
        rest = &rest[start..];
        if let Some(text) = rest.strip_prefix('{') {
            let end = text.find('}').map_or(rest.len(), |end| end + 2);
            found.push(rest[..end].to_owned());
            rest = &rest[end..];
            continue;
        }
        let end = rest
            .find(|c: char| c != '_' && c != ':' && !c.is_ascii_alphanumeric())
            .unwrap_or(rest.len());
        let name = &rest[..end];
        rest = &rest[end..];
        if !(name == "up" || name.starts_with("scopegate_") || name.starts_with("envoy_")) {
            continue;
        }
        let end = match rest.strip_prefix('{') {
            Some(text) => text.find('}').map_or(rest.len(), |end| end + 2),
            None => 0,
        };
        found.push(format!("{name}{}", &rest[..end]));
        rest = &rest[end..];
    }
    found
}

#[test]
fn expressions_are_taken_apart() -> Result<()> {
    ensure!(left_hand("absent(a)") == "a");
    ensure!(left_hand("(up == 1) and on (job) b unless on (job) b") == "(up ) and on (job) b");
    ensure!(left_hand("a > 0.5 > 4 * (b or 0 * c)") == "a + 0 * (b or 0 * c)");
    let found = selectors("sum by (scope) (rate(scopegate_a{b=\"envoy_c\"}[5m])) / {d=\"e\"} - up");
    ensure!(
        found == ["scopegate_a{b=\"envoy_c\"}", "{d=\"e\"}", "up"],
        "{found:?}"
    );
    Ok(())
}

/// Two gates and an Envoy that has refused the gate's configuration, scraped by a Prometheus.
struct Watched {
    /// As plain Envoy is shipped.
    plain: Scene,
    /// As under Istio, whose Envoy takes no label out of a name, and as under Envoy Gateway, which delivers listeners.
    delivered: Scene,
    /// Without a gate.
    empty: Envoy,
    organizations: OrganizationServer,
    prometheus: Prometheus,
}

fn configuration() -> Value {
    let mut configuration = drill::configuration();
    let mut partner = drill::provider("partner", PARTNER, "nowhere");
    partner["shared_groups"] = json!(true);
    configuration["providers"][0]["shared_groups"] = json!(true);
    configuration["providers"]
        .as_array_mut()
        .into_iter()
        .for_each(|providers| providers.push(partner.clone()));
    configuration["limits"] = json!({"wait": "50ms"});
    configuration["organizations_from"] = json!({
        "uri": "https://organizations.example.com/v1/organizations",
        "cluster": "organizations",
        "refresh_interval": "5s",
        "timeout": "2s",
    });
    configuration
}

fn in_mode(mode: &str) -> Value {
    let mut configuration = configuration();
    configuration["mode"] = json!(mode);
    configuration
}

fn hooli(revision: u64, viewers: &[&str]) -> String {
    let organization = json!({"name": "hooli", "tenants": ["hooli"], "rbac": {"viewers": viewers}});
    document(revision, &[organization]).to_string()
}

impl Watched {
    async fn start() -> Result<Watched> {
        let organizations = OrganizationServer::start().await?;
        organizations.publish(hooli(1, &["hooli-viewers"]));
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
        let settings = |configuration: Value| -> Result<EnvoySettings> {
            Ok(drill::settings(configuration)?
                .cluster("nowhere", nowhere)
                .cluster("organizations", organizations.address()))
        };
        let plain = settings(configuration())?.metrics();
        let delivered = settings(configuration())?.dynamic().edit(|bootstrap| {
            let members = bootstrap.value().as_object_mut();
            members.context("no object")?.remove("stats_config");
            Ok(())
        });
        let empty = settings(in_mode("enforced"))?.metrics().refused_too();
        let (plain, delivered, empty) = tokio::try_join!(
            async { Scene::start_with(plain, Issuer::corporate().await?).await },
            async { Scene::start_with(delivered, Issuer::corporate().await?).await },
            Envoy::start(empty),
        )?;
        let prometheus = PrometheusSettings::with_configuration(json!({
            "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms"},
            "scrape_configs": [
                {
                    "job_name": "scopegate",
                    "metrics_path": "/stats/prometheus",
                    "static_configs": [{"targets": [
                        plain.envoy.metrics_address().await?.to_string(),
                        empty.metrics_address().await?.to_string(),
                    ]}],
                },
                {
                    "job_name": "istio",
                    "metrics_path": "/stats/prometheus",
                    "static_configs": [{
                        "targets": [delivered.envoy.admin_address().to_string()],
                        "labels": {"job": "scopegate"},
                    }],
                    "metric_relabel_configs": relabelings()?,
                },
            ],
        }));
        Ok(Watched {
            plain,
            delivered,
            empty,
            organizations,
            prometheus: Prometheus::start(prometheus).await?,
        })
    }

    /// The requests that a gate sees in a day.
    async fn load(scene: &Scene) -> Result<()> {
        let reader = drill::token_of("reader")?;
        let read = |token: &str, tenant: &str| drill::read(token, tenant);
        let expired = drill::fresh(Recipe::of("reader").exp_in(-3_600.0))?;
        let forged = drill::fresh(Recipe::of("reader").tamper(Tamper::FlipSignature))?;
        let unknown = drill::fresh(Recipe::of("partner-reader").claim("aud", "observability"))?;
        let posing = json!(["acme-viewers", "client:agent-acme"]);
        let posing = drill::fresh(Recipe::of("reader").claim("groups", posing))?;
        let at = |path: &str| RawRequest::get(path).bearer(&reader).tenant("acme");
        for request in [
            read(&reader, "acme"),
            read(&reader, "acme"),
            read(&reader, "globex"),
            read(&expired, "acme"),
            read(&forged, "acme"),
            read(&unknown, "acme"),
            read(&posing, "acme"),
            at("/config"),
            at("/prometheus/config/v1/rules"),
            at("/tempo/api/search?q=%7B%7D"),
        ] {
            request.send(&scene.envoy.target(), Protocol::H1).await?;
        }
        Ok(())
    }

    /// Do that while both gates have something to do.
    async fn under_load(&self, work: impl Future<Output = Result<()>>) -> Result<()> {
        let load = async {
            loop {
                Watched::load(&self.plain).await?;
                Watched::load(&self.delivered).await?;
                sleep(Duration::from_millis(200)).await;
            }
        };
        tokio::select! {
            done = work => done,
            failed = load => failed,
        }
    }

    /// Wait until the expression has a result that is a number.
    async fn answer(&self, expression: &str, deadline: Instant) -> Result<Vec<Value>> {
        loop {
            let result = self.prometheus.query(expression).await?;
            let number = |sample: &Value| {
                let value = sample["value"][1].as_str();
                value.is_some_and(|text| text.parse::<f64>().is_ok_and(f64::is_finite))
            };
            if !result.is_empty() && result.iter().all(number) {
                return Ok(result);
            }
            if Instant::now() > deadline {
                bail!("{expression}: {result:?}");
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Those of the `PodMonitor` for Istio, as Prometheus spells them.
fn relabelings() -> Result<Value> {
    let text = fs::read_to_string(shipped("podmonitor.yaml"))?;
    let monitors: Vec<Value> = serde_yaml_ng::Deserializer::from_str(&text)
        .map(|document| Ok(Value::deserialize(document)?))
        .collect::<Result<_>>()?;
    let monitor = monitors
        .iter()
        .find(|monitor| monitor["metadata"]["name"] == json!("scopegate-istio"))
        .context("no monitor for Istio")?;
    let rules = &monitor["spec"]["podMetricsEndpoints"][0]["metricRelabelings"];
    let spelt = rules
        .to_string()
        .replace("\"sourceLabels\"", "\"source_labels\"")
        .replace("\"targetLabel\"", "\"target_label\"");
    Ok(serde_json::from_str(&spelt)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_expression_finds_something_at_gates_under_load() -> Result<()> {
    let watched = Box::pin(Watched::start()).await?;
    let scenes = [&watched.plain, &watched.delivered];
    for scene in scenes {
        scene.upstream("tempo")?.down().await;
    }
    // The stream of a grant that is withdrawn, by a document that is followed by a bad one.
    let bearer = drill::fresh(Recipe::of("reader").claim("groups", json!(["hooli-viewers"])))?;
    let mut tails = Vec::new();
    for scene in scenes {
        tails.push(tail(scene, &bearer).await?);
    }
    watched.organizations.take_asked();
    watched.organizations.publish(hooli(2, &[]));
    let end = async {
        for mut tail in tails {
            while let Some(Ok(_)) = tail.next().await {}
        }
        Ok(())
    };
    let end = tokio::time::timeout(Duration::from_secs(12), watched.under_load(end));
    end.await.context("a tail goes on")??;
    watched.organizations.publish("no document");
    let report = in_mode("report");
    let update = watched
        .delivered
        .envoy
        .replace_configuration(&report)
        .await?;
    ensure!(update == Update::Accepted, "{update:?}");
    for scene in scenes {
        let update = scene
            .envoy
            .replace_configuration(&in_mode("enforced"))
            .await?;
        ensure!(matches!(update, Update::Rejected(_)), "{update:?}");
    }
    watched.under_load(ask(&watched)).await?;
    watched.empty.check_alive()
}

async fn tail(
    scene: &Scene,
    bearer: &str,
) -> Result<tokio_tungstenite::WebSocketStream<tokio::net::TcpStream>> {
    let bearer = format!("Bearer {bearer}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("x-scope-orgid", "hooli"),
    ];
    let path = "/loki/api/v1/tail?query=%7Bapp%3D%22a%22%7D";
    let deadline = Instant::now() + Duration::from_secs(5);
    // Until the organizations are there, it is refused.
    loop {
        match websocket::open(scene.envoy.address(), path, &headers).await? {
            Handshake::Open(tail) => return Ok(*tail),
            Handshake::Refused(reply) if Instant::now() > deadline => bail!("{reply:?}"),
            Handshake::Refused(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Everything that rules and dashboard ask.
async fn ask(watched: &Watched) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(15);
    for Question {
        panel,
        expression,
        legend,
    } in questions()?
    {
        let result = watched.answer(&expression, deadline).await;
        let result = result.with_context(|| format!("panel {panel:?}"))?;
        for label in legend {
            let labelled = result
                .iter()
                .any(|sample| sample["metric"][&label].is_string());
            ensure!(labelled, "panel {panel:?}: no label {label} in {result:?}");
        }
    }
    for (name, expression) in alerts()? {
        let expression = young(&expression);
        let series = selectors(&expression);
        ensure!(!series.is_empty(), "{name}: {expression}");
        for expression in series.iter().chain([&left_hand(&expression)]) {
            let result = watched.answer(expression, deadline).await;
            result.with_context(|| name.clone())?;
        }
    }
    // What has just happened is seen with the next scrape, and by a subquery with its next step.
    loop {
        let firing = firing(&watched.prometheus).await?;
        if firing == FIRING {
            break;
        }
        ensure!(Instant::now() < deadline, "{firing:?}");
        sleep(Duration::from_millis(200)).await;
    }
    // Where nothing is refused, what should be is counted all the same.
    let refused = "sum by (instance) (rate(scopegate_decisions_total{decision=\"deny\", code=\"token_expired\"}[5s]))";
    let both = format!("count({refused} > 0) == 2");
    watched.answer(&both, deadline).await?;

    same_labels(&watched.prometheus).await
}

/// The alerts whose expression has a result now.
async fn firing(prometheus: &Prometheus) -> Result<Vec<String>> {
    let mut firing = Vec::new();
    for (name, expression) in alerts()? {
        if !prometheus.query(&young(&expression)).await?.is_empty() {
            firing.push(name);
        }
    }
    Ok(firing)
}

/// The labels are the same, whether Envoy or Prometheus has taken them out of the names.
async fn same_labels(prometheus: &Prometheus) -> Result<()> {
    let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for sample in prometheus.query("{__name__=~\"scopegate_.+\"}").await? {
        let mut labels = sample["metric"].as_object().context("no labels")?.clone();
        let instance = labels.remove("instance").context("no instance")?;
        let series = Value::Object(labels).to_string();
        // When a gate polls is its own affair, and so is what it says until then.
        if !series.contains("organizations_") {
            seen.entry(instance.to_string()).or_default().insert(series);
        }
    }
    let [one, other] = seen.values().collect::<Vec<_>>()[..] else {
        bail!("{} instances show metrics of the gate", seen.len());
    };
    let difference: Vec<&String> = one.symmetric_difference(other).collect();
    ensure!(difference.is_empty(), "{difference:#?}");
    ensure!(one.len() > 25, "{one:#?}");
    let fetches = "count by (result) (scopegate_organizations_fetch_total{result=\"ok\"}) == 2";
    ensure!(!prometheus.query(fetches).await?.is_empty(), "{fetches}");
    Ok(())
}

const TESTS: &str = "rules.test.yaml";

/// The rules for `serve-organizations`; that it has their metrics is tried with the process itself.
const SERVER: &str = "serve-organizations.yaml";

const SERVER_TESTS: &str = "serve-organizations.test.yaml";

/// Rules, their tests, and the page in docs that explains them.
const RULES: [(&str, &str, &str); 2] = [
    ("rules.yaml", TESTS, "monitoring.md"),
    (SERVER, SERVER_TESTS, "organizations.md"),
];
/// What must fire in that scene; nothing else may.
const FIRING: [&str; 7] = [
    "ScopegateBackendUnavailable",
    "ScopegateConfigurationRejected",
    "ScopegateKeysMissing",
    "ScopegateNotLoaded",
    "ScopegatePodsDiffer",
    "ScopegateReportMode",
    "ScopegateUnavailable",
];
