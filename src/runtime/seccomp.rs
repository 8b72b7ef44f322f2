//! System call filters: Docker's default profile from a table, and profiles of the user's own, with
//! their conditions resolved to what the OCI specification has.
//!
//! The facts of the table (`seccomp_default.json`) are those of Moby's default profile: everything is
//! refused with EPERM but what is listed, some of it only with a capability or on one architecture.

use std::sync::OnceLock;

use serde::Deserialize;
use serde_json::{Map, Value, json};

const TABLE: &str = include_str!("seccomp_default.json");

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    default_action: String,
    default_errno: u32,
    architectures: Map<String, Value>,
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    names: Vec<String>,
    #[serde(default)]
    action: Option<String>,
    #[serde(default)]
    errno: Option<u32>,
    #[serde(default)]
    args: Vec<Value>,
    /// Allowed if the first argument is less than this,
    #[serde(default)]
    first_below: Option<u64>,
    /// or one of these,
    #[serde(default)]
    first_in: Vec<u64>,
    /// or greater than this.
    #[serde(default)]
    first_above: Option<u64>,
    /// All of these are held.
    #[serde(default)]
    caps: Vec<String>,
    /// None of these is held.
    #[serde(default)]
    not_caps: Vec<String>,
    #[serde(default)]
    arches: Vec<String>,
    #[serde(default)]
    not_arches: Vec<String>,
    #[serde(default)]
    min_kernel: Option<String>,
}

impl Rule {
    /// One entry, or one for each value that the first argument may have.
    fn to_oci(&self) -> Vec<Value> {
        let mut call = json!({
            "names": self.names,
            "action": self.action.as_deref().unwrap_or("SCMP_ACT_ALLOW"),
        });
        if let Some(errno) = self.errno {
            call["errnoRet"] = json!(errno);
        }
        if !self.args.is_empty() {
            call["args"] = json!(self.args);
        }
        let below = self.first_below.map(|n| (n, "SCMP_CMP_LT"));
        let first: Vec<Value> = below
            .into_iter()
            .chain(self.first_in.iter().map(|n| (*n, "SCMP_CMP_EQ")))
            .chain(self.first_above.map(|n| (n, "SCMP_CMP_GT")))
            .map(|(value, op)| {
                let mut one = call.clone();
                one["args"] = json!([{"index": 0, "value": value, "op": op}]);
                one
            })
            .collect();
        if first.is_empty() { vec![call] } else { first }
    }
}

fn table() -> &'static Table {
    static TABLE_ONCE: OnceLock<Table> = OnceLock::new();
    TABLE_ONCE.get_or_init(|| {
        // Part of the program; a test parses it.
        serde_json::from_str(TABLE).expect("the built-in seccomp table is well formed")
    })
}

/// The default profile for a process with `caps`.
pub(super) fn default_profile(caps: &[String]) -> Value {
    let table = table();
    let arch = std::env::consts::ARCH;
    let kernel = kernel_version();
    let has = |cap: &String| caps.contains(cap);
    let is = |a: &String| a == arch;
    let calls: Vec<Value> = table
        .rules
        .iter()
        .filter(|r| {
            r.caps.iter().all(has)
                && !r.not_caps.iter().any(has)
                && (r.arches.is_empty() || r.arches.iter().any(is))
                && !r.not_arches.iter().any(is)
                && r.min_kernel.as_deref().is_none_or(|v| kernel >= version(v))
        })
        .flat_map(Rule::to_oci)
        .collect();
    let mut out = json!({
        "defaultAction": table.default_action,
        "defaultErrnoRet": table.default_errno,
        "syscalls": calls,
    });
    if let Some(arches) = table.architectures.get(arch) {
        out["architectures"] = arches.clone();
    }
    out
}

/// Checks that text is a JSON object, as `seccomp=` needs it.
pub(super) fn parse_profile(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str::<Map<String, Value>>(text).map(Value::Object)
}

/// Docker's extended profile format as the OCI one: `archMap` for this machine, `includes` and
/// `excludes` decided, `name` as `names`.
pub(super) fn resolve(profile: &Value, caps: &[String]) -> Value {
    let mut out = Map::new();
    for key in [
        "defaultAction",
        "defaultErrnoRet",
        "flags",
        "listenerPath",
        "listenerMetadata",
    ] {
        if let Some(v) = profile.get(key).filter(|v| !v.is_null()) {
            out.insert(key.to_owned(), v.clone());
        }
    }
    let native = table()
        .architectures
        .get(std::env::consts::ARCH)
        .and_then(|list| list.get(0));
    let mapped = profile
        .get("archMap")
        .and_then(Value::as_array)
        .and_then(|list| list.iter().find(|a| a.get("architecture") == native))
        .map(|entry| {
            let sub = entry.get("subArchitectures").and_then(Value::as_array);
            let mut arches: Vec<Value> = native.into_iter().cloned().collect();
            arches.extend(sub.into_iter().flatten().cloned());
            Value::Array(arches)
        });
    let listed = profile
        .get("architectures")
        .filter(|v| v.as_array().is_some_and(|a| !a.is_empty()));
    if let Some(arches) = listed.cloned().or(mapped) {
        out.insert("architectures".to_owned(), arches);
    }
    let calls = profile.get("syscalls").and_then(Value::as_array);
    let calls: Vec<Value> = calls
        .into_iter()
        .flatten()
        .filter(|call| {
            let includes = call.get("includes");
            let excludes = call.get("excludes");
            includes.is_none_or(|c| meets_all(c, caps))
                && excludes.is_none_or(|c| !meets_any(c, caps))
        })
        .map(|call| {
            let mut oci = Map::new();
            if let Some(name) = call
                .get("name")
                .and_then(Value::as_str)
                .filter(|n| !n.is_empty())
            {
                oci.insert("names".to_owned(), json!([name]));
            }
            for key in ["names", "action", "errnoRet", "args"] {
                if let Some(v) = call.get(key).filter(|v| !v.is_null()) {
                    oci.insert(key.to_owned(), v.clone());
                }
            }
            Value::Object(oci)
        })
        .collect();
    out.insert("syscalls".to_owned(), Value::Array(calls));
    Value::Object(out)
}

