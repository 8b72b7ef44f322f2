//! Which drivers there are, and the one way from a driver's name and options to a [`Validated`] setting.

use std::collections::BTreeMap;

use crate::common::COMMON;
use crate::error::{OptionError, OptionErrors};
use crate::json_file::{self, JsonFile};
use crate::local::{self, Local};
use crate::options::OptionSpec;
use crate::selection::SELECTION;

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
}

const fn later(name: &'static str, text: &'static str) -> DriverInfo {
    DriverInfo {
        name,
        built: false,
        text,
        options: &[],
        attributes: &[],
        common: true,
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
    },
    DriverInfo {
        name: local::NAME,
        built: true,
        text: "Taffrail's checksummed, indexed and compressed log on the local disk.",
        options: local::OPTIONS,
        attributes: SELECTION,
        common: true,
    },
    DriverInfo {
        name: "none",
        built: true,
        text: "Keeps nothing; `logs` has nothing to read.",
        options: &[],
        attributes: &[],
        common: false,
    },
    later("journald", "The systemd journal."),
    later("syslog", "A syslog server."),
    later("fluentd", "Fluentd or Fluent Bit, forward protocol."),
    later("splunk", "Splunk's HTTP event collector."),
    later("gelf", "Graylog and others, GELF."),
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

pub(crate) fn built_names() -> String {
    let names: Vec<_> = DRIVERS
        .iter()
        .filter(|driver| driver.built)
        .map(|driver| driver.name)
        .collect();
    names.join(", ")
}

/// What a container's output is to become.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Plan {
    /// Docker's json-file.
    JsonFile(Box<JsonFile>),
    /// Taffrail's own format.
    Local(Box<Local>),
    /// No log; reading it answers 501.
    None,
}

/// Log settings that passed every check. Made by [`validate`] only.
#[derive(Clone, Debug)]
pub struct Validated {
    plan: Plan,
    warnings: Vec<String>,
}

impl Validated {
    /// What to do with the output.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
    /// What works, but not as the user may expect; for the answer of create.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// Checks `driver` (one name, or several separated by commas) with all of `options`, which are merged already ([`crate::merge`]).
///
/// Differs from Docker in when: Docker checks json-file's values at start, here every value is checked at create. `none` takes any
/// option, as in Docker's API (its CLI refuses them).
///
/// # Errors
/// All that is wrong, at once.
pub fn validate(
    driver: &str,
    options: &BTreeMap<String, String>,
) -> Result<Validated, OptionErrors> {
    let names: Vec<&str> = driver.split(',').collect();
    let mut errors = Vec::new();
    for (i, &name) in names.iter().enumerate() {
        if name.is_empty() && names.len() > 1 {
            errors.push(OptionError::EmptyDriverName {
                list: driver.to_owned(),
            });
        } else if names[..i].contains(&name) {
            errors.push(OptionError::DuplicateDriver {
                list: driver.to_owned(),
                name: name.to_owned(),
            });
        } else {
            match driver_info(name) {
                None => errors.push(OptionError::UnknownDriver {
                    name: name.to_owned(),
                }),
                Some(info) if !info.built => errors.push(OptionError::NotBuilt {
                    name: name.to_owned(),
                }),
                Some(_) => {}
            }
        }
    }
    if names.len() > 1 && names.contains(&"none") {
        errors.push(OptionError::NoneWithOthers {
            list: driver.to_owned(),
        });
    }
    if names.contains(&json_file::NAME) && names.contains(&local::NAME) {
        errors.push(OptionError::TwoFormats {
            list: driver.to_owned(),
        });
    }
    if !errors.is_empty() {
        return Err(OptionErrors(errors));
    }
    // Only the formats and none are built and they exclude each other, so one name is left.
    let (plan, warnings) = match driver {
        "none" => (Plan::None, Vec::new()),
        local::NAME => (Plan::Local(Box::new(local::validate(options)?)), Vec::new()),
        _ => {
            let (json_file, warnings) = json_file::validate(options)?;
            (Plan::JsonFile(Box::new(json_file)), warnings)
        }
    };
    Ok(Validated { plan, warnings })
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
            error("syslog"),
            "log driver \"syslog\" is not built in this version of Taffrail; built are: json-file, local, none"
        );
        assert_eq!(
            error("json-file,splunk"),
            "log driver \"splunk\" is not built in this version of Taffrail; built are: json-file, local, none"
        );
        assert!(error("json-file,json-file").contains("names \"json-file\" more than once"));
        assert!(error("json-file,").contains("has an empty name"));
        assert!(error("json-file,local").contains("two formats"));
        assert!(error("json-file,none").contains("\"none\" beside other drivers"));
        assert_eq!(error("nope,syslog").lines().count(), 2);
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
