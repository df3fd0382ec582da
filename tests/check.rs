//! `scopegate check`: its messages about the mistakes that people make, word for word as in
//! `docs/mistakes.md`. It finds nothing wrong in the shipped files, and no input makes it
//! panic.
#![allow(clippy::panic, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Parser as _;
use scopegate::cli::{Arguments, Console, Disk, Outcome, run};
use scopegate::config::{Config, Environment};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The result of a run of the command.
struct Said {
    outcome: Outcome,
    output: String,
    errors: String,
}

fn check_with(arguments: &[&str], input: &[u8]) -> Said {
    let words = ["scopegate", "check"].iter().chain(arguments);
    let arguments = Arguments::try_parse_from(words).unwrap();
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let mut console = Console {
        input: &mut &*input,
        files: &Disk,
        output: &mut output,
        errors: &mut errors,
        styled: false,
        variables: BTreeMap::new(),
        now: 0,
        web: &mut scopegate::cli::Unconnected,
    };
    let outcome = run(arguments, &mut console);
    Said {
        outcome,
        output: String::from_utf8(output).unwrap(),
        errors: String::from_utf8(errors).unwrap(),
    }
}

fn check(text: &str) -> Said {
    check_with(&["-"], text.as_bytes())
}

/// The diagnostics alone, without the lines that sum them up.
fn diagnostics(output: &str) -> &str {
    output.rfind("\n\n").map_or("", |end| &output[..end])
}

/// The names of the sections of a document.
fn sections(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter(|line| line.starts_with(|first: char| first.is_ascii_lowercase()))
        .filter_map(|line| Some(line.split_once(':')?.0))
}

/// A document with the sections of another one that it does not have itself.
fn completed(text: &str, base: &str) -> String {
    let mut whole = text.to_owned();
    let mut missing = false;
    for line in base.lines() {
        if let Some(name) = sections(line).next() {
            missing = !sections(text).any(|own| own == name);
        }
        if missing {
            whole.push_str(line);
            whole.push('\n');
        }
    }
    whole
}

/// The page with the command's output after each example, and the number of examples.
fn played(page: &str) -> (String, usize) {
    let mut played = String::new();
    let mut base = String::new();
    let mut count = 0;
    let mut example: Option<(String, String)> = None;
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        played.push_str(line);
        played.push('\n');
        let Some(kind) = line.strip_prefix("```") else {
            continue;
        };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        let mut block = block.join("\n");
        block.push('\n');
        if kind == "text" {
            let (kind, text) = example.take().unwrap();
            let text = if kind.ends_with(" whole") {
                text
            } else {
                completed(&text, &base)
            };
            let said = check(&text);
            block = diagnostics(&said.output).replace("standard input", "scopegate.yaml");
            block.push('\n');
            count += 1;
        } else if kind.ends_with(" base") {
            base.clone_from(&block);
        } else {
            example = Some((kind.to_owned(), block.clone()));
        }
        played.push_str(&block);
        played.push_str("```\n");
    }
    (played, count)
}

/// `SCOPEGATE_WRITE=1` writes the page again.
#[test]
fn every_mistake_on_the_page_is_answered_word_for_word() {
    let path = root().join("docs/mistakes.md");
    let page = fs::read_to_string(&path).unwrap();
    let (played, count) = played(&page);
    assert!(count >= 40, "{count} mistakes");
    if std::env::var_os("SCOPEGATE_WRITE").is_some() {
        fs::write(&path, &played).unwrap();
    }
    let pairs = page.lines().zip(played.lines());
    for (number, (written, said)) in pairs.enumerate() {
        assert_eq!(written, said, "docs/mistakes.md, line {}", number + 1);
    }
    assert_eq!(page.lines().count(), played.lines().count());
    // An example that draws nothing shows no mistake.
    assert!(!played.contains("```text\n\n```"));
    for section in played.split("\n### ").skip(1) {
        let title = section.lines().next().unwrap();
        let remedy = section.rsplit("```\n").next().unwrap().trim();
        let remedy = remedy.split("\n## ").next().unwrap();
        assert!(!remedy.is_empty() && !remedy.starts_with("## "), "{title}");
    }
}

