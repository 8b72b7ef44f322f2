//! `login` and `logout`.

use std::io::{BufRead as _, Read as _, Write as _};

use clap::Args;

use crate::client::{Body, Client, ClientError};

use super::docker_config::{ConfigFile, HUB_KEY, Login, key_of};
use super::error::CliError;
use super::out::{self, To};
use super::terminal;

/// A password is no longer than this.
const MAX_PASSWORD: u64 = 64 * 1024;

#[derive(Args, Debug)]
pub(crate) struct LoginArgs {
    /// Password
    #[arg(short, long)]
    password: Option<String>,
    /// Take the password from stdin
    #[arg(long)]
    password_stdin: bool,
    /// Username
    #[arg(short, long)]
    username: Option<String>,
    #[arg(value_name = "SERVER")]
    server: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct LogoutArgs {
    #[arg(value_name = "SERVER")]
    server: Option<String>,
}

/// The registry's key in config.json.
fn key(server: Option<&str>) -> String {
    let Some(server) = server.filter(|text| !text.is_empty()) else {
        return HUB_KEY.to_owned();
    };
    let host = server
        .strip_prefix("https://")
        .or_else(|| server.strip_prefix("http://"))
        .unwrap_or(server);
    let host = host.split('/').next().unwrap_or(host);
    key_of(host).to_owned()
}

/// Checks credentials with the registry and keeps them.
///
/// # Errors
/// Flags, the registry's refusal, the file.
pub(crate) async fn login(client: &Client, args: LoginArgs) -> Result<u8, CliError> {
    if args.password_stdin && args.password.is_some() {
        return Err(CliError::Image(
            "--password and --password-stdin are mutually exclusive".to_owned(),
        ));
    }
    if args.password_stdin && args.username.as_deref().unwrap_or("").is_empty() {
        return Err(CliError::Image(
            "Must provide --username with --password-stdin".to_owned(),
        ));
    }
    if args.password.is_some() {
        out::line(
            To::Err,
            "WARNING! Using --password via the CLI is insecure. Use --password-stdin.",
        );
    }
    let key = key(args.server.as_deref());
    let mut config = ConfigFile::load();
    let asked = args.username.is_some() || args.password.is_some();
    let known = config.login(&key)?;
    if !asked && !known.is_empty() {
        out::line(To::Out, "Authenticating with existing credentials...");
        match check(client, &key, known).await {
            Ok(login) => return keep(&mut config, &key, &login),
            Err(error) => out::line(To::Err, &format!("Login did not succeed, error: {error}")),
        }
    }
    let username = match args.username {
        Some(name) => name,
        None => ask("Username: ", true)?,
    };
    let password = if args.password_stdin {
        let mut text = String::new();
        std::io::stdin()
            .take(MAX_PASSWORD)
            .read_to_string(&mut text)
            .map_err(CliError::io("read the password"))?;
        text.trim_end_matches(['\n', '\r']).to_owned()
    } else {
        match args.password {
            Some(password) => password,
            None => ask("Password: ", false)?,
        }
    };
    let login = Login {
        username,
        password,
        ..Login::default()
    };
    if login.username.is_empty() || login.password.is_empty() {
        let what = if login.username.is_empty() {
            "username"
        } else {
            "password"
        };
        return Err(CliError::Image(format!("{what} is empty")));
    }
    let login = check(client, &key, login).await?;
    keep(&mut config, &key, &login)
}

/// Has the daemon check a login; it may come back as a token.
async fn check(client: &Client, key: &str, mut login: Login) -> Result<Login, ClientError> {
    let mut body = login.to_json(key);
    body["serveraddress"] = key.into();
    let answer = client.post("/auth", Body::Json(body)).await?;
    if let Some(token) = answer["IdentityToken"]
        .as_str()
        .filter(|token| !token.is_empty())
    {
        login.password.clear();
        login.identity_token = token.to_owned();
    }
    Ok(login)
}

fn keep(config: &mut ConfigFile, key: &str, login: &Login) -> Result<u8, CliError> {
    if let Some(path) = config.plain_file(key) {
        let text = format!(
            "WARNING! Your credentials are stored unencrypted in '{}'.\nConfigure a credential helper to remove this warning.",
            path.display()
        );
        out::line(To::Err, &text);
    }
    config.store(key, login)?;
    out::line(To::Out, "Login Succeeded");
    Ok(0)
}

/// Asks at the terminal, with or without showing what is typed.
fn ask(prompt: &str, shown: bool) -> Result<String, CliError> {
    if !terminal::stdin_is_terminal() {
        return Err(CliError::Image(
            "Error: Cannot perform an interactive login from a non TTY device".to_owned(),
        ));
    }
    out::write(To::Out, prompt.as_bytes());
    // Standard output is unbuffered here; a terminal in between may not be.
    let _ = std::io::stdout().flush();
    if !shown {
        terminal::hide_input().map_err(CliError::io("hide the password"))?;
    }
    let mut line = String::new();
    let result = std::io::stdin().lock().read_line(&mut line);
    if !shown {
        terminal::restore();
        out::line(To::Out, "");
    }
    result.map_err(CliError::io("read the answer"))?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

/// Forgets the credentials of a registry.
///
/// # Errors
/// The file, the program that keeps them.
pub(crate) fn logout(args: &LogoutArgs) -> Result<u8, CliError> {
    let key = key(args.server.as_deref());
    out::line(To::Out, &format!("Removing login credentials for {key}"));
    ConfigFile::load().erase(&key)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers() {
        assert_eq!(key(None), HUB_KEY);
        assert_eq!(key(Some("docker.io")), HUB_KEY);
        assert_eq!(key(Some("https://r.example/v2/")), "r.example");
        assert_eq!(key(Some("localhost:5000")), "localhost:5000");
    }
}
