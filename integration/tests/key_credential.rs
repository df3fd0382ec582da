//! Key endpoints that require a credential, with a real Envoy: from a variable, and from a file that is renewed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use integration::drill::{self, fresh, read, send, verdict};
use integration::issuer::{Issuer, PublishedKey};
use integration::paths;
use integration::scene::Scene;
use integration::token::Recipe;
use integration::yaml;
use serde_json::{Value, json};

const READY: Duration = Duration::from_secs(5);

/// A token that is let in as soon as there are keys.
async fn is_let_in(scene: &Scene, recipe: impl Fn() -> Recipe) -> Result<()> {
    let until = Instant::now() + READY;
    loop {
        let status = send(&scene.envoy, &read(&fresh(recipe())?, "acme"))
            .await?
            .status;
        if status == 200 {
            return Ok(());
        }
        ensure!(status == 503, "{status}");
        ensure!(Instant::now() < until, "{}", scene.envoy.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn reader() -> Recipe {
    Recipe::of("reader")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_holds_the_credential_for_the_keys() -> Result<()> {
    let issuer = Issuer::corporate().await?;
    issuer.want_credential("keys-s3cret");
    let mut configuration = drill::configuration();
    configuration["providers"][0]["jwks"]["authorization"] = json!({"environment": "KEYS_TOKEN"});
    let settings = drill::settings(configuration.clone())?
        .environment("KEYS_TOKEN", "keys-s3cret")
        .log_level("debug");
    let scene = Scene::start_with(settings, issuer).await?;
    is_let_in(&scene, reader).await?;
    for line in scene.envoy.own_lines() {
        ensure!(!line.contains("keys-s3cret"), "{line}");
    }

    // Unset, it is an error at load, with its place.
    let refused = drill::scene(configuration)
        .await
        .err()
        .map(|error| format!("{error:#}"));
    let refused = refused.unwrap_or_default();
    let place =
        "providers[0].jwks.authorization.environment: the variable \"KEYS_TOKEN\" is not set";
    ensure!(refused.contains(place), "{refused}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_wants_a_credential_is_an_outage_without_one() -> Result<()> {
    let issuer = Issuer::corporate().await?;
    issuer.want_credential("keys-s3cret");
    let scene = Scene::start_with(drill::settings(drill::configuration())?, issuer).await?;
    let request = read(&fresh(reader())?, "acme");
    let (status, details) = verdict(&scene.envoy, request, "bare").await?;
    ensure!(
        status == 503 && details.contains("keys_unavailable"),
        "{status} {details}"
    );
    ensure!(
        scene.envoy.log_contains("status 401"),
        "{}",
        scene.envoy.log()
    );
    Ok(())
}

/// Puts a token there as a kubelet does: into a new folder, to which a link is then turned.
fn renew(volume: &Path, token: &str) -> Result<()> {
    let folder = tempfile::Builder::new()
        .prefix("..")
        .tempdir_in(volume)?
        .keep();
    fs::write(folder.join("token"), token)?;
    let link = volume.join("..data_tmp");
    symlink(folder.file_name().unwrap_or_default(), &link)?;
    fs::rename(&link, volume.join("..data"))?;
    if !volume.join("token").exists() {
        symlink("..data/token", volume.join("token"))?;
    }
    Ok(())
}

/// The published recipe, with the paths of this run.
fn recipe(name: &str, folder: &Path, volume: &Path) -> Result<Value> {
    let text = fs::read_to_string(paths::repository().join("envoy/keys-credential").join(name))?;
    let text = text
        .replace("/etc/envoy/keys-credential", &folder.display().to_string())
        .replace(
            "/var/run/secrets/keys-credential",
            &volume.display().to_string(),
        );
    yaml::parse(&text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_file_holds_the_credential_for_the_keys() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let volume = tempfile::tempdir()?;
    renew(volume.path(), "first-s3cret")?;
    let secret = recipe("secret.yaml", folder.path(), volume.path())?;
    fs::write(
        folder.path().join("secret.yaml"),
        serde_json::to_vec(&secret)?,
    )?;
    let options = recipe("cluster.yaml", folder.path(), volume.path())?;

    let issuer = Issuer::corporate().await?;
    issuer.want_credential("first-s3cret");
    let settings = drill::settings(drill::configuration())?.edit(move |bootstrap| {
        let added = options.as_object().into_iter().flatten();
        for (name, value) in added {
            bootstrap.cluster("idp")?[name] = value.clone();
        }
        Ok(())
    });
    let scene = Scene::start_with(settings, issuer).await?;
    is_let_in(&scene, reader).await?;

    // The token is renewed, the old one expires, and a key is new.
    renew(volume.path(), "second-s3cret")?;
    scene.corporate.want_credential("second-s3cret");
    scene.corporate.add_key(PublishedKey::named("p256-b"));
    tokio::time::sleep(Duration::from_millis(500)).await;
    is_let_in(&scene, || reader().key("p256-b")).await
}
