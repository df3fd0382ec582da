//! The JSON Schema of a configuration, from the table of keys.
//!
//! It is draft-07, which every version of the YAML language server understands, and so every
//! editor that uses that server. It learnt 2019-09 and 2020-12 late, and nothing here needs them.
//! What the schema refuses, the reader of configurations refuses too. The converse does not hold:
//! no schema can say that a name is unique or that a variable is set.

use serde_json::{Map, Value, json};

use super::durations;
use super::prose::plain;
use crate::config::table::{Constraint, Described, Form, Need, Table, Text, document};

/// The schema of a configuration.
pub(super) fn of_documents() -> Value {
    whole(
        "urn:scopegate:configuration",
        "Configuration of scopegate",
        None,
    )
}

/// The schema of deployment files, which have the section `deployment:` besides the keys of a
/// configuration.
pub(super) fn of_deployment_files(deployment: Value) -> Value {
    whole(
        "urn:scopegate:deployment",
        "Deployment file of scopegate",
        Some(deployment),
    )
}

fn whole(id: &str, title: &str, deployment: Option<Value>) -> Value {
    let mut schema = section(&document::TABLE, "#");
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.extend(deployment.map(|schema| ("deployment".to_owned(), schema)));
    }
    schema.insert(
        "$schema".into(),
        json!("http://json-schema.org/draft-07/schema#"),
    );
    schema.insert("$id".into(), json!(id));
    schema.insert("title".into(), json!(title));
    schema.insert("description".into(), json!(plain(document::TABLE.about)));
    Value::Object(schema)
}

/// The schema of a section; `pointer` is its place in the whole schema, in the form of `$ref`.
fn section(table: &Table, pointer: &str) -> Map<String, Value> {
    let keys = (table.keys)();
    let member = |key: &Described| {
        let pointer = format!("{pointer}/properties/{}", key.name);
        let can_be_null =
            key.need != Need::Always && !table.rules.contains(&Constraint::NotNull(key.name));
        (key.name.to_owned(), member_of(key, can_be_null, &pointer))
    };
    let properties: Map<String, Value> = keys.iter().map(member).collect();
    let required = keys.iter().filter(|key| key.need == Need::Always);
    let required: Vec<&str> = required.map(|key| key.name).collect();
    let rules = table.rules.iter();
    let rules: Vec<Value> = rules.filter_map(|rule| rule_of(*rule, &keys)).collect();
    let mut schema = Map::new();
    schema.insert("type".into(), json!("object"));
    schema.insert("additionalProperties".into(), json!(false));
    schema.insert("properties".into(), Value::Object(properties));
    if !required.is_empty() {
        schema.insert("required".into(), json!(required));
    }
    if !rules.is_empty() {
        schema.insert("allOf".into(), Value::Array(rules));
    }
    schema
}

fn member_of(key: &Described, can_be_null: bool, pointer: &str) -> Value {
    let mut schema = form_of(&key.form, pointer);
    if can_be_null {
        schema = nullable(schema);
    }
    schema.insert("description".into(), json!(plain(key.prose)));
    if let Some(default) = &key.default {
        schema.insert("default".into(), default.clone());
    }
    Value::Object(schema)
}

