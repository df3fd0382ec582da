//! The module in Node and the command on this machine.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use integration::replay::explained::{self, Call};
use integration::{part, paths, scenario, trials};
use serde_json::{Map, Value, json};

trials! {
    of_every_scenario needs [BROWSER, PLAYGROUND],
    wrong_calls_are_answered needs [BROWSER, PLAYGROUND],
}

fn of_every_scenario() -> Result<()> {
    let scenarios = scenario::load()?;
    let mut node = Node::start()?;
    let (compared, differing) = explained::compare(&scenarios, |call| node.call(call))?;
    ensure!(
        differing.is_empty(),
        "{} of {compared} differ, the first is {}",
        differing.len(),
        differing[0]
    );
    // What HTTP/1.1 cannot write is not many.
    ensure!(
        compared + 20 > scenarios.len() && compared > 1_000,
        "{compared} of {} were compared",
        scenarios.len()
    );
    eprintln!("{compared} scenarios are explained alike");
    Ok(())
}

/// The module outlives none of them, and the next one is answered by another instance.
fn wrong_calls_are_answered() -> Result<()> {
    let mut node = Node::start()?;
    let cases = [
        (json!(null), "Usage: scopegate"),
        (json!({"arguments": ["explain"]}), "required"),
        (
            json!({"arguments": ["explain", "gone", "--path", "/"]}),
            "gone",
        ),
        (
            json!({"arguments": ["check", "a"], "files": {"a": {"base64": "%"}}}),
            "neither a text nor base64",
        ),
        (
            json!({"arguments": ["check", "a"], "files": {"a": {"base64": "/w=="}}}),
            "UTF-8",
        ),
    ];
    for (call, expected) in cases {
        let answer = node.ask(&call)?;
        let told = format!("{}{}", answer["output"], answer["errors"]);
        ensure!(
            answer["exit"] != 0 && told.contains(expected),
            "{call}: {answer}"
        );
    }
    Ok(())
}

/// Ends with this handle.
pub struct Node {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Node {
    pub fn start() -> Result<Self> {
        let mut child = Command::new("node")
            .arg(part::BROWSER.find()?.join("agree.mjs"))
            .arg(paths::repository().join("playground/page/module.mjs"))
            .arg(part::PLAYGROUND.find()?.with_extension("wasm"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start node")?;
        let questions = child.stdin.take().context("no input")?;
        let answers = BufReader::new(child.stdout.take().context("no output")?);
        Ok(Self {
            child,
            questions,
            answers,
        })
    }

    fn call(&mut self, call: &Call) -> Result<(u8, String)> {
        let files = call.files.iter().map(|(path, content)| {
            let content = match std::str::from_utf8(content) {
                Ok(text) => json!(text),
                Err(_) => json!({"base64": STANDARD.encode(content)}),
            };
            (path.display().to_string(), content)
        });
        let answer = self.ask(&json!({
            "arguments": call.arguments,
            "files": files.collect::<Map<_, _>>(),
            "variables": call.variables,
            "now": "0",
        }))?;
        let exit = answer["exit"].as_u64().context("no exit status")?;
        let told = if exit == 2 { "errors" } else { "output" };
        let told = answer[told].as_str().context("nothing is told")?;
        Ok((u8::try_from(exit)?, told.to_owned()))
    }

    /// The examples that the module brings.
    pub fn examples(&mut self) -> Result<Value> {
        self.line("examples")
    }

    fn ask(&mut self, call: &Value) -> Result<Value> {
        self.line(&call.to_string())
    }

    fn line(&mut self, line: &str) -> Result<Value> {
        writeln!(self.questions, "{line}")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        serde_json::from_str(&answer).with_context(|| format!("{line}: {answer}"))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
