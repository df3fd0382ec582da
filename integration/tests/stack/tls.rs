//! TLS on both sides of the gate, as in `envoy/envoy.yaml`: the listener for clients, and the clusters for a backend
//! and the provider.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::authority::Authority;
use integration::client::{Protocol, RawRequest, Target};
use integration::drill;
use integration::envoy::EnvoySettings;
use integration::envoy::bootstrap::SERVER_NAME;
use integration::server::Server;
use integration::stack::ACME;
use integration::terminator::terminate;
use integration::{paths, yaml};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ProtocolVersion, RootCertStore};

use crate::scene::Scene;
use crate::side_gate::SideGate;

crate::tests![
    both_protocols_have_the_same_answer,
    alpn_prefers_http2_and_nobody_needs_it,
    curl_takes_the_certificate_and_either_protocol,
    a_client_that_checks_takes_no_other_name_and_no_other_authority,
    tls_1_1_is_refused,
    upstreams_are_reached_over_tls,
    a_certificate_of_another_authority_or_name_is_no_upstream,
];

async fn both_protocols_have_the_same_answer(scene: &Scene) -> Result<()> {
    let token = scene.token("alice").await?;
    let target = scene.stack.tls_target();
    for (tenant, status) in [(ACME, 200), ("globex", 403)] {
        let request = RawRequest::get(READ).bearer(&token).tenant(tenant);
        let one = request.send(&target, Protocol::H1).await?;
        let two = request.send(&target, Protocol::H2).await?;
        ensure!(
            one.status == status && two.status == status,
            "{one:?}\n{two:?}"
        );
        ensure!(one.body == two.body, "{}\n{}", one.text(), two.text());
        let kind = one.header("content-type");
        ensure!(
            kind.is_some() && kind == two.header("content-type"),
            "{kind:?}"
        );
    }
    Ok(())
}

