//! HTTP towards Splunk. Requests of all connections run on one shared thread, so that one is under way while the next batch is made; each
//! connection has a client, and so a socket, of its own.

use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;
use std::sync::mpsc::Sender;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{
    AUTHORIZATION, CONTENT_ENCODING, HOST, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use super::address::Address;
use super::answer::Answer;
use super::connection::HecConnection;
use crate::secret::Secret;
use crate::sink::{Connection, Environment, Failure, FailureKind, Limits, Opener, Trace};
use crate::transport::resolve;
use crate::transport::tls::TlsClient;

const EVENTS: &str = "/services/collector/event/1.0";
const ACKS: &str = "/services/collector/ack";
const CHANNEL: HeaderName = HeaderName::from_static("x-splunk-request-channel");
/// Most bytes of an answer that are read.
const MAX_ANSWER: usize = 64 * 1024;
/// An idle socket is given up before Splunk does it (12 s while busy), so that no request meets a closed one.
const IDLE: Duration = Duration::from_secs(10);
/// Longest wait that an answer can ask for.
const MAX_RETRY_AFTER: u64 = 3600;

/// What came of a request.
pub(super) type Outcome = Result<Answer, Failure>;

/// Opens connections: checked settings of a destination.
pub(super) struct HecOpener {
    pub(super) address: Address,
    pub(super) token: Secret,
    pub(super) environment: Environment,
    pub(super) tls: Option<TlsClient>,
    /// the certificate's name, if it is not the address's
    pub(super) tls_name: Option<String>,
    pub(super) verify: bool,
    pub(super) gzip: Option<u32>,
    pub(super) ack: bool,
    pub(super) limits: Limits,
}

/// The client of one connection.
#[derive(Debug)]
pub(super) struct HecClient {
    http: Client,
    runtime: &'static Runtime,
    events: String,
    acks: String,
    headers: HeaderMap,
    /// for people
    pub(super) address: String,
}

fn runtime() -> Result<&'static Runtime, Failure> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    let made = RUNTIME.get_or_init(|| {
        Builder::new_multi_thread()
            .worker_threads(1)
            // For looking up names.
            .max_blocking_threads(8)
            .thread_name("splunk")
            .enable_all()
            .build()
            .map_err(|error| error.to_string())
    });
    made.as_ref().map_err(|why| {
        Failure::new(
            FailureKind::Unreachable,
            format!("splunk: cannot start its thread: {why}"),
        )
    })
}

/// Whether requests go through a proxy of the environment. As in Go, never to this machine itself.
pub(crate) fn proxied(host: &str) -> bool {
    let local = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    !local
        && ["http_proxy", "https_proxy", "all_proxy"]
            .iter()
            .any(|name| {
                [(*name).to_owned(), name.to_ascii_uppercase()]
                    .iter()
                    .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
            })
}

impl HecOpener {
    fn failure(&self, kind: FailureKind, why: &str) -> Failure {
        Failure::new(kind, format!("{}: {why}", self.address))
    }

    fn client(&self, trace: Trace<'_>) -> Result<HecClient, Failure> {
        let other = |why: String| self.failure(FailureKind::Unreachable, &why);
        let token = self
            .token
            .read(&self.environment)
            .map_err(|error| self.failure(FailureKind::Denied, &error.to_string()))?;
        let mut authorization =
            HeaderValue::from_str(&format!("Splunk {token}")).map_err(|_| {
                let why = "the token in splunk-token has characters that no token has";
                self.failure(FailureKind::Denied, why)
            })?;
        authorization.set_sensitive(true);
        let mut headers = HeaderMap::from_iter([(AUTHORIZATION, authorization)]);
        if self.ack {
            let channel = channel().map_err(other)?;
            let value = HeaderValue::from_str(&channel).map_err(|e| other(e.to_string()))?;
            headers.insert(CHANNEL, value);
        }
        let config = match &self.tls {
            Some(tls) => (**tls.config()).clone(),
            // Never used, but reqwest wants one.
            None => {
                crate::transport::tls::untrusting().map_err(|error| other(error.to_string()))?
            }
        };
        let mut builder = Client::builder()
            .use_preconfigured_tls(config)
            .http1_only()
            .redirect(Policy::none())
            .pool_max_idle_per_host(1)
            .pool_idle_timeout(IDLE)
            .connect_timeout(self.limits.connect_timeout)
            .timeout(self.limits.write_timeout)
            .tcp_nodelay(true)
            .user_agent(concat!("taffrail/", env!("CARGO_PKG_VERSION")));
        let mut base = self.address.to_string();
        if proxied(&self.address.host) {
            trace("a proxy of the environment is used unless no_proxy says otherwise".to_owned());
        } else {
            builder = builder.no_proxy();
            let found: Vec<SocketAddr> =
                resolve(&self.address.host, self.address.port, &mut *trace)?;
            match &self.tls_name {
                // The name that is asked for in the handshake is the URL's: it becomes the certificate's, and the way stays the same.
                Some(name) if self.address.https && name.parse::<IpAddr>().is_err() => {
                    let host = HeaderValue::from_str(&self.address.authority())
                        .map_err(|error| other(error.to_string()))?;
                    headers.insert(HOST, host);
                    builder = builder.resolve_to_addrs(name, &found);
                    base = format!("https://{name}:{}", self.address.port);
                }
                _ => builder = builder.resolve_to_addrs(&self.address.host, &found),
            }
        }
        Ok(HecClient {
            http: builder.build().map_err(|error| other(causes(&error)))?,
            runtime: runtime()?,
            events: format!("{base}{EVENTS}"),
            acks: format!("{base}{ACKS}"),
            headers,
            address: self.address.to_string(),
        })
    }
}

