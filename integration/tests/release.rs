//! What a release is made with: images, archives and signatures, which must be the same wherever they are written, and
//! which others must be able to read. `make release-check` does the same with a whole release and cosign itself.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use integration::paths;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use serde_json::{Value, json};
use sha2::Digest as _;

/// A script below `integration`, with the variables of the key, if any.
fn ran(script: &str, arguments: &[&str], key: Option<&str>) -> Result<Output> {
    let mut command = Command::new("python3");
    command
        .arg(paths::integration().join(script))
        .args(arguments);
    command
        .env_remove("COSIGN_KEY")
        .env_remove("SCOPEGATE_SIGNING_KEY");
    if let Some(key) = key {
        let file = paths::integration().join(format!("keys/{key}.pem"));
        command.env("SCOPEGATE_SIGNING_KEY", file);
    }
    Ok(command.output()?)
}

fn said(script: &str, arguments: &[&str], key: Option<&str>) -> Result<String> {
    let output = ran(script, arguments, key)?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{script}: {errors}");
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Every file of a folder, by its path in it.
fn files(folder: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(folder)?.to_owned(), fs::read(&path)?);
            }
        }
    }
    Ok(found)
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// What a descriptor names, after its size and digest have been compared.
fn blob(layout: &Path, descriptor: &Value) -> Result<Vec<u8>> {
    let digest = descriptor["digest"].as_str().context("no digest")?;
    let name = digest.strip_prefix("sha256:").context("not SHA-256")?;
    let content = fs::read(layout.join("blobs/sha256").join(name))?;
    ensure!(descriptor["size"] == content.len());
    ensure!(hex::encode(sha2::Sha256::digest(&content)) == name);
    Ok(content)
}

fn document(layout: &Path, descriptor: &Value) -> Result<Value> {
    Ok(serde_json::from_slice(&blob(layout, descriptor)?)?)
}

/// The one image of a layout, or the index of its images.
fn first(layout: &Path) -> Result<Value> {
    let index: Value = serde_json::from_slice(&fs::read(layout.join("index.json"))?)?;
    ensure!(index["manifests"].as_array().map(Vec::len) == Some(1));
    Ok(index["manifests"][0].clone())
}

/// The configuration of an image, and its one layer as a tar whose digest is the one that it states.
fn opened(layout: &Path, manifest: &Value) -> Result<(Value, Vec<u8>)> {
    let config = document(layout, &manifest["config"])?;
    ensure!(manifest["layers"].as_array().map(Vec::len) == Some(1));
    let packed = blob(layout, &manifest["layers"][0])?;
    let mut tar = Vec::new();
    flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut tar)?;
    let digest = format!("sha256:{}", hex::encode(sha2::Sha256::digest(&tar)));
    ensure!(config["rootfs"]["diff_ids"] == json!([digest]));
    Ok((config, tar))
}

/// What `tar` lists of an archive: mode, owner, size, date and name of each file.
fn listed(tar: &[u8]) -> Result<Vec<String>> {
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), tar)?;
    let mut command = Command::new("tar");
    command.env("TZ", "UTC").args(["--numeric-owner", "-tvf"]);
    let output = command.arg(file.path()).output()?;
    ensure!(output.status.success());
    let text = String::from_utf8(output.stdout)?;
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    Ok(text.lines().map(words).collect())
}

const IMAGE: &str = "tools/image.py";
const ARCHIVE: &str = "release/archive.py";
const SIGN: &str = "release/sign.py";

#[test]
fn the_image_of_the_module_is_one_layer_with_one_file() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (module, layout) = (folder.path().join("m.wasm"), folder.path().join("image"));
    fs::write(&module, b"\0asm, and so on")?;
    let digest = said(IMAGE, &[&text(&module), &text(&layout), "1.2.3"], None)?;
    let described = first(&layout)?;
    ensure!(described["digest"] == digest.as_str());
    let manifest = document(&layout, &described)?;
    ensure!(manifest["annotations"]["org.opencontainers.image.version"] == "1.2.3");
    let (_, tar) = opened(&layout, &manifest)?;
    ensure!(listed(&tar)? == ["-rw-r--r-- 0/0 15 1970-01-01 00:00 plugin.wasm"]);
    Ok(())
}

