//! Volumes: made, filled, shared, counted, removed. Most cases hold for Docker Engine, too.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::daemon::taffrail_only;
use crate::harness::image::IMAGE;
use crate::harness::{Daemon, Engine, http, skip, unix_now};
use crate::need;

fn ready() -> Result<(), String> {
    Engine::chosen().ready()?;
    skip::program("docker")
}

fn taffrail() -> Result<(), String> {
    taffrail_only()?;
    skip::program("docker")
}

/// `docker run --rm --network none ARGS`: what it writes.
#[track_caller]
pub(crate) fn run(daemon: &Daemon, args: &[&str]) -> String {
    let mut all = vec!["run", "--rm", "--network", "none"];
    all.extend(args);
    daemon.docker(&all).output().ok()
}

/// `docker create --network none ARGS`: the container's id.
#[track_caller]
pub(crate) fn create(daemon: &Daemon, args: &[&str]) -> String {
    let mut all = vec!["create", "--network", "none"];
    all.extend(args);
    daemon.docker(&all).output().ok()
}

pub(crate) fn volumes(daemon: &Daemon) -> Vec<String> {
    let list = daemon.get("/volumes");
    let mut names: Vec<String> = list["Volumes"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|volume| volume["Name"].as_str().expect("Name").to_owned())
        .collect();
    names.sort();
    names
}

fn mountpoint(daemon: &Daemon, name: &str) -> PathBuf {
    let volume = daemon.get(&format!("/volumes/{name}"));
    PathBuf::from(volume["Mountpoint"].as_str().expect("Mountpoint"))
}

/// The volume mounted at a place of a container.
fn volume_at(daemon: &Daemon, container: &str, target: &str) -> Value {
    let shown = daemon.inspect(container);
    let mounts = shown["Mounts"].as_array().expect("Mounts").clone();
    mounts
        .into_iter()
        .find(|mount| mount["Destination"] == target)
        .unwrap_or_else(|| panic!("nothing at {target}: {shown:#}"))
}

/// `Action ID` of all events of volumes, oldest first.
fn events(daemon: &Daemon) -> Vec<String> {
    let path = format!(
        "/events?since=1&until={}&filters=%7B%22type%22%3A%5B%22volume%22%5D%7D",
        unix_now()
    );
    let answer = http::request(&daemon.socket, "GET", &path, None, Duration::from_secs(20))
        .expect("events until now");
    let event = |line: &str| {
        let event: Value = serde_json::from_str(line).expect("an event");
        format!(
            "{} {}",
            event["Action"].as_str().expect("Action"),
            event["Actor"]["ID"].as_str().expect("ID")
        )
    };
    answer.text().lines().map(event).collect()
}

#[test]
fn a_named_volume_outlives_its_containers() {
    need!(ready());
    let daemon = Daemon::start();
    run(
        &daemon,
        &["-v", "data:/d", IMAGE, "sh", "-c", "echo kept > /d/f"],
    );
    assert_eq!(
        run(&daemon, &["-v", "data:/e", IMAGE, "cat", "/e/f"]),
        "kept"
    );
    daemon
        .docker([
            "run",
            "--rm",
            "--network",
            "none",
            "-v",
            "data:/e:ro",
            IMAGE,
            "touch",
            "/e/x",
        ])
        .output()
        .code(1)
        .stderr_has("Read-only file system");
    let id = create(
        &daemon,
        &["-v", "data:/d", "-v", "data:/r:ro", IMAGE, "true"],
    );
    let at = volume_at(&daemon, &id, "/d");
    let source = mountpoint(&daemon, "data");
    assert_eq!(
        at,
        json!({"Type": "volume", "Name": "data", "Source": source, "Destination": "/d",
            "Driver": "local", "Mode": "z", "RW": true, "Propagation": ""})
    );
    let at = volume_at(&daemon, &id, "/r");
    assert_eq!((&at["Mode"], &at["RW"]), (&json!("ro"), &json!(false)));
    // In any order: the docker CLI sends them as a map gives them.
    let binds = &daemon.inspect(&id)["HostConfig"]["Binds"];
    let both = [
        json!(["data:/d", "data:/r:ro"]),
        json!(["data:/r:ro", "data:/d"]),
    ];
    assert!(both.contains(binds), "{binds}");
    // Also one that never ran has it.
    daemon
        .docker(["volume", "rm", "data"])
        .output()
        .code(1)
        .stderr_has(&format!("remove data: volume is in use - [{id}]"));
    let df = daemon.get("/system/df");
    let used = &df["Volumes"][0]["UsageData"];
    assert_eq!(*used, json!({"RefCount": 1, "Size": 5}));
    daemon.docker(["rm", "-v", &id]).output().code(0);
    assert_eq!(volumes(&daemon), ["data"]);
    daemon
        .docker(["volume", "rm", "data"])
        .output()
        .code(0)
        .stdout_is("data\n");
    assert!(!source.exists());
    let missing = daemon.api("DELETE", "/volumes/data", None);
    assert_eq!(missing.status, 404);
    assert!(missing.text().contains("get data: no such volume"));
    assert_eq!(
        daemon.api("DELETE", "/volumes/data?force=1", None).status,
        204
    );
    daemon.finish();
}

