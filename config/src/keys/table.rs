//! The table of keys.

use super::{Key, Kind, Meaning, Used};

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

/// An own key's entry; the rest by [`Entry::live`] and so on.
const fn used(
    name: &'static str,
    kind: Kind,
    flag: &'static str,
    default: &'static str,
    text: &'static str,
) -> Entry {
    Entry {
        name,
        kind,
        used: Used {
            live: false,
            value: "",
            default,
            note: "",
            text,
            flag,
            choice: &[],
        },
    }
}

struct Entry {
    name: &'static str,
    kind: Kind,
    used: Used,
}

impl Entry {
    const fn live(mut self) -> Self {
        self.used.live = true;
        self
    }
    const fn value(mut self, value: &'static str) -> Self {
        self.used.value = value;
        self
    }
    const fn note(mut self, note: &'static str) -> Self {
        self.used.note = note;
        self
    }
    const fn choice(mut self, choice: &'static [&'static str]) -> Self {
        self.used.choice = choice;
        self
    }
    const fn key(self) -> Key {
        Key {
            name: self.name,
            kind: self.kind,
            meaning: Meaning::Used(self.used),
        }
    }
}

const CONTAINERD: &str = "there is no containerd beside Taffrail";
const NETWORK: &str = "networks here have nothing like it";
const PROXY: &str = "set HTTP_PROXY, HTTPS_PROXY and NO_PROXY in the daemon's environment";
const DEFAULT: &str = "not built in this version; set it for each container";

