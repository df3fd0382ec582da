//! The bases for kustomize: kustomize can build them, and Envoy finds in its pod what its bootstrap names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Parser as _;
use integration::{part, yaml};
use scopegate::cli::{Arguments, Console, Disk, Outcome, run};
use serde_json::{Value, json};

use crate::documents::{Document, Set, list, only, plain, read, shipped, text};
use crate::schemas::validate;

integration::trials![
    bases_are_built_and_valid needs [MANIFESTS],
    bases_of_other_deployments_are_built_and_valid needs [MANIFESTS],
    one_change_replaces_pods_and_the_other_does_not needs [MANIFESTS],
    envoy_finds_everything_in_its_pod,
    pods_may_do_next_to_nothing,
    the_gate_reaches_its_backends_and_few_others,
];

/// What there is of plain Envoy, in kustomize's order.
const OF_PLAIN_ENVOY: [&str; 6] = [
    "ConfigMap",
    "ConfigMap",
    "Service",
    "Deployment",
    "PodDisruptionBudget",
    "NetworkPolicy",
];

/// What kustomize makes of that folder.
fn built(folder: &Path) -> Result<Vec<Document>> {
    let output = Command::new(part::MANIFESTS.find()?.join("bin/kustomize"))
        .arg("build")
        .arg(folder)
        .output()
        .context("kustomize")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {said}", folder.display());
    // It warns of what will go.
    ensure!(said.is_empty(), "{}: {said}", folder.display());
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), &output.stdout)?;
    read(file.path())
}

fn bases_are_built_and_valid() -> Result<()> {
    for (base, set) in [
        ("istio", Some(Set::Istio)),
        ("envoy-gateway", Some(Set::EnvoyGateway)),
        ("envoy", None),
    ] {
        let documents = built(&shipped("kustomize").join(base))?;
        let verdicts = validate(documents.iter().map(|document| &document.value))?;
        for (document, verdict) in documents.iter().zip(verdicts) {
            ensure!(
                verdict.is_none(),
                "{base}: {}: {verdict:?}",
                document.title()
            );
        }
        let texts = |documents: &[Document]| -> BTreeSet<String> {
            let texts = documents.iter().map(|document| document.value.to_string());
            texts.collect()
        };
        if let Some(set) = set {
            ensure!(
                texts(&documents) == texts(&set.documents()?),
                "{base} is another set than that of its folder"
            );
            continue;
        }
        let kinds: Vec<&str> = documents.iter().map(Document::kind).collect();
        ensure!(kinds == OF_PLAIN_ENVOY, "{kinds:?}");
    }
    Ok(())
}

/// With fewer backends, without gRPC, with secrets, and with a provider in the cluster.
fn bases_of_other_deployments_are_built_and_valid() -> Result<()> {
    let base: Value = yaml::read(&shipped("deployment.yaml"))?;
    let mut fewer = base.clone();
    fewer["backends"] = json!({"tempo": {}});
    fewer["deployment"]["backends"] = json!({"tempo": {"url": "http://tempo.scopegate.svc:3200"}});
    fewer["providers"][0]["jwks"] = json!({
        "uri": "http://dex.dex.svc:5556/keys",
        "cluster": "idp",
        "authorization": {"environment": "KEYS_TOKEN"},
    });
    if let Some(document) = fewer.as_object_mut() {
        document.remove("health");
    }
    let mut none = base.clone();
    none["backends"] = json!({});
    let mut more = base;
    more["organizations_from"] =
        json!({"uri": "https://organizations.example.com:8443/v1", "cluster": "orgs_1"});
    for (what, document) in [("fewer", fewer), ("none", none), ("more", more)] {
        for target in ["istio", "envoy-gateway", "kubernetes"] {
            let folder = tempfile::tempdir()?;
            let at = folder.path().to_str().context("no text")?;
            let mut said = Vec::new();
            let outcome = run(
                Arguments::try_parse_from([
                    "scopegate",
                    "render",
                    target,
                    "-",
                    "--output-dir",
                    at,
                ])?,
                &mut Console {
                    input: &mut document.to_string().as_bytes(),
                    files: &Disk,
                    output: &mut Vec::new(),
                    errors: &mut said,
                    styled: false,
                    variables: BTreeMap::new(),
                    now: 0,
                    web: &mut scopegate::cli::Unconnected,
                },
            );
            let said = String::from_utf8_lossy(&said);
            ensure!(outcome == Outcome::Good, "{what}, {target}: {said}");
            let documents = built(folder.path()).with_context(|| format!("{what}, {target}"))?;
            let verdicts = validate(documents.iter().map(|document| &document.value))?;
            for (document, verdict) in documents.iter().zip(verdicts) {
                let title = document.title();
                ensure!(verdict.is_none(), "{what}, {target}: {title}: {verdict:?}");
            }
        }
    }
    Ok(())
}

