//! `cp`: files between a container and the local file system, as an archive.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use bytes::Bytes;
use clap::Args;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Method, Response};
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use tokio::sync::mpsc;

use crate::client::{Body, Client, ClientError, Query, segment};
use crate::files::{Extract, Owner, PackOptions, Packer, PathStat, Root};

use super::cp_paths::{self as paths, CopyInfo};
use super::cp_progress::Progress;
use super::error::CliError;
use super::out::{self, To};

/// Bytes of an archive that are sent at once.
const CHUNK: usize = 256 * 1024;
/// Chunks that wait for the network or the disk.
const QUEUE: usize = 4;

#[derive(Args, Debug)]
pub(crate) struct CpArgs {
    /// Archive mode (copy all uid/gid information)
    #[arg(short, long)]
    archive: bool,
    /// Always follow symlinks in SRC_PATH
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Suppress progress output during copy. Progress output is automatically suppressed if no terminal is attached
    #[arg(short, long)]
    quiet: bool,
    #[arg(value_name = "CONTAINER:SRC_PATH|SRC_PATH|-")]
    source: String,
    #[arg(value_name = "DEST_PATH|-|CONTAINER:DEST_PATH")]
    destination: String,
}

/// Copies.
///
/// # Errors
/// Paths that do not go together, the daemon's, the disk's.
pub(crate) async fn cp(client: &Client, args: CpArgs) -> Result<u8, CliError> {
    for (text, what) in [(&args.source, "source"), (&args.destination, "destination")] {
        if text.is_empty() {
            return Err(CliError::Copy(format!("{what} can not be empty")));
        }
    }
    let (from, source) = paths::split(&args.source);
    let (to, destination) = paths::split(&args.destination);
    match (from, to) {
        (Some(container), None) => {
            from_container(client, container, source, destination, &args).await
        }
        (None, Some(container)) => {
            to_container(client, container, source, destination, &args).await
        }
        (Some(_), Some(_)) => Err(CliError::Copy(
            "copying between containers is not supported".to_owned(),
        )),
        (None, None) => Err(CliError::Copy(
            "must specify at least one container source".to_owned(),
        )),
    }
}

fn archive_path(container: &str, query: &Query) -> String {
    format!(
        "/containers/{}/archive{}",
        segment(container),
        query.as_str()
    )
}

/// What a path in a container is; `None` if that cannot be said.
async fn stat(client: &Client, container: &str, path: &str) -> Option<PathStat> {
    let mut query = Query::new();
    query.push("path", path);
    let answer = client
        .send(Method::HEAD, &archive_path(container, &query), Body::Empty)
        .await
        .ok()?;
    stat_of(&answer)
}

fn stat_of(answer: &Response<Incoming>) -> Option<PathStat> {
    let header = answer.headers().get("x-docker-container-path-stat")?;
    let text = base64::engine::general_purpose::STANDARD
        .decode(header.as_bytes())
        .ok()?;
    serde_json::from_slice(&text).ok()
}

async fn from_container(
    client: &Client,
    container: &str,
    source: &str,
    destination: &str,
    args: &CpArgs,
) -> Result<u8, CliError> {
    let local = match destination {
        "-" => "-".to_owned(),
        path => paths::absolute(path)?,
    };
    if local != "-" {
        paths::check_output(&local)?;
    }
    let mut source = source.to_owned();
    let mut rebase = None;
    if args.follow_link
        && let Some(found) = stat(client, container, &source).await
        && found.is_link()
    {
        let target = paths::joined(&paths::split_entry(&source).0, &found.link_target);
        (source, rebase) = paths::rebase(&source, &target);
    }
    let mut query = Query::new();
    query.push("path", &source);
    let path = archive_path(container, &query);
    let answer = client.send(Method::GET, &path, Body::Empty).await?;
    let stat = stat_of(&answer)
        .ok_or_else(|| CliError::Copy("the daemon does not say what it sends".to_owned()))?;
    let mut body = answer.into_body();
    if local == "-" {
        while let Some(data) = next(&mut body, &path).await? {
            out::write(To::Out, &data);
        }
        return Ok(0);
    }
    let info = CopyInfo {
        path: source,
        exists: true,
        is_dir: stat.is_dir(),
        rebase,
    };
    let target = paths::local_destination(&local)?;
    let (folder, name) = paths::prepare(&info, &target)?;
    let base = match paths::split_entry(&info.path).1 {
        root if root == "/" => String::new(),
        base => base,
    };
    let rules = Extract {
        owner: match args.archive && nix::unistd::geteuid().is_root() {
            true => Owner::Archive,
            false => Owner::Caller,
        },
        keep_kinds: true,
        rename: name
            .or_else(|| info.rebase.clone())
            .map(|name| (base, name)),
        prefix: paths::clean(&folder),
    };
    let total = Arc::new(AtomicU64::new(0));
    let progress = Progress::begin("Copying from container - ", &total, args.quiet);
    let (sender, chunks) = mpsc::channel(QUEUE);
    let written = tokio::task::spawn_blocking(move || {
        // Links of the archive lead nowhere but into this folder.
        let root = Root::open(Path::new(&folder))?;
        let mut archive = Chunks {
            chunks,
            current: Bytes::new(),
        };
        rules.run(&mut archive, &root, b"/")?;
        // What follows the end of the archive.
        let _ = io::copy(&mut archive, &mut io::sink());
        Ok(())
    });
    let mut broken = Ok(());
    loop {
        match next(&mut body, &path).await {
            Ok(Some(data)) => {
                total.fetch_add(data.len() as u64, Ordering::Relaxed);
                if sender.send(Ok(data)).await.is_err() {
                    break;
                }
            }
            Ok(None) => break,
            Err(error) => {
                let _ = sender.send(Err(io::ErrorKind::UnexpectedEof.into())).await;
                broken = Err(error);
                break;
            }
        }
    }
    drop(sender);
    let written = written
        .await
        .map_err(|error| CliError::Copy(error.to_string()))?
        .map_err(|error: crate::files::FileError| CliError::Copy(error.to_string()));
    progress.finish(&local);
    broken?;
    written.map(|()| 0)
}

