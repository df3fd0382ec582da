//! Describes each form for the command line.

use serde_json::{Value, json};

use super::section::Describe;
use super::{
    Count, Duration, Exactly, Flag, Form, JwkSet, List, MAX_ELEMENTS, Map, Need, Number, Object,
    OrObject, Paths, Preset, Required, Roles, Sources, Span, Text, Texts, Word, Words,
};
use crate::words::permission::Permission;

impl<F: Describe> Describe for Required<F> {
    fn form(&self) -> Form {
        self.of.form()
    }

    fn need(&self) -> Need {
        if self.always {
            Need::Always
        } else {
            Need::Sometimes
        }
    }
}

impl Describe for Flag {
    fn form(&self) -> Form {
        Form::Flag
    }

    fn default(&self) -> Option<Value> {
        Some(json!(self.default))
    }
}

impl Describe for Count {
    fn form(&self) -> Form {
        Form::Count(*self)
    }

    fn default(&self) -> Option<Value> {
        Some(json!(self.default))
    }
}

impl Describe for Number {
    fn form(&self) -> Form {
        Form::Number(*self)
    }
}

impl Describe for Span {
    fn form(&self) -> Form {
        Form::Duration(*self)
    }
}

impl Describe for Duration {
    fn form(&self) -> Form {
        Form::Duration(self.span)
    }

    fn default(&self) -> Option<Value> {
        Some(json!(self.default))
    }
}

impl<T: Copy + PartialEq> Describe for Word<T> {
    fn form(&self) -> Form {
        Form::Word(self.words.iter().map(|(word, _)| *word).collect())
    }

    fn default(&self) -> Option<Value> {
        let mut words = self.words.iter();
        let default = words.find(|(_, meaning)| *meaning == self.default);
        default.map(|(word, _)| json!(word))
    }
}

impl<T: Copy> Describe for Words<T> {
    fn form(&self) -> Form {
        let words = self.all.iter().map(|it| (self.name)(*it)).collect();
        Form::List {
            of: Box::new(Form::Word(words)),
            least: self.least,
            most: MAX_ELEMENTS,
            holds: None,
        }
    }

    fn default(&self) -> Option<Value> {
        let names = self.default.iter().map(|it| json!((self.name)(*it)));
        Some(names.collect())
    }
}

impl Describe for Exactly {
    fn form(&self) -> Form {
        Form::Exactly(*self)
    }
}

impl Describe for Text {
    fn form(&self) -> Form {
        Form::Text(*self)
    }
}

impl Describe for Preset {
    fn form(&self) -> Form {
        Form::Text(self.text)
    }

    fn default(&self) -> Option<Value> {
        Some(json!(self.default))
    }
}

impl Describe for Texts {
    fn form(&self) -> Form {
        Form::List {
            of: Box::new(self.of.form()),
            least: self.least,
            most: self.most,
            holds: None,
        }
    }

    fn default(&self) -> Option<Value> {
        // A list that may not be empty cannot have an empty one as its default.
        (self.default.len() >= self.least).then(|| json!(self.default))
    }
}

impl<F: Describe> Describe for List<F> {
    fn form(&self) -> Form {
        Form::List {
            of: Box::new(self.of.form()),
            least: self.least,
            most: self.most,
            holds: self.holds,
        }
    }

    fn default(&self) -> Option<Value> {
        self.holds.map(|word| json!([word]))
    }
}

impl<F: Describe> Describe for Map<F> {
    fn form(&self) -> Form {
        Form::Map {
            name: self.name,
            of: Box::new(self.of.form()),
            most: self.most,
            usual: (self.usual)(),
            or_null: self.or_null,
        }
    }
}

impl Describe for Roles {
    fn form(&self) -> Form {
        Form::Map {
            name: self.name,
            of: Box::new(self.permissions.form()),
            most: self.most,
            usual: self
                .default
                .iter()
                .map(|(role, _)| (*role).to_owned())
                .collect(),
            or_null: false,
        }
    }

    fn default(&self) -> Option<Value> {
        let name = |it: &Permission| json!((self.permissions.name)(*it));
        let roles = self.default.iter().map(|(role, permissions)| {
            let names: Value = permissions.iter().map(name).collect();
            ((*role).to_owned(), names)
        });
        Some(roles.collect())
    }
}

impl Describe for Paths {
    fn form(&self) -> Form {
        Form::List {
            of: Box::new(self.of.form()),
            least: self.least,
            most: MAX_ELEMENTS,
            holds: None,
        }
    }

    fn default(&self) -> Option<Value> {
        Some(json!(self.default))
    }
}

impl Describe for Sources {
    fn form(&self) -> Form {
        Form::List {
            of: Box::new(self.of.form()),
            least: 0,
            most: MAX_ELEMENTS,
            holds: None,
        }
    }

    fn default(&self) -> Option<Value> {
        Some(json!([{ "path": self.default }]))
    }
}

impl Describe for Object {
    fn form(&self) -> Form {
        Form::Section(self.0)
    }
}

impl Describe for OrObject {
    fn form(&self) -> Form {
        let first = if self.words.is_empty() {
            self.text.form()
        } else {
            Form::Word(self.words.to_vec())
        };
        Form::Either(vec![first, Form::Section(self.table)])
    }
}

impl Describe for JwkSet {
    fn form(&self) -> Form {
        Form::JwkSet
    }
}
