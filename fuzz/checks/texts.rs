//! Times and cursors: what is taken is what it says, and the same is read again from what is written.

use taffrail_log::{Cursor, Moment};

/// Any text as a cursor and as a time.
pub fn check(data: &[u8]) {
    if let Some(moment) = Moment::parse(data) {
        assert!(moment.nanos < 1_000_000_000);
        let mut text = Vec::new();
        moment.write(&mut text);
        assert_eq!(text.len(), 30);
        // An offset may lead out of the years that four digits can write.
        let years = Moment::ZERO.secs - 366 * 86_400..253_402_300_800;
        if years.contains(&moment.secs) {
            assert_eq!(
                Moment::parse(&text),
                Some(moment),
                "{}",
                data.escape_ascii()
            );
        }
        let ns = moment.ns();
        if ns != i64::MAX && ns != i64::MIN {
            assert_eq!(Moment::from_ns(ns), moment);
        }
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(cursor) = text.parse::<Cursor>() {
        let again = cursor.to_string();
        assert_eq!(again.parse(), Ok(cursor));
        // Zeros in front are the only other way to write it.
        let (epoch, seq) = text.split_once('.').expect("a dot");
        let plain = |part: &str| match part.trim_start_matches('0') {
            "" => "0".to_owned(),
            rest => rest.to_owned(),
        };
        assert_eq!(again, format!("{}.{}", plain(epoch), plain(seq)));
    }
}
