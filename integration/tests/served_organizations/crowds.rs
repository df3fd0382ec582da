//! Hundreds of connections that ask for nothing, and a caller beside them who wants an answer.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::future::{join_all, try_join_all};
use integration::authority::Authority;
use integration::served::{Resources, Served};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::{block_on, resource};

integration::trials![
    a_crowd_that_asks_nothing_keeps_out_nobody,
    a_crowd_that_comes_again_and_again_keeps_out_nobody_from_tls_either,
    whoever_asks_nothing_is_sent_away_and_whoever_has_asked_may_rest,
];

/// What a connection has said that is never to say more: nothing, half a head, and an HTTP/2
/// preface with empty settings.
const OPENINGS: [&[u8]; 3] = [
    b"",
    b"GET /organizations HTTP/1.1\r\nhost: x\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
];

/// Below it lies what a call may take that finds no place at first.
const SOON: Duration = Duration::from_secs(2);

/// One crowd at a time: a process may have no more than 1,024 descriptors.
static CROWD: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    CROWD.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn open(address: SocketAddr, opening: &[u8]) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(opening).await?;
    Ok(stream)
}

/// One request on a connection that stays.
async fn ask(stream: &mut TcpStream) -> Result<String> {
    let request = b"GET /organizations HTTP/1.1\r\nhost: x\r\n\r\n";
    stream.write_all(request).await?;
    let mut answer = vec![0; 4096];
    let length = stream.read(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

async fn started(more: &[&str]) -> Result<(Resources, Served)> {
    let resources = Resources::new()?;
    resources.write("a.yaml", &resource("acme", "x"))?;
    let file = resources.text("a.yaml");
    let served = Served::start(&[&["--files", &file], more].concat()).await?;
    served.until_metric("ready", 1).await?;
    Ok((resources, served))
}

fn a_crowd_that_asks_nothing_keeps_out_nobody() -> Result<()> {
    let _alone = alone();
    block_on(async {
        let (_resources, served) = started(&["--insecure-http"]).await?;
        let address = served.target().address;
        let mut known = TcpStream::connect(address).await?;
        ensure!(ask(&mut known).await?.starts_with("HTTP/1.1 200 "));
        for opening in OPENINGS {
            let crowd = try_join_all((0..600).map(|_| open(address, opening))).await?;
            let began = Instant::now();
            let reply = timeout(SOON, served.get()).await;
            let status = reply.with_context(|| format!("{opening:?}"))??.status;
            ensure!(status == 200, "{status}");
            println!(
                "answered after {:?} beside {}",
                began.elapsed(),
                crowd.len()
            );
            // The other port has its own places.
            ensure!(served.health("/livez").await?.status == 200);
            // Whoever has asked before keeps the connection.
            let answer = timeout(SOON, ask(&mut known)).await??;
            ensure!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        }
        Ok(())
    })
}

fn a_crowd_that_comes_again_and_again_keeps_out_nobody_from_tls_either() -> Result<()> {
    let _alone = alone();
    block_on(async {
        let authority = Authority::new()?;
        let (certificate, key) = authority.issue(&["localhost"])?;
        let pair = tempfile::tempdir()?;
        let [certificate_file, key_file] =
            ["tls.crt", "tls.key"].map(|name| pair.path().join(name));
        std::fs::write(&certificate_file, certificate)?;
        std::fs::write(&key_file, key)?;
        let (certificate, key) = (
            certificate_file.display().to_string(),
            key_file.display().to_string(),
        );
        let (_resources, mut served) =
            started(&["--tls-cert", &certificate, "--tls-key", &key]).await?;
        served.trusting(&authority.der());
        let address = served.target().address;
        // The beginning of a ClientHello, from a hundred at once, each of whom leaves six open:
        // ten thousand in a second or two, which the ports of a machine bear.
        let one = async || {
            let mut mine = VecDeque::new();
            for _ in 0..100 {
                // Where it is sent away already, it comes again as well.
                mine.push_back(open(address, b"\x16\x03\x01\x02\x00\x01").await);
                if mine.len() > 6 {
                    mine.pop_front();
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let crowd = join_all((0..100).map(|_| one()));
        let (mut answers, mut slowest) = (0_u32, Duration::ZERO);
        let good = async {
            loop {
                let began = Instant::now();
                // A try may lose its place; the next one does not wait.
                while !matches!(timeout(SOON, served.get()).await, Ok(Ok(_))) {
                    ensure!(began.elapsed() < SOON, "nobody answers");
                }
                slowest = slowest.max(began.elapsed());
                answers += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let began = Instant::now();
        tokio::select! {
            _ = crowd => {}
            failed = good => return failed,
        }
        println!(
            "{answers} answers in {:?}, the slowest after {slowest:?}",
            began.elapsed()
        );
        ensure!(answers > 3, "{answers}");
        ensure!(timeout(SOON, served.get()).await??.status == 200);
        Ok(())
    })
}

fn whoever_asks_nothing_is_sent_away_and_whoever_has_asked_may_rest() -> Result<()> {
    block_on(async {
        let resources = Resources::new()?;
        resources.write("a.yaml", &resource("acme", "x"))?;
        resources.write("token", "first-token-of-all")?;
        let (file, token) = (resources.text("a.yaml"), resources.text("token"));
        let arguments = ["--files", &file, "--insecure-http", "--token-file", &token];
        let served = Served::start(&arguments).await?;
        served.until_metric("ready", 1).await?;
        let address = served.target().address;
        let began = Instant::now();
        let mut known = TcpStream::connect(address).await?;
        let request = b"GET /organizations HTTP/1.1\r\nhost: x\r\n\
                        authorization: Bearer first-token-of-all\r\n\r\n";
        known.write_all(request).await?;
        let mut silent = Vec::new();
        for opening in OPENINGS {
            silent.push(open(address, opening).await?);
        }
        // Whoever has no token has asked nothing.
        let mut stranger = TcpStream::connect(address).await?;
        ensure!(ask(&mut stranger).await?.starts_with("HTTP/1.1 401 "));
        silent.push(stranger);
        for mut stream in silent {
            let mut rest = Vec::new();
            let read = timeout(Duration::from_secs(15), stream.read_to_end(&mut rest));
            // An end or a reset.
            let _ = read.await.context("is not sent away")?;
            ensure!(began.elapsed() > Duration::from_secs(9), "sent away early");
        }
        known.write_all(request).await?;
        let (mut answers, mut part) = (String::new(), [0; 4096]);
        while answers.matches("HTTP/1.1 200 ").count() < 2 {
            let length = timeout(SOON, known.read(&mut part)).await??;
            ensure!(length > 0, "closed: {answers}");
            answers += &String::from_utf8_lossy(&part[..length]);
        }
        Ok(())
    })
}
