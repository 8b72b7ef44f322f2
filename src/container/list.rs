//! `list`: filters and the list's shape.

use std::sync::Arc;

use regex::Regex;
use serde_json::{Value, json};

use super::exit::blocking;
use super::{Record, Status, time};
use crate::api::filters::Filters;
use crate::daemon::Daemon;
use crate::errors::ApiError;
use crate::runtime;

/// Filters of the list (docs: Engine API `ContainerList`).
const FILTERS: &[&str] = &[
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "isolation",
    "is-task",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];
const STATUSES: &[&str] = &[
    "created",
    "dead",
    "exited",
    "paused",
    "removing",
    "restarting",
    "running",
];

/// Query of a list.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListOptions {
    pub(crate) all: bool,
    /// Newest so many, also of those that do not run; 0 or less: all.
    pub(crate) limit: i64,
    pub(crate) size: bool,
    pub(crate) filters: Filters,
}

/// Filters looked up and parsed once for all containers.
struct Wanted<'a> {
    filters: &'a Filters,
    all: bool,
    names: Vec<Regex>,
    exited: Vec<i32>,
    ancestors: Option<Vec<String>>,
    before_ns: Option<i64>,
    since_ns: Option<i64>,
    publish: Vec<Ports>,
    expose: Vec<Ports>,
}

/// Ports of a filter: `80`, `80-90`, `53/udp`.
#[derive(Debug, PartialEq, Eq)]
struct Ports {
    first: u16,
    last: u16,
    protocol: String,
}

impl Daemon {
    /// Containers, newest first, in the shape of the list.
    ///
    /// # Errors
    /// 400 for an unknown filter or a bad value, 404 for `before`/`since` of no container.
    pub(crate) async fn list(&self, options: ListOptions) -> Result<Vec<Value>, ApiError> {
        let wanted = self.wanted(&options).await?;
        let mut records: Vec<Record> = self
            .containers
            .all()
            .iter()
            .map(|container| container.record())
            .filter(|record| self.matches(record, &wanted))
            .collect();
        records.sort_by(|a, b| b.created_ns.cmp(&a.created_ns).then(a.id.cmp(&b.id)));
        if let Ok(limit @ 1..) = usize::try_from(options.limit) {
            records.truncate(limit);
        }
        let now = time::now_ns();
        let mut out = Vec::with_capacity(records.len());
        for record in &records {
            let mut item = self.item(record, now).await;
            if options.size
                && let Some(fields) = item.as_object_mut()
            {
                let (own, all) = self.sizes(&record.id, &record.image_id).await;
                fields.insert("SizeRw".to_owned(), json!(own));
                fields.insert("SizeRootFs".to_owned(), json!(all));
            }
            out.push(item);
        }
        Ok(out)
    }