#[test]
fn the_image_of_the_command_runs_as_nobody_on_both_architectures() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let layout = folder.path().join("image");
    let mut programs = Vec::new();
    for name in ["amd64", "arm64"] {
        let file = folder.path().join(name);
        fs::write(&file, name.repeat(2))?;
        programs.push(format!("{name}={}", file.display()));
    }
    let to = text(&layout);
    let both = [
        &["--organizations", &to, "1.2.3"][..],
        &[&programs[0], &programs[1]],
    ]
    .concat();
    let digest = said(IMAGE, &both, None)?;
    let described = first(&layout)?;
    ensure!(described["digest"] == digest.as_str());
    let index = document(&layout, &described)?;
    let platforms: Vec<&Value> = index["manifests"]
        .as_array()
        .context("none")?
        .iter()
        .collect();
    ensure!(platforms.len() == 2);
    for (described, name) in platforms.into_iter().zip(["amd64", "arm64"]) {
        ensure!(described["platform"] == json!({"os": "linux", "architecture": name}));
        let (config, tar) = opened(&layout, &document(&layout, described)?)?;
        ensure!(config["architecture"] == name && config["os"] == "linux");
        ensure!(config["config"]["User"] == "65532:65532");
        ensure!(config["config"]["Entrypoint"] == json!(["/scopegate"]));
        ensure!(config["config"]["Cmd"] == json!(["serve-organizations", "--help"]));
        ensure!(listed(&tar)? == ["-rwxr-xr-x 0/0 10 1970-01-01 00:00 scopegate"]);
    }
    // By itself it is a manifest, and no index.
    said(IMAGE, &both[..4], None)?;
    let alone = first(&layout)?;
    ensure!(alone["mediaType"] == "application/vnd.oci.image.manifest.v1+json");
    Ok(())
}

#[test]
fn the_image_of_the_native_module_has_the_command_that_installs_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let layout = folder.path().join("image");
    let mut given = Vec::new();
    for name in ["amd64", "arm64"] {
        let [command, module] =
            ["command", "module"].map(|it| folder.path().join(format!("{it}-{name}")));
        fs::write(&command, name.repeat(2))?;
        fs::write(&module, name)?;
        given.push(format!("{name}={},{}", command.display(), module.display()));
    }
    let arguments = ["--native", &text(&layout), "1.2.3", &given[0], &given[1]];
    let digest = said(IMAGE, &arguments, None)?;
    let described = first(&layout)?;
    ensure!(described["digest"] == digest.as_str());
    let index = document(&layout, &described)?;
    let images = index["manifests"].as_array().context("none")?;
    ensure!(images.len() == 2);
    for (described, name) in images.iter().zip(["amd64", "arm64"]) {
        ensure!(described["platform"] == json!({"os": "linux", "architecture": name}));
        let (config, tar) = opened(&layout, &document(&layout, described)?)?;
        ensure!(config["config"]["User"] == "65532:65532");
        ensure!(config["config"]["Entrypoint"] == json!(["/scopegate"]));
        let wanted = [
            "-rwxr-xr-x 0/0 10 1970-01-01 00:00 scopegate",
            "-rw-r--r-- 0/0 5 1970-01-01 00:00 libscopegate.so",
        ];
        ensure!(listed(&tar)? == wanted, "{:?}", listed(&tar)?);
    }
    Ok(())
}

#[test]
fn images_and_archives_are_the_same_bytes_wherever_they_are_written() -> Result<()> {
    let (mut images, mut archives) = (Vec::new(), Vec::new());
    for names in [["a", "b"], ["b", "a"]] {
        let folder = tempfile::tempdir()?;
        let source = folder.path().join("source");
        fs::create_dir_all(source.join("inner"))?;
        for name in names {
            fs::write(source.join("inner").join(name), name)?;
        }
        // As a checkout of another day has it.
        let day = if names[0] == "a" {
            "2001-02-03"
        } else {
            "2011-12-13"
        };
        let file = source.join("inner/a");
        let touched = Command::new("touch")
            .args(["-d", day])
            .arg(&file)
            .status()?;
        ensure!(touched.success());
        let layout = folder.path().join("image");
        said(IMAGE, &[&text(&file), &text(&layout), "1.2.3"], None)?;
        images.push(files(&layout)?);
        let mut packed = Vec::new();
        for name in ["a.tar", "a.tgz"] {
            let output = folder.path().join(name);
            said(ARCHIVE, &[&text(&source), &text(&output), "top/"], None)?;
            packed.push(fs::read(output)?);
        }
        archives.push(packed);
    }
    ensure!(images[0] == images[1]);
    ensure!(archives[0] == archives[1]);
    let names = listed(&archives[0][0])?;
    ensure!(
        names.len() == 2 && names[0].ends_with(" top/inner/a"),
        "{names:?}"
    );
    Ok(())
}

