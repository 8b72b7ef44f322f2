//! `HostConfig` without its limits.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{Around, Row, row};

/// Devices of the Container Device Interface, one file in JSON and one in YAML.
pub(super) fn write_devices(around: &Around, dir: &Path) {
    fs::create_dir(dir).expect("a folder");
    let shared = around.dir.join("shared");
    fs::write(&shared, "from the host\n").expect("a file");
    let acme = json!({
        "cdiVersion": "0.6.0", "kind": "acme.org/thing",
        "devices": [{"name": "one", "containerEdits": {
            "env": ["THING=one"],
            "deviceNodes": [{"path": "/dev/thing", "hostPath": "/dev/null"}],
            "mounts": [{"hostPath": shared, "containerPath": "/tmp/shared", "options": ["ro", "bind"]}],
            "hooks": [{
                "hookName": "createRuntime", "path": "/bin/sh",
                "args": ["sh", "-c", format!("echo hook >> {}", shared.display())],
            }],
        }}],
    });
    fs::write(dir.join("acme.json"), acme.to_string()).expect("a file");
    let gpu = "cdiVersion: 0.6.0\nkind: nvidia.com/gpu\ndevices:\n- name: \"0\"\n  containerEdits:\n    deviceNodes:\n    - {path: /dev/nvidia0, hostPath: /dev/null, permissions: rw}\n";
    fs::write(dir.join("gpu.yaml"), gpu).expect("a file");
}

