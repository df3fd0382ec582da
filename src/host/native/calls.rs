//! The worker's own requests: who made them, which of them are under way, and their answers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::abi::Errand;
use super::answer::{Answer, Head, Response};
use super::configurations;
use super::inbox::{Inbox, Message};
use super::lock::{Mutex, lock};
use crate::worker::{CallId, HeaderBlock, RootId};

/// The longest body of an answer that is kept, in bytes. The longest that the worker accepts, a
/// signed document of organizations, is 10.7 MiB.
const MAX_BODY: usize = 12 << 20;

/// The requests that are to be sent.
static OUTBOX: Mutex<Vec<Request>> = Mutex::new(Vec::new());

/// A request that has not been sent.
#[derive(Clone, Debug)]
pub(super) struct Job {
    root: RootId,
    call: CallId,
    pub(super) cluster: Box<str>,
    pub(super) headers: Vec<(Box<str>, Box<[u8]>)>,
    timeout: Duration,
}

/// A request that somebody waits for.
#[derive(Debug)]
pub(super) struct Request {
    inbox: Arc<Inbox>,
    pub(super) job: Job,
}

/// The stream of a request in Envoy: the configuration on whose behalf it was sent, and its
/// number there.
pub(super) type Carrier = (RootId, u64);

/// A request that is under way, and what has arrived of its answer.
#[derive(Debug)]
struct Flight {
    request: Request,
    deadline: Instant,
    head: Option<Head>,
    body: Vec<u8>,
    /// The size of the whole body, also of what is too long to be kept.
    size: usize,
}

/// The requests that are under way.
#[derive(Debug, Default)]
pub(super) struct Calls {
    flights: HashMap<Carrier, Flight>,
    /// The request that is being sent, and on whose behalf. Envoy may report on it, even its
    /// end, before the number of its stream is known.
    sending: Option<(RootId, Flight)>,
}

impl Job {
    pub(super) fn new(
        root: RootId,
        call: CallId,
        cluster: &str,
        headers: &[(&str, &[u8])],
        timeout: u64,
    ) -> Self {
        Self {
            root,
            call,
            cluster: cluster.into(),
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect(),
            timeout: Duration::from_millis(timeout),
        }
    }

    /// The configuration on whose behalf it is made.
    pub(super) const fn root(&self) -> RootId {
        self.root
    }

    /// The longest time that the answer may take, in milliseconds.
    pub(super) fn millis(&self) -> u64 {
        u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX)
    }
}

impl Request {
    /// Hands the answer to whoever waits for it.
    pub(super) fn end(self, answer: Answer) {
        self.inbox.deliver(Message::Answered(self.job.call, answer));
    }
}

/// Has the main thread send requests, whose answers go to that worker.
pub(super) fn request(inbox: &Arc<Inbox>, jobs: Vec<Job>) {
    if jobs.is_empty() {
        return;
    }
    let requests = jobs.into_iter().map(|job| Request {
        inbox: Arc::clone(inbox),
        job,
    });
    enqueue(requests);
    configurations::send(Errand::Send);
}

/// Leaves requests for the next time that the main thread sends some.
pub(super) fn enqueue(requests: impl IntoIterator<Item = Request>) {
    lock(&OUTBOX).extend(requests);
}

/// Takes the requests that are to be sent.
pub(super) fn waiting() -> Vec<Request> {
    std::mem::take(&mut *lock(&OUTBOX))
}

impl Calls {
    /// Notes a request that is about to be sent.
    pub(super) fn sending(&mut self, root: RootId, request: Request) {
        let deadline = Instant::now().checked_add(request.job.timeout);
        let flight = Flight {
            deadline: deadline.unwrap_or_else(Instant::now),
            request,
            head: None,
            body: Vec::new(),
            size: 0,
        };
        self.sending = Some((root, flight));
    }

    /// Notes the number of the request that was sent, unless it has ended already.
    pub(super) fn sent(&mut self, carrier: Carrier) {
        if let Some((_, flight)) = self.sending.take() {
            self.flights.insert(carrier, flight);
        }
    }

    /// Takes back the request that could not be sent.
    pub(super) fn not_sent(&mut self) -> Option<Request> {
        Some(self.sending.take()?.1.request)
    }

    /// The flight with that number. One that is not known is the one that is being sent.
    fn flight(&mut self, carrier: Carrier) -> Option<&mut Flight> {
        let (root, _) = carrier;
        if !self.flights.contains_key(&carrier)
            && let Some((_, flight)) = self.sending.take_if(|(of, _)| *of == root)
        {
            self.flights.insert(carrier, flight);
        }
        self.flights.get_mut(&carrier)
    }

    fn remove(&mut self, carrier: Carrier) -> Option<Flight> {
        self.flight(carrier)?;
        self.flights.remove(&carrier)
    }

    /// Takes the head of an answer.
    pub(super) fn head(&mut self, carrier: Carrier, headers: &HeaderBlock) {
        if let Some(flight) = self.flight(carrier) {
            flight.head = Head::of(headers);
        }
    }

    /// Takes a piece of an answer's body.
    pub(super) fn data(&mut self, carrier: Carrier, piece: &[u8]) {
        if let Some(flight) = self.flight(carrier) {
            flight.size = flight.size.saturating_add(piece.len());
            if flight.size <= MAX_BODY {
                flight.body.extend_from_slice(piece);
            } else {
                // The worker refuses it by its size.
                flight.body = Vec::new();
            }
        }
    }

    /// Takes the end of an answer. Returns who waits for it.
    pub(super) fn complete(&mut self, carrier: Carrier) -> Option<(Request, Answer)> {
        let flight = self.remove(carrier)?;
        let answer = match flight.head {
            None => Answer::Nothing,
            Some(head) => Answer::Response(Box::new(Response {
                head,
                body: flight.body.into(),
                size: flight.size,
            })),
        };
        Some((flight.request, answer))
    }

    /// Takes a request that will not be answered.
    pub(super) fn lost(&mut self, carrier: Carrier) -> Option<Request> {
        Some(self.remove(carrier)?.request)
    }

    /// The streams whose answer has taken too long.
    pub(super) fn overdue(&self, now: Instant) -> Vec<Carrier> {
        let flights = self.flights.iter();
        let late = flights.filter(|(_, flight)| flight.deadline <= now);
        late.map(|(carrier, _)| *carrier).collect()
    }

    /// The streams of all configurations, or of those that are not that one.
    pub(super) fn of_others(&self, root: RootId) -> Vec<Carrier> {
        let carriers = self.flights.keys();
        carriers.filter(|(of, _)| *of != root).copied().collect()
    }

    /// Takes the requests that were sent on behalf of a configuration that is gone.
    pub(super) fn orphans(&mut self, gone: RootId) -> Vec<Request> {
        let flights = self.flights.extract_if(|(of, _), _| *of == gone);
        flights.map(|(_, flight)| flight.request).collect()
    }
}
