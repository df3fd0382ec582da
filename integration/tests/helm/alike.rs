//! Helm prints what `scopegate render` prints, letter for letter but for the configuration, whose keys it sorts; and
//! that holds the same. What the one refuses is refused by the other.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result, bail, ensure};
use integration::drill::Random;
use integration::{paths, yaml};
use scopegate::config::{Config, Environment};
use serde_json::{Value, json};

use crate::chart::{Product, by_template, parsed, render, template, values_of};
use crate::random::{ODD, drawn};
use serde::Deserialize;

integration::trials![
    default_values_print_the_shipped_manifests needs [HELM],
    extras_are_printed_if_they_are_asked_for needs [HELM],
    every_example_is_printed_alike needs [HELM],
    other_deployments_are_printed_alike needs [HELM],
    odd_texts_and_numbers_are_printed_alike needs [HELM],
    what_render_refuses_is_refused needs [HELM],
    random_deployments_are_printed_alike_or_refused_by_both needs [HELM],
];

const EXTRAS: [&str; 4] = ["accessLog", "admission", "authorization", "network"];

fn shipped() -> Result<Value> {
    yaml::read(&paths::repository().join("envoy/deployment.yaml"))
}

/// The values with all extras that there are for the product.
fn with_extras(product: Product, mut values: Value) -> Value {
    let extras = EXTRAS.iter().filter(|name| {
        product == Product::Istio || !matches!(**name, "accessLog" | "authorization")
    });
    values["extras"] = extras
        .map(|name| ((*name).to_owned(), json!(true)))
        .collect();
    values
}

/// What must be the same of the documents of one file.
fn same(what: &str, product: Product, name: &str, ours: &str, theirs: &[String]) -> Result<()> {
    let mut ours: Vec<String> = ours
        .split("\n---\n")
        .map(|it| it.trim().to_owned())
        .collect();
    // A file of nothing but comments is not printed.
    ours.retain(|it| parsed(it).is_ok_and(|documents| !documents.is_empty()));
    let mut theirs = theirs.to_vec();
    ours.sort();
    theirs.sort();
    let values = |texts: &[String]| -> Result<Vec<Value>> {
        let documents = texts.iter().map(|text| parsed(text));
        Ok(documents
            .collect::<Result<Vec<_>>>()?
            .into_iter()
            .flatten()
            .collect())
    };
    let (of_ours, of_theirs) = (values(&ours)?, values(&theirs)?);
    ensure!(
        of_ours == of_theirs,
        "{what}: {name}: {of_ours:#?}\n{of_theirs:#?}"
    );
    let (carrier, above) = product.carrier();
    if name == carrier {
        let parts = |texts: &[String]| -> Result<(String, String)> {
            let [text] = texts else {
                bail!("{what}: not one carrier")
            };
            let (head, configuration) = text.split_once(above).context("no configuration")?;
            Ok((head.to_owned(), configuration.to_owned()))
        };
        let ((our_head, our_lines), (their_head, their_lines)) = (parts(&ours)?, parts(&theirs)?);
        same_lines(what, &our_lines, &their_lines)?;
        (ours, theirs) = (vec![our_head], vec![their_head]);
    }
    ensure!(ours == theirs, "{what}: {name}: {ours:#?}\n{theirs:#?}");
    Ok(())
}

/// The lines of a configuration are written alike, but for comments beside them. `share` may stand elsewhere. Readers of
/// YAML differ in what they take for a text, so it is not enough that one of them reads the same.
fn same_lines(what: &str, ours: &str, theirs: &str) -> Result<()> {
    let lines = |text: &str| -> Vec<String> {
        let lines = text
            .lines()
            .map(|line| line.trim().trim_start_matches("- "));
        let mut lines: Vec<String> = lines
            .filter(|line| !line.starts_with('#') && !line.contains("share: "))
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    };
    let (ours, theirs) = (lines(ours), lines(theirs));
    ensure!(ours.len() == theirs.len(), "{what}: {ours:#?}\n{theirs:#?}");
    for (our, their) in ours.iter().zip(&theirs) {
        let comment = our.strip_prefix(their).map(str::trim_start);
        let same = comment.is_some_and(|it| it.is_empty() || it.starts_with("# "));
        ensure!(same, "{what}: {our:?} and {their:?}");
    }
    Ok(())
}

