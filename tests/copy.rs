//! cp and diff: what goes into a container and comes out of it, and what must not.

use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::harness::daemon::{Daemon, taffrail_only};
use crate::harness::image::{IMAGE, header};
use crate::harness::{Engine, http, sized, skip, wait_for};
use crate::need;

const PATIENCE: Duration = Duration::from_secs(30);

fn ready() -> Result<(), String> {
    Engine::chosen().ready()?;
    skip::program("docker")
}

/// A container that has run `script` and sleeps since.
fn sleeper(daemon: &Daemon, options: &[&str], script: &str) -> String {
    let script = format!("{script}; echo ready; exec sleep 1000");
    let mut args = options.to_vec();
    args.extend([IMAGE, "sh", "-c", &script]);
    let id = daemon.run_detached(&args);
    wait_for("the script", PATIENCE, || {
        (daemon.docker(["logs", &id]).output().out() == "ready\n").then_some(())
    });
    id
}

/// An archive of these entries: name, kind, link target, content.
fn archive(entries: &[(&str, tar::EntryType, &str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, kind, link, content) in entries {
        let mut header = header();
        // As written, whatever the library thinks of it.
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o644);
        header.set_mtime(1);
        header.set_size(content.len() as u64);
        if matches!(kind, tar::EntryType::Char) {
            let _ = header.set_device_major(1);
            let _ = header.set_device_minor(7);
        }
        header.set_cksum();
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(content);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.extend_from_slice(&[0; 1024]);
    out
}

fn put(daemon: &Daemon, query: &str, body: &[u8]) -> http::Answer {
    let path = format!("/v1.41/containers/{query}");
    let extra = ["Connection: close", "Content-Type: application/x-tar"];
    let mut stream = http::open(&daemon.socket, "PUT", &path, &extra, Some(body), PATIENCE)
        .unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("the answer");
    http::Answer {
        status: stream.status,
        headers: stream.headers.clone(),
        body: bytes,
    }
}

fn get(daemon: &Daemon, path: &str) -> http::Answer {
    let path = format!("/v1.41/containers/{path}");
    http::request(&daemon.socket, "GET", &path, None, PATIENCE)
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn names(archive: &[u8]) -> Vec<String> {
    let mut names: Vec<String> = tar::Archive::new(archive)
        .entries()
        .expect("an archive")
        .map(|entry| {
            let entry = entry.expect("an entry");
            String::from_utf8_lossy(&entry.path_bytes()).into_owned()
        })
        .collect();
    names.sort();
    names
}

/// What a container's file holds, read within it.
fn content(daemon: &Daemon, id: &str, path: &str) -> Vec<u8> {
    let answer = get(daemon, &format!("{id}/archive?path={path}"));
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    let mut archive = tar::Archive::new(&answer.body[..]);
    let mut entry = archive
        .entries()
        .expect("an archive")
        .next()
        .expect("one")
        .expect("an entry");
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).expect("its content");
    bytes
}

fn stat(daemon: &Daemon, id: &str, path: &str) -> Option<Value> {
    let path = format!("/v1.41/containers/{id}/archive?path={path}");
    let answer = http::request(&daemon.socket, "HEAD", &path, None, PATIENCE).expect("an answer");
    if answer.status == 404 {
        return None;
    }
    assert_eq!(answer.status, 200, "{path}");
    let text = answer
        .header("x-docker-container-path-stat")
        .expect("the header");
    let decoded = crate::harness::command::decode_base64(text);
    Some(serde_json::from_slice(&decoded).expect("JSON"))
}

#[test]
fn files_and_trees_go_both_ways() {
    need!(ready());
    let daemon = Daemon::start();
    let id = sleeper(
        &daemon,
        &["--name", "both"],
        "mkdir -p /a/b; echo x > /a/b/x; chmod 4755 /a/b/x; ln -s /a /la; ln -s /a/new /ln; ln /a/b/x /a/hard",
    );
    let local = daemon.root.join("local");
    std::fs::create_dir_all(local.join("d/sub")).expect("folders");
    std::fs::write(local.join("f"), "file\n").expect("a file");
    std::fs::write(local.join("d/sub/n"), "deep\n").expect("a file");
    std::os::unix::fs::symlink("f", local.join("link")).expect("a link");
    let at = |name: &str| local.join(name).display().to_string();
    for (from, to) in [
        ("f", "/tmp"),
        ("f", "/tmp/g"),
        ("d", "/tmp"),
        ("d", "/tmp/e"),
        ("d/.", "/tmp/all"),
        ("link", "/tmp"),
        ("f", "/la/through"),
        ("f", "/ln"),
    ] {
        let to = format!("both:{to}");
        daemon.docker(["cp", &at(from), &to]).output().code(0);
    }
    let tree = get(&daemon, "both/archive?path=/tmp/.");
    let found = names(&tree.body);
    let wanted = [
        "./",
        "./all/",
        "./all/sub/",
        "./all/sub/n",
        "./d/",
        "./d/sub/",
        "./d/sub/n",
        "./e/",
        "./e/sub/",
        "./e/sub/n",
        "./f",
        "./g",
        "./link",
    ];
    assert_eq!(found, wanted);
    assert_eq!(content(&daemon, &id, "/a/through"), b"file\n");
    assert_eq!(content(&daemon, &id, "/a/new"), b"file\n");
    // And back.
    for (from, to) in [
        ("/a", "out"),
        ("/a/.", "content"),
        ("/la", "as-link"),
        ("/la/", "through"),
        ("/a/b/x", "renamed"),
    ] {
        daemon
            .docker(["cp", &format!("both:{from}"), &at(to)])
            .output()
            .code(0);
    }
    for name in ["out/b/x", "content/b/x", "through/b/x", "renamed"] {
        assert_eq!(
            std::fs::read(local.join(name)).expect(name),
            b"x\n",
            "{name}"
        );
    }
    let meta = std::fs::metadata(local.join("out/b/x")).expect("a file");
    assert_eq!(meta.mode() & 0o7777, 0o4755);
    assert_eq!(meta.nlink(), 2, "hard links stay together");
    assert_eq!(
        std::fs::read_link(local.join("as-link")).expect("a link"),
        Path::new("/a")
    );
    for (args, text) in [
        (
            ["cp", "both:/nope", "."],
            "Could not find the file /nope in container both",
        ),
        (["cp", "nope:/x", "."], "No such container: nope"),
        (["cp", &at("d"), "both:/a/b/x"], "cannot copy directory"),
        (
            ["cp", &at("f"), "both:/no/such"],
            "Could not find the file /no in container both",
        ),
        (
            ["cp", "both:/a", "both:/b"],
            "copying between containers is not supported",
        ),
    ] {
        daemon.docker(args).output().code(1).stderr_has(text);
    }
    daemon.finish();
}

#[test]
fn our_client_copies_as_dockers_does() {
    need!(taffrail_only());
    let daemon = Daemon::start();
    sleeper(
        &daemon,
        &["--name", "own"],
        "mkdir -p /a/b; echo x > /a/b/x; ln -s /a /la",
    );
    let local = daemon.root.join("local");
    std::fs::create_dir_all(local.join("d")).expect("a folder");
    std::fs::write(local.join("f"), "file\n").expect("a file");
    let at = |name: &str| local.join(name).display().to_string();
    let cp = |args: &[&str]| {
        let mut all = vec!["cp"];
        all.extend(args);
        daemon.taffrail(all).output()
    };
    cp(&[&at("f"), "own:/tmp/g"]).code(0).stderr_is("");
    cp(&["own:/tmp/g", &at("back")]).code(0);
    assert_eq!(
        std::fs::read(local.join("back")).expect("a file"),
        b"file\n"
    );
    cp(&["-L", "own:/la", &at("followed")]).code(0);
    assert_eq!(
        std::fs::read(local.join("followed/b/x")).expect("a file"),
        b"x\n"
    );
    // Both ways through pipes.
    let out = cp(&["own:/a", "-"]);
    assert_eq!(names(&out.code(0).stdout), ["a/", "a/b/", "a/b/x"]);
    daemon
        .taffrail(["cp", "-", "own:/tmp"])
        .stdin(out.stdout)
        .output()
        .code(0);
    daemon
        .taffrail(["container", "diff", "own"])
        .output()
        .code(0)
        .stdout_has("A /tmp/a/b/x\n");
    for (args, text) in [
        (
            vec!["own:/nope", "."],
            "Could not find the file /nope in container own",
        ),
        (
            vec!["-", "own:/tmp/g"],
            "destination \"own:/tmp/g\" must be a directory",
        ),
        (
            vec!["own:/a", "/no/such/x"],
            "invalid output path: directory \"/no/such\" does not exist",
        ),
        (vec!["own:/a/.", &at("f")], "cannot copy directory"),
        (vec!["own:/tmp/g", &at("none/")], "no such directory"),
        (vec!["a", "b"], "must specify at least one container source"),
    ] {
        cp(&args).code(1).stderr_has(text);
    }
    daemon.finish();
}

#[test]
fn what_a_path_is() {
    need!(ready());
    let daemon = Daemon::start();
    let id = sleeper(
        &daemon,
        &[],
        "mkdir /a; printf ab > /a/f; ln -s f /a/l; ln -s /a /dl; ln -s nowhere /a/broken; chmod 1777 /a; mknod /p p",
    );
    for (path, name, mode, target) in [
        ("/a/f", "f", 0o644_u64, ""),
        ("a/../a/f", "f", 0o644, ""),
        ("/a", "a", 1 << 31 | 1 << 20 | 0o777, ""),
        ("/a/.", ".", 1 << 31 | 1 << 20 | 0o777, ""),
        ("/", "/", 1 << 31 | 0o755, ""),
        ("/a/l", "l", 1 << 27 | 0o777, "/a/f"),
        ("/dl", "dl", 1 << 27 | 0o777, "/a"),
        ("/dl/", "dl", 1 << 31 | 1 << 20 | 0o777, ""),
        ("/a/broken", "broken", 1 << 27 | 0o777, "/a/nowhere"),
        ("/p", "p", 1 << 25 | 0o644, ""),
    ] {
        let found = stat(&daemon, &id, path).unwrap_or_else(|| panic!("{path}"));
        assert_eq!(found["name"], name, "{path}");
        assert_eq!(found["mode"], mode, "{path}: {found}");
        assert_eq!(found["linkTarget"], target, "{path}");
    }
    assert_eq!(stat(&daemon, &id, "/a/f").expect("a file")["size"], 2);
    assert!(stat(&daemon, &id, "/nope").is_none());
    assert!(get(&daemon, &format!("{id}/archive?path=/a/f/")).status >= 400);
    assert_eq!(get(&daemon, &format!("{id}/archive")).status, 400);
    for (path, first) in [
        ("/dl", "dl"),
        ("/dl/", "dl/"),
        ("/dl/.", "./"),
        ("/a/l", "l"),
    ] {
        let answer = get(&daemon, &format!("{id}/archive?path={path}"));
        assert_eq!(answer.header("content-type"), Some("application/x-tar"));
        assert_eq!(names(&answer.body)[0], first, "{path}");
    }
    daemon.finish();
}

#[test]
fn archives_that_mean_harm_are_refused() {
    use tar::EntryType as T;
    need!(ready());
    let daemon = Daemon::start();
    let id = sleeper(&daemon, &[], "mkdir -p /a/d; echo f > /a/f");
    let to = |query: &str| format!("{id}/archive?path=/a{query}");
    for (entries, text) in [
        (
            vec![("../../evil", T::Regular, "", &b"x"[..])],
            "is outside of \\\"/a\\\"",
        ),
        (
            vec![("x/../../evil", T::Regular, "", b"x")],
            "is outside of \\\"/a\\\"",
        ),
        (
            vec![("h", T::Link, "../../etc/passwd", b"")],
            "invalid hardlink",
        ),
        (
            vec![("h", T::Link, "/etc/passwd", b"")],
            "no such file or directory",
        ),
    ] {
        let answer = put(&daemon, &to(""), &archive(&entries));
        assert!(answer.status >= 400, "{}", answer.text());
        assert!(answer.text().contains(text), "{}", answer.text());
    }
    let answer = put(
        &daemon,
        &to("&noOverwriteDirNonDir=true"),
        &archive(&[("d", T::Regular, "", b"x")]),
    );
    assert!(
        answer
            .text()
            .contains("cannot overwrite directory \\\"/a/d\\\" with non-directory \\\"/a\\\""),
        "{}",
        answer.text()
    );
    let answer = put(
        &daemon,
        &to("&noOverwriteDirNonDir=true"),
        &archive(&[("f/", T::Directory, "", b"")]),
    );
    assert!(
        answer
            .text()
            .contains("cannot overwrite non-directory \\\"/a/f\\\" with directory \\\"/a\\\""),
        "{}",
        answer.text()
    );
    assert!(
        put(&daemon, &to(""), b"no archive")
            .text()
            .contains("unexpected EOF")
    );
    // Absolute names are taken from the folder; a device is one.
    let odd = archive(&[
        ("/etc/inside", T::Regular, "", b"in"),
        ("full", T::Char, "", b""),
        (".wh.f", T::Regular, "", b"w"),
    ]);
    assert_eq!(put(&daemon, &to(""), &odd).status, 200);
    assert_eq!(content(&daemon, &id, "/a/etc/inside"), b"in");
    assert_eq!(content(&daemon, &id, "/a/.wh.f"), b"w");
    assert_eq!(content(&daemon, &id, "/a/f"), b"f\n", "no whiteout here");
    let device = stat(&daemon, &id, "/a/full").expect("a device");
    assert_eq!(device["mode"], (1_u64 << 26) | (1 << 21) | 0o644);
    // Compressed ones, whatever the header says.
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &archive(&[("zipped", T::Regular, "", b"z")]))
        .expect("gzip");
    assert_eq!(
        put(&daemon, &to(""), &gzip.finish().expect("gzip")).status,
        200
    );
    assert_eq!(content(&daemon, &id, "/a/zipped"), b"z");
    if Engine::chosen() == Engine::Taffrail {
        let refused = put(&daemon, &to(""), b"BZh91AY&SY...");
        assert_eq!(refused.status, 400);
        assert!(
            refused.text().contains("compressed by bzip2"),
            "{}",
            refused.text()
        );
    }
    assert_eq!(
        put(&daemon, &format!("{id}/archive?path=/nope"), &odd).status,
        404
    );
    let file = put(&daemon, &format!("{id}/archive?path=/a/f"), &odd);
    assert!(
        file.text().contains("extraction point is not a directory"),
        "{}",
        file.text()
    );
    daemon.finish();
}

