//! A gate in a real Envoy that goes by what is served, over TLS and with a token.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use integration::authority::Authority;
use integration::drill;
use integration::issuer::Issuer;
use integration::scene::Scene;
use integration::served::{Resources, Served};
use integration::token::Recipe;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{block_on, resource};

integration::trials![a_gate_goes_by_the_resources_over_a_connection_that_it_can_trust];

const TOKEN: &str = "a-token-for-gates";

/// Two polls, with their spread, and a tick.
const SEEN: Duration = Duration::from_secs(12);

fn configuration() -> Value {
    let mut configuration = drill::configuration();
    configuration["organizations_from"] = json!({
        "uri": "https://localhost/organizations",
        "cluster": "organizations",
        "refresh_interval": "5s",
        "authorization": {"environment": "ORGANIZATIONS_TOKEN"},
    });
    configuration
}

/// As the shipped clusters verify a provider.
fn verified(authority: &Authority) -> Value {
    json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": "localhost",
            "common_tls_context": {"validation_context": {
                "trusted_ca": {"inline_string": authority.pem()},
                "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": "localhost"}}],
            }},
        },
    })
}

/// A gate that asks that server, and trusts that authority.
async fn gate(served: &Served, authority: &Authority) -> Result<Scene> {
    let verified = verified(authority);
    let settings = drill::settings(configuration())?
        .environment("ORGANIZATIONS_TOKEN", TOKEN)
        .cluster("organizations", served.target().address)
        .edit(move |bootstrap| {
            bootstrap.cluster("organizations")?["transport_socket"] = verified;
            Ok(())
        });
    Scene::start_with(settings, Issuer::corporate().await?).await
}

async fn settles(scene: &Scene, token: &str, tenant: &str, wanted: u16) -> Result<()> {
    let began = Instant::now();
    loop {
        let reply = drill::send(&scene.envoy, &drill::read(token, tenant)).await?;
        if reply.status == wanted {
            return Ok(());
        }
        ensure!(
            began.elapsed() < SEEN,
            "{tenant}: {} instead of {wanted}\n{}",
            reply.status,
            scene.envoy.log()
        );
        sleep(Duration::from_millis(100)).await;
    }
}

fn a_gate_goes_by_the_resources_over_a_connection_that_it_can_trust() -> Result<()> {
    block_on(async {
        let resources = Resources::new()?;
        let (authority, stranger) = (Authority::new()?, Authority::new()?);
        let (certificate, key) = authority.issue(&["localhost"])?;
        let credentials = Resources::new()?;
        credentials.write("tls.crt", &certificate)?;
        credentials.write("tls.key", &key)?;
        credentials.write("token", TOKEN)?;
        resources.write("hooli.yaml", &resource("hooli", "hooli-viewers"))?;
        let folder = resources.path().display().to_string();
        let [certificate, key, token] =
            ["tls.crt", "tls.key", "token"].map(|name| credentials.text(name));
        let arguments = [
            "--files",
            &folder,
            "--tls-cert",
            &certificate,
            "--tls-key",
            &key,
            "--token-file",
            &token,
            "--writers",
            "client:{name}",
        ];
        let mut served = Served::start(&arguments).await?;
        served.trusting(&authority.der());
        let of = |group: &str| drill::fresh(Recipe::of("reader").claim("groups", json!([group])));
        let (hooli, initech) = (of("hooli-viewers")?, of("initech-viewers")?);

        let scene = gate(&served, &authority).await?;
        settles(&scene, &hooli, "hooli", 200).await?;
        settles(&scene, &initech, "initech", 403).await?;
        // A tenant comes and another one goes, and nobody has touched the gate.
        resources.write("initech.yaml", &resource("initech", "initech-viewers"))?;
        resources.write("hooli.yaml", &resource("hooli", "others"))?;
        settles(&scene, &initech, "initech", 200).await?;
        settles(&scene, &hooli, "hooli", 403).await?;

        // Whoever cannot show a certificate of the right authority is nobody.
        let wary = gate(&served, &stranger).await?;
        sleep(Duration::from_secs(2)).await;
        settles(&wary, &initech, "initech", 503).await?;
        ensure!(!wary.envoy.log().contains(TOKEN) && !scene.envoy.log().contains(TOKEN));
        Ok(())
    })
}
