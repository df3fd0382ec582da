//! Compares `scopegate explain` with the scenario table: what it says about the answer and about the backend's
//! request must be what a gate does.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Parser as _;
use scopegate::cli::{Arguments, Console, Outcome as Exit, Unconnected, run};
use scopegate::reply;
use serde_json::Value;

use super::{Report, native};
use crate::client;
use crate::scenario::{Outcome, Prepared, Scenario, Upstreamed};
use crate::token;
use crate::upstream::OWN_CORS;

/// Explains these scenarios.
#[must_use]
pub fn all(scenarios: &[(String, Scenario)]) -> Report {
    native::all_by(scenarios, "explain", explain)
}

/// Whether somebody else who answers such calls says the same of these scenarios as this library does, byte for byte.
/// `other` gives an exit status and what was printed. How many were compared is the outcome, and what differs.
///
/// # Errors
/// `other` fails.
pub fn compare(
    scenarios: &[(String, Scenario)],
    mut other: impl FnMut(&Call) -> Result<(u8, String)>,
) -> Result<(usize, Vec<String>)> {
    let mut compared = 0;
    let mut differing = Vec::new();
    for (file, scenario) in scenarios {
        let prepared = scenario.clone().prepare(file, token::now())?;
        // Not every request can be written down.
        let Ok(call) = Call::of(&prepared) else {
            continue;
        };
        let (output, errors, exit) = call.answered()?;
        let here = match exit {
            Exit::WrongUse => errors,
            Exit::Good | Exit::Problems => output,
        };
        let there = other(&call)?;
        compared += 1;
        if there != (exit.status(), here.clone()) {
            let (status, there) = there;
            let name = &scenario.name;
            differing.push(format!(
                "{file}: {name}\n{exit:?}: {here}\n{status}: {there}"
            ));
        }
    }
    Ok((compared, differing))
}

/// A call of the command line, and the machine that it finds.
#[derive(Clone, Debug)]
pub struct Call {
    /// All words after the program's name.
    pub arguments: Vec<String>,
    pub files: BTreeMap<PathBuf, Vec<u8>>,
    pub variables: BTreeMap<String, String>,
}

impl Call {
    /// The one that explains a scenario's request, with its provider's keys.
    fn of(scenario: &Prepared) -> Result<Self> {
        let mut files = BTreeMap::new();
        let mut file = |name: String, content: Vec<u8>| {
            files.insert(PathBuf::from(&name), content);
            name
        };
        let configuration = scenario.config.to_string().into_bytes();
        let configuration = file("scopegate.json".to_owned(), configuration);
        let request = file("request.http".to_owned(), scenario.request.written());
        let now = token::now().to_string();
        let words = ["--output", "json", "explain", &configuration];
        let more = ["--request", &request, "--at", &now, "--offline"];
        let mut arguments: Vec<String> = words.into_iter().chain(more).map(str::to_owned).collect();
        let providers = scenario.config["providers"].as_array();
        for provider in providers.into_iter().flatten() {
            let issuer = provider["issuer"]
                .as_str()
                .or(provider["issuers"][0].as_str());
            let document = scenario.jwks.get(issuer.unwrap_or_default());
            let (Some(Some(document)), Value::Null) = (document, &provider["jwks"]["inline"])
            else {
                continue;
            };
            let name = provider["name"].as_str().context("no name")?;
            let path = file(format!("{name}.keys"), document.to_string().into_bytes());
            arguments.push(format!("--jwks={name}={path}"));
        }
        Ok(Self {
            arguments,
            files,
            variables: scenario.scenario.environment.clone().into_iter().collect(),
        })
    }

    fn said(&self) -> Result<(String, Exit)> {
        let (output, errors, exit) = self.answered()?;
        ensure!(exit != Exit::WrongUse, "{errors}");
        Ok((output, exit))
    }

    /// Output, errors and how it ended.
    fn answered(&self) -> Result<(String, String, Exit)> {
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        let mut console = Console {
            input: &mut &b""[..],
            files: &self.files,
            output: &mut output,
            errors: &mut errors,
            styled: false,
            variables: self.variables.clone(),
            now: 0,
            web: &mut Unconnected,
        };
        let arguments = self.arguments.iter().map(String::as_str);
        let words = ["scopegate"].into_iter().chain(arguments);
        let exit = run(Arguments::try_parse_from(words)?, &mut console);
        Ok((String::from_utf8(output)?, String::from_utf8(errors)?, exit))
    }
}

fn explain(scenario: &Prepared) -> Result<Outcome> {
    let (said, exit) = Call::of(scenario)?.said()?;
    if let Some(token) = &scenario.token {
        let token = String::from_utf8_lossy(token);
        // A shorter text is not a token, and may occur anywhere.
        ensure!(
            token.len() < 16 || !said.contains(&*token),
            "the token is told: {said}"
        );
    }
    let said: Value = serde_json::from_str(&said)?;
    let refused = matches!(said["decision"].as_str(), Some("deny" | "report"));
    let right = if refused { Exit::Problems } else { Exit::Good };
    ensure!(exit == right, "it ends with {exit:?}: {said:#}");
    check_steps(&said)?;
    outcome(&said, scenario)
}

