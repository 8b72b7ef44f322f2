//! `network create`: from flags to the body of `POST /networks/create`, as docker CLI 28 sends it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use clap::Args;
use serde_json::{Value, json};

use crate::client::{Body, Client};

use super::error::CliError;
use super::flags::{labels, pairs};
use super::out::{self, To};

#[derive(Args, Debug)]
pub(crate) struct CreateArgs {
    /// Enable manual container attachment
    #[arg(long)]
    attachable: bool,
    /// Auxiliary IPv4 or IPv6 addresses used by Network driver
    #[arg(long)]
    aux_address: Vec<String>,
    /// The network from which to copy the configuration
    #[arg(long)]
    config_from: Option<String>,
    /// Create a configuration only network
    #[arg(long)]
    config_only: bool,
    /// Driver to manage the Network
    #[arg(short, long, default_value = "bridge")]
    driver: String,
    /// IPv4 or IPv6 Gateway for the master subnet
    #[arg(long, value_delimiter = ',')]
    gateway: Vec<String>,
    /// Create swarm routing-mesh network
    #[arg(long)]
    ingress: bool,
    /// Restrict external access to the network
    #[arg(long)]
    internal: bool,
    /// Allocate container ip from a sub-range
    #[arg(long, value_delimiter = ',')]
    ip_range: Vec<String>,
    /// IP Address Management Driver
    #[arg(long, default_value = "default")]
    ipam_driver: String,
    /// Set IPAM driver specific options
    #[arg(long)]
    ipam_opt: Vec<String>,
    /// Enable or disable IPv6 address assignment
    #[arg(long)]
    ipv6: bool,
    /// Set metadata on a network
    #[arg(long)]
    label: Vec<String>,
    /// Set driver specific options
    #[arg(short, long)]
    opt: Vec<String>,
    /// Control the network's scope
    #[arg(long)]
    scope: Option<String>,
    /// Subnet in CIDR format that represents a network segment
    #[arg(long, value_delimiter = ',')]
    subnet: Vec<String>,
    #[arg(required = true, value_name = "NETWORK")]
    name: String,
}

/// Makes a network and shows its id.
///
/// # Errors
/// Addresses that belong to no subnet; the daemon's refusal.
pub(crate) async fn create(client: &Client, args: CreateArgs) -> Result<u8, CliError> {
    let body = body(&args)?;
    let answer = client.post("/networks/create", Body::Json(body)).await?;
    let warning = answer["Warning"].as_str().unwrap_or("");
    if !warning.is_empty() {
        out::line(To::Err, &format!("WARNING: {warning}"));
    }
    out::line(To::Out, answer["Id"].as_str().unwrap_or(""));
    Ok(0)
}

fn body(args: &CreateArgs) -> Result<Value, CliError> {
    let mut body = json!({
        "Driver": args.driver,
        "Scope": args.scope.as_deref().unwrap_or(""),
        "IPAM": {
            "Driver": args.ipam_driver,
            "Options": pairs(&args.ipam_opt),
            "Config": ipam(args)?,
        },
        "Internal": args.internal,
        "Attachable": args.attachable,
        "Ingress": args.ingress,
        "ConfigOnly": args.config_only,
        "ConfigFrom": args.config_from.as_ref().map(|from| json!({"Network": from})),
        "Options": pairs(&args.opt),
        "Labels": labels(&[], &args.label)?,
        "Name": args.name,
        "CheckDuplicate": true,
    });
    // Not given and false are not the same to newer daemons.
    if args.ipv6 {
        body["EnableIPv6"] = true.into();
    }
    Ok(body)
}

/// One subnet of the network with what belongs to it.
#[derive(Debug, Default)]
struct Pool {
    range: Option<String>,
    gateway: Option<String>,
    aux: BTreeMap<String, String>,
}

/// Ranges, gateways and auxiliary addresses, each with its subnet (source: docker CLI
/// `command/network/create.go`).
fn ipam(args: &CreateArgs) -> Result<Vec<Value>, CliError> {
    if args.subnet.len() < args.ip_range.len() || args.subnet.len() < args.gateway.len() {
        return Err(CliError::Ipam(
            "every ip-range or gateway must have a corresponding subnet".to_owned(),
        ));
    }
    let mut pools: Vec<(&str, Pool)> = Vec::new();
    for subnet in &args.subnet {
        for (other, _) in &pools {
            if holds(other, subnet)? || holds(subnet, other)? {
                return Err(CliError::Ipam(
                    "multiple overlapping subnet configuration is not supported".to_owned(),
                ));
            }
        }
        pools.push((subnet, Pool::default()));
    }
    for range in &args.ip_range {
        let pool = of(&mut pools, range)?.ok_or_else(|| none("ip-range", range))?;
        if pool.range.replace(range.clone()).is_some() {
            return Err(twice("ranges", range));
        }
    }
    for gateway in &args.gateway {
        let pool = of(&mut pools, gateway)?.ok_or_else(|| none("gateway", gateway))?;
        if pool.gateway.replace(gateway.clone()).is_some() {
            return Err(twice("gateways", gateway));
        }
    }
    for (name, address) in pairs(&args.aux_address) {
        let pool = of(&mut pools, &address)?.ok_or_else(|| none("aux-address", &address))?;
        pool.aux.insert(name, address);
    }
    let shown = |(subnet, pool): (&str, Pool)| {
        let mut out = json!({"Subnet": subnet});
        if let Some(range) = pool.range {
            out["IPRange"] = range.into();
        }
        if let Some(gateway) = pool.gateway {
            out["Gateway"] = gateway.into();
        }
        if !pool.aux.is_empty() {
            out["AuxiliaryAddresses"] = json!(pool.aux);
        }
        out
    };
    Ok(pools.into_iter().map(shown).collect())
}

