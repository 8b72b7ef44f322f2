//! Archives of images, in all their forms.

use std::io::Read;

use super::*;

fn layer(name: &str) -> Vec<u8> {
    Tar::default().file(name, name.as_bytes()).done()
}

/// An OCI layout under construction.
#[derive(Default)]
struct Layout {
    tar: Tar,
    manifests: Vec<serde_json::Value>,
}

impl Layout {
    fn blob(&mut self, kind: &str, bytes: &[u8]) -> serde_json::Value {
        let digest = digest(bytes);
        let path = format!("blobs/sha256/{}", &digest["sha256:".len()..]);
        self.tar = std::mem::take(&mut self.tar).file(&path, bytes);
        json!({"mediaType": kind, "digest": digest, "size": bytes.len()})
    }
    fn manifest(&mut self, config: &[u8], layers: &[Vec<u8>]) -> serde_json::Value {
        let config = self.blob("application/vnd.oci.image.config.v1+json", config);
        let layers: Vec<_> = layers
            .iter()
            .map(|layer| self.blob("application/vnd.oci.image.layer.v1.tar", layer))
            .collect();
        let manifest = json!({"schemaVersion": 2, "config": config, "layers": layers});
        self.blob(
            "application/vnd.oci.image.manifest.v1+json",
            manifest.to_string().as_bytes(),
        )
    }
    fn add(&mut self, mut descriptor: serde_json::Value, key: &str, name: &str) {
        descriptor["annotations"] = json!({key: name});
        self.manifests.push(descriptor);
    }
    fn done(self) -> Vec<u8> {
        let index = json!({"schemaVersion": 2, "manifests": self.manifests});
        self.tar
            .file("oci-layout", b"{\"imageLayoutVersion\":\"1.0.0\"}")
            .file("index.json", index.to_string().as_bytes())
            .done()
    }
}

const REF_NAME: &str = "org.opencontainers.image.ref.name";

#[test]
fn docker_archives() {
    for (what, pack) in [
        ("plain", (|data| data) as fn(Vec<u8>) -> Vec<u8>),
        ("gzip", |data| gzip(&data)),
        ("zstd", |data| zstd(&data)),
    ] {
        let layers = [layer("a"), layer("b")];
        let ids = diff_ids(&layers);
        let packed = layers.map(pack);
        let archive = pack(docker_archive_with(
            &packed,
            &["x:1", "r.example/y:2"],
            &ids,
        ));
        let store = Fixture::new();
        let events = store.load(&archive).unwrap();
        let image = store.store.resolve("x:1").unwrap();
        let event = |name: &str| LoadEvent::Loaded {
            id: image.id.clone(),
            name: Some(name.to_owned()),
        };
        assert_eq!(events, [event("x:1"), event("r.example/y:2")], "{what}");
        assert_eq!(image.repo_tags, ["x:1", "r.example/y:2"]);
        assert_eq!(image.id, digest(&image_config(&ids)));
        assert_eq!(image.layers, ids);
        assert_eq!(image.size, 2);
        assert_eq!(image.layer_sizes, [1, 1]);
        assert_eq!(image.created, "2026-01-02T03:04:05Z");
        assert_eq!(image.config.cmd.as_deref().unwrap(), ["sh"]);
        assert_eq!(image.config.env, ["A=1"]);
        assert_eq!(image.history[0].created_by.as_deref(), Some("test"));
        assert_eq!(names(&store.layer("x:1", 1)), ["b"]);
        assert_eq!(names(&store.path("tmp")), [""; 0]);

        let store = store.reopen();
        let again = store.store.resolve("r.example/y:2").unwrap();
        assert_eq!(again.id, image.id);
        assert_eq!(again.size, 2);
        // The same once more changes nothing.
        assert_eq!(store.load(&archive).unwrap().len(), 2);
        assert_eq!(store.store.list().len(), 1);
    }
}

#[test]
fn links_in_place_of_layers() {
    let shared = layer("a");
    let ids = vec![digest(&shared), digest(&shared)];
    let manifest =
        json!([{"Config": "c.json", "RepoTags": null, "Layers": ["1/layer.tar", "2/layer.tar"]}]);
    let archive = Tar::default()
        .file("./c.json", &image_config(&ids))
        .file("1/layer.tar", &shared)
        .symlink("2/layer.tar", "../1/layer.tar")
        .file("manifest.json", manifest.to_string().as_bytes())
        .done();
    let store = Fixture::new();
    let events = store.load(&archive).unwrap();
    assert!(matches!(
        &events[..],
        [LoadEvent::Loaded { name: None, .. }]
    ));

    let archive = Tar::default()
        .file("c.json", &image_config(&ids))
        .symlink("1/layer.tar", "../2/layer.tar")
        .symlink("2/layer.tar", "../1/layer.tar")
        .file("manifest.json", manifest.to_string().as_bytes())
        .done();
    let error = store.load(&archive).unwrap_err().to_string();
    assert!(error.contains("chain of links"), "{error}");
}

