//! An authenticated talk with one repository of a registry.
//!
//! The first word is `GET /v2/`, as Docker's: it finds the way to the registry that works, and how the
//! registry wants to know who asks. A token that has expired is replaced once a request.

use std::collections::HashMap;

use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Method, Response, StatusCode, Url};
use tokio::sync::Mutex;

use super::auth::{self, Challenge, Credentials};
use super::error::{MAX_ERROR_BODY, RegistryError, parse_answer, transport};
use super::host::{Endpoint, RegistrySettings, endpoints};

/// What is to be done in a repository, as scopes of tokens say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Actions {
    Pull,
    Push,
}

impl Actions {
    fn scope(self, repository: &str) -> String {
        let actions = match self {
            Self::Pull => "pull",
            Self::Push => "pull,push",
        };
        format!("repository:{repository}:{actions}")
    }
}

/// A repository at one endpoint.
#[derive(Debug)]
pub(super) struct Session {
    endpoint: Endpoint,
    /// Without the domain: `library/busybox`.
    pub(super) repository: String,
    credentials: Credentials,
    actions: Actions,
    challenge: Option<Challenge>,
    /// `Authorization` by the repository that blobs are mounted from, or `""`.
    authorization: Mutex<HashMap<String, HeaderValue>>,
}

/// Opens the first endpoint that answers as a registry.
///
/// # Errors
/// None does: what the last one that is no mirror says.
pub(super) async fn open(
    settings: &RegistrySettings,
    domain: &str,
    repository: &str,
    credentials: &Credentials,
    actions: Actions,
) -> Result<Vec<Session>, RegistryError> {
    let mut sessions = Vec::new();
    let mut last = None;
    for endpoint in endpoints(settings, domain, actions == Actions::Pull).await? {
        let url = endpoint.base.to_string();
        match ping(&endpoint).await {
            Ok(challenge) => {
                let done = !endpoint.mirror;
                sessions.push(Session {
                    credentials: if endpoint.mirror {
                        Credentials::default()
                    } else {
                        credentials.clone()
                    },
                    endpoint,
                    repository: repository.to_owned(),
                    actions,
                    challenge,
                    authorization: Mutex::default(),
                });
                // Plain HTTP is never tried where TLS works.
                if done {
                    break;
                }
            }
            Err(error) => {
                tracing::info!(endpoint = url, error = %error, "registry endpoint does not answer");
                last = Some(error);
            }
        }
    }
    if sessions.is_empty() {
        return Err(last.unwrap_or(RegistryError::Invalid(format!("{domain}: no endpoint"))));
    }
    Ok(sessions)
}

/// What a registry asks of those who come.
pub(super) async fn ping(endpoint: &Endpoint) -> Result<Option<Challenge>, RegistryError> {
    let url = join(&endpoint.base, "v2/")?;
    let response = endpoint
        .client
        .get(url.clone())
        .send()
        .await
        .map_err(|error| transport("Get", &url, &error))?;
    match response.status() {
        StatusCode::UNAUTHORIZED => challenge_of(response.headers(), &url).map(Some),
        status if status.is_success() => Ok(None),
        status => {
            let body = limited(response, MAX_ERROR_BODY, "Get", &url).await?;
            Err(parse_answer(status, &body))
        }
    }
}

fn challenge_of(headers: &HeaderMap, url: &Url) -> Result<Challenge, RegistryError> {
    let values = || {
        headers
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
    };
    Challenge::choose(values()).ok_or_else(|| RegistryError::Challenge {
        url: url.to_string(),
        challenge: values().collect::<Vec<_>>().join(", "),
    })
}

fn join(base: &Url, path: &str) -> Result<Url, RegistryError> {
    base.join(path)
        .map_err(|error| RegistryError::Invalid(format!("{base}{path}: {error}")))
}

/// As Go writes a method in an error.
fn spelled(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "Get",
        "HEAD" => "Head",
        "PUT" => "Put",
        "POST" => "Post",
        "PATCH" => "Patch",
        _ => "Request",
    }
}

/// A request's body, made anew for each attempt.
pub(super) type MakeBody<'a> = &'a (dyn Fn() -> reqwest::Body + Send + Sync);

/// A request to a registry.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<MakeBody<'a>>,
    /// Repository that a blob is mounted from; `""`: none.
    pub(super) from: &'a str,
}

impl Session {
    /// An address in this repository: `manifests/latest`.
    pub(super) fn url(&self, path: &str) -> Result<Url, RegistryError> {
        join(
            &self.endpoint.base,
            &format!("v2/{}/{path}", self.repository),
        )
    }

