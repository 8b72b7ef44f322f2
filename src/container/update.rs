//! `update`: limits and restart policy of a container that exists; one that runs gets them at once.

use std::sync::Arc;

use super::exit::{blocking, try_write};
use super::{Container, Status};
use crate::api::types::HostConfig;
use crate::daemon::Daemon;
use crate::errors::ApiError;
use crate::runtime;

impl Daemon {
    /// Changes what `given` names: limits, restart policy; everything else in it is refused by name
    /// (docs: Engine API `ContainerUpdate`). Gives warnings.
    ///
    /// # Errors
    /// 400 for values that cannot be, 409 for those that do not go with what the container has, or
    /// while it is being removed; 500 if the kernel does not take one: nothing is changed then.
    pub(crate) async fn update(
        self: &Arc<Self>,
        container: &Arc<Container>,
        mut given: HostConfig,
    ) -> Result<Vec<String>, ApiError> {
        let (discarded, given) = blocking(move || {
            let discarded = runtime::discard_unsupported(&mut given);
            (discarded, given)
        })
        .await
        .ok_or_else(|| ApiError::system("the daemon is ending"))?;
        let mut warnings = runtime::validate_update(&given)?;
        warnings.splice(0..0, discarded);
        let refuse = |text: String| {
            ApiError::conflict(format!("Cannot update container {}: {text}", container.id))
        };
        // Not while it is started: the start has read the old limits.
        let _verb = container.verb.lock().await;
        let before = container.record();
        if matches!(before.state.status, Status::Removing | Status::Dead) {
            return Err(refuse(
                "container is marked for removal and cannot be \"update\"".to_owned(),
            ));
        }
        let mut after = before.host.clone();
        merge(&mut after, &given).map_err(|text| refuse(text.to_owned()))?;
        let failed = |error: ApiError| {
            ApiError::new(
                error.kind,
                format!("Cannot update container {}: {error}", container.id),
            )
        };
        {
            let _files = container.files.lock().await;
            let mut record = container.record();
            record.host = after.clone();
            try_write(container, record).await.map_err(failed)?;
            container.inner().record.host = after.clone();
        }
        if container.has_process() {
            let group = self.cgroup_path(&before);
            let applied = self.apply(group, given.clone(), after).await;
            // One that has ended meanwhile has no group: its next start has the new limits.
            if let Err(error) = applied
                && container.has_process()
            {
                container.inner().record.host = before.host;
                self.save(container).await;
                return Err(failed(error));
            }
        }
        if container.has_process() && given.memory != 0 {
            self.watch_oom(container);
        }
        self.container_event(container, "update", []);
        Ok(warnings)
    }

    async fn apply(
        &self,
        group: String,
        given: HostConfig,
        host: HostConfig,
    ) -> Result<(), ApiError> {
        blocking(move || runtime::update_limits(&runtime::cgroup_layout(), &group, &given, &host))
            .await
            .unwrap_or(Ok(()))
            .map_err(ApiError::from)
    }
}

