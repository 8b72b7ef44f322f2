//! Completion by the shells themselves: the script is read, and a TAB completes commands, flags and
//! names that only the daemon knows.

use std::process::Command;
use std::time::Duration;

use crate::harness::image::IMAGE;
use crate::harness::pty::Terminal;
use crate::harness::{Daemon, Run, binary, daemon, skip};
use crate::need;

const SOON: Duration = Duration::from_secs(20);

/// A shell that finds the program under test first, and the daemon by its variable.
fn shell(daemon: &Daemon, name: &str) -> Command {
    let mut command = Command::new(name);
    daemon.client_environment(&mut command);
    let program = binary("taffrail");
    let folder = program.parent().expect("a folder").display().to_string();
    let path = std::env::var("PATH").unwrap_or_default();
    command
        .env("PATH", format!("{folder}:{path}"))
        .env("DOCKER_HOST", format!("unix://{}", daemon.socket.display()));
    command
}

/// A daemon with a container that runs and one that does not.
fn with_containers() -> Daemon {
    let daemon = Daemon::start();
    daemon.run_detached(&["--name", "upright", IMAGE, "workload", "trap", "exit=0"]);
    let made = daemon
        .docker([
            "create",
            "--network",
            "none",
            "--name",
            "upset",
            IMAGE,
            "true",
        ])
        .output();
    made.code(0);
    daemon
}

fn end(daemon: Daemon) {
    daemon
        .docker(["rm", "-f", "upright", "upset"])
        .output()
        .code(0);
    daemon.finish();
}

fn ready(shell: &str) -> Result<(), String> {
    daemon::taffrail_only()?;
    skip::program("docker")?;
    skip::program(shell)
}

#[test]
fn bash_completes_commands_flags_and_names() {
    need!(ready("bash"));
    let daemon = with_containers();
    // What bash does at a TAB: the function of the command, with the words and the place in them.
    let complete = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let last = words.len() - 1;
        let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
        let script = format!(
            "source <(taffrail completion bash) || exit 9; COMP_WORDS=({}); COMP_CWORD={last}; COMP_TYPE=9; \
             _clap_complete_taffrail taffrail {} ''; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            quoted.join(" "),
            quoted[last],
        );
        Run::new(shell(&daemon, "bash"))
            .args(["--norc", "--noprofile", "-c", &script])
            .output()
            .ok()
    };
    let has = |line: &str, word: &str, yes: bool| {
        let found = complete(line);
        let there = found.lines().any(|found| found.trim_end() == word);
        assert_eq!(there, yes, "{line:?}: {word}: {found}");
    };
    has("taffrail ru", "run", true);
    has("taffrail image pr", "prune", true);
    has("taffrail run --memory-s", "--memory-swap", true);
    has("taffrail run --memory-s", "--memory", false);
    has("taffrail rm up", "upright", true);
    has("taffrail rm up", "upset", true);
    // What does not run cannot be stopped.
    has("taffrail stop up", "upright", true);
    has("taffrail stop up", "upset", false);
    has("taffrail run tb", IMAGE, true);
    has("taffrail run --log-driver sys", "syslog", true);
    // Without a daemon nothing is offered, and nothing is said.
    has("taffrail -H unix:///nonexistent rm up", "upright", false);
    end(daemon);
}

#[test]
fn fish_completes_commands_and_names() {
    need!(ready("fish"));
    let daemon = with_containers();
    let complete = |line: &str| {
        let script = format!("taffrail completion fish | source; complete -C '{line}'");
        Run::new(shell(&daemon, "fish"))
            .args(["--no-config", "-c", &script])
            .output()
            .ok()
    };
    let first = |text: String| -> Vec<String> {
        let words = text
            .lines()
            .map(|line| line.split('\t').next().unwrap_or_default());
        words.map(str::to_owned).collect()
    };
    assert!(first(complete("taffrail ru")).contains(&"run".to_owned()));
    let names = first(complete("taffrail rm up"));
    assert!(
        names.contains(&"upright".to_owned()) && names.contains(&"upset".to_owned()),
        "{names:?}"
    );
    end(daemon);
}

#[test]
fn zsh_completes_at_its_prompt() {
    need!(ready("zsh"));
    let daemon = with_containers();
    let mut command = shell(&daemon, "zsh");
    command.args(["-f", "-i"]);
    let mut terminal = Terminal::start(command, 24, 200);
    terminal.send(b"PROMPT='go> '; autoload -Uz compinit; compinit -u -D; eval \"$(taffrail completion zsh)\"; print rea''dy\n");
    let at = terminal.expect("ready\r\n", 0, SOON);
    terminal.send(b"taffrail pau\t");
    let at = terminal.expect("taffrail pause", at, SOON);
    terminal.send(b"\x15taffrail stop up\t");
    terminal.expect("upright", at, SOON);
    terminal.send(b"\x15exit\n");
    assert_eq!(terminal.wait(SOON), 0);
    end(daemon);
}
