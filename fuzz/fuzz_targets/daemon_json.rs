//! Any bytes as daemon.json: never a panic, and what is refused says at least one thing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use taffrail_config::{Flags, parse_text};

fuzz_target!(|bytes: &[u8]| {
    if let Err(errors) = parse_text(bytes, None, &Flags::default()) {
        assert!(errors.iter().count() > 0);
        assert!(!errors.to_string().is_empty());
    }
});
