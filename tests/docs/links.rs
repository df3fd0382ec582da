//! Links lead to something that exists, and every page is linked.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::page::{self, Page, root};

/// A path without `.` and `..`, from the root of the repository; none if it leads out of it.
fn resolved(page: &Path, link: &str) -> Option<PathBuf> {
    let mut path = page.parent()?.to_owned();
    for component in Path::new(link).components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                if !path.pop() {
                    return None;
                }
            }
            Component::Normal(name) => path.push(name),
            _ => return None,
        }
    }
    Some(path)
}

fn is_external(link: &str) -> bool {
    link.starts_with("https://") || link.starts_with("http://") || link.starts_with("mailto:")
}

/// What is wrong with a link, if anything is.
fn fault(page: &Page, link: &str, pages: &BTreeMap<PathBuf, Page>) -> Option<String> {
    let (path, anchor) = match link.split_once('#') {
        Some((path, anchor)) => (path, Some(anchor)),
        None => (link, None),
    };
    let target = match path {
        "" => page.path.clone(),
        path => match resolved(&page.path, path) {
            Some(target) => target,
            None => return Some("leads out of the repository".to_owned()),
        },
    };
    if !root().join(&target).exists() {
        return Some(format!("there is no {}", target.display()));
    }
    let anchor = anchor?;
    match pages.get(&target) {
        Some(target) if target.anchors.iter().any(|known| known == anchor) => None,
        _ => Some(format!("{} has no #{anchor}", target.display())),
    }
}

#[test]
fn every_link_and_every_anchor_leads_somewhere() {
    let pages: BTreeMap<PathBuf, Page> = page::paths()
        .into_iter()
        .map(|path| (path.clone(), Page::read(&path)))
        .collect();
    let mut faults = Vec::new();
    let mut count = 0;
    for page in pages.values() {
        for link in page.links.iter().filter(|link| !is_external(link)) {
            count += 1;
            if let Some(fault) = fault(page, link, &pages) {
                faults.push(format!("{}: ({link}) {fault}", page.path.display()));
            }
        }
    }
    assert!(count > 200, "{count} links");
    assert!(faults.is_empty(), "{faults:#?}");
}

/// They are not asked here. `cargo test --test docs external -- --nocapture` lists them for whoever wants to.
#[test]
fn external_links_are_listed_and_encrypted() {
    let mut links: BTreeMap<String, BTreeSet<PathBuf>> = BTreeMap::new();
    for path in page::paths() {
        for link in Page::read(&path).links {
            if is_external(&link) {
                links.entry(link).or_default().insert(path.clone());
            }
        }
    }
    for (link, pages) in &links {
        let pages: Vec<_> = pages
            .iter()
            .map(|page| page.display().to_string())
            .collect();
        println!("{link}  {}", pages.join(" "));
        assert!(
            link.starts_with("https://") || link.starts_with("http://localhost"),
            "{link}: not by HTTPS"
        );
    }
    assert!(!links.is_empty());
}

/// Comments and messages name pages too.
#[test]
fn pages_that_other_files_name_are_there() {
    let pages: BTreeMap<PathBuf, Page> = page::paths()
        .into_iter()
        .map(|path| (path.clone(), Page::read(&path)))
        .collect();
    let mut files = Vec::new();
    for folder in ["src", "envoy", "integration", "tests"] {
        texts(Path::new(folder), &mut files);
    }
    files.extend(["Makefile", "Dockerfile"].map(PathBuf::from));
    let mut named = 0;
    // What it tries its rules on is not there.
    for file in files.iter().filter(|file| !file.ends_with("prose.py")) {
        // What is no text names nothing.
        let Ok(text) = fs::read_to_string(root().join(file)) else {
            continue;
        };
        for (place, _) in text.match_indices("docs/") {
            let rest = &text[place..];
            let end = rest
                .find(|letter: char| !letter.is_ascii_alphanumeric() && !"/.-_#".contains(letter))
                .unwrap_or(rest.len());
            let (path, anchor) = match rest[..end].split_once('#') {
                Some((path, anchor)) => (path, anchor),
                None => (&rest[..end], ""),
            };
            let own = !text[..place]
                .ends_with(|letter: char| letter.is_alphanumeric() || letter == '/')
                || text[..place].ends_with("../");
            let page = path.strip_suffix('.').unwrap_or(path);
            let is_page = Path::new(page)
                .extension()
                .is_some_and(|extension| extension == "md");
            if !own || !is_page {
                continue;
            }
            named += 1;
            let found = pages.get(Path::new(page));
            let found = found.unwrap_or_else(|| panic!("{}: there is no {page}", file.display()));
            let anchor = anchor.trim_end_matches('.');
            assert!(
                anchor.is_empty() || found.anchors.iter().any(|known| known == anchor),
                "{}: {page} has no #{anchor}",
                file.display()
            );
        }
    }
    assert!(named > 10, "{named}");
}

fn texts(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = folder.join(entry.file_name());
        match path.extension().and_then(|extension| extension.to_str()) {
            _ if entry.file_type().unwrap().is_dir() => texts(&path, found),
            Some("rs" | "yaml" | "yml" | "json" | "sh" | "toml" | "mjs" | "py") => found.push(path),
            _ => {}
        }
    }
}

/// The site has a chapter for each page, and each once.
#[test]
fn every_page_is_in_the_summary_once() {
    let summary = Page::read(Path::new("docs/SUMMARY.md"));
    let mut listed: Vec<PathBuf> = summary
        .links
        .iter()
        .map(|link| resolved(&summary.path, link).unwrap())
        .collect();
    listed.sort();
    let mut expected: Vec<PathBuf> = page::paths()
        .into_iter()
        .filter(|path| *path != summary.path)
        .collect();
    expected.sort();
    assert_eq!(listed, expected);
}
