//! Names, finding, removal, and what survives a restart.

use super::*;
use crate::errors::ErrorKind;
use crate::image::remove::{InUse, Removed};

fn rootfs() -> Vec<u8> {
    Tar::default().file("bin/sh", b"#!").done()
}

fn without_layers(done: &[Removed]) -> Vec<Removed> {
    done.iter()
        .filter(|entry| !matches!(entry, Removed::Layer { .. }))
        .cloned()
        .collect()
}

fn unused(_: &str) -> Option<InUse> {
    None
}

fn user(running: bool) -> impl Fn(&str) -> Option<InUse> {
    move |_| {
        Some(InUse {
            container: "c".repeat(64),
            running,
        })
    }
}

#[test]
fn an_import_makes_an_image() {
    let store = Fixture::new();
    let changes = ["CMD [\"/bin/sh\"]".to_owned(), "ENV A=b".to_owned()];
    let image = store
        .store
        .import(&mut &gzip(&rootfs())[..], Some("x"), "hello", &changes)
        .unwrap();
    assert_eq!(image.repo_tags, ["x:latest"]);
    assert_eq!(image.comment, "hello");
    assert_eq!(image.os, "linux");
    assert_eq!(image.architecture, host_architecture());
    assert_eq!(image.config.cmd.as_deref().unwrap(), ["/bin/sh"]);
    assert_eq!(image.config.env, ["A=b"]);
    assert_eq!(image.layers, [digest(&rootfs())]);
    assert_eq!(image.size, 2);
    assert!(image.created.parse::<jiff::Timestamp>().is_ok());
    let plain = store
        .store
        .import(&mut &zstd(&rootfs())[..], None, "", &[])
        .unwrap();
    assert!(plain.repo_tags.is_empty());
    assert_eq!(plain.comment, "Imported from -");
    for (reference, change) in [(Some("X"), ""), (None, "FOO bar")] {
        let error = store
            .store
            .import(&mut &rootfs()[..], reference, "", &[change.to_owned()])
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}

#[test]
fn images_are_found_as_docker_finds_them() {
    let store = Fixture::new();
    let id = store.import(&rootfs(), "x:1").unwrap();
    store.store.tag("x:1", "x", "").unwrap();
    store.store.tag(&id, "r.example:5000/y", "2").unwrap();
    let hex = &id["sha256:".len()..];
    for reference in [
        "x",
        "x:latest",
        "docker.io/library/x",
        "docker.io/x:1",
        "r.example:5000/y:2",
        &id,
        hex,
        &hex[..12],
        &id[..20],
    ] {
        assert_eq!(
            store.store.resolve(reference).unwrap().id,
            id,
            "{reference}"
        );
    }
    let error = |reference: &str| {
        let error = store.store.resolve(reference).unwrap_err();
        (error.kind(), error.to_string())
    };
    for (reference, text) in [
        ("nope", "No such image: nope:latest"),
        ("x:3", "No such image: x:3"),
        ("docker.io/library/nope:1", "No such image: nope:1"),
        ("r.example:5000/y", "No such image: r.example:5000/y:latest"),
    ] {
        assert_eq!(error(reference), (ErrorKind::NotFound, text.to_owned()));
    }
    let none = "0".repeat(64);
    assert_eq!(error(&none).0, ErrorKind::NotFound);
    let digest = format!("x@sha256:{none}");
    assert_eq!(error(&digest).1, format!("No such image: {digest}"));
    assert_eq!(error("a/../b").0, ErrorKind::Invalid);
    assert_eq!(
        error("X").1,
        "invalid reference format: repository name must be lowercase"
    );
    for (repo, tag) in [("X", ""), ("x", "a b"), ("x:", ""), ("", "")] {
        let error = store.store.tag("x", repo, tag).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{repo}:{tag}");
        assert!(error.to_string().starts_with("invalid reference format"));
    }
}

#[test]
fn an_ambiguous_beginning_is_not_found() {
    let store = Fixture::new();
    let mut first = std::collections::HashMap::new();
    // Seventeen images share a first digit by pigeonhole.
    let digit = (0..17)
        .find_map(|i| {
            let tar = Tar::default().file("f", format!("{i}").as_bytes()).done();
            let id = store.import(&tar, &format!("x:{i}")).unwrap();
            let digit = id["sha256:".len()..][..1].to_owned();
            first.insert(digit.clone(), id).map(|_| digit)
        })
        .unwrap();
    let error = store.store.resolve(&digit).unwrap_err();
    assert_eq!(error.to_string(), format!("No such image: {digit}:latest"));
}

#[test]
fn a_name_moves_and_the_old_image_stays() {
    let store = Fixture::new();
    let old = store.import(&rootfs(), "x").unwrap();
    let new = store
        .import(&Tar::default().file("f", b"").done(), "x")
        .unwrap();
    assert_eq!(store.store.resolve("x").unwrap().id, new);
    assert!(store.store.resolve(&old).unwrap().repo_tags.is_empty());
    let store = store.reopen();
    assert_eq!(store.store.resolve("x").unwrap().id, new);
    assert_eq!(store.store.list().len(), 2);
}

#[test]
fn removal_by_name() {
    let store = Fixture::new();
    let id = store.import(&rootfs(), "x:1").unwrap();
    store.store.tag("x:1", "y", "2").unwrap();
    let done = store.store.remove("x:1", false, false, &unused).unwrap();
    assert_eq!(done, [Removed::Untagged("x:1".into())]);
    let done = store.store.remove("y:2", false, false, &unused).unwrap();
    assert_eq!(
        without_layers(&done),
        [Removed::Untagged("y:2".into()), Removed::Deleted(id)]
    );
    store.assert_empty();
    let error = store.store.remove("x:1", true, false, &unused).unwrap_err();
    assert_eq!(error.to_string(), "No such image: x:1");
}

#[test]
fn removal_by_id() {
    let store = Fixture::new();
    let id = store.import(&rootfs(), "x:1").unwrap();
    let short = &id["sha256:".len()..][..12];
    store.store.tag("x:1", "y", "2").unwrap();
    let error = store
        .store
        .remove(short, false, false, &unused)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(
        error.to_string(),
        format!(
            "conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
        )
    );
    let done = store.store.remove(short, true, false, &unused).unwrap();
    let untagged = |name: &str| Removed::Untagged(name.into());
    assert_eq!(
        without_layers(&done),
        [untagged("x:1"), untagged("y:2"), Removed::Deleted(id)]
    );
    store.assert_empty();
}

#[test]
fn removal_of_an_image_in_use() {
    let store = Fixture::new();
    let id = store.import(&rootfs(), "x:1").unwrap();
    let short = &id["sha256:".len()..][..12];
    let container = "c".repeat(12);
    for running in [true, false] {
        let error = store
            .store
            .remove("x:1", false, false, &user(running))
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "conflict: unable to remove repository reference \"x:1\" (must force) - container {container} is using its referenced image {short}"
            )
        );
        assert_eq!(error.kind(), ErrorKind::Conflict);
    }
    for force in [true, false] {
        let error = store
            .store
            .remove(&id, force, false, &user(true))
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "conflict: unable to delete {short} (cannot be forced) - image is being used by running container {container}"
            )
        );
    }
    let error = store
        .store
        .remove(&id, false, false, &user(false))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "conflict: unable to delete {short} (must be forced) - image is being used by stopped container {container}"
        )
    );
    assert_eq!(store.store.resolve("x:1").unwrap().id, id);
    // One name of several goes also while the image is used.
    store.store.tag("x:1", "y", "2").unwrap();
    let done = store
        .store
        .remove("y:2", false, false, &user(true))
        .unwrap();
    assert_eq!(done, [Removed::Untagged("y:2".into())]);
    // By force the name goes, a running container's image stays.
    let done = store.store.remove("x:1", true, false, &user(true)).unwrap();
    assert_eq!(done, [Removed::Untagged("x:1".into())]);
    assert!(store.store.resolve(&id).unwrap().repo_tags.is_empty());
    let done = store.store.remove(&id, true, false, &user(false)).unwrap();
    assert_eq!(without_layers(&done), [Removed::Deleted(id)]);
}

