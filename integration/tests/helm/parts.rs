//! What only the chart has.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use integration::{part, paths, yaml};
use serde_json::{Value, json};

use crate::chart::{Product, by_template, folder, helm, parsed, template, values_of, written};

integration::trials![
    lint_finds_nothing needs [HELM],
    a_slip_in_a_name_is_refused needs [HELM],
    the_organizations_server_is_that_of_its_folder needs [HELM, MANIFESTS],
    the_organizations_server_takes_what_it_is_told needs [HELM],
    monitoring_is_that_of_its_folder needs [HELM],
    notes_say_how_to_see_what_runs needs [HELM],
    the_schema_is_that_of_the_command needs [HELM],
    the_commands_on_the_pages_are_helms needs [HELM],
];

/// The documents that one template prints.
fn printed(product: Product, values: &Value, name: &str) -> Result<Vec<Value>> {
    let text = template(product, Some(values), "scopegate", &[])?.map_err(anyhow::Error::msg)?;
    let texts = by_template(&text)?.remove(name).unwrap_or_default();
    let documents = texts.iter().map(|text| parsed(text));
    Ok(documents
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .flatten()
        .collect())
}

/// By kind and name.
fn by_name(documents: Vec<Value>) -> BTreeMap<String, Value> {
    let named = documents.into_iter().map(|it| {
        let name = format!("{} {}", it["kind"], it["metadata"]["name"]);
        (name, it)
    });
    named.collect()
}

fn lint_finds_nothing() -> Result<()> {
    let home = tempfile::tempdir()?;
    let chart = folder();
    let chart = chart.to_str().context("no text")?;
    let everything = json!({
        "organizationsServer": {"enabled": true},
        "monitoring": {"podMonitor": true, "prometheusRule": true, "dashboard": true},
        "extras": {"admission": true, "network": true},
    });
    let everything = written(&everything)?;
    for product in Product::ALL {
        let product = format!("product={}", product.name());
        for values in [None, Some(everything.path())] {
            let mut line = vec![
                "lint",
                "--strict",
                chart,
                "--namespace",
                "scopegate",
                "--set",
                &product,
            ];
            if let Some(values) = values {
                line.extend(["-f", values.to_str().context("no text")?]);
            }
            let output = helm(&line, home.path())?;
            let said = String::from_utf8_lossy(&output.stdout);
            ensure!(
                output.status.success() && !said.contains("[WARNING]"),
                "{said}"
            );
        }
    }
    Ok(())
}

fn a_slip_in_a_name_is_refused() -> Result<()> {
    let shipped: Value = yaml::read(&paths::repository().join("envoy/deployment.yaml"))?;
    for (place, told) in [
        ("/produkt", "produkt"),
        ("/deployment/hosts", "hosts"),
        ("/configuration/backend", "backend"),
        ("/configuration/organizations/0/tenant", "tenant"),
        ("/configuration/providers/0/jwks/url", "url"),
        ("/extras/networks", "networks"),
        ("/monitoring/podmonitor", "podmonitor"),
        ("/organizationsServer/images", "images"),
    ] {
        let mut values = values_of(&shipped);
        for name in ["extras", "monitoring", "organizationsServer"] {
            values[name] = json!({});
        }
        let (parent, name) = place.rsplit_once('/').context("no place")?;
        values.pointer_mut(parent).context("no parent")?[name] = json!(true);
        let said = template(Product::Istio, Some(&values), "scopegate", &[])?
            .err()
            .unwrap_or_default();
        ensure!(
            said.contains("additional properties") && said.contains(&format!("'{told}'")),
            "{place}: {said}"
        );
    }
    for (place, value) in [
        ("/product", json!("envoy")),
        ("/configuration/mode", json!("enforced")),
        ("/configuration/organizations/0/tenants/0", json!("a|b")),
        ("/configuration/organizations/0/tenants/0", json!("..")),
    ] {
        let mut values = values_of(&shipped);
        values["product"] = json!("istio");
        *values.pointer_mut(place).context("nothing there")? = value;
        let home = tempfile::tempdir()?;
        let file = written(&values)?;
        let (chart, file) = (folder(), file.path().to_owned());
        let line = [
            "template",
            "scopegate",
            chart.to_str().context("no text")?,
            "--namespace",
            "scopegate",
            "-f",
            file.to_str().context("no text")?,
        ];
        let output = helm(&line, home.path())?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            said.contains("specifications of the schema"),
            "{place}: {said}"
        );
    }
    Ok(())
}

