//! Packet filters of others: a host whose iptables drop what is forwarded unless a rule allows it
//! (Docker Engine and firewalls set it so) would drop our containers' packets, too, whatever our own
//! table says. Where it is so, each of our bridges gets rules there, marked as ours.

use std::io;
use std::process::{Command, Stdio};

use super::Networks;

/// Where Docker Engine has others' rules; it keeps them.
const DOCKER_USER: &str = "DOCKER-USER";

impl Networks {
    /// Allows a bridge's packets where others would drop them. Failures are said in the log: it is
    /// their filter.
    pub(super) fn allow(&self, interface: &str) {
        for program in self.programs() {
            let Ok(rules) = list(program) else { continue };
            if !rules.lines().any(|line| line == "-P FORWARD DROP") {
                continue;
            }
            let docker = rules.lines().any(|line| line == "-N DOCKER-USER");
            let chain = if docker { DOCKER_USER } else { "FORWARD" };
            for rule in self.allowed(interface) {
                let there = command(program, "-C", chain, &rule).is_ok();
                if !there && let Err(error) = command(program, "-I", chain, &rule) {
                    tracing::warn!(interface, program, %error, "the host's packet filter drops what is forwarded, and cannot be told to let the network pass");
                }
            }
        }
    }

    /// Removes a bridge's rules from others' filters.
    pub(super) fn disallow(&self, interface: &str) {
        for program in self.programs() {
            let Ok(rules) = list(program) else { continue };
            if !rules.contains(&self.comment()) {
                continue;
            }
            for rule in self.allowed(interface) {
                for chain in [DOCKER_USER, "FORWARD"] {
                    // It is in one of them at most.
                    let _ = command(program, "-D", chain, &rule);
                }
            }
        }
    }

    fn programs(&self) -> Vec<&'static str> {
        let mut programs = Vec::new();
        if self.settings.rules {
            programs.push("iptables");
            if self.settings.rules_v6 {
                programs.push("ip6tables");
            }
        }
        programs
    }

    fn comment(&self) -> String {
        format!("taffrail-{}", self.tag)
    }

    fn allowed(&self, interface: &str) -> Vec<Vec<String>> {
        let words = |text: &str| -> Vec<String> {
            let rule = format!("{text} -m comment --comment {} -j ACCEPT", self.comment());
            rule.split(' ').map(str::to_owned).collect()
        };
        vec![
            words(&format!("-i {interface}")),
            words(&format!(
                "-o {interface} -m conntrack --ctstate RELATED,ESTABLISHED"
            )),
            words(&format!("-o {interface} -m conntrack --ctstate DNAT")),
        ]
    }
}

fn list(program: &str) -> io::Result<String> {
    let output = Command::new(program)
        .arg("-S")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn command(program: &str, verb: &str, chain: &str, rule: &[String]) -> io::Result<()> {
    let output = Command::new(program)
        .args(["-w", "5", verb, chain])
        .args(rule)
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(said.trim().to_owned()))
}
