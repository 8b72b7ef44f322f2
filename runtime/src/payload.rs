//! The last steps inside the container, and its program.
//!
//! libcontainer calls this in the container's first process: when all namespaces, mounts and ids are
//! set up (`validate`), and when the container is started (`exec`). Capabilities are dropped here,
//! not in libcontainer, because the system call filter comes after them: until the filter is loaded
//! the process keeps CAP_SYS_ADMIN (loading needs it without no_new_privs), and then gives it up with
//! one system call. So a profile need allow the runtime no more than `capset` and `execve`.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use libcontainer::oci_spec::runtime::{
    Capabilities, Capability, LinuxCapabilities, LinuxDevice, LinuxDeviceType, Spec,
};
use libcontainer::syscall::syscall::create_syscall;
use libcontainer::workload::{
    Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError,
};

use crate::filter::{self, Filter};
use crate::report;

/// What libcontainer does not do.
#[derive(Clone, Debug)]
pub(crate) struct Payload {
    pub(crate) capabilities: LinuxCapabilities,
    pub(crate) no_new_privileges: bool,
    pub(crate) filter: Option<Filter>,
    /// Mounts and the propagation (`MS_*`) that they get.
    pub(crate) propagation: Vec<(CString, libc::c_ulong)>,
    /// Device nodes outside /dev.
    pub(crate) nodes: Vec<LinuxDevice>,
    /// Symbolic links to make, and where they lead.
    pub(crate) links: Vec<(PathBuf, PathBuf)>,
    /// Mounts that get more flags (`MS_*`) where they are, after what is made in them.
    pub(crate) remounts: Vec<(CString, libc::c_ulong)>,
    /// Rows and columns of the terminal.
    pub(crate) console: Option<(u16, u16)>,
    pub(crate) umask: libc::mode_t,
    /// The network namespace is the container's own and new: its loopback interface is down.
    pub(crate) loopback: bool,
    program: OnceCell<CString>,
}

impl Payload {
    pub(crate) fn new(capabilities: LinuxCapabilities) -> Self {
        Self {
            capabilities,
            no_new_privileges: false,
            filter: None,
            propagation: Vec::new(),
            nodes: Vec::new(),
            links: Vec::new(),
            remounts: Vec::new(),
            console: None,
            umask: 0o022,
            loopback: false,
            program: OnceCell::new(),
        }
    }

    /// CAP_SYS_ADMIN is needed for the filter and is not the container's own.
    fn borrows(&self) -> bool {
        self.filter.is_some()
            && !self.no_new_privileges
            && !self
                .capabilities
                .effective()
                .iter()
                .flatten()
                .any(|c| *c == Capability::SysAdmin)
    }

