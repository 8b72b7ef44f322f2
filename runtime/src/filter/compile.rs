//! A profile as a BPF program, by libseccomp.
//!
//! The few functions used are declared here, not taken from a binding, so that the build follows
//! from whether the library is there (source: seccomp.h of libseccomp 2.5).

use std::collections::HashSet;
use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsRawFd, FromRawFd};
use std::ptr::NonNull;

use libcontainer::oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompOperator, LinuxSyscall,
};

#[repr(C)]
#[derive(Clone, Copy)]
struct ArgCompare {
    arg: c_uint,
    op: c_int,
    a: u64,
    b: u64,
}

#[repr(C)]
struct Version {
    major: c_uint,
    minor: c_uint,
    micro: c_uint,
}

unsafe extern "C" {
    fn seccomp_version() -> *const Version;
    fn seccomp_init(action: u32) -> *mut c_void;
    fn seccomp_release(ctx: *mut c_void);
    fn seccomp_arch_resolve_name(name: *const c_char) -> u32;
    fn seccomp_arch_native() -> u32;
    fn seccomp_arch_add(ctx: *mut c_void, arch: u32) -> c_int;
    fn seccomp_attr_set(ctx: *mut c_void, attr: c_int, value: u32) -> c_int;
    fn seccomp_syscall_resolve_name(name: *const c_char) -> c_int;
    fn seccomp_syscall_resolve_name_arch(arch: u32, name: *const c_char) -> c_int;
    fn seccomp_rule_add_array(
        ctx: *mut c_void,
        action: u32,
        syscall: c_int,
        count: c_uint,
        args: *const ArgCompare,
    ) -> c_int;
    fn seccomp_export_bpf(ctx: *const c_void, fd: c_int) -> c_int;
}

const NR_ERROR: c_int = -1;
const ATTR_CTL_NNP: c_int = 3;
const ATTR_CTL_OPTIMIZE: c_int = 8;

const ACT_KILL_PROCESS: u32 = 0x8000_0000;
const ACT_KILL_THREAD: u32 = 0;
const ACT_TRAP: u32 = 0x0003_0000;
const ACT_ERRNO: u32 = 0x0005_0000;
const ACT_TRACE: u32 = 0x7ff0_0000;
const ACT_LOG: u32 = 0x7ffc_0000;
const ACT_ALLOW: u32 = 0x7fff_0000;

pub(super) fn version() -> String {
    // SAFETY: the function gives a pointer to a constant of the library.
    unsafe {
        seccomp_version().as_ref().map_or_else(String::new, |v| {
            format!("{}.{}.{}", v.major, v.minor, v.micro)
        })
    }
}

/// A filter that is being made.
struct Context(NonNull<c_void>);

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: made by seccomp_init and released once.
        unsafe { seccomp_release(self.0.as_ptr()) }
    }
}

impl Context {
    fn new(action: u32) -> Result<Self, String> {
        // SAFETY: no pointers are given.
        let ctx = unsafe { seccomp_init(action) };
        NonNull::new(ctx).map(Self).ok_or_else(|| {
            format!("linux.seccomp: libseccomp refuses the default action {action:#x}")
        })
    }
}

fn check(n: c_int, what: impl FnOnce() -> String) -> Result<(), String> {
    if n >= 0 {
        return Ok(());
    }
    Err(format!(
        "linux.seccomp: {}: {}",
        what(),
        std::io::Error::from_raw_os_error(-n)
    ))
}

fn action(action: LinuxSeccompAction, errno: Option<u32>) -> Result<u32, String> {
    // EPERM is the default of the specification.
    let data = || {
        let n = errno.unwrap_or(libc::EPERM as u32);
        if n > 0xffff {
            return Err(format!(
                "linux.seccomp: errnoRet {n} is not an error number"
            ));
        }
        Ok(n)
    };
    Ok(match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => ACT_KILL_THREAD,
        LinuxSeccompAction::ScmpActKillProcess => ACT_KILL_PROCESS,
        LinuxSeccompAction::ScmpActTrap => ACT_TRAP,
        LinuxSeccompAction::ScmpActErrno => ACT_ERRNO | data()?,
        LinuxSeccompAction::ScmpActTrace => ACT_TRACE | data()?,
        LinuxSeccompAction::ScmpActLog => ACT_LOG,
        LinuxSeccompAction::ScmpActAllow => ACT_ALLOW,
        LinuxSeccompAction::ScmpActNotify => {
            return Err("linux.seccomp: SCMP_ACT_NOTIFY is not supported".to_owned());
        }
    })
}

