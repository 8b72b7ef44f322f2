//! `ContainerConfig` and `NetworkingConfig`.

use serde_json::{Value, json};

use super::{Around, Row, row};
use crate::harness::image::IMAGE;

pub(super) fn rows(_around: &Around) -> Vec<Row> {
    vec![
        row("ContainerConfig.Hostname", json!("h1")).prints("hostname", "h1"),
        row("ContainerConfig.Domainname", json!("d.example"))
            .prints("cat /proc/sys/kernel/domainname", "d.example"),
        row("ContainerConfig.Domainname", json!("d.example"))
            .with(json!({"HostConfig": {"UTSMode": "host"}}))
            .refused(400, "conflicting options: domainname and the UTS mode"),
        row("ContainerConfig.User", json!("1000:1001")).prints("id -u; id -g", "1000\n1001"),
        row("ContainerConfig.User", json!("nosuch")).not_started(500, "unable to find user nosuch"),
        row("ContainerConfig.AttachStdin", json!(true)).elsewhere("terminal, cli_run"),
        row("ContainerConfig.AttachStdout", json!(true)).elsewhere("cli_run"),
        row("ContainerConfig.AttachStderr", json!(true)).elsewhere("cli_run"),
        row("ContainerConfig.ExposedPorts", json!({"80/tcp": {}})).elsewhere("published ports"),
        row("ContainerConfig.Tty", json!(true)).prints("tty", "/dev/pts/0"),
        row("ContainerConfig.OpenStdin", json!(true))
            .prints("readlink /proc/self/fd/0 | cut -d: -f1 | grep -c null", "0"),
        row("ContainerConfig.StdinOnce", json!(true)).elsewhere("cli_run"),
        row("ContainerConfig.Env", json!(["A=b c", "PATH=/bin"]))
            .prints("echo $A $PATH", "b c /bin"),
        row("ContainerConfig.Env", json!(["=x"])).refused(400, "invalid environment variable"),
        row("ContainerConfig.Cmd", json!(["echo", "from", "cmd"])).prints("", "from cmd"),
        row(
            "ContainerConfig.Healthcheck",
            json!({"Test": ["CMD", "true"], "Interval": 60_000_000_000_i64, "Retries": 2}),
        )
        .elsewhere("health checks"),
        row(
            "ContainerConfig.Healthcheck",
            json!({"Test": ["CMD", "true"], "Interval": 5}),
        )
        .refused(400, "Interval in Healthcheck cannot be less than 1ms"),
        row("ContainerConfig.ArgsEscaped", json!(true)).prints("echo 'a b'", "a b"),
        row("ContainerConfig.Image", json!("nosuch:1")).refused(404, "No such image: nosuch:1"),
        row("ContainerConfig.Image", json!(IMAGE)).prints("ls /bin/workload", "/bin/workload"),
        row("ContainerConfig.Volumes", json!({"/v": {}}))
            .prints("grep -c ' /v ' /proc/mounts", "1"),
        row("ContainerConfig.WorkingDir", json!("/tmp/w")).prints("pwd", "/tmp/w"),
        row("ContainerConfig.WorkingDir", json!("w"))
            .refused(400, "the working directory 'w' is invalid"),
        row("ContainerConfig.Entrypoint", json!(["echo", "entry"])).prints("x", "entry sh -c x"),
        row("ContainerConfig.NetworkDisabled", json!(true))
            .with(json!({"HostConfig": {"NetworkMode": "default"}}))
            .prints("ls /sys/class/net", "lo"),
        row("ContainerConfig.MacAddress", json!("02:42:0a:00:00:05")).elsewhere("networks"),
        row("ContainerConfig.OnBuild", json!(["RUN true"]))
            .elsewhere("kept alone: there is no build"),
        row("ContainerConfig.Labels", json!({"a": "b"})).elsewhere("ps filters"),
        row("ContainerConfig.StopSignal", json!("SIGINT")).elsewhere("lifecycle"),
        row("ContainerConfig.StopSignal", json!("NOSUCH")).refused(400, "Invalid signal: NOSUCH"),
        row("ContainerConfig.StopTimeout", json!(3)).elsewhere("lifecycle"),
        row("ContainerConfig.Shell", json!(["/bin/ash"]))
            .elsewhere("kept alone: there is no build"),
        row(
            "NetworkingConfig.EndpointsConfig",
            json!({"default": {"IPAMConfig": {"IPv4Address": "x"}}}),
        )
        .refused(400, "invalid IPv4 address: x"),
        row(
            "NetworkingConfig.EndpointsConfig",
            json!({"a": Value::Null, "b": Value::Null}),
        )
        .refused(
            400,
            "Container cannot be connected to network endpoints: a, b",
        ),
    ]
}
