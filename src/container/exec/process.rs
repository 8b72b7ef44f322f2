//! One run of the OCI runtime's `exec`, through `taffrail-runtime attend` as the process's parent.

use std::ffi::OsString;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};

use super::console::Console;
use super::io::Channel;
use crate::container::Stream;
use crate::container::exit::blocking;
use crate::runtime::exec_files;

/// Exit code of a process of which nobody knows how it ended, as Docker has it.
pub(super) const UNKNOWN: i32 = 255;
/// Longest line of the parent's.
const LINE: usize = 64;

/// What the process has open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Open {
    pub(super) tty: bool,
    pub(super) stdin: bool,
    pub(super) stdout: bool,
    pub(super) stderr: bool,
    /// Stderr is the pipe of stdout.
    pub(super) merged: bool,
}

/// Our ends.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// Also the way in.
    pub(super) terminal: Option<Arc<Channel>>,
    pub(super) stdin: Option<Arc<Channel>>,
    pub(super) outputs: Vec<(Stream, Arc<Channel>)>,
}

/// The process's parent, as far as it can be asked for something.
#[derive(Debug)]
pub(super) struct Parent(OwnedWriteHalf);

impl Parent {
    pub(super) fn kill(&self) {
        // One byte in a socket that nothing else is written to; if the parent is gone, so is the
        // process, or nobody can kill it safely.
        let _ = self.0.try_write(b"k");
    }
}

/// A runtime under way, or a process that runs.
#[derive(Debug)]
pub(super) struct Started {
    lines: BufReader<OwnedReadHalf>,
    child: Child,
}

/// What the parent says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    Started(i32),
    Failed,
    Exited(i32),
    /// The parent is gone, or talks nonsense.
    Gone,
}

/// A folder with what the runtime reads and writes; removed when it is dropped.
#[derive(Debug)]
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    /// Blocking.
    pub(super) fn make(path: PathBuf, process: &Value) -> io::Result<Self> {
        DirBuilder::new()
            .mode(0o700)
            .recursive(true)
            .create(&path)?;
        let folder = Self(path);
        std::fs::write(folder.0.join(exec_files::PROCESS), process.to_string())?;
        Ok(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A few files in memory; a daemon that is killed before leaves them to the next one.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Starts the runtime. `folder` becomes its working directory.
pub(super) async fn spawn(
    attendant: &Path,
    argv: Vec<OsString>,
    folder: &Path,
    open: Open,
) -> io::Result<(Started, Parent, Ends)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let mut ends = Ends::default();
    let mut stdio = [null()?, null()?, null()?];
    if !open.tty {
        if open.stdin {
            let (read, write) = io::pipe()?;
            stdio[0] = Stdio::from(OwnedFd::from(read));
            ends.stdin = Some(Channel::new(write.into())?);
        }
        if open.merged {
            let (read, write) = io::pipe()?;
            stdio[1] = Stdio::from(OwnedFd::from(write.try_clone()?));
            stdio[2] = Stdio::from(OwnedFd::from(write));
            ends.outputs
                .push((Stream::Stdout, Channel::new(read.into())?));
        } else {
            for (place, wanted, stream) in [
                (1, open.stdout, Stream::Stdout),
                (2, open.stderr, Stream::Stderr),
            ] {
                if wanted {
                    let (read, write) = io::pipe()?;
                    stdio[place] = Stdio::from(OwnedFd::from(write));
                    ends.outputs.push((stream, Channel::new(read.into())?));
                }
            }
        }
    }
    let socket = theirs.as_raw_fd();
    let [stdin, stdout, stderr] = stdio;
    let mut command = Command::new(attendant);
    command
        .arg("attend")
        .arg("--socket")
        .arg(socket.to_string())
        .args(["--pid-file", exec_files::PID, "--"])
        .args(argv)
        .current_dir(folder)
        .stdin(stdin)
        .stdout(stdout)
        .stderr(stderr);
    for name in [
        "LISTEN_FDS",
        "LISTEN_PID",
        "LISTEN_FDNAMES",
        "NOTIFY_SOCKET",
    ] {
        command.env_remove(name);
    }
    // SAFETY: one system call that is allowed after fork; the descriptor is open, `theirs` lives to
    // the end of this function.
    unsafe {
        command.pre_exec(move || {
            if libc::fcntl(socket, libc::F_SETFD, 0) < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
    // Making a process takes its time: not where others wait for theirs.
    let runtime = tokio::runtime::Handle::current();
    let child = blocking(move || {
        let _within = runtime.enter();
        let child = command.spawn();
        // Only now: the child has its copies of the pipes' other ends.
        drop((command, theirs));
        child
    })
    .await
    .ok_or_else(|| io::Error::other("the daemon is ending"))??;
    let (read, write) = UnixStream::from_std(ours)?.into_split();
    let started = Started {
        lines: BufReader::with_capacity(LINE, read),
        child,
    };
    Ok((started, Parent(write), ends))
}

fn null() -> io::Result<Stdio> {
    let file = File::options().read(true).write(true).open("/dev/null")?;
    Ok(file.into())
}

impl Started {
    /// The next news. Cancelled, a line may be lost.
    pub(super) async fn news(&mut self) -> News {
        let mut line = String::new();
        match self.lines.read_line(&mut line).await {
            Ok(count) if count > 0 => parse(line.trim_end()),
            _ => News::Gone,
        }
    }

    /// The exit code; the parent is reaped as well.
    pub(super) async fn exited(mut self) -> i32 {
        let code = match self.news().await {
            News::Exited(code) => code,
            _ => UNKNOWN,
        };
        self.reap();
        code
    }

    /// Waits in the background for the parent's own end, which is near.
    pub(super) fn reap(mut self) {
        tokio::spawn(async move {
            if let Err(error) = self.child.wait().await {
                tracing::warn!(%error, "the parent of an exec cannot be waited for");
            }
        });
    }
}

fn parse(line: &str) -> News {
    let Some((word, number)) = line.split_once(' ') else {
        return News::Gone;
    };
    match (word, number.parse()) {
        ("started", Ok(pid)) => News::Started(pid),
        ("failed", Ok(_)) => News::Failed,
        ("exited", Ok(code)) => News::Exited(code),
        _ => News::Gone,
    }
}

/// Is there a console to be listened to? One that never comes, if not.
pub(super) async fn terminal(console: Option<&Console>) -> io::Result<OwnedFd> {
    match console {
        Some(console) => console.terminal().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_parent() {
        assert_eq!(parse("started 12"), News::Started(12));
        assert_eq!(parse("failed 255"), News::Failed);
        assert_eq!(parse("exited 137"), News::Exited(137));
        for bad in ["", "exited", "exited x", "other 1"] {
            assert_eq!(parse(bad), News::Gone);
        }
    }
}
