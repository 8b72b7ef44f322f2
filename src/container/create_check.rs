//! What `create` refuses, and what it fills in: settings of client and image, networks, platform,
//! health check, defaults.

use std::collections::BTreeMap;

use serde_json::Value;

use super::signal;
use crate::api::types::{ContainerConfig, HostConfig};
use crate::daemon::Settings;
use crate::errors::ApiError;
use crate::image::host_architecture;
use crate::runtime;

/// Shortest time in a health check, in nanoseconds (docs: Engine API `HealthConfig`).
const HEALTH_MINIMUM_NS: i64 = 1_000_000;
/// A platform of one word is one of these, or an architecture.
const OPERATING_SYSTEMS: [&str; 4] = ["linux", "windows", "darwin", "freebsd"];
/// `/dev/shm` where the client does not say otherwise (docs: `docker run`).
const SHM_SIZE: i64 = 64 << 20;

/// Adds what the image says where the client says nothing (docs: Moby `daemon/commit.go` `merge`).
pub(super) fn merge(config: &mut ContainerConfig, image: &ContainerConfig) -> Result<(), ApiError> {
    if config.user.is_empty() {
        config.user.clone_from(&image.user);
    }
    merge_map(&mut config.exposed_ports, image.exposed_ports.as_ref());
    // The client's empty map is none.
    config.volumes = config.volumes.take().filter(|volumes| !volumes.is_empty());
    merge_map(&mut config.volumes, image.volumes.as_ref());
    let key = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    for entry in &image.env {
        if !config.env.iter().any(|own| key(own) == key(entry)) {
            config.env.push(entry.clone());
        }
    }
    for (name, value) in &image.labels {
        config
            .labels
            .entry(name.clone())
            .or_insert_with(|| value.clone());
    }
    // An entrypoint of the client's clears the image's command.
    if config.entrypoint.as_ref().is_none_or(Vec::is_empty) {
        if config.cmd.as_ref().is_none_or(Vec::is_empty) {
            config.cmd.clone_from(&image.cmd);
        }
        if config.entrypoint.is_none() {
            config.entrypoint.clone_from(&image.entrypoint);
        }
    }
    super::health::merge(&mut config.healthcheck, image.healthcheck.as_ref());
    if config.working_dir.is_empty() {
        config.working_dir.clone_from(&image.working_dir);
    }
    if config.stop_signal.as_ref().is_none_or(String::is_empty) {
        config.stop_signal.clone_from(&image.stop_signal);
    }
    if config.shell.is_none() {
        config.shell.clone_from(&image.shell);
    }
    // `--entrypoint ""` comes as one empty word.
    if config.entrypoint.as_deref().is_some_and(|e| *e == [""]) {
        config.entrypoint = None;
    }
    let empty = |words: &Option<Vec<String>>| words.as_ref().is_none_or(Vec::is_empty);
    if empty(&config.entrypoint) && empty(&config.cmd) {
        return Err(ApiError::invalid("No command specified"));
    }
    Ok(())
}

fn merge_map(own: &mut Option<BTreeMap<String, Value>>, image: Option<&BTreeMap<String, Value>>) {
    for (key, value) in image.into_iter().flatten() {
        own.get_or_insert_default()
            .entry(key.clone())
            .or_insert_with(|| value.clone());
    }
}

/// The image must be for the platform that was asked for; its variant is not looked at.
pub(super) fn check_platform(
    asked: &str,
    name: &str,
    actual: (&str, &str),
) -> Result<(), ApiError> {
    if asked.is_empty() {
        return Ok(());
    }
    let mut parts = asked.split('/');
    let (os, architecture) = match (parts.next(), parts.next()) {
        (Some(os), Some(architecture)) => (os, architecture),
        (Some(os), None) if OPERATING_SYSTEMS.contains(&os) => (os, host_architecture()),
        (alone, _) => ("linux", alone.unwrap_or_default()),
    };
    let architecture = match architecture {
        "x86_64" | "x86-64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    if (os, architecture) == actual {
        return Ok(());
    }
    Err(ApiError::not_found(format!(
        "image with reference {name} was found but does not match the specified platform: \
         wanted {os}/{architecture}, actual: {}/{}",
        actual.0, actual.1
    )))
}

