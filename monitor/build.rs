//! Links the monitor without any C library: it starts at `_start`, makes its own system calls and
//! is a static, non-relocatable program. That is what keeps an idle monitor in a few pages.

fn main() {
    for arg in [
        "-nostartfiles",
        "-nostdlib",
        "-static",
        "-no-pie",
        "-Wl,-z,noseparate-code",
        "-Wl,--build-id=none",
    ] {
        println!("cargo:rustc-link-arg-bins={arg}");
    }
    println!("cargo:rerun-if-changed=build.rs");
}