    /// All but the filter and the program itself.
    pub(crate) fn prepare(&self, spec: &Spec) -> Result<(), String> {
        for (path, flags) in &self.propagation {
            // SAFETY: paths end with NUL; the kernel ignores the null pointers for these flags.
            let n = unsafe {
                libc::mount(
                    std::ptr::null(),
                    path.as_ptr(),
                    std::ptr::null(),
                    *flags,
                    std::ptr::null(),
                )
            };
            check(n, || {
                format!("propagation of mount {}", path.to_string_lossy())
            })?;
        }
        for node in &self.nodes {
            make_node(node).map_err(|e| {
                let at = node.path().display();
                format!("linux.devices: {at}: {}", words(&e))
            })?;
        }
        for (path, to) in &self.links {
            std::os::unix::fs::symlink(to, path)
                .map_err(|e| format!("link {}: {}", path.display(), words(&e)))?;
        }
        for (path, flags) in &self.remounts {
            remount(path, *flags)?;
        }
        close_device_folders(spec);
        if self.loopback {
            loopback_up()
                .map_err(|e| format!("bringing up the loopback interface: {}", words(&e)))?;
        }
        if let Some((rows, columns)) = self.console {
            let size = libc::winsize {
                ws_row: rows,
                ws_col: columns,
                ws_xpixel: 0,
                ws_ypixel: 0,
            };
            // SAFETY: the descriptor is the terminal's, and `size` lives through the call.
            check(unsafe { libc::ioctl(0, libc::TIOCSWINSZ, &size) }, || {
                "process.consoleSize".to_owned()
            })?;
        }
        // SAFETY: sets numbers of this process. Rust's standard library ignores SIGPIPE, and what is
        // ignored or blocked stays so in the container's program.
        unsafe {
            libc::umask(self.umask);
            libc::signal(libc::SIGPIPE, libc::SIG_DFL);
            let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
            libc::sigemptyset(none.as_mut_ptr());
            libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
        }
        let mut caps = self.capabilities.clone();
        if self.borrows() {
            let and_admin = |set: &Option<Capabilities>| {
                let mut set = set.clone().unwrap_or_default();
                set.insert(Capability::SysAdmin);
                Some(set)
            };
            let (effective, permitted) = (and_admin(caps.effective()), and_admin(caps.permitted()));
            caps.set_effective(effective).set_permitted(permitted);
        }
        libcontainer::capabilities::drop_privileges(&caps, create_syscall().as_ref())
            .map_err(|e| format!("dropping capabilities: {e}"))?;
        let args = spec.process().as_ref().and_then(|p| p.args().as_ref());
        let name = args.and_then(|a| a.first()).map_or("", String::as_str);
        let env = spec.process().as_ref().and_then(|p| p.env().as_ref());
        let path = env
            .into_iter()
            .flatten()
            .rev()
            .find_map(|e| e.strip_prefix("PATH="))
            .unwrap_or("");
        let program = look_up(name, path)?;
        let _ = self.program.set(program);
        Ok(())
    }

    /// Returns only with an error.
    pub(crate) fn run(&self, spec: &Spec) -> Result<(), String> {
        if let Some(filter) = &self.filter {
            filter::load(filter).map_err(|e| format!("loading the system call filter: {e}"))?;
        }
        if self.borrows() {
            set_capabilities(&self.capabilities).map_err(|e| format!("capset: {e}"))?;
        }
        let program = self.program.get().ok_or("no program")?;
        let args = spec.process().as_ref().and_then(|p| p.args().as_ref());
        let argv: Vec<CString> = args
            .into_iter()
            .flatten()
            .map(|a| CString::new(a.as_str()))
            .collect::<Result<_, _>>()
            .map_err(|_| "process.args has a NUL byte")?;
        let env = spec.process().as_ref().and_then(|p| p.env().as_ref());
        let uid = spec.process().as_ref().map_or(0, |p| p.user().uid());
        let envp: Vec<CString> = environment(env.map_or(&[], Vec::as_slice), uid)
            .into_iter()
            .map(CString::new)
            .collect::<Result<_, _>>()
            .map_err(|_| "process.env has a NUL byte")?;
        let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
            list.iter()
                .map(|s| s.as_ptr())
                .chain([std::ptr::null()])
                .collect()
        };
        // SAFETY: both lists end with NULL and their strings with NUL; they live until the call
        // returns, which it does only with an error.
        unsafe {
            libc::execve(
                program.as_ptr(),
                pointers(&argv).as_ptr(),
                pointers(&envp).as_ptr(),
            );
        }
        Err(format!(
            "exec {}: {}",
            program.to_string_lossy(),
            words(&io::Error::last_os_error())
        ))
    }
}

impl Executor for Payload {
    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        self.prepare(spec).map_err(|words| {
            report::note_final(&words);
            ExecutorValidationError::ArgValidationError(words)
        })
    }

    /// The program gets its environment from `exec`, in the order of the specification.
    fn setup_envs(&self, _: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        Ok(())
    }

    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        // The container is started, nobody waits for words any more: as runc has it, they go to its
        // standard error.
        self.run(spec).map_err(|words| {
            eprintln!("{words}");
            std::process::exit(1)
        })
    }
}

