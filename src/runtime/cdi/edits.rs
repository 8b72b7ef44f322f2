//! One device's edits, made to an OCI runtime specification (docs: CDI specification 1.0,
//! `containerEdits`).

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};

use serde_json::{Map, Value, json};

use super::files::{DeviceNode, Edits, Hook, Mount};

/// Hooks of the OCI runtime specification.
const HOOKS: [&str; 6] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

/// Makes the edits; the error says what cannot be done.
pub(super) fn apply(edits: &Edits, spec: &mut Value) -> Result<(), String> {
    if edits.intel_rdt.is_some() {
        return Err("intelRdt is not supported".to_owned());
    }
    if !edits.net_devices.is_empty() {
        return Err("netDevices are not supported".to_owned());
    }
    for entry in &edits.env {
        set_variable(list(spec, &["process", "env"]), entry);
    }
    for node in &edits.device_nodes {
        add_node(node, spec)?;
    }
    for mount in &edits.mounts {
        add_mount(mount, list(spec, &["mounts"]))?;
    }
    for hook in &edits.hooks {
        add_hook(hook, spec)?;
    }
    for gid in edits.additional_gids.iter().filter(|gid| **gid != 0) {
        let gids = list(spec, &["process", "user", "additionalGids"]);
        if !gids.iter().any(|have| have == gid) {
            gids.push(json!(gid));
        }
    }
    Ok(())
}

/// Places that others lie below come first, as the mounts are made in this order.
pub(super) fn sort_mounts(spec: &mut Value) {
    list(spec, &["mounts"]).sort_by_key(|mount| {
        let at = mount["destination"].as_str().unwrap_or_default();
        at.split('/').filter(|part| !part.is_empty()).count()
    });
}

/// The list at a path of keys, made if it is not there.
fn list<'a>(spec: &'a mut Value, path: &[&str]) -> &'a mut Vec<Value> {
    let mut at = spec;
    for key in path {
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        at = &mut at[*key];
    }
    if !at.is_array() {
        *at = json!([]);
    }
    // It has just been made one.
    at.as_array_mut().expect("a list")
}

fn set_variable(env: &mut Vec<Value>, entry: &str) {
    let key = |text: &str| text.split('=').next().unwrap_or_default().to_owned();
    env.retain(|have| have.as_str().is_none_or(|have| key(have) != key(entry)));
    env.push(json!(entry));
}

fn add_node(node: &DeviceNode, spec: &mut Value) -> Result<(), String> {
    if !node.path.starts_with('/') {
        return Err(format!(
            "device node {:?} is not an absolute path",
            node.path
        ));
    }
    let from = match node.host_path.as_str() {
        "" => &node.path,
        path => path,
    };
    let mut out = json!({"path": node.path, "type": node.kind});
    // What the file leaves out is the host's.
    if node.kind.is_empty() || (node.major.is_none() && node.kind != "p") {
        let meta = fs::metadata(from).map_err(|error| format!("device node {from}: {error}"))?;
        let kind = meta.file_type();
        let kind = if kind.is_char_device() {
            "c"
        } else if kind.is_block_device() {
            "b"
        } else if kind.is_fifo() {
            "p"
        } else {
            return Err(format!("device node {from}: not a device node"));
        };
        if !node.kind.is_empty() && node.kind != kind {
            return Err(format!(
                "device node {from}: type {kind}, not {}",
                node.kind
            ));
        }
        out["type"] = json!(kind);
        out["major"] = json!(libc::major(meta.rdev()));
        out["minor"] = json!(libc::minor(meta.rdev()));
        out["fileMode"] = json!(meta.mode() & 0o7777);
    }
    for (key, given) in [("major", node.major), ("minor", node.minor)] {
        if let Some(number) = given {
            out[key] = json!(number);
        }
    }
    if let Some(mode) = node.file_mode {
        out["fileMode"] = json!(mode & 0o7777);
    }
    // The container's user may use it, unless the file says whose it is.
    for (key, given) in [("uid", node.uid), ("gid", node.gid)] {
        let own = spec["process"]["user"][key].as_u64();
        out[key] = given.map_or_else(|| json!(own.unwrap_or(0)), |id| json!(id));
    }
    let access = match node.permissions.as_str() {
        "" => "rwm",
        given => given,
    };
    if out["type"] != "p" {
        let rule = json!({
            "allow": true, "type": out["type"], "major": out["major"], "minor": out["minor"],
            "access": access,
        });
        list(spec, &["linux", "resources", "devices"]).push(rule);
    }
    let nodes = list(spec, &["linux", "devices"]);
    nodes.retain(|have| have["path"] != node.path);
    nodes.push(out);
    Ok(())
}

fn add_mount(mount: &Mount, mounts: &mut Vec<Value>) -> Result<(), String> {
    if mount.host_path.is_empty() || !mount.container_path.starts_with('/') {
        return Err(format!(
            "mount of {:?} at {:?}: both are needed, the second absolute",
            mount.host_path, mount.container_path
        ));
    }
    let mut options = mount.options.clone();
    let mut kind = mount.kind.as_str();
    let binds = options.iter().any(|o| o == "bind" || o == "rbind");
    if kind.is_empty() || kind == "none" {
        kind = "bind";
    }
    if kind == "bind" && !binds {
        options.push("rbind".to_owned());
    }
    mounts.retain(|have| have["destination"] != mount.container_path);
    mounts.push(json!({
        "destination": mount.container_path, "type": kind, "source": mount.host_path,
        "options": options,
    }));
    Ok(())
}

fn add_hook(hook: &Hook, spec: &mut Value) -> Result<(), String> {
    if !HOOKS.contains(&hook.hook_name.as_str()) {
        return Err(format!("hook {:?} is not known", hook.hook_name));
    }
    let mut out = json!({"path": hook.path});
    for (key, words) in [("args", &hook.args), ("env", &hook.env)] {
        if !words.is_empty() {
            out[key] = json!(words);
        }
    }
    if let Some(seconds) = hook.timeout {
        out["timeout"] = json!(seconds);
    }
    list(spec, &["hooks", &hook.hook_name]).push(out);
    Ok(())
}