/// What is refused before anything is completed.
pub(super) fn check(config: &ContainerConfig, host: &HostConfig) -> Result<(), ApiError> {
    if let Some(given) = config.stop_signal.as_deref().filter(|s| !s.is_empty()) {
        signal::parse(given)?;
    }
    check_healthcheck(config)?;
    super::extra::check_label(&config.labels)?;
    let policy = &host.restart_policy;
    match policy.name.as_str() {
        "" | "no" | "always" | "unless-stopped" => {
            if policy.maximum_retry_count != 0 {
                return Err(ApiError::invalid(runtime::retries_without_failure(
                    &policy.name,
                )));
            }
        }
        "on-failure" => {
            if policy.maximum_retry_count < 0 {
                return Err(ApiError::invalid("maximum retry count cannot be negative"));
            }
        }
        other => {
            return Err(ApiError::invalid(format!(
                "invalid restart policy '{other}'"
            )));
        }
    }
    if host.auto_remove && !matches!(policy.name.as_str(), "" | "no") {
        return Err(ApiError::invalid(
            "can't create 'AutoRemove' container with restart policy",
        ));
    }
    Ok(())
}

/// Below API 1.44, create connects to one network at most.
pub(super) fn one_network(networking: &Value) -> Result<(), ApiError> {
    let endpoints = networking["EndpointsConfig"].as_object();
    let names: Vec<&str> = endpoints
        .into_iter()
        .flatten()
        .map(|e| e.0.as_str())
        .collect();
    if names.len() > 1 {
        return Err(ApiError::invalid(format!(
            "Container cannot be connected to network endpoints: {}",
            names.join(", ")
        )));
    }
    Ok(())
}

/// Times of a health check are 0 (the default) or at least a millisecond.
fn check_healthcheck(config: &ContainerConfig) -> Result<(), ApiError> {
    let number = |key: &str| {
        let check = config.healthcheck.as_ref()?;
        check.get(key)?.as_i64()
    };
    for key in ["Interval", "Timeout", "StartPeriod", "StartInterval"] {
        if number(key).is_some_and(|ns| ns != 0 && ns < HEALTH_MINIMUM_NS) {
            return Err(ApiError::invalid(format!(
                "{key} in Healthcheck cannot be less than 1ms"
            )));
        }
    }
    if number("Retries").is_some_and(|retries| retries < 0) {
        return Err(ApiError::invalid(
            "Retries in Healthcheck cannot be negative",
        ));
    }
    Ok(())
}

