//! The metrics for Prometheus.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use super::shelf::Shelf;
use crate::resources::document::Mark;

/// The statuses that are counted separately. There are no others.
const STATUSES: [u16; 6] = [200, 304, 401, 404, 405, 503];

/// Numbers that only grow, and the current state of the source. No label holds a name that a
/// stranger chose.
#[derive(Debug)]
pub struct Counters {
    began: Instant,
    answers: [AtomicU64; STATUSES.len()],
    /// How often the source has failed since the start.
    pub source_errors: AtomicU64,
    /// The number of documents that were not put on the shelf since the start.
    pub refused_documents: AtomicU64,
    /// How often a certificate, a key or a token was read again and could not be used.
    pub credential_errors: AtomicU64,
    /// The number of resources that cannot be converted at present.
    pub dropped: AtomicU64,
    /// Whether the last list is still served although the source has another.
    pub held: AtomicBool,
    /// When the source last answered, in milliseconds since the start.
    contact: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            answers: Default::default(),
            source_errors: AtomicU64::default(),
            refused_documents: AtomicU64::default(),
            credential_errors: AtomicU64::default(),
            dropped: AtomicU64::default(),
            held: AtomicBool::default(),
            contact: AtomicU64::default(),
        }
    }
}

impl Counters {
    /// Adds one to a counter.
    pub fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an answer.
    pub fn answered(&self, status: u16) {
        let counters = STATUSES.iter().zip(&self.answers);
        for (_, counter) in counters.filter(|(known, _)| **known == status) {
            Self::count(counter);
        }
    }

    /// Notes that the source has answered.
    pub fn contact(&self) {
        self.contact.store(self.age(), Ordering::Relaxed);
    }

    /// The milliseconds since the start.
    fn age(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// All metrics in the text format of Prometheus.
    #[must_use]
    pub fn text(&self, served: &Shelf) -> String {
        let mut page = Text::default();
        let number = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let document = served.document();
        let mark = document.as_ref().map(|document| document.mark());
        page.metric("ready", "gauge", "Whether a document is served.");
        page.sample("", u64::from(served.is_ready()));
        page.metric("served", "gauge", "Organizations in the document.");
        page.sample("", document.as_ref().map_or(0, |it| it.organizations()));
        page.metric("document_bytes", "gauge", "Length of the document.");
        page.sample("", document.as_ref().map_or(0, |it| it.body().len() as u64));
        page.metric("epoch", "gauge", "Epoch of the document.");
        page.sample("", mark.map_or(0, Mark::epoch));
        page.metric("revision", "gauge", "Revision of the document.");
        page.sample("", mark.map_or(0, Mark::revision));
        page.metric(
            "signed_timestamp_seconds",
            "gauge",
            "The date of the signature, in seconds since 1970; 0 without one.",
        );
        let issued = document.as_ref().and_then(|document| document.issued());
        page.sample("", issued.unwrap_or(0));
        page.metric("dropped", "gauge", "Resources that do not convert.");
        page.sample("", number(&self.dropped));
        page.metric(
            "held",
            "gauge",
            "Whether the last list is held although the source has another, or none.",
        );
        page.sample("", u64::from(self.held.load(Ordering::Relaxed)));
        page.metric(
            "source_age_seconds",
            "gauge",
            "Seconds since the source last answered.",
        );
        let age = self.age().saturating_sub(number(&self.contact));
        page.sample("", age / 1000);
        page.metric("source_errors_total", "counter", "Failures of the source.");
        page.sample("", number(&self.source_errors));
        page.metric(
            "refused_documents_total",
            "counter",
            "Documents that were not served: not newer, or too long.",
        );
        page.sample("", number(&self.refused_documents));
        page.metric(
            "credential_errors_total",
            "counter",
            "Certificates, keys and tokens that changed and could not be used, and signatures that \
             could not be made.",
        );
        page.sample("", number(&self.credential_errors));
        page.metric("requests_total", "counter", "Answers, by status.");
        for (status, counter) in STATUSES.iter().zip(&self.answers) {
            page.sample(&format!("{{code=\"{status}\"}}"), number(counter));
        }
        page.text
    }
}

#[derive(Default)]
struct Text {
    text: String,
    name: String,
}

impl Text {
    fn metric(&mut self, name: &str, kind: &str, help: &str) {
        self.name = format!("scopegate_organizations_{name}");
        let _ = writeln!(self.text, "# HELP {} {help}", self.name);
        let _ = writeln!(self.text, "# TYPE {} {kind}", self.name);
    }

    fn sample(&mut self, labels: &str, value: u64) {
        let _ = writeln!(self.text, "{}{labels} {value}", self.name);
    }
}
