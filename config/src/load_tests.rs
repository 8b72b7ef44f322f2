use proptest::prelude::*;
use taffrail_drivers::Defaults;

use super::*;
use crate::Ulimit;

const PATH: &str = "/etc/x.json";

fn parse(text: &str) -> (Config, Vec<Warning>) {
    parse_text(text.as_bytes(), Some(Path::new(PATH)), &Flags::default())
        .unwrap_or_else(|errors| panic!("{errors}"))
}

fn errors(text: &str) -> Vec<String> {
    errors_with(text, &Flags::default())
}

fn errors_with(text: &str, flags: &Flags) -> Vec<String> {
    parse_text(text.as_bytes(), Some(Path::new(PATH)), flags)
        .unwrap_err()
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn defaults() {
    for text in [
        "",
        " \n\t",
        "{}",
        "\u{feff}{}",
        "{\"debug\": null}",
        "{\"$schema\": \"x\"}",
    ] {
        let (config, warnings) = parse(text);
        assert!(warnings.is_empty());
        assert_eq!(config.data_root, Path::new("/var/lib/taffrail"));
        assert_eq!(config.exec_root, Path::new("/run/taffrail"));
        assert_eq!(config.pidfile, Path::new("/run/taffrail/taffrail.pid"));
        assert_eq!(
            config.hosts,
            [Host::Unix("/run/taffrail/docker.sock".into())]
        );
        assert_eq!(config.log, Defaults::default());
        assert!(config.live_restore && !config.debug && config.group.is_none());
        assert_eq!(
            (config.shutdown_timeout, config.default_stop_timeout),
            (15, 10)
        );
        assert_eq!(config.default_runtime, "taffrail");
        assert_eq!(
            config.runtimes["taffrail"].path,
            Path::new("taffrail-runtime")
        );
        assert_eq!(config.runtimes["runc"].path, Path::new("runc"));
        assert_eq!(config.level(), LogLevel::Info);
    }
    let wide: Vec<u8> = [0xff, 0xfe]
        .into_iter()
        .chain("{\"debug\":true}".encode_utf16().flat_map(u16::to_le_bytes))
        .collect();
    let (config, _) = parse_text(&wide, None, &Flags::default()).unwrap();
    assert_eq!(config.level(), LogLevel::Debug);
}

#[test]
fn samples_are_right() {
    let sample = |text: &str, warnings: usize| {
        let (config, found) = parse(text);
        assert_eq!(found.len(), warnings, "{found:?}");
        config
    };
    sample(include_str!("../samples/minimal.json"), 0);
    let remote = sample(include_str!("../samples/remote.json"), 0);
    assert!(remote.tls.is_some_and(|tls| tls.verify) && remote.metrics_addr.is_some());
    let logging = sample(include_str!("../samples/logging.json"), 0);
    assert_eq!(logging.log.options["max-file"], "5");
    assert_eq!(logging.log.by_driver.len(), 1);
    let full = sample(include_str!("../samples/full.json"), 0);
    assert_eq!(full.runtimes["runc-debug"].args, ["--debug"]);
    assert_eq!(
        full.default_ulimits["nofile"],
        Ulimit {
            name: "nofile".into(),
            soft: 1024,
            hard: 65536
        }
    );
    // exec-opts, storage-driver, features
    sample(include_str!("../samples/docker.json"), 3);
    // Every sample in the folder is tested above.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples");
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 5);
}

#[test]
fn examples_of_the_page_are_right() {
    let page = include_str!("../../docs/daemon-json.md");
    let examples: Vec<_> = page.split("```json\n").skip(1).collect();
    assert!(!examples.is_empty());
    for example in examples {
        parse(example.split("```").next().unwrap());
    }
}

#[test]
fn each_accepted_key_warns_once() {
    for key in KEYS {
        if !matches!(key.meaning, Meaning::Accepted(_)) {
            continue;
        }
        let value = match key.kind {
            crate::keys::Kind::Str => "\"x\"",
            crate::keys::Kind::Bool => "true",
            crate::keys::Kind::Int => "1",
            crate::keys::Kind::Strings => "[\"x\"]",
            crate::keys::Kind::Objects => "[{}]",
            _ => "{\"x\": true}",
        };
        let (_, warnings) = parse(&format!("{{\n\"{}\": {value}}}", key.name));
        assert_eq!(warnings.len(), 1, "{}", key.name);
        assert_eq!(
            (warnings[0].line, warnings[0].key.as_str()),
            (Some(2), key.name)
        );
    }
}

