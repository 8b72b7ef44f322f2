//! The command line, as runc has it: global options, a verb, its options, the container's id.
//! `--name value`, `--name=value` and one dash instead of two are the same.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use crate::exec_args::{self, Attend, Exec};

/// Where state is kept when `--root` is not given.
pub(crate) const DEFAULT_ROOT: &str = "/run/taffrail-runtime";

pub(crate) const USAGE: &str = "\
usage: taffrail-runtime [--root DIR] [--log FILE] [--log-format text|json] [--debug] VERB ...
  create [--bundle DIR] [--pid-file FILE] [--console-socket PATH] [--no-pivot] [--preserve-fds N] ID
  start ID
  state ID
  kill [--all] ID [SIGNAL]
  pause ID
  resume ID
  delete [--force] ID
  exec [--process FILE] [--pid-file FILE] [--console-socket PATH] [--detach] [--tty] [--cwd DIR] [--env NAME=VALUE]
       [--user UID[:GID]] [--additional-gids GID] [--cap NAME] [--no-new-privs] [--apparmor PROFILE] [--preserve-fds N]
       [--ignore-paused] ID [COMMAND [ARG...]]
  list [--quiet]
  features
An OCI runtime (specification 1.2) for Linux, with runc's command line.
";

/// Before the verb.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Global {
    pub(crate) root: PathBuf,
    pub(crate) log: Option<PathBuf>,
    pub(crate) json: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Create {
    pub(crate) id: String,
    pub(crate) bundle: PathBuf,
    pub(crate) pid_file: Option<PathBuf>,
    pub(crate) console_socket: Option<PathBuf>,
    pub(crate) no_pivot: bool,
    /// Descriptors after standard error that the container's program gets.
    pub(crate) preserve_fds: u16,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Create(Create),
    Exec(Exec),
    /// Not for users: the daemon's way to run `exec`.
    Attend(Attend),
    Start(String),
    State(String),
    Kill {
        id: String,
        signal: String,
        all: bool,
    },
    Pause(String),
    Resume(String),
    Delete {
        id: String,
        force: bool,
    },
    List {
        quiet: bool,
    },
    Features,
    Version,
    Help,
}

/// Options with a value, options without, and what is left.
pub(crate) struct Parsed {
    values: Vec<(&'static str, OsString)>,
    flags: Vec<&'static str>,
    pub(crate) rest: Vec<OsString>,
}

impl Parsed {
    /// All values of an option that may be repeated, under its several names, in order.
    pub(crate) fn all(&mut self, names: &[&str]) -> Vec<OsString> {
        let values = std::mem::take(&mut self.values);
        let (found, rest): (Vec<_>, Vec<_>) =
            values.into_iter().partition(|(n, _)| names.contains(n));
        self.values = rest;
        found.into_iter().map(|(_, value)| value).collect()
    }

    pub(crate) fn value(&mut self, name: &str) -> Option<OsString> {
        let at = self.values.iter().rposition(|(n, _)| *n == name)?;
        Some(self.values.swap_remove(at).1)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.flags.contains(&name)
    }

