//! Dockerfile instructions given to an import (`docker import --change`).

use std::collections::BTreeMap;
use std::str::FromStr as _;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::error::{ChangeError, ImageError};
use crate::api::types::ContainerConfig;
use crate::cli::times::go_duration;

/// Instructions of a Dockerfile that change no configuration.
const NOT_ALLOWED: [&str; 7] = ["ADD", "ARG", "COPY", "FROM", "MAINTAINER", "RUN", "SHELL"];
const PORTS: u16 = u16::MAX;

/// Applies instructions in order to an empty configuration.
pub(super) fn apply(changes: &[String]) -> Result<ContainerConfig, ChangeError> {
    apply_to(ContainerConfig::default(), changes)
}

/// As [`apply`], to a given configuration.
///
/// # Errors
/// 400 with Docker's texts.
pub(crate) fn apply_changes(
    config: ContainerConfig,
    changes: &[String],
) -> Result<ContainerConfig, ImageError> {
    Ok(apply_to(config, changes)?)
}

/// One text may hold several lines.
fn apply_to(
    mut config: ContainerConfig,
    changes: &[String],
) -> Result<ContainerConfig, ChangeError> {
    let lines: Vec<String> = changes.iter().flat_map(|change| lines(change)).collect();
    if lines.is_empty() && !changes.is_empty() {
        return Err(ChangeError::NoInstructions);
    }
    for line in lines {
        instruction(&line, &mut config)?;
    }
    Ok(config)
}

/// Lines without comments, continued ones joined.
fn lines(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut current = String::new();
    for line in text.lines() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.strip_suffix('\\') {
            Some(start) => current.push_str(start),
            None => {
                current.push_str(line);
                found.push(std::mem::take(&mut current));
            }
        }
    }
    if !current.is_empty() {
        found.push(current);
    }
    found
}

fn instruction(line: &str, config: &mut ContainerConfig) -> Result<(), ChangeError> {
    let (word, rest) = line
        .split_once(|c: char| c.is_ascii_whitespace())
        .unwrap_or((line, ""));
    let rest = rest.trim();
    match word.to_ascii_uppercase().as_str() {
        "CMD" => {
            config.cmd = Some(command(rest));
            Ok(())
        }
        "ENTRYPOINT" => {
            config.entrypoint = Some(command(rest));
            Ok(())
        }
        "ENV" => env(rest, config),
        "LABEL" => {
            for (key, value) in pairs("LABEL", rest, &config.env)? {
                config.labels.insert(key, value);
            }
            Ok(())
        }
        "EXPOSE" => expose(rest, config),
        "USER" => {
            config.user = one("USER", rest, &config.env)?;
            Ok(())
        }
        "WORKDIR" => {
            let path = one("WORKDIR", rest, &config.env)?;
            config.working_dir = join(&config.working_dir, &path);
            Ok(())
        }
        "VOLUME" => {
            let paths = match json_list(rest) {
                Some(paths) => paths,
                None => words("VOLUME", rest, &config.env)?,
            };
            if paths.is_empty() || paths.iter().any(String::is_empty) {
                return Err(ChangeError::NoArgument("VOLUME"));
            }
            let volumes = config.volumes.get_or_insert_default();
            volumes.extend(paths.into_iter().map(|path| (path, json!({}))));
            Ok(())
        }
        "STOPSIGNAL" => {
            let signal = one("STOPSIGNAL", rest, &config.env)?;
            check_signal(&signal)?;
            config.stop_signal = Some(signal);
            Ok(())
        }
        "HEALTHCHECK" => {
            config.healthcheck = Some(health_check(rest)?);
            Ok(())
        }
        "ONBUILD" if rest.is_empty() => Err(ChangeError::NoArgument("ONBUILD")),
        "ONBUILD" => {
            config
                .on_build
                .get_or_insert_default()
                .push(rest.to_owned());
            Ok(())
        }
        other if NOT_ALLOWED.contains(&other) => {
            Err(ChangeError::NotAllowed(other.to_ascii_lowercase()))
        }
        other => Err(ChangeError::Unknown(other.to_owned())),
    }
}

