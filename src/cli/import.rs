//! `import` and `load`: an archive goes up, messages come back.

use std::fs::File;
use std::io::Read;

use clap::Args;
use http_body_util::BodyExt;
use hyper::Method;
use serde_json::Value;

use crate::client::{Body, Client, ClientError, Query};

use super::error::CliError;
use super::out::{self, To};
use super::terminal;

#[derive(Args, Debug)]
pub(crate) struct ImportArgs {
    /// Apply Dockerfile instruction to the created image
    #[arg(short, long)]
    change: Vec<String>,
    /// Set commit message for imported image
    #[arg(short, long)]
    message: Option<String>,
    /// Set platform; the daemon's own is used
    #[arg(long)]
    platform: Option<String>,
    #[arg(value_name = "FILE|-")]
    source: String,
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct LoadArgs {
    /// Read from tar archive file, instead of STDIN
    #[arg(short, long)]
    input: Option<String>,
    /// Suppress the load output
    #[arg(short, long)]
    quiet: bool,
}

fn open(path: Option<&str>) -> Result<Box<dyn Read + Send>, CliError> {
    match path {
        None | Some("-") => Ok(Box::new(std::io::stdin())),
        Some(path) => {
            let file = File::open(path).map_err(CliError::io(format!("open {path}")))?;
            Ok(Box::new(file))
        }
    }
}

/// Makes an image of a root file system.
///
/// # Errors
/// The file, the daemon, a message of failure.
pub(crate) async fn import(client: &Client, args: ImportArgs) -> Result<u8, CliError> {
    let source = open(Some(&args.source))?;
    let mut query = Query::new();
    query
        .push("fromSrc", "-")
        .option("message", args.message.as_deref())
        .option("platform", args.platform.as_deref())
        .option("repo", args.name.as_deref());
    for change in &args.change {
        query.push("changes", change);
    }
    let path = format!("/images/create{}", query.as_str());
    messages(client, &path, source).await
}

/// Takes in images of `docker save`, or in OCI layout.
///
/// # Errors
/// The file, the daemon, a message of failure.
pub(crate) async fn load(client: &Client, args: LoadArgs) -> Result<u8, CliError> {
    if args.input.is_none() && terminal::stdin_is_terminal() {
        return Err(CliError::LoadFromTerminal);
    }
    let source = open(args.input.as_deref())?;
    // Without progress: this client draws no bars.
    messages(client, "/images/load?quiet=1", source).await
}

/// Sends `source` and shows what comes back, object by object.
async fn messages(
    client: &Client,
    path: &str,
    source: Box<dyn Read + Send>,
) -> Result<u8, CliError> {
    let body = Body::read_from(source, "application/x-tar");
    let mut body = client.send(Method::POST, path, body).await?.into_body();
    let mut objects = Objects::default();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|source| ClientError::Http {
            request: format!("POST {path}"),
            source,
        })?;
        if let Ok(data) = frame.into_data() {
            for object in objects.feed(&data).map_err(|source| ClientError::Json {
                request: format!("POST {path}"),
                source,
            })? {
                show(&object)?;
            }
        }
    }
    Ok(0)
}

fn show(object: &Value) -> Result<(), CliError> {
    let failure = object["errorDetail"]["message"]
        .as_str()
        .or_else(|| object["error"].as_str());
    if let Some(text) = failure {
        return Err(CliError::Image(text.to_owned()));
    }
    if let Some(text) = object["stream"].as_str() {
        out::write(To::Out, text.as_bytes());
    } else if let Some(text) = object["status"].as_str() {
        // Progress belongs to bars, which are not drawn.
        if object["progressDetail"].is_null() {
            out::line(To::Out, text);
        }
    }
    Ok(())
}

/// JSON objects one after another, in whatever pieces they come.
#[derive(Debug, Default)]
pub(crate) struct Objects(Vec<u8>);

impl Objects {
    /// The objects that `bytes` completes.
    ///
    /// # Errors
    /// What was sent is no JSON.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Value>, serde_json::Error> {
        self.0.extend_from_slice(bytes);
        let mut found = Vec::new();
        let mut stream = serde_json::Deserializer::from_slice(&self.0).into_iter::<Value>();
        loop {
            match stream.next() {
                Some(Ok(value)) => found.push(value),
                Some(Err(e)) if !e.is_eof() => return Err(e),
                _ => break,
            }
        }
        let used = stream.byte_offset();
        self.0.drain(..used);
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_in_any_pieces() {
        let text = b"{\"a\":1}\n{\"b\":{\"c\":2}}{\"d\":3}\n";
        for size in 1..text.len() {
            let mut objects = Objects::default();
            let mut n = 0;
            for piece in text.chunks(size) {
                n += objects.feed(piece).unwrap().len();
            }
            assert_eq!(n, 3, "{size}");
        }
        assert!(Objects::default().feed(b"nope").is_err());
    }
}
