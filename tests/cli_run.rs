//! `docker run` as people use it, by the unmodified CLI: output, exit codes, stdin, names, the file system.

use std::time::Duration;

use crate::harness::image::IMAGE;
use crate::harness::{Daemon, Engine, skip};
use crate::need;

fn ready() -> Result<(), String> {
    Engine::chosen().ready()?;
    skip::program("docker")
}

/// `docker run --rm --network none OPTIONS IMAGE WORDS`.
fn run(daemon: &Daemon, options: &[&str], words: &[&str]) -> crate::harness::Output {
    let mut all = vec!["run", "--rm", "--network", "none"];
    all.extend(options);
    all.push(IMAGE);
    all.extend(words);
    daemon.docker(&all).output()
}

#[test]
fn attached_run_shows_both_streams_and_gives_the_exit_code() {
    need!(ready());
    let daemon = Daemon::start();
    run(
        &daemon,
        &[],
        &["sh", "-c", "echo out; echo err >&2; exit 7"],
    )
    .code(7)
    .stdout_is("out\n")
    .stderr_is("err\n");
    run(&daemon, &[], &["true"]).code(0).stdout_is("");
    // Docker's codes for what could not be run: 127 not found, 126 not executable, 125 the daemon's refusal.
    run(&daemon, &[], &["/no/such/program"])
        .code(127)
        .stderr_has("no such file or directory");
    run(&daemon, &[], &["nosuchprogram"])
        .code(127)
        .stderr_has("executable file not found in $PATH");
    run(&daemon, &[], &["/etc/passwd"])
        .code(126)
        .stderr_has("permission denied");
    run(&daemon, &["--log-opt", "bogus=1"], &["true"])
        .code(125)
        .stderr_has("unknown log opt 'bogus' for json-file log driver");
    daemon.finish();
}

#[test]
fn a_program_ended_by_a_signal_gives_128_and_the_signal() {
    need!(ready());
    let daemon = Daemon::start();
    let id = daemon.run_detached(&[IMAGE, "workload", "sleep"]);
    daemon.docker(["kill", &id]).output().code(0);
    assert_eq!(daemon.wait_exit(&id, 20), 137);
    let id = daemon.run_detached(&[IMAGE, "workload", "trap", "exit=42"]);
    crate::harness::wait_for("ready", Duration::from_secs(20), || {
        (daemon.docker(["logs", &id]).output().out() == "ready\n").then_some(())
    });
    daemon.docker(["kill", "-s", "TERM", &id]).output().code(0);
    assert_eq!(daemon.wait_exit(&id, 20), 42);
    daemon
        .docker(["logs", &id])
        .output()
        .code(0)
        .stdout_is("ready\ngot TERM\n");
    daemon.finish();
}

#[test]
fn piped_stdin_reaches_the_program_and_ends() {
    need!(ready());
    let daemon = Daemon::start();
    let mut data = Vec::new();
    for number in 0..200_000_u32 {
        data.extend_from_slice(&number.to_le_bytes());
    }
    let output = daemon
        .docker([
            "run",
            "--rm",
            "-i",
            "--network",
            "none",
            IMAGE,
            "workload",
            "echo",
        ])
        .stdin(data.clone())
        .output();
    assert_eq!(output.code, 0, "{}", output.err());
    assert!(
        output.stdout == data,
        "{} bytes came back",
        output.stdout.len()
    );
    assert_eq!(output.err(), "stdin ends at 800000 bytes\n");

    // Without -i there is no stdin to read.
    run(&daemon, &[], &["cat"]).code(0).stdout_is("");
    // What is typed before the program reads is kept.
    daemon
        .docker(["run", "--rm", "-i", "--network", "none", IMAGE])
        .args(["sh", "-c", "sleep 0.3; head -n1"])
        .stdin("first\nsecond\n")
        .output()
        .code(0)
        .stdout_is("first\n");
    daemon.finish();
}

