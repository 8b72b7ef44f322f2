//! Networks from outside: names, published ports, addresses, and what is left of them after kills
//! and removals. Without root or `nft` they are skipped.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::daemon::{Daemon, Engine, Options, taffrail_only};
use crate::harness::{image, procs, skip, wait_for};
use crate::need;

fn ready() -> Result<(), String> {
    taffrail_only()?;
    skip::program("nft")
}

fn with_bridge(config: &str) -> Daemon {
    Daemon::with(Options {
        config: Some(config.to_owned()),
        bridge: true,
        ..Options::default()
    })
}

/// A container that answers each TCP connection on port 80 with the caller's address.
const ECHO: [&str; 7] = ["nc", "-ll", "-p", "80", "-e", "sh", "-c"];

#[track_caller]
fn serve(daemon: &Daemon, options: &[&str]) -> String {
    let mut all = vec!["run", "-d"];
    all.extend(options);
    all.push(image::IMAGE);
    all.extend(ECHO);
    all.push("echo served by $(hostname)");
    let id = daemon.docker(all).output().ok();
    assert_eq!(id.len(), 64, "an id: {id}");
    id
}

/// What a TCP server says at once.
fn ask(address: &str) -> Result<String, String> {
    let address = address.parse().expect("an address");
    let limit = Duration::from_secs(3);
    let mut stream =
        TcpStream::connect_timeout(&address, limit).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(limit)).expect("a time-out");
    // Nothing is sent: a server that ends without reading it would reset the connection.
    let mut text = String::new();
    stream
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    match text.trim() {
        "" => Err("no answer".to_owned()),
        text => Ok(text.to_owned()),
    }
}

#[track_caller]
fn served(address: &str, id: &str) {
    let said = wait_for(address, Duration::from_secs(10), || ask(address).ok());
    assert_eq!(said, format!("served by {}", &id[..12]), "{address}");
}

#[track_caller]
fn host_port(daemon: &Daemon, id: &str, port: &str) -> u16 {
    let inspect = daemon.inspect(id);
    let bound = &inspect["NetworkSettings"]["Ports"][port][0]["HostPort"];
    bound
        .as_str()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| panic!("{port}: {inspect}"))
}

/// An address of this host that is not loopback.
fn host_address() -> Option<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: the kernel only chooses a source.
    socket.connect("192.0.2.1:9").ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then(|| ip.to_string())
}

#[test]
fn services_find_one_another_by_name() {
    need!(ready());
    let daemon = with_bridge("{}");
    daemon.docker(["network", "create", "front"]).output().ok();
    let web = serve(
        &daemon,
        &[
            "--name",
            "web",
            "--network",
            "front",
            "--network-alias",
            "www",
        ],
    );
    let ip = daemon.inspect(&web)["NetworkSettings"]["Networks"]["front"]["IPAddress"].clone();
    let ip = ip.as_str().expect("an address").to_owned();
    let look = |network: &str, name: &str| {
        let words = [
            "run",
            "--rm",
            "--network",
            network,
            image::IMAGE,
            "nslookup",
            name,
        ];
        daemon.docker(words).output().out()
    };
    for name in ["web", "www", &web[..12], "WEB"] {
        assert!(
            look("front", name).contains(&ip),
            "{name}: {}",
            look("front", name)
        );
    }
    assert!(
        look("front", &ip).contains("web.front"),
        "{}",
        look("front", &ip)
    );
    // Who is not in the network does not find it.
    daemon.docker(["network", "create", "back"]).output().ok();
    assert!(!look("back", "web").contains(&ip));
    let reach = [
        "run",
        "--rm",
        "--network",
        "front",
        image::IMAGE,
        "nc",
        "-w",
        "3",
        &ip,
        "80",
    ];
    let said = daemon.docker(reach).output().out();
    assert!(said.contains("served by"), "{said}");
    // From the other network it is not reached at all.
    let reach = [
        "run",
        "--rm",
        "--network",
        "back",
        image::IMAGE,
        "nc",
        "-w",
        "2",
        &ip,
        "80",
    ];
    assert!(!daemon.docker(reach).output().out().contains("served by"));
    // A rename is known at once.
    daemon.docker(["rename", "web", "shop"]).output().ok();
    assert!(look("front", "shop").contains(&ip));
    daemon.docker(["rm", "-f", "shop"]).output().ok();
    daemon
        .docker(["network", "rm", "front", "back"])
        .output()
        .ok();
    daemon.finish();
}