#[test]
fn each_mistake_is_named() {
    for (text, parts) in [
        (
            "{\n\"log-drvier\": \"x\"}",
            &[
                "line 2: the following directives don't match any configuration option: log-drvier;",
                "did you mean \"log-driver\"?",
            ][..],
        ),
        ("{\"zzzzzz\": 1}", &["zzzzzz; remove it"]),
        (
            "{\"graph\": \"/x\"}",
            &["no longer exists", "\"data-root\""],
        ),
        (
            "{\"debug\": \"yes\"}",
            &["line 1: key \"debug\" is a string (yes), but must be a boolean"],
        ),
        (
            "{\"hosts\": \"unix:///x\"}",
            &["must be a list of strings; write [\"unix:///x\"]"],
        ),
        (
            "{\"hosts\": [1]}",
            &["key \"hosts[0]\" is a number (1), but must be a string; write \"1\""],
        ),
        (
            "{\"shutdown-timeout\": 1.5}",
            &["(1.5), but must be a whole number"],
        ),
        ("{\"shutdown-timeout\": -7}", &["not a number of seconds"]),
        (
            "{\"log-opts\": {\"tag\": {}}}",
            &["key \"log-opts.tag\" is an object"],
        ),
        (
            "{\"tls\": 1}",
            &["key \"tls\" is a number (1), but must be a boolean"],
        ),
        (
            "{\"debug\": true,\n\n\"debug\": true}",
            &["line 3: key \"debug\" is given twice, first on line 1"],
        ),
        (
            "{\"log-opts\": {\"tag\": \"a\", \"tag\": \"b\"}}",
            &["key \"log-opts.tag\" is given twice"],
        ),
        (
            "{bad}",
            &["invalid JSON: invalid character 'b' looking for beginning of object key string"],
        ),
        ("[]", &["a list where the object of settings is expected"]),
        (
            "{\"log-level\": \"foo\"}",
            &["invalid logging level: foo", "trace, debug"],
        ),
        ("{\"log-format\": \"xml\"}", &["invalid log format: xml"]),
        (
            "{\"data-root\": \"var\"}",
            &["the path is relative", "/var"],
        ),
        (
            "{\"hosts\": [\"foo://x\"]}",
            &["invalid bind address (foo://x): unsupported proto 'foo'"],
        ),
        (
            "{\"hosts\": [\"tcp://0.0.0.0:x\"]}",
            &["invalid bind address (tcp://0.0.0.0:x): invalid port: x"],
        ),
        (
            "{\n\"tlsverify\": true, \"tlscacert\": \"/ca\", \"tlscert\": \"/c\"}",
            &[
                "line 2: key \"tlsverify\"",
                "could not load X509 key pair (cert: \"/c\", key: \"\")",
            ],
        ),
        (
            "{\"tls\": true, \"tlscert\": \"/c\", \"tlskey\": \"/k\"}",
            &["key \"tls\"", "without tlscacert", "\"tlsverify\" to false"],
        ),
        (
            "{\"metrics-addr\": \"127.0.0.1\"}",
            &["missing port in address", "127.0.0.1:9323"],
        ),
        (
            "{\"log-spool-size\": \"many\"}",
            &["invalid size: 'many'", "such as 4g"],
        ),
        (
            "{\"log-drivers\": {\n\"json-file\": {\n\"max-size\": \"1q\"}}}",
            &[
                "line 3: key \"log-drivers.json-file.max-size\" has value \"1q\": failed to set log opts: invalid suffix: 'q'",
            ],
        ),
        (
            "{\"log-driver\": \"none\", \"log-drivers\": {\"json-file\": {\"zzz\": 1}}}",
            &[
                "key \"log-drivers.json-file.zzz\"",
                "unknown log opt 'zzz' for json-file",
            ],
        ),
        (
            "{\"log-opts\": {\"max-size\": \"1q\"}, \"log-drivers\": {\"json-file\": {\"tag\": \"x\"}}}",
            &["key \"log-opts.max-size\" has value \"1q\""],
        ),
        (
            "{\"log-drivers\": {\"none\": {\"tag\": \"x\"}}}",
            &["key \"log-drivers.none.tag\"", "takes no options"],
        ),
        (
            "{\"log-drivers\": {\"nosuchdriver\": {}}}",
            &["key \"log-drivers.nosuchdriver\"", "not found"],
        ),
        (
            "{\"log-drivers\": {\"local\": 1}}",
            &["key \"log-drivers.local\" is a number (1), but must be an object of strings"],
        ),
        (
            "{\"log-drivers\": {\"local\": {\"tag\": []}}}",
            &["key \"log-drivers.local.tag\" is a list"],
        ),
        (
            "{\"hosts\": [\"/run/x.sock\"]}",
            &["write unix:///run/x.sock"],
        ),
        ("{\"labels\": [\"a\"]}", &["bad attribute format: a"]),
        (
            "{\"labels\": [\"a=1\", \"a=2\"]}",
            &["conflict labels for a=2 and a=1"],
        ),
        (
            "{\"labels\": [\"com.docker.x=1\"]}",
            &["label com.docker.x=1 is not allowed"],
        ),
        (
            "{\"default-runtime\": \"crun\"}",
            &["specified default runtime 'crun' does not exist"],
        ),
        (
            "{\"runtimes\": {\"a\": {\"pth\": \"/x\"}}}",
            &["runtimes.a.pth", "did you mean \"path\"?"],
        ),
        (
            "{\"runtimes\": {\"a\": {\"runtimeType\": \"x\"}}}",
            &["containerd shims"],
        ),
        (
            "{\"runtimes\": {\"a\": {}}}",
            &["runtimes.a", "not a program"],
        ),
        (
            "{\"default-ulimits\": {\"nofiles\": {\"Soft\": 1, \"Hard\": 1}}}",
            &["invalid ulimit type: nofiles", "nofile?"],
        ),
        (
            "{\"default-ulimits\": {\"nofile\": {\"Soft\": 9, \"Hard\": 1}}}",
            &["9 > 1"],
        ),
        (
            "{\"default-ulimits\": {\"nofile\": {\"Soft\": 9}}}",
            &["Soft or Hard is missing"],
        ),
        (
            "{\"log-driver\": \"nosuchdriver\"}",
            &[
                "line 1: key \"log-driver\": failed to set log opts: error looking up logging plugin nosuchdriver: plugin \"nosuchdriver\" not found",
            ],
        ),
        (
            "{\"log-driver\": \"awslogs\"}",
            &["log driver \"awslogs\" is not built"],
        ),
        (
            "{\"log-opts\":\n{\n\"bogus\": 1}}",
            &[
                "line 3:",
                "unknown log opt 'bogus' for json-file log driver",
            ],
        ),
        (
            "{\"log-opts\":\n{\n\"max-size\": \"1q\"}}",
            &[
                "line 3: key \"log-opts.max-size\" has value \"1q\": failed to set log opts: invalid suffix: 'q'",
            ],
        ),
        (
            "{\"log-opts\": {\"max-file\": \"two\"}}",
            &["key \"log-opts.max-file\" has value \"two\": "],
        ),
        (
            "{\"log-opts\": {\"compress\": \"maybe\"}}",
            &["key \"log-opts.compress\" has value \"maybe\": "],
        ),
        (
            "{\"log-opts\": {\"env-regex\": \"(\"}}",
            &["key \"log-opts.env-regex\" has value \"(\": "],
        ),
    ] {
        let found = errors(text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        for part in parts {
            assert!(found[0].contains(part), "{text}: {found:?}");
        }
    }
    let bad_utf8 = parse_text(b"{\n\"a\": \"\xff\"}", None, &Flags::default()).unwrap_err();
    assert!(
        bad_utf8
            .to_string()
            .contains("line 2: invalid JSON: the file is not UTF-8")
    );
}

#[test]
fn all_at_once() {
    let text = "{\n\"debug\": 1,\n\"log-levl\": \"info\",\n\"log-format\": \"xml\",\n\"log-opts\": {\"max-size\": \"1q\", \"zzz\": \"1\"}\n}";
    let found = parse_text(text.as_bytes(), Some(Path::new(PATH)), &Flags::default()).unwrap_err();
    assert_eq!(found.iter().count(), 5);
    let shown = found.to_string();
    assert!(
        shown.starts_with(
            "unable to configure the daemon with file /etc/x.json: 5 errors\n  line 2: "
        )
    );
}

#[test]
fn flags() {
    let flags = Flags {
        log_driver: Some("none".into()),
        hosts: vec!["unix:///a.sock".into(), "unix:///b.sock".into()],
        exec_root: Some("/run/two".into()),
        default_ulimits: vec!["nofile=1:2".into(), "core=-1".into()],
        add_runtimes: vec!["crun=/usr/bin/crun".into()],
        default_runtime: Some("crun".into()),
        live_restore: Some(false),
        labels: vec!["a=1".into()],
        ..Flags::default()
    };
    let (config, _) = parse_text(b"{\"debug\": true}", None, &flags).unwrap();
    assert_eq!(config.log.driver, "none");
    assert_eq!(config.hosts.len(), 2);
    assert_eq!(config.pidfile, Path::new("/run/two/taffrail.pid"));
    assert_eq!(config.default_ulimits["core"].hard, -1);
    assert_eq!(config.default_runtime, "crun");
    assert!(!config.live_restore && config.debug);
    // The exec root alone keeps a second daemon's socket apart.
    let second = Flags {
        exec_root: Some("/run/two".into()),
        ..Flags::default()
    };
    let (config, _) = parse_text(b"", None, &second).unwrap();
    assert_eq!(config.hosts, [Host::Unix("/run/two/docker.sock".into())]);
    assert_eq!(config.hosts[0].to_string(), "unix:///run/two/docker.sock");
    let bad = Flags {
        log_opts: vec!["bogus=1".into()],
        default_ulimits: vec!["nofile".into()],
        ..Flags::default()
    };
    let found = errors_with("{}", &bad);
    assert!(found.iter().any(|e| e == "flag: key \"log-opts.bogus\": failed to set log opts: unknown log opt 'bogus' for json-file log driver"));
    assert!(
        found
            .iter()
            .any(|e| e.contains("invalid ulimit argument: nofile"))
    );
}

#[test]
fn a_key_in_file_and_flags_is_told_in_dockers_words() {
    let flags = Flags {
        log_driver: Some("none".into()),
        log_opts: vec!["max-file=3".into()],
        hosts: vec!["unix:///y.sock".into()],
        add_runtimes: vec!["a=/a".into()],
        ..Flags::default()
    };
    assert_eq!(
        errors_with(
            r#"{"log-driver": "json-file", "log-opts": {"max-size": "10m"}, "hosts": ["unix:///x.sock"], "runtimes": {"b": {"path": "/b"}}}"#,
            &flags
        ),
        [
            "the following directives are specified both as a flag and in the configuration file: \
             log-driver: (from flag: none, from file: json-file), \
             log-opts: (from flag: map[max-file:3], from file: map[max-size:10m]), \
             hosts: (from flag: [unix:///y.sock], from file: [unix:///x.sock])"
        ]
    );
}

#[test]
fn a_missing_file_matters_only_if_it_was_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none.json");
    let (config, _) = load(None, &missing, &Flags::default()).unwrap();
    assert_eq!(config.file, None);
    let error = load(Some(&missing), &missing, &Flags::default()).unwrap_err();
    assert!(error.to_string().contains(&format!(
        "open {}: no such file or directory",
        missing.display()
    )));
    assert!(load(None, folder.path(), &Flags::default()).is_err());
}