#[test]
fn a_tar_goes_out_and_in_whole() {
    need!(ready());
    need!(skip::program("tar"));
    let daemon = Daemon::start();
    let output = run(&daemon, &[], &["tar", "c", "-C", "/bin", "."]);
    assert_eq!(output.code, 0, "{}", output.err());
    let names = crate::harness::Run::new(std::process::Command::new("tar"))
        .args(["t"])
        .stdin(output.stdout.clone())
        .output();
    names
        .code(0)
        .stdout_has("./busybox")
        .stdout_has("./workload");

    daemon
        .docker(["run", "--rm", "-i", "--network", "none", IMAGE])
        .args([
            "sh",
            "-c",
            "mkdir /x && tar x -C /x && cmp /x/busybox /bin/busybox && ls /x | wc -l",
        ])
        .stdin(output.stdout)
        .output()
        .code(0);
    daemon.finish();
}

#[test]
fn a_large_attached_output_is_whole() {
    need!(ready());
    let daemon = Daemon::start();
    let lines = 300_000;
    let output = run(
        &daemon,
        &[],
        &[
            "workload",
            "lines",
            "lines=600000",
            "mode=block",
            "stream=both",
        ],
    );
    assert_eq!(output.code, 0, "{}", output.code);
    let mut out = crate::harness::judge::Judge::new('o');
    let mut err = crate::harness::judge::Judge::new('e');
    out.feed(&output.stdout);
    err.feed(&output.stderr);
    out.finish().assert_complete(lines, "stdout");
    err.finish().assert_complete(lines, "stderr");
    daemon.finish();
}

#[test]
fn rm_leaves_nothing_and_frees_the_name() {
    need!(ready());
    let daemon = Daemon::start();
    for _ in 0..5 {
        run(&daemon, &["--name", "again"], &["true"]).code(0);
    }
    daemon.docker(["ps", "-aq"]).output().code(0).stdout_is("");
    daemon.finish();
}

/// Also of one that could not be started: whoever gets the error finds the name free.
#[test]
fn rm_is_done_when_a_start_has_failed() {
    need!(ready());
    let daemon = Daemon::start();
    for _ in 0..10 {
        let create = [
            "create",
            "--rm",
            "--name",
            "never",
            "--network",
            "none",
            IMAGE,
        ];
        let id = daemon
            .docker(create.iter().chain(&["nosuchprogram"]))
            .output()
            .ok();
        let start = daemon.api("POST", &format!("/containers/{id}/start"), None);
        assert_eq!(start.status, 400, "{}", start.text());
        let gone = daemon.api("GET", &format!("/containers/{id}/json"), None);
        assert_eq!(gone.status, 404, "{}", gone.text());
    }
    daemon.finish();
}

#[test]
fn names_are_checked_and_unique() {
    need!(ready());
    let daemon = Daemon::start();
    let id = daemon.run_detached(&["--name", "one", IMAGE, "workload", "sleep"]);
    daemon
        .docker([
            "run",
            "-d",
            "--network",
            "none",
            "--name",
            "one",
            IMAGE,
            "true",
        ])
        .output()
        .code(125)
        .stderr_has(&format!(
            "Conflict. The container name \"/one\" is already in use by container \"{id}\""
        ));
    for bad in ["-bad!", "../up", "a/b", "x"] {
        daemon
            .docker(["create", "--network", "none", "--name", bad, IMAGE, "true"])
            .output()
            .code(1)
            .stderr_has(&format!(
                "Invalid container name ({bad}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
            ));
    }
    // By name, by the whole id, by a prefix of it.
    for reference in ["one", &id, &id[..12], &id[..4]] {
        let shown = daemon
            .docker([
                "inspect",
                "--type",
                "container",
                "-f",
                "{{.Id}} {{.Name}}",
                reference,
            ])
            .output()
            .ok();
        assert_eq!(shown, format!("{id} /one"), "by {reference}");
    }
    daemon
        .docker(["inspect", "nosuch"])
        .output()
        .code(1)
        .stderr_has("no such object: nosuch");
    daemon
        .docker(["logs", "nosuch"])
        .output()
        .code(1)
        .stderr_has("No such container: nosuch");
    daemon.finish();
}

