//! The option tables in `docs/drivers/` are those of the code. `TAFFRAIL_WRITE_DOCS=1` (`make docs`) writes them anew.

use std::fmt::Write;
use std::path::Path;

use taffrail_drivers::{DRIVERS, driver_info, known_options};

/// A cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn table(name: &str) -> String {
    let driver = driver_info(name).unwrap();
    let mut out = String::from("| Option | Default | Allowed | Meaning |\n|---|---|---|---|\n");
    for option in known_options(driver) {
        let default = match option.default {
            "" => "none".to_owned(),
            default => format!("`{default}`"),
        };
        let _ = writeln!(
            out,
            "| `{}` | {default} | {} | {} {} |",
            option.name,
            cell(option.allowed),
            cell(option.short),
            cell(option.full)
        );
    }
    out
}

#[test]
fn tables_are_those_of_the_code() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/drivers");
    let mut found = Vec::new();
    for driver in DRIVERS {
        let path = docs.join(format!("{}.md", driver.name));
        let Ok(page) = std::fs::read_to_string(&path) else {
            assert!(!driver.built, "{} has no page", driver.name);
            continue;
        };
        let start = format!("<!-- options: {} -->\n", driver.name);
        let Some((before, rest)) = page.split_once(&start) else {
            assert_eq!(
                known_options(driver).count(),
                0,
                "{}: no table",
                driver.name
            );
            continue;
        };
        let (_, after) = rest.split_once("<!-- end -->").unwrap();
        let new = format!("{before}{start}{}<!-- end -->{after}", table(driver.name));
        if std::env::var_os("TAFFRAIL_WRITE_DOCS").is_some() {
            std::fs::write(&path, &new).unwrap();
        } else {
            assert!(
                page == new,
                "{} is not what the code says: run make docs",
                path.display()
            );
        }
        found.push(driver.name);
    }
    assert_eq!(
        found,
        [
            "json-file",
            "local",
            "journald",
            "syslog",
            "fluentd",
            "splunk",
            "gelf"
        ]
    );
}
