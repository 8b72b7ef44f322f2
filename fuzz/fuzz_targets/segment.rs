//! Any batches as a segment of `local` with any index: see `checks/segment.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| taffrail_fuzz::segment::segments(data));
