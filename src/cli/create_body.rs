//! From flags to the body of `POST /containers/create`, as docker CLI 28 sends it (API 1.43).

use serde_json::{Map, Value, json};

use super::container_flags::ContainerFlags;
use super::flags::{self, FlagError};
use super::mounts::{self, Ports, Volume};
use super::resource_flags;

/// What the flags depend on outside of the command line.
pub(crate) struct Surroundings<'a> {
    /// Our own environment.
    pub(crate) var: &'a dyn Fn(&str) -> Option<String>,
    /// Directory that relative bind sources start from.
    pub(crate) cwd: &'a str,
}

/// A container to be created.
#[derive(Clone, Debug)]
pub(crate) struct CreateRequest {
    pub(crate) body: Value,
    pub(crate) name: Option<String>,
    pub(crate) platform: Option<String>,
    pub(crate) image: String,
    pub(crate) attach: Streams,
    pub(crate) tty: bool,
    pub(crate) auto_remove: bool,
}

/// Streams to attach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Streams {
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
}

impl Streams {
    /// Whether there is any.
    pub(crate) fn any(self) -> bool {
        self.stdin || self.stdout || self.stderr
    }

    fn of(f: &ContainerFlags) -> Result<Self, FlagError> {
        let mut out = Self {
            stdin: f.interactive,
            ..Self::default()
        };
        for name in &f.attach {
            match name.to_ascii_lowercase().as_str() {
                "stdin" => out.stdin = true,
                "stdout" => out.stdout = true,
                "stderr" => out.stderr = true,
                _ => {
                    return Err(FlagError::argument("-a, --attach", name)(
                        "valid streams are STDIN, STDOUT and STDERR".into(),
                    ));
                }
            }
        }
        if f.attach.is_empty() {
            (out.stdout, out.stderr) = (true, true);
        }
        Ok(out)
    }
}

/// Makes a request of the flags; nothing is asked of a daemon.
///
/// # Errors
/// The first value that Docker's CLI would refuse.
pub(crate) fn build(f: &ContainerFlags, around: &Surroundings) -> Result<CreateRequest, FlagError> {
    if !["always", "missing", "never", ""].contains(&f.pull.as_str()) {
        return Err(FlagError::Pull(f.pull.clone()));
    }
    let attach = Streams::of(f)?;
    let ports = ports(f)?;
    let restart = restart(&f.restart)?;
    if f.rm && !matches!(restart["Name"].as_str(), Some("" | "no")) {
        return Err(FlagError::RestartAndRm);
    }
    let (binds, volumes) = volumes(f, around)?;
    let networks = networks(f)?;
    let (image, command) = f.rest.split_first().map_or(("", &[][..]), |(i, c)| (i, c));

    let mut body = json!({
        "Hostname": text(&f.hostname),
        "Domainname": text(&f.domainname),
        "User": text(&f.user),
        "AttachStdin": attach.stdin,
        "AttachStdout": attach.stdout,
        "AttachStderr": attach.stderr,
        "Tty": f.tty,
        "OpenStdin": f.interactive,
        "StdinOnce": f.interactive && attach.stdin,
        "Env": list(&flags::environment(&f.env_file, &f.env, around.var)?),
        "Cmd": list(command),
        "Image": image,
        "Volumes": volumes,
        "WorkingDir": text(&f.workdir),
        "Entrypoint": f.entrypoint.as_ref().map(|e| vec![e]),
        "OnBuild": null,
        "Labels": flags::labels(&f.label_file, &f.label)?,
    });
    let top = fields(&mut body);
    if !ports.exposed.is_empty() {
        top.insert("ExposedPorts".into(), ports.exposed.into());
    }
    if let Some(health) = health(f)? {
        top.insert("Healthcheck".into(), health);
    }
    if let Some(signal) = &f.stop_signal {
        top.insert("StopSignal".into(), signal.as_str().into());
    }
    if let Some(timeout) = &f.stop_timeout {
        let seconds = flags::integer("--stop-timeout", timeout)?;
        top.insert("StopTimeout".into(), seconds.into());
    }
    let host = host_config(f, around, binds, ports.bindings, restart, &networks.mode)?;
    top.insert("HostConfig".into(), host);
    top.insert(
        "NetworkingConfig".into(),
        json!({"EndpointsConfig": networks.endpoints}),
    );
    Ok(CreateRequest {
        body,
        name: f.name.clone(),
        platform: f.platform.clone().filter(|p| !p.is_empty()),
        image: image.into(),
        attach,
        tty: f.tty,
        auto_remove: f.rm,
    })
}

