//! The paths that a file names, from its code without comments and literals.

use std::collections::BTreeMap;

/// A path as it is written, with groups taken apart.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Named {
    /// From the crate's root where it begins with `crate`, `self`, `super` or a module
    /// that this file declares; else it begins with another crate.
    pub path: Vec<String>,
    /// The line it stands in, from 1.
    pub line: usize,
}

/// What a file says about modules.
#[derive(Debug, Default)]
pub struct File {
    /// Paths that it uses, inside this crate; they begin with `crate`.
    pub inside: Vec<Named>,
    /// Paths that it uses from elsewhere, such as `std::fmt`.
    pub outside: Vec<Named>,
    /// Names that it only hands on (`pub use child::Name`), with what they stand for.
    pub handed_on: BTreeMap<String, Vec<String>>,
    /// Every word of it with its line.
    pub words: Vec<(String, usize)>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Token {
    Word(String),
    Colons,
    Other(char),
}

/// Reads the code of the module at `module`, a path from the crate's root.
pub fn read(code: &str, module: &[String]) -> File {
    let tokens = tokens(code);
    let declared = tokens.windows(3).filter_map(|three| match three {
        [(word, _), (Token::Word(name), _), (Token::Other(';'), _)] if is(word, "mod") => {
            Some(name.clone())
        }
        _ => None,
    });
    let mut reader = Reader {
        declared: declared.collect(),
        module: module.to_vec(),
        inline: Vec::new(),
        depth: 0,
        tokens: &tokens,
        at: 0,
        file: File::default(),
        handed_on: Vec::new(),
    };
    reader.file();
    let Reader {
        mut file,
        handed_on,
        ..
    } = reader;
    for (name, named) in handed_on {
        // A name that the file uses besides is an import like any other.
        let uses = tokens.iter().filter(|(token, _)| is(token, &name)).count();
        if uses > 1 {
            file.inside.push(named.clone());
        }
        file.handed_on.insert(name, named.path);
    }
    file.words = tokens
        .into_iter()
        .filter_map(|(token, line)| match token {
            Token::Word(word) => Some((word, line)),
            _ => None,
        })
        .collect();
    file
}

fn is(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(found) if found == word)
}

fn tokens(code: &str) -> Vec<(Token, usize)> {
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let word = rest
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        let length = if word > 0 {
            tokens.push((Token::Word(rest[..word].to_owned()), line));
            word
        } else if rest.starts_with("::") {
            tokens.push((Token::Colons, line));
            2
        } else {
            if !first.is_whitespace() {
                tokens.push((Token::Other(first), line));
            }
            line += usize::from(first == '\n');
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    tokens
}

struct Reader<'a> {
    /// Modules of this file that have files of their own.
    declared: Vec<String>,
    module: Vec<String>,
    /// Modules inside the file, with the depth of braces at which each ends.
    inline: Vec<(String, usize)>,
    depth: usize,
    tokens: &'a [(Token, usize)],
    at: usize,
    file: File,
    handed_on: Vec<(String, Named)>,
}

