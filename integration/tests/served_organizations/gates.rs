//! Gates in real Envoys that use what is served, over TLS and with a token, and depending on who has signed it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use integration::authority::Authority;
use integration::drill;
use integration::issuer::Issuer;
use integration::scene::Scene;
use integration::served::{self, Resources, Served};
use integration::token::Recipe;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{block_on, key_file, resource};

integration::trials![
    a_gate_goes_by_the_resources_over_a_connection_that_it_can_trust,
    a_gate_goes_by_what_a_key_of_its_own_has_signed_and_by_the_next_key_too,
];

const TOKEN: &str = "a-token-for-gates";

/// Two polls, with their spread, and a tick.
const SEEN: Duration = Duration::from_secs(12);

/// With the keys that documents must be signed by, or none.
fn configuration(signed_by: Option<&Value>) -> Value {
    let mut configuration = drill::configuration();
    configuration["organizations_from"] = json!({
        "uri": "https://localhost/organizations",
        "cluster": "organizations",
        "refresh_interval": "5s",
        "authorization": {"environment": "ORGANIZATIONS_TOKEN"},
    });
    if let Some(keys) = signed_by {
        configuration["organizations_from"]["signed_by"] = keys.clone();
    }
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

/// Those resources over TLS, for whoever shows the token.
async fn serve(resources: &Resources, authority: &Authority, more: &[&str]) -> Result<Served> {
    let (certificate, key) = authority.issue(&["localhost"])?;
    // Where no resources are looked for.
    resources.write(".tls.crt", &certificate)?;
    resources.write(".tls.key", &key)?;
    resources.write(".token", TOKEN)?;
    let folder = resources.path().display().to_string();
    let [certificate, key, token] =
        [".tls.crt", ".tls.key", ".token"].map(|name| resources.text(name));
    let arguments = [
        "--files",
        &folder,
        "--tls-cert",
        &certificate,
        "--tls-key",
        &key,
        "--token-file",
        &token,
    ];
    let mut served = Served::start(&[&arguments, more].concat()).await?;
    served.trusting(&authority.der());
    Ok(served)
}

fn reader(group: &str) -> Result<String> {
    drill::fresh(Recipe::of("reader").claim("groups", json!([group])))
}

/// A gate that asks that server, and trusts that authority.
async fn gate(served: &Served, authority: &Authority, signed_by: Option<&Value>) -> Result<Scene> {
    let verified = verified(authority);
    let settings = drill::settings(configuration(signed_by))?
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
        resources.write("hooli.yaml", &resource("hooli", "hooli-viewers"))?;
        let served = serve(&resources, &authority, &["--writers", "client:{name}"]).await?;
        let (hooli, initech) = (reader("hooli-viewers")?, reader("initech-viewers")?);

        let scene = gate(&served, &authority, None).await?;
        settles(&scene, &hooli, "hooli", 200).await?;
        settles(&scene, &initech, "initech", 403).await?;
        // A tenant comes and another one goes, and nobody has touched the gate.
        resources.write("initech.yaml", &resource("initech", "initech-viewers"))?;
        resources.write("hooli.yaml", &resource("hooli", "others"))?;
        settles(&scene, &initech, "initech", 200).await?;
        settles(&scene, &hooli, "hooli", 403).await?;

        // Whoever cannot show a certificate of the right authority is nobody.
        let wary = gate(&served, &stranger, None).await?;
        sleep(Duration::from_secs(2)).await;
        settles(&wary, &initech, "initech", 503).await?;
        ensure!(!wary.envoy.log().contains(TOKEN) && !scene.envoy.log().contains(TOKEN));
        Ok(())
    })
}

async fn says(scene: &Scene, text: &str) -> Result<()> {
    let began = Instant::now();
    while !scene.envoy.log_contains(text) {
        let log = scene.envoy.log();
        ensure!(began.elapsed() < SEEN, "{text}\n{log}");
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// As a key is changed: the next one is known to gates before anything is signed with it.
fn a_gate_goes_by_what_a_key_of_its_own_has_signed_and_by_the_next_key_too() -> Result<()> {
    block_on(async {
        let resources = Resources::new()?;
        let authority = Authority::new()?;
        let put = |name: &str| -> Result<()> {
            resources.write(".key", &std::fs::read_to_string(key_file(name))?)
        };
        let [old, next] = ["ed25519-a", "p384-a"].map(key_file);
        let both = served::public_keys(&[&old, &next])?;
        let next_alone = served::public_keys(&[&next])?;
        resources.write("hooli.yaml", &resource("hooli", "hooli-viewers"))?;
        put("ed25519-a")?;
        let key = resources.text(".key");
        let signing = ["--signing-key", &key, "--sign-every", "1s"];
        let served = serve(&resources, &authority, &signing).await?;
        let (hooli, initech) = (reader("hooli-viewers")?, reader("initech-viewers")?);
        let (patient, early, unaware) = tokio::try_join!(
            gate(&served, &authority, Some(&both)),
            gate(&served, &authority, Some(&next_alone)),
            gate(&served, &authority, None),
        )?;
        settles(&patient, &hooli, "hooli", 200).await?;
        // Whoever does not know the key says which it is; whoever knows none, that one is needed.
        let kid = &both["keys"][0]["kid"];
        let unproven =
            format!("none of the keys of signed_by has signed it, which names the kid {kid}");
        let signed = "it is signed, a JWS, and organizations_from has no signed_by".to_owned();
        for (gate, why) in [(&early, unproven), (&unaware, signed)] {
            says(gate, &why).await?;
            settles(gate, &hooli, "hooli", 503).await?;
        }
        // The next key comes, and a tenant.
        put("p384-a")?;
        settles(&early, &hooli, "hooli", 200).await?;
        resources.write("initech.yaml", &resource("initech", "initech-viewers"))?;
        settles(&patient, &initech, "initech", 200).await?;
        settles(&early, &initech, "initech", 200).await?;
        settles(&unaware, &hooli, "hooli", 503).await?;
        Ok(())
    })
}
