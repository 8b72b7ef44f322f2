//! Packet filter rules: one nftables table a daemon, which is a function of the networks and
//! published ports alone. Each change replaces its rules in one transaction, so there is never a
//! half of them, and a daemon that comes after a crash has nothing to find out.
//!
//! Rules of other tables stay as they are, and hold, too: a packet that another table drops is
//! dropped.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, setns};

use super::model::{Protocol, Published};

/// A bridge in the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BridgeRules {
    pub(crate) interface: String,
    pub(crate) subnets: Vec<ipnet::IpNet>,
    pub(crate) internal: bool,
    pub(crate) masquerade: bool,
    /// The address that outgoing IPv4 connections have then; `None`: as the kernel chooses.
    pub(crate) source: Option<Ipv4Addr>,
}

/// A published port in the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PortRules {
    pub(crate) interface: String,
    pub(crate) published: Published,
    /// Address of the container, of the same family as the host's.
    pub(crate) target: IpAddr,
}

/// Everything that the rules are made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(crate) bridges: Vec<BridgeRules>,
    pub(crate) ports: Vec<PortRules>,
    /// A process of ours answers on loopback and for a container's own ports.
    pub(crate) proxy: bool,
    pub(crate) ipv6: bool,
}

impl Rules {
    /// The whole table as a script for `nft -f`.
    pub(crate) fn script(&self, table: &str) -> String {
        let mut out = String::new();
        // Adding what is there is no error; what is not there cannot be deleted or flushed.
        let _ = writeln!(out, "add table inet {table}");
        if self.bridges.is_empty() {
            let _ = writeln!(out, "delete table inet {table}");
            return out;
        }
        let _ = writeln!(out, "flush table inet {table}");
        let _ = writeln!(out, "table inet {table} {{");
        self.forward(&mut out);
        self.nat(&mut out);
        out.push_str("}\n");
        out
    }

    fn forward(&self, out: &mut String) {
        out.push_str("chain forward {\ntype filter hook forward priority filter; policy accept;\n");
        if !self.ipv6 {
            out.push_str("meta nfproto ipv6 accept\n");
        }
        for bridge in &self.bridges {
            let name = &bridge.interface;
            // With br_netfilter, frames within a bridge come by here.
            let _ = writeln!(out, "iifname \"{name}\" oifname \"{name}\" accept");
            if bridge.internal {
                let _ = writeln!(out, "iifname \"{name}\" drop\noifname \"{name}\" drop");
            }
        }
        out.push_str("ct state established,related accept\nct status dnat accept\n");
        for bridge in &self.bridges {
            // Between networks, and from outside to what is not published.
            let _ = writeln!(out, "oifname \"{}\" drop", bridge.interface);
        }
        out.push_str("}\n");
    }

    fn nat(&self, out: &mut String) {
        out.push_str("chain published {\n");
        for port in &self.ports {
            if port.target.is_ipv6() && !self.ipv6 {
                continue;
            }
            let Published {
                protocol,
                port: inside,
                host_ip,
                host_port,
            } = port.published;
            let family = if port.target.is_ipv6() { "ip6" } else { "ip" };
            if self.proxy && protocol != Protocol::Sctp {
                // From the same bridge the answer would not come back by here.
                let _ = write!(out, "iifname != \"{}\" ", port.interface);
            }
            if host_ip.is_unspecified() {
                let nfproto = if port.target.is_ipv6() {
                    "ipv6"
                } else {
                    "ipv4"
                };
                let _ = write!(out, "meta nfproto {nfproto} ");
            } else {
                let _ = write!(out, "{family} daddr {host_ip} ");
            }
            let to = match port.target {
                IpAddr::V4(ip) => format!("{ip}:{inside}"),
                IpAddr::V6(ip) => format!("[{ip}]:{inside}"),
            };
            let _ = writeln!(
                out,
                "{} dport {host_port} dnat {family} to {to}",
                protocol.as_str()
            );
        }
        out.push_str("}\n");
        out.push_str(
            "chain prerouting {\ntype nat hook prerouting priority dstnat; policy accept;\n\
             fib daddr type local jump published\n}\n",
        );
        // The kernel does not send what comes from loopback to another interface, unless told to.
        let loopback = if self.proxy {
            "ip daddr 127.0.0.0/8 return\nip6 daddr ::1 return\n"
        } else {
            "ip6 daddr ::1 return\n"
        };
        let _ = write!(
            out,
            "chain output {{\ntype nat hook output priority -100; policy accept;\n{loopback}\
             fib daddr type local jump published\n}}\n"
        );
        out.push_str(
            "chain postrouting {\ntype nat hook postrouting priority srcnat; policy accept;\n",
        );
        for bridge in &self.bridges {
            let name = &bridge.interface;
            for subnet in &bridge.subnets {
                let family = match subnet {
                    ipnet::IpNet::V4(_) => "ip",
                    ipnet::IpNet::V6(_) if self.ipv6 => "ip6",
                    ipnet::IpNet::V6(_) => continue,
                };
                if bridge.masquerade && !bridge.internal {
                    let change = match bridge.source {
                        Some(ip) if subnet.addr().is_ipv4() => format!("snat ip to {ip}"),
                        _ => "masquerade".to_owned(),
                    };
                    let _ = writeln!(
                        out,
                        "{family} saddr {subnet} oifname != \"{name}\" {change}"
                    );
                }
                // A container that calls its own or a neighbour's published port.
                let _ = writeln!(
                    out,
                    "{family} saddr {subnet} oifname \"{name}\" ct status dnat masquerade"
                );
            }
            if !self.proxy {
                let _ = writeln!(out, "ip saddr 127.0.0.0/8 oifname \"{name}\" masquerade");
            }
        }
        out.push_str("}\n");
    }
}