impl Reader<'_> {
    fn file(&mut self) {
        while let Some(token) = self.peek(0).cloned() {
            match &token {
                Token::Other('{') => self.depth += 1,
                Token::Other('}') => {
                    self.depth = self.depth.saturating_sub(1);
                    let depth = self.depth;
                    self.inline.retain(|(_, end)| *end < depth);
                }
                Token::Word(word) if word == "mod" => self.module(),
                Token::Word(word) if word == "use" => {
                    self.import();
                    continue;
                }
                // `pub(in path)` says who may see, not what is used.
                Token::Word(word) if word == "in" && self.is_visibility() => {
                    while !matches!(self.peek(0), None | Some(Token::Other(')'))) {
                        self.at += 1;
                    }
                }
                Token::Word(_) if self.begins_path() => {
                    self.inline_path();
                    continue;
                }
                _ => {}
            }
            self.at += 1;
        }
    }

    fn peek(&self, ahead: usize) -> Option<&Token> {
        self.tokens.get(self.at + ahead).map(|(token, _)| token)
    }

    fn line(&self) -> usize {
        self.tokens.get(self.at).map_or(0, |(_, line)| *line)
    }

    /// `mod name {`
    fn module(&mut self) {
        if let (Some(Token::Word(name)), Some(Token::Other('{'))) = (self.peek(1), self.peek(2)) {
            self.inline.push((name.clone(), self.depth));
        }
    }

    /// Whether `in` stands in `pub(in path)`, not in a loop.
    fn is_visibility(&self) -> bool {
        let before = self.at.checked_sub(2).map(|at| &self.tokens[at..self.at]);
        matches!(before, Some([(word, _), (Token::Other('('), _)]) if is(word, "pub"))
    }

    fn begins_path(&self) -> bool {
        let before = self.at.checked_sub(1).map(|at| &self.tokens[at].0);
        self.peek(1) == Some(&Token::Colons)
            && !matches!(before, Some(Token::Colons | Token::Other('.')))
    }

    fn inline_path(&mut self) {
        let line = self.line();
        let mut path = Vec::new();
        while let Some(Token::Word(word)) = self.peek(0) {
            path.push(word.clone());
            self.at += 1;
            if self.peek(0) != Some(&Token::Colons) {
                break;
            }
            self.at += 1;
        }
        self.note(path, line, None);
    }

    /// `use …;`, with groups.
    fn import(&mut self) {
        let visibility = self.tokens[..self.at].iter().rev().map(|(token, _)| token);
        let public = visibility
            .take_while(|token| !matches!(token, Token::Other(';' | '{' | '}' | ']')))
            .any(|token| is(token, "pub"));
        self.at += 1;
        if self.peek(0) == Some(&Token::Colons) {
            self.at += 1;
        }
        self.tree(&[], public);
        while !matches!(self.peek(0), None | Some(Token::Other(';'))) {
            self.at += 1;
        }
    }

    fn tree(&mut self, prefix: &[String], public: bool) {
        let mut path = prefix.to_vec();
        loop {
            let line = self.line();
            match self.peek(0).cloned() {
                Some(Token::Word(word)) => {
                    self.at += 1;
                    if word != "self" || path.is_empty() {
                        path.push(word);
                    }
                    if self.peek(0) == Some(&Token::Colons) {
                        self.at += 1;
                        continue;
                    }
                    let mut name = path.last().cloned();
                    if self.peek(0).is_some_and(|token| is(token, "as")) {
                        if let Some(Token::Word(alias)) = self.peek(1) {
                            name = Some(alias.clone());
                        }
                        self.at += 2;
                    }
                    self.note(path, line, name.filter(|_| public));
                }
                Some(Token::Other('*')) => {
                    self.at += 1;
                    self.note(path, line, None);
                }
                Some(Token::Other('{')) => {
                    self.at += 1;
                    while !matches!(self.peek(0), None | Some(Token::Other('}'))) {
                        self.tree(&path, public);
                        if self.peek(0) == Some(&Token::Other(',')) {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                }
                _ => self.at += 1,
            }
            return;
        }
    }

    fn note(&mut self, path: Vec<String>, line: usize, handed_on_as: Option<String>) {
        let here = || {
            let inline = self.inline.iter().map(|(name, _)| name.clone());
            self.module.iter().cloned().chain(inline)
        };
        let mut rest = path.iter().peekable();
        let mut absolute: Vec<String> = match rest.peek().map(|word| word.as_str()) {
            Some("crate") => {
                rest.next();
                Vec::new()
            }
            Some("self" | "super") => here().collect(),
            Some(name) if self.declared.iter().any(|module| module == name) => here().collect(),
            _ => {
                self.file.outside.push(Named { path, line });
                return;
            }
        };
        while let Some(word) = rest.peek() {
            match word.as_str() {
                "self" => {}
                "super" => drop(absolute.pop()),
                _ => break,
            }
            rest.next();
        }
        absolute.extend(rest.cloned());
        absolute.insert(0, "crate".to_owned());
        let named = Named {
            path: absolute,
            line,
        };
        match handed_on_as {
            Some(name) => self.handed_on.push((name, named)),
            None => self.file.inside.push(named),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::source;
    use super::*;

    fn of(source: &str, module: &str) -> File {
        let module: Vec<String> = module.split("::").map(str::to_owned).collect();
        read(&source::without_tests(&source::code(source)).0, &module)
    }

    #[track_caller]
    fn inside(source: &str, expected: &[&str]) {
        let file = of(source, "a::b");
        let found: Vec<String> = file
            .inside
            .iter()
            .map(|named| named.path.join("::"))
            .collect();
        assert_eq!(found, expected, "{source}");
    }

    #[test]
    fn imports_are_taken_apart() {
        inside("use crate::x::Y;", &["crate::x::Y"]);
        inside("use crate::x::{Y, Z};", &["crate::x::Y", "crate::x::Z"]);
        inside(
            "use crate::{x, y::{self, z::{A as B, *}, C,},};",
            &[
                "crate::x",
                "crate::y",
                "crate::y::z::A",
                "crate::y::z",
                "crate::y::C",
            ],
        );
        inside("use crate::x::Y as Z;", &["crate::x::Y"]);
        inside("use crate :: x\n  :: Y ;", &["crate::x::Y"]);
        inside("pub(crate) use crate::x::*;", &["crate::x"]);
        inside("fn f() { use crate::x::y; y() }", &["crate::x::y"]);
        inside("use std::fmt; use ::serde::de;", &[]);
    }

    #[test]
    fn relative_paths_are_those_of_the_module() {
        inside("use super::x::Y;", &["crate::a::x::Y"]);
        inside("use super::super::x;", &["crate::x"]);
        inside("use super::{x, super::y};", &["crate::a::x", "crate::y"]);
        inside("use self::x::Y;", &["crate::a::b::x::Y"]);
        inside("mod x; use x::Y;", &["crate::a::b::x::Y"]);
        inside("mod x; fn f() { x::y() }", &["crate::a::b::x::y"]);
        inside("mod x; fn f() { z.x::<u8>(); z::x::w() }", &[]);
        inside(
            "mod m { use super::x; } use super::y;",
            &["crate::a::b::x", "crate::a::y"],
        );
        inside(
            "mod m { fn f() { super::super::x::y() } }",
            &["crate::a::x::y"],
        );
        inside(
            "mod m { mod n { use super::x; } use super::y; }",
            &["crate::a::b::m::x", "crate::a::b::y"],
        );
    }

    #[test]
    fn inline_paths_count() {
        inside("fn f(x: &crate::x::Y) {}", &["crate::x::Y"]);
        inside("let x = crate::x::y::<u8>(1);", &["crate::x::y"]);
        inside("impl From<super::X> for Y {}", &["crate::a::X"]);
        inside("#[derive(crate::x::Y)] struct Z;", &["crate::x::Y"]);
        inside("$crate::x::y!()", &["crate::x::y"]);
        inside("let self_ = Self::x(); self.x", &[]);
    }

    #[test]
    fn what_is_not_used_does_not_count() {
        inside("for x in crate::y {}", &["crate::y"]);
        inside("// use crate::x;\n/* crate::y */ /// [`crate::z`]\n", &[]);
        inside("let x = \"crate::x\"; let y = r#\"use crate::y;\"#;", &[]);
        inside(
            "pub(in crate::a) fn f() {} pub(crate) fn g() {} pub(super) fn h() {}",
            &[],
        );
        inside(
            "#[cfg(test)] mod tests { use crate::x; } use crate::y;",
            &["crate::y"],
        );
        inside("#[cfg(test)]\nuse crate::x;\nuse crate::y;", &["crate::y"]);
    }

    #[test]
    fn a_name_that_is_handed_on_is_not_used_unless_it_is() {
        let file = of("mod x; pub use x::{Y, Z as W}; pub(super) use x::V;", "a");
        assert_eq!(file.inside, []);
        assert_eq!(file.handed_on["Y"].join("::"), "crate::a::x::Y");
        assert_eq!(file.handed_on["W"].join("::"), "crate::a::x::Z");
        assert_eq!(file.handed_on["V"].join("::"), "crate::a::x::V");
        inside("mod x; pub use x::Y; struct Z(Y);", &["crate::a::b::x::Y"]);
        inside(
            "mod x; pub(in crate::a) use x::Y; struct Z(Y);",
            &["crate::a::b::x::Y"],
        );
    }

    #[test]
    fn lines_and_other_crates_are_noted() {
        let file = of(
            "\n\nuse std::{fmt, time::{self, Instant}};\nlet x = std::env::var(y);",
            "a",
        );
        let found: Vec<(String, usize)> = file
            .outside
            .into_iter()
            .map(|named| (named.path.join("::"), named.line))
            .collect();
        let expected = [
            ("std::fmt", 3),
            ("std::time", 3),
            ("std::time::Instant", 3),
            ("std::env::var", 4),
        ];
        assert_eq!(found, expected.map(|(path, line)| (path.to_owned(), line)));
    }
}
