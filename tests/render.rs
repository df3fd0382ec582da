//! `scopegate render`: what is shipped is what it prints, and the configuration in a deployment
//! file can be read back from the manifests unchanged.

#![allow(clippy::panic, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use scopegate::cli::{Arguments, Console, Disk, Outcome, run};
use serde_json::{Value as Json, json};
use serde_yaml_ng::{Mapping, Value};

/// Of this one only the files that differ from the other form's are shipped.
const NATIVE: &str = "envoy-gateway --native";

/// Each target, with its options, and the folder under `envoy/` that its files go to.
const TARGETS: [(&str, &str); 5] = [
    ("envoy", ""),
    ("istio", "istio"),
    ("envoy-gateway", "gateway"),
    (NATIVE, "gateway/native"),
    ("kubernetes", "kustomize/envoy"),
];

fn envoy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("envoy")
}

fn shipped() -> String {
    fs::read_to_string(envoy().join("deployment.yaml")).unwrap()
}

/// How a run ended, what it printed and what it said.
struct Ran {
    outcome: Outcome,
    output: String,
    errors: String,
}

impl Ran {
    fn good(self) -> Self {
        assert_eq!(self.outcome, Outcome::Good, "{}", self.errors);
        self
    }

    /// The printed files.
    fn files(self) -> BTreeMap<String, String> {
        let mut printed: Json = serde_json::from_str(&self.good().output).unwrap();
        serde_json::from_value(printed["files"].take()).unwrap()
    }
}

/// Runs `scopegate render` with `text` at standard input.
fn render(arguments: &[&str], text: &str, variables: &[(&str, &str)]) -> Ran {
    let arguments = arguments.iter().flat_map(|words| words.split(' '));
    let line = ["scopegate", "render"].into_iter().chain(arguments);
    let arguments = Arguments::try_parse_from(line).unwrap();
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let outcome = run(
        arguments,
        &mut Console {
            input: &mut text.as_bytes(),
            files: &Disk,
            output: &mut output,
            errors: &mut errors,
            styled: false,
            now: 0,
            web: &mut scopegate::cli::Unconnected,
            variables: variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        },
    );
    Ran {
        outcome,
        output: String::from_utf8(output).unwrap(),
        errors: String::from_utf8(errors).unwrap(),
    }
}

fn files(target: &str, text: &str, variables: &[(&str, &str)]) -> BTreeMap<String, String> {
    render(&[target, "-", "--output", "json"], text, variables).files()
}

/// The shipped deployment file with a change.
fn changed(change: impl FnOnce(&mut Value)) -> String {
    let mut document: Value = serde_yaml_ng::from_str(&shipped()).unwrap();
    change(&mut document);
    serde_yaml_ng::to_string(&document).unwrap()
}

/// Every text in a document.
fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => {
            found.push(text.clone());
            // The gate's document in plain Envoy's file is JSON in a text.
            if text.starts_with('{')
                && let Ok(inner) = serde_json::from_str::<Value>(text)
            {
                texts(&inner, found);
            }
        }
        Value::Sequence(elements) => elements.iter().for_each(|element| texts(element, found)),
        Value::Mapping(members) => {
            for (name, member) in members {
                texts(name, found);
                texts(member, found);
            }
        }
        _ => {}
    }
}

fn texts_of(files: &BTreeMap<String, String>) -> Vec<String> {
    let mut found = Vec::new();
    for text in files.values() {
        for document in serde_yaml_ng::Deserializer::from_str(text) {
            let document: Value = serde::Deserialize::deserialize(document).unwrap();
            texts(&document, &mut found);
        }
    }
    found
}

/// The document that reaches the module of plain Envoy.
fn configuration(files: &BTreeMap<String, String>) -> Json {
    let file: Json = serde_yaml_ng::from_str(&files["ecds/scopegate.yaml"]).unwrap();
    let value = &file["resources"][0]["typed_config"]["config"]["configuration"]["value"];
    serde_json::from_str(value.as_str().unwrap()).unwrap()
}

fn bootstrap(files: &BTreeMap<String, String>) -> Json {
    // Anchors are written out.
    serde_yaml_ng::from_str(&files["envoy.yaml"]).unwrap()
}

fn cluster<'a>(bootstrap: &'a Json, name: &str) -> Option<&'a Json> {
    let clusters = bootstrap["static_resources"]["clusters"]
        .as_array()
        .unwrap();
    clusters
        .iter()
        .find(|cluster| cluster["name"] == json!(name))
}

fn address(cluster: &Json) -> String {
    let endpoint = &cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"];
    let address = &endpoint["address"]["socket_address"];
    format!(
        "{}:{}",
        address["address"].as_str().unwrap(),
        address["port_value"]
    )
}

#[test]
fn the_shipped_files_are_what_is_printed() {
    // Its file has a name of its own, which is the default.
    let native = changed(|document| {
        document["deployment"]
            .as_mapping_mut()
            .unwrap()
            .remove("module");
    });
    let targets = TARGETS.map(|(target, folder)| (target, folder, shipped()));
    let all = targets
        .into_iter()
        .chain([("envoy --native", "native", native)]);
    for (target, folder, deployment) in all {
        for (name, text) in files(target, &deployment, &[]) {
            let mut path = envoy().join(folder).join(&name);
            if target == NATIVE && !path.exists() {
                path = envoy().join("gateway").join(&name);
            }
            let there = fs::read_to_string(&path).unwrap_or_default();
            let differs = there
                .lines()
                .zip(text.lines())
                .position(|(old, new)| old != new);
            assert!(
                there == text,
                "{}: line {} is not what the template makes of envoy/deployment.yaml; change the template under \
                 src/cli/render/templates, and run `make manifests`",
                path.display(),
                differs.map_or_else(|| "behind the last".to_owned(), |at| (at + 1).to_string()),
            );
        }
    }
}

