//! The schema and the tables of `docs/daemon-json.md` are those of the code. `TAFFRAIL_WRITE_DOCS=1` (`make docs`) writes them anew.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use taffrail_config::keys::{KEYS, Key, Kind, Meaning, Used};
use taffrail_config::{Flags, parse_text};
use taffrail_drivers::{DRIVERS, DriverInfo, OptionKind, known_options};

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Compares, or writes if that is asked for.
fn current(path: &Path, new: &str) {
    if std::env::var_os("TAFFRAIL_WRITE_DOCS").is_some() {
        std::fs::write(path, new).unwrap();
    } else {
        let old = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            old == new,
            "{} is not what the code says: run make docs",
            path.display()
        );
    }
}

/// Markdown as plain text: links by their text, no code marks.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once('[') {
        let Some((text, after)) = link.split_once("](") else {
            break;
        };
        let Some((_, after)) = after.split_once(')') else {
            break;
        };
        let _ = write!(out, "{before}{text}");
        rest = after;
    }
    out.push_str(rest);
    out.replace('`', "")
}

fn used(key: &Key) -> Option<&Used> {
    match &key.meaning {
        Meaning::Used(used) => Some(used),
        _ => None,
    }
}

// ---- schema

fn options(drivers: &[&DriverInfo], closed: bool) -> Value {
    let mut properties = Map::new();
    for driver in drivers {
        for option in known_options(driver) {
            let mut one = Map::new();
            one.insert(
                "description".into(),
                format!(
                    "{} {} Allowed: {}.",
                    option.short, option.full, option.allowed
                )
                .into(),
            );
            let kinds = match option.kind {
                OptionKind::Bool => json!(["boolean", "string"]),
                OptionKind::Integer => json!(["integer", "string"]),
                OptionKind::DecimalSize | OptionKind::BinarySize => json!(["string", "integer"]),
                _ => json!(["string", "number", "boolean"]),
            };
            one.insert("type".into(), kinds);
            properties.entry(option.name).or_insert(Value::Object(one));
        }
    }
    json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": if closed {
            json!(false)
        } else {
            json!({"type": ["string", "number", "boolean"]})
        },
    })
}

fn shape(key: &Key) -> Value {
    let strings = json!({"type": "array", "items": {"type": "string"}});
    match (key.name, key.kind) {
        ("runtimes", _) => json!({
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "properties": {
                    "path": {"type": "string", "minLength": 1, "description": "program: an absolute path, or a name to look up in PATH"},
                    "runtimeArgs": strings,
                },
                "required": ["path"],
                "additionalProperties": false,
            },
        }),
        ("default-ulimits", _) => {
            let names: Vec<Value> = taffrail_config::ULIMITS.iter().map(|n| json!(n)).collect();
            json!({
                "type": "object",
                "propertyNames": {"enum": names},
                "additionalProperties": {
                    "type": "object",
                    "properties": {
                        "Name": {"type": "string"},
                        "Soft": {"type": "integer", "minimum": -1},
                        "Hard": {"type": "integer", "minimum": -1},
                    },
                    "required": ["Soft", "Hard"],
                    "additionalProperties": false,
                },
            })
        }
        ("log-streams", _) => json!({
            "type": "array",
            "items": {"type": "string", "enum": ["exec", "health", "events"]},
        }),
        ("webhook", _) => json!({
            "type": "object",
            "properties": {
                "url": {
                    "type": ["string", "array"],
                    "items": {"type": "string"},
                    "description": "http:// or https:// addresses, each also as @/path of a file or secret:NAME.",
                },
                "events": {
                    "type": "array",
                    "items": {"type": "string", "enum": ["die", "oom", "unhealthy"]},
                    "description": "Default: all of them. die: an end with another exit code than 0 that no user asked for.",
                },
                "headers": {
                    "type": "object",
                    "additionalProperties": {"type": "string"},
                    "description": "Headers of each request; values also as @/path of a file or secret:NAME.",
                },
                "tls-ca": {"type": "string", "description": "PEM file of authorities that are trusted instead of the system's."},
            },
            "required": ["url"],
            "additionalProperties": false,
        }),
        ("log-opts", _) => {
            let built: Vec<&DriverInfo> = DRIVERS.iter().filter(|driver| driver.built).collect();
            options(&built, false)
        }
        ("log-drivers", _) => {
            let mut properties = Map::new();
            for driver in DRIVERS.iter().filter(|driver| driver.built) {
                properties.insert(driver.name.into(), options(&[driver], true));
            }
            let later = DRIVERS.iter().filter(|driver| !driver.built);
            for driver in later {
                properties.insert(driver.name.into(), json!({"type": "object"}));
            }
            json!({"type": "object", "properties": properties, "additionalProperties": false})
        }
        (_, Kind::Str) => json!({"type": "string"}),
        (_, Kind::Bool) => json!({"type": "boolean"}),
        (_, Kind::Int) => json!({"type": "integer"}),
        (_, Kind::Strings) => strings,
        (_, Kind::Objects) => json!({"type": "array", "items": {"type": "object"}}),
        _ => json!({"type": "object"}),
    }
}

