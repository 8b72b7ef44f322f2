//! The parser's manners: Docker's rules for flags and Docker's words when they are broken.

use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};

use super::mounts::go_bool;
use super::out::{self, To};

/// Gives every flag of `command` Docker's behaviour: `--rm=false` and `--rm`, the last of several
/// wins, values may start with `-`, help is `--help` alone (`-h` is a host name).
pub(super) fn like_docker(command: Command) -> Command {
    dress(command, "")
}

/// `parent` is the group that the command is in.
fn dress(command: Command, parent: &str) -> Command {
    let top = command.get_name() == "taffrail";
    let path = match (top, parent) {
        (true, _) => String::new(),
        (false, "") => command.get_name().to_owned(),
        (false, parent) => format!("{parent} {}", command.get_name()),
    };
    let mut command = command
        .args_override_self(true)
        .disable_help_flag(true)
        .mut_args(|arg| {
            if matches!(arg.get_action(), ArgAction::SetTrue) {
                optional_bool(arg.action(ArgAction::Set)).default_value("false")
            } else if ["init", "sig_proxy", "live_restore", "human", "pause"]
                .contains(&arg.get_id().as_str())
            {
                optional_bool(arg)
            } else if !arg.is_positional() && arg.get_action().takes_values() {
                arg.allow_hyphen_values(true)
            } else {
                arg
            }
        })
        .mut_subcommands(|command| dress(command, &path));
    let mut help = Arg::new("help")
        .long("help")
        .action(ArgAction::Help)
        .help("Print usage");
    if top {
        help = help.short('h');
        let version = Arg::new("version")
            .short('v')
            .long("version")
            .action(ArgAction::Version)
            .help("Print version information and quit");
        command = command.disable_version_flag(true).arg(version);
    }
    command = command.arg(help);
    match usage_of(&path) {
        Some(usage) => command.override_usage(usage),
        None => command,
    }
}

fn usage_of(command: &str) -> Option<String> {
    let alone = command.strip_prefix("container ").unwrap_or(command);
    let whole = command;
    USAGE
        .iter()
        .find(|(name, _)| *name == alone)
        .map(|(name, rest)| {
            let last = name.rsplit(' ').next().unwrap_or(name);
            let bare = ["tag", "pause", "unpause", "rename", "top", "diff", "port"].contains(&last);
            let options = if bare { "" } else { "[OPTIONS] " };
            format!("taffrail {whole} {options}{rest}")
                .trim_end()
                .to_owned()
        })
}

/// An error of a flag's value, with what follows it in Docker; without the last newline.
pub(super) fn with_usage(line: &str, command: &str) -> String {
    let usage = usage_of(command).unwrap_or_default();
    format!("{line}\n\nUsage:  {usage}\n\nRun 'taffrail {command} --help' for more information")
}

/// What follows the flags of each command.
const USAGE: &[(&str, &str)] = &[
    ("run", "IMAGE [COMMAND] [ARG...]"),
    ("create", "IMAGE [COMMAND] [ARG...]"),
    ("start", "CONTAINER [CONTAINER...]"),
    ("attach", "CONTAINER"),
    ("exec", "CONTAINER COMMAND [ARG...]"),
    ("container exec", "CONTAINER COMMAND [ARG...]"),
    ("stop", "CONTAINER [CONTAINER...]"),
    ("kill", "CONTAINER [CONTAINER...]"),
    ("restart", "CONTAINER [CONTAINER...]"),
    ("pause", "CONTAINER [CONTAINER...]"),
    ("unpause", "CONTAINER [CONTAINER...]"),
    ("rename", "CONTAINER NEW_NAME"),
    ("update", "CONTAINER [CONTAINER...]"),
    ("top", "CONTAINER [ps OPTIONS]"),
    ("rm", "CONTAINER [CONTAINER...]"),
    ("wait", "CONTAINER [CONTAINER...]"),
    ("ps", ""),
    (
        "cp",
        "CONTAINER:SRC_PATH DEST_PATH|-\n        taffrail cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
    ),
    ("diff", "CONTAINER"),
    ("commit", "CONTAINER [REPOSITORY[:TAG]]"),
    ("export", "CONTAINER"),
    ("port", "CONTAINER [PRIVATE_PORT[/PROTO]]"),
    ("stats", "[CONTAINER...]"),
    ("system prune", ""),
    ("logs", "CONTAINER [CONTAINER...]"),
    ("inspect", "NAME|ID [NAME|ID...]"),
    ("images", "[REPOSITORY[:TAG]]"),
    ("import", "FILE|- [REPOSITORY[:TAG]]"),
    ("load", ""),
    ("tag", "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]"),
    ("rmi", "IMAGE [IMAGE...]"),
    ("history", "IMAGE"),
    ("save", "IMAGE [IMAGE...]"),
    ("image history", "IMAGE"),
    ("image import", "FILE|- [REPOSITORY[:TAG]]"),
    ("image inspect", "IMAGE [IMAGE...]"),
    ("image load", ""),
    ("image ls", "[REPOSITORY[:TAG]]"),
    ("image prune", ""),
    ("image rm", "IMAGE [IMAGE...]"),
    ("image save", "IMAGE [IMAGE...]"),
    ("image tag", "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]"),
    ("network connect", "NETWORK CONTAINER"),
    ("network create", "NETWORK"),
    ("network disconnect", "NETWORK CONTAINER"),
    ("network inspect", "NETWORK [NETWORK...]"),
    ("network ls", ""),
    ("network prune", ""),
    ("network rm", "NETWORK [NETWORK...]"),
    ("volume create", "[VOLUME]"),
    ("volume inspect", "VOLUME [VOLUME...]"),
    ("volume ls", ""),
    ("volume prune", ""),
    ("volume rm", "VOLUME [VOLUME...]"),
    ("events", ""),
    ("info", ""),
    ("version", ""),
    ("completion", "bash|zsh|fish"),
];