#[test]
fn the_same_file_gives_the_same_bytes() {
    for (target, _) in TARGETS {
        assert_eq!(
            files(target, &shipped(), &[]),
            files(target, &shipped(), &[])
        );
        let first = render(&[target, "-"], &shipped(), &[]).good().output;
        assert_eq!(first, render(&[target, "-"], &shipped(), &[]).good().output);
        // Neither comments nor the style of the file come out of it.
        assert_eq!(
            files(target, &shipped(), &[]),
            files(target, &changed(|_| ()), &[])
        );
    }
}

/// What has a meaning to YAML, to JSON, to the templates, to Envoy's formats or to a shell.
const HOSTILE: [&str; 24] = [
    "a\" b",
    "it's",
    "a\nb: c",
    "\n---\n",
    "{{ heap }}",
    "{% raw %}",
    "{# x",
    "}}",
    "# no comment",
    "a #b",
    "a: b",
    "- a",
    "&a *b !c",
    "yes",
    "null",
    "1e3",
    "0x10",
    " blanks ",
    "\u{85}\u{2028}\u{feff}",
    "tab\there",
    "back\\slash\\n",
    "%REQ(X)%",
    "$(id) `id` ${HOME}",
    "ключ 🔑",
];

/// The places of all texts of a document.
fn places(value: &Value, at: &[Value], found: &mut Vec<Vec<Value>>) {
    match value {
        Value::String(_) => found.push(at.to_vec()),
        Value::Sequence(elements) => {
            for (index, element) in elements.iter().enumerate() {
                places(element, &[at, &[Value::from(index)]].concat(), found);
            }
        }
        Value::Mapping(members) => {
            for (name, member) in members {
                places(member, &[at, std::slice::from_ref(name)].concat(), found);
            }
        }
        _ => {}
    }
}

/// Each of these is put into every text of the deployment file, one after the other. It is
/// refused, or it comes out unchanged.
#[test]
fn hostile_texts_come_out_as_they_went_in() {
    let document: Value = serde_yaml_ng::from_str(&shipped()).unwrap();
    let mut all = Vec::new();
    places(&document, &[], &mut all);
    assert!(all.len() > 40, "{}", all.len());
    for (target, _) in TARGETS {
        let (mut taken, mut refused) = (0, 0);
        for (turn, place) in all.iter().enumerate() {
            // Each place has an eighth of them, and its neighbour the next.
            for hostile in HOSTILE.iter().skip(turn % 8).step_by(8) {
                let path = place[0] == "deployment";
                // What must be the path of a file may be any.
                for text in [(*hostile).to_owned(), format!("/{hostile}")] {
                    if text.starts_with('/') && !path {
                        continue;
                    }
                    let input = changed(|document| {
                        let node = place.iter().fold(document, |node, step| match step {
                            Value::Number(index) => {
                                &mut node[usize::try_from(index.as_u64().unwrap()).unwrap()]
                            }
                            name => &mut node[name],
                        });
                        *node = Value::from(text.clone());
                    });
                    let ran = render(&[target, "-", "--output", "json"], &input, &[]);
                    match ran.outcome {
                        Outcome::Good => {
                            taken += 1;
                            let texts = texts_of(&ran.files());
                            // Not every target has a use for every value.
                            let unused = place[0] == "deployment";
                            let comes_out = texts.contains(&text);
                            assert!(comes_out || unused, "{target}: {text:?} at {place:?}");
                            // A word may be a part of another text, such as the name of an image.
                            if !comes_out && !text.chars().all(char::is_alphanumeric) {
                                let whole = texts.concat();
                                assert!(!whole.contains(&text), "{target}: {text:?} at {place:?}");
                            }
                        }
                        Outcome::Problems => {
                            refused += 1;
                            assert!(ran.errors.starts_with("error: "), "{}", ran.errors);
                        }
                        Outcome::WrongUse => panic!("{text:?} at {place:?}: {}", ran.errors),
                    }
                }
            }
        }
        assert!(
            taken > 40 && refused > 40,
            "{target}: {taken} taken, {refused} refused"
        );
    }
}

#[test]
fn hostile_keys_come_out_as_they_went_in() {
    for (target, _) in TARGETS {
        for hostile in HOSTILE {
            let input = changed(|document| {
                // A key may have members that nobody knows (RFC 7517, section 4).
                let keys = "{keys: [{kty: EC, crv: P-256, kid: a, alg: ES256, \
                     x: f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU, \
                     y: x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0}]}";
                let mut keys: Value = serde_yaml_ng::from_str(keys).unwrap();
                let key = keys["keys"][0].as_mapping_mut().unwrap();
                key.insert(hostile.into(), hostile.into());
                let mut jwks = Mapping::new();
                jwks.insert("inline".into(), keys);
                document["providers"][0]["jwks"] = Value::Mapping(jwks);
            });
            let texts = texts_of(&files(target, &input, &[]));
            assert_eq!(
                texts.iter().filter(|text| *text == hostile).count(),
                2,
                "{hostile:?}"
            );
        }
    }
}