#[test]
fn published_ports_are_reached_and_survive_the_daemon() {
    need!(ready());
    let daemon = with_bridge("{}");
    daemon
        .docker(["network", "create", "--ipv6", "dual"])
        .output()
        .ok();
    let web = serve(
        &daemon,
        &["--network", "dual", "-p", "80", "-p", "127.0.0.1::81/udp"],
    );
    let port = host_port(&daemon, &web, "80/tcp");
    let mut addresses = vec![format!("127.0.0.1:{port}"), format!("[::1]:{port}")];
    addresses.extend(host_address().map(|ip| format!("{ip}:{port}")));
    let all = |state: &str| {
        for address in &addresses {
            served(address, &web);
        }
        let inspect = daemon.inspect(&web);
        assert_eq!(host_port(&daemon, &web, "80/tcp"), port, "{state}");
        inspect["NetworkSettings"]["Networks"]["dual"].clone()
    };
    let before = all("at first");
    assert!(
        before["GlobalIPv6Address"]
            .as_str()
            .is_some_and(|ip| ip.starts_with("fd"))
    );
    // The port is held: nobody else gets it unnoticed.
    assert!(TcpListener::bind(("0.0.0.0", port)).is_err());
    daemon.kill();
    for address in &addresses {
        served(address, &web);
    }
    daemon.launch();
    assert_eq!(all("after a kill of the daemon"), before);
    daemon.docker(["rm", "-f", &web]).output().ok();
    // The port may be another case's by now; `finish` sees who still holds it for this daemon.
    daemon.docker(["network", "rm", "dual"]).output().ok();
    daemon.finish();
}

#[test]
fn datagrams_come_back() {
    need!(ready());
    need!(skip::program("nsenter"));
    need!(skip::program("python3"));
    let daemon = with_bridge("{}");
    let words = [
        "run",
        "-d",
        "-p",
        "127.0.0.1::53/udp",
        image::IMAGE,
        "sleep",
        "600",
    ];
    let id = daemon.docker(words).output().ok();
    let port = host_port(&daemon, &id, "53/udp");
    let key = daemon.inspect(&id)["NetworkSettings"]["SandboxKey"].clone();
    // The image has no program that answers datagrams; one of the host's does, in its namespace.
    let mut server = std::process::Command::new("nsenter")
        .arg(format!("--net={}", key.as_str().expect("a namespace")))
        .args(["python3", "-c"])
        .arg(
            "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
             s.bind(('0.0.0.0', 53))\n\
             while True:\n    data, sender = s.recvfrom(2048)\n    s.sendto(data[::-1], sender)\n",
        )
        .spawn()
        .expect("nsenter");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let limit = Some(Duration::from_millis(500));
    socket.set_read_timeout(limit).expect("a time-out");
    let answer = wait_for("an answer", Duration::from_secs(20), || {
        socket.send_to(b"abc", ("127.0.0.1", port)).ok()?;
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer).ok()?;
        Some(buffer[..length].to_vec())
    });
    let _ = server.kill();
    let _ = server.wait();
    assert_eq!(answer, b"cba");
    daemon.finish();
}

#[test]
fn the_callers_address_is_kept() {
    need!(ready());
    let Some(host) = host_address() else {
        return;
    };
    let daemon = with_bridge("{}");
    let words = [
        "run",
        "-d",
        "-p",
        "80",
        image::IMAGE,
        "httpd",
        "-f",
        "-v",
        "-p",
        "80",
        "-h",
        "/",
    ];
    let id = daemon.docker(words).output().ok();
    let port = host_port(&daemon, &id, "80/tcp");
    let logs = wait_for("a line of the server", Duration::from_secs(20), || {
        let mut stream = TcpStream::connect(format!("{host}:{port}")).ok()?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        let logs = daemon.docker(["logs", &id]).output();
        let all = format!("{}{}", logs.out(), logs.err());
        all.contains("response").then_some(all)
    });
    assert!(logs.contains(&host), "{host}: {logs}");
    daemon.finish();
}

