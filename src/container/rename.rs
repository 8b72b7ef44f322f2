//! `rename`.

use std::sync::Arc;

use super::exit::{blocking, try_write};
use super::{Container, Status, names};
use crate::daemon::Daemon;
use crate::errors::ApiError;

impl Daemon {
    /// Gives a container another name, with or without a leading `/` (docs: Engine API
    /// `ContainerRename`).
    ///
    /// # Errors
    /// 400 for a name that cannot be or is its own, 409 if another has it or it is being removed.
    pub(crate) async fn rename(
        &self,
        container: &Arc<Container>,
        new: &str,
    ) -> Result<(), ApiError> {
        let new = new.trim();
        let bare = new.strip_prefix('/').unwrap_or(new);
        if bare.is_empty() {
            return Err(ApiError::invalid("Neither old nor new names may be empty"));
        }
        let allocating = |error: ApiError| {
            ApiError::new(
                error.kind,
                format!("Error when allocating new name: {error}"),
            )
        };
        let _verb = container.verb.lock().await;
        let old = container.name();
        if matches!(
            container.inner().record.state.status,
            Status::Removing | Status::Dead
        ) {
            return Err(ApiError::conflict(format!(
                "container {} is marked for removal and cannot be renamed",
                container.id
            )));
        }
        if old == bare {
            return Err(ApiError::invalid(
                "Renaming a container with the same name as its current name",
            ));
        }
        // Docker's text has the name with its slash.
        names::check(&format!("/{bare}")).map_err(allocating)?;
        self.containers
            .reserve(bare, &container.id)
            .map_err(|holder| allocating(names::conflict(bare, &holder)))?;
        let renamed = {
            let _files = container.files.lock().await;
            let mut record = container.record();
            bare.clone_into(&mut record.name);
            let written = try_write(container, record).await;
            if written.is_ok() {
                bare.clone_into(&mut container.inner().record.name);
            }
            written
        };
        let unused = if renamed.is_ok() { &old } else { bare };
        self.containers.release(unused, &container.id);
        renamed?;
        self.delivery.rename(&container.id, bare);
        let (networks, id, name) = (
            Arc::clone(&self.networks),
            container.id.clone(),
            bare.to_owned(),
        );
        blocking(move || networks.rename(&id, &name)).await;
        self.container_event(container, "rename", [("oldName", format!("/{old}"))]);
        Ok(())
    }
}
