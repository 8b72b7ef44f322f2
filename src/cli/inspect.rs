//! `inspect`.

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use crate::client::{Client, ClientError, segment};

use super::error::CliError;
use super::format::Template;
use super::out::{self, To};

#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    /// Format output: 'json' or 'TEMPLATE'
    #[arg(short, long)]
    format: Option<String>,
    /// Display total file sizes if the type is container
    #[arg(short, long)]
    size: bool,
    /// Only inspect objects of the given type: container, image, network, volume
    #[arg(long = "type")]
    kind: Option<String>,
    /// `network inspect -v`.
    #[arg(skip)]
    verbose: bool,
    #[arg(required = true, value_name = "NAME|ID")]
    names: Vec<String>,
}

/// What has an inspect of its own, in the order in which a name without a type is looked for.
const KINDS: [&str; 4] = ["container", "image", "network", "volume"];

impl InspectArgs {
    /// For one type of things.
    pub(super) fn of(kind: &str, format: Option<String>, names: Vec<String>) -> Self {
        Self {
            format,
            size: false,
            kind: Some(kind.to_owned()),
            verbose: false,
            names,
        }
    }

    /// More of a network.
    pub(super) fn verbose(mut self, on: bool) -> Self {
        self.verbose = on;
        self
    }

    /// The same for containers alone.
    pub(super) fn of_containers(mut self) -> Self {
        self.kind = Some("container".to_owned());
        self
    }
}

/// Flags of `image inspect`.
#[derive(Args, Debug)]
pub(crate) struct ImageInspectArgs {
    /// Format output: 'json' or 'TEMPLATE'
    #[arg(short, long)]
    format: Option<String>,
    #[arg(required = true, value_name = "IMAGE")]
    names: Vec<String>,
}

impl From<ImageInspectArgs> for InspectArgs {
    fn from(args: ImageInspectArgs) -> Self {
        Self::of("image", args.format, args.names)
    }
}

/// Shows objects as the daemon describes them: a list, or one text of a template each.
///
/// # Errors
/// The template; a daemon that fails. What does not exist is shown and gives status 1.
pub(crate) async fn inspect(client: &Client, args: InspectArgs) -> Result<u8, CliError> {
    let format = args.format.as_deref().filter(|f| !f.is_empty());
    let compact = format == Some("json");
    let template = match format {
        Some(text) if !compact => Some(Template::parse(text)?),
        _ => None,
    };
    if let Some(kind) = args.kind.as_deref()
        && !KINDS.contains(&kind)
    {
        return Err(CliError::Kind(kind.to_owned()));
    }
    let mut found = Vec::new();
    let mut failures: Vec<String> = Vec::new();
    for name in &args.names {
        match find(client, name, &args).await {
            Ok(Some(value)) => found.push(value),
            Ok(None) => failures.push(format!("Error: No such object: {name}")),
            // Docker goes on with the other names after a refusal, and so do we.
            Err(e @ ClientError::Daemon { .. }) => failures.push(e.to_string()),
            Err(e) => return Err(e.into()),
        }
    }
    if let Some(template) = &template {
        let mut shown = 0;
        for value in &found {
            match template.render(value) {
                Ok(text) => {
                    out::line(To::Out, &text);
                    shown += 1;
                }
                Err(e) => failures.push(e.to_string()),
            }
        }
        // As in Docker, there is always a line.
        if shown == 0 {
            out::line(To::Out, "");
        }
    } else if compact {
        out::line(To::Out, &Value::Array(found).to_string());
    } else {
        out::write(To::Out, &indented(&Value::Array(found)));
    }
    for failure in &failures {
        out::line(To::Err, failure);
    }
    Ok(u8::from(!failures.is_empty()))
}

/// The object, or `None` when no kind knows the name. With a kind named, its error is kept.
async fn find(
    client: &Client,
    name: &str,
    args: &InspectArgs,
) -> Result<Option<Value>, ClientError> {
    let escaped = segment(name);
    let kinds = KINDS
        .iter()
        .filter(|kind| args.kind.as_deref().is_none_or(|asked| asked == **kind));
    for kind in kinds {
        let path = match *kind {
            "container" if args.size => format!("/containers/{escaped}/json?size=1"),
            "container" => format!("/containers/{escaped}/json"),
            "image" => format!("/images/{escaped}/json"),
            "network" if args.verbose => format!("/networks/{escaped}?verbose=true"),
            "network" => format!("/networks/{escaped}"),
            _ => format!("/volumes/{escaped}"),
        };
        match client.get(&path).await {
            Err(e) if e.is_not_found() && args.kind.is_none() => {}
            other => return other.map(Some),
        }
    }
    Ok(None)
}

/// JSON as Go's `json.Indent` with four blanks, and a newline.
pub(crate) fn indented(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    // Writing a Value to memory cannot fail.
    let _ = value.serialize(&mut serializer);
    out.push(b'\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indented_like_docker() {
        let v: Value = serde_json::from_str(r#"[{"b":[],"a":{},"c":[1]}]"#).unwrap();
        let text = String::from_utf8(indented(&v)).unwrap();
        assert_eq!(
            text,
            "[\n    {\n        \"b\": [],\n        \"a\": {},\n        \"c\": [\n            1\n        ]\n    }\n]\n"
        );
        assert_eq!(indented(&Value::Array(vec![])), b"[]\n");
    }
}