/// As runc: one that is there already stays if it is the same device.
fn make_node(node: &LinuxDevice) -> io::Result<()> {
    let path = node.path();
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let kind = match node.typ() {
        LinuxDeviceType::B => libc::S_IFBLK,
        LinuxDeviceType::P => libc::S_IFIFO,
        LinuxDeviceType::A | LinuxDeviceType::C | LinuxDeviceType::U => libc::S_IFCHR,
    };
    let number = |n: i64| libc::c_uint::try_from(n).map_err(io::Error::other);
    let device = match node.typ() {
        LinuxDeviceType::P => 0,
        _ => libc::makedev(number(node.major())?, number(node.minor())?),
    };
    let mode = node.file_mode().unwrap_or(0o666) & 0o777;
    let c_path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the path ends with NUL.
    if unsafe { libc::mknod(c_path.as_ptr(), kind | mode, device) } < 0 {
        let error = io::Error::last_os_error();
        let there = std::fs::symlink_metadata(path)
            .is_ok_and(|m| m.rdev() == device && m.mode() & libc::S_IFMT == kind);
        if error.kind() != io::ErrorKind::AlreadyExists || !there {
            return Err(error);
        }
    }
    std::os::unix::fs::lchown(path, node.uid(), node.gid())?;
    // The umask does not count.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

/// libcontainer makes the folders of device nodes (`/dev/net`) under an umask of 0; runc's are 0755.
/// Folders that were there keep their modes.
fn close_device_folders(spec: &Spec) {
    let devices = spec.linux().as_ref().and_then(|l| l.devices().clone());
    for device in devices.iter().flatten() {
        let folders = device.path().ancestors().skip(1);
        for folder in folders.take_while(|f| f.starts_with("/dev") && *f != Path::new("/dev")) {
            let open = std::fs::symlink_metadata(folder)
                .is_ok_and(|m| m.is_dir() && m.permissions().mode() & 0o7777 == 0o777);
            if open {
                // It stays as libcontainer made it, if this cannot be.
                let _ = std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755));
            }
        }
    }
}

/// Stands for a HOME that is to be looked up. Without any, libcontainer asks the C library, which
/// may load the container's own modules into this still privileged process.
pub(crate) const HOME_UNSET: &str = "HOME=\u{1}";

/// As runc: the last of several values at the place of the first, and HOME from /etc/passwd.
fn environment(given: &[String], uid: u32) -> Vec<String> {
    let name = |e: &str| e.split_once('=').map(|(name, _)| name.to_owned());
    let mut out: Vec<String> = Vec::with_capacity(given.len());
    for entry in given {
        let Some(key) = name(entry) else { continue };
        let value = if entry == HOME_UNSET {
            let text = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
            format!("HOME={}", home(&text, uid).unwrap_or("/"))
        } else {
            entry.clone()
        };
        match out.iter_mut().find(|e| name(e).as_ref() == Some(&key)) {
            Some(old) => *old = value,
            None => out.push(value),
        }
    }
    out
}

fn home(passwd: &str, uid: u32) -> Option<&str> {
    let line = passwd
        .lines()
        .find(|l| l.split(':').nth(2).and_then(|u| u.parse().ok()) == Some(uid))?;
    line.split(':').nth(5).filter(|h| !h.is_empty())
}

fn check(n: libc::c_int, what: impl FnOnce() -> String) -> Result<(), String> {
    if n < 0 {
        return Err(format!(
            "{}: {}",
            what(),
            words(&io::Error::last_os_error())
        ));
    }
    Ok(())
}

/// `permission denied`, as Go and so Docker has it, without the number.
pub(crate) fn words(e: &io::Error) -> String {
    let text = e.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = text.chars();
    chars
        .next()
        .map(|c| c.to_lowercase().chain(chars).collect())
        .unwrap_or_default()
}

