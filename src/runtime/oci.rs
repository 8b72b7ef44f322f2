//! The OCI runtime's verbs as a child process, and what its errors mean for a container's start.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::Deserialize;

use super::error::RuntimeError;
use crate::errors::ErrorKind;

/// Bound on what is read of a runtime's output or log.
const MAX_OUTPUT: u64 = 64 << 10;

/// A runtime that follows runc's command line.
#[derive(Clone, Debug)]
pub(crate) struct OciRuntime {
    /// Path, or a name to be looked up in `PATH`.
    pub(crate) path: PathBuf,
    /// `runtimeArgs` of daemon.json, before all others.
    pub(crate) args: Vec<String>,
    /// `--root`: the runtime's own state, below the daemon's exec root.
    pub(crate) root: PathBuf,
}

/// What the runtime's `state` verb says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct RuntimeState {
    /// creating, created, running or stopped (OCI), or paused (runc).
    pub(crate) status: String,
    /// 0 once stopped.
    #[cfg(test)]
    #[serde(default)]
    pub(crate) pid: i32,
}

impl OciRuntime {
    /// Where the program is. An error names what was looked for.
    pub(crate) fn locate(&self) -> Result<PathBuf, RuntimeError> {
        use std::os::unix::fs::PermissionsExt;
        let runs = |path: &Path| {
            fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
        };
        if self.path.components().count() > 1 {
            if runs(&self.path) {
                return Ok(self.path.clone());
            }
        } else if let Some(path) = std::env::var_os("PATH")
            && let Some(found) = std::env::split_paths(&path)
                .map(|dir| dir.join(&self.path))
                .find(|p| runs(p))
        {
            return Ok(found);
        }
        Err(RuntimeError::NoRuntime(self.path.clone()))
    }

    /// Arguments before the verb.
    pub(super) fn global(&self) -> Vec<OsString> {
        let mut argv: Vec<OsString> = self.args.iter().map(Into::into).collect();
        argv.push("--root".into());
        argv.push(self.root.clone().into());
        argv
    }

    /// The whole command that creates container `id`; the monitor runs it. `log` gets JSON lines.
    pub(crate) fn create_argv(
        &self,
        id: &str,
        bundle: &Path,
        pid_file: &Path,
        console_socket: Option<&Path>,
        log: &Path,
    ) -> Vec<OsString> {
        let path = self.locate().unwrap_or_else(|_| self.path.clone());
        let mut argv = vec![path.into_os_string()];
        argv.extend(self.global());
        argv.push("--log".into());
        argv.push(log.into());
        argv.extend(["--log-format", "json", "create", "--bundle"].map(Into::into));
        argv.push(bundle.into());
        argv.push("--pid-file".into());
        argv.push(pid_file.into());
        if let Some(socket) = console_socket {
            argv.push("--console-socket".into());
            argv.push(socket.into());
        }
        argv.push(id.into());
        argv
    }

    /// Lets the created process of `id` go on to its program.
    pub(crate) async fn start(&self, id: &str) -> Result<(), RuntimeError> {
        self.verb("start", &["start", id]).await.map(drop)
    }

    /// Signals go by pid in the daemon; tests show that the runtime's own verb agrees.
    ///
    /// Sends `signal` to the first process of `id`, or to all of its processes.
    #[cfg(test)]
    pub(crate) async fn kill(&self, id: &str, signal: i32, all: bool) -> Result<(), RuntimeError> {
        let signal = signal.to_string();
        let args: &[&str] = if all {
            &["kill", "--all", id, &signal]
        } else {
            &["kill", id, &signal]
        };
        self.verb("kill", args).await.map(drop)
    }

    /// Removes the runtime's state and control groups of `id`; `force` kills it first and takes a
    /// container that is not there as removed.
    pub(crate) async fn delete(&self, id: &str, force: bool) -> Result<(), RuntimeError> {
        let args: &[&str] = if force {
            &["delete", "--force", id]
        } else {
            &["delete", id]
        };
        self.verb("delete", args).await.map(drop)
    }

