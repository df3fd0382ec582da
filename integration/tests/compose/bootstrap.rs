//! Envoy in the containers: `envoy/envoy.yaml` with another provider, and the gate's configuration in
//! `envoy/ecds/scopegate.yaml` with other tenants. Both are made from these files.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, anyhow, ensure};
use integration::authority::Authority;
use integration::client::RawRequest;
use integration::envoy::EnvoySettings;
use integration::issuer::Issuer;
use integration::scene::Scene;
use integration::token::Recipe;
use integration::{drill, envoy, paths, yaml};
use scopegate::config::{Config, Environment};
use serde_json::{Value, json};

use crate::file::{list, text};

integration::trials![
    both_are_the_shipped_ones_but_for_the_edits,
    only_the_provider_and_the_configuration_differ,
    the_gate_reads_its_configuration,
    the_realm_has_everybody_who_is_granted_something,
    envoy_takes_it,
    the_gate_lets_the_right_people_in,
    the_certificate_is_good_for_every_name_of_the_gate,
];

/// A file that is generated from a shipped one.
struct Made {
    /// The path under `envoy/` and under `integration/stack/envoy/`.
    file: &'static str,
    edits: &'static [Edit],
}

/// The text between two marks in the shipped file, including the first mark, and the text that replaces it.
struct Edit {
    from: &'static str,
    to: &'static str,
    text: &'static str,
}

const BOOTSTRAP: Made = Made {
    file: "envoy.yaml",
    edits: &[
        Edit {
            from: "# Envoy with scopegate in front of",
            to: "\n# Who this Envoy is,",
            text: HEAD,
        },
        Edit {
            from: "    # The OpenID provider, for its public keys.",
            to: "",
            text: PROVIDER,
        },
    ],
};

const FILTER: Made = Made {
    file: "ecds/scopegate.yaml",
    edits: &[
        Edit {
            from: "# The gate: its module and",
            to: "resources:",
            text: FILTER_HEAD,
        },
        Edit {
            from: "            {\n              \"mode\"",
            to: "",
            text: CONFIGURATION,
        },
    ],
};

const HEAD: &str = "\
# The Envoy of integration/docker-compose.yaml: envoy/envoy.yaml with another provider and
# other tenants. Made from that file, so change it there, or in the list of edits in
# integration/tests/compose/bootstrap.rs, and write this one anew:
#
#   SCOPEGATE_BLESS=1 cargo test -p integration --features stack --test compose
#
# The addresses under `clusters:` are aliases of the containers. There are no containers for the
# Collectors that take OTLP over gRPC in front of Loki and Mimir.
";

const FILTER_HEAD: &str = "\
# The gate of integration/docker-compose.yaml: envoy/ecds/scopegate.yaml with another provider
# and other tenants. Made as ../envoy.yaml is, and mounted into the container with its folder:
# a file that is renamed into this place holds at once.
";

const CONFIGURATION: &str = r#"            {
              "providers": [
                {
                  "name": "keycloak",
                  "issuer": "http://localhost:8080/realms/platform",
                  "audiences": ["observability"],
                  "jwks": {
                    "uri": "http://keycloak:8080/realms/platform/protocol/openid-connect/certs",
                    "cluster": "idp"
                  },
                  "claims": {
                    "groups": [
                      {"path": ["groups"]},
                      {"path": ["realm_access", "roles"], "prefix": "role:"},
                      {"path": ["azp"], "prefix": "client:"}
                    ]
                  }
                }
              ],
              "organizations": [
                {
                  "name": "acme",
                  "tenants": [{"name": "acme", "types": ["data", "alerting"]}],
                  "rbac": {
                    "admins": ["acme-admins"],
                    "editors": ["acme-editors"],
                    "viewers": ["acme-viewers"],
                    "writers": ["client:agent-acme"]
                  }
                },
                {
                  "name": "globex",
                  "tenants": [{"name": "globex", "types": ["data", "alerting"]}],
                  "rbac": {
                    "admins": ["globex-admins"],
                    "editors": ["globex-editors"],
                    "viewers": ["globex-viewers", "role:globex-reader"],
                    "writers": ["client:agent-globex"]
                  }
                }
              ],
              "backends": {
                "loki": {"enabled": true},
                "mimir": {"enabled": true},
                "tempo": {"enabled": true}
              },
              "health": {"path": "/healthz"}
            }
"#;

const PROVIDER: &str =
    "    # The OpenID provider, for its public keys. Without TLS it is good for one machine only.
    - name: idp
      type: STRICT_DNS
      dns_lookup_family: V4_PREFERRED
      connect_timeout: 5s
      load_assignment:
        cluster_name: idp
        endpoints:
          - lb_endpoints:
              - endpoint: {address: {socket_address: {address: keycloak, port_value: 8080}}}
";

pub fn path() -> PathBuf {
    BOOTSTRAP.path()
}

