//! From method and path to a [`Route`]: the table of endpoints, versions, and the answers that
//! need no daemon (ping, unknown paths, what is not built).

use std::sync::Arc;

use http::{HeaderValue, Method, StatusCode, header};
use hyper::body::Incoming;

use super::connection::Peer;
use super::query::{self, Query};
use super::reply::{self, Answer, Reply};
use super::request::Request;
use super::server::Service;
use super::version;
use crate::errors::{ApiError, ErrorKind};

/// An endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Ping,
    Version,
    Info,
    SystemDf,
    Events,
    ContainerList,
    ContainerCreate,
    ContainerInspect,
    ContainerStart,
    ContainerAttach,
    ContainerAttachWs,
    ContainerWait,
    ContainerResize,
    ContainerLogs,
    LogCheck,
    LogExplain,
    LogTest,
    ContainerKill,
    ContainerStop,
    ContainerRemove,
    ContainerRestart,
    ContainerPause,
    ContainerUnpause,
    ContainerRename,
    ContainerUpdate,
    ContainerTop,
    ContainerChanges,
    ContainerStats,
    ContainerExport,
    Commit,
    ArchiveStat,
    ArchiveGet,
    ArchivePut,
    ContainerPrune,
    ExecCreate,
    ExecStart,
    ExecResize,
    ExecInspect,
    ImageList,
    ImageInspect,
    ImageHistory,
    ImageRemove,
    ImageTag,
    ImageCreate,
    ImageLoad,
    ImageSave,
    ImagePrune,
    ImagePush,
    ImageSearch,
    Distribution,
    Auth,
    NetworkList,
    NetworkInspect,
    NetworkCreate,
    NetworkRemove,
    NetworkConnect,
    NetworkDisconnect,
    NetworkPrune,
    VolumeList,
    VolumeInspect,
    VolumeCreate,
    VolumePrune,
    VolumeRemove,
    SpoolList,
    SpoolRemove,
    PluginList,
    PluginInspect,
    /// Known to Docker, answered by 503: this is no swarm.
    Swarm,
    /// Known to Docker, not built in this version: 501.
    NotBuilt,
    /// Docker's own 404 on a server without experimental mode.
    Experimental,
}

