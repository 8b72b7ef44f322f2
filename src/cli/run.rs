//! `run` and `create`.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use clap::Args;
use hyper::Method;
use serde_json::{Value, json};

use crate::client::{Body, Client, ClientError, Host, Query, segment};

use super::container_flags::ContainerFlags;
use super::create_body::{CreateRequest, Streams, Surroundings, build};
use super::error::CliError;
use super::out::{self, To};
use super::pull::pull_for;
use super::session::{self, Ended, Options, Session};
use super::signals::Proxy;
use super::terminal;

#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// Run container in background and print container ID
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long)]
    detach_keys: Option<String>,
    /// Proxy received signals to the process (on unless =false)
    #[arg(long)]
    sig_proxy: Option<bool>,
    #[command(flatten)]
    pub(crate) container: ContainerFlags,
}

#[derive(Args, Debug)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    pub(crate) container: ContainerFlags,
}

/// Docker's status for what failed before there was a process.
const NOT_RUN: u8 = 125;

/// `create`: prints the id.
///
/// # Errors
/// Flags, the connection, the daemon.
pub(crate) async fn create(args: CreateArgs, host: Host) -> Result<u8, CliError> {
    let failed = |e: CliError| e.of("create", NOT_RUN);
    let request = request(&args.container).map_err(failed)?;
    let client = Client::connect(host).await?;
    let id = post_create(&client, &request, &args.container)
        .await
        .map_err(|e| match e {
            // Docker: a refusal by the daemon is no misuse of the command.
            e @ (CliError::Client(_) | CliError::Image(_)) => e,
            e => e.of("create", NOT_RUN),
        })?;
    out::line(To::Out, &id);
    Ok(0)
}

/// `run`: the container's exit code.
///
/// # Errors
/// Flags, the connection, the daemon; a failed start with Docker's 125, 126 or 127.
pub(crate) async fn run(args: RunArgs, host: Host) -> Result<u8, CliError> {
    let failed = |e: CliError| e.of("run", NOT_RUN);
    let flags = &args.container;
    let mut request = request(flags).map_err(failed)?;
    if args.detach {
        if !flags.attach.is_empty() {
            return Err(CliError::Conflict(
                "cannot specify both --attach and --detach",
            ));
        }
        detach(&mut request);
    } else if request.attach.stdin && request.tty && !terminal::stdin_is_terminal() {
        return Err(CliError::NotATty);
    }
    let client = Arc::new(Client::connect(host).await.map_err(|e| failed(e.into()))?);
    if client.speaks(42)
        && let Some((rows, columns)) = terminal::size()
    {
        request.body["HostConfig"]["ConsoleSize"] = json!([rows, columns]);
    }
    let id = post_create(&client, &request, flags)
        .await
        .map_err(failed)?;

    if !request.attach.any() {
        out::line(To::Out, &id);
        return match start(&client, &id, None).await {
            Ok(()) => Ok(0),
            Err(e) => {
                let status = start_status(&e);
                Err(CliError::from(e).of("run", status))
            }
        };
    }
    if args.sig_proxy.unwrap_or(true) {
        Proxy::install().forward(Arc::clone(&client), id.clone());
    }
    let options = Options {
        streams: request.attach,
        tty: request.tty,
        detach_keys: args.detach_keys.clone(),
    };
    let mut session = Session::begin(&client, &id, &options)
        .await
        .map_err(failed)?;
    let until = if request.auto_remove {
        "removed"
    } else {
        "next-exit"
    };
    let mut exit = Exit::expect(&client, &id, Some(until))
        .await
        .map_err(|e| failed(e.into()))?;
    if let Err(e) = start(&client, &id, args.detach_keys.as_deref()).await {
        terminal::restore();
        if request.auto_remove {
            // So that the name is free again when we are done. How it went is in `e`.
            let _ = exit.code().await;
        }
        let status = start_status(&e);
        return Err(CliError::from(e).of("run", status));
    }
    let size = (request.tty && out::is_terminal()).then(|| {
        let (client, id) = (Arc::clone(&client), id.clone());
        tokio::spawn(async move {
            session::follow_size(&client, &format!("/containers/{}", segment(&id))).await;
        })
    });
    let result = finish(&mut session, &mut exit).await.map_err(failed);
    if let Some(size) = size {
        size.abort();
    }
    result
}

/// Waits for output and exit code of an attached container that was started.
///
/// # Errors
/// A broken stream; the daemon's word that waiting failed.
pub(crate) async fn finish(session: &mut Session, exit: &mut Exit) -> Result<u8, CliError> {
    match session.ended().await? {
        Ended::Detached => Ok(0),
        Ended::Closed => exit.code().await,
    }
}

/// A pending `POST /wait`.
#[derive(Debug)]
pub(crate) struct Exit {
    body: hyper::body::Incoming,
}

impl Exit {
    /// Registers with the daemon: an exit from now on is seen.
    ///
    /// # Errors
    /// The daemon refuses.
    pub(crate) async fn expect(
        client: &Client,
        container: &str,
        condition: Option<&str>,
    ) -> Result<Self, ClientError> {
        let mut query = Query::new();
        query.option("condition", condition);
        let path = format!("/containers/{}/wait{}", segment(container), query.as_str());
        let answer = client.send(Method::POST, &path, Body::Empty).await?;
        Ok(Self {
            body: answer.into_body(),
        })
    }