/// Both print the same of this deployment file.
fn alike(what: &str, product: Product, deployment_file: &Value) -> Result<()> {
    let files = render(product, deployment_file)?;
    let files = files.map_err(|said| anyhow::anyhow!("{what}: render: {said}"))?;
    let namespace = deployment_file["deployment"]["namespace"]
        .as_str()
        .unwrap_or("scopegate");
    let values = with_extras(product, values_of(deployment_file));
    let printed = template(product, Some(&values), namespace, &[])?;
    let printed = printed.map_err(|said| anyhow::anyhow!("{what}: {product:?}: helm: {said}"))?;
    all_the_same(what, product, &files, &printed)
}

fn all_the_same(
    what: &str,
    product: Product,
    files: &BTreeMap<String, String>,
    printed: &str,
) -> Result<()> {
    let mut documents = by_template(printed)?;
    // Comments alone, which `render` does not print.
    documents.retain(|_, texts| {
        texts
            .iter()
            .any(|it| parsed(it).is_ok_and(|them| !them.is_empty()))
    });
    let of_product = |name: &String| {
        let name = name.strip_prefix(product.name())?.strip_prefix('/')?;
        Some(name.to_owned())
    };
    let names: Vec<String> = documents.keys().filter_map(of_product).collect();
    ensure!(
        names.len() == documents.len(),
        "{what}: {:?}",
        documents.keys()
    );
    ensure!(
        names.iter().eq(files.keys()),
        "{what}: {names:?} and not {:?}",
        files.keys()
    );
    for (name, ours) in files {
        let theirs = &documents[&format!("{}/{name}", product.name())];
        same(what, product, name, ours, theirs)?;
    }
    Ok(())
}

fn default_values_print_the_shipped_manifests() -> Result<()> {
    for product in Product::ALL {
        let mut files = render(product, &shipped()?)?.map_err(anyhow::Error::msg)?;
        files.retain(|name, _| !name.starts_with("extras/"));
        let printed = template(product, None, "scopegate", &[])?.map_err(anyhow::Error::msg)?;
        all_the_same("no values", product, &files, &printed)?;
    }
    Ok(())
}

fn extras_are_printed_if_they_are_asked_for() -> Result<()> {
    for product in Product::ALL {
        for extra in EXTRAS {
            let values = json!({"extras": {extra: true}});
            let printed = template(product, Some(&values), "scopegate", &[])?;
            if product == Product::EnvoyGateway && matches!(extra, "accessLog" | "authorization") {
                let said = printed.err().unwrap_or_default();
                ensure!(
                    said.contains(&format!("extras.{extra}: for Istio alone")),
                    "{said}"
                );
                continue;
            }
            let printed = by_template(&printed.map_err(anyhow::Error::msg)?)?;
            let extras = printed
                .keys()
                .filter(|name| name.contains("/extras/"))
                .count();
            ensure!(extras == 1, "{extra}: {:?}", printed.keys());
        }
    }
    Ok(())
}

fn every_example_is_printed_alike() -> Result<()> {
    let mut seen = 0;
    for entry in fs::read_dir(paths::repository().join("envoy/examples"))? {
        let path = entry?.path();
        let value: Value = yaml::read(&path).unwrap_or_default();
        if value["deployment"].is_object() {
            seen += 1;
            for product in Product::ALL {
                alike(&path.display().to_string(), product, &value)?;
            }
        }
    }
    ensure!(seen >= 5, "only {seen} examples");
    Ok(())
}