/// `NONE`, or options and `CMD` (docs: Dockerfile reference, HEALTHCHECK).
fn health_check(rest: &str) -> Result<Value, ChangeError> {
    const NAME: &str = "HEALTHCHECK";
    let mut check = serde_json::Map::new();
    let mut rest = rest;
    while let Some(option) = rest.strip_prefix("--") {
        let (option, after) = option
            .split_once(|c: char| c.is_ascii_whitespace())
            .unwrap_or((option, ""));
        rest = after.trim_start();
        let (flag, value) = option.split_once('=').unwrap_or((option, ""));
        let bad = || ChangeError::Flag {
            instruction: NAME,
            flag: flag.to_owned(),
            value: value.to_owned(),
        };
        let (key, number) = match flag {
            "interval" => ("Interval", go_duration(value).map_err(|_| bad())?),
            "timeout" => ("Timeout", go_duration(value).map_err(|_| bad())?),
            "start-period" => ("StartPeriod", go_duration(value).map_err(|_| bad())?),
            "start-interval" => ("StartInterval", go_duration(value).map_err(|_| bad())?),
            "retries" => ("Retries", value.parse().map_err(|_| bad())?),
            _ => return Err(bad()),
        };
        if number < 1 {
            return Err(bad());
        }
        check.insert(key.to_owned(), json!(number));
    }
    let (kind, arguments) = rest
        .split_once(|c: char| c.is_ascii_whitespace())
        .unwrap_or((rest, ""));
    let arguments = arguments.trim();
    let test = match kind.to_ascii_uppercase().as_str() {
        "" => return Err(ChangeError::NoArgument(NAME)),
        "NONE" if arguments.is_empty() && check.is_empty() => vec!["NONE".to_owned()],
        "NONE" => return Err(ChangeError::NoneTakesNothing),
        "CMD" if arguments.is_empty() => return Err(ChangeError::NoHealthCommand),
        "CMD" => match json_list(arguments) {
            Some(list) => [vec!["CMD".to_owned()], list].concat(),
            None => vec!["CMD-SHELL".to_owned(), arguments.to_owned()],
        },
        _ => return Err(ChangeError::HealthKind(kind.to_owned())),
    };
    check.insert("Test".to_owned(), json!(test));
    Ok(Value::Object(check))
}

/// `["a","b"]`, or a line for a shell.
fn command(rest: &str) -> Vec<String> {
    match json_list(rest) {
        Some(list) => list,
        None if rest.is_empty() => Vec::new(),
        None => vec!["/bin/sh".to_owned(), "-c".to_owned(), rest.to_owned()],
    }
}

fn json_list(rest: &str) -> Option<Vec<String>> {
    rest.starts_with('[')
        .then(|| serde_json::from_str(rest).ok())
        .flatten()
}

fn env(rest: &str, config: &mut ContainerConfig) -> Result<(), ChangeError> {
    for (key, value) in pairs("ENV", rest, &config.env)? {
        let entry = format!("{key}={value}");
        match config
            .env
            .iter_mut()
            .find(|old| old.split_once('=').is_some_and(|(name, _)| name == key))
        {
            Some(old) => *old = entry,
            None => config.env.push(entry),
        }
    }
    Ok(())
}

/// `a=b "c"="d e"`, or the old form `a value up to the end`.
fn pairs(
    instruction: &'static str,
    rest: &str,
    env: &[String],
) -> Result<Vec<(String, String)>, ChangeError> {
    if rest.is_empty() {
        return Err(ChangeError::NoArgument(instruction));
    }
    let first = rest.split_ascii_whitespace().next().unwrap_or_default();
    let pairs = if first.contains('=') {
        raw_words(rest)
            .into_iter()
            .map(|word| {
                let (key, value) = word.split_once('=').ok_or_else(|| ChangeError::KeyValue {
                    instruction,
                    word: word.clone(),
                })?;
                Ok((
                    expand(instruction, key, env)?,
                    expand(instruction, value, env)?,
                ))
            })
            .collect::<Result<Vec<_>, _>>()?
    } else {
        let (key, value) = rest
            .split_once(|c: char| c.is_ascii_whitespace())
            .ok_or(ChangeError::TwoArguments(instruction))?;
        vec![(key.to_owned(), expand(instruction, value.trim(), env)?)]
    };
    if pairs.iter().any(|(key, _)| key.is_empty()) {
        return Err(ChangeError::BlankName(instruction));
    }
    Ok(pairs)
}

