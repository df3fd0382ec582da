//! The pages of `docs/providers` are true: the `providers:` entry of each, as it is printed, lets in whom it should
//! and nobody else, with keys, discovery documents and tokens in the form in which the provider issues them.
//!
//! `identities/*.yaml` describe the providers, with one recipe each
//! ([`identities/README.md`](../identities/README.md)). The gate is the core in this process. It fetches its keys as
//! the page's `jwks` section says, from the documents of the recipe.

#![allow(clippy::expect_used)]

#[path = "identities/gate.rs"]
mod gate;
#[path = "identities/page.rs"]
mod page;

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use integration::identity::{self, ALLOWED, Ask, Kind, Recipe, Token};
use integration::yaml;
use scopegate::words::denial::ROWS;
use serde_json::{Value, json};

use gate::{Gate, Verdict};
use page::Page;

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

providers![
    auth0, cognito, dex, entra, github, google, keycloak, kubernetes, okta, zitadel,
];

#[test]
fn every_page_has_a_recipe_a_test_and_a_row_in_the_index() {
    let tested: BTreeSet<String> = PROVIDERS.iter().map(ToString::to_string).collect();
    assert_eq!(page::names().expect("the pages"), tested);
    assert_eq!(identity::names().expect("the recipes"), tested);
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

/// No page conflicts with another: neither names nor issuers nor prefixes.
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

/// The index explains how to read groups from other forms of claims. Each of its rows does find the group `a`.
#[test]
fn the_sources_of_groups_in_the_index_find_their_groups() {
    let index = page::index().expect("the index");
    let section = index.split("| in the token | source |").nth(1);
    let rows = section.expect("the table").lines().skip(2);
    let rows: Vec<&str> = rows.take_while(|row| row.trim() != "").collect();
    assert_eq!(rows.len(), 9);
    for row in rows {
        let cells: Vec<&str> = row.split('`').collect();
        let [_, claim, _, source, _] = cells.as_slice() else {
            unreachable!("{row}");
        };
        let recipe = format!("{OTHER}\n      {claim}\n    asks: [{{read: acme}}]\n");
        let recipe: Recipe = yaml::parse(&recipe).expect(claim);
        let source: Value = yaml::parse(source).expect(source);
        let document = json!({
            "providers": [{
                "name": "other",
                "issuer": "https://idp.example.com",
                "audiences": ["observability"],
                "jwks": {"uri": "https://idp.example.com/keys", "cluster": "idp"},
                "claims": {"groups": [source]},
            }],
            "organizations": [{
                "name": "acme",
                "tenants": ["acme"],
                "rbac": {"viewers": [format!("{}a", source["prefix"].as_str().expect(row))]},
            }],
        });
        let mut gate = Gate::start(&document, &recipe).expect(row);
        let token = &recipe.tokens[0];
        report(&Vec::from_iter(
            differs(&mut gate, token, &token.asks[0]).expect(row),
        ));
    }
}

/// A provider and a token whose claims end here.
const OTHER: &str = "
documents:
  - {url: https://idp.example.com/keys, keys: [rsa-a]}
tokens:
  - name: a token
    key: rsa-a
    header: {alg: RS256, kid: rsa-a}
    times: {iat: -60, exp: 60}
    claims:
      iss: https://idp.example.com
      aud: observability
      sub: somebody";

/// Everything in which the page and its recipe do not keep their promises, as text.
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

/// How the answer differs from the expected one.
fn differs(gate: &mut Gate, token: &Token, ask: &Ask) -> Result<Option<String>> {
    let verdict = gate.ask(token, ask)?;
    let status = match ask.code.as_str() {
        ALLOWED => 200,
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

/// The checks work: a recipe whose tokens are let in where they must not be is detected.
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
