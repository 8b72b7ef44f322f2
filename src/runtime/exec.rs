//! The OCI `process` object of a further process in a running container, and the runtime's verb
//! that runs it.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::error::RuntimeError;
use super::rootfs::Rootfs;
use super::{OciRuntime, StartFailure, caps, spec, user};
use crate::api::types::{ContainerConfig, HostConfig};
use crate::errors::ErrorKind;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExecInput<'a> {
    /// The container's own settings.
    pub(crate) config: &'a ContainerConfig,
    pub(crate) host: &'a HostConfig,
    /// Folder with the specification of the container's present run.
    pub(crate) bundle: &'a Path,
    /// Mounted root file system.
    pub(crate) rootfs: &'a Path,
    pub(crate) args: &'a [String],
    /// After the container's; a name without `=` takes a variable away.
    pub(crate) env: &'a [String],
    /// As for the container; empty: the container's.
    pub(crate) user: &'a str,
    /// Empty: the container's.
    pub(crate) working_dir: &'a str,
    pub(crate) tty: bool,
    /// All capabilities.
    pub(crate) privileged: bool,
    /// Rows and columns, with a terminal.
    pub(crate) console_size: Option<(u16, u16)>,
}

/// The process: limits, no_new_privs, AppArmor profile and OOM score are those of the container's
/// own specification. Blocking.
///
/// # Errors
/// An unknown user, a relative working directory; a bundle that cannot be read.
pub(crate) fn exec_process(input: &ExecInput<'_>) -> Result<Value, RuntimeError> {
    let path = input.bundle.join("config.json");
    let bytes = fs::read(&path).map_err(RuntimeError::file("read", &path))?;
    let mut whole: Value =
        serde_json::from_slice(&bytes).map_err(|e| RuntimeError::file("read", &path)(e.into()))?;
    let mut process = whole["process"].take();
    let rootfs = Rootfs::open(input.rootfs)?;
    let own = input.user.is_empty().then_some(input.config.user.as_str());
    let user = user::resolve(
        &rootfs,
        own.unwrap_or(input.user),
        input.host.group_add.as_deref().unwrap_or_default(),
    )?;
    let caps = caps::resolve(
        input.host.cap_add.as_deref(),
        input.host.cap_drop.as_deref(),
        input.host.privileged || input.privileged,
        caps::CapSet::bounding(),
    )?;
    let mut config = input.config.clone();
    config.tty = input.tty;
    config.env.extend_from_slice(input.env);
    if !input.working_dir.is_empty() {
        input.working_dir.clone_into(&mut config.working_dir);
    }
    let hostname = process["env"]
        .as_array()
        .into_iter()
        .flatten()
        .find_map(|e| e.as_str()?.strip_prefix("HOSTNAME="))
        .unwrap_or_default()
        .to_owned();
    process["env"] = json!(spec::environment(&config, &[], &hostname, &user));
    process["cwd"] = json!(spec::working_dir(&config)?);
    process["args"] = json!(input.args);
    process["terminal"] = json!(input.tty);
    process["user"] = json!({
        "uid": user.uid, "gid": user.gid, "additionalGids": user.groups,
    });
    process["capabilities"] = spec::capabilities(&caps, &user);
    if let Some(fields) = process.as_object_mut() {
        fields.remove("consoleSize");
        if input.privileged {
            fields.remove("apparmorProfile");
        }
    }
    if let (true, Some((rows, columns))) = (input.tty, input.console_size) {
        process["consoleSize"] = json!({"height": rows, "width": columns});
    }
    Ok(process)
}

/// Names of the files of one `exec`, in a folder of its own that is the runtime's working directory.
pub(crate) mod exec_files {
    pub(crate) const PROCESS: &str = "process.json";
    pub(crate) const PID: &str = "pid";
    pub(crate) const LOG: &str = "log.json";
    pub(crate) const CONSOLE: &str = "console.sock";
}

impl OciRuntime {
    /// The whole command that runs a process in container `id` and leaves it.
    pub(crate) fn exec_argv(&self, id: &str, tty: bool) -> Result<Vec<OsString>, RuntimeError> {
        let mut argv = vec![self.locate()?.into_os_string()];
        argv.extend(self.global());
        argv.extend(
            [
                "--log",
                exec_files::LOG,
                "--log-format",
                "json",
                "exec",
                "--detach",
                "--process",
                exec_files::PROCESS,
                "--pid-file",
                exec_files::PID,
            ]
            .map(Into::into),
        );
        if tty {
            // `--tty` is left out: the process says it, and not all runtimes want both.
            argv.extend(["--console-socket", exec_files::CONSOLE].map(Into::into));
        }
        argv.push(id.into());
        Ok(argv)
    }
}

