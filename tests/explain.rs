//! `scopegate explain`: its page, word for word; what it accepts and where it looks; and that
//! it never prints a token.
#![allow(clippy::panic, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use jwt_simple::algorithms::{ECDSAP256KeyPairLike as _, ES256KeyPair};
use jwt_simple::claims::JWTClaims;
use scopegate::authz::endpoint::TABLE;
use scopegate::cli::{Arguments, Console, Disk, Fetched, Outcome, Wanted, Web, run};
use scopegate::words::method::Methods;
use scopegate::words::permission::Permission;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder, variables and servers for the command.
struct Desk {
    folder: TempDir,
    variables: BTreeMap<String, String>,
    servers: Servers,
}

/// Documents by URL, and what was asked for.
#[derive(Default)]
struct Servers {
    documents: BTreeMap<String, String>,
    asked: Vec<Asked>,
}

/// A URL and the headers of the request.
type Asked = (String, Vec<(String, Vec<u8>)>);

impl Web for Servers {
    fn get(&mut self, wanted: Wanted<'_>) -> Result<Fetched, String> {
        self.asked
            .push((wanted.url.to_owned(), wanted.headers.to_vec()));
        let body = self.documents.get(wanted.url).ok_or("refused")?;
        Ok(Fetched {
            status: 200,
            headers: Vec::new(),
            body: body.clone().into_bytes(),
        })
    }
}

struct Said {
    outcome: Outcome,
    output: String,
    errors: String,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.output).unwrap_or_else(|error| {
            panic!("{error}: {}{}", self.output, self.errors);
        })
    }

    /// The decision and its code.
    fn verdict(&self) -> (String, String) {
        let said = self.json();
        let text = |name: &str| said[name].as_str().unwrap().to_owned();
        (text("decision"), text("code"))
    }
}

const NOON: &str = "2026-05-01T12:00:00Z";
const LABELS: &str = "/loki/api/v1/labels";

