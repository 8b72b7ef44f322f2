//! Fetching one blob into a temporary file: resumed by Range after a cut, its digest computed while it
//! comes, shared by pulls that want the same one at the same time.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_RANGE, HeaderValue, RANGE};
use reqwest::{Method, StatusCode};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::error::{MAX_ERROR_BODY, RegistryError, parse_answer, transport};
use super::http::{Session, limited};
use super::manifest::Descriptor;
use super::progress::{Meter, Progress, short};

/// Chunks that wait for the disk.
const CHUNKS: usize = 16;
/// Pause before the second attempt; it doubles with each one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);
/// An attempt that has brought so many bytes starts the count of attempts anew.
const WORTHWHILE: u64 = 1 << 20;

/// A blob whose digest was compared. Its file goes when the last user does.
#[derive(Debug)]
pub(super) struct Blob {
    folder: TempDir,
}

impl Blob {
    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("blob")
    }
}

type Slot = Arc<tokio::sync::Mutex<Weak<Blob>>>;

/// The blobs that pulls hold or fetch, by digest.
#[derive(Debug, Default)]
pub(super) struct InFlight(Mutex<HashMap<String, Slot>>);

impl InFlight {
    /// The place of a blob: who holds its lock fetches it.
    pub(super) fn slot(&self, digest: &str) -> Slot {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that nobody holds any more.
        slots.retain(|_, slot| {
            Arc::strong_count(slot) > 1 || slot.try_lock().is_ok_and(|blob| blob.strong_count() > 0)
        });
        Arc::clone(slots.entry(digest.to_owned()).or_default())
    }
}

/// Pause before attempt `number` (from 1): doubling, half of it by chance.
pub(super) fn pause(number: u32) -> Duration {
    let full = FIRST_PAUSE
        .saturating_mul(1 << number.saturating_sub(1).min(10))
        .min(LONGEST_PAUSE);
    let mut random = [0; 2];
    // Without randomness several clients may come at once, that is all.
    let _ = getrandom::fill(&mut random);
    let share = f64::from(u16::from_le_bytes(random)) / f64::from(u16::MAX);
    full.mul_f64(0.5 + share / 2.0)
}

/// Fetches a blob into `folder`, with several attempts.
///
/// # Errors
/// The last attempt's; a blob that is not what its digest says.
pub(super) async fn fetch(
    session: &Session,
    layer: &Descriptor,
    folder: TempDir,
    attempts: u32,
    progress: &Progress,
) -> Result<Blob, RegistryError> {
    let id = short(&layer.digest);
    let mut sink = Sink::create(folder, layer.size).await?;
    let mut failures = 0;
    loop {
        let before = sink.len;
        let meter = progress.meter(&id, "Downloading", layer.size);
        let (back, result) = attempt(session, layer, sink, meter).await?;
        sink = back;
        let error = match result {
            Ok(()) if sink.len == layer.size => {
                progress.state(&id, "Verifying Checksum").await;
                let blob = sink.finish(&layer.digest).await?;
                progress.state(&id, "Download complete").await;
                return Ok(blob);
            }
            Ok(()) => RegistryError::Transport {
                method: "Get",
                url: session.url(&format!("blobs/{}", layer.digest))?.to_string(),
                why: "unexpected EOF".to_owned(),
            },
            Err(error) => error,
        };
        if sink.len >= before + WORTHWHILE {
            failures = 0;
        }
        failures += 1;
        if !error.is_transient() || failures >= attempts {
            return Err(error);
        }
        let pause = pause(failures);
        tracing::info!(
            layer = layer.digest, bytes = sink.len, error = %error, pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
            "download was cut and will go on"
        );
        let seconds = pause.as_secs().max(1);
        let unit = if seconds == 1 { "second" } else { "seconds" };
        progress
            .state(&id, &format!("Retrying in {seconds} {unit}"))
            .await;
        tokio::time::sleep(pause).await;
    }
}