#[test]
fn settings_reach_the_program() {
    need!(ready());
    let daemon = Daemon::start();
    run(
        &daemon,
        &["-e", "A=b c", "-w", "/tmp", "-h", "box"],
        &["sh", "-c", "echo $A; pwd; hostname"],
    )
    .code(0)
    .stdout_is("b c\n/tmp\nbox\n");
    run(&daemon, &["-u", "nobody"], &["id"])
        .code(0)
        .stdout_is("uid=65534(nobody) gid=65534(nogroup) groups=65534(nogroup)\n");
    run(&daemon, &["-u", "1234:99"], &["sh", "-c", "id -u; id -g"])
        .code(0)
        .stdout_is("1234\n99\n");
    run(&daemon, &["--entrypoint", "echo"], &["from", "entrypoint"])
        .code(0)
        .stdout_is("from entrypoint\n");
    run(&daemon, &["--read-only"], &["touch", "/x"])
        .code(1)
        .stderr_has("Read-only file system");
    run(
        &daemon,
        &["--tmpfs", "/scratch:size=1m"],
        &[
            "sh",
            "-c",
            "touch /scratch/x; grep -c ' /scratch tmpfs' /proc/mounts",
        ],
    )
    .code(0)
    .stdout_is("1\n");
    run(
        &daemon,
        &["--ulimit", "nofile=123:456"],
        &["sh", "-c", "ulimit -n; ulimit -Hn"],
    )
    .code(0)
    .stdout_is("123\n456\n");
    run(
        &daemon,
        &[],
        &["sh", "-c", "grep -E '^Cap(Eff|Bnd)' /proc/self/status"],
    )
    .code(0)
    .stdout_is("CapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\n");
    run(
        &daemon,
        &["--cap-drop", "ALL", "--cap-add", "NET_BIND_SERVICE"],
        &["grep", "CapBnd", "/proc/self/status"],
    )
    .code(0)
    .stdout_is("CapBnd:\t0000000000000400\n");
    run(&daemon, &[], &["grep", "Seccomp:", "/proc/self/status"])
        .code(0)
        .stdout_is("Seccomp:\t2\n");
    run(
        &daemon,
        &["--security-opt", "seccomp=unconfined"],
        &["grep", "Seccomp:", "/proc/self/status"],
    )
    .code(0)
    .stdout_is("Seccomp:\t0\n");
    run(&daemon, &[], &["sh", "-c", "echo $$; ls /sys/class/net; cat /etc/hostname | wc -c; ls -d /etc/hosts /etc/resolv.conf"])
        .code(0)
        .stdout_is("1\nlo\n13\n/etc/hosts\n/etc/resolv.conf\n");
    run(
        &daemon,
        &["--memory", "64m", "--pids-limit", "77", "--cpus", "0.5"],
        &["true"],
    )
    .code(0);
    let output = run(&daemon, &[], &["sh", "-c", "echo x > /proc/sysrq-trigger"]);
    assert_ne!(output.code, 0, "a masked file was written: {output}");
    daemon.finish();
}

#[test]
fn limits_are_the_cgroups() {
    need!(ready());
    let daemon = Daemon::start();
    let id = daemon.run_detached(&[
        "--memory",
        "64m",
        "--pids-limit",
        "77",
        "--cpus",
        "0.5",
        IMAGE,
        "workload",
        "sleep",
    ]);
    let pid = daemon.container_pid(&id);
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("cgroup");
    let v2 = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let read = |controller: &str, v1_file: &str, v2_file: &str| {
        let (mount, path, file) = if v2 {
            let path = groups
                .lines()
                .find_map(|l| l.strip_prefix("0::"))
                .expect("v2 path");
            ("/sys/fs/cgroup".to_owned(), path, v2_file)
        } else {
            let path = groups
                .lines()
                .find_map(|line| {
                    let mut parts = line.splitn(3, ':').skip(1);
                    let names = parts.next()?;
                    let path = parts.next()?;
                    names.split(',').any(|n| n == controller).then_some(path)
                })
                .unwrap_or_else(|| panic!("no {controller} in {groups}"));
            (format!("/sys/fs/cgroup/{controller}"), path, v1_file)
        };
        let file = format!("{mount}{path}/{file}");
        std::fs::read_to_string(&file)
            .unwrap_or_else(|error| panic!("{file}: {error}"))
            .trim()
            .to_owned()
    };
    assert_eq!(
        read("memory", "memory.limit_in_bytes", "memory.max"),
        "67108864"
    );
    assert_eq!(read("pids", "pids.max", "pids.max"), "77");
    let cpu = read("cpu", "cpu.cfs_quota_us", "cpu.max");
    assert!(cpu == "50000" || cpu == "50000 100000", "cpu: {cpu}");
    daemon.finish();
}