pub(super) fn rows(around: &Around) -> Vec<Row> {
    [
        storage(around),
        network(),
        namespaces(around),
        security(),
        devices(),
        life(around),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn storage(around: &Around) -> Vec<Row> {
    let source = around.dir.join("source");
    fs::create_dir(&source).expect("a folder");
    let bind = format!("{}:/tmp/b:ro", source.display());
    vec![
        row("HostConfig.Binds", json!([bind])).prints("grep -c ' /tmp/b ' /proc/mounts", "1"),
        row("HostConfig.Binds", json!(["/a:b"])).refused(400, "mount path must be absolute"),
        row("HostConfig.VolumeDriver", json!("local")).elsewhere("volumes"),
        row("HostConfig.VolumesFrom", json!([])).elsewhere("volumes"),
        row(
            "HostConfig.Mounts",
            json!([{"Type": "bind", "Source": source, "Target": "/tmp/m"}]),
        )
        .prints("grep -c ' /tmp/m ' /proc/mounts", "1"),
        row(
            "HostConfig.Mounts",
            json!([{"Type": "wrong", "Target": "/tmp/m"}]),
        )
        .refused(400, "mount type unknown"),
        row("HostConfig.Tmpfs", json!({"/tmp/t": "size=64k,mode=700"})).prints(
            "df -k /tmp/t | awk 'END {print $2}'; stat -c %a /tmp/t",
            "64\n700",
        ),
        row("HostConfig.StorageOpt", json!({"size": "1G"})).refused(
            400,
            "--storage-opt is supported only for overlay over xfs with 'pquota' mount option",
        ),
        row("HostConfig.ReadonlyRootfs", json!(true))
            .has("touch /x 2>&1", "touch: /x: Read-only file system"),
        row("HostConfig.ShmSize", json!(1 << 20))
            .prints("df -k /dev/shm | awk 'END {print $2}'", "1024"),
        row("HostConfig.ShmSize", json!(-1)).refused(400, "SHM size can not be less than 0"),
    ]
}

fn network() -> Vec<Row> {
    vec![
        row("HostConfig.NetworkMode", json!("none")).prints("ls /sys/class/net", "lo"),
        row(
            "HostConfig.PortBindings",
            json!({"80/tcp": [{"HostIp": "", "HostPort": "x"}]}),
        )
        .refused(400, "invalid port specification"),
        row("HostConfig.PublishAllPorts", json!(true)).elsewhere("published ports"),
        row("HostConfig.Dns", json!(["10.9.8.7"]))
            .has("cat /etc/resolv.conf", "nameserver 10.9.8.7"),
        row("HostConfig.DnsOptions", json!(["ndots:3"]))
            .with(json!({"HostConfig": {"Dns": ["10.9.8.7"]}}))
            .has("cat /etc/resolv.conf", "options ndots:3"),
        row("HostConfig.DnsSearch", json!(["d.example"]))
            .with(json!({"HostConfig": {"Dns": ["10.9.8.7"]}}))
            .has("cat /etc/resolv.conf", "search d.example"),
        row("HostConfig.ExtraHosts", json!(["h2:10.1.2.3"]))
            .prints("awk '$2 == \"h2\" {print $1}' /etc/hosts", "10.1.2.3"),
        row("HostConfig.ExtraHosts", json!(["h2"])).refused(400, "bad format for add-host"),
        // The walk runs without a network; what links do is in `links`.
        row("HostConfig.Links", json!(["nosuch:l"]))
            .refused(400, "link nosuch:l with --network none"),
    ]
}

fn namespaces(around: &Around) -> Vec<Row> {
    let link = |name: &str| {
        fs::read_link(format!("/proc/self/ns/{name}"))
            .expect("a namespace")
            .display()
            .to_string()
    };
    let host = |field: &'static str, name: &str| {
        row(field, json!("host")).prints(&format!("readlink /proc/self/ns/{name}"), &link(name))
    };
    let group = format!("/{}", around.group);
    vec![
        host("HostConfig.PidMode", "pid"),
        row("HostConfig.PidMode", json!("wrong")).refused(400, "invalid PID mode: wrong"),
        host("HostConfig.IpcMode", "ipc"),
        row("HostConfig.IpcMode", json!("none")).prints("ls /dev/shm /dev/mqueue 2>/dev/null", ""),
        row("HostConfig.IpcMode", json!("wrong")).refused(400, "invalid IPC mode: wrong"),
        host("HostConfig.UTSMode", "uts"),
        row("HostConfig.UTSMode", json!("wrong")).refused(400, "invalid UTS mode: wrong"),
        host("HostConfig.UsernsMode", "user"),
        row("HostConfig.UsernsMode", json!("private")).refused(400, "invalid user namespace mode"),
        host("HostConfig.CgroupnsMode", "cgroup"),
        row("HostConfig.CgroupnsMode", json!("private"))
            .prints("cut -d: -f3 /proc/self/cgroup | sort -u", "/"),
        row("HostConfig.CgroupnsMode", json!("wrong"))
            .refused(400, "invalid cgroup namespace mode: wrong"),
        row("HostConfig.CgroupParent", json!(group))
            .with(json!({"HostConfig": {"CgroupnsMode": "host"}}))
            .prints(
                "grep -E '(pids|0:):' /proc/self/cgroup | head -n1 | cut -d: -f3 | cut -d/ -f2",
                group.trim_start_matches('/'),
            ),
        row("HostConfig.Cgroup", json!("container:x")).refused(400, "use CgroupParent"),
        row("HostConfig.Isolation", json!("default")).prints("echo in", "in"),
        row("HostConfig.Isolation", json!("hyperv")).refused(400, "linux only supports 'default'"),
        row(
            "HostConfig.Sysctls",
            json!({"net.ipv4.ip_forward": "1", "kernel.msgmax": "9000"}),
        )
        .prints(
            "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax",
            "1\n9000",
        ),
        // Never the host's own.
        row("HostConfig.Sysctls", json!({"vm.swappiness": "61"})).not_started(500, "vm.swappiness"),
        row("HostConfig.Sysctls", json!({"net.ipv4.ip_forward": "1"}))
            .with(json!({"HostConfig": {"NetworkMode": "host"}}))
            .not_started(500, "not allowed in host network namespace"),
        row("HostConfig.Sysctls", json!({"kernel.msgmax": "9000"}))
            .with(json!({"HostConfig": {"IpcMode": "host"}}))
            .not_started(500, "kernel.msgmax"),
        row("HostConfig.GroupAdd", json!(["7", "nogroup"])).prints("id -G", "0 7 65534"),
        row("HostConfig.GroupAdd", json!(["nosuch"]))
            .not_started(500, "unable to find group nosuch"),
    ]
    .into_iter()
    .filter(|row| {
        around.v2
            || Path::new("/proc/self/ns/cgroup").exists()
            || row.field != "HostConfig.CgroupnsMode"
    })
    .collect()
}

fn security() -> Vec<Row> {
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}],
    });
    let option = |text: &str| row("HostConfig.SecurityOpt", json!([text]));
    let caps = "grep CapBnd /proc/self/status | cut -f2";
    vec![
        row("HostConfig.CapAdd", json!(["CAP_NET_ADMIN"])).prints(caps, "00000000a80435fb"),
        row("HostConfig.CapAdd", json!(["NOSUCH"]))
            .refused(400, "invalid CapAdd: unknown capability"),
        row("HostConfig.CapDrop", json!(["CAP_CHOWN"])).prints(caps, "00000000a80425fa"),
        row("HostConfig.CapDrop", json!(["NOSUCH"]))
            .refused(400, "invalid CapDrop: unknown capability"),
        option("no-new-privileges").prints("grep NoNewPrivs /proc/self/status | cut -f2", "1"),
        option("seccomp=unconfined").prints("grep '^Seccomp:' /proc/self/status | cut -f2", "0"),
        option(&format!("seccomp={profile}")).has(
            "mkdir /tmp/x 2>&1",
            "mkdir: can't create directory '/tmp/x': Operation not permitted",
        ),
        option("seccomp=nojson").refused(400, "decoding seccomp profile failed"),
        option("systempaths=unconfined")
            .prints("grep -cE ' /proc/(kcore|sys|bus) ' /proc/mounts", "0"),
        option("label=disable").prints("echo in", "in"),
        option("apparmor=unconfined").prints("echo in", "in"),
        option("credentialspec=file://x").refused(400, "invalid --security-opt"),
        option("nonsense").refused(400, "invalid --security-opt"),
        row("HostConfig.MaskedPaths", json!(["/proc/version"]))
            .prints("wc -c < /proc/version", "0"),
        row("HostConfig.ReadonlyPaths", json!(["/tmp"]))
            .has("touch /tmp/x 2>&1", "touch: /tmp/x: Read-only file system"),
    ]
}

