//! Containers with a terminal: `docker run -it` on a pty, its size, detaching.

use std::time::Duration;

use crate::harness::image::IMAGE;
use crate::harness::pty::Terminal;
use crate::harness::{Daemon, Engine, skip};
use crate::need;

const SOON: Duration = Duration::from_secs(20);

fn ready() -> Result<(), String> {
    Engine::chosen().ready()?;
    skip::program("docker")
}

#[test]
fn an_interactive_shell() {
    need!(ready());
    let daemon = Daemon::start();
    let mut command = daemon.docker_command();
    command.args([
        "run",
        "-it",
        "--name",
        "shell",
        "--network",
        "none",
        IMAGE,
        "sh",
    ]);
    let mut terminal = Terminal::start(command, 33, 99);
    let at = terminal.expect("# ", 0, SOON);
    terminal.send(b"echo $((40+2)) on $(tty)\n");
    let at = terminal.expect("42 on /dev/pts/0\r\n", at, SOON);
    // The size arrives with the first resize at the latest.
    terminal.send(b"until [ \"$(stty size)\" = '33 99' ]; do sleep 0.05; done; echo si''zed\n");
    let at = terminal.expect("sized\r\n", at, SOON);
    terminal.resize(44, 120);
    terminal.send(b"until [ \"$(stty size)\" = '44 120' ]; do sleep 0.05; done; echo re''sized\n");
    let at = terminal.expect("resized\r\n", at, SOON);
    terminal.send(b"sh -c 'echo go\"\"ing; exec sleep 100'\n");
    terminal.expect("going\r\n", at, SOON);
    terminal.send(b"\x03");
    terminal.send(b"exit 5\n");
    assert_eq!(terminal.wait(SOON), 5);
    // The log has what the terminal showed.
    let log = daemon.docker(["logs", "shell"]).output();
    log.code(0).stdout_has("42 on /dev/pts/0\r\n").stderr_is("");
    daemon.finish();
}

#[test]
fn detach_keys_leave_it_running() {
    need!(ready());
    let daemon = Daemon::start();
    let mut command = daemon.docker_command();
    command.args([
        "run",
        "-it",
        "--name",
        "left",
        "--network",
        "none",
        IMAGE,
        "sh",
    ]);
    let mut terminal = Terminal::start(command, 24, 80);
    terminal.expect("# ", 0, SOON);
    terminal.send(b"\x10\x11");
    assert_eq!(terminal.wait(SOON), 0);
    assert_eq!(daemon.inspect("left")["State"]["Running"], true);
    let mut command = daemon.docker_command();
    command.args(["attach", "left"]);
    let mut terminal = Terminal::start(command, 24, 80);
    std::thread::sleep(Duration::from_millis(300));
    terminal.send(b"echo ba''ck\n");
    terminal.expect("back\r\n", 0, SOON);
    terminal.send(b"exit 4\n");
    assert_eq!(terminal.wait(SOON), 4);
    daemon.finish();
}

#[test]
fn a_terminal_without_stdin_has_one_stream() {
    need!(ready());
    let daemon = Daemon::start();
    let id = daemon.run_detached(&[
        "-t",
        IMAGE,
        "sh",
        "-c",
        "echo out; echo err >&2; test -t 1 && echo tty",
    ]);
    assert_eq!(daemon.wait_exit(&id, 20), 0);
    let answer = daemon.api(
        "GET",
        &format!("/containers/{id}/logs?stdout=1&stderr=1"),
        None,
    );
    assert_eq!(answer.text(), "out\r\nerr\r\ntty\r\n");
    daemon.finish();
}

#[test]
fn a_terminal_keeps_every_line() {
    need!(ready());
    let daemon = Daemon::start();
    let id = daemon.workload(&["-t"], &["lines", "lines=50000", "mode=line"]);
    assert_eq!(daemon.wait_exit(&id, 120), 0);
    let log = daemon.docker(["logs", &id]).output();
    let mut judge = crate::harness::judge::Judge::new('o');
    judge.feed(&log.stdout);
    judge.finish().assert_complete(50_000, "a terminal's log");
    daemon.finish();
}