/// libseccomp's token of an architecture.
fn token(arch: Arch) -> Result<u32, String> {
    // `SCMP_ARCH_X86_64` is `x86_64` there.
    let name = serde_json::to_value(arch)
        .ok()
        .and_then(|v| v.as_str().map(str::to_owned))
        .unwrap_or_default();
    let short = name
        .strip_prefix("SCMP_ARCH_")
        .unwrap_or(&name)
        .to_lowercase();
    if short == "native" {
        // SAFETY: no pointers are given.
        return Ok(unsafe { seccomp_arch_native() });
    }
    let c_name = CString::new(short).map_err(|_| "linux.seccomp: NUL in a name".to_owned())?;
    // SAFETY: the name ends with NUL and lives through the call.
    match unsafe { seccomp_arch_resolve_name(c_name.as_ptr()) } {
        0 => Err(format!(
            "linux.seccomp: libseccomp does not know architecture {name}"
        )),
        token => Ok(token),
    }
}

pub(super) fn compile(profile: &LinuxSeccomp) -> Result<Vec<u8>, String> {
    let default = action(profile.default_action(), profile.default_errno_ret())?;
    let ctx = Context::new(default)?;
    let raw = ctx.0.as_ptr();
    // SAFETY: the context is valid until it is dropped.
    let native = unsafe { seccomp_arch_native() };
    let mut arches = vec![native];
    for arch in profile.architectures().iter().flatten() {
        let token = token(*arch)?;
        // SAFETY: as above.
        let n = unsafe { seccomp_arch_add(raw, token) };
        if n != -libc::EEXIST {
            check(n, || format!("adding architecture {arch:?}"))?;
        }
        if !arches.contains(&token) {
            arches.push(token);
        }
    }
    // no_new_privs is process.noNewPrivileges' matter. A binary tree makes long lists quick; the
    // library may be too old for it.
    // SAFETY: as above.
    unsafe {
        check(seccomp_attr_set(raw, ATTR_CTL_NNP, 0), || "CTL_NNP".into())?;
        let _ = seccomp_attr_set(raw, ATTR_CTL_OPTIMIZE, 2);
    }
    for call in profile.syscalls().iter().flatten() {
        rules(raw, call, default)?;
    }
    let program = export(raw)?;
    let program = newer_calls(profile, default, &arches, &program).unwrap_or(program);
    if program.len() / 8 > 4096 {
        return Err(
            "linux.seccomp: the filter is longer than the kernel's 4096 instructions".into(),
        );
    }
    Ok(program)
}

fn rules(raw: *mut c_void, call: &LinuxSyscall, default: u32) -> Result<(), String> {
    let act = action(call.action(), call.errno_ret())?;
    // What is the default already.
    if act == default {
        return Ok(());
    }
    let args: Vec<ArgCompare> = call
        .args()
        .iter()
        .flatten()
        .map(|a| {
            let (op, b) = match a.op() {
                LinuxSeccompOperator::ScmpCmpNe => (1, 0),
                LinuxSeccompOperator::ScmpCmpLt => (2, 0),
                LinuxSeccompOperator::ScmpCmpLe => (3, 0),
                LinuxSeccompOperator::ScmpCmpEq => (4, 0),
                LinuxSeccompOperator::ScmpCmpGe => (5, 0),
                LinuxSeccompOperator::ScmpCmpGt => (6, 0),
                // The mask comes first.
                LinuxSeccompOperator::ScmpCmpMaskedEq => (7, a.value_two().unwrap_or(0)),
            };
            ArgCompare {
                arg: a.index() as c_uint,
                op,
                a: a.value(),
                b,
            }
        })
        .collect();
    if let Some(bad) = args.iter().find(|a| a.arg > 5) {
        return Err(format!(
            "linux.seccomp: argument index {} is not 0 to 5",
            bad.arg
        ));
    }
    let mut seen = HashSet::new();
    // libseccomp compares each argument once a rule; as runc has it, each is then a rule of its own.
    let doubled = !args.iter().all(|a| seen.insert(a.arg));
    for name in call.names() {
        let Ok(c_name) = CString::new(name.as_str()) else {
            continue;
        };
        // SAFETY: the name ends with NUL and lives through the call.
        let number = unsafe { seccomp_syscall_resolve_name(c_name.as_ptr()) };
        if number == NR_ERROR {
            // Not known to the library, so in no program that it makes; the default action holds.
            continue;
        }
        let each: Vec<&[ArgCompare]> = if doubled {
            args.chunks(1).collect()
        } else {
            vec![&args]
        };
        for args in each {
            // SAFETY: the context is valid, and `args` has as many entries as are said.
            let n = unsafe {
                seccomp_rule_add_array(raw, act, number, args.len() as c_uint, args.as_ptr())
            };
            check(n, || format!("rule for {name}"))?;
        }
    }
    Ok(())
}

