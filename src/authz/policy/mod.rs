//! Who may do what on which tenant: organizations, roles and groups, compiled.
//!
//! A principal's rights on a tenant are the union over all organizations that list
//! the tenant and all roles its groups hold there. What is not granted here does not
//! exist: there is no default right.
//!
//! Two tenants that stand in the same organizations under the same terms are of one
//! *kind*, and a request for any number of them is decided once for each kind. What
//! takes long to find out about a caller, one with thousands of groups or one on a
//! tenant in thousands of organizations, is [remembered](Remembered). So the cost of a
//! decision grows with the tenants that the request names, or stands for, and the size of
//! a policy with the text of its configuration: never with the product of two of its parts.

mod compiled;
mod draft;
mod reach;
mod remembered;
mod roll;
mod standing;

pub use compiled::Policy;
pub use draft::{Draft, Roll};
pub use reach::Held;
pub use remembered::{Organizations, Remembered};
pub use roll::OrganizationIndex;

#[cfg(test)]
mod tests;