/// The whole table.
pub const KEYS: &[Key] = &[
    used("log-driver", Kind::Str, "--log-driver", "\"json-file\"", "driver of containers that name none")
        .live()
        .key(),
    used(
        "log-opts",
        Kind::Options,
        "--log-opt k=v",
        "{}",
        "options for containers with that driver, see [drivers](drivers/)",
    )
    .live()
    .value("object of strings; numbers and booleans are taken as strings")
    .key(),
    used(
        "log-drivers",
        Kind::OptionSets,
        "",
        "{}",
        "Taffrail's own: options by driver, for containers with that driver whether it is the default or not. A container's own options win \
         over these, these over `log-opts`",
    )
    .live()
    .value("object: driver name to an object as in `log-opts`")
    .key(),
    used(
        "log-spool-size",
        Kind::Str,
        "--log-spool-size",
        "\"4g\"",
        "Taffrail's own: disk space for log files past their own retention that a follower or receiver still has to read, of all containers \
         together; of one: the log option `max-spool-size`",
    )
    .live()
    .value("size with binary units (4g = 4,294,967,296 bytes)")
    .key(),
    used(
        "log-streams",
        Kind::Strings,
        "",
        "[]",
        "Taffrail's own: streams beside stdout and stderr that every container's log has, see [logs](logs.md); of one container: the label \
         `taffrail.log-streams`",
    )
    .live()
    .value("list of `exec` `health` `events`")
    .key(),
    used(
        "webhook",
        Kind::Object,
        "",
        "",
        "Taffrail's own: where to post that a container failed, was killed for want of memory or is unhealthy, see [last words](last-words.md)",
    )
    .live()
    .value("object: `url` (a string or a list), `events` (`die` `oom` `unhealthy`), `headers`, `tls-ca`")
    .note("none")
    .key(),
    used("log-level", Kind::Str, "-l, --log-level", "\"info\"", "level of the daemon's own log")
        .live()
        .value("`trace` `debug` `info` `warn` `error` `fatal` `panic`")
        .key(),
    used("log-format", Kind::Str, "--log-format", "\"text\"", "form of the daemon's own log")
        .choice(&["text", "json"])
        .key(),
    used("raw-logs", Kind::Bool, "--raw-logs", "false", "no colours in the daemon's own log").key(),
    used("debug", Kind::Bool, "-D, --debug", "false", "at least level `debug`")
        .live()
        .key(),
    used(
        "live-restore",
        Kind::Bool,
        "--live-restore",
        "true",
        "containers go on while the daemon is down",
    )
    .live()
    .note("Docker: `false`")
    .key(),
    used("data-root", Kind::Str, "--data-root", "\"/var/lib/taffrail\"", "images, containers, logs")
        .value("absolute path")
        .key(),
    used("exec-root", Kind::Str, "--exec-root", "\"/run/taffrail\"", "sockets, process ids, bundles")
        .value("absolute path")
        .key(),
    used("pidfile", Kind::Str, "-p, --pidfile", "", "the daemon's process id")
        .value("absolute path")
        .note("`taffrail.pid` in the exec root")
        .key(),
    used(
        "hosts",
        Kind::Strings,
        "-H, --host",
        "",
        "where the API listens: `unix:///path`, `tcp://host:port`, `fd://` (sockets that the service manager hands over), see [tls](tls.md)",
    )
    .note("`unix://` with `docker.sock` in the exec root; with TLS `tcp://localhost:2376`")
    .key(),
    used("group", Kind::Str, "-G, --group", "", "group of the unix sockets")
        .note("`docker` if there is such a group, else root's")
        .key(),
    used(
        "bridge",
        Kind::Str,
        "-b, --bridge",
        "",
        "`none`: containers that name no network have loopback only. Another name: an existing bridge that is the default network, see \
         [networks](networks.md)",
    )
    .note("the daemon's own bridge, `taffrail0`")
    .key(),
    used(
        "bip",
        Kind::Str,
        "--bip",
        "",
        "address of the default bridge with its prefix length: `10.1.0.1/24`",
    )
    .note("a subnet that nothing on the host uses")
    .key(),
    used(
        "fixed-cidr",
        Kind::Str,
        "--fixed-cidr",
        "",
        "part of the default network's subnet that containers get addresses from",
    )
    .key(),
    used(
        "fixed-cidr-v6",
        Kind::Str,
        "--fixed-cidr-v6",
        "",
        "IPv6 subnet of the default network; turns `ipv6` on",
    )
    .key(),
    used(
        "default-gateway",
        Kind::Str,
        "--default-gateway",
        "",
        "gateway of containers on the default network, if it is not the bridge",
    )
    .key(),
    used(
        "default-gateway-v6",
        Kind::Str,
        "--default-gateway-v6",
        "",
        "the same for IPv6",
    )
    .key(),
    used(
        "icc",
        Kind::Bool,
        "--icc",
        "true",
        "containers on the default network reach one another",
    )
    .key(),
    used(
        "ip",
        Kind::Str,
        "--ip",
        "",
        "host address of published ports that name none",
    )
    .note("all addresses")
    .key(),
    used(
        "ip-forward",
        Kind::Bool,
        "--ip-forward",
        "true",
        "the daemon turns on the kernel's forwarding where a network needs it",
    )
    .key(),
    used(
        "ip-masq",
        Kind::Bool,
        "--ip-masq",
        "true",
        "connections from the default network to others have the host's address",
    )
    .key(),
    used(
        "iptables",
        Kind::Bool,
        "--iptables",
        "true",
        "the daemon sets packet filter rules, in a table of its own (nftables); without them nothing is masqueraded or kept apart, and ports are published by the proxy alone",
    )
    .key(),
    used(
        "ip6tables",
        Kind::Bool,
        "--ip6tables",
        "true",
        "the same for IPv6",
    )
    .key(),
    used(
        "ipv6",
        Kind::Bool,
        "--ipv6",
        "false",
        "the default network has IPv6 as well",
    )
    .key(),
    used(
        "mtu",
        Kind::Int,
        "--mtu",
        "1500",
        "largest frame on the default network",
    )
    .key(),
    used(
        "userland-proxy",
        Kind::Bool,
        "--userland-proxy",
        "true",
        "a process for each container with published ports answers on loopback; without it the ports are held only, and IPv6 loopback is not served",
    )
    .key(),
    used(
        "default-address-pools",
        Kind::Objects,
        "--default-address-pool base=range,size=bits",
        "",
        "ranges that networks get their subnets from",
    )
    .value("list of objects: `base` (a range) and `size` (prefix length of a subnet)")
    .note("10.212.0.0/14, 172.16.0.0/12 (/20 each), 192.168.0.0/16 (/24 each); an own fd00::/8 /48 for IPv6")
    .key(),
    used(
        "default-network-opts",
        Kind::OptionSets,
        "",
        "{}",
        "options of new networks that do not set them, by driver (`bridge` alone)",
    )
    .value("object: `bridge` to an object of options")
    .key(),
    used(
        "dns",
        Kind::Strings,
        "--dns",
        "[]",
        "name servers of containers that name none",
    )
    .note("the host's")
    .key(),
    used(
        "dns-opts",
        Kind::Strings,
        "--dns-opt",
        "[]",
        "options for `resolv.conf` of containers that name none",
    )
    .key(),
    used(
        "dns-search",
        Kind::Strings,
        "--dns-search",
        "[]",
        "search domains of containers that name none",
    )
    .key(),
    used(
        "host-gateway-ip",
        Kind::Str,
        "--host-gateway-ip",
        "",
        "what `host-gateway` in `--add-host` means",
    )
    .note("the gateway of the container's network")
    .key(),
    used(
        "host-gateway-ips",
        Kind::Strings,
        "",
        "[]",
        "the same, for both families",
    )
    .key(),
    used(
        "default-ipc-mode",
        Kind::Str,
        "--default-ipc-mode",
        "\"private\"",
        "IPC namespace of containers that name none",
    )
    .live()
    .choice(&["private", "shareable"])
    .key(),
    used(
        "default-cgroupns-mode",
        Kind::Str,
        "--default-cgroupns-mode",
        "",
        "control group namespace of containers that name none; privileged ones have the host's on version 1",
    )
    .live()
    .choice(&["host", "private"])
    .note("`private` on control groups version 2, else `host`")
    .key(),
    used(
        "cdi-spec-dirs",
        Kind::Strings,
        "",
        "[\"/etc/cdi\", \"/var/run/cdi\"]",
        "folders with the files of the Container Device Interface; a later one wins. An empty list turns such devices off",
    )
    .live()
    .value("list of absolute paths")
    .key(),
    used("tls", Kind::Bool, "--tls", "false", "TLS on `tcp://` hosts; implies `tlsverify` unless that is set").key(),
    used(
        "tlsverify",
        Kind::Bool,
        "--tlsverify",
        "",
        "ask clients for a certificate of `tlscacert`'s. Given at all, even as `false`, it turns TLS on",
    )
    .note("as `tls`")
    .key(),
    used("tlscacert", Kind::Str, "--tlscacert", "", "certificates that clients' ones are checked against (PEM)")
        .value("absolute path")
        .note("none")
        .key(),
    used("tlscert", Kind::Str, "--tlscert", "", "the daemon's certificate, with those between it and the root (PEM)")
        .value("absolute path")
        .note("none")
        .key(),
    used("tlskey", Kind::Str, "--tlskey", "", "its private key (PEM)")
        .value("absolute path")
        .note("none")
        .key(),
    used(
        "metrics-addr",
        Kind::Str,
        "--metrics-addr",
        "",
        "where `/metrics` is served for Prometheus, see [metrics](metrics.md)",
    )
    .value("`host:port`")
    .note("off")
    .key(),
    used("labels", Kind::Strings, "--label", "[]", "the daemon's labels, shown by `info`")
        .live()
        .value("list of `key=value`")
        .key(),
    used(
        "default-runtime",
        Kind::Str,
        "--default-runtime",
        "\"runc\"",
        "name of the runtime of containers that name none",
    )
    .live()
    .key(),
    used("runtimes", Kind::Object, "--add-runtime name=path", "", "OCI runtimes")
        .live()
        .value("object: name to `{\"path\", \"runtimeArgs\"}`")
        .note("`runc` from `PATH`")
        .key(),
    used(
        "shutdown-timeout",
        Kind::Int,
        "--shutdown-timeout",
        "15",
        "time for all containers to stop when the daemon stops with `live-restore` off",
    )
    .live()
    .value("seconds, -1: no limit")
    .key(),
    used(
        "default-stop-timeout",
        Kind::Int,
        "--default-stop-timeout",
        "10",
        "time between stop signal and SIGKILL",
    )
    .live()
    .value("seconds, -1: no limit")
    .key(),
    used(
        "default-ulimits",
        Kind::Object,
        "--default-ulimit name=soft:hard",
        "{}",
        "limits of containers that set none",
    )
    .live()
    .value("object: name to `{\"Soft\", \"Hard\"}`, -1: unlimited")
    .key(),
    used(
        "registry-mirrors",
        Kind::Strings,
        "--registry-mirror",
        "[]",
        "asked, in this order, before Docker Hub when an image of it is pulled, see [registries](registries.md)",
    )
    .live()
    .value("list of `https://` or `http://` URLs")
    .key(),
    used(
        "insecure-registries",
        Kind::Strings,
        "--insecure-registry",
        "[]",
        "registries that may speak plain HTTP or show any certificate",
    )
    .live()
    .value("list of `host`, `host:port` or `address/prefix`")
    .note("loopback (127.0.0.0/8 and ::1) always is")
    .key(),
    used(
        "max-concurrent-downloads",
        Kind::Int,
        "--max-concurrent-downloads",
        "3",
        "layers that are fetched at a time, of all pulls together",
    )
    .live()
    .value("1 to 64, 0: the default")
    .key(),
    used(
        "max-concurrent-uploads",
        Kind::Int,
        "--max-concurrent-uploads",
        "5",
        "layers that are sent at a time, of all pushes together",
    )
    .live()
    .value("1 to 64, 0: the default")
    .key(),
    used(
        "max-download-attempts",
        Kind::Int,
        "--max-download-attempts",
        "5",
        "attempts for a layer; one goes on where the last was cut",
    )
    .live()
    .value("1 to 100, 0: the default")
    .key(),
    accepted(
        "exec-opts",
        Kind::Strings,
        "cgroups are driven directly, the cgroup driver cannot be chosen",
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
    accepted("bridge-accept-fwmark", Kind::Str, NETWORK),
    accepted("bip6", Kind::Str, NETWORK),
    accepted("ip-forward-no-drop", Kind::Bool, NETWORK),
    accepted("userland-proxy-path", Kind::Str, NETWORK),
    accepted("allow-direct-routing", Kind::Bool, NETWORK),
    accepted("firewall-backend", Kind::Str, NETWORK),
    accepted("network-control-plane-mtu", Kind::Int, NETWORK),
    accepted("network-diagnostic-port", Kind::Int, NETWORK),
    accepted(
        "rootless",
        Kind::Bool,
        "rootless operation is not built in this version",
    ),
    accepted("proxies", Kind::Object, PROXY),
    accepted("http-proxy", Kind::Str, PROXY),
    accepted("https-proxy", Kind::Str, PROXY),
    accepted("no-proxy", Kind::Str, PROXY),
    accepted(
        "allow-nondistributable-artifacts",
        Kind::Strings,
        "layers that may not be distributed are neither pulled nor pushed",
    ),
    accepted(
        "authorization-plugins",
        Kind::Strings,
        "authorization plugins are not built; who may open the socket may do everything",
    ),
    accepted("nri-opts", Kind::Object, CONTAINERD),
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
    accepted(
        "api-cors-header",
        Kind::Str,
        "the API sends no CORS headers",
    ),
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
