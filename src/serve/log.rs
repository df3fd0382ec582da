//! Writes one line for each event to standard error.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::time::SystemTime;

use serde_json::{Map, Value};

/// The longest value in a line, in characters. Values may hold what others have written.
const MAX_VALUE: usize = 512;

/// The form of a line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// Plain text: `level event key="value"`.
    Plain,
    /// A JSON object, with `time` in seconds since 1970.
    Json,
}

/// How serious an event is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Level {
    /// Somebody should look at it.
    Error,
    /// It is as it should be.
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

/// Writes lines of one form.
#[derive(Clone, Copy, Debug)]
pub struct Log {
    form: Form,
}

impl Log {
    /// Creates a log that writes lines of that form.
    #[must_use]
    pub const fn new(form: Form) -> Self {
        Self { form }
    }

    /// Logs an event that is as it should be.
    pub fn info(self, event: &str, fields: &[(&str, &dyn fmt::Display)]) {
        self.write(Level::Info, event, fields);
    }

    /// Logs that something was left out or put off.
    pub fn warn(self, event: &str, fields: &[(&str, &dyn fmt::Display)]) {
        self.write(Level::Warn, event, fields);
    }

    /// Logs something that somebody should look at.
    pub fn error(self, event: &str, fields: &[(&str, &dyn fmt::Display)]) {
        self.write(Level::Error, event, fields);
    }

    fn write(self, level: Level, event: &str, fields: &[(&str, &dyn fmt::Display)]) {
        let line = line(self.form, now(), level, event, fields);
        // If this fails, there is nobody left to report it to.
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}

/// A line of that form, without its line end.
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
                // The value is quoted like a Rust string, so control characters are escaped.
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

/// The seconds since 1970.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}
