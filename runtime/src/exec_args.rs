//! The command lines of `exec` and `attend`.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::args::{options, preserve_fds};

/// `exec`, with runc's options.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Exec {
    pub(crate) id: String,
    /// An OCI `process` object; then nothing of it is taken from other options.
    pub(crate) process: Option<PathBuf>,
    pub(crate) pid_file: Option<PathBuf>,
    pub(crate) console_socket: Option<PathBuf>,
    /// Ends when the program runs; otherwise with the program, with its exit code.
    pub(crate) detach: bool,
    pub(crate) tty: bool,
    pub(crate) cwd: Option<String>,
    pub(crate) env: Vec<String>,
    pub(crate) user: Option<(u32, Option<u32>)>,
    pub(crate) additional_gids: Vec<u32>,
    pub(crate) caps: Vec<String>,
    pub(crate) no_new_privs: bool,
    pub(crate) apparmor: Option<String>,
    pub(crate) preserve_fds: u16,
    pub(crate) ignore_paused: bool,
    pub(crate) command: Vec<String>,
}

/// `attend`: runs an OCI runtime's `exec --detach` and then is the parent of its process.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Attend {
    /// A connected stream socket that was handed over.
    pub(crate) socket: RawFd,
    /// Where the runtime writes the process id.
    pub(crate) pid_file: PathBuf,
    /// The runtime and its arguments.
    pub(crate) command: Vec<OsString>,
}

fn text(value: OsString, option: &str) -> Result<String, String> {
    value
        .into_string()
        .map_err(|value| format!("--{option} {}: not UTF-8", value.display()))
}

fn number(value: &str, option: &str) -> Result<u32, String> {
    value
        .parse()
        .map_err(|_| format!("--{option} {value}: a number"))
}

pub(crate) fn exec(words: &mut std::vec::IntoIter<OsString>) -> Result<Exec, String> {
    let mut p = options(
        words,
        &[
            "process",
            "p",
            "pid-file",
            "console-socket",
            "cwd",
            "env",
            "e",
            "user",
            "u",
            "additional-gids",
            "g",
            "cap",
            "c",
            "apparmor",
            "process-label",
            "cgroup",
            "preserve-fds",
        ],
        &["detach", "d", "tty", "t", "no-new-privs", "ignore-paused"],
        true,
    )?;
    for (option, why) in [
        ("process-label", "SELinux labels are not supported"),
        ("cgroup", "groups below the container's are not supported"),
    ] {
        if let Some(value) = p.value(option) {
            return Err(format!(
                "--{option} {}: {why}; leave it out",
                value.display()
            ));
        }
    }
    let env = p.all(&["env", "e"]);
    let gids = p.all(&["additional-gids", "g"]);
    let caps = p.all(&["cap", "c"]);
    let user = match p.value("user").or_else(|| p.value("u")) {
        None => None,
        Some(user) => {
            let user = text(user, "user")?;
            Some(match user.split_once(':') {
                None => (number(&user, "user")?, None),
                Some((uid, gid)) => (number(uid, "user")?, Some(number(gid, "user")?)),
            })
        }
    };
    let list = |values: Vec<OsString>, option| -> Result<Vec<String>, String> {
        values.into_iter().map(|v| text(v, option)).collect()
    };
    let mut out = Exec {
        id: p.id("exec", usize::MAX - 1)?,
        process: p
            .value("process")
            .or_else(|| p.value("p"))
            .map(PathBuf::from),
        pid_file: p.value("pid-file").map(PathBuf::from),
        console_socket: p.value("console-socket").map(PathBuf::from),
        detach: p.has("detach") || p.has("d"),
        tty: p.has("tty") || p.has("t"),
        cwd: p.value("cwd").map(|cwd| text(cwd, "cwd")).transpose()?,
        env: list(env, "env")?,
        user,
        additional_gids: list(gids, "additional-gids")?
            .iter()
            .map(|gid| number(gid, "additional-gids"))
            .collect::<Result<_, _>>()?,
        caps: list(caps, "cap")?,
        no_new_privs: p.has("no-new-privs"),
        apparmor: p
            .value("apparmor")
            .map(|profile| text(profile, "apparmor"))
            .transpose()?,
        preserve_fds: preserve_fds(&mut p)?,
        ignore_paused: p.has("ignore-paused"),
        command: Vec::new(),
    };
    // After the id every word is the program's. One `--` in front of them is not.
    let mut rest: Vec<OsString> = p.rest.split_off(1);
    rest.extend(words);
    if rest.first().is_some_and(|word| word.as_bytes() == b"--") {
        rest.remove(0);
    }
    out.command = rest
        .into_iter()
        .map(|word| {
            word.into_string()
                .map_err(|word| format!("exec: argument {} is not UTF-8", word.display()))
        })
        .collect::<Result<_, _>>()?;
    if out.command.is_empty() && out.process.is_none() {
        return Err("exec: process args cannot be empty".to_owned());
    }
    Ok(out)
}

