//! `webhook`: who is told of ends that were not wanted. Addresses and headers are secrets, so no error shows them.

use std::path::{Path, PathBuf};

use taffrail_drivers::Secret;
use taffrail_drivers::post::{check_header, check_url};

use crate::check::{self, Errors, bad, members};
use crate::error::Origin;
use crate::file::{File, wrong_type};
use crate::json::{Json, Node};
use crate::keys::Kind;

/// Most addresses: each has a queue and a task of its own.
const MOST_URLS: usize = 8;
/// Most headers of a request.
const MOST_HEADERS: usize = 32;
/// Stands for a value in errors.
const MASK: &str = "xxxx";

/// What is posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookEvent {
    /// a container ended with another code than 0, and no user had asked for it
    Die,
    /// the kernel killed a process for want of memory
    Oom,
    /// a health check failed so often that the container is unhealthy
    Unhealthy,
}

impl WebhookEvent {
    /// The name in the file and in the body.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Die => "die",
            Self::Oom => "oom",
            Self::Unhealthy => "unhealthy",
        }
    }
    const ALL: [Self; 3] = [Self::Die, Self::Oom, Self::Unhealthy];
}

/// The setting, checked; files that it names were not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// one to eight
    pub urls: Vec<Secret>,
    /// which events are posted
    pub events: Vec<WebhookEvent>,
    /// names and values
    pub headers: Vec<(String, Secret)>,
    /// authorities that are trusted instead of the system's; absolute
    pub tls_ca: Option<PathBuf>,
}

/// The setting of the file; `None` if there is none, or if it is wrong.
pub(crate) fn webhook(file: &File, errors: &mut Errors) -> Option<Webhook> {
    let items = file.members("webhook")?;
    let line = file.line("webhook").unwrap_or(1);
    let before = errors.len();
    // One address or several: the only member with two shapes.
    let is_url = |name: &str| name.eq_ignore_ascii_case("url");
    let url = items.iter().find(|(name, ..)| is_url(name));
    let rest = items.iter().filter(|(name, ..)| !is_url(name)).cloned();
    let rest = Node {
        line,
        value: Json::Map(rest.collect()),
    };
    let known = [
        ("events", Kind::Strings),
        ("headers", Kind::Object),
        ("tls-ca", Kind::Str),
    ];
    let found = members("webhook", &rest, &known, errors);
    let urls = match url {
        Some((_, line, node)) => urls(*line, node, errors),
        None => {
            errors.push(bad(
                Origin::Line(line),
                "webhook",
                "{...}",
                "url is missing",
                "write {\"url\": \"https://...\"}",
            ));
            Vec::new()
        }
    };
    let setting = Webhook {
        urls,
        events: match found.get("events") {
            Some(node) => events(node, errors),
            None => WebhookEvent::ALL.to_vec(),
        },
        headers: found
            .get("headers")
            .map_or_else(Vec::new, |node| headers(node, errors)),
        tls_ca: found.get("tls-ca").and_then(|node| match &node.value {
            Json::Str(path) => Some(check::path(
                Origin::Line(node.line),
                "webhook.tls-ca",
                Path::new(path),
                errors,
            )),
            _ => None,
        }),
    };
    (errors.len() == before).then_some(setting)
}

fn urls(line: usize, node: &Node, errors: &mut Errors) -> Vec<Secret> {
    let nodes = match &node.value {
        Json::Str(_) => std::slice::from_ref(node),
        Json::List(items) => items.as_slice(),
        value => {
            errors.push(wrong_type("webhook.url".to_owned(), line, value, Kind::Str));
            return Vec::new();
        }
    };
    let wrong = |line: usize, reason: String, allowed: &str| {
        bad(Origin::Line(line), "webhook.url", MASK, reason, allowed)
    };
    if nodes.is_empty() || nodes.len() > MOST_URLS {
        errors.push(wrong(
            line,
            format!("{} addresses", nodes.len()),
            "write one to eight",
        ));
    }
    let mut found: Vec<Secret> = Vec::new();
    for node in nodes {
        let Json::Str(text) = &node.value else {
            errors.push(wrong_type(
                "webhook.url".to_owned(),
                node.line,
                &node.value,
                Kind::Str,
            ));
            continue;
        };
        let parsed = Secret::parse(text).and_then(|secret| match &secret {
            Secret::Given(url) => check_url(url).map(|()| secret),
            Secret::File(_) | Secret::Named(_) => Ok(secret),
        });
        match parsed {
            Ok(secret) if found.contains(&secret) => errors.push(wrong(
                node.line,
                "the address is named twice".to_owned(),
                "keep one of them",
            )),
            Ok(secret) => found.push(secret),
            Err(reason) => errors.push(wrong(
                node.line,
                reason,
                "write http://host/path or https://host/path, @/path of a file that has it, or secret:NAME",
            )),
        }
    }
    found
}

