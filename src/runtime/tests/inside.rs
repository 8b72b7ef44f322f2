//! What a container's process sees.

use super::*;

#[test]
fn a_default_container_is_as_docker_makes_it() {
    let Some(case) = Case::new() else { return };
    let mut config = shell(
        "grep -E '^(CapEff|CapPrm|CapBnd|CapInh|Seccomp|NoNewPrivs)' /proc/self/status
         hostname; id; pwd; env; cat /etc/hostname; cat /etc/hosts
         echo pid $$; cat /proc/self/oom_score_adj
         touch /proc/sys/kernel/x /sys/x 2>&1
         echo 1 > /proc/sys/vm/swappiness
         for p in $MASKED; do
           [ -e $p ] && ! grep -q \" $p \" /proc/self/mounts && echo not masked: $p; done
         echo firmware $(ls /sys/firmware | wc -l)
         for d in /sys/fs/cgroup /sys/fs/cgroup/memory; do
           [ -d $d ] && mkdir $d/x 2>&1; done
         ls /dev; ip addr show lo; ip link | grep -c :.*mtu
         mknod /tmp/ok c 1 3 && echo > /tmp/ok && echo null allowed
         mknod /tmp/mem c 1 1 && cat /tmp/mem
         grep ' /dev' /proc/self/mounts; grep 'Max open' /proc/self/limits
         touch /written && echo root writable
         cat /proc/sys/net/ipv4/ip_unprivileged_port_start
         mount -t tmpfs x /tmp",
    );
    config.env = vec![format!("MASKED={}", default_masked_paths().join(" "))];
    let out = case.run(&config, &HostConfig::default());
    for line in [
        "CapEff:\t00000000a80425fb",
        "CapPrm:\t00000000a80425fb",
        "CapBnd:\t00000000a80425fb",
        "CapInh:\t0000000000000000",
        "NoNewPrivs:\t0",
        "Seccomp:\t2",
        "uid=0(root) gid=0(root) groups=0(root)",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME=/root",
        "pid 1",
        "0",
        "firmware 0",
        "null allowed",
        "root writable",
    ] {
        out.has(line);
    }
    assert!(!out.text.contains("not masked"), "{}", out.text);
    let short = &case.id[..12];
    out.has(short);
    out.has(&format!("HOSTNAME={short}"));
    out.has(&format!("127.0.0.1\t{short}"));
    assert!(
        out.text
            .contains("can't create /proc/sys/vm/swappiness: Read-only file system"),
        "{}",
        out.text
    );
    assert!(
        out.text.contains("touch: /sys/x: Read-only file system"),
        "{}",
        out.text
    );
    // On version 1 runc leaves the folder above the hierarchies writable.
    if case.layout.is_v2() || case.runtime.path.ends_with("taffrail-runtime") {
        assert!(
            out.text
                .contains("can't create directory '/sys/fs/cgroup/x': Read-only file system"),
            "{}",
            out.text
        );
    }
    if !case.layout.is_v2() {
        assert!(
            out.text.contains(
                "can't create directory '/sys/fs/cgroup/memory/x': Read-only file system"
            ),
            "{}",
            out.text
        );
    }
    for device in [
        "null", "zero", "full", "random", "urandom", "tty", "ptmx", "shm", "mqueue", "pts",
    ] {
        out.has(device);
    }
    assert!(out.text.contains("inet 127.0.0.1/8"), "{}", out.text);
    assert!(out.text.contains("LOOPBACK,UP"), "{}", out.text);
    assert!(
        out.text
            .contains("can't open '/tmp/mem': Operation not permitted"),
        "{}",
        out.text
    );
    assert!(
        out.text
            .lines()
            .any(|l| l.contains("/dev tmpfs") && l.contains("size=65536k")),
        "{}",
        out.text
    );
    assert!(
        out.text
            .lines()
            .any(|l| l.contains("/dev/shm tmpfs") && l.contains("size=65536k")),
        "{}",
        out.text
    );
    assert!(
        out.text.contains("mount: permission denied"),
        "{}",
        out.text
    );
    assert!(out.warnings.is_empty(), "{:?}", out.warnings);
}

