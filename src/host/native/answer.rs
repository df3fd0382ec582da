//! The answer to a request of the worker's own.

use crate::worker::{CallOutcome, HeaderBlock};

/// What the worker wants to know of a response's headers.
#[derive(Debug)]
pub(super) struct Head {
    status: Box<[u8]>,
    cache_control: Option<Box<[u8]>>,
    content_encoding: Option<Box<[u8]>>,
    etag: Option<Box<[u8]>>,
}

/// A response that has arrived.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) head: Head,
    pub(super) body: Box<[u8]>,
    /// The size of the whole body in bytes, also of one that was too long to be kept.
    pub(super) size: usize,
}

/// The outcome of a request.
#[derive(Debug)]
pub(super) enum Answer {
    /// There was none, or not in time.
    Nothing,
    /// The proxy did not send the request, with this number as the reason.
    NotSent(u32),
    Response(Box<Response>),
}

impl Head {
    /// Reads the headers of a response. `None` stands for one without a status.
    pub(super) fn of(headers: &HeaderBlock) -> Option<Self> {
        let header = |wanted: &[u8]| {
            let found = headers.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, value)| value.into())
        };
        Some(Self {
            status: header(b":status")?,
            cache_control: header(b"cache-control"),
            content_encoding: header(b"content-encoding"),
            etag: header(b"etag"),
        })
    }
}

impl Answer {
    /// Shows the answer to the worker.
    pub(super) fn show(self, to: impl FnOnce(CallOutcome<'_>)) {
        match self {
            Self::Nothing => to(CallOutcome::Nothing),
            Self::NotSent(status) => to(CallOutcome::NotSent(status)),
            Self::Response(response) => to(CallOutcome::Response {
                status: &response.head.status,
                cache_control: response.head.cache_control.as_deref(),
                content_encoding: response.head.content_encoding.as_deref(),
                etag: response.head.etag.as_deref(),
                size: response.size,
                body: &|| Some(response.body.clone()),
            }),
        }
    }
}