fn expose(rest: &str, config: &mut ContainerConfig) -> Result<(), ChangeError> {
    let mut ports: BTreeMap<String, Value> = config.exposed_ports.take().unwrap_or_default();
    let given = words("EXPOSE", rest, &config.env)?;
    if given.is_empty() {
        return Err(ChangeError::NoArgument("EXPOSE"));
    }
    for port in given {
        let bad = || ChangeError::Port(port.clone());
        let (numbers, protocol) = port.split_once('/').unwrap_or((&port, "tcp"));
        let protocol = protocol.to_ascii_lowercase();
        if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
            return Err(bad());
        }
        let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
        let first: u16 = first.parse().map_err(|_| bad())?;
        let last: u16 = last.parse().map_err(|_| bad())?;
        if first > last || (first == 0 && last == PORTS) {
            return Err(bad());
        }
        for number in first..=last {
            ports.insert(format!("{number}/{protocol}"), json!({}));
        }
    }
    config.exposed_ports = Some(ports);
    Ok(())
}

fn one(instruction: &'static str, rest: &str, env: &[String]) -> Result<String, ChangeError> {
    let value = expand(instruction, rest, env)?;
    if value.is_empty() {
        return Err(ChangeError::OneArgument(instruction));
    }
    Ok(value)
}

fn words(
    instruction: &'static str,
    rest: &str,
    env: &[String],
) -> Result<Vec<String>, ChangeError> {
    raw_words(rest)
        .iter()
        .map(|word| expand(instruction, word, env))
        .collect()
}

/// Words as they are written: quotes and backslashes keep blanks together and are kept.
fn raw_words(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' if quote != Some('\'') => {
                word.push(c);
                word.extend(chars.next());
            }
            '"' | '\'' => {
                match quote {
                    None => quote = Some(c),
                    Some(open) if open == c => quote = None,
                    Some(_) => {}
                }
                word.push(c);
            }
            c if c.is_ascii_whitespace() && quote.is_none() => {
                if !word.is_empty() {
                    found.push(std::mem::take(&mut word));
                }
            }
            c => word.push(c),
        }
    }
    if !word.is_empty() {
        found.push(word);
    }
    found
}

/// Takes quotes and backslashes away and puts variables in (`$A`, `${A}`, `${A:-default}`).
fn expand(instruction: &'static str, text: &str, env: &[String]) -> Result<String, ChangeError> {
    let mut out = String::new();
    let mut quote = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (Some('\''), c) => out.push(c),
            (quote, '\\') => match chars.next() {
                // Within double quotes only these are escaped.
                Some(next) if quote.is_some() && !matches!(next, '"' | '$' | '\\') => {
                    out.push('\\');
                    out.push(next);
                }
                Some(next) => out.push(next),
                None => out.push('\\'),
            },
            (_, '$') => {
                let braces = chars.next_if_eq(&'{').is_some();
                let mut name = String::new();
                while let Some(next) = chars
                    .next_if(|c| *c == '_' || c.is_ascii_alphanumeric() || (braces && *c != '}'))
                {
                    name.push(next);
                }
                if braces && chars.next().is_none() {
                    return Err(ChangeError::Quote(instruction));
                }
                if name.is_empty() {
                    out.push('$');
                } else {
                    out.push_str(&variable(&name, env));
                }
            }
            (_, c) => out.push(c),
        }
    }
    if quote.is_some() {
        return Err(ChangeError::Quote(instruction));
    }
    Ok(out)
}

fn variable(name: &str, env: &[String]) -> String {
    let (name, fallback) = name.split_once(":-").unwrap_or((name, ""));
    env.iter()
        .find_map(|entry| entry.split_once('=').filter(|(key, _)| *key == name))
        .map(|(_, value)| value)
        .filter(|value| !value.is_empty())
        .unwrap_or(fallback)
        .to_owned()
}