#[test]
fn the_document_of_the_page_is_good() {
    let page = fs::read_to_string(root().join("docs/mistakes.md")).unwrap();
    let base = page.split("```yaml base\n").nth(1).unwrap();
    let base = base.split("```").next().unwrap();
    let said = check(base);
    assert_eq!(said.outcome, Outcome::Good);
    // As a gate says it, with what its gauge shows.
    let document: serde_json::Value = serde_yaml_ng::from_str(base).unwrap();
    let config = Config::parse(document.to_string().as_bytes(), &Environment::default()).unwrap();
    let number = config.fingerprint.number();
    let summary = config.summary().to_string();
    assert_eq!(
        said.output,
        format!("standard input: good: {summary}, scopegate_config_hash {number}\n")
    );
    let start =
        "1 provider, 1 organization, 1 tenant, backends loki mimir tempo, mode enforce, sha256 ";
    assert!(summary.starts_with(start), "{summary}");
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("helm/templates") {
            // Helm makes YAML of them first.
        } else if path.is_dir() {
            files(&path, found);
        } else if path
            .extension()
            .is_some_and(|ext| ext == "yaml" || ext == "json")
        {
            found.push(path);
        }
    }
    found.sort();
}

fn shipped() -> Vec<PathBuf> {
    let mut found = Vec::new();
    files(&root().join("envoy"), &mut found);
    assert!(found.len() > 15, "{found:?}");
    found
}

#[test]
fn the_files_that_are_shipped_draw_nothing() {
    let mut folders: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
    for path in shipped() {
        let name = path.display().to_string();
        let said = check_with(&["--strict", &name], b"");
        assert_eq!(diagnostics(&said.output), "", "{name}");
        assert_ne!(said.outcome, Outcome::Problems, "{name}");
        folders
            .entry(path.parent().unwrap().to_owned())
            .or_default()
            .push(name);
    }
    for (folder, names) in folders {
        // These two do not belong together: the one shows every key.
        let names: Vec<&str> = names
            .iter()
            .map(String::as_str)
            .filter(|name| !name.ends_with("envoy/scopegate.yaml"))
            .collect();
        if names.is_empty() {
            continue;
        }
        let mut arguments = vec!["--strict"];
        arguments.extend(names);
        let said = check_with(&arguments, b"");
        assert_eq!(diagnostics(&said.output), "", "{}", folder.display());
    }
}

#[test]
fn the_outcome_says_how_it_went() {
    let warned = "providers:\n  - {name: a, issuer: a, audiences: [a], jwks: {uri: \"https://a/\", cluster: a}}\n\
                  organizations: []\nbackends: {loki: {}}\n";
    assert_eq!(check(warned).outcome, Outcome::Good);
    let strict = check_with(&["--strict", "-"], warned.as_bytes());
    assert_eq!(strict.outcome, Outcome::Problems);
    assert_eq!(check("providers: []\n").outcome, Outcome::Problems);
    let traefik = check("entryPoints: {web: {}}\nproviders: {docker: {}}\n");
    assert_eq!(traefik.outcome, Outcome::WrongUse, "{}", traefik.output);
    let foreign = check("apiVersion: v1\nkind: Service\nmetadata: {name: a}\n");
    assert_eq!(foreign.outcome, Outcome::WrongUse);
    assert!(
        foreign
            .errors
            .contains("nothing of the gate's is in standard input")
    );
    let missing = check_with(&["/nowhere/at/all.yaml"], b"");
    assert_eq!(missing.outcome, Outcome::WrongUse);
    assert!(missing.errors.contains("/nowhere/at/all.yaml: "));
}

#[test]
fn programs_get_a_list() {
    let said = check_with(&["--output", "json", "-"], b"providers: []\nbackends: {}\n");
    let list: serde_json::Value = serde_json::from_str(&said.output).unwrap();
    assert_eq!(
        list[1],
        serde_json::json!({
            "severity": "error",
            "file": "standard input",
            "line": 1,
            "column": 1,
            "end_line": 1,
            "end_column": 10,
            "place": "organizations",
            "message": "missing: without one nothing is granted",
            "help": null,
        })
    );
    let good = check_with(
        &[
            "--output",
            "json",
            root().join("envoy/scopegate.yaml").to_str().unwrap(),
        ],
        b"",
    );
    assert_eq!(good.output, "[]\n");
}

