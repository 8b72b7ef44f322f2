//! Credentials of a request (`X-Registry-Auth`), challenges of a registry, and tokens (docs: distribution
//! "Token Authentication", "OAuth2 Token Authentication").

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use serde::Deserialize;

use super::error::{RegistryError, parse_answer, transport};
use super::http::limited;

/// Who asks for tokens, as registries know it.
const CLIENT_ID: &str = "docker";
/// Largest answer of a token server.
const MAX_TOKEN: usize = 256 * 1024;

/// How a client wants to be known to a registry (docs: Engine API `AuthConfig`).
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Credentials {
    pub(crate) username: String,
    pub(crate) password: String,
    /// `username:password` in base64, when the two are not given.
    auth: String,
    pub(crate) serveraddress: String,
    /// A refresh token, in place of a password.
    pub(crate) identitytoken: String,
    /// An access token, used as it is.
    pub(crate) registrytoken: String,
}

impl std::fmt::Debug for Credentials {
    /// Without secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .field("serveraddress", &self.serveraddress)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// Reads the header `X-Registry-Auth`: JSON in base64, URL-safe or not. As Docker, an empty or
    /// unreadable one is no credentials.
    pub(crate) fn from_header(value: &str) -> Self {
        Self::decode(value).unwrap_or_default()
    }

    /// As [`Self::from_header`]; for push, where Docker wants the header to be there.
    ///
    /// # Errors
    /// It is missing or unreadable.
    pub(crate) fn require(value: &str) -> Result<Self, RegistryError> {
        if value.is_empty() {
            return Err(RegistryError::Named(
                "Bad parameters and missing X-Registry-Auth: EOF".to_owned(),
            ));
        }
        Self::decode(value)
            .ok_or_else(|| RegistryError::AuthHeader("not JSON in base64".to_owned()))
    }

    fn decode(value: &str) -> Option<Self> {
        let value = value.trim();
        let bytes = [&URL_SAFE, &STANDARD, &URL_SAFE_NO_PAD, &STANDARD_NO_PAD]
            .iter()
            .find_map(|engine| engine.decode(value).ok())?;
        serde_json::from_slice::<Self>(&bytes)
            .ok()
            .map(Self::complete)
    }

    /// Takes name and password out of `auth`.
    pub(crate) fn complete(mut self) -> Self {
        if self.username.is_empty() && !self.auth.is_empty() {
            let decoded = STANDARD.decode(&self.auth).unwrap_or_default();
            if let Ok(text) = String::from_utf8(decoded)
                && let Some((name, password)) = text.split_once(':')
            {
                self.username = name.to_owned();
                self.password = password.trim_end_matches('\0').to_owned();
            }
        }
        self
    }

    pub(super) fn has_password(&self) -> bool {
        !self.username.is_empty()
    }

    /// `Basic ...`.
    pub(super) fn basic(&self) -> String {
        let pair = format!("{}:{}", self.username, self.password);
        format!("Basic {}", STANDARD.encode(pair))
    }
}

/// What a 401 asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer {
        realm: String,
        service: String,
        scope: String,
    },
}

impl Challenge {
    /// The best one of `WWW-Authenticate` headers; `None` if none is known.
    pub(super) fn choose<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut found = None;
        for header in headers {
            match Self::parse(header) {
                Some(bearer @ Self::Bearer { .. }) => return Some(bearer),
                Some(basic) => found = Some(basic),
                None => {}
            }
        }
        found
    }

    fn parse(header: &str) -> Option<Self> {
        let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let mut bearer = (String::new(), String::new(), String::new());
        for (name, value) in parameters(rest) {
            match name.as_str() {
                "realm" => bearer.0 = value,
                "service" => bearer.1 = value,
                "scope" => bearer.2 = value,
                _ => {}
            }
        }
        let (realm, service, scope) = bearer;
        (!realm.is_empty()).then_some(Self::Bearer {
            realm,
            service,
            scope,
        })
    }
}

/// `a="b",c=d`: names in lower case.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text.trim();
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_matches([' ', ',']).to_ascii_lowercase();
        let after = after.trim_start();
        let value;
        if let Some(quoted) = after.strip_prefix('"') {
            let mut out = String::new();
            let mut end = quoted.len();
            let mut escaped = false;
            for (at, c) in quoted.char_indices() {
                match c {
                    _ if escaped => {
                        out.push(c);
                        escaped = false;
                    }
                    '\\' => escaped = true,
                    '"' => {
                        end = at + 1;
                        break;
                    }
                    c => out.push(c),
                }
            }
            value = out;
            rest = &quoted[end..];
        } else {
            let end = after.find(',').unwrap_or(after.len());
            value = after[..end].trim().to_owned();
            rest = &after[end..];
        }
        found.push((name, value));
    }
    found
}