async fn alpn_prefers_http2_and_nobody_needs_it(scene: &Scene) -> Result<()> {
    let authority = authority_of(scene)?;
    for (offered, wanted) in [
        (&["http/1.1", "h2"][..], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&[], None),
    ] {
        let stream = connect(scene.stack.tls(), &authority, SERVER_NAME, offered).await?;
        let (_, session) = stream.get_ref();
        let chosen = session.alpn_protocol().map(String::from_utf8_lossy);
        ensure!(chosen.as_deref() == wanted, "{offered:?}: {chosen:?}");
        ensure!(session.protocol_version() == Some(ProtocolVersion::TLSv1_3));
    }
    // Without ALPN it is HTTP/1.1.
    let mut stream = connect(scene.stack.tls(), &authority, SERVER_NAME, &[]).await?;
    let request =
        format!("GET {READ} HTTP/1.1\r\nhost: {SERVER_NAME}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await?;
    ensure!(
        &answer == b"HTTP/1.1 401",
        "{}",
        String::from_utf8_lossy(&answer)
    );
    Ok(())
}

async fn curl_takes_the_certificate_and_either_protocol(scene: &Scene) -> Result<()> {
    let token = scene.token("alice").await?;
    let by_name = format!("https://{SERVER_NAME}:{}{READ}", scene.stack.tls().port());
    let by_address = format!("{}{READ}", scene.stack.url());
    for url in [&by_name, &by_address] {
        for (option, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
            let (code, said) = curl(scene, &token, url, &[option]).await?;
            ensure!(
                code == 0 && said == format!("{version} 200"),
                "{url} {option}: exit {code}, {said}"
            );
        }
    }
    let other = format!(
        "https://elsewhere.example.com:{}{READ}",
        scene.stack.tls().port()
    );
    let (code, said) = curl(scene, &token, &other, &[]).await?;
    ensure!(code == CURL_PEER_FAILED, "exit {code}, {said}");
    Ok(())
}

async fn a_client_that_checks_takes_no_other_name_and_no_other_authority(
    scene: &Scene,
) -> Result<()> {
    let stranger = Authority::new()?;
    for (authority, name, reason) in [
        (
            authority_of(scene)?,
            "elsewhere.example.com",
            "not valid for name",
        ),
        // It has the same name as the right one, and another key.
        (stranger.der(), SERVER_NAME, "BadSignature"),
    ] {
        let Err(error) = connect(scene.stack.tls(), &authority, name, &[]).await else {
            anyhow::bail!("{name} was taken");
        };
        ensure!(
            format!("{error:#}").contains(reason),
            "{name}: {error:?}, wanted {reason}"
        );
    }
    Ok(())
}

/// No library that is in use still says such a greeting, so it is spelt out.
async fn tls_1_1_is_refused(scene: &Scene) -> Result<()> {
    let answer = greet(scene.stack.tls(), [3, 2]).await?;
    // RFC 5246 §7.2: an alert, fatal, `protocol_version`.
    ensure!(answer[0] == 21 && answer[5..7] == [2, 70], "{answer:?}");
    // The same greeting with another version is good: an answer of kind `handshake`, `server_hello`.
    let answer = greet(scene.stack.tls(), [3, 3]).await?;
    ensure!(answer[0] == 22 && answer[5] == 2, "{answer:?}");
    Ok(())
}

async fn upstreams_are_reached_over_tls(scene: &Scene) -> Result<()> {
    let authority = Authority::new()?;
    let upstreams = Upstreams::start(scene, &authority, [MIMIR, PROVIDER]).await?;
    let side_gate = upstreams.gate(scene, &authority).await?;
    side_gate.wait_for_keys().await?;
    let token = scene.token("alice").await?;
    for protocol in [Protocol::H1, Protocol::H2] {
        let request = RawRequest::get(READ).bearer(&token).tenant(ACME);
        let reply = request.send(&side_gate.target, protocol).await?;
        let direct = scene
            .direct(scene.stack.mimir.http(), ACME, RawRequest::get(READ))
            .await?;
        ensure!(
            reply.status == 200 && reply.body == direct.body,
            "{reply:?}"
        );
    }
    let stats = side_gate.envoy.stats().await?;
    for cluster in ["mimir", "idp"] {
        let handshakes = stats
            .get(&format!("cluster.{cluster}.ssl.handshake"))
            .copied();
        ensure!(
            handshakes.is_some_and(|count| count > 0),
            "{cluster}: {handshakes:?} handshakes"
        );
    }
    Ok(())
}

async fn a_certificate_of_another_authority_or_name_is_no_upstream(scene: &Scene) -> Result<()> {
    let trusted = Authority::new()?;
    let stranger = Authority::new()?;
    let token = scene.token("alice").await?;
    let request = RawRequest::get(READ).bearer(&token).tenant(ACME);
    let good = Upstreams::start(scene, &trusted, [MIMIR, PROVIDER]).await?;
    let impostors = [
        (
            "another authority",
            Upstreams::start(scene, &stranger, [MIMIR, PROVIDER]).await?,
        ),
        (
            "another name",
            Upstreams::start(scene, &trusted, ["elsewhere.example.com"; 2]).await?,
        ),
    ];
    for (what, bad) in &impostors {
        // The backend: it cannot be reached, as far as anybody can tell.
        let mixed = Clusters {
            mimir: bad.mimir.address(),
            idp: good.idp.address(),
        };
        let side_gate = gate(scene, &trusted, mixed).await?;
        side_gate.wait_for_keys().await?;
        let reply = request
            .clone()
            .header("x-test-id", "tls")
            .send(&side_gate.target, Protocol::H1)
            .await?;
        let line = side_gate
            .envoy
            .access_line("tls", Duration::from_secs(5))
            .await?;
        let details = line.details.unwrap_or_default();
        ensure!(
            reply.status == 502 && details == "scopegate{backend_unavailable}",
            "{what}: {} {details} {}",
            reply.status,
            reply.text()
        );
        refused(&side_gate, "mimir").await.context(*what)?;

        // The provider: whose keys these are nobody knows, so there are none.
        let mixed = Clusters {
            mimir: good.mimir.address(),
            idp: bad.idp.address(),
        };
        let side_gate = gate(scene, &trusted, mixed).await?;
        let reply = request
            .clone()
            .header("x-test-id", "tls")
            .send(&side_gate.target, Protocol::H1)
            .await?;
        let line = side_gate
            .envoy
            .access_line("tls", Duration::from_secs(5))
            .await?;
        let details = line.details.unwrap_or_default();
        ensure!(
            reply.status == 503 && details == "scopegate{keys_unavailable}",
            "{what}: {} {details} {}",
            reply.status,
            reply.text()
        );
        ensure!(reply.header("retry-after").is_some(), "{reply:?}");
        refused(&side_gate, "idp").await.context(*what)?;
        // Tried, and never well: metrics are a second late.
        let tried = |fetches| fetches > 0.0;
        drill::wait_for_metric(
            &side_gate.envoy,
            FETCHES,
            &[],
            Duration::from_secs(5),
            tried,
        )
        .await?;
        let good = side_gate.envoy.metric(FETCHES, &[("result", "ok")]).await?;
        ensure!(good == 0.0, "{what}: {good} fetches went well");
    }
    Ok(())
}

/// TLS in front of Mimir and Keycloak.
struct Upstreams {
    mimir: Server,
    idp: Server,
}

/// Where the two clusters lead.
#[derive(Clone, Copy)]
struct Clusters {
    mimir: SocketAddr,
    idp: SocketAddr,
}

impl Upstreams {
    /// With certificates for these names, Mimir's and the provider's.
    async fn start(scene: &Scene, authority: &Authority, names: [&str; 2]) -> Result<Upstreams> {
        let [mimir, idp] = names;
        Ok(Upstreams {
            mimir: terminate(authority, mimir, scene.stack.mimir.http()).await?,
            idp: terminate(authority, idp, scene.stack.keycloak.address()).await?,
        })
    }

    async fn gate(&self, scene: &Scene, trusted: &Authority) -> Result<SideGate> {
        let clusters = Clusters {
            mimir: self.mimir.address(),
            idp: self.idp.address(),
        };
        gate(scene, trusted, clusters).await
    }
}

/// A gate whose two clusters speak TLS and trust that authority. Envoy reads the certificate when it starts.
async fn gate(scene: &Scene, trusted: &Authority, clusters: Clusters) -> Result<SideGate> {
    let folder = TempDir::with_prefix("scopegate-tls-")?;
    let file = folder.path().join("ca.crt");
    std::fs::write(&file, trusted.pem())?;
    SideGate::start(scene, scene.stack.configuration(), |settings| {
        let settings = settings
            .cluster("mimir", clusters.mimir)
            .cluster("idp", clusters.idp);
        over_tls(
            over_tls(settings, "mimir", MIMIR, &file),
            "idp",
            PROVIDER,
            &file,
        )
    })
    .await
}

/// Give a cluster the transport socket that the shipped `idp` has, with another name and another authority.
fn over_tls(
    settings: EnvoySettings,
    cluster: &'static str,
    name: &'static str,
    authority: &Path,
) -> EnvoySettings {
    let authority: PathBuf = authority.to_owned();
    settings.edit(move |bootstrap| {
        let mut socket = shipped_socket()?;
        let context = &mut socket["typed_config"];
        context["sni"] = json!(name);
        let validation = &mut context["common_tls_context"]["validation_context"];
        ensure!(
            validation["trusted_ca"]["filename"].is_string(),
            "{validation}"
        );
        validation["trusted_ca"]["filename"] = json!(authority);
        let matcher = &mut validation["match_typed_subject_alt_names"][0]["matcher"];
        ensure!(matcher["exact"].is_string(), "{matcher}");
        matcher["exact"] = json!(name);
        bootstrap.cluster(cluster)?["transport_socket"] = socket;
        Ok(())
    })
}

fn shipped_socket() -> Result<Value> {
    let shipped: Value = yaml::read(&paths::repository().join("envoy/envoy.yaml"))?;
    let clusters = shipped["static_resources"]["clusters"]
        .as_array()
        .context("no clusters")?;
    let idp = clusters
        .iter()
        .find(|cluster| cluster["name"] == json!("idp"));
    Ok(idp.context("no cluster idp")?["transport_socket"].clone())
}

/// Envoy has refused that cluster's certificate, and nothing went over it.
async fn refused(side_gate: &SideGate, cluster: &str) -> Result<()> {
    let stats = side_gate.envoy.stats().await?;
    let of = |name: &str| {
        stats
            .get(&format!("cluster.{cluster}.{name}"))
            .copied()
            .unwrap_or_default()
    };
    let errors = of("ssl.fail_verify_error") + of("ssl.fail_verify_san");
    ensure!(errors > 0, "no certificate was refused");
    ensure!(
        of("upstream_rq_2xx") == 0,
        "{} answers",
        of("upstream_rq_2xx")
    );
    Ok(())
}

async fn connect(
    address: SocketAddr,
    authority: &[u8],
    name: &str,
    alpn: &[&str],
) -> Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(authority.to_vec()))?;
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn
        .iter()
        .map(|protocol| protocol.as_bytes().to_vec())
        .collect();
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(name.to_owned())?;
    let shaken = TlsConnector::from(Arc::new(config)).connect(name, stream);
    Ok(tokio::time::timeout(PATIENCE, shaken).await??)
}

