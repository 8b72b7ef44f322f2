//! Where `cp` copies from and to: Docker's rules for paths (source: docker CLI `cp`, Moby
//! `pkg/archive`, "CopyInfo").

use std::path::{Component, Path, PathBuf};

use super::error::CliError;

/// Links that are followed to a destination.
const MAX_LINKS: usize = 10;

/// One end of a copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CopyInfo {
    pub(super) path: String,
    pub(super) exists: bool,
    pub(super) is_dir: bool,
    /// What the copy's top is called if not as in `path`.
    pub(super) rebase: Option<String>,
}

/// Container and path of an argument; no container for a local path.
pub(super) fn split(arg: &str) -> (Option<&str>, &str) {
    if arg.starts_with('/') {
        return (None, arg);
    }
    match arg.split_once(':') {
        // `./file:name` is a path, too.
        Some((container, path)) if !container.starts_with('.') => {
            // As by Docker: `:path` names no container.
            (Some(container).filter(|name| !name.is_empty()), path)
        }
        _ => (None, arg),
    }
}

/// A local path made absolute, its trailing `/` or `/.` kept.
pub(super) fn absolute(path: &str) -> Result<String, CliError> {
    let here = std::env::current_dir().map_err(CliError::io("getwd"))?;
    let clean = clean(&here.join(path).to_string_lossy());
    Ok(keep_end(&clean, path))
}

/// Go's `filepath.Clean`.
pub(super) fn clean(path: &str) -> String {
    let mut out = PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => match out.components().next_back() {
                Some(Component::Normal(_)) => {
                    out.pop();
                }
                Some(Component::RootDir) => {}
                _ => out.push(".."),
            },
            other => out.push(other),
        }
    }
    match out.as_os_str().is_empty() {
        true => ".".to_owned(),
        false => out.to_string_lossy().into_owned(),
    }
}

/// `clean` with the trailing `/` or `/.` of `original`.
fn keep_end(clean: &str, original: &str) -> String {
    let mut out = clean.to_owned();
    if !means_content(&out) && means_content(original) {
        if !out.ends_with('/') {
            out.push('/');
        }
        out.push('.');
    }
    if !out.ends_with('/') && original.ends_with('/') {
        out.push('/');
    }
    out
}

/// Its last component is `.`.
pub(super) fn means_content(path: &str) -> bool {
    base(path) == "."
}

/// It can only be a folder.
fn means_folder(path: &str) -> bool {
    path.ends_with('/') || means_content(path)
}

/// Go's `filepath.Base`.
pub(super) fn base(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    match (trimmed, path) {
        ("", "") => ".",
        ("", _) => "/",
        (trimmed, _) => trimmed.rsplit('/').next().unwrap_or(trimmed),
    }
}

/// The folder and the last component, a `.` kept.
pub(super) fn split_entry(path: &str) -> (String, String) {
    let mut whole = clean(path);
    if means_content(path) {
        whole.push_str("/.");
    }
    let name = base(&whole).to_owned();
    let folder = match whole.trim_end_matches('/').rfind('/') {
        Some(0) => "/".to_owned(),
        Some(at) => whole[..at].to_owned(),
        None => match whole.starts_with('/') {
            true => "/".to_owned(),
            false => ".".to_owned(),
        },
    };
    (folder, name)
}

/// `folder/path`, clean; an absolute path stays.
pub(super) fn joined(folder: &str, path: &str) -> String {
    match path.starts_with('/') {
        true => path.to_owned(),
        false => clean(&format!("{folder}/{path}")),
    }
}

/// Path and new name for a source whose last component was a link.
pub(super) fn rebase(path: &str, resolved: &str) -> (String, Option<String>) {
    let mut resolved = resolved.to_owned();
    if means_content(path) && !means_content(&resolved) {
        resolved.push_str("/.");
    }
    if path.ends_with('/') && !resolved.ends_with('/') {
        resolved.push('/');
    }
    let name = (base(path) != base(&resolved)).then(|| base(path).to_owned());
    (resolved, name)
}

/// A local source, which must exist; its last link is followed if asked.
pub(super) fn local_source(path: &str, follow: bool) -> Result<CopyInfo, CliError> {
    let failed = |of: &str| CliError::io(format!("lstat {of}"));
    let (resolved, name) = if follow {
        let real = std::fs::canonicalize(path).map_err(failed(path))?;
        rebase(path, &real.to_string_lossy())
    } else {
        let at = path.rfind('/').map_or(0, |at| at + 1);
        let (folder, last) = path.split_at(at);
        let real = std::fs::canonicalize(folder).map_err(failed(path))?;
        let resolved = format!("{}/{last}", real.to_string_lossy().trim_end_matches('/'));
        let renamed = path.ends_with('/') && base(path) != base(&resolved);
        (resolved, renamed.then(|| base(path).to_owned()))
    };
    let meta = std::fs::symlink_metadata(&resolved).map_err(failed(&resolved))?;
    Ok(CopyInfo {
        path: resolved,
        exists: true,
        is_dir: meta.is_dir(),
        rebase: name,
    })
}

