//! What is asked for, and who may ask for it.

pub mod endpoint;
pub mod policy;
pub mod projects;
