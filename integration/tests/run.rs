//! `make run`, as its user sees it.

#![allow(clippy::expect_used)]

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

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
        let (commands, children) = until_up(&mut run)?;
        ensure!(commands == 4, "{commands} commands to paste");
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

/// Read what it prints until it is up: how many commands that is, and which processes it has started.
fn until_up(run: &mut Child) -> Result<(usize, Vec<String>)> {
    let mut commands = 0;
    for line in BufReader::new(run.stdout.take().context("stdout")?).lines() {
        let line = line?;
        commands += usize::from(line.starts_with("curl "));
        if line.contains("Ctrl-C") {
            break;
        }
    }
    let mut children = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{}/task", run.id()))? {
        let started = std::fs::read_to_string(task?.path().join("children"))?;
        children.extend(started.split_whitespace().map(str::to_owned));
    }
    Ok((commands, children))
}
