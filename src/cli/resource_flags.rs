//! Flags of `run` and `create` for devices and rarer limits: block devices, GPUs and other CDI
//! devices, real-time CPU; and those that Docker has for Windows or for what is not built here.

use clap::Args;
use serde_json::{Map, Value, json};

use super::flags::{self, FlagError};
use super::mounts::csv;
use super::units::ram_in_bytes;

/// What was written; part of [`super::container_flags::ContainerFlags`].
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ResourceFlags {
    /// Block IO weight (relative device weight)
    #[arg(long)]
    blkio_weight_device: Vec<String>,
    /// CPU count (Windows only)
    #[arg(long)]
    cpu_count: Option<String>,
    /// CPU percent (Windows only)
    #[arg(long)]
    cpu_percent: Option<String>,
    /// Limit CPU real-time period in microseconds
    #[arg(long)]
    cpu_rt_period: Option<String>,
    /// Limit CPU real-time runtime in microseconds
    #[arg(long)]
    cpu_rt_runtime: Option<String>,
    /// Limit read rate (bytes per second) from a device
    #[arg(long)]
    device_read_bps: Vec<String>,
    /// Limit read rate (IO per second) from a device
    #[arg(long)]
    device_read_iops: Vec<String>,
    /// Limit write rate (bytes per second) to a device
    #[arg(long)]
    device_write_bps: Vec<String>,
    /// Limit write rate (IO per second) to a device
    #[arg(long)]
    device_write_iops: Vec<String>,
    /// Skip image verification; there is none to ask for
    #[arg(long, default_missing_value = "true", num_args = 0..=1, require_equals = true)]
    disable_content_trust: Option<bool>,
    /// GPU devices to add to the container ('all' to pass all GPUs)
    #[arg(long)]
    gpus: Vec<String>,
    /// Maximum IO bandwidth limit for the system drive (Windows only)
    #[arg(long)]
    io_maxbandwidth: Option<String>,
    /// Maximum IOps limit for the system drive (Windows only)
    #[arg(long)]
    io_maxiops: Option<String>,
    /// Container isolation technology
    #[arg(long)]
    isolation: Option<String>,
    /// Kernel memory limit
    #[arg(long)]
    kernel_memory: Option<String>,
}

