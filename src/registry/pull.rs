//! Pulling an image: its manifest, its configuration, its layers at the same time; unpacked in their
//! order, with Docker's records of progress (source: Moby `distribution/pull_v2.go`, `distribution/xfer`).

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::Method;
use reqwest::header::{ACCEPT, HeaderValue};
use serde::Deserialize;
use tokio::task::JoinSet;

use super::auth::Credentials;
use super::download::{self, Blob};
use super::error::RegistryError;
use super::host::RegistrySettings;
use super::http::{Actions, Session, limited, open};
use super::manifest::{self, Descriptor, Document, Manifest, Platform};
use super::progress::{Meter, Progress, short};
use super::{Cancel, Registries};
use crate::image::{ImageStore, KnownBlob, Pull, Reference};

/// Largest manifest or index (registries' own limit), and configuration.
const MAX_MANIFEST: usize = 4 << 20;
const MAX_CONFIG: usize = 4 << 20;
/// Largest list of tags, and pages of it.
const MAX_TAGS: usize = 4 << 20;
const MAX_PAGES: usize = 256;
/// Indexes within indexes.
const MAX_NESTING: usize = 4;

/// What is to be pulled.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) name: Reference,
    /// All tags of the repository; the name has none.
    pub(crate) all: bool,
    /// `None`: the host's.
    pub(crate) platform: Option<Platform>,
    pub(crate) credentials: Credentials,
}

/// Everything a pull works with.
struct Work {
    images: Arc<ImageStore>,
    registries: Arc<Registries>,
    settings: RegistrySettings,
    wanted: Wanted,
    progress: Progress,
}

/// Pulls; the names (familiar) of what was pulled. Dropping the future cancels it: what is under way is
/// given up and removed.
///
/// # Errors
/// The registry's, what it sends, the disk's. What was complete before stays.
pub(crate) async fn pull(
    images: Arc<ImageStore>,
    registries: Arc<Registries>,
    settings: RegistrySettings,
    wanted: Wanted,
    progress: Progress,
) -> Result<Vec<String>, RegistryError> {
    let name = wanted.name.familiar();
    let repository = wanted.name.familiar_repository().to_owned();
    let work = Arc::new(Work {
        images,
        registries,
        settings,
        wanted,
        progress,
    });
    let (domain, path) = work.wanted.name.split();
    let sessions = open(
        &work.settings,
        domain,
        path,
        &work.wanted.credentials,
        Actions::Pull,
    )
    .await?;
    let mut last = None;
    let count = sessions.len();
    for (at, session) in sessions.into_iter().enumerate() {
        match from(&work, Arc::new(session)).await {
            Ok(pulled) => return Ok(pulled),
            // A mirror may lack what the registry has.
            Err(error) if at + 1 < count => {
                tracing::info!(image = name, error = %error, "a mirror cannot give the image");
                last = Some(error);
            }
            Err(error) => return Err(error.of_pull(&name, &repository)),
        }
    }
    // `open` gives at least one.
    Err(last.unwrap_or(RegistryError::Cancelled))
}

async fn from(work: &Arc<Work>, session: Arc<Session>) -> Result<Vec<String>, RegistryError> {
    if !work.wanted.all {
        let name = work.wanted.name.clone();
        return Ok(vec![one(work, &session, name).await?]);
    }
    let mut pulled = Vec::new();
    for tag in tags(&session).await? {
        let mut name = work.wanted.name.clone();
        name.tag = Some(tag);
        pulled.push(one(work, &session, name).await?);
    }
    Ok(pulled)
}

#[derive(Deserialize)]
struct Tags {
    tags: Option<Vec<String>>,
}