    /// The container's id, and at most `more` words after it.
    pub(crate) fn id(&self, verb: &str, more: usize) -> Result<String, String> {
        let Some(id) = self.rest.first() else {
            return Err(format!("{verb}: container ID is missing"));
        };
        if let Some(word) = self.rest.get(more + 1) {
            return Err(format!("{verb}: unexpected argument {}", word.display()));
        }
        let id = id.to_str().unwrap_or("");
        let good = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
        if id.is_empty() || id == "." || id == ".." || !id.chars().all(good) {
            return Err(format!(
                "invalid container ID {:?}: letters, digits, '_', '+', '-' and '.' are allowed",
                self.rest[0].display().to_string()
            ));
        }
        Ok(id.to_owned())
    }
}

/// Takes options up to the first word that is none (`stop`), or out of all words.
pub(crate) fn options(
    words: &mut std::vec::IntoIter<OsString>,
    with_value: &[&'static str],
    without: &[&'static str],
    stop: bool,
) -> Result<Parsed, String> {
    let mut out = Parsed {
        values: Vec::new(),
        flags: Vec::new(),
        rest: Vec::new(),
    };
    while let Some(word) = words.next() {
        let bytes = word.as_bytes();
        if bytes == b"--" {
            out.rest.extend(words.by_ref());
            break;
        }
        if bytes.len() < 2 || bytes[0] != b'-' {
            out.rest.push(word);
            if stop {
                break;
            }
            continue;
        }
        let name = bytes[1..].strip_prefix(b"-").unwrap_or(&bytes[1..]);
        let (name, inline) = match name.iter().position(|b| *b == b'=') {
            Some(at) => (
                &name[..at],
                Some(OsString::from_vec(name[at + 1..].to_vec())),
            ),
            None => (name, None),
        };
        let known = |list: &[&'static str]| list.iter().copied().find(|n| n.as_bytes() == name);
        if let Some(name) = known(with_value) {
            let value = match inline {
                Some(value) => value,
                None => words
                    .next()
                    .ok_or_else(|| format!("option --{name} needs a value"))?,
            };
            out.values.push((name, value));
        } else if let Some(name) = known(without) {
            match inline.as_ref().map(|v| v.as_bytes()) {
                None | Some(b"true" | b"1") => out.flags.push(name),
                Some(b"false" | b"0") => out.flags.retain(|n| *n != name),
                Some(_) => return Err(format!("option --{name} is true or false")),
            }
        } else {
            return Err(format!(
                "unknown option {}; taffrail-runtime --help names the known ones",
                word.display()
            ));
        }
    }
    Ok(out)
}

pub(crate) fn preserve_fds(p: &mut Parsed) -> Result<u16, String> {
    match p.value("preserve-fds") {
        None => Ok(0),
        Some(n) => n
            .to_str()
            .and_then(|n| n.parse().ok())
            .ok_or_else(|| format!("--preserve-fds {}: a number", n.display())),
    }
}

/// The whole command line without the program's name.
pub(crate) fn parse(words: Vec<OsString>) -> Result<(Global, Verb), String> {
    let mut words = words.into_iter();
    let mut global = options(
        &mut words,
        &["root", "log", "log-format", "criu", "rootless"],
        &["debug", "systemd-cgroup", "help", "h", "version", "v"],
        true,
    )?;
    if global.has("systemd-cgroup") {
        return Err(
            "--systemd-cgroup: control groups through systemd are not supported; leave it out and give linux.cgroupsPath as a path"
                .to_owned(),
        );
    }
    let json = match global
        .value("log-format")
        .as_deref()
        .map(OsStrExt::as_bytes)
    {
        None | Some(b"text") => false,
        Some(b"json") => true,
        Some(other) => {
            return Err(format!(
                "--log-format {}: text or json",
                String::from_utf8_lossy(other)
            ));
        }
    };
    let head = Global {
        root: global
            .value("root")
            .map_or_else(|| DEFAULT_ROOT.into(), PathBuf::from),
        log: global.value("log").map(PathBuf::from),
        json,
    };
    if global.has("version") || global.has("v") {
        return Ok((head, Verb::Version));
    }
    if global.has("help") || global.has("h") || global.rest.is_empty() {
        return Ok((head, Verb::Help));
    }
    let verb = global.rest.remove(0);
    // Their arguments go on after the id, with options of another program.
    match verb.as_bytes() {
        b"exec" => return Ok((head, Verb::Exec(exec_args::exec(&mut words)?))),
        b"attend" => return Ok((head, Verb::Attend(exec_args::attend(&mut words)?))),
        _ => {}
    }
    let mut take =
        |with: &[&'static str], without: &[&'static str]| options(&mut words, with, without, false);
    let verb = match verb.as_bytes() {
        b"create" => {
            let mut p = take(
                &["bundle", "b", "pid-file", "console-socket", "preserve-fds"],
                &["no-pivot", "no-new-keyring"],
            )?;
            let preserve_fds = preserve_fds(&mut p)?;
            if p.has("no-new-keyring") {
                return Err("--no-new-keyring is not supported; leave it out".to_owned());
            }
            Verb::Create(Create {
                id: p.id("create", 0)?,
                bundle: p
                    .value("bundle")
                    .or_else(|| p.value("b"))
                    .map_or_else(|| ".".into(), PathBuf::from),
                pid_file: p.value("pid-file").map(PathBuf::from),
                console_socket: p.value("console-socket").map(PathBuf::from),
                no_pivot: p.has("no-pivot"),
                preserve_fds,
            })
        }
        b"start" => Verb::Start(take(&[], &[])?.id("start", 0)?),
        b"state" => Verb::State(take(&[], &[])?.id("state", 0)?),
        b"pause" => Verb::Pause(take(&[], &[])?.id("pause", 0)?),
        b"resume" => Verb::Resume(take(&[], &[])?.id("resume", 0)?),
        b"kill" => {
            let p = take(&[], &["all", "a"])?;
            Verb::Kill {
                id: p.id("kill", 1)?,
                signal: p
                    .rest
                    .get(1)
                    .map_or_else(|| "SIGTERM".into(), |s| s.to_string_lossy().into_owned()),
                all: p.has("all") || p.has("a"),
            }
        }
        b"delete" => {
            let p = take(&[], &["force", "f"])?;
            Verb::Delete {
                id: p.id("delete", 0)?,
                force: p.has("force") || p.has("f"),
            }
        }
        b"list" => {
            let mut p = take(&["format", "f"], &["quiet", "q"])?;
            let format = p.value("format").or_else(|| p.value("f"));
            if let Some(format) = format.filter(|f| f != "json") {
                return Err(format!("list --format {}: json", format.display()));
            }
            Verb::List {
                quiet: p.has("quiet") || p.has("q"),
            }
        }
        b"features" => Verb::Features,
        b"help" => Verb::Help,
        other => {
            return Err(format!(
                "unknown verb {}; taffrail-runtime --help names the known ones",
                String::from_utf8_lossy(other)
            ));
        }
    };
    Ok((head, verb))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Result<(Global, Verb), String> {
        parse(line.split_whitespace().map(OsString::from).collect())
    }

    #[test]
    fn runcs_spellings() {
        let (global, verb) = of(
            "--root /r --log=/l --log-format json create --bundle /b -pid-file /p --console-socket=/s --preserve-fds=2 id-1",
        )
        .unwrap();
        assert_eq!(
            global,
            Global {
                root: "/r".into(),
                log: Some("/l".into()),
                json: true
            }
        );
        assert_eq!(
            verb,
            Verb::Create(Create {
                id: "id-1".into(),
                bundle: "/b".into(),
                pid_file: Some("/p".into()),
                console_socket: Some("/s".into()),
                no_pivot: false,
                preserve_fds: 2,
            })
        );
        let kill = |all, signal: &str| Verb::Kill {
            id: "x".into(),
            signal: signal.into(),
            all,
        };
        assert_eq!(of("kill x").unwrap().1, kill(false, "SIGTERM"));
        assert_eq!(of("kill --all x 9").unwrap().1, kill(true, "9"));
        assert_eq!(of("kill x KILL").unwrap().1, kill(false, "KILL"));
        assert_eq!(of("--version").unwrap().1, Verb::Version);
        assert_eq!(of("").unwrap().1, Verb::Help);
        assert_eq!(of("list").unwrap().0.root, PathBuf::from(DEFAULT_ROOT));
    }

    #[test]
    fn what_is_not_known_is_named() {
        for (line, word) in [
            ("--nosuch create x", "--nosuch"),
            ("create --nosuch x", "--nosuch"),
            ("frobnicate x", "frobnicate"),
            ("create", "container ID is missing"),
            ("start a b", "unexpected argument b"),
            ("delete ../x", "invalid container ID"),
            ("state ..", "invalid container ID"),
            ("--log-format xml list", "text or json"),
            ("--systemd-cgroup list", "--systemd-cgroup"),
            ("create --preserve-fds all x", "--preserve-fds all"),
            ("create --bundle", "--bundle needs a value"),
        ] {
            let e = of(line).unwrap_err();
            assert!(e.contains(word), "{line}: {e}");
        }
    }
}
