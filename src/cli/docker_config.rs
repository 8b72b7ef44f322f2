//! `config.json` of Docker's clients: who one is at which registry, in the file itself or with a program
//! `docker-credential-*` (docs: `docker login`, "Credential stores").

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::{Map, Value, json};

use super::error::CliError;
use super::out::{self, To};

/// How Docker Hub is called in the file.
pub(crate) const HUB_KEY: &str = "https://index.docker.io/v1/";
/// What a program gives as the name of a user when the secret is a token.
const TOKEN_USER: &str = "<token>";
/// Largest file that is read.
const MAX_FILE: u64 = 4 << 20;

/// Who one is at a registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) username: String,
    pub(crate) password: String,
    pub(crate) identity_token: String,
    pub(crate) registry_token: String,
}

impl Login {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// As the API takes it; `key` is the registry's name in the file.
    pub(crate) fn to_json(&self, key: &str) -> Value {
        let mut map = Map::new();
        for (name, value) in [
            ("username", &self.username),
            ("password", &self.password),
            ("identitytoken", &self.identity_token),
            ("registrytoken", &self.registry_token),
        ] {
            if !value.is_empty() {
                map.insert(name.to_owned(), json!(value));
            }
        }
        if !map.is_empty() {
            map.insert("serveraddress".to_owned(), json!(key));
        }
        Value::Object(map)
    }

    /// The header `X-Registry-Auth`.
    pub(crate) fn header(&self, key: &str) -> String {
        URL_SAFE.encode(self.to_json(key).to_string())
    }
}

/// The key of a registry in the file: Docker Hub's is its first API.
pub(crate) fn key_of(domain: &str) -> &str {
    if domain == "docker.io" || domain == "index.docker.io" {
        HUB_KEY
    } else {
        domain
    }
}

/// The file, and its place.
#[derive(Debug)]
pub(crate) struct ConfigFile {
    path: PathBuf,
    settings: Map<String, Value>,
}

impl ConfigFile {
    /// Reads it from `$DOCKER_CONFIG`, else `~/.docker`. One that is missing is empty; one that cannot be
    /// read is told of and taken for empty, as by Docker.
    pub(crate) fn load() -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let folder = set("DOCKER_CONFIG").map(PathBuf::from).unwrap_or_else(|| {
            PathBuf::from(set("HOME").unwrap_or_else(|| "/".into())).join(".docker")
        });
        let path = folder.join("config.json");
        let settings = match read(&path) {
            Ok(settings) => settings,
            Err(why) => {
                let text = format!(
                    "WARNING: Error loading config file: {}: {why}",
                    path.display()
                );
                out::line(To::Err, &text);
                Map::new()
            }
        };
        Self { path, settings }
    }

    /// The program that keeps a registry's login: `pass` is `docker-credential-pass`.
    fn helper(&self, key: &str) -> Option<&str> {
        self.settings
            .get("credHelpers")
            .and_then(|helpers| helpers.get(key))
            .or_else(|| self.settings.get("credsStore"))
            .and_then(Value::as_str)
            .filter(|name| !name.is_empty())
    }

    /// Where a login would be kept in plain text; `None` if a program keeps it.
    pub(crate) fn plain_file(&self, key: &str) -> Option<&std::path::Path> {
        self.helper(key).is_none().then_some(self.path.as_path())
    }

    /// Who one is at a registry; nobody if nothing is known.
    ///
    /// # Errors
    /// The program that should know fails.
    pub(crate) fn login(&self, key: &str) -> Result<Login, CliError> {
        if let Some(helper) = self.helper(key) {
            return from_helper(helper, key);
        }
        let auths = self.settings.get("auths").and_then(Value::as_object);
        let found = auths.and_then(|auths| {
            auths.get(key).or_else(|| {
                // Old files have whole addresses.
                auths
                    .iter()
                    .find(|(name, _)| host(name) == host(key))
                    .map(|(_, value)| value)
            })
        });
        Ok(found.map(entry).unwrap_or_default())
    }

    /// Keeps a login.
    ///
    /// # Errors
    /// The file cannot be written, or the program fails.
    pub(crate) fn store(&mut self, key: &str, login: &Login) -> Result<(), CliError> {
        let mut auth = Map::new();
        match self.helper(key) {
            Some(helper) => {
                let (user, secret) = if login.identity_token.is_empty() {
                    (login.username.as_str(), &login.password)
                } else {
                    (TOKEN_USER, &login.identity_token)
                };
                let given = json!({"ServerURL": key, "Username": user, "Secret": secret});
                run(helper, "store", &given.to_string())?;
            }
            None => {
                if !login.username.is_empty() {
                    let pair = format!("{}:{}", login.username, login.password);
                    auth.insert("auth".to_owned(), json!(STANDARD.encode(pair)));
                }
                if !login.identity_token.is_empty() {
                    auth.insert("identitytoken".to_owned(), json!(login.identity_token));
                }
            }
        }
        // With a program, too: the file then has the name only, as Docker's.
        self.auths().insert(key.to_owned(), Value::Object(auth));
        self.save()
    }

    /// Forgets a login.
    ///
    /// # Errors
    /// As [`Self::store`].
    pub(crate) fn erase(&mut self, key: &str) -> Result<(), CliError> {
        if let Some(helper) = self.helper(key) {
            run(helper, "erase", key)?;
        }
        let known: Vec<String> = self
            .auths()
            .keys()
            .filter(|name| *name == key || host(name) == host(key))
            .cloned()
            .collect();
        if known.is_empty() {
            return Ok(());
        }
        for name in known {
            self.auths().remove(&name);
        }
        self.save()
    }

    fn auths(&mut self) -> &mut Map<String, Value> {
        let auths = self.settings.entry("auths").or_insert_with(|| json!({}));
        if !auths.is_object() {
            *auths = json!({});
        }
        match auths {
            Value::Object(map) => map,
            // Made one above.
            _ => unreachable!("auths is an object"),
        }
    }

    /// Replaces the file; only its owner may read it.
    fn save(&self) -> Result<(), CliError> {
        let failed = || format!("cannot write {}", self.path.display());
        // A link leads to where the file is meant to be.
        let path = std::fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let folder = path.parent().unwrap_or(std::path::Path::new("/"));
        {
            use std::os::unix::fs::DirBuilderExt as _;
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(CliError::io(failed()))?;
        }
        let mut bytes = Vec::new();
        let form = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut out = serde_json::Serializer::with_formatter(&mut bytes, form);
        serde::Serialize::serialize(&self.settings, &mut out)
            .map_err(|error| CliError::io(failed())(error.into()))?;
        // With mode 0600.
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(CliError::io(failed()))?;
        file.write_all(&bytes)
            .and_then(|()| file.as_file().sync_all())
            .map_err(CliError::io(failed()))?;
        file.persist(&path)
            .map_err(|error| CliError::io(failed())(error.error))?;
        Ok(())
    }
}