fn devices() -> Vec<Row> {
    let open_60 = "mknod /tmp/k c 60 0; cat /tmp/k 2>&1";
    let node = |to: &str, access: &str| json!([{"PathOnHost": "/dev/null", "PathInContainer": to, "CgroupPermissions": access}]);
    let cdi = |name: &str| json!([{"Driver": "cdi", "Count": 0, "DeviceIDs": [name], "Capabilities": null, "Options": null}]);
    let gpus = |count: i64, capability: &str| json!([{"Driver": "", "Count": count, "DeviceIDs": null, "Capabilities": [[capability]], "Options": {}}]);
    vec![
        row("HostConfig.Devices", node("/dev/nothing", "rwm"))
            .prints("stat -c '%F %t,%T' /dev/nothing", "character special file 1,3"),
        // A folder gives all devices in it.
        row(
            "HostConfig.Devices",
            json!([{"PathOnHost": "/dev/pts", "PathInContainer": "/dev/p", "CgroupPermissions": "r"}]),
        )
        .prints("ls /dev/p | grep -c ptmx", "1"),
        row("HostConfig.Devices", node("/dev/nothing", "x")).refused(400, "invalid device mode: x"),
        row(
            "HostConfig.Devices",
            json!([{"PathOnHost": "/dev/nosuch", "PathInContainer": "/dev/x", "CgroupPermissions": "r"}]),
        )
        .not_started(500, "error gathering device information"),
        // A number for local use, behind which there is nothing: who may open it gets to know that.
        row("HostConfig.DeviceCgroupRules", json!(["c 60:0 rw"]))
            .has(open_60, "cat: can't open '/tmp/k': No such device or address"),
        row("HostConfig.DeviceCgroupRules", json!([]))
            .has(open_60, "cat: can't open '/tmp/k': Operation not permitted"),
        row("HostConfig.DeviceCgroupRules", json!(["c 1 rw"]))
            .refused(400, "invalid device cgroup rule format"),
        row("HostConfig.DeviceRequests", cdi("acme.org/thing=one")).prints(
            "echo $THING; stat -c '%F' /dev/thing; cat /tmp/shared",
            "one\ncharacter special file\nfrom the host\nhook",
        ),
        row("HostConfig.DeviceRequests", gpus(1, "gpu")).prints("ls /dev/nvidia0", "/dev/nvidia0"),
        row("HostConfig.DeviceRequests", cdi("acme.org/thing=two")).not_started(
            500,
            "CDI device injection failed: unresolvable CDI devices acme.org/thing=two",
        ),
        row("HostConfig.DeviceRequests", gpus(-1, "tpu")).not_started(
            500,
            "could not select device driver \\\"\\\" with capabilities: [[tpu]]",
        ),
        row("HostConfig.DeviceRequests", json!([{"Driver": "cdi", "Count": 1}]))
            .refused(400, "unexpected count in CDI device request"),
        row("HostConfig.Privileged", json!(true))
            .with(json!({"HostConfig": {"Devices": (node("/dev/nothing", "rwm"))}}))
            .prints("ls /dev/nothing; grep Seccomp: /proc/self/status | cut -f2", "/dev/nothing\n0"),
    ]
}