    async fn wanted<'a>(&self, options: &'a ListOptions) -> Result<Wanted<'a>, ApiError> {
        let filters = &options.filters;
        filters.validate(FILTERS)?;
        let bad =
            |key: &str, value: &str| ApiError::invalid(format!("Invalid filter '{key}={value}'"));
        for status in filters.get("status") {
            if !STATUSES.contains(&status.as_str()) {
                return Err(bad("status", status));
            }
        }
        for health in filters.get("health") {
            if !["starting", "healthy", "unhealthy", "none"].contains(&health.as_str()) {
                return Err(ApiError::invalid(format!(
                    "Unrecognised filter value for health: {health}"
                )));
            }
        }
        filters.boolean("is-task")?;
        let names = filters
            .get("name")
            .iter()
            .filter_map(|name| Regex::new(name).ok())
            .collect();
        let exited = filters
            .get("exited")
            .iter()
            .map(|code| code.parse().map_err(|_| not_a_number(code)))
            .collect::<Result<_, _>>()?;
        let mut ancestors = None;
        for name in filters.get("ancestor") {
            let images = Arc::clone(&self.images);
            let reference = name.clone();
            // An image that does not exist has no containers, which is no error.
            let found = blocking(move || images.resolve(&reference).ok())
                .await
                .flatten();
            ancestors
                .get_or_insert_with(Vec::new)
                .extend(found.map(|image| image.id.clone()));
        }
        let created = |key: &str| {
            let first = filters.get(key).first();
            first
                .map(|reference| Ok::<_, ApiError>(self.find(reference)?.record().created_ns))
                .transpose()
        };
        // As in Docker, the others choose among those that run.
        let all = options.all || options.limit > 0 || filters.has("status");
        Ok(Wanted {
            filters,
            all,
            names,
            exited,
            ancestors,
            before_ns: created("before")?,
            since_ns: created("since")?,
            publish: ports(filters, "publish")?,
            expose: ports(filters, "expose")?,
        })
    }

    fn matches(&self, record: &Record, wanted: &Wanted<'_>) -> bool {
        let filters = wanted.filters;
        let state = &record.state;
        let any = |key: &str, test: &dyn Fn(&str) -> bool| {
            let values = filters.get(key);
            values.is_empty() || values.iter().any(|value| test(value))
        };
        let named = |name: &Regex| {
            name.is_match(&record.name) || name.is_match(&format!("/{}", record.name))
        };
        (wanted.all || state.status.is_up())
            && any("status", &|status| status == state.status.as_str())
            && any("id", &|id| record.id.starts_with(id))
            // What is no expression matches nothing, as in Docker.
            && (!filters.has("name") || wanted.names.iter().any(named))
            && (wanted.exited.is_empty()
                || (state.finished_ns.is_some()
                    && !state.status.is_up()
                    && wanted.exited.contains(&state.exit_code)))
            && filters.labels("label", &record.config.labels)
            && wanted
                .ancestors
                .as_ref()
                .is_none_or(|ids| ids.contains(&record.image_id))
            && wanted.before_ns.is_none_or(|ns| record.created_ns < ns)
            && wanted.since_ns.is_none_or(|ns| record.created_ns > ns)
            && any("network", &|network| self.in_network(record, network))
            && any("health", &|health| {
                health == state.health.as_ref().map_or("none", |h| h.status.as_str())
            })
            // No container is a task of a swarm; isolation is passed over, as by Docker on Linux.
            && any("is-task", &|task| !matches!(task, "1" | "true" | "True"))
            && (wanted.publish.is_empty() || {
                let published = self.published_ports(record);
                wanted.publish.iter().any(|w| published.iter().any(|port| w.has(port)))
            })
            && (wanted.expose.is_empty() || {
                let open = self.open_ports(record);
                wanted.expose.iter().any(|w| open.iter().any(|port| w.has(port)))
            })
            && any("volume", &|volume| self.has_volume(record, volume))
    }

    /// Ports that are exposed or published, of a container that is in a network where they can be
    /// reached: with `none` and `host`, and once it has ended, Docker shows none.
    fn open_ports(&self, record: &Record) -> Vec<(u16, String)> {
        let port = |port: &Value| {
            let number = u16::try_from(port["PrivatePort"].as_u64()?).ok()?;
            Some((number, port["Type"].as_str()?.to_owned()))
        };
        self.listed_ports(record).iter().filter_map(port).collect()
    }

    /// The host's side of published ports: filters name it, or the container's.
    fn published_ports(&self, record: &Record) -> Vec<(u16, String)> {
        let ports = self.listed_ports(record);
        let side = |port: &Value, key: &str| {
            let number = u16::try_from(port[key].as_u64()?).ok()?;
            Some((number, port["Type"].as_str()?.to_owned()))
        };
        ports
            .iter()
            .filter(|port| port.get("PublicPort").is_some())
            .flat_map(|port| [side(port, "PublicPort"), side(port, "PrivatePort")])
            .flatten()
            .collect()
    }

    fn has_volume(&self, record: &Record, wanted: &str) -> bool {
        let dir = self.container_dir(&record.id);
        runtime::shown_mounts(record.points(), &dir, self.volumes.root())
            .iter()
            .any(|mount| {
                ["Name", "Source", "Destination"]
                    .iter()
                    .any(|field| mount[*field] == wanted)
            })
    }

    async fn item(&self, record: &Record, now: i64) -> Value {
        let (path, args) = record.command();
        let images = Arc::clone(&self.images);
        let reference = record.config.image.clone();
        let now_means = blocking(move || images.resolve(&reference).ok())
            .await
            .flatten()
            .map(|image| image.id.clone());
        // The name given at create, unless it means another image by now.
        let image = match now_means {
            Some(id) if id == record.image_id => &record.config.image,
            _ => &record.image_id,
        };
        json!({
            "Id": record.id,
            "Names": [format!("/{}", record.name)],
            "Image": image,
            "ImageID": record.image_id,
            "Command": command_line(&path, &args),
            "Created": record.created_ns.div_euclid(1_000_000_000),
            "Ports": self.listed_ports(record),
            "Labels": record.config.labels,
            "State": record.state.status.as_str(),
            "Status": status_text(record, now),
            "HostConfig": {"NetworkMode": record.host.network_mode},
            "NetworkSettings": {"Networks": self.networks_shown(record)},
            "Mounts": runtime::shown_mounts(
                record.points(),
                &self.container_dir(&record.id),
                self.volumes.root(),
            ),
        })
    }
}

