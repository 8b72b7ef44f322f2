//! `commit`: an image of what a container stands on and what it has written. The layers below are
//! shared; the new one is the container's upper folder as a tar, unpacked like any other.

use std::io::{BufWriter, PipeWriter};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use nix::sys::stat::FileStat;
use serde_json::json;

use super::config::{self, History, Image};
use super::error::{ArchiveError, ImageError, LayerError};
use super::layers;
use super::state::now;
use super::store::{ImageStore, Staged, layer_error, open_folder};
use super::upper::{self, Lower, Object, Visitor};
use crate::api::types::ContainerConfig;
use crate::files::{Header, Kind, PackOptions, Packer};

/// Digest of a tar without entries: no layer is made of it (source: Moby `layer`, "EmptyTar").
const EMPTY_TAR: &str = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";
const WHITEOUT: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";
/// Bytes that go to the reader at once.
const BUFFER: usize = 64 * 1024;

/// What an image is made from.
#[derive(Clone, Debug)]
pub(crate) struct Commit {
    /// Id of the container.
    pub(crate) container: String,
    /// Its settings, which the image notes.
    pub(crate) container_config: ContainerConfig,
    /// The image's settings.
    pub(crate) config: ContainerConfig,
    pub(crate) author: String,
    pub(crate) comment: String,
}

impl ImageStore {
    /// Makes the image, without a name.
    ///
    /// # Errors
    /// More layers than an image can have; a disk that cannot be read or written.
    pub(crate) fn commit(&self, from: &Commit) -> Result<Arc<Image>, ImageError> {
        let below = self.rootfs.layers_of(&from.container)?;
        let _pin = self.pin(&below);
        let lower: Vec<PathBuf> = below.iter().rev().map(|id| self.layers.diff(id)).collect();
        let work = self.work_folder()?;
        let folder = work.path().join("layer");
        let failed = |source| ImageError::Write { source };
        let upper = open_folder(&self.rootfs.upper(&from.container)?)?;
        let layers_below = self.lower_of(&below)?;
        let (mut read, write) = std::io::pipe().map_err(failed)?;
        let writer = std::thread::Builder::new()
            .name("commit".to_owned())
            .spawn(move || pack(&upper, layers_below, write))
            .map_err(failed)?;
        let staged = layers::stage(&mut read, None, &folder, &lower);
        drop(read);
        let packed = writer.join().unwrap_or(Err(ImageError::Upper(
            "the thread that reads it has failed",
        )));
        // A reader that failed has broken the pipe; one that got half has no digest of the whole.
        let staged = match (staged, packed) {
            (Err(LayerError::Tar(_)), Err(error)) => return Err(error),
            (Err(error), _) => return Err(layer_error("container")(error)),
            (Ok(_), Err(error)) => return Err(error),
            (Ok(staged), Ok(())) => staged,
        };
        let mut diff_ids = Vec::new();
        for id in &below {
            let record = self.layers.record(id)?;
            let record = record.ok_or_else(|| ImageError::LayerMissing {
                image: from.container.clone(),
                layer: id.clone(),
            })?;
            diff_ids.push(record.diff_id);
        }
        let empty = staged.diff_id == EMPTY_TAR;
        if !empty {
            diff_ids.push(staged.diff_id.clone());
        }
        let parent = self.lock().get(&self.rootfs.image_of(&from.container)?);
        let bytes = configuration(from, parent.as_deref(), below.len(), &diff_ids, empty)?;
        let image = config::parse("committed image", &bytes)?;
        let _all = self.pin(&image.chain);
        let mut new = Vec::new();
        if let Some(chain_id) = image.chain.last().filter(|_| !empty) {
            layers::write_record(&folder, chain_id, &staged)?;
            new.push((chain_id.clone(), folder));
        }
        let id = image.id.clone();
        self.publish(vec![Staged {
            image,
            config: bytes,
            tags: Vec::new(),
            manifest: None,
            layers: new,
        }])?;
        self.lock().get(&id).ok_or(ImageError::NoSuchImage(id))
    }
}

