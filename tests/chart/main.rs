//! The Helm chart is what the templates of `scopegate render`, the schemas and the shipped files make of it.
//! `SCOPEGATE_WRITE=1` writes it anew, as `make manifests` does.

#![allow(clippy::panic, clippy::unwrap_used)]

mod expression;
mod translate;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use scopegate::cli::{Arguments, Console, Disk, Outcome, run};
use serde_json::{Value, json};

/// Of one product: its name for `scopegate render`, its folder of templates, and its files in the order in which they
/// are applied.
struct Product {
    name: &'static str,
    folder: &'static str,
    files: &'static [&'static str],
    /// What only some want, and the value that asks for it.
    extras: &'static [(&'static str, &'static str)],
}

const PRODUCTS: [Product; 2] = [
    Product {
        name: "istio",
        folder: "istio",
        files: &[
            "provider",
            "gateway",
            "envoyfilter",
            "plugin",
            "grants",
            "routes",
        ],
        extras: &[
            ("access-log", "accessLog"),
            ("admission", "admission"),
            ("authorization", "authorization"),
            ("network", "network"),
        ],
    },
    Product {
        name: "envoy-gateway",
        folder: "gateway",
        files: &["gateway", "policy", "backends", "traffic", "routes"],
        extras: &[("admission", "admission"), ("network", "network")],
    },
];

/// What `templates/_view.tpl` computes, as `src/cli/render/view.rs` does.
const VIEW: &[&str] = &[
    "clusters",
    "configuration",
    "digest",
    "external",
    "grants",
    "grpc",
    "guarded",
    "home",
    "host",
    "loki",
    "memory",
    "mimir",
    "replicas",
    "services_with_tls",
    "tempo",
    "tls",
    "url",
    "variables",
    "watched",
    "workers",
];

/// What is taken as it is: a file under `envoy/`, and its name in the chart.
const COPIES: [(&str, &str); 9] = [
    (
        "monitoring/dashboard.json",
        "files/monitoring/dashboard.json",
    ),
    (
        "monitoring/podmonitor.yaml",
        "files/monitoring/podmonitor.yaml",
    ),
    (
        "monitoring/prometheusrule.yaml",
        "files/monitoring/prometheusrule.yaml",
    ),
    (
        "monitoring/serve-organizations.yaml",
        "files/monitoring/serve-organizations.yaml",
    ),
    (
        "organizations/deployment.yaml",
        "files/organizations/deployment.yaml",
    ),
    (
        "organizations/disruption.yaml",
        "files/organizations/disruption.yaml",
    ),
    (
        "organizations/network.yaml",
        "files/organizations/network.yaml",
    ),
    ("organizations/rbac.yaml", "files/organizations/rbac.yaml"),
    (
        "organizations/service.yaml",
        "files/organizations/service.yaml",
    ),
];

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The files that are made, by their paths in the chart.
fn made() -> BTreeMap<PathBuf, String> {
    let mut files = BTreeMap::new();
    for product in &PRODUCTS {
        let templates = product.files.iter().map(|name| ((*name).to_owned(), None));
        let extras = product
            .extras
            .iter()
            .map(|(name, value)| (format!("extras/{name}"), Some(*value)));
        for (name, extra) in templates.chain(extras) {
            let path = format!("{}/{name}.yaml", product.folder);
            let template = read(&format!("src/cli/render/templates/{path}"));
            let template = translate::translate(&template, VIEW)
                .unwrap_or_else(|error| panic!("{path}: {error}"));
            let file = Path::new("templates")
                .join(product.name)
                .join(format!("{name}.yaml"));
            files.insert(file, template_of(product.name, &path, extra, &template));
        }
    }
    for (from, to) in COPIES {
        files.insert(to.into(), read(&format!("envoy/{from}")));
    }
    let (deployment, configuration) = example();
    files.insert(
        "example.yaml".into(),
        format!("{EXAMPLE}{deployment}\n{configuration}"),
    );
    files.insert("values.yaml".into(), values(&deployment, &configuration));
    let schema = serde_json::to_string_pretty(&schema()).unwrap();
    files.insert("values.schema.json".into(), format!("{schema}\n"));
    files
}

fn template_of(product: &str, path: &str, extra: Option<&str>, template: &str) -> String {
    let condition = match extra {
        None => format!("eq $view.product \"{product}\""),
        Some(extra) => format!("and (eq $view.product \"{product}\") .Values.extras.{extra}"),
    };
    format!(
        "{{{{- /* Made of src/cli/render/templates/{path} by `make manifests`: edit that. */ -}}}}\n\
         {{{{- $view := dict -}}}}\n\
         {{{{- $_ := include \"scopegate.view\" (dict \"root\" . \"view\" $view) -}}}}\n\
         {{{{- if {condition} }}}}\n{template}{{{{- end }}}}\n"
    )
}

