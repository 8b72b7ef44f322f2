//! `save`.

use std::io::Write;
use std::path::Path;

use clap::Args;
use http_body_util::BodyExt;
use hyper::Method;

use crate::client::{Body, Client, ClientError, Query};

use super::error::CliError;
use super::out::{self, To};
use super::terminal;

#[derive(Args, Debug)]
pub(crate) struct SaveArgs {
    /// Write to a file, instead of STDOUT
    #[arg(short, long)]
    output: Option<String>,
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

/// Writes images as one archive. A file appears under its name once it is complete.
///
/// # Errors
/// The file, the daemon, an archive that ends before its end.
pub(crate) async fn save(client: &Client, args: SaveArgs) -> Result<u8, CliError> {
    let mut target = match args.output.as_deref() {
        Some(path) => Target::file("save image", path)?,
        None if terminal::stdout_is_terminal() => return Err(CliError::SaveToTerminal),
        None => Target::Stdout,
    };
    let mut query = Query::new();
    for image in &args.images {
        query.push("names", image);
    }
    let path = format!("/images/get{}", query.as_str());
    let answer = client.send(Method::GET, &path, Body::Empty).await?;
    let mut body = answer.into_body();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|source| ClientError::Http {
            request: "GET /images/get".to_owned(),
            source,
        })?;
        if let Ok(data) = frame.into_data() {
            target.write(&data)?;
        }
    }
    target.finish()
}

/// Where an archive goes.
pub(super) enum Target {
    Stdout,
    /// A device or a pipe, which is written to and not replaced.
    Special(std::fs::File, String),
    File(tempfile::NamedTempFile, String),
}

impl Target {
    /// `what` is what messages say that fails.
    pub(super) fn file(what: &str, path: &str) -> Result<Self, CliError> {
        let failed = |source| CliError::io(format!("failed to {what}: {path}"))(source);
        match std::fs::metadata(path) {
            Ok(found) if found.is_dir() => {
                return Err(failed(std::io::ErrorKind::IsADirectory.into()));
            }
            Ok(found) if !found.is_file() => {
                let file = std::fs::OpenOptions::new().write(true).open(path);
                return Ok(Self::Special(file.map_err(failed)?, path.to_owned()));
            }
            _ => {}
        }
        let folder = match Path::new(path).parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        // Beside it, with mode 0600, as in Docker.
        let file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
        Ok(Self::File(file, path.to_owned()))
    }

    pub(super) fn write(&mut self, data: &[u8]) -> Result<(), CliError> {
        let (result, path) = match self {
            Self::Stdout => {
                out::write(To::Out, data);
                return Ok(());
            }
            Self::Special(file, path) => (file.write_all(data), path),
            Self::File(file, path) => (file.write_all(data), path),
        };
        result.map_err(CliError::io(format!("write {path}")))
    }

    pub(super) fn finish(self) -> Result<u8, CliError> {
        if let Self::File(file, path) = self {
            file.persist(&path)
                .map_err(|error| CliError::io(format!("write {path}"))(error.error))?;
        }
        Ok(0)
    }
}
