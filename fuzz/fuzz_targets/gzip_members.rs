//! Any bytes as a compressed json-file log and its table: see `checks/frames.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| taffrail_fuzz::frames::members(data));
