//! daemon.json: Docker's keys, typed and checked.
//!
//! Two stages: the file as written (private) and [`Config`], which only validation makes. Everything wrong in file and flags is found
//! at once, and each error names key, value, what is allowed and what to do. Nothing here touches the system except that [`load`] reads
//! the file.

mod check;
mod error;
mod file;
mod flags;
mod hosts;
mod json;
pub mod keys;
mod load;
mod log;
mod model;
mod network;
mod network_flags;
mod registries;
mod streams;
mod tls;
mod webhook;

pub use check::ULIMITS;
pub use error::{ConfigError, ConfigErrors, Origin, Warning};
pub use flags::Flags;
pub use load::{DEFAULT_FILE, Reloaded, load, parse_text};
pub use model::{Address, Config, Host, IpcMode, LogFormat, LogLevel, Runtime, Tls, Ulimit};
pub use network::{Bridge, DEFAULT_MTU, Network, Pool};
pub use network_flags::NetworkFlags;
pub use registries::{Cidr, Insecure};
pub use streams::{ExtraStream, ExtraStreams};
pub use webhook::{Webhook, WebhookEvent};
