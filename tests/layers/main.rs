//! A file uses only what comes before it in the table in `src/lib.rs`. In the harness
//! (`integration/src`), which has no such table, no two modules use each other.
//!
//! Every path in every file, in imports and inline, is resolved to the file that it leads to.
//! Code that is compiled only for tests may use anything.

#![allow(clippy::panic, clippy::unwrap_used)]

mod mutations;
mod paths;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use paths::{File, Named};

/// What files of hosts may use of the crate: events and effects, and the few values
/// that stand in them.
const HOSTS_MAY_USE: [&[&str]; 12] = [
    &["crate", "worker"],
    &["crate", "words"],
    &["crate", "audit", "add_status"],
    &["crate", "forward", "Edit"],
    &["crate", "reply", "Reply"],
    &["crate", "authn", "keys", "Algorithm"],
    &["crate", "authn", "keys", "BadSignature"],
    &["crate", "authn", "keys", "InModule"],
    &["crate", "authn", "keys", "Place"],
    &["crate", "authn", "keys", "SignatureEngine"],
    &["crate", "authn", "keys", "VerifyingKey"],
    &["crate", "authn", "keys", "ecdsa_der"],
];

/// What only hosts and programs may use. The core is given the time and whatever else it needs
/// from the outside world.
const WORLD: [[&str; 2]; 3] = [["std", "env"], ["std", "thread"], ["std", "time"]];

/// The files that may use the crate for signatures, and the stand-in that signs in place of a
/// provider.
const MAY_NAME_JWT_SIMPLE: [&str; 2] = ["src/authn/keys.rs", "src/cli/explain/stand_in.rs"];

/// Source files by path.
type Tree = BTreeMap<String, String>;

/// A path from the crate's root, without `crate`.
type Module = Vec<String>;

#[test]
fn the_layers_hold() {
    let problems = problems(&tree("src"));
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn no_modules_of_the_harness_use_each_other() {
    let problems = circles(&tree("integration/src"));
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

/// The source files in that folder.
fn tree(folder: &str) -> Tree {
    fn walk(root: &Path, folder: &str, tree: &mut Tree) {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                walk(root, &name, tree);
            } else if entry.path().extension().is_some_and(|it| it == "rs") {
                tree.insert(name, fs::read_to_string(entry.path()).unwrap());
            }
        }
    }
    let mut tree = Tree::new();
    walk(Path::new(env!("CARGO_MANIFEST_DIR")), folder, &mut tree);
    tree
}

/// Everything in the tree that breaks a rule, each with its place.
fn problems(tree: &Tree) -> Vec<String> {
    let files = Files::read(tree);
    let table = match Table::read(&tree["src/lib.rs"]) {
        Ok(table) => table,
        Err(problem) => return vec![problem],
    };
    let mut problems = table.missing(&files);
    let mut edges: BTreeMap<&Module, BTreeSet<&Module>> = BTreeMap::new();
    for (module, (name, file)) in &files.0 {
        problems.extend(hygiene(name, file));
        for named in &file.inside {
            let (target, path) = files.resolve(&named.path);
            let problem = match files.0.get_key_value(&target) {
                Some((target, _)) if table.unit(module) == table.unit(target) => {
                    // A module within a file may use what the file has.
                    if target != module {
                        edges.entry(module).or_default().insert(target);
                    }
                    table
                        .unit(module)
                        .is_none()
                        .then_some("is no module of the table")
                }
                _ => table.forbids(module, &target),
            };
            let host = name.starts_with("src/host/") && !hosts_may_use(&path);
            let problem = problem.or(host.then_some("is not for hosts"));
            if let Some(problem) = problem {
                problems.push(describe(name, named, problem));
            }
        }
    }
    // The callbacks of an ABI stand beside its imports and lead to what uses these.
    edges.retain(|module, _| module.last().is_none_or(|name| name != "abi"));
    problems.extend(files.using_each_other(&edges));
    problems
}

