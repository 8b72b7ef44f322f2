//! Lines of a json-file log: the fast decoder against the general one.
#![no_main]

#[path = "../checks/json_line.rs"]
mod json_line;

libfuzzer_sys::fuzz_target!(|data: &[u8]| json_line::check(data));
