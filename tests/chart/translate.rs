//! The templates of `scopegate render` as templates of Helm.
//!
//! Only what our templates use is understood, and everything else is an error. A tag that has a line to itself leaves
//! none behind, as in the source. Macros are put where they are called.

use std::collections::BTreeMap;

use crate::expression::{self, Names};

/// What is already YAML.
const PRINTED: &str = "configuration";

/// A piece of a template.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Piece {
    Text(String),
    /// `{{ … }}`, and whether the blanks behind it go.
    Value(String, bool),
    /// `{% … %}`, and whether it has its line to itself.
    Tag(String, bool),
}

#[derive(Clone, Debug)]
struct Macro {
    parameter: Option<String>,
    body: Vec<Piece>,
}

/// The template in Go's words. `view` has the names of what it may show.
///
/// # Errors
/// It says something that is not understood.
pub fn translate(template: &str, view: &'static [&'static str]) -> Result<String, String> {
    let pieces = of_wasm(pieces(template)?)?;
    let mut translator = Translator {
        names: Names {
            view,
            locals: Vec::new(),
        },
        macros: BTreeMap::new(),
        open: Vec::new(),
        output: String::new(),
    };
    translator.all(&pieces)?;
    match translator.open.last() {
        None => Ok(translator.output),
        Some(open) => Err(format!("{open:?} is not closed")),
    }
}

/// Without what is printed for the native module alone: the chart is for the one in wasm.
fn of_wasm(pieces: Vec<Piece>) -> Result<Vec<Piece>, String> {
    let mut kept = Vec::new();
    // Of each condition that is open: whether it is this one, and whether its pieces stay.
    let mut open: Vec<(bool, bool)> = Vec::new();
    for piece in pieces {
        let tag = match &piece {
            Piece::Tag(text, _) => text.as_str(),
            _ => "",
        };
        let stays = open.iter().all(|(_, stays)| *stays);
        match (tag, open.last_mut()) {
            ("if native", _) => open.push((true, false)),
            ("else", Some((true, stays))) => *stays = true,
            ("endif", Some((ours, _))) => {
                let ours = *ours;
                open.pop();
                if !ours && stays {
                    kept.push(piece);
                }
            }
            (tag, _) => {
                if tag.starts_with("if ") {
                    open.push((false, true));
                }
                if stays {
                    kept.push(piece);
                }
            }
        }
    }
    if open.is_empty() {
        Ok(kept)
    } else {
        Err("a condition is not closed".to_owned())
    }
}

/// What has been opened and not closed.
#[derive(Debug, Eq, PartialEq)]
enum Open {
    If,
    /// With how many names there were before it.
    For(usize),
}

struct Translator {
    names: Names,
    macros: BTreeMap<String, Macro>,
    open: Vec<Open>,
    output: String,
}

