//! Finds the row of the table for a path and a method.

use std::collections::HashMap;

use super::path::matches;
use super::table::{MOVED, TABLE};
use super::{Endpoint, Surface};
use crate::words::denial::Denial;
use crate::words::hash::QuickHash;
use crate::words::method::Methods;

/// The table, indexed for matching.
#[derive(Debug)]
pub struct Endpoints {
    exact: HashMap<&'static [u8], Vec<&'static Endpoint>, QuickHash>,
    templates: Vec<&'static Endpoint>,
}

impl Endpoints {
    /// Indexes the rows of the given surfaces.
    #[must_use]
    pub fn new(surfaces: &[Surface]) -> Self {
        let mut exact: HashMap<_, Vec<_>, QuickHash> = HashMap::default();
        let mut templates = Vec::new();
        for row in TABLE.iter().filter(|row| surfaces.contains(&row.surface)) {
            if row.template.contains('{') {
                templates.push(row);
            } else {
                exact.entry(row.template.as_bytes()).or_default().push(row);
            }
        }
        Self { exact, templates }
    }

    /// Finds the row for a raw path (without its query string) and a method.
    ///
    /// # Errors
    /// [`Denial::RouteNotListed`] for a path outside the table, or [`Denial::RouteMoved`] if
    /// the path to use instead is known. [`Denial::MethodNotAllowed`], with the methods of the
    /// path, if the method is not one of them. [`Denial::PathEscapeRefused`] for a path of
    /// rules whose names cannot be read in one way only, because tools take a 404 there to mean
    /// that a group does not exist.
    pub fn find(&self, path: &[u8], method: &[u8]) -> Result<&'static Endpoint, Denial> {
        let method = Methods::from_name(method);
        if let Some(rows) = self.exact.get(path) {
            return choose(rows.iter().copied(), method);
        }
        let rows = || self.templates.iter().copied();
        let chosen = choose(rows().filter(|row| matches(row.template, path)), method);
        if chosen.as_ref().err() != Some(&Denial::RouteNotListed) {
            return chosen;
        }
        let in_doubt = rows().find_map(|row| row.doubt(path));
        Err(in_doubt.unwrap_or_else(|| not_found(path)))
    }
}

fn not_found(path: &[u8]) -> Denial {
    let moved = MOVED.iter().find(|(old, _)| {
        let below = path.strip_prefix(old.as_bytes());
        below.is_some_and(|below| below.first().is_none_or(|byte| *byte == b'/'))
    });
    moved.map_or(Denial::RouteNotListed, |(_, path)| Denial::RouteMoved(path))
}

fn choose(
    rows: impl Iterator<Item = &'static Endpoint>,
    method: Option<Methods>,
) -> Result<&'static Endpoint, Denial> {
    let mut allowed: Option<Methods> = None;
    for row in rows {
        if method.is_some_and(|method| row.methods.has(method)) {
            return Ok(row);
        }
        allowed = Some(allowed.map_or(row.methods, |methods| methods.or(row.methods)));
    }
    Err(allowed.map_or(Denial::RouteNotListed, Denial::MethodNotAllowed))
}

#[cfg(test)]
mod tests;
