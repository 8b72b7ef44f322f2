//! Checking credentials (`POST /auth`), and what a registry says of an image (`GET /distribution/.../json`).

use serde_json::{Value, json};

use super::auth::{self, Challenge, Credentials};
use super::error::RegistryError;
use super::host::{HUB, HUB_INDEX, RegistrySettings, endpoints};
use super::http::{Actions, open, ping};
use super::manifest::{self, Document, Platform};
use super::pull::document;
use crate::image::Reference;

/// Checks credentials against the registry that they name; an identity token if the registry gives one,
/// else `""`.
///
/// # Errors
/// The registry cannot be reached, or refuses them.
pub(crate) async fn login(
    settings: &RegistrySettings,
    credentials: &Credentials,
) -> Result<String, RegistryError> {
    let domain = domain_of(&credentials.serveraddress);
    let mut last = None;
    for endpoint in endpoints(settings, &domain, false).await? {
        let challenge = match ping(&endpoint).await {
            Ok(challenge) => challenge,
            Err(error) => {
                last = Some(error);
                continue;
            }
        };
        let url = format!("{}v2/", endpoint.base);
        return match challenge {
            None => Ok(String::new()),
            Some(Challenge::Basic) => {
                let response = endpoint
                    .client
                    .get(&url)
                    .header(reqwest::header::AUTHORIZATION, credentials.basic())
                    .send()
                    .await
                    .map_err(|error| super::error::transport("Get", &endpoint.base, &error))?;
                let status = response.status();
                if status.is_success() {
                    Ok(String::new())
                } else {
                    Err(RegistryError::Answer {
                        status: status.as_u16(),
                        codes: Vec::new(),
                        text: format!("login attempt to {url} failed with status: {status}"),
                    })
                }
            }
            Some(Challenge::Bearer { realm, service, .. }) => {
                let token =
                    auth::token(&endpoint.client, &realm, &service, &[], credentials, true).await?;
                Ok(token.refresh.unwrap_or_default())
            }
        };
    }
    Err(last.unwrap_or(RegistryError::Cancelled))
}

/// The registry that a login's address means.
pub(super) fn domain_of(address: &str) -> String {
    let rest = address
        .strip_prefix("https://")
        .or_else(|| address.strip_prefix("http://"))
        .unwrap_or(address);
    let host = rest.split('/').next().unwrap_or_default();
    if host.is_empty() || host == HUB_INDEX || host == HUB {
        HUB.to_owned()
    } else {
        host.to_owned()
    }
}

/// Descriptor and platforms of what a registry has under a name.
///
/// # Errors
/// The registry's.
pub(crate) async fn describe(
    settings: &RegistrySettings,
    name: &Reference,
    credentials: &Credentials,
) -> Result<Value, RegistryError> {
    let (domain, path) = name.split();
    let sessions = open(settings, domain, path, credentials, Actions::Pull).await?;
    let reference = name.digest.as_ref().or(name.tag.as_ref());
    let reference = reference.map_or("latest", String::as_str);
    let mut last = None;
    for session in &sessions {
        let found = match document(session, reference).await {
            Ok(found) => found,
            Err(error) => {
                last = Some(error);
                continue;
            }
        };
        let platforms = match &found.document {
            Document::Index(list) => manifest::platforms(list),
            Document::Image(image) => {
                let config = super::pull::config(session, &image.config).await?;
                // A configuration that says nothing has none.
                serde_json::from_slice::<Platform>(&config)
                    .into_iter()
                    .collect()
            }
        };
        return Ok(json!({
            "Descriptor": {
                "mediaType": found.media_type,
                "digest": found.digest,
                "size": found.bytes.len(),
            },
            "Platforms": platforms,
        }));
    }
    Err(last.unwrap_or(RegistryError::Cancelled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_logins() {
        for (address, domain) in [
            ("https://index.docker.io/v1/", HUB),
            ("", HUB),
            ("docker.io", HUB),
            ("localhost:5000", "localhost:5000"),
            ("https://r.example/v2/", "r.example"),
        ] {
            assert_eq!(domain_of(address), domain, "{address}");
        }
    }
}