#[test]
fn binds_are_mounted() {
    need!(ready());
    let daemon = Daemon::start();
    let folder = daemon.root.join("bind");
    std::fs::create_dir(&folder).expect("folder");
    std::fs::write(folder.join("in"), "from the host\n").expect("file");
    let bind = format!("{}:/data", folder.display());
    run(
        &daemon,
        &["-v", &bind],
        &["sh", "-c", "cat /data/in; echo back > /data/out"],
    )
    .code(0)
    .stdout_is("from the host\n");
    let back = std::fs::read_to_string(folder.join("out")).expect("out");
    assert_eq!(back, "back\n");
    let bind = format!("{bind}:ro");
    run(&daemon, &["-v", &bind], &["touch", "/data/x"])
        .code(1)
        .stderr_has("Read-only file system");
    daemon.finish();
}

#[test]
fn dev_stdout_can_be_opened_also_by_another_user() {
    need!(ready());
    let daemon = Daemon::start();
    run(&daemon, &[], &["workload", "reopen"])
        .code(0)
        .stdout_is("to stdout\n")
        .stderr_is("to stderr\n");
    if daemon.engine == Engine::Taffrail {
        // Docker: permission denied when the pipe belongs to root.
        run(&daemon, &["-u", "nobody"], &["workload", "reopen"])
            .code(0)
            .stdout_is("to stdout\n")
            .stderr_is("to stderr\n");
        // The application's own output is not its to take.
        run(
            &daemon,
            &[],
            &[
                "sh",
                "-c",
                "echo kept; sleep 0.2; timeout 1 head -c1 /dev/stdout; echo after",
            ],
        );
    }
    daemon.finish();
}

#[test]
fn a_missing_image_is_named() {
    need!(ready());
    let daemon = Daemon::start();
    let output = daemon
        .docker(["run", "--rm", "--pull", "never", "nosuch/image:1", "true"])
        .output();
    output.code(125).stderr_has("No such image: nosuch/image:1");
    daemon.finish();
}

#[test]
fn version_and_info_answer() {
    need!(ready());
    let daemon = Daemon::start();
    daemon
        .docker(["version"])
        .output()
        .code(0)
        .stdout_has("Server:")
        .stdout_has("API version:");
    let version = daemon
        .docker([
            "version",
            "-f",
            "{{.Server.APIVersion}} {{.Server.Os}} {{.Server.Arch}}",
        ])
        .output()
        .ok();
    assert!(
        version.ends_with("linux amd64") || version.ends_with("linux arm64"),
        "{version}"
    );
    let info = daemon.get("/info");
    assert_eq!(info["LoggingDriver"], "json-file");
    assert_eq!(info["OSType"], "linux");
    assert_eq!(info["Swarm"]["LocalNodeState"], "inactive");
    assert_eq!(
        info["DockerRootDir"],
        daemon.data_root.to_str().expect("a text path")
    );
    assert!(
        info["Plugins"]["Log"]
            .as_array()
            .is_some_and(|l| l.iter().any(|d| d == "json-file"))
    );
    daemon
        .docker(["info"])
        .output()
        .code(0)
        .stdout_has("Logging Driver: json-file");
    daemon.finish();
}

#[test]
fn the_api_speaks_as_docker() {
    need!(ready());
    let daemon = Daemon::start();
    let ping = daemon.api("HEAD", "/_ping", None);
    assert_eq!(ping.status, 200);
    for header in ["Api-Version", "Docker-Experimental", "Ostype", "Server"] {
        assert!(
            ping.header(header).is_some(),
            "{header} in {:?}",
            ping.headers
        );
    }
    assert_eq!(daemon.api("GET", "/_ping", None).text(), "OK");
    let unknown = daemon.api("GET", "/no/such/path", None);
    assert_eq!(
        (unknown.status, unknown.json()["message"].as_str()),
        (404, Some("page not found"))
    );
    let new = daemon.api("GET", "/v1.999/version", None);
    assert_eq!(new.status, 400);
    assert!(
        new.text().contains("client version 1.999 is too new"),
        "{}",
        new.text()
    );
    let missing = daemon.api("GET", "/containers/nosuch/json", None);
    assert_eq!(missing.status, 404);
    assert_eq!(missing.json()["message"], "No such container: nosuch");
    daemon.finish();
}
