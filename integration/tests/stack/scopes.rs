//! Scoped callers: several teams share a tenant, and each sees its own part, whatever it asks.
//!
//! | module | shows |
//! |---|---|
//! | [`apart`] | every read that can be scoped, for one tenant and for several, and a tail |
//! | [`random`] | queries drawn from the corpora and from templates |
//! | [`twins`] | every answer is that of a tenant with nothing else in it, for fixed and random questions |
//! | [`patterns`] | the patterns of a Loki that stores them and of one that does not |
//! | [`traces`] | the traces of a real Tempo; and the same rules on the stand-in |
//! | [`resources`] | the projects API |
//! | [`refusals`] | what cannot be scoped, or not without doubt, reaches no server |
//! | [`bodies`], [`answers`] | which bodies reach a server, and which parts of its answer come back |
//! | [`directory`] | a directory of projects that is asked over HTTP |
//! | [`data`], [`asks`], [`queries`] | the data of three tenants, and the questions about it |
//! | [`twin_data`], [`questions`] | the data of two more, and the questions about it |
//! | [`gates`] | gates beside the scene's |

pub mod answers;
pub mod apart;
pub mod asks;
pub mod bodies;
pub mod data;
pub mod directory;
pub mod gates;
pub mod patterns;
pub mod queries;
pub mod questions;
pub mod random;
pub mod refusals;
pub mod resources;
pub mod traces;
pub mod twin_data;
pub mod twins;

/// Side by side with others that read.
pub fn quiet() -> Vec<crate::Test> {
    [
        apart::tests(),
        patterns::tests(),
        random::tests(),
        resources::tests(),
        traces::tests(),
        traces::stand_in::tests(),
    ]
    .concat()
}

/// They count what reaches the servers, take them away, or make one write.
pub fn alone() -> Vec<crate::Test> {
    [
        refusals::tests(),
        bodies::tests(),
        answers::tests(),
        directory::tests(),
        twins::tests(),
    ]
    .concat()
}