fn loopback_up() -> io::Result<()> {
    let done = |n: libc::c_int| {
        if n < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(n)
        }
    };
    // SAFETY: `request` is plain data, it lives through both calls, and the name that is copied in
    // is shorter than its field; the descriptor is new.
    unsafe {
        let socket = done(libc::socket(
            libc::AF_INET,
            libc::SOCK_DGRAM | libc::SOCK_CLOEXEC,
            0,
        ))?;
        let socket = OwnedFd::from_raw_fd(socket);
        let mut request: libc::ifreq = std::mem::zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(*b"lo") {
            *to = from as libc::c_char;
        }
        done(libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCGIFFLAGS,
            &mut request,
        ))?;
        request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short;
        done(libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCSIFFLAGS,
            &request,
        ))?;
    }
    Ok(())
}

/// Adds flags to those that the mount has.
fn remount(path: &CString, more: libc::c_ulong) -> Result<(), String> {
    let what = || format!("flags of mount {}", path.to_string_lossy());
    let mut stat = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path ends with NUL; `stat` is filled if the call succeeds.
    let flags = unsafe {
        check(libc::statvfs(path.as_ptr(), stat.as_mut_ptr()), what)?;
        stat.assume_init().f_flag
    };
    let kept = [
        (libc::ST_RDONLY, libc::MS_RDONLY),
        (libc::ST_NOSUID, libc::MS_NOSUID),
        (libc::ST_NODEV, libc::MS_NODEV),
        (libc::ST_NOEXEC, libc::MS_NOEXEC),
        (libc::ST_NOATIME, libc::MS_NOATIME),
        (libc::ST_NODIRATIME, libc::MS_NODIRATIME),
        (libc::ST_RELATIME, libc::MS_RELATIME),
    ]
    .iter()
    .filter(|(st, _)| flags & st != 0)
    .fold(0, |all, (_, ms)| all | ms);
    // SAFETY: the path ends with NUL; the kernel ignores the null pointers for these flags.
    let n = unsafe {
        libc::mount(
            std::ptr::null(),
            path.as_ptr(),
            std::ptr::null(),
            kept | more | libc::MS_REMOUNT | libc::MS_BIND,
            std::ptr::null(),
        )
    };
    check(n, what)
}

/// The sets of this process, exactly; bounding and ambient sets stay.
fn set_capabilities(caps: &LinuxCapabilities) -> io::Result<()> {
    let bits = |set: &Option<Capabilities>| {
        set.iter()
            .flatten()
            .fold(0u64, |all, c| all | 1 << number(*c))
    };
    let sets = [caps.effective(), caps.permitted(), caps.inheritable()].map(bits);
    // Version 3, this process.
    let header = [0x2008_0522u32, 0];
    let half = |upper: bool| sets.map(|s| if upper { (s >> 32) as u32 } else { s as u32 });
    let data = [half(false), half(true)];
    // SAFETY: header and data have the layout of version 3 and live through the call.
    let n = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) };
    if n < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// A capability's bit (source: linux/capability.h).
fn number(cap: Capability) -> u32 {
    use Capability as C;
    match cap {
        C::Chown => 0,
        C::DacOverride => 1,
        C::DacReadSearch => 2,
        C::Fowner => 3,
        C::Fsetid => 4,
        C::Kill => 5,
        C::Setgid => 6,
        C::Setuid => 7,
        C::Setpcap => 8,
        C::LinuxImmutable => 9,
        C::NetBindService => 10,
        C::NetBroadcast => 11,
        C::NetAdmin => 12,
        C::NetRaw => 13,
        C::IpcLock => 14,
        C::IpcOwner => 15,
        C::SysModule => 16,
        C::SysRawio => 17,
        C::SysChroot => 18,
        C::SysPtrace => 19,
        C::SysPacct => 20,
        C::SysAdmin => 21,
        C::SysBoot => 22,
        C::SysNice => 23,
        C::SysResource => 24,
        C::SysTime => 25,
        C::SysTtyConfig => 26,
        C::Mknod => 27,
        C::Lease => 28,
        C::AuditWrite => 29,
        C::AuditControl => 30,
        C::Setfcap => 31,
        C::MacOverride => 32,
        C::MacAdmin => 33,
        C::Syslog => 34,
        C::WakeAlarm => 35,
        C::BlockSuspend => 36,
        C::AuditRead => 37,
        C::Perfmon => 38,
        C::Bpf => 39,
        C::CheckpointRestore => 40,
    }
}