/// Method (`*` is any), path with at most one `{}` (any text that is not empty), endpoint. The
/// first match counts, so exact paths come before patterns.
pub(super) const ROUTES: &[(&str, &str, Route)] = &[
    ("HEAD", "/_ping", Route::Ping),
    ("GET", "/_ping", Route::Ping),
    ("GET", "/version", Route::Version),
    ("GET", "/info", Route::Info),
    ("GET", "/events", Route::Events),
    ("GET", "/containers/json", Route::ContainerList),
    ("POST", "/containers/create", Route::ContainerCreate),
    ("POST", "/containers/prune", Route::ContainerPrune),
    ("GET", "/containers/{}/json", Route::ContainerInspect),
    ("POST", "/containers/{}/start", Route::ContainerStart),
    ("POST", "/containers/{}/attach", Route::ContainerAttach),
    ("GET", "/containers/{}/attach/ws", Route::ContainerAttachWs),
    ("POST", "/containers/{}/wait", Route::ContainerWait),
    ("POST", "/containers/{}/resize", Route::ContainerResize),
    ("GET", "/containers/{}/logs", Route::ContainerLogs),
    ("POST", "/containers/{}/logs/check", Route::LogCheck),
    ("GET", "/containers/{}/logs/explain", Route::LogExplain),
    ("POST", "/logs/test", Route::LogTest),
    ("POST", "/containers/{}/kill", Route::ContainerKill),
    ("POST", "/containers/{}/stop", Route::ContainerStop),
    ("POST", "/containers/{}/restart", Route::ContainerRestart),
    ("POST", "/containers/{}/pause", Route::ContainerPause),
    ("POST", "/containers/{}/unpause", Route::ContainerUnpause),
    ("POST", "/containers/{}/rename", Route::ContainerRename),
    ("POST", "/containers/{}/update", Route::ContainerUpdate),
    ("POST", "/containers/{}/exec", Route::ExecCreate),
    ("GET", "/containers/{}/top", Route::ContainerTop),
    ("GET", "/containers/{}/stats", Route::ContainerStats),
    ("GET", "/containers/{}/changes", Route::ContainerChanges),
    ("GET", "/containers/{}/export", Route::ContainerExport),
    ("HEAD", "/containers/{}/archive", Route::ArchiveStat),
    ("GET", "/containers/{}/archive", Route::ArchiveGet),
    ("PUT", "/containers/{}/archive", Route::ArchivePut),
    ("*", "/containers/{}/checkpoints", Route::Experimental),
    ("*", "/containers/{}/checkpoints/{}", Route::Experimental),
    ("DELETE", "/containers/{}", Route::ContainerRemove),
    ("POST", "/commit", Route::Commit),
    ("POST", "/exec/{}/start", Route::ExecStart),
    ("POST", "/exec/{}/resize", Route::ExecResize),
    ("GET", "/exec/{}/json", Route::ExecInspect),
    ("GET", "/images/json", Route::ImageList),
    ("GET", "/images/search", Route::ImageSearch),
    ("GET", "/images/get", Route::ImageSave),
    ("POST", "/images/create", Route::ImageCreate),
    ("POST", "/images/load", Route::ImageLoad),
    ("POST", "/images/prune", Route::ImagePrune),
    ("GET", "/images/{}/json", Route::ImageInspect),
    ("GET", "/images/{}/history", Route::ImageHistory),
    ("GET", "/images/{}/get", Route::ImageSave),
    ("POST", "/images/{}/tag", Route::ImageTag),
    ("POST", "/images/{}/push", Route::ImagePush),
    ("DELETE", "/images/{}", Route::ImageRemove),
    ("GET", "/distribution/{}/json", Route::Distribution),
    ("POST", "/auth", Route::Auth),
    ("GET", "/spool", Route::SpoolList),
    ("DELETE", "/spool/{}", Route::SpoolRemove),
    ("GET", "/system/df", Route::SystemDf),
    ("POST", "/build", Route::NotBuilt),
    ("POST", "/build/prune", Route::NotBuilt),
    ("POST", "/build/cancel", Route::NotBuilt),
    ("POST", "/session", Route::NotBuilt),
    ("POST", "/grpc", Route::NotBuilt),
    ("GET", "/networks", Route::NetworkList),
    ("GET", "/networks/", Route::NetworkList),
    ("GET", "/networks/{}", Route::NetworkInspect),
    ("POST", "/networks/create", Route::NetworkCreate),
    ("POST", "/networks/prune", Route::NetworkPrune),
    ("POST", "/networks/{}/connect", Route::NetworkConnect),
    ("POST", "/networks/{}/disconnect", Route::NetworkDisconnect),
    ("DELETE", "/networks/{}", Route::NetworkRemove),
    ("GET", "/volumes", Route::VolumeList),
    ("GET", "/volumes/{}", Route::VolumeInspect),
    ("POST", "/volumes/create", Route::VolumeCreate),
    ("POST", "/volumes/prune", Route::VolumePrune),
    ("DELETE", "/volumes/{}", Route::VolumeRemove),
    ("GET", "/plugins", Route::PluginList),
    ("GET", "/plugins/{}/json", Route::PluginInspect),
    ("*", "/swarm", Route::Swarm),
    ("*", "/swarm/{}", Route::Swarm),
    ("*", "/services", Route::Swarm),
    ("*", "/services/{}", Route::Swarm),
    ("*", "/nodes", Route::Swarm),
    ("*", "/nodes/{}", Route::Swarm),
    ("*", "/tasks", Route::Swarm),
    ("*", "/tasks/{}", Route::Swarm),
    ("*", "/secrets", Route::Swarm),
    ("*", "/secrets/{}", Route::Swarm),
    ("*", "/configs", Route::Swarm),
    ("*", "/configs/{}", Route::Swarm),
];

