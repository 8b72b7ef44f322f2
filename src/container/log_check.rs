//! `taffrail log-check`: the whole log of a container is looked at, and what can be made again is.

use std::sync::Arc;

use taffrail_log::{Repair, Report, check, check_to, repair};

use super::Container;
use crate::daemon::Daemon;
use crate::errors::{ApiError, chain};
use crate::supervisor::log_end;

/// Held by the check that is under way: each reads at the speed of the disk.
static CHECK: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// What a check has found, after what it has repaired.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    pub(crate) report: Report,
    pub(crate) repaired: Vec<Repair>,
}

impl Container {
    /// Checks the log of a container that is stopped; `repairs`: before that what can be is repaired.
    ///
    /// # Errors
    /// 501 if no log is kept, 409 while the container is being removed, 500 if a file cannot be
    /// opened, read, or written.
    pub(crate) fn check_stopped_log(&self, repairs: bool) -> Result<Checked, ApiError> {
        let files = self.log_files()?;
        let failed = |error| ApiError::system(chain(&error));
        let repaired = if repairs {
            repair(&files).map_err(failed)?
        } else {
            Vec::new()
        };
        let report = check_to(&files, None, log_end(&self.dir)).map_err(failed)?;
        Ok(Checked { report, repaired })
    }
}

impl Daemon {
    /// Checks a container's log, of a running one up to where it was written at the beginning.
    /// Only a stopped one's can be repaired.
    ///
    /// # Errors
    /// 501 if no log is kept, 409 while the container is being removed or, for a repair, runs, 500
    /// if a file cannot be read or written.
    pub(crate) async fn check_log(
        &self,
        container: &Arc<Container>,
        repairs: bool,
    ) -> Result<Checked, ApiError> {
        let _one = CHECK.lock().await;
        // Started, removed and compressed it is not while it is repaired.
        let verb = if repairs {
            Some(container.verb.lock().await)
        } else {
            None
        };
        let source = container.capture().map(|capture| capture.source());
        if repairs && (source.is_some() || container.is_running()) {
            return Err(ApiError::conflict(format!(
                "the log of running container {} cannot be repaired: stop it first",
                container.id
            )));
        }
        // What is to be looked at is not rotated away meanwhile.
        let hold = source.is_some().then(|| container.holds().begin(0));
        let checked = Arc::clone(container);
        let checked = tokio::task::spawn_blocking(move || match source {
            Some(_) => {
                let report = check(&checked.log_files()?, source);
                Ok(Checked {
                    report: report.map_err(|error| ApiError::system(chain(&error)))?,
                    repaired: Vec::new(),
                })
            }
            None => checked.check_stopped_log(repairs),
        })
        .await
        .map_err(|error| ApiError::system(format!("log check ended: {error}")))??;
        drop((hold, verb));
        Ok(checked)
    }
}
