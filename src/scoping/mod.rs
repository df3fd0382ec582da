//! Scopes: the part of a tenant's data that a caller may see, inserted into each selector of a
//! query.

pub mod form;
pub mod narrow;
pub mod parameters;
pub mod query;
pub mod scope;
pub mod tags;