/// The shipped deployment file with changes at these places; null takes a member away.
pub fn changed<'a>(changes: impl IntoIterator<Item = (&'a str, Value)>) -> Result<Value> {
    let mut document = shipped()?;
    for (place, value) in changes {
        let (parent, name) = place.rsplit_once('/').context("no place")?;
        let parent = document
            .pointer_mut(parent)
            .with_context(|| format!("nothing at {place}"))?;
        match (parent, name.parse::<usize>()) {
            (Value::Array(elements), Ok(at)) if at == elements.len() => {
                elements.push(value.clone());
            }
            (Value::Array(elements), Ok(at)) => elements[at] = value.clone(),
            (Value::Object(members), _) if value.is_null() => _ = members.remove(name),
            (Value::Object(members), _) => _ = members.insert(name.to_owned(), value.clone()),
            (other, _) => bail!("{place}: {other}"),
        }
    }
    Ok(document)
}

/// A row of `alike.yaml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    what: String,
    changes: BTreeMap<String, Value>,
}

/// A row of `refused.yaml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refused {
    place: String,
    value: Value,
    told: String,
    #[serde(default)]
    istio: bool,
}

fn other_deployments_are_printed_alike() -> Result<()> {
    for case in yaml::read::<Vec<Case>>(&paths::integration().join("tests/helm/alike.yaml"))? {
        let document = changed(
            case.changes
                .iter()
                .map(|(place, it)| (place.as_str(), it.clone())),
        )?;
        for product in Product::ALL {
            alike(&case.what, product, &document)?;
        }
    }
    // null is a value here.
    let mut document = shipped()?;
    document["forward"]["subject_header"] = Value::Null;
    for product in Product::ALL {
        alike("no subject header", product, &document)?;
    }
    // What Istio knows only by names.
    let addresses = changed([
        (
            "/deployment/backends/loki/url",
            json!("http://10.0.0.1:3100"),
        ),
        (
            "/deployment/backends/mimir/url",
            json!("http://[2001:db8::1]:9009"),
        ),
        (
            "/deployment/backends/tempo/url",
            json!("http://tempo.example.com"),
        ),
        (
            "/providers/0/jwks/uri",
            json!("https://[::ffff:10.0.0.2]/keys"),
        ),
    ])?;
    alike("addresses", Product::EnvoyGateway, &addresses)
}

fn odd_texts_and_numbers_are_printed_alike() -> Result<()> {
    // All at once: groups are any text.
    let groups: Vec<Value> = ODD.iter().map(|text| json!(text)).collect();
    let document = changed([
        (
            "/organizations/0/display_name",
            json!("{{ include \"scopegate.view\" . }}"),
        ),
        ("/organizations/0/rbac/viewers", json!(groups)),
        (
            "/providers/0/audiences",
            json!(
                ODD.iter()
                    .filter(|it| !it.contains(char::is_control))
                    .collect::<Vec<_>>()
            ),
        ),
        ("/limits", json!({"tenants_per_request": 1000})),
    ])?;
    for product in Product::ALL {
        alike("odd texts", product, &document)?;
    }
    // Helm reads numbers as floating point, which Go writes as 1e+06. A key may have members that nobody knows.
    let numbers = json!([
        0,
        -1,
        1.5,
        999_999,
        1_000_000,
        123_456_789,
        9_007_199_254_740_991_u64
    ]);
    let document = changed([("/providers/0/jwks", inline(&numbers))])?;
    for product in Product::ALL {
        alike("numbers", product, &document)?;
    }
    // From there on it is not the number that was written.
    let too_large = json!(9_007_199_254_740_993_u64);
    let document = changed([("/providers/0/jwks", inline(&too_large))])?;
    let said = template(
        Product::Istio,
        Some(&values_of(&document)),
        "scopegate",
        &[],
    )?;
    let said = said.err().unwrap_or_default();
    ensure!(said.contains("at most 2^53 - 1"), "{said}");
    Ok(())
}

