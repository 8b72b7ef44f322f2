//! Layers: what is applied, and what is refused.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use super::*;

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    let name = std::ffi::CString::new(name).unwrap();
    let mut value = vec![0_u8; 256];
    // SAFETY: both strings end in NUL, and the buffer is as long as said.
    let len = unsafe {
        libc::lgetxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_mut_ptr().cast(),
            value.len(),
        )
    };
    value.truncate(usize::try_from(len).ok()?);
    Some(value)
}

#[test]
fn all_kinds_of_entries() {
    let store = Fixture::new();
    let long = format!("{}/name", "d".repeat(150));
    let tar = Tar::default()
        .dir("./", 0o751)
        .dir("./dir/", 0o1777)
        .file("./dir/file", b"hello")
        .raw(b'0', "suid", "", 0o4755, b"x")
        .hard_link("linked", "dir/file")
        .symlink("sym", "/dir/file")
        .raw(b'6', "fifo", "", 0o600, b"")
        .file("implicit/parent/file", b"1")
        .pax(&[("path", long.as_bytes()), ("mtime", b"12.5")])
        .file("short", b"long")
        .raw(b'L', "././@LongLink", "", 0, b"gnu/long\0")
        .file("cut", b"gnu")
        .done();
    store.import(&tar, "x").unwrap();
    let root = store.layer("x", 0);
    assert_eq!(fs::metadata(&root).unwrap().mode() & 0o7777, 0o751);
    assert_eq!(
        fs::metadata(root.join("dir")).unwrap().mode() & 0o7777,
        0o1777
    );
    assert_eq!(
        fs::metadata(root.join("dir")).unwrap().mtime(),
        1_000_000_000
    );
    assert_eq!(fs::read(root.join("dir/file")).unwrap(), b"hello");
    let file = fs::metadata(root.join("dir/file")).unwrap();
    assert_eq!(file.mtime(), 1_000_000_000);
    assert_eq!(file.nlink(), 2);
    assert_eq!(file.ino(), fs::metadata(root.join("linked")).unwrap().ino());
    assert_eq!(
        fs::metadata(root.join("suid")).unwrap().mode() & 0o7777,
        0o4755
    );
    assert_eq!(
        fs::read_link(root.join("sym")).unwrap(),
        Path::new("/dir/file")
    );
    assert!(
        fs::metadata(root.join("fifo"))
            .unwrap()
            .file_type()
            .is_fifo()
    );
    assert_eq!(
        fs::metadata(root.join("implicit/parent")).unwrap().mode() & 0o7777,
        0o755
    );
    let named = fs::metadata(root.join(&long)).unwrap();
    assert_eq!((named.mtime(), named.mtime_nsec()), (12, 500_000_000));
    assert_eq!(fs::read(root.join("gnu/long")).unwrap(), b"gnu");
    // 5 + 1 + 1 + 4 + 3, and 9 for the symbolic link; a hard link is no second file.
    assert_eq!(store.store.resolve("x").unwrap().size, 23);
}

#[test]
fn later_entries_replace_earlier_ones() {
    let store = Fixture::new();
    let tar = Tar::default()
        .dir("a", 0o755)
        .file("a/old", b"1")
        .file("a", b"file now")
        .file("b", b"file")
        .dir("b", 0o755)
        .file("b/new", b"2")
        .file("c", b"shared")
        .hard_link("d", "c")
        .file("c", b"own")
        .symlink("e", "/etc")
        .dir("e", 0o700)
        .file("e/inside", b"3")
        .done();
    store.import(&tar, "x").unwrap();
    let root = store.layer("x", 0);
    assert_eq!(fs::read(root.join("a")).unwrap(), b"file now");
    assert_eq!(fs::read(root.join("b/new")).unwrap(), b"2");
    // The other name of the replaced file keeps its content.
    assert_eq!(fs::read(root.join("d")).unwrap(), b"shared");
    assert_eq!(fs::read(root.join("c")).unwrap(), b"own");
    assert!(fs::symlink_metadata(root.join("e")).unwrap().is_dir());
    assert!(root.join("e/inside").exists());
}

