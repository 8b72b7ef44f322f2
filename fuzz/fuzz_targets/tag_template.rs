//! Any text as a template: never a panic, never unbounded work.
#![no_main]

use libfuzzer_sys::fuzz_target;
use taffrail_drivers::template::{Template, Value};

fuzz_target!(|text: &str| {
    let data = Value::from(serde_json::json!({
        "A": "text", "B": [1, 2.5, "x", null], "C": {"k": "v", "n": {"m": false}}, "D": 3
    }));
    if let Ok(template) = Template::parse("fuzz", text) {
        let _ = template.render(&data);
        let _ = template.strict().render(&data);
    }
});
