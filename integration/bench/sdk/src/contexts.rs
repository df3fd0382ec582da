//! Passes each callback of the crate to the worker.

use std::cell::RefCell;
use std::hash::{BuildHasher, Hasher, RandomState};

use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType};
use scopegate::host::wasm::engine::Engine;
use scopegate::worker::driver::Driver;
use scopegate::worker::{
    Action as Answer, CallOutcome, Event, HeaderBlock, ResponseHead, RootId, StreamId, Worker,
};

use crate::proxy::Caller;

type Machine = Driver<Caller>;

thread_local! {
    // The crate owns the contexts, so what they share is outside of them.
    static MACHINE: RefCell<Option<Machine>> = const { RefCell::new(None) };
}

/// Runs `act` with the machine for a callback of that context.
fn with<T>(context: u32, act: impl FnOnce(&mut Machine) -> T) -> Option<T> {
    MACHINE.with(|machine| {
        let mut machine = machine.try_borrow_mut().ok()?;
        let machine = machine.get_or_insert_with(|| {
            let seed = RandomState::new().build_hasher().finish();
            let worker = Worker::new(Box::new(Engine::new(foreign)), seed);
            Driver::new(worker, Caller::default())
        });
        machine.proxy().called_by(context);
        Some(act(machine))
    })
}

fn foreign(name: &str, argument: &[u8]) -> Option<Box<[u8]>> {
    let answer = hostcalls::call_foreign_function(name, Some(argument));
    // An empty answer is an answer.
    answer.ok().map(|bytes| bytes.unwrap_or_default().into())
}

/// Creates the context of a configuration.
pub fn root(id: u32) -> Box<dyn RootContext> {
    Box::new(Root { id })
}

/// A configuration.
struct Root {
    id: u32,
}

impl Root {
    fn id(&self) -> RootId {
        RootId(self.id.into())
    }
}

impl Context for Root {
    fn on_http_call_response(&mut self, token: u32, headers: usize, size: usize, _: usize) {
        answered(self, self.id, token, headers, size);
    }
}

/// Hands in the answer to a request of the worker's own.
fn answered(context: &dyn Context, id: u32, token: u32, headers: usize, size: usize) {
    with(id, |machine| {
        let Some(call) = machine.proxy().ended(token) else {
            return;
        };
        // A request that failed has no headers at all, and asking for one would be a panic.
        let header = |name| {
            let value = (headers > 0).then(|| context.get_http_call_response_header_bytes(name));
            value.flatten()
        };
        let (status, cache_control) = (header(":status"), header("cache-control"));
        let (content_encoding, etag) = (header("content-encoding"), header("etag"));
        let body = || bytes(context.get_http_call_response_body(0, size), size);
        let answer = match &status {
            None => CallOutcome::Nothing,
            Some(status) => CallOutcome::Response {
                status,
                cache_control: cache_control.as_deref(),
                content_encoding: content_encoding.as_deref(),
                etag: etag.as_deref(),
                size,
                body: &body,
            },
        };
        machine.on(Event::Answered { call, answer });
        machine.proxy().flush();
    });
}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        let document = self.get_plugin_configuration().unwrap_or_default();
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            Some((name, value.to_string_lossy().into_owned()))
        });
        let event = Event::Configured {
            root: self.id(),
            document: &document,
            environment: &variables.collect::<Vec<_>>(),
        };
        with(self.id, |machine| machine.on(event)) == Some(Answer::Continue)
    }

    fn on_tick(&mut self) {
        let root = self.id();
        with(self.id, |machine| {
            for (call, status) in machine.proxy().send_deferred(root) {
                let answer = CallOutcome::NotSent(status);
                machine.on(Event::Answered { call, answer });
            }
            machine.on(Event::Tick { root });
            machine.proxy().flush();
        });
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        let context = Stream { id };
        let (stream, root) = (context.id(), self.id());
        context.on(Event::Opened { stream, root });
        Some(Box::new(context))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

// The crate has no callback for the end of a context, but it drops it.
impl Drop for Root {
    fn drop(&mut self) {
        let root = self.id();
        with(self.id, |machine| {
            if machine.worker().is_root(root) {
                machine.on(Event::RootGone { root });
                machine.proxy().forget(root);
                machine.proxy().flush();
            }
        });
    }
}

/// A request.
struct Stream {
    id: u32,
}

impl Stream {
    fn id(&self) -> StreamId {
        StreamId(self.id.into())
    }

    /// Hands in an event. The stream is held back if that is not possible.
    fn on(&self, event: Event<'_>) -> Action {
        match with(self.id, |machine| machine.on_stream(self.id(), event)) {
            Some(Answer::Continue) => Action::Continue,
            Some(Answer::Exact | Answer::Pause) | None => Action::Pause,
        }
    }

    #[cfg(not(feature = "strings"))]
    fn head(&self) -> HeaderBlock {
        HeaderBlock::of(&self.get_http_request_headers_bytes())
    }

    #[cfg(feature = "strings")]
    fn head(&self) -> HeaderBlock {
        HeaderBlock::of(&self.get_http_request_headers())
    }

    fn property(&self, path: Vec<&str>) -> Option<Box<[u8]>> {
        self.get_property(path).map(Into::into)
    }

    fn entrance(&self) -> Option<Box<[u8]>> {
        let port = self.property(vec!["destination", "port"])?;
        let plugin = self.property(vec!["plugin_name"]).unwrap_or_default();
        Some([&*plugin, &*port].join(&0).into())
    }
}

impl Context for Stream {
    #[cfg(feature = "direct")]
    fn on_http_call_response(&mut self, token: u32, headers: usize, size: usize, _: usize) {
        answered(self, self.id, token, headers, size);
    }
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _headers: usize, end: bool) -> Action {
        let headers = self.head();
        self.on(Event::Head {
            stream: self.id(),
            headers: &headers,
            end,
            peer: &|| self.property(vec!["source", "address"]),
            entrance: &|| self.entrance(),
        })
    }

    fn on_http_request_body(&mut self, size: usize, end: bool) -> Action {
        self.on(Event::Body {
            stream: self.id(),
            size,
            end,
            read: &|| bytes(self.get_http_request_body(0, size), size),
        })
    }

    fn on_http_request_trailers(&mut self, _trailers: usize) -> Action {
        let stream = self.id();
        self.on(Event::Trailers { stream })
    }

    fn on_http_response_headers(&mut self, headers: usize, end: bool) -> Action {
        self.on(Event::ResponseHead {
            stream: self.id(),
            headers,
            end,
            head: self,
        })
    }
}

impl ResponseHead for Stream {
    fn status(&self) -> Option<u16> {
        let status = self.get_http_response_header_bytes(":status")?;
        std::str::from_utf8(&status).ok()?.parse().ok()
    }

    fn details(&self) -> Box<[u8]> {
        let details = self.property(vec!["response", "code_details"]);
        details.unwrap_or_default()
    }

    fn request_id(&self) -> Box<[u8]> {
        self.property(vec!["request", "id"]).unwrap_or_default()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let stream = self.id();
        self.on(Event::Gone { stream });
    }
}

/// The bytes of a buffer. The crate does not tell an empty one from one that is not there.
fn bytes(buffer: Option<Vec<u8>>, size: usize) -> Option<Box<[u8]>> {
    match buffer {
        None => (size == 0).then(Box::default),
        buffer => buffer.map(Into::into),
    }
}