/// The program of a name, with the words of Go's `exec.LookPath`, from which Docker's CLI takes its
/// exit code.
fn look_up(name: &str, path: &str) -> Result<CString, String> {
    let executable = |file: &PathBuf| -> Result<(), String> {
        let meta = std::fs::metadata(file)
            .map_err(|e| format!("stat {}: {}", file.display(), words(&e)))?;
        // A folder, too, as with runc 1.1.
        if meta.is_dir() || meta.permissions().mode() & 0o111 == 0 || !may_execute(&meta, file) {
            return Err("permission denied".to_owned());
        }
        Ok(())
    };
    let c_string = |file: PathBuf| {
        CString::new(file.into_os_string().into_vec())
            .map_err(|_| "process.args has a NUL byte".to_owned())
    };
    if name.contains('/') {
        let file = PathBuf::from(name);
        executable(&file).map_err(|e| format!("exec: {name:?}: {e}"))?;
        return c_string(file);
    }
    let mut denied = false;
    if !name.is_empty() {
        for dir in path.split(':') {
            let file = PathBuf::from(if dir.is_empty() { "." } else { dir }).join(name);
            match executable(&file) {
                Ok(()) => return c_string(file),
                Err(e) => denied |= e == "permission denied",
            }
        }
    }
    Err(if denied {
        format!("exec: {name:?}: permission denied")
    } else {
        format!("exec: {name:?}: executable file not found in $PATH")
    })
}

/// What the kernel says, with the ids and capabilities of now.
fn may_execute(meta: &std::fs::Metadata, file: &PathBuf) -> bool {
    let Ok(path) = CString::new(AsRef::<OsStr>::as_ref(file).as_bytes()) else {
        return false;
    };
    // SAFETY: the path ends with NUL.
    let n = unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), libc::X_OK, libc::AT_EACCESS) };
    n == 0 || meta.mode() & 0o111 == 0o111
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_keep_their_order() {
        let given = ["A=1", "B=2", "A=3=4", "nonsense"].map(String::from);
        assert_eq!(environment(&given, 0), ["A=3=4", "B=2"]);
        let passwd = "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000::/srv:\nnone:x:7:7:::\n";
        assert_eq!(home(passwd, 1000), Some("/srv"));
        assert_eq!(home(passwd, 7), None);
        assert_eq!(home(passwd, 8), None);
    }

    #[test]
    fn programs_are_found_as_go_finds_them() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("plain"), "x").unwrap();
        std::fs::write(at("prog"), "x").unwrap();
        std::fs::set_permissions(at("prog"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("/nonexistent:{}", dir.path().display());
        assert_eq!(
            look_up("prog", &path).unwrap().to_str().unwrap(),
            at("prog").to_str().unwrap()
        );
        assert_eq!(
            look_up("nosuch", &path).unwrap_err(),
            "exec: \"nosuch\": executable file not found in $PATH"
        );
        assert_eq!(
            look_up("", &path).unwrap_err(),
            "exec: \"\": executable file not found in $PATH"
        );
        assert_eq!(
            look_up("/nosuch/program", &path).unwrap_err(),
            "exec: \"/nosuch/program\": stat /nosuch/program: no such file or directory"
        );
        let plain = at("plain").display().to_string();
        assert_eq!(
            look_up(&plain, &path).unwrap_err(),
            format!("exec: {plain:?}: permission denied")
        );
        let folder = dir.path().display().to_string();
        assert_eq!(
            look_up(&folder, &path).unwrap_err(),
            format!("exec: {folder:?}: permission denied")
        );
    }
}
