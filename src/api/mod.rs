//! Engine API.
pub(crate) mod types;
