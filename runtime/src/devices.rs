//! Which devices a container may use, on control groups version 2: a BPF program on its group.
//! (On version 1 libcgroups writes the devices controller's files. On version 2 it needs a C
//! library for this; without it, it would leave the rules out.)

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use libcontainer::oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

const BLOCK: i32 = 1;
const CHAR: i32 = 2;
const MKNOD: i32 = 1;
const READ: i32 = 2;
const WRITE: i32 = 4;

/// One rule; of several that match, the last decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rule {
    allow: bool,
    /// `BLOCK` or `CHAR`, 0 both.
    kind: i32,
    /// -1 any.
    major: i64,
    minor: i64,
    access: i32,
}

/// What every container may do, whatever its rules say: make any device node, and use the devices
/// of its own /dev (as runc 1.1).
const ALWAYS: [(i32, i64, i64, i32); 12] = [
    (CHAR, -1, -1, MKNOD),
    (BLOCK, -1, -1, MKNOD),
    (CHAR, 1, 3, MKNOD | READ | WRITE),
    (CHAR, 1, 5, MKNOD | READ | WRITE),
    (CHAR, 1, 7, MKNOD | READ | WRITE),
    (CHAR, 1, 8, MKNOD | READ | WRITE),
    (CHAR, 1, 9, MKNOD | READ | WRITE),
    (CHAR, 5, 0, MKNOD | READ | WRITE),
    (CHAR, 5, 1, MKNOD | READ | WRITE),
    (CHAR, 5, 2, MKNOD | READ | WRITE),
    (CHAR, 136, -1, MKNOD | READ | WRITE),
    (CHAR, 10, 200, MKNOD | READ | WRITE),
];

/// Puts the rules on a control group of version 2.
pub(crate) fn restrict(group: &Path, rules: &[LinuxDeviceCgroup]) -> io::Result<()> {
    let rules: Vec<Rule> = rules.iter().filter_map(rule).collect();
    let program = load(&program(&rules))?;
    attach(group, &program)
}

fn rule(given: &LinuxDeviceCgroup) -> Option<Rule> {
    let access = given.access().as_deref().unwrap_or("rwm");
    let bit = |letter, bit| if access.contains(letter) { bit } else { 0 };
    Some(Rule {
        allow: given.allow(),
        kind: match given.typ().unwrap_or_default() {
            LinuxDeviceType::A => 0,
            LinuxDeviceType::B => BLOCK,
            LinuxDeviceType::C | LinuxDeviceType::U => CHAR,
            // Pipes are not devices.
            LinuxDeviceType::P => return None,
        },
        major: given.major().unwrap_or(-1),
        minor: given.minor().unwrap_or(-1),
        access: bit('r', READ) | bit('w', WRITE) | bit('m', MKNOD),
    })
}

/// eBPF instructions of 8 bytes: operation, registers, jump, operand.
fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> [u8; 8] {
    let (off, imm) = (off.to_ne_bytes(), imm.to_ne_bytes());
    [
        code,
        dst | src << 4,
        off[0],
        off[1],
        imm[0],
        imm[1],
        imm[2],
        imm[3],
    ]
}

fn program(given: &[Rule]) -> Vec<[u8; 8]> {
    const LOAD: u8 = 0x61;
    const MOV: u8 = 0xb4;
    const MOV_REG: u8 = 0xbc;
    const AND: u8 = 0x54;
    const SHIFT: u8 = 0x74;
    const JUMP_EQ: u8 = 0x16;
    const JUMP_NE: u8 = 0x56;
    const EXIT: u8 = 0x95;
    // r1 is `struct bpf_cgroup_dev_ctx`: access << 16 | kind, major, minor.
    let mut out = vec![
        insn(LOAD, 2, 1, 0, 0),
        insn(MOV_REG, 3, 2, 0, 0),
        insn(SHIFT, 3, 0, 0, 16),
        insn(AND, 2, 0, 0, 0xffff),
        insn(LOAD, 4, 1, 4, 0),
        insn(LOAD, 5, 1, 8, 0),
    ];
    let always = ALWAYS.iter().map(|&(kind, major, minor, access)| Rule {
        allow: true,
        kind,
        major,
        minor,
        access,
    });
    let rules: Vec<Rule> = given.iter().copied().chain(always).collect();
    // r3 has what is asked for and not yet decided.
    for rule in rules.iter().rev() {
        let mut conditions: Vec<(u8, i32)> = Vec::new();
        if rule.kind != 0 {
            conditions.push((2, rule.kind));
        }
        // Numbers are 32 bits; their upper half is a negative operand.
        if rule.major >= 0 {
            conditions.push((4, rule.major as u32 as i32));
        }
        if rule.minor >= 0 {
            conditions.push((5, rule.minor as u32 as i32));
        }
        let decide = if rule.allow {
            [
                insn(AND, 3, 0, 0, !rule.access),
                insn(JUMP_NE, 3, 0, 2, 0),
                insn(MOV, 0, 0, 0, 1),
                insn(EXIT, 0, 0, 0, 0),
            ]
            .to_vec()
        } else {
            [
                insn(MOV_REG, 0, 3, 0, 0),
                insn(AND, 0, 0, 0, rule.access),
                insn(JUMP_EQ, 0, 0, 2, 0),
                insn(MOV, 0, 0, 0, 0),
                insn(EXIT, 0, 0, 0, 0),
            ]
            .to_vec()
        };
        for (i, (register, value)) in conditions.iter().enumerate() {
            let over = conditions.len() - i - 1 + decide.len();
            out.push(insn(JUMP_NE, *register, 0, over as i16, *value));
        }
        out.extend(decide);
    }
    // As on version 1, where a group without a rule for a device has what its parent has.
    out.push(insn(MOV, 0, 0, 0, 1));
    out.push(insn(EXIT, 0, 0, 0, 0));
    out
}

/// `union bpf_attr` as far as it is used; the kernel takes the rest as zero.
#[repr(C)]
#[derive(Default)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct AttachAttr {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
}

const PROG_LOAD: libc::c_long = 5;
const PROG_ATTACH: libc::c_long = 8;
const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 2;

fn load(program: &[[u8; 8]]) -> io::Result<OwnedFd> {
    let attr = LoadAttr {
        prog_type: TYPE_CGROUP_DEVICE,
        insn_cnt: program.len() as u32,
        insns: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        ..Default::default()
    };
    // SAFETY: `attr` has the size that is given and points to `program` and a constant, which live
    // through the call; the descriptor is new.
    unsafe {
        let fd = libc::syscall(libc::SYS_bpf, PROG_LOAD, &attr, size_of::<LoadAttr>());
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(fd as i32))
    }
}

fn attach(group: &Path, program: &OwnedFd) -> io::Result<()> {
    let group = File::open(group)?;
    let attr = AttachAttr {
        target_fd: group.as_raw_fd() as u32,
        attach_bpf_fd: program.as_raw_fd() as u32,
        attach_type: ATTACH_CGROUP_DEVICE,
        attach_flags: ALLOW_MULTI,
    };
    // SAFETY: `attr` has the size that is given and lives through the call.
    let n = unsafe { libc::syscall(libc::SYS_bpf, PROG_ATTACH, &attr, size_of::<AttachAttr>()) };
    if n < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
