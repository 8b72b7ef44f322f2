//! Taffrail's built-in OCI runtime: runc's command line, the container's setup by libcontainer.
//!
//! What this program adds: system call filters without a silent gap, control groups that the
//! container cannot write, devices on control groups version 2, mount propagation, and refusal of
//! all that it cannot enforce. See `docs/runtime.md`.

mod args;
mod attend;
mod cgroup;
mod create;
mod devices;
mod exec;
mod exec_args;
mod filter;
mod payload;
mod proc_mounts;
mod report;
mod seal;
mod spec;
mod state;
mod verbs;

use std::process::ExitCode;

use args::Verb;

fn main() -> ExitCode {
    let (global, verb) = match args::parse(std::env::args_os().skip(1).collect()) {
        Ok(parsed) => parsed,
        Err(words) => {
            report::log_error(None, false, &words);
            return ExitCode::from(64);
        }
    };
    let root = &global.root;
    let (name, done) = match &verb {
        Verb::Create(args) => ("create", create(root, args)),
        Verb::Exec(args) => match exec(root, args) {
            Ok(code) => return ExitCode::from(code),
            Err(words) => {
                report::log_error(
                    global.log.as_deref(),
                    global.json,
                    &format!("exec failed: {words}"),
                );
                // As runc: not one of the program's own codes, as a rule.
                return ExitCode::from(255);
            }
        },
        Verb::Attend(args) => ("attend", attend::attend(args)),
        Verb::Start(id) => ("start", verbs::start(root, id)),
        Verb::State(id) => ("state", verbs::state(root, id)),
        Verb::Kill { id, signal, all } => ("kill", verbs::kill(root, id, signal, *all)),
        Verb::Pause(id) => ("pause", verbs::pause(root, id, true)),
        Verb::Resume(id) => ("resume", verbs::pause(root, id, false)),
        Verb::Delete { id, force } => ("delete", verbs::delete(root, id, *force)),
        Verb::List { quiet } => ("list", verbs::list(root, *quiet)),
        Verb::Features => ("features", verbs::features()),
        Verb::Version => ("version", verbs::version()),
        Verb::Help => {
            print!("{}", args::USAGE);
            return ExitCode::SUCCESS;
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(words) => {
            // In runc's words: people and scripts look for them in what Docker says.
            let words = report::quote_sysctl(format!("runc {name} failed: {words}"));
            report::log_error(global.log.as_deref(), global.json, &words);
            ExitCode::FAILURE
        }
    }
}

fn create(root: &std::path::Path, args: &args::Create) -> Result<(), String> {
    begin(args.preserve_fds)?;
    create::create(root, args)
}

fn exec(root: &std::path::Path, args: &exec_args::Exec) -> Result<u8, String> {
    begin(args.preserve_fds)?;
    exec::exec(root, args)
}

/// What comes before any process of a container is made.
fn begin(preserve_fds: u16) -> Result<(), String> {
    // Before anything else is opened: a number that is free would become a descriptor of our own.
    for fd in 3..3 + i32::from(preserve_fds) {
        // SAFETY: asks for a flag of a number, open or not.
        if unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
            return Err(format!(
                "--preserve-fds {preserve_fds}: descriptor {fd} is not open"
            ));
        }
    }
    seal::ensure().map_err(|e| format!("sealing the runtime's program: {e}"))?;
    report::start().map_err(|e| e.to_string())?;
    // SAFETY: there is one thread, and sets a number of this process.
    unsafe {
        libc::umask(0o022);
        // Sockets that were handed to the daemon are not the container's.
        for name in [
            "LISTEN_FDS",
            "LISTEN_PID",
            "LISTEN_FDNAMES",
            "NOTIFY_SOCKET",
        ] {
            std::env::remove_var(name);
        }
    }
    Ok(())
}
