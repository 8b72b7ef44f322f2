//! mount(2) for a volume's options: flags from words, what is left as data (source: `mount` of
//! util-linux, whose words Docker takes).

use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::error::Problem;
use super::options::MountOptions;

/// Arguments of the call.
#[derive(Debug, PartialEq, Eq)]
struct Call {
    device: String,
    kind: String,
    flags: MsFlags,
    data: String,
}

/// Kinds of propagation: set by a call of their own.
const PROPAGATION: MsFlags = MsFlags::MS_SHARED
    .union(MsFlags::MS_PRIVATE)
    .union(MsFlags::MS_SLAVE)
    .union(MsFlags::MS_UNBINDABLE);

/// Mounts what the options say on `target`.
pub(super) fn mount_on(target: &Path, options: &MountOptions) -> Result<(), Problem> {
    let call = call(options, &resolve)?;
    let failed = |source: nix::Error| Problem::Mount {
        what: call.shown(target),
        source: source.into(),
    };
    let plain = call.flags - PROPAGATION;
    let none: Option<&str> = None;
    mount(
        Some(call.device.as_str()),
        target,
        Some(call.kind.as_str()),
        plain,
        Some(call.data.as_str()).filter(|data| !data.is_empty()),
    )
    .map_err(failed)?;
    let more = || {
        let spread = call.flags & (PROPAGATION | MsFlags::MS_REC);
        if call.flags.intersects(PROPAGATION) {
            mount(none, target, none, spread, none)?;
        }
        // The kernel does not look at it while it binds.
        if plain.contains(MsFlags::MS_BIND | MsFlags::MS_RDONLY) {
            mount(none, target, none, plain | MsFlags::MS_REMOUNT, none)?;
        }
        Ok(())
    };
    more().map_err(|error| {
        let _ = umount2(target, MntFlags::MNT_DETACH);
        failed(error)
    })
}

/// Unmounts; containers that still have it keep it in their own namespace.
pub(super) fn unmount(target: &Path) -> io::Result<()> {
    Ok(umount2(target, MntFlags::MNT_DETACH)?)
}

fn resolve(host: &str) -> io::Result<IpAddr> {
    let mut found = (host, 0).to_socket_addrs()?;
    let first = found.next().map(|address| address.ip());
    first.ok_or_else(|| io::Error::other("no address"))
}

/// The call's arguments; the kernel wants `addr=` of network file systems as a number.
fn call(
    options: &MountOptions,
    resolve: &dyn Fn(&str) -> io::Result<IpAddr>,
) -> Result<Call, Problem> {
    if options.device.is_empty() {
        return Err(Problem::NoDevice);
    }
    let mut words: Vec<String> = options
        .o
        .split(',')
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    if matches!(options.kind.as_str(), "nfs" | "nfs4" | "cifs") {
        for word in &mut words {
            let Some(host) = word.strip_prefix("addr=").filter(|host| !host.is_empty()) else {
                continue;
            };
            if host.parse::<IpAddr>().is_ok() {
                continue;
            }
            let host = host.to_owned();
            let address = resolve(&host).map_err(|source| Problem::Address { host, source })?;
            *word = format!("addr={address}");
        }
    }
    let mut flags = MsFlags::empty();
    let mut data: Vec<String> = Vec::new();
    for word in words {
        match flag(&word) {
            Some((true, bits)) => flags |= bits,
            Some((false, bits)) => flags -= bits,
            None => data.push(word),
        }
    }
    Ok(Call {
        device: options.device.clone(),
        kind: options.kind.clone(),
        flags,
        data: data.join(","),
    })
}