#[test]
fn read_only_places_stay_as_they_are() {
    need!(ready());
    let daemon = Daemon::start();
    let shared = daemon.root.join("shared");
    std::fs::create_dir(&shared).expect("a folder");
    let file = archive(&[("new", tar::EntryType::Regular, "", b"x")]);
    for running in [true, false] {
        let bind = format!("{}:/ro:ro", shared.display());
        let options = ["--read-only", "-v", &bind];
        let id = sleeper(&daemon, &options, "true");
        if !running {
            daemon.docker(["stop", "-t", "0", &id]).output().code(0);
        }
        let root = put(&daemon, &format!("{id}/archive?path=/etc"), &file);
        assert!(root.status >= 400);
        assert!(
            root.text().contains("container rootfs is marked read-only"),
            "{}",
            root.text()
        );
        let volume = put(&daemon, &format!("{id}/archive?path=/ro"), &file);
        assert!(volume.status >= 400);
        assert!(
            volume.text().contains("mounted volume is marked read-only"),
            "{}",
            volume.text()
        );
        assert!(stat(&daemon, &id, "/etc/new").is_none());
        daemon.docker(["rm", "-f", &id]).output().code(0);
    }
    assert_eq!(std::fs::read_dir(&shared).expect("a folder").count(), 0);
    daemon.finish();
}

