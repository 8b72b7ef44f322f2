//! `commit`: an image of a container, with the settings that it is given.

use std::sync::Arc;

use serde_json::Value;

use super::exit::blocking;
use super::{Container, Status};
use crate::api::types::ContainerConfig;
use crate::daemon::Daemon;
use crate::errors::{ApiError, chain};
use crate::image::{self, Commit};

/// Query and body of a commit (docs: Engine API `ImageCommit`).
#[derive(Clone, Debug, Default)]
pub(crate) struct CommitOptions {
    /// The container stands still meanwhile, if it runs.
    pub(crate) pause: bool,
    /// Settings that replace the container's.
    pub(crate) config: Option<ContainerConfig>,
    /// Dockerfile instructions on top of them.
    pub(crate) changes: Vec<String>,
    pub(crate) author: String,
    pub(crate) comment: String,
    pub(crate) repo: String,
    pub(crate) tag: String,
}

impl Daemon {
    /// Makes an image of a container; returns its id, and its name if it got one.
    ///
    /// # Errors
    /// 409 while the container is being removed, 400 for instructions and names that are none.
    pub(crate) async fn commit(
        self: &Arc<Self>,
        container: &Arc<Container>,
        options: CommitOptions,
    ) -> Result<(String, String), ApiError> {
        let record = container.record();
        let what = match record.state.status {
            Status::Dead => Some("which is Dead"),
            Status::Removing => Some("which is being removed"),
            _ => None,
        };
        if let Some(what) = what {
            return Err(ApiError::conflict(format!(
                "You cannot commit container {} {what}",
                container.id
            )));
        }
        // Instructions see the container's variables only where no settings were given, as in Docker.
        let given = options.config.unwrap_or_else(|| record.config.clone());
        let mut config = image::apply_changes(given, &options.changes)?;
        merge(&mut config, &record.config);
        let name = match options.repo.as_str() {
            "" => String::new(),
            repo => image::checked_name(repo, &options.tag)?,
        };
        let paused = options.pause && self.pause(container).await.is_ok();
        let images = Arc::clone(&self.images);
        let from = Commit {
            container: container.id.clone(),
            container_config: record.config,
            config,
            author: options.author,
            comment: options.comment.clone(),
        };
        let (repo, tag) = (options.repo, options.tag);
        let made = blocking(move || {
            let image = images.commit(&from)?;
            if !repo.is_empty() {
                images.tag(&image.id, &repo, &tag)?;
            }
            Ok(image.id.clone())
        })
        .await
        .unwrap_or_else(|| Err(image::ImageError::NoSuchImage(String::new())));
        if paused && let Err(error) = self.unpause(container).await {
            tracing::warn!(container = container.id, %error, "container stays paused after a commit");
        }
        let id = made.map_err(|error| ApiError::new(error.kind(), chain(&error)))?;
        self.container_event(
            container,
            "commit",
            [
                ("comment", options.comment),
                ("imageID", id.clone()),
                ("imageRef", name.clone()),
            ],
        );
        Ok((id, name))
    }
}

/// Fills in from the container what an image's settings do not say (source: Moby `daemon/commit`).
fn merge(config: &mut ContainerConfig, container: &ContainerConfig) {
    let take = |text: &mut String, from: &String| {
        if text.is_empty() {
            text.clone_from(from);
        }
    };
    take(&mut config.user, &container.user);
    take(&mut config.working_dir, &container.working_dir);
    if config.stop_signal.is_none() {
        config.stop_signal.clone_from(&container.stop_signal);
    }
    for (own, other) in [
        (&mut config.exposed_ports, &container.exposed_ports),
        (&mut config.volumes, &container.volumes),
    ] {
        if let Some(other) = other {
            let own = own.get_or_insert_default();
            for (key, value) in other {
                own.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
    }
    let key = |entry: &String| entry.split('=').next().unwrap_or("").to_owned();
    let known: Vec<String> = config.env.iter().map(key).collect();
    for entry in &container.env {
        if !known.contains(&key(entry)) {
            config.env.push(entry.clone());
        }
    }
    for (label, value) in &container.labels {
        config
            .labels
            .entry(label.clone())
            .or_insert_with(|| value.clone());
    }
    if config.entrypoint.as_ref().is_none_or(Vec::is_empty) {
        if config.cmd.as_ref().is_none_or(Vec::is_empty) {
            config.cmd.clone_from(&container.cmd);
        }
        if config.entrypoint.is_none() {
            config.entrypoint.clone_from(&container.entrypoint);
        }
    }
    match (&mut config.healthcheck, &container.healthcheck) {
        (None, Some(check)) => config.healthcheck = Some(check.clone()),
        (Some(own), Some(check)) => {
            for (key, value) in check.as_object().into_iter().flatten() {
                if matches!(&own[key], Value::Null) || own[key] == 0 {
                    own[key] = value.clone();
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_come_from_the_container_unless_given() {
        let list = |items: &[&str]| {
            items
                .iter()
                .map(|&item| item.to_owned())
                .collect::<Vec<_>>()
        };
        let container = ContainerConfig {
            env: list(&["A=1", "B=2"]),
            cmd: Some(list(&["sleep"])),
            user: "u".to_owned(),
            labels: [("l".to_owned(), "c".to_owned())].into(),
            exposed_ports: Some([("80/tcp".to_owned(), Value::Null)].into()),
            ..ContainerConfig::default()
        };
        let mut config = ContainerConfig {
            env: list(&["B=3"]),
            labels: [("l".to_owned(), "i".to_owned())].into(),
            ..ContainerConfig::default()
        };
        merge(&mut config, &container);
        assert_eq!(config.env, ["B=3", "A=1"]);
        assert_eq!(config.cmd, Some(list(&["sleep"])));
        assert_eq!(config.labels["l"], "i");
        assert_eq!(config.user, "u");
        assert!(config.exposed_ports.unwrap().contains_key("80/tcp"));
        // Who says an entry point does not get the container's command.
        let mut config = ContainerConfig {
            entrypoint: Some(list(&["own"])),
            ..ContainerConfig::default()
        };
        merge(&mut config, &container);
        assert_eq!(config.cmd, None);
    }
}
