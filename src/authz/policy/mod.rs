//! Who may do what on which tenant: organizations, roles and groups, compiled.
//!
//! A principal's rights on a tenant are the union over all organizations that list the tenant,
//! and over all roles that its groups hold there. There is no default right: what is not
//! granted here does not exist.
//!
//! Two tenants that belong to the same organizations under the same terms are of one *kind*,
//! and a request for any number of them is decided once for each kind. What takes long to find
//! out is [remembered](Remembered): about a caller with thousands of groups, or about one on a
//! tenant in thousands of organizations. The cost of a decision therefore grows with the number
//! of tenants that the request names or stands for, and the size of a policy grows with the
//! text of its configuration; neither grows with the product of two of its parts.

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
