//! Checks of the document alone, for which no server is needed.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Result, ensure};
use integration::paths;

use crate::{document, python};

integration::trials![
    it_is_valid_openapi needs [OPENAPI_PYTHON],
    a_slip_in_it_would_be_noticed needs [OPENAPI_PYTHON],
    every_example_is_what_its_schema_says needs [OPENAPI_PYTHON],
];

fn it_is_valid_openapi() -> Result<()> {
    let output = validate(&document())?;
    ensure!(output.status.success(), "{}", said(&output));
    Ok(())
}

fn a_slip_in_it_would_be_noticed() -> Result<()> {
    let text = fs::read_to_string(document())?;
    let folder = tempfile::tempdir()?;
    for (right, wrong) in [
        ("in: path\n", "in: nowhere\n"),
        ("type: integer, format: int32", "type: whole, format: int32"),
        ("responses:\n", "answers:\n"),
        ("operationId: queryMetrics", "operationId: queryLogs"),
        (
            "license: {name: Apache-2.0,",
            "license: {title: Apache-2.0,",
        ),
    ] {
        ensure!(text.contains(right), "{right:?} is not in the document");
        let file = folder.path().join("openapi.yaml");
        fs::write(&file, text.replacen(right, wrong, 1))?;
        let output = validate(&file)?;
        ensure!(!output.status.success(), "{wrong:?} passes");
    }
    Ok(())
}

fn every_example_is_what_its_schema_says() -> Result<()> {
    let output = examples(&document())?;
    ensure!(output.status.success(), "{}", said(&output));
    println!("{}", said(&output));

    let text = fs::read_to_string(document())?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("openapi.yaml");
    for (right, wrong) in [
        ("errorType: forbidden", "errorType: mallory"),
        ("example: my-resource", "example: -my-resource"),
        ("example: nosniff", "example: sniff"),
        ("[1737972000, '12.5']", "[1737972000, 12.5]"),
    ] {
        ensure!(text.contains(right), "{right:?} is not in the document");
        fs::write(&file, text.replacen(right, wrong, 1))?;
        ensure!(!examples(&file)?.status.success(), "{wrong:?} passes");
    }
    Ok(())
}

fn validate(file: &Path) -> Result<Output> {
    let mut command = Command::new(python()?);
    command.args(["-m", "openapi_spec_validator", "--schema", "3.1"]);
    Ok(command.arg(file).output()?)
}

fn examples(file: &Path) -> Result<Output> {
    let script = paths::integration().join("stack/openapi/examples.py");
    Ok(Command::new(python()?).arg(script).arg(file).output()?)
}

fn said(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}
