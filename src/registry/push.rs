//! Pushing images: layers that the registry has are left there or mounted, others are compressed and sent;
//! then the configuration, then the manifest (source: Moby `distribution/push_v2.go`).
//!
//! A manifest that the image was pulled by is sent as it is, if all of its layers are found in their old
//! form: the digest stays the same.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;
use tokio::task::JoinSet;

use super::auth::Credentials;
use super::error::RegistryError;
use super::host::RegistrySettings;
use super::http::{Actions, Session, open};
use super::manifest::{self, Descriptor, Document};
use super::progress::{Progress, short};
use super::pull::blocking;
use super::upload::{self, Source};
use super::{Cancel, Registries};
use crate::image::{ImageError, ImageStore, KnownBlob, PushLayer, PushSource, Reference};

/// Repositories that a blob is asked to be mounted from (Docker's `maxMountAttempts`).
const MAX_MOUNTS: usize = 4;

struct Work {
    images: Arc<ImageStore>,
    registries: Arc<Registries>,
    settings: RegistrySettings,
    session: Session,
    name: Reference,
    progress: Progress,
}

/// Pushes one tag, or all of a repository when the name has none; the names (familiar) that were pushed.
/// Dropping the future cancels it.
///
/// # Errors
/// No such image here; the registry's; layers that cannot be read.
pub(crate) async fn push(
    images: Arc<ImageStore>,
    registries: Arc<Registries>,
    settings: RegistrySettings,
    name: Reference,
    credentials: Credentials,
    progress: Progress,
) -> Result<Vec<String>, RegistryError> {
    let shown = name.familiar_repository().to_owned();
    progress
        .message(&format!(
            "The push refers to repository [{}]",
            name.repository
        ))
        .await;
    let tags = {
        let (images, repository) = (Arc::clone(&images), name.repository.clone());
        blocking(move || Ok(images.tags_in(&repository))).await?
    };
    let tags: Vec<String> = match &name.tag {
        Some(tag) => tags.into_iter().filter(|known| known == tag).collect(),
        None => tags,
    };
    if tags.is_empty() {
        return Err(RegistryError::NoSuchTag(shown));
    }
    let (domain, path) = name.split();
    let session = open(&settings, domain, path, &credentials, Actions::Push)
        .await?
        .pop()
        // `open` gives at least one.
        .ok_or(RegistryError::Cancelled)?;
    let work = Arc::new(Work {
        images,
        registries,
        settings,
        session,
        name,
        progress,
    });
    let mut pushed = Vec::new();
    for tag in tags {
        pushed.push(one(&work, &tag).await.map_err(without_request)?);
    }
    Ok(pushed)
}

/// Docker does not say here which request it was.
fn without_request(error: RegistryError) -> RegistryError {
    match error {
        RegistryError::NoCredentials { .. } => RegistryError::Answer {
            status: 401,
            codes: Vec::new(),
            text: "no basic auth credentials".to_owned(),
        },
        other => other,
    }
}

async fn one(work: &Arc<Work>, tag: &str) -> Result<String, RegistryError> {
    let mut name = work.name.clone();
    name.tag = Some(tag.to_owned());
    let source = {
        let (images, name) = (Arc::clone(&work.images), name.clone());
        blocking(move || {
            images.push_source(&name).map_err(|error| match error {
                ImageError::NoSuchImage(_) => {
                    RegistryError::NoSuchTag(name.familiar_repository().to_owned())
                }
                other => other.into(),
            })
        })
        .await?
    };
    let source = Arc::new(as_pulled(source));
    let layers = layers(work, &source).await?;
    let config_digest = source.id.clone();
    let config = Bytes::copy_from_slice(&source.config);
    let size = config.len() as u64;
    if upload::exists(&work.session, &config_digest)
        .await?
        .is_none()
    {
        upload::send(
            &work.session,
            &config_digest,
            size,
            &Source::Bytes(config),
            work.settings.attempts,
            None,
        )
        .await?;
    }
    let (bytes, kind) = match kept(&source, &layers) {
        Some(kept) => kept,
        None => {
            let config = Descriptor::new(manifest::DOCKER_CONFIG, config_digest, size);
            (
                manifest::make(&config, &layers)?,
                manifest::DOCKER_MANIFEST.to_owned(),
            )
        }
    };
    upload::manifest(&work.session, tag, &kind, &bytes).await?;
    let digest = crate::image::digest(&bytes);
    work.progress
        .message(&format!("{tag}: digest: {digest} size: {}", bytes.len()))
        .await;
    work.progress
        .aux(json!({"Tag": tag, "Digest": digest, "Size": bytes.len()}))
        .await;
    let (images, id, named) = (Arc::clone(&work.images), source.id.clone(), name.clone());
    blocking(move || Ok(images.add_digest(&named, &digest, &id)?)).await?;
    Ok(name.familiar())
}

/// The forms that the kept manifest names come first.
fn as_pulled(mut source: PushSource) -> PushSource {
    let kept = source.manifest.as_deref();
    if let Some(Ok((Document::Image(image), _))) = kept.map(|bytes| manifest::parse("", "", bytes))
    {
        for (layer, old) in source.layers.iter_mut().zip(&image.layers) {
            layer.known.sort_by_key(|known| known.digest != old.digest);
        }
    }
    source
}

