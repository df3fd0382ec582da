//! The root of a container, from the layer of an image.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

/// The folder, and how the image wants to be started.
pub struct Root {
    folder: TempDir,
    config: Value,
    shared: Vec<(String, TempDir)>,
}

impl Root {
    /// Unpacks the one layer of the image for this machine.
    pub fn unpacked(layout: &Path) -> Result<Root> {
        let read = |path: PathBuf| -> Result<Value> {
            let content = fs::read(&path).with_context(|| path.display().to_string())?;
            Ok(serde_json::from_slice(&content)?)
        };
        let path = |described: &Value| -> Result<PathBuf> {
            let digest = described["digest"].as_str().context("no digest")?;
            Ok(layout.join("blobs").join(digest.replace(':', "/")))
        };
        let mut found = read(layout.join("index.json"))?["manifests"][0].clone();
        let mut manifest = read(path(&found)?)?;
        if let Some(images) = manifest["manifests"].as_array() {
            let mut images = images.iter();
            let own = images.find(|it| it["platform"]["architecture"] == "amd64");
            found = own.context("no image for amd64")?.clone();
            manifest = read(path(&found)?)?;
        }
        let config = read(path(&manifest["config"])?)?["config"].clone();
        let folder = tempfile::tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let layer = path(&manifest["layers"][0])?;
        let mut command = Command::new("tar");
        command.arg("-xzf").arg(layer).arg("-C").arg(folder.path());
        ensure!(command.status()?.success());
        Ok(Root {
            folder,
            config,
            shared: Vec::new(),
        })
    }

    /// What lies at its top.
    pub fn files(&self) -> Result<Vec<String>> {
        let entries = fs::read_dir(self.folder.path())?;
        entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    /// A file that is mounted into it.
    pub fn write(&self, path: &str, content: &str) -> Result<()> {
        let file = self.folder.path().join(path);
        fs::create_dir_all(file.parent().context("no folder")?)?;
        fs::write(&file, content)?;
        Ok(fs::set_permissions(
            file,
            fs::Permissions::from_mode(0o444),
        )?)
    }

    /// A file of it.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        Ok(fs::read(self.folder.path().join(path))?)
    }

    /// A folder that anybody may write to, mounted into it; gives its path.
    pub fn share(&mut self, path: &str) -> Result<PathBuf> {
        let folder = tempfile::tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777))?;
        fs::create_dir_all(self.folder.path().join(path))?;
        let place = folder.path().to_owned();
        self.shared.push((path.to_owned(), folder));
        Ok(place)
    }

    /// Its entrypoint as its user, in a root that nothing can be written to.
    pub fn command(&self, arguments: &[String], variables: &[(&str, &str)]) -> Result<Command> {
        let user = self.config["User"].as_str().context("no user")?;
        let entrypoint = self.config["Entrypoint"][0].as_str();
        let folder = self.folder.path();
        let mut command = Command::new("unshare");
        let mounts = self.shared.iter().map(|(path, shared)| {
            format!("mount --bind {} $root/{path}\n", shared.path().display())
        });
        command.args(["--mount", "sh", "-euc"]).arg(format!(
            "root=$1; user=$2; shift 2; mount --bind $root $root; mount -o remount,bind,ro $root
             {}
             exec setpriv --no-new-privs chroot --userspec=$user --groups= $root \"$@\"",
            mounts.collect::<String>()
        ));
        command.arg("sh").arg(folder).arg(user);
        command
            .arg(entrypoint.context("no entrypoint")?)
            .args(arguments);
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.envs(variables.iter().copied());
        Ok(command)
    }
}