fn host_config(
    f: &ContainerFlags,
    around: &Surroundings,
    binds: Vec<String>,
    bindings: Map<String, Value>,
    restart: Value,
    network_mode: &str,
) -> Result<Value, FlagError> {
    let log_config = flags::pairs(&f.log_opt);
    if f.log_driver.as_deref() == Some("none") && !log_config.is_empty() {
        return Err(FlagError::LogNone);
    }
    let security = security(&f.security_opt)?;
    let mode = |flag, what, value: &Option<String>, allowed: &dyn Fn(&str) -> bool| {
        let value = text(value).to_owned();
        if value.is_empty() || allowed(&value) {
            Ok(value)
        } else {
            Err(FlagError::Mode { flag, what })
        }
    };
    let dns: Vec<String> = f
        .dns
        .iter()
        .map(|d| flags::dns(d))
        .collect::<Result<_, _>>()?;
    let hosts: Vec<String> = f
        .add_host
        .iter()
        .map(|h| flags::extra_host(h))
        .collect::<Result<_, _>>()?;
    let caps =
        |list: &[String]| -> Vec<String> { list.iter().map(|c| flags::capability(c)).collect() };
    let mut host = json!({
        "Binds": list(&binds),
        "ContainerIDFile": text(&f.cidfile),
        "LogConfig": {"Type": text(&f.log_driver), "Config": log_config},
        "NetworkMode": network_mode,
        "PortBindings": bindings,
        "RestartPolicy": restart,
        "AutoRemove": f.rm,
        "VolumeDriver": text(&f.volume_driver),
        "VolumesFrom": list(&f.volumes_from),
        "ConsoleSize": [0, 0],
        "CapAdd": list(&caps(&f.cap_add)),
        "CapDrop": list(&caps(&f.cap_drop)),
        "CgroupnsMode": mode("cgroupns", "CGROUP", &f.cgroupns, &|v| v == "host" || v == "private")?,
        "Dns": dns,
        "DnsOptions": f.dns_option,
        "DnsSearch": f.dns_search,
        "ExtraHosts": list(&hosts),
        "GroupAdd": list(&f.group_add),
        "IpcMode": text(&f.ipc),
        "Cgroup": "",
        "Links": list(&f.link),
        "OomScoreAdj": flags::integer_or("--oom-score-adj", f.oom_score_adj.as_deref(), 0)?,
        "PidMode": mode("pid", "PID", &f.pid, &|v| v == "host" || v.strip_prefix("container:").is_some_and(|c| !c.is_empty()))?,
        "Privileged": f.privileged,
        "PublishAllPorts": f.publish_all,
        "ReadonlyRootfs": f.read_only,
        "SecurityOpt": security.options,
        "UTSMode": mode("uts", "UTS", &f.uts, &|v| v == "host")?,
        "UsernsMode": mode("userns", "USER", &f.userns, &|v| v == "host")?,
        "ShmSize": flags::bytes("--shm-size", f.shm_size.as_deref(), false)?,
        "Isolation": "",
        "MaskedPaths": security.open_paths.then(Vec::<Value>::new),
        "ReadonlyPaths": security.open_paths.then(Vec::<Value>::new),
    });
    let map = fields(&mut host);
    map.append(fields(&mut resources(f)?));
    f.resources.add_to(map, &f.device)?;
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            map.insert(key.into(), value);
        }
    };
    if !f.mount.is_empty() {
        let mounts: Vec<Value> = f
            .mount
            .iter()
            .map(|m| mounts::mount(m, around.cwd))
            .collect::<Result<_, _>>()?;
        set("Mounts", Some(mounts.into()));
    }
    set(
        "Annotations",
        (!f.annotation.is_empty()).then(|| json!(flags::pairs(&f.annotation))),
    );
    set(
        "Tmpfs",
        (!f.tmpfs.is_empty()).then(|| {
            let pair = |t: &String| {
                let (path, options) = t.split_once(':').unwrap_or((t, ""));
                (path.to_owned(), Value::from(options))
            };
            Value::Object(f.tmpfs.iter().map(pair).collect())
        }),
    );
    set("Sysctls", sysctls(&f.sysctl)?);
    set("StorageOpt", storage(&f.storage_opt)?);
    set("Runtime", f.runtime.as_deref().map(Value::from));
    set("Init", f.init.map(Value::from));
    Ok(host)
}