/// One request. The sink comes back in any case, unless the disk failed.
async fn attempt(
    session: &Session,
    layer: &Descriptor,
    mut sink: Sink,
    meter: Meter,
) -> Result<(Sink, Result<(), RegistryError>), RegistryError> {
    let mut ask = session.ask(Method::GET, &format!("blobs/{}", layer.digest))?;
    if sink.len > 0
        && let Ok(range) = HeaderValue::try_from(format!("bytes={}-", sink.len))
    {
        ask.headers.insert(RANGE, range);
    }
    let mut response = match session.send(&ask).await {
        Ok(response) => response,
        Err(error) => return Ok((sink, Err(error))),
    };
    let status = response.status();
    match status {
        StatusCode::PARTIAL_CONTENT if sink.continues(response.headers().get(CONTENT_RANGE)) => {}
        StatusCode::OK => sink = sink.restart().await?,
        // Not what was asked for: from the beginning then, at the next attempt.
        StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
            sink = sink.restart().await?;
            let why = RegistryError::Transport {
                method: "Get",
                url: ask.url.to_string(),
                why: format!("the registry cannot continue a blob: {status}"),
            };
            return Ok((sink, Err(why)));
        }
        _ => {
            let error = match limited(response, MAX_ERROR_BODY, "Get", &ask.url).await {
                Ok(body) => parse_answer(status, &body),
                Err(error) => error,
            };
            return Ok((sink, Err(error)));
        }
    }
    let (chunks, waiting) = mpsc::channel::<Bytes>(CHUNKS);
    let writer = tokio::task::spawn_blocking(move || sink.take(waiting, &meter));
    let result = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                // A writer that is gone says why below.
                if chunks.send(chunk).await.is_err() {
                    break Ok(());
                }
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(transport("Get", &ask.url, &error)),
        }
    };
    drop(chunks);
    let sink = writer
        .await
        .map_err(|error| RegistryError::Invalid(error.to_string()))??;
    Ok((sink, result))
}

/// The file that a blob goes to, and the digest of what is in it.
struct Sink {
    folder: TempDir,
    file: File,
    hash: Sha256,
    len: u64,
    /// What the manifest says.
    size: u64,
}

impl Sink {
    async fn create(folder: TempDir, size: u64) -> Result<Self, RegistryError> {
        blocking(move || {
            let file = File::create_new(folder.path().join("blob"))?;
            Ok(Self {
                folder,
                file,
                hash: Sha256::new(),
                len: 0,
                size,
            })
        })
        .await
    }

    /// Whether an answer goes on where this one ends.
    fn continues(&self, range: Option<&HeaderValue>) -> bool {
        range
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.strip_prefix("bytes "))
            .and_then(|text| text.split_once('-'))
            .and_then(|(start, _)| start.parse::<u64>().ok())
            == Some(self.len)
    }

    async fn restart(mut self) -> Result<Self, RegistryError> {
        if self.len == 0 {
            return Ok(self);
        }
        blocking(move || {
            self.file.set_len(0)?;
            self.file.rewind()?;
            self.hash = Sha256::new();
            self.len = 0;
            Ok(self)
        })
        .await
    }

    /// Writes what comes. On a thread of its own.
    fn take(
        mut self,
        mut chunks: mpsc::Receiver<Bytes>,
        meter: &Meter,
    ) -> Result<Self, RegistryError> {
        while let Some(chunk) = chunks.blocking_recv() {
            if self.len + chunk.len() as u64 > self.size {
                return Err(RegistryError::Invalid(format!(
                    "the registry sends more than the {} bytes that the manifest says",
                    self.size
                )));
            }
            self.file
                .write_all(&chunk)
                .map_err(RegistryError::io("write a layer to the data root"))?;
            self.hash.update(&chunk);
            self.len += chunk.len() as u64;
            meter.at(self.len);
        }
        Ok(self)
    }

    /// Compares the digest; a blob that has another one is removed.
    async fn finish(self, expected: &str) -> Result<Blob, RegistryError> {
        let found: String = self
            .hash
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        if expected.strip_prefix("sha256:") == Some(found.as_str()) {
            return Ok(Blob {
                folder: self.folder,
            });
        }
        tracing::warn!(expected, found, "a registry sent another blob");
        Err(RegistryError::Verification {
            what: "filesystem layer",
            digest: expected.to_owned(),
        })
    }
}

async fn blocking<T: Send + 'static>(
    run: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, RegistryError> {
    tokio::task::spawn_blocking(run)
        .await
        .map_err(|error| RegistryError::Invalid(error.to_string()))?
        .map_err(RegistryError::io("write a layer to the data root"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_within_bounds() {
        for number in 1..40 {
            let pause = pause(number);
            assert!(
                pause <= LONGEST_PAUSE && pause >= FIRST_PAUSE / 2,
                "{number}: {pause:?}"
            );
        }
    }

    #[tokio::test]
    async fn slots_are_shared_and_forgotten() {
        let flight = InFlight::default();
        let first = flight.slot("a");
        assert!(Arc::ptr_eq(&first, &flight.slot("a")));
        let blob = Arc::new(Blob {
            folder: tempfile::tempdir().unwrap(),
        });
        *first.lock().await = Arc::downgrade(&blob);
        drop(first);
        assert!(flight.slot("a").lock().await.upgrade().is_some());
        drop(blob);
        flight.slot("b");
        assert_eq!(flight.0.lock().unwrap().len(), 1);
    }
}