/// A path made absolute and clean, as WORKDIR does.
fn join(base: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let base = if path.starts_with('/') { "" } else { base };
    for part in base.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// `SIGTERM`, `TERM`, `15`, `RTMIN+3`.
fn check_signal(text: &str) -> Result<(), ChangeError> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = |start: &str, sign: char| {
        name.strip_prefix(start).is_some_and(|rest| {
            rest.is_empty()
                || rest
                    .strip_prefix(sign)
                    .and_then(|number| number.parse::<u32>().ok())
                    .is_some_and(|number| number <= 30)
        })
    };
    let known = name
        .parse::<i32>()
        .is_ok_and(|number| (1..=64).contains(&number))
        || Signal::from_str(&format!("SIG{name}")).is_ok()
        || real_time("RTMIN", '+')
        || real_time("RTMAX", '-');
    if known {
        Ok(())
    } else {
        Err(ChangeError::Signal(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(changes: &[&str]) -> ContainerConfig {
        apply(&changes.iter().map(|&c| c.to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn commands_have_two_forms() {
        let found = config(&["CMD [\"a\", \"b c\"]", "entrypoint echo hi"]);
        assert_eq!(found.cmd.unwrap(), ["a", "b c"]);
        assert_eq!(found.entrypoint.unwrap(), ["/bin/sh", "-c", "echo hi"]);
        assert_eq!(config(&["CMD [not json"]).cmd.unwrap()[2], "[not json");
        assert!(config(&["CMD []"]).cmd.unwrap().is_empty());
    }

    #[test]
    fn values_are_set_and_expanded() {
        let found = config(&[
            "ENV A=1 B=\"x y\" C='$A'",
            "ENV D $A and ${B}",
            "ENV A=2\nLABEL k=\"v w\" l=${A} m=${NONE:-d}",
            "EXPOSE 80 53/udp 8000-8002",
            "USER www:data",
            "WORKDIR /a/b\nWORKDIR ../c",
            "VOLUME /v /w",
            "VOLUME [\"/x y\"]",
            "STOPSIGNAL SIGQUIT",
            "ONBUILD RUN true",
        ]);
        assert_eq!(found.env, ["A=2", "B=x y", "C=$A", "D=1 and x y"]);
        assert_eq!(found.labels["k"], "v w");
        assert_eq!(found.labels["l"], "2");
        assert_eq!(found.labels["m"], "d");
        let ports: Vec<_> = found.exposed_ports.unwrap().into_keys().collect();
        assert_eq!(
            ports,
            ["53/udp", "80/tcp", "8000/tcp", "8001/tcp", "8002/tcp"]
        );
        assert_eq!(found.user, "www:data");
        assert_eq!(found.working_dir, "/a/c");
        let volumes: Vec<_> = found.volumes.unwrap().into_keys().collect();
        assert_eq!(volumes, ["/v", "/w", "/x y"]);
        assert_eq!(found.stop_signal.as_deref(), Some("SIGQUIT"));
        assert_eq!(found.on_build.unwrap(), ["RUN true"]);
    }

    #[test]
    fn health_checks() {
        let of = |change: &str| config(&[change]).healthcheck.unwrap();
        assert_eq!(of("HEALTHCHECK NONE"), json!({"Test": ["NONE"]}));
        assert_eq!(
            of("HEALTHCHECK --interval=1m30s --retries=4 CMD [\"a\", \"b c\"]"),
            json!({"Test": ["CMD", "a", "b c"], "Interval": 90_000_000_000_i64, "Retries": 4})
        );
        assert_eq!(
            of("healthcheck --timeout=1s --start-period=2s cmd a || b"),
            json!({
                "Test": ["CMD-SHELL", "a || b"],
                "Timeout": 1_000_000_000_i64,
                "StartPeriod": 2_000_000_000_i64,
            })
        );
    }

    #[test]
    fn bad_instructions_are_refused() {
        for (change, text) in [
            ("FOO x", "FOO is not a valid change command"),
            ("RUN x", "run is not a valid change command"),
            ("ENV", "at least one argument"),
            ("ENV A", "ENV must have two arguments"),
            ("ENV A=1 B", "can't find ="),
            ("  \n# x", "file with no instructions"),
            ("HEALTHCHECK", "at least one argument"),
            ("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments"),
            ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"),
            (
                "HEALTHCHECK RUN x",
                "Unknown type \"RUN\" in HEALTHCHECK (try CMD)",
            ),
            (
                "HEALTHCHECK --interval=x CMD y",
                "HEALTHCHECK: invalid --interval=x",
            ),
            (
                "HEALTHCHECK --retries=0 CMD y",
                "HEALTHCHECK: invalid --retries=0",
            ),
            (
                "HEALTHCHECK --nosuch=1 CMD y",
                "HEALTHCHECK: invalid --nosuch=1",
            ),
            ("ENV =x", "can not be blank"),
            ("ENV A=\"x", "unterminated"),
            ("EXPOSE 99999", "invalid containerPort: 99999"),
            ("EXPOSE 80/foo", "invalid containerPort"),
            ("STOPSIGNAL SIGNOPE", "Invalid signal: SIGNOPE"),
            ("USER", "exactly one argument"),
        ] {
            let error = apply(&[change.to_owned()]).unwrap_err().to_string();
            assert!(error.contains(text), "{change}: {error}");
        }
        for signal in ["9", "TERM", "SIGRTMIN+3", "rtmax-2", "RTMIN"] {
            assert!(apply(&[format!("STOPSIGNAL {signal}")]).is_ok(), "{signal}");
        }
    }
}
