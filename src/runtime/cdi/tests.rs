//! Requests against files in a folder of their own.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::*;
use crate::errors::ErrorKind;

const NVIDIA: &str = r#"---
cdiVersion: 0.5.0
kind: nvidia.com/gpu
containerEdits:
  env: [NVIDIA_VISIBLE_DEVICES=void]
  mounts:
    - hostPath: /etc/hostname
      containerPath: /usr/lib/libcuda.so
      options: [ro, nosuid, nodev, bind]
devices:
  - name: "0"
    containerEdits: {deviceNodes: [{path: /dev/nvidia0, hostPath: /dev/null}]}
  - name: "1"
    containerEdits:
      deviceNodes: [{path: /dev/nvidia1, type: c, major: 195, minor: 1, permissions: rw}]
  - name: all
    containerEdits: {env: [ALL=1]}
"#;

const OTHER: &str = r#"{
    "cdiVersion": "1.0.0", "kind": "acme.org/fpga",
    "devices": [{"name": "left", "containerEdits": {
        "hooks": [{"hookName": "createContainer", "path": "/bin/true", "args": ["true"]}],
        "additionalGids": [7]
    }}]
}"#;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        Self(dir)
    }

    fn dirs(&self) -> Vec<PathBuf> {
        vec!["/nonexistent".into(), self.0.path().into()]
    }

    fn inject(&self, request: Value) -> Result<Value, RuntimeError> {
        let mut spec = json!({
            "process": {"env": ["PATH=/bin"], "user": {"uid": 5, "gid": 6}},
            "mounts": [{"destination": "/usr/lib/libcuda.so/x"}, {"destination": "/proc"}],
        });
        inject(&[request], &self.dirs(), &mut spec)?;
        Ok(spec)
    }
}

fn vendors() -> Folder {
    Folder::new(&[("nvidia.yaml", NVIDIA), ("acme.json", OTHER)])
}

fn gpus(count: i64) -> Value {
    json!({"Driver": "", "Count": count, "DeviceIDs": null, "Capabilities": [["gpu"]], "Options": {}})
}

#[test]
fn a_device_by_its_name() {
    let spec = vendors()
        .inject(json!({"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=1", "acme.org/fpga=left"]}))
        .unwrap();
    assert_eq!(
        spec["linux"]["devices"],
        json!([{"path": "/dev/nvidia1", "type": "c", "major": 195, "minor": 1, "uid": 5, "gid": 6}])
    );
    assert_eq!(
        spec["linux"]["resources"]["devices"],
        json!([{"allow": true, "type": "c", "major": 195, "minor": 1, "access": "rw"}])
    );
    assert_eq!(
        spec["process"]["env"],
        json!(["PATH=/bin", "NVIDIA_VISIBLE_DEVICES=void"])
    );
    assert_eq!(spec["process"]["user"]["additionalGids"], json!([7]));
    assert_eq!(
        spec["hooks"]["createContainer"],
        json!([{"path": "/bin/true", "args": ["true"]}])
    );
    // What lies below another comes after it.
    let places: Vec<&str> = spec["mounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mount| mount["destination"].as_str().unwrap())
        .collect();
    assert_eq!(
        places,
        ["/proc", "/usr/lib/libcuda.so", "/usr/lib/libcuda.so/x"]
    );
}

#[test]
fn gpus_by_number_and_all() {
    let nodes = |request| {
        let spec = vendors().inject(request).unwrap();
        let nodes = spec["linux"]["devices"].as_array().cloned();
        let paths = nodes.into_iter().flatten().map(|node| node["path"].clone());
        (paths.collect::<Vec<_>>(), spec["process"]["env"].clone())
    };
    assert_eq!(nodes(gpus(1)).0, ["/dev/nvidia0"]);
    assert_eq!(nodes(gpus(2)).0, ["/dev/nvidia0", "/dev/nvidia1"]);
    let all = nodes(gpus(-1));
    assert!(all.0.is_empty());
    assert!(all.1.as_array().unwrap().contains(&json!("ALL=1")));
    let mut one = gpus(0);
    one["DeviceIDs"] = json!(["1"]);
    assert_eq!(nodes(one).0, ["/dev/nvidia1"]);
    let named = json!({"Driver": "nvidia", "Count": 1});
    assert_eq!(nodes(named).0, ["/dev/nvidia0"]);
}

#[test]
fn what_is_not_there_is_named() {
    let text = |folder: &Folder, request| {
        let error = folder.inject(request).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::System);
        error.to_string()
    };
    let empty = Folder::new(&[]);
    assert_eq!(
        text(&empty, gpus(-1)),
        "could not select device driver \"\" with capabilities: [[gpu]]"
    );
    assert_eq!(
        text(
            &vendors(),
            json!({"Driver": "magic", "Capabilities": [["a", "b"], ["c"]]})
        ),
        "could not select device driver \"magic\" with capabilities: [[a b] [c]]"
    );
    let one = |name: &str| json!({"Driver": "cdi", "DeviceIDs": [name]});
    assert_eq!(
        text(&empty, one("a.b/c=d")),
        "CDI device injection failed: unresolvable CDI devices a.b/c=d"
    );
    assert!(text(&vendors(), gpus(3)).contains("there are 2"));
    // A file that cannot be used is said to be so where it may be the cause.
    let broken = Folder::new(&[(
        "a.json",
        r#"{"cdiVersion": "1.0.0", "kind": "a.b/c", "devices": [{"name": "d", "containerEdits": {"tomorrow": 1}}]}"#,
    )]);
    let said = text(&broken, one("a.b/c=d"));
    assert!(
        said.contains("a.json") && said.contains("tomorrow"),
        "{said}"
    );
}

#[test]
fn two_files_that_say_the_same_are_none() {
    let twice = Folder::new(&[("a.json", OTHER), ("b.json", OTHER)]);
    let request = || json!({"Driver": "cdi", "DeviceIDs": ["acme.org/fpga=left"]});
    assert!(twice.inject(request()).is_err());
    // A later folder wins.
    let later = Folder::new(&[("c.json", OTHER)]);
    let mut spec = json!({});
    let dirs = [twice.dirs(), later.dirs()].concat();
    inject(&[request()], &dirs, &mut spec).unwrap();
}

#[test]
fn requests_that_cannot_be() {
    for (request, text) in [
        (
            json!({"Driver": "cdi", "Count": 1}),
            "unexpected count in CDI device request",
        ),
        (
            json!({"Count": 1, "DeviceIDs": ["0"]}),
            "cannot set both Count and DeviceIDs on device request",
        ),
        (
            json!({"Driver": "cdi", "Options": {"a": "b"}}),
            "unexpected options in CDI device request",
        ),
        (
            json!({"Count": "many"}),
            "a device request has a field of a wrong type",
        ),
    ] {
        let error = check(&request).unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (ErrorKind::Invalid, text)
        );
    }
    check(&gpus(-1)).unwrap();
}
