//! Volumes and a daemon that is killed; volumes of containers that an older version created; the local driver's
//! options.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::daemon::taffrail_only;
use crate::harness::image::IMAGE;
use crate::harness::{Daemon, Engine, http, leak, skip};
use crate::need;
use crate::volumes::{create, run, volumes};

fn ready() -> Result<(), String> {
    Engine::chosen().ready()?;
    skip::program("docker")
}

fn taffrail() -> Result<(), String> {
    taffrail_only()?;
    skip::program("docker")
}

/// Mounts below the folder of all volumes.
fn mounted(daemon: &Daemon) -> Vec<PathBuf> {
    leak::mounts(&daemon.data_root.join("volumes"))
}

#[test]
fn options_mount_for_the_first_and_unmount_for_the_last() {
    need!(ready());
    let daemon = Daemon::start();
    let folder = daemon.root.join("bind");
    std::fs::create_dir(&folder).expect("folder");
    std::fs::write(folder.join("f"), "of the host").expect("write");
    let device = format!("device={}", folder.display());
    for (name, options) in [
        (
            "memory",
            vec!["type=tmpfs", "device=tmpfs", "o=size=1m,uid=7"],
        ),
        ("bound", vec!["type=none", &device, "o=bind,ro"]),
    ] {
        let mut args = vec!["volume", "create", name];
        for option in options {
            args.extend(["-o", option]);
        }
        daemon.docker(&args).output().code(0);
    }
    assert!(mounted(&daemon).is_empty());
    let shown = run(
        &daemon,
        &[
            "-v",
            "memory:/m",
            IMAGE,
            "sh",
            "-c",
            "stat -c %u /m; grep ' /m ' /proc/mounts",
        ],
    );
    assert!(
        shown.starts_with("7\n") && shown.contains("size=1024k"),
        "{shown}"
    );
    assert!(mounted(&daemon).is_empty(), "{:?}", mounted(&daemon));
    let script = "cat /b/f && ! touch /b/x 2>/dev/null";
    assert_eq!(
        run(&daemon, &["-v", "bound:/b", IMAGE, "sh", "-c", script]),
        "of the host"
    );
    let second = daemon.run_detached(&["-i", "-v", "memory:/n", IMAGE, "cat"]);
    let first = daemon.run_detached(&["-v", "memory:/m", IMAGE, "sh", "-c", "echo 1 > /m/f"]);
    daemon.wait_exit(&first, 20);
    assert_eq!(mounted(&daemon).len(), 1);
    // One memory for all.
    assert_eq!(
        run(&daemon, &["-v", "memory:/o", IMAGE, "cat", "/o/f"]),
        "1"
    );
    daemon.docker(["rm", "-f", &second]).output().code(0);
    assert!(mounted(&daemon).is_empty(), "{:?}", mounted(&daemon));
    daemon.docker(["rm", &first]).output().code(0);
    daemon
        .docker(["volume", "rm", "memory", "bound"])
        .output()
        .code(0);
    assert_eq!(std::fs::read(folder.join("f")).expect("f"), b"of the host");
    daemon.finish();
}

#[test]
fn a_mount_that_fails_is_said_at_start() {
    need!(ready());
    let daemon = Daemon::start();
    let options = ["-o", "type=none", "-o", "o=bind", "-o", "device=/nonexist"];
    let mut args = vec!["volume", "create", "away"];
    args.extend(options);
    daemon.docker(&args).output().code(0);
    let id = create(&daemon, &["-v", "away:/x", IMAGE, "true"]);
    let path = daemon.get("/volumes/away")["Mountpoint"].clone();
    let path = path.as_str().expect("Mountpoint");
    daemon
        .docker(["start", &id])
        .output()
        .code(1)
        .stderr_has(&format!(
            "error while mounting volume '{path}': failed to mount local volume: mount \
             /nonexist:{path}, flags: 0x1000: no such file or directory"
        ));
    daemon
        .docker([
            "run",
            "--rm",
            "--network",
            "none",
            "-v",
            "/tmp:/x:rshared",
            IMAGE,
            "true",
        ])
        .output()
        .stderr_has(match is_shared("/tmp") {
            true => "",
            false => "but it is not a shared mount",
        });
    daemon.finish();
}

/// Whether what is mounted below a path spreads.
fn is_shared(path: &str) -> bool {
    let list = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    list.lines()
        .filter(|line| {
            let on = line.split(' ').nth(4).expect("five fields");
            Path::new(path).starts_with(on)
        })
        .max_by_key(|line| line.split(' ').nth(4).map(str::len))
        .is_some_and(|line| line.contains(" shared:"))
}

