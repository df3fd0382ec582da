//! A judge: another reader of a query language, in a process of its own.
//!
//! It is asked in batches of lines and answers one line each. How it must be built and what it says stands in
//! `integration/judge`.

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use integration::part;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// No query takes a parser as long; who waits longer waits for ever.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is asked.
#[derive(Clone, Debug, Serialize)]
pub struct Question<'a> {
    pub language: &'static str,
    /// `selector` for what stands in `match[]`.
    #[serde(rename = "as", skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    /// Also check what the grammar leaves to later.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub strict: bool,
    pub query: &'a str,
}

impl Question<'_> {
    /// As whoever wants to run it asks.
    pub const fn strictly(self) -> Self {
        Self {
            strict: true,
            ..self
        }
    }
}

/// What is answered.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Answer {
    pub selectors: Option<Vec<Selector>>,
    /// The grammar takes it, a later check would not.
    #[serde(default)]
    pub lenient: bool,
    pub error: Option<Value>,
    /// The judge could not judge.
    pub fault: Option<String>,
}

impl Answer {
    /// Whether a backend would run it.
    pub const fn is_valid(&self) -> bool {
        self.selectors.is_some() && !self.lenient
    }
}

/// A selector, as far as a judge understands it.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(untagged)]
pub enum Selector {
    Matchers(Vec<Matcher>),
    Text(String),
}

/// One matcher of a selector.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Matcher {
    pub name: String,
    pub op: String,
    pub value: String,
}

/// The process; ends with this handle.
pub struct Judge {
    pub name: &'static str,
    /// It is what a backend reads queries with.
    pub is_backend: bool,
    /// It reads what stands in `match[]` in another way.
    pub knows_selectors: bool,
    child: Child,
    answers: Receiver<std::io::Result<String>>,
}

impl Judge {
    /// Prometheus' parser, `mimir`, `logql` or `logql-short`.
    pub fn parser(name: &'static str) -> Result<Self> {
        let program = part::JUDGE.find()?.join(name);
        let mut judge = Judge::start(name, &mut Command::new(program))?;
        judge.is_backend = true;
        judge.knows_selectors = name != "logql" && name != "logql-short";
        Ok(judge)
    }

    /// The grammars of the editors, for all three languages.
    pub fn grammars() -> Result<Self> {
        let script = part::LEZER.find()?.join("judge.mjs");
        Judge::start("lezer", Command::new("node").arg(script))
    }

    fn start(name: &'static str, command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let output = child.stdout.take().context("no output")?;
        // Read at all times: a judge whose answers nobody takes would take no more questions.
        let (sender, answers) = channel();
        thread::spawn(move || {
            for line in BufReader::with_capacity(1 << 20, output).lines() {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            name,
            is_backend: false,
            knows_selectors: false,
            child,
            answers,
        })
    }

    /// One answer per question, in order.
    ///
    /// # Errors
    /// The judge ended or does not answer.
    pub fn ask(&mut self, questions: &[Question<'_>]) -> Result<Vec<Answer>> {
        let input = self.child.stdin.as_mut().context("no input")?;
        let mut input = BufWriter::with_capacity(1 << 20, input);
        for question in questions {
            serde_json::to_writer(&mut input, question)?;
            input.write_all(b"\n")?;
        }
        input.flush()?;
        drop(input);
        let mut answers = Vec::with_capacity(questions.len());
        for question in questions {
            let Ok(line) = self.answers.recv_timeout(PATIENCE) else {
                bail!(
                    "{} does not answer, perhaps to {:?}",
                    self.name,
                    question.query
                );
            };
            let line = line?;
            let answer: Answer =
                serde_json::from_str(&line).with_context(|| format!("{}: {line}", self.name))?;
            ensure!(
                answer.fault.is_none() && (answer.selectors.is_some() || answer.error.is_some()),
                "{} says {line} to {:?}",
                self.name,
                question.query
            );
            answers.push(answer);
        }
        Ok(answers)
    }

    /// The answer to one question.
    ///
    /// # Errors
    /// As for [`Judge::ask`].
    pub fn ask_one(&mut self, question: Question<'_>) -> Result<Answer> {
        let answers = self.ask(&[question])?;
        answers.into_iter().next().context("no answer")
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
