//! The file as written: keys known, types right, nothing yet said of the values.

use std::collections::BTreeMap;

use crate::error::{ConfigError, Warning};
use crate::json::{self, Json, Node};
use crate::keys::{KEYS, Key, Kind, Meaning, find, nearest};

/// The settings of a file, by key. Types are checked, so the accessors cannot meet another one.
#[derive(Debug, Default)]
pub(crate) struct File {
    settings: BTreeMap<&'static str, (usize, Node)>,
    /// keys in the order of the file
    pub(crate) order: Vec<&'static str>,
}

impl File {
    pub(crate) fn line(&self, key: &str) -> Option<usize> {
        self.settings.get(key).map(|(line, _)| *line)
    }
    pub(crate) fn json(&self, key: &str) -> Option<&Json> {
        self.settings.get(key).map(|(_, node)| &node.value)
    }
    pub(crate) fn string(&self, key: &str) -> Option<&str> {
        match self.json(key) {
            Some(Json::Str(text)) => Some(text),
            _ => None,
        }
    }
    pub(crate) fn bool(&self, key: &str) -> Option<bool> {
        match self.json(key) {
            Some(Json::Bool(b)) => Some(*b),
            _ => None,
        }
    }
    pub(crate) fn int(&self, key: &str) -> Option<i64> {
        match self.json(key) {
            Some(Json::Number(n)) => n.parse().ok(),
            _ => None,
        }
    }
    /// Each with its line.
    pub(crate) fn strings(&self, key: &str) -> Option<Vec<(usize, &str)>> {
        match self.json(key) {
            Some(Json::List(items)) => Some(
                items
                    .iter()
                    .filter_map(|item| match &item.value {
                        Json::Str(text) => Some((item.line, text.as_str())),
                        _ => None,
                    })
                    .collect(),
            ),
            _ => None,
        }
    }
    /// Members of an object, with the lines of their keys.
    pub(crate) fn members(&self, key: &str) -> Option<&[(String, usize, Node)]> {
        match self.json(key) {
            Some(Json::Map(items)) => Some(items),
            _ => None,
        }
    }
    /// An object of strings; numbers and booleans as they are written.
    pub(crate) fn options(&self, key: &str) -> Option<Options<'_>> {
        Some(options(self.members(key)?))
    }
    /// An object of such objects, each with its line.
    pub(crate) fn option_sets(&self, key: &str) -> Vec<(&str, usize, Options<'_>)> {
        let sets = self.members(key).unwrap_or_default();
        sets.iter()
            .filter_map(|(name, line, node)| match &node.value {
                Json::Map(items) => Some((name.as_str(), *line, options(items))),
                _ => None,
            })
            .collect()
    }
}

/// Names with their lines and values.
pub(crate) type Options<'f> = Vec<(&'f str, usize, String)>;

fn options(items: &[(String, usize, Node)]) -> Options<'_> {
    items
        .iter()
        .map(|(name, line, node)| (name.as_str(), *line, node.value.go()))
        .collect()
}

/// The text of a file in UTF-8 (with or without a byte order mark) or UTF-16 with one.
pub(crate) fn decode(bytes: &[u8]) -> Result<String, ConfigError> {
    let wide = |bytes: &[u8], join: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes
            .chunks_exact(2)
            .map(|pair| join([pair[0], pair[1]]))
            .collect();
        if bytes.len() % 2 == 1 {
            return Err(ConfigError::Encoding { line: 1 });
        }
        String::from_utf16(&units).map_err(|_| ConfigError::Encoding { line: 1 })
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => utf8(rest),
        rest => utf8(rest),
    }
}

fn utf8(bytes: &[u8]) -> Result<String, ConfigError> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => Err(ConfigError::Encoding {
            line: 1 + bytes[..error.valid_up_to()]
                .iter()
                .filter(|&&b| b == b'\n')
                .count(),
        }),
    }
}

