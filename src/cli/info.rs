//! `info`.

use clap::Args;
use serde_json::Value;

use crate::client::{Client, Host};

use super::error::CliError;
use super::format::Template;
use super::out::{self, To};
use super::units::binary_size;

#[derive(Args, Debug)]
pub(crate) struct InfoArgs {
    /// Format output: 'json' or 'TEMPLATE'
    #[arg(short, long)]
    format: Option<String>,
}

/// Shows what the daemon says of itself and its host.
///
/// # Errors
/// The daemon does not answer; the template.
pub(crate) async fn info(args: InfoArgs, host: Host) -> Result<u8, CliError> {
    let format = args.format.as_deref().filter(|f| !f.is_empty());
    let template = match format {
        Some(text) if text != "json" => Some(Template::parse(text)?),
        _ => None,
    };
    let result = match Client::connect(host).await {
        Ok(client) => client.get("/info").await,
        Err(e) => Err(e),
    };
    let (info, failure) = match result {
        Ok(info) => (info, None),
        Err(e) => (Value::Null, Some(e)),
    };
    match (&template, format) {
        (Some(template), _) if !info.is_null() => {
            out::line(To::Out, &template.render(&info)?);
        }
        (None, Some(_)) if !info.is_null() => out::line(To::Out, &info.to_string()),
        (None, None) => {
            let mut text = format!(
                "Client:\n Version:    {}\n Debug Mode: false\n\nServer:\n",
                env!("CARGO_PKG_VERSION")
            );
            if !info.is_null() {
                server(&mut text, &info);
            }
            out::write(To::Out, text.as_bytes());
            for warning in info["Warnings"].as_array().into_iter().flatten() {
                out::line(To::Err, warning.as_str().unwrap_or(""));
            }
        }
        _ => {}
    }
    match failure {
        Some(e) => Err(e.into()),
        None => Ok(0),
    }
}

fn server(out: &mut String, info: &Value) {
    let mut put = |depth: usize, key: &str, value: Option<String>| {
        let line = match value {
            Some(value) => format!("{}{key}: {value}", " ".repeat(depth)),
            None => format!("{}{key}", " ".repeat(depth)),
        };
        out.push_str(line.trim_end());
        out.push('\n');
    };
    let text = |key: &str| match &info[key] {
        Value::String(s) => Some(s.clone()),
        Value::Null => Some(String::new()),
        other => Some(other.to_string()),
    };
    let words = |v: &Value| {
        v.as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join(" ")
    };
    put(1, "Containers", text("Containers"));
    put(2, "Running", text("ContainersRunning"));
    put(2, "Paused", text("ContainersPaused"));
    put(2, "Stopped", text("ContainersStopped"));
    put(1, "Images", text("Images"));
    put(1, "Server Version", text("ServerVersion"));
    put(1, "Storage Driver", text("Driver"));
    for pair in info["DriverStatus"].as_array().into_iter().flatten() {
        if let (Some(key), Some(value)) = (pair[0].as_str(), pair[1].as_str()) {
            put(2, key, Some(value.to_owned()));
        }
    }
    put(1, "Logging Driver", text("LoggingDriver"));
    put(1, "Cgroup Driver", text("CgroupDriver"));
    put(1, "Cgroup Version", text("CgroupVersion"));
    put(1, "Plugins", Some(String::new()));
    for kind in ["Volume", "Network", "Log"] {
        put(2, kind, Some(words(&info["Plugins"][kind])));
    }
    put(
        1,
        "Swarm",
        Some(
            info["Swarm"]["LocalNodeState"]
                .as_str()
                .unwrap_or("inactive")
                .to_owned(),
        ),
    );
    let mut runtimes: Vec<&str> = info["Runtimes"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, _)| name.as_str())
        .collect();
    runtimes.sort_unstable();
    put(1, "Runtimes", Some(runtimes.join(" ")));
    put(1, "Default Runtime", text("DefaultRuntime"));
    put(1, "Init Binary", text("InitBinary"));
    put(1, "Security Options", Some(String::new()));
    for option in info["SecurityOptions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        // `name=seccomp,profile=default`
        let mut fields = option.split(',').filter_map(|f| f.split_once('='));
        if let Some((_, name)) = fields.next() {
            put(2, name, None);
        }
        for (key, value) in fields {
            let mut letters = key.chars();
            let key: String = letters
                .next()
                .map(|c| c.to_uppercase().chain(letters).collect())
                .unwrap_or_default();
            put(3, &key, Some(value.to_owned()));
        }
    }
    put(1, "Kernel Version", text("KernelVersion"));
    put(1, "Operating System", text("OperatingSystem"));
    put(1, "OSType", text("OSType"));
    put(1, "Architecture", text("Architecture"));
    put(1, "CPUs", text("NCPU"));
    put(
        1,
        "Total Memory",
        Some(binary_size(info["MemTotal"].as_i64().unwrap_or(0))),
    );
    put(1, "Name", text("Name"));
    put(1, "ID", text("ID"));
    put(1, "Docker Root Dir", text("DockerRootDir"));
    put(1, "Debug Mode", text("Debug"));
    let labels = words(&info["Labels"]);
    if !labels.is_empty() {
        put(1, "Labels", Some(labels));
    }
    put(1, "Experimental", text("ExperimentalBuild"));
    put(1, "Live Restore Enabled", text("LiveRestoreEnabled"));
}
