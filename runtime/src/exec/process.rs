//! What the process is to be: from the container's specification, and a file or options.

use std::fs;
use std::path::PathBuf;

use libcontainer::oci_spec::runtime::{
    Capabilities, Capability, LinuxCapabilities, LinuxPersonalityDomain, LinuxSeccomp, PosixRlimit,
    Process, Spec,
};

use crate::create::none;
use crate::exec_args::Exec;
use crate::payload::HOME_UNSET;
use crate::spec;

/// A process that can be run: checked, and taken apart into what is done at which step.
#[derive(Debug)]
pub(super) struct Tenant {
    /// Program, environment and user.
    pub(super) spec: Spec,
    pub(super) capabilities: LinuxCapabilities,
    pub(super) no_new_privileges: bool,
    pub(super) seccomp: Option<LinuxSeccomp>,
    pub(super) apparmor: Option<String>,
    pub(super) rlimits: Vec<PosixRlimit>,
    pub(super) oom_score_adj: Option<i32>,
    pub(super) cwd: PathBuf,
    pub(super) umask: libc::mode_t,
    pub(super) console: Option<(u16, u16)>,
    /// The container's system calls are those of a 32-bit machine (`linux.personality`).
    pub(super) personality: Option<libc::c_ulong>,
}

/// The process that is asked for in the container of `spec`.
pub(super) fn tenant(mut spec: Spec, args: &Exec) -> Result<Tenant, String> {
    let own = spec.process().clone().ok_or("process is missing")?;
    let own_score = own.oom_score_adj();
    let mut process = match &args.process {
        Some(path) => {
            let bytes = fs::read(path).map_err(|e| format!("--process {}: {e}", path.display()))?;
            let mut process: Process = serde_json::from_slice(&bytes)
                .map_err(|e| format!("--process {}: {e}", path.display()))?;
            if args.tty {
                process.set_terminal(Some(true));
            }
            process
        }
        None => changed(own, args)?,
    };
    spec::check_process(&process, args.console_socket.is_some())?;
    for (field, there) in [
        ("process.scheduler", process.scheduler().is_some()),
        ("process.ioPriority", process.io_priority().is_some()),
        (
            "process.execCPUAffinity",
            process.exec_cpu_affinity().is_some(),
        ),
    ] {
        if there {
            return Err(format!("{field} is not supported by exec; leave it out"));
        }
    }
    let size = process
        .console_size()
        .filter(|_| process.terminal() == Some(true));
    let console = size.and_then(|s| {
        let size = (
            u16::try_from(s.height()).ok()?,
            u16::try_from(s.width()).ok()?,
        );
        (size != (0, 0)).then_some(size)
    });
    let mut env = process.env().clone().unwrap_or_default();
    env.retain(|e| e != "HOME=");
    if !env.iter().any(|e| e.starts_with("HOME=")) {
        env.push(HOME_UNSET.to_owned());
        process.set_env(Some(env));
    }
    let linux = spec.linux().as_ref();
    let seccomp = linux.and_then(|l| l.seccomp().clone());
    let personality = linux
        .and_then(|l| l.personality().as_ref())
        .map(|p| match p.domain() {
            LinuxPersonalityDomain::PerLinux => 0,
            // PER_LINUX32 (source: linux/personality.h).
            LinuxPersonalityDomain::PerLinux32 => 8,
        });
    let capabilities = process.capabilities().clone().unwrap_or_else(none);
    process.set_capabilities(None);
    let tenant = Tenant {
        capabilities,
        no_new_privileges: process.no_new_privileges() == Some(true),
        seccomp,
        apparmor: process.apparmor_profile().clone(),
        rlimits: process.rlimits().clone().unwrap_or_default(),
        oom_score_adj: process.oom_score_adj().or(own_score),
        cwd: process.cwd().clone(),
        umask: process.user().umask().map_or(0o022, |u| u & 0o777),
        console,
        personality,
        spec: Spec::default(),
    };
    // The container itself is there already: nothing of it is made again.
    spec.set_linux(None).set_mounts(None).set_hooks(None);
    spec.set_process(Some(process));
    Ok(Tenant { spec, ..tenant })
}

