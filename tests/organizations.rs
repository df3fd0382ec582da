//! GrafanaOrganization resources, and the organizations that the command `organizations`
//! converts them to.
#![cfg(feature = "cli")]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::collections::BTreeMap;

use clap::Parser as _;
use scopegate::cli::{Arguments, Console, Disk, Outcome, run};
use scopegate::config::{Config, Environment};
use scopegate::resources::grafana::{Remark, Version, convert};
use scopegate::resources::rules::{Rules, Unknown};
use serde_json::{Value, json};

/// What a run of the command left behind.
struct Ran {
    outcome: Outcome,
    output: String,
    errors: String,
}

/// Runs `scopegate organizations` with those arguments and that standard input.
fn organizations(arguments: &[&str], input: &str) -> Ran {
    let command = [&["scopegate", "organizations"], arguments].concat();
    let arguments = Arguments::try_parse_from(command).expect("arguments");
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let outcome = run(
        arguments,
        &mut Console {
            input: &mut input.as_bytes(),
            files: &Disk,
            output: &mut output,
            errors: &mut errors,
            styled: false,
            variables: BTreeMap::new(),
            now: 0,
            web: &mut scopegate::cli::Unconnected,
        },
    );
    Ran {
        outcome,
        output: String::from_utf8(output).unwrap(),
        errors: String::from_utf8(errors).unwrap(),
    }
}

/// The organizations of resources that convert.
fn converted(arguments: &[&str], input: &str) -> Value {
    let ran = organizations(arguments, input);
    assert_eq!(ran.outcome, Outcome::Good, "{}", ran.errors);
    let document: Value = serde_yaml_ng::from_str(&ran.output).unwrap();
    loads(document["organizations"].clone());
    document["organizations"].clone()
}

/// The gate takes a configuration with those.
fn loads(organizations: Value) {
    let mut configuration = reference();
    configuration["organizations"] = organizations;
    let text = configuration.to_string();
    Config::parse(text.as_bytes(), &Environment::default()).expect("loads");
}

fn reference() -> Value {
    serde_yaml_ng::from_str(REFERENCE).unwrap()
}

const REFERENCE: &str = include_str!("../envoy/scopegate.yaml");

/// A resource with that `spec`, in JSON, which is YAML too.
fn resource(version: &str, name: &str, spec: &Value) -> String {
    let resource = json!({
        "apiVersion": format!("observability.giantswarm.io/{version}"),
        "kind": "GrafanaOrganization",
        "metadata": {"name": name, "labels": {"team": "x"}, "uid": "1"},
        "spec": spec,
        "status": {"orgID": 3},
    });
    resource.to_string()
}

fn spec(tenants: &Value) -> Value {
    json!({"displayName": "Acme", "rbac": {"admins": ["a"]}, "tenants": tenants})
}

