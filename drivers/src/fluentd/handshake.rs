//! HELO, PING, PONG of the forward protocol v1: both sides prove that they know the shared key; the client may name a user.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};

use rmp::encode::{write_array_len, write_str};
use sha2::{Digest as _, Sha512};

use super::value::{self, Value};
use crate::sink::{Failure, FailureKind, Trace};
use crate::transport::{Stream, failure};

/// What the client says of itself. No `Debug`: it has secrets.
pub(super) struct Login {
    pub(super) hostname: String,
    pub(super) key: String,
    pub(super) username: String,
    pub(super) password: String,
}

/// Parts in lower case hexadecimal of SHA-512.
pub(super) fn digest(parts: &[&[u8]]) -> String {
    let mut hash = Sha512::new();
    for part in parts {
        hash.update(part);
    }
    let mut out = String::with_capacity(128);
    for byte in hash.finalize() {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

fn hear(
    stream: &mut Stream,
    said: &mut Vec<u8>,
    what: &str,
    address: &str,
) -> Result<Value, Failure> {
    let mut part = [0; 4096];
    loop {
        match value::first(said) {
            Ok(Some((value, length))) => {
                said.drain(..length);
                return Ok(value);
            }
            Ok(None) => {}
            Err(why) => {
                return Err(Failure::new(
                    FailureKind::Protocol,
                    format!("{address} does not speak the forward protocol: {why}"),
                ));
            }
        }
        match stream.read(&mut part) {
            Ok(0) => {
                return Err(Failure::new(
                    FailureKind::Denied,
                    format!(
                        "{address} closed the connection instead of {what}: see its log for why"
                    ),
                ));
            }
            Ok(n) => said.extend_from_slice(&part[..n]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => {
                return Err(failure(
                    &format!(
                        "waiting for {what} of {address} (fluentd-shared-key is set: does it ask for one?)"
                    ),
                    &error,
                ));
            }
        }
    }
}

/// Logs in on a new connection; waits for as long as the socket's time-outs say.
pub(super) fn login(
    stream: &mut Stream,
    login: &Login,
    address: &str,
    trace: Trace<'_>,
) -> Result<(), Failure> {
    let denied = |text: String| Failure::new(FailureKind::Denied, text);
    let mut said = Vec::new();
    let value = hear(stream, &mut said, "HELO", address)?;
    let helo = value.named("HELO").and_then(|rest| rest.first());
    let helo = helo.ok_or_else(|| {
        Failure::new(
            FailureKind::Protocol,
            format!("{address} said something else than HELO"),
        )
    })?;
    let nonce = helo.get("nonce").map(Value::bytes).unwrap_or_default();
    let salt_of_user = helo.get("auth").map(Value::bytes).unwrap_or_default();
    if !salt_of_user.is_empty() && login.username.is_empty() {
        return Err(denied(format!(
            "{address} asks for a user: set fluentd-username and fluentd-password"
        )));
    }
    let mut random = [0; 16];
    getrandom::fill(&mut random)
        .map_err(|error| Failure::new(FailureKind::Protocol, error.to_string()))?;
    let salt = digest(&[&random]);
    let salt = &salt[..32];
    let proof = digest(&[
        salt.as_bytes(),
        login.hostname.as_bytes(),
        nonce,
        login.key.as_bytes(),
    ]);
    let (user, password) = if salt_of_user.is_empty() {
        ("", String::new())
    } else {
        let (user, password) = (login.username.as_str(), login.password.as_bytes());
        (user, digest(&[salt_of_user, user.as_bytes(), password]))
    };
    let mut ping = Vec::new();
    // Writing to memory does not fail.
    let _ = write_array_len(&mut ping, 6);
    for text in ["PING", &login.hostname, salt, &proof, user, &password] {
        let _ = write_str(&mut ping, text);
    }
    stream
        .write_all(&ping)
        .and_then(|()| stream.flush())
        .map_err(|error| failure(&format!("PING to {address}"), &error))?;
    let value = hear(stream, &mut said, "PONG", address)?;
    let pong = value.named("PONG").unwrap_or_default();
    let [result, reason, name, proof, ..] = pong else {
        return Err(Failure::new(
            FailureKind::Protocol,
            format!("{address} said something else than PONG"),
        ));
    };
    if *result != Value::Bool(true) {
        let reason = String::from_utf8_lossy(reason.bytes());
        return Err(denied(format!(
            "{address} refuses: {reason}: check fluentd-shared-key, fluentd-username, fluentd-password"
        )));
    }
    let expected = digest(&[salt.as_bytes(), name.bytes(), nonce, login.key.as_bytes()]);
    if proof.bytes() != expected.as_bytes() {
        return Err(denied(format!(
            "{address} does not know fluentd-shared-key itself"
        )));
    }
    trace(format!(
        "logged in at {:?}",
        String::from_utf8_lossy(name.bytes())
    ));
    Ok(())
}
