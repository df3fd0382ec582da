//! Contexts by number, and each callback's way to its root or stream.
//!
//! A callback for a context that is not known, or that comes while another one is
//! still at work, refuses or does nothing; it never panics.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;

use super::host::Action;
use super::root::Root;
use super::stream::{self, Held, Progress, Reading};
use crate::words::request::Head;

type Shared = Rc<RefCell<Root>>;

#[derive(Debug)]
struct Stream {
    root: Shared,
    progress: Progress,
}

#[derive(Debug, Default)]
struct Contexts {
    roots: HashMap<u32, Shared, BuildHasherDefault<Numbers>>,
    streams: HashMap<u32, Stream, BuildHasherDefault<Numbers>>,
}

thread_local! {
    // A VM is one thread of one worker.
    static CONTEXTS: RefCell<Contexts> = RefCell::default();
}

/// Runs with the contexts, unless a callback is at work on them already.
fn with<T>(act: impl FnOnce(&mut Contexts) -> T) -> Option<T> {
    CONTEXTS.with(|contexts| contexts.try_borrow_mut().ok().map(|mut c| act(&mut c)))
}

fn root(context: u32) -> Option<Shared> {
    with(|contexts| contexts.roots.get(&context).map(Rc::clone)).flatten()
}

/// Runs with a root, then notes what became of streams that waited on it.
fn with_root<T>(root: &Shared, act: impl FnOnce(&mut Root) -> T) -> Option<T> {
    let mut root = root.try_borrow_mut().ok()?;
    let result = act(&mut root);
    let settled = root.take_settled();
    drop(root);
    if !settled.is_empty() {
        with(|contexts| {
            for (number, progress) in settled {
                if let Some(stream) = contexts.streams.get_mut(&number) {
                    stream.progress = progress;
                }
            }
        });
    }
    Some(result)
}

pub(super) fn on_context_create(context: u32, parent: u32) {
    with(|contexts| {
        if parent == 0 {
            let root = Rc::new(RefCell::new(Root::new(context)));
            contexts.roots.insert(context, root);
        } else if let Some(root) = contexts.roots.get(&parent) {
            let stream = Stream {
                root: Rc::clone(root),
                progress: Progress::Done,
            };
            contexts.streams.insert(context, stream);
        }
    });
}

pub(super) fn on_configure(context: u32, size: usize) -> bool {
    let configured = root(context)
        .and_then(|root| with_root(&root, |root| root.configure(size)))
        .unwrap_or(false);
    if configured {
        succeed(context);
    }
    configured
}

/// Hands what the root of the configuration before this one knows to its successor.
fn succeed(context: u32) {
    let roots = with(|contexts| {
        let earlier = contexts
            .roots
            .keys()
            .copied()
            .filter(|other| *other < context);
        let earlier = earlier.max().and_then(|other| contexts.roots.get(&other));
        Some((
            Rc::clone(contexts.roots.get(&context)?),
            Rc::clone(earlier?),
        ))
    });
    let Some((new, old)) = roots.flatten() else {
        return;
    };
    // Both are idle here: the host makes one call at a time.
    if let (Ok(mut new), Ok(old)) = (new.try_borrow_mut(), old.try_borrow())
        && let (Some(new), Some(old)) = (new.gate(), old.gate.as_ref())
    {
        new.succeed(old);
    }
}

pub(super) fn on_tick(context: u32) {
    let Some(root) = root(context) else { return };
    with_root(&root, Root::on_tick);
    for stream in with_root(&root, Root::late_readings).unwrap_or_default() {
        let reading = with(|contexts| contexts.streams.get_mut(&stream)?.progress.take_held());
        let Some(Held::Body(reading)) = reading.flatten() else {
            with_root(&root, |root| root.end_reading(stream));
            continue;
        };
        let progress = with_root(&root, |root| stream::on_late_body(root, &reading));
        with(|contexts| {
            if let (Some(stream), Some(progress)) = (contexts.streams.get_mut(&stream), progress) {
                stream.progress = progress;
            }
        });
    }
}

