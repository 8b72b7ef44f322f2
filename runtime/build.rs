//! Finds the static libseccomp. Without it the runtime is built all the same, says so, and refuses
//! every specification that has a system call filter.

use std::env;
use std::path::{Path, PathBuf};

const LIBRARY: &str = "libseccomp.a";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=LIBSECCOMP_LIB_PATH");
    println!("cargo:rustc-check-cfg=cfg(libseccomp)");
    match folder() {
        Some(dir) => {
            // Built anew when the library is replaced.
            println!("cargo:rerun-if-changed={}", dir.join(LIBRARY).display());
            println!("cargo:rustc-link-search=native={}", dir.display());
            println!("cargo:rustc-link-lib=static=seccomp");
            println!("cargo:rustc-cfg=libseccomp");
        }
        None => println!(
            "cargo:warning={LIBRARY} not found: this taffrail-runtime will refuse every container with a \
             seccomp profile, so also Docker's default one. Install libseccomp-dev (or set \
             LIBSECCOMP_LIB_PATH to the folder that has {LIBRARY}) and build again."
        ),
    }
}

/// `LIBSECCOMP_LIB_PATH`, or where distributions put it.
fn folder() -> Option<PathBuf> {
    let has = |dir: &Path| dir.join(LIBRARY).is_file();
    if let Some(dir) = env::var_os("LIBSECCOMP_LIB_PATH").map(PathBuf::from) {
        return Some(dir).filter(|d| has(d));
    }
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    [
        format!("/usr/lib/{arch}-linux-gnu"),
        "/usr/lib64".to_owned(),
        "/usr/local/lib".to_owned(),
        "/usr/lib".to_owned(),
    ]
    .into_iter()
    .map(PathBuf::from)
    .inspect(|dir| println!("cargo:rerun-if-changed={}", dir.display()))
    .find(|dir| has(dir))
}
