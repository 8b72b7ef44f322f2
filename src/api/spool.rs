//! `GET /spool`, `DELETE /spool/{id}`: logs of removed containers that are still to be delivered.
//! Taffrail's own.

use std::sync::Arc;

use http::StatusCode;

use super::reply::{self, Reply};
use crate::daemon::Daemon;
use crate::errors::ApiError;

fn ended(error: &tokio::task::JoinError) -> ApiError {
    ApiError::system(format!("spool: {error}"))
}

/// All of them, the first removed first.
///
/// # Errors
/// Only while the daemon ends.
pub(crate) async fn list(daemon: &Arc<Daemon>) -> Result<Reply, ApiError> {
    let delivery = Arc::clone(&daemon.delivery);
    let list = tokio::task::spawn_blocking(move || delivery.shown_kept()).await;
    Ok(reply::json(StatusCode::OK, &list.map_err(|e| ended(&e))?))
}

/// Gives one up: its records are not delivered any more.
///
/// # Errors
/// 404 if there is none of that id (or unique beginning of one), 500 if its files cannot be removed.
pub(crate) async fn remove(daemon: &Arc<Daemon>, id: String) -> Result<Reply, ApiError> {
    let delivery = Arc::clone(&daemon.delivery);
    let removed = tokio::task::spawn_blocking(move || {
        let logs = delivery.kept_logs();
        let mut found = logs
            .iter()
            .filter(|log| log.id.starts_with(&id) || log.name == id);
        let (Some(one), None) = (found.next(), found.next()) else {
            return Err(ApiError::not_found(format!(
                "No such log in the spool: {id}"
            )));
        };
        match delivery.drop_kept(&one.id) {
            Some(Err(error)) => Err(ApiError::system(format!(
                "log of {} cannot be removed: {error}",
                one.id
            ))),
            _ => Ok(()),
        }
    });
    removed.await.map_err(|e| ended(&e))??;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}
