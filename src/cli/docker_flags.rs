//! The flags of our command line held against those of the docker CLI
//! (`tests/data/docker-cli-flags.txt`): each is there, or its command is named here.

use clap::Command;

use super::definition;

/// Docker's commands that are not built.
const NO_COMMAND: [&str; 0] = [];

/// Flags of volumes that are for a swarm alone.
const OF_A_SWARM: [&str; 11] = [
    "availability",
    "cluster",
    "group",
    "limit-bytes",
    "required-bytes",
    "scope",
    "secret",
    "sharing",
    "topology-preferred",
    "topology-required",
    "type",
];

fn find<'a>(root: &'a Command, path: &str) -> Option<&'a Command> {
    path.split(' ')
        .try_fold(root, |at, name| at.find_subcommand(name))
}

#[test]
fn every_flag_of_the_docker_cli_is_there() {
    let mut root = definition();
    root.build();
    let list = include_str!("../../tests/data/docker-cli-flags.txt");
    let mut missing = Vec::new();
    let mut seen = 0;
    for line in list.lines().filter(|line| !line.starts_with('#')) {
        let Some((path, flags)) = line.split_once(':') else {
            continue;
        };
        let Some(command) = find(&root, path) else {
            if !NO_COMMAND.contains(&path) {
                missing.push(format!("command {path}"));
            }
            continue;
        };
        for flag in flags.split_whitespace() {
            // What came after Docker 24 may be there.
            if flag.contains('@') {
                continue;
            }
            seen += 1;
            let (short, long) = match flag.split_once(',') {
                Some((short, long)) => (short.chars().next(), long),
                None => (None, flag),
            };
            let found = command.get_arguments().find(|arg| {
                arg.get_long() == Some(long)
                    || arg.get_all_aliases().is_some_and(|all| all.contains(&long))
            });
            let known = path.starts_with("volume ") && OF_A_SWARM.contains(&long);
            match found {
                None if known => {}
                None => missing.push(format!("{path} --{long}")),
                Some(arg) if short.is_some() && arg.get_short() != short => {
                    missing.push(format!("{path} -{}", short.unwrap_or('?')));
                }
                Some(_) => {}
            }
        }
    }
    assert!(seen > 150, "{seen} flags are too few");
    assert!(missing.is_empty(), "{missing:#?}");
}
