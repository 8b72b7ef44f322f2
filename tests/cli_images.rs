//! Images: import, load, tag, images, rmi, inspect, by the docker CLI.

use std::io::Write;
use std::path::PathBuf;

use crate::harness::image::IMAGE;
use crate::harness::{Daemon, Engine, Run, image, skip};
use crate::need;

fn ready() -> Result<(), String> {
    Engine::chosen().ready()?;
    skip::program("docker")
}

/// A tar of (path, bytes) entries.
fn tar(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, bytes) in entries {
        let mut header = image::header();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, path, *bytes).expect("tar");
    }
    tar.into_inner().expect("tar")
}

/// A docker-archive of two layers: the test image's tree, then `/layer` added and `/bin/wc` whited out.
fn archive(gzip: bool) -> Vec<u8> {
    use sha2::{Digest, Sha256};
    let hex = |bytes: &[u8]| {
        let digest = Sha256::digest(bytes);
        digest
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let lower = image::tar().to_vec();
    let upper = tar(&[("layer", b"second\n"), ("bin/.wh.wc", b"")]);
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "created": "2024-01-02T03:04:05Z",
        "config": {"Cmd": ["cat", "/layer"], "Env": ["PATH=/bin", "FROM=archive"], "WorkingDir": "/tmp"},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", hex(&lower)), format!("sha256:{}", hex(&upper))]},
        "history": [{"created": "2024-01-02T03:04:05Z", "created_by": "lower"}, {"created": "2024-01-02T03:04:05Z", "created_by": "upper"}],
    })
    .to_string();
    let name = format!("{}.json", hex(config.as_bytes()));
    let manifest = serde_json::json!([{
        "Config": name, "RepoTags": ["loaded:1"], "Layers": ["lower/layer.tar", "upper/layer.tar"],
    }])
    .to_string();
    let all = tar(&[
        (&name, config.as_bytes()),
        ("lower/layer.tar", &lower),
        ("upper/layer.tar", &upper),
        ("manifest.json", manifest.as_bytes()),
    ]);
    if !gzip {
        return all;
    }
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&all).expect("gzip");
    encoder.finish().expect("gzip")
}

#[test]
fn import_tag_list_and_remove() {
    need!(ready());
    let daemon = Daemon::start();
    let id = daemon
        .docker([
            "import",
            "--change",
            "CMD [\"echo\",\"from change\"]",
            "--change",
            "ENV X=y",
            "-m",
            "note",
            "-",
            "changed:1",
        ])
        .stdin(image::tar())
        .output()
        .ok();
    assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
    daemon
        .docker(["run", "--rm", "--network", "none", "changed:1"])
        .output()
        .code(0)
        .stdout_is("from change\n");
    daemon
        .docker(["tag", "changed:1", "other/name:2"])
        .output()
        .code(0);
    let shown = daemon
        .docker([
            "images",
            "--no-trunc",
            "--format",
            "{{.Repository}}:{{.Tag}} {{.ID}}",
        ])
        .output()
        .ok();
    for name in ["changed:1", "other/name:2"] {
        assert!(shown.contains(&format!("{name} {id}")), "{shown}");
    }
    let inspected = daemon.get("/images/changed:1/json");
    assert_eq!(inspected["Id"], id.as_str());
    assert_eq!(
        inspected["Config"]["Cmd"],
        serde_json::json!(["echo", "from change"])
    );
    assert!(
        inspected["Config"]["Env"]
            .as_array()
            .is_some_and(|e| e.iter().any(|v| v == "X=y"))
    );
    daemon
        .docker(["rmi", "changed:1"])
        .output()
        .code(0)
        .stdout_is("Untagged: changed:1\n");
    daemon
        .docker(["rmi", "other/name:2"])
        .output()
        .code(0)
        .stdout_has("Untagged: other/name:2")
        .stdout_has(&format!("Deleted: {id}"));
    daemon
        .docker(["rmi", "changed:1"])
        .output()
        .code(1)
        .stderr_has("No such image: changed:1");
    daemon
        .docker(["image", "inspect", "changed:1"])
        .output()
        .code(1)
        .stderr_has("No such image");
    daemon.finish();
}