/// A local destination; the folder that it is in must exist.
pub(super) fn local_destination(path: &str) -> Result<CopyInfo, CliError> {
    let mut at = path.to_owned();
    for _ in 0..=MAX_LINKS {
        match std::fs::symlink_metadata(&at) {
            Ok(meta) if meta.is_symlink() => {
                let target =
                    std::fs::read_link(&at).map_err(CliError::io(format!("readlink {at}")))?;
                at = joined(&split_entry(&at).0, &target.to_string_lossy());
            }
            Ok(meta) => {
                return Ok(CopyInfo {
                    path: at,
                    exists: true,
                    is_dir: meta.is_dir(),
                    rebase: None,
                });
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let parent = split_entry(&at).0;
                let meta =
                    std::fs::metadata(&parent).map_err(CliError::io(format!("stat {parent}")))?;
                if !meta.is_dir() {
                    return Err(CliError::Copy("not a directory".to_owned()));
                }
                return Ok(CopyInfo {
                    path: at,
                    ..CopyInfo::default()
                });
            }
            Err(error) => return Err(CliError::io(format!("lstat {at}"))(error)),
        }
    }
    Err(CliError::Copy(format!("too many symlinks in {path}")))
}

/// Refuses what nothing can be copied to, before anything is asked of a daemon.
pub(super) fn check_output(path: &str) -> Result<(), CliError> {
    use std::os::unix::fs::FileTypeExt as _;
    let folder = split_entry(&clean(path)).0;
    if folder != "." && !Path::new(&folder).exists() {
        return Err(CliError::Copy(format!(
            "invalid output path: directory {folder:?} does not exist"
        )));
    }
    match std::fs::metadata(path) {
        Ok(meta) if meta.file_type().is_block_device() || meta.file_type().is_char_device() => {
            Err(CliError::Copy(format!(
                "invalid output path: {path:?} must be a directory or a regular file: got a device"
            )))
        }
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(CliError::io(format!("stat {path}"))(error))
        }
        _ => Ok(()),
    }
}

/// The folder that a copy is unpacked into, and the name of its top if that changes.
pub(super) fn prepare(
    source: &CopyInfo,
    destination: &CopyInfo,
) -> Result<(String, Option<String>), CliError> {
    let (folder, name) = split_entry(&destination.path);
    match (destination.exists, destination.is_dir) {
        (true, true) => Ok((destination.path.clone(), None)),
        (true, false) if source.is_dir => Err(CliError::Copy("cannot copy directory".to_owned())),
        (false, _) if !source.is_dir && means_folder(&destination.path) => {
            Err(CliError::Copy("no such directory".to_owned()))
        }
        _ => Ok((folder, Some(name))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_split() {
        for (arg, container, path) in [
            ("c:/p", Some("c"), "/p"),
            ("c:p:q", Some("c"), "p:q"),
            ("/a:b", None, "/a:b"),
            ("./a:b", None, "./a:b"),
            ("plain", None, "plain"),
            ("-", None, "-"),
        ] {
            assert_eq!(split(arg), (container, path), "{arg}");
        }
    }

    #[test]
    fn paths_as_go_has_them() {
        for (path, text) in [
            ("/a/../b/", "/b"),
            ("", "."),
            ("a/./b", "a/b"),
            ("../a", "../a"),
            ("/..", "/"),
        ] {
            assert_eq!(clean(path), text, "{path}");
        }
        for (path, text) in [
            ("/a/b/", "b"),
            ("/", "/"),
            ("", "."),
            ("a/.", "."),
            ("/a", "a"),
        ] {
            assert_eq!(base(path), text, "{path}");
        }
        for (path, folder, name) in [
            ("/a/b", "/a", "b"),
            ("/a/.", "/a", "."),
            ("/a", "/", "a"),
            ("/", "/", "/"),
            ("a", ".", "a"),
        ] {
            let found = split_entry(path);
            assert_eq!(
                (found.0.as_str(), found.1.as_str()),
                (folder, name),
                "{path}"
            );
        }
        assert_eq!(keep_end("/a", "x/."), "/a/.");
        assert_eq!(keep_end("/a", "x/"), "/a/");
        assert_eq!(
            rebase("/l/", "/t"),
            ("/t/".to_owned(), Some("l".to_owned()))
        );
        assert_eq!(rebase("/t/.", "/t"), ("/t/.".to_owned(), None));
    }

    #[test]
    fn where_a_copy_goes() {
        let file = |path: &str| CopyInfo {
            path: path.to_owned(),
            exists: true,
            ..CopyInfo::default()
        };
        let dir = |path: &str| CopyInfo {
            is_dir: true,
            ..file(path)
        };
        let none = |path: &str| CopyInfo {
            exists: false,
            ..file(path)
        };
        let to = |folder: &str, name: Option<&str>| (folder.to_owned(), name.map(str::to_owned));
        assert_eq!(prepare(&file("/f"), &dir("/d")).unwrap(), to("/d", None));
        assert_eq!(prepare(&dir("/e"), &dir("/d/.")).unwrap(), to("/d/.", None));
        assert_eq!(
            prepare(&file("/f"), &file("/d/g")).unwrap(),
            to("/d", Some("g"))
        );
        assert_eq!(
            prepare(&file("/f"), &none("/d/g")).unwrap(),
            to("/d", Some("g"))
        );
        assert_eq!(
            prepare(&dir("/e"), &none("/d/g/")).unwrap(),
            to("/d", Some("g"))
        );
        assert_eq!(
            prepare(&dir("/e"), &file("/g")).unwrap_err().to_string(),
            "cannot copy directory"
        );
        assert_eq!(
            prepare(&file("/f"), &none("/g/")).unwrap_err().to_string(),
            "no such directory"
        );
    }
}
