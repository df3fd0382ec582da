//! Merges organizations into a configuration, and leaves the rest of it unchanged.
//!
//! The text is edited line by line, with little knowledge of YAML. So the outcome is parsed again,
//! and is used only if it is what was intended.

use serde_json::Value;

use crate::cli::console::Format;
use crate::config::Problem;
use crate::config::table::document;
use crate::resources::organization::Organization;
use crate::resources::{manifests, proof, yaml};

const KEY: &str = "organizations";

/// The indentation of the elements in a section that is written anew, in blanks.
const INDENT: usize = 2;

/// A configuration with organizations merged into it.
#[derive(Debug)]
pub(super) struct Merged {
    pub(super) text: String,
    /// The names of organizations that were there before and have been replaced by different ones.
    pub(super) replaced: Vec<String>,
}

/// Merges organizations into a configuration.
///
/// # Errors
/// The problems of the configuration or of the outcome; one of them may be that the text cannot be
/// edited.
pub(super) fn merge(
    configuration: &[u8],
    organizations: &[Organization],
    format: Format,
) -> Result<Merged, Vec<Problem>> {
    let text = std::str::from_utf8(configuration).map_err(|error| one("", error.to_string()))?;
    let value = read(text).map_err(|problem| one("", problem))?;
    stands_alone(&value).map_err(|problem| one("", problem))?;
    let present = present(&value)?;
    let plan = Plan::new(&present, organizations).map_err(|error| one("", error.to_string()))?;
    let refused = proof::problems(&plan.outcome, value.get("roles"));
    if !refused.is_empty() {
        return Err(refused);
    }
    let mut wanted = value.clone();
    if let Value::Object(members) = &mut wanted {
        members.insert(KEY.to_owned(), Value::Array(plan.outcome.clone()));
    }
    let text = if format == Format::Json || text.trim_start().starts_with('{') {
        format!("{wanted:#}\n")
    } else {
        let edited = [edit(text, &plan), rewrite(text, &plan)];
        let good = |edited: &String| read(edited).is_ok_and(|value| value == wanted);
        edited.into_iter().flatten().find(good).ok_or_else(|| {
            one(
                KEY,
                "cannot be edited where it stands: write it as a list with a dash before each \
                 element, without anchors, or take --output json",
            )
        })?
    };
    Ok(Merged {
        text,
        replaced: plan.replaced,
    })
}

fn one(place: &str, text: impl Into<String>) -> Vec<Problem> {
    vec![Problem {
        place: place.to_owned(),
        text: text.into(),
    }]
}

/// Parses a text that must be one document with an object.
fn read(text: &str) -> Result<Value, String> {
    let (mut documents, unreadable) = manifests::read(text.as_bytes());
    if let Some(unreadable) = unreadable {
        return Err(unreadable.text);
    }
    match (documents.pop(), documents.is_empty()) {
        (Some(document), true) if document.value.is_object() => Ok(document.value),
        _ => Err("is no configuration: one document with an object is one".to_owned()),
    }
}

/// Keys of documents that may contain a configuration somewhere inside: a resource of Kubernetes,
/// a bootstrap, or a file of Envoy's resources.
const AROUND: [&str; 8] = [
    "kind",
    "apiVersion",
    "static_resources",
    "staticResources",
    "dynamic_resources",
    "dynamicResources",
    "resources",
    "admin",
];

/// Refuses a document in which a section at the top would have no effect, because it is not itself
/// a configuration.
fn stands_alone(value: &Value) -> Result<(), String> {
    if let Some(key) = AROUND.iter().find(|key| value.get(**key).is_some()) {
        return Err(format!(
            "is no configuration by itself, because it has the key {key}: write the configuration \
             that stands in it into a file of its own, merge into that, and put the outcome back"
        ));
    }
    let members = value.as_object().into_iter().flatten();
    let names: Vec<&String> = members.map(|(name, _)| name).collect();
    let known = |name: &&String| {
        let name = name.as_str();
        name == DEPLOYMENT || document::TABLE.names.contains(&name)
    };
    if names.is_empty() || names.iter().any(known) {
        return Ok(());
    }
    Err("is no configuration: it has none of the keys of one, such as providers".to_owned())
}

/// The section of a deployment file that is not part of the configuration.
const DEPLOYMENT: &str = "deployment";

/// The organizations of a configuration, with their names.
fn present(value: &Value) -> Result<Vec<(String, Value)>, Vec<Problem>> {
    let elements = match value.get(KEY) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(elements)) => elements,
        Some(_) => return Err(one(KEY, "expected a list")),
    };
    let mut present = Vec::new();
    let mut problems = Vec::new();
    for (index, element) in elements.iter().enumerate() {
        match element.get("name").and_then(Value::as_str) {
            Some(name) => present.push((name.to_owned(), element.clone())),
            None => problems.extend(one(
                &format!("{KEY}[{index}].name"),
                "missing: it stands in audit records",
            )),
        }
    }
    if problems.is_empty() {
        Ok(present)
    } else {
        Err(problems)
    }
}

/// What the merge does with each organization.
struct Plan<'a> {
    /// For each organization of the configuration, in order, the one that replaces it.
    instead: Vec<Option<&'a Organization>>,
    new: Vec<&'a Organization>,
    /// All organizations after the merge.
    outcome: Vec<Value>,
    replaced: Vec<String>,
}

