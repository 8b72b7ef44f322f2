//! The built-in runtime without a daemon: bundles that Docker's API cannot ask for, and its own program's file.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{binary, image, skip, wait_for};
use crate::need;

fn ready() -> Result<(), String> {
    skip::root()?;
    image::busybox()?;
    Ok(())
}

/// A bundle with busybox, a root of the runtime's own, one container.
struct Bundle {
    dir: tempfile::TempDir,
    runtime: PathBuf,
    id: String,
}

impl Bundle {
    fn new(runtime: &Path) -> Self {
        let dir = tempfile::tempdir().expect("folder");
        for name in ["bin", "proc", "dev", "sys", "tmp"] {
            fs::create_dir_all(dir.path().join("rootfs").join(name)).expect("folder");
        }
        let bin = dir.path().join("rootfs/bin");
        fs::copy(image::busybox().expect("busybox"), bin.join("busybox")).expect("copy");
        for applet in ["sh", "sleep", "cat", "true", "ls", "id"] {
            symlink("busybox", bin.join(applet)).expect("link");
        }
        let name = dir.path().file_name().expect("a name").to_string_lossy();
        let id = format!("alone-{}", name.trim_start_matches('.'));
        Self {
            runtime: runtime.to_owned(),
            id,
            dir,
        }
    }

    fn specification(&self, script: &str) -> Value {
        json!({
            "ociVersion": "1.0.2",
            "process": {
                "args": ["sh", "-c", script], "cwd": "/", "env": ["PATH=/bin"],
                "user": {"uid": 0, "gid": 0}, "noNewPrivileges": true,
            },
            "root": {"path": "rootfs"},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
                {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]},
                {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]},
            ],
            "linux": {
                "namespaces": [{"type": "mount"}, {"type": "pid"}, {"type": "uts"}, {"type": "ipc"}, {"type": "network"}],
                "cgroupsPath": format!("/{}", self.id),
            },
        })
    }

    fn call(&self, verb: &[&str]) -> Result<String, String> {
        // The container's own output goes where that of `create` goes.
        let out = self.dir.path().join(format!("out.{}", verb[0]));
        let file = fs::File::create(&out).expect("file");
        let status = Command::new(&self.runtime)
            .arg("--root")
            .arg(self.dir.path().join("run"))
            .args(verb)
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("file"))
            .stderr(file)
            .status()
            .expect("the runtime runs");
        let text = fs::read_to_string(out).expect("text");
        if status.success() {
            Ok(text)
        } else {
            Err(text)
        }
    }

    /// Creates it; gives the first process.
    fn create(&self, specification: &Value) -> Result<i32, String> {
        let config = self.dir.path().join("config.json");
        fs::write(config, specification.to_string()).expect("config.json");
        self.call(&["create", "--pid-file", "pid", &self.id])?;
        let pid = fs::read_to_string(self.dir.path().join("pid")).expect("a pid");
        Ok(pid.parse().expect("a pid"))
    }

    /// Runs it to its end; gives what it printed, or the runtime's error.
    fn run(&self, specification: &Value) -> Result<String, String> {
        self.create(specification)?;
        self.call(&["start", &self.id])?;
        wait_for("the container's end", Duration::from_secs(20), || {
            let state = self.call(&["state", &self.id]).ok()?;
            let state: Value = serde_json::from_str(&state).ok()?;
            (state["status"] == "stopped").then_some(())
        });
        let text = fs::read_to_string(self.dir.path().join("out.create")).expect("output");
        self.call(&["delete", &self.id]).expect("delete");
        Ok(text)
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = self.call(&["delete", "--force", &self.id]);
    }
}

fn ours() -> PathBuf {
    binary("taffrail-runtime")
}

/// Opens a file that runs by a handle that was taken while it ran: how CVE-2019-5736 writes to it.
fn write_through(handle: &fs::File) -> std::io::Result<()> {
    let path = format!("/proc/self/fd/{}", handle.as_raw_fd());
    let mut file = fs::OpenOptions::new().append(true).open(path)?;
    std::io::Write::write_all(&mut file, b"#")
}