/// Limits and devices: Docker's `Resources`.
fn resources(f: &ContainerFlags) -> Result<Value, FlagError> {
    let swappiness = flags::integer_or("--memory-swappiness", f.memory_swappiness.as_deref(), -1)?;
    if swappiness != -1 && !(0..=100).contains(&swappiness) {
        return Err(FlagError::Swappiness(swappiness));
    }
    let devices: Vec<Value> = f
        .device
        .iter()
        .filter(|d| !resource_flags::is_cdi(d))
        .map(|d| mounts::device(d))
        .collect::<Result<_, _>>()?;
    Ok(json!({
        "CpuShares": flags::integer_or("-c, --cpu-shares", f.cpu_shares.as_deref(), 0)?,
        "Memory": flags::bytes("-m, --memory", f.memory.as_deref(), false)?,
        "NanoCpus": flags::cpus(f.cpus.as_deref())?,
        "CgroupParent": text(&f.cgroup_parent),
        "BlkioWeight": flags::integer_or("--blkio-weight", f.blkio_weight.as_deref(), 0)?,
        "BlkioWeightDevice": [],
        "BlkioDeviceReadBps": [],
        "BlkioDeviceWriteBps": [],
        "BlkioDeviceReadIOps": [],
        "BlkioDeviceWriteIOps": [],
        "CpuPeriod": flags::integer_or("--cpu-period", f.cpu_period.as_deref(), 0)?,
        "CpuQuota": flags::integer_or("--cpu-quota", f.cpu_quota.as_deref(), 0)?,
        "CpuRealtimePeriod": 0,
        "CpuRealtimeRuntime": 0,
        "CpusetCpus": text(&f.cpuset_cpus),
        "CpusetMems": text(&f.cpuset_mems),
        "Devices": devices,
        "DeviceCgroupRules": list(&f.device_cgroup_rule),
        "DeviceRequests": null,
        "MemoryReservation": flags::bytes("--memory-reservation", f.memory_reservation.as_deref(), false)?,
        "MemorySwap": flags::bytes("--memory-swap", f.memory_swap.as_deref(), true)?,
        "MemorySwappiness": swappiness,
        "OomKillDisable": f.oom_kill_disable,
        "PidsLimit": flags::integer_or("--pids-limit", f.pids_limit.as_deref(), 0)?,
        "Ulimits": mounts::ulimits(&f.ulimit)?,
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
    }))
}

fn text(value: &Option<String>) -> &str {
    value.as_deref().unwrap_or("")
}

/// A Go slice: `null` when empty.
fn list(items: &[String]) -> Value {
    if items.is_empty() {
        Value::Null
    } else {
        json!(items)
    }
}

/// The fields of a value that was written as an object in this file.
fn fields(value: &mut Value) -> &mut Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => unreachable!("written as an object"),
    }
}

fn ports(f: &ContainerFlags) -> Result<Ports, FlagError> {
    let mut ports = Ports::default();
    for item in &f.publish {
        ports.publish(item)?;
    }
    for item in &f.expose {
        ports.expose(item)?;
    }
    Ok(ports)
}

/// `no`, `always`, `on-failure:5`.
pub(super) fn restart(policy: &str) -> Result<Value, FlagError> {
    let (name, count) = policy.split_once(':').unwrap_or((policy, ""));
    if name.is_empty() && policy.contains(':') {
        return Err(FlagError::RestartEmpty);
    }
    let count: i64 = match count {
        "" => 0,
        n => n.parse().map_err(|_| FlagError::RestartCount)?,
    };
    Ok(json!({"Name": name, "MaximumRetryCount": count}))
}

/// Binds, and the volumes that only have a place in the container.
fn volumes(
    f: &ContainerFlags,
    around: &Surroundings,
) -> Result<(Vec<String>, Map<String, Value>), FlagError> {
    let (mut binds, mut anonymous) = (Vec::new(), Map::new());
    for item in &f.volume {
        match mounts::volume(item, around.cwd)? {
            Volume::Bind(bind) => binds.push(bind),
            Volume::Anonymous(path) => {
                anonymous.insert(path, json!({}));
            }
        }
    }
    Ok((binds, anonymous))
}

struct Networks {
    mode: String,
    endpoints: Map<String, Value>,
}

