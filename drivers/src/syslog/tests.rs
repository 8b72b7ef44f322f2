use super::*;

use crate::sink::{Record, Stream};
use crate::validate;

fn map(options: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
    options.iter().map(owned).collect()
}

fn ok(options: &[(&str, &str)]) -> Arc<dyn SinkSettings> {
    let found = validate(NAME, &map(options)).unwrap();
    Arc::clone(&found.sinks()[0].settings)
}

fn error(options: &[(&str, &str)]) -> String {
    validate(NAME, &map(options)).unwrap_err().to_string()
}

fn encoded(options: &[(&str, &str)]) -> String {
    let labels = BTreeMap::from([
        ("team".to_owned(), "core".to_owned()),
        ("tag".to_owned(), "a label".to_owned()),
    ]);
    let container = ContainerFacts {
        id: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        name: "/web",
        hostname: "node1",
        labels: Some(&labels),
        ..ContainerFacts::default()
    };
    let mut out = Vec::new();
    ok(options).encoder(&container).unwrap().encode(
        &Record {
            epoch: 1,
            seq: 1,
            time_ns: 1_700_000_000_123_456_789,
            stream: Stream::Stderr,
            line: b"hello",
            partial: None,
        },
        &mut out,
    );
    String::from_utf8(out).unwrap()
}

#[test]
fn every_option_and_value() {
    for options in [
        &[][..],
        &[
            ("syslog-address", "udp://logs:514"),
            ("syslog-framing", "lf"),
        ],
        &[
            ("syslog-address", "unix:///not/there"),
            ("syslog-framing", "octet-counted"),
        ],
        &[
            ("syslog-address", "relp://logs"),
            ("syslog-framing", "auto"),
        ],
        &[("syslog-facility", "local7"), ("syslog-format", "rfc3164")],
        &[("syslog-facility", "23"), ("syslog-format", "")],
        &[("syslog-facility", ""), ("syslog-framing", "")],
        &[
            ("syslog-address", "tcp+tls://logs"),
            ("syslog-tls-ca-cert", "/not/there"),
            ("syslog-tls-cert", "/not/there"),
            ("syslog-tls-key", "/not/there"),
            ("syslog-tls-server-name", "logs.example.org"),
            ("syslog-tls-skip-verify", "False"),
        ],
        &[
            ("syslog-tls-skip-verify", ""),
            ("syslog-tls-server-name", "::1"),
        ],
        &[
            ("labels", "a,b"),
            ("labels-regex", "^a"),
            ("env", "A"),
            ("env-regex", "^A"),
            ("tag", "{{.Name}}"),
        ],
    ] {
        ok(options);
    }
}

#[test]
fn every_option_and_wrong_value() {
    for (option, value, text) in [
        (
            "syslog-address",
            "http://127.0.0.1:1",
            "unsupported scheme: 'http'",
        ),
        ("syslog-facility", "24", "invalid syslog facility"),
        ("syslog-format", "rfc9999", "Invalid syslog format"),
        ("syslog-framing", "newline", "no such framing"),
        (
            "syslog-tls-skip-verify",
            "yes",
            "strconv.ParseBool: parsing \"yes\": invalid syntax",
        ),
        (
            "syslog-tls-server-name",
            "a b",
            "that is no name for a certificate",
        ),
        (
            "tag",
            "{{.Nope}}",
            "template: log-tag:1:2: executing \"log-tag\" at <.Nope>: can't evaluate field Nope in type *logger.Info",
        ),
        (
            "labels-regex",
            "(",
            "error parsing regexp: missing closing ): `(`",
        ),
        (
            "env-regex",
            "(",
            "error parsing regexp: missing closing ): `(`",
        ),
        (
            "bogus",
            "1",
            "unknown log opt 'bogus' for syslog log driver",
        ),
    ] {
        let error = error(&[(option, value)]);
        let mut lines = error.lines();
        assert_eq!(lines.next().unwrap(), text);
        if option.starts_with("syslog-") {
            let second = format!(
                "  {option}={value:?}: allowed: {}",
                options::allowed(option)
            );
            assert_eq!(lines.next().unwrap(), second);
        }
    }
    let half = "could not load X509 key pair: open : no such file or directory\n  syslog-tls-key=\"\": allowed: ";
    assert!(error(&[("syslog-tls-cert", "/a")]).starts_with(half));
    assert!(error(&[("syslog-tls-key", "/a")]).contains("\n  syslog-tls-cert=\"\": "));
    for (address, framing) in [
        ("udp://h", "octet-counted"),
        ("", "octet-counted"),
        ("unixgram:///h", "octet-counted"),
        ("relp://h", "octet-counted"),
        ("relp+tls://h", "lf"),
    ] {
        let error = error(&[("syslog-address", address), ("syslog-framing", framing)]);
        assert!(error.contains("syslog-framing="), "{error}");
    }
    // All at once.
    let all = error(&[
        ("syslog-facility", "x"),
        ("syslog-format", "x"),
        ("syslog-address", "x"),
    ]);
    assert_eq!(all.lines().count(), 6, "{all}");
}

