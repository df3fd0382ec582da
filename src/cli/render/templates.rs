//! The templates of the manifests, and how values come into them.
//!
//! Every value is written by [`scalar::yaml`], so that it comes out of the manifest as it
//! went in, whatever is in it. Only what has been printed as YAML already, and says so, is
//! taken as it is.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value,
};

use super::scalar;

/// A template.
pub(super) struct Template {
    /// The file that it becomes, relative to the folder that is written to.
    pub(super) file: &'static str,
    pub(super) text: &'static str,
}

/// Fills one in.
///
/// # Errors
/// The template asks for what there is not: a fault of this program.
pub(super) fn fill(template: &Template, view: &Value) -> Result<String, Error> {
    let mut environment = Environment::new();
    // Macros give marked text then, so that it is not quoted again.
    environment.set_auto_escape_callback(|_| AutoEscape::Custom("yaml".into()));
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    // A tag that has a line to itself leaves none behind.
    let syntax = SyntaxConfig::builder()
        .keep_trailing_newline(true)
        .lstrip_blocks(true)
        .trim_blocks(true)
        .build()?;
    environment.set_syntax(syntax);
    environment.set_formatter(write);
    environment.add_template(template.file, template.text)?;
    environment.get_template(template.file)?.render(view)
}

fn write(output: &mut Output<'_>, _: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    if value.is_safe() {
        output.write_str(value.as_str().unwrap_or_default())?;
        return Ok(());
    }
    let text = text(value)?;
    output.write_str(&text)?;
    Ok(())
}

fn text(value: &Value) -> Result<String, Error> {
    match value.kind() {
        ValueKind::String => Ok(scalar::yaml(value.as_str().unwrap_or_default())),
        ValueKind::Bool | ValueKind::Number => Ok(value.to_string()),
        ValueKind::Seq => {
            let elements: Result<Vec<String>, Error> =
                value.try_iter()?.map(|element| text(&element)).collect();
            Ok(format!("[{}]", elements?.join(", ")))
        }
        kind => Err(Error::new(
            ErrorKind::InvalidOperation,
            format!("no way to write a value of the kind {kind}"),
        )),
    }
}
