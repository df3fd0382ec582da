//! Certificates and tokens that are renewed, the signal to end, and incorrect use.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::authority::Authority;
use integration::client::RawRequest;
use integration::served::{self, PATH, Resources, Served};

use crate::{block_on, key_file, resource};

integration::trials![
    a_renewed_certificate_is_shown_to_the_next_connection,
    only_who_shows_a_token_is_answered,
    the_signal_to_end_is_obeyed_in_order,
    what_cannot_work_is_told_at_once,
    a_revision_file_has_a_number_from_the_start,
    times_are_within_bounds,
    lines_are_plain_or_json,
];

fn a_renewed_certificate_is_shown_to_the_next_connection() -> Result<()> {
    block_on(async {
        let resources = Resources::new()?;
        resources.write("a.yaml", &resource("acme", "x"))?;
        let (old, new) = (Authority::new()?, Authority::new()?);
        let put = |authority: &Authority| -> Result<()> {
            let (certificate, key) = authority.issue(&["localhost"])?;
            resources.write("tls.crt", &certificate)?;
            resources.write("tls.key", &key)
        };
        put(&old)?;
        let (certificate, key) = (resources.text("tls.crt"), resources.text("tls.key"));
        let file = resources.text("a.yaml");
        let files = [
            "--files",
            &file,
            "--tls-cert",
            &certificate,
            "--tls-key",
            &key,
        ];
        let mut served = Served::start(&files).await?;
        served.trusting(&old.der());
        let document = served.until("a list", |_| true).await?;
        served.trusting(&new.der());
        ensure!(served.get().await.is_err(), "trusted before it was renewed");
        put(&new)?;
        let renewed = served.until("the new one", |_| true).await?;
        ensure!(renewed.text == document.text);
        served.trusting(&old.der());
        ensure!(served.get().await.is_err(), "the old one is still shown");
        // What cannot be used changes nothing.
        let before = served.metric("credential_errors_total").await?;
        resources.write("tls.key", "no key")?;
        served
            .until_metric("credential_errors_total", before + 1)
            .await?;
        served.trusting(&new.der());
        ensure!(served.get().await?.status == 200);
        Ok(())
    })
}

fn only_who_shows_a_token_is_answered() -> Result<()> {
    block_on(async {
        let resources = Resources::new()?;
        resources.write("a.yaml", &resource("acme", "x"))?;
        let (one, two) = ("first-token-of-all", "second-token-of-all");
        resources.write("token", &format!("{one}\n"))?;
        let (file, token) = (resources.text("a.yaml"), resources.text("token"));
        let arguments = ["--files", &file, "--insecure-http", "--token-file", &token];
        let served = Served::start(&arguments).await?;
        served.until_metric("ready", 1).await?;
        let status = async |authorization: &str| -> Result<u16> {
            let request = RawRequest::get(PATH).header("authorization", authorization);
            Ok(served.ask(request).await?.status)
        };
        let reply = served.get().await?;
        ensure!(reply.status == 401);
        ensure!(reply.header("www-authenticate").as_deref() == Some("Bearer"));
        ensure!(status(&format!("Bearer {one}")).await? == 200);
        ensure!(status(&format!("bearer {one}")).await? == 200);
        for wrong in [
            "Bearer",
            "Bearer ",
            &format!("Bearer {two}"),
            &format!("Bearer {}", &one[1..]),
            &format!("Bearer {one}x"),
            &format!("Basic {one}"),
            one,
        ] {
            ensure!(status(wrong).await? == 401, "{wrong}");
        }
        // While it is handed out, both.
        resources.write("token", &format!("{two}\n\n  {one}  \n"))?;
        until_status(&served, two, 200).await?;
        ensure!(status(&format!("Bearer {one}")).await? == 200);
        resources.write("token", two)?;
        until_status(&served, one, 401).await?;
        ensure!(status(&format!("Bearer {two}")).await? == 200);
        let before = served.metric("credential_errors_total").await?;
        resources.write("token", "short")?;
        served
            .until_metric("credential_errors_total", before + 1)
            .await?;
        ensure!(status(&format!("Bearer {two}")).await? == 200);
        ensure!(!served.log().contains(one) && !served.log().contains(two));
        Ok(())
    })
}