#[test]
fn tags_and_framing() {
    let pid = std::process::id();
    assert!(encoded(&[]).ends_with(&format!(" 0123456789ab[{pid}]: hello\n")));
    assert!(encoded(&[]).starts_with("<27>Nov 1"));
    assert!(encoded(&[("tag", "")]).ends_with(&format!(" 0123456789ab[{pid}]: hello\n")));
    // A label named tag is no tag.
    assert!(encoded(&[("labels", "tag")]).contains(" 0123456789ab["));
    assert!(
        encoded(&[("tag", "{{.Name}}"), ("syslog-facility", "local0")])
            .ends_with(&format!(" web[{pid}]: hello\n"))
    );
    assert!(encoded(&[("syslog-facility", "local0")]).starts_with("<131>"));
    assert!(
        encoded(&[("labels", "team"), ("tag", "{{.ExtraAttributes nil}}")])
            .contains(" map[team:core][")
    );
    let program = std::env::args().next().unwrap();
    assert!(encoded(&[("tag", "{{with .LogPath}}x{{end}}")]).contains(&format!(" {program}[")));
    let micro = [
        ("syslog-format", "rfc5424micro"),
        ("syslog-address", "tcp+tls://h"),
    ];
    let counted = encoded(&micro);
    let (count, frame) = counted.split_once(' ').unwrap();
    assert_eq!(count, frame.len().to_string());
    assert!(frame.ends_with(&format!(" node1 0123456789ab {pid} 0123456789ab - hello\n")));
    assert!(encoded(&[micro[0], ("syslog-address", "tcp://h")]).starts_with("<27>1 "));
    assert!(encoded(&[micro[0], micro[1], ("syslog-framing", "lf")]).starts_with("<27>1 "));
    assert!(encoded(&[("syslog-address", "tcp+tls://h")]).starts_with("<27>Nov"));
    let always = [
        ("syslog-address", "tcp://h"),
        ("syslog-framing", "octet-counted"),
    ];
    assert!(
        encoded(&always)
            .split_once(' ')
            .unwrap()
            .1
            .starts_with("<27>Nov")
    );
    assert!(encoded(&[("syslog-address", "relp://h")]).ends_with("hello"));
}

#[test]
fn destinations() {
    let environment = Environment::default();
    let key = |options: &[(&str, &str)]| ok(options).destination(&environment).unwrap().key;
    let tcp = ("syslog-address", "tcp://h");
    assert_eq!(
        key(&[tcp]),
        key(&[("syslog-address", "tcp://h:514"), ("tag", "x")])
    );
    assert_ne!(
        key(&[tcp]),
        key(&[tcp, ("syslog-framing", "octet-counted")])
    );
    assert_ne!(key(&[tcp]), key(&[("syslog-address", "relp://h:514")]));
    let tls = ("syslog-address", "tcp+tls://[::1]");
    let found = ok(&[tls]).destination(&environment).unwrap();
    assert_eq!(found.address, "tcp+tls://[::1]:514");
    assert_ne!(key(&[tls]), key(&[tls, ("syslog-tls-skip-verify", "true")]));
    // Not read if nothing is verified; else it must be there.
    let ca = ("syslog-tls-ca-cert", "/not/there");
    key(&[tls, ca, ("syslog-tls-skip-verify", "")]);
    assert_eq!(
        ok(&[tls, ca]).destination(&environment).unwrap_err().0,
        "could not read CA certificate \"/not/there\": open /not/there: no such file or directory\n  syslog-tls-ca-cert: PEM files are needed"
    );
    let pair = ok(&[tls, ("syslog-tls-cert", "/a"), ("syslog-tls-key", "/b")]);
    assert!(
        pair.destination(&environment)
            .unwrap_err()
            .0
            .starts_with("could not load X509 key pair: open /a: no such file or directory\n")
    );
}

#[test]
fn what_has_no_effect_is_said() {
    let warnings = |options: &[(&str, &str)]| ok(options).warnings();
    assert!(warnings(&[("tag", "x")]).is_empty());
    assert_eq!(
        warnings(&[("syslog-address", "tcp://h"), ("syslog-tls-ca-cert", "/a")]),
        ["syslog: syslog-tls-ca-cert without effect: tcp://h:514 has no TLS"]
    );
    assert_eq!(warnings(&[("labels", "a")]).len(), 1);
    assert!(warnings(&[("labels", "a"), ("tag", "{{.ExtraAttributes nil}}")]).is_empty());
}
