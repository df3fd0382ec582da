//! The commands on the pages exist: `scopegate` accepts their arguments, and `make` knows their
//! targets.

use std::collections::BTreeSet;
use std::path::Path;

use crate::page::{self, Page};
use crate::shell;

/// What is left of a command behind the variables that are set for it.
fn program(words: &[String]) -> &[String] {
    let variables = words
        .iter()
        .take_while(|word| word.split_once('=').is_some_and(|(name, _)| is_name(name)))
        .count();
    &words[variables..]
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}

fn targets() -> BTreeSet<String> {
    let makefile = crate::read("Makefile");
    let targets = makefile.lines().filter_map(|line| {
        let (name, _) = line.split_once(':')?;
        name.bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
            .then(|| name.to_owned())
    });
    targets.collect()
}

fn every(wanted: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for path in page::paths() {
        let page = Page::read(&path);
        let name = path.display().to_string();
        for block in &page.blocks {
            if ["sh", "bash", "console"].contains(&block.info.as_str()) {
                for words in shell::commands(&block.info, &block.text) {
                    let words = program(&words);
                    let first = words.first().and_then(|word| Path::new(word).file_name());
                    if first.is_some_and(|first| first == wanted) {
                        found.push((name.clone(), words[1..].to_vec()));
                    }
                }
            }
        }
        // What a sentence names is seldom the whole command. Not a command are words that it is better to leave out.
        for span in page.spans.iter().filter(|span| *span != "make sure") {
            let Some(command) = span.strip_prefix(&format!("{wanted} ")) else {
                continue;
            };
            let words = shell::commands("sh", command).into_iter().next();
            let mut words = words.unwrap_or_default();
            words.push("…".to_owned());
            found.push((name.clone(), words));
        }
    }
    found
}

#[test]
fn every_target_that_is_named_is_in_the_makefile() {
    let targets = targets();
    let commands = every("make");
    for (page, words) in &commands {
        for word in words {
            if !word.contains(['=', '…']) && !word.starts_with('-') {
                assert!(targets.contains(word), "{page}: make {word}");
            }
        }
    }
    assert!(commands.len() > 40, "{}", commands.len());
}

#[cfg(feature = "cli")]
#[test]
fn every_command_of_scopegate_is_one_that_it_takes() {
    use clap::error::ErrorKind;
    use clap::{CommandFactory as _, Parser as _};
    use scopegate::cli::Arguments;

    let commands = every("scopegate");
    for (page, words) in &commands {
        // Not in every build.
        if !cfg!(feature = "serve")
            && words.iter().any(|word| {
                ["serve-organizations", "public-keys", "install-module"].contains(&word.as_str())
            })
        {
            continue;
        }
        let open = words.iter().any(|word| word.contains('…'));
        let given = words.iter().filter(|word| !word.contains('…'));
        let line = std::iter::once("scopegate").chain(given.map(String::as_str));
        let Err(error) = Arguments::try_parse_from(line) else {
            continue;
        };
        let missing = [
            ErrorKind::MissingRequiredArgument,
            ErrorKind::MissingSubcommand,
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
        ];
        assert!(
            open && missing.contains(&error.kind())
                || matches!(
                    error.kind(),
                    ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
                ),
            "{page}: scopegate {words:?}: {error}"
        );
    }
    assert!(commands.len() > 60, "{}", commands.len());
    // And the other way round: none is left undescribed.
    for command in Arguments::command().get_subcommands() {
        let name = command.get_name();
        assert!(
            commands
                .iter()
                .any(|(_, words)| words.iter().any(|word| word == name)),
            "no page names scopegate {name}"
        );
    }
}