#[test]
fn connect_and_disconnect_while_it_runs() {
    need!(ready());
    let daemon = with_bridge("{}");
    daemon
        .docker(["network", "create", "--subnet", "10.211.77.0/24", "late"])
        .output()
        .ok();
    let id = daemon
        .docker(["run", "-d", image::IMAGE, "sleep", "600"])
        .output()
        .ok();
    let addresses = |id: &str| {
        let mode = format!("container:{id}");
        daemon
            .docker([
                "run",
                "--rm",
                "--network",
                &mode,
                image::IMAGE,
                "ip",
                "-4",
                "addr",
            ])
            .output()
            .out()
    };
    daemon
        .docker([
            "network",
            "connect",
            "--ip",
            "10.211.77.9",
            "--alias",
            "two",
            "late",
            &id,
        ])
        .output()
        .ok();
    assert!(
        addresses(&id).contains("10.211.77.9/24"),
        "{}",
        addresses(&id)
    );
    let found = [
        "run",
        "--rm",
        "--network",
        "late",
        image::IMAGE,
        "nslookup",
        "two",
    ];
    assert!(daemon.docker(found).output().out().contains("10.211.77.9"));
    let members = &daemon.get("/networks/late")["Containers"];
    assert_eq!(members[&id]["IPv4Address"], "10.211.77.9/24", "{members}");
    let twice = daemon.docker(["network", "connect", "late", &id]).output();
    assert!(
        twice.err().contains("already exists in network late"),
        "{}",
        twice.err()
    );
    daemon
        .docker(["network", "disconnect", "bridge", &id])
        .output()
        .ok();
    let left = addresses(&id);
    assert!(
        left.contains("10.211.77.9") && !left.contains("eth0"),
        "{left}"
    );
    daemon
        .docker(["network", "disconnect", "late", &id])
        .output()
        .ok();
    assert!(!addresses(&id).contains("eth"), "{}", addresses(&id));
    daemon.docker(["network", "rm", "late"]).output().ok();
    daemon.finish();
}

#[test]
fn what_cannot_be_is_said_in_dockers_words() {
    need!(ready());
    let daemon = with_bridge("{}");
    let create = |body: Value| {
        let answer = daemon.api("POST", "/networks/create", Some(&body));
        (answer.status, answer.text())
    };
    let small = json!({"Name": "small", "IPAM": {"Config": [{"Subnet": "10.211.78.0/30"}]}});
    assert_eq!(create(small.clone()).0, 201);
    assert!(
        create(small)
            .1
            .contains("network with name small already exists")
    );
    for (body, status, text) in [
        (
            json!({"Name": "host"}),
            403,
            "operation is not permitted on predefined host network",
        ),
        (json!({"Name": "x", "Driver": "macvlan"}), 501, "macvlan"),
        (
            json!({"Name": "x", "Driver": "nope"}),
            404,
            "plugin \\\"nope\\\" not found",
        ),
        (
            json!({"Name": "x", "Options": {"a": "b"}}),
            400,
            "network option a is not supported",
        ),
        (
            json!({"Name": "x", "IPAM": {"Config": [{"Subnet": "10.211.78.0/24"}]}}),
            403,
            "Pool overlaps with other one on this address space",
        ),
    ] {
        let said = create(body);
        assert_eq!(said.0, status, "{}", said.1);
        assert!(said.1.contains(text), "{}", said.1);
    }
    // A /30 has an address for the gateway and one for a container.
    let first = daemon
        .docker([
            "run",
            "-d",
            "--network",
            "small",
            image::IMAGE,
            "sleep",
            "600",
        ])
        .output()
        .ok();
    let more = daemon
        .docker(["run", "--rm", "--network", "small", image::IMAGE, "true"])
        .output();
    assert!(
        more.err()
            .contains("no available IPv4 addresses on this network's address pools: small"),
        "{}",
        more.err()
    );
    let remove = daemon.api("DELETE", "/networks/small", None);
    assert_eq!(remove.status, 403);
    assert!(
        remove.text().contains("has active endpoints"),
        "{}",
        remove.text()
    );
    assert_eq!(daemon.api("DELETE", "/networks/bridge", None).status, 403);
    assert_eq!(daemon.api("GET", "/networks/nosuch", None).status, 404);
    daemon.docker(["rm", "-f", &first]).output().ok();
    // A port that another program has, and one of another container.
    let taken = TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = taken.local_addr().expect("a port").port();
    let binding = format!("{port}:80");
    let busy = daemon
        .docker(["run", "--rm", "-p", &binding, image::IMAGE, "true"])
        .output();
    assert!(
        busy.err().contains("address already in use"),
        "{}",
        busy.err()
    );
    let one = serve(&daemon, &["-p", "80"]);
    let binding = format!("{}:80", host_port(&daemon, &one, "80/tcp"));
    let busy = daemon
        .docker(["run", "--rm", "-p", &binding, image::IMAGE, "true"])
        .output();
    assert!(
        busy.err().contains("failed: port is already allocated"),
        "{}",
        busy.err()
    );
    daemon.docker(["network", "rm", "small"]).output().ok();
    daemon.finish();
}