/// The bootstrap is read at start alone; the gate's configuration is taken while Envoy runs.
fn one_change_replaces_pods_and_the_other_does_not() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let copy = |from: &Path| -> Result<()> {
        for name in [
            "kustomization.yaml",
            "workload.yaml",
            "service.yaml",
            "disruption.yaml",
            "network.yaml",
            "envoy.yaml",
            "ecds/scopegate.yaml",
        ] {
            let to = folder.path().join(name);
            fs::create_dir_all(to.parent().context("no folder")?)?;
            fs::copy(from.join(name), to)?;
        }
        Ok(())
    };
    copy(&shipped("kustomize/envoy"))?;
    let pods = |documents: &[Document]| -> Result<Value> {
        Ok(only(documents, "Deployment")?.spec()["template"].clone())
    };
    let first = built(folder.path())?;
    for (file, replaces) in [("ecds/scopegate.yaml", false), ("envoy.yaml", true)] {
        let path = folder.path().join(file);
        let mut content = fs::read_to_string(&path)?;
        content.push_str("# changed\n");
        fs::write(&path, content)?;
        let second = built(folder.path())?;
        ensure!(
            (pods(&first)? != pods(&second)?) == replaces,
            "{file}: pods are replaced: {}",
            !replaces
        );
        let holds = |documents: &[Document]| {
            documents
                .iter()
                .any(|document| document.value.to_string().contains("# changed"))
        };
        ensure!(holds(&second), "{file} is in no ConfigMap");
        copy(&shipped("kustomize/envoy"))?;
    }
    Ok(())
}

/// The spec of the pods, and their one container.
fn pod() -> Result<(Value, Value)> {
    let documents = plain()?;
    let spec = only(&documents, "Deployment")?.spec()["template"]["spec"].clone();
    let [container] = list(&spec["containers"]) else {
        anyhow::bail!("not one container");
    };
    let container = container.clone();
    Ok((spec, container))
}

fn envoy_finds_everything_in_its_pod() -> Result<()> {
    let (spec, container) = pod()?;
    // Where volumes are mounted, each by what is in it.
    let mounted = |kind: &str| -> Result<PathBuf> {
        let volume = list(&spec["volumes"])
            .iter()
            .find(|volume| volume[kind].is_object() || volume["name"] == json!(kind))
            .with_context(|| format!("no volume {kind}"))?;
        let mount = list(&container["volumeMounts"])
            .iter()
            .find(|mount| mount["name"] == volume["name"])
            .with_context(|| format!("{kind} is not mounted"))?;
        ensure!(mount["subPath"].is_null(), "{mount}: it would never change");
        ensure!(mount["readOnly"] == json!(true), "{mount}");
        Ok(PathBuf::from(text(&mount["mountPath"])?))
    };
    let named = |value: &Value| Ok::<_, anyhow::Error>(PathBuf::from(text(value)?));

    let bootstrap: Value = yaml::read(&shipped("kustomize/envoy/envoy.yaml"))?;
    let filter: Value = yaml::read(&shipped("kustomize/envoy/ecds/scopegate.yaml"))?;
    let arguments: Vec<&str> = list(&container["args"])
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let config = arguments
        .iter()
        .skip_while(|argument| **argument != "--config-path")
        .nth(1);
    ensure!(
        config.map(PathBuf::from) == Some(mounted("bootstrap")?.join("envoy.yaml")),
        "{arguments:?}"
    );
    ensure!(
        arguments.contains(&"--reject-unknown-dynamic-fields"),
        "{arguments:?}"
    );
    let listeners = list(&bootstrap["static_resources"]["listeners"]);
    let chain = &listeners[0]["filter_chains"][0];
    let certificates = &chain["transport_socket"]["typed_config"]["common_tls_context"];
    let certificate = &certificates["tls_certificates"][0];
    let tls = mounted("secret")?;
    ensure!(named(&certificate["certificate_chain"]["filename"])? == tls.join("tls.crt"));
    ensure!(named(&certificate["private_key"]["filename"])? == tls.join("tls.key"));
    let manager = &chain["filters"][0]["typed_config"];
    let source = &manager["http_filters"][0]["config_discovery"]["config_source"];
    let source = &source["path_config_source"];
    ensure!(named(&source["watched_directory"]["path"])? == mounted("filter")?);
    ensure!(named(&source["path"])? == mounted("filter")?.join("scopegate.yaml"));
    let plugin = &filter["resources"][0]["typed_config"]["config"];
    let module = named(&plugin["vm_config"]["code"]["local"]["filename"])?;
    // What the Dockerfile puts into the image.
    ensure!(module == mounted("image")?.join("plugin.wasm"));

    let ports = list(&container["ports"]);
    for (name, listener) in [("https", 0), ("metrics", 1)] {
        let port = ports
            .iter()
            .find(|port| port["name"] == json!(name))
            .with_context(|| format!("no port {name}"))?;
        let address = &listeners[listener]["address"]["socket_address"];
        ensure!(
            port["containerPort"] == address["port_value"],
            "{name}: {address}"
        );
    }
    let probe = &container["readinessProbe"]["httpGet"];
    let document: Value = serde_json::from_str(text(&plugin["configuration"]["value"])?)?;
    ensure!(
        probe["path"] == document["health"]["path"] && probe["path"].is_string(),
        "{probe}"
    );
    ensure!(probe["scheme"] == json!("HTTPS"), "{probe}");
    Ok(())
}

