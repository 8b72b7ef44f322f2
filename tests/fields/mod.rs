//! Every field of create, one by one: a value that is not the default, and what is seen of it — by
//! the container's program, in its control group, in inspect — or the words it is refused with. A
//! field of the API (`tests/data/engine-api-1.43.txt`) without a row here fails the walk.

mod beside;
mod config;
mod host;
mod limits;
mod update;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::daemon::{Daemon, Options, taffrail_only};
use crate::harness::image::IMAGE;
use crate::harness::{http, repository};
use crate::need;

/// What the rows are made of.
pub(crate) struct Around {
    /// A folder that goes with the daemon.
    dir: PathBuf,
    /// A block device that is there, as a node in `dir`.
    disk: Option<String>,
    /// The host has control groups version 2 alone.
    v2: bool,
    /// A control group that containers are put below.
    group: String,
}

impl Around {
    fn new(root: &Path) -> Self {
        let dir = root.join("fields");
        fs::create_dir(&dir).expect("a folder");
        Self {
            disk: disk(&dir.join("disk")),
            dir,
            group: format!("fields-{}", std::process::id()),
            v2: Path::new("/sys/fs/cgroup/cgroup.controllers").exists(),
        }
    }

    /// Whether the kernel has a file of control groups version 1.
    fn v1_file(&self, path: &str) -> bool {
        Path::new("/sys/fs/cgroup").join(path).exists()
    }
}

impl Drop for Around {
    /// A parent that a client names is the client's: the daemon leaves it.
    fn drop(&mut self) {
        let root = Path::new("/sys/fs/cgroup");
        let hierarchies = fs::read_dir(root).into_iter().flatten().flatten();
        for place in hierarchies.map(|e| e.path()).chain([root.to_owned()]) {
            let _ = fs::remove_dir(place.join(&self.group));
        }
    }
}

/// A node for the first disk of the host, `None` if it has none.
fn disk(node: &Path) -> Option<String> {
    for entry in fs::read_dir("/sys/block").ok()?.flatten() {
        let numbers = fs::read_to_string(entry.path().join("dev")).ok()?;
        let (major, minor) = numbers.trim().split_once(':')?;
        let device = nix::sys::stat::makedev(major.parse().ok()?, minor.parse().ok()?);
        let (kind, mode) = (
            nix::sys::stat::SFlag::S_IFBLK,
            nix::sys::stat::Mode::from_bits_truncate(0o600),
        );
        if nix::sys::stat::mknod(node, kind, mode, device).is_ok() {
            return node.to_str().map(str::to_owned);
        }
    }
    None
}

/// What must be seen.
enum Want {
    /// The program's output, trimmed.
    Output(String),
    /// In the program's output.
    Line(String),
    /// Status and part of the text of create.
    Refused(u16, String),
    /// Status and part of the text of start.
    NotStarted(u16, String),
    /// Part of a warning of create.
    Warned(String),
    /// The field in inspect, where it is not what was given.
    Shown(Value),
    /// What it does is shown by another case; here only that it is kept.
    Elsewhere,
}

/// A field with a value.
pub(crate) struct Row {
    /// `HostConfig.Memory`.
    field: &'static str,
    body: Value,
    script: String,
    wants: Vec<Want>,
}

/// A row; `value` is what create gets.
fn row(field: &'static str, value: Value) -> Row {
    let (kind, name) = field.split_once('.').expect("Type.Field");
    let body = match kind {
        "ContainerConfig" => json!({name: value}),
        kind => json!({kind: {name: value}}),
    };
    Row {
        field,
        body,
        script: "true".to_owned(),
        wants: Vec::new(),
    }
}

impl Row {
    fn want(mut self, want: Want) -> Self {
        self.wants.push(want);
        self
    }

    /// More of the body.
    fn with(mut self, more: Value) -> Self {
        merge(&mut self.body, more);
        self
    }

