//! `DeviceRequests` (`--gpus`, `--device vendor.com/class=name`) by the Container Device Interface:
//! what a vendor's files say of a device is put into the container's specification (docs: CDI
//! specification 1.0; source: Moby `daemon/cdi.go`, `daemon/devices_nvidia_linux.go`).
//!
//! There is no driver of a vendor's own here: a request for GPUs is one for CDI devices of the class
//! `gpu`, those of NVIDIA before those of AMD and others.

mod edits;
mod files;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

use super::error::RuntimeError;
use crate::api::types::null_default;
use files::Registry;

/// One of `DeviceRequests` (docs: Engine API `DeviceRequest`).
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Request {
    #[serde(deserialize_with = "null_default")]
    driver: String,
    /// -1 is all.
    #[serde(deserialize_with = "null_default")]
    count: i64,
    #[serde(rename = "DeviceIDs", deserialize_with = "null_default")]
    ids: Vec<String>,
    /// Any of these lists, each whole.
    #[serde(deserialize_with = "null_default")]
    capabilities: Vec<Vec<String>>,
    #[serde(deserialize_with = "null_default")]
    options: BTreeMap<String, String>,
}

/// Who makes GPUs, and the capabilities that its devices have (source: Moby's device drivers).
const VENDORS: [(&str, &str, &[&str]); 2] = [
    (
        "nvidia",
        "nvidia.com/gpu",
        &[
            "gpu", "nvidia", "compute", "compat32", "graphics", "utility", "video", "display",
        ],
    ),
    ("amd", "amd.com/gpu", &["gpu", "amd"]),
];

fn parse(request: &Value) -> Result<Request, RuntimeError> {
    let request: Request = serde_json::from_value(request.clone())
        .map_err(|_| RuntimeError::DeviceRequest("a device request has a field of a wrong type"))?;
    let wrong = if request.driver == "cdi" && request.count != 0 {
        "unexpected count in CDI device request"
    } else if request.count != 0 && !request.ids.is_empty() {
        "cannot set both Count and DeviceIDs on device request"
    } else if !request.options.is_empty() {
        "unexpected options in CDI device request"
    } else {
        return Ok(request);
    };
    Err(RuntimeError::DeviceRequest(wrong))
}

/// Checks a request by itself; which devices there are is known when the container starts.
///
/// # Errors
/// Docker's texts, of class `Invalid`.
pub(super) fn check(request: &Value) -> Result<(), RuntimeError> {
    parse(request).map(drop)
}

/// Puts the devices that are asked for into a specification. Blocking: reads the files in `dirs`.
///
/// # Errors
/// No device driver, or a device that no file describes.
pub(super) fn inject(
    requests: &[Value],
    dirs: &[PathBuf],
    spec: &mut Value,
) -> Result<(), RuntimeError> {
    if requests.is_empty() {
        return Ok(());
    }
    let registry = Registry::read(dirs);
    let mut wanted = Vec::new();
    for request in requests {
        wanted.extend(names(&parse(request)?, &registry)?);
    }
    let missing: Vec<&str> = wanted
        .iter()
        .filter(|name| registry.find(name).is_none())
        .map(String::as_str)
        .collect();
    if !missing.is_empty() {
        let mut text = format!("unresolvable CDI devices {}", missing.join(", "));
        if !registry.problems.is_empty() {
            text.push_str(&format!(" ({})", registry.problems.join("; ")));
        }
        return Err(RuntimeError::Cdi(text));
    }
    let mut done = Vec::new();
    for (file, device) in wanted.iter().filter_map(|name| registry.find(name)) {
        let file_edits = (!done.contains(&file)).then(|| &registry.files[file].container_edits);
        let own = &registry.files[file].devices[device].container_edits;
        done.push(file);
        for edits in file_edits.into_iter().chain([own]) {
            edits::apply(edits, spec).map_err(RuntimeError::Cdi)?;
        }
    }
    edits::sort_mounts(spec);
    Ok(())
}

/// The full names of the devices that a request is for.
fn names(request: &Request, registry: &Registry) -> Result<Vec<String>, RuntimeError> {
    if request.driver == "cdi" {
        return Ok(request.ids.clone());
    }
    let kinds = registry.kinds();
    let other = |kind: &&str| kind.ends_with("/gpu") && VENDORS.iter().all(|v| v.1 != *kind);
    let candidates = VENDORS
        .iter()
        .filter(|vendor| request.driver.is_empty() || request.driver == vendor.0)
        .map(|vendor| (vendor.1, vendor.2))
        .chain(
            kinds
                .iter()
                .copied()
                .filter(other)
                .filter(|_| request.driver.is_empty())
                .map(|kind| (kind, &["gpu"][..])),
        );
    let fits = |has: &[&str]| {
        // As in Docker, a driver that is named need not be asked for by capabilities.
        !request.driver.is_empty()
            || request
                .capabilities
                .iter()
                .any(|all| all.iter().all(|one| has.contains(&one.as_str())))
    };
    let chosen = candidates
        .into_iter()
        .find(|(kind, has)| kinds.contains(kind) && fits(has));
    let Some((kind, _)) = chosen else {
        let lists: Vec<String> = request
            .capabilities
            .iter()
            .map(|all| format!("[{}]", all.join(" ")))
            .collect();
        return Err(RuntimeError::NoDeviceDriver {
            driver: request.driver.clone(),
            capabilities: format!("[{}]", lists.join(" ")),
        });
    };
    if !request.ids.is_empty() {
        let full = |id: &String| match id.contains('=') {
            true => id.clone(),
            false => format!("{kind}={id}"),
        };
        return Ok(request.ids.iter().map(full).collect());
    }
    let mut there = registry.of_kind(kind);
    if request.count < 0 {
        if there.contains(&"all") {
            return Ok(vec![format!("{kind}=all")]);
        }
    } else {
        // Devices have several names; the numbers name each once.
        let number = |name: &&str| name.parse::<u32>();
        there.retain(|name| number(name).is_ok());
        there.sort_by_key(|name| number(name).unwrap_or(u32::MAX));
        let wanted = usize::try_from(request.count).unwrap_or(usize::MAX);
        if wanted > there.len() {
            return Err(RuntimeError::Cdi(format!(
                "{wanted} devices of {kind} are asked for, there are {}",
                there.len()
            )));
        }
        there.truncate(wanted);
    }
    Ok(there.iter().map(|name| format!("{kind}={name}")).collect())
}

#[cfg(test)]
mod tests;
