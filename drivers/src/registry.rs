//! Which drivers there are, and the one way from a driver's name and options to a [`Validated`] setting.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::common::COMMON;
use crate::error::{OptionError, OptionErrors};
use crate::fluentd;
use crate::gelf;
use crate::journald;
use crate::json_file::{self, JsonFile};
use crate::list;
use crate::local::{self, Local};
use crate::options::{OptionKind, OptionSpec};
use crate::secret::{MASK, Secret};
use crate::selection::SELECTION;
use crate::sink::SinkSettings;
use crate::splunk;
use crate::syslog;

/// Driver when neither the container nor daemon.json names one.
pub const DEFAULT_DRIVER: &str = "json-file";

/// A driver by name.
#[derive(Clone, Copy, Debug)]
pub struct DriverInfo {
    /// Docker's name
    pub name: &'static str,
    /// whether this version has it
    pub built: bool,
    /// one line
    pub text: &'static str,
    /// its own options, without [`Self::attributes`] and the ones common to all
    pub options: &'static [OptionSpec],
    /// `labels` ... `tag`
    pub attributes: &'static [OptionSpec],
    /// whether it takes the options common to all
    pub common: bool,
    /// a driver that sends records elsewhere: checks its options
    pub(crate) sink: Option<Check>,
}

/// Checks the options of one sink. All names are known by then; common options are not among them. With errors the result is not used.
pub(crate) type Check =
    fn(&BTreeMap<String, String>, &mut Vec<OptionError>) -> Option<Arc<dyn SinkSettings>>;

const fn later(name: &'static str, text: &'static str) -> DriverInfo {
    DriverInfo {
        name,
        built: false,
        text,
        options: &[],
        attributes: &[],
        common: true,
        sink: None,
    }
}

/// All names that are known; those not built are refused by name.
pub const DRIVERS: &[DriverInfo] = &[
    DriverInfo {
        name: json_file::NAME,
        built: true,
        text: "Docker's JSON lines in files on the local disk.",
        options: json_file::OPTIONS,
        attributes: SELECTION,
        common: true,
        sink: None,
    },
    DriverInfo {
        name: local::NAME,
        built: true,
        text: "Taffrail's checksummed, indexed and compressed log on the local disk.",
        options: local::OPTIONS,
        attributes: SELECTION,
        common: true,
        sink: None,
    },
    DriverInfo {
        name: "none",
        built: true,
        text: "Keeps nothing; `logs` has nothing to read.",
        options: &[],
        attributes: &[],
        common: false,
        sink: None,
    },
    DriverInfo {
        name: journald::NAME,
        built: true,
        text: "The systemd journal.",
        options: journald::OPTIONS,
        attributes: SELECTION,
        common: true,
        sink: Some(journald::check),
    },
    DriverInfo {
        name: syslog::NAME,
        built: true,
        text: "A syslog server: UDP, TCP, TLS, unix sockets, RELP.",
        options: syslog::OPTIONS,
        attributes: SELECTION,
        common: true,
        sink: Some(syslog::check),
    },
    DriverInfo {
        name: fluentd::NAME,
        built: true,
        text: "Fluentd or Fluent Bit, forward protocol.",
        options: fluentd::OPTIONS,
        attributes: SELECTION,
        common: true,
        sink: Some(fluentd::check),
    },
    DriverInfo {
        name: splunk::NAME,
        built: true,
        text: "Splunk's HTTP event collector.",
        options: splunk::OPTIONS,
        attributes: SELECTION,
        common: true,
        sink: Some(splunk::check),
    },
    DriverInfo {
        name: gelf::NAME,
        built: true,
        text: "Graylog and others, GELF.",
        options: gelf::OPTIONS,
        attributes: SELECTION,
        common: true,
        sink: Some(gelf::check),
    },
    later("awslogs", "Amazon CloudWatch Logs."),
    later("gcplogs", "Google Cloud Logging."),
    later("etwlogs", "Event Tracing for Windows."),
    later("loki", "Grafana Loki."),
    later("otlp", "OpenTelemetry."),
];

/// The driver of that name, built or not.
pub fn driver_info(name: &str) -> Option<&'static DriverInfo> {
    DRIVERS.iter().find(|driver| driver.name == name)
}

/// The options that a driver takes, its own first.
pub fn known_options(driver: &DriverInfo) -> impl Iterator<Item = &'static OptionSpec> {
    let common = if driver.common { COMMON } else { &[] };
    driver.options.iter().chain(driver.attributes).chain(common)
}

/// Whether an option, with or without a driver's name before it, is a token, key or password.
pub fn is_secret(option: &str) -> bool {
    let plain = option.split_once('.').map_or(option, |(_, plain)| plain);
    DRIVERS
        .iter()
        .flat_map(|driver| driver.options)
        .any(|known| known.name == plain && known.kind == OptionKind::Secret)
}

/// Options as they may be shown: `xxxx` for a secret that is given as it is. `@/path` and `secret:NAME` name one and are shown.
pub fn masked(options: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let shown = options.iter().map(|(option, value)| {
        let hide =
            is_secret(option) && matches!(Secret::parse(value), Ok(Secret::Given(_)) | Err(_));
        let value = if hide { MASK } else { value };
        (option.clone(), value.to_owned())
    });
    shown.collect()
}

pub(crate) fn built_names() -> String {
    let names: Vec<_> = DRIVERS
        .iter()
        .filter(|driver| driver.built)
        .map(|driver| driver.name)
        .collect();
    names.join(", ")
}