/// Only the part of a long line near the problem is shown, and only the first of many warnings.
/// Otherwise each hundred of them would take seconds.
#[test]
fn a_long_line_with_many_warnings_is_told_of_in_short() {
    let organizations: Vec<String> = (0..20_000)
        .map(|n| format!(r#"{{"name":"o{n}","tenants":["t{n}"],"rbac":{{"viewers":["g{n}"]}}}}"#))
        .collect();
    let text = SOUND
        .replace(
            "\"jwks\"",
            "\"claims\":{\"groups\":[{\"path\":[\"groups\"],\"prefix\":\"p:\"}]},\"jwks\"",
        )
        .replace(
            r#"{"name":"a","tenants":["a"],"rbac":{"viewers":["g"]}}"#,
            &organizations.join(","),
        )
        .replace("nö", "enforce");
    assert!(text.len() > 1_000_000 && !text.contains('\n'));
    let started = std::time::Instant::now();
    let said = check(&text);
    let listed = check_with(&["--strict", "--output", "json", "-"], text.as_bytes());
    let taken = started.elapsed();
    assert!(taken.as_secs() < 20, "{taken:?}");
    let size = said.output.len();
    assert!(size < 100_000, "{size}");
    let list: Vec<serde_json::Value> = serde_json::from_str(&listed.output).unwrap();
    assert_eq!(list.len(), 128);
    let told = said.output.matches("no token can bring the group").count();
    assert_eq!(told, 127);
    assert!(
        said.output
            .contains("\nwarning: and 19873 more warnings from here on\n")
    );
    assert!(said.output.ends_with("\n20000 warnings\n"));
    // The columns are those of the line, and what they point at is shown.
    let at = text.find("\"g99\"").unwrap();
    let column = text[..at].chars().count() + 1;
    let block = said.output.split("\n\n");
    let mut block = block.filter(|one| one.contains("the group \"g99\""));
    let block = block.next().unwrap();
    assert!(
        block.contains(&format!(" --> standard input:1:{column}\n")),
        "{block}"
    );
    let lines: Vec<&str> = block.lines().collect();
    let marks = lines
        .iter()
        .position(|line| line.contains("^^^^^"))
        .unwrap();
    let under = lines[marks].chars().position(|c| c == '^').unwrap();
    let meant: String = lines[marks - 1].chars().skip(under).take(5).collect();
    assert_eq!(meant, "\"g99\"", "{block}");
    assert_eq!(list[99]["column"], column);
    assert_eq!(listed.outcome, Outcome::Problems);
}

/// The places of the problems of a text, as JSON output has them.
fn places(text: &[u8]) -> Vec<(u64, u64, String)> {
    let said = check_with(&["--output", "json", "-"], text);
    let list: serde_json::Value = serde_json::from_str(&said.output).unwrap();
    let list = list.as_array().unwrap().iter();
    let of = |one: &serde_json::Value| {
        let number = |name: &str| one[name].as_u64().unwrap();
        (
            number("line"),
            number("column"),
            one["place"].as_str().unwrap().to_owned(),
        )
    };
    list.map(of).collect()
}

const SOUND: &str = r#"{"providers":[{"name":"a","issuer":"a","audiences":["a"],"jwks":{"uri":"https://a/","cluster":"a"}}],"organizations":[{"name":"a","tenants":["a"],"rbac":{"viewers":["g"]}}],"backends":{"loki":{}},"mode":"nö"}"#;

#[test]
fn lines_are_those_of_the_outer_file_however_the_text_is_written() {
    let mode = |line: u64, column: u64| vec![(line, column, "mode".to_owned())];
    let outer = |value: &str| {
        format!(
            "# ü\nresources:\n- \"@type\": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm\n  \
             config:\n    name: scopegate\n    vm_config: {{code: {{local: {{filename: a}}}}}}\n    configuration:\n      \
             \"@type\": type.googleapis.com/google.protobuf.StringValue\n      value: {value}\n"
        )
    };
    let column = |text: &str| {
        let before = text.split("\"nö\"").next().unwrap();
        u64::try_from(before.chars().count()).unwrap() + 1
    };
    let inner = column(SOUND);
    assert_eq!(places(SOUND.as_bytes()), mode(1, inner));
    // A byte order mark is no column, and line ends of Windows are ends of lines.
    let windows = format!("\u{feff}# ü\r\n{SOUND}\r\n");
    assert_eq!(places(windows.as_bytes()), mode(2, inner));
    assert_eq!(
        places(outer(&format!("'{SOUND}'")).as_bytes()),
        mode(9, 14 + inner)
    );
    assert_eq!(
        places(outer(&format!("|\n       {SOUND}")).as_bytes()),
        mode(10, 7 + inner)
    );
    assert_eq!(
        places(outer(&format!(">-\n\n       {SOUND}\n\n")).as_bytes()),
        mode(11, 7 + inner)
    );
    let block = outer(&format!("|-\r\n       {SOUND}"))
        .replace('\n', "\r\n")
        .replace("\r\r", "\r");
    assert_eq!(places(block.as_bytes()), mode(10, 7 + inner));
    // In double quotes each quote is two characters.
    let quoted = serde_json::to_string(SOUND).unwrap();
    let before = quoted.split("\\\"nö").next().unwrap().chars().count();
    let before = u64::try_from(before).unwrap();
    assert_eq!(places(outer(&quoted).as_bytes()), mode(9, 14 + before));
    // In a bootstrap in a ConfigMap, whose text is indented as a whole.
    let file = outer(&format!("|\n       {SOUND}"));
    let file = format!("    {}", file.trim_end().replace('\n', "\n    "));
    let map = format!("apiVersion: v1\nkind: ConfigMap\ndata:\n  envoy.yaml: |\n{file}");
    assert_eq!(places(map.as_bytes()), mode(14, 11 + inner));
    let list = format!(
        "apiVersion: v1\nkind: List\nitems:\n- {}",
        map.replace('\n', "\n  ")
    );
    assert_eq!(places(list.as_bytes()), mode(17, 13 + inner));
}

#[test]
fn files_are_looked_at_together() {
    let folder = std::env::temp_dir().join(format!("scopegate-check-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let document = write(
        "scopegate.json",
        &SOUND.replace("nö", "enforce").replace("https:", "http:"),
    );
    let lacking = write(
        "lacking.yaml",
        "static_resources: {clusters: [{name: b}]}\n",
    );
    let having = write("having.yaml", "static_resources: {clusters: [{name: a}]}\n");
    let lacks = check_with(&[&document, &lacking], b"");
    let has = check_with(&["--strict", &document, &having], b"");
    fs::remove_dir_all(&folder).unwrap();
    assert!(
        lacks.output.contains("the bootstrap has no cluster \"a\""),
        "{}",
        lacks.output
    );
    assert_eq!(has.outcome, Outcome::Good, "{}", has.output);
}

/// The gate's own file with one mistake each, the beginning of the line that is meant, and the
/// message about it.
fn wrong_files(file: &str) -> Vec<(String, &'static str, &'static str)> {
    let second = file.split_once("resources:\n").unwrap().1;
    let of_it = |from: &str, to: &str| {
        assert!(file.contains(from), "{from}");
        file.replacen(from, to, 1)
    };
    vec![
        (
            of_it("name: scopegate\n", "name: scopegat\n"),
            "name: scopegat\n",
            "takes a configuration for \"scopegat\"",
        ),
        (
            of_it("    name: scopegate\n", ""),
            "\"@type\"",
            "takes a configuration for \"\"",
        ),
        (format!("{file}\n{second}"), "", "a second resource"),
        (
            of_it("resources:\n", "resource:\n"),
            "resource:",
            "did you mean resources?",
        ),
        (
            of_it("typed_config:", "typedConfg:"),
            "typedConfg:",
            "did you mean typedConfig?",
        ),
        (
            of_it("      config:\n", "      confg:\n"),
            "confg:",
            "did you mean config?",
        ),
        (
            of_it("failure_policy", "failure_polcy"),
            "failure_polcy:",
            "did you mean failure_policy?",
        ),
        (
            of_it("FAIL_RELOAD\n", "FAIL_RELOD\n"),
            "failure_policy: FAIL_RELOD",
            "did you mean FAIL_RELOAD?",
        ),
        (
            of_it("FAIL_RELOAD\n", "7\n"),
            "failure_policy: 7",
            "known here are FAIL_RELOAD, FAIL_CLOSED, FAIL_OPEN",
        ),
        (
            of_it("runtime.v8", "runtime.v9"),
            "runtime: envoy.wasm.runtime.v9",
            "no such runtime",
        ),
        (
            of_it(
                "            local: {filename: /etc/envoy/scopegate.wasm}\n",
                "",
            ),
            "code:",
            "no code",
        ),
        (
            of_it("local: {filename:", "local: {file:"),
            "local: {file",
            "unknown key",
        ),
        (
            of_it("          code:", "          coed:"),
            "coed:",
            "did you mean code?",
        ),
        (
            of_it(
                "vm_id: scopegate\n",
                "vm_id: scopegate\n          environment_variables: {key_value: {}}\n",
            ),
            "environment_variables: {key_value",
            "did you mean key_values?",
        ),
    ]
}

/// What Envoy rejects in the gate's own file, which `--mode validate` does not read.
#[test]
fn the_file_of_resources_is_judged_with_the_bootstrap() {
    let bootstrap = root().join("envoy/envoy.yaml").display().to_string();
    let file = fs::read_to_string(root().join("envoy/ecds/scopegate.yaml")).unwrap();
    let checked = |text: &str| check_with(&["--strict", &bootstrap, "-"], text.as_bytes());
    let sound = checked(&file);
    assert_eq!(sound.outcome, Outcome::Good, "{}", sound.output);
    for (text, line, said) in wrong_files(&file) {
        let said_of_it = checked(&text);
        assert_eq!(said_of_it.outcome, Outcome::Problems, "{said}");
        let output = said_of_it.output;
        assert!(output.contains(said), "{said}: {output}");
        let number = text.lines().position(|one| {
            one.trim_start()
                .trim_start_matches("- ")
                .starts_with(line.trim_end())
        });
        if !line.is_empty() {
            let place = format!("--> standard input:{}:", number.unwrap() + 1);
            assert!(output.contains(&place), "{said}, {place}: {output}");
        }
    }
    // Both spellings are right.
    let camel = [
        ("typed_config", "typedConfig"),
        ("failure_policy", "failurePolicy"),
        ("vm_config", "vmConfig"),
        ("vm_id", "vmId"),
    ];
    let other = camel.iter().fold(file.clone(), |text, (snake, camel)| {
        text.replace(snake, camel)
    });
    let other = checked(&other);
    assert_eq!(other.outcome, Outcome::Good, "{}", other.output);
    for empty in ["", "# Nothing yet.\n", "---\n", "resources: []\n"] {
        let said = checked(empty);
        assert_eq!(said.outcome, Outcome::Problems, "{empty:?}");
        assert!(
            said.output.contains("there is nothing in this file"),
            "{}",
            said.output
        );
    }
}

#[test]
fn secrets_are_not_repeated() {
    for (name, text) in [
        (
            "client_secret",
            SOUND.replace(
                "\"name\":\"a\",\"issuer\"",
                "\"client_secret\":\"hunter2\",\"issuer\"",
            ),
        ),
        (
            "private",
            SOUND.replace(
                "{\"uri\":\"https://a/\",\"cluster\":\"a\"}",
                "{\"inline\":{\"keys\":[{\"kty\":\"oct\",\"k\":\"hunter2\"}]}}",
            ),
        ),
        (
            "authorization",
            SOUND.replace(
                "\"cluster\":\"a\"",
                "\"cluster\":\"a\",\"authorization\":\"hunter2\"",
            ),
        ),
        (
            "variable",
            "resources: [{\"@type\": x.http.wasm.v3.Wasm, config: {name: scopegate, \
             vm_config: {environment_variables: {key_values: {A: hunter2}}}}}]"
                .to_owned(),
        ),
    ] {
        let said = check(&text);
        assert_eq!(said.outcome, Outcome::Problems, "{name}");
        assert!(!said.output.contains("hunter2"), "{name}: {}", said.output);
        assert!(said.output.contains("*******"), "{name}: {}", said.output);
    }
}

/// A small generator of numbers, so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(sides.max(1)).unwrap()).unwrap()
    }
}

fn seed() -> u64 {
    let given = std::env::var("SCOPEGATE_SEED").ok();
    given.map_or(0x5c09_e9a7, |seed| seed.parse().unwrap())
}

/// Pieces that mean something to a reader of YAML or JSON.
const PIECES: [&str; 24] = [
    "\t", "\n", "\r\n", ": ", "- ", "{", "}", "[", "]", "\"", "'", "|\n", ">-\n", "&a ", "*a",
    "!x ", "<<: ", "? ", "#", "---\n", "\u{feff}", "ö", "\\u", "%",
];

fn torn(text: &str, dice: &mut Dice) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..=dice.below(4) {
        let at = dice.below(bytes.len());
        let length = dice.below(40).min(bytes.len() - at);
        match dice.below(5) {
            0 => drop(bytes.drain(at..at + length)),
            1 => {
                let piece = PIECES[dice.below(PIECES.len())];
                bytes.splice(at..at, piece.bytes());
            }
            2 => {
                let copy = bytes[at..at + length].to_vec();
                let to = dice.below(bytes.len());
                bytes.splice(to..to, copy);
            }
            3 => bytes.truncate(at),
            _ if !bytes.is_empty() => bytes[at] = u8::try_from(dice.below(256)).unwrap(),
            _ => {}
        }
    }
    bytes
}