    /// What the program prints.
    fn prints(mut self, script: &str, output: &str) -> Self {
        script.clone_into(&mut self.script);
        self.want(Want::Output(output.to_owned()))
    }

    /// What is among the lines that it prints.
    fn has(mut self, script: &str, line: &str) -> Self {
        script.clone_into(&mut self.script);
        self.want(Want::Line(line.to_owned()))
    }

    /// A file of the container's own control group.
    fn group(self, around: &Around, v1: (&str, &str), v2: (&str, &str)) -> Self {
        let (file, value) = if around.v2 { v2 } else { v1 };
        self.prints(&format!("cat /sys/fs/cgroup/{file}"), value)
    }

    fn refused(self, status: u16, text: &str) -> Self {
        self.want(Want::Refused(status, text.to_owned()))
    }

    fn not_started(self, status: u16, text: &str) -> Self {
        self.want(Want::NotStarted(status, text.to_owned()))
    }

    fn warned(self, text: &str) -> Self {
        self.want(Want::Warned(text.to_owned()))
    }

    fn shown(self, value: Value) -> Self {
        self.want(Want::Shown(value))
    }

    fn elsewhere(self, _case: &str) -> Self {
        self.want(Want::Elsewhere)
    }
}

/// Objects are merged, everything else is replaced.
fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}

/// Runs a row; gives what is not as it should be.
fn run(daemon: &Daemon, row: &Row) -> Result<(), String> {
    let mut body = json!({
        "Image": IMAGE, "Cmd": ["sh", "-c", row.script], "HostConfig": {"NetworkMode": "none"},
    });
    merge(&mut body, row.body.clone());
    let made = daemon.api("POST", "/containers/create", Some(&body));
    let answer = made.json();
    for want in &row.wants {
        if let Want::Refused(status, text) = want {
            let message = answer["message"].as_str().unwrap_or_default();
            return if made.status == *status && message.contains(text) {
                Ok(())
            } else {
                Err(format!(
                    "create: {} {answer}, not {status} {text}",
                    made.status
                ))
            };
        }
    }
    if made.status != 201 {
        return Err(format!("create: {} {answer}", made.status));
    }
    let id = answer["Id"].as_str().unwrap_or_default();
    let result = look(daemon, row, id, &body, &answer["Warnings"]);
    daemon.api("DELETE", &format!("/containers/{id}?force=1&v=1"), None);
    result
}

/// What is seen of a container that was created.
fn look(
    daemon: &Daemon,
    row: &Row,
    id: &str,
    body: &Value,
    warnings: &Value,
) -> Result<(), String> {
    let (kind, name) = row.field.split_once('.').unwrap_or_default();
    let given = match kind {
        "ContainerConfig" => &body[name],
        kind => &body[kind][name],
    };
    let expected = row.wants.iter().find_map(|want| match want {
        Want::Shown(value) => Some(value),
        _ => None,
    });
    let key = match kind {
        "ContainerConfig" => Some("Config"),
        "HostConfig" => Some("HostConfig"),
        // Not shown as it was given.
        _ => None,
    };
    if let Some(key) = key {
        let shown = &daemon.inspect(id)[key][name];
        let expected = expected.unwrap_or(given);
        if shown != expected {
            return Err(format!("inspect: {shown}, not {expected}"));
        }
    }
    let warned = |text: &str| {
        warnings
            .as_array()
            .into_iter()
            .flatten()
            .any(|warning| warning.as_str().is_some_and(|w| w.contains(text)))
    };
    for want in &row.wants {
        if let Want::Warned(text) = want
            && !warned(text)
        {
            return Err(format!("warnings: {warnings}, not {text}"));
        }
    }
    let runs = row
        .wants
        .iter()
        .any(|want| matches!(want, Want::Output(_) | Want::Line(_) | Want::NotStarted(..)));
    if !runs {
        return Ok(());
    }
    let started = daemon.api("POST", &format!("/containers/{id}/start"), None);
    for want in &row.wants {
        if let Want::NotStarted(status, text) = want {
            let said = started.text();
            return if started.status == *status && said.contains(text) {
                Ok(())
            } else {
                Err(format!(
                    "start: {} {said}, not {status} {text}",
                    started.status
                ))
            };
        }
    }
    if started.status != 204 {
        return Err(format!("start: {} {}", started.status, started.text()));
    }
    daemon.wait_exit(id, 60);
    let output = output(daemon, id, body["Tty"] == true);
    for want in &row.wants {
        let fits = match want {
            Want::Output(text) => output.trim() == text,
            Want::Line(text) => output.lines().any(|line| line.trim() == text),
            _ => true,
        };
        if !fits {
            let text = match want {
                Want::Output(text) | Want::Line(text) => text.as_str(),
                _ => "",
            };
            return Err(format!("{}: {output:?}, not {text:?}", row.script));
        }
    }
    Ok(())
}