#[test]
fn variables_count_for_more_than_the_file() {
    let variables = [
        (
            "SCOPEGATE_LOKI_URL",
            "http://loki-gateway.elsewhere.svc:3100",
        ),
        (
            "SCOPEGATE_MIMIR_GRPC_URL",
            "http://distributor.mimir.svc.cluster.local:9096",
        ),
        ("SCOPEGATE_TEMPO_ENABLED", "false"),
        ("SCOPEGATE_UNRELATED", "1"),
    ];
    let ran = render(&["envoy", "-", "--output", "json"], &shipped(), &variables);
    for said in [
        "note: SCOPEGATE_LOKI_URL sets deployment.backends.loki.url",
        "note: SCOPEGATE_MIMIR_GRPC_URL sets deployment.backends.mimir.grpc_url",
        "note: SCOPEGATE_TEMPO_ENABLED sets backends.tempo.enabled",
    ] {
        assert!(ran.errors.contains(said), "{}", ran.errors);
    }
    assert_eq!(ran.errors.lines().count(), 3, "{}", ran.errors);
    let files = ran.files();
    let envoy = bootstrap(&files);
    assert_eq!(
        address(cluster(&envoy, "loki").unwrap()),
        "loki-gateway.elsewhere.svc:3100"
    );
    let of_mimir = cluster(&envoy, "mimir_grpc").unwrap();
    assert_eq!(
        address(of_mimir),
        "distributor.mimir.svc.cluster.local:9096"
    );
    assert_eq!(
        configuration(&files)["backends"]["tempo"]["enabled"],
        json!(false)
    );
    for name in ["tempo", "tempo_grpc", "tempo_otlp_http", "tempo_otlp_grpc"] {
        assert!(cluster(&envoy, name).is_none(), "{name}");
    }

    // One that only the environment knows.
    let input = changed(|document| {
        for section in [&["backends"][..], &["deployment", "backends"]] {
            let section = section
                .iter()
                .fold(&mut *document, |node, name| &mut node[*name]);
            section.as_mapping_mut().unwrap().shift_remove("loki");
        }
    });
    assert!(cluster(&bootstrap(&self::files("envoy", &input, &[])), "loki").is_none());
    let enabled = ("SCOPEGATE_LOKI_ENABLED", "1");
    let ran = render(&["envoy", "-"], &input, &[enabled]);
    assert_eq!(ran.outcome, Outcome::Problems);
    assert!(
        ran.errors.contains("deployment.backends.loki.url: missing"),
        "{}",
        ran.errors
    );
    let files = self::files(
        "envoy",
        &input,
        &[enabled, ("SCOPEGATE_LOKI_URL", "http://loki:3100")],
    );
    let envoy = bootstrap(&files);
    assert_eq!(address(cluster(&envoy, "loki").unwrap()), "loki:3100");
    // Nothing takes its gRPC, and nothing else does in its place.
    assert!(cluster(&envoy, "loki_grpc").is_none());
    let manager = &envoy["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0];
    let hosts = &manager["typed_config"]["route_config"]["virtual_hosts"];
    let routes = hosts[0]["routes"].as_array().unwrap();
    let logs = json!("/opentelemetry.proto.collector.logs.v1.LogsService/");
    let position = |wanted: &Json| {
        let found = routes
            .iter()
            .position(|it| it["match"]["prefix"] == *wanted);
        found.unwrap()
    };
    let route = &routes[position(&logs)];
    assert_eq!(route["direct_response"]["status"], json!(404), "{route}");
    assert!(position(&logs) < position(&json!("/")));
    assert_eq!(
        configuration(&files)["backends"]["loki"]["enabled"],
        json!(true)
    );

    for (name, value) in [
        ("SCOPEGATE_LOKI_ENABLED", "maybe"),
        ("SCOPEGATE_LOKI_URL", "loki:80"),
    ] {
        let ran = render(&["envoy", "-"], &shipped(), &[(name, value)]);
        assert_eq!(ran.outcome, Outcome::Problems);
        assert!(
            ran.errors.starts_with(&format!("error: {name}: expected")),
            "{}",
            ran.errors
        );
        // It stands in no line of the file, and nothing is missing there.
        assert_eq!(ran.errors.matches("error: ").count(), 1, "{}", ran.errors);
        assert!(!ran.errors.contains("-->"), "{}", ran.errors);
    }
}

#[test]
fn misspelt_variables_are_named() {
    let given = |names: &[&str]| {
        let variables: Vec<(&str, &str)> = names.iter().map(|name| (*name, "http://a")).collect();
        render(&["envoy", "-"], &shipped(), &variables)
            .good()
            .errors
    };
    let said = given(&["SCOPEGATE_MIMIR_OTLP_URL"]);
    assert!(
        said.starts_with(
            "note: SCOPEGATE_MIMIR_OTLP_URL does nothing here: known are SCOPEGATE_LOKI_ENABLED, "
        ),
        "{said}"
    );
    assert!(
        said.trim_end().ends_with(", SCOPEGATE_TEMPO_OTLP_GRPC_URL"),
        "{said}"
    );
    let said = given(&[
        "SCOPEGATE_LOKI_URl",
        "SCOPEGATE_LOKY_URL",
        "SCOPEGTE_TEMPO_URL",
    ]);
    assert!(
        said.starts_with(
            "note: SCOPEGATE_LOKI_URl, SCOPEGATE_LOKY_URL, SCOPEGTE_TEMPO_URL do nothing here: "
        ),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_eq!(
        given(&["SCOPEGATE_CACHE", "SCOPEGATE_WASM", "LOKI_URL", "PATH"]),
        ""
    );
    // Also where something is wrong with the file.
    let ran = render(
        &["envoy", "-"],
        "mode: enforce\n",
        &[("SCOPEGATE_LOKI_URI", "http://a")],
    );
    assert!(
        ran.errors
            .starts_with("note: SCOPEGATE_LOKI_URI does nothing here: "),
        "{}",
        ran.errors
    );
}

/// Whoever may not read the old file may not read its replacement.
#[cfg(unix)]
#[test]
fn a_file_keeps_its_permissions() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = std::env::temp_dir().join(format!("scopegate-modes-{}", std::process::id()));
    let write = ["envoy", "-", "--output-dir", folder.to_str().unwrap()];
    render(&write, &shipped(), &[]).good();
    let file = folder.join("ecds/scopegate.yaml");
    for mode in [0o600, 0o444] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let other = changed(|document| document["realm"] = format!("of {mode}").into());
        render(&write, &other, &[]).good();
        assert!(
            fs::read_to_string(&file)
                .unwrap()
                .contains(&format!("of {mode}"))
        );
        let kept = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(kept & 0o777, mode);
    }
    fs::remove_dir_all(&folder).unwrap();
}