#[test]
fn a_stopped_container_is_seen_with_its_volumes() {
    need!(ready());
    let daemon = Daemon::start();
    let shared = daemon.root.join("shared");
    std::fs::create_dir(&shared).expect("a folder");
    let bind = format!("{}:/data/shared", shared.display());
    let id = sleeper(
        &daemon,
        &["-v", &bind],
        "echo kept > /data/shared/f; echo own > /data/own",
    );
    daemon.docker(["stop", "-t", "0", &id]).output().code(0);
    let out = get(&daemon, &format!("{id}/archive?path=/data"));
    assert_eq!(
        names(&out.body),
        ["data/", "data/own", "data/shared/", "data/shared/f"]
    );
    let file = archive(&[("g", tar::EntryType::Regular, "", b"into the volume")]);
    assert_eq!(
        put(&daemon, &format!("{id}/archive?path=/data/shared"), &file).status,
        200
    );
    assert_eq!(
        std::fs::read(shared.join("g")).expect("a file"),
        b"into the volume"
    );
    assert!(stat(&daemon, &id, "/etc/hosts").expect("hosts")["size"].as_u64() > Some(0));
    // What was copied in is there at the next start, and the volume's is not in the container's layer.
    assert_eq!(
        put(&daemon, &format!("{id}/archive?path=/data"), &file).status,
        200
    );
    let changes = daemon.docker(["diff", &id]).output().ok();
    assert!(changes.contains("A /data/g"), "{changes}");
    assert!(!changes.contains("/data/shared/g"), "{changes}");
    daemon.docker(["start", &id]).output().code(0);
    assert_eq!(content(&daemon, &id, "/data/g"), b"into the volume");
    daemon.finish();
}

