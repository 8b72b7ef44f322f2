//! What a container's log settings mean: checked at create, evaluated at each start.

use taffrail_drivers::{
    ContainerFacts, LogSync, Mode, Plan, Validated, attrs_json, merge, validate,
};

use super::state::{LogFormat, LogSettings};
use super::{Record, time};
use crate::api::types::LogConfig;
use crate::daemon::{Settings, host_name};
use crate::errors::ApiError;

/// Lays the daemon's defaults under a container's log settings and checks the result. `None`: no
/// log is kept.
///
/// # Errors
/// 400 with everything that is wrong, one a line.
pub(super) fn resolve(
    config: &mut LogConfig,
    settings: &Settings,
    warnings: &mut Vec<String>,
) -> Result<Option<LogSettings>, ApiError> {
    let (kind, options) = merge(&settings.log, &config.kind, &config.config);
    config.kind = kind;
    config.config = options;
    let validated = check(config).map_err(ApiError::invalid)?;
    warnings.extend(validated.warnings().iter().cloned());
    let environment = crate::delivery::environment(&settings.data_root);
    for sink in validated.sinks() {
        // What the options name must be readable now; whether anybody answers is no matter.
        sink.settings
            .destination(&environment)
            .map_err(|error| ApiError::invalid(error.0))?;
    }
    match validated.plan() {
        Plan::JsonFile(file) => Ok(Some(LogSettings {
            format: LogFormat::JsonFile,
            max_size: file.max_size(),
            max_file: file.max_file(),
        })),
        Plan::Local(local) => Ok(Some(LogSettings {
            format: LogFormat::Local,
            max_size: local.max_size(),
            max_file: local.max_file(),
        })),
        _ => Ok(None),
    }
}

fn check(config: &LogConfig) -> Result<Validated, String> {
    validate(&config.kind, &config.config).map_err(|errors| errors.to_string())
}

/// What of the settings is needed again and again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Upkeep {
    /// `max-spool-size`.
    pub(super) max_spool_size: u64,
    /// Closed log files are compressed.
    pub(super) compress: bool,
    /// `cache-disabled`: the log is only there to be delivered.
    pub(super) unread: bool,
}

pub(super) fn upkeep(record: &Record) -> Upkeep {
    let Ok(validated) = check(&record.host.log_config) else {
        // It was checked by another version: then nothing is touched.
        return Upkeep::default();
    };
    match validated.plan() {
        Plan::JsonFile(file) => Upkeep {
            max_spool_size: file.common().max_spool_size(),
            compress: file.compress(),
            unread: false,
        },
        Plan::Local(local) => Upkeep {
            max_spool_size: local.common().max_spool_size(),
            compress: local.compress(),
            unread: local.common().copy().disabled
                && !validated.sinks().is_empty()
                && !names_local(record),
        },
        _ => Upkeep::default(),
    }
}

fn names_local(record: &Record) -> bool {
    let list = &record.host.log_config.kind;
    list.split(',')
        .any(|name| name == taffrail_drivers::local::NAME)
}

/// Calls `of` with what drivers may tell of the container, and its settings, which pass every check.
///
/// # Errors
/// They do not: they were stored by another version.
pub(super) fn with_facts<T>(
    record: &Record,
    log_path: &str,
    of: impl FnOnce(&ContainerFacts<'_>, &Validated) -> T,
) -> Result<T, String> {
    let validated = check(&record.host.log_config)?;
    let (path, args) = record.command();
    let facts = ContainerFacts {
        id: &record.id,
        name: &record.name,
        image_id: &record.image_id,
        image_name: &record.config.image,
        path: &path,
        args: &args,
        env: &record.config.env,
        labels: Some(&record.config.labels),
        created: &time::rfc3339(record.created_ns),
        hostname: &host_name(),
        log_path,
    };
    Ok(of(&facts, &validated))
}

/// What the settings mean for one run.
pub(super) struct RunSettings {
    /// The attributes of each record: a JSON object, or empty.
    pub(super) attrs: Vec<u8>,
    /// Each batch is on the disk before it counts.
    pub(super) sync: bool,
    /// `mode=blocking`, and somebody to wait for.
    pub(super) blocking: bool,
    /// Most bytes of closed files that are held for readers past the log's own retention.
    pub(super) spool_share: u64,
}

/// Labels, variables and tag are taken as they are now, as Docker does at each start.
///
/// # Errors
/// The tag cannot be made for this container, in Docker's words.
pub(super) fn run_settings(record: &Record, log_path: &str) -> Result<RunSettings, String> {
    with_facts(record, log_path, |facts, validated| {
        let (attrs, common) = match validated.plan() {
            Plan::JsonFile(file) => (file.attrs(facts), file.common()),
            Plan::Local(local) => (local.attrs(facts), local.common()),
            _ => return Err("the log driver keeps no log".to_owned()),
        };
        for sink in validated.sinks() {
            // A tag that cannot be made is an error of the start, as in Docker.
            sink.settings
                .encoder(facts)
                .map_err(|error| error.to_string())?;
        }
        Ok(RunSettings {
            attrs: attrs_json(&attrs.map_err(|error| error.to_string())?),
            sync: common.sync() == LogSync::Record,
            blocking: common.mode() == Some(Mode::Blocking) && !validated.sinks().is_empty(),
            spool_share: common.max_spool_size(),
        })
    })?
}

#[cfg(test)]
mod tests {
    use taffrail_drivers::Defaults;

    use super::*;

    fn options(pairs: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    fn settings() -> Settings {
        Settings {
            log: Defaults {
                options: options(&[("max-size", "10m"), ("max-file", "3")]),
                ..Defaults::default()
            },
            ..Settings::default()
        }
    }

    #[test]
    fn defaults_are_merged_and_stored() {
        let mut config = LogConfig {
            kind: String::new(),
            config: options(&[("max-file", "7")]),
        };
        let log = resolve(&mut config, &settings(), &mut Vec::new()).unwrap();
        assert_eq!(
            log,
            Some(LogSettings {
                format: LogFormat::JsonFile,
                max_size: Some(10_000_000),
                max_file: 7
            })
        );
        assert_eq!(config.kind, "json-file");
        assert_eq!(
            config.config,
            options(&[("max-file", "7"), ("max-size", "10m")])
        );
        let mut none = LogConfig {
            kind: "none".to_owned(),
            ..LogConfig::default()
        };
        assert_eq!(
            resolve(&mut none, &settings(), &mut Vec::new()).unwrap(),
            None
        );
        assert!(none.config.is_empty());
    }

    #[test]
    fn all_errors_at_once() {
        let mut config = LogConfig {
            kind: "json-file".to_owned(),
            config: options(&[("max-size", "1q"), ("nope", "1")]),
        };
        let error = resolve(&mut config, &settings(), &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind.status(), 400);
        assert_eq!(error.message.lines().count(), 2, "{}", error.message);
    }

    #[test]
    fn attributes_of_a_run() {
        let mut record = super::super::state::tests::record();
        record.host.log_config = LogConfig {
            kind: "json-file".to_owned(),
            config: options(&[("labels", "l"), ("tag", "{{.Name}}")]),
        };
        record.config.labels = options(&[("l", "x"), ("m", "y")]);
        let attrs = run_settings(&record, "").unwrap().attrs;
        assert_eq!(
            String::from_utf8(attrs).unwrap(),
            r#"{"l":"x","tag":"web"}"#
        );
        record.host.log_config.config.clear();
        assert_eq!(run_settings(&record, "").unwrap().attrs, b"");
    }
}