#[test]
fn an_image_in_use_is_kept() {
    need!(ready());
    let daemon = Daemon::start();
    daemon.run_detached(&["--name", "user", IMAGE, "workload", "sleep"]);
    let id = daemon.get(&format!("/images/{IMAGE}/json"))["Id"]
        .as_str()
        .expect("id")
        .to_owned();
    daemon
        .docker(["rmi", &id["sha256:".len()..]])
        .output()
        .code(1)
        .stderr_has("conflict: unable to delete")
        .stderr_has("image is being used by running container");
    daemon.finish();
}

#[test]
fn docker_archives_are_loaded() {
    need!(ready());
    let daemon = Daemon::start();
    for gzip in [false, true] {
        daemon
            .docker(["load"])
            .stdin(archive(gzip))
            .output()
            .code(0)
            .stdout_has("Loaded image: loaded:1");
        daemon
            .docker(["run", "--rm", "--network", "none", "loaded:1"])
            .output()
            .code(0)
            .stdout_is("second\n");
        daemon
            .docker(["run", "--rm", "--network", "none", "loaded:1"])
            .args([
                "sh",
                "-c",
                "echo $FROM; pwd; test -e /bin/wc || echo whited out",
            ])
            .output()
            .code(0)
            .stdout_is("archive\n/tmp\nwhited out\n");
        daemon.docker(["rmi", "loaded:1"]).output().code(0);
    }
    daemon.finish();
}

#[test]
fn oci_layouts_are_loaded() {
    need!(ready());
    need!(skip::program("skopeo"));
    if Engine::chosen() == Engine::Dockerd {
        skip::skip("dockerd 20.10 does not read OCI layouts");
        return;
    }
    let daemon = Daemon::start();
    let source: PathBuf = daemon.root.join("archive.tar");
    std::fs::write(&source, archive(false)).expect("archive");
    let target = daemon.root.join("oci");
    let skopeo = Run::new(std::process::Command::new("skopeo"))
        .args([
            "--insecure-policy".to_owned(),
            "copy".to_owned(),
            format!("docker-archive:{}", source.display()),
            format!("oci:{}:loaded:1", target.display()),
        ])
        .output();
    skopeo.code(0);
    let packed = Run::new(std::process::Command::new("tar"))
        .args(["c", "-C", &target.display().to_string(), "."])
        .output();
    packed.code(0);
    daemon
        .docker(["load"])
        .stdin(packed.stdout)
        .output()
        .code(0)
        .stdout_has("Loaded image");
    daemon
        .docker(["run", "--rm", "--network", "none", "loaded:1"])
        .output()
        .code(0)
        .stdout_is("second\n");
    daemon.finish();
}

#[test]
fn a_bad_archive_is_refused_and_leaves_nothing() {
    need!(ready());
    let daemon = Daemon::start();
    let before = daemon.docker(["images", "-aq"]).output().ok();
    let mut torn = archive(false);
    torn.truncate(torn.len() / 2);
    let mut flipped = archive(false);
    // Within the busybox of the first layer: the digest no longer fits.
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x55;
    for (what, bytes) in [
        ("garbage", b"this is no tar at all".to_vec()),
        ("torn", torn),
        ("flipped", flipped),
        ("no manifest", tar(&[("x", b"y")])),
    ] {
        let output = daemon.docker(["load"]).stdin(bytes).output();
        if daemon.engine == Engine::Taffrail {
            assert_ne!(output.code, 0, "{what}: {output}");
            assert!(!output.err().is_empty(), "{what}: {output}");
        }
    }
    if daemon.engine == Engine::Taffrail {
        assert_eq!(daemon.docker(["images", "-aq"]).output().ok(), before);
    }
    daemon
        .docker(["run", "--rm", "--network", "none", IMAGE, "true"])
        .output()
        .code(0);
    daemon.finish();
}

