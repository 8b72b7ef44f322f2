use super::*;

#[test]
fn lines_of_the_trace() {
    assert_eq!(kind_of("resolved h: 10.0.0.1"), ("resolve", true));
    assert_eq!(kind_of("connected to 10.0.0.1:514"), ("connect", true));
    assert_eq!(
        kind_of("cannot connect to 10.0.0.1:514: no"),
        ("connect", false)
    );
    assert_eq!(kind_of("TLS 1.3 with h"), ("tls", true));
    assert_eq!(kind_of("RELP session with rsyslog"), ("session", true));
    let failure = Failure::new(FailureKind::Unreachable, "cannot resolve \"h\": no");
    assert_eq!(step_of(&failure), "resolve");
    assert_eq!(
        step_of(&Failure::new(FailureKind::Denied, "x")),
        "authenticate"
    );
}

#[test]
fn what_is_known_after_it() {
    assert_eq!(meaning("udp://h:514").1, "sent");
    assert_eq!(meaning("relp://h:1").1, "accepted");
    assert!(meaning("udp://h:514").0.contains("UDP has no answer"));
    let none = validate("json-file", &BTreeMap::new()).unwrap();
    assert!(local(&none).ends_with("nothing is sent anywhere"));
}

#[test]
fn nothing_is_noted_after_the_end() {
    let course = Course::new();
    course.step("options", true, "valid");
    course.cancel();
    course.step("send", true, "late");
    course.end("accepted");
    let shown = shown("syslog", "syslog", None, &course);
    assert_eq!(shown["Ok"], false);
    assert_eq!(shown["Result"], "failed");
    assert_eq!(shown["Steps"].as_array().unwrap().len(), 2);
}