fn pods_may_do_next_to_nothing() -> Result<()> {
    let (spec, container) = pod()?;
    ensure!(spec["automountServiceAccountToken"] == json!(false));
    for name in ["hostNetwork", "hostPID", "hostIPC"] {
        ensure!(spec[name].is_null(), "{name}");
    }
    let of_pod = &spec["securityContext"];
    ensure!(of_pod["runAsNonRoot"] == json!(true), "{of_pod}");
    ensure!(
        of_pod["runAsUser"].as_u64().is_some_and(|user| user > 0),
        "{of_pod}"
    );
    ensure!(
        of_pod["seccompProfile"]["type"] == json!("RuntimeDefault"),
        "{of_pod}"
    );
    let of_container = &container["securityContext"];
    ensure!(
        *of_container
            == json!({
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            }),
        "{of_container}"
    );
    ensure!(container["resources"]["limits"]["memory"].is_string());
    let documents = plain()?;
    let labels = &only(&documents, "Deployment")?.spec()["selector"]["matchLabels"];
    for (kind, selector) in [
        ("Service", "/spec/selector"),
        ("PodDisruptionBudget", "/spec/selector/matchLabels"),
        ("NetworkPolicy", "/spec/podSelector/matchLabels"),
    ] {
        let selected = only(&documents, kind)?.value.pointer(selector);
        ensure!(selected == Some(labels), "{kind}: {selected:?}");
    }
    Ok(())
}

/// Every cluster of the bootstrap can be reached, and no namespace besides theirs.
fn the_gate_reaches_its_backends_and_few_others() -> Result<()> {
    let documents = plain()?;
    let policy = only(&documents, "NetworkPolicy")?.spec();
    ensure!(policy["policyTypes"] == json!(["Ingress", "Egress"]));
    let (mut places, mut ports) = (BTreeSet::new(), BTreeSet::new());
    for rule in list(&policy["egress"]) {
        ensure!(
            !(rule["to"].is_null() && rule["ports"].is_null()),
            "one rule allows everything"
        );
        for peer in list(&rule["to"]) {
            let labels = &peer["namespaceSelector"]["matchLabels"];
            places.insert(text(&labels["kubernetes.io/metadata.name"])?.to_owned());
        }
        for port in list(&rule["ports"]) {
            ports.insert(port["port"].as_u64().context("no port")?);
        }
    }
    // To ask for names.
    let (mut wanted_places, mut wanted_ports) = (BTreeSet::new(), BTreeSet::from([53]));
    let bootstrap: Value = yaml::read(&shipped("kustomize/envoy/envoy.yaml"))?;
    for cluster in list(&bootstrap["static_resources"]["clusters"]) {
        let endpoint = &cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"];
        let address = &endpoint["address"]["socket_address"];
        let host = text(&address["address"])?;
        if host == "127.0.0.1" {
            continue;
        }
        match host
            .strip_suffix(".svc.cluster.local")
            .and_then(|name| name.split_once('.'))
        {
            Some((_, place)) => _ = wanted_places.insert(place.to_owned()),
            None => _ = wanted_ports.insert(address["port_value"].as_u64().context("no port")?),
        }
    }
    ensure!(places == wanted_places, "{places:?}");
    ensure!(ports == wanted_ports, "{ports:?}");
    Ok(())
}
