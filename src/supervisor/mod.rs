//! Signatures only, until the supervisor is merged.
#![allow(unused)]
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use taffrail_log::CommitSource;
use tokio::io::AsyncWrite;

#[derive(Debug)]
pub(crate) struct SupervisorOptions {
    pub(crate) exec_root: PathBuf,
    pub(crate) data_root: PathBuf,
    pub(crate) monitor_binary: PathBuf,
}
#[derive(Debug, thiserror::Error)]
#[error("not merged")]
pub(crate) struct SupervisorError;
#[derive(Debug, thiserror::Error)]
pub(crate) enum CreateError {
    #[error("runtime")]
    Runtime { status: i32 },
    #[error("system")]
    System(#[from] SupervisorError),
}
#[derive(Clone, Debug)]
pub(crate) struct CapturePlan {
    pub(crate) id: String,
    pub(crate) tty: bool,
    pub(crate) open_stdin: bool,
    pub(crate) attach: bool,
    pub(crate) console_size: Option<(u16, u16)>,
    pub(crate) create_argv: Vec<OsString>,
    pub(crate) log: LogPlan,
}
#[derive(Clone, Debug)]
pub(crate) enum LogPlan {
    JsonFile {
        path: PathBuf,
        index_dir: PathBuf,
        max_size: Option<u64>,
        max_file: u32,
        attrs: Vec<u8>,
    },
    None,
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}
#[derive(Clone, Debug)]
pub(crate) struct Exit {
    pub(crate) code: i32,
    pub(crate) known: bool,
    pub(crate) at_ns: u64,
}
#[derive(Debug)]
pub(crate) struct Supervisor;
#[derive(Debug)]
pub(crate) struct Capture;
#[derive(Debug)]
pub(crate) struct AttachStream;
#[derive(Debug)]
pub(crate) struct StdinWriter;
impl Supervisor {
    pub(crate) async fn start(options: SupervisorOptions) -> Result<Arc<Self>, SupervisorError> {
        Err(SupervisorError)
    }
    pub(crate) fn container_dir(&self, id: &str) -> PathBuf {
        PathBuf::from(id)
    }
    pub(crate) async fn create(&self, plan: CapturePlan) -> Result<Arc<Capture>, CreateError> {
        Err(CreateError::Runtime { status: 1 })
    }
    pub(crate) async fn adopt(&self, id: &str) -> Result<Option<Arc<Capture>>, SupervisorError> {
        Err(SupervisorError)
    }
    pub(crate) async fn shutdown_if_idle(&self) {}
}
impl Capture {
    pub(crate) fn pid(&self) -> i32 {
        0
    }
    pub(crate) async fn exited(&self) -> Exit {
        std::future::pending().await
    }
    pub(crate) fn source(&self) -> Arc<dyn CommitSource> {
        std::process::abort()
    }
    pub(crate) async fn wait_commit(&self, beyond: u64) -> bool {
        false
    }
    pub(crate) fn attach(&self) -> AttachStream {
        AttachStream
    }
    pub(crate) async fn stdin(&self) -> io::Result<StdinWriter> {
        Ok(StdinWriter)
    }
    pub(crate) async fn close_stdin(&self) {}
    pub(crate) fn resize(&self, rows: u16, cols: u16) -> io::Result<()> {
        Ok(())
    }
    pub(crate) async fn release(&self) {}
}
impl AttachStream {
    pub(crate) async fn next(&mut self) -> Option<(Stream, Bytes)> {
        None
    }
}
impl AsyncWrite for StdinWriter {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, b: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(b.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
