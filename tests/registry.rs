//! Registries: a real one on loopback, with TLS and a login, behind a connection that is cut, with blobs that
//! were changed, and a daemon that is killed in between.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::daemon::taffrail_only;
use crate::harness::image::{self, IMAGE};
use crate::harness::registry::{self, PASSWORD, Proxy, Registry, Trick, USER};
use crate::harness::{Daemon, Engine, skip, wait_for};
use crate::need;

const SOON: Duration = Duration::from_secs(60);
/// Bytes of a layer that takes several packets; they cannot be compressed.
const LARGE: usize = 6 << 20;

fn ready() -> Result<(), String> {
    Engine::chosen().ready()?;
    registry::ready()
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

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

/// The test image's layer, with one more on it.
fn archive(name: &str, entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (base, top) = (image::tar().to_vec(), tar(entries));
    let config = json!({
        "architecture": "amd64", "os": "linux", "created": "2024-01-02T03:04:05Z",
        "config": {"Cmd": ["cat", "/who"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", hex(&base)), format!("sha256:{}", hex(&top))]},
    })
    .to_string();
    let file = format!("{}.json", hex(config.as_bytes()));
    let manifest = json!([{"Config": file, "RepoTags": [name], "Layers": ["base.tar", "top.tar"]}])
        .to_string();
    tar(&[
        (&file, config.as_bytes()),
        ("base.tar", &base),
        ("top.tar", &top),
        ("manifest.json", manifest.as_bytes()),
    ])
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    (0..bytes)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect()
}

/// Loads an image and returns its id.
fn load(daemon: &Daemon, name: &str, entries: &[(&str, &[u8])]) -> String {
    daemon
        .docker(["load"])
        .stdin(archive(name, entries))
        .output()
        .ok();
    id(daemon, name)
}

fn id(daemon: &Daemon, name: &str) -> String {
    daemon
        .docker(["image", "inspect", "-f", "{{.Id}}", name])
        .output()
        .ok()
}

fn digest_of(pushed: &str) -> String {
    let at = pushed
        .find("digest: ")
        .unwrap_or_else(|| panic!("no digest in {pushed}"));
    pushed[at + 8..]
        .split(' ')
        .next()
        .expect("a digest")
        .to_owned()
}

/// Unpacked layers on disk.
fn layers(daemon: &Daemon) -> usize {
    fs::read_dir(daemon.data_root.join("overlay-layers"))
        .expect("the layers' folder")
        .flatten()
        .filter(|entry| entry.file_name().len() == 64)
        .count()
}

/// What is on its way.
fn leftovers(daemon: &Daemon) -> Vec<PathBuf> {
    fs::read_dir(daemon.data_root.join("tmp"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect()
}

#[test]
fn three_images_with_tls_and_login_by_both_clients() {
    need!(ready());
    need!(skip::program("openssl"));
    let daemon = Daemon::start();
    let registry = Registry::with_login(&daemon.root.join("registry"));
    let server = format!("localhost:{}", registry.port);
    let names: Vec<String> = (1..=3)
        .map(|n| registry.name(&format!("team/i{n}:1")))
        .collect();
    let ids: Vec<String> = names
        .iter()
        .map(|name| load(&daemon, name, &[("who", name.as_bytes())]))
        .collect();

    daemon
        .docker(["login", "-u", USER, "-p", "wrong", &server])
        .output()
        .code(1)
        .stderr_has("401 Unauthorized");
    let login = |run: crate::harness::Run| run.stdin(PASSWORD).output().ok();
    let words = ["login", "-u", USER, "--password-stdin", &server];
    // The one client's login serves the other.
    assert!(login(daemon.taffrail(words)).contains("Login Succeeded"));

    let ours = daemon.engine == Engine::Taffrail;
    let first = daemon.docker(["push", &names[0]]).output().ok();
    assert_eq!(first.matches(": Pushed").count(), 2, "{first}");
    let second = daemon.taffrail(["push", &names[1]]).output().ok();
    assert!(second.contains(": Mounted from team/i1"), "{second}");
    let third = daemon.docker(["push", &names[2]]).output().ok();
    let again = daemon.docker(["push", &names[2]]).output().ok();
    assert_eq!(
        again.matches(": Layer already exists").count(),
        2,
        "{again}"
    );
    assert_eq!(digest_of(&third), digest_of(&again));
    let digests: Vec<String> = [&first, &second, &third]
        .iter()
        .map(|text| digest_of(text))
        .collect();

    for name in &names {
        daemon.docker(["rmi", name]).output().ok();
    }
    let before = ours.then(|| layers(&daemon));
    // Without the image there is nothing in common with what is here.
    daemon.docker(["rmi", IMAGE]).output().ok();
    let pulled = daemon.docker(["pull", &names[0]]).output().ok();
    assert_eq!(pulled.matches(": Pull complete").count(), 2, "{pulled}");
    assert!(
        pulled.contains(&format!("Status: Downloaded newer image for {}", names[0])),
        "{pulled}"
    );
    let pulled = daemon.taffrail(["pull", &names[1]]).output().ok();
    assert_eq!(pulled.matches(": Already exists").count(), 1, "{pulled}");
    // `run` pulls what is missing.
    daemon
        .taffrail(["run", "--rm", "--network", "none", &names[2]])
        .output()
        .code(0)
        .stdout_is(&names[2])
        .stderr_has("Unable to find image")
        .stderr_has("Pull complete");
    if let Some(before) = before {
        assert_eq!(
            layers(&daemon),
            before + 3,
            "the common layer is there once"
        );
    }
    for ((name, wanted), digest) in names.iter().zip(&ids).zip(&digests) {
        assert_eq!(id(&daemon, name), *wanted);
        let repository = name.trim_end_matches(":1");
        let shown = daemon
            .docker(["image", "inspect", "-f", "{{json .RepoDigests}}", name])
            .output()
            .ok();
        assert_eq!(shown, format!("[\"{repository}@{digest}\"]"));
    }

    // By digest, and the name of the digest goes with the image.
    daemon.docker(["rmi", &names[0]]).output().ok();
    let by_digest = format!("{}@{}", names[0].trim_end_matches(":1"), digests[0]);
    daemon.docker(["pull", "-q", &by_digest]).output().ok();
    assert_eq!(id(&daemon, &by_digest), ids[0]);
    let list = daemon
        .docker(["images", "-q", "--filter", "dangling=true", "--no-trunc"])
        .output()
        .ok();
    assert_eq!(list, ids[0]);

    daemon.taffrail(["logout", &server]).output().ok();
    let refused = daemon.docker(["pull", &names[0]]).output();
    refused.code(1);
    if ours {
        refused.stderr_has("no basic auth credentials");
    }
    drop(registry);
    daemon.import(IMAGE);
    daemon.finish();
}

#[test]
fn a_cut_layer_goes_on_where_it_stopped() {
    need!(taffrail_only());
    need!(registry::ready());
    let daemon = Daemon::start();
    let registry = Registry::plain(&daemon.root.join("registry"));
    let name = registry.name("large:1");
    let wanted = load(&daemon, &name, &[("who", &noise(LARGE))]);
    daemon.docker(["push", &name]).output().ok();
    daemon.docker(["rmi", &name]).output().ok();
    let proxy = Proxy::before(&registry, Trick::Cut(LARGE as u64 / 2));
    let cut = proxy.name("large:1");
    let pulled = daemon.docker(["pull", &cut]).output().ok();
    assert!(
        proxy.tricked() && pulled.contains("Retrying in"),
        "{pulled}"
    );
    assert_eq!(id(&daemon, &cut), wanted);
    // From the beginning it would have been half as much again.
    let served = proxy.served();
    assert!(
        served < LARGE as u64 + LARGE as u64 / 4,
        "{served} bytes were served for {LARGE}"
    );
    assert!(daemon.log().contains("download was cut and will go on"));
    assert_eq!(leftovers(&daemon), Vec::<PathBuf>::new());
    drop(registry);
    daemon.finish();
}

#[test]
fn a_changed_blob_is_refused_and_nothing_is_kept() {
    need!(ready());
    let daemon = Daemon::start();
    let registry = Registry::plain(&daemon.root.join("registry"));
    let name = registry.name("changed:1");
    load(&daemon, &name, &[("who", b"me\n")]);
    daemon.docker(["push", &name]).output().ok();
    daemon.docker(["rmi", &name]).output().ok();
    let accept = "Accept: application/vnd.docker.distribution.manifest.v2+json\r\n";
    let (status, manifest) = registry.request("GET", "/v2/changed/manifests/1", accept, b"");
    assert_eq!(status, 200);
    let manifest: Value = serde_json::from_slice(&manifest).expect("a manifest");
    let layer = manifest["layers"][1]["digest"]
        .as_str()
        .expect("the top layer");
    let file = registry.blob(layer);
    let mut bytes = fs::read(&file).expect("the blob");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).expect("the blob");

    let ours = daemon.engine == Engine::Taffrail;
    let before = ours.then(|| layers(&daemon));
    let refused = daemon.docker(["pull", &name]).output();
    refused.code(1).stderr_has(&format!(
        "filesystem layer verification failed for digest {layer}"
    ));
    daemon.docker(["image", "inspect", &name]).output().code(1);
    if let Some(before) = before {
        assert_eq!(layers(&daemon), before);
        wait_for("nothing is on its way", SOON, || {
            leftovers(&daemon).is_empty().then_some(())
        });
    }
    drop(registry);
    daemon.finish();
}

#[test]
fn indexes_and_zstd() {
    need!(ready());
    need!(skip::program("skopeo"));
    let daemon = Daemon::start();
    let registry = Registry::plain(&daemon.root.join("registry"));
    let name = registry.name("multi:docker");
    let wanted = load(&daemon, &name, &[("who", b"me\n")]);
    daemon.docker(["push", &name]).output().ok();
    // By way of a folder: within one registry skopeo takes the layers that are there.
    let zstd = format!("docker://{}", registry.name("multi:zstd"));
    let folder = format!("oci:{}", daemon.root.join("oci").display());
    for (from, to) in [(&format!("docker://{name}"), &folder), (&folder, &zstd)] {
        let mut skopeo = std::process::Command::new("skopeo");
        skopeo.args(["copy", "--insecure-policy"]);
        skopeo.args(["--src-tls-verify=false", "--dest-tls-verify=false"]);
        skopeo.args(["--format", "oci"]);
        skopeo.args(["--dest-compress", "--dest-compress-format", "zstd"]);
        skopeo.args([from, to]);
        crate::harness::Run::new(skopeo).output().ok();
    }
    let accept = "Accept: application/vnd.oci.image.manifest.v1+json\r\n";
    let (status, manifest) = registry.request("GET", "/v2/multi/manifests/zstd", accept, b"");
    assert_eq!(status, 200);
    assert!(
        String::from_utf8_lossy(&manifest).contains("tar+zstd"),
        "{}",
        String::from_utf8_lossy(&manifest)
    );
    let kind = "application/vnd.oci.image.index.v1+json";
    let index = |architecture: &str| {
        json!({"schemaVersion": 2, "mediaType": kind, "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": format!("sha256:{}", hex(&manifest)),
            "size": manifest.len(), "platform": {"os": "linux", "architecture": architecture},
        }]})
        .to_string()
    };
    for (tag, architecture) in [
        (
            "here",
            if cfg!(target_arch = "x86_64") {
                "amd64"
            } else {
                "arm64"
            },
        ),
        ("there", "s390x"),
    ] {
        let path = format!("/v2/multi/manifests/{tag}");
        let header = format!("Content-Type: {kind}\r\n");
        let (status, body) =
            registry.request("PUT", &path, &header, index(architecture).as_bytes());
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&body));
    }
    daemon
        .docker(["pull", &registry.name("multi:there")])
        .output()
        .code(1)
        .stderr_has("no matching manifest for linux/");
    if daemon.engine == Engine::Taffrail {
        // Docker 20.10 knows no zstd. The configuration is rewritten by skopeo, so the image is another one.
        daemon.docker(["rmi", &name, IMAGE]).output().ok();
        let here = registry.name("multi:here");
        daemon.docker(["pull", &here]).output().ok();
        let shown = daemon
            .docker(["run", "--rm", "--network", "none", &here])
            .output()
            .ok();
        assert_eq!(shown, "me");
        daemon
            .docker([
                "pull",
                "--platform",
                "linux/s390x",
                &registry.name("multi:there"),
            ])
            .output()
            .ok();
        // What was pulled goes back unchanged.
        let back = registry.name("multi:back");
        daemon.docker(["tag", &here, &back]).output().ok();
        let pushed = daemon.docker(["push", &back]).output().ok();
        assert_eq!(digest_of(&pushed), format!("sha256:{}", hex(&manifest)));
    } else {
        assert!(!wanted.is_empty());
    }
    drop(registry);
    daemon.finish();
}