#[test]
fn oci_layouts() {
    let mut layout = Layout::default();
    let plain = layer("a");
    let config = image_config(&[digest(&plain)]);
    let manifest = layout.manifest(&config, std::slice::from_ref(&plain));
    layout.add(manifest, REF_NAME, "busybox:1");
    let packed = layer("b");
    let config = image_config(&[digest(&packed)]);
    let manifest = layout.manifest(&config, &[gzip(&packed)]);
    layout.add(
        manifest.clone(),
        "io.containerd.image.name",
        "docker.io/library/y:2",
    );
    // For two platforms, behind one more index, with what BuildKit puts beside.
    let other = layer("c");
    let foreign =
        json!({"architecture": "s390x", "os": "linux", "rootfs": {"diff_ids": [digest(&other)]}});
    let mut foreign = layout.manifest(foreign.to_string().as_bytes(), std::slice::from_ref(&other));
    foreign["platform"] = json!({"os": "linux", "architecture": "s390x"});
    let own = layer("d");
    let config = image_config(&[digest(&own)]);
    let mut own = layout.manifest(&config, &[zstd(&own)]);
    own["platform"] = json!({"os": "linux", "architecture": host_architecture()});
    let mut attestation = own.clone();
    attestation["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    let index = json!({"schemaVersion": 2, "manifests": [attestation, foreign, own]});
    let index = layout.blob(
        "application/vnd.oci.image.index.v1+json",
        index.to_string().as_bytes(),
    );
    layout.add(index, REF_NAME, "multi:3");
    let store = Fixture::new();
    let mut loaded: Vec<String> = store
        .load(&gzip(&layout.done()))
        .unwrap()
        .into_iter()
        .filter_map(|event| match event {
            LoadEvent::Loaded { name, .. } => name,
            LoadEvent::Renamed { .. } => None,
        })
        .collect();
    loaded.sort();
    assert_eq!(loaded, ["busybox:1", "multi:3", "y:2"]);
    assert_eq!(names(&store.layer("busybox:1", 0)), ["a"]);
    assert_eq!(names(&store.layer("multi:3", 0)), ["d"]);
    let image = store.store.resolve("y:2").unwrap();
    let by_digest = format!("y@{}", manifest["digest"].as_str().unwrap());
    assert_eq!(image.repo_digests, std::slice::from_ref(&by_digest));
    assert_eq!(store.store.resolve(&by_digest).unwrap().id, image.id);
}

#[test]
fn damaged_archives_leave_nothing() {
    let plain = layer("a");
    let other = layer("b");
    let id = digest(&plain);
    let manifest = json!([{"Config": "c.json", "RepoTags": ["x"], "Layers": ["l"]}]).to_string();
    let docker = |config: &[u8]| {
        Tar::default()
            .file("manifest.json", manifest.as_bytes())
            .file("c.json", config)
            .file("l", &plain)
            .done()
    };
    let good = docker_archive(std::slice::from_ref(&plain), &["x"]);
    // Its first layer is fine: nothing of it may stay.
    let wrong = docker_archive_with(
        &[plain.clone(), other.clone()],
        &["x"],
        &[id.clone(), id.clone()],
    );
    let layout = |change: fn(&mut Layout, serde_json::Value)| {
        let mut layout = Layout::default();
        let manifest = layout.manifest(
            &image_config(std::slice::from_ref(&id)),
            std::slice::from_ref(&plain),
        );
        change(&mut layout, manifest);
        layout.done()
    };
    let mut flipped = layout(|layout, manifest| layout.add(manifest, REF_NAME, "x:1"));
    let at = flipped.windows(5).position(|w| w == b"ustar").unwrap();
    // A digit of the configuration's time.
    let config = flipped
        .windows(10)
        .position(|w| w == b"2026-01-02")
        .unwrap();
    assert!(at < config);
    flipped[config] = b'3';
    let big = vec![b' '; 5 << 20];
    let cases: Vec<(&str, Vec<u8>, String)> = vec![
        (
            "layer digest",
            wrong,
            format!("layer digest is {}, expected {id}", digest(&other)),
        ),
        (
            "truncated",
            good[..good.len() / 2].to_vec(),
            "Error processing tar file(exit status 1): unexpected EOF".into(),
        ),
        (
            "nothing in it",
            Tar::default().file("x", b"").done(),
            "neither manifest.json".into(),
        ),
        ("not a tar", vec![b'x'; 2000], "corrupt tar header".into()),
        (
            "no configuration",
            Tar::default()
                .file("manifest.json", manifest.as_bytes())
                .done(),
            "c.json is missing".into(),
        ),
        (
            "bad configuration",
            docker(b"{"),
            "c.json is not valid".into(),
        ),
        ("too large", docker(&big), "larger than 4194304".into()),
        (
            "layer count",
            docker(&image_config(&[])),
            "1 layers but 0 diff_ids".into(),
        ),
        (
            "bad diff id",
            docker(&image_config(&["sha256:../../x".into()])),
            "unsupported digest".into(),
        ),
        (
            "windows",
            docker(br#"{"os":"windows","rootfs":{"diff_ids":[]}}"#),
            "cannot be used on linux".into(),
        ),
        (
            "too deep",
            docker(&image_config(&vec![id.clone(); 126])),
            "max depth exceeded".into(),
        ),
        (
            "bad name",
            docker_archive(std::slice::from_ref(&plain), &["../x"]),
            "invalid reference format".into(),
        ),
        ("config digest", flipped, "has digest sha256:".into()),
        (
            "missing blob",
            layout(|layout, mut manifest| {
                manifest["digest"] = json!(digest(b"nothing"));
                layout.add(manifest, REF_NAME, "x:1");
            }),
            "is missing".into(),
        ),
        (
            "wrong size",
            layout(|layout, mut manifest| {
                manifest["size"] = json!(1);
                layout.add(manifest, REF_NAME, "x:1");
            }),
            "its descriptor says 1".into(),
        ),
        (
            "digest as a path",
            layout(|layout, mut manifest| {
                manifest["digest"] = json!("sha256:../../index.json");
                layout.add(manifest, REF_NAME, "x:1");
            }),
            "unsupported digest".into(),
        ),
    ];
    for (what, archive, text) in cases {
        let store = Fixture::new();
        let error = store.load(&archive).expect_err(what);
        assert!(error.to_string().contains(&text), "{what}: {error}");
        assert_eq!(error.kind(), crate::errors::ErrorKind::Invalid, "{what}");
        store.assert_empty();
    }
}

#[test]
fn a_layer_with_a_wrong_blob_digest() {
    let plain = layer("a");
    let mut layout = Layout::default();
    let manifest = layout.manifest(&image_config(&[digest(&plain)]), &[gzip(&plain)]);
    layout.add(manifest, REF_NAME, "x:1");
    let mut archive = layout.done();
    // The gzip header's time is not part of the content: only the blob's digest tells.
    let at = archive
        .windows(3)
        .position(|w| w == [0x1f, 0x8b, 8])
        .unwrap();
    archive[at + 4] ^= 1;
    let store = Fixture::new();
    let error = store.load(&archive).unwrap_err().to_string();
    assert!(
        error.contains("blobs/sha256/") && error.contains("has digest"),
        "{error}"
    );
    store.assert_empty();
}

/// Waits in the middle of the archive until the other load is there too.
struct Meeting<'a> {
    data: &'a [u8],
    barrier: Option<&'a std::sync::Barrier>,
}

impl Read for Meeting<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        if self.data.len() < 2048
            && let Some(barrier) = self.barrier.take()
        {
            barrier.wait();
        }
        self.data.read(buf)
    }
}