impl ResourceFlags {
    /// Adds what was given to a `HostConfig`. `devices` are those of `--device`.
    ///
    /// # Errors
    /// A value that Docker's CLI refuses, or a flag for what is not built.
    pub(super) fn add_to(
        &self,
        host: &mut Map<String, Value>,
        devices: &[String],
    ) -> Result<(), FlagError> {
        if self.disable_content_trust == Some(false) {
            return Err(FlagError::NotBuilt {
                flag: "--disable-content-trust=false",
                hint: "content trust is not built; name the image by its digest",
            });
        }
        let mut set = |key: &str, value: Value| {
            host.insert(key.to_owned(), value);
        };
        let numbers = [
            ("CpuCount", "--cpu-count", &self.cpu_count),
            ("CpuPercent", "--cpu-percent", &self.cpu_percent),
            ("CpuRealtimePeriod", "--cpu-rt-period", &self.cpu_rt_period),
            (
                "CpuRealtimeRuntime",
                "--cpu-rt-runtime",
                &self.cpu_rt_runtime,
            ),
            ("IOMaximumIOps", "--io-maxiops", &self.io_maxiops),
        ];
        for (key, flag, text) in numbers {
            if let Some(text) = text {
                set(key, flags::integer(flag, text)?.into());
            }
        }
        let sizes = [
            (
                "IOMaximumBandwidth",
                "--io-maxbandwidth",
                &self.io_maxbandwidth,
            ),
            ("KernelMemory", "--kernel-memory", &self.kernel_memory),
        ];
        for (key, flag, text) in sizes {
            if text.is_some() {
                set(key, flags::bytes(flag, text.as_deref(), false)?.into());
            }
        }
        let lists: [(&str, &'static str, &[String], Parser); 5] = [
            (
                "BlkioWeightDevice",
                "--blkio-weight-device",
                &self.blkio_weight_device,
                weight,
            ),
            (
                "BlkioDeviceReadBps",
                "--device-read-bps",
                &self.device_read_bps,
                bytes_rate,
            ),
            (
                "BlkioDeviceWriteBps",
                "--device-write-bps",
                &self.device_write_bps,
                bytes_rate,
            ),
            (
                "BlkioDeviceReadIOps",
                "--device-read-iops",
                &self.device_read_iops,
                count_rate,
            ),
            (
                "BlkioDeviceWriteIOps",
                "--device-write-iops",
                &self.device_write_iops,
                count_rate,
            ),
        ];
        for (key, flag, items, parse) in lists {
            let parsed: Result<Vec<Value>, FlagError> = items
                .iter()
                .map(|item| parse(item).map_err(|why| FlagError::argument(flag, item)(why.into())))
                .collect();
            set(key, parsed?.into());
        }
        if let Some(isolation) = &self.isolation {
            set("Isolation", isolation.as_str().into());
        }
        let mut requests = Vec::new();
        for item in &self.gpus {
            let request =
                gpus(item).map_err(|why| FlagError::argument("--gpus", item)(why.into()))?;
            requests.push(request);
        }
        let named: Vec<&String> = devices.iter().filter(|item| is_cdi(item)).collect();
        if !named.is_empty() {
            requests.push(json!({
                "Driver": "cdi", "Count": 0, "DeviceIDs": named, "Capabilities": null,
                "Options": null,
            }));
        }
        if !requests.is_empty() {
            set("DeviceRequests", requests.into());
        }
        Ok(())
    }
}

type Parser = fn(&str) -> Result<Value, String>;

/// `/dev/x:value`.
fn split(item: &str) -> Result<(&str, &str), String> {
    match item.split_once(':') {
        Some((path, _)) if !path.is_empty() && !path.starts_with("/dev/") => {
            Err(format!("bad format for device path: {item}"))
        }
        Some((path, value)) if !path.is_empty() => Ok((path, value)),
        _ => Err(format!("bad format: {item}")),
    }
}

fn weight(item: &str) -> Result<Value, String> {
    let (path, value) = split(item)?;
    match value.parse::<u16>() {
        Ok(weight @ (0 | 10..=1000)) => Ok(json!({"Path": path, "Weight": weight})),
        _ => Err(format!("invalid weight for device: {item}")),
    }
}

fn bytes_rate(item: &str) -> Result<Value, String> {
    let (path, value) = split(item)?;
    match ram_in_bytes(value) {
        Ok(rate) if rate >= 0 => Ok(json!({"Path": path, "Rate": rate})),
        _ => Err(format!(
            "invalid rate for device: {item}. The correct format is <device-path>:<number>[<unit>]. \
             Number must be a positive integer. Unit is optional and can be kb, mb, or gb"
        )),
    }
}

fn count_rate(item: &str) -> Result<Value, String> {
    let (path, value) = split(item)?;
    match value.parse::<u64>() {
        Ok(rate) => Ok(json!({"Path": path, "Rate": rate})),
        Err(_) => Err(format!(
            "invalid rate for device: {item}. The correct format is <device-path>:<number>. \
             Number must be a positive integer"
        )),
    }
}

/// `all`, `2`, `device=0,driver=nvidia`, `"capabilities=compute,utility"` (docs: `docker run --gpus`).
fn gpus(item: &str) -> Result<Value, String> {
    let count = |text: &str| match text {
        "all" => Ok(-1),
        number => number.parse::<i64>().map_err(|_| {
            format!("invalid count ({number}): value must be either \"all\" or an integer")
        }),
    };
    let words = |text: &str| -> Vec<String> { text.split(',').map(str::to_owned).collect() };
    let (mut number, mut driver, mut ids) = (None, String::new(), None);
    let mut capabilities = vec!["gpu".to_owned()];
    let mut options = Map::new();
    let mut seen = Vec::new();
    for field in csv(item).map_err(|error| error.to_string())? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key, value),
            None => ("count", field.as_str()),
        };
        if seen.contains(&key.to_owned()) {
            return Err(format!(
                "gpu request key '{key}' can be specified only once"
            ));
        }
        seen.push(key.to_owned());
        match key {
            "count" => number = Some(count(value)?),
            "driver" => value.clone_into(&mut driver),
            "device" => ids = Some(words(value)),
            "capabilities" => {
                capabilities = words(value);
                capabilities.push("gpu".to_owned());
            }
            "options" => {
                for option in words(value) {
                    let (key, value) = option.split_once('=').unwrap_or((&option, ""));
                    options.insert(key.to_owned(), value.into());
                }
            }
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    let number = number.unwrap_or(i64::from(ids.is_none()));
    Ok(json!({
        "Driver": driver, "Count": number, "DeviceIDs": ids, "Capabilities": [capabilities],
        "Options": options,
    }))
}

