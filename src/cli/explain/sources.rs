//! Where the documents come from that the gate asks for: files, what stands in for them, or
//! the servers themselves.

use std::collections::BTreeMap;

use crate::authn::discovery::Address;
use crate::cli::console::{Fetched, Wanted, Web};
use crate::config::{KeySource, Remote, Start};
use crate::worker::event::CallId;

use super::call::Call;

/// Most bytes that are read of a document: more than the gate takes.
const MAX_DOCUMENT: usize = 16 * 1024 * 1024;

/// Where a key set is said to be that a file or a stand-in holds.
const KEYS_PATH: &str = "/scopegate-explain/keys/";

/// The answers to the gate's own requests.
pub(super) struct Sources<'a> {
    web: Option<&'a mut dyn Web>,
    authorities: Option<Vec<u8>>,
    /// What is answered without asking anybody, by URL.
    held: BTreeMap<String, Vec<u8>>,
    /// What servers have answered, by URL: each is asked once.
    answered: BTreeMap<String, Result<Fetched, String>>,
    directory: Option<u16>,
    /// Addresses that do not exist, and what is meant by them.
    made_up: BTreeMap<String, String>,
    /// Whether the directory of projects was to be asked.
    pub(super) directory_asked: bool,
}

impl<'a> Sources<'a> {
    /// Answers by these servers, or, without any, only by what it is given to hold.
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

    /// Holds the keys of a provider; inline ones are not asked for.
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

    /// Holds the organizations from outside.
    pub(super) fn hold_organizations(&mut self, remote: &Remote, document: &[u8]) {
        if let Start::Document(address) = &remote.start {
            self.held.insert(address.to_string(), document.to_vec());
        }
    }

    /// The organizations from outside, if they could be had.
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

    /// A line in which no address stands that does not exist.
    pub(super) fn named(&self, line: &str) -> String {
        let made_up = self.made_up.iter();
        made_up.fold(line.to_owned(), |line, (url, name)| line.replace(url, name))
    }

    /// Why a server could not be asked, by URL.
    pub(super) fn failures(&self) -> impl Iterator<Item = (&str, &str)> {
        self.answered.iter().filter_map(|(url, answer)| {
            let error = answer.as_ref().err()?;
            Some((url.as_str(), error.as_str()))
        })
    }

    /// The servers that have answered, by URL.
    pub(super) fn reached(&self) -> impl Iterator<Item = &str> {
        let answered = self.answered.iter();
        answered.filter_map(|(url, answer)| answer.is_ok().then_some(url.as_str()))
    }

    /// The answer to a request of the gate's own; `None` if nobody answers.
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