/// The point of a public key, which ends its document.
fn point(pem: &str) -> Result<Vec<u8>> {
    let lines: String = pem.lines().filter(|line| !line.contains('-')).collect();
    let document = STANDARD.decode(lines)?;
    Ok(document
        .get(document.len() - 65..)
        .context("too short")?
        .to_vec())
}

fn is_signed(point: &[u8], content: &[u8], signature: &str) -> Result<bool> {
    let signature = STANDARD.decode(signature.trim())?;
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point);
    Ok(key.verify(content, &signature).is_ok())
}

#[test]
fn what_is_signed_is_verified_by_another_library_and_not_when_a_byte_differs() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let key = Some("p256-a");
    let (sums, public) = (
        folder.path().join("SHA256SUMS"),
        folder.path().join("key.pub"),
    );
    let content = b"0123  scopegate.wasm\n".to_vec();
    fs::write(&sums, &content)?;
    said(SIGN, &["public", &text(&public)], key)?;
    let point = point(&fs::read_to_string(public)?)?;
    said(SIGN, &["blob", &text(&sums)], key)?;
    let signature = fs::read_to_string(folder.path().join("SHA256SUMS.sig"))?;
    ensure!(is_signed(&point, &content, &signature)?);
    let mut changed = content.clone();
    changed[0] ^= 1;
    ensure!(!is_signed(&point, &changed, &signature)?);

    let bundle = fs::read(folder.path().join("SHA256SUMS.sigstore.json"))?;
    let bundle: Value = serde_json::from_slice(&bundle)?;
    let message = &bundle["messageSignature"];
    ensure!(message["signature"] == signature.trim());
    let digest = STANDARD.encode(sha2::Sha256::digest(&content));
    ensure!(message["messageDigest"] == json!({"algorithm": "SHA2_256", "digest": digest}));
    Ok(())
}

/// The form in which cosign looks for it: an image of its own, under a tag made of the digest that it signs.
#[test]
fn the_signature_of_an_image_states_its_digest() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let key = Some("p256-a");
    let path = |name: &str| text(&folder.path().join(name));
    fs::write(path("m.wasm"), "module")?;
    let digest = said(IMAGE, &[&path("m.wasm"), &path("image"), "1.2.3"], None)?;
    let name = "registry.example.com/scopegate";
    let tag = said(
        SIGN,
        &["image", &path("image"), &path("signature"), name],
        key,
    )?;
    ensure!(tag == format!("{}.sig", digest.replace(':', "-")));
    said(SIGN, &["public", &path("key.pub")], key)?;
    let layout = folder.path().join("signature");
    let described = first(&layout)?;
    ensure!(described["annotations"]["org.opencontainers.image.ref.name"] == tag.as_str());
    let manifest = document(&layout, &described)?;
    let layer = &manifest["layers"][0];
    ensure!(layer["mediaType"] == "application/vnd.dev.cosign.simplesigning.v1+json");
    let payload = blob(&layout, layer)?;
    let signature = layer["annotations"]["dev.cosignproject.cosign/signature"].as_str();
    let point = point(&fs::read_to_string(path("key.pub"))?)?;
    ensure!(is_signed(
        &point,
        &payload,
        signature.context("no signature")?
    )?);
    let payload: Value = serde_json::from_slice(&payload)?;
    ensure!(payload["critical"]["image"]["docker-manifest-digest"] == digest.as_str());
    ensure!(payload["critical"]["identity"]["docker-reference"] == name);
    ensure!(payload["critical"]["type"] == "cosign container image signature");
    Ok(())
}

#[test]
fn nothing_is_signed_without_a_key_or_with_one_that_cosign_does_not_know() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let sums = text(&folder.path().join("SHA256SUMS"));
    fs::write(&sums, "0123  scopegate.wasm\n")?;
    for (key, reason) in [
        (None, "SCOPEGATE_SIGNING_KEY"),
        (Some("p384-a"), "P-256"),
        (Some("ed25519-a"), "P-256"),
        (Some("rsa-a"), "P-256"),
        (Some("none-of-them"), "No such file"),
    ] {
        let output = ran(SIGN, &["blob", &sums], key)?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success(), "{key:?}");
        ensure!(
            errors.starts_with("error: ") && errors.contains(reason),
            "{key:?}: {errors}"
        );
    }
    ensure!(fs::read_dir(folder.path())?.count() == 1);
    Ok(())
}
