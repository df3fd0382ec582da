//! The sources of the documents that the gate asks for: files, stand-ins, or the servers
//! themselves.

use std::collections::BTreeMap;

use crate::authn::discovery::Address;
use crate::cli::console::{Fetched, Wanted, Web};
use crate::config::{KeySource, Remote, Start};
use crate::worker::event::CallId;

use super::call::Call;

/// The most bytes that are read of a document, which is more than the gate accepts.
const MAX_DOCUMENT: usize = 16 * 1024 * 1024;

/// The path of a made-up address for a key set that comes from a file or is a stand-in.
const KEYS_PATH: &str = "/scopegate-explain/keys/";

/// The answers to the gate's own requests.
pub(super) struct Sources<'a> {
    web: Option<&'a mut dyn Web>,
    authorities: Option<Vec<u8>>,
    /// Documents that are returned without asking a server, by URL.
    held: BTreeMap<String, Vec<u8>>,
    /// The answers of servers, or the errors, by URL. Each is asked only once.
    answered: BTreeMap<String, Result<Fetched, String>>,
    directory: Option<u16>,
    /// Made-up addresses, each with a description of what it stands for.
    made_up: BTreeMap<String, String>,
    /// Whether the gate wanted to ask the directory of projects.
    pub(super) directory_asked: bool,
}

impl<'a> Sources<'a> {
    /// Sources that ask servers through `web`, or without it only return documents that they are
    /// given. `authorities` are trusted certificates in PEM in place of the system's, and
    /// `directory` is the status with which the directory of projects answers.
    pub(super) fn new(
        web: Option<&'a mut dyn Web>,
        authorities: Option<Vec<u8>>,
        directory: Option<u16>,
    ) -> Self {
        Self {
            web,
            authorities,
            held: BTreeMap::new(),
            answered: BTreeMap::new(),
            directory,
            made_up: BTreeMap::new(),
            directory_asked: false,
        }
    }

    /// Keeps the key set of a provider for the gate to fetch. Inline keys are not fetched, so they
    /// are left out.
    pub(super) fn hold_keys(
        &mut self,
        (provider, issuer): (&str, &str),
        source: &KeySource,
        keys: &[u8],
    ) {
        let KeySource::Uri(Remote { start, .. }) = source else {
            return;
        };
        match start {
            Start::Document(address) => {
                self.held.insert(address.to_string(), keys.to_vec());
            }
            Start::Discovery { address, .. } => {
                let at = Address {
                    path: format!("{KEYS_PATH}{}", self.held.len()),
                    ..address.clone()
                };
                let uri = at.to_string();
                let name = format!("the keys of {provider} that were handed in");
                self.made_up.insert(uri.clone(), name);
                let document = serde_json::json!({"issuer": issuer, "jwks_uri": uri});
                let document = document.to_string().into_bytes();
                self.held.insert(address.to_string(), document);
                self.held.insert(uri, keys.to_vec());
            }
        }
    }

    /// Keeps the document of organizations from outside for the gate to fetch.
    pub(super) fn hold_organizations(&mut self, remote: &Remote, document: &[u8]) {
        if let Start::Document(address) = &remote.start {
            self.held.insert(address.to_string(), document.to_vec());
        }
    }

    /// The document of organizations from outside, if it was handed in or could be fetched.
    pub(super) fn organizations(&self, remote: &Remote) -> Option<&[u8]> {
        let Start::Document(address) = &remote.start else {
            return None;
        };
        let url = address.to_string();
        let held = self.held.get(&url).map(Vec::as_slice);
        held.or_else(|| {
            let answer = self.answered.get(&url)?.as_ref().ok()?;
            Some(&answer.body)
        })
    }

    /// The line with descriptions in place of made-up addresses.
    pub(super) fn named(&self, line: &str) -> String {
        let made_up = self.made_up.iter();
        made_up.fold(line.to_owned(), |line, (url, name)| line.replace(url, name))
    }

    /// The URLs that could not be fetched, each with the error.
    pub(super) fn failures(&self) -> impl Iterator<Item = (&str, &str)> {
        self.answered.iter().filter_map(|(url, answer)| {
            let error = answer.as_ref().err()?;
            Some((url.as_str(), error.as_str()))
        })
    }

    /// The URLs of servers that answered.
    pub(super) fn reached(&self) -> impl Iterator<Item = &str> {
        let answered = self.answered.iter();
        answered.filter_map(|(url, answer)| answer.is_ok().then_some(url.as_str()))
    }

    /// The answer to a request of the gate; `None` if there is none.
    pub(super) fn answer(&mut self, call: &Call) -> Option<Fetched> {
        if matches!(call.id, CallId::Directory(_)) {
            self.directory_asked = true;
            return self.directory.map(|status| Fetched {
                status,
                ..Fetched::default()
            });
        }
        let url = call.url();
        if let Some(body) = self.held.get(&url) {
            return Some(Fetched {
                status: 200,
                headers: Vec::new(),
                body: body.clone(),
            });
        }
        if let Some(known) = self.answered.get(&url) {
            return known.clone().ok();
        }
        let web = self.web.as_mut()?;
        let answer = web.get(Wanted {
            url: &url,
            headers: &call.headers_to_send(),
            timeout: call.timeout,
            most: MAX_DOCUMENT,
            authorities: self.authorities.as_deref(),
        });
        self.answered.insert(url, answer.clone());
        answer.ok()
    }
}
