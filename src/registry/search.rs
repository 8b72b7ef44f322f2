//! Searching an index for images (docs: Docker Hub's `v1/search`). The distribution API has none, so most
//! registries cannot be searched.

use serde::{Deserialize, Serialize};

use super::auth::Credentials;
use super::error::{RegistryError, transport};
use super::host::{HUB, HUB_INDEX, RegistrySettings, client, endpoints};
use super::http::limited;

/// Largest answer.
const MAX_ANSWER: usize = 4 << 20;

/// An image that was found (docs: Engine API `ImageSearch`).
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default)]
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) star_count: i64,
    pub(crate) is_official: bool,
    pub(crate) name: String,
    pub(crate) is_automated: bool,
    pub(crate) description: String,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    results: Vec<Found>,
}

/// Searches the index that the term begins with (`host:port/word`), else Docker Hub.
///
/// # Errors
/// The index cannot be reached or cannot search.
pub(crate) async fn search(
    settings: &RegistrySettings,
    term: &str,
    limit: u32,
    credentials: &Credentials,
) -> Result<Vec<Found>, RegistryError> {
    if term.contains("://") {
        return Err(RegistryError::Named(format!(
            "invalid repository name ({term}): must not have a scheme"
        )));
    }
    let (domain, word) = match term.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
        _ => (HUB, term),
    };
    let word = if domain == HUB {
        word.strip_prefix("library/").unwrap_or(word)
    } else {
        word
    };
    let bases = if domain == HUB {
        let base = format!("https://{HUB_INDEX}/");
        let url = reqwest::Url::parse(&base)
            .map_err(|error| RegistryError::Invalid(error.to_string()))?;
        vec![(url, client(HUB_INDEX, false).await?)]
    } else {
        endpoints(settings, domain, false)
            .await?
            .into_iter()
            .map(|endpoint| (endpoint.base, endpoint.client))
            .collect()
    };
    let mut last = None;
    for (base, client) in bases {
        let mut url = base
            .join("v1/search")
            .map_err(|error| RegistryError::Invalid(error.to_string()))?;
        url.query_pairs_mut()
            .append_pair("q", word)
            .append_pair("n", &limit.to_string());
        let mut request = client.get(url.clone());
        if credentials.has_password() {
            request = request.header(reqwest::header::AUTHORIZATION, credentials.basic());
        }
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => {
                last = Some(transport("Get", &url, &error));
                continue;
            }
        };
        let status = response.status();
        if !status.is_success() {
            return Err(RegistryError::Invalid(format!(
                "Unexpected status code {}: {} cannot be searched",
                status.as_u16(),
                base.host_str().unwrap_or(domain)
            )));
        }
        let body = limited(response, MAX_ANSWER, "Get", &url).await?;
        let answer: Answer = serde_json::from_slice(&body).map_err(|error| {
            RegistryError::Invalid(format!(
                "{url}: the answer is no result of a search: {error}"
            ))
        })?;
        return Ok(answer.results);
    }
    Err(last.unwrap_or(RegistryError::Cancelled))
}
