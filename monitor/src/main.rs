//! The monitor.
#![no_std]
#![no_main]
use core::arch::global_asm;
global_asm!(".globl _start", "_start:", "ud2");
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
