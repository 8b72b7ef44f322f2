//! `docs/compatibility.toml`, the table of what Taffrail has of Docker's API, held against the API's
//! names, the routes, the types that are read and written, and the page that is made of it. What a
//! daemon that runs shows is held against it in `tests/compatibility.rs`.

mod page;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use http::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use toml::Table;

use super::router::{ROUTES, Route, find};
use super::types::{ContainerConfig, HostConfig, LogConfig, MountSpec, RestartPolicy};

/// A file of the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn table() -> Table {
    let text = fs::read_to_string(repository("docs/compatibility.toml")).unwrap();
    text.parse()
        .unwrap_or_else(|error| panic!("docs/compatibility.toml: {error}"))
}

fn section<'a>(table: &'a Table, path: &[&str]) -> &'a Table {
    path.iter().fold(table, |at, key| {
        at.get(*key)
            .and_then(toml::Value::as_table)
            .unwrap_or_else(|| panic!("docs/compatibility.toml: no table {path:?}"))
    })
}

/// The API's names: query parameters by endpoint, fields by type.
type Names = BTreeMap<String, Vec<String>>;

fn names() -> (Names, Names) {
    let text = fs::read_to_string(repository("tests/data/engine-api-1.43.txt")).unwrap();
    let of = |kind: &str| {
        text.lines()
            .filter_map(|line| line.strip_prefix(kind)?.split_once(':'))
            .map(|(name, list)| {
                let list = list.split_whitespace().map(str::to_owned).collect();
                (name.to_owned(), list)
            })
            .collect()
    };
    (of("endpoint "), of("type "))
}

/// What a cell says.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Verdict<'a> {
    Yes,
    Differs(&'a str),
    No(&'a str),
    /// A query parameter that Docker does not have.
    Own(&'a str),
}

fn verdict<'a>(place: &str, cell: &'a toml::Value) -> Verdict<'a> {
    let text = cell.as_str().unwrap_or_default();
    match text.split_once(": ") {
        _ if text == "yes" => Verdict::Yes,
        Some(("differs", how)) => Verdict::Differs(how),
        Some(("no", answer)) => Verdict::No(answer),
        Some(("own", what)) => Verdict::Own(what),
        _ => panic!("{place}: {text:?}: yes, \"differs: how\" or \"no: what is answered\""),
    }
}

/// The route of an endpoint as the table names it.
fn route(endpoint: &str) -> Option<Route> {
    let (method, path) = endpoint.split_once(' ').unwrap();
    let method = if method == "*" { "GET" } else { method };
    let path: String = path
        .split('/')
        .map(|part| if part.starts_with('{') { "n" } else { part })
        .collect::<Vec<_>>()
        .join("/");
    find(&Method::from_bytes(method.as_bytes()).unwrap(), &path).map(|(_, route, _)| route)
}

/// Docker's endpoints in the table, of this version and others, with the cell.
fn endpoints(table: &Table) -> Vec<(String, &toml::Value)> {
    let own = section(table, &["endpoints"])
        .iter()
        .map(|(name, entry)| (name.clone(), &entry["is"]));
    let others = section(table, &["others"]).iter();
    own.chain(others.map(|(name, cell)| (name.clone(), cell)))
        .collect()
}

