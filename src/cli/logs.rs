//! `logs`: the daemon's stream to our two outputs, in writes as large as the daemon allows.

use clap::Args;
use futures_util::FutureExt;
use http_body_util::BodyExt;
use hyper::Method;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::client::{Body, Client, ClientError, Demux, Query, Stream, segment};

use super::error::CliError;
use super::flags::FlagError;
use super::out::{self, To};
use super::times;

#[derive(Args, Debug)]
pub(crate) struct LogsArgs {
    /// Show extra details provided to logs
    #[arg(long)]
    details: bool,
    /// Follow log output
    #[arg(short, long)]
    follow: bool,
    /// Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m")
    #[arg(long)]
    since: Option<String>,
    /// Number of lines to show from the end of the logs
    #[arg(short = 'n', long, default_value = "all")]
    tail: String,
    /// Show timestamps
    #[arg(short, long)]
    timestamps: bool,
    /// Show logs before a timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m")
    #[arg(long)]
    until: Option<String>,
    container: String,
}

/// What is gathered before it is written; a write larger than this brings nothing.
const BUFFER: usize = 64 * 1024;

/// Shows a container's log.
///
/// # Errors
/// Bad times; the daemon's refusal; an error that it reports within the stream.
pub(crate) async fn logs(client: &Client, args: LogsArgs) -> Result<u8, CliError> {
    let found = client
        .get(&format!("/containers/{}/json", segment(&args.container)))
        .await?;
    let id = found["Id"].as_str().unwrap_or(&args.container);
    let tty = found["Config"]["Tty"] == true;

    let mut query = Query::new();
    query
        .flag("details", args.details)
        .flag("follow", args.follow);
    query.option("since", moment("since", args.since.as_deref())?.as_deref());
    query
        .flag("stderr", true)
        .flag("stdout", true)
        .push("tail", &args.tail)
        .flag("timestamps", args.timestamps);
    query.option("until", moment("until", args.until.as_deref())?.as_deref());
    let path = format!("/containers/{}/logs{}", segment(id), query.as_str());
    let mut body = client
        .send(Method::GET, &path, Body::Empty)
        .await?
        .into_body();

    let mut demux = Demux::default();
    let mut sink = Sink::new(out::same_target());
    loop {
        // What is there already goes into one write; before waiting, all of it is shown. The
        // connection's own task may have more as soon as it gets its turn.
        let mut ready = body.frame().now_or_never();
        if ready.is_none() {
            tokio::task::yield_now().await;
            ready = body.frame().now_or_never();
        }
        let frame = match ready {
            Some(frame) => frame,
            None => {
                sink.flush();
                body.frame().await
            }
        };
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|source| {
            sink.flush();
            ClientError::Http {
                request: format!("GET {path}"),
                source,
            }
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if tty {
            sink.put(Stream::Stdout, &data);
        } else {
            let result = demux.feed(&data, |stream, bytes| {
                sink.put(stream, bytes);
                Ok::<_, ClientError>(())
            });
            if result.is_err() {
                sink.flush();
            }
            result?;
        }
    }
    sink.flush();
    Ok(0)
}

fn moment(name: &'static str, text: Option<&str>) -> Result<Option<String>, FlagError> {
    text.filter(|t| !t.is_empty())
        .map(|t| {
            times::since(t, Timestamp::now(), &TimeZone::system())
                .map_err(|e| FlagError::Time(name, e))
        })
        .transpose()
}

/// Gathers output. Where both streams go to one place, they are one: the order of lines is kept,
/// and a program that changes between them does not cost a write each time.
#[derive(Debug)]
struct Sink {
    one_place: bool,
    out: Vec<u8>,
    err: Vec<u8>,
}

impl Sink {
    fn new(one_place: bool) -> Self {
        Self {
            one_place,
            out: Vec::with_capacity(2 * BUFFER),
            err: Vec::new(),
        }
    }

    fn put(&mut self, stream: Stream, bytes: &[u8]) {
        let (to, buffer) = match stream {
            Stream::Stderr if !self.one_place => (To::Err, &mut self.err),
            _ => (To::Out, &mut self.out),
        };
        // Large pieces go by without a copy.
        if buffer.is_empty() && bytes.len() >= BUFFER {
            out::write(to, bytes);
            return;
        }
        buffer.extend_from_slice(bytes);
        if buffer.len() >= BUFFER {
            out::write(to, buffer);
            buffer.clear();
        }
    }

    fn flush(&mut self) {
        for (to, buffer) in [(To::Out, &mut self.out), (To::Err, &mut self.err)] {
            if !buffer.is_empty() {
                out::write(to, buffer);
                buffer.clear();
            }
        }
    }
}
