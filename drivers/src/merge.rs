//! The daemon's log defaults laid under a container's own settings.

use std::collections::BTreeMap;

use crate::common::is_common;
use crate::registry::DEFAULT_DRIVER;

/// `log-driver`, `log-opts` and `log-drivers` of the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// driver for containers that name none
    pub driver: String,
    /// options for containers with that driver
    pub options: BTreeMap<String, String>,
    /// options for containers with the driver of that name, whether it is the default or not
    pub by_driver: BTreeMap<String, BTreeMap<String, String>>,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            driver: DEFAULT_DRIVER.to_owned(),
            options: BTreeMap::new(),
            by_driver: BTreeMap::new(),
        }
    }
}

/// Driver and options of a container: its own, then `log-drivers`, then `log-opts` (Docker's `mergeAndVerifyLogConfig` without the second).
///
/// An empty driver becomes the daemon's. Options of `log-opts` that are not given otherwise are taken over if the drivers are the same;
/// `cache-*` options are taken over for every driver that takes options. The result is what is stored and what `inspect` shows.
///
/// Differs from Docker in one case: a `max-buffer-size` of the defaults is left out for a container whose `mode` is not `non-blocking`,
/// instead of refusing the container.
pub fn merge(
    defaults: &Defaults,
    driver: &str,
    options: &BTreeMap<String, String>,
) -> (String, BTreeMap<String, String>) {
    let driver = if driver.is_empty() {
        defaults.driver.clone()
    } else {
        driver.to_owned()
    };
    let mut merged = options.clone();
    let names: Vec<&str> = driver.split(',').collect();
    for name in &names {
        let kind = name.split_once(':').map_or(*name, |(kind, _)| kind);
        let Some(own) = defaults.by_driver.get(kind) else {
            continue;
        };
        if names.len() == 1 {
            take_over(&mut merged, own.iter());
            continue;
        }
        // One of several: its own defaults are for it alone.
        for (option, value) in own {
            if is_common(option) {
                merged
                    .entry(option.clone())
                    .or_insert_with(|| value.clone());
            } else if !options.contains_key(option) {
                merged
                    .entry(format!("{name}.{option}"))
                    .or_insert_with(|| value.clone());
            }
        }
    }
    let same = driver == defaults.driver;
    let common = defaults.options.iter();
    take_over(
        &mut merged,
        common.filter(|(name, _)| same || name.starts_with("cache-")),
    );
    let mode = merged.get("mode").map(String::as_str);
    let by_container = options.contains_key("mode") && !options.contains_key("max-buffer-size");
    if by_container && mode != Some("non-blocking") {
        merged.remove("max-buffer-size");
    }
    (driver, merged)
}

fn take_over<'a>(
    merged: &mut BTreeMap<String, String>,
    options: impl Iterator<Item = (&'a String, &'a String)>,
) {
    for (name, value) in options {
        merged.entry(name.clone()).or_insert_with(|| value.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn defaults_fill_what_the_container_leaves_open() {
        let defaults = Defaults {
            driver: "json-file".to_owned(),
            options: map(&[
                ("max-size", "10m"),
                ("max-file", "3"),
                ("cache-disabled", "true"),
            ]),
            ..Defaults::default()
        };
        assert_eq!(
            merge(&defaults, "", &map(&[("max-file", "7")])),
            (
                "json-file".to_owned(),
                map(&[
                    ("max-size", "10m"),
                    ("max-file", "7"),
                    ("cache-disabled", "true")
                ])
            )
        );
        assert_eq!(merge(&defaults, "json-file", &map(&[])).1, defaults.options);
        // Another driver: only what concerns the local copy.
        assert_eq!(
            merge(&defaults, "syslog", &map(&[("tag", "x")])),
            (
                "syslog".to_owned(),
                map(&[("tag", "x"), ("cache-disabled", "true")])
            )
        );
    }

    #[test]
    fn options_by_driver() {
        let defaults = Defaults {
            driver: "json-file".to_owned(),
            options: map(&[("max-size", "10m"), ("tag", "x")]),
            by_driver: BTreeMap::from([
                (
                    "local".to_owned(),
                    map(&[("max-size", "1m"), ("sync", "record")]),
                ),
                ("json-file".to_owned(), map(&[("max-size", "5m")])),
            ]),
        };
        // container > log-drivers > log-opts
        let given = map(&[("sync", "")]);
        assert_eq!(
            merge(&defaults, "local", &given).1,
            map(&[("max-size", "1m"), ("sync", "")])
        );
        assert_eq!(
            merge(&defaults, "", &map(&[])).1,
            map(&[("max-size", "5m"), ("tag", "x")])
        );
    }

    #[test]
    fn a_mode_of_its_own_does_not_meet_the_defaults_buffer() {
        let defaults = Defaults {
            options: map(&[("mode", "non-blocking"), ("max-buffer-size", "4m")]),
            ..Defaults::default()
        };
        let merged = |pairs| merge(&defaults, "", &map(pairs)).1;
        assert_eq!(merged(&[]), defaults.options);
        assert_eq!(
            merged(&[("mode", "blocking")]),
            map(&[("mode", "blocking")])
        );
        // What the container asks for itself is checked as it is.
        assert_eq!(
            merged(&[("mode", "blocking"), ("max-buffer-size", "1m")]),
            map(&[("mode", "blocking"), ("max-buffer-size", "1m")])
        );
    }
}
