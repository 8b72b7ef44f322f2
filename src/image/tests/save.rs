//! Saving: the archive's form, and that layers come back byte for byte.

use std::io::Read as _;

use serde_json::Value;

use super::*;

impl Fixture {
    fn save(&self, names: &[&str]) -> Result<Vec<u8>, ImageError> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut out = Vec::new();
        self.store.save(&names, &mut |_| {}, &mut out)?;
        Ok(out)
    }
}

fn member(archive: &[u8], wanted: &str) -> Option<Vec<u8>> {
    let mut archive = tar::Archive::new(archive);
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.path().unwrap().to_str() == Some(wanted) {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            return Some(bytes);
        }
    }
    None
}

fn json_member(archive: &[u8], name: &str) -> Value {
    serde_json::from_slice(&member(archive, name).unwrap()).unwrap()
}

fn id(store: &Fixture, name: &str) -> String {
    store.store.resolve(name).unwrap().id.clone()
}

/// Tars that are not simply the sum of what is seen of them.
fn odd_layers() -> Vec<(&'static str, Vec<u8>)> {
    let plain = Tar::default()
        .dir("d", 0o755)
        .file("d/f", b"content")
        .file("d/empty", b"");
    let mut trailing = plain.clone().done();
    trailing.extend_from_slice(&[0; 7 * 512]);
    trailing.extend_from_slice(b"after the end");
    vec![
        ("plain", plain.clone().done()),
        ("no end marker", plain.clone().0),
        ("trailing", trailing),
        (
            "twice",
            plain
                .clone()
                .file("d/f", b"second")
                .file("d/f", b"third, longer")
                .done(),
        ),
        (
            "folder replaced by a file",
            plain.clone().file("d", b"now a file").done(),
        ),
        (
            "replaced beyond a hard link",
            plain
                .clone()
                .hard_link("h", "d/f")
                .file("d/f", b"other")
                .file("h", b"again")
                .done(),
        ),
        (
            "link that comes to lead elsewhere",
            plain
                .clone()
                .symlink("l", "d")
                .file("l/g", b"through the link")
                .dir("e", 0o755)
                .raw(b'2', "l", "e", 0o777, b"")
                .file("l/g", b"elsewhere")
                .done(),
        ),
        (
            "whiteouts",
            plain
                .clone()
                .file(".wh.gone", b"with content")
                .file("d/.wh..wh..opq", b"")
                .done(),
        ),
        (
            "extended headers",
            plain
                .clone()
                .pax(&[("path", b"long"), ("mtime", b"1.5")])
                .file("short", b"x")
                .done(),
        ),
        (
            "sparse",
            plain
                .clone()
                .pax(&[
                    ("GNU.sparse.major", b"0"),
                    ("GNU.sparse.minor", b"1"),
                    ("GNU.sparse.name", b"holes"),
                    ("GNU.sparse.size", b"100000"),
                    ("GNU.sparse.map", b"4096,3,90000,4"),
                ])
                .file("GNUSparseFile.0/holes", b"abcdefg")
                .done(),
        ),
        ("large", plain.file("big", &vec![b'x'; 300_001]).done()),
    ]
}

#[test]
fn layers_come_back_byte_for_byte() {
    if !root_or_skip("whiteouts") {
        return;
    }
    for (what, layer) in odd_layers() {
        let store = Fixture::new();
        store
            .load(&docker_archive(std::slice::from_ref(&layer), &["x:1"]))
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        let saved = store
            .save(&["x:1"])
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        let name = format!("blobs/sha256/{}", &digest(&layer)["sha256:".len()..]);
        assert!(member(&saved, &name).unwrap() == layer, "{what}");
        let other = Fixture::new();
        other.load(&saved).unwrap();
        assert_eq!(id(&other, "x:1"), id(&store, "x:1"), "{what}");
        assert!(other.save(&["x:1"]).unwrap() == saved, "{what}");
    }
}

#[test]
fn imported_layers_come_back_too() {
    let store = Fixture::new();
    let tar = Tar::default().file("f", b"1").file("f", b"22").done();
    let image = store.import(&gzip(&tar), "x:1").unwrap();
    let other = Fixture::new();
    other.load(&store.save(&["x"]).unwrap()).unwrap();
    assert_eq!(id(&other, "x:1"), image);
    assert_eq!(
        std::fs::read(other.layer("x:1", 0).join("f")).unwrap(),
        b"22"
    );
}