/// Both streams of a container that has ended.
fn output(daemon: &Daemon, id: &str, terminal: bool) -> String {
    let path = format!("/containers/{id}/logs?stdout=1&stderr=1");
    let answer = http::request(&daemon.socket, "GET", &path, None, Duration::from_secs(30))
        .expect("the log");
    if terminal {
        return answer.text();
    }
    let frames = http::frames(&answer.body);
    frames
        .iter()
        .map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned())
        .collect()
}

/// Fields of the types that are walked.
fn api() -> BTreeSet<String> {
    let text = fs::read_to_string(repository().join("tests/data/engine-api-1.43.txt"))
        .expect("the API's names");
    let mut out = BTreeSet::new();
    for kind in ["ContainerConfig", "HostConfig", "NetworkingConfig"] {
        let start = format!("type {kind}: ");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&start))
            .expect("the type");
        out.extend(line.split(' ').map(|field| format!("{kind}.{field}")));
    }
    out
}

/// Files for devices of the Container Device Interface, and a profile.
fn options(dir: &Path) -> Options {
    Options {
        config: Some(
            json!({
                "live-restore": false,
                "cdi-spec-dirs": [dir.join("cdi")],
            })
            .to_string(),
        ),
        ..Options::default()
    }
}

#[test]
fn every_field_of_create_works_or_is_refused_by_name() {
    need!(taffrail_only());
    let folder = tempfile::tempdir().expect("a folder");
    let daemon = Daemon::with(options(folder.path()));
    let around = Around::new(folder.path());
    host::write_devices(&around, &folder.path().join("cdi"));
    let rows: Vec<Row> = config::rows(&around)
        .into_iter()
        .chain(host::rows(&around))
        .chain(limits::rows(&around))
        .collect();
    let walked: BTreeSet<String> = rows.iter().map(|row| row.field.to_owned()).collect();
    let left: Vec<_> = api().difference(&walked).cloned().collect();
    assert!(left.is_empty(), "fields without a row: {left:#?}");
    let mut wrong = Vec::new();
    for row in &rows {
        assert!(!row.wants.is_empty(), "{}: nothing is wanted", row.field);
        if let Err(why) = run(&daemon, row) {
            wrong.push(format!("{} {}: {why}", row.field, row.body));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    daemon.finish();
}

/// What Docker does not know either is passed over, as by Docker.
#[test]
fn unknown_fields_are_passed_over() {
    need!(crate::harness::Engine::chosen().ready());
    let daemon = Daemon::start();
    let body = json!({
        "Image": IMAGE, "Cmd": ["true"], "NoSuchField": [1],
        "HostConfig": {"NetworkMode": "none", "NoSuchLimit": {"a": "b"}},
    });
    let answer = daemon.api("POST", "/containers/create", Some(&body));
    assert_eq!(answer.status, 201, "{}", answer.text());
    let id = answer.json()["Id"].as_str().expect("an id").to_owned();
    let removed = daemon.api("DELETE", &format!("/containers/{id}"), None);
    assert_eq!(removed.status, 204, "{}", removed.text());
    daemon.finish();
}