    /// State of `id`, `None` if the runtime does not know it. The daemon knows states from its
    /// monitors and asks this only for a start that was interrupted.
    pub(crate) async fn state(&self, id: &str) -> Result<Option<RuntimeState>, RuntimeError> {
        match self.verb("state", &["state", id]).await {
            Ok(text) => {
                serde_json::from_str(&text)
                    .map(Some)
                    .map_err(|source| RuntimeError::State {
                        id: id.to_owned(),
                        source,
                    })
            }
            Err(RuntimeError::Verb { missing: true, .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Runs a verb and gives its standard output. Output goes to unlinked files and only the exit is
    /// waited for: a descendant that keeps a descriptor cannot make this hang.
    async fn verb(&self, verb: &'static str, args: &[&str]) -> Result<String, RuntimeError> {
        let path = self.locate()?;
        let failed = |source| RuntimeError::Exec {
            path: path.clone(),
            verb,
            source,
        };
        let mut out = tempfile::tempfile().map_err(failed)?;
        let mut err = tempfile::tempfile().map_err(failed)?;
        let status = tokio::process::Command::new(&path)
            .args(self.global())
            .args(["--log-format", "json"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(out.try_clone().map_err(failed)?)
            .stderr(err.try_clone().map_err(failed)?)
            .status()
            .await
            .map_err(failed)?;
        if status.success() {
            return read_bounded(&mut out).map_err(failed);
        }
        let text = read_bounded(&mut err).map_err(failed)?;
        let message = last_error(&text).unwrap_or_else(|| match text.trim() {
            "" => status.to_string(),
            text => text.to_owned(),
        });
        Err(RuntimeError::Verb {
            verb,
            missing: is_missing(&message),
            message,
        })
    }

    /// The last error in a JSON log of the runtime; `None` if there is none or no log.
    pub(crate) fn read_error(log: &Path) -> Option<String> {
        let mut file = File::open(log).ok()?;
        let len = file.metadata().ok()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(MAX_OUTPUT)))
            .ok()?;
        let mut bytes = Vec::new();
        file.take(MAX_OUTPUT).read_to_end(&mut bytes).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        last_error(&text).or_else(|| {
            let text = text.trim();
            (!text.is_empty() && !text.starts_with('{')).then(|| text.to_owned())
        })
    }
}

/// Whether a runtime says that it does not know the container: runc's words, or crun's missing state
/// file.
fn is_missing(message: &str) -> bool {
    message.contains("container does not exist")
        || (message.contains("/status`") && message.contains("No such file or directory"))
}

fn read_bounded(file: &mut File) -> std::io::Result<String> {
    file.seek(SeekFrom::Start(0))?;
    let mut bytes = Vec::new();
    file.take(MAX_OUTPUT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn last_error(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Line {
        level: String,
        msg: String,
    }
    text.lines()
        .rev()
        .filter_map(|l| serde_json::from_str::<Line>(l).ok())
        .find(|l| matches!(l.level.as_str(), "error" | "fatal" | "panic"))
        .map(|l| l.msg)
}

/// What a failed start means for the container and its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StartFailure {
    /// Docker's text, also `State.Error`. The CLI takes its exit status (127, 126, else 125) from
    /// the words in it.
    pub(crate) message: String,
    /// `State.ExitCode`: 127 not found, 126 cannot be run, else 128.
    pub(crate) exit_code: i32,
    pub(crate) kind: ErrorKind,
}

/// Docker's answer for the runtime's own words on a failed create or start (source: Moby
/// `daemon/start_unix.go`, `errors.go`).
pub(crate) fn start_failure(msg: &str) -> StartFailure {
    let has = |words: &[&str]| words.iter().any(|w| msg.contains(w));
    let message = format!("failed to create shim task: OCI runtime create failed: {msg}: unknown");
    let (message, exit_code, kind) = if has(&[
        "executable file not found",
        "no such file or directory",
        "system cannot find the file specified",
    ]) {
        (message, 127, ErrorKind::Invalid)
    } else if has(&["permission denied", "is a directory"]) {
        (message, 126, ErrorKind::Invalid)
    } else if has(&["not a directory"]) {
        let hint = "Are you trying to mount a directory onto a file (or vice-versa)? Check if the \
            specified host path exists and is the expected type";
        (format!("{message}: {hint}"), 127, ErrorKind::Invalid)
    } else {
        (message, 128, ErrorKind::System)
    };
    StartFailure {
        message,
        exit_code,
        kind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_a_start_have_dockers_codes() {
        let of = |msg: &str| start_failure(msg);
        let f = of(
            "runc create failed: unable to start container process: exec: \"/nosuchcmd\": stat /nosuchcmd: no such file or directory",
        );
        assert_eq!(
            f.message,
            "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: \"/nosuchcmd\": stat /nosuchcmd: no such file or directory: unknown"
        );
        assert_eq!((f.exit_code, f.kind), (127, ErrorKind::Invalid));
        let f = of("exec: \"x\": executable file not found in $PATH");
        assert_eq!(f.exit_code, 127);
        let f = of("exec: \"/etc/passwd\": permission denied");
        assert_eq!((f.exit_code, f.kind), (126, ErrorKind::Invalid));
        assert_eq!(of("exec: \"/etc\": is a directory").exit_code, 126);
        let f = of("error mounting \"/a\": not a directory");
        assert_eq!(f.exit_code, 127);
        assert!(f.message.contains("vice-versa"));
        let f = of("write memory.max: device or resource busy");
        assert_eq!((f.exit_code, f.kind), (128, ErrorKind::System));
    }

    #[test]
    fn the_last_error_of_a_log_counts() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        assert_eq!(OciRuntime::read_error(&log), None);
        fs::write(
            &log,
            "{\"level\":\"error\",\"msg\":\"first\",\"time\":\"t\"}\n\
             {\"level\":\"error\",\"msg\":\"runc create failed: x\",\"time\":\"t\"}\n\
             {\"level\":\"warning\",\"msg\":\"w\"}\n{\"level\":\"err",
        )
        .unwrap();
        assert_eq!(
            OciRuntime::read_error(&log).as_deref(),
            Some("runc create failed: x")
        );
        fs::write(&log, "some plain words\n").unwrap();
        assert_eq!(
            OciRuntime::read_error(&log).as_deref(),
            Some("some plain words")
        );
        fs::write(&log, "{\"level\":\"warning\",\"msg\":\"w\"}\n").unwrap();
        assert_eq!(OciRuntime::read_error(&log), None);
    }

    #[test]
    fn create_has_runcs_arguments() {
        let rt = OciRuntime {
            path: "/bin/sh".into(),
            args: vec!["--debug".into()],
            root: "/r".into(),
        };
        let argv = rt.create_argv(
            "id",
            Path::new("/b"),
            Path::new("/p"),
            Some(Path::new("/s")),
            Path::new("/l"),
        );
        assert_eq!(
            argv,
            [
                "/bin/sh",
                "--debug",
                "--root",
                "/r",
                "--log",
                "/l",
                "--log-format",
                "json",
                "create",
                "--bundle",
                "/b",
                "--pid-file",
                "/p",
                "--console-socket",
                "/s",
                "id"
            ]
        );
    }

    #[tokio::test]
    async fn a_missing_runtime_is_named() {
        let rt = OciRuntime {
            path: "/nonexistent/runtime".into(),
            args: Vec::new(),
            root: "/r".into(),
        };
        let e = rt.start("x").await.unwrap_err();
        assert_eq!(e.to_string(), "runtime /nonexistent/runtime not found");
    }
}