fn schema() -> Value {
    let mut properties = Map::new();
    properties.insert(
        "$schema".into(),
        json!({"type": "string", "description": "This schema, for editors."}),
    );
    for key in KEYS {
        let mut one = Map::new();
        match &key.meaning {
            Meaning::Used(used) => {
                let mut text = plain(used.text);
                text[..1].make_ascii_uppercase();
                for (name, words) in [("Value", used.value), ("Default", used.note)] {
                    if !words.is_empty() {
                        let _ = write!(text, ". {name}: {}", plain(words));
                    }
                }
                one.insert("description".into(), format!("{text}.").into());
                if !used.default.is_empty() {
                    let default = serde_json::from_str(used.default).expect("a default as JSON");
                    one.insert("default".into(), default);
                }
                if !used.choice.is_empty() {
                    one.insert("enum".into(), json!(used.choice));
                }
            }
            Meaning::Accepted(reason) => {
                one.insert(
                    "description".into(),
                    format!("Accepted without effect: {reason}.").into(),
                );
                one.insert("deprecated".into(), true.into());
            }
            _ => continue,
        }
        if let Value::Object(shape) = shape(key) {
            one.extend(shape);
        }
        properties.insert(key.name.into(), Value::Object(one));
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "daemon.json of Taffrail",
        "description": "Types and names of keys. `taffrail daemon --validate` checks values, too.",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    })
}

#[test]
fn the_schema_is_current() {
    let text = format!("{:#}\n", schema());
    current(&top().join("config/schema/daemon.schema.json"), &text);
}

/// As much of JSON Schema as the schema uses.
fn allows(schema: &Value, value: &Value) -> bool {
    let kind = |name: &str| match name {
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("type {other}"),
    };
    let typed = match &schema["type"] {
        Value::String(name) => kind(name),
        Value::Array(names) => names.iter().any(|name| kind(name.as_str().unwrap())),
        _ => true,
    };
    let listed = schema["enum"]
        .as_array()
        .is_none_or(|allowed| allowed.contains(value));
    let least = schema["minimum"]
        .as_i64()
        .is_none_or(|least| value.as_i64().is_none_or(|value| value >= least));
    let items = value.as_array().is_none_or(|items| {
        schema["items"].is_null() || items.iter().all(|item| allows(&schema["items"], item))
    });
    let members = value.as_object().is_none_or(|members| {
        let required = schema["required"].as_array();
        required.is_none_or(|names| {
            names
                .iter()
                .all(|name| members.contains_key(name.as_str().unwrap()))
        }) && members.iter().all(|(name, member)| {
            let known = &schema["properties"][name];
            let named = &schema["propertyNames"];
            (named.is_null() || allows(named, &json!(name)))
                && match (known, &schema["additionalProperties"]) {
                    (Value::Object(_), _) => allows(known, member),
                    (_, Value::Bool(allowed)) => *allowed,
                    (_, Value::Object(_)) => allows(&schema["additionalProperties"], member),
                    _ => true,
                }
        })
    });
    typed && listed && least && items && members
}

