//! The table of keys: everything that a configuration document may hold.
//!
//! Each section has a file. It names the section's keys, and states for each of them the form
//! of the value, its bounds, whether it is required, its default and, in a sentence or two, its
//! purpose. The reader, the JSON Schema and `docs/configuration.md` all take this from here, so
//! a bound that is changed here changes in all three.
//!
//! A key is a constant whose type is its form, so that a flag cannot be read as a duration. The
//! prose is compiled only for the command line (feature `cli`). The module that runs in the
//! proxy has names, bounds, defaults and the reasons why a key is required.
//!
//! To add a key, declare it in the file of its section, read it with a method of the reader's
//! `Section`, and show it in `envoy/scopegate.yaml`; `make schema` writes the rest. Tests
//! ensure that each key is read, and that the reader has no names, bounds and defaults of its
//! own.

/// Declares the keys of a section. The comment of a key is what people read in
/// `docs/configuration.md` and in their editors.
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