/// The first bytes of the answer to a plain greeting with that as the highest version.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the record has less than two hundred bytes"
)]
async fn greet(address: SocketAddr, version: [u8; 2]) -> Result<[u8; 7]> {
    // RFC 5246 §7.4.1.2: version, random, no session, six suites of which at least one suits any certificate, no
    // compression; then the curves, their formats and the algorithms of signatures.
    let suites = [
        0xc0, 0x09, 0xc0, 0x13, 0xc0, 0x2b, 0xc0, 0x2f, 0xc0, 0x0a, 0xc0, 0x14,
    ];
    let extensions = [
        &[0, 10, 0, 6, 0, 4, 0, 23, 0, 24][..],
        &[0, 11, 0, 2, 1, 0],
        &[0, 13, 0, 8, 0, 6, 4, 3, 4, 1, 8, 4],
    ]
    .concat();
    let mut hello = [
        &version[..],
        &[7; 32],
        &[0],
        &[0, suites.len() as u8],
        &suites,
        &[1, 0],
    ]
    .concat();
    hello.extend([0, extensions.len() as u8]);
    hello.extend(extensions);
    let length = hello.len() as u8;
    let record = [
        &[22, 3, 1, 0, length + 4, 1, 0, 0, length],
        hello.as_slice(),
    ]
    .concat();
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(&record).await?;
    let mut answer = [0; 7];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut answer)).await??;
    Ok(answer)
}

