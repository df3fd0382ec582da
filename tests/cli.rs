//! The tests of the commands, one module for each, in one program: each program takes ten seconds to build.

mod check;
mod explain;
mod render;
mod schema;
mod table;
