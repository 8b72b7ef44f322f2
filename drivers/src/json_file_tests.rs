use std::collections::BTreeMap;

use super::*;
use crate::attrs_json;

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

fn valid(pairs: &[(&str, &str)]) -> JsonFile {
    validate(&map(pairs)).unwrap().0
}

fn errors(pairs: &[(&str, &str)]) -> String {
    validate(&map(pairs)).unwrap_err().to_string()
}

#[test]
fn defaults_of_size_and_number() {
    for (options, size, files) in [
        (&[][..], Some(100_000_000), 5),
        (&[("max-size", "10m")], Some(10_000_000), 1),
        (&[("max-file", "3")], None, 3),
        (&[("max-size", "2k"), ("max-file", "3")], Some(2000), 3),
        (&[("max-size", "-1")], None, 1),
        (&[("max-size", "-1"), ("max-file", "2")], None, 2),
    ] {
        let valid = valid(options);
        assert_eq!(
            (valid.max_size(), valid.max_file()),
            (size, files),
            "{options:?}"
        );
    }
    let (_, warnings) = validate(&map(&[("max-file", "3")])).unwrap();
    assert!(warnings[0].contains("no effect without max-size"));
}

#[test]
fn compression_is_accepted() {
    let (valid, warnings) = validate(&map(&[
        ("compress", "true"),
        ("max-size", "1m"),
        ("max-file", "2"),
    ]))
    .unwrap();
    assert!(valid.compress());
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn each_value_has_dockers_text() {
    let compress = "compress cannot be true when max-file is less than 2 or max-size is not set";
    for (options, text) in [
        (&[("max-size", "1q")][..], "invalid suffix: 'q'"),
        (&[("max-size", "")], "invalid size: ''"),
        (&[("max-size", "-2")], "invalid size: '-2'"),
        (&[("max-size", "0")], "max-size must be a positive number"),
        (
            &[("max-size", "0.5b")],
            "max-size must be a positive number",
        ),
        (
            &[("max-size", "1k"), ("max-file", "0")],
            "max-file cannot be less than 1",
        ),
        (&[("max-file", "-5")], "max-file cannot be less than 1"),
        (
            &[("max-file", "x")],
            "strconv.Atoi: parsing \"x\": invalid syntax",
        ),
        (
            &[("max-file", "100001")],
            "max-file cannot be more than 100000",
        ),
        (
            &[("compress", "yes")],
            "strconv.ParseBool: parsing \"yes\": invalid syntax",
        ),
        (&[("compress", "true")], compress),
        (&[("compress", "true"), ("max-size", "1m")], compress),
        (
            &[("compress", "true"), ("max-size", "-1"), ("max-file", "2")],
            compress,
        ),
        (
            &[("bogus", "1")],
            "unknown log opt 'bogus' for json-file log driver",
        ),
        (
            &[("mode", "lossy")],
            "logger: logging mode not supported: lossy",
        ),
        (
            &[("max-buffer-size", "1m")],
            "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
        ),
        (
            &[("mode", "non-blocking"), ("max-buffer-size", "1q")],
            "error parsing option max-buffer-size: invalid suffix: 'q'",
        ),
        (
            &[("cache-disabled", "maybe")],
            "invalid value for option cache-disabled: maybe",
        ),
        (
            &[("cache-nonsense", "1")],
            "unknown log opt 'cache-nonsense' for json-file log driver",
        ),
        (
            &[("labels-regex", "[a")],
            "error parsing regexp: missing closing ]: `[a`",
        ),
        (
            &[("env-regex", "*")],
            "error parsing regexp: missing argument to repetition operator: `*`",
        ),
        (&[("tag", "{{.ID")], "template: log-tag:1: unclosed action"),
        (
            &[("tag", "{{foo}}")],
            "template: log-tag:1: function \"foo\" not defined",
        ),
        (
            &[("tag", "{{.Nope}}")],
            "template: log-tag:1:2: executing \"log-tag\" at <.Nope>: can't evaluate field Nope in type *logger.Info",
        ),
    ] {
        assert_eq!(errors(options), text, "{options:?}");
    }
}

#[test]
fn all_errors_at_once() {
    assert_eq!(
        errors(&[
            ("max-size", "1q"),
            ("max-file", "0"),
            ("compress", "true"),
            ("mode", "lossy"),
            ("zzz", ""),
            ("tag", "{{"),
        ]),
        "logger: logging mode not supported: lossy\n\
         unknown log opt 'zzz' for json-file log driver\n\
         invalid suffix: 'q'\n\
         max-file cannot be less than 1\n\
         template: log-tag:1: unclosed action"
    );
}

#[test]
fn common_options_are_accepted() {
    valid(&[
        ("mode", "non-blocking"),
        ("max-buffer-size", "4m"),
        ("cache-disabled", "true"),
        ("cache-max-size", "1m"),
        ("cache-max-file", "2"),
        ("cache-compress", "false"),
        ("cache-tag", "x"),
    ]);
    valid(&[("mode", ""), ("tag", ""), ("labels", ""), ("env-regex", "")]);
}

#[test]
fn attributes() {
    let labels = map(&[
        ("com.example.team", "core"),
        ("plain", "lv"),
        ("AR_X", "label"),
    ]);
    let env = [
        "AR_ENV=first".to_owned(),
        "AR_ENV=e=v".to_owned(),
        "AR_X=env".to_owned(),
        "NOVALUE".to_owned(),
    ];
    let facts = ContainerFacts {
        id: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        name: "/web",
        image_id: "sha256:fedcba9876543210",
        image_name: "bb:latest",
        path: "sh",
        args: &["-c".to_owned(), "echo".to_owned()],
        env: &env,
        labels: Some(&labels),
        hostname: "host1",
        ..ContainerFacts::default()
    };
    let attrs = |options: &[(&str, &str)]| {
        String::from_utf8(attrs_json(&valid(options).attrs(&facts).unwrap())).unwrap()
    };
    assert_eq!(attrs(&[]), "");
    assert_eq!(
        attrs(&[("labels", "com.example.team,missing"), ("env", "AR_ENV")]),
        r#"{"AR_ENV":"e=v","com.example.team":"core"}"#
    );
    assert_eq!(
        attrs(&[("labels-regex", "^(com|pl)"), ("env-regex", "^AR_")]),
        r#"{"AR_ENV":"e=v","AR_X":"env","com.example.team":"core","plain":"lv"}"#
    );
    // Of one name, the variable wins over the label; the tag wins over both.
    assert_eq!(
        attrs(&[("labels", "AR_X"), ("env", "AR_X")]),
        r#"{"AR_X":"env"}"#
    );
    assert_eq!(
        attrs(&[("tag", "{{.Name}}/{{.ID}}")]),
        r#"{"tag":"web/0123456789ab"}"#
    );
    assert_eq!(
        attrs(&[(
            "tag",
            "{{.FullID}} {{.ImageID}} {{.ImageFullID}} {{.ImageName}} {{.Command}} {{.Hostname}} {{.DaemonName}} {{.ContainerName}}"
        )]),
        format!(
            r#"{{"tag":"{} fedcba987654 sha256:fedcba9876543210 bb:latest sh -c echo host1 docker /web"}}"#,
            facts.id
        )
    );
    assert_eq!(
        attrs(&[
            (
                "tag",
                "{{.ExtraAttributes nil}} {{index .ContainerLabels \"plain\"}} {{.Config.labels}}"
            ),
            ("labels", "plain")
        ]),
        r#"{"plain":"lv","tag":"map[plain:lv] lv plain"}"#
    );
    assert_eq!(
        attrs(&[("tag", "<{{.Name | upper}}>\t")]),
        r#"{"tag":"\u003cWEB\u003e\t"}"#
    );
}

/// The error texts recorded from Docker Engine 20.10: `option=value ... => text`.
#[test]
fn recorded_error_texts() {
    let recorded = include_str!("../tests/data/errors.txt");
    let mut cases = 0;
    for line in recorded.lines().filter(|line| !line.starts_with('#')) {
        let (case, text) = line.split_once(" => ").unwrap();
        let mut words = case.split(' ');
        let driver = words.next().unwrap();
        let options: Vec<_> = words.map(|word| word.split_once('=').unwrap()).collect();
        let error = crate::validate(driver, &map(&options)).unwrap_err();
        assert_eq!(error.to_string(), text, "{line}");
        cases += 1;
    }
    assert_eq!(cases, 5);
}