#[test]
fn a_pull_ends_with_its_client_and_with_its_daemon() {
    need!(taffrail_only());
    need!(registry::ready());
    let daemon = Daemon::start();
    let registry = Registry::plain(&daemon.root.join("registry"));
    let name = registry.name("held:1");
    let wanted = load(&daemon, &name, &[("who", &noise(LARGE))]);
    daemon.docker(["push", &name]).output().ok();
    daemon.docker(["rmi", &name]).output().ok();
    let before = layers(&daemon);

    // The client goes.
    let proxy = Proxy::before(&registry, Trick::Hold(LARGE as u64 / 2));
    let held = proxy.name("held:1");
    let mut client = daemon.docker_command();
    client
        .args(["pull", &held])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = client.spawn().expect("docker pull");
    wait_for("the layer is on its way", SOON, || {
        proxy.tricked().then_some(())
    });
    assert!(!leftovers(&daemon).is_empty());
    child.kill().expect("kill docker pull");
    child.wait().expect("docker pull");
    wait_for("the pull is given up", SOON, || {
        leftovers(&daemon).is_empty().then_some(())
    });
    drop(proxy);

    // The daemon goes.
    let proxy = Proxy::before(&registry, Trick::Hold(LARGE as u64 / 2));
    let held = proxy.name("held:1");
    let mut client = daemon.docker_command();
    client
        .args(["pull", &held])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = client.spawn().expect("docker pull");
    wait_for("the layer is on its way", SOON, || {
        proxy.tricked().then_some(())
    });
    daemon.kill();
    child.wait().expect("docker pull");
    assert!(!leftovers(&daemon).is_empty());
    daemon.launch();
    assert_eq!(leftovers(&daemon), Vec::<PathBuf>::new());
    assert_eq!(layers(&daemon), before);
    proxy.let_go();
    daemon.docker(["pull", &held]).output().ok();
    assert_eq!(id(&daemon, &held), wanted);
    drop(registry);
    daemon.finish();
}

#[test]
fn settings_are_reloaded_and_shown() {
    need!(taffrail_only());
    let daemon = Daemon::of(
        Engine::Taffrail,
        crate::harness::daemon::Options {
            config: Some(r#"{"registry-mirrors": ["https://m.invalid"], "insecure-registries": ["r.invalid:5000"]}"#.into()),
            ..Default::default()
        },
    );
    let shown = daemon.get("/info")["RegistryConfig"].clone();
    assert_eq!(shown["Mirrors"], json!(["https://m.invalid/"]));
    assert_eq!(shown["IndexConfigs"]["r.invalid:5000"]["Secure"], false);
    fs::write(
        daemon.root.join("config/daemon.json"),
        r#"{"insecure-registries": ["10.0.0.0/8"]}"#,
    )
    .expect("daemon.json");
    daemon.reload();
    wait_for("the settings are new", SOON, || {
        let shown = daemon.get("/info")["RegistryConfig"].clone();
        let list = shown["InsecureRegistryCIDRs"].as_array()?;
        (list.contains(&json!("10.0.0.0/8")) && shown["Mirrors"] == json!([])).then_some(())
    });
    daemon.finish();
}
