//! Trees through an archive and back, and archives that mean harm.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use super::stat::go_mode;
use super::*;

fn pack(path: &Path, name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut packer = Packer::new(
        &mut bytes,
        PackOptions {
            sparse: true,
            ..PackOptions::default()
        },
    );
    let root = Root::open(path).unwrap();
    packer
        .tree(root.fd().try_clone_to_owned().unwrap(), name.as_bytes())
        .unwrap();
    packer.finish().unwrap();
    bytes
}

fn unpack(bytes: &[u8], root: &Path, base: &str, keep_kinds: bool) -> Result<(), FileError> {
    Extract {
        owner: Owner::Caller,
        keep_kinds,
        rename: None,
        prefix: String::new(),
    }
    .run(&mut &*bytes, &Root::open(root).unwrap(), base.as_bytes())
}

/// An archive of these entries: name, kind, link target, content.
fn archive(entries: &[(&str, tar::EntryType, &str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, kind, link, content) in entries {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        header.set_size(content.len() as u64);
        header.set_cksum();
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(content);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.extend_from_slice(&[0; 1024]);
    out
}

#[test]
fn a_tree_comes_back_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("from");
    let long = format!("{}/{}", "d".repeat(120), "ü".repeat(90));
    std::fs::create_dir_all(from.join(&long).parent().unwrap()).unwrap();
    std::fs::write(from.join(&long), "long").unwrap();
    std::fs::write(from.join("set"), "x").unwrap();
    std::fs::set_permissions(from.join("set"), std::fs::Permissions::from_mode(0o4751)).unwrap();
    std::fs::hard_link(from.join("set"), from.join("again")).unwrap();
    symlink("../no/where", from.join("link")).unwrap();
    nix::unistd::mkfifo(&from.join("fifo"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    let sparse = std::fs::File::create(from.join("sparse")).unwrap();
    sparse.set_len(50 << 20).unwrap();
    sparse.write_all_at(b"middle", 20 << 20).unwrap();
    sparse.write_all_at(b"end", (50 << 20) - 3).unwrap();
    let bytes = pack(&from, "top");
    assert!(bytes.len() < 1 << 20, "{} bytes with holes", bytes.len());

    let to = dir.path().join("to");
    std::fs::create_dir(&to).unwrap();
    unpack(&bytes, dir.path(), "/to", true).unwrap();
    let to = to.join("top");
    assert_eq!(std::fs::read(to.join(&long)).unwrap(), b"long");
    let meta = std::fs::metadata(to.join("set")).unwrap();
    assert_eq!(meta.mode() & 0o7777, 0o4751);
    assert_eq!(meta.nlink(), 2);
    assert_eq!(
        std::fs::read_link(to.join("link")).unwrap(),
        Path::new("../no/where")
    );
    let content = std::fs::read(to.join("sparse")).unwrap();
    assert_eq!(content.len(), 50 << 20);
    assert_eq!(&content[20 << 20..][..6], b"middle");
    assert!(content.ends_with(b"end"));
    assert!(std::fs::metadata(to.join("sparse")).unwrap().blocks() < 1000);
    assert!(
        std::fs::symlink_metadata(to.join("fifo"))
            .unwrap()
            .file_type()
            .to_string_of()
            .contains("fifo")
    );
}

/// The kind of a file in a word.
trait KindName {
    fn to_string_of(&self) -> &'static str;
}

impl KindName for std::fs::FileType {
    fn to_string_of(&self) -> &'static str {
        use std::os::unix::fs::FileTypeExt as _;
        match self {
            kind if kind.is_fifo() => "fifo",
            kind if kind.is_dir() => "dir",
            _ => "other",
        }
    }
}

#[test]
fn a_deep_tree_costs_neither_stack_nor_descriptors() {
    let dir = tempfile::tempdir().unwrap();
    let mut path = dir.path().join("t");
    for _ in 0..900 {
        path.push("d");
    }
    std::fs::create_dir_all(&path).unwrap();
    std::fs::write(path.join("f"), "deep").unwrap();
    let bytes = pack(&dir.path().join("t"), "t");
    let to = tempfile::tempdir().unwrap();
    unpack(&bytes, to.path(), "/", true).unwrap();
    let below = path.strip_prefix(dir.path()).unwrap();
    assert_eq!(
        std::fs::read(to.path().join(below).join("f")).unwrap(),
        b"deep"
    );
}

#[test]
fn nothing_leads_out() {
    use tar::EntryType as T;
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    std::fs::create_dir_all(root.join("a")).unwrap();
    std::fs::write(dir.path().join("secret"), "host").unwrap();
    let host = dir.path().join("secret");
    let host = host.to_str().unwrap();
    for (entries, text) in [
        (
            vec![("../x", T::Regular, "", &b"x"[..])],
            "\"../x\" is outside of \"/a\"",
        ),
        (
            vec![("b/../../x", T::Regular, "", b"x")],
            "\"../x\" is outside of \"/a\"",
        ),
        (
            vec![("h", T::Link, "../../etc/passwd", b"")],
            "invalid hardlink \"/etc/passwd\" -> \"../../etc/passwd\"",
        ),
        (vec![("h", T::Link, host, b"")], "no such file or directory"),
        (
            vec![("h", T::Link, "none", b"")],
            "link /a/none /a/h: no such file or directory",
        ),
    ] {
        let error = unpack(&archive(&entries), &root, "/a", true).unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
    }
    // Absolute names are below the folder; links lead to places below the root.
    unpack(
        &archive(&[("/etc/x", T::Regular, "", b"x")]),
        &root,
        "/a",
        true,
    )
    .unwrap();
    assert!(root.join("a/etc/x").exists());
    std::fs::create_dir(root.join("etc")).unwrap();
    let through = archive(&[
        ("l", T::Symlink, "../../../../etc", b""),
        ("l/y", T::Regular, "", b"y"),
        ("abs", T::Symlink, "/etc", b""),
        ("abs/z", T::Regular, "", b"z"),
        ("to", T::Symlink, host, b""),
        ("to", T::Regular, "", b"replaced"),
    ]);
    unpack(&through, &root, "/a", true).unwrap();
    assert_eq!(std::fs::read(root.join("etc/y")).unwrap(), b"y");
    assert_eq!(std::fs::read(root.join("etc/z")).unwrap(), b"z");
    assert_eq!(std::fs::read(host).unwrap(), b"host");
    assert_eq!(std::fs::read(root.join("a/to")).unwrap(), b"replaced");
}

#[test]
fn kinds_are_kept_when_asked() {
    use tar::EntryType as T;
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("a/d/sub")).unwrap();
    std::fs::write(dir.path().join("a/f"), "f").unwrap();
    let file = archive(&[("d", T::Regular, "", b"new")]);
    let folder = archive(&[("f/", T::Directory, "", b"")]);
    let error = unpack(&file, dir.path(), "/a", true).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot overwrite directory \"/a/d\" with non-directory \"/a\""
    );
    let error = unpack(&folder, dir.path(), "/a", true).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot overwrite non-directory \"/a/f\" with directory \"/a\""
    );
    unpack(&file, dir.path(), "/a", false).unwrap();
    unpack(&folder, dir.path(), "/a", false).unwrap();
    assert_eq!(std::fs::read(dir.path().join("a/d")).unwrap(), b"new");
    assert!(dir.path().join("a/f").is_dir());
}