/// A word that is a flag: whether it is set or cleared.
fn flag(word: &str) -> Option<(bool, MsFlags)> {
    Some(match word {
        "defaults" => (true, MsFlags::empty()),
        "ro" => (true, MsFlags::MS_RDONLY),
        "rw" => (false, MsFlags::MS_RDONLY),
        "nosuid" => (true, MsFlags::MS_NOSUID),
        "suid" => (false, MsFlags::MS_NOSUID),
        "nodev" => (true, MsFlags::MS_NODEV),
        "dev" => (false, MsFlags::MS_NODEV),
        "noexec" => (true, MsFlags::MS_NOEXEC),
        "exec" => (false, MsFlags::MS_NOEXEC),
        "sync" => (true, MsFlags::MS_SYNCHRONOUS),
        "async" => (false, MsFlags::MS_SYNCHRONOUS),
        "dirsync" => (true, MsFlags::MS_DIRSYNC),
        "remount" => (true, MsFlags::MS_REMOUNT),
        "mand" => (true, MsFlags::MS_MANDLOCK),
        "nomand" => (false, MsFlags::MS_MANDLOCK),
        "noatime" => (true, MsFlags::MS_NOATIME),
        "atime" => (false, MsFlags::MS_NOATIME),
        "nodiratime" => (true, MsFlags::MS_NODIRATIME),
        "diratime" => (false, MsFlags::MS_NODIRATIME),
        "relatime" => (true, MsFlags::MS_RELATIME),
        "norelatime" => (false, MsFlags::MS_RELATIME),
        "strictatime" => (true, MsFlags::MS_STRICTATIME),
        "nostrictatime" => (false, MsFlags::MS_STRICTATIME),
        "bind" => (true, MsFlags::MS_BIND),
        "rbind" => (true, MsFlags::MS_BIND | MsFlags::MS_REC),
        "private" => (true, MsFlags::MS_PRIVATE),
        "rprivate" => (true, MsFlags::MS_PRIVATE | MsFlags::MS_REC),
        "shared" => (true, MsFlags::MS_SHARED),
        "rshared" => (true, MsFlags::MS_SHARED | MsFlags::MS_REC),
        "slave" => (true, MsFlags::MS_SLAVE),
        "rslave" => (true, MsFlags::MS_SLAVE | MsFlags::MS_REC),
        "unbindable" => (true, MsFlags::MS_UNBINDABLE),
        "runbindable" => (true, MsFlags::MS_UNBINDABLE | MsFlags::MS_REC),
        _ => return None,
    })
}

impl Call {
    /// As errors show it (source: `moby/sys/mount`), without a password among the data.
    fn shown(&self, target: &Path) -> String {
        let mut text = format!("{}:{}", self.device, target.display());
        if !self.flags.is_empty() {
            text.push_str(&format!(", flags: {:#x}", self.flags.bits()));
        }
        if !self.data.is_empty() {
            let words: Vec<&str> = self
                .data
                .split(',')
                .map(|word| match word.split_once('=') {
                    Some(("password" | "pass", _)) => "password=****",
                    _ => word,
                })
                .collect();
            text.push_str(&format!(", data: {}", words.join(",")));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(kind: &str, device: &str, o: &str) -> MountOptions {
        MountOptions {
            kind: kind.to_owned(),
            device: device.to_owned(),
            o: o.to_owned(),
        }
    }

    fn nobody(host: &str) -> io::Result<IpAddr> {
        Err(io::Error::other(format!("{host} was asked for")))
    }

    #[test]
    fn nfs_gets_flags_data_and_a_number_for_its_server() {
        let server = |host: &str| {
            assert_eq!(host, "files.example");
            Ok(IpAddr::from([10, 0, 0, 7]))
        };
        let options = options(
            "nfs",
            ":/export/a",
            "addr=files.example,ro,nolock,soft,nosuid,vers=4",
        );
        let call = call(&options, &server).unwrap();
        assert_eq!(call.device, ":/export/a");
        assert_eq!(call.kind, "nfs");
        assert_eq!(call.flags, MsFlags::MS_RDONLY | MsFlags::MS_NOSUID);
        assert_eq!(call.data, "addr=10.0.0.7,nolock,soft,vers=4");
        assert_eq!(
            call.shown(Path::new("/v")),
            ":/export/a:/v, flags: 0x3, data: addr=10.0.0.7,nolock,soft,vers=4"
        );
    }

    #[test]
    fn only_names_are_looked_up_and_only_for_network_file_systems() {
        for (kind, o) in [
            ("nfs", "addr=10.0.0.1"),
            ("nfs4", "addr=fe80::1"),
            ("nfs", "rw"),
            ("ext4", "addr=x"),
        ] {
            call(&options(kind, "d", o), &nobody).unwrap();
        }
        let error = call(&options("cifs", "//h/s", "addr=h"), &nobody).unwrap_err();
        assert_eq!(
            error.to_string(),
            "error resolving passed in network volume address: lookup h: h was asked for"
        );
        assert!(matches!(
            call(&options("nfs", "", ""), &nobody),
            Err(Problem::NoDevice)
        ));
    }

    #[test]
    fn the_last_of_opposites_counts_and_passwords_are_not_shown() {
        let call = call(
            &options("cifs", "//h/s", "ro,user=u,password=p,rw"),
            &nobody,
        )
        .unwrap();
        assert_eq!(call.flags, MsFlags::empty());
        assert_eq!(call.data, "user=u,password=p");
        assert_eq!(
            call.shown(Path::new("/v")),
            "//h/s:/v, data: user=u,password=****"
        );
    }
}