#[test]
fn no_file_makes_it_panic() {
    let texts: Vec<String> = shipped()
        .into_iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let page = fs::read_to_string(root().join("docs/mistakes.md")).unwrap();
    let mut dice = Dice(seed());
    for round in 0..1_500 {
        let text = match round % 3 {
            0 => &page,
            _ => &texts[dice.below(texts.len())],
        };
        let bytes = torn(text, &mut dice);
        let caught = std::panic::catch_unwind(|| {
            check_with(&["-"], &bytes);
            check_with(&["--output", "json", "-"], &bytes);
        });
        if caught.is_err() {
            let path = std::env::temp_dir().join("scopegate-check-panic.yaml");
            fs::write(&path, &bytes).unwrap();
            panic!("round {round} of seed {}: {}", seed(), path.display());
        }
    }
}

/// `check` accepts as JSON and as YAML what the module accepts as JSON, and both report
/// problems at the same places.
#[test]
fn the_module_and_check_agree() {
    let reference: serde_json::Value =
        serde_yaml_ng::from_str(&fs::read_to_string(root().join("envoy/scopegate.yaml")).unwrap())
            .unwrap();
    let mut dice = Dice(seed());
    let (mut good, mut bad) = (0, 0);
    for round in 0..300 {
        let mut document = reference.clone();
        for _ in 0..dice.below(3) {
            change(&mut document, &mut dice);
        }
        // The one calls it no object, the other none of the gate's.
        if !document.is_object() {
            continue;
        }
        let json = document.to_string();
        let module = Config::parse(json.as_bytes(), &Environment::default());
        let mut wanted: Vec<(String, String)> = module
            .err()
            .unwrap_or_default()
            .into_iter()
            .map(|problem| (problem.place, problem.text))
            .collect();
        wanted.sort();
        wanted.dedup();
        *if wanted.is_empty() {
            &mut good
        } else {
            &mut bad
        } += 1;
        let yaml = serde_yaml_ng::to_string(&document).unwrap();
        // The line that sums a good document up tells what was understood.
        let summary = |text: &str| {
            let said = check(text);
            let line = said.output.lines().find(|line| line.contains(": good: "));
            line.map(str::to_owned)
        };
        assert_eq!(summary(&json), summary(&yaml), "round {round}");
        assert_eq!(summary(&json).is_some(), wanted.is_empty(), "round {round}");
        for text in [json, yaml] {
            let said = check_with(&["--output", "json", "-"], text.as_bytes());
            let list: serde_json::Value = serde_json::from_str(&said.output).unwrap();
            let mut found: Vec<(String, String)> = list
                .as_array()
                .unwrap()
                .iter()
                .filter(|one| one["severity"] == "error")
                .map(|one| {
                    let text = |name: &str| one[name].as_str().unwrap().to_owned();
                    (text("place"), text("message"))
                })
                .collect();
            found.sort();
            assert_eq!(found, wanted, "round {round} of seed {}: {text}", seed());
        }
    }
    assert!(good > 30 && bad > 30, "{good} good, {bad} bad");
}

