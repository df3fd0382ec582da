//! The files that Grafana, Alloy and the Collector are given. The programs of Grafana and Alloy are not available as
//! modules or packages, so only what can be seen from outside is checked for them.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use integration::part;
use integration::{paths, yaml};
use scopegate::authz::endpoint::TABLE;
use serde_json::{Value, json};

use crate::file::{list, services, text};

integration::trials![
    grafana_has_a_data_source_for_each_signal_and_tenant,
    grafana_logs_people_in_as_the_realm_knows_it,
    agents_are_clients_of_the_realm,
    agents_call_what_is_exposed,
    the_collector_reads_its_file needs [OTELCOL],
    alloy_refers_to_what_it_defines,
    tempo_is_told_only_what_it_documents,
];

fn read(file: &str) -> Result<String> {
    let path = paths::integration().join("stack").join(file);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// The path of the gate's certificate in the containers.
const AUTHORITY: &str = "/etc/scopegate/tls.crt";

fn grafana_has_a_data_source_for_each_signal_and_tenant() -> Result<()> {
    let document: Value = yaml::parse(&read("grafana/datasources.yaml")?)?;
    ensure!(document["apiVersion"] == json!(1));
    let mut seen = BTreeSet::new();
    let mut names = BTreeSet::new();
    for source in list(&document["datasources"]) {
        let name = text(&source["name"])?;
        names.extend([name, text(&source["uid"])?]);
        let (settings, secrets) = (&source["jsonData"], &source["secureJsonData"]);
        ensure!(settings["oauthPassThru"] == json!(true), "{name}");
        ensure!(
            settings["httpHeaderName1"] == json!("X-Scope-OrgID"),
            "{name}"
        );
        ensure!(settings["tlsAuthWithCACert"] == json!(true), "{name}");
        ensure!(
            secrets["tlsCACert"] == json!(format!("$__file{{{AUTHORITY}}}")),
            "{name}"
        );
        let (kind, tenants) = (text(&source["type"])?, text(&secrets["httpHeaderValue1"])?);
        let base = match kind {
            "loki" => "",
            "prometheus" => "/prometheus",
            "tempo" => "/tempo",
            other => anyhow::bail!("{name}: {other}"),
        };
        ensure!(
            source["url"] == json!(format!("https://envoy:8443{base}")),
            "{name}"
        );
        // Rules belong to one tenant, and Loki's stand at a path of Mimir's.
        ensure!(
            (kind == "prometheus" && !tenants.contains('|'))
                || settings["manageAlerts"] != json!(true),
            "{name}"
        );
        seen.insert((kind.to_owned(), tenants.to_owned()));
    }
    ensure!(
        seen.len() == 9,
        "not three signals of two tenants and of both: {seen:?}"
    );
    ensure!(names.len() == 18, "a name or uid stands twice");
    Ok(())
}

/// The client in the realm, its secret, and the address to which it redirects people.
fn grafana_logs_people_in_as_the_realm_knows_it() -> Result<()> {
    let services = services()?;
    let environment = &services["grafana"]["environment"];
    let setting = |name: &str| text(&environment[format!("GF_AUTH_GENERIC_OAUTH_{name}").as_str()]);
    let realm: Value = serde_json::from_str(&read("keycloak/platform-realm.json")?)?;
    let client = list(&realm["clients"])
        .iter()
        .find(|client| client["clientId"] == environment["GF_AUTH_GENERIC_OAUTH_CLIENT_ID"])
        .context("no such client")?;
    ensure!(client["secret"] == json!(setting("CLIENT_SECRET")?));
    let back = format!(
        "{}login/generic_oauth",
        text(&environment["GF_SERVER_ROOT_URL"])?
    );
    ensure!(
        list(&client["redirectUris"]).contains(&json!(back)),
        "not back to {back}"
    );
    let keycloak = &services["keycloak"]["environment"];
    let frontend = format!("{}/realms/platform", text(&keycloak["KC_HOSTNAME"])?);
    ensure!(setting("AUTH_URL")?.starts_with(&frontend));
    let document = crate::bootstrap::configuration()?;
    ensure!(
        document["providers"][0]["issuer"] == json!(frontend),
        "the gate expects another issuer than {frontend}"
    );
    Ok(())
}

/// Each agent logs in as one client, with the secret that the realm has for it, and writes for one tenant.
fn agents_are_clients_of_the_realm() -> Result<()> {
    let realm: Value = serde_json::from_str(&read("keycloak/platform-realm.json")?)?;
    let secret_of = |client: &str| -> Result<String> {
        let known = list(&realm["clients"])
            .iter()
            .find(|entry| entry["clientId"] == json!(client))
            .with_context(|| format!("no {client} in the realm"))?;
        Ok(text(&known["secret"])?.to_owned())
    };

    let alloy = read("alloy/config.alloy")?;
    let secret = secret_of("agent-acme")?;
    for (setting, value, times) in [
        ("client_id", "agent-acme", 3),
        ("client_secret", &*secret, 3),
        ("ca_file", AUTHORITY, 3),
        ("tenant_id", "acme", 1),
        ("\"X-Scope-OrgID\"", "acme", 2),
    ] {
        let spaced: String = alloy.split(' ').collect();
        let all = spaced.matches(&format!("{setting}=")).count();
        let right = spaced.matches(&format!("{setting}={value:?}")).count();
        ensure!(
            (all, right) == (times, times),
            "{setting}: {right} of {all} are {value}, not {times}"
        );
    }

    let collector: Value = yaml::parse(&read("collector/collector.yaml")?)?;
    let login = &collector["extensions"]["oauth2client"];
    ensure!(login["client_id"] == json!("agent-globex"));
    ensure!(login["client_secret"] == json!(secret_of("agent-globex")?));
    let exporters = collector["exporters"].as_object().context("no exporters")?;
    ensure!(exporters.len() == 2);
    for (name, exporter) in exporters {
        let headers = exporter["headers"].as_object().context("no headers")?;
        ensure!(
            headers.iter().all(
                |(header, tenant)| header.eq_ignore_ascii_case("x-scope-orgid")
                    && tenant == &json!("globex")
            ) && headers.len() == 1,
            "{name}: {headers:?}"
        );
        ensure!(exporter["tls"]["ca_file"] == json!(AUTHORITY), "{name}");
        ensure!(
            exporter["auth"]["authenticator"] == json!("oauth2client"),
            "{name}"
        );
    }
    Ok(())
}

/// Every path of the gate that an agent names is exposed, or is the base to which exporters add their paths.
fn agents_call_what_is_exposed() -> Result<()> {
    let mut seen = 0;
    for (file, gate) in [
        ("alloy/config.alloy", "https://127.0.0.1:8443"),
        ("collector/collector.yaml", "https://envoy:8443"),
    ] {
        let file = read(file)?;
        for rest in file.split(gate).skip(1) {
            let end = rest.find(['"', '\n']).unwrap_or(rest.len());
            let path = &rest[..end];
            ensure!(
                path == "/otlp" || TABLE.iter().any(|row| row.template == path),
                "{path} is not exposed"
            );
            seen += 1;
        }
    }
    ensure!(seen == 4, "{seen} URLs");
    Ok(())
}

/// The real Collector reads the file, except for the extension that its published modules lack, which a similar one
/// replaces.
fn the_collector_reads_its_file() -> Result<()> {
    let mut document: Value = yaml::parse(&read("collector/collector.yaml")?)?;
    let extensions = document["extensions"]
        .as_object_mut()
        .context("no extensions")?;
    let settings = extensions
        .remove("oauth2client")
        .context("no oauth2client")?;
    ensure!(extensions.is_empty(), "more extensions than one");
    // All that the extension must be told.
    let told: BTreeSet<&str> = settings
        .as_object()
        .context("no settings")?
        .keys()
        .map(String::as_str)
        .collect();
    ensure!(told == BTreeSet::from(["client_id", "client_secret", "token_url"]));
    extensions.insert("bearertokenauth".to_owned(), json!({"token": "stand-in"}));

    let otelcol = part::OTELCOL.find()?;
    let folder = tempfile::tempdir()?;
    let authority = folder.path().join("tls.crt");
    fs::write(&authority, integration::authority::Authority::new()?.pem())?;
    let validate = |document: &Value| -> Result<(bool, String)> {
        let text = document
            .to_string()
            .replace("oauth2client", "bearertokenauth")
            .replace(AUTHORITY, &authority.to_string_lossy());
        let file = folder.path().join("collector.yaml");
        fs::write(&file, text)?;
        let output = Command::new(&otelcol)
            .args(["validate", "--config"])
            .arg(&file)
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok((output.status.success(), said))
    };
    let (valid, said) = validate(&document)?;
    ensure!(valid, "{said}");
    document["exporters"]["otlp_grpc"]["endpiont"] = json!("envoy:8443");
    ensure!(!validate(&document)?.0, "the Collector took a misspelt key");
    Ok(())
}

/// Alloy has a language of its own. What can be checked is that every block is closed, and that every component that
/// is referred to exists.
fn alloy_refers_to_what_it_defines() -> Result<()> {
    let file = read("alloy/config.alloy")?;
    let code: String = file
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    for (open, close) in [('{', '}'), ('[', ']')] {
        ensure!(code.matches(open).count() == code.matches(close).count());
    }
    let mut defined = BTreeSet::new();
    for line in code.lines() {
        if let Some((kind, rest)) = line.split_once(" \"")
            && kind.contains('.')
            && !kind.starts_with(' ')
        {
            let label = rest.split('"').next().unwrap_or_default();
            defined.insert(format!("{kind}.{label}"));
        }
    }
    let mut used = BTreeSet::new();
    for word in code.split(|letter: char| !(letter.is_alphanumeric() || "._".contains(letter))) {
        for export in [".receiver", ".input", ".handler"] {
            if let Some(component) = word.strip_suffix(export)
                && component.matches('.').count() > 1
            {
                ensure!(defined.contains(component), "nothing defines {component}");
                used.insert(component.to_owned());
            }
        }
    }
    ensure!(used.len() == 5, "{used:?}");
    Ok(())
}

/// No Tempo has read this file here, so all its keys must be in Tempo's documentation.
fn tempo_is_told_only_what_it_documents() -> Result<()> {
    const DOCUMENTED: [&str; 18] = [
        "distributor.receivers.otlp.protocols.grpc.endpoint",
        "distributor.receivers.otlp.protocols.http.endpoint",
        "memberlist.bind_addr",
        "memberlist.bind_port",
        "multitenancy_enabled",
        "query_frontend.mcp_server.enabled",
        "query_frontend.multi_tenant_queries_enabled",
        "server.grpc_listen_address",
        "server.grpc_listen_port",
        "server.http_listen_address",
        "server.http_listen_port",
        "server.log_level",
        "storage.trace.backend",
        "storage.trace.local.path",
        "storage.trace.wal.path",
        "stream_over_http_enabled",
        "target",
        "usage_report.reporting_enabled",
    ];
    fn keys(value: &Value, before: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                for (key, value) in members {
                    let path = match before {
                        "" => key.clone(),
                        before => format!("{before}.{key}"),
                    };
                    keys(value, &path, found);
                }
            }
            _ => found.push(before.to_owned()),
        }
    }
    let document: Value = yaml::parse(&read("tempo/tempo.yaml")?)?;
    let mut found = Vec::new();
    keys(&document, "", &mut found);
    ensure!(found.len() > 10, "{found:?}");
    for key in found {
        ensure!(DOCUMENTED.contains(&key.as_str()), "{key}");
    }
    // Without these the tenants would see each other, or several at once would not be read.
    ensure!(document["multitenancy_enabled"] == json!(true));
    Ok(())
}