#[test]
fn links_on_the_way_stay_within_the_root() {
    let store = Fixture::new();
    let outside = tempfile::tempdir().unwrap();
    let absolute = outside.path().to_str().unwrap();
    let tar = Tar::default()
        .dir("usr", 0o755)
        .dir("usr/lib", 0o755)
        .symlink("lib", "usr/lib")
        .file("lib/so", b"1")
        .symlink("up", "../../../../../../..")
        .file("up/climbed", b"2")
        .done();
    store.import(&tar, "x").unwrap();
    let root = store.layer("x", 0);
    assert_eq!(fs::read(root.join("usr/lib/so")).unwrap(), b"1");
    assert_eq!(fs::read(root.join("climbed")).unwrap(), b"2");

    // The last component is replaced, not followed; an absolute link begins at the layer's root.
    let target = outside.path().join("victim");
    fs::write(&target, "safe").unwrap();
    let tar = Tar::default()
        .symlink("f", target.to_str().unwrap())
        .file("f", b"replaced")
        .symlink("abs", absolute)
        .file("abs/new", b"x")
        .done();
    assert!(
        store.import(&tar, "y").is_err(),
        "a link that leads nowhere"
    );
    assert_eq!(fs::read(&target).unwrap(), b"safe");
    assert_eq!(names(outside.path()), ["victim"]);
}

#[test]
fn hostile_paths_are_refused_and_leave_nothing() {
    let outside = tempfile::tempdir().unwrap();
    let victim = outside.path().join("victim");
    fs::write(&victim, "safe").unwrap();
    let absolute = victim.to_str().unwrap();
    let cases: Vec<(&str, Tar, &str)> = vec![
        (
            "up",
            Tar::default().file("../evil", b"x"),
            "leaves the root",
        ),
        (
            "hidden up",
            Tar::default().file("a/../../evil", b"x"),
            "leaves the root",
        ),
        (
            "absolute",
            Tar::default().file(absolute, b"x"),
            "absolute path refused",
        ),
        (
            "up folder",
            Tar::default().dir("../../evil", 0o755),
            "leaves the root",
        ),
        (
            "up link",
            Tar::default().symlink("../evil", "x"),
            "leaves the root",
        ),
        (
            "up whiteout",
            Tar::default().file("../.wh.evil", b""),
            "leaves the root",
        ),
        (
            "hard link up",
            Tar::default().hard_link("a", "../../victim"),
            "hard link to ../../victim leaves the root",
        ),
        (
            "hard link absolute",
            Tar::default().hard_link("a", absolute),
            "leaves the root",
        ),
        (
            "hard link missing",
            Tar::default().hard_link("a", "b"),
            "does not exist",
        ),
        (
            "hard link to the root",
            Tar::default().hard_link("a", "."),
            "leaves the root",
        ),
        (
            "whiteout of ..",
            Tar::default().file(".wh...", b""),
            "invalid whiteout",
        ),
        (
            "whiteout of nothing",
            Tar::default().file(".wh.", b""),
            "invalid whiteout",
        ),
        (
            "root as a file",
            Tar::default()
                .raw(b'0', "./", "", 0o755, b"")
                .file(".", b"x"),
            "invalid path",
        ),
        (
            "below a file",
            Tar::default().file("a", b"x").file("a/b", b"x"),
            "cannot",
        ),
        (
            "hard link through a link",
            Tar::default()
                .symlink("out", outside.path().to_str().unwrap())
                .hard_link("a", "out/victim"),
            "does not exist",
        ),
        (
            "unknown type",
            Tar::default().raw(b'V', "label", "", 0, b""),
            "unsupported type 'V'",
        ),
        (
            "NUL in a path",
            Tar::default().pax(&[("path", b"a\0b")]).file("c", b""),
            "invalid path",
        ),
    ];
    for (what, tar, text) in cases {
        let store = Fixture::new();
        let layer = Tar::default().file("good", b"1").0;
        let layer = Tar([layer, tar.0].concat()).done();
        let error = store.import(&layer, "x").expect_err(what);
        assert!(error.to_string().contains(text), "{what}: {error}");
        assert_eq!(error.kind(), crate::errors::ErrorKind::Invalid, "{what}");
        store.assert_empty();
        let error = store
            .load(&docker_archive(&[layer], &["x"]))
            .expect_err(what);
        assert!(error.to_string().contains(text), "{what}: {error}");
        store.assert_empty();
        assert_eq!(fs::read(&victim).unwrap(), b"safe", "{what}");
        assert_eq!(fs::metadata(&victim).unwrap().nlink(), 1, "{what}");
        assert_eq!(names(outside.path()), ["victim"], "{what}");
    }
}