/// `vendor.com/class=name`: a device of the Container Device Interface, not a path.
pub(super) fn is_cdi(item: &str) -> bool {
    let word = |text: &str, more: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    let Some((kind, name)) = item.split_once('=') else {
        return false;
    };
    let Some((vendor, class)) = kind.split_once('/') else {
        return false;
    };
    word(vendor, "_-.") && word(class, "_-.") && word(name, "_-.:")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(flags: &ResourceFlags, devices: &[&str]) -> Result<Value, String> {
        let devices: Vec<String> = devices.iter().map(|d| (*d).to_owned()).collect();
        let mut out = Map::new();
        flags
            .add_to(&mut out, &devices)
            .map_err(|error| error.to_string())?;
        Ok(Value::Object(out))
    }

    fn list(item: &str) -> Vec<String> {
        vec![item.to_owned()]
    }

    #[test]
    fn block_devices() {
        let flags = ResourceFlags {
            blkio_weight_device: list("/dev/sda:200"),
            device_read_bps: list("/dev/sda:1mb"),
            device_write_iops: list("/dev/sda:7"),
            cpu_rt_runtime: Some("5000".into()),
            ..ResourceFlags::default()
        };
        let host = host(&flags, &[]).unwrap();
        assert_eq!(
            host["BlkioWeightDevice"],
            json!([{"Path": "/dev/sda", "Weight": 200}])
        );
        assert_eq!(
            host["BlkioDeviceReadBps"],
            json!([{"Path": "/dev/sda", "Rate": 1 << 20}])
        );
        assert_eq!(
            host["BlkioDeviceWriteIOps"],
            json!([{"Path": "/dev/sda", "Rate": 7}])
        );
        assert_eq!(host["CpuRealtimeRuntime"], 5000);
        assert_eq!(host.get("DeviceRequests"), None);
    }

    #[test]
    fn wrong_values_are_named() {
        for (item, why) in [
            ("/dev/sda", "bad format: /dev/sda"),
            ("sda:5", "bad format for device path: sda:5"),
            ("/dev/sda:5", "invalid weight for device: /dev/sda:5"),
        ] {
            let flags = ResourceFlags {
                blkio_weight_device: list(item),
                ..ResourceFlags::default()
            };
            let error = host(&flags, &[]).unwrap_err();
            assert!(error.ends_with(why), "{error}");
        }
        let flags = ResourceFlags {
            disable_content_trust: Some(false),
            ..ResourceFlags::default()
        };
        assert!(host(&flags, &[]).unwrap_err().contains("content trust"));
    }

    #[test]
    fn gpus_as_dockers_cli_reads_them() {
        let of = |item: &str| gpus(item).unwrap();
        let all = json!({
            "Driver": "", "Count": -1, "DeviceIDs": null, "Capabilities": [["gpu"]], "Options": {}
        });
        assert_eq!(of("all"), all);
        assert_eq!(of("2")["Count"], 2);
        assert_eq!(of("driver=nvidia")["Count"], 1);
        let some = of("\"device=0,1\",driver=nvidia,\"capabilities=compute,utility\"");
        assert_eq!(
            (&some["Count"], &some["DeviceIDs"]),
            (&json!(0), &json!(["0", "1"]))
        );
        assert_eq!(some["Capabilities"], json!([["compute", "utility", "gpu"]]));
        for (item, why) in [
            ("many", "invalid count (many)"),
            ("all,count=1", "only once"),
            ("speed=1", "unexpected key 'speed' in 'speed=1'"),
        ] {
            assert!(gpus(item).unwrap_err().contains(why), "{item}");
        }
    }

    #[test]
    fn devices_by_name_and_by_path() {
        for name in ["vendor.com/class=name", "a/b=c:0"] {
            assert!(is_cdi(name), "{name}");
        }
        for path in ["/dev/null", "/dev/a=b:/dev/c", "x=y", "a/b", "./a/b=c"] {
            assert!(!is_cdi(path), "{path}");
        }
        let host = host(&ResourceFlags::default(), &["/dev/null", "a.b/c=d"]).unwrap();
        assert_eq!(host["DeviceRequests"][0]["DeviceIDs"], json!(["a.b/c=d"]));
    }
}
