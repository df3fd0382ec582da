//! What a request asks for, and who may ask for it.

pub mod endpoint;
pub mod policy;
pub mod projects;