/// Ports that a filter names.
fn ports(filters: &Filters, key: &str) -> Result<Vec<Ports>, ApiError> {
    let parse = |value: &String| {
        if value.contains(':') {
            return Err(ApiError::invalid(format!(
                "filter for '{key}' should not contain ':': {value}"
            )));
        }
        let (range, protocol) = value.split_once('/').unwrap_or((value, "tcp"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| {
            text.parse::<u16>().map_err(|_| {
                ApiError::invalid(format!(
                    "error while looking up for {key} {value}: strconv.ParseUint: parsing \
                     \"{text}\": invalid syntax"
                ))
            })
        };
        let (first, last) = (number(first)?, number(last)?);
        if last < first {
            return Err(ApiError::invalid(format!(
                "error while looking up for {key} {value}: invalid range specified for port: \
                 {range}"
            )));
        }
        Ok(Ports {
            first,
            last,
            protocol: protocol.to_ascii_lowercase(),
        })
    };
    filters.get(key).iter().map(parse).collect()
}

impl Ports {
    fn has(&self, (number, protocol): &(u16, String)) -> bool {
        protocol.eq_ignore_ascii_case(&self.protocol) && (self.first..=self.last).contains(number)
    }
}

fn not_a_number(text: &str) -> ApiError {
    ApiError::invalid(format!("strconv.Atoi: parsing \"{text}\": invalid syntax"))
}

/// `Status` as `docker ps` prints it (docs: Moby `container/state.go` `String`).
fn status_text(record: &Record, now: i64) -> String {
    let state = &record.state;
    let since = |ns: Option<i64>| time::human(now - ns.unwrap_or(now));
    match state.status {
        Status::Running => match &state.health {
            Some(health) => format!("Up {} ({})", since(state.started_ns), health.in_list()),
            None => format!("Up {}", since(state.started_ns)),
        },
        Status::Paused => format!("Up {} (Paused)", since(state.started_ns)),
        Status::Restarting => format!(
            "Restarting ({}) {} ago",
            state.exit_code,
            since(state.finished_ns)
        ),
        Status::Removing => "Removal In Progress".to_owned(),
        Status::Dead => "Dead".to_owned(),
        Status::Created => "Created".to_owned(),
        Status::Exited => format!(
            "Exited ({}) {} ago",
            state.exit_code,
            since(state.finished_ns)
        ),
    }
}

/// The command line, with quotes for arguments that a shell would cut (docs: Moby
/// `daemon/list.go`).
fn command_line(path: &str, args: &[String]) -> String {
    let mut out = path.to_owned();
    for arg in args {
        out.push(' ');
        if arg.contains(' ') {
            out.push('\'');
            out.push_str(arg);
            out.push('\'');
        } else {
            out.push_str(arg);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands() {
        let args = |list: &[&str]| list.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            command_line("sh", &args(&["-c", "sleep 60"])),
            "sh -c 'sleep 60'"
        );
        assert_eq!(command_line("top", &[]), "top");
    }

    #[test]
    fn ports_of_filters() {
        let parse = |value: &str| ports(&Filters::from_pairs(&[("expose", value)]), "expose");
        let open = [(80, "tcp".to_owned())];
        for (value, found) in [
            ("80", true),
            ("80/tcp", true),
            ("80/udp", false),
            ("70-85", true),
            ("81-85", false),
        ] {
            let wanted = parse(value).unwrap();
            assert_eq!(
                open.iter().any(|port| wanted[0].has(port)),
                found,
                "{value}"
            );
        }
        for (value, text) in [
            ("1:2", "filter for 'expose' should not contain ':': 1:2"),
            (
                "x",
                "error while looking up for expose x: strconv.ParseUint: parsing \"x\": invalid syntax",
            ),
            (
                "9-8",
                "error while looking up for expose 9-8: invalid range specified for port: 9-8",
            ),
        ] {
            assert_eq!(parse(value).unwrap_err().message, text);
        }
    }

    #[test]
    fn status_texts() {
        let mut record = super::super::state::tests::record();
        let now = 1_000 * 1_000_000_000;
        assert_eq!(status_text(&record, now), "Created");
        record.state.status = Status::Running;
        record.state.started_ns = Some(now - 125 * 1_000_000_000);
        assert_eq!(status_text(&record, now), "Up 2 minutes");
        record.state.started_ns = Some(now);
        assert_eq!(status_text(&record, now), "Up Less than a second");
        record.state.status = Status::Paused;
        assert_eq!(status_text(&record, now), "Up Less than a second (Paused)");
        record.state.status = Status::Exited;
        record.state.exit_code = 5;
        record.state.finished_ns = Some(now - 2_000_000_000);
        assert_eq!(status_text(&record, now), "Exited (5) 2 seconds ago");
        record.state.status = Status::Restarting;
        assert_eq!(status_text(&record, now), "Restarting (5) 2 seconds ago");
    }
}
