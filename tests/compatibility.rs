//! What a daemon that runs shows, held against `docs/compatibility.toml`: a field that is said to be
//! there is there, one that is said to be absent is not, and no other is shown.

use serde_json::Value;
use toml::Table;

use crate::harness::daemon::{Daemon, taffrail_only};
use crate::harness::image::IMAGE;
use crate::harness::{repository, skip};
use crate::need;

fn table() -> Table {
    let path = repository().join("docs/compatibility.toml");
    let text = std::fs::read_to_string(path).expect("the table");
    text.parse().expect("the table is TOML")
}

/// What is wrong with an object of a type.
fn differences(table: &Table, kind: &str, shown: &Value) -> Vec<String> {
    let part = |name: &str| {
        table
            .get(name)
            .and_then(|part| part.get(kind))
            .and_then(toml::Value::as_table)
            .cloned()
            .unwrap_or_default()
    };
    let (fields, more) = (part("fields"), part("more"));
    assert!(!fields.is_empty(), "{kind} is not in the table");
    let Some(object) = shown.as_object() else {
        return vec![format!("{kind}: {shown} is no object")];
    };
    let mut wrong = Vec::new();
    for (field, said) in &fields {
        let said = said.as_str().unwrap_or_default();
        let there = object.contains_key(field);
        let expected = match said {
            // It depends.
            _ if said.starts_with("differs: where ") => there,
            _ if said.starts_with("no: ") => false,
            _ => true,
        };
        if there != expected {
            wrong.push(format!("{kind}.{field}: {said:?}, there: {there}"));
        }
    }
    for field in object.keys() {
        if !fields.contains_key(field) && !more.contains_key(field) {
            wrong.push(format!("{kind}.{field}: shown and not in the table"));
        }
    }
    wrong
}

#[test]
fn the_table_is_what_the_daemon_shows() {
    need!(taffrail_only());
    need!(skip::program("docker"));
    let daemon = Daemon::start();
    let bind = format!("{}:/tmp/b", daemon.root.display());
    let id = daemon.run_detached(&[
        "-v",
        &bind,
        "-v",
        "/anonymous",
        "--log-driver",
        "json-file",
        IMAGE,
        "workload",
        "trap",
        "exit=0",
    ]);
    let table = table();
    let mut wrong = Vec::new();
    let inspect = daemon.get(&format!("/containers/{id}/json?size=1"));
    wrong.extend(differences(&table, "ContainerInspect", &inspect));
    wrong.extend(differences(&table, "ContainerState", &inspect["State"]));
    let network = &inspect["NetworkSettings"];
    wrong.extend(differences(&table, "NetworkSettings", network));
    let mounts = inspect["Mounts"].as_array().expect("mounts");
    assert_eq!(mounts.len(), 2, "{mounts:?}");
    for mount in mounts {
        wrong.extend(differences(&table, "MountPoint", mount));
    }
    for (key, kind) in [("Config", "ContainerConfig"), ("HostConfig", "HostConfig")] {
        // What is not given may be left out here; nothing else may come in.
        let unknown = differences(&table, kind, &inspect[key]);
        wrong.extend(unknown.into_iter().filter(|w| w.contains("shown and not")));
    }
    let list = daemon.get("/containers/json?size=1&logs=1");
    wrong.extend(differences(&table, "ContainerSummary", &list[0]));
    wrong.extend(differences(&table, "SystemInfo", &daemon.get("/info")));
    wrong.extend(differences(
        &table,
        "SystemVersion",
        &daemon.get("/version"),
    ));
    assert!(wrong.is_empty(), "{wrong:#?}");
    daemon.docker(["rm", "-f", &id]).output().code(0);
    daemon.finish();
}

/// Endpoints that are said not to be there answer so, in the words of the table's status.
#[test]
fn what_is_not_there_answers_as_said() {
    need!(taffrail_only());
    let daemon = Daemon::start();
    let table = table();
    let endpoints = table["endpoints"].as_table().expect("endpoints");
    let mut wrong = Vec::new();
    for (endpoint, entry) in endpoints {
        let said = entry["is"].as_str().unwrap_or_default();
        let Some(answer) = said.strip_prefix("no: ") else {
            continue;
        };
        let (method, path) = endpoint.split_once(' ').expect("a method");
        let path = path.replace("{id}", "x").replace("{name}", "x");
        let got = daemon.api(method, &path, None).status;
        if !answer.starts_with(&got.to_string()) {
            wrong.push(format!("{endpoint}: {got}, said: {answer}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    daemon.finish();
}