fn life(around: &Around) -> Vec<Row> {
    let file = around.dir.join("id");
    vec![
        row("HostConfig.ContainerIDFile", json!(file)).elsewhere("the client writes it: cli_run"),
        row(
            "HostConfig.LogConfig",
            json!({"Type": "json-file", "Config": {"max-size": "10m"}}),
        )
        .elsewhere("logs, drivers"),
        row(
            "HostConfig.LogConfig",
            json!({"Type": "nosuch", "Config": {}}),
        )
        .refused(400, "error looking up logging plugin nosuch"),
        row(
            "HostConfig.RestartPolicy",
            json!({"Name": "on-failure", "MaximumRetryCount": 2}),
        )
        .elsewhere("restart_policy"),
        row("HostConfig.RestartPolicy", json!({"Name": "wrong"}))
            .refused(400, "invalid restart policy 'wrong'"),
        row("HostConfig.AutoRemove", json!(true)).elsewhere("lifecycle"),
        row("HostConfig.ConsoleSize", json!([40, 100]))
            .with(json!({"Tty": true}))
            .prints("stty size", "40 100"),
        row("HostConfig.Annotations", json!({"org.example.a": "b"}))
            .elsewhere("annotations, below"),
        row("HostConfig.Annotations", json!({"": "b"})).refused(
            400,
            "the empty string is not permitted as an annotation key",
        ),
        row("HostConfig.Runtime", json!("runc")).elsewhere("inside"),
        row("HostConfig.Runtime", json!("nosuch")).refused(400, "nosuch"),
        row("HostConfig.Init", json!(false)).prints("cat /proc/1/comm", "cat"),
        row("HostConfig.OomScoreAdj", json!(500)).prints("cat /proc/self/oom_score_adj", "500"),
        row("HostConfig.OomScoreAdj", json!(1001)).refused(400, "range for oom score adj"),
    ]
    .into_iter()
    .map(with_nulls)
    .collect()
}

/// As Go clients send it: fields that are not given are null.
fn with_nulls(row: Row) -> Row {
    row.with(json!({"HostConfig": {"Binds": Value::Null, "GroupAdd": Value::Null}}))
}
