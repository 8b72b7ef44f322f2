//! Shapes of the Docker Engine API (v1.43) that more than one module needs: what a client sends at
//! create, kept as it was sent, and given back by inspect.
//!
//! Field names are Docker's. `null` means the default everywhere, as Go clients send it.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// Reads `null` as the type's default: Go encodes empty slices and maps as `null`.
pub(crate) fn null_default<'de, D, T>(de: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(de)?.unwrap_or_default())
}

/// Writes an empty list as `null`, as Go does one that was never made.
fn null_if_empty<S: Serializer>(list: &[String], ser: S) -> Result<S::Ok, S::Error> {
    match list {
        [] => ser.serialize_none(),
        list => ser.collect_seq(list),
    }
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// A list that clients may also send as one string (`Cmd`, `Entrypoint`, `CapAdd`) or as `null`.
fn string_or_list<'de, D>(de: D) -> Result<Option<Vec<String>>, D::Error>
where
    D: Deserializer<'de>,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        One(String),
        Many(Vec<String>),
    }
    Ok(Option::<Either>::deserialize(de)?.map(|v| match v {
        Either::One(s) => vec![s],
        Either::Many(v) => v,
    }))
}

/// `Config` of a container or an image (docs: Engine API `ContainerConfig`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct ContainerConfig {
    #[serde(deserialize_with = "null_default")]
    pub(crate) hostname: String,
    #[serde(deserialize_with = "null_default")]
    pub(crate) domainname: String,
    #[serde(deserialize_with = "null_default")]
    pub(crate) user: String,
    #[serde(deserialize_with = "null_default")]
    pub(crate) attach_stdin: bool,
    #[serde(deserialize_with = "null_default")]
    pub(crate) attach_stdout: bool,
    #[serde(deserialize_with = "null_default")]
    pub(crate) attach_stderr: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) exposed_ports: Option<BTreeMap<String, Value>>,
    #[serde(deserialize_with = "null_default")]
    pub(crate) tty: bool,
    #[serde(deserialize_with = "null_default")]
    pub(crate) open_stdin: bool,
    #[serde(deserialize_with = "null_default")]
    pub(crate) stdin_once: bool,
    #[serde(deserialize_with = "null_default", serialize_with = "null_if_empty")]
    pub(crate) env: Vec<String>,
    #[serde(deserialize_with = "string_or_list")]
    pub(crate) cmd: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) healthcheck: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) args_escaped: Option<bool>,
    #[serde(deserialize_with = "null_default")]
    pub(crate) image: String,
    pub(crate) volumes: Option<BTreeMap<String, Value>>,
    #[serde(deserialize_with = "null_default")]
    pub(crate) working_dir: String,
    #[serde(deserialize_with = "string_or_list")]
    pub(crate) entrypoint: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) network_disabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mac_address: Option<String>,
    pub(crate) on_build: Option<Vec<String>>,
    #[serde(deserialize_with = "null_default")]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stop_signal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stop_timeout: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) shell: Option<Vec<String>>,
}

/// `HostConfig.LogConfig`: driver and options; an empty type means the daemon's default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct LogConfig {
    #[serde(rename = "Type", deserialize_with = "null_default")]
    pub(crate) kind: String,
    #[serde(deserialize_with = "null_default")]
    pub(crate) config: BTreeMap<String, String>,
}

/// `HostConfig.RestartPolicy`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct RestartPolicy {
    #[serde(deserialize_with = "null_default")]
    pub(crate) name: String,
    #[serde(deserialize_with = "null_default")]
    pub(crate) maximum_retry_count: i64,
}

/// One of `HostConfig.Ulimits`; -1 is unlimited.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct Ulimit {
    pub(crate) name: String,
    pub(crate) soft: i64,
    pub(crate) hard: i64,
}

/// One of `HostConfig.Devices`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct DeviceMapping {
    pub(crate) path_on_host: String,
    pub(crate) path_in_container: String,
    pub(crate) cgroup_permissions: String,
}

/// One of `HostConfig.Mounts` (`--mount`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct MountSpec {
    #[serde(rename = "Type")]
    pub(crate) kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) source: String,
    pub(crate) target: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) read_only: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) consistency: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bind_options: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) volume_options: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tmpfs_options: Option<Value>,
}

