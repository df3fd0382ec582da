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
//! Each state owns exactly what it needs and is consumed by the step that leaves it. One
//! function acts on an outcome (`settle`), whether it was come to at the head, after a
//! wait or at a deadline.
//!
//! A scoped request with a form in its body is decided when the body has been read. Proxies
//! give a filter that holds back the head no body, so the head goes on, with nothing of
//! the query in it, and the body is held back whole: what follows the head is the form
//! that was written here, or the stream is answered and the backend is left with a request
//! that never became complete.

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
pub use opening::Opening;
pub use response::{end_stream, on_response, withdraw_stream};
pub use state::{Cause, Exchange, Forwarded, Reading, Streaming, Waiting};