impl Opener for HecOpener {
    fn open(&self, trace: Trace<'_>) -> Result<Box<dyn Connection>, Failure> {
        let client = self.client(&mut *trace)?;
        if self.verify {
            let answer = client.verify()?;
            trace(format!(
                "OPTIONS {}{EVENTS}: {}",
                self.address,
                answer.text()
            ));
            if answer.status != 200 {
                let failure = answer.failure(&self.address.to_string());
                // Docker's words first.
                let text = format!("splunk: failed to verify connection - {}", failure.text);
                return Err(Failure::new(failure.kind, text));
            }
        }
        Ok(Box::new(HecConnection::new(
            client,
            self.gzip,
            self.ack,
            &self.limits,
        )))
    }
}

/// A random UUID, version 4.
fn channel() -> Result<String, String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| error.to_string())?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    Ok(text)
}

impl HecClient {
    /// Asks without authentication, as Docker does; waits for the answer.
    fn verify(&self) -> Outcome {
        let mut request = self.http.request(Method::OPTIONS, &self.events);
        if let Some(host) = self.headers.get(HOST) {
            request = request.header(HOST, host);
        }
        let (sender, receiver) = std::sync::mpsc::channel();
        let _task = self.start(request, move |outcome| {
            let _ = sender.send(outcome);
        });
        // The request has a time-out of its own.
        receiver.recv().unwrap_or_else(|_| {
            Err(Failure::new(
                FailureKind::Unreachable,
                format!("{}: the request was given up", self.address),
            ))
        })
    }

    /// Sends events; what came of it is sent to `outcomes`.
    pub(super) fn post_events<T: Send + 'static>(
        &self,
        body: Bytes,
        gzip: bool,
        outcomes: &Sender<T>,
        wrap: fn(Outcome) -> T,
    ) -> JoinHandle<()> {
        let mut request = self.http.post(&self.events).headers(self.headers.clone());
        if gzip {
            request = request.header(CONTENT_ENCODING, "gzip");
        }
        self.post(request.body(body), outcomes, wrap)
    }

    /// Asks which of the events that were taken are indexed.
    pub(super) fn post_acks<T: Send + 'static>(
        &self,
        body: String,
        outcomes: &Sender<T>,
        wrap: fn(Outcome) -> T,
    ) -> JoinHandle<()> {
        // Some versions of Splunk look for the channel in the query only.
        let channel = self.headers.get(CHANNEL).and_then(|v| v.to_str().ok());
        let url = format!("{}?channel={}", self.acks, channel.unwrap_or_default());
        let request = self.http.post(url).headers(self.headers.clone());
        self.post(request.body(body), outcomes, wrap)
    }

    fn post<T: Send + 'static>(
        &self,
        request: RequestBuilder,
        outcomes: &Sender<T>,
        wrap: fn(Outcome) -> T,
    ) -> JoinHandle<()> {
        let outcomes = outcomes.clone();
        self.start(request, move |outcome| {
            // Nobody listens to a connection that was closed.
            let _ = outcomes.send(wrap(outcome));
        })
    }

    fn start(
        &self,
        request: RequestBuilder,
        done: impl FnOnce(Outcome) + Send + 'static,
    ) -> JoinHandle<()> {
        let address = self.address.clone();
        self.runtime.spawn(async move {
            done(run(request).await.map_err(|error| failure(&address, error)));
        })
    }
}

async fn run(request: RequestBuilder) -> Result<Answer, reqwest::Error> {
    let mut response = request.send().await?;
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(|seconds: u64| Duration::from_secs(seconds.min(MAX_RETRY_AFTER)));
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = MAX_ANSWER - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if body.len() == MAX_ANSWER {
            break;
        }
    }
    Ok(Answer {
        status: response.status().as_u16(),
        body,
        retry_after,
    })
}

/// A failed request as one of the connection; without the URL, which the address stands for.
fn failure(address: &str, error: reqwest::Error) -> Failure {
    let error = error.without_url();
    let kind = if error.is_timeout() {
        FailureKind::Timeout
    } else if is_tls(&error) {
        FailureKind::Tls
    } else {
        FailureKind::Unreachable
    };
    Failure::new(kind, format!("{address}: {}", causes(&error)))
}

fn is_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    if error.is::<rustls::Error>() {
        return true;
    }
    // An io::Error's source is that of what it wraps, which is then left out.
    if let Some(inner) = error
        .downcast_ref::<std::io::Error>()
        .and_then(|e| e.get_ref())
    {
        return is_tls(inner);
    }
    error.source().is_some_and(is_tls)
}

/// An error with all its causes, each named once.
pub(crate) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_uuids() {
        let one = channel().unwrap();
        let parts: Vec<_> = one.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert_eq!(one.as_bytes()[14], b'4');
        assert_ne!(one, channel().unwrap());
    }

    #[test]
    fn never_by_proxy_to_this_machine() {
        for host in ["localhost", "127.0.0.1", "::1"] {
            assert!(!proxied(host));
        }
    }
}
