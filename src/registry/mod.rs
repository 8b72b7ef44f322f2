//! Registries: pull, push, search, login, by the distribution API (docs: OCI distribution specification 1.1,
//! Docker's token authentication). Why our own code on reqwest: decision record 13.
//!
//! `host` finds the way to a registry, `http` talks to a repository there, `auth` says who we are,
//! `manifest` reads what it gives; `pull` with `download`, and `push` with `upload`, move images.

mod auth;
mod download;
mod error;
mod host;
mod http;
mod login;
mod manifest;
mod progress;
mod pull;
mod push;
mod search;
mod upload;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

pub(crate) use auth::Credentials;
pub(crate) use host::{HUB, RegistrySettings};
pub(crate) use login::{describe, login};
pub(crate) use manifest::Platform;
pub(crate) use progress::{Progress, QUEUE};
pub(crate) use pull::{Wanted, pull};
pub(crate) use push::push;
pub(crate) use search::search;

/// What all pulls and pushes of a daemon share.
#[derive(Debug, Default)]
pub(crate) struct Registries {
    downloads: Limit,
    uploads: Limit,
    blobs: download::InFlight,
}

/// How many transfers there are at a time. A new number holds for transfers that begin later.
#[derive(Debug, Default)]
struct Limit(Mutex<Option<(u32, Arc<Semaphore>)>>);

impl Limit {
    fn of(&self, number: u32) -> Arc<Semaphore> {
        let number = number.max(1);
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*held {
            Some((known, semaphore)) if *known == number => Arc::clone(semaphore),
            _ => {
                // A u32 fits where there is a kernel with containers.
                let semaphore = Arc::new(Semaphore::new(number as usize));
                *held = Some((number, Arc::clone(&semaphore)));
                semaphore
            }
        }
    }
}

/// Tells blocking work that nobody waits for it any more, when it is dropped.
#[derive(Debug, Default)]
struct Cancel(Arc<std::sync::atomic::AtomicBool>);

impl Cancel {
    fn flag(&self) -> Arc<std::sync::atomic::AtomicBool> {
        Arc::clone(&self.0)
    }
}

impl Drop for Cancel {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}