/// Reads the text; what is wrong goes to `errors`, and what is right is still returned.
pub(crate) fn read(text: &str, errors: &mut Vec<ConfigError>, warnings: &mut Vec<Warning>) -> File {
    let mut file = File::default();
    let node = match json::parse(text) {
        Ok(Some(node)) => node,
        Ok(None) => return file,
        Err(error) => {
            errors.push(ConfigError::Syntax {
                line: error.line,
                column: error.column,
                message: error.message,
            });
            return file;
        }
    };
    let Json::Map(items) = node.value else {
        errors.push(ConfigError::NoObject {
            line: node.line,
            found: node.value.kind(),
        });
        return file;
    };
    duplicates("", &items, errors);
    for (name, line, node) in items {
        // For editors.
        if name == "$schema" && matches!(node.value, Json::Str(_)) {
            continue;
        }
        let Some(key) = find(&name) else {
            errors.push(ConfigError::UnknownKey {
                line,
                nearest: nearest(&name, KEYS.iter().map(|key| key.name)),
                key: name,
            });
            continue;
        };
        if let Meaning::Retired(successor) = key.meaning {
            errors.push(ConfigError::RetiredKey {
                line,
                key: key.name,
                successor,
            });
            continue;
        }
        if !fits(key, line, &node, errors) {
            continue;
        }
        if let Meaning::Accepted(reason) = key.meaning {
            warnings.push(Warning {
                line: Some(line),
                key: name,
                text: format!("accepted but without effect: {reason}"),
            });
            continue;
        }
        // null is "not set", as in Go.
        if node.value != Json::Null && file.settings.insert(key.name, (line, node)).is_none() {
            file.order.push(key.name);
        }
    }
    file
}

pub(crate) fn duplicates(
    parent: &str,
    items: &[(String, usize, Node)],
    errors: &mut Vec<ConfigError>,
) {
    let mut seen = BTreeMap::new();
    for (name, line, _) in items {
        if let Some(first) = seen.get(name) {
            errors.push(ConfigError::DuplicateKey {
                line: *line,
                key: format!("{parent}{name}"),
                first: *first,
            });
        } else {
            seen.insert(name, *line);
        }
    }
}

pub(crate) fn wrong_type(key: String, line: usize, value: &Json, kind: Kind) -> ConfigError {
    let example = match (kind, value) {
        (Kind::Str, Json::Number(n)) => format!("write \"{n}\""),
        (Kind::Int | Kind::Bool, Json::Str(s)) if s.len() < 20 && !s.is_empty() => {
            format!(
                "write {s} without quotes if that is what is meant, such as {}",
                kind.example()
            )
        }
        (Kind::Strings, Json::Str(s)) => format!("write [{s:?}]"),
        _ => format!("write {}", kind.example()),
    };
    let mut shown = value.go();
    if shown.chars().count() > 40 {
        shown = shown.chars().take(40).collect::<String>() + "...";
    }
    ConfigError::WrongType {
        line,
        key,
        found: value.kind(),
        value: shown,
        expected: kind.name(),
        example,
    }
}

/// Whether a value has the shape that its key asks for.
fn fits(key: &Key, line: usize, node: &Node, errors: &mut Vec<ConfigError>) -> bool {
    let before = errors.len();
    match (key.kind, &node.value) {
        (_, Json::Null) | (Kind::Str, Json::Str(_)) | (Kind::Bool, Json::Bool(_)) => {}
        (Kind::Int, Json::Number(n)) if n.parse::<i64>().is_ok() => {}
        (Kind::Strings, Json::List(items)) => {
            for (i, item) in items.iter().enumerate() {
                if !matches!(item.value, Json::Str(_)) {
                    errors.push(wrong_type(
                        format!("{}[{i}]", key.name),
                        item.line,
                        &item.value,
                        Kind::Str,
                    ));
                }
            }
        }
        (Kind::Objects, Json::List(items)) => {
            for (i, item) in items.iter().enumerate() {
                if !matches!(item.value, Json::Map(_)) {
                    errors.push(wrong_type(
                        format!("{}[{i}]", key.name),
                        item.line,
                        &item.value,
                        Kind::Object,
                    ));
                }
            }
        }
        (Kind::Object, Json::Map(items)) => {
            duplicates(&format!("{}.", key.name), items, errors);
        }
        (Kind::Options, Json::Map(items)) => fit_options(key.name, items, errors),
        (Kind::OptionSets, Json::Map(sets)) => {
            duplicates(&format!("{}.", key.name), sets, errors);
            for (name, line, set) in sets {
                let path = format!("{}.{name}", key.name);
                match &set.value {
                    Json::Map(items) => fit_options(&path, items, errors),
                    value => errors.push(wrong_type(path, *line, value, Kind::Options)),
                }
            }
        }
        (kind, value) => errors.push(wrong_type(key.name.to_owned(), line, value, kind)),
    }
    errors.len() == before
}

/// Whether the members of an object are options.
fn fit_options(path: &str, items: &[(String, usize, Node)], errors: &mut Vec<ConfigError>) {
    duplicates(&format!("{path}."), items, errors);
    for (name, line, item) in items {
        if matches!(item.value, Json::Null | Json::List(_) | Json::Map(_)) {
            errors.push(wrong_type(
                format!("{path}.{name}"),
                *line,
                &item.value,
                Kind::Str,
            ));
        }
    }
}