/// The table's entry for a decoded path without version, and the text that `{}` stood for.
pub(super) fn find<'a>(method: &Method, path: &'a str) -> Option<(&'static str, Route, &'a str)> {
    ROUTES.iter().find_map(|(verb, pattern, route)| {
        if *verb != "*" && *verb != method.as_str() {
            return None;
        }
        Some((*pattern, *route, capture(pattern, path)?))
    })
}

/// What the first `{}` of a pattern stands for in a path; `""` for an exact match.
fn capture<'a>(pattern: &str, path: &'a str) -> Option<&'a str> {
    let Some((prefix, suffix)) = pattern.split_once("{}") else {
        return (pattern == path).then_some("");
    };
    let rest = path.strip_prefix(prefix)?;
    let name = match suffix.split_once("{}") {
        Some((middle, _)) => {
            let (name, last) = rest.split_once(middle)?;
            (!last.is_empty()).then_some(name)?
        }
        None => rest.strip_suffix(suffix)?,
    };
    (!name.is_empty()).then_some(name)
}

/// Serves the endpoints that need a daemon.
pub(crate) trait Backend: Send + Sync + 'static {
    /// Answers a request to an endpoint; `name` is the container, image, ... of its path.
    fn serve(
        self: Arc<Self>,
        route: Route,
        name: String,
        request: Request,
    ) -> impl Future<Output = Result<Answer, ApiError>> + Send;
}

/// The whole API over a backend.
#[derive(Debug)]
pub(crate) struct Router<B>(pub(crate) Arc<B>);

impl<B: Backend> Service for Router<B> {
    async fn answer(self: Arc<Self>, request: http::Request<Incoming>, peer: Peer) -> Answer {
        let method = request.method().clone();
        let started = std::time::Instant::now();
        let path = request.uri().path().to_owned();
        let answer = route(&self.0, request, peer).await;
        tracing::debug!(
            %method,
            path,
            answer = ?answer,
            micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
            "request"
        );
        answer
    }
}

async fn route<B: Backend>(
    backend: &Arc<B>,
    request: http::Request<Incoming>,
    peer: Peer,
) -> Answer {
    let (parts, body) = request.into_parts();
    let Ok(path) = query::decode(parts.uri.path(), false) else {
        return not_found().into();
    };
    let (asked, path) = match version::split(&path) {
        Some((asked, rest)) => (Some(asked), rest),
        None => (None, path.as_str()),
    };
    // Docker answers this for every path.
    if parts.method == Method::OPTIONS {
        return reply::empty(StatusCode::OK).into();
    }
    let Some((pattern, route, name)) = find(&parts.method, path) else {
        return not_found().into();
    };
    let version = match version::negotiate(asked) {
        Ok(version) => version,
        Err(error) => return mark_ping(route, reply::error(&error)).into(),
    };
    let query = match Query::parse(parts.uri.query().unwrap_or("")) {
        Ok(query) => query,
        Err(error) => return mark_ping(route, reply::error(&error)).into(),
    };
    match route {
        Route::Ping => {
            let reply = if parts.method == Method::HEAD {
                let mut reply = reply::empty(StatusCode::OK);
                reply.headers_mut().insert(
                    header::CONTENT_TYPE,
                    HeaderValue::from_static("text/plain; charset=utf-8"),
                );
                reply
            } else {
                reply::text(StatusCode::OK, "OK")
            };
            mark_ping(route, reply).into()
        }
        Route::Swarm => reply::error(&ApiError::new(
            ErrorKind::Unavailable,
            "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" \
             to connect this node to swarm and try again.",
        ))
        .into(),
        Route::Experimental => not_found().into(),
        Route::NotBuilt => reply::error(&ApiError::new(
            ErrorKind::NotImplemented,
            format!(
                "{} {} is not built in this version of Taffrail",
                parts.method,
                pattern.replace("{}", "{name}")
            ),
        ))
        .into(),
        _ => {
            let name = name.to_owned();
            let request = Request {
                query,
                version,
                headers: parts.headers,
                body,
                peer,
            };
            match Arc::clone(backend).serve(route, name, request).await {
                Ok(answer) => answer,
                Err(error) => {
                    if error.kind == ErrorKind::System {
                        tracing::warn!(?route, error = %error, "request failed");
                    }
                    reply::error(&error).into()
                }
            }
        }
    }
}

