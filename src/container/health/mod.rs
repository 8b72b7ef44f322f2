//! Health checks: a command that runs in the container again and again and says whether it does its
//! work (docs: Dockerfile `HEALTHCHECK`, Engine API `HealthConfig` and `Health`; behaviour: Moby
//! `daemon/health.go`).
//!
//! [`Check`] is what is configured, [`Health`] what is known and kept in `health.json`, `watch` the task
//! that each running container with a check has.

mod check;
mod known;
mod probe;
mod watch;

pub(super) use check::merge;
pub(crate) use known::Health;
pub(crate) use probe::metrics;
pub(super) use watch::HealthWatch;