impl<'a> Plan<'a> {
    fn new(
        present: &[(String, Value)],
        organizations: &'a [Organization],
    ) -> Result<Self, serde_json::Error> {
        let find = |name: &str| organizations.iter().find(|it| it.name == name);
        let instead: Vec<_> = present.iter().map(|(name, _)| find(name)).collect();
        let is_new = |it: &&Organization| !present.iter().any(|(name, _)| *name == it.name);
        let new: Vec<_> = organizations.iter().filter(is_new).collect();
        let mut outcome = Vec::new();
        let mut replaced = Vec::new();
        for ((name, value), instead) in present.iter().zip(&instead) {
            let Some(organization) = instead else {
                outcome.push(value.clone());
                continue;
            };
            let becomes = serde_json::to_value(organization)?;
            if becomes != *value {
                replaced.push(name.clone());
            }
            outcome.push(becomes);
        }
        for organization in &new {
            outcome.push(serde_json::to_value(organization)?);
        }
        Ok(Self {
            instead,
            new,
            outcome,
            replaced,
        })
    }
}

/// A text in lines, divided at the section `organizations`.
struct Section<'t> {
    /// The lines before the section, and its first line, which has the key.
    before: &'t [&'t str],
    /// The lines below that one, up to the last that is neither empty nor a comment.
    body: &'t [&'t str],
    after: &'t [&'t str],
}

impl<'t> Section<'t> {
    fn find(lines: &'t [&'t str]) -> Option<Self> {
        let key = lines.iter().position(|line| after_key(line).is_some())?;
        let (before, rest) = lines.split_at_checked(key.checked_add(1)?)?;
        let ends = rest.iter().position(|line| {
            let inside = |letter: char| letter.is_whitespace() || "#]}".contains(letter);
            let item = *line == "-" || line.starts_with("- ") || line.trim_end() == "-";
            !line.trim_end().is_empty() && !line.starts_with(inside) && !item
        });
        let (inside, _) = rest.split_at_checked(ends.unwrap_or(rest.len()))?;
        let (body, after) = rest.split_at_checked(told(inside))?;
        Some(Self {
            before,
            body,
            after,
        })
    }
}

/// What follows the key of the section on its line, without a comment. `None` if the line does not
/// begin with that key.
fn after_key(line: &str) -> Option<&str> {
    let rest = line.strip_prefix(KEY)?.trim_start().strip_prefix(':')?;
    let rest = rest.split(" #").next().unwrap_or(rest);
    Some(rest.trim())
}

/// How many lines there are up to the last one that is neither empty nor a comment.
fn told(lines: &[&str]) -> usize {
    let says = |line: &&str| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with('#')
    };
    let last = lines.iter().rposition(says);
    last.map_or(0, |last| last.saturating_add(1))
}

/// Replaces and adds elements in a section that is a list with dashes. `None` if it is written in
/// another way.
fn edit(text: &str, plan: &Plan<'_>) -> Option<String> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let section = Section::find(&lines)?;
    let key = section.before.last()?;
    if !after_key(key)?.is_empty() {
        return None;
    }
    let first = section.body.iter().position(|line| told(&[line]) > 0)?;
    let (head, mut rest) = section.body.split_at_checked(first)?;
    let indent = indent_of(rest.first()?);
    let mut edited: String = section.before.concat();
    edited.push_str(&head.concat());
    for instead in &plan.instead {
        let (_, below) = rest.split_first()?;
        let next = below.iter().position(|line| is_item(line, indent));
        let length = next.unwrap_or(below.len()).checked_add(1)?;
        let (element, others) = rest.split_at_checked(length)?;
        match instead {
            None => edited.push_str(&ended(&element.concat())),
            Some(organization) => {
                edited.push_str(&yaml::item(organization, indent));
                let (_, kept) = element.split_at_checked(told(element))?;
                edited.push_str(&kept.concat());
            }
        }
        rest = others;
    }
    if !rest.is_empty() {
        return None;
    }
    for organization in &plan.new {
        edited.push_str(&yaml::item(organization, indent));
    }
    edited.push_str(&section.after.concat());
    Some(edited)
}

fn indent_of(line: &str) -> usize {
    line.bytes().take_while(|byte| *byte == b' ').count()
}

fn is_item(line: &str, indent: usize) -> bool {
    let rest = line.trim_start_matches(' ');
    indent_of(line) == indent && (rest.starts_with("- ") || rest.trim_end() == "-")
}

fn ended(text: &str) -> String {
    if text.is_empty() || text.ends_with('\n') {
        text.to_owned()
    } else {
        format!("{text}\n")
    }
}

/// Writes the section anew, in its place or at the end of the text.
fn rewrite(text: &str, plan: &Plan<'_>) -> Option<String> {
    let items = plan.outcome.iter().enumerate().map(|(index, value)| {
        let kept = || yaml::foreign_item(value, INDENT);
        let ours = match plan.instead.get(index) {
            Some(instead) => *instead,
            None => plan
                .new
                .get(index.saturating_sub(plan.instead.len()))
                .copied(),
        };
        ours.map_or_else(kept, |organization| yaml::item(organization, INDENT))
    });
    let items: String = items.collect();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let Some(section) = Section::find(&lines) else {
        return Some(format!("{}\n{KEY}:\n{items}", ended(text)));
    };
    let (_, before) = section.before.split_last()?;
    Some(format!(
        "{}{KEY}:\n{items}{}",
        before.concat(),
        section.after.concat()
    ))
}
