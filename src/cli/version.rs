//! `version`.

use clap::Args;
use serde_json::{Value, json};

use crate::client::{Client, Host, MAX_API};

use super::error::CliError;
use super::format::Template;
use super::out::{self, To};
use super::times;

#[derive(Args, Debug)]
pub(crate) struct VersionArgs {
    /// Format output: 'json' or 'TEMPLATE'
    #[arg(short, long)]
    format: Option<String>,
}

/// Shows both versions; ours also when the daemon does not answer.
///
/// # Errors
/// The daemon does not answer; the template.
pub(crate) async fn version(args: VersionArgs, host: Host) -> Result<u8, CliError> {
    let format = args.format.as_deref().filter(|f| !f.is_empty());
    let template = match format {
        Some(text) if text != "json" => Some(Template::parse(text)?),
        _ => None,
    };
    let (client, server) = match Client::connect(host).await {
        Ok(client) => {
            let server = client.get("/version").await;
            (Some(client), server)
        }
        Err(e) => (None, Err(e)),
    };
    let api = client.as_ref().map_or_else(
        || format!("{}.{}", MAX_API.0, MAX_API.1),
        Client::api_version,
    );
    let (server, failure) = match server {
        Ok(server) => (server, None),
        Err(e) => (Value::Null, Some(e)),
    };
    let all = json!({
        "Client": {
            "Version": env!("CARGO_PKG_VERSION"),
            "ApiVersion": api,
            "DefaultAPIVersion": format!("{}.{}", MAX_API.0, MAX_API.1),
            "Os": std::env::consts::OS,
            "Arch": go_arch(),
        },
        "Server": server,
    });
    let text = match (&template, format) {
        (Some(template), _) => template.render(&all)? + "\n",
        (None, Some(_)) => format!("{all}\n"),
        (None, None) => page(&all),
    };
    out::write(To::Out, text.as_bytes());
    match failure {
        Some(e) => Err(e.into()),
        None => Ok(0),
    }
}

/// The architecture by its name in images.
fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn page(all: &Value) -> String {
    let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
    let mut out = String::new();
    let mut put = |indent: &str, key: &str, value: String| {
        let key = format!("{key}:");
        out.push_str(format!("{indent}{key:<18}{value}").trim_end());
        out.push('\n');
    };
    let client = &all["Client"];
    let api = text(&client["ApiVersion"]);
    let best = text(&client["DefaultAPIVersion"]);
    put("", "Client", String::new());
    put(" ", "Version", " ".to_owned() + &text(&client["Version"]));
    put(
        " ",
        "API version",
        if api == best {
            format!(" {api}")
        } else {
            format!(" {api} (downgraded from {best})")
        },
    );
    put(
        " ",
        "OS/Arch",
        format!(" {}/{}", text(&client["Os"]), text(&client["Arch"])),
    );
    let server = &all["Server"];
    if server.is_null() {
        return out;
    }
    out.push('\n');
    let platform = text(&server["Platform"]["Name"]);
    out.push_str(format!("Server: {platform}").trim_end());
    out.push('\n');
    for component in server["Components"].as_array().into_iter().flatten() {
        let details = &component["Details"];
        let name = text(&component["Name"]);
        out.push_str(&format!(" {name}:\n"));
        let mut put = |key: &str, value: String| {
            let key = format!("{key}:");
            out.push_str(format!("  {key:<17} {value}").trim_end());
            out.push('\n');
        };
        put("Version", text(&component["Version"]));
        // The engine's details are shown in Docker's order, the others' as they come.
        if name == "Engine" {
            put(
                "API version",
                format!(
                    "{} (minimum version {})",
                    text(&details["ApiVersion"]),
                    text(&details["MinAPIVersion"])
                ),
            );
            put("Git commit", text(&details["GitCommit"]));
            put("Built", times::ansi_c(&text(&details["BuildTime"])));
            put(
                "OS/Arch",
                format!("{}/{}", text(&details["Os"]), text(&details["Arch"])),
            );
            put("Experimental", text(&details["Experimental"]));
        } else {
            for (key, value) in details.as_object().into_iter().flatten() {
                put(key, text(value));
            }
        }
    }
    out
}