#[test]
fn anonymous_volumes_go_with_v_and_rm_and_stay_else() {
    need!(ready());
    let daemon = Daemon::start();
    let shown = run(
        &daemon,
        &[
            "-v",
            "/anon",
            IMAGE,
            "sh",
            "-c",
            "echo x > /anon/f; ls /anon",
        ],
    );
    assert_eq!(shown, "f");
    assert!(volumes(&daemon).is_empty(), "--rm takes them");
    let first = create(&daemon, &["-v", "/anon", IMAGE, "true"]);
    let second = create(&daemon, &["--mount", "type=volume,dst=/m", IMAGE, "true"]);
    let name = volume_at(&daemon, &first, "/anon")["Name"].clone();
    let name = name.as_str().expect("Name");
    assert_eq!(name.len(), 64);
    assert_eq!(volumes(&daemon).len(), 2);
    daemon.docker(["rm", "-v", &second]).output().code(0);
    assert_eq!(volumes(&daemon), [name]);
    daemon.docker(["rm", &first]).output().code(0);
    assert_eq!(volumes(&daemon), [name]);
    let path = "/volumes?filters=%7B%22dangling%22%3A%5B%22true%22%5D%7D";
    assert_eq!(daemon.get(path)["Volumes"][0]["Name"], name);
    daemon.docker(["volume", "prune", "-f"]).output().code(0);
    assert!(volumes(&daemon).is_empty());
    daemon.finish();
}

#[test]
fn an_empty_volume_is_filled_from_the_image() {
    need!(ready());
    let daemon = Daemon::start();
    // By create already, as Docker does it.
    let id = create(
        &daemon,
        &["-v", "bin:/bin", "-v", "tmp:/tmp", IMAGE, "true"],
    );
    let bin = mountpoint(&daemon, "bin");
    assert_eq!(
        std::fs::read_link(bin.join("ls")).expect("a link"),
        Path::new("busybox")
    );
    assert_eq!(
        std::fs::metadata(bin.join("busybox"))
            .expect("busybox")
            .mode()
            & 0o777,
        0o755
    );
    let tmp = std::fs::metadata(mountpoint(&daemon, "tmp")).expect("tmp");
    assert_eq!(tmp.mode() & 0o7777, 0o1777);
    daemon.docker(["rm", &id]).output().code(0);
    // What is in it stays, and nothing is added.
    std::fs::write(mountpoint(&daemon, "tmp").join("own"), "x").expect("write");
    assert_eq!(
        run(&daemon, &["-v", "tmp:/etc", IMAGE, "cat", "/etc/own"]),
        "x"
    );
    assert!(!mountpoint(&daemon, "tmp").join("passwd").exists());
    for (args, empty) in [
        (["-v", "no:/bin:nocopy"], "no"),
        (
            ["--mount", "type=volume,src=mo,dst=/bin,volume-nocopy"],
            "mo",
        ),
    ] {
        let mut all = args.to_vec();
        all.extend([IMAGE, "true"]);
        let id = create(&daemon, &all);
        let mut entries = std::fs::read_dir(mountpoint(&daemon, empty)).expect("a folder");
        assert!(entries.next().is_none(), "{args:?}");
        daemon.docker(["rm", &id]).output().code(0);
    }
    daemon
        .docker(["create", "-v", "/etc/passwd", IMAGE, "true"])
        .output()
        .code(1)
        .stderr_has("cannot mount volume over existing file, file exists");
    daemon.finish();
}

