//! A request with a remembered token allocates nothing, neither for the decision nor for its
//! effects.
#![allow(unsafe_code)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use common::{NOW, Request, Token, UPTIME};
use scopegate::authn::keys::InModule;
use scopegate::worker::{
    Action, Effect, Event, HeaderBlock, Reading, RootId, Sink, StreamId, Worker,
};
use serde_json::json;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

/// Counts what one thread allocates.
struct Counting;

// SAFETY: everything is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Counts effects of streams.
#[derive(Default)]
struct Effects(usize);

impl Sink for Effects {
    fn emit(&mut self, effect: Effect<'_>) {
        self.0 += usize::from(effect.stream().is_some());
    }
}

fn allocations(act: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.with(Cell::get);
    act();
    ALLOCATIONS.with(Cell::get) - before
}

#[test]
fn a_warm_request_allocates_nothing() {
    let mut configuration = common::config();
    configuration["audit"] = json!({"log": "none", "access_log": false});
    let mut worker = Worker::new(Box::new(InModule), 1);
    let mut effects = Effects::default();
    let exact = Some(Reading {
        wall: Some(NOW * 1_000_000_000),
        mono: Some(UPTIME * 1_000_000),
    });
    let root = RootId(1);
    let document = configuration.to_string();
    let event = Event::Configured {
        root,
        document: document.as_bytes(),
        environment: &[],
    };
    worker.on(event, exact, &mut effects);
    worker.on(Event::Tick { root }, exact, &mut effects);
    let fields = Request::bearing(&Token::new().build()).fields();
    let pairs: Vec<(&[u8], &[u8])> = fields
        .iter()
        .map(|(name, value)| (name.as_slice(), value.as_slice()))
        .collect();
    let headers = HeaderBlock::of(&pairs);
    let mut request = |number: u64, reading| {
        let stream = StreamId(number);
        let opened = Event::Opened { stream, root };
        worker.on(opened, None, &mut effects);
        let head = Event::Head {
            stream,
            headers: &headers,
            end: true,
            peer: &|| None,
            entrance: &|| None,
        };
        let mut action = worker.on(head, reading, &mut effects);
        if action == Action::Exact {
            action = worker.on(head, exact, &mut effects);
        }
        assert_eq!(action, Action::Continue);
        worker.on(Event::Gone { stream }, None, &mut effects);
    };
    // The first verifies the token, the next make room for streams.
    for number in 0..10 {
        request(number, exact);
    }
    let allocated = allocations(|| {
        for number in 10..1_000 {
            request(number, None);
        }
    });
    assert_eq!(allocated, 0, "in 990 requests");
    // Each had its edits, its lookup and its decision.
    assert!(effects.0 >= 990 * 4, "{}", effects.0);
}