const EXAMPLE: &str = "\
# Values to start from, and what the chart shows as long as there are none: envoy/deployment.yaml of the repository.
# Nothing runs with them as they are, because no image has that digest.

# What runs the gate: istio or envoy-gateway.
product: istio

";

/// The shipped deployment file as the values `deployment` and `configuration`.
fn example() -> (String, String) {
    let shipped = read("envoy/deployment.yaml");
    let (_, sections) = shipped.split_once("\ndeployment:\n").unwrap();
    let (deployment, gate) = sections.split_once("\n\n").unwrap();
    let mut configuration = String::from("configuration:\n");
    for line in gate.lines() {
        configuration.push_str(if line.is_empty() { "" } else { "  " });
        configuration.push_str(line);
        configuration.push('\n');
    }
    (format!("deployment:\n{deployment}\n"), configuration)
}

/// The values with the example as a comment.
fn values(deployment: &str, configuration: &str) -> String {
    let commented = |section: &str| {
        let lines = section.lines().skip(1);
        let lines = lines.map(|line| match line {
            "" => "#\n".to_owned(),
            line => format!("# {line}\n"),
        });
        lines.collect::<String>()
    };
    read("tests/chart/values.yaml")
        .replace("# @deployment\n", &commented(deployment))
        .replace("# @configuration\n", &commented(configuration))
}

fn printed(arguments: &[&str]) -> Value {
    let mut output = Vec::new();
    let line = ["scopegate"].into_iter().chain(arguments.iter().copied());
    let outcome = run(
        Arguments::try_parse_from(line).unwrap(),
        &mut Console {
            input: &mut std::io::empty(),
            files: &Disk,
            output: &mut output,
            errors: &mut Vec::new(),
            styled: false,
            now: 0,
            web: &mut scopegate::cli::Unconnected,
            variables: BTreeMap::new(),
        },
    );
    assert_eq!(outcome, Outcome::Good);
    serde_json::from_slice(&output).unwrap()
}

/// The chart's own values, and in them the two schemas that `scopegate schema` prints.
fn schema() -> Value {
    let mut schema: Value = serde_json::from_str(&read("tests/chart/values.schema.json")).unwrap();
    let mut configuration = printed(&["schema"]);
    for name in ["$id", "$schema"] {
        configuration.as_object_mut().unwrap().remove(name);
    }
    moved(&mut configuration, "#/", "#/definitions/configuration/");
    portable(&mut configuration);
    let deployment = printed(&["schema", "--deployment"])["properties"]["deployment"].take();
    schema["definitions"] = json!({"configuration": configuration, "deployment": deployment});
    schema
}

/// Every reference that begins so, so.
fn moved(schema: &mut Value, from: &str, to: &str) {
    match schema {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(text) if name == "$ref" => {
                        *text = text.replacen(from, to, 1);
                    }
                    member => moved(member, from, to),
                }
            }
        }
        Value::Array(elements) => elements.iter_mut().for_each(|it| moved(it, from, to)),
        _ => {}
    }
}

/// Patterns in words that Helm's regular expressions have too: no `\u`, and what looks ahead as a schema of its own.
fn portable(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            members.values_mut().for_each(portable);
            let Some(Value::String(pattern)) = members.get("pattern") else {
                return;
            };
            let (pattern, ahead) = without_looking_ahead(&with_characters(pattern));
            assert!(!pattern.contains("(?"), "{pattern}");
            members.insert("pattern".to_owned(), json!(pattern));
            if !ahead.is_empty() {
                assert!(!members.contains_key("allOf"));
                members.insert("allOf".to_owned(), json!(ahead));
            }
        }
        Value::Array(elements) => elements.iter_mut().for_each(portable),
        _ => {}
    }
}

/// With the characters themselves in place of `\u001f`.
fn with_characters(pattern: &str) -> String {
    let mut parts = pattern.split("\\u");
    let mut text = parts.next().unwrap().to_owned();
    for part in parts {
        assert!(!text.ends_with('\\'), "{pattern}");
        let (digits, rest) = part.split_at(4);
        let code = u32::from_str_radix(digits, 16).unwrap();
        text.push(char::from_u32(code).unwrap());
        text.push_str(rest);
    }
    text
}