/// Whether `nft` is there.
pub(crate) fn available() -> bool {
    program().is_some()
}

/// Where `nft` lies: also where a daemon's `PATH` may not point.
fn program() -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|dir| dir.join("nft"))
        .find(|path| path.is_file())
}

/// Whether there is a table of this name.
pub(crate) fn exists(table: &str) -> bool {
    program().is_some_and(|nft| {
        Command::new(nft)
            .args(["list", "table", "inet", table])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    })
}

/// Runs a script: all of it or nothing.
///
/// # Errors
/// What `nft` says.
pub(crate) fn run(script: &str) -> io::Result<()> {
    feed(command()?, script)
}

/// Runs a script in another network namespace.
///
/// # Errors
/// The namespace cannot be entered, or what `nft` says.
pub(crate) fn run_inside(namespace: &Path, script: &str) -> io::Result<()> {
    let namespace = std::fs::File::open(namespace)?;
    let mut command = command()?;
    // SAFETY: one system call that may be made between fork and exec; the file is open until then.
    unsafe {
        command.pre_exec(move || Ok(setns(&namespace, CloneFlags::CLONE_NEWNET)?));
    }
    feed(command, script)
}

fn command() -> io::Result<Command> {
    let nft = program();
    let nft = nft.ok_or_else(|| io::Error::other("nft is not installed (package nftables)"))?;
    Ok(Command::new(nft))
}

fn feed(mut command: Command, script: &str) -> io::Result<()> {
    let mut child = command
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(script.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let first = said.lines().next().unwrap_or_default().trim();
    Err(io::Error::other(format!(
        "nft: {first} ({})",
        output.status
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        let bridge = |name: &str, subnet: &str, internal| BridgeRules {
            interface: name.to_owned(),
            subnets: vec![subnet.parse().unwrap()],
            internal,
            masquerade: true,
            source: (name == "br-c").then_some(Ipv4Addr::new(192, 0, 2, 1)),
        };
        Rules {
            bridges: vec![
                bridge("br-a", "10.1.0.0/24", false),
                bridge("br-b", "fd00::/64", true),
                bridge("br-c", "10.2.0.0/24", false),
            ],
            ports: vec![PortRules {
                interface: "br-a".to_owned(),
                published: Published {
                    protocol: Protocol::Tcp,
                    port: 80,
                    host_ip: "0.0.0.0".parse().unwrap(),
                    host_port: 8080,
                },
                target: "10.1.0.2".parse().unwrap(),
            }],
            proxy: true,
            ipv6: true,
        }
    }

    #[test]
    fn the_table_is_whole() {
        let script = rules().script("t");
        for line in [
            "flush table inet t",
            "iifname != \"br-a\" meta nfproto ipv4 tcp dport 8080 dnat ip to 10.1.0.2:80",
            "ip saddr 10.1.0.0/24 oifname != \"br-a\" masquerade",
            "ip saddr 10.2.0.0/24 oifname != \"br-c\" snat ip to 192.0.2.1",
            "iifname \"br-b\" drop",
            "oifname \"br-a\" drop",
        ] {
            assert!(script.contains(line), "{line}\n{script}");
        }
        assert!(
            !script.contains("ip6 saddr fd00::/64 oifname != "),
            "{script}"
        );
    }

    #[test]
    fn nothing_is_left_of_no_networks() {
        let script = Rules::default().script("t");
        assert_eq!(script, "add table inet t\ndelete table inet t\n");
    }
}
