//! Registries: pull (`POST /images/create?fromImage=`), `POST /images/{name}/push`, `POST /auth`,
//! `GET /distribution/{name}/json`, `GET /images/search`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use serde_json::json;
use tokio::sync::mpsc;

use super::connection::Peer;
use super::filters::Filters;
use super::images;
use super::reply::{self, Reply};
use super::request::Request;
use crate::daemon::Daemon;
use crate::errors::ApiError;
use crate::image::Reference;
use crate::registry::{self, Credentials, Platform, Progress, QUEUE, Wanted};

/// How long a client may leave a record unread before its pull or push is given up: others may wait for
/// the same layers.
const STALLED: Duration = Duration::from_secs(60);
/// Results of a search without `limit`, and at most.
const SEARCH_RESULTS: i64 = 25;
const MAX_SEARCH_RESULTS: i64 = 100;
const SEARCH_KEYS: &[&str] = &["is-automated", "is-official", "stars"];
const AUTH_HEADER: &str = "x-registry-auth";

/// An error as a record.
pub(super) fn error_line(error: &ApiError) -> Bytes {
    let message = &error.message;
    reply::json_line(&json!({"errorDetail": {"message": message}, "error": message}))
}

/// The name that `fromImage` and `tag` make; whether all its tags are meant.
fn named(image: &str, tag: &str) -> Result<(Reference, bool), ApiError> {
    let text = match tag {
        "" => image.trim_end_matches(':').to_owned(),
        digest if digest.contains(':') => format!("{image}@{digest}"),
        tag => {
            // A tag beside the name counts, as in Docker.
            let name = Reference::parse(image)?;
            format!("{}:{tag}", name.repository)
        }
    };
    let name = Reference::parse(&text)?;
    let all = name.tag.is_none() && name.digest.is_none();
    Ok((name, all))
}

/// A pull. It ends with its client.
pub(super) async fn pull(daemon: &Arc<Daemon>, request: Request) -> Result<Reply, ApiError> {
    let query = &request.query;
    let (name, all) = named(query.text("fromImage"), query.text("tag"))?;
    let wanted = Wanted {
        name: name.clone(),
        all,
        platform: query.some("platform").map(Platform::parse),
        credentials: Credentials::from_header(request.header(AUTH_HEADER)),
    };
    let daemon = Arc::clone(daemon);
    stream(&request.peer, move |progress| async move {
        let settings = daemon.settings().registries.clone();
        let (images, shared) = (Arc::clone(&daemon.images), Arc::clone(&daemon.registries));
        let pulled = registry::pull(images, shared, settings, wanted, progress).await?;
        for shown in pulled {
            images::publish(&daemon, "pull", &shown, name.familiar_repository());
        }
        Ok(())
    })
    .await
}

/// `POST /images/{name}/push`: without a tag all of the repository.
pub(crate) async fn push(
    daemon: &Arc<Daemon>,
    name: String,
    mut request: Request,
) -> Result<Reply, ApiError> {
    let header = request.header(AUTH_HEADER).to_owned();
    // Old clients send the credentials as the body.
    let credentials = if header.is_empty() && request.has_body() {
        request
            .json::<Credentials>()
            .await?
            .map(Credentials::complete)
            .unwrap_or_default()
    } else {
        Credentials::require(&header)?
    };
    let mut name = Reference::parse(&name)?;
    if name.digest.is_some() {
        return Err(ApiError::invalid("cannot push a digest reference"));
    }
    if let Some(tag) = request.query.some("tag") {
        name = Reference::parse(&format!("{}:{tag}", name.repository))?;
    }
    let daemon = Arc::clone(daemon);
    stream(&request.peer, move |progress| async move {
        let settings = daemon.settings().registries.clone();
        let (images, shared) = (Arc::clone(&daemon.images), Arc::clone(&daemon.registries));
        let repository = name.familiar_repository().to_owned();
        let pushed = registry::push(images, shared, settings, name, credentials, progress).await?;
        for shown in pushed {
            images::publish(&daemon, "push", &shown, &repository);
        }
        Ok(())
    })
    .await
}

/// `POST /auth`.
pub(crate) async fn auth(daemon: &Arc<Daemon>, request: &mut Request) -> Result<Reply, ApiError> {
    let credentials = request
        .json::<Credentials>()
        .await?
        .unwrap_or_default()
        .complete();
    let settings = daemon.settings().registries.clone();
    let token = registry::login(&settings, &credentials).await?;
    Ok(reply::json(
        StatusCode::OK,
        &json!({"IdentityToken": token, "Status": "Login Succeeded"}),
    ))
}

