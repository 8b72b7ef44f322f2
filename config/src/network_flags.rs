//! Settings of networks from the command line: dockerd's flags.

use crate::flags::go_list;

/// Flags of networks; `None` or empty: not given. The key of each in daemon.json is the field's name with dashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkFlags {
    /// `--bip`
    pub bip: Option<String>,
    /// `--fixed-cidr`
    pub fixed_cidr: Option<String>,
    /// `--fixed-cidr-v6`
    pub fixed_cidr_v6: Option<String>,
    /// `--default-gateway`
    pub default_gateway: Option<String>,
    /// `--default-gateway-v6`
    pub default_gateway_v6: Option<String>,
    /// `--icc`
    pub icc: Option<bool>,
    /// `--ip`
    pub ip: Option<String>,
    /// `--ip-forward`
    pub ip_forward: Option<bool>,
    /// `--ip-masq`
    pub ip_masq: Option<bool>,
    /// `--iptables`
    pub iptables: Option<bool>,
    /// `--ip6tables`
    pub ip6tables: Option<bool>,
    /// `--ipv6`
    pub ipv6: Option<bool>,
    /// `--mtu`, bytes
    pub mtu: Option<i64>,
    /// `--userland-proxy`
    pub userland_proxy: Option<bool>,
    /// `--default-address-pool base=10.10.0.0/16,size=24`
    pub default_address_pools: Vec<String>,
    /// `--dns`
    pub dns: Vec<String>,
    /// `--dns-opt`
    pub dns_opts: Vec<String>,
    /// `--dns-search`
    pub dns_search: Vec<String>,
    /// `--host-gateway-ip`
    pub host_gateway_ip: Option<String>,
}

impl NetworkFlags {
    /// A text's flag.
    pub(crate) fn text(&self, key: &str) -> Option<&String> {
        match key {
            "bip" => self.bip.as_ref(),
            "fixed-cidr" => self.fixed_cidr.as_ref(),
            "fixed-cidr-v6" => self.fixed_cidr_v6.as_ref(),
            "default-gateway" => self.default_gateway.as_ref(),
            "default-gateway-v6" => self.default_gateway_v6.as_ref(),
            "ip" => self.ip.as_ref(),
            "host-gateway-ip" => self.host_gateway_ip.as_ref(),
            _ => None,
        }
    }

    /// A switch's flag.
    pub(crate) fn switch(&self, key: &str) -> Option<bool> {
        match key {
            "icc" => self.icc,
            "ip-forward" => self.ip_forward,
            "ip-masq" => self.ip_masq,
            "iptables" => self.iptables,
            "ip6tables" => self.ip6tables,
            "ipv6" => self.ipv6,
            "userland-proxy" => self.userland_proxy,
            _ => None,
        }
    }

    /// A list's flag.
    pub(crate) fn list(&self, key: &str) -> &[String] {
        match key {
            "default-address-pools" => &self.default_address_pools,
            "dns" => &self.dns,
            "dns-opts" => &self.dns_opts,
            "dns-search" => &self.dns_search,
            _ => &[],
        }
    }

    /// The value given for a key, as Go prints it.
    pub(crate) fn given(&self, key: &str) -> Option<String> {
        let number = self.mtu.filter(|_| key == "mtu");
        self.text(key)
            .cloned()
            .or_else(|| self.switch(key).map(|on| on.to_string()))
            .or_else(|| go_list(self.list(key)))
            .or_else(|| number.map(|mtu| mtu.to_string()))
    }
}
