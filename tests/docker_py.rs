//! docker-py, unmodified: the calls that its users make.

use std::process::Command;

use crate::harness::{Daemon, Engine, Run, daemon::scratch};
use crate::need;

const SCRIPT: &str = r#"
import sys, docker
client = docker.DockerClient(base_url=sys.argv[1], version="auto")
assert client.ping()
assert client.version()["ApiVersion"]
assert client.info()["OSType"] == "linux"
out = client.containers.run("tb", ["echo", "hello"], remove=True, network_mode="none")
assert out == b"hello\n", out
try:
    client.containers.run("tb", ["sh", "-c", "echo bad >&2; exit 3"], remove=True, network_mode="none")
    raise SystemExit("no error for exit 3")
except docker.errors.ContainerError as error:
    assert error.exit_status == 3 and b"bad" in error.stderr, error
c = client.containers.run("tb", ["sh", "-c", "for i in 1 2 3; do echo l$i; sleep 0.05; done; exec workload sleep"],
                          detach=True, name="py", labels={"a": "b"}, network_mode="none")
lines = []
for chunk in c.logs(stream=True, follow=True):
    lines.append(chunk)
    if len(lines) == 3:
        break
assert lines == [b"l1\n", b"l2\n", b"l3\n"], lines
assert c.logs(tail=1) == b"l3\n"
assert c.logs(timestamps=True).split(b" ")[0].endswith(b"Z")
c.reload()
assert c.status == "running" and c.attrs["Config"]["Labels"] == {"a": "b"}
assert [x.name for x in client.containers.list(filters={"label": ["a=b"]})] == ["py"]
c.kill("KILL")
assert c.wait()["StatusCode"] == 137
c.remove()
try:
    client.containers.get("py")
    raise SystemExit("py is still there")
except docker.errors.NotFound:
    pass
try:
    client.containers.run("nosuch:image", "true", network_mode="none")
    raise SystemExit("no error for a missing image")
except docker.errors.DockerException:
    pass
assert any("tb:latest" in image.tags for image in client.images.list())
c = client.containers.create("tb", ["cat"], stdin_open=True, network_mode="none")
s = c.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
c.start()
s._sock.sendall(b"typed\n")
head = s.read(8)
assert head == b"\x01\0\0\0\0\0\0\x06", head
assert s.read(6) == b"typed\n"
s.close()
c.remove(force=True)
c = client.containers.create("tb", ["sh", "-c", "echo early"], network_mode="none")
c.start(); c.wait()
assert c.logs(stdout=True, stderr=False) == b"early\n"
c.remove()
print("done")
"#;

#[test]
fn docker_py_works_unmodified() {
    need!(Engine::chosen().ready());
    let python = ["python3", "/usr/bin/python3"].iter().find(|python| {
        Command::new(python)
            .args(["-c", "import docker"])
            .output()
            .is_ok_and(|output| output.status.success())
    });
    let Some(python) = python else {
        crate::harness::skip::skip("the Python package docker is not installed");
        return;
    };
    let daemon = Daemon::start();
    let script = scratch(&daemon, "case.py", SCRIPT.as_bytes());
    let mut command = Command::new(python);
    command
        .arg(script)
        .arg(format!("unix://{}", daemon.socket.display()))
        .env("DOCKER_CONFIG", daemon.root.join("home"));
    Run::new(command).output().code(0).stdout_is("done\n");
    daemon.finish();
}