impl Made {
    fn path(&self) -> PathBuf {
        paths::integration().join("stack/envoy").join(self.file)
    }

    fn shipped(&self) -> Result<String> {
        let path = paths::repository().join("envoy").join(self.file);
        fs::read_to_string(&path).with_context(|| format!("{}", path.display()))
    }

    fn render(&self) -> Result<String> {
        let mut rendered = self.shipped()?;
        for edit in self.edits {
            let Edit { from, to, text } = edit;
            ensure!(
                rendered.matches(from).count() == 1,
                "{from:?} does not stand once in envoy/{}: adapt its edits",
                self.file
            );
            let begin = rendered.find(from).context("gone")?;
            let end = match *to {
                "" => rendered.len(),
                to => {
                    let rest = rendered[begin..].find(to);
                    begin
                        + rest
                            .with_context(|| format!("{to:?} does not follow: adapt the edits"))?
                }
            };
            rendered.replace_range(begin..end, text);
        }
        Ok(rendered)
    }

    fn is_as_rendered(&self) -> Result<()> {
        let rendered = self.render()?;
        if std::env::var_os("SCOPEGATE_BLESS").is_some() {
            fs::write(self.path(), &rendered)?;
        }
        let committed = fs::read_to_string(self.path()).unwrap_or_default();
        let differs = rendered
            .lines()
            .zip(committed.lines())
            .position(|(new, old)| new != old);
        ensure!(
            rendered == committed,
            "{}: line {} is not what envoy/{} makes it; SCOPEGATE_BLESS=1 writes it anew",
            self.path().display(),
            differs.map_or_else(
                || "behind the last".to_owned(),
                |line| (line + 1).to_string()
            ),
            self.file
        );
        Ok(())
    }
}

fn both_are_the_shipped_ones_but_for_the_edits() -> Result<()> {
    BOOTSTRAP.is_as_rendered()?;
    FILTER.is_as_rendered()
}

/// The edits change text; this compares the two trees that result.
fn only_the_provider_and_the_configuration_differ() -> Result<()> {
    let mut shipped: Value = yaml::parse(&BOOTSTRAP.shipped()?)?;
    let mut ours: Value = yaml::read(&path())?;
    for tree in [&mut shipped, &mut ours] {
        let clusters = tree["static_resources"]["clusters"]
            .as_array_mut()
            .context("no clusters")?;
        let before = clusters.len();
        clusters.retain(|cluster| cluster["name"] != json!("idp"));
        ensure!(clusters.len() + 1 == before, "not one cluster idp");
    }
    ensure!(shipped == ours, "something else differs");
    let mut shipped: Value = yaml::parse(&FILTER.shipped()?)?;
    let mut ours: Value = yaml::read(&FILTER.path())?;
    let forgotten = [&mut shipped, &mut ours].map(|tree| plugin(tree)["configuration"].take());
    ensure!(shipped == ours, "something else differs");
    ensure!(
        forgotten[0] != forgotten[1],
        "the configuration is the shipped one"
    );
    Ok(())
}

/// The settings of the module in the filter's file.
fn plugin(tree: &mut Value) -> &mut Value {
    &mut tree["resources"][0]["typed_config"]["config"]
}

/// The document that reaches the module.
pub fn configuration() -> Result<Value> {
    let mut ours: Value = yaml::read(&FILTER.path())?;
    let document = plugin(&mut ours)["configuration"]["value"].take();
    Ok(serde_json::from_str(text(&document)?)?)
}

fn the_gate_reads_its_configuration() -> Result<()> {
    let parse = |document: &Value| {
        Config::parse(document.to_string().as_bytes(), &Environment::new([]))
            .map_err(|problems| anyhow!("{problems:?}"))
    };
    let mut document = configuration()?;
    parse(&document)?;
    document["surely_unknown"] = json!(1);
    ensure!(parse(&document).is_err(), "an unknown key passed");
    Ok(())
}

/// Every group and client that is granted something exists in Keycloak.
fn the_realm_has_everybody_who_is_granted_something() -> Result<()> {
    let realm = fs::read(paths::integration().join("stack/keycloak/platform-realm.json"))?;
    let realm: Value = serde_json::from_slice(&realm)?;
    let mut known = BTreeSet::new();
    for (names, member, prefix) in [
        (&realm["groups"], "name", ""),
        (&realm["roles"]["realm"], "name", "role:"),
        (&realm["clients"], "clientId", "client:"),
    ] {
        for entry in list(names) {
            let name = text(&entry[member])?;
            // A group that begins like another source's is dropped.
            let poses = ["role:", "client:"].iter().any(|of| name.starts_with(of));
            if !poses {
                known.insert(format!("{prefix}{name}"));
            }
        }
    }
    let document = configuration()?;
    let mut granted = 0;
    for organization in list(&document["organizations"]) {
        for (role, groups) in organization["rbac"].as_object().context("no rbac")? {
            for group in list(groups) {
                granted += 1;
                ensure!(
                    known.contains(text(group)?),
                    "{role}: no {group} in the realm"
                );
            }
        }
    }
    ensure!(granted > 8, "only {granted} groups");
    Ok(())
}