/// The manifest that the image was pulled by, if it names these very layers.
fn kept(source: &PushSource, layers: &[Descriptor]) -> Option<(Vec<u8>, String)> {
    let bytes = source.manifest.as_ref()?;
    let (Document::Image(image), kind) = manifest::parse("", "", bytes).ok()? else {
        return None;
    };
    let same = image.config.digest == source.id
        && image.layers.len() == layers.len()
        && image
            .layers
            .iter()
            .zip(layers)
            .all(|(old, new)| old.digest == new.digest);
    same.then(|| (bytes.clone(), kind))
}

/// Brings all layers into the repository, some at a time; their descriptors, lowest first.
async fn layers(
    work: &Arc<Work>,
    source: &Arc<PushSource>,
) -> Result<Vec<Descriptor>, RegistryError> {
    let mut sending = JoinSet::new();
    // Topmost first, as Docker shows them.
    for layer in source.layers.iter().rev() {
        work.progress
            .state(&short(&layer.diff_id), "Preparing")
            .await;
    }
    let mut done: Vec<Option<Descriptor>> = vec![None; source.layers.len()];
    let mut first: Vec<usize> = Vec::new();
    for (index, layer) in source.layers.iter().enumerate().rev() {
        // A layer that is there twice is sent once.
        let same = |other: &PushLayer| other.diff_id == layer.diff_id;
        let Some(lead) = source.layers.iter().rposition(same) else {
            continue;
        };
        first.push(lead);
        if lead != index {
            continue;
        }
        let (work, source) = (Arc::clone(work), Arc::clone(source));
        sending.spawn(async move {
            let limit = work.registries.uploads.of(work.settings.uploads);
            let id = short(&source.layers[index].diff_id);
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
            let sent = bring(&work, &source, &source.layers[index]).await;
            drop(permit);
            Ok::<_, RegistryError>((index, sent?))
        });
    }
    while let Some(result) = sending.join_next().await {
        let (index, descriptor) =
            result.map_err(|error| RegistryError::Invalid(error.to_string()))??;
        done[index] = Some(descriptor);
    }
    // `first` goes from the top, so it is turned round.
    first.reverse();
    first
        .into_iter()
        .map(|lead| done[lead].clone().ok_or(RegistryError::Cancelled))
        .collect()
}

/// Brings one layer into the repository.
async fn bring(
    work: &Work,
    source: &Arc<PushSource>,
    layer: &PushLayer,
) -> Result<Descriptor, RegistryError> {
    let id = short(&layer.diff_id);
    let session = &work.session;
    for known in &layer.known {
        if let Some(size) = upload::exists(session, &known.digest).await? {
            work.progress.state(&id, "Layer already exists").await;
            let size = if size == 0 { known.size } else { size };
            return note(work, layer, known.clone(), size).await;
        }
    }
    let (domain, own) = work.name.split();
    let mut tried = 0;
    for known in &layer.known {
        for from in &known.repositories {
            let Some((host, path)) = from.split_once('/') else {
                continue;
            };
            if host != domain || path == own || tried == MAX_MOUNTS {
                continue;
            }
            tried += 1;
            if upload::mount(session, &known.digest, path).await {
                work.progress
                    .state(&id, &format!("Mounted from {path}"))
                    .await;
                let size = known.size;
                return note(work, layer, known.clone(), size).await;
            }
        }
    }
    let images = Arc::clone(&work.images);
    let folder = blocking(move || Ok(images.scratch()?)).await?;
    let path = folder.path().join("blob");
    let cancel = Cancel::default();
    let (digest, size) = {
        let (source, layer, path) = (Arc::clone(source), layer.clone(), path.clone());
        let flag = cancel.flag();
        blocking(move || Ok(source.compress(&layer, &path, &flag)?)).await?
    };
    let made = KnownBlob {
        digest,
        size,
        media_type: manifest::DOCKER_LAYER.to_owned(),
        repositories: Vec::new(),
    };
    // Made before, by us or by another with the same means.
    if upload::exists(session, &made.digest).await?.is_some() {
        work.progress.state(&id, "Layer already exists").await;
        return note(work, layer, made, size).await;
    }
    let meter = work.progress.meter(&id, "Pushing", size);
    upload::send(
        session,
        &made.digest,
        size,
        &Source::File(path),
        work.settings.attempts,
        Some(&meter),
    )
    .await?;
    work.progress.state(&id, "Pushed").await;
    let result = note(work, layer, made, size).await;
    // Removing the file waits for the disk.
    tokio::task::spawn_blocking(move || drop(folder));
    result
}

/// Remembers where a layer is; its descriptor.
async fn note(
    work: &Work,
    layer: &PushLayer,
    known: KnownBlob,
    size: u64,
) -> Result<Descriptor, RegistryError> {
    // The registry's form may be zstd, which Docker's manifests do not know: the kept one says it.
    let kind = if known.media_type.is_empty() {
        manifest::DOCKER_LAYER
    } else {
        &known.media_type
    };
    let descriptor = Descriptor::new(docker_type(kind), known.digest.clone(), size);
    let (images, repository) = (Arc::clone(&work.images), work.name.repository.clone());
    let diff_id = layer.diff_id.clone();
    blocking(move || {
        images.remember_blob(&diff_id, &known, &repository);
        Ok(())
    })
    .await?;
    Ok(descriptor)
}

/// The media type of a layer in one of Docker's manifests.
fn docker_type(kind: &str) -> &str {
    match kind {
        "application/vnd.oci.image.layer.v1.tar+gzip" => manifest::DOCKER_LAYER,
        "application/vnd.oci.image.layer.v1.tar+zstd" => {
            "application/vnd.docker.image.rootfs.diff.tar.zstd"
        }
        "application/vnd.oci.image.layer.v1.tar" => "application/vnd.docker.image.rootfs.diff.tar",
        other => other,
    }
}