fn read(path: &std::path::Path) -> Result<Map<String, Value>, String> {
    let bytes = match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Map::new()),
        Err(error) => return Err(error.to_string()),
        Ok(found) if found.len() > MAX_FILE => return Err("the file is too large".to_owned()),
        Ok(_) => std::fs::read(path).map_err(|error| error.to_string())?,
    };
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    serde_json::from_slice(&bytes).map_err(|error| error.to_string())
}

/// `https://host/v1/` as `host`.
fn host(name: &str) -> &str {
    let name = name
        .strip_prefix("https://")
        .or_else(|| name.strip_prefix("http://"))
        .unwrap_or(name);
    name.split('/').next().unwrap_or(name)
}

/// A login of the file.
fn entry(value: &Value) -> Login {
    let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let mut login = Login {
        username: text("username"),
        password: text("password"),
        identity_token: text("identitytoken"),
        registry_token: text("registrytoken"),
    };
    if let Some(auth) = value["auth"].as_str()
        && let Ok(bytes) = STANDARD.decode(auth)
        && let Ok(pair) = String::from_utf8(bytes)
        && let Some((name, password)) = pair.split_once(':')
    {
        login.username = name.to_owned();
        login.password = password.trim_end_matches('\0').to_owned();
    }
    login
}

fn from_helper(helper: &str, key: &str) -> Result<Login, CliError> {
    let Some(answer) = run(helper, "get", key)? else {
        return Ok(Login::default());
    };
    let found: Value = serde_json::from_str(&answer).map_err(|error| {
        CliError::Image(format!(
            "docker-credential-{helper} get: its answer is not valid: {error}"
        ))
    })?;
    let text = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
    Ok(if found["Username"] == TOKEN_USER {
        Login {
            identity_token: text("Secret"),
            ..Login::default()
        }
    } else {
        Login {
            username: text("Username"),
            password: text("Secret"),
            ..Login::default()
        }
    })
}

/// Runs a program for credentials (docs: docker-credential-helpers); `None` if it knows nothing of what
/// it was asked for.
fn run(helper: &str, verb: &str, input: &str) -> Result<Option<String>, CliError> {
    let program = format!("docker-credential-{helper}");
    let failed = || format!("error getting credentials: {program} {verb}");
    if helper.contains('/') {
        return Err(CliError::Image(format!(
            "credential helper {helper:?} is no name: write what follows docker-credential-"
        )));
    }
    let mut child = Command::new(&program)
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(CliError::io(failed()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read it says why below.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(CliError::io(failed()))?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() {
        return Ok(Some(text));
    }
    if text.contains("credentials not found") {
        return Ok(None);
    }
    Err(CliError::Image(format!(
        "{}: {}: {text}",
        failed(),
        output.status
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &std::path::Path, settings: Value) -> ConfigFile {
        ConfigFile {
            path: folder.join("d/config.json"),
            settings: settings.as_object().cloned().unwrap_or_default(),
        }
    }

    #[test]
    fn logins_are_found_kept_and_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = file(
            folder.path(),
            json!({"auths": {"https://old.example/v1/": {"auth": "dTpwOnc="}}, "other": [1]}),
        );
        assert_eq!(config.login("old.example").unwrap().password, "p:w");
        assert!(config.login("r:5000").unwrap().is_empty());
        let login = Login {
            username: "u".to_owned(),
            password: "pw".to_owned(),
            ..Login::default()
        };
        config.store("r:5000", &login).unwrap();
        let text = std::fs::read_to_string(&config.path).unwrap();
        assert!(
            text.contains("\t\t\"r:5000\": {\n\t\t\t\"auth\": \"dTpwdw==\""),
            "{text}"
        );
        assert!(text.contains("\"other\""), "{text}");
        let again = ConfigFile {
            settings: read(&config.path).unwrap(),
            path: config.path.clone(),
        };
        assert_eq!(again.login("r:5000").unwrap(), login);
        config.erase("r:5000").unwrap();
        assert!(config.login("r:5000").unwrap().is_empty());
    }

    #[test]
    fn headers() {
        assert_eq!(Login::default().header("r"), "e30=");
        assert_eq!(key_of("docker.io"), HUB_KEY);
        assert_eq!(key_of("r:5000"), "r:5000");
    }
}
