//! The kernel's list of mounts, as far as volumes and binds need it.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

/// One mount of the daemon's mount namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mounted {
    pub(crate) path: PathBuf,
    /// Mounts made in it spread to others.
    pub(crate) shared: bool,
    /// Mounts made elsewhere spread to it.
    pub(crate) slave: bool,
}

/// All mounts, in the order in which they lie on each other.
///
/// # Errors
/// `/proc` is not there.
pub(crate) fn mounts_of_host() -> io::Result<Vec<Mounted>> {
    Ok(parse(&fs::read_to_string("/proc/self/mountinfo")?))
}

/// Whether something is mounted on exactly this path, which must be without links.
pub(super) fn is_mounted(path: &Path) -> io::Result<bool> {
    Ok(mounts_of_host()?.iter().any(|mount| mount.path == path))
}

/// The first mount below a folder.
pub(super) fn below(dir: &Path) -> io::Result<Option<PathBuf>> {
    let mounts = mounts_of_host()?;
    Ok(mounts
        .into_iter()
        .map(|mount| mount.path)
        .find(|path| path.starts_with(dir)))
}

/// `36 35 98:0 /root /path rw,noatime shared:1 master:2 - ext4 /dev/sda rw` (proc(5)).
fn parse(text: &str) -> Vec<Mounted> {
    let line = |line: &str| {
        let mut words = line.split(' ');
        let path = unescape(words.nth(4)?);
        let tags: Vec<&str> = words.skip(1).take_while(|word| *word != "-").collect();
        let has = |tag: &str| tags.iter().any(|word| word.starts_with(tag));
        Some(Mounted {
            path,
            shared: has("shared:"),
            slave: has("master:"),
        })
    };
    text.lines().filter_map(line).collect()
}

/// Blanks and backslashes are three octal digits.
fn unescape(word: &str) -> PathBuf {
    let bytes = word.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = bytes
            .get(at + 1..at + 4)
            .filter(|_| bytes[at] == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(byte) => {
                out.push(byte);
                at += 4;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_mountinfo() {
        let list = parse(
            "25 0 8:1 / / rw,relatime shared:1 - ext4 /dev/sda rw\n\
             26 25 0:5 / /a\\040b rw shared:2 master:1 - tmpfs x rw\n\
             27 25 0:6 / /p rw - tmpfs x rw\n",
        );
        let shown: Vec<_> = list
            .iter()
            .map(|m| (m.path.to_str().unwrap(), m.shared, m.slave))
            .collect();
        assert_eq!(
            shown,
            [
                ("/", true, false),
                ("/a b", true, true),
                ("/p", false, false)
            ]
        );
        assert!(
            mounts_of_host()
                .unwrap()
                .iter()
                .any(|m| m.path == Path::new("/"))
        );
    }
}
