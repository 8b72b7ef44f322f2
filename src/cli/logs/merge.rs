//! Logs of several containers as one, in the order of their times. What is there already is merged
//! exactly; while following, a record is held back for a moment, so that an earlier one of another
//! container can come before it.

use std::time::Duration;

use tokio::time::Instant;

use crate::client::{Client, ClientError, Query};

use super::prefix;
use super::records::{Form, Record, Records};
use super::sink::Sink;
use super::source::{Source, Stream};
use super::{Follow, LogsArgs, one};
use crate::cli::error::CliError;
use crate::cli::out::{self, To};

/// How long a followed record waits for earlier ones of others.
const WINDOW: Duration = Duration::from_millis(50);

/// Shows several containers' logs.
pub(super) async fn show(
    client: &Client,
    sources: Vec<Source>,
    args: &LogsArgs,
    follow: Follow,
) -> Result<u8, CliError> {
    let mut view = View::new(&sources, args);
    let mut cursors = Vec::new();
    // First what is there. A daemon that gives no cursor at the end follows from the start.
    let mut inputs = Vec::new();
    for source in &sources {
        let mut query = query(args, &source.id, None)?;
        query.push("tail", &args.tail);
        inputs.push(Input::open(client, source, &query, args.json).await?);
    }
    let mut status = merge(&mut inputs, &mut view, None).await;
    let mut followed = Vec::new();
    for (source, input) in sources.iter().zip(&inputs) {
        let cursor = input.stream.cursor.clone();
        if follow != Follow::No {
            let mut query = query(args, &source.id, cursor.as_deref())?;
            if cursor.is_none() && input.last_time.is_some() {
                // Without cursors: what came in the same nanosecond is shown twice, nothing is
                // left out.
                query.option("since", input.since().as_deref());
            }
            let how = if follow == Follow::OverRestarts {
                "restarts"
            } else {
                "1"
            };
            query.push("follow", how);
            followed.push(Input::open(client, source, &query, args.json).await?);
        }
        cursors.push(cursor);
    }
    if follow != Follow::No {
        status |= merge(&mut followed, &mut view, Some(WINDOW)).await;
        for (cursor, input) in cursors.iter_mut().zip(&followed) {
            *cursor = input.stream.cursor.clone().or(cursor.take());
        }
    }
    view.sink.flush();
    if args.show_cursor {
        for (source, cursor) in sources.iter().zip(&cursors) {
            one::tell_cursor(Some(&source.name), cursor.as_deref());
        }
    }
    Ok(status)
}

fn query(args: &LogsArgs, _id: &str, cursor: Option<&str>) -> Result<Query, CliError> {
    let mut query = args.query()?;
    query.option("cursor", cursor);
    if args.json {
        query.push("format", "json");
    } else {
        query.push("frames", "record").flag("timestamps", true);
    }
    Ok(query)
}

/// One container's records.
struct Input {
    stream: Stream,
    records: Records,
    ended: bool,
    /// When the record at the head was there.
    since: Instant,
    last_time: Option<Vec<u8>>,
}

impl Input {
    async fn open(
        client: &Client,
        source: &Source,
        query: &Query,
        json: bool,
    ) -> Result<Self, CliError> {
        let stream = Stream::open(client, source, query).await?;
        let form = if json {
            Form::Json
        } else if stream.framed {
            Form::Frames(Box::default())
        } else {
            Form::Raw
        };
        Ok(Self {
            stream,
            records: Records::new(form),
            ended: false,
            since: Instant::now(),
            last_time: None,
        })
    }