/// Docker's short name of this architecture, as its profiles use it.
fn docker_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

fn words<'a>(condition: &'a Value, key: &str) -> Vec<&'a str> {
    let list = condition.get(key).and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

fn new_enough(condition: &Value) -> Option<bool> {
    let min = condition.get("minKernel").and_then(Value::as_str)?;
    (!min.is_empty()).then(|| kernel_version() >= version(min))
}

/// `includes`: every capability, one of the architectures, the kernel.
fn meets_all(condition: &Value, caps: &[String]) -> bool {
    let arches = words(condition, "arches");
    words(condition, "caps")
        .iter()
        .all(|c| caps.iter().any(|h| h == c))
        && (arches.is_empty() || arches.contains(&docker_arch()))
        && new_enough(condition) != Some(false)
}

/// `excludes`: any capability, any of the architectures, the kernel.
fn meets_any(condition: &Value, caps: &[String]) -> bool {
    words(condition, "caps")
        .iter()
        .any(|c| caps.iter().any(|h| h == c))
        || words(condition, "arches").contains(&docker_arch())
        || new_enough(condition) == Some(true)
}

/// Major and minor number; (0, 0) if there are none.
fn version(text: &str) -> (u32, u32) {
    let mut parts = text.split(|c: char| !c.is_ascii_digit());
    let mut next = || parts.next().and_then(|p| p.parse().ok()).unwrap_or(0);
    (next(), next())
}

fn kernel_version() -> (u32, u32) {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").map_or((0, 0), |t| version(&t))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule<'a>(profile: &'a Value, name: &str) -> Vec<&'a Value> {
        profile["syscalls"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|c| c["names"].as_array().unwrap().iter().any(|n| n == name))
            .collect()
    }

    #[test]
    fn the_table_is_well_formed() {
        let table = table();
        let mut seen = std::collections::BTreeSet::new();
        for name in &table.rules[0].names {
            assert!(seen.insert(name), "{name} is listed twice");
        }
        assert!(seen.len() > 350, "only {} calls", seen.len());
        assert!(table.architectures.contains_key(std::env::consts::ARCH));
    }

    #[test]
    fn conditions_are_resolved() {
        let p = default_profile(&[]);
        assert_eq!(p["defaultAction"], "SCMP_ACT_ERRNO");
        assert_eq!(p["defaultErrnoRet"], 1);
        for refused in [
            "mount",
            "setns",
            "keyctl",
            "add_key",
            "io_uring_setup",
            "bpf",
            "chroot",
        ] {
            assert!(rule(&p, refused).is_empty(), "{refused}");
        }
        let clone = rule(&p, "clone");
        assert_eq!(clone.len(), 1);
        assert_eq!(clone[0]["args"][0]["op"], "SCMP_CMP_MASKED_EQ");
        assert_eq!(clone[0]["args"][0]["value"], 0x7e02_0000);
        assert_eq!(rule(&p, "clone3")[0]["errnoRet"], 38);
        let family = |n: u64| {
            rule(&p, "socket").iter().any(|r| {
                let arg = &r["args"][0];
                let value = arg["value"].as_u64().unwrap();
                match arg["op"].as_str().unwrap() {
                    "SCMP_CMP_LT" => n < value,
                    "SCMP_CMP_GT" => n > value,
                    _ => n == value,
                }
            })
        };
        // All families but AF_ALG and AF_VSOCK.
        assert!([1, 2, 10, 16, 17, 37, 39, 41, 44].into_iter().all(family));
        assert!(![38, 40].into_iter().any(family));
        assert_eq!(rule(&p, "personality").len(), 5);
        let admin = default_profile(&["CAP_SYS_ADMIN".to_owned()]);
        assert!(rule(&admin, "clone")[0].get("args").is_none());
        assert_eq!(rule(&admin, "mount").len(), 1);
        assert_eq!(rule(&admin, "clone3")[0]["action"], "SCMP_ACT_ALLOW");
    }

    #[test]
    fn a_profile_of_ones_own() {
        let p = parse_profile(
            r#"{"defaultAction":"SCMP_ACT_ALLOW","archMap":[{"architecture":"SCMP_ARCH_X86_64",
            "subArchitectures":["SCMP_ARCH_X86"]}],"syscalls":[
            {"name":"chmod","action":"SCMP_ACT_ERRNO"},
            {"names":["reboot"],"action":"SCMP_ACT_ALLOW","args":null,"includes":{"caps":["CAP_SYS_BOOT"]}},
            {"names":["mount"],"action":"SCMP_ACT_ALLOW","excludes":{"caps":["CAP_CHOWN"]}},
            {"names":["x"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"99.0"}}]}"#,
        )
        .unwrap();
        let r = resolve(&p, &["CAP_CHOWN".to_owned()]);
        assert_eq!(
            r["syscalls"],
            json!([{"names": ["chmod"], "action": "SCMP_ACT_ERRNO"}])
        );
        if std::env::consts::ARCH == "x86_64" {
            assert_eq!(
                r["architectures"],
                json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"])
            );
        }
        assert!(parse_profile("[]").is_err());
    }

    #[test]
    fn kernel_versions() {
        assert_eq!(version("4.8"), (4, 8));
        assert_eq!(version("6.18.0-rc1"), (6, 18));
        assert!(kernel_version() > (3, 0));
    }
}