fn handle(pid: i32) -> fs::File {
    fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open(format!("/proc/{pid}/exe"))
        .expect("the program's file")
}

#[test]
fn a_container_cannot_overwrite_the_runtimes_program() {
    need!(ready());
    // A copy: if it can be written after all, nothing else is lost.
    let folder = tempfile::tempdir().expect("folder");
    let program = folder.path().join("runtime");
    fs::copy(ours(), &program).expect("copy");
    let before = fs::read(&program).expect("program");
    let bundle = Bundle::new(&program);
    let pid = bundle
        .create(&bundle.specification("exec sleep 60"))
        .expect("create");
    let exe = handle(pid);
    bundle.call(&["start", &bundle.id]).expect("start");
    wait_for("the container's program", Duration::from_secs(20), || {
        let cmdline = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        cmdline.starts_with(b"sleep\0").then_some(())
    });
    let error = write_through(&exe).expect_err("the runtime's program was written");
    assert!(
        matches!(error.raw_os_error(), Some(libc::EROFS | libc::EPERM)),
        "{error}"
    );
    assert!(fs::read(&program).expect("program") == before);

    // The way itself is good: a program that is not sealed is written.
    let program = folder.path().join("busybox");
    fs::copy(image::busybox().expect("busybox"), &program).expect("copy");
    let mut child = Command::new(&program)
        .args(["sh", "-c", "read x; exec /bin/sleep 60"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("busybox");
    let exe = handle(child.id() as i32);
    drop(child.stdin.take());
    wait_for("another program", Duration::from_secs(20), || {
        let now = fs::read_link(format!("/proc/{}/exe", child.id())).ok()?;
        (now != program).then_some(())
    });
    write_through(&exe).expect("a program that is not sealed");
    child.kill().expect("its own child");
    child.wait().expect("its own child");
}

#[test]
fn the_program_runs_when_start_returns() {
    need!(ready());
    let busybox = fs::metadata(image::busybox().expect("busybox"))
        .expect("busybox")
        .len();
    for _ in 0..10 {
        let bundle = Bundle::new(&ours());
        let specification = bundle.specification("exec sleep 60");
        let pid = bundle.create(&specification).expect("create");
        let exe = |what| fs::metadata(format!("/proc/{pid}/exe")).expect(what).len();
        assert_ne!(exe("the runtime"), busybox);
        bundle.call(&["start", &bundle.id]).expect("start");
        assert_eq!(exe("the program"), busybox);
    }
}

/// What runc does, too, and Docker's API asks for seldom or never.
#[test]
fn odd_specifications_are_carried_out() {
    need!(ready());
    let bundle = Bundle::new(&ours());
    let mut odd = bundle.specification(
        "cat /proc/self/cgroup; ls -ln /tmp/node /srv/x/pipe /dev/made; echo > /tmp/node && echo written; echo > /new; id; ls -d /b",
    );
    odd["root"]["readonly"] = true.into();
    odd["linux"]["cgroupsPath"] = format!("../../{}/./x/..", bundle.id).into();
    odd["linux"]["devices"] = json!([
        {"type": "c", "path": "/tmp/node", "major": 1, "minor": 3, "fileMode": 0o602, "uid": 5, "gid": 6},
        {"type": "p", "path": "/srv/x/pipe", "fileMode": 0o640},
        {"type": "c", "path": "dev/made", "major": 1, "minor": 5, "fileMode": 0o666},
    ]);
    let mounts = odd["mounts"].as_array_mut().expect("mounts");
    mounts.push(json!({"destination": "/a/../../b", "type": "tmpfs"}));
    let text = bundle.run(&odd).expect("it runs");
    let groups: Vec<&str> = text
        .lines()
        .filter(|l| l.split(':').count() == 3 && l.ends_with(&format!(":/{}", bundle.id)))
        .collect();
    assert!(!groups.is_empty(), "{text}");
    for line in [
        "crw-----w-    1 5        6           1,   3",
        "prw-r-----    1 0        0",
        "crw-rw-rw-    1 0        0           1,   5",
        "written",
        "can't create /new: Read-only file system",
        "/b",
    ] {
        assert!(text.contains(line), "{line:?} in {text}");
    }
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    need!(ready());
    let cases = [
        (
            "/process/user",
            json!({"uid": u32::MAX, "gid": 0}),
            "process.user.uid 4294967295",
        ),
        (
            "/linux/sysctl",
            json!({"net.ipv4.no_such": "1"}),
            "open /proc/sys/net/ipv4/no_such: no such file or directory",
        ),
        (
            "/linux/resources",
            json!({"pids": {"limit": 5}, "cpu": {"cpus": "4095"}}),
            "failed to write 4095 to ",
        ),
        (
            "/process/rlimits",
            json!([{"type": "RLIMIT_NOFILE", "soft": 9, "hard": 5}]),
            "failed to set rlimit",
        ),
        ("/process/cwd", json!("/bin/busybox"), "not a directory"),
        (
            "/mounts",
            json!([{"destination": "/m", "type": "tmpfs", "source": "x", "options": ["size=1m", "no_such"]}]),
            "error mounting \"x\" to rootfs at \"/m\", type tmpfs, options size=1m,no_such: the kernel refuses it",
        ),
        (
            "/linux/resources",
            json!({"devices": [{"allow": true, "type": "c", "access": "rx"}]}),
            "linux.resources.devices[0].access \"rx\": one or more of r, w and m",
        ),
    ];
    for (pointer, value, words) in cases {
        let bundle = Bundle::new(&ours());
        let mut specification = bundle.specification("true");
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        specification.pointer_mut(parent).expect("a parent")[key] = value;
        let error = bundle.create(&specification).expect_err(words);
        assert!(
            error.contains(words.replace('"', "\\\"").as_str()) || error.contains(words),
            "{words}: {error}"
        );
        // Nothing of it stays.
        let state = bundle
            .call(&["state", &bundle.id])
            .expect_err("no container");
        assert!(state.contains("does not exist"), "{state}");
        assert_eq!(
            crate::harness::leak::cgroups(std::slice::from_ref(&bundle.id)),
            Vec::<PathBuf>::new()
        );
    }
}

#[test]
fn another_process_in_a_container() {
    need!(ready());
    let mut runtimes = vec![ours()];
    if skip::program("runc").is_ok() {
        runtimes.push("runc".into());
    }
    for runtime in runtimes {
        let own = runtime == ours();
        let bundle = Bundle::new(&runtime);
        let mut specification = bundle.specification("sleep 1000");
        specification["process"]["env"] = json!(["PATH=/bin", "OWN=1"]);
        specification["process"]["capabilities"] =
            json!({"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]});
        specification["process"]["rlimits"] =
            json!([{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 88}]);
        bundle.create(&specification).expect("create");
        bundle.call(&["start", &bundle.id]).expect("start");
        let exec = |words: &[&str]| {
            let mut all = vec!["exec"];
            all.extend(words);
            bundle.call(&all)
        };
        let id = bundle.id.as_str();
        // `sh` alone: the bundle has few programs.
        let script = "echo $OWN$MORE; ulimit -n; cd /proc/self; while read k v; do case $k in CapEff:|CapBnd:|NoNewPrivs:) echo $k $v;; esac; done < status";
        let said = exec(&["--env", "MORE=2", id, "sh", "-c", script]).expect("exec");
        // Go raises the limit for itself, and runc gives it back too late at times.
        let said = if own {
            said
        } else {
            said.replace("\n88\n", "\n77\n")
        };
        assert_eq!(
            said,
            "12\n77\nCapEff: 0000000000000020\nCapBnd: 0000000000000020\nNoNewPrivs: 1\n",
            "{}",
            runtime.display()
        );
        let said = exec(&[
            "--user",
            "5:6",
            "--cwd",
            "/tmp",
            id,
            "sh",
            "-c",
            "id -u; id -g; pwd",
        ]);
        assert_eq!(said.as_deref(), Ok("5\n6\n/tmp\n"));
        let file = bundle.dir.path().join("process.json");
        let process = json!({
            "args": ["sh", "-c", "echo $A; exit 3"], "cwd": "/", "env": ["PATH=/bin", "A=of the file"],
            "user": {"uid": 0, "gid": 0},
        });
        fs::write(&file, process.to_string()).expect("file");
        let said = exec(&["--process", "process.json", id]).expect_err("a code that is not 0");
        assert!(said.starts_with("of the file\n"), "{said}");
        let said = exec(&[id, "nosuch"]).expect_err("no program");
        assert!(
            said.contains("exec failed: unable to start container process: exec: \\\"nosuch\\\": executable file not found in $PATH"),
            "{said}"
        );
        // The runtime waits for it, and ends as it does.
        let mut waiting = Command::new(&runtime)
            .args([
                "--root",
                "run",
                "exec",
                "--pid-file",
                "other",
                id,
                "sleep",
                "500",
            ])
            .current_dir(bundle.dir.path())
            .stdin(Stdio::null())
            .spawn()
            .expect("the runtime runs");
        let pid: i32 = wait_for("the process", Duration::from_secs(20), || {
            let text = fs::read_to_string(bundle.dir.path().join("other")).ok()?;
            text.parse().ok()
        });
        let first = fs::read_to_string(bundle.dir.path().join("pid")).expect("a pid");
        let groups = |pid: &str| fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("groups");
        assert_eq!(groups(&pid.to_string()), groups(&first));
        if own {
            let said = exec(&["--cgroup", "x", id, "true"]).expect_err("refused");
            assert!(said.contains("--cgroup x"), "{said}");
            bundle.call(&["pause", id]).expect("pause");
            let said = exec(&[id, "true"]).expect_err("paused");
            assert!(said.contains("cannot exec in a paused container"), "{said}");
            bundle.call(&["resume", id]).expect("resume");
        }
        bundle.call(&["kill", id, "KILL"]).expect("kill");
        let ended = crate::harness::command::wait(&mut waiting, Duration::from_secs(20));
        assert_eq!(ended, Some(137), "{}", runtime.display());
        wait_for("the container's end", Duration::from_secs(20), || {
            let state: Value = serde_json::from_str(&bundle.call(&["state", id]).ok()?).ok()?;
            (state["status"] == "stopped").then_some(())
        });
        let said = exec(&[id, "true"]).expect_err("stopped");
        assert!(said.contains("exec failed: "), "{said}");
        bundle.call(&["delete", id]).expect("delete");
    }
}

#[test]
fn descriptors_are_handed_on_as_asked() {
    need!(ready());
    let bundle = Bundle::new(&ours());
    let given = bundle.dir.path().join("given");
    fs::write(&given, "of the caller\n").expect("file");
    let config = bundle.dir.path().join("config.json");
    let specification = bundle.specification("cat <&3; ls /proc/self/fd | tr '\\n' ' '");
    fs::write(config, specification.to_string()).expect("config.json");
    symlink("busybox", bundle.dir.path().join("rootfs/bin/tr")).expect("link");
    let create = |number: &str, redirections: &str| {
        let out = fs::File::create(bundle.dir.path().join("out.create")).expect("file");
        let script = format!(
            "exec {redirections}; exec {} --root run create --preserve-fds {number} {}",
            bundle.runtime.display(),
            bundle.id
        );
        Command::new("sh")
            .args(["-c", &script])
            .current_dir(bundle.dir.path())
            .stdin(Stdio::null())
            .stdout(out.try_clone().expect("file"))
            .stderr(out)
            .status()
            .expect("sh runs")
    };
    let said = || fs::read_to_string(bundle.dir.path().join("out.create")).expect("output");
    assert!(!create("2", "3<given").success());
    assert!(
        said().contains("--preserve-fds 2: descriptor 4 is not open"),
        "{}",
        said()
    );
    assert!(create("1", "3<given 4<given").success(), "{}", said());
    bundle.call(&["start", &bundle.id]).expect("start");
    wait_for("the container's output", Duration::from_secs(20), || {
        // `ls` itself reads the folder by the last of them.
        said().ends_with("0 1 2 3 4 ").then_some(())
    });
    assert!(said().starts_with("of the caller\n"), "{}", said());
}