/// All tags of the repository.
async fn tags(session: &Session) -> Result<Vec<String>, RegistryError> {
    let mut found = Vec::new();
    let mut ask = session.ask(Method::GET, "tags/list")?;
    for _ in 0..MAX_PAGES {
        let response = session.succeed(&ask).await?;
        let next = response
            .headers()
            .get("link")
            .and_then(|value| value.to_str().ok())
            .filter(|value| value.contains("rel=\"next\""))
            .and_then(|value| value.split(['<', '>']).nth(1))
            .and_then(|path| ask.url.join(path).ok());
        let body = limited(response, MAX_TAGS, "Get", &ask.url).await?;
        let page: Tags =
            serde_json::from_slice(&body).map_err(|error| RegistryError::Manifest {
                name: session.repository.clone(),
                why: format!("the registry's list of tags is not valid: {error}"),
            })?;
        found.extend(page.tags.unwrap_or_default());
        match next {
            Some(url) => ask.url = url,
            None => return Ok(found),
        }
    }
    Err(RegistryError::Manifest {
        name: session.repository.clone(),
        why: format!("the registry's list of tags has more than {MAX_PAGES} pages"),
    })
}

/// A manifest or index, as it was sent.
pub(super) struct Fetched {
    pub(super) document: Document,
    pub(super) media_type: String,
    pub(super) digest: String,
    pub(super) bytes: Vec<u8>,
}