fn optional_bool(arg: Arg) -> Arg {
    arg.num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .hide_default_value(true)
        .value_name("BOOL")
        .value_parser(|text: &str| {
            go_bool(text)
                .ok_or_else(|| format!("strconv.ParseBool: parsing {text:?}: invalid syntax"))
        })
}

/// How many arguments a command takes, for those that take a fixed number.
fn exact(name: &str) -> Option<&'static str> {
    let name = name.replacen("taffrail container ", "taffrail ", 1);
    match name.as_str() {
        "taffrail cp" => Some("2 arguments"),
        "taffrail diff" | "taffrail export" => Some("1 argument"),
        "taffrail tag" | "taffrail image tag" | "taffrail rename" => Some("2 arguments"),
        "taffrail exec" | "taffrail container exec" => Some("at least 2 arguments"),
        "taffrail attach" | "taffrail history" | "taffrail image history" => Some("1 argument"),
        "taffrail network connect" | "taffrail network disconnect" => Some("2 arguments"),
        "taffrail network create" => Some("1 argument"),
        "taffrail volume create" => Some("at most 1 argument"),
        _ => None,
    }
}

/// Shows what the parser says, help included; the status of the program.
pub(super) fn report(error: &clap::Error) -> ExitCode {
    let (text, status) = render(error);
    let to = if status == 0 { To::Out } else { To::Err };
    out::write(to, text.as_bytes());
    ExitCode::from(status)
}