/// Changes a value somewhere in a document.
fn change(value: &mut serde_json::Value, dice: &mut Dice) {
    let replaced = dice.below(6) == 0;
    match value {
        serde_json::Value::Object(members) if !replaced && !members.is_empty() => {
            let position = dice.below(members.len());
            let name = members.keys().nth(position).unwrap().clone();
            if dice.below(8) == 0 {
                let value = members.remove(&name).unwrap();
                members.insert(format!("{name}x"), value);
            } else {
                change(&mut members[&name], dice);
            }
        }
        serde_json::Value::Array(elements) if !replaced && !elements.is_empty() => {
            let position = dice.below(elements.len());
            if dice.below(8) == 0 {
                let copy = elements[position].clone();
                elements.push(copy);
            } else {
                change(&mut elements[position], dice);
            }
        }
        value => {
            let words = [
                "no",
                "1e3",
                "10m",
                "a: b",
                "ö\n'x'\"",
                " ",
                "{x}",
                "~",
                "-",
                "0x1",
            ];
            *value = match dice.below(5) {
                0 => serde_json::Value::Null,
                1 => dice.below(1_000_000).into(),
                2 => (dice.below(2) == 0).into(),
                3 => serde_json::json!([words[dice.below(words.len())]]),
                _ => words[dice.below(words.len())].into(),
            };
        }
    }
}