impl Translator {
    fn all(&mut self, pieces: &[Piece]) -> Result<(), String> {
        let mut rest = pieces.iter();
        while let Some(piece) = rest.next() {
            match piece {
                Piece::Text(text) => self.text(text)?,
                Piece::Value(text, trims) => self.value(text, *trims)?,
                Piece::Tag(text, alone) => {
                    let Some(head) = text.strip_prefix("macro ") else {
                        self.tag(text, *alone)?;
                        continue;
                    };
                    let (name, parameter) = called(head).ok_or("a macro without parentheses")?;
                    let mut body = Vec::new();
                    loop {
                        match rest.next() {
                            None => return Err(format!("the macro {name} has no end")),
                            Some(Piece::Tag(text, _)) if text == "endmacro" => break,
                            Some(Piece::Tag(text, _)) if text.starts_with("macro ") => {
                                return Err("a macro in a macro".to_owned());
                            }
                            Some(piece) => body.push(piece.clone()),
                        }
                    }
                    let parameter = (!parameter.is_empty()).then(|| parameter.to_owned());
                    let found = Macro { parameter, body };
                    self.macros.insert(name.to_owned(), found);
                }
            }
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), String> {
        if text.contains("{{") {
            return Err(format!("two braces in a text: {text:?}"));
        }
        self.output.push_str(text);
        Ok(())
    }

    fn value(&mut self, text: &str, trims: bool) -> Result<(), String> {
        if let Some((name, argument)) = called(text) {
            let Some(known) = self.macros.get(name).cloned() else {
                return Err(format!("no macro {name}"));
            };
            let lines = |piece: &Piece| match piece {
                Piece::Text(text) => text.contains('\n'),
                Piece::Value(..) => false,
                Piece::Tag(_, alone) => *alone,
            };
            // Its lines end with a break, which is the one behind the call.
            if known.body.iter().any(lines) != trims {
                return Err(format!("{name}: lines where there should be none, or none"));
            }
            let before = self.names.locals.len();
            match (&known.parameter, argument) {
                (None, "") => {}
                (Some(parameter), argument) if !argument.is_empty() => {
                    let argument = expression::translate(argument, &self.names)?;
                    self.names.locals.push((parameter.clone(), argument));
                }
                _ => return Err(format!("{name}: the number of its arguments")),
            }
            let open = self.open.len();
            self.all(&known.body)?;
            self.names.locals.truncate(before);
            return if self.open.len() == open {
                Ok(())
            } else {
                Err(format!("{name} opens what it does not close"))
            };
        }
        if trims {
            return Err(format!("a value that takes what is behind it: {text}"));
        }
        let value = expression::translate(text, &self.names)?;
        self.output.push_str("{{ ");
        if text != PRINTED {
            self.output.push_str("include \"scopegate.scalar\" ");
        }
        self.output.push_str(&value);
        self.output.push_str(" }}");
        Ok(())
    }

    fn tag(&mut self, text: &str, alone: bool) -> Result<(), String> {
        let written = if let Some(condition) = text.strip_prefix("if ") {
            let condition = expression::translate(condition, &self.names)?;
            self.open.push(Open::If);
            format!("if {}", bare(&condition))
        } else if text == "else" {
            if self.open.last() != Some(&Open::If) {
                return Err("an else without an if".to_owned());
            }
            "else".to_owned()
        } else if text == "endif" {
            if self.open.pop() != Some(Open::If) {
                return Err("an endif without an if".to_owned());
            }
            "end".to_owned()
        } else if let Some(head) = text.strip_prefix("for ") {
            let (name, list) = head.split_once(" in ").ok_or("a for without in")?;
            let list = expression::translate(list, &self.names)?;
            self.open.push(Open::For(self.names.locals.len()));
            let local = |name: &str, stands: String| (name.to_owned(), stands);
            self.names.locals.push(local(name, format!("${name}")));
            let first = format!("(eq $at_{name} 0)");
            self.names.locals.push(local("loop.first", first));
            format!("range $at_{name}, ${name} := {}", bare(&list))
        } else if text == "endfor" {
            let Some(Open::For(before)) = self.open.pop() else {
                return Err("an endfor without a for".to_owned());
            };
            self.names.locals.truncate(before);
            "end".to_owned()
        } else if let Some(assignment) = text.strip_prefix("set ") {
            self.assigned(assignment)?
        } else {
            return Err(format!("the tag {text:?}"));
        };
        if !alone {
            self.output.push_str("{{ ");
            self.output.push_str(&written);
            self.output.push_str(" }}");
            return Ok(());
        }
        // The break before the tag goes, and the one behind it stays.
        let before = self.output.trim_end_matches([' ', '\n']).len();
        if self.output.len() - before > 1 {
            return Err(format!("blanks before the line of {text:?}"));
        }
        self.output.push_str("{{- ");
        self.output.push_str(&written);
        self.output.push_str(" }}\n");
        Ok(())
    }

    /// `seen = namespace(document=false)`, and `seen.document = true`.
    fn assigned(&mut self, assignment: &str) -> Result<String, String> {
        let (place, value) = assignment.split_once(" = ").ok_or("a set without =")?;
        let truth = |text: &str| match text {
            "true" | "false" => Ok(text.to_owned()),
            other => Err(format!("no truth value: {other}")),
        };
        if let Some((place, member)) = place.split_once('.') {
            let place = expression::translate(place, &self.names)?;
            return Ok(format!("$_ := set {place} \"{member}\" {}", truth(value)?));
        }
        let Some(("namespace", member)) = called(value) else {
            return Err(format!("no namespace: {value}"));
        };
        let (member, value) = member.split_once('=').ok_or("a namespace of nothing")?;
        self.names
            .locals
            .push((place.to_owned(), format!("${place}")));
        Ok(format!("${place} := dict \"{member}\" {}", truth(value)?))
    }
}

/// Name and argument of `name(argument)`.
fn called(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = text.split_once('(')?;
    let argument = rest.strip_suffix(')')?;
    let is_name = !name.is_empty() && name.chars().all(|it| it.is_ascii_lowercase() || it == '_');
    is_name.then_some((name, argument))
}

/// Without parentheses around all of it.
fn bare(expression: &str) -> &str {
    let inner = expression
        .strip_prefix('(')
        .and_then(|it| it.strip_suffix(')'));
    // `(a) b (c)` does not come about: every operator has parentheses of its own.
    inner.unwrap_or(expression)
}

/// The template in pieces, without what lines of tags leave behind.
fn pieces(template: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = template;
    let mut at_start_of_line = true;
    while !rest.is_empty() {
        let next = ["{{", "{%", "{#"]
            .iter()
            .filter_map(|mark| rest.find(mark).map(|place| (place, *mark)))
            .min();
        let Some((place, mark)) = next else {
            pieces.push(Piece::Text(rest.to_owned()));
            break;
        };
        let (text, from) = rest.split_at(place);
        let end = match mark {
            "{{" => "}}",
            "{%" => "%}",
            _ => "#}",
        };
        let length = from.find(end).ok_or_else(|| format!("no {end}"))?;
        let (inside, after) = from.split_at(length);
        let inside = inside.trim_start_matches(mark);
        let after = after.strip_prefix(end).unwrap_or_default();
        if inside.starts_with(['-', '+']) || (mark != "{{" && inside.ends_with(['-', '+'])) {
            return Err(format!("a sign in {mark}{inside}{end}"));
        }
        let begins = match text.rsplit_once('\n') {
            Some((_, last)) => last.chars().all(|it| it == ' '),
            None => at_start_of_line && text.chars().all(|it| it == ' '),
        };
        let alone = begins && (after.starts_with('\n') || after.is_empty());
        if mark == "{{" {
            if !text.is_empty() {
                pieces.push(Piece::Text(text.to_owned()));
            }
            let (inside, trims) = match inside.strip_suffix('-') {
                Some(inside) => (inside, true),
                None => (inside, false),
            };
            pieces.push(Piece::Value(inside.trim().to_owned(), trims));
            rest = if trims { after.trim_start() } else { after };
            if trims && !(alone && after.len() - rest.len() == 1) {
                return Err(format!("-}} behind {inside} takes more than one break"));
            }
            at_start_of_line = trims;
            continue;
        }
        let text = if begins {
            text.trim_end_matches(' ')
        } else {
            text
        };
        if !text.is_empty() {
            pieces.push(Piece::Text(text.to_owned()));
        }
        if mark == "{%" {
            pieces.push(Piece::Tag(inside.trim().to_owned(), alone));
        }
        // The break behind a tag goes wherever it stands.
        rest = after.strip_prefix('\n').unwrap_or(after);
        at_start_of_line = after.starts_with('\n');
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::translate;

    const VIEW: &[&str] = &["a", "b", "many", "configuration"];

    #[test]
    fn what_templates_say_is_understood() {
        for (template, wanted) in [
            (
                "x: {{ a.b }}\n",
                "x: {{ include \"scopegate.scalar\" $view.a.b }}\n",
            ),
            ("x\n{{ configuration }}", "x\n{{ $view.configuration }}"),
            (
                "x\n  {% if (a and a.b) or not b %}\ny\n{% else %}\nz\n{% endif %}\n",
                "x\n{{- if or (and $view.a $view.a.b) (not $view.b) }}\ny\n{{- else }}\nz\n{{- end }}\n",
            ),
            (
                "x\n{% for it in many %}\n{% if not loop.first %}\n-\n{% endif %}\n{{ it.b|upper }}\n{% endfor %}\n",
                "x\n{{- range $at_it, $it := $view.many }}\n{{- if not (eq $at_it 0) }}\n-\n{{- end }}\n\
                 {{ include \"scopegate.scalar\" (upper $it.b) }}\n{{- end }}\n",
            ),
            (
                "{% macro m(x) %}\n{% if x %}1{% else %}2{% endif %}\n{% endmacro %}\ny: [{{ m(a.b) }}]\n",
                "y: [{{ if $view.a.b }}1{{ else }}2{{ end }}]\n",
            ),
            (
                "x: {% if native %}1{% else %}2{% endif %}.\n{% if a %}\n{% if native %}\n{% if b %}\ny\n\
                 {% else %}\nz\n{% endif %}\n{% endif %}\n{% else %}\nw\n{% endif %}\n",
                "x: 2.\n{{- if $view.a }}\n{{- else }}\nw\n{{- end }}\n",
            ),
            (
                "x\n{% for it in [\"1\", \"2\"] %}\n{{ it }}\n{% endfor %}\n",
                "x\n{{- range $at_it, $it := list \"1\" \"2\" }}\n\
                 {{ include \"scopegate.scalar\" $it }}\n{{- end }}\n",
            ),
        ] {
            assert_eq!(translate(template, VIEW).as_deref(), Ok(wanted));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for template in [
            "{{ c }}",
            "{{ a.B }}",
            "{{ a|lower }}",
            "{{ a + b }}",
            "{{ a[0] }}",
            "{{ a == b }}",
            "{{ a if b }}",
            "{{ a",
            "{{ a -}}\nx",
            "{{- a }}",
            "{{ m() }}",
            "{% if a %}",
            "{% if native %}",
            "{% endif %}",
            "{% if a %}{% endfor %}",
            "{% for it in many %}{% else %}{% endfor %}",
            "{% for it of many %}{% endfor %}",
            "{% include \"x\" %}",
            "{% set a = 1 %}",
            "{% set x = namespace(y=1) %}",
            "{%- if a %}{% endif %}",
            "x\n\n{% if a %}\n{% endif %}\n",
            "{% macro m() %}x\n{% endmacro %}{{ m() }}",
            "{% macro m(x) %}x{% endmacro %}{{ m() }}",
            "{% macro m() %}x",
            "{% for it in many %}{% endfor %}{{ it }}",
            "{{ loop.first }}",
        ] {
            let found = translate(template, VIEW);
            assert!(found.is_err(), "{template:?}: {found:?}");
        }
    }
}