/// The exit code, and version and status of the answer.
async fn curl(scene: &Scene, token: &str, url: &str, options: &[&str]) -> Result<(i32, String)> {
    let output = Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--max-time",
            "20",
            "--output",
            "/dev/null",
        ])
        .args(["--write-out", "%{http_version} %{http_code}"])
        .arg("--cacert")
        .arg(scene.stack.authority())
        // Any host is this one.
        .args(["--connect-to", &format!("::{}", scene.stack.tls())])
        .args(["--header", &format!("authorization: Bearer {token}")])
        .args(["--header", &format!("x-scope-orgid: {ACME}")])
        .args(options)
        .arg(url)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, output)
        .await?
        .context("no curl")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok((output.status.code().context("killed")?, said))
}

fn authority_of(scene: &Scene) -> Result<Vec<u8>> {
    let Target { tls, .. } = scene.stack.tls_target();
    Ok(tls.context("no TLS")?.0)
}

/// It needs no data, and is the same each time.
const READ: &str = "/prometheus/api/v1/status/buildinfo";
const FETCHES: &str = "scopegate_jwks_fetch_total";
const MIMIR: &str = "mimir.example.com";
const PROVIDER: &str = "login.example.com";
/// `CURLE_PEER_FAILED_VERIFICATION`.
const CURL_PEER_FAILED: i32 = 60;
const PATIENCE: Duration = Duration::from_secs(25);
