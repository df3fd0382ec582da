//! The requests of an example at the limits of what is let through.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::asked::Asked;
use super::example::Example;
use crate::client::RawRequest;
use crate::identity::{ALLOWED, Recipe, Token};
use crate::upstream::Seen;

/// A request, and the code that it must come to.
pub struct Attempt {
    pub what: String,
    pub request: RawRequest,
    pub code: String,
}

/// The request itself and, where it is let through, the same at the limits of what is.
pub fn attempts(
    asked: &Asked,
    token: &Token,
    example: &Example,
    recipe: &Recipe,
) -> Result<Vec<Attempt>> {
    let mut attempts = vec![Attempt {
        what: "as it is".to_owned(),
        request: asked.sent(recipe, Some(token))?,
        code: asked.expect.clone(),
    }];
    if asked.expect != ALLOWED {
        return Ok(attempts);
    }
    let mut again = |what: &str, asked: &Asked, token: Option<&Token>, code: &str| -> Result<()> {
        attempts.push(Attempt {
            what: what.to_owned(),
            request: asked.sent(recipe, token)?,
            code: code.to_owned(),
        });
        Ok(())
    };
    again("without a token", asked, None, "credential_missing")?;
    let mut foreign = asked.clone();
    foreign.tenant = Some("globex".to_owned());
    again(
        "of a foreign tenant",
        &foreign,
        Some(token),
        "tenant_not_granted",
    )?;
    let mut lasting = token.clone();
    let issued = lasting.times.get("iat").copied().context("no iat")?;
    let end = issued.saturating_add(example.max_lifetime()?);
    lasting.times.insert("exp".to_owned(), end);
    again("good for as long as may be", asked, Some(&lasting), ALLOWED)?;
    // Beyond what clocks may differ by.
    lasting
        .times
        .insert("exp".to_owned(), end.saturating_add(600));
    again(
        "good for too long",
        asked,
        Some(&lasting),
        "lifetime_too_long",
    )?;
    // Whatever else such a token is good for, this is what it is asked for.
    let defects = recipe.defects_of(token);
    ensure!(
        defects.len() == 4,
        "{}: {} defects",
        asked.title,
        defects.len()
    );
    for (defect, code) in defects {
        again(&defect.name, asked, Some(&defect), &code)?;
    }
    Ok(attempts)
}

/// What reached a backend is what `explain` has said, and there is no credential in it.
pub fn as_explained(seen: &Seen, forwarded: &Value, asked: &Asked) -> Result<()> {
    let backend = forwarded["backend"].as_str().context("no backend")?;
    ensure!(seen.backend.starts_with(backend), "{seen:?}");
    ensure!(forwarded["path"] == seen.path, "{seen:?}, {forwarded}");
    for header in forwarded["headers"].as_array().into_iter().flatten() {
        let name = header[0].as_str().unwrap_or_default();
        let value = header[1].as_str().unwrap_or_default();
        ensure!(seen.header(name) == [value.as_bytes()], "{name}: {seen:?}");
    }
    let subject = seen.header("x-scopegate-subject");
    ensure!(matches!(subject[..], [[_, ..]]), "no subject: {seen:?}");
    ensure!(seen.body == asked.body(), "another body: {seen:?}");
    for credential in ["authorization", "x-id-token"] {
        ensure!(seen.header(credential).is_empty(), "{credential}: {seen:?}");
    }
    Ok(())
}