/// A key in the document with a member that nobody knows.
fn inline(member: &Value) -> Value {
    json!({"inline": {"keys": [{
        "kty": "EC", "crv": "P-256", "kid": "a", "alg": "ES256", "unknown": member,
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    }]}})
}

/// Each with what Helm says, with its schema and without.
fn what_render_refuses_is_refused() -> Result<()> {
    for case in yaml::read::<Vec<Refused>>(&paths::integration().join("tests/helm/refused.yaml"))? {
        let document = changed([(case.place.as_str(), case.value.clone())])?;
        for product in Product::ALL {
            let what = format!("{product:?}: {}: {}", case.place, case.value);
            if case.istio && product == Product::EnvoyGateway {
                alike(&what, product, &document)?;
                continue;
            }
            ensure!(render(product, &document)?.is_err(), "render takes {what}");
            let values = values_of(&document);
            let with = template(product, Some(&values), "scopegate", &[])?;
            ensure!(with.is_err(), "helm takes {what}");
            let skipped = ["--skip-schema-validation"];
            let without = template(product, Some(&values), "scopegate", &skipped)?;
            let said = without.err().unwrap_or_default();
            let told = &case.told;
            ensure!(said.contains(told), "{what}: {told:?} is not in {said}");
        }
    }
    // The release's own.
    let values = values_of(&shipped()?);
    let said = template(Product::Istio, Some(&values), "default", &[])?
        .err()
        .unwrap_or_default();
    ensure!(
        said.contains("deployment.namespace: scopegate is not the namespace of the release"),
        "{said}"
    );
    for (name, told) in [
        ("deployment", "configuration: missing"),
        ("configuration", "deployment: missing"),
    ] {
        let mut half = values_of(&shipped()?);
        half = json!({name: half[name].take()});
        let said = template(Product::Istio, Some(&half), "scopegate", &[])?
            .err()
            .unwrap_or_default();
        ensure!(said.contains(told), "{said}");
    }
    Ok(())
}

/// Whether the gate itself takes what stands beside `deployment`.
fn gate_takes(document: &Value) -> Result<bool> {
    let values = values_of(document);
    let variables = ["KEYS", "OTHER_KEYS"].map(|name| (name.to_owned(), "unknown".to_owned()));
    let configuration = serde_json::to_vec(&values["configuration"])?;
    Ok(Config::parse(&configuration, &Environment::new(variables)).is_ok())
}

fn random_deployments_are_printed_alike_or_refused_by_both() -> Result<()> {
    let seed = match std::env::var("SCOPEGATE_SEED") {
        Ok(seed) => seed.parse().context("SCOPEGATE_SEED")?,
        Err(_) => 20_261_127,
    };
    let (mut taken, mut refused, mut by_gate, mut by_schema) = (0, 0, 0, 0);
    let mut random = Random(seed);
    for round in 0..ROUNDS {
        let document = drawn(&mut random)?;
        let gate = gate_takes(&document)?;
        for product in Product::ALL {
            let what = format!("SCOPEGATE_SEED={seed}, round {round}, {product:?}");
            if render(product, &document)?.is_ok() {
                taken += 1;
                alike(&what, product, &document)?;
                continue;
            }
            let values = values_of(&document);
            let printed = template(product, Some(&values), "scopegate", &[])?;
            if gate {
                refused += 1;
                ensure!(
                    printed.is_err(),
                    "{what}: render refuses and helm takes {document}"
                );
            } else {
                // The gate's own rules are more than a schema can say.
                by_gate += 1;
                by_schema += u32::from(printed.is_err());
            }
        }
    }
    println!(
        "{taken} printed alike, {refused} refused by both; of {by_gate} that the gate itself refuses, {by_schema} by helm"
    );
    ensure!(
        taken > ROUNDS / 8 && refused > ROUNDS / 8,
        "{taken} taken, {refused} refused"
    );
    Ok(())
}

const ROUNDS: u32 = 60;
