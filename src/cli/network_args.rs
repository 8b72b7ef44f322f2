//! Flags of `taffrail daemon` that are about networks: dockerd's names and forms.

use clap::Args;
use taffrail_config::NetworkFlags;

/// What was written on the command line; `None` and empty lists were not written.
#[derive(Args, Clone, Debug)]
pub(crate) struct NetworkArgs {
    /// Address of the default bridge with its prefix length: 10.1.0.1/24
    #[arg(long, value_name = "ADDRESS")]
    bip: Option<String>,
    /// IPv4 subnet for containers' addresses on the default bridge
    #[arg(long, value_name = "SUBNET")]
    fixed_cidr: Option<String>,
    /// IPv6 subnet of the default bridge
    #[arg(long, value_name = "SUBNET")]
    fixed_cidr_v6: Option<String>,
    /// Container default gateway IPv4 address
    #[arg(long, value_name = "IP")]
    default_gateway: Option<String>,
    /// Container default gateway IPv6 address
    #[arg(long, value_name = "IP")]
    default_gateway_v6: Option<String>,
    /// Inter-container communication on the default bridge (on unless =false)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    icc: Option<bool>,
    /// Default IP when binding container ports
    #[arg(long, value_name = "IP")]
    ip: Option<String>,
    /// Turn forwarding on in the kernel (on unless =false)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ip_forward: Option<bool>,
    /// IP masquerading (on unless =false)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ip_masq: Option<bool>,
    /// Set rules in the kernel (on unless =false)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    iptables: Option<bool>,
    /// The same for IPv6 (on unless =false)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ip6tables: Option<bool>,
    /// IPv6 on the default bridge
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ipv6: Option<bool>,
    /// Set the containers network MTU
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true)]
    mtu: Option<i64>,
    /// Answer published ports on loopback by a process (on unless =false)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    userland_proxy: Option<bool>,
    /// Ranges that networks get their subnets from: base=10.10.0.0/16,size=24
    #[arg(long = "default-address-pool", value_name = "POOL")]
    default_address_pools: Vec<String>,
    /// DNS server to use
    #[arg(long, value_name = "IP")]
    dns: Vec<String>,
    /// DNS options to use
    #[arg(long = "dns-opt", value_name = "OPTION")]
    dns_opts: Vec<String>,
    /// DNS search domains to use
    #[arg(long, value_name = "DOMAIN")]
    dns_search: Vec<String>,
    /// What host-gateway in --add-host means (default: the gateway of the container's network)
    #[arg(long, value_name = "IP")]
    host_gateway_ip: Option<String>,
}

impl NetworkArgs {
    /// For the configuration.
    pub(crate) fn flags(&self) -> NetworkFlags {
        let args = self.clone();
        NetworkFlags {
            bip: args.bip,
            fixed_cidr: args.fixed_cidr,
            fixed_cidr_v6: args.fixed_cidr_v6,
            default_gateway: args.default_gateway,
            default_gateway_v6: args.default_gateway_v6,
            icc: args.icc,
            ip: args.ip,
            ip_forward: args.ip_forward,
            ip_masq: args.ip_masq,
            iptables: args.iptables,
            ip6tables: args.ip6tables,
            ipv6: args.ipv6,
            mtu: args.mtu,
            userland_proxy: args.userland_proxy,
            default_address_pools: args.default_address_pools,
            dns: args.dns,
            dns_opts: args.dns_opts,
            dns_search: args.dns_search,
            host_gateway_ip: args.host_gateway_ip,
        }
    }
}
