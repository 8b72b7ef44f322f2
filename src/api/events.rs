//! `GET /events`: kept events, then those that come, as JSON objects one by one.

use std::sync::Arc;
use std::time::Duration;

use super::filters::Filters;
use super::reply::{self, Reply};
use super::request::Request;
use super::time;
use crate::container::time::now_ns;
use crate::errors::ApiError;
use crate::events::{Event, Events};

/// Keys of the filter (docs: Moby `daemon/events/filter.go`).
const KEYS: &[&str] = &[
    "builder",
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];

/// What a client wants to see.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Window {
    since: Option<i64>,
    until: Option<i64>,
}

impl Window {
    fn parse(request: &Request) -> Result<Self, ApiError> {
        let (since, until) = (request.query.text("since"), request.query.text("until"));
        let window = Self {
            since: time::parse("since", since)?,
            until: time::parse("until", until)?,
        };
        match (window.since, window.until) {
            (Some(from), Some(to)) if to < from => Err(ApiError::invalid(format!(
                "`since` time ({since}) cannot be after `until` time ({until})"
            ))),
            _ => Ok(window),
        }
    }

    /// Kept events are replayed only for a client that names a time.
    fn replays(&self, at: i64) -> bool {
        (self.since.is_some() || self.until.is_some())
            && self.since.is_none_or(|since| at >= since)
            && self.until.is_none_or(|until| at <= until)
    }
}

/// Answers `GET /events`.
///
/// # Errors
/// 400 for bad times and filters.
pub(crate) fn stream(events: &Events, request: &Request) -> Result<Reply, ApiError> {
    let window = Window::parse(request)?;
    let filters = Filters::parse(request.query.text("filters"))?;
    filters.validate(KEYS)?;
    let mut subscription = events.subscribe();
    let (sender, reply) = reply::stream("application/json");
    let peer = request.peer.clone();
    tokio::spawn(async move {
        for event in std::mem::take(&mut subscription.kept) {
            if window.replays(event.time_ns)
                && includes(&filters, &event)
                && sender
                    .send(reply::json_line(&event.to_json()))
                    .await
                    .is_err()
            {
                return;
            }
        }
        let left = window.until.map(|until| until.saturating_sub(now_ns()));
        let end = async {
            match left.map(u64::try_from) {
                Some(Ok(nanos)) => tokio::time::sleep(Duration::from_nanos(nanos)).await,
                // In the past: only the replay was wanted.
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        };
        let gone = peer.gone();
        tokio::pin!(end, gone);
        loop {
            let event: Option<Arc<Event>> = tokio::select! {
                biased;
                () = &mut end => None,
                () = &mut gone => None,
                event = subscription.next() => event,
            };
            let Some(event) = event else {
                return;
            };
            if includes(&filters, &event)
                && sender
                    .send(reply::json_line(&event.to_json()))
                    .await
                    .is_err()
            {
                return;
            }
        }
    });
    Ok(reply)
}

fn includes(filters: &Filters, event: &Event) -> bool {
    let name = event.attributes.get("name").map_or("", String::as_str);
    let fuzzy = |key: &str| filters.prefix(key, &event.id) || filters.prefix(key, name);
    matches_action(filters, &event.action)
        && filters.exact("type", event.kind)
        && filters.exact("scope", "local")
        && fuzzy("container")
        && fuzzy("daemon")
        && fuzzy("network")
        && fuzzy("plugin")
        && fuzzy("volume")
        && fuzzy("builder")
        && matches_image(filters, event)
        && filters.labels("label", &event.attributes)
        // Events of a swarm: there are none.
        && !["config", "node", "secret", "service"].iter().any(|key| filters.has(key))
}

/// `exec_create` also matches `exec_create: sh`.
fn matches_action(filters: &Filters, action: &str) -> bool {
    filters.exact("event", action)
        || action
            .split_once(':')
            .is_some_and(|(verb, _)| filters.exact("event", verb))
}

fn matches_image(filters: &Filters, event: &Event) -> bool {
    let key = if event.kind == "image" {
        "name"
    } else {
        "image"
    };
    let name = event.attributes.get(key).map_or("", String::as_str);
    [
        event.id.as_str(),
        name,
        without_tag(&event.id),
        without_tag(name),
    ]
    .iter()
    .any(|candidate| filters.exact("image", candidate))
}

/// `repo:tag` and `repo@digest` without what follows the repository.
fn without_tag(name: &str) -> &str {
    let name = name.split_once('@').map_or(name, |(repo, _)| repo);
    match name.rsplit_once(':') {
        Some((repo, tag)) if !tag.contains('/') => repo,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &'static str, action: &str, id: &str, attributes: &[(&str, &str)]) -> Event {
        Event {
            kind,
            action: action.to_owned(),
            id: id.to_owned(),
            attributes: attributes
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            time_ns: 1,
        }
    }

    #[test]
    fn filters_as_docker_applies_them() {
        let die = event(
            "container",
            "die",
            "abcdef",
            &[
                ("name", "web"),
                ("image", "localhost:5000/busybox:1"),
                ("a", "b"),
            ],
        );
        for (pairs, expected) in [
            (vec![], true),
            (vec![("container", "web")], true),
            (vec![("container", "abc")], true),
            (vec![("container", "x"), ("container", "we")], true),
            (vec![("container", "x")], false),
            (vec![("event", "die")], true),
            (vec![("event", "start"), ("event", "die")], true),
            (vec![("event", "start")], false),
            (vec![("type", "container")], true),
            (vec![("type", "image")], false),
            (vec![("image", "localhost:5000/busybox:1")], true),
            (vec![("image", "localhost:5000/busybox")], true),
            (vec![("image", "busybox")], false),
            (vec![("label", "a=b")], true),
            (vec![("label", "a")], true),
            (vec![("label", "a=c")], false),
            (vec![("scope", "swarm")], false),
            (vec![("service", "x")], false),
            (vec![("type", "container"), ("event", "start")], false),
        ] {
            assert_eq!(
                includes(&Filters::from_pairs(&pairs), &die),
                expected,
                "{pairs:?}"
            );
        }
        let exec = event("container", "exec_create: sh", "ab", &[]);
        assert!(includes(
            &Filters::from_pairs(&[("event", "exec_create")]),
            &exec
        ));
    }

    #[test]
    fn window() {
        let all = Window {
            since: None,
            until: None,
        };
        assert!(!all.replays(5));
        let since = Window {
            since: Some(5),
            until: None,
        };
        assert!(since.replays(5) && !since.replays(4));
        let until = Window {
            since: None,
            until: Some(5),
        };
        assert!(until.replays(5) && !until.replays(6));
    }
}
