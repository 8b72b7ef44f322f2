//! The runtime's verbs, failures to start, and control groups.

use super::*;

#[test]
fn failures_to_start_have_dockers_words_and_codes() {
    let Some(case) = Case::new() else { return };
    for (program, code, words) in [
        ("nosuchprogram", 127, "executable file not found in $PATH"),
        ("/nosuchprogram", 127, "no such file or directory"),
        ("/etc/passwd", 126, "permission denied"),
        // runc says permission denied or is a directory, by version.
        ("/etc", 126, "exec: \"/etc\""),
    ] {
        let config = ContainerConfig {
            cmd: strings(&[program]),
            ..Default::default()
        };
        let prepared = case.prepare(&config, &HostConfig::default());
        let failure = start_failure(&case.create(&prepared.spec).unwrap_err());
        assert_eq!(failure.exit_code, code, "{failure:?}");
        assert_eq!(failure.kind.status(), 400);
        assert!(failure.message.contains(words), "{failure:?}");
        assert!(
            failure
                .message
                .starts_with("failed to create shim task: OCI runtime create failed: ")
                && failure
                    .message
                    .contains("runc create failed: unable to start container process: exec: "),
            "{failure:?}"
        );
        assert_eq!(
            case.tokio.block_on(case.runtime.state(&case.id)).unwrap(),
            None
        );
    }
}

#[test]
fn a_container_is_found_signalled_and_removed() {
    let Some(case) = Case::new() else { return };
    let host = HostConfig::default();
    let prepared = case.prepare(&shell("sleep 1000 & sleep 1000"), &host);
    let pid = case.create(&prepared.spec).unwrap();
    let state = case
        .tokio
        .block_on(case.runtime.state(&case.id))
        .unwrap()
        .unwrap();
    assert_eq!((state.status.as_str(), state.pid), ("created", pid));
    let exit = pidfd(pid);
    case.tokio.block_on(async {
        case.runtime.start(&case.id).await.unwrap();
        case.runtime
            .kill(&case.id, libc::SIGKILL, false)
            .await
            .unwrap();
    });
    wait_exit(&exit);
    case.tokio.block_on(async {
        let e = case
            .runtime
            .kill(&case.id, libc::SIGTERM, false)
            .await
            .unwrap_err();
        assert!(e.to_string().contains("OCI runtime kill failed"), "{e}");
        case.runtime.delete(&case.id, false).await.unwrap();
        assert_eq!(case.runtime.state(&case.id).await.unwrap(), None);
        let e = case.runtime.delete(&case.id, false).await.unwrap_err();
        assert!(matches!(e, RuntimeError::Verb { missing: true, .. }), "{e}");
        case.runtime.delete(&case.id, true).await.unwrap();
    });
    let path = case.cgroup(&host);
    remove_cgroup(&case.layout, &path).unwrap();
    remove_parent(&case.layout, &case.parent);
    let left = Command::new("find")
        .args([
            "/sys/fs/cgroup",
            "-maxdepth",
            "3",
            "-name",
            &case.parent[1..],
        ])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&left.stdout), "");
}

#[test]
fn what_is_left_in_a_group_is_killed() {
    let Some(case) = Case::new() else { return };
    // In the host's PID namespace nothing else ends a container's other processes.
    let host = HostConfig {
        pid_mode: "host".into(),
        ..Default::default()
    };
    let prepared = case.prepare(
        &shell("trap '' TERM; (while :; do sleep 1000 & sleep 1000; done) & exec sleep 1000"),
        &host,
    );
    let pid = case.start(&prepared.spec);
    let path = case.cgroup(&host);
    let exit = pidfd(pid);
    assert!(kill_cgroup(&case.layout, &path) >= 1);
    wait_exit(&exit);
    assert_eq!(kill_cgroup(&case.layout, &path), 0);
    remove_cgroup(&case.layout, &path).unwrap();
    assert_eq!(oom_kills(&case.layout, &path), None);
}

#[test]
fn an_oom_kill_is_counted() {
    let Some(case) = Case::new() else { return };
    let host = HostConfig {
        memory: 8 << 20,
        memory_swap: 8 << 20,
        ..Default::default()
    };
    let prepared = case.prepare(
        &shell("dd if=/dev/zero of=/dev/null bs=64M count=1; echo after"),
        &host,
    );
    let pid = case.create(&prepared.spec).unwrap();
    let path = case.cgroup(&host);
    assert_eq!(oom_kills(&case.layout, &path), Some(0));
    let exit = pidfd(pid);
    case.tokio.block_on(case.runtime.start(&case.id)).unwrap();
    wait_exit(&exit);
    assert!(oom_kills(&case.layout, &path).unwrap() >= 1);
}

/// Version 2 is tried where the host has a tree of it, which the hybrid layout has, too.
#[test]
fn a_group_of_version_2_is_killed_and_removed() {
    let root = match cgroup_layout() {
        CgroupLayout::V2 { root } => root,
        CgroupLayout::V1 {
            unified: Some(root),
            ..
        } => root,
        CgroupLayout::V1 { .. } => {
            eprintln!("skipped: no control groups of version 2");
            return;
        }
    };
    let name = format!("/taffrail-test-v2-{}", std::process::id());
    let group = root.join(&name[1..]).join("inner");
    if let Err(e) = fs::create_dir_all(&group) {
        eprintln!("skipped: {}: {e}", group.display());
        return;
    }
    let layout = CgroupLayout::V2 { root };
    let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
    fs::write(group.join("cgroup.procs"), child.id().to_string()).unwrap();
    // A child of this process stays in its group until it is waited for.
    let waiter = std::thread::spawn(move || child.wait().unwrap());
    let met = kill_cgroup(&layout, &name);
    let status = waiter.join().unwrap();
    remove_cgroup(&layout, &format!("{name}/inner")).unwrap();
    remove_parent(&layout, &name);
    assert_eq!(met, 1);
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(libc::SIGKILL)
    );
    assert!(!group.exists() && !group.parent().unwrap().exists());
}