#[test]
fn settings_reach_the_process() {
    let Some(mut case) = Case::new() else { return };
    case.defaults.insert(
        "core".into(),
        Ulimit {
            name: "core".into(),
            soft: 7 * 512,
            hard: 8 * 512,
        },
    );
    fs::create_dir(case.path("bound")).unwrap();
    fs::write(case.path("bound/f"), "bound file\n").unwrap();
    let config = ContainerConfig {
        hostname: "harbour".into(),
        user: "web".into(),
        working_dir: "/srv/./web".into(),
        env: vec!["A=b c".into(), "PATH=/bin".into()],
        entrypoint: strings(&["sh", "-c"]),
        cmd: strings(&["grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status
             hostname; id; pwd; env; cat /bound/f; touch /bound/x; touch /root-x
             touch /scratch/x && echo scratch writable; grep scratch /proc/self/mounts
             ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj
             grep 'Max core' /proc/self/limits
             cat /etc/hosts /etc/resolv.conf
             cat /data/file; echo x > /data/file || echo refused
             cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max
             cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max
             cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max
             cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/domainname
             ls -l /dev/extra; grep shm /proc/self/mounts; cat /proc/keys"]),
        domainname: "example.org".into(),
        volumes: Some([("/data".to_owned(), serde_json::json!({}))].into()),
        ..Default::default()
    };
    let host = HostConfig {
        binds: strings(&[&format!("{}:/bound:ro", case.path("bound").display())]),
        tmpfs: Some([("/scratch".to_owned(), "size=1m,mode=1777".to_owned())].into()),
        readonly_rootfs: true,
        group_add: strings(&["77"]),
        cap_add: strings(&["NET_ADMIN"]),
        security_opt: strings(&["no-new-privileges"]),
        memory: 64 << 20,
        nano_cpus: 500_000_000,
        pids_limit: Some(50),
        shm_size: 1 << 20,
        oom_score_adj: 123,
        network_mode: "none".into(),
        dns: vec!["9.9.9.9".into()],
        extra_hosts: strings(&["db:10.0.0.7"]),
        sysctls: Some([("net.ipv4.ip_forward".to_owned(), "1".to_owned())].into()),
        ulimits: Some(vec![Ulimit {
            name: "nofile".into(),
            soft: 333,
            hard: 444,
        }]),
        devices: Some(vec![DeviceMapping {
            path_on_host: "/dev/null".into(),
            path_in_container: "/dev/extra".into(),
            cgroup_permissions: "rwm".into(),
        }]),
        ..Default::default()
    };
    validate_create(&config, &host, Path::new("/var/lib/taffrail")).unwrap();
    let out = case.run(&config, &host);
    for line in [
        "CapEff:\t0000000000000000",
        "CapBnd:\t00000000a80435fb",
        "NoNewPrivs:\t1",
        "harbour",
        "uid=1000(web) gid=1001(web) groups=50(log),77,1001(web)",
        "/srv/web",
        "PWD=/srv/web",
        "A=b c",
        "HOSTNAME=harbour",
        "HOME=/srv/web",
        "bound file",
        "scratch writable",
        "333",
        "444",
        "123",
        "10.0.0.7\tdb",
        "nameserver 9.9.9.9",
        "from the image",
        "refused",
        "1",
        "50",
        "example.org",
        "67108864",
    ] {
        out.has(line);
    }
    assert!(
        out.text.contains("touch: /bound/x: Read-only file system"),
        "{}",
        out.text
    );
    assert!(
        out.text.contains("touch: /root-x: Read-only file system"),
        "{}",
        out.text
    );
    assert!(
        out.text
            .lines()
            .any(|l| l == "50000" || l == "50000 100000"),
        "{}",
        out.text
    );
    let fields = |start: &str| -> Vec<String> {
        let line = out.text.lines().find(|l| l.starts_with(start)).unwrap();
        line.split_whitespace().map(str::to_owned).collect()
    };
    assert_eq!(fields("Max core")[4..6], ["3584", "4096"]);
    let scratch = out
        .text
        .lines()
        .find(|l| l.contains("/scratch tmpfs"))
        .unwrap();
    assert!(
        scratch.contains("noexec") && scratch.contains("size=1024k"),
        "{scratch}"
    );
    assert!(
        out.text
            .lines()
            .any(|l| l.contains("/dev/shm") && l.contains("size=1024k")),
        "{}",
        out.text
    );
    assert!(
        out.text
            .lines()
            .any(|l| l.starts_with('c') && l.contains("1,   3") && l.ends_with("/dev/extra")),
        "{}",
        out.text
    );
    // The volume is the container's own: the image's file is as it was.
    assert!(case.path("files/volumes/0/file").exists());
    assert_eq!(
        fs::read_to_string(case.path("rootfs/data/file")).unwrap(),
        "from the image\n"
    );
}

#[test]
fn a_privileged_container_is_not_confined() {
    let Some(case) = Case::new() else { return };
    let host = HostConfig {
        privileged: true,
        ..Default::default()
    };
    let bounding = fs::read_to_string("/proc/self/status")
        .unwrap()
        .lines()
        .find_map(|l| l.strip_prefix("CapBnd:\t").map(str::to_owned))
        .unwrap();
    let out = case.sh(
        "grep -E '^(CapEff|Seccomp):' /proc/self/status
         mount -t tmpfs x /tmp && echo mounted
         grep -c ' /proc/keys' /proc/self/mounts
         grep ' /sys sysfs' /proc/self/mounts",
        &host,
    );
    out.has(&format!("CapEff:\t{bounding}"));
    out.has("Seccomp:\t0");
    out.has("mounted");
    out.has("0");
    assert!(out.text.contains(" /sys sysfs rw"), "{}", out.text);
}

#[test]
fn namespaces_of_the_host_and_unconfined_paths() {
    let Some(case) = Case::new() else { return };
    let host = HostConfig {
        network_mode: "host".into(),
        pid_mode: "host".into(),
        ipc_mode: "host".into(),
        uts_mode: "host".into(),
        cgroupns_mode: "private".into(),
        security_opt: strings(&["seccomp=unconfined"]),
        cap_drop: strings(&["ALL"]),
        masked_paths: Some(Vec::new()),
        readonly_paths: Some(Vec::new()),
        ..Default::default()
    };
    let out = case.sh(
        "for n in net pid ipc uts; do ls -l /proc/self/ns/$n; done
         grep -E '^(CapEff|Seccomp):' /proc/self/status; cat /proc/self/cgroup
         grep -c ' /proc/' /proc/self/mounts; hostname; cat /etc/hostname",
        &host,
    );
    for ns in ["net", "pid", "ipc", "uts"] {
        let own = fs::read_link(format!("/proc/self/ns/{ns}")).unwrap();
        assert!(
            out.text.contains(own.to_str().unwrap()),
            "{ns}: {}",
            out.text
        );
    }
    out.has("CapEff:\t0000000000000000");
    out.has("Seccomp:\t0");
    assert!(
        !out.text.contains(&case.id),
        "a private cgroup namespace hides the path: {}",
        out.text
    );
    let name = nix::unistd::gethostname().unwrap();
    assert_eq!(
        out.text
            .lines()
            .filter(|l| *l == name.to_str().unwrap())
            .count(),
        2
    );
}

#[test]
fn a_profile_of_ones_own_is_enforced() {
    let Some(case) = Case::new() else { return };
    let host = HostConfig {
        security_opt: strings(&[
            r#"seccomp={"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":13}]}"#,
        ]),
        ..Default::default()
    };
    let out = case.sh("mkdir /tmp/x 2>&1; touch /tmp/y && echo touched", &host);
    assert!(out.text.contains("Permission denied"), "{}", out.text);
    out.has("touched");
}

#[test]
fn init_runs_first() {
    let Some(case) = Case::new() else { return };
    fs::write(
        case.path("init"),
        "#!/bin/sh\necho init \"$@\"\nshift\nexec \"$@\"\n",
    )
    .unwrap();
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(case.path("init"), fs::Permissions::from_mode(0o755)).unwrap();
    let host = HostConfig {
        init: Some(true),
        ..Default::default()
    };
    let out = case.sh("echo started", &host);
    out.has("init -- sh -c echo started");
    out.has("started");
}

/// The master of a terminal, as the runtime hands it over.
fn receive_master(socket: &std::os::unix::net::UnixStream) -> OwnedFd {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    use std::os::fd::AsRawFd;
    let mut text = [0u8; 256];
    let mut iov = [std::io::IoSliceMut::new(&mut text)];
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; 1]);
    let message = recvmsg::<()>(
        socket.as_raw_fd(),
        &mut iov,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )
    .unwrap();
    let fds = message.cmsgs().unwrap().find_map(|m| match m {
        ControlMessageOwned::ScmRights(fds) => Some(fds),
        _ => None,
    });
    // SAFETY: the kernel has just made this descriptor for us; nothing else owns it.
    unsafe { OwnedFd::from_raw_fd(fds.unwrap()[0]) }
}

#[test]
fn a_terminal_has_its_size_and_name() {
    let Some(case) = Case::new() else { return };
    let config = ContainerConfig {
        tty: true,
        ..shell("tty; echo TERM $TERM; stty size; [ -c /dev/console ] && echo console")
    };
    let prepared = case.prepare(&config, &HostConfig::default());
    let path = case.path("console");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let master = std::thread::spawn(move || receive_master(&listener.accept().unwrap().0));
    let pid = case.create_on(&prepared.spec, Some(&path)).unwrap();
    let mut master = File::from(master.join().unwrap());
    let exit = pidfd(pid);
    case.tokio.block_on(case.runtime.start(&case.id)).unwrap();
    let mut text = Vec::new();
    // A terminal's end is EIO; what came before is kept.
    let end = std::io::Read::read_to_end(&mut master, &mut text).unwrap_err();
    assert_eq!(end.raw_os_error(), Some(libc::EIO));
    wait_exit(&exit);
    let text = String::from_utf8(text).unwrap();
    assert_eq!(text, "/dev/pts/0\r\nTERM xterm\r\n33 99\r\nconsole\r\n");
}