/// `GET /distribution/{name}/json`.
pub(crate) async fn distribution(
    daemon: &Arc<Daemon>,
    name: &str,
    request: &Request,
) -> Result<Reply, ApiError> {
    if name.starts_with("sha256:") {
        return Err(ApiError::system("no manifest found for full image ID"));
    }
    let name = Reference::parse(name)?.with_default_tag();
    let credentials = Credentials::from_header(request.header(AUTH_HEADER));
    let settings = daemon.settings().registries.clone();
    let found = registry::describe(&settings, &name, &credentials).await?;
    Ok(reply::json(StatusCode::OK, &found))
}

/// `GET /images/search`.
pub(crate) async fn search(daemon: &Arc<Daemon>, request: &Request) -> Result<Reply, ApiError> {
    let filters = Filters::parse(request.query.text("filters"))?;
    filters.validate(SEARCH_KEYS)?;
    let limit = match request.query.number("limit")? {
        None | Some(0) => SEARCH_RESULTS,
        Some(limit) if (1..=MAX_SEARCH_RESULTS).contains(&limit) => limit,
        Some(limit) => {
            return Err(ApiError::invalid(format!(
                "Limit {limit} is outside the range of [1, {MAX_SEARCH_RESULTS}]"
            )));
        }
    };
    let official = filters.boolean("is-official")?;
    let automated = filters.boolean("is-automated")?;
    let mut stars = 0;
    for text in filters.get("stars") {
        let least: i64 = text
            .parse()
            .map_err(|_| ApiError::invalid(format!("invalid filter 'stars=[{text}]'")))?;
        stars = stars.max(least);
    }
    let credentials = Credentials::from_header(request.header(AUTH_HEADER));
    let settings = daemon.settings().registries.clone();
    let term = request.query.text("term");
    // At most MAX_SEARCH_RESULTS.
    let number = u32::try_from(limit).unwrap_or_default();
    let mut found = registry::search(&settings, term, number, &credentials).await?;
    found.retain(|image| {
        official.is_none_or(|wanted| image.is_official == wanted)
            && automated.is_none_or(|wanted| image.is_automated == wanted)
            && image.star_count >= stars
    });
    Ok(reply::json(StatusCode::OK, &found))
}

/// Runs work that tells of its progress. The answer begins with the first record; an error before that is
/// the answer's status, a later one a record. The work is dropped when its client is gone.
async fn stream<F, W>(peer: &Peer, work: F) -> Result<Reply, ApiError>
where
    F: FnOnce(Progress) -> W,
    W: Future<Output = Result<(), ApiError>> + Send + 'static,
{
    let (records, mut waiting) = mpsc::channel::<Bytes>(QUEUE);
    let mut task = Work(tokio::spawn(work(Progress::new(records))));
    let first = tokio::select! {
        first = waiting.recv() => first,
        () = peer.gone() => return Err(ApiError::system("the client is gone")),
    };
    let (sender, reply) = reply::stream("application/json");
    let Some(first) = first else {
        task.end().await?;
        return Ok(reply);
    };
    let peer = peer.clone();
    tokio::spawn(async move {
        let mut next = Some(first);
        while let Some(record) = next {
            let sent = tokio::time::timeout(STALLED, sender.send(record)).await;
            if !matches!(sent, Ok(Ok(()))) {
                return;
            }
            next = tokio::select! {
                record = waiting.recv() => record,
                () = peer.gone() => return,
                () = sender.closed() => return,
            };
        }
        if let Err(error) = task.end().await {
            tracing::info!(error = %error, "a pull or push failed");
            let _ = sender.send(error_line(&error)).await;
        }
    });
    Ok(reply)
}

/// A task that ends with its owner.
struct Work(tokio::task::JoinHandle<Result<(), ApiError>>);

impl Work {
    async fn end(&mut self) -> Result<(), ApiError> {
        (&mut self.0)
            .await
            .unwrap_or_else(|error| Err(ApiError::system(format!("registry: {error}"))))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_pulls() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let parse = |image: &str, tag: &str| {
            let (name, all) = named(image, tag).unwrap();
            (name.familiar(), all)
        };
        assert_eq!(parse("docker.io/library/a", "1"), ("a:1".to_owned(), false));
        assert_eq!(parse("a:2", "1"), ("a:1".to_owned(), false));
        assert_eq!(parse("a:2", ""), ("a:2".to_owned(), false));
        assert_eq!(parse("a", ""), ("a".to_owned(), true));
        assert_eq!(
            parse("r:5000/a", &digest),
            (format!("r:5000/a@{digest}"), false)
        );
        assert_eq!(
            parse(&format!("a@{digest}"), ""),
            (format!("a@{digest}"), false)
        );
        assert!(named("A", "").is_err() && named("a", "b c").is_err());
    }
}
