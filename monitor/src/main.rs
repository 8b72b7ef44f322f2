//! `taffrail-monitor`: started by the daemon as keeper, and by the keeper for each container.
#![no_std]
#![no_main]

include!("rt.rs");

extern "C" fn entry(stack: *const usize) -> ! {
    // SAFETY: called once, by `_start`, with the first stack pointer.
    unsafe { taffrail_monitor::start::main::<taffrail_monitor::probe::None>(stack) }
}