/// `^(?!a)(?=b)c` as `^c`, and what else must hold.
fn without_looking_ahead(pattern: &str) -> (String, Vec<Value>) {
    let Some(mut rest) = pattern.strip_prefix('^') else {
        return (pattern.to_owned(), Vec::new());
    };
    let mut ahead = Vec::new();
    while let Some(inner) = rest.strip_prefix("(?!").or(rest.strip_prefix("(?=")) {
        let end = inner.find(')').unwrap();
        let (inside, after) = inner.split_at(end);
        assert!(!inside.contains(['(', '[']), "{pattern}");
        // What is no text satisfies every pattern.
        let found = json!({"type": "string", "pattern": format!("^{inside}")});
        ahead.push(if rest.starts_with("(?!") {
            json!({"not": found})
        } else {
            json!({"pattern": found["pattern"]})
        });
        rest = after.strip_prefix(')').unwrap();
    }
    (format!("^{rest}"), ahead)
}

/// Files of a folder and of those in it.
fn found(folder: &Path, below: &Path, files: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(folder.join(below)).unwrap() {
        let entry = entry.unwrap();
        let path = below.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            found(folder, &path, files);
        } else {
            files.insert(path);
        }
    }
}

#[test]
fn the_chart_is_made_of_what_render_is_made_of() {
    let chart = repository().join("envoy/helm");
    let made = made();
    let written = std::env::var_os("SCOPEGATE_WRITE").is_some();
    for (path, text) in &made {
        let path = chart.join(path);
        if written {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
        }
        assert!(
            fs::read_to_string(&path).is_ok_and(|there| there == *text),
            "{} is not what the source says: make manifests",
            path.display()
        );
    }
    // Nothing is left over of what was made once.
    let mut there = BTreeSet::new();
    found(&chart, Path::new(""), &mut there);
    let by_hand = [
        "Chart.yaml",
        "README.md",
        "templates/NOTES.txt",
        "templates/_address.tpl",
        "templates/_document.tpl",
        "templates/_view.tpl",
        "templates/monitoring.yaml",
        "templates/organizations.yaml",
    ];
    there.retain(|path| !made.contains_key(path));
    let by_hand: BTreeSet<PathBuf> = by_hand.into_iter().map(PathBuf::from).collect();
    assert_eq!(there, by_hand);
}

#[test]
fn every_template_of_both_products_is_in_the_chart() {
    for product in &PRODUCTS {
        let mut there = BTreeSet::new();
        let folder = repository()
            .join("src/cli/render/templates")
            .join(product.folder);
        found(&folder, Path::new(""), &mut there);
        let files = product.files.iter().map(|name| format!("{name}.yaml"));
        let extras = product
            .extras
            .iter()
            .map(|(name, _)| format!("extras/{name}.yaml"));
        // It is kustomize's.
        let others = ["kustomization.yaml".to_owned()];
        let listed: BTreeSet<PathBuf> = files
            .chain(extras)
            .chain(others)
            .map(PathBuf::from)
            .collect();
        assert_eq!(there, listed, "{}", product.name);
    }
}

#[test]
fn the_version_is_that_of_the_module() {
    let chart: serde_yaml_ng::Value =
        serde_yaml_ng::from_str(&read("envoy/helm/Chart.yaml")).unwrap();
    for name in ["version", "appVersion"] {
        assert_eq!(
            chart[name].as_str(),
            Some(env!("CARGO_PKG_VERSION")),
            "{name}"
        );
    }
}

/// The rules of the schema hold for the example, and the schema reads as one.
#[test]
fn the_example_satisfies_the_schema() {
    let schema = schema();
    jsonschema::meta::validate(&schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut values: Value = serde_yaml_ng::from_str(&read("envoy/helm/values.yaml")).unwrap();
    assert!(validator.is_valid(&values));
    let example: Value = serde_yaml_ng::from_str(&read("envoy/helm/example.yaml")).unwrap();
    for (name, section) in example.as_object().unwrap() {
        values[name] = section.clone();
    }
    let problems: Vec<String> = validator
        .iter_errors(&values)
        .map(|error| error.to_string())
        .collect();
    assert_eq!(problems, Vec::<String>::new());
    for (pointer, slip) in [
        ("", "produkt"),
        ("/deployment", "hosts"),
        ("/deployment/backends/loki", "otlp_url"),
        ("/configuration", "backend"),
        ("/configuration/organizations/0", "tenant"),
        ("/extras", "networks"),
        ("/monitoring", "podmonitor"),
        ("/organizationsServer", "images"),
    ] {
        let mut slipped = values.clone();
        slipped.pointer_mut(pointer).unwrap()[slip] = json!({});
        assert!(!validator.is_valid(&slipped), "{pointer}/{slip}");
    }
}
