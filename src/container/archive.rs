//! `cp`: files of a container as a tar archive, both ways (docs: Engine API `ContainerArchive`,
//! `ContainerArchiveInfo`, `PutContainerArchive`).

use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use nix::fcntl::OFlag;
use nix::sys::statvfs::{FsFlags, fstatvfs};

use super::exit::blocking;
use super::view::View;
use super::{Container, Record, Status};
use crate::daemon::Daemon;
use crate::errors::{ApiError, ErrorKind, chain};
use crate::files::{Extract, FileError, Owner, PackOptions, Packer, PathStat, Root, WantedPath};
use crate::image::{ChangeKind, HeldRootfs};
use crate::runtime;

/// Query of `PUT /containers/{}/archive`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ExtractOptions {
    /// A folder is not replaced by something else, nor something else by a folder.
    pub(crate) keep_kinds: bool,
    /// The container's user owns what is unpacked, if it has one.
    pub(crate) container_user: bool,
}

/// An object in a container that is ready to be archived.
#[derive(Debug)]
pub(crate) struct Source {
    view: View,
    object: std::os::fd::OwnedFd,
    /// Name of the object in the archive.
    name: Vec<u8>,
    /// It is the container's root.
    top: bool,
    pub(crate) stat: PathStat,
}

impl Source {
    /// Writes the archive. Blocking.
    ///
    /// # Errors
    /// A disk that cannot be read; those of `out`.
    pub(crate) fn write(self, out: &mut dyn Write) -> Result<(), FileError> {
        let options = PackOptions {
            sparse: true,
            // The devices of a run, which Docker shows neither.
            empty: match self.top {
                true => vec![b"dev".to_vec()],
                false => Vec::new(),
            },
            no_kernel: true,
        };
        let mut packer = Packer::new(out, options);
        packer.tree(self.object, &self.name)?;
        packer.finish()?;
        drop(self.view);
        Ok(())
    }
}

/// A container's root file system that is ready to be exported.
#[derive(Debug)]
pub(crate) struct Export {
    held: HeldRootfs,
}

impl Export {
    /// Writes the archive. Blocking.
    ///
    /// # Errors
    /// A disk that cannot be read; those of `out`.
    pub(crate) fn write(self, out: &mut dyn Write) -> Result<(), FileError> {
        let root = Root::open(self.held.path())?;
        let mut packer = Packer::new(out, PackOptions::default());
        let top = root.fd().try_clone_to_owned().map_err(FileError::Write)?;
        packer.tree(top, b"")?;
        packer.finish()
    }
}

impl Daemon {
    /// A container's file system without what is mounted into it.
    ///
    /// # Errors
    /// 409 while it is being removed.
    pub(crate) async fn export(&self, container: &Arc<Container>) -> Result<Export, ApiError> {
        let what = match container.record().state.status {
            Status::Dead => Some("which is Dead"),
            Status::Removing => Some("which is being removed"),
            _ => None,
        };
        if let Some(what) = what {
            return Err(ApiError::conflict(format!(
                "You cannot export container {} {what}",
                container.id
            )));
        }
        let images = Arc::clone(&self.images);
        let id = container.id.clone();
        let held = run(move || {
            images
                .hold_rootfs(&id)
                .map_err(|error| ApiError::system(chain(&error)))
        })
        .await?;
        self.container_event(container, "export", []);
        Ok(Export { held })
    }

    /// What a path in a container is; `name` is the container as the client calls it.
    ///
    /// # Errors
    /// 404 if there is nothing, 400 if it is said to be a folder and is none.
    pub(crate) async fn stat_path(
        &self,
        container: &Arc<Container>,
        name: &str,
        path: &str,
    ) -> Result<PathStat, ApiError> {
        let view = self.view(container).await?;
        let (name, path) = (name.to_owned(), path.to_owned());
        run(move || {
            let wanted = WantedPath::new(&path);
            let found = view.root.find(&wanted);
            found
                .and_then(|(_, stat)| view.root.describe(&wanted, &stat))
                .map_err(|error| not_there(error, &name, &path))
        })
        .await
    }

    /// Finds what is to be archived.
    ///
    /// # Errors
    /// As [`Self::stat_path`].
    pub(crate) async fn archive_source(
        &self,
        container: &Arc<Container>,
        name: &str,
        path: &str,
    ) -> Result<Source, ApiError> {
        let view = self.view(container).await?;
        let (name, path) = (name.to_owned(), path.to_owned());
        let source = run(move || {
            let wanted = WantedPath::new(&path);
            let found = view.root.find(&wanted).and_then(|(object, stat)| {
                let stat = view.root.describe(&wanted, &stat)?;
                Ok((object, stat))
            });
            let (object, stat) = found.map_err(|error| not_there(error, &name, &path))?;
            Ok(Source {
                view,
                object,
                name: wanted.base().as_bytes().to_vec(),
                top: wanted.clean == "/",
                stat,
            })
        })
        .await?;
        self.container_event(container, "archive-path", []);
        Ok(source)
    }

