//! The store without containers.

use super::*;

fn store(dir: &Path) -> VolumeStore {
    VolumeStore::open(dir, Arc::default()).unwrap()
}

fn wish(name: &str) -> Wish {
    Wish {
        name: name.to_owned(),
        ..Wish::default()
    }
}

fn names(store: &VolumeStore) -> Vec<String> {
    let all = store.all();
    all.iter().map(|volume| volume.meta.name.clone()).collect()
}

#[test]
fn made_once_and_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let first = store(dir.path());
    let made = first.create(&wish("v1"), None).unwrap();
    fs::write(made.path.join("file"), "x").unwrap();
    let mut other = wish("v1");
    other.labels = Some([("a".to_owned(), "b".to_owned())].into());
    // The one that is there counts.
    assert_eq!(first.create(&other, None).unwrap().meta, made.meta);
    let anonymous = first.create(&wish(""), None).unwrap();
    assert!(anonymous.meta.is_anonymous() && anonymous.meta.name.len() == 64);

    let second = store(dir.path());
    assert_eq!(names(&second).len(), 2);
    assert_eq!(second.get("v1").unwrap().meta, made.meta);
    assert_eq!(second.size(&made), 1);
    second.remove("v1").unwrap();
    assert!(!made.path.exists());
    let missing = second.remove("v1").unwrap_err();
    assert_eq!(missing.to_string(), "get v1: no such volume");
}

#[test]
fn refused_as_docker_does() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let mut plugin = wish("v1");
    plugin.driver = "x".to_owned();
    assert_eq!(
        store.create(&plugin, None).unwrap_err().to_string(),
        "create v1: error looking up volume plugin x: plugin \"x\" not found"
    );
    let error = store.create(&wish("a"), None).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("create a: volume name is too short")
    );
    let long = "x".repeat(256);
    let error = store.create(&wish(&long), None).unwrap_err().to_string();
    assert!(error.ends_with("file name too long"), "{error}");
    let mut option = wish("v1");
    option.options = Some([("type".to_owned(), "x".to_owned())].into());
    let error = store.create(&option, None).unwrap_err().to_string();
    assert_eq!(error, "create v1: missing required option: \"device\"");
    assert!(names(&store).is_empty());
    assert_eq!(fs::read_dir(store.root()).unwrap().count(), 0);
}

#[test]
fn one_that_belongs_to_somebody_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    store.create(&wish("v1"), Some("c1")).unwrap();
    store.own("v1", "c2").unwrap();
    let used = store.remove("v1").unwrap_err();
    assert_eq!(used.to_string(), "remove v1: volume is in use - [c1, c2]");
    assert_eq!(ApiErrorStatus::of(used), 409);
    store.create(&wish("v2"), None).unwrap();
    assert_eq!(store.prune(|_| true).0, ["v2"]);
    store.release("v1", "c1");
    store.release("v1", "c2");
    store.release("nobody", "c2");
    assert!(store.own("nobody", "c1").is_err());
    assert_eq!(store.prune(|volume| volume.meta.name == "x").0.len(), 0);
    assert_eq!(store.prune(|_| true).0, ["v1"]);
}

struct ApiErrorStatus;

impl ApiErrorStatus {
    fn of(error: VolumeError) -> u16 {
        crate::errors::ApiError::from(error).kind.status()
    }
}

#[test]
fn an_empty_one_is_filled_once() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    fs::create_dir(&image).unwrap();
    fs::write(image.join("file"), "of the image").unwrap();
    let store = store(dir.path());
    let volume = store.create(&wish("v1"), None).unwrap();
    store.fill("v1", &image).unwrap();
    let file = volume.path.join("file");
    assert_eq!(fs::read_to_string(&file).unwrap(), "of the image");
    fs::write(&file, "changed").unwrap();
    store.fill("v1", &image).unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "changed");
    // Whoever has it mounted sees what comes into it.
    store.create(&wish("v2"), None).unwrap();
    store.mount("v2", "c1").unwrap();
    let path = store.get("v2").unwrap().path;
    let held = File::open(&path).unwrap();
    store.fill("v2", &image).unwrap();
    use std::os::unix::fs::MetadataExt as _;
    assert_eq!(
        held.metadata().unwrap().ino(),
        fs::metadata(&path).unwrap().ino()
    );
    assert!(path.join("file").exists());
}

#[test]
fn what_a_daemon_left_that_died_goes_and_the_rest_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    {
        let first = store(dir.path());
        first.create(&wish("v1"), None).unwrap();
    }
    let root = dir.path().join("volumes");
    for left in [
        ".new-0/_data",
        ".gone-3/_data/sub",
        "v1/_data.part/x",
        "foreign/_data",
    ] {
        fs::create_dir_all(root.join(left)).unwrap();
    }
    fs::create_dir_all(root.join("damaged/_data")).unwrap();
    fs::write(root.join("damaged/volume.json"), "{").unwrap();
    fs::write(root.join("file"), "x").unwrap();
    let second = store(dir.path());
    assert_eq!(names(&second), ["v1"]);
    for gone in [".new-0", ".gone-3", "v1/_data.part"] {
        assert!(!root.join(gone).exists(), "{gone}");
    }
    for left in ["foreign/_data", "damaged/_data", "file"] {
        assert!(root.join(left).exists(), "{left}");
        let name = left.split('/').next().unwrap();
        let error = second.create(&wish(name), None).unwrap_err().to_string();
        assert!(
            error.contains("is there already and is no volume"),
            "{error}"
        );
    }
}

#[test]
fn creates_and_removes_at_once_never_lose_one_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let store = &store;
            scope.spawn(move || {
                let owner = format!("c{worker}");
                for _ in 0..50 {
                    let volume = store.create(&wish("v1"), Some(&owner)).unwrap();
                    fs::write(volume.path.join(&owner), "x").unwrap();
                    assert!(volume.path.join(&owner).exists());
                    store.release("v1", &owner);
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..200 {
                    match store.remove("v1") {
                        Ok(()) | Err(VolumeError::NotFound(_) | VolumeError::InUse { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    let left = fs::read_dir(store.root()).unwrap().count();
    assert_eq!(left, names(&store).len());
}
