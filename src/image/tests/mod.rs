//! Tests of the store as a whole, on archives built in memory.

mod load;
mod names;
mod root;
mod save;
mod unpack;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;
use tempfile::TempDir;

use super::compress::digest;
use super::config::host_architecture;
use super::error::ImageError;
use super::remove::{InUse, Removed};
use super::store::{ImageStore, LoadEvent};

/// A tar under construction; names are written as they are, also hostile ones.
#[derive(Clone, Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn raw(mut self, flag: u8, path: &str, link: &str, mode: u32, data: &[u8]) -> Self {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.as_old_mut().linkflag[0] = flag;
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.set_size(data.len() as u64);
        if matches!(flag, b'3' | b'4') {
            header.set_device_major(1).unwrap();
            header.set_device_minor(3).unwrap();
        }
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }
    fn file(self, path: &str, data: &[u8]) -> Self {
        self.raw(b'0', path, "", 0o644, data)
    }
    fn dir(self, path: &str, mode: u32) -> Self {
        self.raw(b'5', path, "", mode, b"")
    }
    fn symlink(self, path: &str, target: &str) -> Self {
        self.raw(b'2', path, target, 0o777, b"")
    }
    fn hard_link(self, path: &str, target: &str) -> Self {
        self.raw(b'1', path, target, 0o644, b"")
    }
    fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let base = key.len() + value.len() + 3;
            let mut len = base + 1;
            while len != base + len.to_string().len() {
                len = base + len.to_string().len();
            }
            data.extend_from_slice(format!("{len} {key}=").as_bytes());
            data.extend_from_slice(value);
            data.push(b'\n');
        }
        self.raw(b'x', "pax", "", 0o644, &data)
    }
    fn done(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

/// A `docker save` archive of one image.
fn docker_archive(layers: &[Vec<u8>], tags: &[&str]) -> Vec<u8> {
    docker_archive_with(layers, tags, &diff_ids(layers))
}

fn diff_ids(layers: &[Vec<u8>]) -> Vec<String> {
    layers.iter().map(|layer| digest(layer)).collect()
}

fn docker_archive_with(layers: &[Vec<u8>], tags: &[&str], diff_ids: &[String]) -> Vec<u8> {
    let config = image_config(diff_ids);
    let mut tar = Tar::default().file("c.json", &config);
    let mut names = Vec::new();
    for (i, layer) in layers.iter().enumerate() {
        names.push(format!("{i}/layer.tar"));
        tar = tar.file(&format!("{i}/layer.tar"), layer);
    }
    let manifest = json!([{"Config": "c.json", "RepoTags": tags, "Layers": names}]);
    tar.file("manifest.json", manifest.to_string().as_bytes())
        .done()
}

fn image_config(diff_ids: &[String]) -> Vec<u8> {
    json!({
        "architecture": host_architecture(),
        "os": "linux",
        "created": "2026-01-02T03:04:05Z",
        "config": {"Cmd": ["sh"], "Env": ["A=1"], "Labels": null},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created_by": "test"}],
    })
    .to_string()
    .into_bytes()
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// Two frames with a skippable one between, as parallel writers make them.
fn zstd(data: &[u8]) -> Vec<u8> {
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};
    let (a, b) = data.split_at(data.len() / 2);
    let mut out = compress_to_vec(a, CompressionLevel::Fastest);
    out.extend_from_slice(&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]);
    out.extend(compress_to_vec(b, CompressionLevel::Fastest));
    out
}

struct Fixture {
    root: TempDir,
    store: ImageStore,
}

impl Fixture {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let store = ImageStore::open(root.path()).unwrap();
        Self { root, store }
    }

    fn reopen(self) -> Self {
        let Self { root, store } = self;
        drop(store);
        let store = ImageStore::open(root.path()).unwrap();
        Self { root, store }
    }

    fn load(&self, archive: &[u8]) -> Result<Vec<LoadEvent>, ImageError> {
        let mut events = Vec::new();
        self.store
            .load(&mut &archive[..], &mut |event| events.push(event))?;
        Ok(events)
    }

    fn import(&self, tar: &[u8], name: &str) -> Result<String, ImageError> {
        self.store
            .import(&mut &tar[..], Some(name), "", &[])
            .map(|image| image.id.clone())
    }

    /// Unpacked folder of an image's layer.
    fn layer(&self, name: &str, index: usize) -> PathBuf {
        let image = self.store.resolve(name).unwrap();
        self.path("overlay-layers")
            .join(&image.chain[index]["sha256:".len()..])
            .join("diff")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Nothing registered, nothing left behind.
    fn assert_empty(&self) {
        assert!(self.store.list().is_empty());
        assert_eq!(names(&self.path("tmp")), [""; 0]);
        assert_eq!(names(&self.path("image/configs")), [""; 0]);
        assert_eq!(names(&self.path("overlay-layers")), ["l"]);
        assert_eq!(names(&self.path("overlay-layers/l")), [""; 0]);
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Whether the test runs as root; if not, says what is skipped.
fn root_or_skip(what: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        println!("skipped, needs root: {what}");
    }
    root
}
