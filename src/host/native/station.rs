//! The worker of one thread of the proxy, and what other threads leave for it.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

use super::abi::{Filter, Wake};
use super::calls::{self, Job};
use super::configurations::Configuration;
use super::drill;
use super::engine::Ring;
use super::inbox::{Inbox, Message};
use super::lock::{Mutex, MutexGuard, lock};
use super::metrics::Board;
use super::perform::{Entered, Native, Todo};
use crate::reply::Reply;
use crate::worker::driver::Driver;
use crate::worker::{Action, Event, RootId, StreamId, Worker};

/// The stations of all threads.
static STATIONS: Mutex<Vec<Arc<Station>>> = Mutex::new(Vec::new());

/// The worker, and the configurations that it knows.
#[derive(Debug)]
struct Machine {
    driver: Driver<Native>,
    known: BTreeSet<RootId>,
}

/// A worker, and how to reach it.
#[derive(Debug)]
pub(super) struct Station {
    machine: Mutex<Machine>,
    inbox: Arc<Inbox>,
}

/// What is left to do once the worker is no longer in use.
#[derive(Debug)]
#[must_use]
pub(super) struct Left {
    pub(super) action: Action,
    /// The answer to the stream whose hook it is.
    pub(super) reply: Option<Reply>,
    /// Whether a header of its request has changed, so that another route may be its own.
    pub(super) edited: bool,
}

thread_local! {
    static STATION: OnceCell<Arc<Station>> = const { OnceCell::new() };
}

/// The station of this thread.
pub(super) fn here() -> Arc<Station> {
    STATION.with(|station| {
        Arc::clone(station.get_or_init(|| {
            let station = Arc::new(Station::new());
            lock(&STATIONS).push(Arc::clone(&station));
            station
        }))
    })
}

/// The stations of all threads that have had a stream, and of the main thread.
pub(super) fn all() -> Vec<Arc<Station>> {
    lock(&STATIONS).clone()
}

impl Machine {
    fn new() -> Self {
        // The hasher's keys come from the system's random numbers.
        let seed = RandomState::new().build_hasher().finish();
        let worker = Worker::new(Box::new(Ring), seed).sharing_everything();
        Self {
            driver: Driver::new(worker, Native::default()),
            known: BTreeSet::new(),
        }
    }

    /// Loads a configuration unless the worker knows it. Returns whether it is good.
    fn know(&mut self, configuration: &Configuration) -> bool {
        if self.known.contains(&configuration.root) {
            return true;
        }
        let event = Event::Configured {
            root: configuration.root,
            document: &configuration.document,
            environment: &configuration.environment,
        };
        let root = configuration.root;
        let good = self.driver.on(event) == Action::Continue;
        self.known.insert(root);
        if good {
            // What other threads have fetched is there at once.
            self.driver.on(Event::Tick { root });
        }
        good
    }

    /// Hands in what other threads have left.
    fn take(&mut self, messages: Vec<Message>) {
        for message in messages {
            match message {
                Message::Answered(call, answer) => {
                    answer.show(|outcome| {
                        self.driver.on(Event::Answered {
                            call,
                            answer: outcome,
                        });
                    });
                    // Other threads get what has arrived at a tick of this one.
                    for root in self.known.clone() {
                        self.driver.on(Event::Tick { root });
                    }
                }
                Message::Gone(root) => {
                    if self.known.remove(&root) {
                        self.driver.on(Event::RootGone { root });
                        self.driver.proxy().forget(root);
                    }
                }
                Message::Tick => {
                    for root in self.driver.proxy().due() {
                        self.driver.on(Event::Tick { root });
                    }
                }
            }
        }
    }
}

impl Station {
    fn new() -> Self {
        Self {
            machine: Mutex::new(Machine::new()),
            inbox: Arc::default(),
        }
    }

