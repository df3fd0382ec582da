//! Tables on the pages that are generated from tables in the code. They stand between two
//! marks. `SCOPEGATE_WRITE=1` writes them again.

use std::fmt::Write as _;
use std::fs;

use scopegate::authz::endpoint::{Backend, Endpoint, Rewrite, Scoping, Surface, TABLE, Tenants};
use scopegate::scoping::parameters::{Absent, Carrier, Parameters};
use scopegate::words::denial::{ROWS, Row};

use crate::page::root;

/// Compares what stands on a page between the marks of these names with what should.
pub fn hold(path: &str, made: &[(&str, String)]) {
    let mut page = crate::read(path);
    let written = std::env::var_os("SCOPEGATE_WRITE").is_some();
    for (name, text) in made {
        let open = format!("<!-- made: {name} -->\n");
        let close = "\n<!-- end -->";
        let start = page
            .find(&open)
            .unwrap_or_else(|| panic!("{path} lacks {open}"))
            + open.len();
        let length = page[start..].find(close);
        let length = length.unwrap_or_else(|| panic!("{path}: {name} has no end"));
        let text = format!("\n{text}");
        if written {
            page.replace_range(start..start + length, &text);
        }
        assert!(
            page[start..].starts_with(&format!("{text}{close}")),
            "{path}: {name} is not what the code says: SCOPEGATE_WRITE=1 cargo test --test docs"
        );
    }
    if written {
        fs::write(root().join(path), page).unwrap();
    }
}

fn title(backend: Backend) -> String {
    let name = backend.name();
    name[..1].to_ascii_uppercase() + &name[1..]
}

/// What is done for a caller who may see a part of a tenant only.
fn scoped(row: &Endpoint) -> String {
    match row.scoping {
        Scoping::AnsweredEmpty(_) => "answered as empty".to_owned(),
        Scoping::Harmless => "passes".to_owned(),
        Scoping::Parameters(_, honoured) => {
            format!("limited, from {} {} on", title(row.backend), honoured.since)
        }
        Scoping::Unsupported | Scoping::WholeTrace => "refused".to_owned(),
    }
}

fn forwarded(row: &Endpoint) -> String {
    match row.rewrite {
        Rewrite::Keep => "the same".to_owned(),
        Rewrite::To(path) => format!("`{path}`"),
        Rewrite::WithoutPrefix(prefix) => {
            format!("`{}`", row.template.strip_prefix(prefix).unwrap())
        }
    }
}

fn endpoints(surface: Surface, backend: Option<Backend>) -> String {
    let mut table =
        "| path | methods | permission | tenants | path at the backend | scoped callers |\n\
                     |---|---|---|---|---|---|\n"
            .to_owned();
    let rows = TABLE.iter().filter(|row| {
        row.surface == surface && backend.is_none_or(|backend| row.backend == backend)
    });
    for row in rows {
        let tenants = match row.tenants {
            Tenants::Many => "several",
            Tenants::One => "one",
            Tenants::Optional => "none needed",
        };
        let upgrade = if row.upgrade { ", as a websocket" } else { "" };
        writeln!(
            table,
            "| `{}` | {}{upgrade} | `{}` | {tenants} | {} | {} |",
            row.template,
            row.methods,
            row.permission,
            forwarded(row),
            scoped(row),
        )
        .unwrap();
    }
    table
}

#[test]
fn the_page_of_endpoints_is_the_table() {
    let mut made: Vec<_> = Backend::ALL
        .map(|backend| (backend.name(), endpoints(Surface::Platform, Some(backend))))
        .into();
    made.push(("legacy", endpoints(Surface::LokiLegacy, None)));
    made.push(("projects", endpoints(Surface::Projects, None)));
    hold("docs/endpoints.md", &made);
}

fn names(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

/// Which parameters a scoped request may have.
fn listed(parameters: &Parameters) -> String {
    let carrier = match parameters.carrier {
        Carrier::Fixed(name) => format!("`{name}`, which is always the scope alone"),
        Carrier::One {
            names: known,
            absent,
            ..
        } => match absent {
            Absent::Refuse => format!("{}, required", names(known)),
            Absent::Scope => format!("{}, or none", names(known)),
        },
        Carrier::Many(known) => format!("{}, any number", names(known)),
    };
    format!(
        "{carrier} | {} | {}",
        names(parameters.others),
        names(parameters.refused)
    )
}

/// What may stand in a scoped request, and from which version on a server honours it.
#[test]
fn the_page_of_scoped_queries_lists_parameters_and_versions() {
    let mut parameters =
        "| endpoint | what is scoped | what passes besides | refused |\n|---|---|---|---|\n"
            .to_owned();
    let mut versions = "| endpoint | from version |\n|---|---|\n".to_owned();
    for row in TABLE.iter().filter(|row| row.surface != Surface::Projects) {
        if let Scoping::Parameters(known, honoured) = row.scoping {
            let (path, name) = (row.template, title(row.backend));
            writeln!(parameters, "| `{path}` | {} |", listed(known)).unwrap();
            writeln!(versions, "| `{path}` | {name} {} |", honoured.since).unwrap();
        }
    }
    hold(
        "docs/scoped-queries.md",
        &[("parameters", parameters), ("versions", versions)],
    );
}

fn grpc_name(row: &Row) -> &'static str {
    match row.grpc_status {
        3 => "`INVALID_ARGUMENT`",
        7 => "`PERMISSION_DENIED`",
        12 => "`UNIMPLEMENTED`",
        14 => "`UNAVAILABLE`",
        16 => "`UNAUTHENTICATED`",
        other => panic!("{}: {other}", row.code),
    }
}

const REFUSALS: &str = "docs/refusals.md";

#[test]
fn the_page_of_refusals_lists_every_row_with_what_the_client_is_told() {
    let mut table = "| code | status | gRPC | message |\n|---|---|---|---|\n".to_owned();
    for row in ROWS {
        let Row {
            code, status, text, ..
        } = row;
        // As Markdown, and without what formats the details.
        let text = text
            .replace('|', "\\|")
            .replace('<', "&lt;")
            .replace(":#}", "}");
        let grpc = grpc_name(row);
        writeln!(
            table,
            "| [`{code}`](#{code}) | {status} | {grpc} | {text} |"
        )
        .unwrap();
    }
    hold(REFUSALS, &[("refusals", table)]);
}

/// What the code cannot say stands in a section for each row.
#[test]
fn every_refusal_has_a_symptom_a_cause_and_a_remedy() {
    let page = crate::read(REFUSALS);
    let sections: Vec<(&str, &str)> = page
        .split("\n### ")
        .skip(1)
        .map(|section| {
            let section = section.split("\n## ").next().unwrap();
            section.split_once('\n').unwrap()
        })
        .collect();
    let mut written: Vec<&str> = sections
        .iter()
        .map(|(title, _)| title.trim_matches('`'))
        .collect();
    let mut codes: Vec<&str> = ROWS.iter().map(|row| row.code).collect();
    for (title, section) in sections {
        let mut rest = section;
        for part in ["\n- **Symptom:** ", "\n- **Cause:** ", "\n- **Remedy:** "] {
            let found = rest.split_once(part);
            rest = found.unwrap_or_else(|| panic!("{title} lacks {part}")).1;
            assert!(
                !rest.trim_start().starts_with('-'),
                "{title}: {part} is empty"
            );
        }
    }
    written.sort_unstable();
    codes.sort_unstable();
    assert_eq!(written, codes);
}
