//! The test image: a static busybox with its applets, and the workload. Built once a run.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use super::{repository, target_dir};

/// The image's name in every daemon of the tests.
pub(crate) const IMAGE: &str = "tb:latest";

/// The image's file system as a tar.
pub(crate) fn tar() -> &'static [u8] {
    static TAR: OnceLock<Vec<u8>> = OnceLock::new();
    TAR.get_or_init(|| build().unwrap_or_else(|error| panic!("test image: {error:#}")))
}

/// The workload for the image: made by the Makefile, or here.
pub(crate) fn workload() -> PathBuf {
    static WORKLOAD: OnceLock<PathBuf> = OnceLock::new();
    WORKLOAD
        .get_or_init(|| {
            let source = repository().join("tests/workload/main.rs");
            let binary = target_dir().join("workload");
            let newer = |path: &PathBuf| std::fs::metadata(path).and_then(|m| m.modified()).ok();
            if newer(&binary) < newer(&source) {
                let output = Command::new("rustc")
                    .args([
                        "--edition",
                        "2024",
                        "-O",
                        "-C",
                        "target-feature=+crt-static",
                    ])
                    .args(["-C", "panic=abort", "-C", "strip=symbols", "-o"])
                    .arg(&binary)
                    .arg(&source)
                    .output()
                    .unwrap_or_else(|error| panic!("rustc: {error}"));
                assert!(
                    output.status.success(),
                    "workload: {}",
                    String::from_utf8_lossy(&output.stderr)
                );
            }
            binary
        })
        .clone()
}

/// A busybox that runs without libraries.
pub(crate) fn busybox() -> Result<PathBuf, String> {
    let path = ["/bin/busybox", "/usr/bin/busybox"]
        .iter()
        .map(PathBuf::from)
        .find(|path| path.is_file())
        .ok_or("busybox is not installed (package busybox-static)")?;
    let bytes = std::fs::read(&path).map_err(|error| error.to_string())?;
    if memchr::memmem::find(&bytes[..bytes.len().min(8192)], b"ld-linux").is_some() {
        return Err("busybox is not static (package busybox-static)".to_owned());
    }
    Ok(path)
}

/// A header whose numeric fields are all written.
pub(crate) fn header() -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn build() -> anyhow::Result<Vec<u8>> {
    let busybox = busybox().map_err(anyhow::Error::msg)?;
    let applets = Command::new(&busybox).arg("--list").output()?.stdout;
    let mut tar = tar::Builder::new(Vec::new());
    for folder in [
        "bin", "dev", "etc", "home", "proc", "root", "sys", "tally", "tmp",
    ] {
        let mut header = header();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(if folder == "tmp" { 0o1777 } else { 0o755 });
        header.set_size(0);
        tar.append_data(&mut header, format!("{folder}/"), std::io::empty())?;
    }
    file(&mut tar, "bin/busybox", &std::fs::read(&busybox)?, 0o755)?;
    file(&mut tar, "bin/workload", &std::fs::read(workload())?, 0o755)?;
    for applet in String::from_utf8_lossy(&applets).lines() {
        if applet == "busybox" {
            continue;
        }
        let mut header = header();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_mode(0o777);
        header.set_size(0);
        tar.append_link(&mut header, format!("bin/{applet}"), "busybox")?;
    }
    let passwd = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n";
    file(&mut tar, "etc/passwd", passwd.as_bytes(), 0o644)?;
    file(
        &mut tar,
        "etc/group",
        b"root:x:0:\nnogroup:x:65534:\n",
        0o644,
    )?;
    Ok(tar.into_inner()?)
}

fn file(
    tar: &mut tar::Builder<Vec<u8>>,
    path: &str,
    bytes: &[u8],
    mode: u32,
) -> std::io::Result<()> {
    let mut header = header();
    header.set_mode(mode);
    header.set_size(bytes.len() as u64);
    tar.append_data(&mut header, path, bytes)
}