#[test]
fn an_internal_network_has_no_way_out() {
    need!(ready());
    let daemon = with_bridge("{}");
    daemon
        .docker(["network", "create", "--internal", "inside"])
        .output()
        .ok();
    let run = |words: &[&str]| {
        let mut all = vec!["run", "--rm", "--network", "inside", image::IMAGE];
        all.extend(words);
        daemon.docker(all).output().out()
    };
    assert!(!run(&["ip", "route"]).contains("default"));
    if let Some(host) = host_address() {
        assert!(
            !run(&["sh", "-c", &format!("ping -c 1 -W 1 {host} || true")])
                .contains("1 packets received")
        );
    }
    daemon.docker(["network", "rm", "inside"]).output().ok();
    daemon.finish();
}

#[test]
fn two_daemons_do_not_meet() {
    need!(ready());
    let (one, two) = (with_bridge("{}"), with_bridge("{}"));
    let (a, b) = (serve(&one, &["-p", "80"]), serve(&two, &["-p", "80"]));
    for (daemon, id) in [(&one, &a), (&two, &b)] {
        served(
            &format!("127.0.0.1:{}", host_port(daemon, id, "80/tcp")),
            id,
        );
    }
    let subnet =
        |daemon: &Daemon| daemon.get("/networks/bridge")["IPAM"]["Config"][0]["Subnet"].clone();
    assert_ne!(subnet(&one), subnet(&two));
    two.finish();
    served(&format!("127.0.0.1:{}", host_port(&one, &a, "80/tcp")), &a);
    one.finish();
}

#[test]
fn what_died_without_a_daemon_is_cleared_up() {
    need!(ready());
    let daemon = with_bridge("{}");
    let id = serve(&daemon, &["-p", "80"]);
    let port = host_port(&daemon, &id, "80/tcp");
    served(&format!("127.0.0.1:{port}"), &id);
    let pid = daemon.container_pid(&id);
    daemon.kill();
    let process = procs::Process::read(pid).expect("the container's process");
    process.kill();
    process.wait_gone(Duration::from_secs(10));
    daemon.launch();
    wait_for("the namespace is gone", Duration::from_secs(10), || {
        let entries = fs::read_dir(daemon.exec_root.join("netns")).expect("the folder");
        (entries.count() == 0).then_some(())
    });
    daemon.docker(["start", &id]).output().ok();
    served(
        &format!("127.0.0.1:{port}", port = host_port(&daemon, &id, "80/tcp")),
        &id,
    );
    daemon.finish();
}

/// Half-made things of a start in which the daemon was killed.
#[test]
fn kills_in_the_middle_of_a_start_leave_nothing() {
    need!(ready());
    let daemon = with_bridge("{}");
    daemon.docker(["network", "create", "n"]).output().ok();
    for round in 0..6 {
        let name = format!("c{round}");
        let words = [
            "create",
            "--name",
            &name,
            "--network",
            "n",
            "-p",
            "80",
            image::IMAGE,
            "sleep",
            "600",
        ];
        daemon.docker(words).output().ok();
        let mut start = daemon.docker_command();
        start.args(["start", &name]);
        start
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        let mut start = start.spawn().expect("docker start");
        // At another moment each time.
        std::thread::sleep(Duration::from_millis(20 * round));
        daemon.kill();
        let _ = start.wait();
        daemon.launch();
    }
    let ids = daemon.get("/containers/json?all=1");
    for container in ids.as_array().into_iter().flatten() {
        let id = container["Id"].as_str().unwrap_or_default();
        daemon.docker(["rm", "-f", id]).output().ok();
    }
    daemon.docker(["network", "rm", "n"]).output().ok();
    assert_eq!(daemon.engine, Engine::Taffrail);
    daemon.finish();
}