    /// The worker. One that has panicked is replaced by a new one, which refuses the streams
    /// that it does not know.
    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(|poisoned| {
            let mut machine = poisoned.into_inner();
            let remains = machine.driver.proxy().leave_behind();
            *machine = Machine::new();
            machine.driver.proxy().take_over(remains);
            self.machine.clear_poison();
            machine
        })
    }

    /// Replaces the worker if it has panicked.
    pub(super) fn recover(&self) {
        drop(self.machine());
    }

    /// Notes that a stream is being refused because its hook has panicked.
    pub(super) fn give_up(&self, stream: StreamId, filter: Filter) {
        self.machine().driver.proxy().give_up(stream, filter);
    }

    /// Has the worker of the main thread know all configurations, also after a panic of its own.
    pub(super) fn keep(&self, configurations: &[Arc<Configuration>]) {
        let jobs = {
            let mut machine = self.machine();
            for configuration in configurations {
                machine.know(configuration);
            }
            machine.driver.proxy().jobs()
        };
        self.start(jobs);
    }

    /// Loads a configuration, on the main thread. Returns whether it is good.
    pub(super) fn configure(&self, configuration: &Configuration) -> bool {
        let (good, jobs) = {
            let mut machine = self.machine();
            machine.driver.proxy().speak();
            let good = machine.know(configuration);
            (good, machine.driver.proxy().jobs())
        };
        self.start(jobs);
        good
    }

    /// Begins a stream.
    pub(super) fn open(&self, stream: StreamId, filter: Filter, configuration: &Configuration) {
        let jobs = {
            let mut machine = self.machine();
            self.empty_inbox(&mut machine);
            machine.know(configuration);
            machine
                .driver
                .proxy()
                .begin(stream, filter, configuration.root);
            machine.driver.on_stream(
                stream,
                Event::Opened {
                    stream,
                    root: configuration.root,
                },
            );
            self.inbox.light(stream, filter);
            machine.driver.proxy().jobs()
        };
        self.start(jobs);
    }

    /// Hands in an event of a stream from that stream's hook.
    ///
    /// # Errors
    /// The worker that knew the stream has panicked: it is to be refused, or has been.
    pub(super) fn on_stream(
        &self,
        stream: StreamId,
        filter: Filter,
        event: Event<'_>,
    ) -> Result<Left, Entered> {
        let (left, jobs) = {
            let mut machine = self.machine();
            self.empty_inbox(&mut machine);
            match machine.driver.proxy().enter(stream, filter) {
                Entered::Known => {}
                lost => return Err(lost),
            }
            drill::panic_at("worker");
            let action = machine.driver.on_stream(stream, event);
            let proxy = machine.driver.proxy();
            let (reply, edited) = proxy.leave();
            let left = Left {
                action,
                reply,
                edited,
            };
            (left, proxy.jobs())
        };
        self.start(jobs);
        Ok(left)
    }

    /// Notes why Envoy answers a stream itself.
    pub(super) fn note_details(&self, stream: StreamId, details: &[u8]) {
        self.machine().driver.proxy().note_details(stream, details);
    }

    /// What was noted about a stream.
    pub(super) fn details_of(&self, stream: StreamId) -> Option<Box<[u8]>> {
        self.machine().driver.proxy().details_of(stream)
    }

    /// Takes the record of a stream.
    pub(super) fn record(&self, stream: StreamId) -> Option<String> {
        self.machine().driver.proxy().record(stream)
    }

    /// The configuration of a stream.
    pub(super) fn root_of(&self, stream: StreamId) -> Option<RootId> {
        self.machine().driver.proxy().root_of(stream)
    }

    /// Ends a stream, whose filter Envoy is about to destroy.
    pub(super) fn close(&self, stream: StreamId) {
        let jobs = {
            let mut machine = self.machine();
            // First of all, so that no message has anything done with that stream any more.
            machine.driver.on_stream(stream, Event::Gone { stream });
            machine.driver.proxy().end(stream);
            self.inbox
                .hand_over(stream, || machine.driver.proxy().any_stream());
            self.empty_inbox(&mut machine);
            machine.driver.proxy().jobs()
        };
        self.start(jobs);
    }

    /// Handles the wake-up of a stream. Returns what is to be done with that stream.
    pub(super) fn woken(&self, stream: StreamId, wake: Wake) -> Option<Todo> {
        let (todo, jobs) = {
            let mut machine = self.machine();
            self.empty_inbox(&mut machine);
            let proxy = machine.driver.proxy();
            let todo = match wake {
                Wake::Thread => None,
                Wake::Stream => proxy.todo(stream),
            };
            (todo, proxy.jobs())
        };
        self.start(jobs);
        todo
    }

    /// The messages for this worker.
    pub(super) fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// Takes the messages of a thread that has no stream, and that Envoy therefore does not call.
    /// If a stream is opened meanwhile, it takes them itself. Returns whether there were any.
    pub(super) fn tend(&self) -> bool {
        if !self.inbox.is_neglected() {
            return false;
        }
        let jobs = {
            let mut machine = self.machine();
            if !machine.driver.proxy().is_idle() {
                return false;
            }
            self.empty_inbox(&mut machine);
            machine.driver.proxy().jobs()
        };
        self.start(jobs);
        true
    }

    fn empty_inbox(&self, machine: &mut Machine) {
        machine.take(self.inbox.take());
    }

    /// Takes what was counted since the last time.
    pub(super) fn counted(&self, board: &mut Board) {
        self.machine().driver.proxy().flush(board);
    }

    fn start(&self, jobs: Vec<Job>) {
        calls::request(&self.inbox, jobs);
    }
}
