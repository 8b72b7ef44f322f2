//! What a container's log settings mean: checked at create, evaluated at each start.

use taffrail_drivers::{ContainerFacts, LogSync, Plan, Validated, attrs_json, merge, validate};

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

/// `max-spool-size` of a container, and whether its closed log files are compressed.
pub(super) fn upkeep(record: &Record) -> (u64, bool) {
    match check(&record.host.log_config).as_ref().map(Validated::plan) {
        Ok(Plan::JsonFile(file)) => (file.common().max_spool_size(), file.compress()),
        Ok(Plan::Local(local)) => (local.common().max_spool_size(), local.compress()),
        // Nothing is kept, or it was checked by another version: then nothing is touched.
        _ => (0, false),
    }
}

/// What the settings mean for one run.
pub(super) struct RunSettings {
    /// The attributes of each record: a JSON object, or empty.
    pub(super) attrs: Vec<u8>,
    /// Each batch is on the disk before it counts.
    pub(super) sync: bool,
    /// Most bytes of closed files that are held for readers past the log's own retention.
    pub(super) spool_share: u64,
}

/// Labels, variables and tag are taken as they are now, as Docker does at each start.
///
/// # Errors
/// The tag cannot be made for this container, in Docker's words.
pub(super) fn run_settings(record: &Record, log_path: &str) -> Result<RunSettings, String> {
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
    let (attrs, common) = match validated.plan() {
        Plan::JsonFile(file) => (file.attrs(&facts), file.common()),
        Plan::Local(local) => (local.attrs(&facts), local.common()),
        _ => return Err("the log driver keeps no log".to_owned()),
    };
    Ok(RunSettings {
        attrs: attrs_json(&attrs.map_err(|error| error.to_string())?),
        sync: common.sync() == LogSync::Record,
        spool_share: common.max_spool_size(),
    })
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