#[test]
fn a_resource_of_either_version_becomes_an_organization() {
    let input = "\
# A comment alone is a document too.
---
apiVersion: observability.giantswarm.io/v1alpha2
kind: GrafanaOrganization
metadata: {name: giantswarm}
spec:
  displayName: Giant Swarm
  rbac:
    admins: ['customer:giantswarm:Admins', 'with blanks']
    editors: [employees]
    viewers:
  tenants:
  - name: giantswarm
  - name: shared
    types: [alerting, data]
  - name: rules_only
    types: [alerting]
---
apiVersion: observability.giantswarm.io/v1alpha1
kind: GrafanaOrganization
metadata: {name: acme}
spec:
  displayName: Acme
  rbac: {admins: []}
  tenants: [acme]
";
    let ran = organizations(&["-"], input);
    assert_eq!(ran.errors, "");
    assert_eq!(
        ran.output,
        "\
organizations:
  - name: acme
    display_name: Acme
    tenants:
      - {name: acme, types: [data, alerting]}
    rbac: {}
  - name: giantswarm
    display_name: \"Giant Swarm\"
    tenants:
      - giantswarm
      - {name: shared, types: [data, alerting]}
      - {name: rules_only, types: [alerting]}
    rbac:
      admins: [\"customer:giantswarm:Admins\", \"with blanks\"]
      editors: [employees]
"
    );
    converted(&["-"], input);
}

#[test]
fn lists_of_any_kind_and_json_are_read() {
    let one = |name| resource("v1alpha2", name, &spec(&json!([{"name": name}])));
    let list = |kind: &str, api: &str| {
        let (a, b) = (one("a"), one("b"));
        format!("{{\"apiVersion\": \"{api}\", \"kind\": \"{kind}\", \"items\": [{a}, {b}]}}")
    };
    for input in [
        list("List", "v1"),
        list(
            "GrafanaOrganizationList",
            "observability.giantswarm.io/v1alpha2",
        ),
        format!("{}\n---\n{}", one("b"), one("a")),
    ] {
        let organizations = converted(&["-"], &input);
        assert_eq!(organizations[0]["name"], "a", "{input}");
        assert_eq!(organizations[1]["name"], "b", "{input}");
        assert_eq!(organizations[2], Value::Null, "{input}");
    }
}

#[test]
fn the_order_of_resources_does_not_matter() {
    let one = |name| resource("v1alpha1", name, &spec(&json!([name])));
    let there = organizations(&["-"], &format!("{}\n---\n{}", one("a"), one("b")));
    let back = organizations(&["-"], &format!("{}\n---\n{}", one("b"), one("a")));
    assert_eq!(there.output, back.output);
}

#[test]
fn what_stands_twice_is_merged_and_said() {
    let spec = json!({
        "displayName": "Acme",
        "rbac": {"admins": ["a", "b", "a"], "viewers": ["a"]},
        "tenants": [{"name": "acme"}, {"name": "x"}, {"name": "acme", "types": ["alerting"]}],
    });
    let input = resource("v1alpha2", "acme", &spec);
    let ran = organizations(&["-"], &input);
    assert_eq!(
        ran.errors,
        "note: -, document 1, acme: spec.rbac.admins[2]: the group \"a\" stands twice: merged\n\
         note: -, document 1, acme: spec.tenants[2]: the tenant \"acme\" stands twice: merged, \
         types [data, alerting]\n"
    );
    assert_eq!(
        converted(&["-"], &input),
        json!([{
            "name": "acme",
            "display_name": "Acme",
            "tenants": [{"name": "acme", "types": ["data", "alerting"]}, "x"],
            "rbac": {"admins": ["a", "b"], "viewers": ["a"]},
        }])
    );
}

#[test]
fn a_tenant_may_stand_in_several_resources() {
    let one = |name| resource("v1alpha1", name, &spec(&json!(["shared"])));
    let organizations = converted(&["-"], &format!("{}\n---\n{}", one("a"), one("b")));
    assert_eq!(organizations[0]["tenants"], organizations[1]["tenants"]);
}

#[test]
fn writers_are_added_to_each_organization() {
    let one = |name| resource("v1alpha1", name, &spec(&json!([name])));
    let input = format!("{}\n---\n{}", one("a"), one("b"));
    let arguments = ["--writers", "client:{name}", "--writers", "all", "-"];
    let organizations = converted(&arguments, &input);
    assert_eq!(
        organizations[0]["rbac"]["writers"],
        json!(["client:a", "all"])
    );
    assert_eq!(
        organizations[1]["rbac"]["writers"],
        json!(["client:b", "all"])
    );
}

#[test]
fn a_reserved_tenant_needs_to_be_allowed_by_name() {
    let input = resource("v1alpha2", "acme", &spec(&json!([{"name": "anonymous"}])));
    let refused = organizations(&["-", "--allow-reserved", "fake"], &input);
    assert_eq!(refused.outcome, Outcome::Problems);
    assert_eq!(
        refused.errors,
        "-, document 1, acme: spec.tenants[0].name: \"anonymous\" is a name that a backend uses \
         itself: if it is meant, allow it with --allow-reserved anonymous\n"
    );
    let organizations = converted(&["-", "--allow-reserved", "anonymous"], &input);
    assert_eq!(
        organizations[0]["tenants"],
        json!([{"name": "anonymous", "types": ["data"], "allow_reserved": true}])
    );
}

#[test]
fn what_is_being_deleted_and_what_is_something_else_is_passed_over_and_said() {
    let mut going: Value =
        serde_json::from_str(&resource("v1alpha1", "going", &spec(&json!(["g"])))).unwrap();
    going["metadata"]["deletionTimestamp"] = json!("2026-11-26T00:00:00Z");
    let stays = resource("v1alpha1", "stays", &spec(&json!(["s"])));
    let input = format!("{going}\n---\nkind: ConfigMap\n---\n{stays}\n---\n17\n");
    let ran = organizations(&["-"], &input);
    assert_eq!(ran.outcome, Outcome::Good);
    assert!(!ran.output.contains("going"), "{}", ran.output);
    assert_eq!(
        ran.errors,
        "note: -, document 1, going: is being deleted: left out\n\
         note: -: passed over 2 that are no GrafanaOrganization of observability.giantswarm.io: \
         ConfigMap, no kind\n"
    );
}

#[test]
fn members_that_an_api_server_knows_and_this_program_does_not_are_passed_over() {
    let mut newer: Value = serde_json::from_str(&resource(
        "v1alpha2",
        "acme",
        &spec(&json!([{"name": "a", "x": 1}])),
    ))
    .unwrap();
    newer["spec"]["retention"] = json!({"logs": "30d"});
    newer["spec"]["rbac"]["auditors"] = json!(["b"]);
    let rules = |unknown| Rules {
        unknown,
        ..Rules::default()
    };
    let refused = convert(&newer, Version::V1Alpha2, &rules(Unknown::Refuse)).unwrap_err();
    let converted = convert(&newer, Version::V1Alpha2, &rules(Unknown::PassOver)).unwrap();
    let fields = |remarks: &[Remark]| -> Vec<String> {
        remarks.iter().map(|remark| remark.field.clone()).collect()
    };
    let unknown = ["spec.retention", "spec.rbac.auditors", "spec.tenants[0].x"];
    assert_eq!(fields(&refused), unknown);
    assert_eq!(fields(&converted.notes), unknown);
    assert_eq!(converted.organization.rbac.admins, ["a"]);
}

/// A spec, and what is said about it: a place and the beginning of a text each.
type Row = (&'static str, &'static [&'static str]);

/// Every way to write a resource wrongly.
const WRONG: [Row; 24] = [
    ("null", &["spec: missing: "]),
    ("[]", &["spec: expected an object, found a list"]),
    (
        "{}",
        &[
            "spec.displayName: missing: ",
            "spec.rbac: missing: ",
            "spec.tenants: missing: ",
        ],
    ),
    (
        "{displayName: '', rbac: {admins: []}, tenants: []}",
        &["spec.displayName: may not be empty"],
    ),
    (
        "{displayName: 7, rbac: {admins: []}, tenants: []}",
        &["spec.displayName: expected a string, found a number: put it in quotes"],
    ),
    (
        "{displayName: [], rbac: {admins: []}, tenants: []}",
        &["spec.displayName: expected a string, found a list"],
    ),
    (
        "{displayName: x, rbac: [], tenants: []}",
        &["spec.rbac: expected an object, found a list"],
    ),
    (
        "{displayName: x, rbac: {}, tenants: []}",
        &["spec.rbac.admins: missing: "],
    ),
    (
        "{displayName: x, rbac: {admins: a}, tenants: []}",
        &["spec.rbac.admins: expected a list, found a string: write [a]"],
    ),
    (
        "{displayName: x, rbac: {admins: [true]}, tenants: []}",
        &["spec.rbac.admins[0]: expected a string, found true or false: put it in quotes"],
    ),
    (
        "{displayName: x, rbac: {admins: ['']}, tenants: []}",
        &["spec.rbac.admins[0]: may not be empty"],
    ),
    (
        "{displayName: x, rbac: {admins: [], veiwers: [a]}, tenants: []}",
        &["spec.rbac.veiwers: unknown key: known here are admins, editors, viewers"],
    ),
    (
        "{displayName: x, rbac: {admins: []}, tenants: [], tenant: a}",
        &["spec.tenant: unknown key: known here are displayName, rbac, tenants"],
    ),
    (
        "{displayName: x, rbac: {admins: []}, tenants: a}",
        &["spec.tenants: expected a list, found a string: write [a]"],
    ),
    (
        "{displayName: x, rbac: {admins: []}, tenants: {a: b}}",
        &["spec.tenants: expected a list, found an object"],
    ),
    (
        "{displayName: x, rbac: {admins: []}, tenants: [a]}",
        &["spec.tenants[0]: expected {name, types}, found a string: write {name: a}"],
    ),
    (
        "{displayName: x, rbac: {admins: []}, tenants: [{}]}",
        &["spec.tenants[0].name: missing: "],
    ),
    (
        "{displayName: x, rbac: {admins: []}, tenants: [{name: a, type: data}]}",
        &["spec.tenants[0].type: unknown key: known here are name, types"],
    ),
    (
        "{displayName: x, rbac: {admins: []}, tenants: [{name: a, types: []}]}",
        &["spec.tenants[0].types: is empty: write data, alerting or both, or leave types out"],
    ),
    (
        "{displayName: x, rbac: {admins: []}, tenants: [{name: a, types: [logs]}]}",
        &["spec.tenants[0].types[0]: \"logs\" is neither data nor alerting"],
    ),
    (
        "{displayName: x, rbac: {admins: []}, tenants: [{name: 'a|b'}]}",
        &["spec.tenants[0].name: \"a|b\" is no tenant ID: allowed are letters, digits and"],
    ),
    (
        "{displayName: x, rbac: {admins: []}, tenants: [{name: ..}]}",
        &["spec.tenants[0].name: \"..\" is no tenant ID: an ID may not be . or .."],
    ),
    (
        "{displayName: x, rbac: {admins: []}, tenants: [{name: __mimir_cluster}]}",
        &["spec.tenants[0].name: \"__mimir_cluster\" is a name that a backend uses itself"],
    ),
    (
        "{displayName: x, rbac: {admins: []}, tenants: [null]}",
        &["spec.tenants[0]: missing: "],
    ),
];

#[test]
fn what_does_not_convert_is_told_with_its_place_and_all_at_once() {
    let head = "apiVersion: observability.giantswarm.io/v1alpha2\nkind: GrafanaOrganization";
    let documents = WRONG
        .iter()
        .map(|(spec, _)| [head, "\nmetadata: {name: x}\nspec: ", spec, "\n---\n"].concat());
    let file: String = documents.collect();
    let ran = organizations(&["-"], &file);
    assert_eq!(ran.outcome, Outcome::Problems);
    assert_eq!(ran.output, "");
    let mut told = ran.errors.lines();
    for (document, (spec, problems)) in (1..).zip(&WRONG) {
        for problem in *problems {
            let line = told.next().unwrap_or_default();
            let wanted = format!("-, document {document}, x: {problem}");
            assert!(line.starts_with(&wanted), "{spec}\n{line}\n{wanted}");
        }
    }
    assert_eq!(told.next(), None);
}

#[test]
fn names_versions_and_files_are_judged_too() {
    let good = resource("v1alpha1", "acme", &spec(&json!(["a"])));
    let rows = [
        (
            format!("{good}\n---\n{good}"),
            "-, document 2, acme: metadata.name: the name is taken by -, document 1, acme",
        ),
        (
            resource("v1beta1", "acme", &spec(&json!(["a"]))),
            "-, document 1, acme: apiVersion: GrafanaOrganization is read as \
             observability.giantswarm.io/v1alpha1",
        ),
        (
            good.replace("\"name\":\"acme\",", ""),
            "-, document 1: metadata.name: missing: it becomes the name",
        ),
        (
            format!("{good}\n---\nkind: [\n"),
            "-, document 2: cannot be read, nor what follows it: ",
        ),
        (
            good.replace("\"status\"", "\"spec\""),
            "-, document 1: cannot be read, nor what follows it: ",
        ),
        (
            "kind: ConfigMap".to_owned(),
            "there is no GrafanaOrganization of observability.giantswarm.io in what was given",
        ),
        (
            String::new(),
            "there is no GrafanaOrganization of observability.giantswarm.io in what was given",
        ),
    ];
    for (input, wanted) in rows {
        let ran = organizations(&["-"], &input);
        assert_eq!(ran.outcome, Outcome::Problems, "{input}");
        assert_eq!(ran.output, "", "{input}");
        assert!(
            ran.errors.lines().any(|line| line.starts_with(wanted)),
            "{input}\n{}",
            ran.errors
        );
    }
}

#[test]
fn problems_and_organizations_are_json_if_that_is_asked_for() {
    let wrong = resource("v1alpha2", "acme", &spec(&json!([{"name": "a b"}])));
    let ran = organizations(&["-", "--output", "json"], &wrong);
    let told: Value = serde_json::from_str(&ran.errors).unwrap();
    assert_eq!(told["level"], "error");
    assert_eq!(told["file"], "-");
    assert_eq!(told["document"], 1);
    assert_eq!(told["resource"], "acme");
    assert_eq!(told["field"], "spec.tenants[0].name");
    let good = resource("v1alpha1", "acme", &spec(&json!(["a"])));
    let ran = organizations(&["-", "--output", "json"], &good);
    let document: Value = serde_json::from_str(&ran.output).unwrap();
    assert_eq!(document["organizations"][0]["name"], "acme");
}

#[test]
fn a_file_cannot_write_to_a_terminal_as_it_likes() {
    let wrong = resource("v1alpha1", "a\u{1b}[2J", &spec(&json!([7])));
    let ran = organizations(&["-"], &wrong);
    assert!(
        ran.errors.contains(r"a\u{1b}[2J: spec.tenants[0]"),
        "{}",
        ran.errors
    );
    assert!(!ran.errors.contains('\u{1b}'));
}

#[test]
fn strings_mean_the_same_to_every_reader_of_yaml() {
    let strings = vec![
        "no",
        "Yes",
        "on",
        "y",
        "null",
        "~",
        "1_000",
        "0x1f",
        "12:30:45",
        "2026-11-26",
        "1e3",
        ".inf",
        "- a",
        "a: b",
        "a #b",
        "{x}",
        "'",
        "\"",
        "\\",
        "é",
        "日本",
        "\u{1f600}",
        "\u{2028}",
        "\u{feff}",
        "a\nb",
        "\t",
        " a ",
        "true",
        "a,b",
        "<<",
        "=",
        "a-b_c",
    ];
    let spec = json!({
        "displayName": "off", "rbac": {"admins": strings}, "tenants": ["no", "1_000", "2026-11-26"],
    });
    let ran = organizations(&["-"], &resource("v1alpha1", "true", &spec));
    let document: Value = serde_yaml_ng::from_str(&ran.output).unwrap();
    let organization = &document["organizations"][0];
    assert_eq!(organization["rbac"]["admins"], json!(strings));
    assert_eq!(organization["name"], "true");
    // What YAML 1.1 takes for something else stands in quotes.
    for quoted in [
        "\"no\"",
        "\"1_000\"",
        "\"2026-11-26\"",
        "\"off\"",
        "\"12:30:45\"",
        "\"=\"",
        "\"y\"",
    ] {
        assert!(ran.output.contains(quoted), "{quoted}\n{}", ran.output);
    }
    assert!(ran.output.contains(" a-b_c"), "{}", ran.output);
}

/// Merges a resource `acme` and one `new` into that configuration.
fn merged(configuration: &str, arguments: &[&str]) -> Ran {
    static RUN: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let folder = std::env::temp_dir().join(format!("scopegate-merge-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let run = RUN.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let file = folder.join(format!("{run}.yaml"));
    std::fs::write(&file, configuration).unwrap();
    let path = file.to_str().unwrap();
    let one = |name| resource("v1alpha1", name, &spec(&json!([name])));
    let input = format!("{}\n---\n{}", one("new"), one("acme"));
    let ran = organizations(&[&["-", "--merge", path], arguments].concat(), &input);
    std::fs::remove_file(&file).unwrap();
    let _ = std::fs::remove_dir(&folder);
    Ran {
        errors: ran.errors.replace(path, "CONFIG"),
        ..ran
    }
}

const ACME: &str = "  - name: acme
    display_name: Acme
    tenants:
      - {name: acme, types: [data, alerting]}
    rbac:
      admins: [a]
";

const NEW: &str = "  - name: new
    display_name: Acme
    tenants:
      - {name: new, types: [data, alerting]}
    rbac:
      admins: [a]
";

#[test]
fn a_merge_replaces_what_has_the_name_and_leaves_the_rest_byte_for_byte() {
    let before = "# Mine.\nmode: enforce   # loud\n\n# Who.\norganizations:   # here\n  # First.\n";
    let kept = "  - name: kept        # by hand\n    tenants: [kept]\n    rbac:\n      viewers:\n      - {group: x, labels: {ns: [web]}}\n\n  # Next.\n";
    let acme = "  - tenants: [old]\n    # Inside.\n    name: acme\n\n";
    let last = "  - {name: last, tenants: []}\n";
    let after = "\n# Roles.\nroles:\n  admin: [read]\n";
    let ran = merged(&[before, kept, acme, last, after].concat(), &[]);
    assert_eq!(
        ran.errors,
        "note: CONFIG, acme: replaced by the resource of this name\n"
    );
    assert_eq!(
        ran.output,
        [before, kept, ACME, "\n", last, NEW, after].concat()
    );
    // A second time there is nothing to do.
    let again = merged(&ran.output, &[]);
    assert_eq!(again.errors, "");
    assert_eq!(again.output, ran.output);
}

#[test]
fn a_merge_finds_its_place_in_every_form_of_the_section() {
    let both = [ACME, NEW].concat();
    let rows = [
        // Without the section, and without an end of the last line.
        ("mode: enforce".to_owned(), format!("mode: enforce\n\norganizations:\n{both}")),
        ("organizations: []\nmode: enforce\n".to_owned(), format!("organizations:\n{both}mode: enforce\n")),
        ("organizations:\nmode: enforce\n".to_owned(), format!("organizations:\n{both}mode: enforce\n")),
        // In brackets, over several lines.
        (
            "organizations: [\n  {name: kept, tenants: [k]}, # gone\n  {name: acme, tenants: [x]}\n]\nmode: enforce\n"
                .to_owned(),
            format!("organizations:\n  - {{name: kept, tenants: [k]}}\n{both}mode: enforce\n"),
        ),
        // Dashes in the first column.
        (
            "organizations:\n- name: kept\n  tenants: [k]\nmode: enforce\n".to_owned(),
            format!(
                "organizations:\n- name: kept\n  tenants: [k]\n{}mode: enforce\n",
                both.split_inclusive('\n').map(|line| &line[2..]).collect::<String>()
            ),
        ),
        // The last line of the file is an element's.
        (
            "organizations:\n  - name: kept\n    tenants: [k]".to_owned(),
            format!("organizations:\n  - name: kept\n    tenants: [k]\n{both}"),
        ),
    ];
    for (configuration, wanted) in rows {
        let ran = merged(&configuration, &[]);
        assert_eq!(ran.output, wanted, "{configuration}\n{}", ran.errors);
        assert_eq!(ran.outcome, Outcome::Good);
    }
}

#[test]
fn a_merge_into_the_reference_configuration_changes_its_organizations_alone() {
    let ran = merged(REFERENCE, &[]);
    assert_eq!(ran.errors, "");
    let mut wanted = reference();
    let merged: Value = serde_yaml_ng::from_str(&ran.output).unwrap();
    assert_eq!(merged["organizations"][0], wanted["organizations"][0]);
    assert_eq!(merged["organizations"][1]["name"], "acme");
    assert_eq!(merged["organizations"][2]["name"], "new");
    wanted["organizations"] = merged["organizations"].clone();
    assert_eq!(merged, wanted);
    for line in REFERENCE.lines() {
        assert!(ran.output.contains(line), "{line}");
    }
    loads(merged["organizations"].clone());
}

#[test]
fn a_merge_into_json_gives_json() {
    let configuration = reference().to_string();
    for (configuration, arguments) in [
        (configuration.as_str(), [].as_slice()),
        (REFERENCE, &["--output", "json"]),
    ] {
        let ran = merged(configuration, arguments);
        let merged: Value = serde_json::from_str(&ran.output).unwrap();
        assert_eq!(merged["organizations"][2]["name"], "new");
        assert_eq!(merged["providers"], reference()["providers"]);
    }
}

#[test]
fn a_merge_that_would_not_load_or_cannot_be_made_is_refused() {
    let rows = [
        (
            "organizations: {a: b}\n",
            "CONFIG: organizations: expected a list\n",
        ),
        (
            "organizations: [{tenants: []}]\n",
            "CONFIG: organizations[0].name: missing: it stands in audit records\n",
        ),
        (
            "organizations: [{name: x, tenants: [a b]}]\n",
            "CONFIG: organizations[0].tenants[0]: \"a b\" is no tenant ID",
        ),
        (
            "- a\n",
            "CONFIG: is no configuration: one document with an object is one\n",
        ),
        (
            "a: b\n---\nc: d\n",
            "CONFIG: is no configuration: one document with an object is one\n",
        ),
        ("a: [\n", "CONFIG: "),
        (
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: scopegate}\ndata:\n  scopegate.yaml: |\n    mode: enforce\n",
            "CONFIG: is no configuration by itself, because it has the key kind: write the configuration that stands in it into a file of its own",
        ),
        (
            "static_resources: {listeners: []}\n",
            "CONFIG: is no configuration by itself, because it has the key static_resources: ",
        ),
        (
            "resources:\n  - {name: scopegate}\n",
            "CONFIG: is no configuration by itself, because it has the key resources: ",
        ),
        (
            "services: {gate: {image: envoy}}\n",
            "CONFIG: is no configuration: it has none of the keys of one, such as providers\n",
        ),
        (
            "organizations:\n  - &x {name: acme, tenants: []}\nother: *x\n",
            "CONFIG: organizations: cannot be edited where it stands",
        ),
    ];
    for (configuration, wanted) in rows {
        let ran = merged(configuration, &[]);
        assert_eq!(ran.outcome, Outcome::Problems, "{configuration}");
        assert!(
            ran.errors.starts_with(wanted),
            "{configuration}\n{}",
            ran.errors
        );
        assert_eq!(ran.output, "");
    }
}

#[test]
fn roles_of_the_configuration_hold_for_a_merge() {
    let configuration = "roles: {auditor: [read]}\norganizations:\n  - {name: x, tenants: [], rbac: {auditors: [a]}}\n";
    assert_eq!(merged(configuration, &[]).outcome, Outcome::Good);
    let without = configuration.replace("roles: {auditor: [read]}\n", "");
    assert_eq!(merged(&without, &[]).outcome, Outcome::Problems);
}

#[test]
fn wrong_use_is_told_apart() {
    assert_eq!(
        organizations(&["/no/such/file"], "").outcome,
        Outcome::WrongUse
    );
    for arguments in [
        vec!["scopegate", "organizations"],
        vec![
            "scopegate",
            "organizations",
            "-",
            "--writers",
            "client:{nam}",
        ],
        vec!["scopegate", "organizations", "-", "--writers", ""],
        vec![
            "scopegate",
            "organizations",
            "-",
            "--allow-reserved",
            "acme",
        ],
    ] {
        assert!(
            Arguments::try_parse_from(&arguments).is_err(),
            "{arguments:?}"
        );
    }
}
