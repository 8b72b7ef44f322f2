//! Any bytes as a compressed segment and its seek table: see `checks/frames.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| taffrail_fuzz::frames::segments(data));