async fn next(body: &mut Incoming, path: &str) -> Result<Option<Bytes>, CliError> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|source| ClientError::Http {
            request: format!("GET {path}"),
            source,
        })?;
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

async fn to_container(
    client: &Client,
    container: &str,
    source: &str,
    destination: &str,
    args: &CpArgs,
) -> Result<u8, CliError> {
    let source = match source {
        "-" => "-".to_owned(),
        path => paths::absolute(path)?,
    };
    let mut target = CopyInfo {
        path: destination.to_owned(),
        ..CopyInfo::default()
    };
    if let Some(mut found) = stat(client, container, destination).await {
        let mut there = true;
        if found.is_link() {
            target.path = paths::joined(&paths::split_entry(destination).0, &found.link_target);
            match stat(client, container, &target.path).await {
                Some(real) => found = real,
                // The link leads nowhere yet: its target is made.
                None => there = false,
            }
        }
        if there {
            if found.is_device() {
                return Err(CliError::Copy(format!(
                    "destination \"{container}:{destination}\" must be a directory or a regular \
                     file: got a device"
                )));
            }
            target.exists = true;
            target.is_dir = found.is_dir();
        }
    }
    let total = Arc::new(AtomicU64::new(0));
    let (folder, body) = if source == "-" {
        if !target.is_dir {
            return Err(CliError::Copy(format!(
                "destination \"{container}:{destination}\" must be a directory"
            )));
        }
        let body = Body::read_from(io::stdin(), "application/x-tar");
        (target.path.clone(), body)
    } else {
        let info = paths::local_source(&source, args.follow_link)?;
        let (folder, name) = paths::prepare(&info, &target)?;
        let top = name
            .or_else(|| info.rebase.clone())
            .unwrap_or_else(|| paths::split_entry(&info.path).1);
        let body = pack(&info, top, Arc::clone(&total))?;
        (folder, body)
    };
    let mut query = Query::new();
    query.push("noOverwriteDirNonDir", "true");
    if args.archive {
        query.push("copyUIDGID", "true");
    }
    query.push("path", &folder);
    let quiet = args.quiet || source == "-";
    let progress = Progress::begin("Copying to container - ", &total, quiet);
    let sent = client
        .send(Method::PUT, &archive_path(container, &query), body)
        .await;
    progress.finish(&format!("{container}:{}", target.path));
    sent?;
    Ok(0)
}

/// A local tree as the body of a request, whose top is called `top`.
fn pack(info: &CopyInfo, top: String, total: Arc<AtomicU64>) -> Result<Body, CliError> {
    // A folder by its trailing slash or dot; else the object itself, also if it is a link.
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let object: OwnedFd = nix::fcntl::open(info.path.as_str(), flags, Mode::empty())
        .map_err(|errno| CliError::io(format!("open {}", info.path))(errno.into()))?;
    let (sender, chunks) = mpsc::channel(QUEUE);
    std::thread::spawn(move || {
        let mut out = Sent {
            chunks: sender.clone(),
            buffer: Vec::with_capacity(CHUNK),
            total,
        };
        let options = PackOptions {
            sparse: true,
            ..PackOptions::default()
        };
        let mut packer = Packer::new(&mut out, options);
        let packed = packer
            .tree(object, top.as_bytes())
            .and_then(|()| packer.finish());
        if let Err(error) = packed {
            // The request breaks off: nothing that is half is taken for whole.
            let _ = sender.blocking_send(Err(io::Error::other(error.to_string())));
        }
    });
    Ok(Body::Stream(chunks, "application/x-tar"))
}

/// Sends what is written in chunks, and counts it.
struct Sent {
    chunks: mpsc::Sender<io::Result<Bytes>>,
    buffer: Vec<u8>,
    total: Arc<AtomicU64>,
}

impl Write for Sent {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(CHUNK - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..n]);
        if self.buffer.len() == CHUNK {
            self.flush()?;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        let chunk = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK));
        self.total.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        self.chunks
            .blocking_send(Ok(chunk.into()))
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// Reads what the network brings.
struct Chunks {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl Read for Chunks {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.chunks.blocking_recv() {
                None => return Ok(0),
                Some(chunk) => self.current = chunk?,
            }
        }
        let n = self.current.len().min(buf.len());
        buf[..n].copy_from_slice(&self.current.split_to(n));
        Ok(n)
    }
}