#[test]
fn a_reload_takes_the_live_keys() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("d.json");
    let write = |text: &str| std::fs::write(&path, text).unwrap();
    let flags = Flags {
        shutdown_timeout: Some(3),
        ..Flags::default()
    };
    write(r#"{"debug": true, "group": "a"}"#);
    let (config, _) = load(Some(&path), &path, &flags).unwrap();
    write(r#"{"log-opts": {"max-size": "1m"}, "group": "b", "labels": ["x=y"]}"#);
    let reloaded = config.reload(Some(&path), &path, &flags).unwrap();
    assert_eq!(reloaded.changed, ["log-opts", "debug", "labels"]);
    assert_eq!(reloaded.needs_restart, ["group"]);
    assert_eq!(reloaded.config.group.as_deref(), Some("a"));
    assert_eq!(reloaded.config.log.options["max-size"], "1m");
    assert_eq!(reloaded.config.shutdown_timeout, 3);
    write("{");
    assert!(config.reload(Some(&path), &path, &flags).is_err());
}

#[test]
fn tls_as_docker_reads_it() {
    let files = r#""tlscacert": "/ca", "tlscert": "/c", "tlskey": "/k""#;
    for (keys, on, verify) in [
        ("", false, false),
        ("\"tls\": false,", false, false),
        ("\"tls\": true,", true, true),
        ("\"tlsverify\": true,", true, true),
        ("\"tlsverify\": false,", true, false),
        ("\"tls\": false, \"tlsverify\": true,", true, true),
    ] {
        let (config, warnings) = parse(&format!("{{{keys} {files}}}"));
        assert_eq!(config.tls.is_some(), on, "{keys}");
        assert_eq!(config.tls.is_some_and(|tls| tls.verify), verify, "{keys}");
        let host = config.hosts[0].to_string();
        if on {
            assert_eq!(host, "tcp://localhost:2376");
            assert_eq!(warnings.len(), usize::from(!verify), "{warnings:?}");
        } else {
            assert!(host.starts_with("unix://"));
            // The files are named, but nothing uses them.
            assert_eq!(warnings.len(), 3, "{warnings:?}");
        }
    }
}

#[test]
fn open_ports_are_told() {
    for (text, loud) in [
        (r#"{"hosts": ["tcp://0.0.0.0:2375"]}"#, Some(true)),
        (r#"{"hosts": ["tcp://127.0.0.1:2375"]}"#, Some(false)),
        (r#"{"hosts": ["tcp://"], "tls": false}"#, Some(false)),
        (
            r#"{"hosts": ["tcp://0.0.0.0:2375"], "tls": false}"#,
            Some(false),
        ),
        (r#"{"hosts": ["unix:///x"]}"#, None),
    ] {
        let (_, warnings) = parse(text);
        assert_eq!(warnings.len(), usize::from(loud.is_some()), "{text}");
        if let Some(loud) = loud {
            let told = warnings[0].to_string();
            assert!(told.contains("gives root access"), "{told}");
            assert_eq!(told.contains("Set tlsverify"), loud, "{told}");
        }
    }
}

#[test]
fn defaults_by_driver() {
    let (config, warnings) = parse(
        r#"{"log-opts": {"max-size": "1m"}, "log-drivers": {"json-file": {"max-file": 3}, "awslogs": {"anything": "x"}}}"#,
    );
    assert_eq!(config.log.by_driver["json-file"]["max-file"], "3");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].text.contains("not built"), "{warnings:?}");
    assert_eq!(config.log_spool_size, 4 << 30);
}

#[test]
fn bridge_and_ipc_mode() {
    let existing = crate::Bridge::Existing("docker0".to_owned());
    for (text, bridge) in [
        (r#"{"bridge": "none"}"#, crate::Bridge::None),
        (r#"{"bridge": ""}"#, crate::Bridge::Own),
        (r#"{"bridge": "docker0"}"#, existing),
        ("{}", crate::Bridge::Own),
    ] {
        let (config, warnings) = parse(text);
        assert_eq!(
            (config.network.bridge, warnings.len()),
            (bridge, 0),
            "{text}"
        );
    }
    let (config, _) = parse(r#"{"default-ipc-mode": "shareable"}"#);
    assert_eq!(config.default_ipc_mode, IpcMode::Shareable);
    let flags = Flags::default();
    let bad = parse_text(br#"{"default-ipc-mode": "host"}"#, None, &flags).unwrap_err();
    assert!(
        bad.to_string().contains("write private or shareable"),
        "{bad}"
    );
}

#[test]
fn cgroup_namespace_and_device_folders() {
    let (config, _) = parse("{}");
    assert_eq!(config.default_cgroupns_mode, None);
    assert_eq!(
        config.cdi_spec_dirs,
        [Path::new("/etc/cdi"), Path::new("/var/run/cdi")]
    );
    let (config, _) = parse(r#"{"default-cgroupns-mode": "private", "cdi-spec-dirs": []}"#);
    assert_eq!(config.default_cgroupns_mode.as_deref(), Some("private"));
    assert!(config.cdi_spec_dirs.is_empty());
    let flags = Flags::default();
    for (text, hint) in [
        (r#"{"default-cgroupns-mode": "x"}"#, "write host or private"),
        (r#"{"cdi-spec-dirs": ["cdi"]}"#, "absolute path"),
    ] {
        let bad = parse_text(text.as_bytes(), None, &flags).unwrap_err();
        assert!(bad.to_string().contains(hint), "{bad}");
    }
}

/// A new key cannot be forgotten in `Config::take`.
#[test]
fn every_used_key_can_be_reloaded() {
    let (old, _) = parse("{}");
    let (new, _) = parse(
        r#"{"log-driver": "none", "log-opts": {"tag": "x"}, "log-level": "warn", "log-format": "json", "raw-logs": true,
            "debug": true, "live-restore": false, "data-root": "/d", "exec-root": "/e", "group": "g", "labels": ["a=b"],
            "bridge": "none", "bip": "10.1.0.1/24", "fixed-cidr": "10.1.0.0/25", "fixed-cidr-v6": "fd00::/64", "ipv6": true,
            "default-gateway": "10.1.0.9", "default-gateway-v6": "fd00::9", "icc": false, "ip": "127.0.0.1", "ip-forward": false,
            "ip-masq": false, "iptables": false, "ip6tables": false, "mtu": 1400, "userland-proxy": false, "dns": ["10.0.0.53"],
            "default-address-pools": [{"base": "10.9.0.0/16", "size": 24}], "dns-opts": ["rotate"], "dns-search": ["x"],
            "default-network-opts": {"bridge": {"a": "b"}}, "host-gateway-ip": "10.1.0.1", "host-gateway-ips": ["10.1.0.1"],
            "default-ipc-mode": "shareable", "default-cgroupns-mode": "host", "cdi-spec-dirs": ["/c"],
            "log-drivers": {"none": {}}, "log-spool-size": "1m", "metrics-addr": ":1", "tlsverify": false, "tlscert": "/c", "tlskey": "/k",
            "tlscacert": "/a", "default-runtime": "r", "runtimes": {"r": {"path": "/r"}}, "shutdown-timeout": 1, "default-stop-timeout": 1,
            "default-ulimits": {"core": {"Soft": 0, "Hard": 0}}, "log-streams": ["exec"], "webhook": {"url": "http://h/"},
            "registry-mirrors": ["https://m"], "insecure-registries": ["r:1"],
            "max-concurrent-downloads": 1, "max-concurrent-uploads": 1, "max-download-attempts": 1}"#,
    );
    let (verified, _) =
        parse(r#"{"tlsverify": true, "tlscert": "/d", "tlskey": "/l", "tlscacert": "/a"}"#);
    for key in KEYS {
        let Meaning::Used(used) = key.meaning else {
            continue;
        };
        let mut config = old.clone();
        let new = if key.name == "tlscacert" {
            &verified
        } else {
            &new
        };
        assert!(config.take(new, key.name, true), "{}", key.name);
        // TLS and networks are one value of the configuration each, and a reload never changes them.
        let whole = key.name.starts_with("tls") || crate::network::KEYS.contains(&key.name);
        assert!(
            !config.take(new, key.name, true) || whole && !used.live,
            "{}",
            key.name
        );
    }
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_text(&bytes, None, &Flags::default());
    }

    #[test]
    fn any_value_of_any_key_is_survived(
        key in prop::sample::select(KEYS.iter().map(|key| key.name).collect::<Vec<_>>()),
        value in prop::sample::select(vec!["1", "\"x\"", "[]", "[1]", "[{}]", "{}", "{\"a\": {}}", "{\"a\": 1}", "null", "true", "[\"é=\"]"]),
    ) {
        let _ = parse_text(format!("{{\"{key}\": {value}}}").as_bytes(), None, &Flags::default());
    }
}

#[test]
fn networks() {
    let (config, warnings) = parse(
        r#"{"bip": "10.1.0.1/24", "fixed-cidr": "10.1.0.128/25", "mtu": 1400, "icc": false, "dns": ["10.0.0.53"],
            "default-address-pools": [{"base": "10.9.0.0/16", "size": 24}],
            "default-network-opts": {"bridge": {"com.docker.network.driver.mtu": 1300}}, "userland-proxy": false}"#,
    );
    assert!(warnings.is_empty(), "{warnings:?}");
    let network = &config.network;
    assert_eq!(network.bip.unwrap().to_string(), "10.1.0.1/24");
    assert_eq!(
        (network.mtu, network.icc, network.proxy),
        (1400, false, false)
    );
    assert_eq!(network.pools[0].size, 24);
    assert_eq!(
        network.default_options["com.docker.network.driver.mtu"],
        "1300"
    );
    for (text, part) in [
        (
            r#"{"bip": "10.1.0.1"}"#,
            "10.1.0.1 is not an address with a prefix length",
        ),
        (
            r#"{"bip": "10.1.0.1/24", "bridge": "br0"}"#,
            "mutually exclusive",
        ),
        (
            r#"{"bip": "10.1.0.1/24", "fixed-cidr": "10.2.0.0/24"}"#,
            "not in the subnet",
        ),
        (r#"{"mtu": 12}"#, "invalid MTU: 12"),
        (r#"{"dns": ["x"]}"#, "x is not an ip address"),
        (r#"{"ip": "x"}"#, "x is not an IP address of this host"),
        (
            r#"{"default-address-pools": [{"base": "10.9.0.0/16", "size": 8}]}"#,
            "it is no pool",
        ),
        (
            r#"{"default-network-opts": {"overlay": {}}}"#,
            "no network driver overlay",
        ),
    ] {
        let error = parse_text(text.as_bytes(), None, &Flags::default()).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn networks_by_flags() {
    let flags = || Flags {
        network: crate::NetworkFlags {
            bip: Some("10.1.0.1/24".to_owned()),
            icc: Some(false),
            mtu: Some(1400),
            dns: vec!["10.0.0.53".to_owned()],
            default_address_pools: vec!["base=10.9.0.0/16,size=24".to_owned()],
            ..crate::NetworkFlags::default()
        },
        ..Flags::default()
    };
    let (config, _) = parse_text(br#"{"dns-opts": ["rotate"]}"#, None, &flags()).unwrap();
    let network = &config.network;
    assert_eq!(network.bip.unwrap().to_string(), "10.1.0.1/24");
    assert_eq!((network.mtu, network.icc), (1400, false));
    assert_eq!((network.pools[0].size, network.dns.len()), (24, 1));
    assert_eq!(network.dns_options, ["rotate"]);
    for (text, part) in [
        (
            r#"{"bip": "10.1.0.1/16"}"#,
            "bip: (from flag: 10.1.0.1/24, from file: 10.1.0.1/16)",
        ),
        (
            r#"{"icc": true}"#,
            "icc: (from flag: false, from file: true)",
        ),
        (
            r#"{"mtu": 1500}"#,
            "mtu: (from flag: 1400, from file: 1500)",
        ),
        (
            r#"{"dns": ["10.0.0.1"]}"#,
            "dns: (from flag: [10.0.0.53], from file: [10.0.0.1])",
        ),
        (
            r#"{"default-address-pools": []}"#,
            "default-address-pools: (from flag: [base=10.9.0.0/16,size=24]",
        ),
    ] {
        let error = parse_text(text.as_bytes(), None, &flags()).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
    for bad in ["", "base=10.9.0.0/16", "base=10.9.0.0/16,size=8", "x=1"] {
        let mut flags = Flags::default();
        flags.network.default_address_pools = vec![bad.to_owned()];
        let error = parse_text(b"{}", None, &flags).unwrap_err();
        assert!(error.to_string().contains("it is no pool"), "{error}");
    }
}