#[test]
fn a_killed_daemon_finds_its_volumes_and_their_mounts() {
    need!(taffrail());
    let daemon = Daemon::start();
    daemon
        .docker([
            "volume",
            "create",
            "-o",
            "type=tmpfs",
            "-o",
            "device=x",
            "memory",
        ])
        .output()
        .code(0);
    let id = daemon.run_detached(&[
        "-i",
        "-v",
        "memory:/m",
        "-v",
        "data:/d",
        "-v",
        "/anon",
        IMAGE,
        "sh",
        "-c",
        "echo 1 > /m/f; cat",
    ]);
    let before = daemon.inspect(&id)["Mounts"].clone();
    let names = volumes(&daemon);
    assert_eq!(names.len(), 3);
    daemon.kill();
    daemon.launch();
    assert_eq!(volumes(&daemon), names);
    assert_eq!(daemon.inspect(&id)["Mounts"], before);
    for name in &names {
        let answer = daemon.api("DELETE", &format!("/volumes/{name}"), None);
        assert_eq!(answer.status, 409, "{}", answer.text());
    }
    // The mount is the old one, with what is in it.
    assert_eq!(
        run(&daemon, &["-v", "memory:/o", IMAGE, "cat", "/o/f"]),
        "1"
    );
    daemon.kill();
    let pid = std::fs::read_to_string(daemon.data_root.join(format!("containers/{id}/state.json")))
        .map(|text| serde_json::from_str::<Value>(&text).expect("state")["state"]["pid"].clone())
        .expect("state.json");
    let pid = i32::try_from(pid.as_i64().expect("pid")).expect("a pid");
    // SAFETY: the container runs, so the pid is its own.
    unsafe {
        libc::kill(pid, libc::SIGKILL);
    }
    daemon.launch();
    assert_eq!(daemon.wait_exit(&id, 20), 137);
    assert!(mounted(&daemon).is_empty(), "{:?}", mounted(&daemon));
    daemon.docker(["rm", "-v", &id]).output().code(0);
    assert_eq!(volumes(&daemon), ["data", "memory"]);
    daemon.finish();
}

/// Whatever the daemon was doing when it was killed, each volume there is can be removed, and nothing else lies there.
#[test]
fn a_kill_leaves_whole_volumes_only() {
    need!(taffrail());
    let daemon = Daemon::start();
    for round in 0..6 {
        let socket = daemon.socket.clone();
        let workers: Vec<_> = (0..3)
            .map(|worker| {
                let socket = socket.clone();
                std::thread::spawn(move || {
                    for n in 0.. {
                        let name = format!("v{worker}-{n}");
                        let body = json!({"Name": name});
                        let container = json!({"Image": IMAGE, "Cmd": ["true"],
                            "Volumes": {"/anon": {}},
                            "HostConfig": {"NetworkMode": "none", "Binds": [format!("{name}:/bin")]}});
                        for (method, path, body) in [
                            ("POST", "/volumes/create".to_owned(), Some(&body)),
                            ("POST", "/containers/create".to_owned(), Some(&container)),
                            ("DELETE", format!("/volumes/v{worker}-{}", n / 2), None),
                        ] {
                            let time = Duration::from_secs(20);
                            let body = body.map(|body| body.to_string().into_bytes());
                            let body = body.as_deref();
                            if http::request(&socket, method, &path, body, time).is_err() {
                                return;
                            }
                        }
                    }
                })
            })
            .collect();
        crate::harness::wait_for("some volumes", Duration::from_secs(30), || {
            (volumes(&daemon).len() > 3 + round).then_some(())
        });
        daemon.kill();
        for worker in workers {
            worker.join().expect("a worker");
        }
        daemon.launch();
        let left: Vec<String> = std::fs::read_dir(daemon.data_root.join("volumes"))
            .expect("volumes")
            .map(|entry| {
                entry
                    .expect("entry")
                    .file_name()
                    .into_string()
                    .expect("UTF-8")
            })
            .collect();
        let mut left = left;
        left.sort();
        assert_eq!(left, volumes(&daemon));
        for item in daemon
            .get("/containers/json?all=1")
            .as_array()
            .expect("list")
        {
            let id = item["Id"].as_str().expect("Id");
            daemon.docker(["rm", "-f", "-v", id]).output().code(0);
        }
        for name in volumes(&daemon) {
            let answer = daemon.api("DELETE", &format!("/volumes/{name}"), None);
            assert_eq!(answer.status, 204, "{}", answer.text());
        }
    }
    daemon.finish();
}

#[test]
fn a_container_of_an_older_version_keeps_its_own_folders() {
    need!(taffrail());
    let daemon = Daemon::start();
    let id = create(&daemon, &["-v", "/anon", IMAGE, "cat", "/anon/f"]);
    assert_eq!(daemon.stop(), 0);
    let dir = daemon.data_root.join("containers").join(&id);
    let file = dir.join("state.json");
    let mut state: Value =
        serde_json::from_slice(&std::fs::read(&file).expect("state.json")).expect("JSON");
    state
        .as_object_mut()
        .expect("an object")
        .remove("mounts")
        .expect("mounts");
    std::fs::write(&file, state.to_string()).expect("write");
    std::fs::create_dir_all(dir.join("volumes/0")).expect("folder");
    std::fs::write(dir.join("volumes/0/f"), "of old").expect("write");
    daemon.launch();
    let mount = &daemon.inspect(&id)["Mounts"][0];
    assert_eq!(
        (&mount["Name"], &mount["Source"]),
        (&json!("0"), &json!(dir.join("volumes/0")))
    );
    assert_eq!(daemon.docker(["start", "-a", &id]).output().ok(), "of old");
    daemon.docker(["rm", &id]).output().code(0);
    daemon.docker(["volume", "prune", "-f"]).output().code(0);
    assert!(volumes(&daemon).is_empty());
    daemon.finish();
}