fn export(raw: *mut c_void) -> Result<Vec<u8>, String> {
    let failed = |e: std::io::Error| format!("linux.seccomp: reading the program: {e}");
    // SAFETY: the name ends with NUL; the descriptor is new and owned by the file made of it.
    let mut file = unsafe {
        let fd = libc::memfd_create(c"bpf".as_ptr(), libc::MFD_CLOEXEC);
        if fd < 0 {
            return Err(failed(std::io::Error::last_os_error()));
        }
        File::from_raw_fd(fd)
    };
    // SAFETY: context and descriptor are valid.
    check(unsafe { seccomp_export_bpf(raw, file.as_raw_fd()) }, || {
        "making the program".into()
    })?;
    let mut out = Vec::new();
    file.seek(SeekFrom::Start(0))
        .and_then(|_| file.read_to_end(&mut out))
        .map_err(failed)?;
    Ok(out)
}

const X86_64: u32 = 0xc000_003e;
const X32: u32 = 0x4000_003e;
const X32_BIT: u32 = 0x4000_0000;

/// System calls newer than all that the profile names end with ENOSYS, not with the default's
/// error: C libraries fall back on an older call only for ENOSYS. runc does the same. `None` if
/// nothing need be done.
fn newer_calls(
    profile: &LinuxSeccomp,
    default: u32,
    arches: &[u32],
    program: &[u8],
) -> Option<Vec<u8>> {
    const ENOSYS: u32 = ACT_ERRNO | libc::ENOSYS as u32;
    if default & 0xffff_0000 != ACT_ERRNO || default == ENOSYS {
        return None;
    }
    let names: Vec<CString> = profile
        .syscalls()
        .iter()
        .flatten()
        .flat_map(|c| c.names())
        .filter_map(|n| CString::new(n.as_str()).ok())
        .collect();
    let last = |arch: u32| {
        names
            .iter()
            // SAFETY: the name ends with NUL and lives through the call.
            .map(|n| unsafe { seccomp_syscall_resolve_name_arch(arch, n.as_ptr()) })
            .filter(|n| *n >= 0)
            .max()
            .map(|n| n as u32)
    };
    // Loads the architecture and the number from `struct seccomp_data`.
    let (load_arch, load_nr) = (insn(0x20, 0, 0, 4), insn(0x20, 0, 0, 0));
    let (equal, greater, ret) = (0x15, 0x25, 0x06);
    let mut stub = Vec::new();
    for &arch in arches.iter().filter(|a| **a != X32) {
        let Some(last_nr) = last(arch) else { continue };
        let mut block = Vec::new();
        block.extend(load_nr);
        let x32 = (arch == X86_64 && arches.contains(&X32)).then(|| last(X32));
        if arch == X86_64 {
            // The x32 bit is part of the number.
            match x32.flatten() {
                Some(last_x32) => {
                    block.extend(insn(greater, 0, 2, X32_BIT - 1));
                    block.extend(insn(greater, 2, 0, last_x32 | X32_BIT));
                    block.extend(insn(0x05, 0, 0, 2));
                }
                // To the filter itself.
                None => block.extend(insn(greater, 2, 0, X32_BIT - 1)),
            }
        }
        block.extend(insn(greater, 0, 1, last_nr));
        block.extend(insn(ret, 0, 0, ENOSYS));
        stub.extend(load_arch);
        stub.extend(insn(equal, 0, (block.len() / 8) as u8, arch));
        stub.extend(block);
    }
    (!stub.is_empty()).then(|| [stub.as_slice(), program].concat())
}

/// One instruction: code, jumps if true and if false, operand.
fn insn(code: u16, jt: u8, jf: u8, k: u32) -> [u8; 8] {
    let (code, k) = (code.to_ne_bytes(), k.to_ne_bytes());
    [code[0], code[1], jt, jf, k[0], k[1], k[2], k[3]]
}
