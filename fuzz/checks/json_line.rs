//! What must hold for any bytes in a json-file log. Shared by the fuzz target and the unit test
//! that replays its corpus.

use taffrail_log::{Decoder, Record};

/// One decoder for all lines, as the reader has it: what it remembers of one line must not change
/// what it makes of the next.
pub fn check(data: &[u8]) {
    let mut decoder = Decoder::new();
    for line in data.split(|b| *b == b'\n') {
        let fast = decoder.decode(line);
        let slow = Record::from_json(line);
        assert_eq!(fast, slow, "{}", line.escape_ascii());
        if let Some(record) = fast {
            assert!(std::str::from_utf8(&record.log).is_ok());
            assert!(record.attrs.is_sorted_by(|a, b| a.0 < b.0));
        }
    }
}