/// Where the keys and the other documents are is what their URLs say.
#[test]
fn clusters_follow_from_urls() {
    let input = changed(|document| {
        let provider = |name: &str, issuer: &str, keys: &str| {
            let text = format!(
                "{{name: {name}, issuer: '{issuer}', audiences: [a], jwks: {keys}, \
                 claims: {{groups: [{{path: [groups], prefix: '{name}:'}}]}}}}"
            );
            serde_yaml_ng::from_str::<Value>(&text).unwrap()
        };
        let providers = document["providers"].as_sequence_mut().unwrap();
        providers.push(provider(
            "found",
            "https://found.example.com:8443/x",
            "{discovery: true, cluster: found}",
        ));
        providers.push(provider(
            "near",
            "http://dex.dex.svc.cluster.local:5556",
            "{discovery: true, cluster: dex}",
        ));
        providers.push(provider(
            "bare",
            "https://192.0.2.7",
            "{uri: 'https://192.0.2.7/keys', cluster: bare}",
        ));
        providers.push(provider(
            "secret",
            "https://k.example.com",
            "{uri: 'https://k.example.com/keys', cluster: idp2, authorization: {environment: KEYS_TOKEN}}",
        ));
        document["organizations_from"] =
            serde_yaml_ng::from_str("{uri: 'https://o.example.com/v1', cluster: orgs}").unwrap();
        document["projects"] = serde_yaml_ng::from_str(
            "{directory: {http: {cluster: control, authority: c.example.com, path: '/p/{project}/r/{resource}'}}}",
        )
        .unwrap();
        document["deployment"]["clusters"] = serde_yaml_ng::from_str(
            "{control: {url: 'https://c.example.com', trusted_ca: /etc/ca.pem}, idp2: {url: 'http://sidecar:1'}}",
        )
        .unwrap();
    });
    let files = files("envoy", &input, &[]);
    let envoy = bootstrap(&files);
    let wanted = [
        ("idp", "login.example.com:443", Some("login.example.com")),
        ("found", "found.example.com:8443", Some("found.example.com")),
        ("dex", "dex.dex.svc.cluster.local:5556", None),
        ("bare", "192.0.2.7:443", Some("192.0.2.7")),
        ("idp2", "sidecar:1", None),
        ("orgs", "o.example.com:443", Some("o.example.com")),
        ("control", "c.example.com:443", Some("c.example.com")),
    ];
    for (name, at, certificate) in wanted {
        let cluster = cluster(&envoy, name).unwrap();
        assert_eq!(address(cluster), at);
        let tls = &cluster["transport_socket"]["typed_config"];
        let context = &tls["common_tls_context"]["validation_context"];
        let names = &context["match_typed_subject_alt_names"][0];
        assert_eq!(names["matcher"]["exact"].as_str(), certificate, "{name}");
        assert_eq!(
            context["trusted_ca"].is_null(),
            certificate.is_none(),
            "{name}"
        );
        let ip = name == "bare";
        assert_eq!(names["san_type"] == json!("IP_ADDRESS"), ip, "{name}");
        assert_eq!(tls["sni"].as_str(), certificate.filter(|_| !ip), "{name}");
    }
    let control = cluster(&envoy, "control").unwrap();
    let context = &control["transport_socket"]["typed_config"]["common_tls_context"];
    assert_eq!(
        context["validation_context"]["trusted_ca"]["filename"],
        json!("/etc/ca.pem")
    );
    assert_eq!(
        configuration(&files)["providers"][1]["jwks"]["cluster"],
        json!("found")
    );
    let file: Json = serde_yaml_ng::from_str(&files["ecds/scopegate.yaml"]).unwrap();
    let machine = &file["resources"][0]["typed_config"]["config"]["vm_config"];
    assert_eq!(
        machine["environment_variables"]["host_env_keys"],
        json!(["KEYS_TOKEN"])
    );
}

/// The resources of a kind.
fn resources(files: &BTreeMap<String, String>, kind: &str) -> Vec<Json> {
    let mut found = Vec::new();
    for text in files.values() {
        for document in serde_yaml_ng::Deserializer::from_str(text) {
            let document: Json = serde::Deserialize::deserialize(document).unwrap();
            if document["kind"] == json!(kind) {
                found.push(document);
            }
        }
    }
    found
}

fn names(resources: &[Json]) -> Vec<&str> {
    let names = resources
        .iter()
        .map(|it| it["metadata"]["name"].as_str().unwrap());
    names.collect()
}