/// Docker's answer for the runtime's own words on a failed exec (source: Moby `daemon/exec.go`,
/// `errors.go`): the text, the exit code that inspect shows, the class of the error.
pub(crate) fn exec_failure(msg: &str) -> StartFailure {
    let lower = msg.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|w| lower.contains(w));
    let (exit_code, kind) = if has(&["executable file", "no such file or directory"]) {
        (127, ErrorKind::Invalid)
    } else if has(&["permission denied", "is a directory"]) {
        (126, ErrorKind::Invalid)
    } else {
        (126, ErrorKind::System)
    };
    StartFailure {
        message: format!("OCI runtime exec failed: {msg}: unknown"),
        exit_code,
        kind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(input: &dyn Fn(&mut ExecInput<'_>)) -> Result<Value, RuntimeError> {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("root/etc")).unwrap();
        fs::write(
            dir.path().join("root/etc/passwd"),
            "root:x:0:0::/root:\nweb:x:33:34::/srv:\n",
        )
        .unwrap();
        fs::write(
            dir.path().join("config.json"),
            json!({"process": {
                "args": ["sleep"], "env": ["HOSTNAME=h", "HOME=/root"], "cwd": "/w",
                "rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}],
                "oomScoreAdj": 5, "noNewPrivileges": true, "apparmorProfile": "p",
                "consoleSize": {"height": 1, "width": 1},
            }})
            .to_string(),
        )
        .unwrap();
        let config = ContainerConfig {
            env: vec!["A=1".into()],
            working_dir: "/w".into(),
            ..ContainerConfig::default()
        };
        let host = HostConfig::default();
        let root = dir.path().join("root");
        let mut asked = ExecInput {
            config: &config,
            host: &host,
            bundle: dir.path(),
            rootfs: &root,
            args: &[],
            env: &[],
            user: "",
            working_dir: "",
            tty: false,
            privileged: false,
            console_size: Some((3, 4)),
        };
        input(&mut asked);
        exec_process(&asked)
    }

    #[test]
    fn the_containers_limits_and_what_is_asked_for() {
        let plain = process(&|_| {}).unwrap();
        assert_eq!(plain["cwd"], "/w");
        assert_eq!(plain["oomScoreAdj"], 5);
        assert_eq!(plain["noNewPrivileges"], true);
        assert_eq!(plain["rlimits"][0]["type"], "RLIMIT_CORE");
        assert_eq!(plain["apparmorProfile"], "p");
        assert!(plain.get("consoleSize").is_none());
        let env: Vec<&str> = plain["env"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        assert_eq!(&env[1..], ["HOSTNAME=h", "A=1", "HOME=/root"]);
        let more = ["A=2".to_owned(), "B=3".to_owned()];
        let args = ["id".to_owned()];
        let asked = process(&|input: &mut ExecInput<'_>| {
            // They live as long as the test.
            input.user = "web";
            input.working_dir = "/x";
            input.tty = true;
            input.privileged = true;
        })
        .unwrap();
        assert_eq!(
            asked["user"],
            json!({"uid": 33, "gid": 34, "additionalGids": [34]})
        );
        assert_eq!(asked["cwd"], "/x");
        assert_eq!(asked["consoleSize"], json!({"height": 3, "width": 4}));
        assert!(asked.get("apparmorProfile").is_none());
        assert!(
            asked["env"]
                .as_array()
                .unwrap()
                .contains(&json!("TERM=xterm"))
        );
        assert!(asked["capabilities"].get("effective").is_none());
        drop((more, args));
        let e = process(&|input: &mut ExecInput<'_>| input.user = "nosuch").unwrap_err();
        assert!(e.to_string().contains("unable to find user nosuch"));
        process(&|input: &mut ExecInput<'_>| input.working_dir = "a").unwrap_err();
    }

    #[test]
    fn failures_have_dockers_codes() {
        let of = |text| {
            let f = exec_failure(text);
            (f.exit_code, f.kind)
        };
        let invalid = ErrorKind::Invalid;
        assert_eq!(
            of(
                "exec failed: unable to start container process: exec: \"x\": executable file not found in $PATH"
            ),
            (127, invalid)
        );
        assert_eq!(
            of("executable file `x` not found in $PATH: No such file or directory"),
            (127, invalid)
        );
        assert_eq!(
            of("exec: \"/etc/passwd\": permission denied"),
            (126, invalid)
        );
        assert_eq!(
            of("cannot exec in a stopped container"),
            (126, ErrorKind::System)
        );
        assert_eq!(
            exec_failure("a").message,
            "OCI runtime exec failed: a: unknown"
        );
    }
}
