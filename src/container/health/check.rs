//! What is configured: the container's `Healthcheck` with Docker's defaults.

use std::time::Duration;

use serde_json::Value;

use crate::api::types::ContainerConfig;

/// Docker's defaults.
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u64 = 3;
/// The shell of `CMD-SHELL`, unless the image names one.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// A check that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Check {
    /// Program and arguments.
    pub(super) argv: Vec<String>,
    /// Between the end of a probe and the next one.
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    /// After the start, failures do not count for so long, unless a probe has succeeded.
    pub(super) start_period: Duration,
    /// Instead of `interval` within the start period, until a probe succeeds.
    pub(super) start_interval: Duration,
    /// Failures in a row that make a container unhealthy; at least 1.
    pub(super) retries: u64,
}

impl Check {
    /// Of a container's configuration. `None`: there is none, it is switched off (`NONE`), or its
    /// kind is unknown, which is said in the log as Docker does.
    pub(super) fn of(config: &ContainerConfig) -> Option<Self> {
        let check = config.healthcheck.as_ref()?;
        let test: Vec<String> = check["Test"]
            .as_array()?
            .iter()
            .map(|word| word.as_str().unwrap_or_default().to_owned())
            .collect();
        let (kind, words) = test.split_first()?;
        let mut argv = Vec::new();
        match kind.as_str() {
            "NONE" => return None,
            "CMD" => {}
            "CMD-SHELL" => match config.shell.as_deref() {
                None | Some([]) => argv.extend(SHELL.map(str::to_owned)),
                Some(shell) => argv.extend_from_slice(shell),
            },
            other => {
                tracing::warn!(kind = other, "Unknown healthcheck type (expected 'CMD')");
                return None;
            }
        }
        argv.extend_from_slice(words);
        let time = |key: &str, default: Duration| match check[key].as_u64() {
            None | Some(0) => default,
            Some(ns) => Duration::from_nanos(ns),
        };
        (!argv.is_empty()).then(|| Self {
            argv,
            interval: time("Interval", INTERVAL),
            timeout: time("Timeout", TIMEOUT),
            start_period: time("StartPeriod", Duration::ZERO),
            start_interval: time("StartInterval", START_INTERVAL),
            retries: match check["Retries"].as_u64() {
                None | Some(0) => RETRIES,
                Some(retries) => retries,
            },
        })
    }
}

/// What a client leaves out of a health check is the image's.
pub(in crate::container) fn merge(own: &mut Option<Value>, image: Option<&Value>) {
    let Some(image) = image else { return };
    let Some(own) = own.as_mut().filter(|own| !own.is_null()) else {
        *own = Some(image.clone());
        return;
    };
    let missing = |value: &Value| match value {
        Value::Null => true,
        Value::Array(words) => words.is_empty(),
        number => number.as_i64() == Some(0),
    };
    for key in [
        "Test",
        "Interval",
        "Timeout",
        "StartPeriod",
        "StartInterval",
        "Retries",
    ] {
        if missing(&own[key])
            && let (Some(fields), Some(value)) = (own.as_object_mut(), image.get(key))
        {
            fields.insert(key.to_owned(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config(check: Value) -> ContainerConfig {
        ContainerConfig {
            healthcheck: Some(check),
            ..ContainerConfig::default()
        }
    }

    #[test]
    fn defaults_and_kinds() {
        let check = Check::of(&config(json!({"Test": ["CMD-SHELL", "a || b"]}))).unwrap();
        assert_eq!(check.argv, ["/bin/sh", "-c", "a || b"]);
        assert_eq!((check.interval, check.timeout), (INTERVAL, TIMEOUT));
        assert_eq!(check.start_period, Duration::ZERO);
        assert_eq!(check.start_interval, START_INTERVAL);
        assert_eq!(check.retries, 3);
        let given = json!({"Test": ["CMD", "x", "y"], "Interval": 5, "Timeout": 6, "StartPeriod": 7, "StartInterval": 8, "Retries": 9});
        let check = Check::of(&config(given)).unwrap();
        assert_eq!(check.argv, ["x", "y"]);
        assert_eq!(check.interval.as_nanos(), 5);
        assert_eq!(check.start_interval.as_nanos(), 8);
        assert_eq!(check.retries, 9);
        for none in [
            json!({"Test": ["NONE"]}),
            json!({"Test": []}),
            json!({"Test": null}),
            json!({"Test": ["RUN", "x"]}),
            json!({"Test": ["CMD"]}),
            json!({"Interval": 5}),
            Value::Null,
        ] {
            assert_eq!(Check::of(&config(none.clone())), None, "{none}");
        }
        assert_eq!(Check::of(&ContainerConfig::default()), None);
        let mut own_shell = config(json!({"Test": ["CMD-SHELL", "x"]}));
        own_shell.shell = Some(vec!["/bin/ash".to_owned(), "-ec".to_owned()]);
        assert_eq!(
            Check::of(&own_shell).unwrap().argv,
            ["/bin/ash", "-ec", "x"]
        );
    }

    #[test]
    fn what_a_client_leaves_out_is_the_image_s() {
        let image = json!({"Test": ["CMD", "i"], "Interval": 1_000_000, "Retries": 5});
        let mut own = None;
        merge(&mut own, Some(&image));
        assert_eq!(own, Some(image.clone()));
        let mut own = Some(json!({"Interval": 2_000_000, "Retries": 0}));
        merge(&mut own, Some(&image));
        assert_eq!(
            own,
            Some(json!({"Interval": 2_000_000, "Retries": 5, "Test": ["CMD", "i"]}))
        );
        let mut none = Some(json!({"Test": ["NONE"]}));
        merge(&mut none, Some(&image));
        assert_eq!(Check::of(&config(none.unwrap())), None);
        let mut own = Some(json!({"Test": ["CMD", "o"]}));
        merge(&mut own, None);
        assert_eq!(own, Some(json!({"Test": ["CMD", "o"]})));
    }
}
