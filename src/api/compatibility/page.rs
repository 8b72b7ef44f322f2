//! `docs/compatibility.md`, made of the table.

use std::fmt::Write as _;

use toml::Table;

use super::{Verdict, section, verdict};

const HEAD: &str = "\
# Compatibility with the Docker Engine API

<!-- Made of compatibility.toml by `make docs`; do not edit. -->

Every endpoint of version 1.43 with its query parameters, and every field of `create` and of the answers of inspect, list, info and version. *yes*: as in
Docker Engine. *no*: what is answered. Anything else: how it differs. Versions 1.24 to 1.43 can be asked for; a newer one is answered with 400. A known field
never goes by in silence: it works, or it is refused by its name. Unknown JSON fields and query parameters are passed over, as by Docker Engine.

Docker's own test suites: [compat-tests](compat-tests.md).
";

/// Types of create's body, and what each is.
const CREATE: [(&str, &str); 10] = [
    ("ContainerConfig", "the body itself"),
    ("HealthConfig", "`Healthcheck`"),
    ("HostConfig", "`HostConfig`"),
    ("RestartPolicy", "`HostConfig.RestartPolicy`"),
    ("LogConfig", "`HostConfig.LogConfig`, see [logs](logs.md)"),
    ("Mount", "each of `HostConfig.Mounts`"),
    ("DeviceRequest", "each of `HostConfig.DeviceRequests`"),
    ("NetworkingConfig", "`NetworkingConfig`"),
    (
        "EndpointSettings",
        "each of `NetworkingConfig.EndpointsConfig`",
    ),
    ("EndpointIPAMConfig", "`IPAMConfig` of each"),
];

const ANSWERS: [(&str, &str); 7] = [
    ("ContainerInspect", "`GET /containers/{id}/json`"),
    ("ContainerState", "`State` in it"),
    ("NetworkSettings", "`NetworkSettings` in it"),
    ("MountPoint", "each of `Mounts` in it"),
    ("ContainerSummary", "each of `GET /containers/json`"),
    ("SystemInfo", "`GET /info`"),
    ("SystemVersion", "`GET /version`"),
];

pub(super) fn of(table: &Table) -> String {
    let mut out = HEAD.to_owned();
    out.push_str("\n## Endpoints\n\n| Endpoint | | Query parameters |\n|---|---|---|\n");
    for (name, entry) in section(table, &["endpoints"]) {
        let entry = entry.as_table().expect("a table");
        row(&mut out, name, &[&cell(&entry["is"]), &parameters(entry)]);
    }
    out.push_str("\nOf other versions of Docker's API:\n\n| Endpoint | |\n|---|---|\n");
    for (name, value) in section(table, &["others"]) {
        row(&mut out, name, &[&cell(value)]);
    }
    out.push_str("\nTaffrail's own:\n\n| Endpoint | |\n|---|---|\n");
    for (name, value) in section(table, &["own"]) {
        row(&mut out, name, &[value.as_str().unwrap_or_default()]);
    }
    out.push_str("\n## Fields of create\n");
    for (kind, what) in CREATE {
        fields(&mut out, table, kind, what);
    }
    out.push_str("\n## Fields of answers\n");
    for (kind, what) in ANSWERS {
        fields(&mut out, table, kind, what);
    }
    out
}

fn row(out: &mut String, name: &str, cells: &[&str]) {
    let _ = writeln!(out, "| `{name}` | {} |", cells.join(" | "));
}

fn escape(text: &str) -> String {
    text.replace('|', "\\|")
}

fn cell(value: &toml::Value) -> String {
    match verdict("", value) {
        Verdict::Yes => "yes".to_owned(),
        Verdict::No(answer) => format!("*no*: {}", escape(answer)),
        Verdict::Differs(how) | Verdict::Own(how) => escape(how),
    }
}

/// First those that are as in Docker, by name alone.
fn parameters(entry: &Table) -> String {
    let mut plain = Vec::new();
    let mut rest = Vec::new();
    for (name, value) in entry.iter().filter(|(name, _)| *name != "is") {
        match verdict(name, value) {
            Verdict::Yes => plain.push(format!("`{name}`")),
            Verdict::Own(what) => rest.push(format!("`{name}` (own): {}", escape(what))),
            _ => rest.push(format!("`{name}`: {}", cell(value))),
        }
    }
    if !plain.is_empty() {
        rest.insert(0, plain.join(" "));
    }
    rest.join("; ")
}

fn fields(out: &mut String, table: &Table, kind: &str, what: &str) {
    let _ = write!(out, "\n### {kind}\n\n{what}\n\n| Field | |\n|---|---|\n");
    for (name, value) in section(table, &["fields", kind]) {
        row(out, name, &[&cell(value)]);
    }
    let more = section(table, &["more"]).get(kind);
    for (name, value) in more.and_then(toml::Value::as_table).into_iter().flatten() {
        let text = format!("Taffrail's own: {}", value.as_str().unwrap_or_default());
        row(out, name, &[&text]);
    }
}