#[test]
fn changes_are_told() {
    need!(ready());
    let daemon = Daemon::start();
    let id = sleeper(
        &daemon,
        &["--tmpfs", "/scratch"],
        "mkdir -p /new/sub; echo n > /new/sub/n; rm /etc/group; echo more >> /etc/passwd; touch /scratch/x; rm -r /home; mkdir /home; touch /root/r",
    );
    let mut lines: Vec<String> = daemon
        .docker(["diff", &id])
        .output()
        .ok()
        .lines()
        .map(str::to_owned)
        .collect();
    lines.sort();
    assert_eq!(
        lines,
        [
            "A /new",
            "A /new/sub",
            "A /new/sub/n",
            "A /root/r",
            "A /scratch",
            "C /etc",
            "C /etc/passwd",
            "C /root",
            "D /etc/group",
        ]
    );
    let untouched = daemon.run_detached(&[IMAGE, "true"]);
    daemon.wait_exit(&untouched, 30);
    assert_eq!(
        daemon.get(&format!("/containers/{untouched}/changes")),
        Value::Null
    );
    assert_eq!(get(&daemon, "nope/changes").status, 404);
    daemon.finish();
}

#[test]
fn a_link_that_moves_leads_nowhere() {
    use tar::EntryType as T;
    need!(taffrail_only());
    let daemon = Daemon::start();
    let outside = daemon.root.join("outside");
    std::fs::create_dir(&outside).expect("a folder");
    std::fs::write(outside.join("secret"), "of the host").expect("a file");
    // Now a folder, now a link to the host's path, as fast as it goes.
    let script = format!(
        "mkdir -p /w/d /w/real; echo inside > /w/real/secret; while :; do \
         mv /w/d /w/x; ln -s {} /w/d; rm /w/d; mv /w/x /w/d; cp /w/real/secret /w/d/secret; done",
        outside.display()
    );
    let id = daemon.run_detached(&[IMAGE, "sh", "-c", &script]);
    let file = archive(&[
        ("d/evil", T::Regular, "", b"x"),
        ("d/secret", T::Regular, "", b"x"),
    ]);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..sized("TAFFRAIL_TEST_COPY_RACES", 150) {
                let _ = put(&daemon, &format!("{id}/archive?path=/w"), &file);
                let _ = put(&daemon, &format!("{id}/archive?path=/w/d"), &file);
            }
            done.store(true, Ordering::Release);
        });
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                for path in ["/w/d/secret", "/w", "/w/d/"] {
                    let answer = get(&daemon, &format!("{id}/archive?path={path}"));
                    assert!(
                        memchr::memmem::find(&answer.body, b"of the host").is_none(),
                        "{path}: a file of the host came out"
                    );
                }
                let _ = daemon.docker(["diff", &id]).output();
            }
        });
    });
    assert_eq!(
        std::fs::read_to_string(outside.join("secret")).expect("a file"),
        "of the host"
    );
    assert_eq!(std::fs::read_dir(&outside).expect("a folder").count(), 1);
    daemon.finish();
}

