//! `update`: limits and restart policy of containers that exist.

use clap::Args;
use serde_json::{Value, json};

use crate::client::{Body, Client, segment};

use super::create_body;
use super::error::CliError;
use super::flags::{self, FlagError};
use super::out::{self, To};

#[derive(Args, Debug, Default)]
pub(crate) struct UpdateArgs {
    /// Block IO (relative weight), between 10 and 1000, or 0 to disable
    #[arg(long)]
    blkio_weight: Option<String>,
    /// Limit CPU CFS (Completely Fair Scheduler) period
    #[arg(long)]
    cpu_period: Option<String>,
    /// Limit CPU CFS (Completely Fair Scheduler) quota
    #[arg(long)]
    cpu_quota: Option<String>,
    /// Limit the CPU real-time period in microseconds
    #[arg(long)]
    cpu_rt_period: Option<String>,
    /// Limit the CPU real-time runtime in microseconds
    #[arg(long)]
    cpu_rt_runtime: Option<String>,
    /// CPU shares (relative weight)
    #[arg(short, long)]
    cpu_shares: Option<String>,
    /// Number of CPUs
    #[arg(long)]
    cpus: Option<String>,
    /// CPUs in which to allow execution (0-3, 0,1)
    #[arg(long)]
    cpuset_cpus: Option<String>,
    /// MEMs in which to allow execution (0-3, 0,1)
    #[arg(long)]
    cpuset_mems: Option<String>,
    /// Memory limit
    #[arg(short, long)]
    memory: Option<String>,
    /// Memory soft limit
    #[arg(long)]
    memory_reservation: Option<String>,
    /// Swap limit equal to memory plus swap: -1 to enable unlimited swap
    #[arg(long)]
    memory_swap: Option<String>,
    /// Tune container pids limit (set -1 for unlimited)
    #[arg(long)]
    pids_limit: Option<String>,
    /// Restart policy to apply when a container exits
    #[arg(long)]
    restart: Option<String>,
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Changes each container.
///
/// # Errors
/// No flag at all, or a value that is none.
pub(crate) async fn update(client: &Client, args: UpdateArgs) -> Result<u8, CliError> {
    let body = body(&args)?.ok_or(CliError::NoFlags)?;
    let (mut warnings, mut status) = (Vec::new(), 0);
    for name in &args.containers {
        let path = format!("/containers/{}/update", segment(name));
        match client.post(&path, Body::Json(body.clone())).await {
            Ok(answer) => {
                out::line(To::Out, name);
                let told = answer["Warnings"].as_array().into_iter().flatten();
                warnings.extend(told.filter_map(Value::as_str).map(str::to_owned));
            }
            Err(error) => {
                out::line(To::Err, &error.to_string());
                status = 1;
            }
        }
    }
    for warning in warnings {
        out::line(To::Out, &warning);
    }
    Ok(status)
}

/// The request; `None` without any flag. 0 and "" mean no change to the daemon.
fn body(args: &UpdateArgs) -> Result<Option<Value>, FlagError> {
    let given = [
        &args.blkio_weight,
        &args.cpu_period,
        &args.cpu_quota,
        &args.cpu_rt_period,
        &args.cpu_rt_runtime,
        &args.cpu_shares,
        &args.cpus,
        &args.cpuset_cpus,
        &args.cpuset_mems,
        &args.memory,
        &args.memory_reservation,
        &args.memory_swap,
        &args.pids_limit,
        &args.restart,
    ];
    if given.iter().all(|flag| flag.is_none()) {
        return Ok(None);
    }
    let number = |flag, text: &Option<String>| flags::integer_or(flag, text.as_deref(), 0);
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let restart = match args.restart.as_deref() {
        None | Some("") => json!({"Name": "", "MaximumRetryCount": 0}),
        Some(policy) => create_body::restart(policy)?,
    };
    let pids = number("--pids-limit", &args.pids_limit)?;
    Ok(Some(json!({
        "BlkioWeight": number("--blkio-weight", &args.blkio_weight)?,
        "CpuPeriod": number("--cpu-period", &args.cpu_period)?,
        "CpuQuota": number("--cpu-quota", &args.cpu_quota)?,
        "CpuRealtimePeriod": number("--cpu-rt-period", &args.cpu_rt_period)?,
        "CpuRealtimeRuntime": number("--cpu-rt-runtime", &args.cpu_rt_runtime)?,
        "CpuShares": number("-c, --cpu-shares", &args.cpu_shares)?,
        "NanoCpus": flags::cpus(args.cpus.as_deref())?,
        "CpusetCpus": text(&args.cpuset_cpus),
        "CpusetMems": text(&args.cpuset_mems),
        "Memory": flags::bytes("-m, --memory", args.memory.as_deref(), false)?,
        "MemoryReservation": flags::bytes("--memory-reservation", args.memory_reservation.as_deref(), false)?,
        "MemorySwap": flags::bytes("--memory-swap", args.memory_swap.as_deref(), true)?,
        "PidsLimit": (pids != 0).then_some(pids),
        "RestartPolicy": restart,
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_become_a_request() {
        assert_eq!(body(&UpdateArgs::default()).unwrap(), None);
        let args = UpdateArgs {
            memory: Some("64m".to_owned()),
            memory_swap: Some("-1".to_owned()),
            cpus: Some("1.5".to_owned()),
            restart: Some("on-failure:3".to_owned()),
            ..UpdateArgs::default()
        };
        let body = body(&args).unwrap().unwrap();
        assert_eq!(body["Memory"], 64 << 20);
        assert_eq!(body["MemorySwap"], -1);
        assert_eq!(body["NanoCpus"], 1_500_000_000);
        assert_eq!(body["CpuShares"], 0);
        assert_eq!(body["PidsLimit"], Value::Null);
        assert_eq!(
            body["RestartPolicy"],
            json!({"Name": "on-failure", "MaximumRetryCount": 3})
        );
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for (memory, restart) in [(Some("much"), None), (None, Some("on-failure:x"))] {
            let args = UpdateArgs {
                memory: memory.map(str::to_owned),
                restart: restart.map(str::to_owned),
                ..UpdateArgs::default()
            };
            assert!(super::body(&args).is_err());
        }
    }
}
