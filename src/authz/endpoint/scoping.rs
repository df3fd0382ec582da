//! What happens to an endpoint's parameters if the caller is scoped.
//!
//! The lists are closed, like the table. Other parameters that a server reads are not
//! forwarded, because they may change what is selected (Loki's `shards`, Tempo's block
//! parameters). The lists were compared with what the handlers of the servers read: Loki
//! `pkg/loghttp`, Prometheus `web/api/v1` and Mimir's frontend, and Tempo `pkg/api`.

use crate::scoping::parameters::{Absent, Carrier, Parameters};
use crate::scoping::query::{Language, Shape};
use crate::words::version::Version;

/// How an endpoint is scoped.
#[derive(Clone, Copy, Debug)]
pub enum Scoping {
    /// The gate answers with this JSON document, as if there were nothing to find. Clients send
    /// such requests on their own, and take a refusal for a fault.
    AnsweredEmpty(&'static str),
    /// The answer reveals nothing about a tenant's data, so parameters pass unchanged.
    Harmless,
    /// The parameters limit the answer, on servers that are known to honour this.
    Parameters(&'static Parameters, Honoured),
    /// The endpoint cannot be limited, so scoped callers are refused.
    Unsupported,
    /// The endpoint returns a trace by its ID, which cannot be limited either.
    WholeTrace,
}

/// The version from which a server limits an endpoint's answer to what the parameters select,
/// and how this is known.
#[derive(Clone, Copy, Debug)]
pub struct Honoured {
    /// The first version.
    pub since: Version,
    /// The test in `make test-stack`, by its name, that has shown this on a real server.
    pub shown_by: &'static str,
}

/// Parameters that limit an endpoint, on servers that honour them from some version on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limited(&'static Parameters);

impl Limited {
    /// States that servers honour the parameters from this version on, as the test has shown.
    pub(super) const fn since(self, major: u16, minor: u16, shown_by: &'static str) -> Scoping {
        let since = Version::new(major, minor);
        Scoping::Parameters(self.0, Honoured { since, shown_by })
    }
}

const fn parameters(
    language: Language,
    carrier: Carrier,
    others: &'static [&'static str],
) -> Parameters {
    Parameters {
        language,
        carrier,
        others,
        refused: &[],
        defaults: &[],
        closed: false,
        tag_in_path: false,
        whole_traces: false,
    }
}

const fn one(names: &'static [&'static str], shape: Shape, absent: Absent) -> Carrier {
    Carrier::One {
        names,
        shape,
        absent,
    }
}

use Absent::{Refuse, Scope};
use Language::{LogQl, PromQl, TraceQl};
use Shape::{Pipeline, PlainQuery, Query, Selector};

/// Defines constants for the table's scoping column, each with the parameters of an endpoint.
macro_rules! scoping {
    ($($(#[$doc:meta])* $name:ident = $parameters:expr;)*) => {
        $($(#[$doc])* pub(super) const $name: Limited = {
            const PARAMETERS: &Parameters = &$parameters;
            Limited(PARAMETERS)
        };)*
    };
}

#[rustfmt::skip]
scoping! {
    /// Loki's queries.
    LOGS = parameters(LogQl, one(&["query"], Query, Refuse), &["time", "start", "end", "since", "step", "interval", "limit", "direction"]);
    /// A tail.
    TAIL = parameters(LogQl, one(&["query"], Query, Refuse), &["start", "limit", "delay_for"]);
    /// Loki's label names and values.
    LOG_LABELS = parameters(LogQl, one(&["query"], Selector, Scope), &["start", "end", "since", "limit"]);
    /// Loki's series.
    LOG_SERIES = parameters(LogQl, Carrier::Many(&["match[]", "match"]), &["start", "end", "since"]);
    /// Loki's index statistics.
    LOG_STATS = parameters(LogQl, one(&["query"], Selector, Scope), &["start", "end", "since"]);
    /// Loki's volumes.
    LOG_VOLUME = parameters(LogQl, one(&["query"], Selector, Scope), &["start", "end", "since", "step", "limit", "targetLabels", "aggregateBy"]);
    /// Loki's patterns. Loki pastes the values of matchers into a second query unchanged.
    LOG_PATTERNS = parameters(LogQl, one(&["query"], PlainQuery, Scope), &["start", "end", "since", "step"]);
    /// The fields that Loki detects in log lines.
    LOG_FIELDS = parameters(LogQl, one(&["query"], Query, Scope), &["start", "end", "since", "step", "limit", "line_limit", "field_limit"]);
    /// Mimir's queries.
    METRICS = parameters(PromQl, one(&["query"], Query, Refuse), &["time", "start", "end", "step", "timeout", "limit", "lookback_delta", "stats"]);
    /// Mimir's exemplars.
    EXEMPLARS = parameters(PromQl, one(&["query"], Query, Refuse), &["start", "end"]);
    /// Mimir's series, label names and label values.
    METRIC_SERIES = parameters(PromQl, Carrier::Many(&["match[]"]), &["start", "end", "limit"]);
    /// Tempo's search.
    TRACES = Parameters {
        whole_traces: true,
        refused: &["tags", "minDuration", "maxDuration"],
        ..parameters(TraceQl, one(&["q"], Query, Scope), &["start", "end", "limit", "spss"])
    };
    /// The values of one of Tempo's tags.
    TRACE_TAG_VALUES = Parameters {
        tag_in_path: true,
        ..parameters(TraceQl, Carrier::Fixed("q"), &["scope", "start", "end", "limit", "maxStaleValues"])
    };
    /// Tempo's metrics.
    TRACE_METRICS = parameters(TraceQl, one(&["q", "query"], Query, Refuse), &["start", "end", "since", "step", "exemplars"]);
    /// The logs of a project's resource.
    RESOURCE_LOGS = Parameters {
        defaults: &[("limit", "1000")],
        closed: true,
        ..parameters(LogQl, one(&["query"], Pipeline, Scope), &["start", "end", "step", "limit", "direction"])
    };
    /// The metrics of a project's resource.
    RESOURCE_METRICS = Parameters {
        closed: true,
        ..parameters(PromQl, one(&["query"], Query, Refuse), &["start", "end", "step", "limit"])
    };
}
