//! Labels, environment variables and the tag that go with each record of a container.

use std::collections::BTreeMap;

use regex::Regex;

use crate::error::OptionError;
use crate::go::json_string;
use crate::template::{Object, Template, TemplateError, Value};

/// What tags and attributes can be made of. Borrowed from the container.
#[derive(Clone, Copy, Debug, Default)]
pub struct ContainerFacts<'a> {
    /// 64 hex digits
    pub id: &'a str,
    /// name, with or without the leading `/`
    pub name: &'a str,
    /// `sha256:` and 64 hex digits
    pub image_id: &'a str,
    /// image reference as the user gave it
    pub image_name: &'a str,
    /// first word of the command line (Docker's `Path`)
    pub path: &'a str,
    /// the other words (Docker's `Args`)
    pub args: &'a [String],
    /// `K=V` entries: the image's and the user's
    pub env: &'a [String],
    /// labels; `None` is none
    pub labels: Option<&'a BTreeMap<String, String>>,
    /// RFC 3339
    pub created: &'a str,
    /// host name of the machine
    pub hostname: &'a str,
    /// path of the log
    pub log_path: &'a str,
}

/// A tag that cannot be made for a container.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct TagError(#[from] TemplateError);

fn truncate(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// What `{{.ID}}` is: the first 12 characters of an id.
pub(crate) fn short_id(id: &str) -> &str {
    truncate(id, 12)
}

/// A time of RFC 3339 in UTC as Go prints it.
fn go_time(text: &str) -> String {
    match text.strip_suffix('Z').and_then(|t| t.split_once('T')) {
        Some((date, time)) => format!("{date} {time} +0000 UTC"),
        None => text.to_owned(),
    }
}

fn strings(items: &[String]) -> Value {
    Value::List(
        items
            .iter()
            .map(|item| Value::from(item.as_str()))
            .collect(),
    )
}

fn string_map(items: &BTreeMap<String, String>) -> Value {
    Value::Map(
        items
            .iter()
            .map(|(k, v)| (k.clone(), Value::from(v.as_str())))
            .collect(),
    )
}

impl ContainerFacts<'_> {
    fn label(&self, name: &str) -> Option<&str> {
        self.labels?.get(name).map(String::as_str)
    }

    /// The dot of tag templates: Docker's `logger.Info`.
    pub(crate) fn to_value(
        self,
        config: &BTreeMap<String, String>,
        extra: &BTreeMap<String, String>,
    ) -> Value {
        let name = self.name.strip_prefix('/').unwrap_or(self.name);
        let image = self
            .image_id
            .split_once(':')
            .map_or(self.image_id, |(_, digest)| digest);
        let mut command = self.path.to_owned();
        for arg in self.args {
            command.push(' ');
            command.push_str(arg);
        }
        let labels = self.labels.map_or(Value::Map(Vec::new()), string_map);
        Value::Object(
            Object::new("*logger.Info")
                .method("ID", truncate(self.id, 12))
                .method("FullID", self.id)
                .method("Name", name)
                .method("ImageID", truncate(image, 12))
                .method("ImageFullID", self.image_id)
                .method("ImageName", self.image_name)
                .method("Command", command.as_str())
                .method("Hostname", self.hostname)
                .method("DaemonName", "docker")
                .method_with_argument("ExtraAttributes", string_map(extra))
                .field("Config", string_map(config))
                .field("ContainerID", self.id)
                .field("ContainerName", format!("/{name}").as_str())
                .field("ContainerEntrypoint", self.path)
                .field("ContainerArgs", strings(self.args))
                .field("ContainerImageID", self.image_id)
                .field("ContainerImageName", self.image_name)
                .field("ContainerCreated", go_time(self.created).as_str())
                .field("ContainerEnv", strings(self.env))
                .field("ContainerLabels", labels)
                .field("LogPath", self.log_path),
        )
    }
}