#[test]
fn loads_at_the_same_time() {
    let shared = layer("shared");
    let store = Fixture::new();
    let barrier = std::sync::Barrier::new(4);
    std::thread::scope(|scope| {
        for i in 0..4 {
            let own = layer(&format!("own-{}", i / 2));
            let archive = docker_archive(&[shared.clone(), own], &[&format!("x:{i}")]);
            let (store, barrier) = (&store.store, &barrier);
            scope.spawn(move || {
                let mut stream = Meeting {
                    data: &archive,
                    barrier: Some(barrier),
                };
                store.load(&mut stream, &mut |_| {}).unwrap();
            });
        }
    });
    assert_eq!(store.store.list().len(), 2);
    for i in 0..4 {
        let image = store.store.resolve(&format!("x:{i}")).unwrap();
        assert_eq!(image.layers.len(), 2);
        assert_eq!(names(&store.layer(&image.id, 0)), ["shared"]);
    }
    // Three layers and the folder of links.
    assert_eq!(names(&store.path("overlay-layers")).len(), 4);
    assert_eq!(names(&store.path("tmp")), [""; 0]);
}

/// As Docker writes it since version 25: one set of blobs, described in both forms.
#[test]
fn an_archive_with_both_forms_is_read_by_its_manifest() {
    let plain = layer("a");
    let mut layout = Layout::default();
    let config = image_config(&[digest(&plain)]);
    let manifest = layout.manifest(&config, std::slice::from_ref(&plain));
    layout.add(manifest, REF_NAME, "from-index:1");
    let path = |bytes: &[u8]| format!("blobs/sha256/{}", &digest(bytes)["sha256:".len()..]);
    let docker = json!([{
        "Config": path(&config),
        "RepoTags": ["from-manifest:1"],
        "Layers": [path(&plain)],
    }]);
    layout.tar = layout
        .tar
        .file("manifest.json", docker.to_string().as_bytes());
    let archive = layout.done();
    let store = Fixture::new();
    store.load(&archive).unwrap();
    let image = store.store.resolve("from-manifest:1").unwrap();
    assert_eq!(image.repo_tags, ["from-manifest:1"]);
    assert_eq!(names(&store.layer("from-manifest:1", 0)), ["a"]);
}