/// The container's own process with the options' changes, as runc.
fn changed(mut process: Process, args: &Exec) -> Result<Process, String> {
    process.set_args(Some(args.command.clone()));
    process.set_terminal(Some(args.tty));
    if let Some(cwd) = &args.cwd {
        process.set_cwd(cwd.into());
    }
    let mut env = process.env().clone().unwrap_or_default();
    env.extend(args.env.iter().cloned());
    process.set_env(Some(env));
    if let Some((uid, gid)) = args.user {
        let mut user = process.user().clone();
        user.set_uid(uid);
        if let Some(gid) = gid {
            user.set_gid(gid);
        }
        process.set_user(user);
    }
    if !args.additional_gids.is_empty() {
        let mut user = process.user().clone();
        let mut gids = user.additional_gids().clone().unwrap_or_default();
        gids.extend(&args.additional_gids);
        user.set_additional_gids(Some(gids));
        process.set_user(user);
    }
    if !args.caps.is_empty() {
        process.set_capabilities(Some(more(process.capabilities().clone(), &args.caps)?));
    }
    if args.no_new_privs {
        process.set_no_new_privileges(Some(true));
    }
    if args.apparmor.is_some() {
        process.set_apparmor_profile(args.apparmor.clone());
    }
    Ok(process)
}

/// Adds to the sets that a program can use at once; never to the inheritable one (CVE-2022-29162).
fn more(own: Option<LinuxCapabilities>, add: &[String]) -> Result<LinuxCapabilities, String> {
    let mut caps = own.unwrap_or_else(none);
    let mut added = Capabilities::new();
    for name in add {
        let parsed: Result<Capability, _> =
            serde_json::from_value(serde_json::Value::from(name.to_uppercase()));
        added.insert(parsed.map_err(|_| format!("--cap {name}: unknown capability"))?);
    }
    let union = |set: &Option<Capabilities>| {
        let mut set = set.clone().unwrap_or_default();
        set.extend(added.iter().copied());
        Some(set)
    };
    let (bounding, effective, permitted) = (
        union(caps.bounding()),
        union(caps.effective()),
        union(caps.permitted()),
    );
    caps.set_bounding(bounding)
        .set_effective(effective)
        .set_permitted(permitted);
    Ok(caps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn container() -> Spec {
        serde_json::from_value(json!({
            "ociVersion": "1.0.2",
            "process": {
                "args": ["sleep"], "cwd": "/a", "env": ["A=1"], "oomScoreAdj": 7,
                "user": {"uid": 5, "gid": 6, "additionalGids": [9]},
                "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"],
                    "permitted": ["CAP_KILL"], "inheritable": [], "ambient": []},
            },
            "root": {"path": "rootfs"},
            "linux": {"personality": {"domain": "LINUX32"}},
        }))
        .unwrap()
    }

    #[test]
    fn options_change_the_containers_process() {
        let args = Exec {
            command: vec!["id".into()],
            env: vec!["B=2".into()],
            user: Some((8, None)),
            additional_gids: vec![10],
            caps: vec!["CAP_CHOWN".into()],
            no_new_privs: true,
            ..Exec::default()
        };
        let tenant = tenant(container(), &args).unwrap();
        let process = tenant.spec.process().as_ref().unwrap();
        assert_eq!(process.args().as_deref().unwrap(), ["id"]);
        assert_eq!(
            process.env().as_deref().unwrap(),
            ["A=1", "B=2", HOME_UNSET]
        );
        assert_eq!((process.user().uid(), process.user().gid()), (8, 6));
        assert_eq!(
            process.user().additional_gids().as_deref().unwrap(),
            [9, 10]
        );
        assert_eq!(tenant.cwd, PathBuf::from("/a"));
        assert_eq!(tenant.oom_score_adj, Some(7));
        assert_eq!(tenant.personality, Some(8));
        assert!(tenant.no_new_privileges);
        let caps = &tenant.capabilities;
        assert_eq!(caps.effective().as_ref().unwrap().len(), 2);
        assert!(caps.inheritable().as_ref().unwrap().is_empty());
    }

    #[test]
    fn a_file_is_the_whole_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p");
        let with = |process: serde_json::Value| {
            fs::write(&path, process.to_string()).unwrap();
            let args = Exec {
                process: Some(path.clone()),
                ..Exec::default()
            };
            tenant(container(), &args)
        };
        let user = json!({"uid": 0, "gid": 0});
        let tenant = with(json!({"args": ["x"], "cwd": "/", "user": user})).unwrap();
        // None at all is not the container's.
        let caps = &tenant.capabilities;
        assert!(caps.effective().as_ref().unwrap().is_empty());
        assert_eq!(tenant.oom_score_adj, Some(7));
        for (process, word) in [
            (
                json!({"args": [], "cwd": "/", "user": user}),
                "process.args",
            ),
            (
                json!({"args": ["x"], "cwd": "a", "user": user}),
                "process.cwd",
            ),
            (
                json!({"args": ["x"], "cwd": "/", "user": user, "terminal": true}),
                "--console-socket",
            ),
            (
                json!({"args": ["x"], "cwd": "/", "user": user,
                    "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 1}}),
                "process.ioPriority",
            ),
        ] {
            let e = with(process).unwrap_err();
            assert!(e.contains(word), "{e}");
        }
    }
}
