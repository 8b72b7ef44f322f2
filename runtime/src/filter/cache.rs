//! Programs that were made before. Making one for Docker's default profile takes some
//! milliseconds, and it is the same for nearly all containers.
//!
//! The folder is the runtime's own (mode 0700, below `--root`). A file is the whole profile, then
//! the program; only a file with exactly this profile and this library's version is used.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use libcontainer::oci_spec::runtime::LinuxSeccomp;

/// Files kept; beyond it all go, and those in use come again.
const MAX_FILES: usize = 64;
const MAX_FILE: u64 = 4 << 20;

pub(super) fn get(
    profile: &LinuxSeccomp,
    dir: &Path,
    make: impl FnOnce() -> Result<Vec<u8>, String>,
) -> Result<Vec<u8>, String> {
    let Ok(mut key) = serde_json::to_vec(profile) else {
        return make();
    };
    // Which system calls exist under which number is the library's and this build's knowledge.
    key.extend(super::library_version().unwrap_or_default().into_bytes());
    key.extend(concat!(env!("CARGO_PKG_VERSION"), " 1\n").bytes());
    let mut hash = DefaultHasher::new();
    key.hash(&mut hash);
    let path = dir.join(format!("{:016x}", hash.finish()));
    if let Some(program) = read(&path, &key) {
        return Ok(program);
    }
    let program = make()?;
    // A cache that cannot be written costs time only.
    let _ = write(dir, &path, &key, &program);
    Ok(program)
}

fn read(path: &Path, key: &[u8]) -> Option<Vec<u8>> {
    if fs::metadata(path).ok()?.len() > MAX_FILE {
        return None;
    }
    let bytes = fs::read(path).ok()?;
    let program = bytes.strip_prefix(key)?;
    (!program.is_empty() && program.len().is_multiple_of(8)).then(|| program.to_vec())
}

fn write(dir: &Path, path: &Path, key: &[u8], program: &[u8]) -> std::io::Result<()> {
    fs::DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(dir)?;
    let files: Vec<_> = fs::read_dir(dir)?.flatten().collect();
    if files.len() >= MAX_FILES {
        for file in files {
            let _ = fs::remove_file(file.path());
        }
    }
    let part = path.with_extension(std::process::id().to_string());
    let mut file = fs::File::create(&part)?;
    file.write_all(key)?;
    file.write_all(program)?;
    fs::rename(&part, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(action: &str) -> LinuxSeccomp {
        serde_json::from_str(&format!("{{\"defaultAction\":\"{action}\"}}")).unwrap()
    }

    #[test]
    fn a_program_is_made_once_for_a_profile() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("new");
        let made = std::cell::Cell::new(0);
        let get = |action: &str| {
            get(&profile(action), &dir, || {
                made.set(made.get() + 1);
                Ok(vec![made.get(); 16])
            })
            .unwrap()
        };
        assert_eq!(get("SCMP_ACT_ALLOW"), [1; 16]);
        assert_eq!(get("SCMP_ACT_ALLOW"), [1; 16]);
        assert_eq!(get("SCMP_ACT_ERRNO"), [2; 16]);
        assert_eq!(get("SCMP_ACT_ALLOW"), [1; 16]);
        // Damage is not used.
        for file in fs::read_dir(&dir).unwrap().flatten() {
            let mut bytes = fs::read(file.path()).unwrap();
            bytes[3] ^= 1;
            fs::write(file.path(), bytes).unwrap();
        }
        assert_eq!(get("SCMP_ACT_ALLOW"), [3; 16]);
    }

    #[test]
    fn a_failure_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let p = profile("SCMP_ACT_ALLOW");
        let e = get(&p, dir.path(), || Err("no".to_owned())).unwrap_err();
        assert_eq!(e, "no");
        assert_eq!(get(&p, dir.path(), || Ok(vec![7; 8])).unwrap(), [7; 8]);
    }
}
