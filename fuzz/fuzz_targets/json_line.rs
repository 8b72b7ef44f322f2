//! Lines of a json-file log: the fast decoder against the general one.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| taffrail_fuzz::json_line::check(data));
