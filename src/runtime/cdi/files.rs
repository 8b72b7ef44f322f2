//! The files of the Container Device Interface: one kind of devices each, in JSON or YAML, in
//! folders of which a later one wins over an earlier.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Number, Value};
use yaml_rust2::{Yaml, YamlLoader};

/// Bound on one file: what a vendor's tool writes for a machine with many GPUs is a tenth of it.
const MAX_FILE: u64 = 4 << 20;

/// What one file says (docs: CDI specification 1.0). Fields of later versions are refused: a device
/// without a part of it is not the device.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SpecFile {
    pub(super) cdi_version: String,
    /// `vendor.com/class`.
    pub(super) kind: String,
    annotations: BTreeMap<String, String>,
    pub(super) devices: Vec<Device>,
    /// Made once, whichever of the devices is asked for.
    pub(super) container_edits: Edits,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Device {
    pub(super) name: String,
    annotations: BTreeMap<String, String>,
    pub(super) container_edits: Edits,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Edits {
    pub(super) env: Vec<String>,
    pub(super) device_nodes: Vec<DeviceNode>,
    pub(super) mounts: Vec<Mount>,
    pub(super) hooks: Vec<Hook>,
    #[serde(alias = "additionalGIDs")]
    pub(super) additional_gids: Vec<u32>,
    pub(super) intel_rdt: Option<Value>,
    pub(super) net_devices: Vec<Value>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DeviceNode {
    pub(super) path: String,
    pub(super) host_path: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) major: Option<i64>,
    pub(super) minor: Option<i64>,
    pub(super) file_mode: Option<u32>,
    pub(super) permissions: String,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Mount {
    pub(super) host_path: String,
    pub(super) container_path: String,
    pub(super) options: Vec<String>,
    #[serde(rename = "type")]
    pub(super) kind: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Hook {
    pub(super) hook_name: String,
    pub(super) path: String,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<String>,
    pub(super) timeout: Option<i64>,
}

/// All devices that the files describe.
#[derive(Debug, Default)]
pub(super) struct Registry {
    pub(super) files: Vec<SpecFile>,
    /// By full name: folder's number, and file and device, `None` if two files of that folder
    /// describe it.
    devices: BTreeMap<String, (usize, Option<(usize, usize)>)>,
    /// Files that could not be read, and why.
    pub(super) problems: Vec<String>,
}

impl Registry {
    /// Reads all files. A folder that is not there has none.
    pub(super) fn read(dirs: &[PathBuf]) -> Self {
        let mut out = Self::default();
        for (place, dir) in dirs.iter().enumerate() {
            let mut paths: Vec<PathBuf> = fs::read_dir(dir)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path())
                .filter(|path| is_spec(path))
                .collect();
            paths.sort();
            for path in paths {
                match read(&path) {
                    Ok(file) => out.add(place, file),
                    Err(why) => {
                        tracing::warn!(path = %path.display(), why, "CDI file is passed over");
                        out.problems.push(format!("{}: {why}", path.display()));
                    }
                }
            }
        }
        out
    }

    fn add(&mut self, place: usize, file: SpecFile) {
        let number = self.files.len();
        for (n, device) in file.devices.iter().enumerate() {
            let name = format!("{}={}", file.kind, device.name);
            let entry = (place, Some((number, n)));
            self.devices
                .entry(name)
                .and_modify(|old| {
                    *old = if old.0 == place { (place, None) } else { entry };
                })
                .or_insert(entry);
        }
        self.files.push(file);
    }

    /// File and device of a full name.
    pub(super) fn find(&self, name: &str) -> Option<(usize, usize)> {
        self.devices.get(name)?.1
    }

    /// Kinds that have a device, in alphabetical order.
    pub(super) fn kinds(&self) -> Vec<&str> {
        let mut kinds: Vec<&str> = self
            .devices
            .keys()
            .filter_map(|name| Some(name.split_once('=')?.0))
            .collect();
        kinds.dedup();
        kinds
    }

    /// Names of the devices of a kind, without the kind.
    pub(super) fn of_kind(&self, kind: &str) -> Vec<&str> {
        self.devices
            .keys()
            .filter_map(|name| name.strip_prefix(kind)?.strip_prefix('='))
            .collect()
    }
}

fn is_spec(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    matches!(ending, Some("json" | "yaml" | "yml"))
}

fn read(path: &Path) -> Result<SpecFile, String> {
    let meta = fs::metadata(path).map_err(|error| error.to_string())?;
    if !meta.is_file() || meta.len() > MAX_FILE {
        return Err(format!("not a regular file of at most {MAX_FILE} bytes"));
    }
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let value = if path.extension().is_some_and(|ending| ending == "json") {
        serde_json::from_str(&text).map_err(|error| error.to_string())?
    } else {
        let documents = YamlLoader::load_from_str(&text).map_err(|error| error.to_string())?;
        from_yaml(documents.first().ok_or("the file is empty")?)?
    };
    let file: SpecFile = serde_json::from_value(value).map_err(|error| error.to_string())?;
    check(&file)?;
    Ok(file)
}

fn check(file: &SpecFile) -> Result<(), String> {
    if !(file.cdi_version.starts_with("0.") || file.cdi_version.starts_with("1.")) {
        return Err(format!(
            "cdiVersion {:?}: 0.x and 1.x are known",
            file.cdi_version
        ));
    }
    let word = |text: &str| {
        !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_-.:".contains(c))
    };
    match file.kind.split_once('/') {
        Some((vendor, class)) if word(vendor) && word(class) => {}
        _ => {
            return Err(format!(
                "kind {:?}: vendor.com/class is expected",
                file.kind
            ));
        }
    }
    match file.devices.iter().find(|device| !word(&device.name)) {
        Some(device) => Err(format!("device {:?}: that is no name", device.name)),
        None => Ok(()),
    }
}

/// The JSON that a YAML document stands for.
fn from_yaml(yaml: &Yaml) -> Result<Value, String> {
    Ok(match yaml {
        Yaml::String(text) => Value::String(text.clone()),
        Yaml::Integer(number) => Value::Number((*number).into()),
        Yaml::Boolean(flag) => Value::Bool(*flag),
        Yaml::Null => Value::Null,
        Yaml::Real(text) => text
            .parse()
            .ok()
            .and_then(Number::from_f64)
            .map_or_else(|| Value::String(text.clone()), Value::Number),
        Yaml::Array(list) => list.iter().map(from_yaml).collect::<Result<_, _>>()?,
        Yaml::Hash(map) => {
            let mut out = Map::new();
            for (key, value) in map {
                let key = key.as_str().ok_or("a key is no text")?;
                out.insert(key.to_owned(), from_yaml(value)?);
            }
            Value::Object(out)
        }
        Yaml::Alias(_) | Yaml::BadValue => return Err("an alias cannot be resolved".to_owned()),
    })
}
