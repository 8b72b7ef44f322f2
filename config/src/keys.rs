//! All keys of daemon.json: which mean something here, which are only accepted, which are gone.

/// Shape of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// string
    Str,
    /// boolean
    Bool,
    /// whole number
    Int,
    /// list of strings
    Strings,
    /// object
    Object,
    /// object of strings; numbers and booleans are taken as strings
    Options,
    /// list of objects
    Objects,
}

impl Kind {
    /// Name in error messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Str => "a string",
            Self::Bool => "a boolean",
            Self::Int => "a whole number",
            Self::Strings => "a list of strings",
            Self::Object => "an object",
            Self::Options => "an object of strings",
            Self::Objects => "a list of objects",
        }
    }
    /// A value of that shape, as it would be written.
    pub(crate) fn example(self) -> &'static str {
        match self {
            Self::Str => "\"...\"",
            Self::Bool => "true or false",
            Self::Int => "10",
            Self::Strings => "[\"...\"]",
            Self::Object => "{ ... }",
            Self::Options => "{\"max-size\": \"10m\"}",
            Self::Objects => "[{ ... }]",
        }
    }
}

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Meaning {
    /// It has its meaning; `live`: a reload applies it.
    Used {
        /// whether SIGHUP applies it
        live: bool,
    },
    /// Docker knows it; accepted with one warning that gives the reason.
    Accepted(&'static str),
    /// Docker no longer knows it; refused with what to do.
    Retired(&'static str),
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// as in the file
    pub name: &'static str,
    /// shape of the value
    pub kind: Kind,
    /// what it does
    pub meaning: Meaning,
}

const fn used(name: &'static str, kind: Kind) -> Key {
    Key {
        name,
        kind,
        meaning: Meaning::Used { live: false },
    }
}

const fn live(name: &'static str, kind: Kind) -> Key {
    Key {
        name,
        kind,
        meaning: Meaning::Used { live: true },
    }
}

const fn accepted(name: &'static str, kind: Kind, reason: &'static str) -> Key {
    Key {
        name,
        kind,
        meaning: Meaning::Accepted(reason),
    }
}

const fn retired(name: &'static str, successor: &'static str) -> Key {
    Key {
        name,
        kind: Kind::Str,
        meaning: Meaning::Retired(successor),
    }
}

const TCP: &str = "the API listens on unix sockets only in this version";
const CONTAINERD: &str = "there is no containerd beside Taffrail";
const NETWORK: &str = "container networks are not built in this version";
const REGISTRY: &str = "images are loaded or imported in this version, not pulled";
const DEFAULT: &str = "not built in this version; set it for each container";

/// The whole table.
pub const KEYS: &[Key] = &[
    live("log-driver", Kind::Str),
    live("log-opts", Kind::Options),
    live("log-level", Kind::Str),
    used("log-format", Kind::Str),
    used("raw-logs", Kind::Bool),
    live("debug", Kind::Bool),
    live("live-restore", Kind::Bool),
    used("data-root", Kind::Str),
    used("exec-root", Kind::Str),
    used("pidfile", Kind::Str),
    used("hosts", Kind::Strings),
    used("group", Kind::Str),
    live("labels", Kind::Strings),
    live("default-runtime", Kind::Str),
    live("runtimes", Kind::Object),
    live("shutdown-timeout", Kind::Int),
    live("default-stop-timeout", Kind::Int),
    live("default-ulimits", Kind::Object),
    accepted("tls", Kind::Bool, TCP),
    accepted("tlsverify", Kind::Bool, TCP),
    accepted("tlscacert", Kind::Str, TCP),
    accepted("tlscert", Kind::Str, TCP),
    accepted("tlskey", Kind::Str, TCP),
    accepted(
        "exec-opts",
        Kind::Strings,
        "cgroups are driven directly, the cgroup driver cannot be chosen",
    ),
    accepted(
        "metrics-addr",
        Kind::Str,
        "metrics are not built in this version",
    ),
    accepted("init", Kind::Bool, DEFAULT),
    accepted("init-path", Kind::Str, DEFAULT),
    accepted("containerd", Kind::Str, CONTAINERD),
    accepted("containerd-namespace", Kind::Str, CONTAINERD),
    accepted("containerd-plugins-namespace", Kind::Str, CONTAINERD),
    accepted("containerd-plugin-namespace", Kind::Str, CONTAINERD),
    accepted("cgroup-parent", Kind::Str, DEFAULT),
    accepted("seccomp-profile", Kind::Str, DEFAULT),
    accepted(
        "selinux-enabled",
        Kind::Bool,
        "SELinux labels are not built in this version",
    ),
    accepted("no-new-privileges", Kind::Bool, DEFAULT),
    accepted(
        "userns-remap",
        Kind::Str,
        "user namespaces are not built in this version",
    ),
    accepted("default-shm-size", Kind::Str, DEFAULT),
    accepted("default-ipc-mode", Kind::Str, DEFAULT),
    accepted("default-cgroupns-mode", Kind::Str, DEFAULT),
    accepted("cpu-rt-runtime", Kind::Int, DEFAULT),
    accepted("cpu-rt-period", Kind::Int, DEFAULT),
    accepted(
        "oom-score-adjust",
        Kind::Int,
        "the daemon's score is left as its starter set it",
    ),
    accepted(
        "features",
        Kind::Object,
        "Docker's feature switches name nothing here",
    ),
    accepted(
        "experimental",
        Kind::Bool,
        "there are no experimental functions to switch",
    ),
    accepted("builder", Kind::Object, "images are not built here"),
    accepted("storage-driver", Kind::Str, "overlayfs is always used"),
    accepted(
        "storage-opts",
        Kind::Strings,
        "overlayfs is always used, without options",
    ),
    accepted("default-address-pools", Kind::Objects, NETWORK),
    accepted("default-network-opts", Kind::Object, NETWORK),
    accepted("bridge", Kind::Str, NETWORK),
    accepted("bridge-accept-fwmark", Kind::Str, NETWORK),
    accepted("bip", Kind::Str, NETWORK),
    accepted("bip6", Kind::Str, NETWORK),
    accepted("fixed-cidr", Kind::Str, NETWORK),
    accepted("fixed-cidr-v6", Kind::Str, NETWORK),
    accepted("default-gateway", Kind::Str, NETWORK),
    accepted("default-gateway-v6", Kind::Str, NETWORK),
    accepted("icc", Kind::Bool, NETWORK),
    accepted("ip", Kind::Str, NETWORK),
    accepted("ip-forward", Kind::Bool, NETWORK),
    accepted("ip-forward-no-drop", Kind::Bool, NETWORK),
    accepted("ip-masq", Kind::Bool, NETWORK),
    accepted("iptables", Kind::Bool, NETWORK),
    accepted("ip6tables", Kind::Bool, NETWORK),
    accepted("ipv6", Kind::Bool, NETWORK),
    accepted("mtu", Kind::Int, NETWORK),
    accepted("userland-proxy", Kind::Bool, NETWORK),
    accepted("userland-proxy-path", Kind::Str, NETWORK),
    accepted("allow-direct-routing", Kind::Bool, NETWORK),
    accepted("firewall-backend", Kind::Str, NETWORK),
    accepted("network-control-plane-mtu", Kind::Int, NETWORK),
    accepted("network-diagnostic-port", Kind::Int, NETWORK),
    accepted("host-gateway-ip", Kind::Str, NETWORK),
    accepted("host-gateway-ips", Kind::Strings, NETWORK),
    accepted(
        "rootless",
        Kind::Bool,
        "rootless operation is not built in this version",
    ),
    accepted("dns", Kind::Strings, DEFAULT),
    accepted("dns-opts", Kind::Strings, DEFAULT),
    accepted("dns-search", Kind::Strings, DEFAULT),
    accepted("proxies", Kind::Object, REGISTRY),
    accepted("http-proxy", Kind::Str, REGISTRY),
    accepted("https-proxy", Kind::Str, REGISTRY),
    accepted("no-proxy", Kind::Str, REGISTRY),
    accepted("max-concurrent-downloads", Kind::Int, REGISTRY),
    accepted("max-concurrent-uploads", Kind::Int, REGISTRY),
    accepted("max-download-attempts", Kind::Int, REGISTRY),
    accepted("insecure-registries", Kind::Strings, REGISTRY),
    accepted("registry-mirrors", Kind::Strings, REGISTRY),
    accepted("allow-nondistributable-artifacts", Kind::Strings, REGISTRY),
    accepted(
        "authorization-plugins",
        Kind::Strings,
        "authorization plugins are not built; who may open the socket may do everything",
    ),
    accepted("nri-opts", Kind::Object, CONTAINERD),
    accepted(
        "cdi-spec-dirs",
        Kind::Strings,
        "CDI devices are not built in this version",
    ),
    accepted(
        "node-generic-resources",
        Kind::Strings,
        "there is no swarm mode",
    ),
    accepted(
        "swarm-default-advertise-addr",
        Kind::Str,
        "there is no swarm mode",
    ),
    accepted("min-api-version", Kind::Str, "the API's versions are fixed"),
    accepted("api-cors-header", Kind::Str, TCP),
    accepted("validate", Kind::Bool, "use the flag --validate"),
    retired("graph", "name the folder with \"data-root\""),
    retired("storage", "overlayfs is always used; remove the line"),
    retired(
        "cluster-store",
        "swarm's external stores are gone; remove the line",
    ),
    retired(
        "cluster-advertise",
        "swarm's external stores are gone; remove the line",
    ),
    retired(
        "cluster-store-opts",
        "swarm's external stores are gone; remove the line",
    ),
    retired(
        "disable-legacy-registry",
        "the old registry protocol is gone; remove the line",
    ),
    retired(
        "deprecated-key-path",
        "the engine has no trust key any more; remove the line",
    ),
];

/// The key of that name.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The candidate most like `name`, if any is near.
pub(crate) fn nearest(
    name: &str,
    candidates: impl Iterator<Item = &'static str>,
) -> Option<&'static str> {
    let name: Vec<char> = name
        .to_lowercase()
        .replace(['_', ' '], "-")
        .chars()
        .take(64)
        .collect();
    candidates
        .map(|candidate| (distance(&name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 3 && *distance * 2 <= candidate.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edits (insert, delete, replace, swap of neighbours) between two words.
fn distance(a: &[char], b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_spelt() {
        for (i, key) in KEYS.iter().enumerate() {
            assert!(
                key.name
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            );
            assert!(
                KEYS[..i].iter().all(|other| other.name != key.name),
                "{}",
                key.name
            );
        }
    }

    #[test]
    fn the_nearest_name() {
        let near = |name| nearest(name, KEYS.iter().map(|key| key.name));
        assert_eq!(near("log-drvier"), Some("log-driver"));
        assert_eq!(near("LogDriver"), Some("log-driver"));
        assert_eq!(near("log_opts"), Some("log-opts"));
        assert_eq!(near("host"), Some("hosts"));
        assert_eq!(near("completely-else"), None);
    }

    /// The reference page has a row for each key that means something and names each of the others.
    #[test]
    fn the_page_names_every_key() {
        let page = include_str!("../../docs/daemon-json.md");
        for key in KEYS {
            let row = format!("| `{}` |", key.name);
            match key.meaning {
                Meaning::Used { live } => {
                    let line = page.lines().find(|line| line.starts_with(&row));
                    let line = line.unwrap_or_else(|| panic!("no row for {}", key.name));
                    assert!(
                        line.ends_with(if live { "| yes |" } else { "| no |" }),
                        "{line}"
                    );
                }
                _ => assert!(page.contains(&format!("`{}`", key.name)), "{}", key.name),
            }
        }
    }
}
