//! A driver in the first line, then `option=value` lines: never a panic; what passes can make its attributes or says why not.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use taffrail_drivers::{ContainerFacts, Plan, attrs_json, validate};

fuzz_target!(|text: &str| {
    let mut lines = text.lines();
    let driver = lines.next().unwrap_or_default();
    let options: BTreeMap<String, String> = lines
        .map(|line| line.split_once('=').unwrap_or((line, "")))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    match validate(driver, &options) {
        Ok(valid) => {
            if let Plan::JsonFile(json_file) = valid.plan() {
                assert!(json_file.max_file() >= 1);
                assert_ne!(json_file.max_size(), Some(0));
                let labels = options.clone();
                let facts = ContainerFacts {
                    id: "0123456789abcdef",
                    name: "/n",
                    labels: Some(&labels),
                    ..ContainerFacts::default()
                };
                if let Ok(attrs) = json_file.attrs(&facts) {
                    let json = attrs_json(&attrs);
                    assert!(attrs.is_empty() == json.is_empty());
                    if !json.is_empty() {
                        let read: BTreeMap<String, String> =
                            serde_json::from_slice(&json).expect("attributes are JSON");
                        assert_eq!(read, attrs);
                    }
                }
            }
        }
        Err(errors) => assert!(errors.iter().count() > 0),
    }
});
