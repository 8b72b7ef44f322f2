//! Addresses: which subnet a new network gets, and which address a container.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::model::Pool;

/// Built-in ranges for IPv4 subnets, each with the prefix length of a subnet. Other engines begin
/// elsewhere (172.17.0.0/16, 10.88.0.0/16).
const RANGES: &[(Ipv4Net, u8)] = &[
    (Ipv4Net::new_assert(Ipv4Addr::new(10, 212, 0, 0), 14), 20),
    (Ipv4Net::new_assert(Ipv4Addr::new(172, 16, 0, 0), 12), 20),
    (Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 0, 0), 16), 24),
];
/// Subnets that are tried in one range before it is given up: a /8 of /64s has no end.
const MAX_TRIES: usize = 65536;
/// Addresses that are tried in one subnet.
const MAX_ADDRESSES: u128 = 1 << 20;

/// Whether two subnets have an address in common.
pub(crate) fn overlap(one: &IpNet, other: &IpNet) -> bool {
    match (one, other) {
        (IpNet::V4(_), IpNet::V4(_)) | (IpNet::V6(_), IpNet::V6(_)) => {
            one.contains(&other.network()) || other.contains(&one.network())
        }
        _ => false,
    }
}

/// The first free IPv4 subnet of `pools`, or of the built-in ranges if there are none for IPv4.
pub(crate) fn free_v4(pools: &[taffrail_config::Pool], taken: &[IpNet]) -> Option<Ipv4Net> {
    let own: Vec<(Ipv4Net, u8)> = pools
        .iter()
        .filter_map(|pool| match pool.base {
            IpNet::V4(base) => Some((base, pool.size)),
            IpNet::V6(_) => None,
        })
        .collect();
    let ranges = if own.is_empty() { RANGES } else { &own[..] };
    ranges.iter().find_map(|(base, size)| {
        let mut subnets = base.subnets(*size).ok()?.take(MAX_TRIES);
        subnets.find(|subnet| is_free(&(*subnet).into(), taken))
    })
}

/// The first free IPv6 subnet of `pools`, or below `site` (a /48 of this daemon's own) if there are
/// none for IPv6.
pub(crate) fn free_v6(
    pools: &[taffrail_config::Pool],
    site: Ipv6Net,
    taken: &[IpNet],
) -> Option<Ipv6Net> {
    let own: Vec<(Ipv6Net, u8)> = pools
        .iter()
        .filter_map(|pool| match pool.base {
            IpNet::V6(base) => Some((base, pool.size)),
            IpNet::V4(_) => None,
        })
        .collect();
    let default = [(site, 64)];
    let ranges = if own.is_empty() { &default } else { &own[..] };
    ranges.iter().find_map(|(base, size)| {
        let mut subnets = base.subnets(*size).ok()?.take(MAX_TRIES);
        subnets.find(|subnet| is_free(&(*subnet).into(), taken))
    })
}

fn is_free(subnet: &IpNet, taken: &[IpNet]) -> bool {
    !taken.iter().any(|other| overlap(subnet, other))
}

/// First address of a subnet that an interface can have.
pub(crate) fn first_address(subnet: &IpNet) -> IpAddr {
    match subnet {
        IpNet::V4(net) if net.prefix_len() >= 31 => net.network().into(),
        IpNet::V4(net) => Ipv4Addr::from(u32::from(net.network()) + 1).into(),
        IpNet::V6(net) if net.prefix_len() >= 127 => net.network().into(),
        IpNet::V6(net) => Ipv6Addr::from(u128::from(net.network()) + 1).into(),
    }
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(four) => u128::from(u32::from(four)),
        IpAddr::V6(six) => six.into(),
    }
}

fn address(number: u128, like: &IpNet) -> IpAddr {
    match like {
        // It is between two addresses of the subnet, so it fits.
        IpNet::V4(_) => Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)).into(),
        IpNet::V6(_) => Ipv6Addr::from(number).into(),
    }
}

