//! The JSON Schema and the reference that are generated from the table of keys, and whether
//! they agree with the reader.

#![cfg(feature = "cli")]
#![allow(clippy::panic, clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use clap::Parser as _;
use jsonschema::Validator;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::Config as Cases;
use scopegate::cli::{Arguments, Console, Disk, Outcome};
use scopegate::config::table::{self, Form, Need};
use scopegate::config::{Config, Environment};
use serde_json::{Value, json};

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What `scopegate schema` prints.
fn printed(arguments: &[&str]) -> String {
    let line = ["scopegate", "schema"].iter().chain(arguments);
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let mut console = Console {
        input: &mut std::io::empty(),
        files: &Disk,
        output: &mut output,
        errors: &mut errors,
        styled: false,
        variables: std::collections::BTreeMap::default(),
        now: 0,
        web: &mut scopegate::cli::Unconnected,
    };
    let outcome = scopegate::cli::run(Arguments::parse_from(line), &mut console);
    assert_eq!(outcome, Outcome::Good);
    assert!(errors.is_empty());
    String::from_utf8(output).unwrap()
}

fn validator() -> Validator {
    let schema: Value = serde_json::from_str(&printed(&[])).unwrap();
    assert!(jsonschema::meta::is_valid(&schema));
    jsonschema::validator_for(&schema).unwrap()
}

fn reference() -> Value {
    serde_yaml_ng::from_str(&read("envoy/scopegate.yaml")).unwrap()
}

/// The variables that configurations of this repository name.
fn environment() -> Environment {
    Environment::new([("KEYS_TOKEN".to_owned(), "token".to_owned())])
}

fn is_read(document: &Value) -> bool {
    let document = serde_json::to_vec(document).unwrap();
    Config::parse(&document, &environment()).is_ok()
}

fn problems(validator: &Validator, document: &Value) -> Vec<String> {
    let errors = validator.iter_errors(document);
    errors
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect()
}

#[test]
fn the_shipped_schema_is_what_the_command_prints() {
    assert!(
        printed(&[]) == read("envoy/scopegate.schema.json"),
        "run make schema"
    );
}

#[test]
fn the_reference_is_what_the_command_prints() {
    assert!(
        printed(&["--markdown"]) == read("docs/configuration.md"),
        "run make schema"
    );
}

/// Every configuration in this repository that stands in a file of its own or on a page for
/// a provider.
fn documents() -> Vec<(String, Value)> {
    let list = |folder: &str| {
        let entries = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut paths: Vec<String> = names.map(|name| format!("{folder}/{name}")).collect();
        paths.sort();
        paths
    };
    let mut documents = vec![("envoy/scopegate.yaml".to_owned(), reference())];
    for path in list("integration/scenarios/configs") {
        let document = serde_yaml_ng::from_str(&read(&path)).unwrap();
        documents.push((path, document));
    }
    for path in list("docs/providers") {
        let page = read(&path);
        for block in page.split("```yaml\n").skip(1) {
            let block = block.split("```").next().unwrap();
            let document: Value = serde_yaml_ng::from_str(block).unwrap();
            if document.get("providers").is_some() {
                documents.push((path.clone(), document));
            }
        }
    }
    documents
}

#[test]
fn the_configurations_of_this_repository_fit_the_schema() {
    let validator = validator();
    let documents = documents();
    assert!(documents.len() > 30, "{}", documents.len());
    for (path, mut document) in documents {
        // The pages for providers show nothing else.
        let members = document.as_object_mut().unwrap();
        members.entry("organizations").or_insert_with(|| json!([]));
        let problems = problems(&validator, &document);
        assert!(problems.is_empty(), "{path}: {problems:#?}");
    }
}

