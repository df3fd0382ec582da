//! An oracle: another reader of a query language, in a process of its own.
//!
//! Most oracles are asked in batches of lines and answer with one line each; Loki is asked over HTTP.
//! `integration/oracles` describes how they are built and what they say.

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use integration::part;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::loki::{Loki, Word};

/// No query takes a parser this long. Whoever waits longer would wait forever.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What is asked.
#[derive(Clone, Debug, Serialize)]
pub struct Question<'a> {
    pub language: &'static str,
    /// `selector` for what stands in `match[]`, `printed` for what Loki has printed.
    #[serde(rename = "as", skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    pub query: &'a str,
}

/// What is answered.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Answer {
    pub selectors: Option<Vec<Selector>>,
    pub error: Option<Value>,
    /// The oracle could not judge. Loki itself takes what its oracle cannot.
    pub fault: Option<String>,
    /// The selectors are those of a text that the oracle has printed, and not of its tree.
    #[serde(skip)]
    pub printed: bool,
}

impl Answer {
    /// Whether a backend would run it.
    pub const fn is_valid(&self) -> bool {
        self.error.is_none()
    }
}

/// A selector, as far as an oracle understands it.
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

/// The handle; the process of an oracle of its own ends with it.
pub struct Oracle {
    pub name: &'static str,
    /// It is what a backend reads queries with.
    pub is_backend: bool,
    /// It reads what stands in `match[]` in another way.
    pub knows_selectors: bool,
    reader: Reader,
}

enum Reader {
    Program(Program),
    /// The server prints what it has read, and the grammar finds the selectors of that.
    Loki(Box<Loki>, Program),
}

impl Oracle {
    /// The parser of Prometheus, `promql`, or that of `mimir`.
    pub fn parser(name: &'static str) -> Result<Self> {
        let program = part::ORACLES.find()?.join(name);
        let program = Program::start(name, &mut Command::new(program))?;
        Ok(Self {
            name,
            is_backend: true,
            knows_selectors: true,
            reader: Reader::Program(program),
        })
    }

    /// A server that runs.
    pub fn loki(loki: Loki) -> Result<Self> {
        Ok(Self {
            name: "loki",
            is_backend: true,
            knows_selectors: false,
            reader: Reader::Loki(Box::new(loki), Program::grammars()?),
        })
    }

    /// The grammars of the editors, for all three languages.
    pub fn grammars() -> Result<Self> {
        Ok(Self {
            name: "lezer",
            is_backend: false,
            knows_selectors: false,
            reader: Reader::Program(Program::grammars()?),
        })
    }

    /// One answer per question, in order.
    ///
    /// # Errors
    /// The oracle ended, does not answer, or cannot judge.
    pub fn ask(&mut self, questions: &[Question<'_>]) -> Result<Vec<Answer>> {
        match &mut self.reader {
            Reader::Program(program) => {
                let answers = program.ask(questions)?;
                for (question, answer) in questions.iter().zip(&answers) {
                    let (name, query) = (self.name, question.query);
                    ensure!(answer.fault.is_none(), "{name}: {answer:?} to {query:?}");
                }
                Ok(answers)
            }
            Reader::Loki(loki, grammar) => ask_loki(loki, grammar, questions),
        }
    }

    /// The answer to one question.
    ///
    /// # Errors
    /// As for [`Oracle::ask`].
    pub fn ask_one(&mut self, question: Question<'_>) -> Result<Answer> {
        let answers = self.ask(&[question])?;
        answers.into_iter().next().context("no answer")
    }
}

fn ask_loki(loki: &Loki, grammar: &mut Program, questions: &[Question<'_>]) -> Result<Vec<Answer>> {
    let queries: Vec<&str> = questions.iter().map(|question| question.query).collect();
    let words = loki.format(&queries)?;
    let to_read: Vec<Question<'_>> = words
        .iter()
        .zip(questions)
        .filter_map(|(word, question)| match word {
            Word::Printed(text) => Some(Question {
                role: Some("printed"),
                query: text,
                ..*question
            }),
            Word::Unprintable => Some(question.clone()),
            Word::Refused(_) => None,
        })
        .collect();
    let mut read = grammar.ask(&to_read)?.into_iter();
    let answers = words.into_iter().map(|word| match word {
        Word::Printed(text) => {
            let answer = read.next().context("no answer")?;
            // Whether it is a query is Loki's to say.
            ensure!(answer.error.is_none(), "{:?} to {text:?}", answer.error);
            Ok(Answer {
                printed: true,
                ..answer
            })
        }
        Word::Unprintable => read.next().context("no answer"),
        Word::Refused(error) => Ok(Answer {
            selectors: None,
            error: Some(error.into()),
            fault: None,
            printed: false,
        }),
    });
    answers.collect()
}

/// An oracle that reads lines and writes lines; ends with this handle.
struct Program {
    name: &'static str,
    child: Child,
    answers: Receiver<std::io::Result<String>>,
}

impl Program {
    fn grammars() -> Result<Self> {
        let script = part::LEZER.find()?.join("oracle.mjs");
        Program::start("lezer", Command::new("node").arg(script))
    }

    fn start(name: &'static str, command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let output = child.stdout.take().context("no output")?;
        // Read at all times: an oracle whose answers nobody takes would take no more questions.
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
            child,
            answers,
        })
    }

    fn ask(&mut self, questions: &[Question<'_>]) -> Result<Vec<Answer>> {
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
                answer.selectors.is_some() || answer.error.is_some() || answer.fault.is_some(),
                "{} says {line} to {:?}",
                self.name,
                question.query
            );
            answers.push(answer);
        }
        Ok(answers)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
