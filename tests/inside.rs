//! What a container sees, with the built-in runtime and with runc: the same, field by field.

use crate::harness::image::IMAGE;
use crate::harness::{Daemon, daemon, skip};
use crate::need;

fn ready() -> Result<(), String> {
    daemon::taffrail_only()?;
    skip::program("docker")?;
    skip::program("runc")
}

/// Prints what can be compared; ids and paths of the one container are taken out.
const PROBE: &str = r#"
id=$(hostname)
echo "== status"; grep -E '^(Uid|Gid|Groups|Umask|Sig(Blk|Ign|Cgt)|Cap|NoNewPrivs|Seccomp|Speculation|Cpus_allowed_list|Mems_allowed_list)' /proc/self/status
echo "== limits"; cat /proc/self/limits
echo "== mounts"; cut -d' ' -f4- /proc/self/mountinfo | sed -E 's/(master|shared):[0-9]+ ?//; s/[0-9a-f]{64}/ID/g; s/(lowerdir|upperdir|workdir)=[^ ,]*//g'
echo "== devices"; ls -lan /dev | awk '{print $1, $3, $4, $5, $6, $NF}'; cat /sys/fs/cgroup/devices/devices.list 2>/dev/null | sort
echo "== limits of the group"; for f in memory/memory.limit_in_bytes memory/memory.memsw.limit_in_bytes memory/memory.soft_limit_in_bytes pids/pids.max cpu/cpu.shares cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us cpuset/cpuset.cpus memory.max memory.low memory.swap.max pids.max cpu.max cpu.weight cpuset.cpus; do [ -e /sys/fs/cgroup/$f ] && echo "$f $(cat /sys/fs/cgroup/$f)"; done
echo "== group"; sed -E 's/[0-9a-f]{64}/ID/' /proc/self/cgroup
echo "== namespaces"; for n in cgroup ipc mnt net pid time user uts; do eval "host=\$HOST_$n"; [ "$(readlink /proc/self/ns/$n)" = "$host" ] && echo "$n of the host" || echo "$n own"; done
echo "== maps"; cat /proc/self/uid_map /proc/self/gid_map
echo "== process"; cat /proc/self/oom_score_adj; umask; pwd; id; hostname; env | grep -v ^HOST_ | sort; stty size 2>/dev/null
echo "== kernel"; cat /proc/sys/kernel/msgmax /proc/sys/net/ipv4/ip_forward
echo "== masked"; for p in /proc/kcore /proc/keys /proc/timer_list /proc/acpi /proc/scsi /sys/firmware; do echo "$p $(stat -c '%F %a %t,%T %s' $p 2>&1) $(ls $p 2>/dev/null | wc -l)"; done
echo "== read-only"; for p in /proc/sys/kernel/msgmax /proc/irq/x /proc/bus/x /proc/sysrq-trigger /sys/kernel/x; do ( : > $p ) 2>&1; done
echo "== loopback"; ip addr show lo 2>/dev/null | grep -E 'LOOPBACK|inet ' | sed -E 's/ qdisc.*//'
echo "== calls"; mknod /dev/shm/null c 1 3 2>&1 && echo made; mkdir /dev/shm/made 2>&1 && echo folder; rm -rf /dev/shm/null /dev/shm/made; cat /dev/zed 2>&1 | head -c 4 | wc -c; mount -t tmpfs x /tmp 2>&1; unshare -n true 2>&1; chroot / true 2>&1 && echo chroot; true
"#;

/// Lines of both that say the same in other words, or where the built-in runtime is stricter.
fn comparable(text: &str) -> Vec<String> {
    let mut section = String::new();
    let mut kept: Vec<String> = Vec::new();
    let mut unordered: Vec<String> = Vec::new();
    for line in text.lines() {
        if line.starts_with("== ") {
            section = line.to_owned();
            unordered.sort();
            kept.append(&mut unordered);
            kept.push(line.to_owned());
            continue;
        }
        let mut line = line.trim_end().to_owned();
        match section.as_str() {
            "== mounts" => {
                let mut fields: Vec<&str> = line.split(' ').collect();
                let at = fields.get(1).copied().unwrap_or_default();
                // A file system that is shared with the host has the flags of its mount alone, and
                // libcontainer adds flags to read-only paths.
                if at == "/sys" {
                    fields.pop();
                }
                if at == "/sys/fs/cgroup" || at.starts_with("/proc/") {
                    fields[2] = "flags";
                }
                // The word for the device of a hierarchy is free.
                if at.starts_with("/sys/fs/cgroup/") {
                    let word = fields.len() - 2;
                    fields[word] = "cgroup";
                }
                unordered.push(fields.join(" "));
                continue;
            }
            // Signals 32 and 33 are the C library's own, and no program is sent them.
            _ if line.starts_with("SigIgn:") => {
                let mask = line.trim_start_matches("SigIgn:").trim();
                let mask = u64::from_str_radix(mask, 16).expect("a mask");
                line = format!("SigIgn: {:x}", mask & !(3 << 31));
            }
            // The terminal's own device, which every container has: listed by one of them.
            "== devices" if line == "c 5:1 rwm" => continue,
            "== devices" => {
                unordered.push(line);
                continue;
            }
            _ => {}
        }
        kept.push(line);
    }
    unordered.sort();
    kept.append(&mut unordered);
    kept
}

