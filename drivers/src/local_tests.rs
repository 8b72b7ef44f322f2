use std::collections::BTreeMap;

use super::*;
use crate::{DEFAULT_MAX_SPOOL_SIZE, LogSync, Mode};

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

fn valid(pairs: &[(&str, &str)]) -> Local {
    validate(&map(pairs)).unwrap()
}

fn errors(pairs: &[(&str, &str)]) -> String {
    validate(&map(pairs)).unwrap_err().to_string()
}

#[test]
fn bounded_by_default() {
    for (options, size, files, compress) in [
        (&[][..], Some(20_000_000), 5, true),
        (&[("max-size", "10m")], Some(10_000_000), 5, true),
        (&[("max-file", "3")], Some(20_000_000), 3, true),
        (
            &[("max-file", "0"), ("compress", "false")],
            Some(20_000_000),
            1,
            false,
        ),
        (&[("max-size", "0")], Some(0), 5, true),
        (&[("max-size", "-1")], None, 5, true),
        (
            &[("max-size", "2k"), ("compress", "F")],
            Some(2000),
            5,
            false,
        ),
    ] {
        let valid = valid(options);
        assert_eq!(
            (valid.max_size(), valid.max_file(), valid.compress()),
            (size, files, compress),
            "{options:?}"
        );
    }
}

#[test]
fn each_value_has_dockers_text() {
    for (options, text) in [
        (
            &[("bogus", "1")][..],
            "unknown log opt 'bogus' for log driver local",
        ),
        (
            &[("max-size", "1q")],
            "invalid value for max-size: 1q: invalid suffix: 'q'",
        ),
        (
            &[("max-size", "-2")],
            "invalid value for max-size: -2: invalid size: '-2'",
        ),
        (
            &[("max-size", "")],
            "invalid value for max-size: : invalid size: ''",
        ),
        (
            &[("max-file", "x")],
            "invalid value for max-file: x: strconv.Atoi: parsing \"x\": invalid syntax",
        ),
        (&[("max-file", "-1")], "max-file must not be negative"),
        (
            &[("max-file", "100001")],
            "max-file cannot be more than 100000",
        ),
        (
            &[("compress", "maybe")],
            "error reading compress log option: strconv.ParseBool: parsing \"maybe\": invalid syntax",
        ),
        (
            &[("max-file", "1")],
            "compression cannot be enabled when max file count is 1",
        ),
        (
            &[("max-file", "0"), ("compress", "true")],
            "compression cannot be enabled when max file count is 1",
        ),
        (
            &[("mode", "lossy")],
            "logger: logging mode not supported: lossy",
        ),
        (
            &[("sync", "always")],
            "invalid value for sync: always: write record, or leave it empty",
        ),
        (
            &[("max-spool-size", "-1")],
            "invalid value for max-spool-size: -1: invalid size: '-1'",
        ),
        (
            &[("cache-max-size", "1q")],
            "invalid value for cache-max-size: 1q: invalid suffix: 'q'",
        ),
        (
            &[("cache-max-file", "-1")],
            "cache-max-file must not be negative",
        ),
        (
            &[("cache-compress", "2")],
            "error reading cache-compress log option: strconv.ParseBool: parsing \"2\": invalid syntax",
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
            ("mode", "x"),
            ("zzz", ""),
            ("max-size", "x"),
            ("max-file", "x")
        ])
        .lines()
        .count(),
        4
    );
}

#[test]
fn common_options() {
    let common = *valid(&[]).common();
    assert_eq!(
        (common.mode(), common.max_spool_size(), common.sync()),
        (None, DEFAULT_MAX_SPOOL_SIZE, LogSync::Background)
    );
    assert!(!common.copy().disabled && common.copy().compress);
    let common = *valid(&[
        ("mode", "non-blocking"),
        ("max-buffer-size", "4m"),
        ("max-spool-size", "1m"),
        ("sync", "record"),
        ("cache-disabled", "T"),
        ("cache-max-size", "1m"),
        ("cache-max-file", "2"),
        ("cache-compress", "false"),
    ])
    .common();
    assert_eq!(common.mode(), Some(Mode::NonBlocking));
    // The buffer that was asked for is a floor.
    assert_eq!(common.max_spool_size(), 4 << 20);
    assert_eq!(common.sync(), LogSync::Record);
    let copy = common.copy();
    assert_eq!(
        (copy.disabled, copy.max_size, copy.max_file, copy.compress),
        (true, Some(1_000_000), 2, false)
    );
    let explicit = *valid(&[("mode", "blocking"), ("max-spool-size", "0")]).common();
    assert_eq!(
        (explicit.mode(), explicit.max_spool_size()),
        (Some(Mode::Blocking), 0)
    );
}

#[test]
fn attributes() {
    let labels = map(&[("a", "1"), ("b", "2")]);
    let facts = ContainerFacts {
        name: "/web",
        labels: Some(&labels),
        ..ContainerFacts::default()
    };
    let attrs = valid(&[("labels", "b"), ("tag", "{{.Name}}")])
        .attrs(&facts)
        .unwrap();
    assert_eq!(attrs, map(&[("b", "2"), ("tag", "web")]));
}