pub(super) fn on_http_call_response(context: u32, token: u32, headers: usize, body_size: usize) {
    if let Some(root) = root(context) {
        with_root(&root, |root| {
            root.on_http_call_response(token, headers, body_size);
        });
    }
}

pub(super) fn on_request_headers(context: u32, end: bool) -> Action {
    let root = with(|contexts| {
        let stream = contexts.streams.get(&context);
        stream.map(|stream| Rc::clone(&stream.root))
    })
    .flatten();
    let settled = root
        .and_then(|root| with_root(&root, |root| stream::on_request_headers(root, context, end)));
    let Some((action, progress)) = settled else {
        stream::refuse_broken(&Head::default());
        return Action::Pause;
    };
    if !matches!(progress, Progress::Done) {
        with(|contexts| {
            if let Some(stream) = contexts.streams.get_mut(&context) {
                stream.progress = progress;
            }
        });
    }
    action
}

pub(super) fn on_request_body(context: u32, size: usize, end: bool) -> Action {
    finish_reading(context, |root, reading| {
        stream::on_request_body(root, reading, size, end)
    })
}

pub(super) fn on_request_trailers(context: u32) -> Action {
    finish_reading(context, |root, reading| {
        stream::on_request_trailers(root, &reading)
    })
}

/// Acts on a request whose body is being read; any other goes on.
fn finish_reading(
    context: u32,
    act: impl FnOnce(&mut Root, Box<Reading>) -> (Action, Progress),
) -> Action {
    let found = with(|contexts| {
        let stream = contexts.streams.get_mut(&context)?;
        let held = stream.progress.take_held()?;
        Some((Rc::clone(&stream.root), held))
    });
    let Some(found) = found else {
        // Another callback is at work: whose body this is cannot be told.
        return Action::Pause;
    };
    let (root, reading) = match found {
        None => return Action::Continue,
        Some((root, Held::Body(reading))) => (root, reading),
        Some((root, Held::Head)) => {
            with_root(&root, |root| root.forget(context));
            stream::refuse_broken(&Head::default());
            return Action::Pause;
        }
    };
    let acted = with_root(&root, |root| act(root, reading));
    let Some((action, progress)) = acted else {
        stream::refuse_broken(&Head::default());
        return Action::Pause;
    };
    with(|contexts| {
        if let Some(stream) = contexts.streams.get_mut(&context) {
            stream.progress = progress;
        }
    });
    action
}

pub(super) fn on_response_headers(context: u32, headers: usize, end: bool) -> Action {
    let found = with(|contexts| {
        let stream = contexts.streams.get_mut(&context)?;
        let progress = stream.progress.answered();
        Some((Rc::clone(&stream.root), progress))
    });
    match found.flatten() {
        Some((root, Progress::Passed(passed))) => with_root(&root, |root| {
            stream::on_response_headers(root, &passed, headers, end)
        })
        .unwrap_or(Action::Continue),
        Some((root, Progress::Waiting)) => {
            // Something else answered a request that was still waiting.
            with_root(&root, |root| root.forget(context));
            Action::Continue
        }
        _ => Action::Continue,
    }
}

pub(super) fn on_delete(context: u32) {
    let gone = with(|contexts| match contexts.streams.remove(&context) {
        Some(stream) => (Some(stream), None),
        None => (None, contexts.roots.remove(&context)),
    });
    let Some((stream, root)) = gone else { return };
    if let Some(root) = root {
        with_root(&root, Root::retire);
    }
    let Some(stream) = stream else { return };
    if stream.progress.is_tracked() {
        with_root(&stream.root, |root| root.lifetimes.forget(context));
    }
    match stream.progress {
        Progress::Done | Progress::Refused | Progress::Tracked => {}
        Progress::Reading(_) => {
            with_root(&stream.root, |root| root.end_reading(context));
        }
        Progress::Passed(passed) => stream::on_gone(&passed),
        Progress::Waiting => {
            with_root(&stream.root, |root| root.forget(context));
        }
    }
}

/// Context numbers are given out by the host one after another: spreading them
/// needs no keyed hash.
#[derive(Debug, Default)]
struct Numbers(u64);

impl Hasher for Numbers {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