#[test]
fn damaged_tars_are_refused_and_leave_nothing() {
    let good = Tar::default()
        .file("f", &[b'x'; 5000])
        .file("g", b"y")
        .done();
    let mut bad_sum = good.clone();
    bad_sum[0] ^= 1;
    let huge = {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().linkflag[0] = b'x';
        header.set_size(1 << 40);
        header.set_cksum();
        header.as_bytes().to_vec()
    };
    let mut cut_gzip = gzip(&good);
    cut_gzip.truncate(cut_gzip.len() - 6);
    let mut bad_gzip = gzip(&[good.clone(), vec![0; 4096]].concat());
    let end = bad_gzip.len() - 5;
    bad_gzip[end] ^= 0x55;
    let mut cut_zstd = zstd(&good);
    cut_zstd.truncate(cut_zstd.len() - 4);
    let cases = [
        ("cut in a header", good[..100].to_vec(), "unexpected EOF"),
        ("cut in a file", good[..3000].to_vec(), "unexpected EOF"),
        (
            "cut in the padding",
            good[..5600].to_vec(),
            "unexpected EOF",
        ),
        (
            "cut between entries",
            good[..512 + 5120].to_vec(),
            "no end marker",
        ),
        ("empty", Vec::new(), "no end marker"),
        ("checksum", bad_sum, "corrupt tar header at offset 0"),
        ("text", b"hello".repeat(300), "corrupt tar header"),
        ("huge extended header", huge, "larger than"),
        (
            "bad record",
            Tar::default()
                .raw(b'x', "p", "", 0, b"9 path=")
                .file("f", b"")
                .done(),
            "corrupt extended",
        ),
        (
            "extended header alone",
            Tar::default().pax(&[("path", b"a")]).done(),
            "unexpected EOF",
        ),
        ("cut gzip", cut_gzip, "unexpected EOF"),
        ("damaged gzip", bad_gzip, "cannot read the tar archive"),
        ("cut zstd", cut_zstd, "corrupt zstd stream"),
    ];
    for (what, tar, text) in cases {
        let store = Fixture::new();
        let error = store.import(&tar, "x").expect_err(what);
        assert!(error.to_string().contains(text), "{what}: {error}");
        assert_eq!(error.kind(), crate::errors::ErrorKind::Invalid, "{what}");
        store.assert_empty();
    }
}

#[test]
fn sparse_files() {
    let map = b"2\n1024\n512\n8192\n100\n";
    let mut content = map.to_vec();
    content.resize(512, 0);
    content.extend([b'a'; 512]);
    content.extend([b'b'; 100]);
    let pieces = [[b'a'; 512].as_slice(), &[b'b'; 100]].concat();
    let tar = Tar::default()
        .pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"pax1"),
            ("GNU.sparse.realsize", b"10000"),
        ])
        .file("GNUSparseFile.0/pax1", &content)
        .pax(&[
            ("GNU.sparse.size", b"10000"),
            ("GNU.sparse.map", b"1024,512,8192,100"),
        ])
        .file("pax01", &pieces);
    // The old form keeps the map in the header.
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..3].copy_from_slice(b"old");
    header.as_old_mut().linkflag[0] = b'S';
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(pieces.len() as u64);
    let gnu = header.as_gnu_mut().unwrap();
    for (i, (offset, len)) in [(1024, 512), (8192, 100)].into_iter().enumerate() {
        gnu.sparse[i]
            .offset
            .copy_from_slice(format!("{offset:011o}\0").as_bytes());
        gnu.sparse[i]
            .numbytes
            .copy_from_slice(format!("{len:011o}\0").as_bytes());
    }
    gnu.realsize
        .copy_from_slice(format!("{:011o}\0", 10000).as_bytes());
    header.set_cksum();
    let mut bytes = tar.0;
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(&pieces);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    let store = Fixture::new();
    store
        .import(&Tar(bytes).file("after", b"1").done(), "x")
        .unwrap();
    let mut expected = vec![0; 10000];
    expected[1024..1536].fill(b'a');
    expected[8192..8292].fill(b'b');
    let root = store.layer("x", 0);
    for name in ["pax1", "pax01", "old"] {
        assert!(fs::read(root.join(name)).unwrap() == expected, "{name}");
    }
    assert_eq!(fs::read(root.join("after")).unwrap(), b"1");
    assert!(!root.join("GNUSparseFile.0").exists());

    for map in ["1024,512,1000,100", "1024,512", "1024,512,9999,100", "1024"] {
        let tar = Tar::default()
            .pax(&[
                ("GNU.sparse.size", b"10000"),
                ("GNU.sparse.map", map.as_bytes()),
            ])
            .file("f", &pieces)
            .done();
        let error = store.import(&tar, "y").unwrap_err().to_string();
        assert!(error.contains("sparse"), "{map}: {error}");
    }
}

