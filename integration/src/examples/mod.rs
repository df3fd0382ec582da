//! The files of `envoy/examples`, from which users start, and requests that show what they promise.

pub mod asked;
pub mod attempt;
pub mod example;
pub mod library;

use anyhow::{Context, Result, ensure};

use crate::identity::ALLOWED;
use asked::Asked;
use example::Example;

/// Each example with its requests, in their order; three to five, some of which are let through and some not.
pub fn everything() -> Result<Vec<(Example, Vec<Asked>)>> {
    let mut requests = asked::all()?;
    let mut everything = Vec::new();
    for example in example::all()? {
        let (own, others): (Vec<_>, Vec<_>) = requests
            .into_iter()
            .partition(|asked| asked.example == example.name);
        requests = others;
        let allowed = own.iter().filter(|asked| asked.expect == ALLOWED).count();
        ensure!(
            (3..=5).contains(&own.len()) && allowed > 0 && allowed < own.len(),
            "{}: {} requests, of which {allowed} pass",
            example.name,
            own.len()
        );
        everything.push((example, own));
    }
    ensure!(requests.is_empty(), "of no example: {requests:?}");
    Ok(everything)
}

/// The same, with what `more.yaml` asks of them.
pub fn with_more() -> Result<Vec<(Example, Vec<Asked>)>> {
    let mut everything = everything()?;
    for asked in asked::more()? {
        let mut examples = everything.iter_mut();
        let found = examples.find(|(example, _)| example.name == asked.example);
        found.context("more of no example")?.1.push(asked);
    }
    Ok(everything)
}