/// Files that use each other, even indirectly, and folders that do, each taken as a whole.
fn circles(tree: &Tree) -> Vec<String> {
    let files = Files::read(tree);
    let mut edges: BTreeMap<&Module, BTreeSet<&Module>> = BTreeMap::new();
    let mut folders: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
    for (module, (_, file)) in &files.0 {
        for named in &file.inside {
            let (target, _) = files.resolve(&named.path);
            let Some((target, _)) = files.0.get_key_value(&target) else {
                continue;
            };
            if target != module {
                edges.entry(module).or_default().insert(target);
            }
            let (from, to) = (
                &module[..module.len().min(1)],
                &target[..target.len().min(1)],
            );
            if from != to {
                let uses = folders.entry(from.to_vec()).or_default();
                uses.insert(to.to_vec());
            }
        }
    }
    let folders = folders
        .iter()
        .map(|(folder, uses)| (folder, uses.iter().collect()))
        .collect();
    let folders = cycles(&folders).into_iter().map(|cycle| {
        let names: Vec<String> = cycle.iter().map(|module| module.join("::")).collect();
        format!("modules use each other: {}", names.join(" -> "))
    });
    files.using_each_other(&edges).chain(folders).collect()
}

fn describe(name: &str, named: &Named, problem: &str) -> String {
    format!("{name}:{}: {} {problem}", named.line, named.path.join("::"))
}

fn hosts_may_use(path: &[String]) -> bool {
    path.get(1).is_some_and(|first| first == "host")
        || HOSTS_MAY_USE.iter().any(|allowed| {
            path.len() >= allowed.len() && path.iter().zip(*allowed).all(|(a, b)| a == b)
        })
}

/// What may be named only in some files, whichever module it belongs to.
fn hygiene(name: &str, file: &File) -> Vec<String> {
    let mut problems = Vec::new();
    let host = ["src/host/", "src/bin/", "src/serve/"]
        .iter()
        .any(|folder| name.starts_with(folder));
    for named in &file.outside {
        let world = WORLD
            .iter()
            .any(|path| named.path.iter().zip(path).filter(|(a, b)| a == b).count() == 2);
        if world && !host {
            problems.push(describe(name, named, "is for hosts only"));
        }
    }
    for (word, line) in &file.words {
        let problem = match word.as_str() {
            "unsafe" if !name.ends_with("/abi.rs") => "stands in abi.rs files only",
            "jwt_simple" if !MAY_NAME_JWT_SIMPLE.contains(&name) => {
                "stands in src/authn/keys.rs only"
            }
            word if word.starts_with("proxy_") && !host => "is for hosts only",
            _ => continue,
        };
        problems.push(format!("{name}:{line}: {word} {problem}"));
    }
    problems
}

/// The files that are compiled outside tests, by module.
struct Files(BTreeMap<Module, (String, File)>);

impl Files {
    fn read(tree: &Tree) -> Self {
        let mut files = BTreeMap::new();
        let mut tests: Vec<Module> = Vec::new();
        for (name, source) in tree {
            if name.contains("src/bin/") {
                continue;
            }
            let module = module_of(name);
            let (code, only_tests) = source::without_tests(&source::code(source));
            tests.extend(only_tests.into_iter().map(|test| {
                let mut path = module.clone();
                path.push(test);
                path
            }));
            let file = paths::read(&code, &module);
            files.insert(module, (name.clone(), file));
        }
        files.retain(|module, _| !tests.iter().any(|test| module.starts_with(test)));
        Self(files)
    }

    /// The circles of files that use each other.
    fn using_each_other<'a>(
        &'a self,
        edges: &BTreeMap<&'a Module, BTreeSet<&'a Module>>,
    ) -> impl Iterator<Item = String> + use<'a> {
        cycles(edges).into_iter().map(|cycle| {
            let name = |module: &&Module| self.0[*module].0.as_str();
            let names: Vec<&str> = cycle.iter().map(name).collect();
            format!("files use each other: {}", names.join(" -> "))
        })
    }

    /// The module that a path leads to, through names that are handed on, and the path
    /// to the thing itself.
    fn resolve(&self, path: &[String]) -> (Module, Vec<String>) {
        let mut path = path.to_vec();
        // Names are handed on a few times at most; a circle of them would not compile.
        for _ in 0..8 {
            let mut module = Module::new();
            for segment in &path[1..] {
                module.push(segment.clone());
                if !self.0.contains_key(&module) {
                    module.pop();
                    break;
                }
            }
            let next = path.get(module.len() + 1);
            let handed_on = next.and_then(|name| self.0[&module].1.handed_on.get(name));
            let Some(to) = handed_on else {
                return (module, path);
            };
            let rest = path[module.len() + 2..].to_vec();
            path = [to.clone(), rest].concat();
        }
        panic!("{path:?} leads nowhere");
    }
}