#[test]
fn attributes_and_devices() {
    if !root_or_skip("attributes, owners and devices") {
        return;
    }
    let store = Fixture::new();
    // cap_net_raw+ep; the newline within must not end the record.
    let capability = [
        1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let newline = [1, 0, 0, 2, 10, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let tar = Tar::default()
        .pax(&[
            ("SCHILY.xattr.user.note", b"a\nb=c"),
            ("SCHILY.xattr.security.capability", &capability),
            ("uid", b"1234"),
            ("gid", b"70000"),
        ])
        .file("ping", b"x")
        .pax(&[("SCHILY.xattr.security.capability", &newline)])
        .file("odd", b"x")
        .pax(&[("SCHILY.xattr.trusted.overlay.redirect", b"/etc")])
        .dir("dir", 0o755)
        .raw(b'3', "null", "", 0o666, b"")
        .done();
    store.import(&tar, "x").unwrap();
    let root = store.layer("x", 0);
    let ping = root.join("ping");
    assert_eq!(xattr(&ping, "user.note").unwrap(), b"a\nb=c");
    assert_eq!(xattr(&ping, "security.capability").unwrap(), capability);
    assert_eq!(
        xattr(&root.join("odd"), "security.capability").unwrap(),
        newline
    );
    let owner = fs::metadata(&ping).unwrap();
    assert_eq!((owner.uid(), owner.gid()), (1234, 70000));
    assert_eq!(xattr(&root.join("dir"), "trusted.overlay.redirect"), None);
    let null = fs::metadata(root.join("null")).unwrap();
    assert!(null.file_type().is_char_device());
    assert_eq!(null.rdev(), libc::makedev(1, 3));
}

#[test]
fn whiteouts_become_overlay_ones() {
    if !root_or_skip("whiteouts") {
        return;
    }
    let store = Fixture::new();
    let lower = Tar::default()
        .raw(b'5', "opt", "", 0o1777, b"")
        .file("opt/a", b"1")
        .file("gone", b"1")
        .done();
    let upper = Tar::default()
        .file("opt/b", b"2")
        .file("opt/.wh..wh..opq", b"")
        .file(".wh.gone", b"")
        .file(".wh..wh.plnk", b"")
        .file(".wh.swapped", b"")
        .dir("swapped", 0o755)
        .dir("own", 0o755)
        .file(".wh.own", b"")
        .done();
    store
        .load(&docker_archive(&[lower, upper], &["x"]))
        .unwrap();
    let root = store.layer("x", 1);
    let gone = fs::symlink_metadata(root.join("gone")).unwrap();
    assert!(gone.file_type().is_char_device());
    assert_eq!(gone.rdev(), 0);
    for folder in ["opt", "swapped", "own"] {
        assert_eq!(
            xattr(&root.join(folder), "trusted.overlay.opaque").unwrap(),
            b"y",
            "{folder}"
        );
    }
    assert_eq!(names(&root), ["gone", "opt", "own", "swapped"]);
    // A folder that the layer does not name looks like the one below.
    assert_eq!(
        fs::metadata(root.join("opt")).unwrap().mode() & 0o7777,
        0o1777
    );
}
