//! `scopegate explain` says what a gate does with every scenario that a single head or form decides. The other
//! scenarios are listed here by name.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use clap::Parser as _;
use integration::authority::Authority;
use integration::issuer::Issuer;
use integration::scenario::{self, Scenario};
use integration::terminator::terminate;
use integration::{drill, paths, replay, token};
use scopegate::cli::{Arguments, Console, Disk, Network, run};
use serde_json::{Value, json};

/// The scenarios that depend on more than one request and one set of keys, and why.
const OTHERS: [(&str, &str); 8] = [
    ("transport: a space after the token", NO_HTTP1),
    (
        "an unknown key id is in doubt while the set cannot be fetched again",
        TWO_SETS,
    ),
    (
        "an unknown key id is in doubt however old its token is",
        TWO_SETS,
    ),
    ("not found: a line break", NO_HTTP1),
    ("two paths", NO_HTTP1),
    ("two methods", NO_HTTP1),
    ("tenant: blanks around one over HTTP/2", NO_HTTP1),
    ("tenant: a line break", NO_HTTP1),
];
/// It cannot be written in a file as HTTP/1.1 writes requests.
const NO_HTTP1: &str = "cannot be written as HTTP/1.1";
/// The provider gives different answers to its first fetches.
const TWO_SETS: &str = "depends on an earlier set of keys";

/// Why a scenario is not explained, if it is not.
fn reason(scenario: &Scenario) -> Option<&str> {
    let other = OTHERS.iter().find(|(name, _)| *name == scenario.name);
    let own = scenario.not_native.as_deref();
    own.or(other.map(|(_, reason)| *reason))
}

#[test]
fn explain_and_the_gate_agree() -> Result<()> {
    let scenarios = scenario::load()?;
    let all = scenarios.len();
    let mut explained = Vec::new();
    let mut others = Vec::new();
    for row in scenarios {
        if reason(&row.1).is_none() {
            explained.push(row);
        } else {
            others.push(row);
        }
    }
    let report = replay::explained::all(&explained);
    for failure in &report.failures {
        eprintln!("{failure}");
    }
    eprintln!("{}", report.summary(all));
    for (_, scenario) in &others {
        eprintln!(
            "not explained: {}: {}",
            scenario.name,
            reason(scenario).unwrap_or_default()
        );
    }
    ensure!(
        report.failures.is_empty(),
        "explain and the scenario table disagree: see above"
    );

    let names: Vec<String> = others
        .iter()
        .map(|(_, scenario)| scenario.name.clone())
        .collect();
    // Nothing stands in the list that could be explained.
    others.retain(|(_, scenario)| scenario.not_native.is_none());
    ensure!(
        others.len() == OTHERS.len(),
        "a name in the list is no scenario's"
    );
    for row in &others {
        let report = replay::explained::all(std::slice::from_ref(row));
        ensure!(
            !report.failures.is_empty(),
            "{} can be explained",
            row.1.name
        );
    }
    let page = std::fs::read_to_string(paths::repository().join("docs/explain.md"))?;
    for name in names {
        ensure!(
            page.contains(&format!("- {name}\n")),
            "{name} is not in docs/explain.md"
        );
    }
    Ok(())
}

/// Uses the program's own client: TLS, a private authority, and the message if that is not trusted.
#[tokio::test(flavor = "multi_thread")]
async fn keys_are_fetched_from_a_real_provider() -> Result<()> {
    let issuer = Issuer::corporate().await?;
    let authority = Authority::new()?;
    let door = terminate(&authority, "localhost", issuer.address()).await?;
    let folder = tempfile::tempdir()?;
    let file = |name: &str, content: &str| -> Result<String> {
        let path = folder.path().join(name);
        std::fs::write(&path, content)?;
        Ok(path.display().to_string())
    };
    let mut configuration = drill::configuration();
    let uri = format!("https://localhost:{}/jwks", door.address().port());
    configuration["providers"][0]["jwks"] = json!({"cluster": "idp", "uri": uri});
    let configuration = file("scopegate.json", &configuration.to_string())?;
    let token = file("token", &drill::token_of("reader")?)?;
    let ca = file("ca.pem", &authority.pem())?;
    let words = [
        "scopegate",
        "explain",
        &configuration,
        "--token-file",
        &token,
        "--tenant",
        "acme",
        "--path",
        "/loki/api/v1/labels",
        "--output",
        "json",
    ];
    let words: Vec<String> = words.iter().map(ToString::to_string).collect();
    let explain = |more: Vec<String>| {
        let words = [words.clone(), more].concat();
        tokio::task::spawn_blocking(move || explained(&words))
    };
    let said = explain(vec!["--ca-file".to_owned(), ca]).await??;
    ensure!(said["code"] == "allowed", "{said:#}");
    ensure!(issuer.fetches().jwks == 1, "{:?}", issuer.fetches());
    // The system does not know this authority.
    let said = explain(Vec::new()).await??;
    ensure!(said["code"] == "keys_unavailable", "{said:#}");
    let notes = said["notes"].to_string();
    ensure!(
        notes.contains("cannot be had from here") && notes.contains(&uri),
        "{notes}"
    );
    ensure!(issuer.fetches().jwks == 1, "{:?}", issuer.fetches());
    Ok(())
}

fn explained(words: &[String]) -> Result<Value> {
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let mut console = Console {
        input: &mut &b""[..],
        files: &Disk,
        output: &mut output,
        errors: &mut errors,
        styled: false,
        variables: BTreeMap::new(),
        now: u64::try_from(token::now())? * 1_000_000_000,
        web: &mut Network,
    };
    run(Arguments::try_parse_from(words)?, &mut console);
    serde_json::from_slice(&output).with_context(|| String::from_utf8_lossy(&errors).into_owned())
}
