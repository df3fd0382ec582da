//! One line an event, on standard error.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::time::SystemTime;

use serde_json::{Map, Value};

/// Longest value in a line, in characters: what others have written stands there.
const MAX_VALUE: usize = 512;

/// The form of a line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// `level event key="value"`
    Plain,
    /// An object, with `time` in seconds since 1970.
    Json,
}

/// How much an event matters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Level {
    /// Somebody should look.
    Error,
    /// As it should be.
    Info,
    /// Something was left out or put off.
    Warn,
}

impl Level {
    const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Info => "info",
            Self::Warn => "warn",
        }
    }
}

/// Writes lines.
#[derive(Clone, Copy, Debug)]
pub struct Log {
    form: Form,
}

impl Log {
    /// One that writes lines of that form.
    #[must_use]
    pub const fn new(form: Form) -> Self {
        Self { form }
    }

    /// As it should be.
    pub fn info(self, event: &str, fields: &[(&str, &dyn fmt::Display)]) {
        self.write(Level::Info, event, fields);
    }

    /// Something was left out or put off.
    pub fn warn(self, event: &str, fields: &[(&str, &dyn fmt::Display)]) {
        self.write(Level::Warn, event, fields);
    }

    /// Somebody should look.
    pub fn error(self, event: &str, fields: &[(&str, &dyn fmt::Display)]) {
        self.write(Level::Error, event, fields);
    }

    fn write(self, level: Level, event: &str, fields: &[(&str, &dyn fmt::Display)]) {
        let line = line(self.form, now(), level, event, fields);
        // Nobody is left to tell if this fails.
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}

/// A line of that form, without its end.
#[must_use]
pub fn line(
    form: Form,
    now: f64,
    level: Level,
    event: &str,
    fields: &[(&str, &dyn fmt::Display)],
) -> String {
    match form {
        Form::Plain => {
            let mut line = format!("{} {event}", level.name());
            for (name, value) in fields {
                // Quoted as a string of Rust is: control characters are escaped.
                let _ = write!(line, " {name}={:?}", shortened(&value.to_string()));
            }
            line
        }
        Form::Json => {
            let mut object = Map::new();
            for (name, value) in fields {
                object.insert((*name).to_owned(), shortened(&value.to_string()).into());
            }
            object.insert("time".to_owned(), now.into());
            object.insert("level".to_owned(), level.name().into());
            object.insert("event".to_owned(), event.into());
            Value::Object(object).to_string()
        }
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_VALUE) {
        Some((end, _)) => [text.get(..end).unwrap_or_default(), "…"].concat(),
        None => text.to_owned(),
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}