#[test]
fn volumes_from_another_container() {
    need!(ready());
    let daemon = Daemon::start();
    let folder = daemon.root.join("bind");
    std::fs::create_dir(&folder).expect("folder");
    let bind = format!("{}:/b", folder.display());
    let id = create(
        &daemon,
        &[
            "--name", "from", "-v", "data:/d", "-v", "/anon", "-v", &bind, IMAGE, "true",
        ],
    );
    let script = "echo 1 > /d/f && echo 2 > /anon/f && echo 3 > /b/f && cat /d/f /anon/f /b/f";
    assert_eq!(
        run(
            &daemon,
            &["--volumes-from", "from", IMAGE, "sh", "-c", script]
        ),
        "1\n2\n3"
    );
    // Its own mount at the same place counts.
    let args = ["--volumes-from", "from:ro", "-v", "other:/d", IMAGE];
    let script = "touch /d/own && cat /anon/f && ! touch /anon/x 2>/dev/null";
    let mut all = args.to_vec();
    all.extend(["sh", "-c", script]);
    assert_eq!(run(&daemon, &all), "2");
    let second = create(&daemon, &["--volumes-from", "from", IMAGE, "true"]);
    let name = volume_at(&daemon, &id, "/anon")["Name"].clone();
    assert_eq!(volume_at(&daemon, &second, "/anon")["Name"], name);
    assert_eq!(volume_at(&daemon, &second, "/d")["Mode"], "");
    // The last that has an anonymous volume takes it along.
    daemon.docker(["rm", "-v", &id]).output().code(0);
    assert!(volumes(&daemon).iter().any(|have| name == *have));
    daemon.docker(["rm", "-v", &second]).output().code(0);
    assert_eq!(volumes(&daemon), ["data", "other"]);
    for (spec, text) in [
        ("nosuch", "No such container: nosuch"),
        ("nosuch:bad", "invalid mode: bad"),
    ] {
        daemon
            .docker(["create", "--volumes-from", spec, IMAGE, "true"])
            .output()
            .code(1)
            .stderr_has(text);
    }
    daemon.finish();
}