async fn until_status(served: &Served, token: &str, wanted: u16) -> Result<()> {
    for _ in 0..200 {
        let request = RawRequest::get(PATH).bearer(token);
        if served.ask(request).await?.status == wanted {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    anyhow::bail!("never {wanted}: {}", served.log())
}

fn the_signal_to_end_is_obeyed_in_order() -> Result<()> {
    block_on(async {
        let resources = Resources::new()?;
        resources.write("a.yaml", &resource("acme", "x"))?;
        let file = resources.text("a.yaml");
        let arguments = ["--files", &file, "--insecure-http", "--drain", "1s"];
        let mut served = Served::start(&arguments).await?;
        served.until("a list", |_| true).await?;
        served.signal()?;
        for _ in 0..100 {
            if served.health("/readyz").await?.status == 503 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        ensure!(served.health("/readyz").await?.status == 503);
        // Whoever has not heard of it yet is answered.
        ensure!(served.get().await?.status == 200);
        ensure!(served.health("/livez").await?.status == 200);
        ensure!(served.terminate().await? == Some(0), "{}", served.log());
        ensure!(served.events("ended").len() == 1);
        Ok(())
    })
}

fn what_cannot_work_is_told_at_once() -> Result<()> {
    let resources = Resources::new()?;
    resources.write("a.yaml", &resource("acme", "x"))?;
    let (certificate, key) = Authority::new()?.issue(&["localhost"])?;
    let (_, other) = Authority::new()?.issue(&["localhost"])?;
    resources.write("tls.crt", &certificate)?;
    resources.write("tls.key", &key)?;
    resources.write("other.key", &other)?;
    resources.write("token", "short")?;
    let file = resources.text("a.yaml");
    let (certificate, other) = (resources.text("tls.crt"), resources.text("other.key"));
    let token = resources.text("token");
    let ports = ["--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0"];
    let rows: [(&[&str], &str); 11] = [
        (&["--insecure-http"], "--files"),
        (&["--files", &file], "--insecure-http"),
        (
            &["--files", &file, "--kubernetes", "--insecure-http"],
            "cannot be used with",
        ),
        (&["--files", &file, "--tls-cert", &certificate], "--tls-key"),
        (
            &[
                "--files",
                &file,
                "--tls-cert",
                &certificate,
                "--tls-key",
                "/no/such",
            ],
            "/no/such: ",
        ),
        (
            &[
                "--files",
                &file,
                "--tls-cert",
                &certificate,
                "--tls-key",
                &other,
            ],
            "certificate and key: ",
        ),
        (
            &["--files", &file, "--tls-cert", &file, "--tls-key", &other],
            "certificate: there is none",
        ),
        (
            &["--files", &file, "--insecure-http", "--token-file", &token],
            "at least 16 bytes",
        ),
        (
            &["--files", &file, "--insecure-http", "--poll", "5 minutes"],
            "write a whole number with",
        ),
        (
            &[
                "--files",
                &file,
                "--insecure-http",
                "--epoch",
                "9007199254740992",
            ],
            "9007199254740991",
        ),
        (
            &["--files", &file, "--insecure-http", "--writers", "{x}"],
            "the only place to fill is {name}",
        ),
    ];
    for (arguments, wanted) in rows {
        let output = served::ended(&[arguments, &ports].concat())?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(2),
            "{arguments:?}: {}\n{said}",
            output.status
        );
        ensure!(said.contains(wanted), "{arguments:?}: {said}");
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let busy = listener.local_addr()?.to_string();
    let arguments = ["--files", &file, "--insecure-http", "--listen", &busy];
    let output = served::ended(&arguments)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(2) && said.contains(&busy),
        "{said}"
    );
    Ok(())
}

fn a_revision_file_has_a_number_from_the_start() -> Result<()> {
    let resources = Resources::new()?;
    resources.write("a.yaml", &resource("acme", "x"))?;
    resources.write("revision", "forty-two")?;
    let (file, revision) = (resources.text("a.yaml"), resources.text("revision"));
    let files = ["--files", &file, "--insecure-http", "--revision-file"];
    let ports = ["--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0"];
    for (path, wanted) in [
        (&*revision, "/revision: the revision is no whole number"),
        ("/no/such", "/no/such: "),
    ] {
        let output = served::ended(&[&files[..], &[path], &ports].concat())?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(2), "{path}: {said}");
        ensure!(said.contains(wanted), "{path}: {said}");
    }
    Ok(())
}

fn times_are_within_bounds() -> Result<()> {
    let resources = Resources::new()?;
    resources.write("a.yaml", &resource("acme", "x"))?;
    let (file, key) = (resources.text("a.yaml"), key_file("ed25519-a"));
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    // Whatever is within its bounds fails for this alone.
    let busy = listener.local_addr()?.to_string();
    let files = ["--files", &file, "--insecure-http", "--listen", &busy];
    let said_of = |more: &[&str]| -> Result<String> {
        let output = served::ended(&[&files, more].concat())?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(2), "{more:?}: {said}");
        Ok(said)
    };
    for (option, least, most, outside) in [
        ("--poll", "100ms", "1h", ["0s", "99ms", "3601s"]),
        ("--sign-every", "1s", "24h", ["0s", "999ms", "25h"]),
        (
            "--resync",
            "1s",
            "24h",
            ["0s", "999ms", "18446744073709551615h"],
        ),
        ("--settle", "0s", "1h", ["1", "2h", "-1s"]),
        ("--drain", "0s", "1h", ["5", "61m", "1d"]),
    ] {
        let wanted = format!("ms, s, m or h, from {least} to {most}");
        for time in outside {
            let said = said_of(&["--signing-key", &key, &format!("{option}={time}")])?;
            ensure!(said.contains(&wanted), "{option} {time}: {said}");
        }
        for time in [least, most] {
            let said = said_of(&["--signing-key", &key, option, time])?;
            ensure!(said.contains(&busy), "{option} {time}: {said}");
        }
    }
    Ok(())
}

fn lines_are_plain_or_json() -> Result<()> {
    block_on(async {
        let resources = Resources::new()?;
        resources.write("a.yaml", &resource("acme", "x"))?;
        let file = resources.text("a.yaml");
        let served = Served::start(&["--files", &file, "--insecure-http"]).await?;
        served.until("a list", |_| true).await?;
        for line in served.log().lines() {
            let line: serde_json::Value = serde_json::from_str(line)?;
            ensure!(
                line["time"].as_f64().is_some_and(|time| time > 1e9),
                "{line}"
            );
            ensure!(line["level"] == "info", "{line}");
        }
        let mut plain =
            Served::start(&["--files", &file, "--insecure-http", "--output", "text"]).await?;
        plain.until("a list", |_| true).await?;
        ensure!(plain.terminate().await? == Some(0));
        let log = plain.log();
        let published = log.lines().find(|line| line.contains("published"));
        let published = published.context("nothing about the document")?;
        ensure!(
            published.starts_with("info published mark=\"1."),
            "{published}"
        );
        ensure!(published.ends_with(" organizations=\"1\""), "{published}");
        Ok(())
    })
}