/// Every place of a document, as a JSON Pointer.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let name = name.replace('~', "~0").replace('/', "~1");
                places(value, &format!("{at}/{name}"), found);
            }
        }
        Value::Array(elements) => {
            for (index, value) in elements.iter().enumerate() {
                places(value, &format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
}

/// The path in the table of a place in the reference: `providers[].jwks.uri`.
fn path_of(pointer: &str) -> String {
    let mut path = String::new();
    for step in pointer.split('/').skip(1) {
        if step.parse::<usize>().is_ok() {
            path.push_str("[]");
            continue;
        }
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(match path.as_str() {
            "organizations[].rbac." => "<role>s",
            _ => step,
        });
    }
    path
}

/// A mutant: which place of the reference was changed and how, and the result.
struct Mutant {
    what: String,
    document: Value,
}

fn mutant(pointer: &str, what: &str, change: impl FnOnce(&mut Value)) -> Mutant {
    let mut document = reference();
    change(document.pointer_mut(pointer).unwrap());
    Mutant {
        what: format!("{pointer} {what}"),
        document,
    }
}

/// What a form refuses, with the reason.
fn refused(form: &Form) -> Vec<(&'static str, Value)> {
    match form {
        Form::Count(count) => {
            let mut wrong = vec![
                ("above its bound", json!(count.most + 1)),
                ("as a fraction", json!(1.5)),
                ("as a text", json!("64")),
                ("below zero", json!(-1)),
            ];
            wrong.extend((count.least > 0).then(|| ("below its bound", json!(count.least - 1))));
            wrong
        }
        Form::Number(number) => vec![
            ("above its bound", json!(number.most + 1)),
            ("as a fraction", json!(1.5)),
            ("as a text", json!("64")),
        ],
        Form::Duration(span) => {
            let millis = |millis: u64| json!(format!("{millis}ms"));
            let mut wrong = vec![
                ("above its bound", millis(span.most_millis() + 1)),
                ("as a number", json!(30)),
                ("without a unit", json!("30")),
                ("in days", json!("1d")),
            ];
            let least = span.least_millis();
            wrong.extend((least > 0).then(|| ("below its bound", millis(least - 1))));
            wrong
        }
        Form::Either(_) => vec![("as a number", json!(7)), ("empty", json!(""))],
        Form::Exactly(_) => vec![
            ("as another word", json!("wrong")),
            ("as true", json!(true)),
        ],
        Form::Flag => vec![("as a text", json!("true")), ("as a number", json!(1))],
        Form::JwkSet => vec![("as a list", json!([])), ("without keys", json!({}))],
        Form::List {
            of, least, most, ..
        } => {
            let mut wrong = vec![("as an object", json!({})), ("as a text", json!("text"))];
            if *least > 0 {
                wrong.push(("empty", json!([])));
            }
            if *most < usize::MAX {
                wrong.push(("too long", json!(vec!["a"; most + 1])));
            }
            let inside = refused(of).into_iter();
            wrong.extend(inside.map(|(what, value)| (what, json!([value]))));
            wrong
        }
        Form::Map { of, .. } => {
            let inside = refused(of).into_iter();
            let inside = inside.map(|(what, value)| (what, json!({ "viewers": value })));
            [("as a list", json!([]))]
                .into_iter()
                .chain(inside)
                .collect()
        }
        Form::Section(_) => vec![
            ("as a list", json!([])),
            ("as a text", json!("text")),
            (
                "with a key that is not known",
                json!({ "surely_unknown": 1 }),
            ),
        ],
        Form::Text(text) => {
            let mut wrong = vec![("as a number", json!(7)), ("as a list", json!(["text"]))];
            if !text.may_be_empty {
                wrong.push(("empty", json!("")));
            }
            if text.longest < usize::MAX {
                wrong.push(("too long", json!("a".repeat(text.longest + 1))));
            }
            wrong
        }
        Form::Word(_) => vec![
            ("as another word", json!("wrong")),
            ("as true", json!(true)),
        ],
    }
}

/// One of each kind for each key that the reference has, each once by its path.
fn mutants() -> Vec<Mutant> {
    let reference = reference();
    let mut pointers = Vec::new();
    places(&reference, "", &mut pointers);
    let mut mutants = Vec::new();
    for (path, key) in table::every_key() {
        let Some(pointer) = pointers.iter().find(|pointer| path_of(pointer) == path) else {
            continue;
        };
        for (what, value) in refused(&key.form) {
            mutants.push(mutant(pointer, what, |place| *place = value));
        }
        if key.need == Need::Always {
            let (parent, _) = pointer.rsplit_once('/').unwrap();
            mutants.push(mutant(parent, &format!("without {}", key.name), |place| {
                place.as_object_mut().unwrap().remove(key.name);
            }));
        }
    }
    for pointer in pointers {
        // What is under the names of a JWK is not the gate's.
        if pointer.contains("/jwks/inline") {
            continue;
        }
        if reference.pointer(&pointer).unwrap().is_object() {
            mutants.push(mutant(&pointer, "with a key that is not known", |place| {
                let members = place.as_object_mut().unwrap();
                members.insert("Surely Unknown".to_owned(), json!(true));
            }));
        }
    }
    mutants
}

#[test]
fn the_schema_and_the_reader_refuse_every_mutant() {
    let validator = validator();
    let mutants = mutants();
    assert!(mutants.len() >= 100, "{}", mutants.len());
    assert!(is_read(&reference()) && validator.is_valid(&reference()));
    let mut wrong = Vec::new();
    for Mutant { what, document } in mutants {
        let read = is_read(&document);
        let fits = validator.is_valid(&document);
        if read || fits {
            wrong.push(format!("{what}: reader {read}, schema {fits}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What keys of a section must agree in.
#[test]
fn the_schema_and_the_reader_refuse_keys_that_do_not_agree() {
    let validator = validator();
    let jwks = "/providers/0/jwks";
    let discovery = "/providers/1/jwks";
    let inline = "/providers/2/jwks";
    let group = "/providers/0/claims/groups/0";
    let keys = json!({ "keys": [] });
    for (pointer, name, value) in [
        (
            "/providers/0",
            "issuers",
            json!(["https://a.example", "https://b.example"]),
        ),
        ("/providers/0", "audience_check", json!("off")),
        ("/providers/1", "issuers", Value::Null),
        ("/providers/1", "audiences", Value::Null),
        (jwks, "discovery", json!(true)),
        (jwks, "hosts", json!(["a.example"])),
        (jwks, "inline", keys),
        (jwks, "cluster", Value::Null),
        (jwks, "uri", Value::Null),
        (discovery, "discovery", json!(false)),
        (inline, "cluster", json!("idp")),
        (inline, "share", json!(false)),
        (inline, "inline", Value::Null),
        (group, "having", json!("320001")),
        ("/providers/0/claims/groups/4", "field", json!("name")),
        ("/projects/directory", "inline", json!([])),
        ("/projects/directory", "http", Value::Null),
        ("/organizations/0/rbac/viewers/1", "labels", Value::Null),
    ] {
        let mutant = mutant(pointer, name, |place| {
            place
                .as_object_mut()
                .unwrap()
                .insert(name.to_owned(), value);
        });
        assert!(!is_read(&mutant.document), "{}: read", mutant.what);
        assert!(
            !validator.is_valid(&mutant.document),
            "{}: fits",
            mutant.what
        );
    }
}

/// What may be put in the place of something, so that some of it is still a configuration.
fn values() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!([])),
        Just(json!({})),
        any::<bool>().prop_map(Value::from),
        (0_usize..70_000).prop_map(Value::from),
        (0_u32..50_000).prop_map(|number| json!(f64::from(number))),
        any::<f64>().prop_map(Value::from),
        ("[0-9]{1,5}(ms|s|m|h)").prop_map(Value::from),
        ("0{0,3}[0-9]{1,2}(s|m|h)").prop_map(Value::from),
        ("[a-z]{1,8}").prop_map(Value::from),
        ("[!-~]{0,12}").prop_map(Value::from),
        ("\\PC{0,6}").prop_map(Value::from),
        ("/[a-z{}/]{0,9}(\\{project\\})?(\\{resource\\})?").prop_map(Value::from),
        ("https?://[a-z.:/\\[\\]]{0,9}").prop_map(Value::from),
        prop::collection::vec("[a-z]{1,4}", 0..4).prop_map(Value::from),
        prop::sample::select(vec![
            "off", "*", "list", "access", "id", "read", "ES384", "keep", "deny", "allow", "only",
            "none", "alerting", "basic", "bearer", "report", "__a", "X-User", "..", "", "é",
        ])
        .prop_map(Value::from),
    ]
}

proptest! {
    #![proptest_config(Cases { cases: 8 * Cases::default().cases, ..Cases::default() })]

    /// One to three places of the reference hold something else, lack, or hold what stands
    /// elsewhere.
    #[test]
    fn what_is_read_fits_the_schema(
        changes in prop::collection::vec((any::<Index>(), any::<Index>(), values(), 0_u8..4), 1..4)
    ) {
        thread_local! {
            static VALIDATOR: Validator = validator();
            static REFERENCE: Value = reference();
        }
        let mut document = REFERENCE.with(Value::clone);
        for (place, other, value, kind) in changes {
            let mut pointers = Vec::new();
            places(&document, "", &mut pointers);
            let (pointer, other): (&String, &String) = (place.get(&pointers), other.get(&pointers));
            let Some((parent, name)) = pointer.rsplit_once('/') else { continue };
            let value = match kind {
                0 => document.pointer(other).cloned(),
                1 => None,
                _ => Some(value),
            };
            if let Some(value) = value {
                *document.pointer_mut(pointer).unwrap() = value;
            } else if let Some(members) = document.pointer_mut(parent).unwrap().as_object_mut() {
                members.remove(&name.replace("~1", "/").replace("~0", "~"));
            } else if let Some(elements) = document.pointer_mut(parent).unwrap().as_array_mut() {
                elements.remove(name.parse::<usize>().unwrap());
            }
        }
        if is_read(&document) {
            let problems = VALIDATOR.with(|validator| problems(validator, &document));
            prop_assert!(problems.is_empty(), "{problems:#?}\n{document:#}");
        }
    }
}

#[test]
fn a_deployment_file_has_a_schema_of_its_own() {
    let text = printed(&["--deployment"]);
    assert_eq!(
        text,
        read("envoy/deployment.schema.json"),
        "run make schema"
    );
    let schema: Value = serde_json::from_str(&text).unwrap();
    assert!(jsonschema::meta::is_valid(&schema));
    let validator = jsonschema::validator_for(&schema).unwrap();
    let document = |path: &str| -> Value { serde_yaml_ng::from_str(&read(path)).unwrap() };
    let shipped = document("envoy/deployment.yaml");
    let examples = ["agents", "contractors", "entra", "google", "keycloak"];
    let examples = examples.map(|name| document(&format!("envoy/examples/{name}.yaml")));
    for document in examples.iter().chain([&shipped]) {
        let errors: Vec<String> = validator
            .iter_errors(document)
            .map(|error| error.to_string())
            .collect();
        assert!(errors.is_empty(), "{errors:?}\n{document:#}");
    }
    for (place, value) in [
        ("/deployment/hosts", json!("x")),
        ("/deployment/replicas", json!(0)),
        ("/deployment/digest", json!("latest")),
        ("/deployment/backends/loki/grcp_url", json!("http://x")),
        ("/relam", json!("x")),
    ] {
        let mut wrong = shipped.clone();
        let (parent, name) = place.rsplit_once('/').unwrap();
        wrong.pointer_mut(parent).unwrap()[name] = value;
        assert!(!validator.is_valid(&wrong), "{place}");
    }
}
