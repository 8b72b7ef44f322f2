//! `update`: what it changes at once, and what it refuses by name.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::harness::daemon::{Daemon, taffrail_only};
use crate::harness::image::IMAGE;
use crate::need;

#[test]
fn what_an_update_does_not_change_is_refused_by_name() {
    need!(taffrail_only());
    let daemon = Daemon::start();
    let id = daemon.run_detached(&[IMAGE, "workload", "trap", "exit=0"]);
    let path = format!("/containers/{id}/update");
    let before = daemon.inspect(&id)["HostConfig"].clone();
    for (field, value) in [
        ("Ulimits", json!([{"Name": "nofile", "Soft": 1, "Hard": 1}])),
        ("Privileged", json!(true)),
        ("Devices", json!([{"PathOnHost": "/dev/null"}])),
        (
            "BlkioDeviceReadBps",
            json!([{"Path": "/dev/null", "Rate": 1}]),
        ),
        ("Init", json!(true)),
        ("CgroupParent", json!("/x")),
    ] {
        let answer = daemon.api("POST", &path, Some(&json!({field: value})));
        let message = answer.json()["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert_eq!(answer.status, 400, "{field}: {message}");
        assert!(
            message.starts_with(&format!("{field} cannot be changed by an update")),
            "{message}"
        );
    }
    assert_eq!(daemon.inspect(&id)["HostConfig"], before);
    // Windows' limits are no reason to refuse the others.
    let both = daemon.api(
        "POST",
        &path,
        Some(&json!({"PidsLimit": 50, "CpuPercent": 5})),
    );
    assert_eq!(both.status, 200, "{}", both.text());
    assert_eq!(
        both.json()["Warnings"],
        json!(["linux does not support CPU percent. Percent discarded."])
    );
    assert_eq!(daemon.inspect(&id)["HostConfig"]["PidsLimit"], 50);
    let pid = daemon.container_pid(&id);
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("its groups");
    let (root, line) = match groups.lines().find(|line| line.contains(":pids:")) {
        Some(line) => ("/sys/fs/cgroup/pids", line),
        None => ("/sys/fs/cgroup", groups.lines().last().unwrap_or_default()),
    };
    let group = line.rsplit(':').next().unwrap_or_default();
    let file = Path::new(root)
        .join(group.trim_start_matches('/'))
        .join("pids.max");
    assert_eq!(fs::read_to_string(&file).expect("the limit").trim(), "50");
    daemon.docker(["rm", "-f", &id]).output().code(0);
    daemon.finish();
}