/// What the schema refuses, the daemon refuses, and the samples pass both.
#[test]
fn schema_and_daemon_agree() {
    let schema = schema();
    let folder = top().join("config/samples");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            allows(&schema, &serde_json::from_str(&text).unwrap()),
            "{}",
            path.display()
        );
    }
    let values = [
        "1",
        "-1",
        "1.5",
        "true",
        "\"x\"",
        "\"\"",
        "[]",
        "[1]",
        "[\"a=b\"]",
        "[{}]",
        "{}",
        "{\"a\": {}}",
        "{\"a\": 1}",
        "{\"local\": {\"compress\": false}}",
        "{\"json-file\": {\"nope\": \"1\"}}",
        "{\"core\": {\"Soft\": 0, \"Hard\": 0}}",
        "{\"core\": {\"Soft\": \"0\", \"Hard\": 0}}",
    ];
    let mut refused = 0;
    for key in KEYS {
        for value in values {
            let text = format!("{{\"{}\": {value}}}", key.name);
            let by_schema = allows(&schema, &serde_json::from_str(&text).unwrap());
            let loaded = parse_text(text.as_bytes(), None, &Flags::default());
            // An empty string is "not set" to the daemon; an editor need not offer it.
            if !by_schema && value != "\"\"" {
                refused += 1;
                assert!(
                    loaded.is_err(),
                    "the schema refuses, the daemon takes {text}"
                );
            }
        }
    }
    assert!(refused > 500, "{refused}");
}

// ---- page

fn own_keys() -> String {
    let mut out = String::from(
        "| Key | Value | Default | Meaning | Flag | Live |\n|---|---|---|---|---|---|\n",
    );
    for key in KEYS {
        let Some(used) = used(key) else {
            continue;
        };
        let choice = used
            .choice
            .iter()
            .map(|value| format!("`{value}`"))
            .collect::<Vec<_>>()
            .join(" or ");
        let kind = key.kind.name();
        let value = if !used.value.is_empty() {
            used.value
        } else if !choice.is_empty() {
            &choice
        } else {
            kind.trim_start_matches("a ").trim_start_matches("an ")
        };
        let default = match (used.default.trim_matches('"'), used.note) {
            ("", note) => note.to_owned(),
            (default, "") => format!("`{default}`"),
            (default, note) => format!("`{default}` ({note})"),
        };
        let flag = match used.flag {
            "" => "none".to_owned(),
            flag => format!("`{flag}`"),
        };
        let live = if used.live { "yes" } else { "no" };
        let _ = writeln!(
            out,
            "| `{}` | {value} | {default} | {} | {flag} | {live} |",
            key.name, used.text
        );
    }
    out
}

fn accepted_keys() -> String {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for key in KEYS {
        if let Meaning::Accepted(reason) = key.meaning {
            match reasons.iter_mut().find(|(other, _)| *other == reason) {
                Some((_, names)) => names.push(key.name),
                None => reasons.push((reason, vec![key.name])),
            }
        }
    }
    let mut out = String::from("| Keys | Why without effect |\n|---|---|\n");
    for (reason, names) in reasons {
        let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
        let _ = writeln!(out, "| {} | {reason} |", names.join(", "));
    }
    out
}

fn retired_keys() -> String {
    let mut out = String::from("| Key | What to do |\n|---|---|\n");
    for key in KEYS {
        if let Meaning::Retired(successor) = key.meaning {
            let _ = writeln!(out, "| `{}` | {} |", key.name, successor.replace('"', "`"));
        }
    }
    out
}

#[test]
fn the_page_is_current() {
    let path = top().join("docs/daemon-json.md");
    let mut page = std::fs::read_to_string(&path).unwrap();
    for (name, table) in [
        ("keys", own_keys()),
        ("accepted", accepted_keys()),
        ("retired", retired_keys()),
    ] {
        let start = format!("<!-- {name} -->\n");
        let (before, rest) = page.split_once(&start).expect(name);
        let (_, after) = rest.split_once("<!-- end -->").expect(name);
        page = format!("{before}{start}{table}<!-- end -->{after}");
    }
    current(&path, &page);
}
