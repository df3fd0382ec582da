//! Source text as the compiler sees it: without comments, without the content of literals, and
//! without what is compiled only for tests.
//!
//! Whatever is removed is replaced with spaces and line ends, so that lines keep their numbers.

/// The text without comments, and with empty literals.
pub fn code(source: &str) -> String {
    let mut reader = Reader {
        rest: source,
        code: String::with_capacity(source.len()),
    };
    while let Some(first) = reader.rest.chars().next() {
        let identifier = reader.identifier();
        if reader.rest.starts_with("//") {
            let end = reader.rest.find('\n').unwrap_or(reader.rest.len());
            reader.blank(end);
        } else if reader.rest.starts_with("/*") {
            reader.blank(block_comment(reader.rest));
        } else if let Some(length) = raw_string(reader.rest) {
            reader.blank(length);
        } else if let Some(length) = string(reader.rest).or_else(|| character(reader.rest)) {
            reader.blank(length);
        } else if identifier > 0 {
            reader.keep(identifier);
        } else {
            reader.keep(first.len_utf8());
        }
    }
    reader.code
}

struct Reader<'a> {
    rest: &'a str,
    code: String,
}

impl Reader<'_> {
    fn keep(&mut self, length: usize) {
        let (taken, rest) = self.rest.split_at(length);
        self.code.push_str(taken);
        self.rest = rest;
    }

    fn blank(&mut self, length: usize) {
        let (taken, rest) = self.rest.split_at(length);
        push_blank(&mut self.code, taken);
        self.rest = rest;
    }

    /// The length of the identifier or number here, so that a letter in the middle of
    /// one is never taken for the prefix of a literal.
    fn identifier(&self) -> usize {
        let part = |c: char| c.is_alphanumeric() || c == '_';
        self.rest.find(|c| !part(c)).unwrap_or(self.rest.len())
    }
}

fn push_blank(code: &mut String, text: &str) {
    code.extend(text.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
}

/// Block comments nest.
fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// `r"…"`, `r#"…"#`, also after `b` or `c`. A raw identifier (`r#type`) is none.
fn raw_string(text: &str) -> Option<usize> {
    let prefix = text
        .find('r')
        .filter(|at| matches!(&text[..*at], "" | "b" | "c"))?;
    let hashes = text[prefix + 1..]
        .bytes()
        .take_while(|b| *b == b'#')
        .count();
    let begin = prefix + 1 + hashes;
    text[begin..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let end = text[begin + 1..].find(&close);
    Some(end.map_or(text.len(), |end| begin + 1 + end + close.len()))
}

/// `"…"`, also after `b` or `c`.
fn string(text: &str) -> Option<usize> {
    let begin = text
        .find('"')
        .filter(|at| matches!(&text[..*at], "" | "b" | "c"))?;
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(begin + 1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    Some(text.len())
}

/// `'x'`, `'\''`, also after `b`; a lifetime is none.
fn character(text: &str) -> Option<usize> {
    let begin = text
        .find('\'')
        .filter(|at| matches!(&text[..*at], "" | "b"))?;
    let mut rest = text[begin + 1..].chars();
    let first = rest.next()?;
    if first == '\\' {
        let escaped = rest.next()?.len_utf8();
        let end = text[begin + 2 + escaped..].find('\'')?;
        return Some(begin + 2 + escaped + end + 1);
    }
    (rest.next()? == '\'').then(|| begin + 1 + first.len_utf8() + 1)
}

/// The code without the items that are compiled for tests only, and the names of the
/// modules among them that have files of their own.
pub fn without_tests(code: &str) -> (String, Vec<String>) {
    let mut kept = String::with_capacity(code.len());
    let mut modules = Vec::new();
    let mut rest = code;
    while let Some(begin) = rest.find("#[cfg(test)]") {
        let (before, item) = rest.split_at(begin);
        kept.push_str(before);
        let (item, after) = item.split_at(item_length(item));
        modules.extend(module_file(item));
        push_blank(&mut kept, item);
        rest = after;
    }
    kept.push_str(rest);
    (kept, modules)
}

/// Up to the `;` or the closing brace that ends an item with its attributes.
fn item_length(item: &str) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in item.bytes().enumerate() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' => depth -= 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            b';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    item.len()
}

/// The name in `mod name;`.
fn module_file(item: &str) -> Option<String> {
    let (_, name) = item.strip_suffix(';')?.rsplit_once("mod ")?;
    Some(name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn reads(source: &str, expected: &str) {
        let code = code(source);
        assert_eq!(code.matches('\n').count(), source.matches('\n').count());
        let words: Vec<&str> = code.split_whitespace().collect();
        assert_eq!(words.join(" "), expected, "{source}");
    }

    #[test]
    fn comments_are_no_code() {
        reads("a // crate::x\nb", "a b");
        reads("/// crate::x\n//! crate::y\na", "a");
        reads("a /* b /* c */ d */ e", "a e");
        reads("a / b", "a / b");
        reads("/* never closed", "");
    }

    #[test]
    fn literals_are_no_code() {
        reads(r#"a "crate::x // \" /*" b"#, "a b");
        reads(r##"a r#"crate::x " "# b"##, "a b");
        reads(r#"a br"x\" b"#, "a b");
        reads(r#"a b"x" c"y" b"#, "a b");
        reads("a \"two\nlines\" b", "a b");
        reads("a '\"' b '\\'' c b'\"' '\\u{1f600}' d", "a b c d");
    }

    #[test]
    fn what_only_looks_like_a_literal_is_code() {
        reads("&'a str", "&'a str");
        reads("fn f<'a, 'b>(x: &'a T<'b>)", "fn f<'a, 'b>(x: &'a T<'b>)");
        reads("r#type r#crate", "r#type r#crate");
        reads("number_r\"x\" y", "number_r y");
        reads("'outer: loop {}", "'outer: loop {}");
    }

    #[test]
    fn tests_are_no_code() {
        let source = "a;\n#[cfg(test)]\nmod tests {\n fn x() { y() }\n}\nb;\n\
            #[cfg(test)]\n#[path = \"x\"]\nmod more;\nc; #[cfg(test)] use crate::d; e;\n\
            #[cfg(not(test))] mod f;";
        let (kept, modules) = without_tests(&code(source));
        let words: Vec<&str> = kept.split_whitespace().collect();
        assert_eq!(words.join(" "), "a; b; c; e; #[cfg(not(test))] mod f;");
        assert_eq!(kept.lines().count(), source.lines().count());
        assert_eq!(modules, ["more"]);
    }
}