fn inside(daemon: &Daemon, runtime: &str, options: &[&str]) -> Vec<String> {
    let hosts: Vec<String> = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"]
        .iter()
        .map(|n| {
            let link = std::fs::read_link(format!("/proc/self/ns/{n}")).expect("a namespace");
            format!("HOST_{n}={}", link.display())
        })
        .collect();
    let mut args = vec!["run", "--rm", "--runtime", runtime, "--network", "none"];
    // The host's name cannot be set.
    if !options.contains(&"--uts") {
        args.extend(["--hostname", "box"]);
    }
    for host in &hosts {
        args.extend(["-e", host]);
    }
    args.extend(options);
    args.extend([IMAGE, "sh", "-c", PROBE]);
    let output = daemon.docker(args).output();
    assert_eq!(output.code, 0, "{runtime}: {}", output.err());
    comparable(&String::from_utf8_lossy(&output.stdout))
}

/// The same with both, for each list of options.
fn compare(kinds: &[&[&str]]) {
    let daemon = Daemon::start();
    for options in kinds {
        let ours = inside(&daemon, "taffrail", options);
        let runcs = inside(&daemon, "runc", options);
        assert!(ours.len() > 60, "{ours:#?}");
        let only = |a: &[String], b: &[String]| -> Vec<String> {
            a.iter().filter(|l| !b.contains(l)).cloned().collect()
        };
        assert!(
            ours == runcs,
            "{options:?}\nonly with the built-in runtime: {:#?}\nonly with runc: {:#?}",
            only(&ours, &runcs),
            only(&runcs, &ours)
        );
    }
    daemon.finish();
}

#[test]
fn a_container_sees_what_it_sees_with_runc() {
    need!(ready());
    compare(&[
        &[],
        &[
            "--user",
            "1000:1001",
            "--group-add",
            "50",
            "--read-only",
            "--security-opt",
            "no-new-privileges",
            "--cap-drop",
            "ALL",
            "--cap-add",
            "CHOWN",
            "--tmpfs",
            "/tmp:size=1m",
            "--workdir",
            "/not/there/yet",
        ],
        &[
            "--memory",
            "64m",
            "--memory-swap",
            "96m",
            "--memory-reservation",
            "32m",
            "--cpus",
            "0.5",
            "--cpu-shares",
            "512",
            "--cpuset-cpus",
            "0",
            "--pids-limit",
            "77",
            "--ulimit",
            "nofile=1024:2048",
            "--ulimit",
            "core=0",
            "--oom-score-adj",
            "55",
            "--sysctl",
            "net.ipv4.ip_forward=1",
            "--sysctl",
            "kernel.msgmax=10000",
            "--shm-size",
            "1m",
            "-v",
            "/usr/share:/data:ro,rprivate",
            "--device",
            "/dev/null:/dev/other:r",
            "--cap-add",
            "SYS_ADMIN",
        ],
        &["--privileged"],
    ]);
}

#[test]
fn namespaces_of_the_host_and_control_groups_as_with_runc() {
    need!(ready());
    let parent = format!("/inside-{}", std::process::id());
    compare(&[
        &["--pid", "host"],
        &["--ipc", "host", "--uts", "host"],
        &["--cgroupns", "private"],
        &["--cgroupns", "host", "--cgroup-parent", &parent],
        &["--pid", "host", "--privileged"],
    ]);
    // A parent that was asked for is not the daemon's to remove.
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup").expect("control groups");
    for dir in hierarchies.flatten() {
        let _ = std::fs::remove_dir(dir.path().join(&parent[1..]));
    }
    let _ = std::fs::remove_dir(format!("/sys/fs/cgroup{parent}"));
}

#[test]
fn devices_limits_groups_and_capabilities_as_with_runc() {
    need!(ready());
    compare(&[
        &[
            "--read-only",
            "--tmpfs",
            "/run:size=1m,mode=700,noexec",
            "--cap-add",
            "NET_ADMIN",
            "--cap-add",
            "SYS_PTRACE",
            "--cap-drop",
            "MKNOD",
            "--cap-drop",
            "NET_RAW",
            "--ulimit",
            "nofile=512:1024",
            "--ulimit",
            "stack=4194304:8388608",
            "--ulimit",
            "nproc=100:200",
            "--sysctl",
            "net.core.somaxconn=77",
            "--sysctl",
            "kernel.shm_rmid_forced=1",
            "--device",
            "/dev/zero:/dev/zed:rwm",
            "--device",
            "/dev/full:/dev/sub/full:w",
            "--device-cgroup-rule",
            "c 42:* rmw",
            "--device-cgroup-rule",
            "b 7:1 r",
            "--group-add",
            "50",
            "--group-add",
            "4711",
        ],
        // The program's user is not root: capabilities that it does not get.
        &[
            "--user",
            "1000",
            "--cap-add",
            "NET_ADMIN",
            "--device",
            "/dev/zero:/dev/zed:r",
            "--device-cgroup-rule",
            "a *:* rwm",
        ],
        &["--cap-drop", "ALL", "--init"],
    ]);
}

