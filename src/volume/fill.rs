//! Copying a directory with everything that belongs to its files: owner, mode, times, links, hard
//! links, devices, extended attributes. An empty volume is filled so from its container's image.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, mknod, utimensat};
use nix::sys::time::TimeSpec;

/// A file that could not be copied.
#[derive(Debug, thiserror::Error)]
#[error("{action} {}: {source}", path.display())]
pub(crate) struct CopyError {
    pub(crate) action: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) source: io::Error,
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CopyError {
    let path = path.to_owned();
    move |source| CopyError {
        action,
        path,
        source,
    }
}

/// Copies the content of `from` into the existing directory `to`, which gets its owner, mode and
/// times. Links are copied, never followed.
///
/// # Errors
/// The first file that cannot be copied; what was copied by then stays.
pub(crate) fn copy_tree(from: &Path, to: &Path) -> Result<(), CopyError> {
    copy_dir(from, to, &mut HashMap::new())
}

/// Inode to its first copy.
type Copied = HashMap<(u64, u64), PathBuf>;

fn copy_dir(from: &Path, to: &Path, copied: &mut Copied) -> Result<(), CopyError> {
    for entry in fs::read_dir(from).map_err(failed("read", from))? {
        let entry = entry.map_err(failed("read", from))?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        let meta = entry.metadata().map_err(failed("stat", &from))?;
        let kind = meta.file_type();
        if kind.is_dir() {
            fs::create_dir(&to).map_err(failed("create", &to))?;
            copy_dir(&from, &to, copied)?;
            continue;
        }
        if meta.nlink() > 1 {
            if let Some(first) = copied.get(&(meta.dev(), meta.ino())) {
                fs::hard_link(first, &to).map_err(failed("link", &to))?;
                continue;
            }
            copied.insert((meta.dev(), meta.ino()), to.clone());
        }
        if kind.is_symlink() {
            let target = fs::read_link(&from).map_err(failed("read", &from))?;
            symlink(target, &to).map_err(failed("create", &to))?;
        } else if kind.is_file() {
            fs::copy(&from, &to).map_err(failed("copy", &from))?;
        } else {
            let (flag, mode) = (
                SFlag::from_bits_truncate(meta.mode() & libc::S_IFMT),
                Mode::from_bits_truncate(meta.mode() & 0o7777),
            );
            mknod(&to, flag, mode, meta.rdev())
                .map_err(|errno| failed("create", &to)(errno.into()))?;
        }
        finish(&from, &to, &meta)?;
    }
    let meta = fs::metadata(from).map_err(failed("stat", from))?;
    finish(from, to, &meta)
}

/// Owner, attributes, mode and times, in the order in which none undoes another.
fn finish(from: &Path, to: &Path, meta: &Metadata) -> Result<(), CopyError> {
    lchown(to, Some(meta.uid()), Some(meta.gid())).map_err(failed("set owner of", to))?;
    // After the owner: chown clears set-id bits and capabilities.
    attributes(from, to)?;
    if !meta.file_type().is_symlink() {
        let mode = fs::Permissions::from_mode(meta.mode() & 0o7777);
        fs::set_permissions(to, mode).map_err(failed("set mode of", to))?;
    }
    utimensat(
        nix::fcntl::AT_FDCWD,
        to,
        &TimeSpec::new(meta.atime(), meta.atime_nsec()),
        &TimeSpec::new(meta.mtime(), meta.mtime_nsec()),
        UtimensatFlags::NoFollowSymlink,
    )
    .map_err(|errno| failed("set times of", to)(errno.into()))
}

/// Extended attributes, as far as the file system of the volume has such.
fn attributes(from: &Path, to: &Path) -> Result<(), CopyError> {
    let unknown = |error: &io::Error| error.raw_os_error() == Some(Errno::EOPNOTSUPP as i32);
    let names = match xattr::list(from) {
        Ok(names) => names,
        Err(error) if unknown(&error) => return Ok(()),
        Err(error) => return Err(failed("list attributes of", from)(error)),
    };
    for name in names {
        let Some(value) = xattr::get(from, &name).map_err(failed("read attribute of", from))?
        else {
            continue;
        };
        match xattr::set(to, &name, &value) {
            Err(error) if !unknown(&error) => {
                return Err(failed("set attribute of", to)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_belongs_to_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("sub")).unwrap();
        fs::write(from.join("sub/file"), "content").unwrap();
        fs::hard_link(from.join("sub/file"), from.join("same")).unwrap();
        fs::set_permissions(from.join("same"), fs::Permissions::from_mode(0o4711)).unwrap();
        symlink("../../etc", from.join("link")).unwrap();
        fs::set_permissions(&from, fs::Permissions::from_mode(0o1777)).unwrap();
        let has_attributes = xattr::set(from.join("same"), "user.a", b"b").is_ok();
        let root = nix::unistd::geteuid().is_root();
        if root {
            lchown(from.join("sub"), Some(7), Some(8)).unwrap();
            fs::set_permissions(from.join("sub"), fs::Permissions::from_mode(0o2750)).unwrap();
            lchown(from.join("link"), Some(9), Some(9)).unwrap();
            let fifo = from.join("fifo");
            nix::unistd::mkfifo(&fifo, Mode::from_bits_truncate(0o640)).unwrap();
        }
        fs::create_dir(&to).unwrap();
        copy_tree(&from, &to).unwrap();

        let meta = |path: &str| fs::symlink_metadata(to.join(path)).unwrap();
        assert_eq!(fs::read(to.join("sub/file")).unwrap(), b"content");
        assert_eq!(meta("same").ino(), meta("sub/file").ino());
        assert_eq!(meta("same").mode() & 0o7777, 0o4711);
        assert_eq!(fs::metadata(&to).unwrap().mode() & 0o7777, 0o1777);
        assert_eq!(
            fs::read_link(to.join("link")).unwrap(),
            Path::new("../../etc")
        );
        let old = fs::symlink_metadata(from.join("sub/file")).unwrap();
        assert_eq!(
            (meta("same").mtime(), meta("same").mtime_nsec()),
            (old.mtime(), old.mtime_nsec())
        );
        if has_attributes {
            let value = xattr::get(to.join("same"), "user.a").unwrap();
            assert_eq!(value.as_deref(), Some(&b"b"[..]));
        }
        if root {
            assert_eq!((meta("sub").uid(), meta("sub").gid()), (7, 8));
            assert_eq!(meta("sub").mode() & 0o7777, 0o2750);
            assert_eq!(meta("link").uid(), 9);
            assert_eq!(meta("fifo").mode(), libc::S_IFIFO | 0o640);
        }
    }
}