fn module_of(name: &str) -> Module {
    let (_, name) = name.split_once("src/").unwrap_or(("", name));
    let name = name.trim_end_matches(".rs");
    let name = name.strip_suffix("/mod").unwrap_or(name);
    let segments = name.split('/').map(str::to_owned);
    segments.filter(|segment| segment != "lib").collect()
}

/// The table of layers: modules in order, each with its row.
struct Table(Vec<Module>);

impl Table {
    /// From the documentation of the crate: rows of `[`layer`]` and its modules, or of a
    /// layer without a folder and its modules.
    fn read(source: &str) -> Result<Self, String> {
        let mut rows = source
            .lines()
            .map_while(|line| line.strip_prefix("//!"))
            .map(str::trim)
            .skip_while(|line| !line.starts_with("| layer |"))
            .take_while(|line| line.starts_with('|'))
            .skip(2)
            .peekable();
        if rows.peek().is_none() {
            return Err("src/lib.rs has no table of layers".to_owned());
        }
        let mut units = Vec::new();
        for row in rows {
            let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
            let [layer, modules] = cells[..] else {
                return Err(format!("src/lib.rs: not a layer and its modules: {row}"));
            };
            let folder: Module = names(layer).collect();
            units.extend(names(modules).map(|name| [folder.clone(), vec![name]].concat()));
        }
        Ok(Self(units))
    }

    /// The position of the module in the table, or of the folder that it is in.
    fn unit(&self, module: &[String]) -> Option<usize> {
        self.0.iter().position(|unit| module.starts_with(unit))
    }

    /// Why a module may not use one of another position.
    fn forbids(&self, module: &[String], target: &[String]) -> Option<&'static str> {
        match (self.unit(module), self.unit(target)) {
            (_, None) => Some("is no module of the table"),
            (None, _) => Some("is used by a file that only declares modules"),
            (Some(below), Some(above)) if above < below => None,
            _ => Some("stands below it in the table of src/lib.rs"),
        }
    }

    /// What is in the table and not in the tree, or the other way round.
    fn missing(&self, files: &Files) -> Vec<String> {
        let mut problems = Vec::new();
        for unit in self.0.iter().filter(|unit| !files.0.contains_key(*unit)) {
            problems.push(format!(
                "src/lib.rs: there is no module {}",
                unit.join("::")
            ));
        }
        for (module, (name, _)) in &files.0 {
            let declares = self.0.iter().any(|unit| unit.starts_with(module));
            if self.unit(module).is_none() && !declares {
                problems.push(format!("{name}: the table of src/lib.rs lacks it"));
            }
        }
        problems
    }
}

/// The names in a cell: what stands between back quotes.
fn names(cell: &str) -> impl Iterator<Item = String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned)
}

/// The shortest way from each file back to itself, one for each set of files.
fn cycles<'a>(edges: &BTreeMap<&'a Module, BTreeSet<&'a Module>>) -> Vec<Vec<&'a Module>> {
    let mut found: BTreeMap<BTreeSet<&Module>, Vec<&Module>> = BTreeMap::new();
    for begin in edges.keys() {
        let mut ways = vec![vec![*begin]];
        let mut seen = BTreeSet::new();
        while let Some(way) = (!ways.is_empty()).then(|| ways.remove(0)) {
            let last = way[way.len() - 1];
            for next in edges.get(last).into_iter().flatten() {
                if next == begin && way.len() > 1 {
                    found
                        .entry(way.iter().copied().collect())
                        .or_insert_with(|| [way.clone(), vec![*begin]].concat());
                    ways.clear();
                    break;
                }
                if seen.insert(*next) {
                    ways.push([way.clone(), vec![*next]].concat());
                }
            }
        }
    }
    found.into_values().collect()
}
