//! What the README shows: `make run`, as its user sees it, and a configuration.

#![allow(clippy::expect_used)]

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use integration::client::RawRequest;
use integration::token::Recipe;
use integration::{drill, form, paths, yaml};
use serde_json::{Value, json};

fn scopegate_run() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scopegate-run"));
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

#[test]
fn the_printed_commands_answer_as_promised() -> Result<()> {
    let output = scopegate_run().arg("--self-test").output()?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(output.status.success(), "{}: {text}", output.status);
    for status in ["ok   200", "ok   403", "ok   401"] {
        ensure!(text.contains(status), "{text}");
    }
    Ok(())
}

#[test]
fn an_interrupt_stops_everything() -> Result<()> {
    // Ctrl-C in a terminal reaches every process of the group, a service manager's signal the one.
    for (signal, group) in [("-INT", "-"), ("-TERM", "")] {
        let mut run = scopegate_run().process_group(0).spawn()?;
        let (lines, children) = until_up(&mut run)?;
        let commands = lines.iter().filter(|line| line.starts_with("curl "));
        ensure!(commands.count() == 4, "{lines:#?}");
        is_in_the_readme(&lines)?;
        ensure!(children.len() >= 2, "Envoy and Prometheus: {children:?}");
        let id = format!("{group}{}", run.id());
        let asked = Instant::now();
        let sent = Command::new("kill").args([signal, "--", &id]).status()?;
        ensure!(sent.success());
        let deadline = Instant::now() + Duration::from_secs(15);
        let status = loop {
            if let Some(status) = run.try_wait()? {
                break status;
            }
            ensure!(Instant::now() < deadline, "{signal}: it goes on");
            std::thread::sleep(Duration::from_millis(20));
        };
        ensure!(status.success(), "{signal}: {status}");
        eprintln!("{signal}: stopped in {:?}", asked.elapsed());
        for child in children {
            ensure!(
                !Path::new(&format!("/proc/{child}")).exists(),
                "{signal}: {child} is left"
            );
        }
    }
    Ok(())
}

#[test]
fn a_wrong_flag_is_told() -> Result<()> {
    let output = scopegate_run()
        .arg("--no-such-flag")
        .stderr(Stdio::piped())
        .output()?;
    ensure!(output.status.code() == Some(2), "{}", output.status);
    ensure!(String::from_utf8(output.stderr)?.contains("usage: scopegate-run"));
    Ok(())
}

/// Read what it prints until it is up, and which processes it has started.
fn until_up(run: &mut Child) -> Result<(Vec<String>, Vec<String>)> {
    let mut lines = Vec::new();
    for line in BufReader::new(run.stdout.take().context("stdout")?).lines() {
        lines.push(line?);
        if lines.last().is_some_and(|line| line.contains("Ctrl-C")) {
            break;
        }
    }
    let mut children = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{}/task", run.id()))? {
        let started = std::fs::read_to_string(task?.path().join("children"))?;
        children.extend(started.split_whitespace().map(str::to_owned));
    }
    Ok((lines, children))
}

/// The first block of that kind in the README that begins so.
fn block(kind: &str, beginning: &str) -> Result<String> {
    let page = std::fs::read_to_string(paths::repository().join("README.md"))?;
    let start = format!("```{kind}\n{beginning}");
    let (_, rest) = page
        .split_once(&start)
        .with_context(|| format!("no {start}"))?;
    let (block, _) = rest.split_once("```").context("it does not end")?;
    Ok(format!("{beginning}{block}"))
}

/// Line by line, where `…` stands for what differs from run to run.
fn is_in_the_readme(lines: &[String]) -> Result<()> {
    let shown = block("console", "$ make run\n")?;
    let shown: Vec<&str> = shown.lines().skip(1).collect();
    ensure!(shown.len() == lines.len(), "{lines:#?}");
    for (shown, line) in shown.iter().zip(lines) {
        let mut rest = line.as_str();
        let mut pieces = shown.split('…');
        let first = pieces.next().unwrap_or_default();
        rest = rest
            .strip_prefix(first)
            .with_context(|| format!("{line}\n{shown}"))?;
        for piece in pieces {
            let found = match piece {
                "" => Some(rest.len()),
                piece => rest.find(piece).map(|at| at + piece.len()),
            };
            rest = &rest[found.with_context(|| format!("{line}\n{shown}"))?..];
        }
        ensure!(rest.is_empty(), "{line}\n{shown}");
    }
    Ok(())
}

/// The README's configuration in front of its own provider: what it says of a team, an agent and contractors is so.
#[tokio::test(flavor = "multi_thread")]
async fn the_readmes_configuration_does_what_the_readme_says() -> Result<()> {
    let configuration: Value = yaml::parse(&block("yaml", "providers:\n")?)?;
    let scene = drill::scene(configuration).await?;
    let token = |group: &str, client: &str| {
        let recipe = Recipe::of("reader").claim("groups", json!([group]));
        drill::fresh(recipe.claim("azp", client))
    };
    let team = token("acme-team", "grafana")?;
    let agent = token("nobody", "alloy-acme")?;
    let contractor = token("contractors", "grafana")?;
    let push = |token: &str| {
        RawRequest::post("/loki/api/v1/push", b"{}".to_vec())
            .header("content-type", "application/json")
            .bearer(token)
            .tenant("acme")
    };
    let rules = |token: &str| {
        RawRequest::post("/prometheus/config/v1/rules/acme", b"{}".to_vec())
            .bearer(token)
            .tenant("acme")
    };
    let expired = drill::fresh(Recipe::of("reader").exp_in(-3600.0))?;
    for (what, request, status) in [
        ("the team reads", drill::read(&team, "acme"), 200),
        ("it writes", push(&team), 403),
        ("it changes rules", rules(&team), 200),
        ("another tenant", drill::read(&team, "globex"), 403),
        ("the agent writes", push(&agent), 200),
        ("it reads", drill::read(&agent, "acme"), 403),
        ("it changes rules", rules(&agent), 403),
        ("contractors write", push(&contractor), 403),
        ("an old token", drill::read(&expired, "acme"), 401),
        (
            "no token",
            RawRequest::get("/loki/api/v1/labels").tenant("acme"),
            401,
        ),
        (
            "nothing that is listed",
            RawRequest::get("/config").bearer(&team).tenant("acme"),
            404,
        ),
        ("health", RawRequest::get("/healthz"), 200),
    ] {
        let reply = drill::send(&scene.envoy, &request).await?;
        ensure!(reply.status == status, "{what}: {reply:?}");
    }
    for (path, sent) in [
        (
            "/loki/api/v1/query?query=%7Bapp%3D%22a%22%7D",
            r#"{namespace=~"shop|web",app="a"}"#,
        ),
        (
            "/prometheus/api/v1/query?query=up",
            r#"up{namespace=~"shop|web"}"#,
        ),
    ] {
        let before = scene.log.count();
        let request = RawRequest::get(path).bearer(&contractor).tenant("acme");
        let reply = drill::send(&scene.envoy, &request).await?;
        ensure!(reply.status == 200, "{path}: {reply:?}");
        let seen = scene
            .log
            .all()
            .get(before)
            .context("nothing arrived")?
            .path
            .clone();
        let form = form::parse(seen.split_once('?').context("no query")?.1);
        ensure!(form["query"] == sent, "{seen}");
    }
    Ok(())
}