pub(crate) fn attend(words: &mut std::vec::IntoIter<OsString>) -> Result<Attend, String> {
    let mut p = options(words, &["socket", "pid-file"], &[], true)?;
    let socket = p
        .value("socket")
        .and_then(|n| n.to_str()?.parse().ok())
        .ok_or("attend: --socket: a descriptor's number")?;
    let pid_file = p.value("pid-file").ok_or("attend: --pid-file is missing")?;
    let mut command = std::mem::take(&mut p.rest);
    command.extend(words);
    if command.is_empty() {
        return Err("attend: the runtime is missing".to_owned());
    }
    Ok(Attend {
        socket,
        pid_file: pid_file.into(),
        command,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> std::vec::IntoIter<OsString> {
        let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        words.into_iter()
    }

    #[test]
    fn runcs_spellings() {
        let of = |line: &str| exec(&mut words(line));
        let all = of(
            "--detach -t --pid-file p --console-socket=s --cwd /x -e A=1 --env B=2 -u 5:6 -g 7 --additional-gids 8 --cap CAP_KILL --no-new-privs --preserve-fds 1 --ignore-paused id-1 sh -c x --detach",
        )
        .unwrap();
        assert_eq!(
            all,
            Exec {
                id: "id-1".into(),
                pid_file: Some("p".into()),
                console_socket: Some("s".into()),
                detach: true,
                tty: true,
                cwd: Some("/x".into()),
                env: vec!["A=1".into(), "B=2".into()],
                user: Some((5, Some(6))),
                additional_gids: vec![7, 8],
                caps: vec!["CAP_KILL".into()],
                no_new_privs: true,
                preserve_fds: 1,
                ignore_paused: true,
                command: ["sh", "-c", "x", "--detach"].map(String::from).to_vec(),
                ..Exec::default()
            }
        );
        assert_eq!(of("x -- -a").unwrap().command, ["-a"]);
        assert!(of("--process f x").unwrap().command.is_empty());
        for (line, word) in [
            ("x", "args cannot be empty"),
            ("", "container ID is missing"),
            ("--user root x y", "--user root"),
            ("--cgroup a x y", "--cgroup a"),
            ("--process-label a x y", "SELinux"),
            ("--nosuch x y", "--nosuch"),
            ("../x y", "invalid container ID"),
        ] {
            let e = of(line).unwrap_err();
            assert!(e.contains(word), "{line}: {e}");
        }
    }

    #[test]
    fn an_attendants_command_is_another_programs() {
        let of = |line: &str| attend(&mut words(line));
        let got = of("--socket 5 --pid-file p -- runc --root r exec x").unwrap();
        assert_eq!((got.socket, got.command.len()), (5, 5));
        for line in [
            "--socket x --pid-file p -- a",
            "--socket 3 -- a",
            "--socket 3 --pid-file p",
        ] {
            of(line).unwrap_err();
        }
    }
}