    /// Unpacks an archive into a folder of a container.
    ///
    /// # Errors
    /// 404 if there is no such folder, 400 for something else of that name and for an archive that is
    /// damaged or would do what it may not, 403 for a read-only place. What was unpacked before stays.
    pub(crate) async fn extract_to(
        &self,
        container: &Arc<Container>,
        name: &str,
        path: &str,
        options: ExtractOptions,
        archive: impl Read + Send + 'static,
    ) -> Result<(), ApiError> {
        let view = self.view(container).await?;
        let record = container.record();
        let (name, path) = (name.to_owned(), path.to_owned());
        run(move || {
            let mut archive = archive;
            let base = base(&view.root, &path).map_err(|error| not_there(error, &name, &path))?;
            check_writable(&view.root, &base, &record)?;
            let rules = Extract {
                owner: owner(&view.root, &record, options)?,
                keep_kinds: options.keep_kinds,
                rename: None,
                prefix: String::new(),
            };
            rules
                .run(&mut archive, &view.root, &base)
                .map_err(|error| in_archive(error, &name, &path))
        })
        .await?;
        self.container_event(container, "extract-to-dir", []);
        Ok(())
    }
}

impl Daemon {
    /// What a container has changed of its image.
    ///
    /// # Errors
    /// 500 if its files cannot be read.
    pub(crate) async fn changes(
        &self,
        container: &Arc<Container>,
    ) -> Result<Vec<(String, ChangeKind)>, ApiError> {
        let images = Arc::clone(&self.images);
        let id = container.id.clone();
        run(move || {
            let changes = images
                .changes(&id)
                .map_err(|error| ApiError::system(chain(&error)))?;
            let shown = |path: Vec<u8>| String::from_utf8_lossy(&path).into_owned();
            Ok(changes
                .into_iter()
                .map(|(path, kind)| (shown(path), kind))
                .collect())
        })
        .await
    }
}

/// The folder that is unpacked into, links followed.
fn base(root: &Root, path: &str) -> Result<Vec<u8>, FileError> {
    let wanted = WantedPath::new(path);
    let base = root.follow(wanted.clean.as_bytes())?;
    let real = WantedPath::new(&String::from_utf8_lossy(&base));
    match root.find(&real)?.1.st_mode & libc::S_IFMT {
        libc::S_IFDIR => Ok(base),
        _ => Err(FileError::ExtractPoint),
    }
}

/// The kernel would refuse to write, too; this says why, in Docker's words.
fn check_writable(root: &Root, base: &[u8], record: &Record) -> Result<(), ApiError> {
    let folder = root
        .at(base, OFlag::O_RDONLY | OFlag::O_DIRECTORY)
        .map_err(|errno| ApiError::invalid(format!("open: {}", errno.desc())))?;
    let read_only = fstatvfs(&folder).is_ok_and(|fs| fs.flags().contains(FsFlags::ST_RDONLY));
    if !read_only {
        return Ok(());
    }
    let base = PathBuf::from(std::ffi::OsStr::from_bytes(base));
    let in_volume = record
        .points()
        .iter()
        .any(|point| base.starts_with(&point.target));
    Err(FileError::ReadOnly(match in_volume {
        true => "mounted volume",
        false => "container rootfs",
    })
    .into())
}

/// Who owns what is unpacked: as the archive says, or the container's user by its own files.
fn owner(root: &Root, record: &Record, options: ExtractOptions) -> Result<Owner, ApiError> {
    use std::os::fd::AsRawFd as _;
    let user = &record.config.user;
    if !options.container_user || user.is_empty() {
        return Ok(Owner::Archive);
    }
    let path = PathBuf::from(format!("/proc/self/fd/{}", root.fd().as_raw_fd()));
    let (uid, gid) = runtime::user_ids(&path, user).map_err(ApiError::from)?;
    Ok(Owner::Fixed(uid, gid))
}

/// Docker's text for what does not exist.
fn not_there(error: FileError, container: &str, path: &str) -> ApiError {
    match error {
        FileError::NotFound(_) => ApiError::not_found(format!(
            "Could not find the file {path} in container {container}"
        )),
        error => error.into(),
    }
}

/// Docker unpacks in a program of its own, and says so.
fn in_archive(error: FileError, container: &str, path: &str) -> ApiError {
    if !error.in_archive() {
        return not_there(error, container, path);
    }
    let mut error = ApiError::from(error);
    error.message = format!(
        "Error processing tar file(exit status 1): {}",
        error.message
    );
    error
}

async fn run<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    blocking(work)
        .await
        .unwrap_or_else(|| Err(ApiError::new(ErrorKind::System, "the daemon is ending")))
}
