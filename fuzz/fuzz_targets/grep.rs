//! Any pattern on any records: see `checks/grep.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| taffrail_fuzz::grep::check(data));