#[test]
fn the_archive_is_both_layouts() {
    let store = Fixture::new();
    let layers = [
        Tar::default().file("a", b"a").done(),
        Tar::default().file("b", b"b").done(),
    ];
    store
        .load(&docker_archive(&layers, &["x:1", "r.example/y:2"]))
        .unwrap();
    let saved = store.save(&["x:1", "r.example/y:2"]).unwrap();
    let manifest = json_member(&saved, "manifest.json");
    assert_eq!(manifest.as_array().unwrap().len(), 1);
    assert_eq!(manifest[0]["RepoTags"], json!(["x:1", "r.example/y:2"]));
    assert_eq!(manifest[0]["Layers"].as_array().unwrap().len(), 2);
    let index = json_member(&saved, "index.json");
    let names: Vec<&str> = index["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| {
            m["annotations"]["io.containerd.image.name"]
                .as_str()
                .unwrap()
        })
        .collect();
    assert_eq!(names, ["docker.io/library/x:1", "r.example/y:2"]);
    assert_eq!(
        json_member(&saved, "oci-layout")["imageLayoutVersion"],
        "1.0.0"
    );
    assert!(json_member(&saved, "repositories")["x"]["1"].is_string());
    // As an OCI layout alone it is the same image, with its manifest's digest as another name.
    let mut layout = Tar::default();
    let mut archive = tar::Archive::new(&saved[..]);
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        if path != "manifest.json" && path != "repositories" && !path.ends_with('/') {
            layout = layout.file(&path, &bytes);
        }
    }
    let other = Fixture::new();
    other.load(&layout.done()).unwrap();
    assert_eq!(id(&other, "x:1"), id(&store, "x:1"));
    let digest = index["manifests"][0]["digest"].as_str().unwrap();
    let image = other.store.resolve("x:1").unwrap();
    assert!(image.repo_digests.contains(&format!("x@{digest}")));
}

#[test]
fn what_is_asked_for_decides_the_names() {
    let store = Fixture::new();
    let layers = [Tar::default().file("a", b"a").done()];
    store
        .load(&docker_archive(&layers, &["x:1", "x:2", "y:1"]))
        .unwrap();
    let full = id(&store, "x:1");
    let short = &full["sha256:".len()..][..12];
    for (asked, names) in [
        (vec!["x:1"], json!(["x:1"])),
        (vec!["x"], json!(["x:1", "x:2"])),
        (vec!["x", "x:1", "y:1"], json!(["x:1", "x:2", "y:1"])),
        (vec![full.as_str()], Value::Null),
        (vec![short], Value::Null),
        (vec![short, "y"], json!(["y:1"])),
    ] {
        let saved = store.save(&asked).unwrap();
        let manifest = json_member(&saved, "manifest.json");
        assert_eq!(manifest.as_array().unwrap().len(), 1, "{asked:?}");
        assert_eq!(manifest[0]["RepoTags"], names, "{asked:?}");
    }
    for (asked, error) in [
        ("nosuch", "No such image: nosuch"),
        ("x:3", "reference does not exist"),
        ("", "invalid reference format"),
    ] {
        assert_eq!(store.save(&["x", asked]).unwrap_err().to_string(), error);
    }
}

#[test]
fn a_changed_layer_is_not_passed_off_as_the_old_one() {
    let store = Fixture::new();
    let layers = [Tar::default().file("a", b"aaaa").file("b", b"b").done()];
    store.load(&docker_archive(&layers, &["x:1"])).unwrap();
    for change in ["bbbb", "longer than it was", "b"] {
        std::fs::write(store.layer("x:1", 0).join("a"), change).unwrap();
        let result = store.save(&["x:1"]);
        // Content beyond the old length is not read.
        let error = result.unwrap_err();
        assert!(
            matches!(error, ImageError::Changed { .. } | ImageError::Play { .. }),
            "{change}: {error}"
        );
    }
    // A link in a file's place is not followed.
    let path = store.layer("x:1", 0).join("a");
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
    assert!(matches!(
        store.save(&["x:1"]).unwrap_err(),
        ImageError::Play { .. }
    ));
}

#[test]
fn a_layer_without_a_tape_says_so() {
    let store = Fixture::new();
    let layers = [Tar::default().file("a", b"a").done()];
    store.load(&docker_archive(&layers, &["x:1"])).unwrap();
    let record = store.layer("x:1", 0).parent().unwrap().join("layer.json");
    let mut value: Value = serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap();
    value.as_object_mut().unwrap().remove("tar_size");
    std::fs::write(&record, value.to_string()).unwrap();
    let error = store.save(&["x:1"]).unwrap_err();
    assert!(error.to_string().contains("load them again"), "{error}");
}

#[test]
fn pruning_takes_what_is_asked_and_not_in_use() {
    let store = Fixture::new();
    store
        .import(&Tar::default().file("a", b"12345").done(), "a:1")
        .unwrap();
    store
        .import(&Tar::default().file("b", b"1").done(), "b:1")
        .unwrap();
    store
        .import(&Tar::default().file("c", b"1").done(), "a:1")
        .unwrap();
    let used = id(&store, "b:1");
    let in_use = |image: &str| {
        (image == used).then(|| InUse {
            container: "0".repeat(64),
            running: false,
        })
    };
    let pruned = store.store.prune(false, &|_| false, &in_use);
    assert!(pruned.is_empty());
    let pruned = store.store.prune(false, &|_| true, &in_use);
    assert_eq!(pruned.len(), 1);
    let (_, removed) = &pruned[0];
    assert!(matches!(removed[0], Removed::Deleted(_)), "{removed:?}");
    assert!(
        matches!(removed[1], Removed::Layer { size: 5, .. }),
        "{removed:?}"
    );
    let pruned = store.store.prune(true, &|_| true, &in_use);
    assert_eq!(pruned.len(), 1);
    assert_eq!(pruned[0].1[0], Removed::Untagged("a:1".to_owned()));
    assert_eq!(store.store.list().len(), 1);
}
