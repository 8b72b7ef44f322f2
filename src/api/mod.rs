//! Engine API: an HTTP server, one file a resource.
//!
//! `server` and `connection` are transport, `router` turns a path into a [`router::Route`],
//! `backend` dispatches routes to the resources' files. Requests outlive their clients: a handler
//! runs in a task of its own, only streams end when the client is gone.

mod archive;
mod attach;
mod attach_query;
mod attach_ws;
pub(crate) mod backend;
mod commit;
pub(crate) mod connection;
mod containers;
mod detach;
mod df;
mod events;
mod exec;
mod exec_stream;
pub(crate) mod filters;
mod frame;
mod glob;
mod images;
mod json_error;
mod lifecycle;
mod load;
pub(crate) mod log_check;
mod log_test;
mod logs;
mod logs_query;
mod network_create;
mod networks;
mod outgoing;
pub(crate) mod query;
mod registry;
pub(crate) mod reply;
mod request;
mod router;
mod save;
pub(crate) mod server;
mod spool;
mod stats;
mod system;
mod time;
pub(crate) mod types;
pub(crate) mod version;
mod volumes;
mod wait;
mod websocket;

pub(crate) use server::Listener;

#[cfg(test)]
mod compatibility;
#[cfg(test)]
mod tests;
