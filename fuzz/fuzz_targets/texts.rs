//! Cursors and times of records: see `checks/texts.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| taffrail_fuzz::texts::check(data));