#[test]
fn a_shared_layer_stays_until_its_last_image_goes() {
    let store = Fixture::new();
    let shared = rootfs();
    let own = Tar::default().file("own", b"1").done();
    store
        .load(&docker_archive(std::slice::from_ref(&shared), &["base"]))
        .unwrap();
    store
        .load(&docker_archive(&[shared, own], &["top"]))
        .unwrap();
    let below = store.layer("top", 0);
    let above = store.layer("top", 1);
    let done = store.store.remove("base", false, false, &unused).unwrap();
    assert!(
        !done.iter().any(|e| matches!(e, Removed::Layer { .. })),
        "{done:?}"
    );
    assert!(below.exists());
    let done = store.store.remove("top", false, false, &unused).unwrap();
    let layers = done.iter().filter(|e| matches!(e, Removed::Layer { .. }));
    assert_eq!(layers.count(), 2, "{done:?}");
    assert!(!below.exists() && !above.exists());
    store.assert_empty();
}

#[test]
fn leftovers_of_a_crash_are_removed() {
    let store = Fixture::new();
    store.import(&rootfs(), "x").unwrap();
    let used = store.layer("x", 0);
    let stray = store.path("overlay-layers").join("0".repeat(64));
    std::fs::create_dir_all(store.path("tmp/image-abc/layer/diff")).unwrap();
    std::fs::write(store.path("tmp/other"), "not ours").unwrap();
    std::fs::create_dir_all(stray.join("diff")).unwrap();
    std::fs::write(store.path("image/configs").join("1".repeat(64)), "{}").unwrap();
    std::fs::write(store.path("image/repositories.tmp"), "{\"ver").unwrap();
    let store = store.reopen();
    assert_eq!(names(&store.path("tmp")), ["other"]);
    assert!(!stray.exists());
    assert_eq!(names(&store.path("image/configs")).len(), 1);
    assert!(used.exists());
    assert!(store.store.resolve("x").is_ok());
}

