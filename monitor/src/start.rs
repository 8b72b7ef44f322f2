//! From the kernel's first stack to keeper or monitor.

use crate::probe::Probe;
use crate::sys::{self, CPath};
use crate::{keeper, monitor, proto};

const USAGE: &[u8] = b"usage: taffrail-monitor --keeper EXEC_ROOT | CONTAINER_ID | --version\n\
Started by the taffrail daemon; not meant to be started by hand.\n";

/// The program. `stack` is what the kernel left: argc, argv, NULL, envp.
///
/// # Safety
/// Must be called with the stack pointer of the process's start, and once.
pub unsafe fn main<P: Probe>(stack: *const usize) -> ! {
    // SAFETY: the layout of the first stack is fixed by the ABI.
    let (argc, argv, envp) = unsafe {
        let argc = *stack;
        let argv = stack.add(1).cast::<*const u8>();
        (argc, argv, argv.add(argc + 1))
    };
    let arg = |n: usize| -> &'static [u8] {
        if n >= argc {
            return b"\0";
        }
        // SAFETY: argv holds `argc` strings that end with NUL and live as long as the process.
        unsafe {
            let at = *argv.add(n);
            let mut len = 0;
            while *at.add(len) != 0 {
                len += 1;
            }
            core::slice::from_raw_parts(at, len + 1)
        }
    };
    let first = arg(1);
    let done = match first {
        b"--version\0" => {
            say(concat!("taffrail-monitor ", env!("CARGO_PKG_VERSION"), "\n").as_bytes());
            Ok(0)
        }
        b"--steps\0" => {
            let mut digits = [0; 20];
            let n = crate::text::decimal(u64::from(crate::probe::STEPS), &mut digits);
            say(&digits[..n]);
            say(b"\n");
            Ok(0)
        }
        b"--keeper\0" => sys::chdir(CPath::new(arg(2))).and_then(|()| keeper::run(envp)),
        _ => match proto::unhex(&first[..first.len() - 1]) {
            Some(id) => monitor::run::<P>(id, envp),
            None => {
                let _ = sys::write(2, USAGE);
                Ok(2)
            }
        },
    };
    let code = done.unwrap_or_else(|e| {
        let mut line = crate::text::Name::new(&[b"taffrail-monitor: error "]).number(e.0 as u64);
        line.push(b"\n");
        let _ = sys::write(2, line.as_bytes());
        1
    });
    sys::exit(code)
}

fn say(bytes: &[u8]) {
    let _ = sys::write(1, bytes);
}
