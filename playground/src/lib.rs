//! The command line of scopegate without a machine: files, time and environment are handed in, and no server is asked.
//! A page in a browser calls it, and so does a test in Node.
//!
//! Calls and answers pass through one buffer of bytes in the module's memory. The caller makes room with [`reserve`] and
//! writes a call there as JSON, and [`call`] replaces it with the answer, which is JSON too. A call, which [`run`] takes
//! as well, looks like this:
//!
//! ```json
//! {
//!   "arguments": ["explain", "scopegate.yaml", "--offline", "--path", "/ready"],
//!   "files": {"scopegate.yaml": "…"},
//!   "variables": {"NAME": "value"},
//!   "now": "1777636800000000000"
//! }
//! ```
//!
//! With `"plain": true`, hidden characters in what `--output json` prints are escaped as on a terminal, so that a page
//! can show it. `now` is in nanoseconds since 1970, as a text because JSON numbers are not exact enough. A file that is
//! not UTF-8 is given as `{"base64": "…"}`. The answer has the `exit` status, the `output` and the `errors` of the
//! command.

pub mod examples;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Parser as _;
use scopegate::cli::{self, Arguments, Console, Unconnected};
use scopegate::words::wire::is_hidden;
use serde_json::{Value, json};

static BUFFER: Mutex<Vec<u8>> = Mutex::new(Vec::new());

fn buffer() -> MutexGuard<'static, Vec<u8>> {
    BUFFER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sets the length of the buffer, in bytes, and returns the address.
#[unsafe(no_mangle)]
pub extern "C" fn reserve(length: usize) -> *const u8 {
    let mut buffer = buffer();
    buffer.clear();
    buffer.resize(length, 0);
    buffer.as_ptr()
}

/// Replaces the call in the buffer by its answer, and returns the length of that, in bytes. [`answer`] gives the
/// address.
#[unsafe(no_mangle)]
pub extern "C" fn call() -> usize {
    let mut buffer = buffer();
    *buffer = run(&buffer).to_string().into_bytes();
    buffer.len()
}

/// Puts the examples of [`all`](examples::all) into the buffer, and returns their length, in bytes. [`answer`] gives
/// the address.
#[unsafe(no_mangle)]
pub extern "C" fn examples() -> usize {
    let mut buffer = buffer();
    *buffer = examples::all().to_string().into_bytes();
    buffer.len()
}

/// The address of the answer, until the buffer is used again.
#[unsafe(no_mangle)]
pub extern "C" fn answer() -> *const u8 {
    buffer().as_ptr()
}

/// Runs one command. The call and the answer are the JSON that the documentation of this crate describes.
#[must_use]
pub fn run(call: &[u8]) -> Value {
    let call: Value = match serde_json::from_slice(call) {
        Ok(call) => call,
        Err(error) => return failed(&format!("the call is no JSON: {error}")),
    };
    let arguments = call.get("arguments").and_then(Value::as_array);
    let arguments = arguments.into_iter().flatten().filter_map(Value::as_str);
    let arguments = match Arguments::try_parse_from(["scopegate"].into_iter().chain(arguments)) {
        Ok(arguments) => arguments,
        Err(error) => return failed(&error.to_string()),
    };
    let files = call.get("files").and_then(Value::as_object);
    let mut contents = BTreeMap::new();
    for (name, content) in files.into_iter().flatten() {
        let Some(content) = bytes(content) else {
            return failed(&format!("the file {name} is neither a text nor base64"));
        };
        contents.insert(PathBuf::from(name), content);
    }
    let variables = texts(&call, "variables");
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let now = call.get("now").and_then(Value::as_str);
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let mut console = Console {
        input: &mut std::io::empty(),
        files: &contents,
        output: &mut output,
        errors: &mut errors,
        styled: false,
        variables: variables.collect(),
        now: now.and_then(|now| now.parse().ok()).unwrap_or_default(),
        web: &mut Unconnected,
    };
    let exit = cli::run(arguments, &mut console).status();
    let mut output = String::from_utf8_lossy(&output).into_owned();
    if call.get("plain") == Some(&Value::Bool(true))
        && let Ok(mut document) = serde_json::from_str(&output)
    {
        make_plain(&mut document, false);
        output = document.to_string();
    }
    json!({
        "exit": exit,
        "output": output,
        "errors": String::from_utf8_lossy(&errors),
    })
}

/// Members whose texts may have several lines, because each of these texts has a box of its own on the page.
const LONG: [&str; 4] = ["body", "before", "after", "pieces"];

/// Escapes hidden characters in every text, except for tabs and line ends in the members of [`LONG`].
fn make_plain(value: &mut Value, is_long: bool) {
    match value {
        Value::String(text) => {
            let mut plain = String::with_capacity(text.len());
            for c in text.chars() {
                if is_hidden(c) && !(is_long && matches!(c, '\n' | '\r' | '\t')) {
                    plain.extend(c.escape_default());
                } else {
                    plain.push(c);
                }
            }
            *text = plain;
        }
        Value::Array(list) => list.iter_mut().for_each(|value| make_plain(value, is_long)),
        Value::Object(members) => {
            for (name, value) in members.iter_mut() {
                make_plain(value, is_long || LONG.contains(&name.as_str()));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn failed(why: &str) -> Value {
    json!({"exit": 2, "output": "", "errors": why})
}

/// The bytes of a text, or of an object with base64.
fn bytes(content: &Value) -> Option<Vec<u8>> {
    if let Some(text) = content.as_str() {
        return Some(text.as_bytes().to_vec());
    }
    STANDARD.decode(content.get("base64")?.as_str()?).ok()
}

/// The members with texts in the object `name` of a call.
fn texts<'v>(call: &'v Value, name: &str) -> impl Iterator<Item = (&'v str, &'v str)> {
    let object = call.get(name).and_then(Value::as_object);
    let members = object.into_iter().flatten();
    members.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
}