/// `HostConfig`: how the host runs the container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct HostConfig {
    pub(crate) binds: Option<Vec<String>>,
    #[serde(rename = "ContainerIDFile", deserialize_with = "null_default")]
    pub(crate) container_id_file: String,
    #[serde(deserialize_with = "null_default")]
    pub(crate) log_config: LogConfig,
    #[serde(deserialize_with = "null_default")]
    pub(crate) network_mode: String,
    #[serde(deserialize_with = "null_default")]
    pub(crate) port_bindings: BTreeMap<String, Value>,
    #[serde(deserialize_with = "null_default")]
    pub(crate) restart_policy: RestartPolicy,
    #[serde(deserialize_with = "null_default")]
    pub(crate) auto_remove: bool,
    #[serde(deserialize_with = "null_default")]
    pub(crate) volume_driver: String,
    pub(crate) volumes_from: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mounts: Option<Vec<MountSpec>>,
    #[serde(deserialize_with = "null_default")]
    pub(crate) console_size: [u32; 2],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) annotations: Option<BTreeMap<String, String>>,
    #[serde(deserialize_with = "string_or_list")]
    pub(crate) cap_add: Option<Vec<String>>,
    #[serde(deserialize_with = "string_or_list")]
    pub(crate) cap_drop: Option<Vec<String>>,
    #[serde(deserialize_with = "null_default")]
    pub(crate) cgroupns_mode: String,
    #[serde(deserialize_with = "null_default")]
    pub(crate) dns: Vec<String>,
    #[serde(deserialize_with = "null_default")]
    pub(crate) dns_options: Vec<String>,
    #[serde(deserialize_with = "null_default")]
    pub(crate) dns_search: Vec<String>,
    pub(crate) extra_hosts: Option<Vec<String>>,
    pub(crate) group_add: Option<Vec<String>>,
    #[serde(deserialize_with = "null_default")]
    pub(crate) ipc_mode: String,
    #[serde(deserialize_with = "null_default")]
    pub(crate) cgroup: String,
    pub(crate) links: Option<Vec<String>>,
    #[serde(deserialize_with = "null_default")]
    pub(crate) oom_score_adj: i64,
    #[serde(deserialize_with = "null_default")]
    pub(crate) pid_mode: String,
    #[serde(deserialize_with = "null_default")]
    pub(crate) privileged: bool,
    #[serde(deserialize_with = "null_default")]
    pub(crate) publish_all_ports: bool,
    #[serde(deserialize_with = "null_default")]
    pub(crate) readonly_rootfs: bool,
    pub(crate) security_opt: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) storage_opt: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tmpfs: Option<BTreeMap<String, String>>,
    #[serde(rename = "UTSMode", deserialize_with = "null_default")]
    pub(crate) uts_mode: String,
    #[serde(deserialize_with = "null_default")]
    pub(crate) userns_mode: String,
    #[serde(deserialize_with = "null_default")]
    pub(crate) shm_size: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sysctls: Option<BTreeMap<String, String>>,
    #[serde(deserialize_with = "null_default")]
    pub(crate) runtime: String,
    #[serde(deserialize_with = "null_default")]
    pub(crate) isolation: String,
    #[serde(deserialize_with = "null_default")]
    pub(crate) cpu_shares: i64,
    #[serde(deserialize_with = "null_default")]
    pub(crate) memory: i64,
    #[serde(deserialize_with = "null_default")]
    pub(crate) nano_cpus: i64,
    #[serde(deserialize_with = "null_default")]
    pub(crate) cgroup_parent: String,
    #[serde(deserialize_with = "null_default")]
    pub(crate) blkio_weight: u16,
    pub(crate) blkio_weight_device: Option<Vec<Value>>,
    pub(crate) blkio_device_read_bps: Option<Vec<Value>>,
    pub(crate) blkio_device_write_bps: Option<Vec<Value>>,
    #[serde(rename = "BlkioDeviceReadIOps")]
    pub(crate) blkio_device_read_iops: Option<Vec<Value>>,
    #[serde(rename = "BlkioDeviceWriteIOps")]
    pub(crate) blkio_device_write_iops: Option<Vec<Value>>,
    #[serde(deserialize_with = "null_default")]
    pub(crate) cpu_period: i64,
    #[serde(deserialize_with = "null_default")]
    pub(crate) cpu_quota: i64,
    #[serde(deserialize_with = "null_default")]
    pub(crate) cpu_realtime_period: i64,
    #[serde(deserialize_with = "null_default")]
    pub(crate) cpu_realtime_runtime: i64,
    #[serde(deserialize_with = "null_default")]
    pub(crate) cpuset_cpus: String,
    #[serde(deserialize_with = "null_default")]
    pub(crate) cpuset_mems: String,
    pub(crate) devices: Option<Vec<DeviceMapping>>,
    pub(crate) device_cgroup_rules: Option<Vec<String>>,
    pub(crate) device_requests: Option<Vec<Value>>,
    /// Sent by old clients; no kernel of today keeps to it.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub(crate) kernel_memory: i64,
    #[serde(
        rename = "KernelMemoryTCP",
        deserialize_with = "null_default",
        skip_serializing_if = "is_zero"
    )]
    pub(crate) kernel_memory_tcp: i64,
    #[serde(deserialize_with = "null_default")]
    pub(crate) memory_reservation: i64,
    #[serde(deserialize_with = "null_default")]
    pub(crate) memory_swap: i64,
    pub(crate) memory_swappiness: Option<i64>,
    pub(crate) oom_kill_disable: Option<bool>,
    pub(crate) pids_limit: Option<i64>,
    pub(crate) ulimits: Option<Vec<Ulimit>>,
    #[serde(deserialize_with = "null_default")]
    pub(crate) cpu_count: i64,
    #[serde(deserialize_with = "null_default")]
    pub(crate) cpu_percent: i64,
    #[serde(rename = "IOMaximumIOps", deserialize_with = "null_default")]
    pub(crate) io_maximum_iops: i64,
    #[serde(rename = "IOMaximumBandwidth", deserialize_with = "null_default")]
    pub(crate) io_maximum_bandwidth: i64,
    /// Filled with Docker's defaults at create when the client sent none.
    pub(crate) masked_paths: Option<Vec<String>>,
    pub(crate) readonly_paths: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) init: Option<bool>,
}