fn the_organizations_server_is_that_of_its_folder() -> Result<()> {
    let output = Command::new(part::MANIFESTS.find()?.join("bin/kustomize"))
        .arg("build")
        .arg(paths::repository().join("envoy/organizations"))
        .output()
        .context("kustomize")?;
    ensure!(output.status.success(), "{output:?}");
    let ours = by_name(parsed(std::str::from_utf8(&output.stdout)?)?);
    let values = json!({"organizationsServer": {"enabled": true}});
    let theirs = by_name(printed(Product::Istio, &values, "organizations.yaml")?);
    ensure!(ours == theirs, "{ours:#?}\n{theirs:#?}");
    Ok(())
}

fn the_organizations_server_takes_what_it_is_told() -> Result<()> {
    let values = json!({"organizationsServer": {
        "enabled": true,
        "image": "r.example.com/o",
        "digest": format!("sha256:{}", "b".repeat(64)),
        "replicas": 3,
        "tlsSecret": "other",
        "signingSecret": "signing",
        "arguments": ["--writers=client:{name}"],
    }});
    let found = by_name(printed(
        Product::EnvoyGateway,
        &values,
        "organizations.yaml",
    )?);
    let deployment = &found["\"Deployment\" \"scopegate-organizations\""]["spec"];
    ensure!(deployment["replicas"] == json!(3));
    let pod = &deployment["template"]["spec"];
    let container = &pod["containers"][0];
    ensure!(container["image"] == json!(format!("r.example.com/o@sha256:{}", "b".repeat(64))));
    let arguments = container["args"].as_array().context("no arguments")?;
    ensure!(arguments.ends_with(&[
        json!("--signing-key=/signing/signing.pem"),
        json!("--writers=client:{name}")
    ]));
    ensure!(
        pod["volumes"]
            == json!([
                {"name": "tls", "secret": {"secretName": "other"}},
                {"name": "signing", "secret": {"secretName": "signing"}},
            ])
    );
    ensure!(
        container["volumeMounts"][1]
            == json!({"name": "signing", "mountPath": "/signing", "readOnly": true})
    );
    // Its proxies run elsewhere.
    let policy =
        &found["\"NetworkPolicy\" \"scopegate-organizations\""]["spec"]["ingress"][0]["from"][1];
    ensure!(
        policy["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
            == json!("envoy-gateway-system"),
        "{policy}"
    );
    for (name, value) in [("digest", "latest"), ("image", "r.example.com/o@sha256:00")] {
        let mut wrong = values.clone();
        wrong["organizationsServer"][name] = json!(value);
        let arguments = ["--skip-schema-validation"];
        let said = template(Product::Istio, Some(&wrong), "scopegate", &arguments)?
            .err()
            .unwrap_or_default();
        ensure!(
            said.contains(&format!("organizationsServer.{name}: expected")),
            "{said}"
        );
    }
    Ok(())
}

fn monitoring_is_that_of_its_folder() -> Result<()> {
    let shipped = |name: &str| -> Result<Vec<Value>> {
        parsed(&fs::read_to_string(
            paths::repository().join("envoy/monitoring").join(name),
        )?)
    };
    for product in Product::ALL {
        let mut values = json!({
            "monitoring": {"podMonitor": true, "prometheusRule": true, "dashboard": true},
            "organizationsServer": {"enabled": true},
        });
        let found = by_name(printed(product, &values, "monitoring.yaml")?);
        ensure!(found.len() == 4, "{:?}", found.keys());
        let monitors = by_name(shipped("podmonitor.yaml")?);
        let name = format!("\"PodMonitor\" \"scopegate-{}\"", product.name());
        ensure!(found[&name] == monitors[&name], "{:#?}", found[&name]);
        let rules = "\"PrometheusRule\" \"scopegate\"";
        ensure!(found[rules] == by_name(shipped("prometheusrule.yaml")?)[rules]);
        let served = &found["\"PrometheusRule\" \"scopegate-organizations\""];
        ensure!(
            served["spec"] == shipped("serve-organizations.yaml")?[0],
            "{served:#?}"
        );
        let map = &found["\"ConfigMap\" \"scopegate-dashboard\""];
        let dashboard = map["data"]["scopegate.json"]
            .as_str()
            .context("no dashboard")?;
        let there =
            fs::read_to_string(paths::repository().join("envoy/monitoring/dashboard.json"))?;
        ensure!(dashboard.trim_end() == there.trim_end());
        ensure!(map["metadata"]["labels"] == json!({"grafana_dashboard": "1"}));

        values["monitoring"]["labels"] = json!({"release": "prometheus"});
        for (name, document) in by_name(printed(product, &values, "monitoring.yaml")?) {
            let labelled = document["metadata"]["labels"] == json!({"release": "prometheus"});
            ensure!(labelled != name.contains("ConfigMap"), "{name}");
        }
    }
    // In the namespace of the release.
    let values =
        json!({"monitoring": {"podMonitor": true, "prometheusRule": true, "dashboard": true}});
    for product in Product::ALL {
        let text = template(product, Some(&values), "gate", &[])?.map_err(anyhow::Error::msg)?;
        ensure!(
            !text.contains("namespace: scopegate"),
            "{product:?}: another namespace is left"
        );
        ensure!(product == Product::Istio || text.contains("owning-gateway-namespace: gate"));
    }
    Ok(())
}

fn notes_say_how_to_see_what_runs() -> Result<()> {
    // `helm template` prints none, and everything that does asks a cluster.
    let work = tempfile::tempdir()?;
    let chart = work.path().join("chart");
    let copied = Command::new("cp")
        .arg("-r")
        .arg(folder())
        .arg(&chart)
        .status()?;
    ensure!(copied.success(), "{copied}");
    let probe = r#"notes: {{ include (print .Template.BasePath "/NOTES.txt") . | toJson }}"#;
    fs::write(chart.join("templates/probe.yaml"), probe)?;
    for product in Product::ALL {
        let set = format!("product={}", product.name());
        let line = [
            "template",
            "gate",
            chart.to_str().context("no text")?,
            "--namespace",
            "scopegate",
            "--show-only",
            "templates/probe.yaml",
            "--set",
            &set,
        ];
        let output = helm(&line, work.path())?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{said}");
        let documents = parsed(std::str::from_utf8(&output.stdout)?)?;
        let notes = documents[0]["notes"].as_str().context("no notes")?;
        for wanted in [
            "This is the example, and no gate",
            "helm get manifest gate --namespace scopegate | scopegate check -",
            "| grep 'mode [a-z]*, sha256'",
            "https://observability.example.com/",
        ] {
            ensure!(notes.contains(wanted), "{wanted} is not in {notes}");
        }
    }
    Ok(())
}

/// What needs no cluster is run; of everything else Helm knows the flags.
fn the_commands_on_the_pages_are_helms() -> Result<()> {
    let work = tempfile::tempdir()?;
    std::os::unix::fs::symlink(paths::repository().join("envoy"), work.path().join("envoy"))?;
    fs::copy(
        folder().join("example.yaml"),
        work.path().join("values.yaml"),
    )?;
    let (mut run, mut known) = (0, 0);
    for page in ["docs/helm.md", "docs/gitops.md", "envoy/helm/README.md"] {
        let text = fs::read_to_string(paths::repository().join(page))?;
        let lines = text
            .lines()
            .map(str::trim)
            .filter(|line| line.starts_with("helm "));
        for line in lines {
            let (command, _) = line.split_once(" | ").unwrap_or((line, ""));
            let mut words: Vec<&str> = command.split(' ').skip(1).collect();
            if words.first() == Some(&"template") {
                run += 1;
            } else {
                known += 1;
                words.push("--help");
            }
            let output = Command::new(part::HELM.find()?)
                .args(&words)
                .current_dir(work.path())
                .env_clear()
                .env("HOME", work.path())
                .output()?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "{page}: {line}: {said}");
        }
    }
    ensure!(
        run >= 3 && known >= 8,
        "{run} commands were run, {known} are known"
    );
    Ok(())
}

/// Helm's copy of the schema refuses what the printed one refuses: the values of this chart are checked by it.
fn the_schema_is_that_of_the_command() -> Result<()> {
    let values: Value = yaml::read(&folder().join("values.schema.json"))?;
    let gate: Value = yaml::read(&paths::repository().join("envoy/scopegate.schema.json"))?;
    let names = |schema: &Value| -> Vec<String> {
        schema["properties"]
            .as_object()
            .into_iter()
            .flat_map(|it| it.keys().cloned())
            .collect()
    };
    ensure!(names(&values["definitions"]["configuration"]) == names(&gate));
    Ok(())
}