fn events(node: &Node, errors: &mut Errors) -> Vec<WebhookEvent> {
    let Json::List(items) = &node.value else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for item in items {
        let name = item.value.go();
        match WebhookEvent::ALL.into_iter().find(|e| e.as_str() == name) {
            Some(event) if found.contains(&event) => {}
            Some(event) => found.push(event),
            None => errors.push(bad(
                Origin::Line(item.line),
                "webhook.events",
                &name,
                "there is no such event",
                "write die, oom or unhealthy",
            )),
        }
    }
    if items.is_empty() {
        errors.push(bad(
            Origin::Line(node.line),
            "webhook.events",
            "[]",
            "nothing would be posted",
            "name die, oom or unhealthy, or remove the line for all of them",
        ));
    }
    found
}

fn headers(node: &Node, errors: &mut Errors) -> Vec<(String, Secret)> {
    let Json::Map(items) = &node.value else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for (name, line, value) in items {
        let path = format!("webhook.headers.{name}");
        let Json::Str(text) = &value.value else {
            errors.push(wrong_type(path, *line, &value.value, Kind::Str));
            continue;
        };
        let secret = check_header(name).and_then(|()| Secret::parse(text));
        match secret {
            Ok(secret) => found.push((name.clone(), secret)),
            Err(reason) => errors.push(bad(
                Origin::Line(*line),
                &path,
                MASK,
                reason,
                "write the value, @/path of a file that has it, or secret:NAME",
            )),
        }
    }
    if items.len() > MOST_HEADERS {
        errors.push(bad(
            Origin::Line(node.line),
            "webhook.headers",
            MASK,
            format!("{} headers", items.len()),
            "write at most 32",
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, Flags, parse_text};

    fn load(text: &str) -> Result<Config, String> {
        let text = format!("{{\"webhook\": {text}}}");
        let loaded = parse_text(text.as_bytes(), None, &Flags::default());
        loaded.map(|(config, _)| config).map_err(|e| e.to_string())
    }

    #[test]
    fn short_and_long() {
        let short = load(r#"{"url": "http://127.0.0.1:1/x"}"#).unwrap();
        let short = short.webhook.unwrap();
        assert_eq!(short.urls.len(), 1);
        assert_eq!(short.events, WebhookEvent::ALL);
        let long = load(
            r#"{"url": ["https://a/x", "@/etc/url", "secret:hook"], "events": ["oom"],
                "headers": {"Authorization": "secret:t", "X-A": "b"}, "tls-ca": "/ca.pem"}"#,
        );
        let long = long.unwrap().webhook.unwrap();
        assert_eq!(long.urls[2], Secret::Named("hook".to_owned()));
        assert_eq!(long.events, [WebhookEvent::Oom]);
        assert_eq!(long.headers[0].1, Secret::Named("t".to_owned()));
        assert_eq!(long.tls_ca.as_deref(), Some(Path::new("/ca.pem")));
        assert!(load("null").unwrap().webhook.is_none());
    }

    #[test]
    fn refused_by_name_and_without_secrets() {
        for (text, words) in [
            ("{}", "url is missing"),
            (r#"{"url": []}"#, "0 addresses"),
            (r#"{"url": 1}"#, "webhook.url"),
            (r#"{"url": "ftp://sesame/"}"#, "neither with http://"),
            (r#"{"url": "https://u:sesame@h/"}"#, "into a header"),
            (
                r#"{"url": "https://h/", "events": ["start"]}"#,
                "die, oom or unhealthy",
            ),
            (
                r#"{"url": "https://h/", "events": []}"#,
                "nothing would be posted",
            ),
            (
                r#"{"url": "https://h/", "headers": {"Host": "sesame"}}"#,
                "webhook.headers.Host",
            ),
            (
                r#"{"url": "https://h/", "headers": {"a b": "x"}}"#,
                "no name of a header",
            ),
            (r#"{"url": "https://h/", "tls-ca": "ca.pem"}"#, "relative"),
            (r#"{"url": "https://h/", "retries": 3}"#, "webhook.retries"),
        ] {
            let error = load(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
            assert!(!error.contains("sesame"), "{error}");
        }
    }
}
