//! What the providers of the examples publish.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use hyper::header::HOST;
use hyper::{Request, Response};

use super::example::Example;
use crate::identity::Recipe;
use crate::server::{self, Server};

/// The documents of all providers, by URL, and which of them have been asked for.
pub struct Library {
    recipes: BTreeMap<String, Recipe>,
    texts: BTreeMap<String, String>,
    fetched: Mutex<BTreeSet<String>>,
}

impl Library {
    /// The documents of the providers of these examples.
    pub fn of<'a>(examples: impl Iterator<Item = &'a Example>) -> Result<Arc<Library>> {
        let mut recipes = BTreeMap::new();
        for example in examples {
            let name = example.provider_name()?;
            recipes.insert(name.to_owned(), Recipe::read(name)?);
        }
        let mut texts = BTreeMap::new();
        for document in recipes.values().flat_map(|recipe| &recipe.documents) {
            texts.insert(document.url.clone(), document.text()?);
        }
        Ok(Arc::new(Library {
            recipes,
            texts,
            fetched: Mutex::default(),
        }))
    }

    /// Serves them without TLS, by the hosts that requests name.
    pub async fn serve(self: &Arc<Self>) -> Result<Server> {
        let shared = self.clone();
        Server::start(move |stream| {
            let shared = shared.clone();
            async move {
                let answer = move |request| std::future::ready(Ok(shared.answer(&request)));
                let _ = server::serve_http(stream, answer).await;
            }
        })
        .await
    }

    /// The hosts under which they are found.
    pub fn hosts(&self) -> BTreeSet<&str> {
        self.texts.keys().map(|url| host(url)).collect()
    }

    /// The provider of an example.
    pub fn recipe(&self, example: &Example) -> Result<&Recipe> {
        let recipe = self.recipes.get(example.provider_name()?);
        recipe.context("no provider")
    }

    /// URLs that nobody has asked for.
    pub fn unfetched(&self) -> Vec<&str> {
        let fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        let urls = self.texts.keys();
        urls.filter(|url| !fetched.contains(*url))
            .map(String::as_str)
            .collect()
    }

    fn answer<T>(&self, request: &Request<T>) -> Response<server::Body> {
        let host = request
            .headers()
            .get(HOST)
            .and_then(|host| host.to_str().ok());
        let url = format!("https://{}{}", host.unwrap_or_default(), request.uri());
        let text = self.texts.get(&url);
        if text.is_some() {
            self.fetched
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(url);
        }
        let mut response = Response::new(server::full(text.cloned().unwrap_or_default()));
        if text.is_none() {
            *response.status_mut() = hyper::StatusCode::NOT_FOUND;
        }
        response
    }
}

/// `login.example.com` of `https://login.example.com/realms/platform`.
#[must_use]
pub fn host(url: &str) -> &str {
    let rest = url.strip_prefix("https://").unwrap_or(url);
    rest.split('/').next().unwrap_or(rest)
}
