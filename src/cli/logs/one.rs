//! The log of one container, in writes as large as the daemon allows.

use crate::client::{Client, ClientError, Demux, Query, Stream as Kind};

use super::records::Lines;
use super::sink::Sink;
use super::source::{Source, Stream};
use super::{Follow, LogsArgs};
use crate::cli::error::CliError;
use crate::cli::out::{self, To};

fn query(args: &LogsArgs, follow: Follow) -> Result<Query, CliError> {
    let mut query = args.query()?;
    query.option("cursor", args.cursor.as_deref());
    match follow {
        Follow::No => {}
        Follow::ToTheEnd => {
            query.flag("follow", true);
        }
        Follow::OverRestarts => {
            query.push("follow", "restarts");
        }
    }
    query.push("tail", &args.tail);
    query.flag("timestamps", args.timestamps && !args.json);
    Ok(query)
}

/// Shows the bytes as the container wrote them.
pub(super) async fn show(
    client: &Client,
    source: &Source,
    args: &LogsArgs,
    follow: Follow,
) -> Result<u8, CliError> {
    let mut stream = Stream::open(client, source, &query(args, follow)?).await?;
    let mut demux = Demux::default();
    let mut sink = Sink::new(out::same_target());
    loop {
        let chunk = stream.next(|| sink.flush()).await;
        let data = match chunk {
            Ok(Some(data)) => data,
            Ok(None) => break,
            Err(error) => {
                sink.flush();
                return Err(error.into());
            }
        };
        if stream.framed {
            let result = demux.feed(&data, |stream, bytes| {
                sink.put(stream, bytes);
                Ok::<_, ClientError>(())
            });
            if result.is_err() {
                sink.flush();
            }
            result?;
        } else {
            sink.put(Kind::Stdout, &data);
        }
    }
    sink.flush();
    if args.show_cursor {
        tell_cursor(None, stream.cursor.as_deref());
    }
    Ok(0)
}

/// Shows each record as the JSON object that the daemon makes of it.
pub(super) async fn records(
    client: &Client,
    source: &Source,
    args: &LogsArgs,
    follow: Follow,
) -> Result<u8, CliError> {
    let mut query = query(args, follow)?;
    query.push("format", "json");
    let mut stream = Stream::open(client, source, &query).await?;
    let mut sink = Sink::new(out::same_target());
    let mut lines = Lines::default();
    loop {
        let chunk = stream.next(|| sink.flush()).await;
        match chunk {
            Ok(Some(data)) => {
                lines.push(&data);
                // Whole lines only, so that what is cut off is no half of an object.
                while let Some(line) = lines.next() {
                    sink.put(Kind::Stdout, line);
                }
            }
            Ok(None) => break,
            Err(error) => {
                sink.flush();
                return Err(error.into());
            }
        }
    }
    sink.flush();
    if args.show_cursor {
        tell_cursor(None, stream.cursor.as_deref());
    }
    Ok(0)
}

/// Says on standard error where a later `--cursor` goes on.
pub(super) fn tell_cursor(name: Option<&str>, cursor: Option<&str>) {
    let name = name.map(|name| format!(" of {name}")).unwrap_or_default();
    match cursor {
        Some(cursor) => out::line(To::Err, &format!("cursor{name}: {cursor}")),
        None => out::line(
            To::Err,
            &format!("no cursor{name}: the log is empty, or its daemon gives none"),
        ),
    }
}
