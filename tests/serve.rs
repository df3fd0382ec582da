//! The program as it is shipped serves documents and says so, and puts the native module where it
//! is wanted. Everything else is tested in `integration`.
#![cfg(feature = "serve")]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const RESOURCE: &str = "\
apiVersion: observability.giantswarm.io/v1alpha1
kind: GrafanaOrganization
metadata: {name: acme}
spec: {displayName: Acme, rbac: {admins: [a]}, tenants: [acme]}
";

#[test]
fn the_program_serves_tells_of_it_and_ends_with_a_signal() {
    let file = std::env::temp_dir().join(format!("scopegate-serve-{}.yaml", std::process::id()));
    std::fs::write(&file, RESOURCE).unwrap();
    let mut child = Running(
        Command::new(env!("CARGO_BIN_EXE_scopegate"))
            .args(["serve-organizations", "--insecure-http", "--drain", "0s"])
            .args(["--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0"])
            .arg("--files")
            .arg(&file)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    // A program that says nothing would hold up the test for ever.
    let id = child.0.id().to_string();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(20));
        let _ = Command::new("kill").args(["-9", &id]).status();
    });
    let mut lines = BufReader::new(child.0.stderr.take().unwrap()).lines();
    let mut line = || lines.next().expect("a line").unwrap();
    let listening = line();
    let address = listening.split('"').nth(1).expect("an address");
    let address: SocketAddr = address.parse().expect(address);
    let published = line();
    assert!(published.starts_with("info published mark="), "{published}");
    let mut stream = TcpStream::connect(address).unwrap();
    let request = "GET /organizations HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("\"name\":\"acme\""), "{answer}");
    let signal = Command::new("kill").arg(child.0.id().to_string()).status();
    assert!(signal.unwrap().success());
    assert_eq!(line(), "info ending signal=\"SIGTERM\"");
    assert_eq!(line(), "info ended");
    assert_eq!(child.0.wait().unwrap().code(), Some(0));
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn the_program_installs_the_native_module() {
    let folder = tempfile::tempdir().unwrap();
    let (from, place) = (
        folder.path().join("built.so"),
        folder.path().join("libscopegate.so"),
    );
    let install = |into: &std::path::Path| {
        Command::new(env!("CARGO_BIN_EXE_scopegate"))
            .arg("install-module")
            .arg(into)
            .arg("--from")
            .arg(&from)
            .output()
            .unwrap()
    };
    let refused = |into: &std::path::Path, why: &str| {
        let output = install(into);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(why), "{said}");
    };
    refused(folder.path(), "built.so: No such file");
    std::fs::write(&from, "\0asm").unwrap();
    refused(folder.path(), "expected a shared object");
    assert!(!place.exists());
    for content in ["\x7fELF, the first", "\x7fELF, the second"] {
        std::fs::write(&from, content).unwrap();
        let output = install(folder.path());
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stdout).unwrap();
        let wanted = format!("{}: {} bytes\n", place.display(), content.len());
        assert_eq!(said, wanted);
        assert_eq!(std::fs::read_to_string(&place).unwrap(), content);
    }
    refused(&folder.path().join("nowhere"), "nowhere/libscopegate.so: ");
    // Nothing is left beside it.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}
