//! Images from a stream: `POST /images/load` and `POST /images/create`. The request's body is read
//! by the store on a thread of its own while it arrives; progress goes back meanwhile.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::images;
use super::registry::error_line;
use super::reply::{self, Reply};
use super::request::Request;
use crate::daemon::Daemon;
use crate::errors::{ApiError, ErrorKind};
use crate::image::LoadEvent;

/// How long the rest of a body is taken that the store had no use for (padding, or all of it after
/// an error): a client that cannot finish sending may not read the answer.
const DRAIN: Duration = Duration::from_secs(10);

/// What a platform of one word may be (source: containerd `platforms`, from Go's own lists).
const PLATFORM_WORDS: &[&str] = &[
    "386",
    "aarch64",
    "aix",
    "amd64",
    "android",
    "arm",
    "arm64",
    "armel",
    "armhf",
    "darwin",
    "dragonfly",
    "freebsd",
    "i386",
    "illumos",
    "ios",
    "js",
    "linux",
    "loong64",
    "macos",
    "mips",
    "mips64",
    "mips64le",
    "mipsle",
    "netbsd",
    "openbsd",
    "plan9",
    "ppc64",
    "ppc64le",
    "riscv64",
    "s390x",
    "solaris",
    "wasm",
    "windows",
    "x86-64",
    "x86_64",
];

/// `POST /images/load`.
pub(crate) async fn load(daemon: &Arc<Daemon>, request: Request) -> Result<Reply, ApiError> {
    let mut body = request.into_reader();
    let daemon = Arc::clone(daemon);
    // Clients look for the error in the stream, as Docker tells it.
    progress(EarlyError::Record, move |report| {
        let result = daemon
            .images
            .load(&mut body, &mut |event| {
                let line = match &event {
                    LoadEvent::Loaded { id, name } => loaded_line(id, name.as_deref()),
                    LoadEvent::Renamed { name, old } => format!(
                        "The image {name} already exists, renaming the old one with ID {old} \
                         to empty string\n"
                    ),
                };
                report(json!({ "stream": line }));
                if let LoadEvent::Loaded { id, .. } = &event {
                    images::publish(&daemon, "load", id, id);
                }
            })
            .map_err(ApiError::from);
        body.discard(DRAIN);
        result
    })
    .await
}

/// As Docker's: by name, or by id for an image without one.
fn loaded_line(id: &str, name: Option<&str>) -> String {
    match name {
        Some(name) => format!("Loaded image: {name}\n"),
        None => format!("Loaded image ID: {id}\n"),
    }
}

/// `POST /images/create`: an import (`fromSrc=-`), or a pull.
pub(crate) async fn create(daemon: &Arc<Daemon>, request: Request) -> Result<Reply, ApiError> {
    let query = request.query.clone();
    if let Some(platform) = query.some("platform") {
        check_platform(platform)?;
    }
    if query.some("fromImage").is_some() {
        return super::registry::pull(daemon, request).await;
    }
    match query.text("fromSrc") {
        "-" => {}
        "" => {
            return Err(ApiError::invalid(
                "one of fromImage and fromSrc must be given",
            ));
        }
        _ => {
            return Err(ApiError::new(
                ErrorKind::NotImplemented,
                "import from a URL is not built in this version of Taffrail, use fromSrc=-",
            ));
        }
    }
    let reference = query
        .some("repo")
        .map(|repo| images::with_tag(repo, query.text("tag")));
    let message = query.text("message").to_owned();
    let changes = query.all("changes");
    let mut body = request.into_reader();
    let daemon = Arc::clone(daemon);
    progress(EarlyError::Status, move |report| {
        let result = daemon
            .images
            .import(&mut body, reference.as_deref(), &message, &changes)
            .map_err(ApiError::from);
        body.discard(DRAIN);
        let image = result?;
        report(json!({ "status": image.id }));
        if let Some(name) = image.repo_tags.first() {
            images::publish(&daemon, "tag", &image.id, name);
        }
        images::publish(&daemon, "import", &image.id, &image.id);
        Ok(())
    })
    .await
}