/// The image's configuration; `parent` may have been removed while the container kept its layers.
fn configuration(
    from: &Commit,
    parent: Option<&Image>,
    layers: usize,
    diff_ids: &[String],
    empty: bool,
) -> Result<Vec<u8>, ImageError> {
    let created = now();
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let mut history = match parent {
        Some(parent) => parent.history.clone(),
        None => vec![History::default(); layers],
    };
    history.push(History {
        created: Some(created.clone()),
        created_by: text(
            &from
                .container_config
                .cmd
                .clone()
                .unwrap_or_default()
                .join(" "),
        ),
        author: text(&from.author),
        comment: text(&from.comment),
        empty_layer: empty.then_some(true),
    });
    let mut value = json!({
        "architecture": parent.map_or(config::host_architecture(), |image| &image.architecture),
        "config": from.config,
        "container": from.container,
        "container_config": from.container_config,
        "created": created,
        "docker_version": env!("CARGO_PKG_VERSION"),
        "history": history,
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let variant = parent.map_or("", |image| &image.variant);
    for (key, text) in [
        ("author", from.author.as_str()),
        ("comment", &from.comment),
        ("variant", variant),
        ("parent", parent.map_or("", |image| &image.id)),
    ] {
        if !text.is_empty() {
            value[key] = text.into();
        }
    }
    serde_json::to_vec(&value).map_err(|source| {
        ImageError::Archive(ArchiveError::Json {
            name: "configuration".to_owned(),
            source,
        })
    })
}

/// Writes an upper folder as the tar of a layer.
fn pack(upper: &OwnedFd, lower: Lower, write: PipeWriter) -> Result<(), ImageError> {
    let mut out = BufWriter::with_capacity(BUFFER, write);
    let options = PackOptions {
        sparse: true,
        ..PackOptions::default()
    };
    let mut layer = Layer {
        packer: Packer::new(&mut out, options),
        lower,
        waiting: Vec::new(),
        levels: Vec::new(),
    };
    upper::walk(upper, &mut layer)?;
    layer.packer.finish().map_err(ImageError::Pack)
}

/// Turns what overlayfs writes into a layer's form (source: OCI image layer specification).
struct Layer<'a> {
    packer: Packer<'a>,
    lower: Lower,
    /// Folders that every container has, on the way down: they are written once something in them is.
    waiting: Vec<(Vec<u8>, OwnedFd, FileStat)>,
    /// Whether each folder on the way down had to wait.
    levels: Vec<bool>,
}

impl Layer<'_> {
    fn write_waiting(&mut self) -> Result<(), ImageError> {
        for (path, fd, stat) in std::mem::take(&mut self.waiting) {
            self.packer
                .one(fd.as_fd(), &stat, &path)
                .map_err(ImageError::Pack)?;
        }
        Ok(())
    }

    /// An empty file that stands for something.
    fn mark(&mut self, path: Vec<u8>) -> Result<(), ImageError> {
        let header = Header {
            kind: Kind::File,
            path,
            link: Vec::new(),
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: 0,
            device: (0, 0),
            size: 0,
            xattrs: Vec::new(),
            pieces: None,
        };
        self.packer.header(&header).map_err(ImageError::Pack)
    }
}

impl Visitor for Layer<'_> {
    fn enter(&mut self, object: &Object) -> Result<bool, ImageError> {
        if object.is_whiteout() {
            self.write_waiting()?;
            let at = object.path.iter().rposition(|byte| *byte == b'/');
            let (folder, name) = object.path.split_at(at.map_or(0, |at| at + 1));
            self.mark([folder, WHITEOUT.as_bytes(), name].concat())?;
            return Ok(false);
        }
        if upper::is_own(object) {
            if !object.is_folder() {
                return Ok(false);
            }
            if self.lower.is_as_below(object) {
                let fd = object
                    .fd
                    .try_clone()
                    .map_err(|source| ImageError::Write { source })?;
                self.waiting.push((object.path.clone(), fd, object.stat));
                self.levels.push(true);
                return Ok(true);
            }
        }
        self.write_waiting()?;
        self.packer
            .one(object.fd.as_fd(), &object.stat, &object.path)
            .map_err(ImageError::Pack)?;
        if object.is_folder() {
            if object.is_opaque() {
                self.mark([object.path.as_slice(), b"/", OPAQUE.as_bytes()].concat())?;
            }
            self.levels.push(false);
        }
        Ok(true)
    }

    fn leave(&mut self) {
        if self.levels.pop() == Some(true) {
            // Nothing in it was written, or it is not waiting any more.
            self.waiting.pop();
        }
    }
}
