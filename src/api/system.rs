//! `GET /version` and `GET /info` (docs: Engine API `SystemVersion`, `SystemInfo`).

use std::fs;
use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;

use serde_json::{Value, json};
use taffrail_config::{Host, Tls};

use super::version;
use crate::container::{Status, time};
use crate::daemon::Daemon;
use crate::registry::{HUB, RegistrySettings};
use crate::runtime::{cgroup_layout, security_options};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// `GET /version`.
pub(crate) fn version() -> Value {
    let kernel = kernel();
    let (max, min) = (version::MAX.to_string(), version::MIN.to_string());
    json!({
        "Platform": {"Name": "Taffrail"},
        // The docker CLI prints the component called Engine as the server.
        "Components": [{
            "Name": "Engine",
            "Version": VERSION,
            "Details": {
                "ApiVersion": max,
                "Arch": architecture(),
                "BuildTime": "",
                "Experimental": "false",
                "GitCommit": "",
                "GoVersion": "",
                "KernelVersion": kernel,
                "MinAPIVersion": min,
                "Os": "linux",
            },
        }],
        "Version": VERSION,
        "ApiVersion": max,
        "MinAPIVersion": min,
        "GitCommit": "",
        "GoVersion": "",
        "Os": "linux",
        "Arch": architecture(),
        "KernelVersion": kernel,
        "BuildTime": "",
    })
}

/// `GET /info`. Reads a few files of /proc and /etc.
pub(crate) async fn info(daemon: &Arc<Daemon>) -> Value {
    let daemon = Arc::clone(daemon);
    tokio::task::spawn_blocking(move || gather(&daemon))
        .await
        .unwrap_or_else(|error| {
            tracing::error!(error = %error, "info cannot be gathered");
            json!({})
        })
}

fn gather(daemon: &Daemon) -> Value {
    let settings = daemon.settings();
    let states: Vec<Status> = daemon
        .containers
        .all()
        .iter()
        .map(|container| container.record().state.status)
        .collect();
    let count = |status| states.iter().filter(|s| **s == status).count();
    let (running, paused) = (count(Status::Running), count(Status::Paused));
    let cgroups = cgroup_layout();
    let runtimes: serde_json::Map<String, Value> = settings
        .runtimes
        .iter()
        .map(|(name, runtime)| {
            let mut shape = json!({"path": runtime.path});
            if !runtime.args.is_empty() {
                shape["runtimeArgs"] = json!(runtime.args);
            }
            (name.clone(), shape)
        })
        .collect();
    let (support, mut warnings) = cgroups.support();
    if let Some(why) = daemon.networks.unavailable()
        && !settings.no_bridge()
    {
        warnings.push(format!(
            "WARNING: the default network has loopback only: {why}"
        ));
    }
    warnings.extend(
        settings
            .hosts
            .iter()
            .filter_map(|host| open_port(host, settings.tls.as_ref())),
    );
    let mut drivers: Vec<&str> = taffrail_drivers::DRIVERS
        .iter()
        // Without `none`, as Docker.
        .filter(|driver| driver.built && driver.name != "none")
        .map(|driver| driver.name)
        .collect();
    drivers.sort_unstable();
    let commit = json!({"ID": "", "Expected": ""});
    let parts = [
        json!({
            "ID": daemon.id,
            "Containers": states.len(),
            "ContainersRunning": running,
            "ContainersPaused": paused,
            "ContainersStopped": states.len() - running - paused,
            "Images": daemon.images.list().len(),
            "Driver": "overlay2",
            "DriverStatus": [["Backing Filesystem", backing(&settings.data_root)]],
            "SystemStatus": null,
            "Plugins": {
                "Volume": [],
                "Network": ["host", "null"],
                "Authorization": null,
                "Log": drivers,
            },
            "IPv4Forwarding": sysctl("net/ipv4/ip_forward"),
            "BridgeNfIptables": sysctl("net/bridge/bridge-nf-call-iptables"),
            "BridgeNfIp6tables": sysctl("net/bridge/bridge-nf-call-ip6tables"),
            "Debug": settings.debug,
            "NFd": fs::read_dir("/proc/self/fd").map_or(-1, |list| {
                i64::try_from(list.count()).unwrap_or(-1)
            }),
            // The nearest thing here.
            "NGoroutines": tokio::runtime::Handle::current().metrics().num_alive_tasks(),
            "SystemTime": time::rfc3339(time::now_ns()),
            "LoggingDriver": settings.log.driver,
            "CgroupDriver": cgroups.driver(),
            "CgroupVersion": cgroups.version(),
            "NEventsListener": daemon.events.subscribers(),
        }),
        json!({
            "KernelVersion": kernel(),
            "OperatingSystem": os_release("PRETTY_NAME").unwrap_or_else(|| "Linux".to_owned()),
            "OSVersion": os_release("VERSION_ID").unwrap_or_default(),
            "OSType": "linux",
            "Architecture": std::env::consts::ARCH,
            "IndexServerAddress": "https://index.docker.io/v1/",
            "RegistryConfig": {
                "AllowNondistributableArtifactsCIDRs": null,
                "AllowNondistributableArtifactsHostnames": null,
                "InsecureRegistryCIDRs": settings.registries.insecure_cidrs(),
                "IndexConfigs": index_configs(&settings.registries),
                "Mirrors": settings.registries.mirrors,
            },
            "NCPU": available_parallelism().map_or(1, NonZero::get),
            "MemTotal": memory(),
            "GenericResources": null,
            "DockerRootDir": settings.data_root,
            "HttpProxy": "",
            "HttpsProxy": "",
            "NoProxy": "",
            "Name": host_name(),
            "Labels": settings.labels,
            "ExperimentalBuild": false,
            "ServerVersion": VERSION,
            "Runtimes": runtimes,
            "DefaultRuntime": settings.default_runtime,
            "Swarm": {
                "NodeID": "",
                "NodeAddr": "",
                "LocalNodeState": "inactive",
                "ControlAvailable": false,
                "Error": "",
                "RemoteManagers": null,
            },
            "LiveRestoreEnabled": settings.live_restore,
            "Isolation": "",
            "InitBinary": daemon.init_binary().unwrap_or_else(|| "docker-init".into()),
            "ContainerdCommit": commit,
            "RuncCommit": commit,
            "InitCommit": commit,
            "SecurityOptions": security_options(),
            "Warnings": warnings,
        }),
    ];
    let mut all = support;
    for part in parts {
        if let Value::Object(part) = part {
            all.extend(part);
        }
    }
    Value::Object(all)
}

