//! `port`: where a container's ports are published.

use clap::Args;
use serde_json::Value;

use crate::client::{Client, segment};

use super::error::CliError;
use super::out::{self, To};

#[derive(Args, Debug)]
pub(crate) struct PortArgs {
    #[arg(value_name = "CONTAINER")]
    container: String,
    #[arg(value_name = "PRIVATE_PORT[/PROTO]")]
    port: Option<String>,
}

/// Shows all of a container's ports, or where one of them is.
///
/// # Errors
/// The daemon's; a port that is none, or that is not published.
pub(crate) async fn port(client: &Client, args: PortArgs) -> Result<u8, CliError> {
    let path = format!("/containers/{}/json", segment(&args.container));
    let found = client.get(&path).await?;
    let lines = lines(&found["NetworkSettings"]["Ports"], &args)?;
    for line in lines {
        out::line(To::Out, &line);
    }
    Ok(0)
}

fn lines(ports: &Value, args: &PortArgs) -> Result<Vec<String>, CliError> {
    let places = |bindings: &Value| -> Vec<String> {
        let bindings = bindings.as_array().into_iter().flatten();
        bindings
            .map(|binding| {
                let (ip, port) = (&binding["HostIp"], &binding["HostPort"]);
                match (ip.as_str().unwrap_or(""), port.as_str().unwrap_or("")) {
                    (ip, port) if ip.contains(':') => format!("[{ip}]:{port}"),
                    (ip, port) => format!("{ip}:{port}"),
                }
            })
            .collect()
    };
    let mut lines = Vec::new();
    if let Some(wanted) = &args.port {
        let (number, kind) = wanted.split_once('/').unwrap_or((wanted, "tcp"));
        let kind = if kind.is_empty() { "tcp" } else { kind };
        if number.parse::<u16>().is_err() {
            return Err(CliError::Copy(format!(
                "Error: invalid port ({number}): strconv.ParseUint: parsing {number:?}: invalid syntax"
            )));
        }
        lines = places(&ports[format!("{number}/{kind}")]);
        if lines.is_empty() {
            return Err(CliError::Copy(format!(
                "Error: No public port '{wanted}' published for {}",
                args.container
            )));
        }
    } else {
        for (port, bindings) in ports.as_object().into_iter().flatten() {
            let of_port = places(bindings);
            lines.extend(
                of_port
                    .into_iter()
                    .map(|place| format!("{port} -> {place}")),
            );
        }
    }
    lines.sort_by_key(|line| natural(line));
    Ok(lines)
}

/// A key that puts `9/tcp` before `80/tcp`.
fn natural(text: &str) -> Vec<(u64, String)> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let end = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (words, after) = after.split_at(end);
        parts.push((number.parse().unwrap_or(0), words.to_owned()));
        rest = after;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ports_as_docker_shows_them() {
        let ports = json!({
            "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}, {"HostIp": "::", "HostPort": "8080"}],
            "9/udp": [{"HostIp": "127.0.0.1", "HostPort": "9"}],
            "443/tcp": null,
        });
        let ask = |port: Option<&str>| {
            let args = PortArgs {
                container: "c".to_owned(),
                port: port.map(str::to_owned),
            };
            lines(&ports, &args).map_err(|error| error.to_string())
        };
        assert_eq!(
            ask(None).unwrap(),
            [
                "9/udp -> 127.0.0.1:9",
                "80/tcp -> 0.0.0.0:8080",
                "80/tcp -> [::]:8080"
            ]
        );
        assert_eq!(ask(Some("80")).unwrap(), ["0.0.0.0:8080", "[::]:8080"]);
        assert_eq!(
            ask(Some("443")).unwrap_err(),
            "Error: No public port '443' published for c"
        );
        assert!(
            ask(Some("x"))
                .unwrap_err()
                .starts_with("Error: invalid port (x)")
        );
    }
}