fn networks(f: &ContainerFlags) -> Result<Networks, FlagError> {
    let mut endpoints = Map::new();
    let mut mode = None;
    let default = ["default".to_owned()];
    let items = if f.network.is_empty() {
        &default[..]
    } else {
        &f.network
    };
    for item in items {
        let (mut name, mut aliases, mut ipam) = (item.as_str(), Vec::new(), Map::new());
        let (mut mac, mut link_local) = (String::new(), Vec::new());
        if item.contains('=') {
            name = "";
            for field in item.split(',') {
                match field.split_once('=') {
                    Some(("name", v)) => name = v,
                    Some(("alias", v)) => aliases.push(v.to_owned()),
                    Some(("ip", v)) => {
                        ipam.insert("IPv4Address".into(), v.into());
                    }
                    Some(("ip6", v)) => {
                        ipam.insert("IPv6Address".into(), v.into());
                    }
                    Some(("mac-address", v)) => mac = v.to_owned(),
                    Some(("link-local-ip", v)) => link_local.push(v.to_owned()),
                    _ => {
                        return Err(FlagError::argument("--network", item)(
                            format!("invalid field {field}").into(),
                        ));
                    }
                }
            }
        }
        let first = mode.is_none();
        if first {
            aliases.extend(f.network_alias.iter().cloned());
            link_local.extend(f.link_local_ip.iter().cloned());
            for (key, value) in [("IPv4Address", &f.ip), ("IPv6Address", &f.ip6)] {
                if let Some(value) = value {
                    ipam.insert(key.into(), value.as_str().into());
                }
            }
            if let Some(value) = &f.mac_address {
                mac.clone_from(value);
            }
            mode = Some(name.to_owned());
        }
        // Modes without an interface have no endpoint, unless they are one of several.
        let bare = name == "none" || name == "host" || name.starts_with("container:");
        if bare && items.len() == 1 {
            continue;
        }
        // On networks of the user, links are those of the first endpoint, as Docker's CLI has it.
        let links = first && !matches!(name, "default" | "bridge");
        if !link_local.is_empty() {
            ipam.insert("LinkLocalIPs".into(), json!(link_local));
        }
        let endpoint = json!({
            "IPAMConfig": if ipam.is_empty() { Value::Null } else { ipam.into() },
            "Links": if links { list(&f.link) } else { Value::Null },
            "Aliases": list(&aliases),
            "MacAddress": mac,
            "DriverOpts": null,
            "GwPriority": 0,
            "NetworkID": "",
            "EndpointID": "",
            "Gateway": "",
            "IPAddress": "",
            "IPPrefixLen": 0,
            "IPv6Gateway": "",
            "GlobalIPv6Address": "",
            "GlobalIPv6PrefixLen": 0,
            "DNSNames": null,
        });
        endpoints.insert(name.to_owned(), endpoint);
    }
    Ok(Networks {
        mode: mode.unwrap_or_default(),
        endpoints,
    })
}

struct Security {
    options: Value,
    open_paths: bool,
}

fn security(items: &[String]) -> Result<Security, FlagError> {
    let mut options = Vec::new();
    let mut open_paths = false;
    for item in items {
        let pair = item.split_once('=').or_else(|| {
            (item != "no-new-privileges")
                .then(|| item.split_once(':'))
                .flatten()
        });
        match pair {
            Some(("systempaths", "unconfined")) => open_paths = true,
            Some(("seccomp", "unconfined" | "builtin")) => options.push(item.clone()),
            // The daemon may run elsewhere and cannot read our files.
            Some(("seccomp", path)) => {
                let bytes = std::fs::read(path).map_err(|source| FlagError::Seccomp {
                    path: path.to_owned(),
                    source,
                })?;
                let profile: Value =
                    serde_json::from_slice(&bytes).map_err(|source| FlagError::SeccompJson {
                        path: path.to_owned(),
                        source,
                    })?;
                options.push(format!("seccomp={profile}"));
            }
            Some((_, value)) if !value.is_empty() => options.push(item.clone()),
            _ if item == "no-new-privileges" => options.push(item.clone()),
            _ => return Err(FlagError::SecurityOpt(item.clone())),
        }
    }
    let options = if items.is_empty() {
        Value::Null
    } else {
        json!(options)
    };
    Ok(Security {
        options,
        open_paths,
    })
}

fn sysctls(items: &[String]) -> Result<Option<Value>, FlagError> {
    const NAMES: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    for item in items {
        let known = item.split_once('=').is_some_and(|(key, _)| {
            NAMES.contains(&key) || key.starts_with("net.") || key.starts_with("fs.mqueue.")
        });
        if !known {
            return Err(FlagError::argument("--sysctl", item)(
                format!("sysctl '{item}' is not allowed").into(),
            ));
        }
    }
    Ok((!items.is_empty()).then(|| json!(flags::pairs(items))))
}

