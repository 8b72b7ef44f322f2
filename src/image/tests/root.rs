//! Root file systems of containers.

use std::fs;

use super::*;
use crate::errors::ErrorKind;

/// Unmounts whatever a failing test leaves.
struct Mounted<'a>(&'a Fixture, &'a str);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = self.0.store.unmount_rootfs(self.1);
    }
}

#[test]
fn a_container_sees_all_layers() {
    if !root_or_skip("mounts") {
        return;
    }
    let store = Fixture::new();
    let mut layers = vec![
        Tar::default()
            .dir("d", 0o755)
            .file("d/hidden", b"1")
            .file("gone", b"1")
            .file("changed", b"old")
            .done(),
    ];
    // As many as an image may have.
    for i in 1..124 {
        layers.push(Tar::default().file(&format!("layer-{i}"), b"x").done());
    }
    layers.push(
        Tar::default()
            .file("d/.wh..wh..opq", b"")
            .file("d/seen", b"2")
            .file(".wh.gone", b"")
            .file("changed", b"new")
            .done(),
    );
    store.load(&docker_archive(&layers, &["deep"])).unwrap();
    let image = store.store.resolve("deep").unwrap();
    let container = "a".repeat(64);
    store.store.prepare_rootfs(&container, &image).unwrap();
    let guard = Mounted(&store, &container);
    let merged = store.store.mount_rootfs(&container).unwrap();
    assert_eq!(names(&merged.join("d")), ["seen"]);
    assert!(!merged.join("gone").exists());
    assert_eq!(fs::read(merged.join("changed")).unwrap(), b"new");
    assert!(merged.join("layer-1").exists() && merged.join("layer-123").exists());
    fs::write(merged.join("written"), "x").unwrap();
    fs::remove_file(merged.join("changed")).unwrap();
    // Once more is the same mount.
    assert_eq!(store.store.mount_rootfs(&container).unwrap(), merged);
    store.store.unmount_rootfs(&container).unwrap();
    assert_eq!(names(&merged), [""; 0]);
    store.store.unmount_rootfs(&container).unwrap();
    // What was written is there again, the image is as it was.
    store.store.mount_rootfs(&container).unwrap();
    assert_eq!(fs::read(merged.join("written")).unwrap(), b"x");
    assert!(!merged.join("changed").exists());
    assert_eq!(
        fs::read(store.layer("deep", 124).join("changed")).unwrap(),
        b"new"
    );

    // A busy one is detached; the image's layers stay while a container stands on them.
    let busy = fs::File::open(merged.join("written")).unwrap();
    let removed = store.store.remove("deep", true, false, &|_| None).unwrap();
    assert_eq!(removed.len(), 2);
    assert!(merged.join("layer-1").exists());
    store.store.remove_rootfs(&container).unwrap();
    drop(busy);
    drop(guard);
    assert_eq!(names(&store.path("overlay")), [""; 0]);
    store.assert_empty();
    store.store.remove_rootfs(&container).unwrap();
}

#[test]
fn an_image_without_layers_can_be_mounted() {
    if !root_or_skip("mounts") {
        return;
    }
    let store = Fixture::new();
    store.load(&docker_archive(&[], &["scratch-like"])).unwrap();
    let image = store.store.resolve("scratch-like").unwrap();
    store.store.prepare_rootfs("c1", &image).unwrap();
    let _guard = Mounted(&store, "c1");
    let merged = store.store.mount_rootfs("c1").unwrap();
    fs::write(merged.join("f"), "x").unwrap();
    assert!(store.path("overlay/c1/upper/f").exists());
    store.store.remove_rootfs("c1").unwrap();
}

#[test]
fn bad_containers_are_refused() {
    let store = Fixture::new();
    store
        .import(&Tar::default().file("f", b"").done(), "x")
        .unwrap();
    let image = store.store.resolve("x").unwrap();
    for container in ["", "..", "../x", "a/b", ".hidden", &"x".repeat(200)] {
        let error = store.store.prepare_rootfs(container, &image).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{container}");
        assert!(store.store.remove_rootfs(container).is_err(), "{container}");
    }
    let error = store.store.mount_rootfs("none").unwrap_err();
    assert_eq!(
        error.to_string(),
        "no root file system prepared for container none"
    );
    // An image that was removed since it was resolved.
    store.store.remove("x", false, false, &|_| None).unwrap();
    let error = store.store.prepare_rootfs("c", &image).unwrap_err();
    assert!(error.to_string().contains("is missing"), "{error}");
}