#[test]
fn a_large_file_costs_no_memory() {
    need!(taffrail_only());
    let daemon = Daemon::start();
    let bytes = sized("TAFFRAIL_TEST_COPY_BYTES", 1 << 30);
    let count = bytes >> 20;
    let id = sleeper(
        &daemon,
        &[],
        &format!("dd if=/dev/zero of=/big bs=1M count={count} 2>/dev/null"),
    );
    let peak = || {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("status");
        let line = status
            .lines()
            .find(|line| line.starts_with("VmHWM"))
            .expect("VmHWM");
        let kib: u64 = line
            .split_whitespace()
            .nth(1)
            .expect("a number")
            .parse()
            .expect("KiB");
        kib << 10
    };
    let before = peak();
    let copy = |args: &[&str]| {
        let status = daemon
            .docker_command()
            .arg("cp")
            .args(args)
            .stdout(Stdio::null())
            .status()
            .expect("docker cp");
        assert!(status.success());
    };
    copy(&[&format!("{id}:/big"), "-"]);
    let source = daemon.root.join("big");
    let file = std::fs::File::create(&source).expect("a file");
    file.set_len(bytes).expect("its size");
    copy(&[&source.display().to_string(), &format!("{id}:/tmp/big")]);
    assert_eq!(
        stat(&daemon, &id, "/tmp/big").expect("the copy")["size"],
        bytes
    );
    let grown = peak() - before;
    assert!(
        grown < 64 << 20,
        "{grown} bytes more for {bytes} there and back"
    );
    std::fs::remove_file(&source).expect("removed");
    daemon.finish();
}