    /// Receives until there is a record, or the end.
    async fn fill(&mut self, idle: impl FnMut()) -> Result<(), ClientError> {
        let mut idle = idle;
        while self.records.head().is_none() && !self.ended {
            match self.stream.next(&mut idle).await {
                Ok(Some(chunk)) => {
                    let pushed = self.records.push(&chunk);
                    self.ended |= pushed.is_err();
                    self.since = Instant::now();
                    pushed?;
                }
                Ok(None) => {
                    self.ended = true;
                    self.records.end();
                }
                Err(error) => {
                    self.ended = true;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn take(&mut self) -> Option<Record> {
        let record = self.records.take()?;
        self.last_time = Some(record.time.clone());
        Some(record)
    }

    /// The last record's time as a query has it.
    fn since(&self) -> Option<String> {
        let text = std::str::from_utf8(self.last_time.as_deref()?).ok()?;
        let time: jiff::Timestamp = text.parse().ok()?;
        Some(format!(
            "{}.{:09}",
            time.as_second(),
            time.subsec_nanosecond()
        ))
    }
}

/// Shows the inputs' records by time until all have ended. With a window, an input that has
/// nothing holds the others up for so long at most. One that fails is said and left out.
async fn merge(inputs: &mut [Input], view: &mut View, window: Option<Duration>) -> u8 {
    let mut status = 0;
    loop {
        // A line whose beginning is shown is ended first, if its rest is there.
        if let Some(at) = view.open_of()
            && inputs[at].records.head().is_none()
            && !inputs[at].ended
            && window.is_none()
        {
            status |= fail(inputs[at].fill(|| ()).await, view, at);
        }
        if let Some(at) = view.open_of()
            && let Some(record) = inputs[at].take()
        {
            view.put(at, &record);
            continue;
        }
        let waiting: Vec<usize> = (0..inputs.len())
            .filter(|i| inputs[*i].records.head().is_none() && !inputs[*i].ended)
            .collect();
        let first = (0..inputs.len())
            .filter_map(|i| inputs[i].records.head().map(|r| (&r.time, i)))
            .min()
            .map(|(_, i)| i);
        let Some(first) = first else {
            if waiting.is_empty() {
                return status;
            }
            view.sink.flush();
            status |= wait(inputs, view, None).await;
            continue;
        };
        if waiting.is_empty() {
            if let Some(record) = inputs[first].take() {
                view.put(first, &record);
            }
            continue;
        }
        let deadline = window.map(|window| inputs[first].since + window);
        match deadline {
            Some(deadline) if Instant::now() >= deadline => {
                if let Some(record) = inputs[first].take() {
                    view.put(first, &record);
                }
            }
            deadline => status |= wait(inputs, view, deadline).await,
        }
    }
}

/// Waits until an input without a record has one, or has ended, or for the deadline.
async fn wait(inputs: &mut [Input], view: &mut View, deadline: Option<Instant>) -> u8 {
    let mut fills = futures_util::stream::FuturesUnordered::new();
    for (i, input) in inputs.iter_mut().enumerate() {
        if input.records.head().is_none() && !input.ended {
            fills.push(async move { (i, input.fill(|| ()).await) });
        }
    }
    use futures_util::StreamExt as _;
    let done = match deadline {
        // Receiving is given up between chunks only, so that nothing is lost.
        Some(deadline) => tokio::time::timeout_at(deadline, fills.next())
            .await
            .ok()
            .flatten(),
        None => fills.next().await,
    };
    drop(fills);
    match done {
        Some((i, result)) => fail(result, view, i),
        None => 0,
    }
}

fn fail(result: Result<(), ClientError>, view: &mut View, at: usize) -> u8 {
    let Err(error) = result else { return 0 };
    view.sink.flush();
    out::line(To::Err, &format!("{}: {error}", view.names[at]));
    1
}

/// What is shown.
struct View {
    sink: Sink,
    names: Vec<String>,
    prefixes: Vec<Vec<u8>>,
    timestamps: bool,
    json: bool,
    /// Whose line has no newline yet.
    open: Option<(usize, crate::client::Stream)>,
}

impl View {
    fn new(sources: &[Source], args: &LogsArgs) -> Self {
        let names: Vec<&str> = sources.iter().map(|s| s.name.as_str()).collect();
        let coloured = prefix::coloured(args.no_color, out::is_terminal());
        let prefixes = if args.no_log_prefix {
            vec![Vec::new(); names.len()]
        } else {
            prefix::prefixes(&names, coloured)
        };
        Self {
            sink: Sink::new(out::same_target()),
            prefixes,
            names: names.into_iter().map(str::to_owned).collect(),
            timestamps: args.timestamps,
            json: args.json,
            open: None,
        }
    }

    fn open_of(&self) -> Option<usize> {
        self.open.map(|(at, _)| at)
    }

    fn put(&mut self, at: usize, record: &Record) {
        if self.json {
            // Of whom it is, as the first field.
            let name = serde_json::Value::from(self.names[at].as_str());
            let head = format!("{{\"Container\":{name},");
            let rest = record.payload.strip_prefix(b"{").unwrap_or(&record.payload);
            self.sink.put(record.stream, head.as_bytes());
            self.sink.put(record.stream, rest);
            return;
        }
        if self.open != Some((at, record.stream)) {
            if let Some((_, stream)) = self.open.take() {
                self.sink.put(stream, b"\n");
            }
            self.sink.put(record.stream, &self.prefixes[at]);
            if self.timestamps && !record.time.is_empty() {
                self.sink.put(record.stream, &record.time);
                self.sink.put(record.stream, b" ");
            }
        }
        self.sink.put(record.stream, &record.payload);
        let whole = record.payload.last() == Some(&b'\n');
        self.open = (!whole).then_some((at, record.stream));
    }
}
