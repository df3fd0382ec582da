//! What of a tenant a caller may see, put into each selector of a query.

pub mod form;
pub mod narrow;
pub mod parameters;
pub mod query;
pub mod scope;
pub mod tags;
