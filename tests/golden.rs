//! The json file's bytes, recorded from Docker Engine: the same program gives the same bytes but for the times.

use crate::harness::image::IMAGE;
use crate::harness::{Daemon, Engine, Run, skip};
use crate::need;

fn ready() -> Result<(), String> {
    Engine::chosen().ready()?;
    skip::program("docker")
}

struct Case {
    name: &'static str,
    options: &'static [&'static str],
    script: &'static str,
    /// The file's lines with `<T>` for the time.
    file: &'static [&'static str],
    logs: &'static [u8],
    details: Option<&'static str>,
}

const MIX: &str = "echo 'hello stdout'; sleep 0.15; echo 'hello stderr' >&2; sleep 0.15; printf 'tab\\there \"quote\" back\\\\slash <&> \\303\\251\\n'";

const CASES: &[Case] = &[
    Case {
        name: "basic",
        options: &[],
        script: MIX,
        file: &[
            r#"{"log":"hello stdout\n","stream":"stdout","time":"<T>"}"#,
            r#"{"log":"hello stderr\n","stream":"stderr","time":"<T>"}"#,
            "{\"log\":\"tab\\u0009here \\\"quote\\\" back\\\\slash \\u003c\\u0026\\u003e é\\n\",\"stream\":\"stdout\",\"time\":\"<T>\"}",
        ],
        logs: "hello stdout\ntab\there \"quote\" back\\slash <&> é\n".as_bytes(),
        details: Some(" hello stdout\n tab\there \"quote\" back\\slash <&> é\n"),
    },
    Case {
        name: "badutf",
        options: &[],
        script: "printf 'ok \\377\\376 bad \\303( end\\n'",
        file: &[r#"{"log":"ok \ufffd\ufffd bad \ufffd( end\n","stream":"stdout","time":"<T>"}"#],
        logs: "ok \u{fffd}\u{fffd} bad \u{fffd}( end\n".as_bytes(),
        details: None,
    },
    Case {
        name: "empty",
        options: &[],
        script: "printf 'a\\n\\n\\nb\\n'",
        file: &[
            r#"{"log":"a\n","stream":"stdout","time":"<T>"}"#,
            r#"{"log":"\n","stream":"stdout","time":"<T>"}"#,
            r#"{"log":"\n","stream":"stdout","time":"<T>"}"#,
            r#"{"log":"b\n","stream":"stdout","time":"<T>"}"#,
        ],
        logs: b"a\n\n\nb\n",
        details: None,
    },
    Case {
        name: "nonl",
        options: &[],
        script: "printf 'first\\nno newline at end'",
        file: &[
            r#"{"log":"first\n","stream":"stdout","time":"<T>"}"#,
            r#"{"log":"no newline at end","stream":"stdout","time":"<T>"}"#,
        ],
        logs: b"first\nno newline at end",
        details: None,
    },
    Case {
        name: "nul",
        options: &[],
        script: "printf 'nul\\000in\\000line\\nnext\\r\\n'",
        file: &[
            r#"{"log":"nul\u0000in\u0000line\n","stream":"stdout","time":"<T>"}"#,
            r#"{"log":"next\r\n","stream":"stdout","time":"<T>"}"#,
        ],
        logs: b"nul\0in\0line\nnext\r\n",
        details: None,
    },
    Case {
        name: "controls",
        options: &[],
        script: "printf '\\001\\010\\014\\033\\037\\177 \\342\\200\\250\\342\\200\\251\\n'",
        file: &[
            "{\"log\":\"\\u0001\\u0008\\u000c\\u001b\\u001f\u{7f} \\u2028\\u2029\\n\",\"stream\":\"stdout\",\"time\":\"<T>\"}",
        ],
        logs: "\u{1}\u{8}\u{c}\u{1b}\u{1f}\u{7f} \u{2028}\u{2029}\n".as_bytes(),
        details: None,
    },
    Case {
        name: "labels-env",
        options: &[
            "--log-opt",
            "labels=com.example.team",
            "--log-opt",
            "env=AR_ENV",
            "--label",
            "com.example.team=core",
            "--label",
            "plain=lv",
            "--env",
            "AR_ENV=ev",
            "--env",
            "AR_OTHER=ov",
        ],
        script: "echo 'one line'",
        file: &[
            r#"{"log":"one line\n","stream":"stdout","attrs":{"AR_ENV":"ev","com.example.team":"core"},"time":"<T>"}"#,
        ],
        logs: b"one line\n",
        details: Some("AR_ENV=ev,com.example.team=core one line\n"),
    },
    Case {
        name: "labels-regex",
        options: &[
            "--log-opt",
            "labels-regex=^(com|pl)",
            "--log-opt",
            "env-regex=^AR_",
            "--label",
            "com.example.team=core",
            "--label",
            "plain=lv",
            "--env",
            "AR_ENV=ev",
            "--env",
            "AR_OTHER=ov",
        ],
        script: "echo 'one line'",
        file: &[
            r#"{"log":"one line\n","stream":"stdout","attrs":{"AR_ENV":"ev","AR_OTHER":"ov","com.example.team":"core","plain":"lv"},"time":"<T>"}"#,
        ],
        logs: b"one line\n",
        details: Some("AR_ENV=ev,AR_OTHER=ov,com.example.team=core,plain=lv one line\n"),
    },
    Case {
        name: "tag",
        options: &["--log-opt", "tag={{.Name}}/{{.ID}}"],
        script: "echo 'one line'",
        file: &[
            r#"{"log":"one line\n","stream":"stdout","attrs":{"tag":"g-tag/<CID12>"},"time":"<T>"}"#,
        ],
        logs: b"one line\n",
        details: Some("tag=g-tag%2F<CID12> one line\n"),
    },
    Case {
        name: "tty",
        options: &["-t"],
        script: MIX,
        file: &[
            r#"{"log":"hello stdout\r\n","stream":"stdout","time":"<T>"}"#,
            r#"{"log":"hello stderr\r\n","stream":"stdout","time":"<T>"}"#,
            "{\"log\":\"tab\\u0009here \\\"quote\\\" back\\\\slash \\u003c\\u0026\\u003e é\\r\\n\",\"stream\":\"stdout\",\"time\":\"<T>\"}",
        ],
        logs: "hello stdout\r\nhello stderr\r\ntab\there \"quote\" back\\slash <&> é\r\n"
            .as_bytes(),
        details: None,
    },
];

/// The file with each time replaced; each must be RFC 3339 in UTC with at most nine digits and no trailing zero, and
/// they must not go back.
pub(crate) fn without_times(bytes: &[u8]) -> Vec<u8> {
    let pattern = regex::bytes::Regex::new(
        r#""time":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{0,8}[1-9])?Z"\}"#,
    )
    .expect("a pattern");
    let mut last = String::new();
    for (number, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let found = pattern.captures(line).unwrap_or_else(|| {
            panic!("time of record {number}: {}", String::from_utf8_lossy(line))
        });
        let fraction = found.get(2).map_or(&b""[..], |m| m.as_bytes());
        let time = format!(
            "{}{:.<10}",
            String::from_utf8_lossy(&found[1]),
            String::from_utf8_lossy(fraction)
        );
        assert!(
            time.replace('.', "0") >= last.replace('.', "0"),
            "record {number}: {time} after {last}"
        );
        last = time;
    }
    pattern
        .replace_all(bytes, &br#""time":"<T>"}"#[..])
        .into_owned()
}

#[test]
fn the_file_has_dockers_bytes() {
    need!(ready());
    let daemon = Daemon::start();
    for case in CASES {
        let name = format!("g-{}", case.name);
        let mut args = vec!["--name", &name];
        args.extend(case.options);
        args.extend([IMAGE, "sh", "-c", case.script]);
        let id = daemon.run_detached(&args);
        assert_eq!(daemon.wait_exit(&id, 20), 0, "{name}");
        let fill = |text: &str| text.replace("<CID12>", &id[..12]);
        let mut expected = fill(&case.file.join("\n"));
        expected.push('\n');
        let file = without_times(&daemon.json_log(&id));
        assert_eq!(String::from_utf8_lossy(&file), expected, "file of {name}");
        let logs = daemon.docker(["logs", &id]).output();
        assert_eq!(
            String::from_utf8_lossy(&logs.stdout),
            String::from_utf8_lossy(case.logs),
            "docker logs of {name}"
        );
        if let Some(details) = case.details {
            let shown = daemon.docker(["logs", "--details", &id]).output();
            assert_eq!(
                shown.out(),
                fill(details),
                "docker logs --details of {name}"
            );
        }
        if skip::program("jq").is_ok() {
            let json = daemon.json_log(&id);
            Run::new(std::process::Command::new("jq"))
                .args(["-e", ".log and .stream and .time"])
                .stdin(json)
                .output()
                .code(0);
        }
        daemon.docker(["rm", &id]).output().code(0);
    }
    daemon.finish();
}

#[test]
fn timestamps_are_nine_digits_and_the_files() {
    need!(ready());
    let daemon = Daemon::start();
    let id = daemon.run_detached(&[IMAGE, "sh", "-c", "for i in 1 2 3; do echo $i; done"]);
    daemon.wait_exit(&id, 20);
    let shown = daemon.docker(["logs", "-t", &id]).output().ok();
    let pattern =
        regex::Regex::new(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z \d$").expect("a pattern");
    for line in shown.lines() {
        assert!(pattern.is_match(line), "{line}");
    }
    let file = String::from_utf8(daemon.json_log(&id)).expect("utf-8");
    for (shown, line) in shown.lines().zip(file.lines()) {
        let record: crate::harness::logs::Record = serde_json::from_str(line).expect("a record");
        let cut = shown
            .split(' ')
            .next()
            .unwrap_or("")
            .trim_end_matches('Z')
            .trim_end_matches('0');
        assert!(record.time.starts_with(cut), "{} and {shown}", record.time);
    }
    daemon.finish();
}

#[test]
fn the_same_program_gives_the_same_bytes_on_docker() {
    need!(ready());
    need!(crate::harness::daemon::taffrail_only());
    need!(Engine::Dockerd.ready());
    // Lines of every byte and length near the borders; without multi-byte characters, where we differ on purpose.
    let script = "i=0; while [ $i -lt 300 ]; do printf \"line $i \\\\$(printf %o $((i%127+1)))\\n\"; i=$((i+1)); done; \
                  for n in 1 16382 16383 16384 16385 32767 32768 40000; do head -c $n /dev/zero | tr '\\0' y; echo; done; printf end";
    let mut files = Vec::new();
    for engine in [Engine::Taffrail, Engine::Dockerd] {
        let daemon = Daemon::of(engine, Default::default());
        let id = daemon.run_detached(&[IMAGE, "sh", "-c", script]);
        assert_eq!(daemon.wait_exit(&id, 60), 0);
        files.push(without_times(&daemon.json_log(&id)));
        daemon.finish();
    }
    assert!(
        files[0] == files[1],
        "{}",
        first_difference(&files[0], &files[1])
    );
}

fn first_difference(ours: &[u8], dockers: &[u8]) -> String {
    let split = |bytes: &[u8]| -> Vec<String> {
        bytes
            .split(|byte| *byte == b'\n')
            .map(|line| String::from_utf8_lossy(&line[..line.len().min(200)]).into_owned())
            .collect()
    };
    for (number, (a, b)) in split(ours).iter().zip(split(dockers)).enumerate() {
        if *a != b {
            return format!("record {number}:\nours   {a}\nDocker {b}");
        }
    }
    format!("{} and {} bytes", ours.len(), dockers.len())
}
