//! `make bench` computes ratios, percentiles and verdicts from what it measures. Python tests hold those to examples.

use std::process::Command;

use anyhow::{Result, ensure};
use integration::paths;

#[test]
fn figures_and_verdicts_follow_from_the_slices() -> Result<()> {
    let output = Command::new("python3")
        .args(["-B", "-m", "unittest", "discover"])
        .arg(paths::integration().join("bench"))
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}");
    // Without a test the command succeeds as well.
    ensure!(
        said.contains("Ran ") && !said.contains("Ran 0 tests"),
        "{said}"
    );
    Ok(())
}
