//! The rules can fail: adding one line to the tree breaks them.

use super::{circles, problems, tree};

/// The problems of the tree once a line is added at the end of a file.
#[track_caller]
fn breaks(name: &str, line: &str, expected: &str) {
    let mut tree = tree("src");
    tree.entry(name.to_owned()).or_default().push_str(line);
    let problems = problems(&tree);
    let found = problems
        .iter()
        .any(|problem| problem.contains(name) && problem.contains(expected));
    assert!(found, "{name} + {line}: {problems:#?}");
}

#[track_caller]
fn keeps(name: &str, line: &str) {
    let mut tree = tree("src");
    tree.entry(name.to_owned()).or_default().push_str(line);
    assert_eq!(problems(&tree), Vec::<String>::new(), "{name} + {line}");
}

#[test]
fn an_import_from_below_is_found() {
    let below = "stands below it";
    breaks("src/words/time.rs", "use crate::gate::Gate;", below);
    breaks("src/words/time.rs", "use super::denial::Denial;", below);
    breaks("src/words/time.rs", "use super::{denial::{Denial}};", below);
    breaks(
        "src/authn/claims.rs",
        "use crate::authz::policy::Policy;",
        below,
    );
    breaks(
        "src/scoping/scope.rs",
        "fn f(x: &super::narrow::Narrowing) {}",
        below,
    );
    breaks(
        "src/scoping/query/logql.rs",
        "use super::super::form::parse;",
        below,
    );
    breaks(
        "src/config/reader.rs",
        "use crate::{gate::{self as g}};",
        below,
    );
    breaks("src/gate/mod.rs", "use crate::reply::deny;", below);
}

#[test]
fn the_place_of_a_problem_is_named() {
    let mut tree = tree("src");
    let file = tree.get_mut("src/words/time.rs").unwrap();
    *file = format!("use crate::gate::Gate;\n{file}");
    let expected =
        "src/words/time.rs:1: crate::gate::Gate stands below it in the table of src/lib.rs";
    assert_eq!(problems(&tree), [expected]);
}

#[test]
fn files_that_use_each_other_are_found() {
    let cycle = "files use each other";
    breaks(
        "src/scoping/query/splice.rs",
        "use super::logql::recognise;",
        cycle,
    );
    breaks("src/authz/endpoint/path.rs", "use super::Endpoints;", cycle);
    breaks("src/config/reader.rs", "use super::MAX_DOCUMENT;", cycle);
    breaks("src/scoping/query/text.rs", "use super::scope;", cycle);
}

#[test]
fn modules_of_the_harness_that_use_each_other_are_found() {
    let found = |name: &str, line: &str| {
        let mut tree = tree("integration/src");
        tree.get_mut(name).unwrap().push_str(line);
        circles(&tree)
    };
    let files = found("integration/src/token.rs", "use crate::issuer::Issuer;");
    let expected = "files use each other: integration/src/issuer.rs -> \
        integration/src/token.rs -> integration/src/issuer.rs";
    assert!(files.contains(&expected.to_owned()), "{files:#?}");
    let own = found(
        "integration/src/client/message.rs",
        "use super::h1::exchange;",
    );
    assert!(own[0].contains("src/client/message.rs"), "{own:#?}");
    // A folder counts as a whole, too.
    let folders = found(
        "integration/src/envoy/capabilities.rs",
        "use crate::stack::ACME;",
    );
    assert!(
        folders.contains(&"modules use each other: envoy -> stack -> envoy".to_owned()),
        "{folders:#?}"
    );
}

#[test]
fn what_is_not_in_the_table_is_found() {
    breaks("src/words/new.rs", "", "the table of src/lib.rs lacks it");
    breaks("src/new.rs", "", "the table of src/lib.rs lacks it");
    breaks(
        "src/authz/mod.rs",
        "use crate::words::time::Now;",
        "only declares",
    );
    breaks(
        "src/gate/mod.rs",
        "use crate::words::Nothing;",
        "is no module of the table",
    );
    let mut tree = tree("src");
    tree.remove("src/words/hash.rs");
    let problems = problems(&tree);
    assert!(
        problems[0].contains("there is no module words::hash"),
        "{problems:#?}"
    );
}

#[test]
fn what_is_for_few_files_is_found() {
    breaks(
        "src/gate/mod.rs",
        "use std::{fmt, time::Instant};",
        "std::time::Instant is for hosts only",
    );
    breaks(
        "src/gate/mod.rs",
        "fn f() { std::env::var(x) }",
        "is for hosts only",
    );
    breaks("src/gate/mod.rs", "use std::thread;", "is for hosts only");
    breaks(
        "src/gate/mod.rs",
        "fn f() { proxy_log() }",
        "is for hosts only",
    );
    breaks(
        "src/gate/mod.rs",
        "fn f() { unsafe { g() } }",
        "abi.rs files only",
    );
    breaks(
        "src/host/wasm/shell.rs",
        "fn f() { unsafe { g() } }",
        "abi.rs files only",
    );
    breaks(
        "src/authn/jwks.rs",
        "use jwt_simple::prelude::*;",
        "src/authn/keys.rs only",
    );
    breaks(
        "src/host/wasm/new.rs",
        "use crate::gate::Gate;",
        "is not for hosts",
    );
    breaks(
        "src/host/wasm/new.rs",
        "use crate::reply::deny;",
        "is not for hosts",
    );
    breaks(
        "src/host/wasm/new.rs",
        "use crate::authn::keys::*;",
        "is not for hosts",
    );
}

#[test]
fn what_is_allowed_is_no_problem() {
    keeps("src/gate/mod.rs", "use crate::words::wire::hex_digit;");
    keeps("src/gate/mod.rs", "// use crate::reply::deny;");
    keeps(
        "src/gate/mod.rs",
        "#[cfg(test)] mod more { use crate::reply; use std::time::Instant; }",
    );
    keeps(
        "src/gate/mod.rs",
        "const X: &str = \"unsafe crate::reply std::time jwt_simple\";",
    );
    keeps(
        "src/host/wasm/new.rs",
        "use crate::words::time::Now; use std::time::Instant;",
    );
    keeps(
        "src/host/wasm/new.rs",
        "use crate::{reply::Reply, forward::Edit, authn::keys::InModule};",
    );
    keeps("src/bin/tool.rs", "use scopegate::gate; use std::env;");
}