#[test]
fn refused_in_dockers_words() {
    need!(ready());
    let daemon = Daemon::start();
    let post = |body: Value| {
        let answer = daemon.api("POST", "/volumes/create", Some(&body));
        let message = answer.json()["message"].as_str().unwrap_or("").to_owned();
        (answer.status, message)
    };
    for (body, status, text) in [
        (
            json!({"Name": "v1", "Driver": "x"}),
            404,
            "create v1: error looking up volume plugin x: plugin \"x\" not found",
        ),
        (
            json!({"Name": "a"}),
            400,
            "create a: volume name is too short, names should be at least two alphanumeric characters",
        ),
        (
            json!({"Name": "a/b"}),
            400,
            "create a/b: \"a/b\" includes invalid characters for a local volume name, only \
             \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, \
             use absolute path",
        ),
        (
            json!({"Name": "v1", "DriverOpts": {"foo": "bar"}}),
            400,
            "create v1: invalid option: \"foo\"",
        ),
        (
            json!({"Name": "v1", "DriverOpts": {"type": "tmpfs"}}),
            400,
            "create v1: missing required option: \"device\"",
        ),
        (
            json!({"Name": "v1", "DriverOpts": {"size": "10m"}}),
            400,
            "create v1: quota size requested but no quota support",
        ),
    ] {
        assert_eq!(post(body), (status, text.to_owned()));
    }
    assert!(volumes(&daemon).is_empty());
    let container = |host: Value| {
        let body = json!({"Image": IMAGE, "Cmd": ["true"], "HostConfig": host});
        let answer = daemon.api("POST", "/containers/create", Some(&body));
        assert!(answer.status >= 400, "{}", answer.text());
        answer.json()["message"].as_str().unwrap_or("").to_owned()
    };
    for (host, text) in [
        (
            json!({"Binds": ["nn:/x", "mm:/x"]}),
            "Duplicate mount point: /x",
        ),
        (
            json!({"Binds": ["nn:/x:rshared"]}),
            "invalid volume specification: 'nn:/x:rshared': invalid mount config for type \"volume\": field BindOptions must not be specified",
        ),
        (
            json!({"Mounts": [{"Type": "volume", "Target": "/x", "ReadOnly": true}]}),
            "invalid mount config for type \"volume\": must not set ReadOnly mode when using anonymous volumes",
        ),
        (
            json!({"Binds": ["n2:/x"], "VolumeDriver": "foo"}),
            "create n2: error looking up volume plugin foo: plugin \"foo\" not found",
        ),
        (
            json!({"Mounts": [{"Type": "volume", "Source": "n3", "Target": "/x",
                "VolumeOptions": {"DriverConfig": {"Name": "local", "Options": {"foo": "bar"}}}}]}),
            "create n3: invalid option: \"foo\"",
        ),
    ] {
        assert_eq!(container(host), text);
    }
    // Docker has made those of a container that it then refuses.
    if daemon.engine == Engine::Taffrail {
        assert!(volumes(&daemon).is_empty(), "{:?}", volumes(&daemon));
    }
    assert_eq!(daemon.get("/containers/json?all=1"), json!([]));
    daemon.finish();
}

#[test]
fn many_creates_of_one_name_make_one_volume() {
    need!(taffrail());
    let daemon = Daemon::start();
    let made: Vec<Value> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|n| {
                let daemon = &daemon;
                scope.spawn(move || {
                    let body = json!({"Name": "one", "Labels": {"n": n.to_string()}});
                    let answer = daemon.api("POST", "/volumes/create", Some(&body));
                    assert_eq!(answer.status, 201, "{}", answer.text());
                    answer.json()
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|t| t.join().expect("join"))
            .collect()
    });
    assert!(made.iter().all(|volume| *volume == made[0]), "{made:?}");
    assert_eq!(events(&daemon), ["create one"]);
    daemon.finish();
}

#[test]
fn what_happens_to_volumes_is_told() {
    need!(taffrail());
    let daemon = Daemon::start();
    run(&daemon, &["-v", "data:/d", IMAGE, "true"]);
    daemon.docker(["volume", "prune", "-f"]).output().code(0);
    assert_eq!(volumes(&daemon), ["data"], "only anonymous ones are pruned");
    daemon.docker(["volume", "prune", "-af"]).output().code(0);
    assert_eq!(
        events(&daemon),
        [
            "create data",
            "mount data",
            "unmount data",
            "prune ",
            "destroy data",
            "prune "
        ]
    );
    daemon.finish();
}

#[test]
fn creates_and_removes_beside_containers() {
    need!(taffrail());
    let daemon = Daemon::start();
    std::thread::scope(|scope| {
        let work = scope.spawn(|| {
            for _ in 0..6 {
                let args = [
                    "-v",
                    "busy:/d",
                    IMAGE,
                    "sh",
                    "-c",
                    "echo x > /d/f && cat /d/f",
                ];
                assert_eq!(run(&daemon, &args), "x");
            }
        });
        while !work.is_finished() {
            let answer = daemon.api("DELETE", "/volumes/busy", None);
            assert!(
                matches!(answer.status, 204 | 404 | 409),
                "{} {}",
                answer.status,
                answer.text()
            );
        }
    });
    daemon.finish();
}
