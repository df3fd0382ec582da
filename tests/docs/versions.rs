//! Which versions of other programs the tests run, read where the tests have them from: scripts, `go.mod` and other
//! files that pin. The page of what is compatible has its tables from here, so that none of them grows old.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::generated::hold;

const PAGE: &str = "docs/compatibility.md";

/// The first word of a file that stands between these two texts.
fn between(path: &str, before: &str, after: &str) -> String {
    let text = crate::read(path);
    let found = text
        .split_once(before)
        .and_then(|(_, rest)| rest.split_once(after));
    let (found, _) = found.unwrap_or_else(|| panic!("{path} has nothing behind {before:?}"));
    assert!(
        !found.is_empty() && !found.contains(char::is_whitespace),
        "{path}: {found:?}"
    );
    found.to_owned()
}

/// The value of a variable of a script.
fn variable(script: &str, name: &str) -> String {
    between(
        &format!("integration/tools/{script}"),
        &format!("\n{name}="),
        "\n",
    )
}

/// The version of a Go module, without its `v`.
fn module(folder: &str, name: &str) -> String {
    let path = format!("integration/{folder}/go.mod");
    let version = between(&path, &format!("\n\t{name} v"), " ");
    match *version.split('-').collect::<Vec<_>>() {
        [version] => version.to_owned(),
        // A commit without a version of its own: its time, in UTC, and its hash.
        [.., time, commit] => {
            let time = time.rsplit('.').next().unwrap();
            assert!(time.len() == 14 && commit.len() == 12, "{path}: {version}");
            let (year, month, day) = (&time[..4], &time[4..6], &time[6..8]);
            format!("{commit}, of {year}-{month}-{day}")
        }
        [] => unreachable!(),
    }
}

/// Prometheus counts its modules from 0.300 on as its programs from 3.0 on.
fn prometheus() -> String {
    let version = module("stack/prometheus", "github.com/prometheus/prometheus");
    let mut numbers = version
        .split('.')
        .map(|number| number.parse::<u32>().unwrap());
    let [_, minor, patch] = [(); 3].map(|()| numbers.next().unwrap());
    format!("{}.{}.{patch}", minor / 100, minor % 100)
}

#[test]
fn the_page_of_compatibility_has_the_versions_that_the_tests_run() {
    const TEST: &str = "`make test`";
    const STACK: &str = "`make test-stack`";
    const PLANES: &str = "`make test-control-planes`";
    let collector = between(
        "integration/stack/collector/manifest.yaml",
        "\n  version: ",
        "\n",
    );
    let grafana = between(
        "integration/monitoring/package.json",
        "\"@grafana/schema\": \"",
        "\"",
    );
    let rows = [
        (
            "Envoy",
            variable("envoy.sh", "PINNED"),
            format!("{TEST}, {STACK}, {PLANES}"),
        ),
        (
            "Istio",
            module("control-planes", "istio.io/istio"),
            PLANES.to_owned(),
        ),
        (
            "Envoy Gateway",
            module("control-planes", "github.com/envoyproxy/gateway"),
            PLANES.to_owned(),
        ),
        (
            "Gateway API",
            variable("control-planes.sh", "GATEWAY_API")
                .trim_start_matches('v')
                .to_owned(),
            PLANES.to_owned(),
        ),
        (
            "Kubernetes API",
            module("control-planes", "k8s.io/kubernetes"),
            format!("{STACK}, {PLANES}"),
        ),
        (
            "Loki, logcli",
            module("stack/loki", "github.com/grafana/loki/v3"),
            STACK.to_owned(),
        ),
        (
            "Mimir",
            module("stack/mimir", "github.com/grafana/mimir"),
            STACK.to_owned(),
        ),
        (
            "Keycloak",
            variable("part.sh", "KEYCLOAK"),
            STACK.to_owned(),
        ),
        (
            "Dex",
            module("stack/dex", "github.com/dexidp/dex"),
            STACK.to_owned(),
        ),
        ("Prometheus, promtool", prometheus(), STACK.to_owned()),
        ("OpenTelemetry Collector", collector, STACK.to_owned()),
        ("Grafana's types of a dashboard", grafana, TEST.to_owned()),
    ];
    let mut table = "| program | version | in |\n|---|---|---|\n".to_owned();
    for (program, version, targets) in rows {
        writeln!(table, "| {program} | {version} | {targets} |").unwrap();
    }
    hold(PAGE, &[("versions", table), ("envoys", envoys())]);
}

/// What `make test-envoys` has recorded.
fn envoys() -> String {
    let record = crate::read("integration/envoys.txt");
    let mut table =
        "| Envoy | on | commit | test programs | passed | failed | skipped |\n|---|---|---|---|---|---|---|\n"
            .to_owned();
    let mut versions = BTreeSet::new();
    for line in record.lines().filter(|line| !line.starts_with('#')) {
        let [version, date, commit, passed, failed, skipped, programs] =
            *line.split(' ').collect::<Vec<_>>()
        else {
            panic!("integration/envoys.txt: {line}");
        };
        assert!(versions.insert(version), "{version} stands there twice");
        assert!(passed.parse::<u32>().unwrap() > 0, "{line}");
        let programs = programs.replace(',', ", ");
        writeln!(
            table,
            "| {version} | {date} | `{commit}` | {programs} | {passed} | {failed} | {skipped} |"
        )
        .unwrap();
    }
    table
}

/// What is promised as the oldest is the first in the record with which nothing fails, and all after it are like it.
/// The one that tests run by themselves is there too.
#[test]
fn the_oldest_and_the_usual_envoy_are_among_those_that_were_run() {
    let record = crate::read("integration/envoys.txt");
    let versions: Vec<Vec<&str>> = record
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(' ').collect())
        .collect();
    let mut good = versions.iter().skip_while(|version| version[4] != "0");
    let oldest = good.next().unwrap()[0];
    assert!(good.all(|version| version[4] == "0"), "{versions:?}");
    let (minor, _) = oldest.rsplit_once('.').unwrap();
    for (path, promise) in [
        (PAGE, "| Envoy | "),
        ("docs/envoy.md", "The gate needs Envoy "),
        ("docs/first-steps.md", "Envoy "),
        ("Makefile", "Envoy "),
    ] {
        let promise = format!("{promise}{minor} or newer");
        assert!(
            crate::read(path).contains(&promise),
            "{path} lacks {promise:?}"
        );
    }
    let usual = format!("\n{} ", variable("envoy.sh", "PINNED"));
    assert!(record.contains(&usual), "{usual}");
}
