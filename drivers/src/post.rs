//! Posting JSON over HTTP to an address that a user named: what the daemon's `webhook` needs of HTTP and TLS. Waiting, trying again and
//! bounds are the caller's.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};

use crate::secret::Secret;
use crate::sink::Environment;
use crate::splunk::{causes, proxied};
use crate::transport::tls::{TlsClient, TlsOptions};

/// Where and how to post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostOptions {
    /// `http://` or `https://`; a secret, as many services put their token into it
    pub url: Secret,
    /// names and values; the values are secrets
    pub headers: Vec<(String, Secret)>,
    /// PEM file of authorities that are trusted instead of the system's
    pub tls_ca: Option<PathBuf>,
}

/// A client for one address. What files held is as it was when it was made.
#[derive(Debug)]
pub struct Poster {
    http: Client,
    url: Url,
    headers: HeaderMap,
}

/// Checks an address.
///
/// # Errors
/// What is wrong with it; never shows it.
pub fn check_url(text: &str) -> Result<(), String> {
    parse_url(text).map(|_| ())
}

/// Checks the name of a header.
///
/// # Errors
/// It is no name, or one that the client sets itself.
pub fn check_header(name: &str) -> Result<(), String> {
    let known = HeaderName::try_from(name).map_err(|_| "this is no name of a header".to_owned())?;
    if matches!(
        known.as_str(),
        "host" | "content-length" | "content-type" | "transfer-encoding" | "connection"
    ) {
        return Err("this header is set by the daemon itself".to_owned());
    }
    Ok(())
}

/// Scheme, host and port of an address: what may be shown of it.
#[must_use]
pub fn shown_url(text: &str) -> String {
    match parse_url(text) {
        Ok(url) => shown(&url),
        Err(_) => crate::secret::MASK.to_owned(),
    }
}

fn shown(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}"));
    format!(
        "{}://{}{}",
        url.scheme(),
        url.host_str().unwrap_or_default(),
        port.unwrap_or_default()
    )
}

fn parse_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("it begins neither with http:// nor with https://".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("user and password do not belong into it, but into a header".to_owned());
    }
    Ok(url)
}

impl Poster {
    /// Reads secrets and certificates; touches no network. `connect` bounds the connection, `total` a whole request.
    ///
    /// # Errors
    /// A file cannot be read, or holds what is no address or no header; never shows a secret.
    pub fn new(
        options: &PostOptions,
        environment: &Environment,
        connect: Duration,
        total: Duration,
    ) -> Result<Self, String> {
        let text = options.url.read(environment).map_err(|e| e.to_string())?;
        let url = parse_url(text.trim())?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in &options.headers {
            let known = HeaderName::try_from(name.as_str())
                .map_err(|_| format!("{name:?} is no name of a header"))?;
            let value = value.read(environment).map_err(|e| e.to_string())?;
            let mut value = HeaderValue::from_str(&value)
                .map_err(|_| format!("the value of header {name} has characters that none has"))?;
            value.set_sensitive(true);
            headers.insert(known, value);
        }
        let tls = TlsClient::new(&TlsOptions {
            ca: options.tls_ca.clone(),
            ..TlsOptions::default()
        })
        .map_err(|error| error.to_string())?;
        let mut builder = Client::builder()
            .use_preconfigured_tls((**tls.config()).clone())
            .http1_only()
            .redirect(Policy::none())
            .pool_max_idle_per_host(1)
            .connect_timeout(connect)
            .timeout(total)
            .user_agent(concat!("taffrail/", env!("CARGO_PKG_VERSION")));
        if !proxied(url.host_str().unwrap_or_default()) {
            builder = builder.no_proxy();
        }
        Ok(Self {
            http: builder.build().map_err(|error| causes(&error))?,
            url,
            headers,
        })
    }

    /// Scheme, host and port: for people.
    #[must_use]
    pub fn shown(&self) -> String {
        shown(&self.url)
    }

    /// Posts a JSON body; the answer's status. Its body is not read.
    ///
    /// # Errors
    /// No answer came, in words and without the address.
    pub async fn post(&self, body: Bytes) -> Result<u16, String> {
        let request = self.http.post(self.url.clone());
        let sent = request
            .headers(self.headers.clone())
            .body(body)
            .send()
            .await;
        sent.map(|answer| answer.status().as_u16())
            .map_err(|error| causes(&error.without_url()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for good in ["http://127.0.0.1:80/x", "https://h.example/a?b=c"] {
            assert_eq!(check_url(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "x",
            "ftp://h/",
            "https://u:p@h/",
            "unix:///x",
            "https://",
        ] {
            assert!(check_url(bad).is_err(), "{bad}");
        }
        assert_eq!(shown_url("https://h:8443/token"), "https://h:8443");
        assert_eq!(shown_url("https://h/token"), "https://h");
        assert_eq!(shown_url("nonsense"), "xxxx");
    }

    #[test]
    fn headers() {
        assert_eq!(check_header("Authorization"), Ok(()));
        for bad in ["", "a b", "Host", "content-length"] {
            assert!(check_header(bad).is_err(), "{bad}");
        }
    }
}
