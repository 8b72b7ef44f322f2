//! Every option with good and bad values; Docker's texts.

use std::collections::BTreeMap;

use crate::sink::Environment;
use crate::validate;

fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let mut options = BTreeMap::from([
        ("splunk-url".to_owned(), "https://splunk:8088".to_owned()),
        ("splunk-token".to_owned(), "t0ken".to_owned()),
    ]);
    for (name, value) in pairs {
        options.insert((*name).to_owned(), (*value).to_owned());
    }
    options
}

#[test]
fn good_values() {
    for pair in [
        ("splunk-url", "http://10.0.0.7/"),
        ("splunk-token", ""),
        ("splunk-token", "secret:hec"),
        ("splunk-token", "@/run/hec"),
        ("splunk-source", "s"),
        ("splunk-sourcetype", "s"),
        ("splunk-index", "s"),
        ("splunk-capath", "/etc/ca.pem"),
        ("splunk-caname", "splunk.example.org"),
        ("splunk-caname", "10.0.0.7"),
        ("splunk-insecureskipverify", "1"),
        ("splunk-format", "raw"),
        ("splunk-verify-connection", "F"),
        ("splunk-gzip", "T"),
        ("splunk-gzip-level", "-1"),
        ("splunk-gzip-level", "9"),
        ("splunk-index-acknowledgment", "true"),
        ("splunk-timeout", "1m30s"),
        ("splunk-ack-timeout", "1h"),
        ("tag", ""),
        ("labels", "a,b"),
    ] {
        let found = validate("splunk", &options(&[pair])).unwrap();
        assert_eq!(found.sinks()[0].driver, "splunk", "{pair:?}");
    }
}

#[test]
fn bad_values() {
    let bool = |value: &str| format!("strconv.ParseBool: parsing \"{value}\": invalid syntax");
    for (name, value, text) in [
        (
            "splunk-url",
            "splunk:8088",
            "splunk: expected format scheme://dns_name_or_ip:port for splunk-url".to_owned(),
        ),
        (
            "splunk-url",
            "https://splunk:x",
            "splunk: failed to parse https://splunk:x as url value in splunk-url".to_owned(),
        ),
        ("splunk-token", "@x", "must be absolute".to_owned()),
        (
            "splunk-token",
            "secret:../x",
            "is no name of a secret".to_owned(),
        ),
        (
            "splunk-caname",
            "a b",
            "is no name of a certificate".to_owned(),
        ),
        ("splunk-insecureskipverify", "yes", bool("yes")),
        (
            "splunk-format",
            "xml",
            "unknown format specified xml, supported formats are inline, json and raw".to_owned(),
        ),
        ("splunk-verify-connection", "", bool("")),
        ("splunk-gzip", "2", bool("2")),
        (
            "splunk-gzip-level",
            "x",
            "strconv.ParseInt: parsing \"x\": invalid syntax".to_owned(),
        ),
        (
            "splunk-gzip-level",
            "10",
            "not supported level '10' for splunk-gzip-level (supported values between -1 and 9)"
                .to_owned(),
        ),
        ("splunk-index-acknowledgment", "no", bool("no")),
        ("splunk-timeout", "30", "time: missing unit".to_owned()),
        (
            "splunk-timeout",
            "1ms",
            "splunk-timeout is out of range".to_owned(),
        ),
        (
            "splunk-ack-timeout",
            "25h",
            "splunk-ack-timeout is out of range".to_owned(),
        ),
        ("env-regex", "(", "error parsing regexp".to_owned()),
        (
            "tag",
            "{{",
            "template: log-tag:1: unclosed action".to_owned(),
        ),
        (
            "splunk-nope",
            "x",
            "unknown log opt 'splunk-nope' for splunk log driver".to_owned(),
        ),
    ] {
        let error = validate("splunk", &options(&[(name, value)]))
            .unwrap_err()
            .to_string();
        assert!(error.contains(&text), "{name}={value}: {error}");
    }
}

#[test]
fn the_table_says_what_is_allowed() {
    let error = validate("splunk", &options(&[("splunk-format", "xml")])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "unknown format specified xml, supported formats are inline, json and raw\n  splunk-format=\"xml\": allowed: inline, json, raw"
    );
}

#[test]
fn all_errors_at_once_and_no_secret() {
    let error = validate("splunk", &BTreeMap::new())
        .unwrap_err()
        .to_string();
    assert!(error.contains("splunk: splunk-url is expected"));
    assert!(error.contains("splunk: splunk-token is expected"));
    let error = validate("splunk", &options(&[("splunk-token", "s\u{e9}cret")]));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("splunk-token=\"xxxx\"") && !error.contains("cret\""));
    let found = validate("splunk", &options(&[])).unwrap();
    assert!(!format!("{found:?}").contains("t0ken"));
    let destination = found.sinks()[0]
        .settings
        .destination(&Environment::default());
    assert!(!format!("{destination:?}").contains("t0ken"));
}

#[test]
fn what_differs_is_another_connection() {
    let key = |pairs: &[(&str, &str)]| {
        let found = validate("splunk", &options(pairs)).unwrap();
        let destination = found.sinks()[0]
            .settings
            .destination(&Environment::default());
        destination.unwrap().key
    };
    assert_eq!(
        key(&[]),
        key(&[
            ("tag", "x"),
            ("splunk-source", "s"),
            ("splunk-format", "raw")
        ])
    );
    for pair in [
        ("splunk-url", "https://other:8088"),
        ("splunk-token", "other"),
        ("splunk-index", "i"),
        ("splunk-gzip", "true"),
        ("splunk-index-acknowledgment", "true"),
        ("splunk-caname", "other"),
        ("splunk-insecureskipverify", "true"),
        ("splunk-timeout", "1s"),
    ] {
        assert_ne!(key(&[]), key(&[pair]), "{pair:?}");
    }
}

#[test]
fn files_that_cannot_be_read() {
    for (name, value) in [
        ("splunk-capath", "/nonexistent/ca.pem"),
        ("splunk-token", "@/nonexistent/token"),
    ] {
        let found = validate("splunk", &options(&[(name, value)])).unwrap();
        let destination = found.sinks()[0]
            .settings
            .destination(&Environment::default());
        let text = destination.unwrap_err().0;
        assert!(
            text.contains(name) && text.contains("/nonexistent"),
            "{text}"
        );
    }
}
