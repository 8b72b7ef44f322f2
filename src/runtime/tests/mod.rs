//! The whole way with a real runtime: settings, specification, `runc create` and `start`, and what
//! the container's process then sees. As root; anywhere else each test says what it skipped.

mod inside;
mod verbs;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tempfile::TempDir;

use super::cgroup::CgroupLayout;
use super::error::RuntimeError;
use super::*;
use crate::api::types::{ContainerConfig, DeviceMapping, HostConfig, Ulimit};

const BUSYBOX: [&str; 2] = ["/bin/busybox", "/usr/bin/busybox"];
const APPLETS: [&str; 24] = [
    "sh", "cat", "echo", "grep", "hostname", "id", "ls", "mkdir", "mknod", "mount", "sleep",
    "stat", "touch", "true", "tty", "ip", "env", "dd", "wc", "pwd", "ps", "sysctl", "ln", "stty",
];

/// `TAFFRAIL_TEST_RUNTIME`, else the built-in runtime if it is built, else runc: all must do.
fn program() -> PathBuf {
    if let Some(path) = std::env::var_os("TAFFRAIL_TEST_RUNTIME") {
        return path.into();
    }
    // Test programs are in `deps/`.
    let own = std::env::current_exe().unwrap();
    let built = own
        .parent()
        .and_then(Path::parent)
        .map(|dir| dir.join("taffrail-runtime"));
    built
        .filter(|p| p.is_file())
        .unwrap_or_else(|| "runc".into())
}

/// One container on its own directories, runtime root and control group; all removed at the end.
struct Case {
    dir: TempDir,
    id: String,
    parent: String,
    runtime: OciRuntime,
    layout: CgroupLayout,
    tokio: tokio::runtime::Runtime,
    defaults: BTreeMap<String, Ulimit>,
}

struct Outcome {
    text: String,
    warnings: Vec<String>,
}

impl Outcome {
    fn has(&self, line: &str) {
        assert!(
            self.text.lines().any(|l| l.trim() == line),
            "no line {line:?} in:\n{}",
            self.text
        );
    }
}

impl Case {
    fn new() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let runtime = OciRuntime {
            path: program(),
            args: Vec::new(),
            root: PathBuf::new(),
        };
        let reason = if !nix::unistd::geteuid().is_root() {
            "not root"
        } else if runtime.locate().is_err() {
            "neither taffrail-runtime nor runc here"
        } else {
            ""
        };
        let busybox = BUSYBOX.iter().map(Path::new).find(|p| p.exists());
        let (Some(busybox), "") = (busybox, reason) else {
            let reason = if reason.is_empty() {
                "no busybox"
            } else {
                reason
            };
            eprintln!("skipped: {reason}");
            return None;
        };
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("rootfs");
        for sub in ["bin", "etc", "tmp", "proc", "dev", "sys", "sbin", "data"] {
            fs::create_dir_all(root.join(sub)).unwrap();
        }
        fs::copy(busybox, root.join("bin/busybox")).unwrap();
        for applet in APPLETS {
            symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        fs::write(
            root.join("etc/passwd"),
            "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1001::/srv/web:/bin/sh\n",
        )
        .unwrap();
        fs::write(
            root.join("etc/group"),
            "root:x:0:\nweb:x:1001:\nlog:x:50:web\n",
        )
        .unwrap();
        fs::write(root.join("data/file"), "from the image\n").unwrap();
        let mut id = [0u8; 32];
        getrandom::fill(&mut id).unwrap();
        Some(Self {
            runtime: OciRuntime {
                root: dir.path().join("run"),
                ..runtime
            },
            dir,
            id: id.iter().map(|b| format!("{b:02x}")).collect(),
            parent: format!("/taffrail-test-{}-{n}", std::process::id()),
            layout: cgroup_layout(),
            tokio: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap(),
            defaults: BTreeMap::new(),
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn cgroup(&self, host: &HostConfig) -> String {
        cgroup_path(host, &self.parent, &self.id)
    }

    fn prepare(&self, config: &ContainerConfig, host: &HostConfig) -> Prepared {
        let files = self.path("files");
        fs::create_dir_all(&files).unwrap();
        prepare(&SpecInput {
            id: &self.id,
            name: "test",
            config,
            host,
            rootfs: &self.path("rootfs"),
            files_dir: &files,
            mounts: &old_mounts(config, host, &files),
            volumes_dir: &self.path("volumes"),
            default_ulimits: &self.defaults,
            cgroup_parent: &self.parent,
            init_binary: Some(&self.path("init")),
            console_size: Some((33, 99)),
            cdi_dirs: &[],
            shared: &Shared::default(),
        })
        .unwrap()
    }

    /// `runc create`; the error is the runtime's own.
    fn create(&self, spec: &serde_json::Value) -> Result<i32, String> {
        self.create_on(spec, None)
    }

    fn create_on(&self, spec: &serde_json::Value, console: Option<&Path>) -> Result<i32, String> {
        let bundle = self.path("bundle");
        write_bundle(&bundle, spec).unwrap();
        let (pid, log) = (self.path("pid"), self.path("log"));
        let argv = self
            .runtime
            .create_argv(&self.id, &bundle, &pid, console, &log);
        let out = File::create(self.path("out")).unwrap();
        let status = Command::new(&argv[0])
            .args(&argv[1..])
            .stdin(Stdio::null())
            .stderr(out.try_clone().unwrap())
            .stdout(out)
            .status()
            .unwrap();
        if !status.success() {
            return Err(OciRuntime::read_error(&log).unwrap_or_else(|| status.to_string()));
        }
        Ok(fs::read_to_string(pid).unwrap().parse().unwrap())
    }

    fn start(&self, spec: &serde_json::Value) -> i32 {
        let pid = self.create(spec).unwrap();
        self.tokio.block_on(self.runtime.start(&self.id)).unwrap();
        pid
    }

    fn run(&self, config: &ContainerConfig, host: &HostConfig) -> Outcome {
        let prepared = self.prepare(config, host);
        let pid = self.create(&prepared.spec).unwrap();
        let exit = pidfd(pid);
        self.tokio.block_on(self.runtime.start(&self.id)).unwrap();
        wait_exit(&exit);
        Outcome {
            text: fs::read_to_string(self.path("out")).unwrap(),
            warnings: prepared.warnings,
        }
    }

    fn sh(&self, script: &str, host: &HostConfig) -> Outcome {
        self.run(&shell(script), host)
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        let _ = self.tokio.block_on(self.runtime.delete(&self.id, true));
        kill_cgroup(&self.layout, &self.parent);
        remove_cgroup(&self.layout, &self.parent).unwrap();
    }
}

fn pidfd(pid: i32) -> OwnedFd {
    // SAFETY: no pointers; the result is checked and is a new descriptor that nothing else owns.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        assert!(fd >= 0, "pidfd_open: {}", std::io::Error::last_os_error());
        OwnedFd::from_raw_fd(fd as i32)
    }
}

fn wait_exit(pidfd: &OwnedFd) {
    let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    let n = poll(&mut fds, PollTimeout::try_from(30_000).unwrap()).unwrap();
    assert_eq!(n, 1, "the container does not end");
}

fn shell(script: &str) -> ContainerConfig {
    ContainerConfig {
        cmd: Some(vec!["sh".into(), "-c".into(), script.into()]),
        ..Default::default()
    }
}

fn strings(list: &[&str]) -> Option<Vec<String>> {
    Some(list.iter().map(|s| (*s).to_owned()).collect())
}
