//! Signed documents: the same signature in replicas, signing again, and another key.

use anyhow::{Context, Result, ensure};
use integration::client::RawRequest;
use integration::served::{self, Document, PATH, Resources, Served, Signature};
use serde_json::json;

use crate::{block_on, key_file, resource};

integration::trials![
    replicas_with_one_key_say_the_same_and_its_public_half_is_printed,
    the_date_is_renewed_though_nothing_changes,
    the_next_key_is_taken_from_the_file_and_a_broken_one_is_not,
    what_cannot_sign_is_told_at_once,
];

fn signature(document: &Document) -> Result<&Signature> {
    document.signature.as_ref().context("it is not signed")
}

async fn status_with(served: &Served, document: &Document) -> Result<u16> {
    let request = RawRequest::get(PATH).header("if-none-match", document.tag.as_str());
    Ok(served.ask(request).await?.status)
}

fn replicas_with_one_key_say_the_same_and_its_public_half_is_printed() -> Result<()> {
    block_on(async {
        let resources = Resources::new()?;
        resources.write("a.yaml", &resource("acme", "x"))?;
        resources.write("revision", "7")?;
        let (file, revision) = (resources.text("a.yaml"), resources.text("revision"));
        for name in ["ed25519-a", "p256-a", "p384-a", "rsa-a"] {
            let key = key_file(name);
            // A day, so that its end hardly comes between the two.
            let signing = ["--signing-key", &key, "--sign-every", "24h"];
            let arguments = [
                &[
                    "--files",
                    &file,
                    "--revision-file",
                    &revision,
                    "--insecure-http",
                ],
                &signing[..],
            ]
            .concat();
            let (one, two) =
                tokio::try_join!(Served::start(&arguments), Served::start(&arguments))?;
            let first = one.until("a list", |_| true).await?;
            let second = two.until("a list", |_| true).await?;
            ensure!(
                first.text == second.text && first.tag == second.tag,
                "{name}"
            );
            ensure!(first.names() == ["acme"] && first.revision == 7);
            ensure!(status_with(&two, &first).await? == 304, "{name}");
            let reply = one.get().await?;
            ensure!(reply.header("content-type").as_deref() == Some("application/jose"));
            let signature = signature(&first)?;
            ensure!(signature.issued % 86_400 == 0, "{signature:?}");
            ensure!(one.metric("signed_timestamp_seconds").await? == signature.issued);
            let printed = served::public_keys(&[&key])?;
            let keys = printed["keys"].as_array().context("no keys")?;
            ensure!(
                keys.len() == 1 && keys[0]["kid"] == json!(signature.key_id),
                "{printed}"
            );
            ensure!(keys[0].get("d").is_none(), "the private half is printed");
            let told = one.events("signing");
            ensure!(
                told.len() == 1 && told[0]["kid"] == json!(signature.key_id),
                "{told:?}"
            );
        }
        // Of several files, each once.
        let [one, two] = ["p256-a", "rsa-a"].map(key_file);
        let printed = served::public_keys(&[&one, &two, &one])?;
        ensure!(
            printed["keys"].as_array().map(Vec::len) == Some(2),
            "{printed}"
        );
        Ok(())
    })
}

/// Or else a gate, which counts from that date, would hold it for too old.
fn the_date_is_renewed_though_nothing_changes() -> Result<()> {
    block_on(async {
        let resources = Resources::new()?;
        resources.write("a.yaml", &resource("acme", "x"))?;
        let (file, key) = (resources.text("a.yaml"), key_file("p256-a"));
        let signing = ["--signing-key", &key, "--sign-every", "2s"];
        let arguments = [&["--files", &file, "--insecure-http"], &signing[..]].concat();
        let served = Served::start(&arguments).await?;
        let first = served.until("a list", |_| true).await?;
        let was = signature(&first)?.issued;
        ensure!(was % 2 == 0, "{was}");
        let is_later = |document: &Document| {
            let now = document.signature.as_ref();
            now.is_some_and(|now| now.issued > was)
        };
        let second = served.until("a later date", is_later).await?;
        // Whoever has the first is told so, and whoever has the second has it.
        ensure!(status_with(&served, &first).await? == 200);
        ensure!(status_with(&served, &second).await? == 304);
        ensure!(second.mark() == first.mark() && second.organizations == first.organizations);
        let now = signature(&second)?;
        ensure!(now.key_id == signature(&first)?.key_id);
        ensure!(served.metric("signed_timestamp_seconds").await? == now.issued);
        ensure!(served.events("published").len() == 1, "{}", served.log());
        Ok(())
    })
}

fn the_next_key_is_taken_from_the_file_and_a_broken_one_is_not() -> Result<()> {
    block_on(async {
        let resources = Resources::new()?;
        resources.write("a.yaml", &resource("acme", "x"))?;
        let put = |name: &str| -> Result<()> {
            resources.write("key.pem", &std::fs::read_to_string(key_file(name))?)
        };
        put("ed25519-a")?;
        let (file, key) = (resources.text("a.yaml"), resources.text("key.pem"));
        let arguments = ["--files", &file, "--insecure-http", "--signing-key", &key];
        let served = Served::start(&arguments).await?;
        let first = served.until("a list", |_| true).await?;
        let was = signature(&first)?.key_id.clone();
        let is_other = |document: &Document| {
            let now = document.signature.as_ref();
            now.is_some_and(|now| now.key_id != was)
        };
        put("rsa-b")?;
        let second = served.until("another key", is_other).await?;
        ensure!(second.mark() == first.mark());
        ensure!(
            status_with(&served, &first).await? == 200,
            "a tag of the old key"
        );
        let told = served.events("signing");
        ensure!(told.len() == 2 && told[1]["kid"] == json!(signature(&second)?.key_id));
        // What cannot be used changes nothing, and holds nothing up.
        let before = served.metric("credential_errors_total").await?;
        put("rsa-1024")?;
        served
            .until_metric("credential_errors_total", before + 1)
            .await?;
        resources.write("a.yaml", &resource("acme", "y"))?;
        let is_newer = |document: &Document| document.mark() > second.mark();
        let third = served.until("a change", is_newer).await?;
        ensure!(signature(&third)?.key_id == signature(&second)?.key_id);
        Ok(())
    })
}

fn what_cannot_sign_is_told_at_once() -> Result<()> {
    let resources = Resources::new()?;
    resources.write("a.yaml", &resource("acme", "x"))?;
    let file = resources.text("a.yaml");
    let weak = key_file("rsa-1024");
    let ports = ["--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0"];
    let from = ["--files", &file, "--insecure-http"];
    for (arguments, wanted) in [
        (["--signing-key", "/no/such"], "/no/such: "),
        (["--signing-key", &file], "a.yaml: there is no private key"),
        (
            ["--signing-key", &weak],
            "rsa-1024.pem: its key cannot sign",
        ),
        (["--sign-every", "1m"], "--signing-key"),
    ] {
        let output = served::ended(&[&from[..], &ports, &arguments].concat())?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(2), "{arguments:?}: {said}");
        ensure!(said.contains(wanted), "{arguments:?}: {said}");
    }
    Ok(())
}
