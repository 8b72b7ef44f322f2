//! `log-driver`, `log-opts` and `log-drivers`, checked as a container without settings of its own would get them.

use std::collections::BTreeMap;

use taffrail_drivers::{DEFAULT_DRIVER, Defaults, OptionError, driver_info, known_options, merge};

use crate::check::Errors;
use crate::error::{ConfigError, Origin, Warning};
use crate::flags::Flags;
use crate::load::Source;

type Options = BTreeMap<String, String>;

/// Where each option of a set comes from.
struct Set<'a> {
    /// `log-opts` or `log-drivers.<driver>`
    key: String,
    /// of the set as a whole
    origin: Origin,
    origins: BTreeMap<&'a str, Origin>,
}

pub(crate) fn defaults(
    source: &Source<'_>,
    flags: &Flags,
    errors: &mut Errors,
    warnings: &mut Vec<Warning>,
) -> Defaults {
    let (driver_origin, driver) = source
        .text("log-driver", flags.log_driver.as_ref())
        .filter(|(_, driver)| !driver.is_empty())
        .unwrap_or((Origin::Default, DEFAULT_DRIVER));
    let mut common = Set {
        key: "log-opts".to_owned(),
        origin: Origin::Flag,
        origins: BTreeMap::new(),
    };
    let mut options = Options::new();
    if flags.log_opts.is_empty() {
        common.origin = source.origin("log-opts");
        for (name, line, value) in source.file.options("log-opts").unwrap_or_default() {
            common.origins.insert(name, Origin::Line(line));
            options.insert(name.to_owned(), value);
        }
    } else {
        for option in &flags.log_opts {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            common.origins.insert(name, Origin::Flag);
            options.insert(name.to_owned(), value.to_owned());
        }
    }
    let mut defaults = Defaults {
        driver: driver.to_owned(),
        options,
        by_driver: BTreeMap::new(),
    };
    let mut sets = Vec::new();
    for (name, line, items) in source.file.option_sets("log-drivers") {
        let mut set = Set {
            key: format!("log-drivers.{name}"),
            origin: Origin::Line(line),
            origins: BTreeMap::new(),
        };
        let mut options = Options::new();
        for (option, line, value) in items {
            set.origins.insert(option, Origin::Line(line));
            options.insert(option.to_owned(), value);
        }
        defaults.by_driver.insert(name.to_owned(), options);
        sets.push((name, set));
    }
    // The default driver with all that it would get, then each other driver with what is said of it.
    let own = sets.iter().find(|(name, _)| *name == driver);
    check(
        &defaults,
        driver,
        driver_origin,
        own.map(|(_, set)| set),
        &common,
        errors,
        warnings,
    );
    for (name, set) in &sets {
        if *name != driver {
            other(&defaults, name, set, &common, errors, warnings);
        }
    }
    defaults
}

/// A driver in `log-drivers` that is not the default.
fn other(
    defaults: &Defaults,
    name: &str,
    set: &Set<'_>,
    common: &Set<'_>,
    errors: &mut Errors,
    warnings: &mut Vec<Warning>,
) {
    match driver_info(name) {
        // A file may be ahead of the program: a container that names the driver is told.
        Some(info) if !info.built => warnings.push(Warning {
            line: line(set.origin),
            key: set.key.clone(),
            text:
                "this driver is not built in this version of Taffrail; the options are not checked"
                    .to_owned(),
        }),
        Some(info) if known_options(info).next().is_none() => {
            if let Some((option, origin)) = set.origins.first_key_value() {
                errors.push(crate::check::bad(
                    *origin,
                    &format!("{}.{option}", set.key),
                    &defaults.by_driver[name][*option],
                    format!("driver {name} takes no options"),
                    "remove the line",
                ));
            }
        }
        _ => check(
            defaults,
            name,
            set.origin,
            Some(set),
            common,
            errors,
            warnings,
        ),
    }
}

fn line(origin: Origin) -> Option<usize> {
    match origin {
        Origin::Line(line) => Some(line),
        _ => None,
    }
}

