//! The daemon's log defaults laid under a container's own settings.

use std::collections::BTreeMap;

use crate::registry::DEFAULT_DRIVER;

/// `log-driver` and `log-opts` of the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// driver for containers that name none
    pub driver: String,
    /// options for containers with that driver
    pub options: BTreeMap<String, String>,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            driver: DEFAULT_DRIVER.to_owned(),
            options: BTreeMap::new(),
        }
    }
}

/// Driver and options of a container: its own, then the daemon's (Docker's `mergeAndVerifyLogConfig`).
///
/// An empty driver becomes the daemon's. Options of the daemon that the container does not give are taken over if the drivers are the
/// same; `cache-*` options are taken over for every driver. The result is what is stored and what `inspect` shows.
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
    for (name, value) in &defaults.options {
        if driver == defaults.driver || name.starts_with("cache-") {
            merged.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    (driver, merged)
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
}