/// Uses the files that the container has under /etc/envoy, and a certificate from the command of the container that
/// makes it.
fn envoy_takes_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    crate::file::make_certificate(folder.path())?;
    let tls = folder.path().join("tls");
    let filter = FILTER.path().canonicalize()?;
    let ecds = filter.parent().context("no folder")?;
    let bootstrap = fs::read_to_string(path())?
        .replace("/etc/envoy/tls", &tls.to_string_lossy())
        .replace("/etc/envoy/ecds", &ecds.to_string_lossy());
    let validate = |bootstrap: &str| -> Result<(bool, String)> {
        let file = folder.path().join("envoy.yaml");
        fs::write(&file, bootstrap)?;
        let output = Command::new(envoy::binary()?)
            .args(["--mode", "validate", "--log-level", "warning", "-c"])
            .arg(&file)
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok((output.status.success(), said))
    };
    let (valid, said) = validate(&bootstrap)?;
    ensure!(valid, "{said}");
    let (valid, _) = validate(&bootstrap.replace("connect_timeout:", "connect_timeuot:"))?;
    ensure!(!valid, "Envoy took a misspelt key");
    Ok(())
}

/// With tokens like those of Keycloak there, the right people get access to the right tenants.
#[tokio::main]
async fn the_gate_lets_the_right_people_in() -> Result<()> {
    let settings = EnvoySettings::from_file(&path())?.wasm(drill::module()?);
    let scene = Scene::start_with(settings, Issuer::corporate().await?).await?;
    let token = |issuer: &str, groups: Value, client: &str| {
        let recipe = Recipe::of("reader")
            .claim("iss", issuer)
            .claim("groups", groups)
            .claim("azp", client);
        drill::fresh(recipe)
    };
    let keycloak = "http://localhost:8080/realms/platform";
    let alice = token(keycloak, json!(["acme-viewers"]), "grafana")?;
    let carol = token(
        keycloak,
        json!(["acme-viewers", "globex-viewers"]),
        "grafana",
    )?;
    let agent = token(keycloak, json!([]), "agent-globex")?;
    // As a container calls Keycloak: no token has this issuer.
    let other = token(
        "http://keycloak:8080/realms/platform",
        json!(["acme-viewers"]),
        "grafana",
    )?;
    let write = |token: &str, tenant: &str| {
        let mut request = RawRequest::new("POST", "/loki/api/v1/push")
            .bearer(token)
            .tenant(tenant)
            .header("content-type", "application/json");
        request.body = br#"{"streams": []}"#.to_vec();
        request
    };
    for (what, request, status) in [
        ("alice reads acme", drill::read(&alice, "acme"), 200),
        ("alice reads globex", drill::read(&alice, "globex"), 403),
        ("alice writes acme", write(&alice, "acme"), 403),
        ("carol reads both", drill::read(&carol, "acme|globex"), 200),
        ("the agent writes globex", write(&agent, "globex"), 200),
        ("the agent writes acme", write(&agent, "acme"), 403),
        ("the agent reads globex", drill::read(&agent, "globex"), 403),
        ("another issuer", drill::read(&other, "acme"), 401),
    ] {
        let reply = drill::send(&scene.envoy, &request).await?;
        ensure!(
            reply.status == status,
            "{what}: {} {}, not {status}",
            reply.status,
            reply.text()
        );
    }
    Ok(())
}

/// Every client would fail if the gate were published under a name that the certificate does not cover.
fn the_certificate_is_good_for_every_name_of_the_gate() -> Result<()> {
    let folder = tempfile::tempdir()?;
    crate::file::make_certificate(folder.path())?;
    let certificate = fs::read(folder.path().join("ca/tls.crt"))?;
    ensure!(
        certificate == fs::read(folder.path().join("tls/tls.crt"))?,
        "its clients trust another one"
    );
    for name in ["localhost", "envoy", "127.0.0.1"] {
        let check = if name.parse::<std::net::IpAddr>().is_ok() {
            "-checkip"
        } else {
            "-checkhost"
        };
        let output = Command::new("openssl")
            .args(["x509", "-noout", check, name, "-in"])
            .arg(folder.path().join("ca/tls.crt"))
            .output()
            .context("no openssl")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(said.contains("does match"), "{name}: {said}");
    }
    // The check can say no.
    let stranger = Authority::new()?.issue(&["elsewhere.example.com"])?.0;
    let file = folder.path().join("stranger.crt");
    fs::write(&file, stranger)?;
    let output = Command::new("openssl")
        .args(["x509", "-noout", "-checkhost", "localhost", "-in"])
        .arg(&file)
        .output()?;
    ensure!(String::from_utf8_lossy(&output.stdout).contains("does NOT match"));
    Ok(())
}