#[test]
fn paths_mean_what_docker_takes_them_for() {
    for (path, clean, base, folder) in [
        ("/a/f", "/a/f", "f", false),
        ("a/../b/", "/b", "b", true),
        ("/a/.", "/a", ".", true),
        (".", "/", ".", true),
        ("/", "/", "/", true),
        ("../..", "/", "/", false),
    ] {
        let wanted = WantedPath::new(path);
        assert_eq!(
            (wanted.clean.as_str(), wanted.base(), wanted.folder),
            (clean, base, folder),
            "{path}"
        );
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("d")).unwrap();
    symlink("/d", dir.path().join("l")).unwrap();
    symlink("l/gone", dir.path().join("broken")).unwrap();
    symlink("loop", dir.path().join("loop")).unwrap();
    let root = Root::open(dir.path()).unwrap();
    assert_eq!(root.follow(b"/broken").unwrap(), b"/d/gone");
    assert_eq!(root.follow(b"/l/../../x").unwrap(), b"/x");
    assert!(matches!(root.follow(b"/loop"), Err(FileError::Links(_))));
    let (_, stat) = root.find(&WantedPath::new("/l")).unwrap();
    let shown = root.describe(&WantedPath::new("/l"), &stat).unwrap();
    assert!(shown.is_link() && shown.link_target == "/d", "{shown:?}");
    let (_, stat) = root.find(&WantedPath::new("/l/")).unwrap();
    assert!(is_dir(&stat));
    assert!(matches!(
        root.find(&WantedPath::new("/none")),
        Err(FileError::NotFound(_))
    ));
    let _ = dir.path().as_os_str().as_bytes();
}

fn is_dir(stat: &nix::sys::stat::FileStat) -> bool {
    go_mode(stat) >> 31 == 1
}