#[test]
fn a_copy_that_is_cut_leaves_nothing() {
    need!(taffrail_only());
    let daemon = Daemon::start();
    let id = sleeper(
        &daemon,
        &[],
        "dd if=/dev/zero of=/big bs=1M count=50 2>/dev/null",
    );
    daemon.docker(["stop", "-t", "0", &id]).output().code(0);
    let open = || {
        let path = format!("/containers/{id}/archive?path=/big");
        let mut stream =
            http::open(&daemon.socket, "GET", &path, &[], None, PATIENCE).expect("an answer");
        let mut some = [0; 4096];
        stream.read_exact(&mut some).expect("some of it");
        stream
    };
    let merged = daemon.data_root.join("overlay").join(&id).join("merged");
    let mounted = || {
        std::fs::read_to_string("/proc/self/mountinfo")
            .expect("mountinfo")
            .contains(&*merged.to_string_lossy())
    };
    // A client that goes away.
    let stream = open();
    assert!(mounted());
    drop(stream);
    wait_for("the root file system to be unmounted", PATIENCE, || {
        (!mounted()).then_some(())
    });
    // One that takes nothing keeps nobody from starting and removing the container.
    let stream = open();
    daemon.docker(["start", &id]).output().code(0);
    daemon.docker(["stop", "-t", "0", &id]).output().code(0);
    drop(stream);
    wait_for("the root file system to be unmounted", PATIENCE, || {
        (!mounted()).then_some(())
    });
    // A daemon that dies in the middle.
    let stream = open();
    daemon.kill();
    drop(stream);
    daemon.launch();
    wait_for("the root file system to be unmounted", PATIENCE, || {
        (!mounted()).then_some(())
    });
    assert_eq!(
        stat(&daemon, &id, "/big").expect("the file")["size"],
        50 << 20
    );
    let stream = open();
    daemon.docker(["rm", &id]).output().code(0);
    drop(stream);
    daemon.finish();
}
