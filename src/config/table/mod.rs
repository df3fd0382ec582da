//! The one table of keys: what a configuration document may hold.
//!
//! There is a file for each section. It names the section's keys and says of each in which
//! form it stands there, within which bounds, whether it must stand there, what holds if it
//! does not, and in a sentence or two what it is for. The reader, the JSON Schema and
//! `docs/configuration.md` all take their knowledge from here: a bound that is changed
//! here is changed in the three of them.
//!
//! A key is a constant whose type is its form, so that a flag cannot be read as a duration.
//! The prose is compiled for the command line alone (feature `cli`); the module that runs
//! in the proxy has names, bounds, defaults and the reasons why a key must be there.
//!
//! A new key is declared in the file of its section, read with a method of the reader's
//! `Section`, and shown in `envoy/scopegate.yaml`; `make schema` writes the rest. Tests hold
//! that each key is read, and that the reader has no names, bounds and defaults of its own.

/// Declares the keys of a section. The comment of a key is its prose: it is what people read
/// in `docs/configuration.md` and in their editors.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        section $(where [$($rule:expr),+ $(,)?])?;
        $( $(#[doc = $prose:literal])+ $key:ident: $form:ty = $name:literal, $value:expr; )+
    ) => {
        $(
            $(#[doc = $prose])+
            pub const $key: $crate::config::table::Key<$form> =
                $crate::config::table::Key { name: $name, form: $value };
        )+

        $(#[doc = $about])+
        pub static TABLE: $crate::config::table::Table = $crate::config::table::Table {
            names: &[$($name),+],
            #[cfg(feature = "commands")]
            about: concat!($($about),+),
            #[cfg(feature = "commands")]
            keys: || vec![
                $($crate::config::table::Described::new(&$key, concat!($($prose),+))),+
            ],
            #[cfg(feature = "commands")]
            rules: {
                #[allow(unused_imports)]
                use $crate::config::table::Constraint;
                &[$($($rule),+)?]
            },
        };
    };
}

pub mod audit;
pub mod authorization;
pub mod backends;
pub mod claims;
pub mod cors;
pub mod credentials;
#[cfg(feature = "commands")]
mod describe;
pub mod directory;
pub mod document;
pub mod forward;
pub mod health;
pub mod jwks;
mod key;
pub mod limits;
pub mod organization;
pub mod organizations_from;
pub mod outside;
pub mod projects;
pub mod provider;
pub mod roles;
mod section;
pub mod tenants;
#[cfg(feature = "commands")]
mod walk;

pub use key::{
    Count, Duration, Exactly, Flag, JwkSet, Key, List, MAX_ELEMENTS, Map, Number, Paths, Preset,
    Required, Roles, Span, Text, Texts, Word, Words, millis,
};
#[cfg(feature = "commands")]
pub use section::{Constraint, Described, Form, Need};
pub use section::{Object, OrObject, Sources, Table};
#[cfg(feature = "commands")]
pub use walk::{every_key, path_of, placeholder, sections_in};
