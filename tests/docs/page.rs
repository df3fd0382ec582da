//! Pages of Markdown: which ones there are, and what they contain.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// Where the repository is.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The paths of all pages that somebody may read, from the root of the repository: those at the top, everything in
/// `docs/`, and what stands beside files in `envoy/`, `integration/` and `tests/`.
pub fn paths() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = TOP.map(PathBuf::from).into();
    for folder in ["docs", "envoy", "fuzz", "integration", "tests"] {
        collect(Path::new(folder), &mut found);
    }
    found.sort();
    found
}

/// The pages at the top.
const TOP: [&str; 5] = [
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "RELEASING.md",
    "SECURITY.md",
];

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = folder.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

/// A block of code: the words behind its fence, and what is between.
pub struct Block {
    pub info: String,
    pub text: String,
}

/// What the tests ask of a page.
pub struct Page {
    pub path: PathBuf,
    /// What can stand behind `#`, one for each heading.
    pub anchors: Vec<String>,
    /// Where its links and pictures lead.
    pub links: Vec<String>,
    pub blocks: Vec<Block>,
    /// Code within a line.
    pub spans: Vec<String>,
}

impl Page {
    /// Reads the page at that path from the root.
    pub fn read(path: &Path) -> Self {
        let text = fs::read_to_string(root().join(path))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut page = Self {
            path: path.to_owned(),
            anchors: Vec::new(),
            links: Vec::new(),
            blocks: Vec::new(),
            spans: Vec::new(),
        };
        let mut taken = BTreeMap::new();
        let mut heading: Option<String> = None;
        let mut block: Option<Block> = None;
        for event in Parser::new_ext(&text, Options::ENABLE_TABLES) {
            match event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    let text = heading.take().unwrap();
                    page.anchors.push(anchor(&text, &mut taken));
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push(dest_url.into_string());
                }
                Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) => {
                    block = Some(Block {
                        info: info.into_string(),
                        text: String::new(),
                    });
                }
                Event::End(TagEnd::CodeBlock) => page.blocks.extend(block.take()),
                Event::Text(text) | Event::Code(text) if heading.is_some() => {
                    heading.as_mut().unwrap().push_str(&text);
                }
                Event::Text(text) if block.is_some() => {
                    block.as_mut().unwrap().text.push_str(&text);
                }
                Event::Code(code) => page.spans.push(code.into_string()),
                _ => {}
            }
        }
        page
    }
}

/// What GitHub and mdBook make of a heading: lower case, hyphens for blanks, and of what is neither a letter nor a
/// number nothing but `-` and `_`. The second heading of the same text gets `-1`.
fn anchor(heading: &str, taken: &mut BTreeMap<String, usize>) -> String {
    let plain: String = heading
        .trim()
        .chars()
        .filter_map(|letter| match letter {
            letter if letter.is_whitespace() => Some('-'),
            letter if letter.is_alphanumeric() || "-_".contains(letter) => Some(letter),
            _ => None,
        })
        .flat_map(char::to_lowercase)
        .collect();
    let count = taken.entry(plain.clone()).or_default();
    *count += 1;
    match *count {
        1 => plain,
        count => format!("{plain}-{}", count - 1),
    }
}

#[test]
fn anchors_are_those_of_the_places_where_pages_are_read() {
    let mut taken = BTreeMap::new();
    for (heading, expected) in [
        ("Ways of a token", "ways-of-a-token"),
        ("`serve-organizations`", "serve-organizations"),
        ("Logs, metrics & traces", "logs-metrics--traces"),
        ("tenant_not_granted", "tenant_not_granted"),
        ("Ways of a token", "ways-of-a-token-1"),
    ] {
        assert_eq!(anchor(heading, &mut taken), expected);
    }
}
