//! Root file systems of containers: `<data root>/overlay/<container>/{upper,work,merged,lower.json}`.
//!
//! Lower layers are given by their short links relative to the folder of links, on a thread with a
//! working directory of its own, so that 125 layers fit into the page that `mount` takes.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use serde::{Deserialize, Serialize};

use super::error::ImageError;
use super::files;
use super::held::Held;
use super::layers::{LayerStore, short};

const VERSION: u64 = 1;
/// Folder for the `/dev/shm` of a container that shares it.
const SHM: &str = "shm";
const OVERLAY: &str = "overlay";
const TMPFS: &str = "tmpfs";

/// `lower.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Lower {
    version: u64,
    /// Id of the image.
    pub(super) image: String,
    /// Chain ids, lowest first.
    pub(super) layers: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Rootfs {
    folder: PathBuf,
    held: Held,
}

impl Rootfs {
    pub(super) fn open(data_root: &Path) -> Result<Self, ImageError> {
        let folder = data_root.join("overlay");
        files::make_folder(&folder)?;
        Ok(Self {
            folder,
            held: Held::default(),
        })
    }

    fn path(&self, container: &str) -> Result<PathBuf, ImageError> {
        let clean = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        if container.is_empty()
            || container.len() > 128
            || container.starts_with('.')
            || !container.bytes().all(clean)
        {
            return Err(ImageError::ContainerId(container.to_owned()));
        }
        Ok(self.folder.join(container))
    }

