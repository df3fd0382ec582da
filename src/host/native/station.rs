//! The worker of one thread of the proxy, and what other threads leave for it.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::abi::{Filter, StreamScheduler, Wake};
use super::calls::{Answer, Job};
use super::engine::Ring;
use super::perform::{Native, Todo};
use super::process::{Configuration, PROCESS};
use crate::reply::Reply;
use crate::worker::driver::Driver;
use crate::worker::{Action, CallId, Event, RootId, StreamId, Worker};

/// Something that another thread leaves for a worker.
#[derive(Debug)]
pub(super) enum Message {
    /// A request of the worker's own has ended.
    Answered(CallId, Answer),
    /// A configuration is no longer in use.
    Gone(RootId),
    /// Time has passed.
    Tick,
}

/// The worker, and the configurations that it knows.
#[derive(Debug)]
struct Machine {
    driver: Driver<Native>,
    known: BTreeSet<RootId>,
}

/// A worker, and how to reach it.
#[derive(Debug)]
pub(super) struct Station {
    /// Itself, for the requests that it makes.
    me: Weak<Self>,
    machine: Mutex<Machine>,
    inbox: Mutex<Vec<Message>>,
    /// Whether the inbox holds anything.
    mail: AtomicBool,
    /// An open stream of the thread, through which the thread can be woken.
    beacon: Mutex<Option<(StreamId, StreamScheduler)>>,
}

/// What is left to do once the worker is no longer in use.
#[derive(Debug)]
#[must_use]
pub(super) struct Left {
    pub(super) action: Action,
    /// The answer to the stream whose hook it is.
    pub(super) reply: Option<Reply>,
}

thread_local! {
    static STATION: OnceCell<Arc<Station>> = const { OnceCell::new() };
}

/// The station of this thread.
pub(super) fn here() -> Arc<Station> {
    STATION.with(|station| {
        Arc::clone(station.get_or_init(|| {
            let station = Arc::new_cyclic(|me| Station::new(Weak::clone(me)));
            PROCESS.settle(Arc::clone(&station));
            station
        }))
    })
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
        let good = self.driver.on(event) == Action::Continue;
        self.known.insert(configuration.root);
        good
    }

    /// Hands in what other threads have left.
    fn take(&mut self, messages: Vec<Message>) {
        for message in messages {
            match message {
                Message::Answered(call, answer) => {
                    answer.hand_in(|outcome| {
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
    fn new(me: Weak<Self>) -> Self {
        Self {
            me,
            machine: Mutex::new(Machine::new()),
            inbox: Mutex::default(),
            mail: AtomicBool::new(false),
            beacon: Mutex::default(),
        }
    }

    /// The worker. One that has panicked is replaced by a new one, which refuses the streams
    /// that it does not know.
    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(|poisoned| {
            let mut machine = poisoned.into_inner();
            let streams = machine.driver.proxy().strand();
            *machine = Machine::new();
            machine.driver.proxy().adopt(streams);
            self.machine.clear_poison();
            PROCESS.count_crash();
            machine
        })
    }

    /// Loads a configuration. Returns whether it is good.
    pub(super) fn configure(&self, configuration: &Configuration) -> bool {
        let (good, jobs) = {
            let mut machine = self.machine();
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
            let mut beacon = lock(&self.beacon);
            if beacon.is_none() {
                *beacon = StreamScheduler::new(filter).map(|scheduler| (stream, scheduler));
            }
            machine.driver.proxy().jobs()
        };
        self.start(jobs);
    }

    /// Hands in an event of a stream from that stream's hook. `None` stands for a stream that is
    /// not known, because the worker that knew it has panicked.
    pub(super) fn on_stream(
        &self,
        stream: StreamId,
        filter: Filter,
        event: Event<'_>,
    ) -> Option<Left> {
        let (left, jobs) = {
            let mut machine = self.machine();
            self.empty_inbox(&mut machine);
            if !machine.driver.proxy().enter(stream, filter) {
                return None;
            }
            let action = machine.driver.on_stream(stream, event);
            let proxy = machine.driver.proxy();
            let reply = proxy.leave();
            (Left { action, reply }, proxy.jobs())
        };
        self.start(jobs);
        Some(left)
    }

    /// Ends a stream, whose filter Envoy is about to destroy.
    pub(super) fn close(&self, stream: StreamId) {
        let jobs = {
            let mut machine = self.machine();
            self.empty_inbox(&mut machine);
            machine.driver.on_stream(stream, Event::Gone { stream });
            machine.driver.proxy().end(stream);
            let mut beacon = lock(&self.beacon);
            if beacon.as_ref().is_some_and(|(known, _)| *known == stream) {
                let another = machine.driver.proxy().any_stream();
                *beacon = another.and_then(|(other, filter)| {
                    StreamScheduler::new(filter).map(|scheduler| (other, scheduler))
                });
            }
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

    /// Leaves a message, and sees to it that it is taken. Only the main thread does this.
    pub(super) fn deliver(&self, message: Message) {
        self.leave(message);
        if let Some((_, scheduler)) = &*lock(&self.beacon) {
            scheduler.commit(Wake::Thread);
            return;
        }
        // No stream is open on that thread. If one is opened meanwhile, it takes the messages
        // itself.
        let jobs = {
            let mut machine = self.machine();
            if !machine.driver.proxy().is_idle() {
                return;
            }
            self.empty_inbox(&mut machine);
            machine.driver.proxy().jobs()
        };
        self.start(jobs);
    }

    /// Leaves a message that may wait for the next event.
    pub(super) fn leave(&self, message: Message) {
        let mut inbox = lock(&self.inbox);
        // Ticks that nobody takes say no more than one.
        if !matches!(
            (&message, inbox.last()),
            (Message::Tick, Some(Message::Tick))
        ) {
            inbox.push(message);
        }
        self.mail.store(true, Ordering::Release);
    }

    fn empty_inbox(&self, machine: &mut Machine) {
        if self.mail.swap(false, Ordering::AcqRel) {
            let messages = std::mem::take(&mut *lock(&self.inbox));
            machine.take(messages);
        }
    }

    /// Takes what was counted since the last time.
    pub(super) fn counted(&self, board: &mut super::metrics::Board) {
        self.machine().driver.proxy().flush(board);
    }

    fn start(&self, jobs: Vec<Job>) {
        if !jobs.is_empty() {
            PROCESS.request(&self.me, jobs);
        }
    }
}

/// A lock whose data are whole at any time.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
