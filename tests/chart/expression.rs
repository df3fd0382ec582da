//! Expressions of the templates, as Go's templates have them: paths, texts, lists, `and`, `or`, `not` and `upper`.
//! Anything else is refused.

/// What names stand for.
pub struct Names {
    /// What the view has.
    pub view: &'static [&'static str],
    /// Variables of loops, of macros and of the file, the newest last: a name, and what stands for it.
    pub locals: Vec<(String, String)>,
}

/// An expression in Go's words.
///
/// # Errors
/// What is not understood.
pub fn translate(text: &str, names: &Names) -> Result<String, String> {
    let mut parser = Parser {
        words: words(text)?,
        names,
    };
    let found = parser.or()?;
    match parser.words.first() {
        None => Ok(found),
        Some(word) => Err(format!("{word} in {text:?}")),
    }
}

struct Parser<'a> {
    words: Vec<String>,
    names: &'a Names,
}

impl Parser<'_> {
    fn takes(&mut self, word: &str) -> bool {
        let takes = self.words.first().is_some_and(|next| next == word);
        if takes {
            self.words.remove(0);
        }
        takes
    }

    fn or(&mut self) -> Result<String, String> {
        self.several("or", Self::and)
    }

    fn and(&mut self) -> Result<String, String> {
        self.several("and", Self::not)
    }

    fn several(
        &mut self,
        word: &str,
        part: fn(&mut Self) -> Result<String, String>,
    ) -> Result<String, String> {
        let mut parts = vec![part(self)?];
        while self.takes(word) {
            parts.push(part(self)?);
        }
        match parts.as_slice() {
            [one] => Ok(one.clone()),
            parts => Ok(format!("({word} {})", parts.join(" "))),
        }
    }

    fn not(&mut self) -> Result<String, String> {
        if self.takes("not") {
            return Ok(format!("(not {})", self.not()?));
        }
        let mut value = self.value()?;
        while self.takes("|") {
            if !self.takes("upper") {
                return Err(format!("the filter {:?}", self.words.first()));
            }
            value = format!("(upper {value})");
        }
        Ok(value)
    }

    fn value(&mut self) -> Result<String, String> {
        if self.takes("(") {
            let inner = self.or()?;
            return if self.takes(")") {
                Ok(inner)
            } else {
                Err("no closing parenthesis".to_owned())
            };
        }
        if self.takes("[") {
            let mut elements = vec!["list".to_owned(), self.or()?];
            while self.takes(",") {
                elements.push(self.or()?);
            }
            return if self.takes("]") {
                Ok(format!("({})", elements.join(" ")))
            } else {
                Err("no closing bracket".to_owned())
            };
        }
        if self.words.is_empty() {
            return Err("nothing where a value should be".to_owned());
        }
        let word = self.words.remove(0);
        if word.starts_with('"') {
            return Ok(word);
        }
        self.path(&word)
    }

    fn path(&self, word: &str) -> Result<String, String> {
        let is_name = |part: &str| {
            part.starts_with(|first: char| first.is_ascii_lowercase())
                && part
                    .chars()
                    .all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '_')
        };
        let (first, rest) = match word.split_once('.') {
            Some((first, rest)) => (first, Some(rest)),
            None => (word, None),
        };
        if !word.split('.').all(is_name) {
            return Err(format!("no name: {word}"));
        }
        // `loop.first` is one name.
        if let Some((_, stands)) = self
            .names
            .locals
            .iter()
            .rev()
            .find(|(name, _)| name == word)
        {
            return Ok(stands.clone());
        }
        let local = self
            .names
            .locals
            .iter()
            .rev()
            .find(|(name, _)| name == first);
        let start = match local {
            Some((_, stands)) => stands.clone(),
            None if self.names.view.contains(&first) => format!("$view.{first}"),
            None => return Err(format!("nothing is called {first}")),
        };
        Ok(match rest {
            Some(rest) => format!("{start}.{rest}"),
            None => start,
        })
    }
}

fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '(' | ')' | '[' | ']' | ',' | '|' => 1,
            '"' => {
                let inner = rest.get(1..).unwrap_or_default();
                let end = inner.find('"').ok_or("no closing quote")?;
                if inner.get(..end).is_some_and(|inner| inner.contains('\\')) {
                    return Err(format!("an escape in {text:?}"));
                }
                end + 2
            }
            first if first.is_ascii_lowercase() => rest
                .find(|it: char| !(it.is_ascii_alphanumeric() || it == '_' || it == '.'))
                .unwrap_or(rest.len()),
            other => return Err(format!("{other} in {text:?}")),
        };
        let (word, after) = rest.split_at(length);
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    Ok(words)
}