/// Which labels, variables and tag the options ask for. Made by validation only.
#[derive(Clone, Debug)]
pub struct AttrSelection {
    pub(crate) labels: Vec<String>,
    pub(crate) labels_regex: Option<Regex>,
    pub(crate) env: Vec<String>,
    pub(crate) env_regex: Option<Regex>,
    pub(crate) tag: Option<Template>,
    /// the options themselves, `.Config` of a tag
    pub(crate) config: BTreeMap<String, String>,
}

impl AttrSelection {
    /// Attributes without the tag, in Docker's order: labels, labels-regex, env, env-regex; a later one overwrites.
    pub fn extra(&self, container: &ContainerFacts<'_>) -> BTreeMap<String, String> {
        self.extra_with(container, str::to_owned)
    }

    /// The same with other names; where two become one, the later one in Docker's order overwrites.
    pub(crate) fn extra_with(
        &self,
        container: &ContainerFacts<'_>,
        rename: impl Fn(&str) -> String,
    ) -> BTreeMap<String, String> {
        let mut extra = BTreeMap::new();
        let mut keep = |name: &str, value: &str| {
            extra.insert(rename(name), value.to_owned());
        };
        for name in &self.labels {
            if let Some(value) = container.label(name) {
                keep(name, value);
            }
        }
        if let (Some(regex), Some(labels)) = (&self.labels_regex, container.labels) {
            for (name, value) in labels {
                if regex.is_match(name) {
                    keep(name, value);
                }
            }
        }
        if self.env.is_empty() && self.env_regex.is_none() {
            return extra;
        }
        let env: BTreeMap<&str, &str> = container
            .env
            .iter()
            .filter_map(|entry| entry.split_once('='))
            .collect();
        for name in &self.env {
            if let Some(value) = env.get(name.as_str()) {
                keep(name, value);
            }
        }
        if let Some(regex) = &self.env_regex {
            for (name, value) in &env {
                if regex.is_match(name) {
                    keep(name, value);
                }
            }
        }
        extra
    }

    /// The tag, for drivers that always have one; empty if the options give none.
    ///
    /// # Errors
    /// It cannot be evaluated for this container.
    pub(crate) fn rendered_tag(&self, container: &ContainerFacts<'_>) -> Result<String, TagError> {
        match &self.tag {
            None => Ok(String::new()),
            Some(template) => {
                Ok(template.render(&container.to_value(&self.config, &self.extra(container)))?)
            }
        }
    }

    /// All attributes, the tag included; empty if nothing was asked for.
    ///
    /// # Errors
    /// The tag cannot be evaluated for this container.
    pub fn attrs(
        &self,
        container: &ContainerFacts<'_>,
    ) -> Result<BTreeMap<String, String>, TagError> {
        let mut attrs = self.extra(container);
        if let Some(template) = &self.tag {
            let tag = template.render(&container.to_value(&self.config, &attrs))?;
            if !tag.is_empty() {
                attrs.insert("tag".to_owned(), tag);
            }
        }
        Ok(attrs)
    }
}

/// Attributes as the `attrs` object of a json-file record, as Go's encoder writes it; no bytes at all if there are none.
pub fn attrs_json(attrs: &BTreeMap<String, String>) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in attrs {
        out.push(if out.is_empty() { b'{' } else { b',' });
        json_string(&mut out, name.as_bytes(), true);
        out.push(b':');
        json_string(&mut out, value.as_bytes(), true);
    }
    if !out.is_empty() {
        out.push(b'}');
    }
    out
}

/// An RE2 expression; the common mistakes are told in Go's words.
pub(crate) fn compile(pattern: &str) -> Result<Regex, OptionError> {
    Regex::new(pattern).map_err(|error| {
        let text = error.to_string();
        let last = text.lines().last().unwrap_or_default().trim();
        let last = last.strip_prefix("error: ").unwrap_or(last);
        let reason = match last {
            "unclosed character class" => "missing closing ]",
            "unclosed group" => "missing closing )",
            "unopened group" => "unexpected )",
            "repetition operator missing expression" => "missing argument to repetition operator",
            other => other,
        };
        OptionError::Regex {
            reason: reason.to_owned(),
            pattern: pattern.to_owned(),
        }
    })
}