/// Somewhere else, with a provider in the mesh and one outside, and without Tempo.
fn elsewhere() -> String {
    changed(|document| {
        let deployment = &mut document["deployment"];
        deployment["namespace"] = "gate".into();
        deployment["host"] = "o11y.example.org".into();
        deployment["tls"]["secret"] = "o11y".into();
        deployment["image"] = "registry.example.org:5000/gate".into();
        deployment["digest"] = format!("sha256:{}", "a1".repeat(32)).into();
        // In the gate's own namespace nobody needs to allow it.
        deployment["backends"]["mimir"]["url"] = "http://mimir.gate.svc:8080".into();
        document["backends"]["tempo"]["enabled"] = false.into();
        let provider = "{name: near, issuer: 'http://dex.dex.svc:5556', audiences: [a], \
             jwks: {discovery: true, cluster: near, share: false, authorization: {environment: KEYS_TOKEN}}, \
             claims: {groups: [{path: [groups], prefix: 'near:'}]}}";
        let provider = serde_yaml_ng::from_str(provider).unwrap();
        document["providers"]
            .as_sequence_mut()
            .unwrap()
            .push(provider);
    })
}

#[test]
fn a_way_that_cannot_be_printed_was_left_out_without_a_word() {
    for url in [
        "https://login_1.example.com/keys",
        "https://login.example.com./keys",
        "https://login.example.com:0/keys",
        "https://login.example.com:/keys",
        "https://-login.example.com/keys",
        "https://[::1]x/keys",
    ] {
        let text = changed(|document| {
            document["providers"][0]["jwks"]["uri"] = url.into();
        });
        for target in ["envoy", "istio", "envoy-gateway", "kubernetes"] {
            let ran = render(&[target, "-"], &text, &[]);
            assert_eq!(ran.outcome, Outcome::Problems, "{target}: {url}");
            let told = format!("providers[0].jwks.cluster: it leads where {url} says: expected ");
            assert!(ran.errors.contains(&told), "{target}: {}", ran.errors);
        }
    }
}