/// Text and exit status.
pub(super) fn render(error: &clap::Error) -> (String, u8) {
    let get = |kind| match error.get(kind) {
        Some(ContextValue::String(s)) => s.clone(),
        Some(ContextValue::Strings(s)) => s.join(", "),
        _ => String::new(),
    };
    let usage = match error.get(ContextKind::Usage) {
        Some(ContextValue::StyledStr(s)) => s.to_string(),
        _ => String::new(),
    };
    // "Usage: taffrail run [OPTIONS] ..." names the command.
    let name = usage
        .lines()
        .next()
        .unwrap_or("")
        .trim_start_matches("Usage:")
        .split_whitespace()
        .take_while(|w| w.chars().all(|c| c.is_ascii_lowercase()))
        .collect::<Vec<_>>()
        .join(" ");
    let name = if name.is_empty() { "taffrail" } else { &name };
    let argument = get(ContextKind::InvalidArg);
    let flag = argument
        .split(['[', ' ', '='])
        .next()
        .unwrap_or(&argument)
        .to_owned();
    let mut verb = "Run";
    let (line, status) = match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            return (error.render().to_string(), 0);
        }
        ErrorKind::UnknownArgument if flag.starts_with("--") => {
            let near = get(ContextKind::SuggestedArg);
            let hint = if near.is_empty() {
                String::new()
            } else {
                format!(
                    "\nDid you mean {}?",
                    near.split([' ', '[']).next().unwrap_or("")
                )
            };
            (format!("unknown flag: {flag}{hint}"), 125)
        }
        ErrorKind::UnknownArgument if flag.starts_with('-') => {
            let letter = flag.trim_start_matches('-');
            (format!("unknown shorthand flag: '{letter}' in {flag}"), 125)
        }
        ErrorKind::UnknownArgument | ErrorKind::TooManyValues => (
            match exact(name) {
                Some(wanted) => format!("taffrail: '{name}' requires {wanted}"),
                None => {
                    format!("taffrail: '{name}' accepts no more arguments than it names: {flag:?}")
                }
            },
            1,
        ),
        ErrorKind::InvalidSubcommand => {
            let near = get(ContextKind::SuggestedSubcommand);
            let wrong = get(ContextKind::InvalidSubcommand);
            let hint = if near.is_empty() {
                String::new()
            } else {
                format!("\nDid you mean: taffrail {near}?")
            };
            let line = format!("taffrail: unknown command: taffrail {wrong}{hint}");
            return (
                format!("{line}\n\nRun 'taffrail --help' for more information\n"),
                1,
            );
        }
        ErrorKind::MissingRequiredArgument | ErrorKind::TooFewValues => {
            let wanted = exact(name).unwrap_or_else(|| {
                verb = "See";
                "at least 1 argument"
            });
            (format!("taffrail: '{name}' requires {wanted}"), 1)
        }
        ErrorKind::MissingSubcommand => ("taffrail: a command is missing".to_owned(), 1),
        ErrorKind::InvalidValue if get(ContextKind::InvalidValue).is_empty() => {
            (format!("flag needs an argument: {flag}"), 125)
        }
        _ => {
            let value = get(ContextKind::InvalidValue);
            let why = std::error::Error::source(error)
                .map(ToString::to_string)
                .or_else(|| {
                    let valid = get(ContextKind::ValidValue);
                    (!valid.is_empty()).then(|| format!("must be one of {valid}"))
                });
            match why {
                Some(why) => (
                    format!("invalid argument {value:?} for {flag:?} flag: {why}"),
                    125,
                ),
                None => (
                    error
                        .to_string()
                        .lines()
                        .next()
                        .unwrap_or("")
                        .trim_start_matches("error: ")
                        .to_owned(),
                    125,
                ),
            }
        }
    };
    let usage = if usage.is_empty() {
        usage
    } else {
        format!(
            "{}\n\n",
            usage.trim_end().replacen("Usage: ", "Usage:  ", 1)
        )
    };
    (
        format!("{line}\n\n{usage}{verb} '{name} --help' for more information\n"),
        status,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Command as Sub, parse_for_test};

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn every_definition_is_sound() {
        like_docker(<crate::cli::Cli as clap::CommandFactory>::command()).debug_assert();
    }

    #[test]
    fn the_nearest_command_is_named() {
        let e = crate::cli::parse(["taffrail", "lgos"].map(Into::into)).unwrap_err();
        let (text, status) = render(&e);
        assert!(
            text.starts_with("taffrail: unknown command: taffrail lgos\nDid you mean: taffrail "),
            "{text}"
        );
        assert!(text.contains("logs?"), "{text}");
        assert_eq!(status, 1);
    }

    #[test]
    fn flags_after_the_image_belong_to_the_command() {
        let Sub::Run(run) = parse_for_test(&words("run -it --rm b -e --rm=x -- -t")).unwrap()
        else {
            panic!("not run");
        };
        let c = &run.container;
        assert!(c.interactive && c.tty && c.rm && c.env.is_empty());
        assert_eq!(c.rest, words("b -e --rm=x -- -t"));
    }

    #[test]
    fn values_may_begin_with_a_dash() {
        let Sub::Stop(stop) = parse_for_test(&words("stop -t -1 a")).unwrap() else {
            panic!("not stop");
        };
        assert_eq!(stop.timeout.as_deref(), Some("-1"));
    }

    #[test]
    fn daemon_flags() {
        let line = "daemon -H unix:///a -H /b --live-restore=false --log-opt max-size=1m -D \
                    --log-format json --shutdown-timeout -1";
        let Sub::Daemon(d) = parse_for_test(&words(line)).unwrap() else {
            panic!("not daemon");
        };
        assert_eq!(d.hosts, ["unix:///a", "/b"]);
        assert_eq!(d.live_restore, Some(false));
        assert_eq!(d.log_opts, ["max-size=1m"]);
        assert_eq!(d.shutdown_timeout, Some(-1));
        assert_eq!(d.log_format, Some(crate::cli::LogFormat::Json));
        assert!(d.debug && !d.validate);
        assert_eq!(d.config_file, None);
    }
}