    /// Makes the folders; the file that says what lies below comes last.
    pub(super) fn prepare(
        &self,
        container: &str,
        image: &str,
        layers: &[String],
    ) -> Result<(), ImageError> {
        let path = self.path(container)?;
        files::make_folder(&path)?;
        for name in ["upper", "work", "merged", "empty"] {
            let folder = path.join(name);
            files::make_folder(&folder)?;
            // The upper folder's mode is what the container sees of its root.
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))
                .map_err(ImageError::io("set the mode of", &folder))?;
        }
        let file = path.join("lower.json");
        let lower = Lower {
            version: VERSION,
            image: image.to_owned(),
            layers: layers.to_vec(),
        };
        let bytes = serde_json::to_vec(&lower).map_err(|source| ImageError::Damaged {
            path: file.clone(),
            source,
        })?;
        files::write_atomic(&file, &bytes)
    }

    fn lower(&self, container: &str) -> Result<Lower, ImageError> {
        let file = self.path(container)?.join("lower.json");
        let bytes = match fs::read(&file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ImageError::NoRootfs(container.to_owned()));
            }
            Err(error) => return Err(ImageError::io("read", &file)(error)),
        };
        let lower: Lower =
            serde_json::from_slice(&bytes).map_err(|source| ImageError::Damaged {
                path: file.clone(),
                source,
            })?;
        if lower.version > VERSION {
            return Err(ImageError::StateVersion {
                path: file,
                found: lower.version,
                known: VERSION,
            });
        }
        Ok(lower)
    }

    /// The layers that a container stands on, lowest first.
    pub(super) fn layers_of(&self, container: &str) -> Result<Vec<String>, ImageError> {
        self.lower(container).map(|lower| lower.layers)
    }

    /// Id of the container's image.
    pub(super) fn image_of(&self, container: &str) -> Result<String, ImageError> {
        self.lower(container).map(|lower| lower.image)
    }

    /// What the container has written.
    pub(super) fn upper(&self, container: &str) -> Result<PathBuf, ImageError> {
        Ok(self.path(container)?.join("upper"))
    }

    /// Layers that containers stand on. An error if one cannot tell: then nothing may be removed.
    pub(super) fn layers_in_use(&self) -> Result<Vec<String>, ImageError> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(ImageError::io("read", &self.folder))? {
            let entry = entry.map_err(ImageError::io("read", &self.folder))?;
            let name = entry.file_name();
            match self.lower(&name.to_string_lossy()) {
                Ok(lower) => found.extend(lower.layers),
                Err(ImageError::NoRootfs(_) | ImageError::ContainerId(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Mounts it for a run, if it is not mounted yet.
    pub(super) fn mount(
        &self,
        container: &str,
        layers: &LayerStore,
    ) -> Result<PathBuf, ImageError> {
        let mut held = self.held.lock(container);
        let path = self.mount_now(container, layers)?;
        if let Some(holders) = held.get_mut(container) {
            holders.unmount = false;
        }
        Ok(path)
    }

    /// Mounts it for somebody else; `release` gives it back.
    pub(super) fn hold(&self, container: &str, layers: &LayerStore) -> Result<PathBuf, ImageError> {
        let mut held = self.held.lock(container);
        let unmount = !is_mounted(&self.path(container)?.join("merged"), OVERLAY)?;
        let path = self.mount_now(container, layers)?;
        let holders = held.entry(container.to_owned()).or_default();
        holders.count += 1;
        holders.unmount |= unmount;
        Ok(path)
    }

    /// The last one unmounts what no run uses.
    pub(super) fn release(&self, container: &str) -> Result<(), ImageError> {
        let mut held = self.held.lock(container);
        let Some(holders) = held.get_mut(container) else {
            return Ok(());
        };
        holders.count -= 1;
        if holders.count > 0 {
            return Ok(());
        }
        let unmount = holders.unmount;
        held.remove(container);
        if unmount {
            return unmount_from(&self.path(container)?.join("merged"), OVERLAY);
        }
        Ok(())
    }

    fn mount_now(&self, container: &str, layers: &LayerStore) -> Result<PathBuf, ImageError> {
        let path = self.path(container)?;
        let merged = path.join("merged");
        let lower = self.lower(container)?;
        if is_mounted(&merged, OVERLAY)? {
            return Ok(merged);
        }
        for layer in &lower.layers {
            if !layers.diff(layer).is_dir() {
                return Err(ImageError::LayerMissing {
                    image: lower.image.clone(),
                    layer: layer.clone(),
                });
            }
            layers.link(layer)?;
        }
        let options = options(&lower, container);
        let failed = |source: io::Error| ImageError::Mount {
            container: container.to_owned(),
            path: merged.clone(),
            source,
        };
        let links = layers.links();
        let target = merged.clone();
        std::thread::Builder::new()
            .name("mount".to_owned())
            .spawn(move || mount_from(&links, &target, &options))
            .map_err(failed)?
            .join()
            .unwrap_or(Err(Errno::EIO))
            .map_err(|errno| failed(errno.into()))?;
        Ok(merged)
    }

    /// After a run. Who else holds it goes on, and unmounts it at the end.
    pub(super) fn unmount(&self, container: &str) -> Result<(), ImageError> {
        let path = self.path(container)?;
        let mut held = self.held.lock(container);
        match held.get_mut(container) {
            Some(holders) => holders.unmount = true,
            None => unmount_from(&path.join("merged"), OVERLAY)?,
        }
        unmount_from(&path.join(SHM), TMPFS)
    }

    /// Mounts what a container and those that join its IPC namespace have at `/dev/shm`, if it is
    /// not mounted yet; `unmount` takes it away. The namespace itself does not bring it along.
    pub(super) fn mount_shm(&self, container: &str, bytes: i64) -> Result<PathBuf, ImageError> {
        let folder = self.path(container)?.join(SHM);
        if is_mounted(&folder, TMPFS)? {
            return Ok(folder);
        }
        files::make_folder(&folder)?;
        let options = format!("mode=1777,size={bytes}");
        mount(
            Some("shm"),
            &folder,
            Some(TMPFS),
            MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
            Some(options.as_str()),
        )
        .map_err(|errno| ImageError::io("mount a tmpfs at", &folder)(errno.into()))?;
        Ok(folder)
    }

    /// Where `mount_shm` has mounted it; `None` if it has not.
    pub(super) fn shm(&self, container: &str) -> Result<Option<PathBuf>, ImageError> {
        let folder = self.path(container)?.join(SHM);
        Ok(is_mounted(&folder, TMPFS)?.then_some(folder))
    }

    /// Removes all of a container's file system. Returns the layers that it stood on.
    pub(super) fn remove(&self, container: &str) -> Result<Vec<String>, ImageError> {
        let path = self.path(container)?;
        {
            // Holders lose it: what they have open is empty from now on.
            let _held = self.held.lock(container);
            unmount_from(&path.join("merged"), OVERLAY)?;
            unmount_from(&path.join(SHM), TMPFS)?;
        }
        let layers = match self.lower(container) {
            Ok(lower) => lower.layers,
            Err(ImageError::NoRootfs(_)) => Vec::new(),
            Err(error) => {
                tracing::warn!(container, error = %error, "layers of the container are not known");
                Vec::new()
            }
        };
        files::remove_tree(&path)?;
        Ok(layers)
    }
}

/// All names are relative to the folder of links and need no escapes.
fn options(lower: &Lower, container: &str) -> String {
    let own = format!("../../overlay/{container}");
    let below = if lower.layers.is_empty() {
        format!("{own}/empty")
    } else {
        lower
            .layers
            .iter()
            .rev()
            .map(|layer| short(layer))
            .collect::<Vec<_>>()
            .join(":")
    };
    let mut options = format!("lowerdir={below},upperdir={own}/upper,workdir={own}/work");
    // Without an index a stopped container's upper folder can be mounted over the layers again
    // after they were copied to another disk.
    if Path::new("/sys/module/overlay/parameters/index").exists() {
        options.push_str(",index=off");
    }
    // A renamed folder and a change of owner are copied up whole: the upper folder alone, with the
    // layers, says what the container has changed.
    for parameter in ["redirect_dir", "metacopy"] {
        if Path::new("/sys/module/overlay/parameters")
            .join(parameter)
            .exists()
        {
            options.push_str(&format!(",{parameter}=off"));
        }
    }
    options
}

/// Runs on a thread of its own: its working directory is no other thread's.
fn mount_from(links: &Path, target: &Path, options: &str) -> Result<(), Errno> {
    unshare(CloneFlags::CLONE_FS)?;
    nix::unistd::chdir(links)?;
    mount(
        Some("overlay"),
        target,
        Some("overlay"),
        MsFlags::empty(),
        Some(options),
    )
}

/// Whether a file system of type `kind` is mounted at a path, by the kernel's own list.
fn is_mounted(path: &Path, kind: &str) -> Result<bool, ImageError> {
    let list = Path::new("/proc/self/mountinfo");
    let text = fs::read(list).map_err(ImageError::io("read", list))?;
    Ok(text
        .split(|byte| *byte == b'\n')
        .filter_map(|line| mount_point(line, kind))
        .any(|point| point == path))
}

/// Unmounts what is there, more than once if it was mounted over by hand; a busy one is detached.
fn unmount_from(path: &Path, kind: &str) -> Result<(), ImageError> {
    while is_mounted(path, kind)? {
        let flags = MntFlags::UMOUNT_NOFOLLOW;
        let result = match umount2(path, flags) {
            Err(Errno::EBUSY) => umount2(path, flags | MntFlags::MNT_DETACH),
            other => other,
        };
        match result {
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
            Err(errno) => return Err(ImageError::io("unmount", path)(errno.into())),
        }
    }
    Ok(())
}

/// Fifth field of a line of mountinfo, escapes undone, for a file system of type `kind`.
fn mount_point(line: &[u8], kind: &str) -> Option<PathBuf> {
    let mut fields = line.split(|byte| *byte == b' ');
    let point = fields.nth(4)?;
    let mut after = fields.skip_while(|field| *field != b"-");
    (after.nth(1)? == kind.as_bytes()).then(|| {
        let path = unescape(point);
        PathBuf::from(std::ffi::OsString::from_vec(path))
    })
}

/// `\040` and the like.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = tail
            .get(..3)
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(value) if byte == b'\\' => {
                out.push(value);
                rest = &tail[3..];
            }
            _ => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read() {
        let line = b"36 35 98:0 / /mnt\\040a/merged rw shared:1 - overlay overlay rw,lowerdir=x";
        assert_eq!(
            mount_point(line, OVERLAY).unwrap(),
            Path::new("/mnt a/merged")
        );
        let other = b"36 35 98:0 / /mnt rw - ext4 /dev/root rw";
        assert_eq!(mount_point(other, OVERLAY), None);
        assert_eq!(mount_point(line, TMPFS), None);
        assert_eq!(unescape(b"a\\134b\\04"), b"a\\b\\04");
    }

    #[test]
    fn options_of_the_deepest_image_fit_into_a_page() {
        let lower = Lower {
            version: VERSION,
            image: String::new(),
            layers: vec![format!("sha256:{}", "0".repeat(64)); super::super::config::MAX_LAYERS],
        };
        assert!(options(&lower, &"c".repeat(64)).len() < 4096);
    }
}