#[test]
fn every_endpoint_and_parameter_of_the_api_is_there_once() {
    let table = table();
    let entries = section(&table, &["endpoints"]);
    let (api, _) = names();
    assert!(api.len() > 100, "{}", api.len());
    let mut wrong = Vec::new();
    for (endpoint, parameters) in &api {
        let Some(entry) = entries.get(endpoint).and_then(toml::Value::as_table) else {
            wrong.push(format!("{endpoint}: not in the table"));
            continue;
        };
        let absent = matches!(verdict(endpoint, &entry["is"]), Verdict::No(_));
        for parameter in parameters {
            if entry.contains_key(parameter) == absent {
                wrong.push(format!(
                    "{endpoint}: {parameter}: {}",
                    if absent {
                        "of what is not there"
                    } else {
                        "missing"
                    }
                ));
            }
        }
        for (key, cell) in entry {
            let place = format!("{endpoint}: {key}");
            let own = matches!(verdict(&place, cell), Verdict::Own(_));
            if key != "is" && own == parameters.contains(key) {
                wrong.push(format!("{place}: Docker's or our own?"));
            }
        }
    }
    let unknown = entries.keys().filter(|name| !api.contains_key(*name));
    wrong.extend(unknown.map(|name| format!("{name}: not in the API")));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_table_says_what_the_routes_do() {
    let table = table();
    let mut wrong = Vec::new();
    for (endpoint, cell) in endpoints(&table) {
        let verdict = verdict(&endpoint, cell);
        // The status that the router itself answers with.
        let status = match route(&endpoint) {
            None | Some(Route::Experimental) => Some("404"),
            Some(Route::NotBuilt) => Some("501"),
            Some(Route::Swarm) => Some("503"),
            Some(_) => None,
        };
        let fits = match (status, verdict) {
            (Some(status), Verdict::No(answer)) => answer.contains(status),
            (None, Verdict::Yes | Verdict::Differs(_)) => true,
            _ => false,
        };
        if !fits {
            wrong.push(format!("{endpoint}: {verdict:?}, the router: {status:?}"));
        }
    }
    for endpoint in section(&table, &["own"]).keys() {
        if matches!(route(endpoint), None | Some(Route::NotBuilt)) {
            wrong.push(format!("{endpoint}: there is no such endpoint"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_route_is_in_the_table() {
    let table = table();
    let shape = |path: &str| {
        path.split('/')
            .map(|part| if part.starts_with('{') { "{}" } else { part })
            .collect::<Vec<_>>()
            .join("/")
    };
    let own = section(&table, &["own"]).keys().cloned();
    let known: Vec<String> = endpoints(&table)
        .into_iter()
        .map(|(name, _)| name)
        .chain(own)
        .map(|name| shape(&name))
        .collect();
    for (method, pattern, route) in ROUTES {
        // A swarm's are known by their first word.
        if *route != Route::Swarm {
            let endpoint = format!("{method} {pattern}");
            assert!(
                known.contains(&endpoint),
                "{endpoint}: add it to docs/compatibility.toml"
            );
        }
    }
}

/// A parameter that is there is read somewhere in the API's code, by its name.
#[test]
fn parameters_that_are_there_are_read() {
    let table = table();
    let mut source = String::new();
    let mut folders = vec![repository("src/api")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                source.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }
    let mut wrong = Vec::new();
    for (endpoint, entry) in section(&table, &["endpoints"]) {
        for (key, cell) in entry.as_table().unwrap() {
            let place = format!("{endpoint}: {key}");
            let read = matches!(verdict(&place, cell), Verdict::Yes | Verdict::Own(_));
            if key != "is" && read && !source.contains(&format!("\"{key}\"")) {
                wrong.push(format!("{place}: is not read"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Whether a type keeps a field: some value of it makes another value of the type.
fn keeps<T>(field: &str) -> bool
where
    T: DeserializeOwned + Default + PartialEq,
{
    let candidates = [
        json!(true),
        json!(1),
        json!("x"),
        json!(["x"]),
        json!([1, 1]),
        json!({"x": "y"}),
        json!({"x": {}}),
        json!({"Type": "x", "Name": "x"}),
        json!([{"Name": "x", "Type": "x", "Target": "x"}]),
    ];
    candidates.into_iter().any(|value| {
        serde_json::from_value::<T>(json!({field: value})).is_ok_and(|kept| kept != T::default())
    })
}

/// Fields that a type writes.
fn writes<T: Serialize + Default>() -> Vec<String> {
    match serde_json::to_value(T::default()) {
        Ok(Value::Object(fields)) => fields.keys().cloned().collect(),
        _ => Vec::new(),
    }
}

#[test]
fn every_field_of_the_api_is_there_and_no_other() {
    let table = table();
    let (_, api) = names();
    let listed = section(&table, &["fields"]);
    let mut wrong = Vec::new();
    for (kind, fields) in &api {
        let entry = section(&table, &["fields", kind]);
        for field in fields {
            if !entry.contains_key(field) {
                wrong.push(format!("{kind}.{field}: missing"));
            }
        }
        for (field, cell) in entry {
            verdict(&format!("{kind}.{field}"), cell);
            if !fields.contains(field) {
                wrong.push(format!("{kind}.{field}: not in the API"));
            }
        }
    }
    wrong.extend(
        listed
            .keys()
            .filter(|kind| !api.contains_key(*kind))
            .map(|kind| format!("{kind}: not in the API")),
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Nothing that create knows is dropped while it is read.
#[test]
fn types_keep_every_field_of_create() {
    let (_, api) = names();
    type Keeps = fn(&str) -> bool;
    let types: [(&str, Keeps, Vec<String>); 5] = [
        (
            "ContainerConfig",
            keeps::<ContainerConfig>,
            writes::<ContainerConfig>(),
        ),
        ("HostConfig", keeps::<HostConfig>, writes::<HostConfig>()),
        ("LogConfig", keeps::<LogConfig>, writes::<LogConfig>()),
        (
            "RestartPolicy",
            keeps::<RestartPolicy>,
            writes::<RestartPolicy>(),
        ),
        ("Mount", keeps::<MountSpec>, writes::<MountSpec>()),
    ];
    for (kind, keeps, written) in types {
        for field in &api[kind] {
            assert!(keeps(field), "{kind}.{field} is lost when it is read");
        }
        for field in written {
            assert!(
                api[kind].contains(&field),
                "{kind}.{field} is written and not in the API"
            );
        }
        assert!(!keeps("NoSuchField"));
    }
}

#[test]
fn the_page_is_made_of_the_table() {
    let path = repository("docs/compatibility.md");
    let page = page::of(&table());
    if std::env::var_os("TAFFRAIL_WRITE_DOCS").is_some() {
        fs::write(&path, page).unwrap();
        return;
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == page,
        "{} is not what the table says: run make docs",
        path.display()
    );
}
