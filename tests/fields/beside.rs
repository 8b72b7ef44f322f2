//! What is not seen from inside: the daemon's defaults, and what the OCI runtime is given.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{row, run};
use crate::harness::daemon::{Daemon, Options, taffrail_only};
use crate::harness::image::IMAGE;
use crate::need;

/// `default-cgroupns-mode` of daemon.json is for containers that name no mode, and not for those that do.
#[test]
fn the_daemons_default_of_cgroup_namespaces() {
    need!(taffrail_only());
    let daemon = Daemon::with(Options {
        config: Some(r#"{"default-cgroupns-mode": "private"}"#.to_owned()),
        ..Options::default()
    });
    let host = fs::read_link("/proc/self/ns/cgroup").expect("a namespace");
    let own = row("HostConfig.CgroupnsMode", json!(""))
        .shown(json!("private"))
        .prints("cut -d: -f3 /proc/self/cgroup | sort -u", "/");
    let hosts = row("HostConfig.CgroupnsMode", json!("host")).prints(
        "readlink /proc/self/ns/cgroup",
        host.to_str().expect("a name"),
    );
    for row in [own, hosts] {
        if let Err(why) = run(&daemon, &row) {
            panic!("{}: {why}", row.body);
        }
    }
    daemon.finish();
}

/// The bundle of a container below the daemon's folder for what does not outlive a reboot.
fn bundle(dir: &Path, id: &str) -> Option<PathBuf> {
    for entry in fs::read_dir(dir).ok()?.flatten() {
        let path = entry.path();
        if path.ends_with("bundle") && path.to_str().is_some_and(|path| path.contains(id)) {
            return Some(path.join("config.json"));
        }
        if path.is_dir()
            && let Some(found) = bundle(&path, id)
        {
            return Some(found);
        }
    }
    None
}

#[test]
fn annotations_reach_the_runtime() {
    need!(taffrail_only());
    let daemon = Daemon::start();
    let id = daemon.run_detached(&[
        "--annotation",
        "org.example.a=b",
        IMAGE,
        "workload",
        "trap",
        "exit=0",
    ]);
    let path = bundle(&daemon.exec_root, &id).expect("a bundle");
    let text = fs::read(&path).expect("the specification");
    let spec: Value = serde_json::from_slice(&text).expect("JSON");
    assert_eq!(spec["annotations"], json!({"org.example.a": "b"}));
    daemon.docker(["rm", "-f", &id]).output().code(0);
    daemon.finish();
}