fn storage(items: &[String]) -> Result<Option<Value>, FlagError> {
    if items.iter().any(|i| !i.contains('=')) {
        return Err(FlagError::StorageOpt);
    }
    Ok((!items.is_empty()).then(|| json!(flags::pairs(items))))
}

fn health(f: &ContainerFlags) -> Result<Option<Value>, FlagError> {
    let interval = flags::duration("--health-interval", f.health_interval.as_deref())?;
    let timeout = flags::duration("--health-timeout", f.health_timeout.as_deref())?;
    let start = flags::duration("--health-start-period", f.health_start_period.as_deref())?;
    let start_interval = flags::duration(
        "--health-start-interval",
        f.health_start_interval.as_deref(),
    )?;
    let retries = flags::integer_or("--health-retries", f.health_retries.as_deref(), 0)?;
    let any = f.health_cmd.is_some()
        || [interval, timeout, start, start_interval, retries]
            .iter()
            .any(|n| *n != 0);
    if f.no_healthcheck {
        if any {
            return Err(FlagError::HealthConflict);
        }
        return Ok(Some(json!({"Test": ["NONE"]})));
    }
    if !any {
        return Ok(None);
    }
    let mut out = Map::new();
    if let Some(command) = &f.health_cmd {
        out.insert("Test".into(), json!(["CMD-SHELL", command]));
    }
    for (name, key, value) in [
        ("--health-interval", "Interval", interval),
        ("--health-timeout", "Timeout", timeout),
        ("--health-start-period", "StartPeriod", start),
        ("--health-start-interval", "StartInterval", start_interval),
        ("--health-retries", "Retries", retries),
    ] {
        if value < 0 {
            return Err(FlagError::Negative(name));
        }
        if value != 0 {
            out.insert(key.into(), value.into());
        }
    }
    Ok(Some(out.into()))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::cli::{Command, parse_for_test};

    /// What docker CLI 28.2 sent, or said, to a daemon with API 1.43.
    #[derive(Deserialize)]
    struct Recorded {
        /// The body of `create busybox`.
        base: Value,
        cases: Vec<Case>,
    }

    /// One command line; fields that differ from the base, or the first line of the refusal.
    #[derive(Deserialize)]
    struct Case {
        args: Vec<String>,
        top: Option<Map<String, Value>>,
        #[serde(default)]
        host: Map<String, Value>,
        stderr: Option<String>,
    }

    fn build_for(args: &[String]) -> Result<CreateRequest, String> {
        let flags = match parse_for_test(args)? {
            Command::Run(run) => {
                let mut request = build_with(&run.container)?;
                if run.detach {
                    crate::cli::run::detach(&mut request);
                }
                return Ok(request);
            }
            Command::Create(create) => create.container,
            other => panic!("not a case for this test: {other:?}"),
        };
        build_with(&flags)
    }

    fn build_with(flags: &ContainerFlags) -> Result<CreateRequest, String> {
        let var = |k: &str| match k {
            "FOO" => Some("foo-env".to_owned()),
            _ => None,
        };
        let around = Surroundings {
            var: &var,
            cwd: "/work",
        };
        build(flags, &around).map_err(|e| e.to_string())
    }

    #[test]
    fn bodies_and_refusals_are_those_of_docker() {
        let recorded: Recorded =
            serde_json::from_str(include_str!("testdata/create_bodies.json")).unwrap();
        assert!(recorded.cases.len() > 100, "{}", recorded.cases.len());
        let mut wrong = Vec::new();
        for case in recorded.cases {
            let body = case.top.map(|mut top| {
                let mut body = recorded.base.clone();
                fields(&mut body).append(&mut top);
                fields(&mut body["HostConfig"]).append(&mut case.host.clone());
                body
            });
            let ours = build_for(&case.args);
            match (&body, case.stderr, ours) {
                (Some(body), _, Ok(request)) => {
                    if request.body != *body {
                        wrong.push(format!(
                            "{:?}\n  docker {body}\n  ours   {}",
                            case.args, request.body
                        ));
                    }
                }
                (None, Some(text), Err(ours)) => {
                    let text = text.strip_prefix("docker: ").unwrap_or(&text);
                    if ours != text {
                        wrong.push(format!("{:?}\n  docker {text}\n  ours   {ours}", case.args));
                    }
                }
                (_, text, ours) => wrong.push(format!(
                    "{:?}\n  docker {text:?}\n  ours   {ours:?}",
                    case.args
                )),
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