impl Desk {
    fn new() -> Self {
        let desk = Self {
            folder: TempDir::new().unwrap(),
            variables: BTreeMap::new(),
            servers: Servers::default(),
        };
        desk.put("scopegate.json", &configuration());
        desk.put(
            "claims.json",
            &json!({"sub": "alice", "groups": ["acme-viewers"]}),
        );
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn put(&self, name: &str, value: &Value) {
        let text = match value {
            Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        fs::write(self.path(name), text).unwrap();
    }

    /// Words that are names of files in the folder stand for these.
    fn run(&mut self, words: &[&str], input: &[u8]) -> Said {
        let here = |word: &str| -> String {
            let (before, name) = match word.split_once('=') {
                Some((before, name)) => (format!("{before}="), name),
                None => (String::new(), word),
            };
            if !name.is_empty() && Path::new(name).is_relative() && self.path(name).is_file() {
                format!("{before}{}", self.path(name).display())
            } else {
                word.to_owned()
            }
        };
        let words = words.iter().map(|word| here(word));
        let words: Vec<String> = ["scopegate".to_owned()].into_iter().chain(words).collect();
        let arguments = match Arguments::try_parse_from(&words) {
            Ok(arguments) => arguments,
            Err(error) => {
                return Said {
                    outcome: Outcome::WrongUse,
                    output: String::new(),
                    errors: error.to_string(),
                };
            }
        };
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        let mut console = Console {
            input: &mut &*input,
            files: &Disk,
            output: &mut output,
            errors: &mut errors,
            styled: false,
            variables: self.variables.clone(),
            now: 1_777_636_800_000_000_000,
            web: &mut self.servers,
        };
        let outcome = run(arguments, &mut console);
        let folder = format!("{}/", self.folder.path().display());
        let plain = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(&folder, "");
        Said {
            outcome,
            output: plain(output),
            errors: plain(errors),
        }
    }

    /// For programs, by the claims of the folder unless something else is said.
    fn explain(&mut self, words: &[&str]) -> Said {
        let mut all = vec![
            "explain",
            "--output",
            "json",
            "scopegate.json",
            "--at",
            NOON,
        ];
        all.extend(words);
        if !words.contains(&"--path") && !words.contains(&"--request") {
            all.extend(["--path", LABELS]);
        }
        self.run(&all, b"")
    }

    fn by_claims(&mut self, words: &[&str]) -> Said {
        let mut all = vec!["--claims", "claims.json", "--tenant", "acme", "--offline"];
        all.extend(words);
        self.explain(&all)
    }
}

fn configuration() -> Value {
    json!({
        "providers": [{
            "name": "corporate",
            "issuer": "https://login.example.com",
            "audiences": ["observability"],
            "jwks": {"cluster": "idp", "discovery": true},
        }],
        "organizations": [
            {"name": "acme", "tenants": ["acme"], "rbac": {
                "viewers": ["acme-viewers", {"group": "acme-shop", "labels": {"namespace": ["shop"]}}],
                "writers": ["agents"],
            }},
        ],
        "backends": {"loki": {}, "mimir": {}},
    })
}

/// A token of `joe` that is good from noon on, and the key set that bears it out.
fn known_token() -> (String, Value) {
    let pair = ES256KeyPair::generate().with_key_id("k1");
    let custom =
        json!({"iss": "joe", "exp": 1_777_640_000, "aud": "others", "groups": ["acme-viewers"]});
    let claims = JWTClaims {
        issued_at: None,
        expires_at: None,
        invalid_before: None,
        issuer: None,
        subject: None,
        audiences: None,
        jwt_id: None,
        nonce: None,
        custom,
    };
    let token = pair.sign(claims).unwrap();
    let key: Value = serde_json::from_str(&pair.public_key().to_jwk()).unwrap();
    (token, json!({ "keys": [key] }))
}

/// The page with what its examples print, and how many there are.
fn played(page: &str) -> (String, usize) {
    let mut desk = Desk::new();
    let mut played = String::new();
    let mut count = 0;
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        played.push_str(line);
        played.push('\n');
        let Some(block) = line.strip_prefix("```").filter(|kind| !kind.is_empty()) else {
            continue;
        };
        let inside: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        if block == "console" {
            count += 1;
            let command = inside[0].strip_prefix("$ scopegate ").unwrap();
            let words = words(command);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let said = desk.run(&words, b"");
            assert_eq!(said.errors, "");
            played.push_str(inside[0]);
            played.push('\n');
            played.push_str(&said.output);
        } else {
            for line in &inside {
                played.push_str(line);
                played.push('\n');
            }
            if let Some((_, name)) = block.split_once(' ') {
                desk.put(name, &json!(inside.join("\n")));
            }
        }
        played.push_str("```\n");
    }
    (played, count)
}

/// The words of a command as a shell takes them apart.
fn words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in command.chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words
}

/// `SCOPEGATE_WRITE=1` writes the page anew.
#[test]
fn the_examples_of_the_page_print_what_it_shows() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/explain.md");
    let page = fs::read_to_string(&path).unwrap();
    let (played, count) = played(&page);
    assert!(count >= 3, "{count} examples");
    if std::env::var_os("SCOPEGATE_WRITE").is_some() {
        fs::write(&path, &played).unwrap();
    }
    for (number, (written, said)) in page.lines().zip(played.lines()).enumerate() {
        assert_eq!(written, said, "docs/explain.md, line {}", number + 1);
    }
    assert_eq!(page.lines().count(), played.lines().count());
}