#[test]
fn a_tar_that_leaves_its_root_is_refused() {
    need!(ready());
    let daemon = Daemon::start();
    let outside = daemon.root.join("outside");
    let victim = format!("{}", outside.display());
    // `append_data` refuses such names, so the header is written by hand.
    let mut header = image::header();
    let name = format!("{}{victim}", "../".repeat(12));
    header.as_gnu_mut().expect("gnu").name[..name.len().min(100)]
        .copy_from_slice(&name.as_bytes()[..name.len().min(100)]);
    header.set_mode(0o644);
    header.set_size(3);
    header.set_cksum();
    let mut builder = tar::Builder::new(Vec::new());
    builder.append(&header, &b"bad"[..]).expect("tar");
    let bytes = builder.into_inner().expect("tar");
    let output = daemon
        .docker(["import", "-", "evil:1"])
        .stdin(bytes)
        .output();
    if daemon.engine == Engine::Taffrail {
        assert_ne!(output.code, 0, "{output}");
    }
    assert!(!outside.exists(), "a file was written outside: {output}");
    daemon.finish();
}

#[test]
fn blank_header_fields_are_zero() {
    need!(ready());
    let daemon = Daemon::start();
    // User and group are left as NUL bytes, which GNU tar and Go read as 0.
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(1);
    assert_eq!(header.as_old().uid, [0; 8], "this header says a user");
    let mut builder = tar::Builder::new(Vec::new());
    builder
        .append_data(&mut header, "file", &b"x"[..])
        .expect("tar");
    let bytes = builder.into_inner().expect("tar");
    daemon
        .docker(["import", "-", "blank:1"])
        .stdin(bytes)
        .output()
        .code(0);
    daemon.finish();
}

#[test]
fn saved_images_come_back_with_their_digests() {
    need!(ready());
    let daemon = Daemon::start();
    daemon
        .docker(["load"])
        .stdin(archive(false))
        .output()
        .code(0);
    daemon
        .docker(["tag", "loaded:1", "other/name:2"])
        .output()
        .code(0);
    let inspect = |name: &str| {
        let image = daemon.get(&format!("/images/{name}/json"));
        (image["Id"].clone(), image["RootFS"].clone())
    };
    let before = inspect("loaded:1");
    let file = daemon.root.join("saved.tar");
    let path = file.display().to_string();
    daemon
        .docker(["save", "-o", &path, "loaded", "other/name:2"])
        .output()
        .code(0);
    daemon
        .docker(["rmi", "loaded:1", "other/name:2"])
        .output()
        .code(0);
    let loaded = daemon.docker(["load", "-i", &path]).output();
    loaded
        .code(0)
        .stdout_has("Loaded image: loaded:1")
        .stdout_has("Loaded image: other/name:2");
    assert_eq!(inspect("loaded:1"), before);
    assert_eq!(inspect("other/name:2"), before);
    daemon
        .docker(["run", "--rm", "--network", "none", "loaded:1"])
        .output()
        .code(0)
        .stdout_is("second\n");
    // By id there are no names in the archive.
    let id = before.0.as_str().expect("id").to_owned();
    let bare = daemon.docker(["save", &id]).output();
    bare.code(0);
    daemon
        .docker(["rmi", "loaded:1", "other/name:2"])
        .output()
        .code(0);
    daemon
        .docker(["load"])
        .stdin(bare.stdout)
        .output()
        .code(0)
        .stdout_is(&format!("Loaded image ID: {id}\n"));
    daemon.docker(["rmi", &id]).output().code(0);
    daemon
        .docker(["save", "nosuch"])
        .output()
        .code(1)
        .stderr_has("No such image: nosuch");
    daemon.finish();
}