/// Takes over what is given (source: Moby `daemon/container/container_unix.go` `UpdateContainer`).
fn merge(own: &mut HostConfig, given: &HostConfig) -> Result<(), &'static str> {
    if given.nano_cpus > 0 && own.cpu_period > 0 {
        return Err(
            "Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set",
        );
    }
    if given.nano_cpus > 0 && own.cpu_quota > 0 {
        return Err(
            "Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set",
        );
    }
    if given.cpu_period > 0 && own.nano_cpus > 0 {
        return Err(
            "Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set",
        );
    }
    if given.cpu_quota > 0 && own.nano_cpus > 0 {
        return Err(
            "Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set",
        );
    }
    if given.memory > own.memory_swap && given.memory != 0 && given.memory_swap == 0 {
        return Err(
            "Memory limit should be smaller than already set memoryswap limit, update the \
             memoryswap at the same time",
        );
    }
    let number = |own: &mut i64, given: i64| {
        if given != 0 {
            *own = given;
        }
    };
    number(&mut own.cpu_shares, given.cpu_shares);
    number(&mut own.nano_cpus, given.nano_cpus);
    number(&mut own.cpu_period, given.cpu_period);
    number(&mut own.cpu_quota, given.cpu_quota);
    number(&mut own.cpu_realtime_period, given.cpu_realtime_period);
    number(&mut own.cpu_realtime_runtime, given.cpu_realtime_runtime);
    number(&mut own.memory, given.memory);
    number(&mut own.memory_swap, given.memory_swap);
    number(&mut own.memory_reservation, given.memory_reservation);
    if given.blkio_weight != 0 {
        own.blkio_weight = given.blkio_weight;
    }
    for (own, given) in [
        (&mut own.cpuset_cpus, &given.cpuset_cpus),
        (&mut own.cpuset_mems, &given.cpuset_mems),
    ] {
        if !given.is_empty() {
            own.clone_from(given);
        }
    }
    if let Some(limit) = given.pids_limit {
        // Any number below 1 is no limit.
        own.pids_limit = Some(limit.max(0));
    }
    // The kernel would refuse these without a word of why.
    if own.memory_swap > 0 && own.memory_swap < own.memory {
        return Err("Minimum memoryswap limit should be larger than memory limit, see usage");
    }
    if own.memory > 0 && own.memory_reservation > own.memory {
        return Err(
            "Minimum memory limit can not be less than memory reservation limit, see usage",
        );
    }
    if !given.restart_policy.name.is_empty() {
        if own.auto_remove && given.restart_policy.name != "no" {
            return Err(
                "Restart policy cannot be updated because AutoRemove is enabled for the container",
            );
        }
        own.restart_policy = given.restart_policy.clone();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::RestartPolicy;

    fn host(change: impl FnOnce(&mut HostConfig)) -> HostConfig {
        let mut host = HostConfig::default();
        change(&mut host);
        host
    }

    #[test]
    fn only_what_is_given_changes() {
        let mut own = host(|h| {
            h.memory = 100;
            h.memory_swap = 200;
            h.cpu_shares = 5;
            h.pids_limit = Some(7);
        });
        let given = host(|h| {
            h.memory = 150;
            h.restart_policy = RestartPolicy {
                name: "on-failure".to_owned(),
                maximum_retry_count: 3,
            };
            h.binds = Some(vec!["/a:/b".to_owned()]);
        });
        merge(&mut own, &given).unwrap();
        assert_eq!((own.memory, own.memory_swap, own.cpu_shares), (150, 200, 5));
        assert_eq!(own.pids_limit, Some(7));
        assert_eq!(own.restart_policy.maximum_retry_count, 3);
        assert_eq!(own.binds, None);
        merge(&mut own, &host(|h| h.pids_limit = Some(-1))).unwrap();
        assert_eq!(own.pids_limit, Some(0));
    }

    #[test]
    fn what_does_not_go_together() {
        let refusal = |own: &HostConfig, given: HostConfig| {
            let mut own = own.clone();
            merge(&mut own, &given).unwrap_err()
        };
        let nano = host(|h| h.nano_cpus = 1);
        assert!(refusal(&nano, host(|h| h.cpu_quota = 5000)).starts_with("Conflicting options"));
        assert!(refusal(&nano, host(|h| h.cpu_period = 5000)).starts_with("Conflicting options"));
        let quota = host(|h| h.cpu_quota = 5000);
        assert!(refusal(&quota, host(|h| h.nano_cpus = 1)).contains("CPU Quota"));
        // Also where there was no limit at all, as in Docker.
        for swap in [0, 200] {
            let own = host(|h| h.memory_swap = swap);
            assert!(
                refusal(&own, host(|h| h.memory = 300))
                    .starts_with("Memory limit should be smaller")
            );
        }
        let limited = host(|h| (h.memory, h.memory_swap) = (100, 200));
        assert!(refusal(&limited, host(|h| h.memory_swap = 50)).starts_with("Minimum memoryswap"));
        let removed = host(|h| h.auto_remove = true);
        let always = host(|h| h.restart_policy.name = "always".to_owned());
        assert!(refusal(&removed, always).starts_with("Restart policy cannot be updated"));
    }
}