#[test]
fn a_request_may_be_told_in_every_way() {
    let mut desk = Desk::new();
    let query = |said: &Said| {
        said.json()["forwarded"]["path"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let said = desk.by_claims(&["--param", "query={a=\"b\"}", "--path", "/loki/api/v1/query"]);
    assert_eq!(query(&said), "/loki/api/v1/query?query=%7Ba%3D%22b%22%7D");
    assert_eq!(said.outcome, Outcome::Good);
    // A scoped form: the body goes on with the scope in it.
    desk.put("claims.json", &json!({"groups": ["acme-shop"]}));
    let said = desk.by_claims(&["--form", "query={a=\"b\"}", "--path", "/loki/api/v1/query"]);
    let said = said.json();
    assert_eq!(said["parameters"][0]["before"], "{a=\"b\"}");
    assert_eq!(
        said["parameters"][0]["after"],
        "{namespace=\"shop\",a=\"b\"}"
    );
    assert_eq!(
        said["parameters"][0]["pieces"],
        json!([
            {"text": "{", "inserted": false},
            {"text": "namespace=\"shop\",", "inserted": true},
            {"text": "a=\"b\"}", "inserted": false},
        ])
    );
    assert_eq!(said["forwarded"]["method"], "POST");
    // What a writer may.
    desk.put("claims.json", &json!({"groups": ["agents"]}));
    desk.put("push", &json!("{}"));
    let push = ["--path", "/loki/api/v1/push", "--body-file", "push"];
    assert_eq!(desk.by_claims(&push).verdict().0, "allow");
    assert_eq!(desk.by_claims(&[]).verdict().1, "permission_missing");
    desk.put("claims.json", &json!({"groups": ["acme-viewers"]}));
    let export = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
    let said = desk.by_claims(&["--grpc", "--path", export]);
    assert_eq!(said.verdict().0, "deny", "{}", said.output);
    assert!(said.json()["reply"]["grpc_status"].is_number());
}

#[test]
fn a_claim_that_is_there_stays_and_one_that_is_missing_is_told() {
    let mut desk = Desk::new();
    for (claims, code) in [
        (json!({"groups": ["acme-viewers"]}), "allowed"),
        (
            json!({"groups": ["acme-viewers"], "sub": null}),
            "subject_invalid",
        ),
        (
            json!({"groups": ["acme-viewers"], "aud": "grafana"}),
            "audience_mismatch",
        ),
        (
            json!({"groups": ["acme-viewers"], "exp": 1}),
            "token_expired",
        ),
        (
            json!({"groups": ["acme-viewers"], "iss": "https://evil.example"}),
            "issuer_unknown",
        ),
        (json!({"groups": []}), "tenant_not_granted"),
    ] {
        desk.put("claims.json", &claims);
        let said = desk.by_claims(&[]);
        assert_eq!(said.verdict().1, code, "{claims}");
        let notes = said.json()["notes"].to_string();
        assert!(notes.contains("throw-away ES256 key"), "{notes}");
        assert_eq!(
            notes.contains("aud: "),
            claims.get("aud").is_none(),
            "{notes}"
        );
        let good = code == "allowed";
        let outcome = if good {
            Outcome::Good
        } else {
            Outcome::Problems
        };
        assert_eq!(said.outcome, outcome);
    }
    for bad in ["[]", "{", "\"x\"", "{\"sub\": \"a\", \"sub\": \"b\"}"] {
        desk.put("claims.json", &json!(bad));
        assert_eq!(desk.by_claims(&[]).outcome, Outcome::WrongUse, "{bad}");
    }
}

#[test]
fn claims_are_of_the_provider_that_is_meant() {
    let mut desk = Desk::new();
    let mut document = configuration();
    let (_, keys) = known_token();
    document["providers"].as_array_mut().unwrap().push(json!({
        "name": "partner", "issuer": "https://partner.example.com", "audiences": ["x"],
        "algorithms": ["PS384"], "jwks": {"inline": keys},
        "claims": {"groups": [{"path": ["roles"], "prefix": "partner:"}]},
    }));
    document["providers"][1]["algorithms"] = json!(["ES256"]);
    document["organizations"][0]["rbac"]["viewers"] = json!(["acme-viewers", "partner:a"]);
    desk.put("scopegate.json", &document);
    assert_eq!(desk.by_claims(&[]).outcome, Outcome::WrongUse);
    assert_eq!(
        desk.by_claims(&["--provider", "nobody"]).outcome,
        Outcome::WrongUse
    );
    assert_eq!(
        desk.by_claims(&["--provider", "corporate"]).verdict().1,
        "allowed"
    );
    // The keys of this one stand in the configuration.
    desk.put(
        "claims.json",
        &json!({"iss": "https://partner.example.com", "roles": ["a"]}),
    );
    let said = desk.by_claims(&[]);
    assert_eq!(said.verdict().1, "allowed", "{}", said.output);
    // The number is that of the file, whatever stands in for its keys.
    let first = said.json()["steps"][0]["found"][0]
        .as_str()
        .unwrap()
        .to_owned();
    let environment = scopegate::config::Environment::default();
    let config = scopegate::config::Config::parse(document.to_string().as_bytes(), &environment);
    let number = config.unwrap().fingerprint.number().to_string();
    assert!(first.ends_with(&number), "{first} {number}");
}

#[test]
fn keys_come_from_files_from_servers_or_not_at_all() {
    let mut desk = Desk::new();
    let (token, keys) = known_token();
    desk.put("token", &json!(format!("Bearer {token}\n")));
    desk.put("keys.json", &keys);
    let mut document = configuration();
    document["providers"][0]["issuer"] = json!("joe");
    document["providers"][0]["jwks"] = json!({"cluster": "idp", "uri": "https://joe.example/keys"});
    desk.put("scopegate.json", &document);
    let words = |more: &[&'static str]| {
        let mut words = vec!["--token-file", "token", "--tenant", "acme", "--at", NOON];
        words.extend(more);
        words
    };
    let code = |desk: &mut Desk, more: &[&'static str]| {
        let mut all = vec![
            "explain",
            "--output",
            "json",
            "scopegate.json",
            "--path",
            LABELS,
        ];
        all.extend(words(more));
        let said = desk.run(&all, b"");
        (said.verdict().1, said)
    };
    // The signature holds, and what fails comes after it.
    assert_eq!(
        code(&mut desk, &["--jwks", "keys.json"]).0,
        "audience_mismatch"
    );
    document["providers"][0]
        .as_object_mut()
        .unwrap()
        .remove("audiences");
    document["providers"][0]["audience_check"] = json!("off");
    desk.put("scopegate.json", &document);
    for known in [
        &["--jwks", "keys.json"][..],
        &["--jwks", "corporate=keys.json"],
    ] {
        assert_eq!(code(&mut desk, known).0, "subject_invalid");
    }
    assert!(desk.servers.asked.is_empty());
    assert_eq!(code(&mut desk, &["--offline"]).0, "keys_unavailable");
    assert!(desk.servers.asked.is_empty());
    // A file without a key is told of by what it is, and not by an address that does not exist.
    desk.put("empty.json", &json!({"keys": []}));
    let mut discovering = document.clone();
    discovering["providers"][0]["issuer"] = json!("https://joe.example");
    discovering["providers"][0]["jwks"] = json!({"cluster": "idp", "discovery": true});
    desk.put("scopegate.json", &discovering);
    let notes = code(&mut desk, &["--jwks", "empty.json"]).1.json()["notes"].to_string();
    assert!(
        notes.contains("from the keys of corporate that were handed in"),
        "{notes}"
    );
    assert!(!notes.contains("scopegate-explain/keys"), "{notes}");
    desk.put("scopegate.json", &document);
    // A server that is away is asked once, and told of.
    let (refused, said) = code(&mut desk, &[]);
    assert_eq!(refused, "keys_unavailable");
    assert_eq!(desk.servers.asked.len(), 1);
    let notes = said.json()["notes"].to_string();
    assert!(
        notes.contains("https://joe.example/keys cannot be had from here: refused"),
        "{notes}"
    );
    let url = "https://joe.example/keys".to_owned();
    desk.servers.documents.insert(url, keys.to_string());
    let (found, said) = code(&mut desk, &[]);
    assert_eq!(found, "subject_invalid");
    assert!(
        said.json()["notes"]
            .to_string()
            .contains("fetched: https://joe.example/keys")
    );
    let (_, headers) = &desk.servers.asked[1];
    assert!(
        headers
            .iter()
            .all(|(name, _)| !name.starts_with(':') && name != "authorization")
    );
}

#[test]
fn a_credential_for_keys_goes_to_their_server_alone() {
    let mut desk = Desk::new();
    let mut document = configuration();
    document["providers"][0]["jwks"] = json!({
        "cluster": "idp", "uri": "https://login.example.com/keys",
        "authorization": {"environment": "KEYS_TOKEN"},
    });
    desk.put("scopegate.json", &document);
    desk.variables
        .insert("KEYS_TOKEN".to_owned(), "s3cret-s3cret-s3cret".to_owned());
    let (token, _) = known_token();
    desk.put("token", &json!(token));
    let said = desk.explain(&["--token-file", "token", "--tenant", "acme"]);
    let (url, headers) = &desk.servers.asked[0];
    assert_eq!(url, "https://login.example.com/keys");
    let sent = (
        "authorization".to_owned(),
        b"Bearer s3cret-s3cret-s3cret".to_vec(),
    );
    assert!(headers.contains(&sent));
    assert!(!said.output.contains("s3cret"));
}

#[test]
fn no_token_is_printed_wherever_it_stands() {
    let mut desk = Desk::new();
    let mut document = configuration();
    document["forward"] = json!({"authorization": "keep"});
    document["credentials"] = json!({"basic": true, "id_token_header": "x-id-token"});
    document["mode"] = json!("report");
    let (token, keys) = known_token();
    document["providers"][0]["issuer"] = json!("joe");
    document["providers"][0]["jwks"] = json!({"inline": keys});
    desk.put("scopegate.json", &document);
    desk.put("token", &json!(token));
    let parts: Vec<&str> = token.split('.').collect();
    let silent = |said: &Said| {
        assert!(!said.output.is_empty(), "{}", said.errors);
        for part in &parts {
            assert!(!said.output.contains(part), "{}", said.output);
        }
        assert!(!said.output.contains("dG9rZW46"), "{}", said.output);
    };
    for way in ["bearer", "basic", "id-token"] {
        for output in ["json", "text"] {
            let words = [
                "explain",
                "scopegate.json",
                "--token-file",
                "token",
                "--as",
                way,
                "--output",
                output,
                "--path",
                LABELS,
                "--tenant",
                "acme",
                "--offline",
            ];
            silent(&desk.run(&words, b""));
        }
    }
    // In a query string, in a body, in a header of another name, and cut in two.
    let request = format!(
        "POST /loki/api/v1/push?access_token={token} HTTP/1.1\nauthorization: Bearer {token}\n\
         x-other: {token}\n\n{token}"
    );
    desk.put("request", &json!(request));
    for output in ["json", "text"] {
        silent(&desk.run(
            &[
                "explain",
                "scopegate.json",
                "--request",
                "request",
                "--output",
                output,
            ],
            b"",
        ));
    }
}

/// Whatever somebody takes for a request or for the name of a file.
#[test]
fn a_token_in_a_wrong_place_is_not_printed_either() {
    let mut desk = Desk::new();
    let (token, _) = known_token();
    let parts: Vec<&str> = token.split('.').collect();
    let silent = |said: &Said| {
        for part in &parts {
            let told = said.output.contains(part) || said.errors.contains(part);
            assert!(!told, "{}{}", said.output, said.errors);
        }
    };
    for request in [
        format!("curl -H 'Authorization: Bearer {token}' https://h{LABELS}"),
        format!("GET https://user:{token}@h/ HTTP/1.1\n\n"),
        format!("{{\"method\": \"GET\", \"authorization\": \"Bearer {token}\"}}"),
    ] {
        desk.put("request", &json!(request));
        let said = desk.run(&["explain", "scopegate.json", "--request", "request"], b"");
        assert_eq!(said.outcome, Outcome::WrongUse);
        silent(&said);
    }
    let said = desk.explain(&["--token-file", &token]);
    assert_eq!(said.outcome, Outcome::WrongUse);
    silent(&said);
    let header = format!("Authorization: Bearer {token}");
    silent(&desk.explain(&["--header", &header]));
    // Somebody else's, in a place for anything.
    let path = format!("{LABELS}?id_token={token}");
    for output in ["json", "text"] {
        let words = [
            "explain",
            "scopegate.json",
            "--claims",
            "claims.json",
            "--offline",
            "--tenant",
            "acme",
            "--path",
            &path,
            "--output",
            output,
        ];
        let said = desk.run(&words, b"");
        assert_eq!(said.outcome, Outcome::Good, "{}", said.errors);
        silent(&said);
    }
}

#[test]
fn a_credential_on_the_command_line_is_refused() {
    let mut desk = Desk::new();
    for header in ["authorization: Bearer x", "Authorization:Basic eDp5"] {
        let said = desk.explain(&["--header", header]);
        assert_eq!(said.outcome, Outcome::WrongUse);
        assert!(said.errors.contains("--token-file"), "{}", said.errors);
        assert!(!said.errors.contains("eDp5"), "{}", said.errors);
    }
}

#[test]
fn organizations_come_from_a_file_or_a_server() {
    let mut desk = Desk::new();
    let mut document = configuration();
    let url = "https://organizations.example.com/organizations";
    document["organizations_from"] = json!({"uri": url, "cluster": "organizations"});
    desk.put("scopegate.json", &document);
    desk.put("claims.json", &json!({"groups": ["hooli-viewers"]}));
    let outside = json!({"version": 1, "epoch": 1, "revision": 1, "organizations": [
        {"name": "hooli", "tenants": ["hooli"], "rbac": {"viewers": ["hooli-viewers"]}},
    ]});
    desk.put("outside.json", &outside);
    let words = ["--claims", "claims.json", "--tenant", "hooli"];
    let with = |more: &[&'static str]| [&words[..], more].concat();
    let said = desk.explain(&with(&["--offline"]));
    assert_eq!(said.verdict().1, "organizations_unavailable");
    let said = desk.explain(&with(&["--offline", "--organizations", "outside.json"]));
    assert_eq!(said.verdict().1, "allowed");
    let found = said.json()["steps"][0]["found"].to_string();
    assert!(
        found.contains("with those from outside: 2 organizations, 2 tenants"),
        "{found}"
    );
    desk.servers
        .documents
        .insert(url.to_owned(), outside.to_string());
    assert_eq!(desk.explain(&with(&[])).verdict().1, "allowed");
    // Who would hold something is told also of those from outside.
    desk.put("claims.json", &json!({"groups": ["others"]}));
    let found = desk.explain(&with(&[])).json()["steps"].to_string();
    assert!(
        found.contains("hooli is of hooli, where the roles name viewers: hooli-viewers"),
        "{found}"
    );
    // An unsigned file does for a document that must be signed, and the notes say so.
    let (_, keys) = known_token();
    document["organizations_from"]["signed_by"] = keys;
    desk.put("scopegate.json", &document);
    desk.put("claims.json", &json!({"groups": ["hooli-viewers"]}));
    let said = desk.explain(&with(&["--offline", "--organizations", "outside.json"]));
    assert_eq!(said.verdict().1, "allowed");
    assert!(
        said.json()["notes"]
            .to_string()
            .contains("signed_by is passed over")
    );
    // And where there is none from outside, none is taken.
    desk.put("scopegate.json", &configuration());
    let said = desk.explain(&with(&["--offline", "--organizations", "outside.json"]));
    assert_eq!(said.outcome, Outcome::WrongUse);
}

#[test]
fn a_directory_of_projects_is_taken_to_answer() {
    let mut desk = Desk::new();
    let mut document = configuration();
    document["projects"] = json!({"directory": {"http": {
        "cluster": "projects", "authority": "projects.example.com",
        "path": "/v1/{project}/{resource}",
    }}});
    desk.put("scopegate.json", &document);
    let path = [
        "--path",
        "/api/v1/projects/shop/resources/web/logs",
        "--param",
        "query={a=\"b\"}",
    ];
    for (answer, code) in [
        (&[][..], "directory_unavailable"),
        (&["--directory", "200"], "allowed"),
        (&["--directory", "403"], "project_not_granted"),
    ] {
        let said = desk.by_claims(&[&path[..], answer].concat());
        assert_eq!(said.verdict().1, code, "{}", said.output);
        let notes = said.json()["notes"].to_string();
        assert!(notes.contains("the directory of projects"), "{notes}");
    }
    assert!(desk.servers.asked.is_empty());
}

#[test]
fn the_configuration_may_stand_in_any_file_that_holds_one() {
    let mut desk = Desk::new();
    desk.put("claims.json", &json!({"groups": []}));
    for file in [
        "envoy/ecds/scopegate.yaml",
        "envoy/istio/plugin.yaml",
        "envoy/deployment.yaml",
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let path = path.display().to_string();
        let words = [
            "explain",
            &path,
            "--claims",
            "claims.json",
            "--offline",
            "--path",
            LABELS,
            "--tenant",
            "x",
            "--output",
            "json",
        ];
        let said = desk.run(&words, b"");
        assert_eq!(said.outcome, Outcome::Problems, "{file}: {}", said.errors);
        assert_eq!(said.verdict().1, "tenant_not_granted", "{file}");
    }
    // What `check` refuses: of a key that stands twice nobody can say which one Envoy takes.
    desk.put("claims.json", &json!({"groups": ["acme-viewers"]}));
    let twice = serde_yaml_ng::to_string(&configuration()).unwrap();
    let twice = twice.replace("viewers:", "viewers: [nobody]\n    viewers:");
    desk.put("scopegate.json", &json!(twice));
    let said = desk.by_claims(&[]);
    assert_eq!(said.outcome, Outcome::Problems);
    assert!(
        said.output.contains("the key \"viewers\" stands twice"),
        "{}",
        said.output
    );
    // Two of them in one file.
    desk.put("claims.json", &json!({"groups": ["acme-viewers"]}));
    let one = serde_yaml_ng::to_string(&configuration()).unwrap();
    let both = format!("{one}---\n{one}");
    desk.put("scopegate.json", &json!(both));
    let said = desk.by_claims(&[]);
    assert_eq!(said.outcome, Outcome::WrongUse);
    assert!(said.errors.contains("on the lines 1, "), "{}", said.errors);
    assert_eq!(desk.by_claims(&["--number", "2"]).verdict().1, "allowed");
    assert_eq!(
        desk.by_claims(&["--number", "3"]).outcome,
        Outcome::WrongUse
    );
    // None, and a bad one.
    desk.put("scopegate.json", &json!("kind: Pod\napiVersion: v1\n"));
    assert_eq!(desk.by_claims(&[]).outcome, Outcome::WrongUse);
    let mut bad = configuration();
    bad["mode"] = json!("enforced");
    desk.put("scopegate.json", &bad);
    let said = desk.by_claims(&[]);
    assert_eq!(said.outcome, Outcome::Problems);
    assert!(
        said.output.contains("mode: ") && said.output.contains("503"),
        "{}",
        said.output
    );
}

#[test]
fn switches_and_modes_count() {
    let mut desk = Desk::new();
    desk.variables
        .insert("SCOPEGATE_LOKI_ENABLED".to_owned(), "false".to_owned());
    assert_eq!(desk.by_claims(&[]).verdict().1, "backend_not_configured");
    desk.variables.clear();
    let mut document = configuration();
    document["mode"] = json!("report");
    desk.put("scopegate.json", &document);
    desk.put("claims.json", &json!({"groups": []}));
    let said = desk.by_claims(&[]);
    assert_eq!(
        said.verdict(),
        ("report".to_owned(), "tenant_not_granted".to_owned())
    );
    assert_eq!(said.outcome, Outcome::Problems);
    assert_eq!(said.json()["forwarded"]["backend"], "loki");
    // Nothing is changed in this mode, and what would be is told.
    desk.put("claims.json", &json!({"groups": ["acme-shop"]}));
    let query = ["--path", "/loki/api/v1/query", "--param", "query={a=\"b\"}"];
    let said = desk.by_claims(&query);
    assert_eq!(said.verdict().1, "allowed");
    let said = said.json();
    assert_eq!(said["parameters"], json!([]));
    let after = &said["enforced_parameters"][0]["after"];
    assert_eq!(*after, "{namespace=\"shop\",a=\"b\"}");
    let scope = said["steps"][7]["found"][0].as_str().unwrap();
    assert!(
        scope.ends_with("which would be put into each query"),
        "{scope}"
    );
    // A path that is none passes, and no route takes it.
    let words = [
        "explain",
        "scopegate.json",
        "--offline",
        "--path",
        "/nowhere",
    ];
    let said = desk.run(&words, b"");
    assert!(said.output.contains("Envoy answers 404"), "{}", said.output);
}

#[test]
fn times_are_instants_or_seconds() {
    let mut desk = Desk::new();
    let at = |desk: &mut Desk, time: &'static str| {
        let words = [
            "explain",
            "scopegate.json",
            "--claims",
            "claims.json",
            "--offline",
            "--path",
            LABELS,
            "--tenant",
            "acme",
            "--output",
            "json",
            "--at",
            time,
        ];
        let said = desk.run(&words, b"");
        (said.outcome != Outcome::WrongUse).then(|| said.json()["steps"].to_string())
    };
    for time in [
        "2026-05-01T12:00:00Z",
        "2026-05-01T14:00:00+02:00",
        "1777636800",
    ] {
        let said = at(&mut desk, time).unwrap();
        assert!(
            said.contains("iat 2026-05-01T12:00:00Z (0 s ago)"),
            "{said}"
        );
    }
    // A gate believes no clock that shows the last of these.
    for time in ["noon", "-1", "1960-01-01T00:00:00Z", "2025-12-31T23:59:59Z"] {
        assert_eq!(at(&mut desk, time), None, "{time}");
    }
}

#[test]
fn what_a_token_says_cannot_steer_a_terminal() {
    let mut desk = Desk::new();
    desk.put(
        "claims.json",
        &json!({"sub": "a", "groups": ["\u{1b}[2Jx", "a\nb", "a\u{202e}b"]}),
    );
    let words = [
        "explain",
        "scopegate.json",
        "--claims",
        "claims.json",
        "--offline",
        "--path",
        LABELS,
        "--tenant",
        "acme",
    ];
    let said = desk.run(&words, b"");
    assert!(
        !said.output.contains(['\u{1b}', '\u{202e}']),
        "{}",
        said.output
    );
    assert!(
        said.output.contains("\\u{1b}[2Jx") && said.output.contains("a\\nb"),
        "{}",
        said.output
    );
}

#[test]
fn only_one_file_comes_from_standard_input() {
    let mut desk = Desk::new();
    let words = ["explain", "-", "--claims", "-", "--path", LABELS];
    let said = desk.run(&words, b"{}");
    assert_eq!(said.outcome, Outcome::WrongUse);
    let text = configuration().to_string();
    let words = [
        "explain",
        "-",
        "--claims",
        "claims.json",
        "--offline",
        "--tenant",
        "acme",
        "--path",
        LABELS,
    ];
    assert_eq!(desk.run(&words, text.as_bytes()).outcome, Outcome::Good);
}

/// What the changelog says of an upgrade from 0.1.0: which default roles reach Mimir's Alertmanager, and with which
/// roles they do not.
#[test]
fn the_roles_of_the_changelog_keep_the_alertmanager_to_admins() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let changelog = fs::read_to_string(root.join("CHANGELOG.md")).unwrap();
    let (_, block) = changelog.split_once("   ```yaml\n   roles:\n").unwrap();
    let (block, _) = block.split_once("   ```\n").unwrap();
    let written: Value = serde_yaml_ng::from_str(block).unwrap();
    let mut configuration = configuration();
    configuration["organizations"] = json!([{
        "name": "acme",
        "tenants": [{"name": "acme", "types": ["data", "alerting"]}],
        "rbac": {"admins": ["admin"], "editors": ["editor"], "viewers": ["viewer"], "writers": ["writer"]},
    }]);
    let mut desk = Desk::new();
    for roles in [None, Some(written)] {
        if let Some(roles) = &roles {
            configuration["roles"] = roles.clone();
        }
        desk.put("scopegate.json", &configuration);
        let mut rows = 0;
        for row in TABLE {
            let needs = row.permission;
            if ![Permission::AlertsRead, Permission::AlertsWrite].contains(&needs) {
                continue;
            }
            rows += 1;
            let methods = Methods::NAMES.iter();
            for (_, method) in methods.filter(|(one, _)| row.methods.has(*one)) {
                for role in ["admin", "editor", "viewer", "writer"] {
                    desk.put("claims.json", &json!({"sub": "alice", "groups": [role]}));
                    let path = row.template.replace("{id}", "1");
                    let mut words = vec!["explain", "scopegate.json", "--claims", "claims.json"];
                    words.extend(["--offline", "--output", "json", "--tenant", "acme"]);
                    words.extend(["--method", method, "--path", &path]);
                    let allowed = match role {
                        "admin" => true,
                        "editor" => roles.is_none(),
                        "viewer" => roles.is_none() && needs == Permission::AlertsRead,
                        _ => false,
                    };
                    let code = if allowed {
                        "allowed"
                    } else {
                        "permission_missing"
                    };
                    let said = desk.run(&words, b"").verdict().1;
                    assert_eq!(said, code, "{role}: {method} {path}");
                }
            }
        }
        assert!(rows > 8, "{rows}");
    }
}

#[test]
fn no_request_makes_it_panic() {
    let mut desk = Desk::new();
    let good = format!(
        "GET {LABELS}?query=x HTTP/1.1\nx-scope-orgid: acme\nauthorization: Bearer a.b.c\n\nbody"
    );
    let mut state = 7_u32;
    for _ in 0..500 {
        let mut bytes = good.clone().into_bytes();
        for _ in 0..3 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = usize::try_from(state >> 8).unwrap() % bytes.len();
            bytes[at] = u8::try_from(state >> 24).unwrap();
        }
        let words = ["explain", "scopegate.json", "--request", "-", "--offline"];
        desk.run(&words, &bytes);
    }
}
