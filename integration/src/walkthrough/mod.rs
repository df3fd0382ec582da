//! A page of the manual as a script. A reader follows it word for word, and so does a test.
//!
//! | module | holds |
//! |---|---|
//! | [`page`] | the blocks of the page in their order: commands with their output, files and parts of files |
//! | [`session`] | the shell that the commands are typed into, on a machine whose files have the names of the page |

pub mod page;
pub mod session;