#[test]
fn istio_is_told_of_what_is_outside_of_it() {
    let files = files("istio", &elsewhere(), &[]);
    let [plugin] = &resources(&files, "WasmPlugin")[..] else {
        panic!("{files:?}");
    };
    let digest = "a1".repeat(32);
    let spec = &plugin["spec"];
    assert_eq!(plugin["metadata"]["namespace"], json!("gate"));
    assert_eq!(
        spec["url"],
        json!(format!(
            "oci://registry.example.org:5000/gate@sha256:{digest}"
        ))
    );
    assert_eq!(spec["sha256"], json!(digest));
    assert_eq!(
        spec["vmConfig"]["env"],
        json!([{"name": "KEYS_TOKEN", "valueFrom": "HOST"}])
    );
    let jwks = |index: usize| &spec["pluginConfig"]["providers"][index]["jwks"];
    assert_eq!(jwks(0)["cluster"], json!("outbound|443||login.example.com"));
    assert_eq!(
        jwks(1)["cluster"],
        json!("outbound|5556||dex.dex.svc.cluster.local")
    );
    // Spelled out, as the file says it.
    assert_eq!(
        (&jwks(0)["share"], &jwks(1)["share"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(resources(&files, "ServiceEntry").len(), 1);
    let grants = resources(&files, "ReferenceGrant");
    let places: Vec<&Json> = grants
        .iter()
        .map(|grant| &grant["metadata"]["namespace"])
        .collect();
    assert_eq!(places, [&json!("loki"), &json!("mimir")]);
    assert_eq!(grants[1]["spec"]["to"].as_array().unwrap().len(), 1);
    assert_eq!(grants[0]["spec"]["from"][0]["namespace"], json!("gate"));
    assert_eq!(names(&resources(&files, "HTTPRoute")), ["loki", "mimir"]);
    for route in resources(&files, "HTTPRoute") {
        assert_eq!(route["spec"]["hostnames"], json!(["o11y.example.org"]));
        for rule in route["spec"]["rules"].as_array().unwrap() {
            for path in rule["matches"].as_array().unwrap() {
                assert_eq!(path["headers"][0]["name"], json!("x-scopegate-backend"));
            }
        }
    }
    let [gateway] = &resources(&files, "Gateway")[..] else {
        panic!("{files:?}");
    };
    let listener = &gateway["spec"]["listeners"][0];
    assert_eq!(listener["tls"]["certificateRefs"][0]["name"], json!("o11y"));
    let [filter] = &resources(&files, "EnvoyFilter")[..] else {
        panic!("{files:?}");
    };
    let patches = filter["spec"]["configPatches"].as_array().unwrap();
    let services: Vec<&Json> = patches
        .iter()
        .map(|patch| &patch["match"]["cluster"]["service"])
        .filter(|service| service.is_string())
        .collect();
    assert_eq!(
        services,
        [
            &json!("otel-collector.loki.svc.cluster.local"),
            &json!("otel-collector.mimir.svc.cluster.local")
        ]
    );

    // All of it in the mesh.
    let within = changed(|document| {
        document["providers"][0]["jwks"]["uri"] = "http://dex.dex.svc:5556/keys".into();
    });
    assert!(!self::files("istio", &within, &[]).contains_key("provider.yaml"));
}

/// As `serve-organizations` is shipped.
#[test]
fn istio_reaches_a_service_that_speaks_tls_itself() {
    let text = changed(|document| {
        document["organizations_from"] = serde_yaml_ng::from_str(
            "{uri: 'https://scopegate-organizations.scopegate.svc/organizations', cluster: organizations}",
        )
        .unwrap();
    });
    let files = files("istio", &text, &[]);
    let rules = resources(&files, "DestinationRule");
    let rule = rules
        .iter()
        .find(|rule| rule["metadata"]["name"] == "organizations");
    let spec = &rule.unwrap()["spec"];
    let host = "scopegate-organizations.scopegate.svc";
    assert_eq!(spec["host"], format!("{host}.cluster.local"));
    let tls = &spec["trafficPolicy"]["tls"];
    assert_eq!(tls["mode"], "SIMPLE");
    assert_eq!(tls["sni"], host);
    assert_eq!(tls["subjectAltNames"], serde_json::json!([host]));
    // It is in the mesh already.
    assert!(!names(&resources(&files, "ServiceEntry")).contains(&"organizations"));
    let plugin = &resources(&files, "WasmPlugin")[0]["spec"]["pluginConfig"];
    let cluster = &plugin["organizations_from"]["cluster"];
    assert_eq!(*cluster, format!("outbound|443||{host}.cluster.local"));
}

#[test]
fn envoy_gateway_reaches_what_the_file_says() {
    let files = files("envoy-gateway", &elsewhere(), &[]);
    let [policy] = &resources(&files, "EnvoyExtensionPolicy")[..] else {
        panic!("{files:?}");
    };
    let wasm = &policy["spec"]["wasm"][0];
    assert_eq!(wasm["env"], json!({"hostKeys": ["KEYS_TOKEN"]}));
    let providers = wasm["config"]["providers"].as_array().unwrap();
    let clusters: Vec<&Json> = providers.iter().map(|it| &it["jwks"]["cluster"]).collect();
    assert_eq!(clusters, [&json!("idp"), &json!("near")]);
    let [proxy] = &resources(&files, "EnvoyProxy")[..] else {
        panic!("{files:?}");
    };
    let patches = proxy["spec"]["bootstrap"]["jsonPatches"]
        .as_array()
        .unwrap();
    let added: Vec<(&str, bool)> = patches
        .iter()
        .filter(|patch| patch["path"] == json!("/static_resources/clusters/-"))
        .map(|patch| {
            let value = &patch["value"];
            (
                value["name"].as_str().unwrap(),
                value["transport_socket"].is_object(),
            )
        })
        .collect();
    assert_eq!(added, [("idp", true), ("near", false)]);
    let backends = resources(&files, "Backend");
    assert_eq!(
        names(&backends),
        ["loki", "loki-grpc", "mimir", "mimir-grpc", "nowhere"]
    );
    assert_eq!(
        backends[2]["spec"]["endpoints"],
        json!([{"fqdn": {"hostname": "mimir.gate.svc", "port": 8080}}])
    );
    assert_eq!(
        names(&resources(&files, "HTTPRoute")),
        ["entrance", "loki", "mimir"]
    );
    assert_eq!(names(&resources(&files, "GRPCRoute")), ["otlp"]);
    // No policy is for a route that there is not.
    let text = files["traffic.yaml"].as_str();
    assert!(!text.contains("name: tempo"), "{text}");
    for (name, text) in &files {
        assert!(!text.contains("namespace: scopegate"), "{name}");
    }
}

/// One stream, as kubectl takes it: every resource of the files, and nothing else.
#[test]
fn resources_can_be_applied_in_one_stream() {
    for target in ["istio", "envoy-gateway"] {
        let printed = render(&[target, "-"], &shipped(), &[]).good().output;
        let count = |text: &str| {
            let documents = serde_yaml_ng::Deserializer::from_str(text);
            let documents =
                documents.map(|it| <Json as serde::Deserialize>::deserialize(it).unwrap());
            let kinds = documents.filter_map(|it| it["kind"].as_str().map(ToOwned::to_owned));
            kinds.filter(|kind| kind != "Kustomization").count()
        };
        let files = files(target, &shipped(), &[]);
        let (extras, files): (Vec<_>, Vec<_>) = files
            .iter()
            .partition(|(name, _)| name.starts_with("extras/"));
        let wanted: usize = files.iter().map(|(_, text)| count(text)).sum();
        assert!(wanted > 5);
        assert_eq!(count(&printed), wanted);
        assert!(!printed.contains("kind: Kustomization"));
        assert!(extras.len() > 1);
        for (name, text) in extras {
            assert!(!printed.contains(text.as_str()), "{name}");
            let only = render(&[target, "-", "--only", name], &shipped(), &[]);
            assert_eq!(&only.good().output, text);
        }
        let only = render(
            &[target, "-", "--only", "kustomization.yaml"],
            &shipped(),
            &[],
        );
        assert!(only.good().output.contains("kind: Kustomization"));
    }
}

/// In the backends' namespaces, but not in the gate's own, where it would keep everybody out.
#[test]
fn extras_are_for_the_namespaces_that_the_file_has() {
    for target in ["istio", "envoy-gateway"] {
        let files = files(target, &elsewhere(), &[]);
        let extras: BTreeMap<String, String> = files
            .into_iter()
            .filter(|(name, _)| name.starts_with("extras/"))
            .collect();
        let places = |kind: &str| {
            let found = resources(&extras, kind);
            let places = found.iter().map(|it| it["metadata"]["namespace"].clone());
            places.collect::<Vec<_>>()
        };
        assert_eq!(
            places("NetworkPolicy"),
            [json!("loki"), json!("mimir")],
            "{target}"
        );
        for binding in resources(&extras, "ValidatingAdmissionPolicyBinding") {
            let selector = &binding["spec"]["matchResources"]["namespaceSelector"];
            assert_eq!(
                selector["matchExpressions"][0]["values"],
                json!(["gate", "loki", "mimir"]),
                "{target}"
            );
        }
    }
    // Without a backend elsewhere there is nothing to guard.
    let within = changed(|document| {
        for backend in ["loki", "mimir", "tempo"] {
            let servers = document["deployment"]["backends"][backend]
                .as_mapping_mut()
                .unwrap();
            for (_, url) in servers.iter_mut() {
                *url = "http://one.scopegate.svc:80".into();
            }
        }
    });
    let files = files("istio", &within, &[]);
    assert!(!files.contains_key("extras/network.yaml"));
    assert!(!files.contains_key("extras/authorization.yaml"));
    assert!(files.contains_key("extras/admission.yaml"));
}

#[test]
fn what_a_control_plane_needs_is_asked_for() {
    let bare = changed(|document| {
        let deployment = document["deployment"].as_mapping_mut().unwrap();
        for name in ["host", "image", "digest"] {
            deployment.shift_remove(name);
        }
        document["deployment"]["backends"]["loki"]["url"] = "https://loki.example.com".into();
        document["deployment"]["clusters"] =
            serde_yaml_ng::from_str("{idp: {url: 'https://192.0.2.7'}}").unwrap();
    });
    // Plain Envoy can do without.
    render(&["envoy", "-"], &bare, &[]).good();
    let missing = [
        "deployment.host: missing",
        "deployment.image: missing",
        "deployment.digest: missing",
        "deployment.backends.loki.url: expected http",
    ];
    let istio = [
        "deployment.backends.loki.url: expected a Service",
        "deployment.clusters.idp.url: expected a name",
    ];
    for (target, wanted) in [
        ("envoy-gateway", &missing[..]),
        ("istio", &[&missing[..], &istio].concat()),
    ] {
        let ran = render(&[target, "-"], &bare, &[]);
        assert_eq!(ran.outcome, Outcome::Problems);
        assert_eq!(
            ran.errors.matches("error: ").count(),
            wanted.len(),
            "{}",
            ran.errors
        );
        for wanted in wanted {
            assert!(
                ran.errors.contains(&format!("error: {wanted}")),
                "{wanted} in {}",
                ran.errors
            );
        }
    }
}

#[test]
fn every_problem_is_told_with_its_place() {
    let input = changed(|document| {
        let deployment = &mut document["deployment"];
        deployment["replica"] = 3.into();
        deployment["host"] = "https://observability.example.com".into();
        deployment["digest"] = "latest".into();
        deployment["memory"] = "64Mi".into();
        deployment["workers"] = 0.into();
        deployment["tls"]["key"] = "tls.key".into();
        deployment["backends"]["loki"]["url"] = "http://loki/loki".into();
        deployment["backends"]["mimir"]["otlp_url"] = "http://mimir".into();
        deployment["clusters"] = serde_yaml_ng::from_str("{unused: {url: 'http://a'}}").unwrap();
        document["provider"] = 1.into();
        document["providers"][0]["jwks"]["cluster"] = "loki".into();
        document["organizations"][0]["tenants"] = 1.into();
    });
    let ran = render(&["envoy", "-"], &input, &[]);
    assert_eq!(ran.outcome, Outcome::Problems);
    assert!(ran.output.is_empty());
    for place in [
        "deployment.replica: unknown key",
        "deployment.host: ",
        "deployment.digest: ",
        "deployment.memory: ",
        "deployment.workers: ",
        "deployment.tls.key: ",
        "deployment.backends.loki.url: ",
        "deployment.backends.mimir.otlp_url: unknown key",
        "deployment.clusters.unused: not used",
        "provider: ",
        "providers[0].jwks.cluster: loki is the cluster of something else",
        "organizations[0].tenants: ",
    ] {
        assert!(
            ran.errors
                .lines()
                .any(|line| line.starts_with(&format!("error: {place}"))),
            "{place} in {}",
            ran.errors
        );
    }

    // Each beside its line, and what is like something that there is with that.
    let line = input
        .lines()
        .position(|line| line.trim() == "replica: 3")
        .unwrap()
        + 1;
    assert!(
        ran.errors.contains(&format!("standard input:{line}:")),
        "{}",
        ran.errors
    );
    assert!(
        ran.errors.contains("did you mean replicas?"),
        "{}",
        ran.errors
    );

    for (text, told) in [
        ("", "expected an object"),
        ("a: [", "not YAML"),
        (
            "realm: a\nmode: enforce\nmode: enforce\n",
            "error: the key \"mode\" stands twice in one object\n --> standard input:3:1\n",
        ),
        ("1: a\n", "expected texts as keys"),
        ("a: !b c\n", "!b means nothing here"),
        ("a: .inf\n", "expected a number"),
        ("mode: enforce\n", "deployment: missing"),
    ] {
        let ran = render(&["envoy", "-"], text, &[]);
        assert_eq!(ran.outcome, Outcome::Problems, "{text}");
        assert!(ran.errors.contains(told), "{text}: {}", ran.errors);
    }
    let unprintable = changed(|document| document["forward"]["rewrite_paths"] = false.into());
    let ran = render(&["envoy", "-"], &unprintable, &[]);
    assert!(
        ran.errors.starts_with("error: forward.rewrite_paths: "),
        "{}",
        ran.errors
    );
}

#[test]
fn files_are_written_once_and_differences_are_told() {
    let folder = std::env::temp_dir().join(format!("scopegate-render-{}", std::process::id()));
    let at = folder.to_str().unwrap();
    let diff = ["envoy", "-", "--output-dir", at, "--diff"];
    let ran = render(&diff, &shipped(), &[]);
    assert_eq!(ran.outcome, Outcome::Problems);
    assert!(ran.output.contains("+admin:"), "{}", ran.output);
    assert!(!folder.exists(), "something was written");

    let write = ["envoy", "-", "--output-dir", at];
    let said = render(&write, &shipped(), &[]).good().errors;
    assert_eq!(said.lines().count(), 2, "{said}");
    for (name, text) in files("envoy", &shipped(), &[]) {
        assert_eq!(fs::read_to_string(folder.join(name)).unwrap(), text);
    }
    let ran = render(&diff, &shipped(), &[]).good();
    assert_eq!(ran.output, "");
    // What is as it should be is not written again: Envoy would look.
    assert_eq!(render(&write, &shipped(), &[]).good().errors, "");

    let other = changed(|document| document["realm"] = "elsewhere".into());
    let ran = render(&diff, &other, &[]);
    assert_eq!(ran.outcome, Outcome::Problems);
    let lines: Vec<&str> = ran
        .output
        .lines()
        .filter(|line| line.contains("realm"))
        .collect();
    let [old, new] = lines.as_slice() else {
        panic!("{}", ran.output);
    };
    assert!(
        old.starts_with('-') && old.contains("observability"),
        "{old}"
    );
    assert!(new.starts_with('+') && new.contains("elsewhere"), "{new}");
    let said = render(&write, &other, &[]).good().errors;
    assert!(
        said.trim_end().ends_with("ecds/scopegate.yaml") && said.lines().count() == 1,
        "{said}"
    );
    // What Envoy does not look at again is told of.
    let moved = changed(|document| {
        document["deployment"]["backends"]["loki"]["url"] = "http://elsewhere:3100".into();
    });
    let said = render(&write, &moved, &[]).good().errors;
    assert!(said.contains("envoy.yaml has changed"), "{said}");
    assert!(said.trim_end().ends_with("restart Envoy"), "{said}");
    render(&write, &other, &[]).good();
    let left: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 2, "{left:?}");

    let only = render(
        &["envoy", "-", "--only", "ecds/scopegate.yaml"],
        &other,
        &[],
    )
    .good()
    .output;
    assert_eq!(
        only,
        fs::read_to_string(folder.join("ecds/scopegate.yaml")).unwrap()
    );
    let ran = render(&["envoy", "-", "--only", "nothing.yaml"], &other, &[]);
    assert_eq!(ran.outcome, Outcome::WrongUse);
    fs::remove_dir_all(&folder).unwrap();
}

/// Every command on the page does what it says, and every key of a deployment file is there.
#[test]
fn the_page_is_true() {
    let page = fs::read_to_string(envoy().join("../docs/deploying.md")).unwrap();
    let folder = std::env::temp_dir().join(format!("scopegate-page-{}", std::process::id()));
    let mut commands = 0;
    for block in page.split("```sh\n").skip(1) {
        let block = block.split("```").next().unwrap().replace("\\\n", " ");
        for line in block.lines() {
            let (words, _) = line.split_once(" > ").unwrap_or((line, ""));
            let mut words = words.split_whitespace().peekable();
            let mut variables = Vec::new();
            while let Some(pair) = words.next_if(|word| word.contains('=')) {
                variables.push(pair.split_once('=').unwrap());
            }
            assert_eq!(words.next(), Some("scopegate"), "{line}");
            // What is checked is the shipped file, which is checked with all others.
            if words.next_if_eq(&"check").is_some() {
                continue;
            }
            assert_eq!(words.next(), Some("render"), "{line}");
            let words: Vec<String> = words
                .map(|word| match word {
                    "envoy/deployment.yaml" => "-".to_owned(),
                    word if word.starts_with("manifests/") => {
                        folder.join(word).to_str().unwrap().to_owned()
                    }
                    word => word.to_owned(),
                })
                .collect();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let ran = render(&words, &shipped(), &variables).good();
            let diff = words.contains(&"--diff");
            assert_eq!(
                ran.output.is_empty(),
                words.contains(&"--output-dir"),
                "{line}"
            );
            assert_eq!(
                ran.errors.is_empty(),
                diff || (variables.is_empty() && !ran.output.is_empty()),
                "{line}"
            );
            commands += 1;
        }
    }
    assert!(commands > 5, "{commands}");
    fs::remove_dir_all(&folder).unwrap();

    let document: Value = serde_yaml_ng::from_str(&shipped()).unwrap();
    for name in document["deployment"].as_mapping().unwrap().keys() {
        let name = name.as_str().unwrap();
        assert!(page.contains(&format!("`deployment.{name}")), "{name}");
    }
    let index = fs::read_to_string(envoy().join("../docs/README.md")).unwrap();
    assert!(index.contains("(deploying.md)"));
}

#[test]
fn a_native_module_is_printed_for_those_who_can_load_one() {
    for target in ["istio", "kubernetes"] {
        let ran = render(&[target, "--native", "-"], &shipped(), &[]);
        assert_eq!(ran.outcome, Outcome::WrongUse, "{}", ran.errors);
        assert!(ran.errors.contains("--native is for"), "{}", ran.errors);
    }
    let mut files = files(NATIVE, &shipped(), &[]);
    files.retain(|name, _| ["gateway.yaml", "policy.yaml"].contains(&name.as_str()));
    let all = texts_of(&files);
    // Its image, by digest, and nothing of the other form.
    let image = format!("registry.example.com/scopegate@sha256:{}", "0".repeat(64));
    assert!(all.contains(&image), "{all:?}");
    let mut of_wasm = all.iter().filter(|text| text.contains("wasm"));
    // The record has one name in both.
    assert_eq!(
        of_wasm.next().map(String::as_str),
        Some("%FILTER_STATE(wasm.scopegate:PLAIN)%")
    );
    assert_eq!(of_wasm.next(), None);
    // Its workers have one set of keys, and the shipped file does not speak of sharing.
    let policy: Json = serde_yaml_ng::from_str(&files["policy.yaml"]).unwrap();
    let jwks = &policy["spec"]["dynamicModule"][0]["config"]["providers"][0]["jwks"];
    assert_eq!(jwks["cluster"], json!("idp"));
    assert_eq!(jwks["share"], Json::Null);
}
