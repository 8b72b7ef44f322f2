//! `container ...`: Docker's group of commands for containers. Those that are there by themselves are
//! the same commands; they are not written down twice.

use clap::{ArgMatches, Command as Parser, FromArgMatches, Subcommand};

use super::{Command, prune};

/// Commands that Docker's group has, by their own names.
const SAME: [&str; 24] = [
    "attach", "commit", "cp", "create", "diff", "exec", "export", "inspect", "kill", "logs",
    "pause", "port", "ps", "rename", "restart", "rm", "run", "start", "stats", "stop", "top",
    "unpause", "update", "wait",
];

/// What was asked for.
#[derive(Debug)]
pub(crate) enum Group {
    Prune(prune::PruneArgs),
    /// A command that is there by itself, too.
    Same(Box<Command>),
}

/// What is no command of its own.
#[derive(Debug, Subcommand)]
enum Own {
    /// Remove all stopped containers
    Prune(prune::PruneArgs),
}

impl FromArgMatches for Group {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        if matches
            .subcommand_name()
            .is_some_and(|name| SAME.contains(&name))
        {
            return Command::from_arg_matches(matches).map(|command| Self::Same(Box::new(command)));
        }
        let Own::Prune(args) = Own::from_arg_matches(matches)?;
        Ok(Self::Prune(args))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Subcommand for Group {
    fn augment_subcommands(command: Parser) -> Parser {
        Own::augment_subcommands(command)
    }

    fn augment_subcommands_for_update(command: Parser) -> Parser {
        Own::augment_subcommands_for_update(command)
    }

    fn has_subcommand(name: &str) -> bool {
        Own::has_subcommand(name) || SAME.contains(&name)
    }
}

/// Puts the commands of containers into the group as well.
pub(super) fn grouped(command: Parser) -> Parser {
    let same: Vec<Parser> = SAME
        .iter()
        .filter_map(|name| command.find_subcommand(name).cloned())
        .map(|command| match command.get_name() {
            "ps" => command.visible_aliases(["ls", "list"]),
            "rm" => command.visible_alias("remove"),
            _ => command,
        })
        .collect();
    command.mut_subcommand("container", |group| group.subcommands(same))
}

impl Command {
    /// The command that a group stands for. `container inspect` is for containers alone.
    pub(super) fn ungrouped(self) -> Self {
        match self {
            Self::Container(Group::Same(command)) => match *command {
                Self::Inspect(args) => Self::Inspect(args.of_containers()),
                other => other,
            },
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse_for_test;
    use super::*;

    fn parsed(line: &str) -> Command {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        parse_for_test(&words).unwrap_or_else(|why| panic!("{line}: {why}"))
    }

    #[test]
    fn the_group_has_the_commands_of_containers() {
        assert!(matches!(parsed("container ls -a"), Command::Ps(_)));
        assert!(matches!(parsed("container ps"), Command::Ps(_)));
        assert!(matches!(parsed("container run x sh"), Command::Run(_)));
        assert!(matches!(parsed("container rm -f x"), Command::Rm(_)));
        assert!(matches!(parsed("container remove x"), Command::Rm(_)));
        assert!(matches!(
            parsed("container prune -f"),
            Command::Container(Group::Prune(_))
        ));
        let words = ["container".to_owned(), "images".to_owned()];
        assert!(parse_for_test(&words).is_err());
    }
}
