//! The endpoints over a [`Daemon`]: which function answers which route.

use std::sync::Arc;

use http::StatusCode;
use tokio::sync::watch;

use super::reply::{self, Answer};
use super::request::Request;
use super::router::{Backend, Route, Router};
use super::server::{self, Limits, Listener};
use super::{
    archive, attach, attach_ws, commit, containers, df, events, exec, images, lifecycle, load,
    log_check, log_test, logs, network_create, networks, registry, save, spool, stats, system,
    volumes, wait,
};
use crate::daemon::Daemon;
use crate::errors::ApiError;

/// Serves the API on a listener until `stop` becomes true. Returns once the connections have
/// ended, or were cut after a few seconds.
pub(crate) async fn serve(daemon: Arc<Daemon>, listener: Listener, stop: watch::Receiver<bool>) {
    let router = Router(Arc::new(Api { daemon }));
    server::serve(listener, Arc::new(router), Limits::default(), stop).await;
}

struct Api {
    daemon: Arc<Daemon>,
}

impl Backend for Api {
    async fn serve(
        self: Arc<Self>,
        route: Route,
        name: String,
        mut request: Request,
    ) -> Result<Answer, ApiError> {
        let daemon = &self.daemon;
        let reply = match route {
            Route::Version => reply::json(StatusCode::OK, &system::version()),
            Route::Info => reply::json(StatusCode::OK, &system::info(daemon).await),
            Route::SystemDf => df::df(daemon, &request).await?,
            Route::Events => events::stream(&daemon.events, &request)?,
            Route::ContainerList => containers::list(daemon, &request).await?,
            Route::ContainerCreate => containers::create(daemon, &mut request).await?,
            Route::ContainerInspect => containers::inspect(daemon, &name, &request).await?,
            Route::ContainerStart => containers::start(daemon, &name, &request).await?,
            Route::ContainerAttach => return Ok(attach::attach(daemon, &name, request).await),
            Route::ContainerAttachWs => return attach_ws::attach(daemon, &name, request).await,
            Route::ContainerWait => wait::wait(daemon, &name, &request).await?,
            Route::ContainerResize => containers::resize(daemon, &name, &request).await?,
            Route::ContainerLogs => logs::stream(daemon, &name, &request).await?,
            Route::LogCheck => log_check::check(daemon, &name, &request).await?,
            Route::LogExplain => log_test::explain(daemon, &name).await?,
            Route::LogTest => log_test::test(daemon, &mut request).await?,
            Route::ContainerKill => containers::kill(daemon, &name, &request).await?,
            Route::ContainerStop => containers::stop(daemon, &name, &request).await?,
            Route::ContainerRemove => containers::remove(daemon, &name, &request).await?,
            Route::ContainerRestart => lifecycle::restart(daemon, &name, &request).await?,
            Route::ContainerPause => lifecycle::pause(daemon, &name).await?,
            Route::ContainerUnpause => lifecycle::unpause(daemon, &name).await?,
            Route::ContainerRename => lifecycle::rename(daemon, &name, &request).await?,
            Route::ContainerUpdate => lifecycle::update(daemon, &name, &mut request).await?,
            Route::ContainerTop => lifecycle::top(daemon, &name, &request).await?,
            Route::ContainerChanges => archive::changes(daemon, &name).await?,
            Route::ContainerStats => stats::stats(daemon, &name, &request).await?,
            Route::ContainerExport => commit::export(daemon, &name).await?,
            Route::Commit => commit::commit(daemon, &mut request).await?,
            Route::ArchiveStat => archive::stat(daemon, &name, &request).await?,
            Route::ArchiveGet => archive::get(daemon, &name, &request).await?,
            Route::ArchivePut => archive::put(daemon, &name, request).await?,
            Route::ContainerPrune => lifecycle::prune(daemon, &request).await?,
            Route::ExecCreate => exec::create(daemon, &name, &mut request).await?,
            Route::ExecStart => return exec::start(daemon, &name, request).await,
            Route::ExecResize => exec::resize(daemon, &name, &request)?,
            Route::ExecInspect => exec::inspect(daemon, &name)?,
            Route::ImageList => images::list(daemon, &request).await?,
            Route::ImageInspect => images::inspect(daemon, name).await?,
            Route::ImageHistory => images::history(daemon, name).await?,
            Route::ImageRemove => images::remove(daemon, name, &request).await?,
            Route::ImageTag => images::tag(daemon, name, &request).await?,
            Route::ImageCreate => load::create(daemon, request).await?,
            Route::ImageLoad => load::load(daemon, request).await?,
            Route::ImagePrune => save::prune(daemon, &request).await?,
            Route::ImagePush => registry::push(daemon, name, request).await?,
            Route::ImageSearch => registry::search(daemon, &request).await?,
            Route::Distribution => registry::distribution(daemon, &name, &request).await?,
            Route::Auth => registry::auth(daemon, &mut request).await?,
            Route::ImageSave => {
                let names = match name.is_empty() {
                    true => request.query.all("names"),
                    false => vec![name],
                };
                save::save(daemon, names).await?
            }
            Route::NetworkList => reply::json(StatusCode::OK, &networks::list(daemon, &request)?),
            Route::NetworkInspect => {
                reply::json(StatusCode::OK, &networks::inspect(daemon, &name, &request)?)
            }
            Route::NetworkCreate => network_create::create(daemon, &mut request).await?,
            Route::NetworkRemove => network_create::remove(daemon, &name).await?,
            Route::NetworkConnect => network_create::connect(daemon, &name, &mut request).await?,
            Route::NetworkDisconnect => {
                network_create::disconnect(daemon, &name, &mut request).await?
            }
            Route::NetworkPrune => network_create::prune(daemon, &request).await?,
            Route::VolumeList => volumes::list(daemon, &request)?,
            Route::VolumeInspect => volumes::inspect(daemon, &name)?,
            Route::VolumeCreate => volumes::create(daemon, &mut request).await?,
            Route::VolumePrune => volumes::prune(daemon, &request).await?,
            Route::VolumeRemove => volumes::remove(daemon, name, &request).await?,
            Route::SpoolList => spool::list(daemon).await?,
            Route::SpoolRemove => spool::remove(daemon, name).await?,
            Route::PluginList => reply::json(StatusCode::OK, &[(); 0]),
            Route::PluginInspect => return Err(networks::no_plugin(&name)),
            // Answered by the router.
            Route::Ping | Route::Swarm | Route::NotBuilt | Route::Experimental => {
                return Err(ApiError::not_found("page not found"));
            }
        };
        Ok(reply.into())
    }
}