/// What a container's log on the local disk is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Plan {
    /// Docker's json-file.
    JsonFile(Box<JsonFile>),
    /// Taffrail's own format: because it was named, or because no format was.
    Local(Box<Local>),
    /// No log; reading it answers 501.
    None,
}

/// One of the places that a container's log is sent to.
#[derive(Clone, Debug)]
pub struct Sink {
    /// as in the list of drivers: `syslog`, `syslog:audit`
    pub name: String,
    /// the driver of it
    pub driver: &'static str,
    /// its checked options
    pub settings: Arc<dyn SinkSettings>,
}

/// Log settings that passed every check. Made by [`validate`] only.
#[derive(Clone, Debug)]
pub struct Validated {
    plan: Plan,
    sinks: Vec<Sink>,
    warnings: Vec<String>,
}

impl Validated {
    /// The log on the local disk.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
    /// Where else the records go, in the order of the list.
    pub fn sinks(&self) -> &[Sink] {
        &self.sinks
    }
    /// What works, but not as the user may expect; for the answer of create.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// Checks `driver` (one name, or several separated by commas) with all of `options`, which are merged already ([`crate::merge`]).
///
/// Several drivers: at most one format (json-file, local); without one the log is `local` with the `cache-*` options. Two sinks of one
/// driver are told apart by a name behind a colon: `syslog,syslog:audit`. An option goes to all drivers of the list that know it; with a
/// sink's name and a dot before it (`syslog:audit.tag`) to that one alone, where it wins.
///
/// Differs from Docker in when: Docker checks most values at start, here every value is checked at create. `none` takes any
/// option, as in Docker's API (its CLI refuses them).
///
/// # Errors
/// All that is wrong, at once.
pub fn validate(
    driver: &str,
    options: &BTreeMap<String, String>,
) -> Result<Validated, OptionErrors> {
    let named = list::parse(driver)?;
    if driver == "none" {
        return Ok(Validated {
            plan: Plan::None,
            sinks: Vec::new(),
            warnings: Vec::new(),
        });
    }
    let mut errors = Vec::new();
    let parts = list::split(&named, options, &mut errors);
    let mut sinks = Vec::new();
    let mut plan = None;
    let mut warnings = Vec::new();
    for (one, own) in named.iter().zip(&parts.own) {
        if let Some(check) = one.info.sink {
            if let Some(settings) = check(own, &mut errors) {
                warnings.extend(settings.warnings());
                sinks.push(Sink {
                    name: one.name.to_owned(),
                    driver: one.info.name,
                    settings,
                });
            }
            continue;
        }
        // A format checks the common options, too.
        let mut all = own.clone();
        all.extend(parts.common.clone());
        if one.info.name == local::NAME {
            match local::validate(&all) {
                Ok(found) => plan = Some(Plan::Local(Box::new(found))),
                Err(found) => errors.extend(found.0),
            }
        } else {
            match json_file::validate(&all) {
                Ok((found, said)) => {
                    plan = Some(Plan::JsonFile(Box::new(found)));
                    warnings.extend(said);
                }
                Err(found) => errors.extend(found.0),
            }
        }
    }
    if named.iter().all(|one| one.info.sink.is_some()) {
        plan = Some(Plan::Local(Box::new(Local::copy(
            &parts.common,
            options,
            &mut errors,
        ))));
    }
    match plan {
        Some(plan) if errors.is_empty() => {
            let exact = sinks
                .iter()
                .any(|sink| matches!(sink.driver, "journald" | "fluentd"));
            if matches!(plan, Plan::JsonFile(_)) && exact {
                warnings.push(
                    "json-file does not keep bytes that are not UTF-8: with \"local\" in its place the receivers get every byte"
                        .to_owned(),
                );
            }
            Ok(Validated {
                plan,
                sinks,
                warnings,
            })
        }
        _ => {
            // What several sinks say alike is said once.
            let mut told: Vec<OptionError> = Vec::new();
            for error in errors {
                if !told.contains(&error) {
                    told.push(error);
                }
            }
            Err(OptionErrors(told))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(driver: &str) -> String {
        validate(driver, &BTreeMap::new()).unwrap_err().to_string()
    }

    #[test]
    fn names() {
        assert!(matches!(
            validate("none", &BTreeMap::from([("max-size".into(), "1q".into())]))
                .unwrap()
                .plan(),
            Plan::None
        ));
        assert_eq!(
            error("awslogs"),
            format!(
                "log driver \"awslogs\" is not built in this version of Taffrail; built are: {}",
                built_names()
            )
        );
        assert_eq!(
            error("json-file,gcplogs"),
            format!(
                "log driver \"gcplogs\" is not built in this version of Taffrail; built are: {}",
                built_names()
            )
        );
        assert!(error("json-file,json-file").contains("names \"json-file\" more than once"));
        assert!(error("json-file,").contains("has an empty name"));
        assert!(error("json-file,local").contains("two formats"));
        assert!(error("json-file,none").contains("\"none\" beside other drivers"));
        assert_eq!(error("nope,awslogs").lines().count(), 2);
    }

    #[test]
    fn tables_are_well_formed() {
        for driver in DRIVERS {
            let mut seen = Vec::new();
            for option in known_options(driver) {
                assert!(
                    option
                        .name
                        .bytes()
                        .all(|b| b.is_ascii_lowercase() || b == b'-'),
                    "{}",
                    option.name
                );
                assert!(!seen.contains(&option.name), "{} twice", option.name);
                seen.push(option.name);
                assert!(option.short.ends_with('.') && option.full.ends_with('.'));
                assert!(!option.allowed.is_empty());
            }
        }
        assert!(driver_info(DEFAULT_DRIVER).is_some_and(|driver| driver.built));
    }
}