    /// An address that the registry gave, which may be relative.
    pub(super) fn location(&self, response: &Response) -> Result<Url, RegistryError> {
        let location = response
            .headers()
            .get("location")
            .and_then(|value| value.to_str().ok())
            .ok_or_else(|| {
                RegistryError::Invalid(format!("{}: no Location in the answer", response.url()))
            })?;
        join(response.url(), location)
    }

    pub(super) fn ask(&self, method: Method, path: &str) -> Result<Ask<'_>, RegistryError> {
        Ok(Ask {
            method,
            url: self.url(path)?,
            headers: HeaderMap::new(),
            body: None,
            from: "",
        })
    }

    /// Sends a request; the answer may have any status but 401.
    ///
    /// # Errors
    /// No connection; no credentials, or wrong ones.
    pub(super) async fn send(&self, ask: &Ask<'_>) -> Result<Response, RegistryError> {
        let method = spelled(&ask.method);
        let mut fresh = false;
        loop {
            let mut request = self
                .endpoint
                .client
                .request(ask.method.clone(), ask.url.clone())
                .headers(ask.headers.clone());
            // Uploads may go elsewhere, where the credentials have no business.
            if ask.url.origin() == self.endpoint.base.origin()
                && let Some(value) = self.authorization(ask, fresh).await?
            {
                request = request.header(reqwest::header::AUTHORIZATION, value);
            }
            if let Some(body) = ask.body {
                request = request.body(body());
            }
            let response = request
                .send()
                .await
                .map_err(|error| transport(method, &ask.url, &error))?;
            if response.status() != StatusCode::UNAUTHORIZED {
                return Ok(response);
            }
            // A bearer's token may have expired.
            let renew = !fresh
                && self.credentials.registrytoken.is_empty()
                && matches!(self.challenge, Some(Challenge::Bearer { .. }));
            if renew {
                fresh = true;
                continue;
            }
            let body = limited(response, MAX_ERROR_BODY, method, &ask.url).await?;
            return Err(parse_answer(StatusCode::UNAUTHORIZED, &body));
        }
    }

    /// As [`Self::send`]; a status that is no success is an error.
    pub(super) async fn succeed(&self, ask: &Ask<'_>) -> Result<Response, RegistryError> {
        let response = self.send(ask).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = limited(response, MAX_ERROR_BODY, spelled(&ask.method), &ask.url).await?;
        Err(parse_answer(status, &body))
    }

    /// The header `Authorization`; a new token with `fresh`.
    async fn authorization(
        &self,
        ask: &Ask<'_>,
        fresh: bool,
    ) -> Result<Option<HeaderValue>, RegistryError> {
        let secret = |text: String| {
            let mut value = HeaderValue::try_from(text)
                .map_err(|_| RegistryError::AuthHeader("a control character in it".to_owned()))?;
            value.set_sensitive(true);
            Ok::<_, RegistryError>(value)
        };
        if !self.credentials.registrytoken.is_empty() {
            return secret(format!("Bearer {}", self.credentials.registrytoken)).map(Some);
        }
        let Some(challenge) = &self.challenge else {
            return Ok(None);
        };
        let Challenge::Bearer { realm, service, .. } = challenge else {
            if !self.credentials.has_password() {
                return Err(RegistryError::NoCredentials {
                    method: spelled(&ask.method),
                    url: ask.url.to_string(),
                });
            }
            return secret(self.credentials.basic()).map(Some);
        };
        let mut known = self.authorization.lock().await;
        if !fresh && let Some(value) = known.get(ask.from) {
            return Ok(Some(value.clone()));
        }
        let mut scopes = vec![self.actions.scope(&self.repository)];
        if !ask.from.is_empty() {
            scopes.push(Actions::Pull.scope(ask.from));
        }
        let token = auth::token(
            &self.endpoint.client,
            realm,
            service,
            &scopes,
            &self.credentials,
            false,
        )
        .await?;
        let value = secret(format!("Bearer {}", token.access))?;
        known.insert(ask.from.to_owned(), value.clone());
        Ok(Some(value))
    }
}

/// Reads a body of at most `limit` bytes.
///
/// # Errors
/// The connection broke, or there is more.
pub(super) async fn limited(
    mut response: Response,
    limit: usize,
    method: &'static str,
    url: &Url,
) -> Result<Vec<u8>, RegistryError> {
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| transport(method, url, &error))?
    {
        if body.len() + chunk.len() > limit {
            return Err(RegistryError::Invalid(format!(
                "{url}: the answer is larger than {limit} bytes"
            )));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
