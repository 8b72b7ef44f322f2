//! Rules about dependencies, held also where cargo-deny is not installed (deny.toml says the same).

use std::collections::BTreeSet;
use std::process::Command;

use crate::harness::{Run, repository};

/// Licences that a dependency may have, one of them at least.
const LICENCES: &[&str] = &[
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "MIT",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Unicode-3.0",
    "Zlib",
    "0BSD",
    "CC0-1.0",
    "Unlicense",
    "MIT-0",
    "BSL-1.0",
];

/// Crates with another licence, each for a reason that docs/dependencies.md has.
const EXCEPTIONS: &[(&str, &str)] = &[
    // Unchanged source from the registry, as the licence asks.
    ("pathrs", "MPL-2.0 OR LGPL-3.0-or-later"),
    // Names its licence in a file only: MIT.
    ("rust-criu", "none given"),
];

/// Crates that must not come in: TLS is rustls with ring.
const BANNED: &[&str] = &[
    "openssl",
    "openssl-sys",
    "native-tls",
    "aws-lc-rs",
    "aws-lc-sys",
];

/// The machine's target triple: crates for others need not be on this disk.
fn host() -> String {
    let output = Run::new(Command::new("rustc")).args(["-vV"]).output();
    let text = output.ok();
    text.lines()
        .find_map(|line| line.strip_prefix("host: "))
        .expect("rustc names its host")
        .to_owned()
}

fn metadata() -> serde_json::Value {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(repository());
    let output = Run::new(command)
        .args([
            "metadata",
            "--format-version",
            "1",
            "--filter-platform",
            &host(),
            "--locked",
            "--offline",
        ])
        .output();
    assert_eq!(output.code, 0, "{}", output.err());
    serde_json::from_slice(&output.stdout).expect("json")
}

/// An SPDX expression of AND, OR, parentheses and the old slash.
fn allowed(expression: &str) -> bool {
    let text = expression.replace('/', " OR ").replace(['(', ')'], " ");
    // Good enough for `A AND (B OR C)`: each AND part needs one allowed name.
    text.split(" AND ").all(|part| {
        part.split(" OR ")
            .any(|name| LICENCES.contains(&name.trim()))
    })
}

#[test]
fn every_dependency_has_an_allowed_licence() {
    let metadata = metadata();
    let mut bad = BTreeSet::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let licence = package["license"].as_str().unwrap_or("none given");
        let name = package["name"].as_str().unwrap_or_default();
        if !allowed(licence) && !EXCEPTIONS.contains(&(name, licence)) {
            bad.insert(format!("{}: {licence}", package["name"]));
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
}

#[test]
fn no_banned_crate_comes_in() {
    let metadata = metadata();
    for package in metadata["packages"].as_array().expect("packages") {
        let name = package["name"].as_str().expect("a name");
        assert!(!BANNED.contains(&name), "{name} is a dependency");
    }
}

#[test]
fn the_expressions_are_understood() {
    for good in [
        "MIT",
        "MIT OR Apache-2.0",
        "MIT/Apache-2.0",
        "(MIT OR Apache-2.0) AND Unicode-3.0",
        "GPL-3.0 OR MIT",
    ] {
        assert!(allowed(good), "{good}");
    }
    for bad in ["GPL-3.0", "MIT AND GPL-3.0", "none given", ""] {
        assert!(!allowed(bad), "{bad}");
    }
}