#[test]
fn filters_and_privileges_as_with_runc() {
    need!(ready());
    let folder = tempfile::tempdir().expect("folder");
    let profile = folder.path().join("profile.json");
    let write = |calls: serde_json::Value| {
        let profile_text = serde_json::json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}],
            "syscalls": calls,
        });
        std::fs::write(&profile, profile_text.to_string()).expect("profile");
    };
    write(serde_json::json!([
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
        {"names": ["mknod", "mknodat"], "action": "SCMP_ACT_ERRNO"},
        {"names": ["chroot"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5, "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
    ]));
    let custom = format!("seccomp={}", profile.display());
    compare(&[
        &["--security-opt", "seccomp=unconfined"],
        &[
            "--security-opt",
            "seccomp=unconfined",
            "--security-opt",
            "no-new-privileges",
            "--cap-add",
            "SYS_ADMIN",
        ],
        &["--security-opt", "no-new-privileges"],
        &["--security-opt", &custom],
        &[
            "--security-opt",
            &custom,
            "--security-opt",
            "no-new-privileges",
            "--user",
            "1000",
        ],
    ]);
}

#[test]
fn control_groups_cannot_be_written_from_inside() {
    need!(daemon::taffrail_only());
    need!(skip::program("docker"));
    let daemon = Daemon::start();
    let script = "cd /sys/fs/cgroup; for f in $(find . -maxdepth 2 -type f) ./new ./memory/new; do \
        ( echo 1 > $f ) 2>/dev/null && echo \"wrote $f\"; done; find . -maxdepth 2 -type f | wc -l; mkdir x 2>&1 || true";
    for options in [
        &[][..],
        &["--cgroupns", "private"],
        &["--cap-add", "ALL"],
        &["--pid", "host"],
    ] {
        let mut args = vec!["run", "--rm", "--network", "none"];
        args.extend(options);
        args.extend([IMAGE, "sh", "-c", script]);
        let text = daemon.docker(args).output().ok();
        assert!(!text.contains("wrote"), "{options:?}: {text}");
        assert!(
            text.contains("Read-only file system"),
            "{options:?}: {text}"
        );
        let files: u32 = text
            .lines()
            .next()
            .and_then(|l| l.parse().ok())
            .unwrap_or(0);
        assert!(files > 5, "{options:?}: {text}");
    }
    // Nothing that can be written lies below what is mounted read-only.
    let script = "for at in $(grep ' /sys/fs/cgroup' /proc/self/mountinfo | cut -d' ' -f5 | sort -r); do umount $at || exit 1; done; \
        grep ' /sys/fs/cgroup' /proc/self/mountinfo; find /sys/fs/cgroup -type f | wc -l";
    for options in [&["--cap-add", "SYS_ADMIN"][..], &["--privileged"]] {
        let mut args = vec!["run", "--rm", "--network", "none"];
        args.extend(options);
        args.extend([IMAGE, "sh", "-c", script]);
        let text = daemon.docker(args).output().ok();
        assert_eq!(text.trim(), "0", "{options:?}");
    }
    daemon.finish();
}

#[test]
fn the_default_and_others_can_be_chosen() {
    need!(ready());
    let daemon = Daemon::start();
    let info = daemon
        .docker(["info", "--format", "{{.DefaultRuntime}}"])
        .output()
        .ok();
    assert_eq!(info.trim(), "taffrail");
    for (runtime, kept) in [
        ("", "taffrail"),
        ("taffrail", "taffrail"),
        ("runc", "runc"),
        ("io.containerd.runc.v2", "io.containerd.runc.v2"),
    ] {
        let mut args = vec!["run", "--name", "one", "--network", "none"];
        if !runtime.is_empty() {
            args.extend(["--runtime", runtime]);
        }
        args.extend([IMAGE, "echo", "ran"]);
        assert_eq!(daemon.docker(args).output().ok().trim(), "ran", "{runtime}");
        let format = "{{.HostConfig.Runtime}}";
        let said = daemon
            .docker(["inspect", "--format", format, "one"])
            .output()
            .ok();
        assert_eq!(said.trim(), kept);
        daemon.docker(["rm", "one"]).output().ok();
    }
    let refused = daemon
        .docker(["create", "--runtime", "nosuch", IMAGE, "true"])
        .output();
    assert_ne!(refused.code, 0);
    assert!(
        refused.err().contains("Unknown runtime specified nosuch"),
        "{}",
        refused.err()
    );
    daemon.finish();
}
