//! A bootstrap, and the places in it where a fragment can go.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use integration::yaml;
use serde_json::Value;

/// The pointer to the listener's connection manager, and on from there.
macro_rules! manager {
    ($rest:literal) => {
        concat!(
            "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config",
            $rest
        )
    };
}

/// A whole file.
pub struct Bootstrap(Value);

/// Where a fragment goes: the members of an object to those that are there, and the elements of a list beside them.
pub enum Place {
    /// Objects, by their pointers.
    Objects(&'static [&'static str]),
    /// In front of what is in this list.
    First(&'static str),
    /// Behind it.
    Last(&'static str),
}

/// The headings of the page, in its order, and what they mean. The first listener is the gate's, and the first two
/// clusters are the backends, here and in what is rendered.
pub const PLACES: [(&str, Place); 8] = [
    ("At the top of the file", Place::Objects(&[""])),
    (
        "In the listener",
        Place::Objects(&["/static_resources/listeners/0"]),
    ),
    ("In the connection manager", Place::Objects(&[manager!("")])),
    ("In the format of the access log", Place::Objects(&[LOG])),
    (
        "First among the HTTP filters",
        Place::First(manager!("/http_filters")),
    ),
    (
        "In the virtual host",
        Place::Objects(&[manager!("/route_config/virtual_hosts/0")]),
    ),
    (
        "In the cluster of each backend",
        Place::Objects(&[
            "/static_resources/clusters/0",
            "/static_resources/clusters/1",
        ]),
    ),
    (
        "Among the clusters",
        Place::Last("/static_resources/clusters"),
    ),
];

/// The format of the access log, in which everybody has lines of their own.
const LOG: &str = manager!("/access_log/0/typed_config/log_format/json_format");

/// What is rendered and not on the page: what Envoy does by itself, what may differ, and the header `server`.
const LEFT_OUT: [&str; 6] = [
    "codec_type",
    "connect_timeout",
    "dns_lookup_family",
    "generate_request_id",
    "server_header_transformation",
    "xff_num_trusted_hops",
];

/// What takes the place of another member, as its heading says.
const REPLACED: &str = "routes";

impl Bootstrap {
    pub fn parse(text: &str) -> Result<Bootstrap> {
        Ok(Bootstrap(yaml::parse(text)?))
    }

    /// Put a fragment into its place.
    ///
    /// # Errors
    /// The place is not there, or holds something of that name.
    pub fn put(&mut self, place: &Place, fragment: &Value) -> Result<()> {
        match place {
            Place::Objects(pointers) => {
                for pointer in *pointers {
                    let object = self.at(pointer)?;
                    let object = object.as_object_mut().context("no object")?;
                    for (name, value) in fragment.as_object().context("no members")? {
                        let before = object.insert(name.clone(), value.clone());
                        ensure!(before.is_some() == (name == REPLACED), "{name}: {before:?}");
                    }
                }
            }
            Place::First(pointer) | Place::Last(pointer) => {
                let list = self.at(pointer)?.as_array_mut().context("no list")?;
                let at = match place {
                    Place::First(_) => 0,
                    _ => list.len(),
                };
                let elements = fragment.as_array().context("no elements")?;
                list.splice(at..at, elements.iter().cloned());
            }
        }
        Ok(())
    }

    fn at(&mut self, pointer: &str) -> Result<&mut Value> {
        let found = self.0.pointer_mut(pointer);
        found.with_context(|| format!("no {pointer}"))
    }

    /// Whether a fragment is in this file at that place, as it is. It may have fewer routes.
    pub fn has(&self, place: &Place, fragment: &Value) -> Result<()> {
        let at = |pointer: &str| {
            let found = self.0.pointer(pointer);
            found.with_context(|| format!("nothing is rendered at {pointer}"))
        };
        let all_of = |fragment: &Value, list: &Value| -> Result<()> {
            let list = list.as_array().context("no list")?;
            for element in fragment.as_array().context("no elements")? {
                ensure!(list.contains(element), "not rendered: {element:#}");
            }
            Ok(())
        };
        match place {
            Place::Objects(pointers) => {
                for pointer in *pointers {
                    let object = at(pointer)?;
                    for (name, value) in fragment.as_object().context("no members")? {
                        let rendered = &object[name];
                        if name == REPLACED {
                            all_of(value, rendered)?;
                        } else {
                            ensure!(rendered == value, "rendered is {name}: {rendered:#}");
                        }
                    }
                }
                Ok(())
            }
            Place::First(pointer) | Place::Last(pointer) => all_of(fragment, at(pointer)?),
        }
    }

    /// Whether this file has whatever is rendered at the places for members, those of the access log left out.
    ///
    /// # Errors
    /// It lacks something else than what is in [`LEFT_OUT`], or not all of that.
    pub fn has_all_of(&self, rendered: &Bootstrap) -> Result<()> {
        let mut missing = BTreeSet::new();
        for (_, place) in &PLACES {
            let pointers = match place {
                Place::Objects([LOG]) | Place::First(_) | Place::Last(_) => continue,
                Place::Objects(pointers) => pointers,
            };
            for pointer in *pointers {
                let members = |file: &Bootstrap| -> Result<BTreeSet<String>> {
                    let object = file.0.pointer(pointer).and_then(Value::as_object);
                    Ok(object.context("no object")?.keys().cloned().collect())
                };
                missing.extend(members(rendered)?.difference(&members(self)?).cloned());
            }
        }
        let known: BTreeSet<String> = LEFT_OUT.map(str::to_owned).into();
        ensure!(
            missing == known,
            "the page lacks {missing:?}, and not only {known:?}"
        );
        Ok(())
    }

    /// Whether two files say the same.
    pub fn is(&self, other: &Bootstrap) -> Result<()> {
        let written = |file: &Bootstrap| serde_json::to_string_pretty(&file.0);
        let (here, there) = (written(self)?, written(other)?);
        let mut lines = here.lines().zip(there.lines());
        if let Some((here, there)) = lines.find(|(here, there)| here != there) {
            bail!("the whole file says {here}, and its fragments {there}");
        }
        ensure!(here == there, "one of the files goes on:\n{here}\n{there}");
        Ok(())
    }
}