fn none(what: &str, value: &str) -> CliError {
    CliError::Ipam(format!("no matching subnet for {what} {value}"))
}

fn twice(what: &str, value: &str) -> CliError {
    CliError::Ipam(format!(
        "cannot configure multiple {what} ({value}) on the same subnet"
    ))
}

/// The pool that an address or a range lies in.
fn of<'a>(pools: &'a mut [(&str, Pool)], value: &str) -> Result<Option<&'a mut Pool>, CliError> {
    for (subnet, pool) in pools {
        if holds(subnet, value)? {
            return Ok(Some(pool));
        }
    }
    Ok(None)
}

/// Whether an address, or the first of a range, lies in a subnet.
fn holds(subnet: &str, value: &str) -> Result<bool, CliError> {
    let bad = |text: &str| CliError::Ipam(format!("invalid CIDR address: {text}"));
    let (network, bits) = cidr(subnet).ok_or_else(|| bad(subnet))?;
    let address = match value.split_once('/') {
        Some(_) => cidr(value).ok_or_else(|| bad(value))?.0,
        None => value.parse().map_err(|_| bad(value))?,
    };
    Ok(match (network, address) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            a.to_bits() & mask == b.to_bits() & mask
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            a.to_bits() & mask == b.to_bits() & mask
        }
        _ => false,
    })
}

fn cidr(text: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let bits: u32 = bits.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    (bits <= most).then_some((address, bits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::networks::NetworkCommand;
    use crate::cli::{Command, parse_for_test};

    fn of_line(line: &str) -> Result<Value, String> {
        let words: Vec<String> = format!("network create {line}")
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        let Command::Network(NetworkCommand::Create(args)) = parse_for_test(&words).unwrap() else {
            panic!("not create");
        };
        body(&args).map_err(|error| error.to_string())
    }

    #[test]
    fn the_body_as_docker_sends_it() {
        let line = "--subnet 10.213.7.0/24 --gateway 10.213.7.1 --ip-range 10.213.7.128/25 \
                    --aux-address r=10.213.7.5 --internal --attachable --label a=b -o k=v \
                    --ipam-opt x=y tn";
        let expected = r#"{"Driver":"bridge","Scope":"","IPAM":{"Driver":"default","Options":{"x":"y"},"Config":[{"Subnet":"10.213.7.0/24","IPRange":"10.213.7.128/25","Gateway":"10.213.7.1","AuxiliaryAddresses":{"r":"10.213.7.5"}}]},"Internal":true,"Attachable":true,"Ingress":false,"ConfigOnly":false,"ConfigFrom":null,"Options":{"k":"v"},"Labels":{"a":"b"},"Name":"tn","CheckDuplicate":true}"#;
        assert_eq!(of_line(line).unwrap().to_string(), expected);
        // One subnet is the daemon's to check.
        let one = of_line("--subnet x tn").unwrap();
        assert_eq!(one["IPAM"]["Config"], json!([{"Subnet": "x"}]));
        let six =
            of_line("--ipv6 --subnet 10.0.0.0/24,fd00:1::/64 --gateway fd00:1::1 tn").unwrap();
        assert_eq!(six["EnableIPv6"], true);
        assert_eq!(
            six["IPAM"]["Config"],
            json!([{"Subnet": "10.0.0.0/24"}, {"Subnet": "fd00:1::/64", "Gateway": "fd00:1::1"}])
        );
    }

    #[test]
    fn addresses_need_their_subnet() {
        for (line, text) in [
            (
                "--gateway 10.9.9.9 tn",
                "every ip-range or gateway must have a corresponding subnet",
            ),
            (
                "--subnet 10.0.0.0/24 --gateway 10.9.9.9 tn",
                "no matching subnet for gateway 10.9.9.9",
            ),
            (
                "--subnet 10.0.0.0/24 --aux-address r=1.2.3.4 tn",
                "no matching subnet for aux-address 1.2.3.4",
            ),
            (
                "--subnet 10.0.0.0/24 --subnet 10.0.0.0/25 tn",
                "multiple overlapping subnet configuration is not supported",
            ),
            (
                "--subnet 10.0.0.0/24 --subnet 10.0.1.0/24 --ip-range 10.0.0.0/25 --ip-range 10.0.0.128/25 tn",
                "cannot configure multiple ranges (10.0.0.128/25) on the same subnet",
            ),
        ] {
            assert_eq!(of_line(line).unwrap_err(), text);
        }
    }
}
