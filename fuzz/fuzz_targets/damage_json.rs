//! One place of a valid json-file log is damaged: see `checks/damage.rs`.
#![no_main]

use taffrail_log::LogFormat;

libfuzzer_sys::fuzz_target!(|data: &[u8]| taffrail_fuzz::damage::check(data, LogFormat::JsonFile));
