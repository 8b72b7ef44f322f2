//! `taffrail-monitor-fault`: the monitor for tests. It reads `fault` in the exec root, which holds
//! `<step> <n>` (die by SIGKILL when that step is reached for the n-th time), and removes it. With
//! `naive` in front the exact read is replaced by plain read and write, and the file stays, so that
//! every monitor is like that.
#![no_std]
#![no_main]

include!("rt.rs");

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use taffrail_monitor::probe::Probe;
use taffrail_monitor::sys::{self, AT_FDCWD, CPath, O_RDONLY};
use taffrail_monitor::text::parse;

static STEP: AtomicU32 = AtomicU32::new(0);
static LEFT: AtomicU32 = AtomicU32::new(0);
static NAIVE: AtomicBool = AtomicBool::new(false);

struct Kill;

impl Probe for Kill {
    #[inline(always)]
    fn step(n: u32) {
        if STEP.load(Ordering::Relaxed) == n && LEFT.fetch_sub(1, Ordering::Relaxed) == 1 {
            let _ = sys::kill(sys::getpid(), 9);
        }
    }

    fn naive() -> bool {
        NAIVE.load(Ordering::Relaxed)
    }

    fn start() {
        let path = CPath::new(b"../../fault\0");
        let Ok(fd) = sys::open(AT_FDCWD, path, O_RDONLY, 0) else {
            return;
        };
        let mut buf = [0; 64];
        let n = sys::read(fd, &mut buf).unwrap_or(0);
        sys::close(fd);
        let text = &buf[..n];
        let mut words = text.split(|b| *b == b' ' || *b == b'\n').map(parse);
        if text.starts_with(b"naive") {
            NAIVE.store(true, Ordering::Relaxed);
            let _ = words.next();
        } else {
            let _ = sys::unlink(AT_FDCWD, path);
        }
        if let (Some(Some(step)), Some(Some(nth))) = (words.next(), words.next()) {
            LEFT.store(nth as u32, Ordering::Relaxed);
            STEP.store(step as u32, Ordering::Relaxed);
        }
    }
}

extern "C" fn entry(stack: *const usize) -> ! {
    // SAFETY: called once, by `_start`, with the first stack pointer.
    unsafe { taffrail_monitor::start::main::<Kill>(stack) }
}