/// The name as people write it.
pub(super) fn familiar(image: &str) -> &str {
    let name = image.strip_prefix("docker.io/").unwrap_or(image);
    name.strip_prefix("library/").unwrap_or(name)
}

/// How an error is told that comes before the first record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EarlyError {
    /// By the answer's status.
    Status,
    /// As a record of an answer with status 200.
    Record,
}

/// Runs blocking work that reports JSON records. The answer begins with the first record or the
/// end, so that a client that has it knows that the work is under way or done.
async fn progress<F>(early: EarlyError, work: F) -> Result<Reply, ApiError>
where
    F: FnOnce(&mut dyn FnMut(Value)) -> Result<(), ApiError> + Send + 'static,
{
    let (records, mut waiting) = mpsc::channel::<Bytes>(16);
    let task = tokio::task::spawn_blocking(move || {
        work(&mut |record| {
            // The work goes on for a client that is gone.
            let _ = records.blocking_send(reply::json_line(&record));
        })
    });
    let ended = |result: Result<Result<(), ApiError>, tokio::task::JoinError>| {
        result.unwrap_or_else(|error| Err(ApiError::system(format!("image store: {error}"))))
    };
    let (sender, reply) = reply::stream("application/json");
    let Some(first) = waiting.recv().await else {
        // No record: the work is through.
        match (ended(task.await), early) {
            (Ok(()), _) => {}
            (Err(error), EarlyError::Status) => return Err(error),
            // There is room for one record before anybody reads.
            (Err(error), EarlyError::Record) => {
                let _ = sender.send(error_line(&error)).await;
            }
        }
        return Ok(reply);
    };
    tokio::spawn(async move {
        let mut next = Some(first);
        while let Some(record) = next {
            // Taken also without a client: the work must not wait for one.
            let _ = sender.send(record).await;
            next = waiting.recv().await;
        }
        if let Err(error) = ended(task.await) {
            let _ = sender.send(error_line(&error)).await;
        }
    });
    Ok(reply)
}

/// A platform that an import names: `os`, `architecture` or `os/architecture[/variant]`.
fn check_platform(asked: &str) -> Result<(), ApiError> {
    let clean = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
    };
    let parts: Vec<&str> = asked.split('/').collect();
    if parts.iter().any(|part| !clean(part)) || parts.len() > 3 {
        return Err(ApiError::invalid(format!(
            "\"{asked}\": cannot parse platform specifier: invalid argument"
        )));
    }
    if parts.len() == 1 && !PLATFORM_WORDS.contains(&asked.to_ascii_lowercase().as_str()) {
        return Err(ApiError::invalid(format!(
            "\"{asked}\": unknown operating system or architecture: invalid argument"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms() {
        for good in ["linux", "AMD64", "linux/arm64", "linux/arm/v7"] {
            check_platform(good).unwrap();
        }
        for (bad, text) in [
            (
                "nosuch",
                "unknown operating system or architecture: invalid argument",
            ),
            (
                "linux/",
                "cannot parse platform specifier: invalid argument",
            ),
            (
                "a/b/c/d",
                "cannot parse platform specifier: invalid argument",
            ),
        ] {
            let error = check_platform(bad).unwrap_err();
            assert_eq!(error.message, format!("\"{bad}\": {text}"));
        }
    }

    #[test]
    fn texts() {
        assert_eq!(
            loaded_line("sha256:1", Some("busybox:latest")),
            "Loaded image: busybox:latest\n"
        );
        assert_eq!(loaded_line("sha256:1", None), "Loaded image ID: sha256:1\n");
        assert_eq!(familiar("docker.io/library/x"), "x");
        assert_eq!(familiar("docker.io/a/x"), "a/x");
        assert_eq!(familiar("r.example/a"), "r.example/a");
    }
}
