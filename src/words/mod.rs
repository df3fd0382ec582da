//! The vocabulary: small types that every other module uses.

pub mod build;
pub mod credential;
pub mod denial;
pub mod hash;
pub mod identity;
pub mod method;
pub mod origin;
pub mod own_answer;
pub mod own_header;
pub mod permission;
pub mod refusal;
pub mod request;
pub mod secret;

pub mod tenant;
pub mod time;
pub mod unscoped;
pub mod verdict;
pub mod version;
pub mod wire;
