//! `splunk`, Splunk's HTTP event collector (HEC): Docker's options and events; answers and acknowledgements are heeded.
//! Source: Splunk's "HTTP Event Collector REST API endpoints" and "About HTTP Event Collector Indexer Acknowledgment".

mod ack;
mod address;
mod answer;
mod client;
mod connection;
mod encode;
mod json_line;
mod options;
mod part;
mod settings;

pub(crate) use client::{causes, proxied};
pub(crate) use options::{NAME, OPTIONS};
pub(crate) use settings::check;