/// Unknown path or wrong method.
fn not_found() -> Reply {
    reply::error(&ApiError::not_found("page not found"))
}

/// The headers that clients read from any answer to `/_ping`, errors too.
fn mark_ping(route: Route, mut reply: Reply) -> Reply {
    if route == Route::Ping {
        let headers = reply.headers_mut();
        headers.insert(
            header::CACHE_CONTROL,
            HeaderValue::from_static("no-cache, no-store, must-revalidate"),
        );
        headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
        headers.insert("swarm", HeaderValue::from_static("inactive"));
    }
    reply
}

#[cfg(test)]
mod unit {
    use super::*;

    fn lookup<'a>(method: &str, path: &'a str) -> Option<(Route, &'a str)> {
        find(&Method::from_bytes(method.as_bytes()).unwrap(), path)
            .map(|(_, route, name)| (route, name))
    }

    #[test]
    fn paths_and_names() {
        assert_eq!(
            lookup("GET", "/containers/json"),
            Some((Route::ContainerList, ""))
        );
        assert_eq!(
            lookup("GET", "/containers/web/json"),
            Some((Route::ContainerInspect, "web"))
        );
        assert_eq!(
            lookup("DELETE", "/containers//web"),
            Some((Route::ContainerRemove, "/web"))
        );
        assert_eq!(
            lookup("GET", "/images/docker.io/library/bb:1/json"),
            Some((Route::ImageInspect, "docker.io/library/bb:1"))
        );
        assert_eq!(
            lookup("DELETE", "/images/a/b:1"),
            Some((Route::ImageRemove, "a/b:1"))
        );
        assert_eq!(
            lookup("POST", "/containers/x/checkpoints"),
            Some((Route::Experimental, "x"))
        );
        assert_eq!(lookup("GET", "/swarm"), Some((Route::Swarm, "")));
        assert_eq!(lookup("POST", "/swarm/init"), Some((Route::Swarm, "init")));
        assert_eq!(
            lookup("GET", "/plugins/x/json"),
            Some((Route::PluginInspect, "x"))
        );
    }

    #[test]
    fn unknown_paths_and_wrong_methods() {
        for (method, path) in [
            ("GET", "/"),
            ("GET", "/containers"),
            ("GET", "/containers/"),
            ("GET", "/containers//json"),
            ("GET", "/containers/json/"),
            ("PUT", "/containers/json"),
            ("GET", "/containers/x/start"),
            ("POST", "/_ping"),
            ("DELETE", "/containers/"),
            ("GET", "/swarmx"),
        ] {
            assert_eq!(lookup(method, path), None, "{method} {path}");
        }
    }

    /// No entry is hidden by an earlier one.
    #[test]
    fn every_entry_is_reachable() {
        for (verb, pattern, route) in ROUTES {
            let method = if *verb == "*" { "GET" } else { verb };
            let path = pattern.replace("{}", "n");
            let found = find(&Method::from_bytes(method.as_bytes()).unwrap(), &path);
            assert_eq!(
                found.map(|(p, r, _)| (p, r)),
                Some((*pattern, *route)),
                "{verb} {pattern}"
            );
        }
    }
}
