//! What carries events from a proxy into the gate and effects back: the only part that
//! names one.

pub mod wasm;
