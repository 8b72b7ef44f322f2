//! Engine API.
pub(crate) mod filters;
pub(crate) mod types;
