//! The page of licences names whatever the tests build or run.

use std::path::Path;

use serde_json::Value;

/// The files of that name below a folder.
fn files(folder: &Path, name: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("node_modules") {
            files(&path, name, found);
        } else if path.ends_with(name) {
            found.push(std::fs::read_to_string(path).unwrap());
        }
    }
}

fn all(name: &str) -> Vec<String> {
    let mut found = Vec::new();
    for folder in ["integration", "playground"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        files(&folder, name, &mut found);
    }
    found
}

/// The modules of a `go.mod` whose programs it names as tools.
fn tools(module: &str) -> Vec<String> {
    let mut tools = Vec::new();
    let mut lines = module.lines();
    while let Some(line) = lines.next() {
        if line == "tool (" {
            let block = lines.by_ref().take_while(|line| *line != ")");
            tools.extend(block.map(|line| line.trim().to_owned()));
        } else if let Some(tool) = line.strip_prefix("tool ") {
            tools.push(tool.to_owned());
        }
    }
    tools
}

#[test]
fn the_page_names_what_the_tests_build_or_run() {
    let page = crate::read("docs/licences.md");
    let mut rows: Vec<(&str, &str)> = Vec::new();
    for line in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let names = cells[0].split(", ").map(|name| name.trim_matches('`'));
        rows.extend(names.map(|name| (name, cells[1])));
    }
    let modules: Vec<String> = all("go.mod").iter().flat_map(|file| tools(file)).collect();
    assert!(modules.len() > 10, "{modules:?}");
    for tool in modules {
        let row = rows.iter().find(|(name, _)| tool.starts_with(name));
        assert!(row.is_some(), "{tool}");
    }
    let packages = all("package.json");
    assert!(packages.len() > 2);
    for package in packages {
        let package: Value = serde_json::from_str(&package).unwrap();
        for name in package["dependencies"].as_object().unwrap().keys() {
            assert!(rows.iter().any(|(row, _)| row == name), "{name}");
        }
    }
}

/// A program under the AGPL is a tool that is started, and no module of ours imports a package
/// of it.
#[test]
fn nothing_of_ours_imports_what_is_under_the_agpl() {
    let page = crate::read("docs/licences.md");
    let mut copyleft = Vec::new();
    for line in page.lines().filter(|line| line.contains("**AGPL-3.0**")) {
        let name = line.split('`').nth(1).unwrap();
        assert!(line.ends_with("started, never linked |"), "{line}");
        copyleft.push(format!("\"{name}/"));
    }
    assert_eq!(copyleft.len(), 3);
    let mut sources = all("main.go");
    sources.extend(all("lines.go"));
    assert!(sources.len() > 3);
    for source in sources {
        for name in &copyleft {
            assert!(!source.contains(name.as_str()), "{name}");
        }
    }
}
