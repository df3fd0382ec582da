//! The pages of `docs/providers` hold what they say: the `providers:` entry of each, as it stands there, lets in whom
//! it should and nobody else, with keys, discovery documents and tokens in the shape that the provider gives them.
//!
//! `identities/*.yaml` are the providers, one recipe each ([`identities/README.md`](../identities/README.md)). The gate
//! is the core in this process; it fetches its keys as the page's `jwks` section says, from the recipe's documents.

#![allow(clippy::expect_used)]

#[path = "identities/gate.rs"]
mod gate;
#[path = "identities/page.rs"]
mod page;
#[path = "identities/recipe.rs"]
mod recipe;

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use scopegate::words::denial::ROWS;
use serde_json::{Value, json};

use gate::{Gate, Verdict};
use page::Page;
use recipe::{Ask, Kind, Recipe, Token};

/// One test for each provider, and the list of all.
macro_rules! providers {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            report(&check(stringify!($name)).expect(stringify!($name)));
        })*

        const PROVIDERS: &[&str] = &[$(stringify!($name)),*];
    };
}

providers![auth0, cognito, dex, github, keycloak, okta];

#[test]
fn every_page_has_a_recipe_a_test_and_a_row_in_the_index() {
    let tested: BTreeSet<String> = PROVIDERS.iter().map(ToString::to_string).collect();
    assert_eq!(page::names().expect("the pages"), tested);
    assert_eq!(recipe::names().expect("the recipes"), tested);
    let index = page::index().expect("the index");
    for name in tested {
        let link = format!("]({name}.md) |\n");
        assert_eq!(
            index.matches(&link).count(),
            1,
            "docs/providers/README.md: {link}"
        );
    }
}

/// Nothing of one page gets in the way of another: not a name, not an issuer, not a prefix.
#[test]
fn all_pages_stand_side_by_side_in_one_document() {
    let mut whole = json!({});
    for name in PROVIDERS {
        let page = Page::read(name).expect(name);
        for (key, theirs) in page.document {
            let ours = &mut whole[&key];
            match theirs {
                Value::Array(theirs) if ours.is_array() => {
                    let ours = ours.as_array_mut().expect("a list");
                    for one in theirs {
                        if !ours.contains(&one) {
                            ours.push(one);
                        }
                    }
                }
                theirs => *ours = theirs,
            }
        }
    }
    for (number, organization) in whole["organizations"]
        .as_array_mut()
        .expect("organizations")
        .iter_mut()
        .enumerate()
    {
        organization["name"] = format!("organization {number}").into();
    }
    Gate::start(&whole, &Recipe::default()).expect("one document");
}

/// Everything that a page and its recipe promise, in words where it does not hold.
fn check(name: &str) -> Result<Vec<String>> {
    let page = Page::read(name)?;
    let recipe = Recipe::read(name)?;
    let mut problems = page.problems();
    problems.extend(recipe.problems());
    let mut gate = Gate::start(&Value::Object(page.document), &recipe)?;
    for token in &recipe.tokens {
        for ask in &token.asks {
            problems.extend(differs(&mut gate, token, ask)?);
        }
        for (token, code) in recipe.defects_of(token) {
            let Some(ask) = token.granted() else { continue };
            let ask = ask.with_code(&code);
            problems.extend(differs(&mut gate, &token, &ask)?);
        }
    }
    problems.extend(
        gate.unfetched()
            .map(|url| format!("{url} was never fetched")),
    );
    Ok(problems)
}

/// How the answer differs from what must come of it.
fn differs(gate: &mut Gate, token: &Token, ask: &Ask) -> Result<Option<String>> {
    let verdict = gate.ask(token, ask)?;
    let status = match ask.code.as_str() {
        gate::ALLOWED => 200,
        code => {
            ROWS.iter()
                .find(|row| row.code == code)
                .with_context(|| format!("there is no code {code}"))?
                .status
        }
    };
    let wanted = Verdict {
        status,
        code: ask.code.clone(),
    };
    Ok((verdict != wanted).then(|| {
        format!(
            "{}, {} {}: {verdict:?} instead of {wanted:?}",
            token.name, ask.verb, ask.tenant
        )
    }))
}

fn report(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// The checks check: a recipe whose tokens are let in where they must not be is found out.
#[test]
fn a_page_that_lets_everybody_in_fails() {
    let mut page = Page::read("keycloak").expect("a page");
    let provider = &mut page.document["providers"][0];
    let provider = provider.as_object_mut().expect("a provider");
    provider.remove("audiences");
    provider.insert("audience_check".to_owned(), "off".into());
    let recipe = Recipe::read("keycloak").expect("a recipe");
    let mut gate = Gate::start(&Value::Object(page.document), &recipe).expect("a gate");
    let token = recipe
        .tokens
        .iter()
        .find(|token| token.kind == Kind::Person);
    let token = token.expect("a person's token");
    let found: Vec<String> = recipe
        .defects_of(token)
        .into_iter()
        .filter_map(|(token, code)| {
            let ask = token.granted()?.with_code(&code);
            differs(&mut gate, &token, &ask).expect("an answer")
        })
        .collect();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("another audience"), "{found:?}");
}
