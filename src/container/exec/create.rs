//! `POST /containers/{id}/exec`, `GET /exec/{id}/json`, `POST /exec/{id}/resize`.

use std::sync::Arc;

use super::{Exec, ExecConfig};
use crate::container::create::new_id;
use crate::container::{Container, Status};
use crate::daemon::Daemon;
use crate::errors::ApiError;

impl Daemon {
    /// Notes an exec, to be started by its id (docs: Engine API `ContainerExec`). `asked` is how
    /// the client named the container.
    ///
    /// # Errors
    /// 400 without a command, 409 if the container does not run or is paused.
    pub(crate) fn exec_create(
        &self,
        container: &Arc<Container>,
        asked: &str,
        config: ExecConfig,
    ) -> Result<Arc<Exec>, ApiError> {
        config.check()?;
        check_running(container, asked)?;
        let exec = Exec::new(new_id()?, container, config);
        self.execs.add(&exec)?;
        self.exec_event(container, &exec, "exec_create", true, None);
        Ok(exec)
    }

    /// Sets the size of an exec's terminal, in characters (docs: Engine API `ExecResize`). One
    /// that does not run yet gets it when it starts.
    ///
    /// # Errors
    /// 400 without a terminal, 409 if it has ended, 500 if the kernel refuses.
    pub(crate) fn exec_resize(&self, exec: &Exec, rows: u16, columns: u16) -> Result<(), ApiError> {
        if !exec.config.tty {
            return Err(ApiError::invalid(format!(
                "exec {} has no terminal",
                exec.id
            )));
        }
        let mut inner = exec.inner();
        if inner.ended.is_some() {
            return Err(ApiError::conflict(format!(
                "exec {} is not running",
                exec.id
            )));
        }
        match &inner.terminal {
            Some(terminal) => terminal.resize(rows, columns).map_err(|error| {
                ApiError::system(format!("cannot resize exec {}: {error}", exec.id))
            }),
            None => {
                inner.size = Some((rows, columns));
                Ok(())
            }
        }
    }

    /// Publishes an event of an exec; with `command` its name goes on with the command.
    pub(super) fn exec_event(
        &self,
        container: &Container,
        exec: &Exec,
        action: &str,
        command: bool,
        code: Option<i32>,
    ) {
        let action = if command {
            format!("{action}: {}", exec.config.command())
        } else {
            action.to_owned()
        };
        let id = ("execID", exec.id.clone());
        match code {
            Some(code) => {
                let more = [id, ("exitCode", code.to_string())];
                self.container_event(container, &action, more);
            }
            None => self.container_event(container, &action, [id]),
        }
    }

    /// A client left an exec by its detach keys; the process goes on.
    pub(crate) fn exec_detached(&self, exec: &Exec) {
        if let Some(container) = exec.of.upgrade() {
            self.exec_event(&container, exec, "exec_detach", false, None);
        }
    }
}

/// # Errors
/// 409 with Docker's text if no process can be run in the container now.
pub(super) fn check_running(container: &Container, asked: &str) -> Result<(), ApiError> {
    let id = &container.id;
    let status = container.inner().record.state.status;
    let text = match status {
        Status::Running => return Ok(()),
        Status::Paused => {
            format!("Container {asked} is paused, unpause the container before exec")
        }
        Status::Restarting => {
            format!("Container {id} is restarting, wait until the container is running")
        }
        _ => format!("Container {id} is not running"),
    };
    Err(ApiError::conflict(text))
}