/// What a token server gives.
pub(super) struct Token {
    /// For `Authorization: Bearer`.
    pub(super) access: String,
    /// To ask for later ones without a password.
    pub(super) refresh: Option<String>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    refresh_token: Option<String>,
}

/// Gets a token for `scopes`; with `offline` also one to refresh it.
///
/// # Errors
/// The server cannot be reached, or refuses.
pub(super) async fn token(
    client: &reqwest::Client,
    realm: &str,
    service: &str,
    scopes: &[String],
    credentials: &Credentials,
    offline: bool,
) -> Result<Token, RegistryError> {
    let failed = |why: String| RegistryError::Token {
        realm: realm.to_owned(),
        why,
    };
    let mut url = reqwest::Url::parse(realm).map_err(|error| failed(error.to_string()))?;
    let refresh = !credentials.identitytoken.is_empty();
    let method = if refresh { "Post" } else { "Get" };
    let request = if refresh {
        let mut form =
            reqwest::Url::parse("http://form/").map_err(|error| failed(error.to_string()))?;
        form.query_pairs_mut()
            .append_pair("grant_type", "refresh_token")
            .append_pair("refresh_token", &credentials.identitytoken)
            .append_pair("service", service)
            .append_pair("client_id", CLIENT_ID)
            .append_pair("scope", &scopes.join(" "));
        client
            .post(url.clone())
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.query().unwrap_or_default().to_owned())
    } else {
        {
            let mut query = url.query_pairs_mut();
            if credentials.has_password() {
                query.append_pair("account", &credentials.username);
            }
            if offline {
                query
                    .append_pair("client_id", CLIENT_ID)
                    .append_pair("offline_token", "true");
            }
            for scope in scopes {
                query.append_pair("scope", scope);
            }
            if !service.is_empty() {
                query.append_pair("service", service);
            }
        }
        let request = client.get(url.clone());
        if credentials.has_password() {
            request.header("authorization", credentials.basic())
        } else {
            request
        }
    };
    let response = request
        .send()
        .await
        .map_err(|error| transport(method, &url, &error))?;
    let status = response.status();
    let body = limited(response, MAX_TOKEN, method, &url).await?;
    if !status.is_success() {
        return Err(parse_answer(status, &body));
    }
    let answer: TokenAnswer =
        serde_json::from_slice(&body).map_err(|error| failed(error.to_string()))?;
    let access = answer
        .token
        .filter(|token| !token.is_empty())
        .or(answer.access_token)
        .filter(|token| !token.is_empty())
        .ok_or_else(|| {
            failed("authorization server did not include a token in the response".to_owned())
        })?;
    Ok(Token {
        access,
        refresh: answer.refresh_token.filter(|token| !token.is_empty()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_in_each_alphabet() {
        let json = br#"{"username":"u?","password":"p>"}"#;
        for engine in [&STANDARD, &URL_SAFE, &URL_SAFE_NO_PAD] {
            let found = Credentials::from_header(&engine.encode(json));
            assert_eq!((&*found.username, &*found.password), ("u?", "p>"));
        }
        assert!(!Credentials::from_header("e30=").has_password());
        assert!(!Credentials::from_header("!!!").has_password());
        assert!(Credentials::require("").is_err() && Credentials::require("!!!").is_err());
        let both = STANDARD.encode(r#"{"auth":"dTpwOnc="}"#);
        let found = Credentials::from_header(&both);
        assert_eq!((&*found.username, &*found.password), ("u", "p:w"));
        assert!(!format!("{found:?}").contains("p:w"));
    }

    #[test]
    fn challenges() {
        let choose = |text: &[&str]| Challenge::choose(text.iter().copied());
        assert_eq!(choose(&["Basic realm=\"x\""]), Some(Challenge::Basic));
        assert_eq!(
            choose(&[
                "Basic realm=\"x\"",
                "Bearer realm=\"https://a/token\",service=\"r, \\\"x\\\"\",scope=\"repository:a:pull,push\""
            ]),
            Some(Challenge::Bearer {
                realm: "https://a/token".to_owned(),
                service: "r, \"x\"".to_owned(),
                scope: "repository:a:pull,push".to_owned(),
            })
        );
        assert_eq!(choose(&["Bearer service=x", "Negotiate"]), None);
        assert_eq!(choose(&[]), None);
    }
}