/// What is beside the configuration is for `render`; the rest is checked where it is.
#[test]
fn a_deployment_file_is_a_configuration_with_more_in_it() {
    let text = fs::read_to_string(root().join("envoy/deployment.yaml")).unwrap();
    assert_eq!(check(&text).outcome, Outcome::Good);
    let said = check(&text.replace("realm: observability", "relam: observability"));
    assert_eq!(said.outcome, Outcome::Problems);
    let line = text.lines().position(|line| line.starts_with("realm:"));
    let place = format!("standard input:{}:1", line.unwrap() + 1);
    assert!(
        said.output.contains("relam: unknown key"),
        "{}",
        said.output
    );
    assert!(said.output.contains(&place), "{place}: {}", said.output);
    // As JSON, of which all but the section reaches the gate.
    let json: serde_json::Value = serde_yaml_ng::from_str(&text).unwrap();
    assert_eq!(check(&json.to_string()).outcome, Outcome::Good);
    // It is a section.
    let scalar = format!(
        "deployment: 1\n{}",
        fs::read_to_string(root().join("envoy/scopegate.yaml")).unwrap()
    );
    assert_eq!(check(&scalar).outcome, Outcome::Problems);
}

/// For a file alone, variables are not known, so it is assumed that a variable which it names
/// is set.
#[test]
fn a_variable_with_a_credential_for_any_server_is_known() {
    let text = "\
providers:
  - name: corporate
    issuer: https://login.example.com
    audiences: [observability]
    jwks: {cluster: idp, uri: https://login.example.com/keys, authorization: {environment: KEYS}}
organizations_from:
  uri: https://organizations.example.com/organizations
  cluster: organizations
  authorization: {environment: ORGANIZATIONS}
backends: {loki: {}}
";
    let said = check(text);
    assert_eq!(said.outcome, Outcome::Good, "{}", said.output);
}

/// Roles are those of the configuration, and so are the claims that bring groups.
#[test]
fn organizations_from_outside_are_judged_with_the_configuration() {
    let organizations = r#"{"version":1,"epoch":1,"revision":7,"organizations":[{"name":"acme","tenants":["acme"],"rbac":{"auditors":["p:a"]}}]}"#;
    let alone = check(organizations);
    assert_eq!(alone.outcome, Outcome::Problems);
    let said = "organizations[0].rbac.auditors: no default role: those are admins, editors, viewers, writers";
    assert!(alone.output.contains(said), "{}", alone.output);
    assert!(
        alone.output.contains("check both files together"),
        "{}",
        alone.output
    );
    assert!(!alone.output.contains("did you mean"), "{}", alone.output);
    let file = std::env::temp_dir().join(format!("scopegate-beside-{}.yaml", std::process::id()));
    let configuration = "\
providers:
  - name: corporate
    issuer: https://login.example.com
    audiences: [observability]
    jwks: {cluster: idp, uri: https://login.example.com/keys}
    claims: {groups: [{path: [groups], prefix: 'p:'}]}
organizations_from: {uri: https://organizations.example.com/organizations, cluster: organizations}
organizations: [{name: globex, tenants: [globex], rbac: {viewers: [p:g]}}]
roles: {auditor: [read]}
backends: {loki: {}}
";
    fs::write(&file, configuration).unwrap();
    let name = file.display().to_string();
    let with = |text: &str| check_with(&["--strict", &name, "-"], text.as_bytes());
    let good = with(organizations);
    let group = with(&organizations.replace("p:a", "developers"));
    let taken = with(&organizations.replace("\"acme\"", "\"globex\""));
    fs::remove_file(&file).unwrap();
    assert_eq!(good.outcome, Outcome::Good, "{}", good.output);
    for (said, text) in [
        (
            group,
            "warning: organizations[0].rbac.auditors[0]: no token can bring the group \"developers\"\n --> standard input:1:",
        ),
        (
            taken,
            "warning: organizations[0].name: the configuration has an organization \"globex\" too, and only that counts\n --> standard input:1:",
        ),
    ] {
        assert_eq!(said.outcome, Outcome::Problems);
        assert!(said.output.contains(text), "{text}: {}", said.output);
        assert!(said.output.ends_with("\n1 warning\n"), "{}", said.output);
    }
}

/// As `serve-organizations --signing-key` serves it.
#[test]
fn a_signed_document_is_judged_by_its_payload() {
    let signed = |payload: &str| {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.c2ln\n", part(r#"{"alg":"ES256"}"#), part(payload))
    };
    let good = r#"{"version":1,"epoch":1,"revision":7,"iat":1777636800,"organizations":[{"name":"acme","tenants":["acme"],"rbac":{"viewers":["a"]}}]}"#;
    let said = check(&signed(good));
    assert_eq!(
        said.outcome,
        Outcome::Good,
        "{}{}",
        said.output,
        said.errors
    );
    assert!(
        said.output.contains("epoch 1, revision 7, "),
        "{}",
        said.output
    );
    let said = check(&signed(&good.replace("viewers", "viewer")));
    assert_eq!(said.outcome, Outcome::Problems);
    assert!(
        said.output.contains("did you mean viewers?"),
        "{}",
        said.output
    );
    // A token is none, and is not repeated.
    let token = signed(r#"{"iss":"https://login.example.com"}"#);
    let said = check(&token);
    assert_eq!(said.outcome, Outcome::WrongUse);
    assert!(!said.output.contains(token.trim()) && !said.errors.contains(token.trim()));
}

/// A module that Envoy fetches is none until it is there, and requests pass meanwhile.
#[test]
fn a_native_module_that_is_fetched_is_refused() {
    let folder = root().join("envoy/gateway/native");
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let (gateway, policy) = (read("gateway.yaml"), read("policy.yaml"));
    let both = format!("{policy}---\n{gateway}");
    let sound = check_with(&["--strict", "-"], both.as_bytes());
    assert_eq!(sound.outcome, Outcome::Good, "{}", sound.output);
    let local = "{type: Local, local: {path: /opt/scopegate/libscopegate.so}}";
    let remote = format!(
        "{{type: Remote, remote: {{url: 'https://example.com/gate.so', sha256: {}}}}}",
        "0".repeat(64)
    );
    let other = |text: &str| {
        assert!(text.contains(local));
        // By a name that does not say what it is: the policy does.
        let text = text.replace(
            "- name: scopegate\n      source",
            "- name: gate\n      source",
        );
        let text = text.replace(
            "- name: scopegate\n      filterName: scopegate",
            "- name: gate\n      filterName: scopegate",
        );
        text.replace(local, &remote)
    };
    for text in [gateway.replace(local, &remote), other(&both)] {
        let said = check(&text);
        assert_eq!(said.outcome, Outcome::Problems, "{}", said.output);
        assert!(
            said.output
                .contains("requests pass without the gate when the module cannot be fetched"),
            "{}",
            said.output
        );
    }
    // Somebody else's is their own affair.
    let theirs = other(&gateway);
    let said = check(&theirs);
    assert_ne!(said.outcome, Outcome::Problems, "{}", said.output);
}

/// The filter's file of plain Envoy, with the native module in it.
#[test]
fn the_native_filter_is_judged_too() {
    let file = "resources:
  - \"@type\": type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig
    name: scopegate
    typed_config:
      \"@type\": type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter
      dynamic_module_config:
        module: {local: {filename: /etc/envoy/libscopegate.so}}
        do_not_close: true
      filter_name: scopegate
      filter_config:
        \"@type\": type.googleapis.com/google.protobuf.StringValue
        value: 'DOCUMENT'
"
    .replace("DOCUMENT", &SOUND.replace("nö", "enforce"));
    let sound = check(&file);
    assert_eq!(sound.outcome, Outcome::Good, "{}", sound.output);
    let remote = "remote: {http_uri: {uri: 'https://example.com/gate.so', cluster: a}, sha256: a}";
    let fetched = file.replace("local: {filename: /etc/envoy/libscopegate.so}", remote);
    for (text, wanted) in [
        (
            file.replace("do_not_close", "do_not_clos"),
            "did you mean do_not_close?",
        ),
        (
            file.replace("filter_config", "configuration"),
            "no configuration was handed over",
        ),
        (file.replace("\"mode\"", "\"moed\""), "unknown key"),
        (
            fetched.clone(),
            "requests pass without the gate when the module cannot be fetched",
        ),
    ] {
        let said = check(&text);
        assert_eq!(said.outcome, Outcome::Problems, "{wanted}: {}", said.output);
        assert!(said.output.contains(wanted), "{wanted}: {}", said.output);
    }
    // Envoy refuses the configuration then.
    let refusing = fetched.replace(
        "do_not_close",
        "nack_on_cache_miss: true\n        do_not_close",
    );
    let said = check(&refusing);
    assert_eq!(said.outcome, Outcome::Good, "{}", said.output);
    // A Struct arrives as JSON, other than in a machine of wasm.
    let whole = file
        .split_once("        value: '")
        .unwrap()
        .0
        .replace("StringValue", "Struct");
    let said = check(&format!(
        "{whole}        value: {}\n",
        SOUND.replace("nö", "enforce")
    ));
    assert_eq!(said.outcome, Outcome::Good, "{}", said.output);
}