/// Docker Hub, and the registries that are insecure by name.
fn index_configs(registries: &RegistrySettings) -> serde_json::Map<String, Value> {
    let hosts = registries.insecure.hosts.iter().map(|host| {
        let config = json!({"Name": host, "Mirrors": [], "Secure": false, "Official": false});
        (host.clone(), config)
    });
    let hub = json!({"Name": HUB, "Mirrors": registries.mirrors, "Secure": true, "Official": true});
    hosts.chain([(HUB.to_owned(), hub)]).collect()
}

/// Docker's warning about a port that lets in everyone.
fn open_port(host: &Host, tls: Option<&Tls>) -> Option<String> {
    let Host::Tcp(address) = host else {
        return None;
    };
    let how = match tls {
        None => format!("http://{address} without encryption"),
        Some(tls) if !tls.verify => format!("https://{address} without TLS client verification"),
        Some(_) => return None,
    };
    Some(format!(
        "WARNING: API is accessible on {how}.\n         Access to the remote API is equivalent to root access on the host."
    ))
}

/// Go's name of the architecture.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

fn kernel() -> String {
    read("/proc/sys/kernel/osrelease")
}

fn host_name() -> String {
    read("/proc/sys/kernel/hostname")
}

/// A small file without its last newline; empty if it cannot be read.
fn read(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| String::new(), |text| text.trim().to_owned())
}

fn sysctl(name: &str) -> bool {
    read(&format!("/proc/sys/{name}")) == "1"
}

/// Bytes of memory.
fn memory() -> u64 {
    meminfo(&read("/proc/meminfo")).unwrap_or(0)
}

fn meminfo(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Name of the file system below the data root, as Docker shows it.
fn backing(root: &std::path::Path) -> String {
    const EXT: i64 = 0xef53;
    const XFS: i64 = 0x5846_5342;
    const BTRFS: i64 = 0x9123_683e;
    const TMPFS: i64 = 0x0102_1994;
    const OVERLAY: i64 = 0x794c_7630;
    let kind = nix::sys::statfs::statfs(root).map(|stat| stat.filesystem_type().0);
    match kind {
        Ok(EXT) => "extfs".to_owned(),
        Ok(XFS) => "xfs".to_owned(),
        Ok(BTRFS) => "btrfs".to_owned(),
        Ok(TMPFS) => "tmpfs".to_owned(),
        Ok(OVERLAY) => "overlayfs".to_owned(),
        Ok(other) => format!("{other:#x}"),
        Err(_) => "unknown".to_owned(),
    }
}

fn os_release(key: &str) -> Option<String> {
    release_value(&read("/etc/os-release"), key)
}

/// A value of os-release(5).
fn release_value(text: &str, key: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        (name == key).then(|| value.trim_matches(['"', '\'']).to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files() {
        let text = "NAME=\"Debian\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n";
        assert_eq!(
            release_value(text, "PRETTY_NAME").unwrap(),
            "Debian GNU/Linux 12 (bookworm)"
        );
        assert_eq!(release_value(text, "VERSION_ID"), None);
        assert_eq!(
            meminfo("MemTotal:       16 kB\nMemFree: 1 kB\n"),
            Some(16 * 1024)
        );
        assert_eq!(meminfo("nothing"), None);
    }

    #[test]
    fn open_ports_are_warned_of() {
        let address = |host: &str| taffrail_config::Address {
            host: host.to_owned(),
            port: 2375,
        };
        let port = Host::Tcp(address("0.0.0.0"));
        let tls = |verify| Tls {
            verify,
            ca: None,
            cert: "/c".into(),
            key: "/k".into(),
        };
        let plain = open_port(&port, None).unwrap();
        assert!(plain.contains("http://0.0.0.0:2375 without encryption"));
        let anyone = open_port(&port, Some(&tls(false))).unwrap();
        assert!(anyone.contains("https://0.0.0.0:2375 without TLS client verification"));
        assert_eq!(open_port(&port, Some(&tls(true))), None);
        assert_eq!(open_port(&Host::Unix("/x".into()), None), None);
    }

    /// The docker CLI reads all of these as strings.
    #[test]
    fn version_shape() {
        let version = version();
        assert_eq!(version["ApiVersion"], "1.43");
        assert_eq!(version["MinAPIVersion"], "1.24");
        let engine = &version["Components"][0];
        assert_eq!(engine["Name"], "Engine");
        let details = engine["Details"].as_object().unwrap();
        assert!(details.values().all(Value::is_string));
    }
}
