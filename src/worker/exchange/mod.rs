//! One request, from its head until it is gone.
//!
//! ```text
//!                  ┌────────▶ Waiting ──────────┐
//!                  │   for keys or a directory  ▼
//!   Opened ──▶ a decision ──▶ Reading ──▶ Forwarded ──▶ Streaming ──▶ Done
//!                  │        its form    │        the answer has begun
//!                  └────────▶ Refused ◀─┘
//! ```
//!
//! Each state owns exactly what it needs, and the step that leaves it consumes it. A single
//! function (`settle`) acts on an outcome, whether it was reached at the head, after a wait or
//! at a deadline.
//!
//! A scoped request with a form in its body is decided when the body has been read. A proxy
//! gives a filter that holds back the head no body. The head is therefore forwarded without any
//! of the query, and the whole body is held back. What follows the head is either the form that
//! was written here, or nothing: then the stream is answered, and the backend is left with a
//! request that never became complete.

mod body;
mod cors;
mod decision;
mod desk;
mod opening;
mod response;
mod state;

pub use body::{conclude, on_body};
pub use decision::{
    Step, Why, endpoint_of, on_breach, on_faulty_host, on_head, on_unperformed, on_wake,
};
pub use desk::{Case, Desk};
pub use opening::{Opening, Standing};
pub use response::{end_stream, on_response, withdraw_stream};
pub use state::{Cause, Exchange, Forwarded, Reading, Streaming, Waiting};
