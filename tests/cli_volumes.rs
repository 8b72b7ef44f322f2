//! `taffrail volume` and `taffrail network`: what they show is what the docker CLI shows of the same daemon.

use crate::harness::image::IMAGE;
use crate::harness::{Daemon, Engine, skip};
use crate::need;
use crate::volumes::create;

fn ready() -> Result<(), String> {
    Engine::chosen().ready()?;
    skip::program("docker")
}

/// Both CLIs say the same of this.
#[track_caller]
fn same(daemon: &Daemon, args: &[&str]) {
    let (docker, ours) = (daemon.docker(args).output(), daemon.taffrail(args).output());
    assert_eq!(ours.out(), docker.out(), "{args:?}");
    assert_eq!(ours.err(), docker.err(), "{args:?}");
    ours.code(i32::from(!docker.err().is_empty()));
}

#[test]
fn volumes_by_our_cli() {
    need!(ready());
    let daemon = Daemon::start();
    let our = |args: &[&str]| daemon.taffrail(args).output();
    // Docker shows several labels in an order of chance.
    our(&["volume", "create", "--label", "a=b", "v1"])
        .code(0)
        .stdout_is("v1\n");
    our(&[
        "volume",
        "create",
        "-o",
        "type=tmpfs",
        "-o",
        "device=x",
        "--name",
        "v2",
    ])
    .code(0);
    let anonymous = our(&["volume", "create"]).ok();
    assert_eq!(anonymous.len(), 64);
    for args in [
        &["volume", "ls"][..],
        &["volume", "ls", "-q"],
        &["volume", "list", "--format", "json"],
        &[
            "volume",
            "ls",
            "--format",
            "table {{.Name}}\t{{.Labels}}\t{{.Label \"a\"}}",
        ],
        &[
            "volume",
            "ls",
            "--filter",
            "label=a",
            "--filter",
            "dangling=true",
        ],
        &["volume", "ls", "--filter", "bogus=1"],
        &["volume", "inspect", "v1", "nosuch"],
        &["volume", "inspect", "-f", "{{.Name}} {{.Options}}", "v2"],
        &["inspect", "v1"],
        &["inspect", "--type", "volume", "v1"],
        &["volume", "rm", "nosuch"],
        &["volume", "rm", "-f", "nosuch"],
    ] {
        same(&daemon, args);
    }
    for (args, text) in [
        (
            &["volume", "create", "--name", "x", "y"][..],
            "cannot specify a volume-name through both",
        ),
        (
            &["volume", "create", "--scope", "single"],
            "--scope is for the cluster volumes of a swarm",
        ),
        (
            &["volume", "ls", "--cluster"],
            "--cluster is for the cluster volumes of a swarm",
        ),
        (
            &["volume", "rm"],
            "'taffrail volume rm' requires at least 1 argument",
        ),
        (
            &["volume", "create", "x", "y"],
            "'taffrail volume create' requires at most 1 argument",
        ),
    ] {
        our(args).code(1).stderr_has(text);
    }
    let id = create(&daemon, &["-v", "v1:/x", IMAGE, "true"]);
    same(&daemon, &["volume", "rm", "v1"]);
    daemon
        .taffrail(["volume", "prune"])
        .stdin("n\n")
        .output()
        .code(1)
        .stdout_has("Are you sure you want to continue? [y/N] ");
    let pruned = our(&["volume", "prune", "-f"]);
    pruned.code(0).stdout_has(&format!("{anonymous}\n"));
    assert!(pruned.out().contains("Total reclaimed space: 0B\n"));
    our(&["rm", &id]).code(0);
    daemon.finish();
}

#[test]
fn networks_by_our_cli() {
    need!(ready());
    let daemon = Daemon::start();
    for args in [
        &["network", "ls"][..],
        &["network", "ls", "-q", "--no-trunc"],
        &["network", "ls", "--format", "json"],
        &["network", "ls", "--filter", "name=none"],
        &["network", "inspect", "none"],
        &["network", "inspect", "-f", "{{.Driver}}", "host", "nosuch"],
        &["inspect", "--type", "network", "none"],
        &["network", "create", "--gateway", "10.9.9.9", "x"],
        &[
            "network",
            "create",
            "--subnet",
            "10.0.0.0/24",
            "--gateway",
            "10.9.9.9",
            "x",
        ],
        &["network", "rm", "-f", "nosuch"],
    ] {
        same(&daemon, args);
    }
    for (args, text) in [
        (
            &["network", "connect", "x"][..],
            "'taffrail network connect' requires 2 arguments",
        ),
        (
            &["network", "create"],
            "'taffrail network create' requires 1 argument",
        ),
        (
            &["network", "rm"],
            "'taffrail network rm' requires at least 1 argument",
        ),
    ] {
        daemon.taffrail(args).output().code(1).stderr_has(text);
    }
    daemon.finish();
}