/// Fills in the defaults that inspect gives back.
pub(super) fn complete(host: &mut HostConfig, settings: &Settings) {
    let default = |field: &mut String, value: &str| {
        if field.is_empty() {
            value.clone_into(field);
        }
    };
    let v2 = runtime::cgroup_layout().is_v2();
    default(&mut host.network_mode, "default");
    default(&mut host.restart_policy.name, "no");
    default(&mut host.ipc_mode, settings.default_ipc_mode.as_str());
    let cgroupns = match settings.default_cgroupns_mode.as_deref() {
        _ if host.privileged && !v2 => "host",
        Some(mode) => mode,
        None if v2 => "private",
        None => "host",
    };
    default(&mut host.cgroupns_mode, cgroupns);
    default(&mut host.runtime, &settings.default_runtime);
    if host.shm_size == 0 {
        host.shm_size = SHM_SIZE;
    }
    if host.memory > 0 && host.memory_swap == 0 {
        host.memory_swap = host.memory.saturating_mul(2);
    }
    if host.memory_swappiness == Some(-1) {
        host.memory_swappiness = None;
    }
    if v2 {
        host.oom_kill_disable = None;
    } else {
        host.oom_kill_disable.get_or_insert(false);
    }
    if host.pids_limit.is_some_and(|limit| limit <= 0) {
        host.pids_limit = None;
    }
    if !host.privileged {
        host.masked_paths
            .get_or_insert_with(runtime::default_masked_paths);
        host.readonly_paths
            .get_or_insert_with(runtime::default_readonly_paths);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&str]) -> Option<Vec<String>> {
        Some(list.iter().map(|w| (*w).to_owned()).collect())
    }

    /// Entrypoint and command.
    type Words = (Option<Vec<String>>, Option<Vec<String>>);

    fn merged(own: Words, image: Words) -> Result<Words, ApiError> {
        let mut config = ContainerConfig {
            entrypoint: own.0,
            cmd: own.1,
            ..ContainerConfig::default()
        };
        let image = ContainerConfig {
            entrypoint: image.0,
            cmd: image.1,
            ..ContainerConfig::default()
        };
        merge(&mut config, &image)?;
        Ok((config.entrypoint, config.cmd))
    }

    #[test]
    fn command_of_client_and_image() {
        let image = || (words(&["/entry"]), words(&["serve"]));
        assert_eq!(merged((None, None), image()).unwrap(), image());
        assert_eq!(
            merged((None, words(&["x"])), image()).unwrap(),
            (words(&["/entry"]), words(&["x"]))
        );
        // An own entrypoint clears the image's command.
        assert_eq!(
            merged((words(&["/own"]), None), image()).unwrap(),
            (words(&["/own"]), None)
        );
        assert_eq!(
            merged((words(&[""]), words(&["x"])), image()).unwrap(),
            (None, words(&["x"]))
        );
        for own in [(words(&[""]), None), (None, None)] {
            let error = merged(own, (None, None)).unwrap_err();
            assert_eq!(error.message, "No command specified");
            assert_eq!(error.kind.status(), 400);
        }
    }

    #[test]
    fn environment_labels_and_the_rest() {
        let mut config = ContainerConfig {
            env: vec!["A=1".into(), "B".into()],
            labels: [("l".to_owned(), "own".to_owned())].into(),
            cmd: words(&["x"]),
            ..ContainerConfig::default()
        };
        let image = ContainerConfig {
            env: vec!["A=2".into(), "B=2".into(), "C=3".into()],
            labels: [
                ("l".to_owned(), "image".to_owned()),
                ("m".to_owned(), "image".to_owned()),
            ]
            .into(),
            user: "u".into(),
            working_dir: "/w".into(),
            stop_signal: Some("SIGINT".into()),
            volumes: Some([("/v".to_owned(), Value::Null)].into()),
            ..ContainerConfig::default()
        };
        merge(&mut config, &image).unwrap();
        assert_eq!(config.env, ["A=1", "B", "C=3"]);
        assert_eq!(config.labels["l"], "own");
        assert_eq!(config.labels["m"], "image");
        assert_eq!(
            (config.user.as_str(), config.working_dir.as_str()),
            ("u", "/w")
        );
        assert_eq!(config.stop_signal.as_deref(), Some("SIGINT"));
        assert!(config.volumes.unwrap().contains_key("/v"));
    }

    #[test]
    fn policies() {
        let host = |name: &str, count, auto_remove| HostConfig {
            restart_policy: crate::api::types::RestartPolicy {
                name: name.to_owned(),
                maximum_retry_count: count,
            },
            auto_remove,
            ..HostConfig::default()
        };
        let config = ContainerConfig::default();
        for good in [
            ("", 0, true),
            ("on-failure", 3, false),
            ("always", 0, false),
        ] {
            check(&config, &host(good.0, good.1, good.2)).unwrap();
        }
        assert_eq!(
            check(&config, &host("always", 0, true))
                .unwrap_err()
                .message,
            "can't create 'AutoRemove' container with restart policy"
        );
        for bad in [("x", 0), ("always", 1), ("on-failure", -1)] {
            assert!(check(&config, &host(bad.0, bad.1, false)).is_err());
        }
    }

    #[test]
    fn health_checks() {
        let config = |key: &str, value: i64| ContainerConfig {
            healthcheck: Some(serde_json::json!({"Test": ["CMD", "true"], key: value})),
            ..ContainerConfig::default()
        };
        check_healthcheck(&ContainerConfig::default()).unwrap();
        for key in ["Interval", "Timeout", "StartPeriod", "StartInterval"] {
            check_healthcheck(&config(key, 0)).unwrap();
            check_healthcheck(&config(key, 1_000_000)).unwrap();
            for bad in [-1, 999_999] {
                let error = check_healthcheck(&config(key, bad)).unwrap_err();
                assert_eq!(
                    error.message,
                    format!("{key} in Healthcheck cannot be less than 1ms")
                );
            }
        }
        assert!(check_healthcheck(&config("Retries", -1)).is_err());
    }

    #[test]
    fn one_network_at_most() {
        one_network(&serde_json::json!({"EndpointsConfig": {"default": {}}})).unwrap();
        one_network(&Value::Null).unwrap();
        let two = serde_json::json!({"EndpointsConfig": {"a": {}, "b": {}}});
        assert_eq!(
            one_network(&two).unwrap_err().message,
            "Container cannot be connected to network endpoints: a, b"
        );
    }

    #[test]
    fn platforms() {
        let own = host_architecture();
        check_platform("linux", "x", ("linux", own)).unwrap();
        let image = ("linux", "amd64");
        for good in ["", "linux/amd64", "linux/x86_64", "amd64"] {
            check_platform(good, "x", image).unwrap();
        }
        for (bad, wanted) in [
            ("linux/arm64", "linux/arm64"),
            ("arm64", "linux/arm64"),
            ("windows/amd64", "windows/amd64"),
        ] {
            let error = check_platform(bad, "x", image).unwrap_err();
            assert_eq!(
                error.message,
                format!(
                    "image with reference x was found but does not match the specified \
                     platform: wanted {wanted}, actual: linux/amd64"
                )
            );
            assert_eq!(error.kind.status(), 404);
        }
    }
}