    /// The container's exit code.
    ///
    /// # Errors
    /// The connection broke, or the daemon could not wait.
    pub(crate) async fn code(&mut self) -> Result<u8, CliError> {
        use http_body_util::BodyExt;
        let http = |source| ClientError::Http {
            request: "POST wait".into(),
            source,
        };
        let bytes = (&mut self.body).collect().await.map_err(http)?.to_bytes();
        let answer: Value = serde_json::from_slice(&bytes).map_err(|source| ClientError::Json {
            request: "POST wait".into(),
            source,
        })?;
        if let Some(message) = answer["Error"]["Message"].as_str() {
            return Err(CliError::Wait(message.to_owned()));
        }
        // Like exit(3): the lowest eight bits.
        let code = answer["StatusCode"].as_i64().unwrap_or(i64::from(NOT_RUN));
        Ok(code.to_le_bytes()[0])
    }
}

/// Makes a request that attaches nothing.
pub(crate) fn detach(request: &mut CreateRequest) {
    request.attach = Streams::default();
    for key in ["AttachStdin", "AttachStdout", "AttachStderr", "StdinOnce"] {
        request.body[key] = false.into();
    }
}

/// Starts a container.
///
/// # Errors
/// The daemon refuses, or the container cannot be started.
pub(crate) async fn start(
    client: &Client,
    container: &str,
    detach_keys: Option<&str>,
) -> Result<(), ClientError> {
    let mut query = Query::new();
    query.option("detachKeys", detach_keys);
    let path = format!("/containers/{}/start{}", segment(container), query.as_str());
    client.post(&path, Body::Empty).await.map(drop)
}

fn request(flags: &ContainerFlags) -> Result<CreateRequest, CliError> {
    let cwd = std::env::current_dir().map_err(CliError::io("cannot find the working directory"))?;
    let around = Surroundings {
        var: &|key| std::env::var(key).ok(),
        cwd: &cwd.to_string_lossy(),
    };
    Ok(build(flags, &around)?)
}

/// Creates; the id. Warnings go to standard error, the id to `--cidfile`.
async fn post_create(
    client: &Client,
    request: &CreateRequest,
    flags: &ContainerFlags,
) -> Result<String, CliError> {
    let mut cidfile = None;
    if let Some(path) = flags.cidfile.as_deref().filter(|p| !p.is_empty()) {
        if Path::new(path).exists() {
            return Err(CliError::CidFileExists(path.to_owned()));
        }
        let file = std::fs::File::create(path).map_err(CliError::io(format!(
            "failed to create the container ID file {path}"
        )))?;
        cidfile = Some((file, path));
    }
    let result = post(client, request, flags).await;
    if let Some((mut file, path)) = cidfile {
        match &result {
            Ok(id) => file.write_all(id.as_bytes()).map_err(CliError::io(format!(
                "failed to write the container ID to {path}"
            )))?,
            // An empty file would stop the next attempt.
            Err(_) => drop(std::fs::remove_file(path)),
        }
    }
    result
}

async fn post(
    client: &Client,
    request: &CreateRequest,
    flags: &ContainerFlags,
) -> Result<String, CliError> {
    let mut query = Query::new();
    query
        .option("name", request.name.as_deref())
        .option("platform", request.platform.as_deref());
    let path = format!("/containers/create{}", query.as_str());
    let platform = request.platform.as_deref();
    if flags.pull == "always" {
        pull_for(client, &request.image, platform, flags.quiet).await?;
    }
    let body = || Body::Json(request.body.clone());
    let answer = match client.post(&path, body()).await {
        Err(e) if flags.pull == "missing" && says_no_image(&e) => {
            if !flags.quiet {
                let image = with_tag(&request.image);
                out::line(To::Err, &format!("Unable to find image '{image}' locally"));
            }
            pull_for(client, &request.image, platform, flags.quiet).await?;
            client.post(&path, body()).await?
        }
        other => other?,
    };
    for warning in answer["Warnings"].as_array().into_iter().flatten() {
        if let Some(text) = warning.as_str() {
            out::line(To::Err, &format!("WARNING: {text}"));
        }
    }
    match answer["Id"].as_str() {
        Some(id) => Ok(id.to_owned()),
        None => Err(CliError::NoId),
    }
}

/// Whether an image is missing, or is there for another platform only.
fn says_no_image(error: &ClientError) -> bool {
    let text = error.to_string();
    error.is_not_found()
        && (text.contains("No such image")
            || text.contains("does not match the specified platform"))
}

/// An image name with the tag that is meant.
fn with_tag(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if image.contains('@') || last.contains(':') {
        image.to_owned()
    } else {
        format!("{image}:latest")
    }
}

/// Docker's exit status for a start that failed with this text.
fn start_status(error: &ClientError) -> u8 {
    let text = error.to_string();
    let says = |words: &[&str]| words.iter().any(|w| text.contains(w));
    if says(&[
        "executable file not found",
        "no such file or directory",
        "system cannot find the file specified",
    ]) {
        127
    } else if says(&["permission denied", "is a directory"]) {
        126
    } else {
        NOT_RUN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_starts_have_dockers_status() {
        let status = |text: &str| {
            start_status(&ClientError::Daemon {
                status: 400,
                message: text.into(),
            })
        };
        assert_eq!(
            status("exec: \"x\": executable file not found in $PATH: unknown"),
            127
        );
        assert_eq!(
            status("exec: \"/x\": stat /x: no such file or directory"),
            127
        );
        assert_eq!(
            status("exec: \"/etc/passwd\": permission denied: unknown"),
            126
        );
        assert_eq!(status("anything else"), 125);
    }

    #[test]
    fn an_image_without_a_tag_means_latest() {
        assert_eq!(with_tag("a"), "a:latest");
        assert_eq!(with_tag("h:5000/a"), "h:5000/a:latest");
        assert_eq!(with_tag("h:5000/a:1"), "h:5000/a:1");
        assert_eq!(with_tag("a@sha256:00"), "a@sha256:00");
    }
}
