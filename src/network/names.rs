//! Names on networks of the user, seen from the daemon: one process answers for all containers, at
//! 127.0.0.11 in each of their namespaces, as Docker's does. It outlives the daemon; the daemon tells
//! it everything anew at each change, and hears which ports it has in a container's namespace.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Shutdown};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Kernel, Networks, failed, firewall};
use crate::errors::ApiError;

/// Name of the hidden subcommand.
pub(crate) const COMMAND: &str = "name-server";
/// Where containers find it.
pub(crate) const ADDRESS: &str = "127.0.0.11";
/// It answers in milliseconds, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(10);
/// The table of rules in a container's namespace.
const TABLE: &str = "taffrail_names";

/// What the process is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Table {
    /// Names and addresses of each network.
    pub(super) networks: BTreeMap<String, BTreeMap<String, Vec<IpAddr>>>,
    /// The name that an address stands for, by network.
    pub(super) reverse: BTreeMap<String, BTreeMap<IpAddr, String>>,
    /// By the id of their sandbox; none ends the process.
    pub(super) clients: BTreeMap<String, Client>,
    /// Port to answer on; 0: any, as rules lead there.
    pub(super) port: u16,
}

/// A container that asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Client {
    pub(super) namespace: PathBuf,
    pub(super) networks: Vec<String>,
    /// Who answers for other names; empty: the host's servers.
    pub(super) servers: Vec<IpAddr>,
    /// One of its networks leads outside, so that it may ask for other names.
    pub(super) outside: bool,
    /// Names that it alone knows, by network.
    #[serde(default)]
    pub(super) links: BTreeMap<String, BTreeMap<String, Vec<IpAddr>>>,
}

/// What it answers: ports for UDP and TCP, by sandbox.
pub(super) type Ports = HashMap<String, (u16, u16)>;

/// The process, and what was set up for it.
#[derive(Debug, Default)]
pub(super) struct Names {
    child: Option<Child>,
    told: Option<Table>,
    /// Sandboxes whose rules lead to it, with its ports.
    led: Ports,
}

impl Networks {
    /// Tells the name server of everything; it has understood when this returns.
    pub(super) fn tell_names(&self, kernel: &mut Kernel) -> Result<(), ApiError> {
        let table = self.names_table();
        if kernel.names.told.as_ref() == Some(&table) {
            return Ok(());
        }
        if kernel.names.told.is_none() && table.clients.is_empty() && self.reach_names().is_err() {
            return Ok(());
        }
        let what = "names of the network cannot be served";
        let ports = self
            .ask_names(kernel, &table)
            .map_err(|error| failed(what, &error))?;
        if table.clients.is_empty() {
            if let Some(mut child) = kernel.names.child.take() {
                let _ = child.wait();
            }
            let _ = std::fs::remove_file(self.names_socket());
        }
        if self.settings.rules {
            for (sandbox, client) in &table.clients {
                let Some(at) = ports.get(sandbox) else {
                    continue;
                };
                if kernel.names.led.get(sandbox) != Some(at) {
                    firewall::run_inside(&client.namespace, &script(*at))
                        .map_err(|error| failed(what, &error))?;
                }
            }
        }
        kernel.names.led = ports;
        kernel.names.told = Some(table);
        Ok(())
    }

    fn names_table(&self) -> Table {
        let state = self.state();
        let mut table = Table {
            port: if self.settings.rules { 0 } else { 53 },
            ..Table::default()
        };
        for sandbox in state.sandboxes.values() {
            let mut client = Client {
                namespace: self.namespace(&sandbox.container),
                networks: Vec::new(),
                servers: match sandbox.servers.as_slice() {
                    [] => self.settings.dns.clone(),
                    servers => servers.to_vec(),
                },
                outside: state.way_out(sandbox).is_some(),
                links: BTreeMap::new(),
            };
            for endpoint in &sandbox.endpoints {
                let Some(network) = state.network(&endpoint.network).filter(|n| n.is_user()) else {
                    continue;
                };
                client.networks.push(network.id.clone());
                let reverse = table.reverse.entry(network.id.clone()).or_default();
                let four = endpoint.ipv4.map(|net| IpAddr::from(net.addr()));
                let six = endpoint.ipv6.map(|net| IpAddr::from(net.addr()));
                for ip in four.into_iter().chain(six) {
                    reverse.insert(ip, format!("{}.{}", sandbox.name, network.name));
                }
                let names = table.networks.entry(network.id.clone()).or_default();
                for name in &endpoint.names {
                    // Also with the network's name behind, as reverse lookups say it.
                    for name in [name.clone(), format!("{name}.{}", network.name)] {
                        let addresses = names.entry(name.to_ascii_lowercase()).or_default();
                        addresses.extend(four.into_iter().chain(six));
                    }
                }
            }
            if !client.networks.is_empty() {
                table.clients.insert(sandbox.id.clone(), client);
            }
        }
        // Once all names are known.
        for sandbox in state.sandboxes.values() {
            let Some(client) = table.clients.get_mut(&sandbox.id) else {
                continue;
            };
            for endpoint in &sandbox.endpoints {
                let Some(names) = table.networks.get(&endpoint.network) else {
                    continue;
                };
                for (alias, name) in &endpoint.links {
                    if let Some(addresses) = names.get(&name.to_ascii_lowercase()) {
                        let own = client.links.entry(endpoint.network.clone()).or_default();
                        own.insert(alias.to_ascii_lowercase(), addresses.clone());
                    }
                }
            }
        }
        table
    }

    fn names_socket(&self) -> PathBuf {
        self.run.join("names.sock")
    }

    fn reach_names(&self) -> io::Result<UnixStream> {
        let stream = UnixStream::connect(self.names_socket())?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    /// Hands a table over and reads the answer; starts the process if it is not there.
    fn ask_names(&self, kernel: &mut Kernel, table: &Table) -> io::Result<Ports> {
        let mut stream = match self.reach_names() {
            Ok(stream) => stream,
            Err(_) => {
                self.start_names(kernel)?;
                self.reach_names()?
            }
        };
        stream.write_all(&serde_json::to_vec(table)?)?;
        stream.shutdown(Shutdown::Write)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let answer: Result<Ports, String> = serde_json::from_slice(&answer)?;
        answer.map_err(io::Error::other)
    }

    fn start_names(&self, kernel: &mut Kernel) -> io::Result<()> {
        if let Some(mut child) = kernel.names.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        kernel.names.led.clear();
        let path = self.names_socket();
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // Its socket is there before it runs, so that nobody waits for it.
        let listener = UnixListener::bind(&path)?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg(COMMAND)
            .arg(&self.run)
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/");
        // SAFETY: one call that may be made between fork and exec.
        unsafe {
            command.pre_exec(|| {
                // A signal to the daemon's group is not for it.
                libc::setsid();
                Ok(())
            });
        }
        kernel.names.child = Some(command.spawn()?);
        Ok(())
    }
}

/// Rules that lead questions to the process' ports: the container may have a server of its own on
/// port 53.
fn script((udp, tcp): (u16, u16)) -> String {
    format!(
        "add table ip {TABLE}\nflush table ip {TABLE}\ntable ip {TABLE} {{\nchain output {{\n\
         type nat hook output priority -100; policy accept;\n\
         ip daddr {ADDRESS} udp dport 53 dnat to {ADDRESS}:{udp}\n\
         ip daddr {ADDRESS} tcp dport 53 dnat to {ADDRESS}:{tcp}\n}}\n}}\n"
    )
}