/// Addresses that no container gets: the subnet's ends, the gateways, what is reserved by name.
pub(crate) fn is_reserved(pool: &Pool, ip: IpAddr) -> bool {
    let ends = match pool.subnet {
        IpNet::V4(net) => net.prefix_len() < 31 && (ip == net.network() || ip == net.broadcast()),
        IpNet::V6(net) => net.prefix_len() < 127 && ip == net.network(),
    };
    ends || ip == pool.gateway
        || pool.via == Some(ip)
        || pool.auxiliary.values().any(|other| *other == ip)
}

/// The next free address of a pool after `last`, so that an address is not given to another one
/// at once; `None` if there is none.
pub(crate) fn free_address(
    pool: &Pool,
    used: &HashSet<IpAddr>,
    last: Option<IpAddr>,
) -> Option<IpAddr> {
    let range = pool.range.unwrap_or(pool.subnet);
    let first = number(range.network());
    // The last address of an IPv6 net is one like any other.
    let end = number(range.broadcast());
    let size = (end - first).saturating_add(1);
    let start = match last {
        Some(ip) if range.contains(&ip) => (number(ip) - first + 1) % size,
        _ => 0,
    };
    (0..size.min(MAX_ADDRESSES))
        .map(|step| address(first + (start + step) % size, &range))
        .find(|ip| !used.contains(ip) && !is_reserved(pool, *ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(subnet: &str, range: Option<&str>) -> Pool {
        let subnet: IpNet = subnet.parse().unwrap();
        Pool {
            subnet,
            range: range.map(|r| r.parse().unwrap()),
            gateway: first_address(&subnet),
            via: None,
            auxiliary: [("printer".to_owned(), "10.0.0.3".parse().unwrap())].into(),
        }
    }

    #[test]
    fn subnets_do_not_overlap() {
        let taken =
            |list: &[&str]| -> Vec<IpNet> { list.iter().map(|n| n.parse().unwrap()).collect() };
        let free = |list: &[&str]| free_v4(&[], &taken(list)).unwrap().to_string();
        assert_eq!(free(&[]), "10.212.0.0/20");
        assert_eq!(free(&["10.212.3.0/24"]), "10.212.16.0/20");
        assert_eq!(free(&["10.0.0.0/8"]), "172.16.0.0/20");
        assert_eq!(free(&["10.0.0.0/8", "172.16.0.0/12"]), "192.168.0.0/24");
        let own = [taffrail_config::Pool {
            base: "10.9.0.0/23".parse().unwrap(),
            size: 24,
        }];
        let nets = taken(&["10.9.0.0/24"]);
        assert_eq!(free_v4(&own, &nets).unwrap().to_string(), "10.9.1.0/24");
        assert_eq!(free_v4(&own, &taken(&["10.9.0.0/16"])), None);
        let site = "fd00:1:2::/48".parse().unwrap();
        let six = free_v6(&own, site, &taken(&["fd00:1:2::/64"])).unwrap();
        assert_eq!(six.to_string(), "fd00:1:2:1::/64");
    }

    #[test]
    fn addresses_go_round() {
        let pool = pool("10.0.0.0/29", None);
        let ip = |last: u8| IpAddr::from([10, 0, 0, last]);
        let mut used = HashSet::new();
        // .0 and .7 are the ends, .1 the gateway, .3 is reserved.
        assert_eq!(free_address(&pool, &used, None), Some(ip(2)));
        assert_eq!(free_address(&pool, &used, Some(ip(2))), Some(ip(4)));
        assert_eq!(free_address(&pool, &used, Some(ip(6))), Some(ip(2)));
        used.extend([2, 4, 5].map(ip));
        assert_eq!(free_address(&pool, &used, None), Some(ip(6)));
        used.insert(ip(6));
        assert_eq!(free_address(&pool, &used, None), None);
    }

    #[test]
    fn addresses_of_a_range() {
        let pool = pool("10.0.0.0/24", Some("10.0.0.64/30"));
        let used = (64..67).map(|n| IpAddr::from([10, 0, 0, n])).collect();
        let free = free_address(&pool, &used, None).unwrap();
        assert_eq!(free.to_string(), "10.0.0.67");
        let six = Pool {
            auxiliary: std::collections::BTreeMap::new(),
            ..super::tests::pool("fd00::/64", None)
        };
        let free = free_address(&six, &HashSet::new(), None).unwrap();
        assert_eq!(free.to_string(), "fd00::2");
    }
}