#[test]
fn what_is_saved_is_an_oci_layout_too() {
    need!(ready());
    need!(skip::program("skopeo"));
    if Engine::chosen() == Engine::Dockerd {
        skip::skip("dockerd 20.10 does not write OCI layouts");
        return;
    }
    let daemon = Daemon::start();
    daemon
        .docker(["load"])
        .stdin(archive(true))
        .output()
        .code(0);
    let saved = daemon.root.join("saved.tar");
    daemon
        .taffrail(["save", "-o", &saved.display().to_string(), "loaded:1"])
        .output()
        .code(0);
    for form in ["docker-archive", "oci-archive"] {
        let digest = |source: String| {
            let config = Run::new(std::process::Command::new("skopeo"))
                .args(["inspect", "--config", "--raw", &source])
                .output();
            config.code(0);
            config.stdout
        };
        let config = digest(format!("{form}:{}", saved.display()));
        use sha2::{Digest, Sha256};
        let hex: String = Sha256::digest(&config)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let id = daemon.get("/images/loaded:1/json")["Id"].clone();
        assert_eq!(id, format!("sha256:{hex}"), "{form}");
    }
    daemon.finish();
}

#[test]
fn history_shows_the_steps() {
    need!(ready());
    let daemon = Daemon::start();
    daemon
        .docker(["load"])
        .stdin(archive(false))
        .output()
        .code(0);
    let format = "{{.CreatedBy}}|{{.Size}}";
    let wanted = daemon
        .docker(["history", "--format", format, "loaded:1"])
        .output()
        .ok();
    assert!(wanted.starts_with("upper|7B\nlower|"), "{wanted}");
    if daemon.engine == Engine::Taffrail {
        for command in [vec!["history"], vec!["image", "history"]] {
            let own = daemon
                .taffrail(&command)
                .args(["--format", format, "loaded:1"])
                .output()
                .ok();
            assert_eq!(own, wanted);
        }
        let table = |run: Run| run.args(["history", "loaded:1"]).output().ok();
        assert_eq!(
            table(daemon.taffrail([""; 0])),
            table(daemon.docker([""; 0]))
        );
    }
    daemon.finish();
}

#[test]
fn prune_removes_what_nobody_needs() {
    need!(ready());
    let daemon = Daemon::start();
    let import = |name: &str, label: &str| {
        let change = format!("LABEL {label}");
        daemon
            .docker(["import", "--change", &change, "-", name])
            .stdin(tar(&[("file", label.as_bytes())]))
            .output()
            .code(0);
    };
    import("moved:1", "n=1");
    import("moved:1", "n=2");
    import("kept:1", "n=3");
    daemon
        .docker(["create", "--network", "none", "kept:1", "x"])
        .output()
        .code(0);
    let prune = |args: &[&str]| {
        let run = match daemon.engine {
            Engine::Taffrail => daemon.taffrail(["image", "prune", "-f"]),
            Engine::Dockerd => daemon.docker(["image", "prune", "-f"]),
        };
        run.args(args).output().ok()
    };
    assert_eq!(
        prune(&["--filter", "label=n=2"]),
        "Total reclaimed space: 0B"
    );
    let pruned = prune(&["--filter", "label=n"]);
    assert!(
        pruned.starts_with("Deleted Images:\ndeleted: sha256:"),
        "{pruned}"
    );
    assert!(pruned.ends_with("Total reclaimed space: 3B"), "{pruned}");
    assert_eq!(
        prune(&["-a", "--filter", "label!=n", "--filter", "until=24h"]),
        "Total reclaimed space: 0B"
    );
    let pruned = prune(&["-a", "--filter", "label=n"]);
    assert!(pruned.contains("untagged: moved:1\n"), "{pruned}");
    let names = daemon
        .docker(["images", "--format", "{{.Repository}}"])
        .output()
        .ok();
    assert!(
        names.contains("kept") && !names.contains("moved"),
        "{names}"
    );
    daemon.finish();
}
