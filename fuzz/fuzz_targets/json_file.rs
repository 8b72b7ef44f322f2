//! Any bytes as a json-file log with any index: see `checks/segment.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| taffrail_fuzz::segment::json_files(data));
