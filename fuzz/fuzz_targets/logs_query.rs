//! The query of `GET /containers/{id}/logs`, and the times of our command line: never a panic; what the
//! command line makes of a time is taken.
#![no_main]
#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "modules of the program, of which this is a part"
)]

#[path = "../../src/errors.rs"]
mod errors;

#[path = "../../src/api"]
mod api {
    mod logs_query;
    mod query;
    mod time;
    mod version;

    pub(crate) fn logs(raw: &str) {
        let Ok(query) = query::Query::parse(raw) else {
            return;
        };
        for key in ["tail", "n", "run"] {
            let _ = query.number(key);
            let _ = query.all(key);
        }
        match logs_query::LogsQuery::parse(&query, query.text("accept")) {
            Ok(asked) => {
                assert!(asked.stdout || asked.stderr);
                assert!(!asked.over_restarts || asked.follow);
                if let Some(cursor) = asked.cursor {
                    assert_eq!(cursor.to_string().parse(), Ok(cursor));
                }
            }
            Err(error) => assert_eq!(error.kind.status(), 400),
        }
    }

    pub(crate) fn time(text: &str) -> Result<Option<i64>, errors::ApiError> {
        time::parse("since", text)
    }

    use crate::errors;
}

#[path = "../../src/cli"]
mod cli {
    pub(crate) mod times;
}

libfuzzer_sys::fuzz_target!(|text: &str| {
    api::logs(text);
    let now = jiff::Timestamp::from_second(1_700_000_000).expect("a time");
    if let Ok(stamp) = cli::times::since(text, now, &jiff::tz::TimeZone::UTC) {
        // A stamp is passed on as it was given: the daemon says what is wrong with it.
        assert!(
            stamp == text || api::time(&stamp).is_ok(),
            "{text:?} is sent as {stamp:?}"
        );
    }
});