/// Steps are passed up to the one that the verdict is come to at, and none is reached after it.
fn check_steps(said: &Value) -> Result<()> {
    let steps = said["steps"].as_array().context("no steps")?;
    let results: Vec<&str> = steps
        .iter()
        .filter_map(|step| step["result"].as_str())
        .collect();
    let passed = results
        .iter()
        .take_while(|result| **result == "passed")
        .count();
    let stop = results.get(passed).copied();
    let right = match said["decision"].as_str() {
        Some("allow") => stop.is_none(),
        Some("answer") => stop == Some("answered"),
        _ => stop == Some("refused"),
    };
    let rest = results.iter().skip(passed + 1);
    ensure!(
        right && rest.clone().all(|result| *result == "not reached"),
        "{said:#}"
    );
    let told = steps.iter().take(passed).all(|step| {
        let found = step["found"].as_array();
        found.is_some_and(|found| !found.is_empty())
    });
    ensure!(told, "a step that was passed tells nothing: {said:#}");
    Ok(())
}

/// The outcome, as a client and a backend see it.
fn outcome(said: &Value, scenario: &Prepared) -> Result<Outcome> {
    let sent = &scenario.request;
    let code = said["code"].as_str().map(str::to_owned);
    let mut outcome = if said["reply"].is_null() {
        forwarded(&said["forwarded"], scenario)?
    } else {
        let reply = &said["reply"];
        let headers = pairs(&reply["headers"]).into_iter().map(|(name, value)| {
            let name: &'static str = Box::leak(name.into_boxed_str());
            (name, String::from_utf8_lossy(&value).into_owned())
        });
        let reply = reply::Reply {
            status: u16::try_from(reply["status"].as_u64().context("no status")?)?,
            grpc_status: match reply["grpc_status"].as_i64() {
                Some(status) => Some(i32::try_from(status)?),
                None => None,
            },
            headers: headers.collect(),
            body: bytes(&reply["body"]),
            details: String::new(),
        };
        let mut fields = sent.headers.clone();
        fields.push((b":method".to_vec(), sent.method.clone()));
        Outcome {
            reply: native::as_envoy_sends_it(&reply, &fields),
            code,
            upstream: Vec::new(),
        }
    };
    if said["decision"] == "report" {
        outcome.code = None;
    }
    Ok(outcome)
}

fn forwarded(forwarded: &Value, scenario: &Prepared) -> Result<Outcome> {
    let sent = &scenario.request;
    let token = scenario.token.clone().unwrap_or_default();
    let unmasked = |value: Vec<u8>| {
        let text = String::from_utf8_lossy(&value);
        if text.contains(MASK) {
            text.replace(MASK, &String::from_utf8_lossy(&token))
                .into_bytes()
        } else {
            value
        }
    };
    let backend = forwarded["backend"].as_str();
    let headers = pairs(&forwarded["headers"]).into_iter();
    let headers: Vec<(String, Vec<u8>)> = headers
        .map(|(name, value)| (name, unmasked(value)))
        .collect();
    let has = |name: &str, start: &[u8]| {
        let mut headers = headers.iter();
        headers.any(|(known, value)| known == name && value.starts_with(start))
    };
    let upgraded = has("upgrade", b"");
    let mut reply = client::Reply {
        status: match (backend, upgraded) {
            (None, _) => 404,
            (Some(_), true) => 101,
            (Some(_), false) => 200,
        },
        ..client::Reply::default()
    };
    if has("content-type", b"application/grpc") {
        reply
            .trailers
            .push(("grpc-status".to_owned(), b"0".to_vec()));
    }
    if sent
        .headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case(b"origin"))
    {
        let own = OWN_CORS.map(|(name, value)| (name.to_owned(), value.into()));
        reply.headers.extend(own);
    }
    for change in forwarded["response"].as_array().into_iter().flatten() {
        let name = change[0].as_str().context("no name")?;
        match change[1].as_str() {
            Some(value) => reply.headers.push((name.to_owned(), value.into())),
            None => reply.headers.retain(|(known, _)| known != name),
        }
    }
    let body = match &forwarded["body"] {
        Value::Null => sent.body.clone(),
        body => bytes(body),
    };
    let upstream = backend.map(|backend| Upstreamed {
        backend: backend.to_owned(),
        cluster: None,
        method: forwarded["method"].as_str().unwrap_or_default().to_owned(),
        path: unmasked(bytes(&forwarded["path"])),
        headers,
        body: Some(body.into_iter().take(BODY_SHOWN).collect()),
        complete: true,
    });
    Ok(Outcome {
        reply,
        code: None,
        upstream: upstream.into_iter().collect(),
    })
}

fn pairs(list: &Value) -> Vec<(String, Vec<u8>)> {
    let pairs = list.as_array().into_iter().flatten();
    let pairs = pairs.map(|pair| {
        let name = pair[0].as_str().unwrap_or_default().to_owned();
        (name, bytes(&pair[1]))
    });
    pairs.collect()
}

/// The bytes of a text, or of base64 if they are not text.
fn bytes(value: &Value) -> Vec<u8> {
    use base64::Engine as _;
    match value["base64"].as_str() {
        Some(text) => base64::engine::general_purpose::STANDARD
            .decode(text)
            .unwrap_or_default(),
        None => value.as_str().unwrap_or_default().as_bytes().to_vec(),
    }
}

/// What `explain` writes in place of a token.
const MASK: &str = "<token>";
/// As much of a body as an upstream keeps.
const BODY_SHOWN: usize = 4096;
