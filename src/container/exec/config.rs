//! What an exec is asked to be, and how it is shown.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Exec, Phase};
use crate::errors::ApiError;

/// A further process (docs: Engine API `ContainerExec`). Unknown fields are ignored, as everywhere.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct ExecConfig {
    /// `name|uid[:group|gid]`; empty: the container's.
    #[serde(deserialize_with = "or_default")]
    pub(crate) user: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) privileged: bool,
    #[serde(deserialize_with = "or_default")]
    pub(crate) tty: bool,
    #[serde(deserialize_with = "or_default")]
    pub(crate) attach_stdin: bool,
    #[serde(deserialize_with = "or_default")]
    pub(crate) attach_stdout: bool,
    #[serde(deserialize_with = "or_default")]
    pub(crate) attach_stderr: bool,
    /// docker-py writes it small; Go's decoder does not look at case.
    #[serde(alias = "detachKeys", deserialize_with = "or_default")]
    pub(crate) detach_keys: String,
    /// `NAME=VALUE`, after the container's own.
    #[serde(deserialize_with = "or_default")]
    pub(crate) env: Vec<String>,
    /// Empty: the container's.
    #[serde(deserialize_with = "or_default")]
    pub(crate) working_dir: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) cmd: Vec<String>,
    /// Taffrail's own: a copy of its output goes into the container's log, as stream `exec`.
    #[serde(deserialize_with = "or_default")]
    pub(crate) log: bool,
    /// Rows and columns of the terminal at its start (API 1.42 and newer).
    #[serde(deserialize_with = "size")]
    pub(crate) console_size: Option<(u16, u16)>,
    /// Both outputs are one pipe, so that their order is kept; for probes only.
    #[serde(skip)]
    pub(super) merged: bool,
}

/// Clients send null for what they leave out.
fn or_default<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

/// `[rows, columns]`; zeros stand for none.
pub(crate) fn size<'de, D>(from: D) -> Result<Option<(u16, u16)>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    let given = Option::<(u64, u64)>::deserialize(from)?;
    Ok(given.and_then(|(rows, columns)| {
        let size = (u16::try_from(rows).ok()?, u16::try_from(columns).ok()?);
        (size != (0, 0)).then_some(size)
    }))
}

impl ExecConfig {
    /// # Errors
    /// 400 if there is no command.
    pub(crate) fn check(&self) -> Result<(), ApiError> {
        if self.cmd.is_empty() {
            return Err(ApiError::invalid("No exec command specified"));
        }
        Ok(())
    }

    /// As events name it.
    pub(super) fn command(&self) -> String {
        self.cmd.join(" ")
    }
}

impl Exec {
    /// The shape of `GET /exec/{id}/json` (docs: Engine API `ExecInspect`).
    pub(crate) fn shown(&self) -> Value {
        let config = &self.config;
        let (entrypoint, arguments) = config
            .cmd
            .split_first()
            .map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
        let mut process = json!({
            "tty": config.tty,
            "entrypoint": entrypoint,
            "arguments": arguments,
            "privileged": config.privileged,
        });
        if !config.user.is_empty() {
            process["user"] = json!(config.user);
        }
        let inner = self.inner();
        json!({
            "ID": self.id,
            "Running": inner.phase == Phase::Running,
            "ExitCode": inner.exit_code,
            "ProcessConfig": process,
            "OpenStdin": config.attach_stdin,
            "OpenStderr": config.attach_stderr,
            "OpenStdout": config.attach_stdout,
            "CanRemove": false,
            "ContainerID": self.container,
            "DetachKeys": config.detach_keys,
            "Pid": inner.pid,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_send() {
        let config: ExecConfig = serde_json::from_value(json!({
            "User": "", "Privileged": false, "Tty": true, "ConsoleSize": [24, 80],
            "AttachStdin": true, "AttachStderr": null, "Detach": false, "Env": null,
            "Cmd": ["sh", "-c", "x"], "Unknown": {},
        }))
        .unwrap();
        assert_eq!(config.console_size, Some((24, 80)));
        assert!(config.tty && config.attach_stdin && !config.attach_stderr);
        assert_eq!(config.command(), "sh -c x");
        let none: ExecConfig =
            serde_json::from_value(json!({"Cmd": null, "ConsoleSize": [0, 0]})).unwrap();
        assert_eq!(none.console_size, None);
        assert_eq!(
            none.check().unwrap_err().message,
            "No exec command specified"
        );
        for bad in [json!({"Cmd": "x"}), json!({"ConsoleSize": [1]})] {
            serde_json::from_value::<ExecConfig>(bad).unwrap_err();
        }
    }
}