/// Checks `driver` with the options that a container would get; each error is told where its option is written.
fn check(
    defaults: &Defaults,
    driver: &str,
    driver_origin: Origin,
    own: Option<&Set<'_>>,
    common: &Set<'_>,
    errors: &mut Errors,
    warnings: &mut Vec<Warning>,
) {
    let (_, options) = merge(defaults, driver, &Options::new());
    let whole = own.unwrap_or(common);
    match taffrail_drivers::validate(driver, &options) {
        Ok(validated) => warnings.extend(validated.warnings().iter().map(|text| Warning {
            line: line(whole.origin),
            key: whole.key.clone(),
            text: text.clone(),
        })),
        Err(found) => errors.extend(found.iter().map(|error| {
            let option = option_of(error, &options);
            // `log-drivers` wins over `log-opts`, so what it names is its own.
            let set = own
                .filter(|set| option.is_none_or(|option| set.origins.contains_key(option)))
                .unwrap_or(common);
            let (origin, key) = match (error, option) {
                (
                    OptionError::UnknownDriver { .. }
                    | OptionError::NotBuilt { .. }
                    | OptionError::EmptyDriverName { .. }
                    | OptionError::DuplicateDriver { .. }
                    | OptionError::TwoFormats { .. }
                    | OptionError::SinkName { .. }
                    | OptionError::ManyDrivers { .. }
                    | OptionError::NoneWithOthers { .. },
                    _,
                ) if driver == defaults.driver => (driver_origin, "log-driver".to_owned()),
                (_, Some(option)) => (
                    set.origins.get(option).copied().unwrap_or(set.origin),
                    format!("{}.{option}", set.key),
                ),
                (_, None) => (set.origin, set.key.clone()),
            };
            let value = match error {
                OptionError::UnknownOption { .. }
                | OptionError::UnknownOptionOf { .. }
                | OptionError::UnknownOptionQuoted { .. }
                | OptionError::UnknownToAll { .. }
                | OptionError::CommonScoped { .. }
                // Its own text has it.
                | OptionError::Driver { .. } => None,
                _ => option.and_then(|option| options.get(option).cloned()),
            };
            ConfigError::Log {
                origin,
                key,
                value,
                source: Box::new(error.clone()),
            }
        })),
    }
}

/// The option that an error is about, where the error tells.
fn option_of<'a>(error: &'a OptionError, options: &'a Options) -> Option<&'a str> {
    match error {
        OptionError::UnknownOption { option, .. } | OptionError::UnknownOptionOf { option, .. } => {
            Some(option)
        }
        OptionError::UnknownOptionQuoted { option, .. }
        | OptionError::UnknownToAll { option, .. }
        | OptionError::CommonScoped { option, .. } => Some(option),
        // It may have been written for one sink of several.
        OptionError::Driver { option, value, .. } => options
            .iter()
            .find(|(key, given)| {
                let plain = key
                    .rsplit_once('.')
                    .map_or(key.as_str(), |(_, plain)| plain);
                plain == *option && (*given == value || taffrail_drivers::is_secret(plain))
            })
            .map(|(key, _)| key.as_str()),
        OptionError::Value { option, .. }
        | OptionError::Negative { option }
        | OptionError::CompressBool { option, .. }
        | OptionError::MaxFileLarge { option, .. } => Some(option),
        OptionError::Mode { .. } => Some("mode"),
        OptionError::BufferSizeMode | OptionError::BufferSize { .. } => Some("max-buffer-size"),
        OptionError::CacheDisabled { .. } => Some("cache-disabled"),
        OptionError::InvalidSize { .. }
        | OptionError::InvalidSuffix { .. }
        | OptionError::InvalidNumber { .. }
        | OptionError::MaxSizeZero => Some("max-size"),
        OptionError::MaxFileZero | OptionError::MaxFileNumber { .. } => Some("max-file"),
        OptionError::Compress
        | OptionError::CompressOneFile
        | OptionError::CompressValue { .. } => Some("compress"),
        OptionError::Regex { pattern, .. } => ["labels-regex", "env-regex"]
            .into_iter()
            .find(|option| options.get(*option) == Some(pattern)),
        OptionError::Tag(_) => Some("tag"),
        _ => None,
    }
}