/// Fetches what a tag or digest stands for, and compares the digest.
pub(super) async fn document(session: &Session, reference: &str) -> Result<Fetched, RegistryError> {
    let mut ask = session.ask(Method::GET, &format!("manifests/{reference}"))?;
    for kind in manifest::ACCEPT {
        ask.headers.append(ACCEPT, HeaderValue::from_static(kind));
    }
    let response = session.succeed(&ask).await?;
    let header = |name: &str| {
        response
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    let kind = header("content-type");
    let said = header("docker-content-digest");
    let bytes = limited(response, MAX_MANIFEST, "Get", &ask.url).await?;
    let digest = crate::image::digest(&bytes);
    let expected = if reference.starts_with("sha256:") {
        reference
    } else if said.starts_with("sha256:") {
        &said
    } else {
        &digest
    };
    if expected != digest {
        return Err(RegistryError::Verification {
            what: "manifest",
            digest: expected.to_owned(),
        });
    }
    let (document, media_type) = manifest::parse(&session.repository, &kind, &bytes)?;
    Ok(Fetched {
        document,
        media_type,
        digest,
        bytes,
    })
}

/// Pulls one tag or digest; its familiar name.
async fn one(
    work: &Arc<Work>,
    session: &Arc<Session>,
    name: Reference,
) -> Result<String, RegistryError> {
    let shown = name.familiar();
    // With both, the digest counts.
    let reference = name.digest.as_ref().or(name.tag.as_ref());
    let reference = reference.map_or("latest", String::as_str).to_owned();
    let top = document(session, &reference).await?;
    let id = if name.digest.is_some() {
        &shown
    } else {
        &reference
    };
    work.progress
        .named(id, &format!("Pulling from {}", session.repository))
        .await;
    let platform = work.wanted.platform.clone().unwrap_or_else(Platform::host);
    let digest = top.digest.clone();
    let (image, bytes) = image_of(session, top, &platform).await?;
    let new = content(work, session, &name, &digest, &image, &bytes).await?;
    work.progress.message(&format!("Digest: {digest}")).await;
    let status = if new {
        format!("Status: Downloaded newer image for {shown}")
    } else {
        format!("Status: Image is up to date for {shown}")
    };
    work.progress.message(&status).await;
    Ok(shown)
}

/// The image's manifest, through indexes.
async fn image_of(
    session: &Session,
    top: Fetched,
    platform: &Platform,
) -> Result<(Manifest, Vec<u8>), RegistryError> {
    let mut at = top;
    for _ in 0..=MAX_NESTING {
        match at.document {
            Document::Image(image) => return Ok((image, at.bytes)),
            Document::Index(list) => {
                let chosen = manifest::choose(&list, platform)?;
                at = document(session, &chosen.digest).await?;
            }
        }
    }
    Err(RegistryError::Manifest {
        name: session.repository.clone(),
        why: format!("indexes are nested more than {MAX_NESTING} deep"),
    })
}

#[derive(Deserialize)]
struct System {
    #[serde(default)]
    os: String,
}

/// The image's configuration, compared with its digest.
pub(super) async fn config(
    session: &Session,
    wanted: &Descriptor,
) -> Result<Vec<u8>, RegistryError> {
    let ask = session.ask(Method::GET, &format!("blobs/{}", wanted.digest))?;
    let response = session.succeed(&ask).await?;
    let bytes = limited(response, MAX_CONFIG, "Get", &ask.url).await?;
    if crate::image::digest(&bytes) != wanted.digest {
        return Err(RegistryError::Verification {
            what: "image config",
            digest: wanted.digest.clone(),
        });
    }
    if let Ok(System { os }) = serde_json::from_slice(&bytes)
        && !os.is_empty()
        && os != "linux"
    {
        return Err(RegistryError::OperatingSystem(os));
    }
    Ok(bytes)
}

/// Brings the image's layers and makes it visible. False if the name has meant it before.
async fn content(
    work: &Arc<Work>,
    session: &Arc<Session>,
    name: &Reference,
    digest: &str,
    image: &Manifest,
    manifest: &[u8],
) -> Result<bool, RegistryError> {
    for layer in &image.layers {
        manifest::check_layer(layer)?;
        if !layer.digest.starts_with("sha256:") {
            return Err(RegistryError::Manifest {
                name: session.repository.clone(),
                why: format!("unsupported digest {}", layer.digest),
            });
        }
    }
    let config = config(session, &image.config).await?;
    let pull = {
        let images = Arc::clone(&work.images);
        let layers = image.layers.len();
        blocking(move || Ok(images.begin_pull(config, layers)?)).await?
    };
    let pull = Arc::new(pull);
    let before = {
        let (images, name) = (Arc::clone(&work.images), name.clone());
        blocking(move || Ok(images.id_of(&name))).await?
    };
    let new = before.as_deref() != Some(pull.id());
    if !pull.is_known() {
        layers(work, session, image, &pull).await?;
    }
    let pull = Arc::into_inner(pull).ok_or(RegistryError::Cancelled)?;
    let forms: Vec<KnownBlob> = image.layers.iter().map(known).collect();
    let (name, digest, manifest) = (name.clone(), digest.to_owned(), manifest.to_vec());
    blocking(move || {
        for (index, form) in forms.iter().enumerate() {
            pull.remember(index, form, &name.repository);
        }
        Ok(pull.finish(&name, &digest, &manifest)?)
    })
    .await?;
    Ok(new)
}

fn known(layer: &Descriptor) -> KnownBlob {
    KnownBlob {
        digest: layer.digest.clone(),
        size: layer.size,
        media_type: layer.media_type.clone(),
        repositories: Vec::new(),
    }
}

/// Fetches layers at the same time and unpacks them one after another.
async fn layers(
    work: &Arc<Work>,
    session: &Arc<Session>,
    image: &Manifest,
    pull: &Arc<Pull>,
) -> Result<(), RegistryError> {
    let cancel = Cancel::default();
    let mut fetching = JoinSet::new();
    let mut missing = vec![false; image.layers.len()];
    for (index, layer) in image.layers.iter().enumerate() {
        let id = short(&layer.digest);
        if has(pull, index).await? {
            work.progress.state(&id, "Already exists").await;
        } else {
            work.progress.state(&id, "Pulling fs layer").await;
            missing[index] = true;
        }
    }
    for (index, layer) in image.layers.iter().enumerate() {
        if !missing[index] {
            continue;
        }
        let (work, session) = (Arc::clone(work), Arc::clone(session));
        let (layer, pull) = (layer.clone(), Arc::clone(pull));
        fetching.spawn(async move { (index, fetch(&work, &session, &layer, &pull, index).await) });
    }
    // What has come before its turn.
    let mut come: Vec<Option<Option<Arc<Blob>>>> = vec![None; image.layers.len()];
    for (index, layer) in image.layers.iter().enumerate() {
        if !missing[index] {
            continue;
        }
        while come[index].is_none() {
            match fetching.join_next().await {
                Some(Ok((at, blob))) => come[at] = Some(blob?),
                Some(Err(error)) => return Err(RegistryError::Invalid(error.to_string())),
                None => return Err(RegistryError::Cancelled),
            }
        }
        let id = short(&layer.digest);
        // Another pull may have put it in place meanwhile.
        let Some(blob) = come[index].take().flatten() else {
            work.progress.state(&id, "Already exists").await;
            continue;
        };
        if has(pull, index).await? {
            work.progress.state(&id, "Already exists").await;
            continue;
        }
        let meter = work.progress.meter(&id, "Extracting", layer.size);
        let (pull, cancelled) = (Arc::clone(pull), cancel.flag());
        blocking(move || {
            let file = File::open(blob.path()).map_err(RegistryError::io("read a layer"))?;
            let mut reader = Metered {
                file,
                read: 0,
                meter,
                cancelled,
            };
            Ok(pull.add(index, &mut reader)?)
        })
        .await?;
        work.progress.state(&id, "Pull complete").await;
    }
    Ok(())
}

async fn has(pull: &Arc<Pull>, index: usize) -> Result<bool, RegistryError> {
    let pull = Arc::clone(pull);
    blocking(move || Ok(pull.has_layer(index))).await
}

/// Fetches one layer; `None` if another pull has put it in place while this one waited.
async fn fetch(
    work: &Work,
    session: &Session,
    layer: &Descriptor,
    pull: &Arc<Pull>,
    index: usize,
) -> Result<Option<Arc<Blob>>, RegistryError> {
    let id = short(&layer.digest);
    let slot = work.registries.blobs.slot(&layer.digest);
    let limit = work.registries.downloads.of(work.settings.downloads);
    let mut held = match slot.try_lock() {
        Ok(held) => held,
        Err(_) => {
            work.progress.state(&id, "Waiting").await;
            slot.lock().await
        }
    };
    if let Some(blob) = held.upgrade() {
        work.progress.state(&id, "Download complete").await;
        return Ok(Some(blob));
    }
    let permit = match limit.try_acquire() {
        Ok(permit) => permit,
        Err(_) => {
            work.progress.state(&id, "Waiting").await;
            // The semaphore is never closed.
            limit
                .acquire()
                .await
                .map_err(|_| RegistryError::Cancelled)?
        }
    };
    if has(pull, index).await? {
        return Ok(None);
    }
    let images = Arc::clone(&work.images);
    let folder = blocking(move || Ok(images.scratch()?)).await?;
    let blob = download::fetch(
        session,
        layer,
        folder,
        work.settings.attempts,
        &work.progress,
    )
    .await?;
    drop(permit);
    let blob = Arc::new(blob);
    *held = Arc::downgrade(&blob);
    Ok(Some(blob))
}

/// A layer's file while it is unpacked.
struct Metered {
    file: File,
    read: u64,
    meter: Meter,
    cancelled: Arc<AtomicBool>,
}

impl Read for Metered {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(io::Error::other("context canceled"));
        }
        let n = self.file.read(buf)?;
        self.read += n as u64;
        if n > 0 {
            self.meter.at(self.read);
        }
        Ok(n)
    }
}

/// Runs work on the disk.
pub(super) async fn blocking<T, F>(run: F) -> Result<T, RegistryError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, RegistryError> + Send + 'static,
{
    tokio::task::spawn_blocking(run)
        .await
        .map_err(|error| RegistryError::Invalid(error.to_string()))?
}