#[test]
fn damaged_state_loses_no_image() {
    let store = Fixture::new();
    let id = store.import(&rootfs(), "x").unwrap();
    std::fs::write(store.path("image/repositories.json"), "{\"version\":1,").unwrap();
    let store = store.reopen();
    assert_eq!(
        store.store.resolve("x").unwrap_err().kind(),
        ErrorKind::NotFound
    );
    store.store.tag(&id, "x", "").unwrap();
    assert!(store.path("image/repositories.json.damaged").exists());
    let store = store.reopen();
    assert_eq!(store.store.resolve("x").unwrap().id, id);

    // A configuration with a flipped bit: the image is left out, its files stay, a load heals it.
    let other = docker_archive(&[Tar::default().file("o", b"").done()], &["other"]);
    store.load(&other).unwrap();
    let other_id = store.store.resolve("other").unwrap().id.clone();
    let config = store
        .path("image/configs")
        .join(&other_id["sha256:".len()..]);
    std::fs::write(&config, "{}").unwrap();
    let kept = store.layer("other", 0);
    let store = store.reopen();
    assert!(store.store.resolve("other").is_err());
    assert!(store.store.resolve("x").is_ok());
    assert!(kept.exists());
    store.load(&other).unwrap();
    let store = store.reopen();
    assert_eq!(store.store.resolve("other").unwrap().id, other_id);

    let newer = "{\"version\":99,\"what\":[]}";
    std::fs::write(store.path("image/repositories.json"), newer).unwrap();
    let error = ImageStore::open(store.root.path()).unwrap_err().to_string();
    assert!(error.contains("version 99 is newer than 1"), "{error}");
    assert_eq!(
        std::fs::read(store.path("image/repositories.json")).unwrap(),
        newer.as_bytes()
    );
}