fn form_of(form: &Form, pointer: &str) -> Map<String, Value> {
    let schema = match form {
        Form::Count(count) => json!({
            "type": "integer",
            "minimum": count.least,
            "maximum": count.most,
        }),
        Form::Number(count) => json!({
            "type": "integer",
            "minimum": count.least,
            "maximum": count.most,
        }),
        Form::Duration(span) => json!({
            "type": "string",
            "pattern": durations::pattern(span.least_millis(), span.most_millis()),
            "patternErrorMessage":
                format!("must be a duration between {} and {}", span.least, span.most),
        }),
        Form::Either(forms) => {
            let forms = forms.iter().enumerate();
            let forms =
                forms.map(|(index, form)| form_of(form, &format!("{pointer}/oneOf/{index}")));
            json!({ "oneOf": forms.map(Value::Object).collect::<Value>() })
        }
        // YAML 1.1 reads some words, such as `off`, as false.
        Form::Exactly(word) if word.or_false => json!({ "enum": [word.word, false] }),
        Form::Exactly(word) => json!({ "enum": [word.word] }),
        Form::Flag => json!({ "type": "boolean" }),
        Form::JwkSet => json!({
            "type": "object",
            "properties": { "keys": { "type": "array", "items": { "type": "object" } } },
            "required": ["keys"],
        }),
        Form::List {
            of,
            least,
            most,
            holds,
        } => {
            let mut schema = Map::new();
            schema.insert("type".into(), json!("array"));
            let items = form_of(of, &format!("{pointer}/items"));
            schema.insert("items".into(), Value::Object(items));
            bound(&mut schema, "minItems", *least, 0);
            bound(&mut schema, "maxItems", *most, usize::MAX);
            if let Some(word) = holds {
                schema.insert("contains".into(), json!({ "const": word }));
            }
            Value::Object(schema)
        }
        Form::Map {
            name,
            of,
            most,
            usual,
            or_null,
        } => {
            let mut schema = Map::new();
            schema.insert("type".into(), json!("object"));
            schema.insert("propertyNames".into(), Value::Object(text_of(name)));
            let each = format!("{pointer}/additionalProperties");
            let mut value = form_of(of, &each);
            if *or_null {
                value = nullable(value);
            }
            schema.insert("additionalProperties".into(), Value::Object(value));
            // Editors suggest these names.
            let usual = usual
                .iter()
                .map(|name| (name.clone(), json!({ "$ref": each })));
            let usual: Map<String, Value> = usual.collect();
            if !usual.is_empty() {
                schema.insert("properties".into(), Value::Object(usual));
            }
            bound(&mut schema, "maxProperties", *most, usize::MAX);
            Value::Object(schema)
        }
        Form::Section(table) => Value::Object(section(table, pointer)),
        Form::Text(text) => Value::Object(text_of(text)),
        Form::Word(words) => json!({ "type": "string", "enum": words }),
    };
    match schema {
        Value::Object(schema) => schema,
        _ => Map::new(),
    }
}

fn text_of(text: &Text) -> Map<String, Value> {
    let mut schema = Map::new();
    schema.insert("type".into(), json!("string"));
    bound(&mut schema, "minLength", usize::from(!text.may_be_empty), 0);
    // The limit counts bytes, and no text has more characters than bytes.
    bound(&mut schema, "maxLength", text.longest, usize::MAX);
    if let Some(pattern) = text.pattern {
        schema.insert("pattern".into(), json!(pattern));
    }
    schema
}

/// Adds a bound to the schema, unless it is `none`, which means that there is no bound.
fn bound(schema: &mut Map<String, Value>, keyword: &str, bound: usize, none: usize) {
    if bound != none {
        schema.insert(keyword.to_owned(), json!(bound));
    }
}

/// The schema with `null` allowed too, which means the same as leaving the key out.
fn nullable(mut schema: Map<String, Value>) -> Map<String, Value> {
    let null = json!({ "type": "null" });
    if let Some(Value::Array(forms)) = schema.get_mut("oneOf") {
        forms.push(null);
        return schema;
    }
    // The rules in `allOf` are about objects, and may refuse null.
    if schema.contains_key("allOf") {
        let mut either = Map::new();
        either.insert("oneOf".into(), json!([schema, null]));
        return either;
    }
    if let Some(Value::Array(words)) = schema.get_mut("enum") {
        words.push(Value::Null);
    }
    if let Some(kind) = schema.get_mut("type") {
        *kind = json!([kind.take(), "null"]);
    }
    schema
}

/// A rule about several keys, as a schema; `None` if the schemas of the keys express it already.
fn rule_of(rule: Constraint, keys: &[Described]) -> Option<Value> {
    // A flag counts as present only if it is true.
    let there = |name: &str| {
        let flag = keys
            .iter()
            .any(|key| key.name == name && matches!(key.form, Form::Flag));
        let value = if flag {
            json!({ "const": true })
        } else {
            not_null()
        };
        json!({ "required": [name], "properties": { name: value } })
    };
    let written = |name: &&str| json!({ "required": [name], "properties": { *name: not_null() } });
    let each = |names: &[&str]| names.iter().map(|name| there(name)).collect::<Vec<Value>>();
    match rule {
        Constraint::AtMostOneOf(names) => {
            let mut forms = each(names);
            let none = json!({ "not": { "anyOf": forms } });
            forms.push(none);
            Some(json!({ "oneOf": forms }))
        }
        Constraint::Beside(name, other) => {
            Some(json!({ "if": written(&name), "then": there(other) }))
        }
        Constraint::NotBeside(name, others) => {
            let others: Vec<Value> = others.iter().map(written).collect();
            Some(json!({ "if": there(name), "then": { "not": { "anyOf": others } } }))
        }
        Constraint::NotNull(_) => None,
        Constraint::OneOf(names) => Some(json!({ "oneOf": each(names) })),
        Constraint::Unless(name, other) => Some(json!({ "anyOf": [there(name), there(other)] })),
    }
}

fn not_null() -> Value {
    json!({ "not": { "type": "null" } })
}
