//! The whole way with a real runtime: settings, specification, `runc create` and `start`, and what
//! the container's process then sees. As root; anywhere else each test says what it skipped.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tempfile::TempDir;

use super::*;
use crate::api::types::{ContainerConfig, DeviceMapping, HostConfig, Ulimit};

const BUSYBOX: [&str; 2] = ["/bin/busybox", "/usr/bin/busybox"];
const APPLETS: [&str; 24] = [
    "sh", "cat", "echo", "grep", "hostname", "id", "ls", "mkdir", "mknod", "mount", "sleep",
    "stat", "touch", "true", "tty", "ip", "env", "dd", "wc", "pwd", "ps", "sysctl", "ln", "stty",
];

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
            path: "runc".into(),
            args: Vec::new(),
            root: PathBuf::new(),
        };
        let reason = if !nix::unistd::geteuid().is_root() {
            "not root"
        } else if runtime.locate().is_err() {
            "no runc in PATH"
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
            default_ulimits: &self.defaults,
            cgroup_parent: &self.parent,
            init_binary: Some(&self.path("init")),
            console_size: None,
        })
        .unwrap()
    }

    /// `runc create`; the error is the runtime's own.
    fn create(&self, spec: &serde_json::Value) -> Result<i32, String> {
        let bundle = self.path("bundle");
        write_bundle(&bundle, spec).unwrap();
        let (pid, log) = (self.path("pid"), self.path("log"));
        let argv = self
            .runtime
            .create_argv(&self.id, &bundle, &pid, None, &log);
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

#[test]
fn a_default_container_is_as_docker_makes_it() {
    let Some(case) = Case::new() else { return };
    let out = case.sh(
        "grep -E '^(CapEff|CapPrm|CapBnd|CapInh|Seccomp|NoNewPrivs)' /proc/self/status
         hostname; id; pwd; env; cat /etc/hostname; cat /etc/hosts
         echo pid $$; cat /proc/self/oom_score_adj
         touch /proc/sys/kernel/x /sys/x 2>&1
         echo 1 > /proc/sys/vm/swappiness
         for f in /proc/kcore /proc/keys; do wc -c < $f; done
         ls /sys/firmware | wc -l
         for d in /sys/fs/cgroup /sys/fs/cgroup/memory; do
           [ -d $d ] && mkdir $d/x 2>&1; done
         ls /dev; ip addr show lo; ip link | grep -c :.*mtu
         mknod /tmp/ok c 1 3 && echo > /tmp/ok && echo null allowed
         mknod /tmp/mem c 1 1 && cat /tmp/mem
         grep ' /dev' /proc/self/mounts; grep 'Max open' /proc/self/limits
         touch /written && echo root writable
         cat /proc/sys/net/ipv4/ip_unprivileged_port_start
         mount -t tmpfs x /tmp",
        &HostConfig::default(),
    );
    for line in [
        "CapEff:\t00000000a80425fb",
        "CapPrm:\t00000000a80425fb",
        "CapBnd:\t00000000a80425fb",
        "CapInh:\t0000000000000000",
        "NoNewPrivs:\t0",
        "Seccomp:\t2",
        "uid=0(root) gid=0(root) groups=0(root)",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME=/root",
        "pid 1",
        "0",
        "null allowed",
        "root writable",
    ] {
        out.has(line);
    }
    let short = &case.id[..12];
    out.has(short);
    out.has(&format!("HOSTNAME={short}"));
    out.has(&format!("127.0.0.1\t{short}"));
    assert!(
        out.text
            .contains("can't create /proc/sys/vm/swappiness: Read-only file system"),
        "{}",
        out.text
    );
    assert!(
        out.text.contains("touch: /sys/x: Read-only file system"),
        "{}",
        out.text
    );
    assert!(
        out.text
            .contains("can't create directory '/sys/fs/cgroup/x': Read-only file system"),
        "{}",
        out.text
    );
    if !case.layout.is_v2() {
        assert!(
            out.text.contains(
                "can't create directory '/sys/fs/cgroup/memory/x': Read-only file system"
            ),
            "{}",
            out.text
        );
    }
    for device in [
        "null", "zero", "full", "random", "urandom", "tty", "ptmx", "shm", "mqueue", "pts",
    ] {
        out.has(device);
    }
    assert!(out.text.contains("inet 127.0.0.1/8"), "{}", out.text);
    assert!(out.text.contains("LOOPBACK,UP"), "{}", out.text);
    assert!(
        out.text
            .contains("can't open '/tmp/mem': Operation not permitted"),
        "{}",
        out.text
    );
    assert!(
        out.text
            .lines()
            .any(|l| l.contains("/dev tmpfs") && l.contains("size=65536k")),
        "{}",
        out.text
    );
    assert!(
        out.text
            .lines()
            .any(|l| l.contains("/dev/shm tmpfs") && l.contains("size=65536k")),
        "{}",
        out.text
    );
    assert!(
        out.text.contains("mount: permission denied"),
        "{}",
        out.text
    );
    assert!(out.warnings.is_empty(), "{:?}", out.warnings);
}

#[test]
fn settings_reach_the_process() {
    let Some(mut case) = Case::new() else { return };
    case.defaults.insert(
        "core".into(),
        Ulimit {
            name: "core".into(),
            soft: 7 * 512,
            hard: 8 * 512,
        },
    );
    fs::create_dir(case.path("bound")).unwrap();
    fs::write(case.path("bound/f"), "bound file\n").unwrap();
    let config = ContainerConfig {
        hostname: "harbour".into(),
        user: "web".into(),
        working_dir: "/srv/./web".into(),
        env: vec!["A=b c".into(), "PATH=/bin".into()],
        entrypoint: strings(&["sh", "-c"]),
        cmd: strings(&["grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status
             hostname; id; pwd; env; cat /bound/f; touch /bound/x; touch /root-x
             touch /scratch/x && echo scratch writable; grep scratch /proc/self/mounts
             ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj
             grep 'Max core' /proc/self/limits
             cat /etc/hosts /etc/resolv.conf
             cat /data/file; echo x > /data/file || echo refused
             cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max
             cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max
             cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max
             cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/domainname
             ls -l /dev/extra; grep shm /proc/self/mounts; cat /proc/keys"]),
        domainname: "example.org".into(),
        volumes: Some([("/data".to_owned(), serde_json::json!({}))].into()),
        ..Default::default()
    };
    let host = HostConfig {
        binds: strings(&[&format!("{}:/bound:ro", case.path("bound").display())]),
        tmpfs: Some([("/scratch".to_owned(), "size=1m,mode=1777".to_owned())].into()),
        readonly_rootfs: true,
        group_add: strings(&["77"]),
        cap_add: strings(&["NET_ADMIN"]),
        security_opt: strings(&["no-new-privileges"]),
        memory: 64 << 20,
        nano_cpus: 500_000_000,
        pids_limit: Some(50),
        shm_size: 1 << 20,
        oom_score_adj: 123,
        network_mode: "none".into(),
        dns: vec!["9.9.9.9".into()],
        extra_hosts: strings(&["db:10.0.0.7"]),
        sysctls: Some([("net.ipv4.ip_forward".to_owned(), "1".to_owned())].into()),
        ulimits: Some(vec![Ulimit {
            name: "nofile".into(),
            soft: 333,
            hard: 444,
        }]),
        devices: Some(vec![DeviceMapping {
            path_on_host: "/dev/null".into(),
            path_in_container: "/dev/extra".into(),
            cgroup_permissions: "rwm".into(),
        }]),
        ..Default::default()
    };
    validate_create(&config, &host).unwrap();
    let out = case.run(&config, &host);
    for line in [
        "CapEff:\t0000000000000000",
        "CapBnd:\t00000000a80435fb",
        "NoNewPrivs:\t1",
        "harbour",
        "uid=1000(web) gid=1001(web) groups=50(log),77,1001(web)",
        "/srv/web",
        "PWD=/srv/web",
        "A=b c",
        "HOSTNAME=harbour",
        "HOME=/srv/web",
        "bound file",
        "scratch writable",
        "333",
        "444",
        "123",
        "10.0.0.7\tdb",
        "nameserver 9.9.9.9",
        "from the image",
        "refused",
        "1",
        "50",
        "example.org",
        "67108864",
    ] {
        out.has(line);
    }
    assert!(
        out.text.contains("touch: /bound/x: Read-only file system"),
        "{}",
        out.text
    );
    assert!(
        out.text.contains("touch: /root-x: Read-only file system"),
        "{}",
        out.text
    );
    assert!(
        out.text
            .lines()
            .any(|l| l == "50000" || l == "50000 100000"),
        "{}",
        out.text
    );
    let fields = |start: &str| -> Vec<String> {
        let line = out.text.lines().find(|l| l.starts_with(start)).unwrap();
        line.split_whitespace().map(str::to_owned).collect()
    };
    assert_eq!(fields("Max core")[4..6], ["3584", "4096"]);
    let scratch = out
        .text
        .lines()
        .find(|l| l.contains("/scratch tmpfs"))
        .unwrap();
    assert!(
        scratch.contains("noexec") && scratch.contains("size=1024k"),
        "{scratch}"
    );
    assert!(
        out.text
            .lines()
            .any(|l| l.contains("/dev/shm") && l.contains("size=1024k")),
        "{}",
        out.text
    );
    assert!(
        out.text
            .lines()
            .any(|l| l.starts_with('c') && l.contains("1,   3") && l.ends_with("/dev/extra")),
        "{}",
        out.text
    );
    // The volume is the container's own: the image's file is as it was.
    assert!(case.path("files/volumes/0/file").exists());
    assert_eq!(
        fs::read_to_string(case.path("rootfs/data/file")).unwrap(),
        "from the image\n"
    );
}

#[test]
fn a_privileged_container_is_not_confined() {
    let Some(case) = Case::new() else { return };
    let host = HostConfig {
        privileged: true,
        ..Default::default()
    };
    let bounding = fs::read_to_string("/proc/self/status")
        .unwrap()
        .lines()
        .find_map(|l| l.strip_prefix("CapBnd:\t").map(str::to_owned))
        .unwrap();
    let out = case.sh(
        "grep -E '^(CapEff|Seccomp):' /proc/self/status
         mount -t tmpfs x /tmp && echo mounted
         grep -c ' /proc/keys' /proc/self/mounts
         grep ' /sys sysfs' /proc/self/mounts",
        &host,
    );
    out.has(&format!("CapEff:\t{bounding}"));
    out.has("Seccomp:\t0");
    out.has("mounted");
    out.has("0");
    assert!(out.text.contains(" /sys sysfs rw"), "{}", out.text);
}

#[test]
fn namespaces_of_the_host_and_unconfined_paths() {
    let Some(case) = Case::new() else { return };
    let host = HostConfig {
        network_mode: "host".into(),
        pid_mode: "host".into(),
        ipc_mode: "host".into(),
        uts_mode: "host".into(),
        cgroupns_mode: "private".into(),
        security_opt: strings(&["seccomp=unconfined"]),
        cap_drop: strings(&["ALL"]),
        masked_paths: Some(Vec::new()),
        readonly_paths: Some(Vec::new()),
        ..Default::default()
    };
    let out = case.sh(
        "for n in net pid ipc uts; do ls -l /proc/self/ns/$n; done
         grep -E '^(CapEff|Seccomp):' /proc/self/status; cat /proc/self/cgroup
         grep -c ' /proc/' /proc/self/mounts; hostname; cat /etc/hostname",
        &host,
    );
    for ns in ["net", "pid", "ipc", "uts"] {
        let own = fs::read_link(format!("/proc/self/ns/{ns}")).unwrap();
        assert!(
            out.text.contains(own.to_str().unwrap()),
            "{ns}: {}",
            out.text
        );
    }
    out.has("CapEff:\t0000000000000000");
    out.has("Seccomp:\t0");
    assert!(
        !out.text.contains(&case.id),
        "a private cgroup namespace hides the path: {}",
        out.text
    );
    let name = nix::unistd::gethostname().unwrap();
    assert_eq!(
        out.text
            .lines()
            .filter(|l| *l == name.to_str().unwrap())
            .count(),
        2
    );
}

#[test]
fn a_profile_of_ones_own_is_enforced() {
    let Some(case) = Case::new() else { return };
    let host = HostConfig {
        security_opt: strings(&[
            r#"seccomp={"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":13}]}"#,
        ]),
        ..Default::default()
    };
    let out = case.sh("mkdir /tmp/x 2>&1; touch /tmp/y && echo touched", &host);
    assert!(out.text.contains("Permission denied"), "{}", out.text);
    out.has("touched");
}

#[test]
fn init_runs_first() {
    let Some(case) = Case::new() else { return };
    fs::write(
        case.path("init"),
        "#!/bin/sh\necho init \"$@\"\nshift\nexec \"$@\"\n",
    )
    .unwrap();
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(case.path("init"), fs::Permissions::from_mode(0o755)).unwrap();
    let host = HostConfig {
        init: Some(true),
        ..Default::default()
    };
    let out = case.sh("echo started", &host);
    out.has("init -- sh -c echo started");
    out.has("started");
}

#[test]
fn failures_to_start_have_dockers_words_and_codes() {
    let Some(case) = Case::new() else { return };
    for (program, code, words) in [
        ("nosuchprogram", 127, "executable file not found in $PATH"),
        ("/nosuchprogram", 127, "no such file or directory"),
        ("/etc/passwd", 126, "permission denied"),
        // runc says permission denied or is a directory, by version.
        ("/etc", 126, "exec: \"/etc\""),
    ] {
        let config = ContainerConfig {
            cmd: strings(&[program]),
            ..Default::default()
        };
        let prepared = case.prepare(&config, &HostConfig::default());
        let failure = start_failure(&case.create(&prepared.spec).unwrap_err());
        assert_eq!(failure.exit_code, code, "{failure:?}");
        assert_eq!(failure.kind.status(), 400);
        assert!(failure.message.contains(words), "{failure:?}");
        assert!(
            failure.message.starts_with(
                "failed to create shim task: OCI runtime create failed: runc create failed: "
            ),
            "{failure:?}"
        );
        assert_eq!(
            case.tokio.block_on(case.runtime.state(&case.id)).unwrap(),
            None
        );
    }
}

#[test]
fn a_container_is_found_signalled_and_removed() {
    let Some(case) = Case::new() else { return };
    let host = HostConfig::default();
    let prepared = case.prepare(&shell("sleep 1000 & sleep 1000"), &host);
    let pid = case.create(&prepared.spec).unwrap();
    let state = case
        .tokio
        .block_on(case.runtime.state(&case.id))
        .unwrap()
        .unwrap();
    assert_eq!((state.status.as_str(), state.pid), ("created", pid));
    let exit = pidfd(pid);
    case.tokio.block_on(async {
        case.runtime.start(&case.id).await.unwrap();
        case.runtime
            .kill(&case.id, libc::SIGKILL, false)
            .await
            .unwrap();
    });
    wait_exit(&exit);
    case.tokio.block_on(async {
        let e = case
            .runtime
            .kill(&case.id, libc::SIGTERM, false)
            .await
            .unwrap_err();
        assert!(e.to_string().contains("OCI runtime kill failed"), "{e}");
        case.runtime.delete(&case.id, false).await.unwrap();
        assert_eq!(case.runtime.state(&case.id).await.unwrap(), None);
        let e = case.runtime.delete(&case.id, false).await.unwrap_err();
        assert!(matches!(e, RuntimeError::Verb { missing: true, .. }), "{e}");
        case.runtime.delete(&case.id, true).await.unwrap();
    });
    let path = case.cgroup(&host);
    remove_cgroup(&case.layout, &path).unwrap();
    remove_parent(&case.layout, &case.parent);
    let left = Command::new("find")
        .args([
            "/sys/fs/cgroup",
            "-maxdepth",
            "3",
            "-name",
            &case.parent[1..],
        ])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&left.stdout), "");
}

#[test]
fn what_is_left_in_a_group_is_killed() {
    let Some(case) = Case::new() else { return };
    // In the host's PID namespace nothing else ends a container's other processes.
    let host = HostConfig {
        pid_mode: "host".into(),
        ..Default::default()
    };
    let prepared = case.prepare(
        &shell("trap '' TERM; (while :; do sleep 1000 & sleep 1000; done) & exec sleep 1000"),
        &host,
    );
    let pid = case.start(&prepared.spec);
    let path = case.cgroup(&host);
    let exit = pidfd(pid);
    assert!(kill_cgroup(&case.layout, &path) >= 1);
    wait_exit(&exit);
    assert_eq!(kill_cgroup(&case.layout, &path), 0);
    remove_cgroup(&case.layout, &path).unwrap();
    assert_eq!(oom_kills(&case.layout, &path), None);
}

#[test]
fn an_oom_kill_is_counted() {
    let Some(case) = Case::new() else { return };
    let host = HostConfig {
        memory: 8 << 20,
        memory_swap: 8 << 20,
        ..Default::default()
    };
    let prepared = case.prepare(
        &shell("dd if=/dev/zero of=/dev/null bs=64M count=1; echo after"),
        &host,
    );
    let pid = case.create(&prepared.spec).unwrap();
    let path = case.cgroup(&host);
    assert_eq!(oom_kills(&case.layout, &path), Some(0));
    let exit = pidfd(pid);
    case.tokio.block_on(case.runtime.start(&case.id)).unwrap();
    wait_exit(&exit);
    assert!(oom_kills(&case.layout, &path).unwrap() >= 1);
}

/// Version 2 is tried where the host has a tree of it, which the hybrid layout has, too.
#[test]
fn a_group_of_version_2_is_killed_and_removed() {
    let root = match cgroup_layout() {
        CgroupLayout::V2 { root } => root,
        CgroupLayout::V1 {
            unified: Some(root),
            ..
        } => root,
        CgroupLayout::V1 { .. } => {
            eprintln!("skipped: no control groups of version 2");
            return;
        }
    };
    let name = format!("/taffrail-test-v2-{}", std::process::id());
    let group = root.join(&name[1..]).join("inner");
    if let Err(e) = fs::create_dir_all(&group) {
        eprintln!("skipped: {}: {e}", group.display());
        return;
    }
    let layout = CgroupLayout::V2 { root };
    let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
    fs::write(group.join("cgroup.procs"), child.id().to_string()).unwrap();
    // A child of this process stays in its group until it is waited for.
    let waiter = std::thread::spawn(move || child.wait().unwrap());
    let met = kill_cgroup(&layout, &name);
    let status = waiter.join().unwrap();
    remove_cgroup(&layout, &format!("{name}/inner")).unwrap();
    remove_parent(&layout, &name);
    assert_eq!(met, 1);
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(libc::SIGKILL)
    );
    assert!(!group.exists() && !group.parent().unwrap().exists());
}
