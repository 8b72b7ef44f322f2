//! Last words: what events, `inspect` and the webhook say of an end.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::daemon::{Daemon, Options, taffrail_only};
use crate::harness::hook::{Hook, Manner};
use crate::harness::image::IMAGE;
use crate::harness::{Engine, skip, wait_for};
use crate::lifecycle::events;
use crate::need;

const SOON: Duration = Duration::from_secs(30);

fn ready() -> Result<(), String> {
    taffrail_only()?;
    skip::program("docker")
}

fn with_hook(setting: &Value) -> Daemon {
    Daemon::of(
        Engine::Taffrail,
        Options {
            config: Some(json!({"webhook": setting}).to_string()),
            ..Options::default()
        },
    )
}

/// `State.LastWords`, once they are of this run.
#[track_caller]
fn words(daemon: &Daemon, id: &str, run: u64) -> Value {
    wait_for("the last words", SOON, || {
        let words = daemon.inspect(id)["State"]["LastWords"].clone();
        (words["Run"] == run).then_some(words)
    })
}

fn lines(words: &Value, key: &str) -> Vec<String> {
    let lines = words.as_array().into_iter().flatten();
    lines
        .map(|line| line[key].as_str().unwrap_or_default().to_owned())
        .collect()
}

fn die(daemon: &Daemon, id: &str) -> Value {
    let all = events(daemon, id);
    let die = all.iter().rfind(|event| event["Action"] == "die");
    die.expect("a die event")["Actor"]["Attributes"].clone()
}

fn sample(daemon: &Daemon, name: &str) -> u64 {
    let address = daemon.logged("metrics are served", "address");
    let (_, text) = crate::metrics::get(&address, "/metrics");
    let line = text.lines().find(|line| line.starts_with(name));
    let line = line.unwrap_or_else(|| panic!("{name} in\n{text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn causes_runs_and_lines_with_each_log_format() {
    need!(ready());
    let daemon = Daemon::start();
    for driver in ["json-file", "local"] {
        let script = "i=0; while [ $i -lt 30 ]; do echo line $i; i=$((i+1)); done; printf 'a\\377b' >&2; exit 3";
        let id = daemon.run_detached(&["--log-driver", driver, IMAGE, "sh", "-c", script]);
        assert_eq!(daemon.wait_exit(&id, 30), 3);
        let told = words(&daemon, &id, 1);
        assert_eq!(told["Event"], "die");
        assert_eq!(told["Cause"], "exited");
        assert_eq!(told["ExitCode"], 3);
        assert_eq!(told["Lines"].as_array().unwrap().len(), 20);
        let texts = lines(&told["Lines"], "Line");
        assert!(texts.contains(&"a\u{fffd}b".to_owned()), "{texts:?}");
        assert!(texts.contains(&"line 29".to_owned()), "{texts:?}");
        assert!(!texts.contains(&"line 10".to_owned()), "{texts:?}");
        assert!(lines(&told["Lines"], "Stream").contains(&"stderr".to_owned()));
        let attributes = die(&daemon, &id);
        assert_eq!(attributes["exitCode"], "3");
        assert_eq!(attributes["exitCause"], "exited");
        assert_eq!(attributes["runNumber"], "1");

        // The next run's words are its own.
        daemon.docker(["start", &id]).output().code(0);
        assert_eq!(daemon.wait_exit(&id, 30), 3);
        let again = words(&daemon, &id, 2);
        assert_eq!(lines(&again["Lines"], "Line"), texts);
        assert_ne!(
            lines(&again["Lines"], "Time"),
            lines(&told["Lines"], "Time")
        );
        // Another daemon has them, too.
        daemon.kill();
        daemon.launch();
        assert_eq!(words(&daemon, &id, 2), again);
    }
    let id = daemon.workload(&[], &["trap", "exit=7"]);
    daemon.docker(["kill", &id]).output().code(0);
    let told = words(&daemon, &id, 1);
    assert_eq!(told["Cause"], "signal:SIGKILL");
    assert_eq!(told["ExitCode"], 137);
    assert_eq!(die(&daemon, &id)["exitCause"], "signal:SIGKILL");
    // A code is no signal.
    let id = daemon.run_detached(&[
        "--log-driver",
        "none",
        IMAGE,
        "sh",
        "-c",
        "echo x; exit 137",
    ]);
    daemon.wait_exit(&id, 30);
    let told = words(&daemon, &id, 1);
    assert_eq!(
        (&told["Cause"], &told["Lines"]),
        (&json!("exited"), &json!([]))
    );
    daemon.finish();
}

#[test]
fn long_lines_are_cut_at_their_beginning() {
    need!(ready());
    let daemon = Daemon::start();
    let script = "yes x | head -n 20000 | tr -d '\\n'; echo; echo end";
    let id = daemon.run_detached(&[IMAGE, "sh", "-c", script]);
    daemon.wait_exit(&id, 30);
    let told = words(&daemon, &id, 1);
    let texts = lines(&told["Lines"], "Line");
    assert_eq!(texts.last().unwrap(), "end");
    assert_eq!(texts.iter().map(String::len).sum::<usize>(), 4096);
    assert_eq!(told["Cut"], true);
    daemon.finish();
}

#[test]
fn the_webhook_hears_of_failures_and_of_nothing_else() {
    need!(ready());
    let hook = Hook::listening(Manner::Answers(200));
    let daemon = with_hook(&json!({
        "url": hook.url(), "headers": {"Authorization": "Bearer open-sesame", "X-Mine": "yes"},
    }));
    // What ends well, and what a user ends, is no failure.
    let good = daemon.run_detached(&[IMAGE, "true"]);
    daemon.wait_exit(&good, 30);
    let stopped = daemon.workload(&[], &["trap", "exit=7"]);
    daemon
        .docker(["stop", "-t", "0", &stopped])
        .output()
        .code(0);
    let bad = daemon.run_detached(&[
        "--name",
        "bad",
        "-l",
        "team=deck",
        IMAGE,
        "sh",
        "-c",
        "echo why >&2; exit 9",
    ]);
    daemon.wait_exit(&bad, 30);
    let post = hook.wait_taken("the post", |body| body["container"]["id"] == bad.as_str());
    let body = &post.body;
    assert!(
        post.head
            .starts_with("POST /hook?token=sesame HTTP/1.1\r\n"),
        "{}",
        post.head
    );
    let head = post.head.to_lowercase();
    for header in [
        "content-type: application/json",
        "authorization: bearer open-sesame",
        "x-mine: yes",
    ] {
        assert!(head.contains(header), "{head}");
    }
    assert_eq!(body["version"], 1);
    assert_eq!(body["event"], "die");
    assert_eq!(
        (&body["cause"], &body["exitCode"], &body["run"]),
        (&json!("exited"), &json!(9), &json!(1))
    );
    assert_eq!(body["container"]["name"], "bad");
    assert_eq!(body["container"]["image"], IMAGE);
    assert_eq!(body["container"]["labels"]["team"], "deck");
    assert_eq!(body["restarting"], false);
    assert_eq!(lines(&body["lines"], "line"), ["why"]);
    assert_eq!(lines(&body["lines"], "stream"), ["stderr"]);
    assert_eq!(body["host"], daemon.get("/info")["Name"]);
    // Removed at once, and still with its last lines.
    let run = daemon.docker([
        "run",
        "--rm",
        "--network",
        "none",
        IMAGE,
        "sh",
        "-c",
        "echo gone; exit 4",
    ]);
    run.output().code(4);
    let post = hook.wait_taken("the post of --rm", |body| body["exitCode"] == 4);
    assert_eq!(lines(&post.body["lines"], "line"), ["gone"]);
    let of_others = hook.posts().iter().any(|post| {
        [&good, &stopped]
            .iter()
            .any(|id| post.body["container"]["id"] == id.as_str())
    });
    assert!(!of_others, "{:?}", hook.posts());
    // No secret is shown anywhere.
    daemon.reload();
    wait_for("the reload", SOON, || {
        daemon
            .log()
            .contains("daemon.json was read again")
            .then_some(())
    });
    assert!(!daemon.log().contains("sesame"), "{}", daemon.log());
    daemon.finish();
}

#[test]
fn a_killed_child_and_the_end_for_want_of_memory() {
    need!(ready());
    let hook = Hook::listening(Manner::Answers(200));
    let daemon = with_hook(&json!({"url": [hook.url()], "events": ["oom"]}));
    let limited = ["--memory", "16m", "--memory-swap", "16m", IMAGE];
    let mut args = limited.to_vec();
    args.extend(["sh", "-c", "echo first; tail /dev/zero; exec sleep 1000"]);
    let id = daemon.run_detached(&args);
    let post = hook.wait_taken("the post", |body| body["container"]["id"] == id.as_str());
    assert_eq!(
        (&post.body["event"], &post.body["cause"]),
        (&json!("oom"), &json!("oom"))
    );
    assert!(post.body["exitCode"].is_null());
    // Its shell may have told of the child already.
    assert_eq!(lines(&post.body["lines"], "line")[0], "first");
    let told = words(&daemon, &id, 1);
    assert_eq!(
        (&told["Event"], &told["Cause"]),
        (&json!("oom"), &json!("oom"))
    );
    daemon.docker(["kill", &id]).output().code(0);
    wait_for("the end's words", SOON, || {
        (daemon.inspect(&id)["State"]["LastWords"]["Event"] == "die").then_some(())
    });
    let mut args = limited.to_vec();
    args.extend(["tail", "/dev/zero"]);
    let id = daemon.run_detached(&args);
    assert_eq!(daemon.wait_exit(&id, 60), 137);
    assert_eq!(die(&daemon, &id)["exitCause"], "oom");
    assert_eq!(words(&daemon, &id, 1)["Cause"], "oom");
    hook.wait_taken("the post of the end", |body| {
        body["container"]["id"] == id.as_str()
    });
    assert!(hook.posts().iter().all(|post| post.body["event"] == "oom"));
    daemon.finish();
}

/// One that comes late, one that answers 500 for a while, one that never answers and one that refuses:
/// none holds up a container, and what was given up is counted.
#[test]
fn receivers_that_misbehave() {
    need!(ready());
    let mut late = Hook::absent();
    let broken = Hook::listening(Manner::Answers(500));
    let silent = Hook::listening(Manner::Silent);
    let refusing = Hook::listening(Manner::Answers(404));
    let urls = [late.url(), broken.url(), silent.url(), refusing.url()];
    let config = json!({"webhook": {"url": urls}, "metrics-addr": "127.0.0.1:0"});
    let daemon = Daemon::of(
        Engine::Taffrail,
        Options {
            config: Some(config.to_string()),
            ..Options::default()
        },
    );
    let run = daemon.docker([
        "run",
        "--rm",
        "--network",
        "none",
        IMAGE,
        "sh",
        "-c",
        "exit 5",
    ]);
    run.output().code(5);
    wait_for("the first attempts", SOON, || {
        (!broken.posts().is_empty() && !silent.posts().is_empty() && !refusing.posts().is_empty())
            .then_some(())
    });
    wait_for("the outage of the absent one", SOON, || {
        let told = format!("webhook=\"http://127.0.0.1:{}\"", late.port);
        daemon.log().contains(&told).then_some(())
    });
    // Containers come and go meanwhile.
    let id = daemon.run_detached(&[IMAGE, "sh", "-c", "exit 6"]);
    assert_eq!(daemon.wait_exit(&id, 30), 6);
    daemon.docker(["rm", &id]).output().code(0);
    late.open();
    broken.set(Manner::Answers(200));
    for (hook, name) in [(&late, "late"), (&broken, "broken")] {
        for code in [5, 6] {
            hook.wait_taken(name, |body| body["exitCode"] == code);
        }
    }
    // Refused for good: not tried again.
    wait_for("the refused ones", SOON, || {
        (refusing.posts().len() == 2).then_some(())
    });
    assert_eq!(sample(&daemon, "taffrail_webhook_posted_total"), 4);
    assert_eq!(
        sample(
            &daemon,
            "taffrail_webhook_dropped_total{reason=\"refused\"}"
        ),
        2
    );
    assert_eq!(
        sample(&daemon, "taffrail_webhook_dropped_total{reason=\"queue\"}"),
        0
    );
    assert!(sample(&daemon, "taffrail_webhook_failures_total") >= 4);
    assert!(sample(&daemon, "taffrail_webhook_queued") >= 1);
    let log = daemon.log();
    let outages = log.matches("webhook takes no posts").count();
    assert!(
        (3..=4).contains(&outages),
        "one line an outage: {outages}\n{log}"
    );
    assert_eq!(log.matches("webhook takes posts again").count(), 2);
    daemon.finish();
}

#[test]
fn an_end_without_a_daemon_is_told_by_the_next_one() {
    need!(ready());
    let hook = Hook::listening(Manner::Answers(200));
    let daemon = with_hook(&json!({"url": hook.url(), "events": ["die"]}));
    let folder = daemon.root.join("go");
    std::fs::create_dir(&folder).expect("folder");
    let bind = format!("{}:/go", folder.display());
    let script = "until [ -e /go/now ]; do sleep 0.05; done; echo alone; exit 8";
    let id = daemon.run_detached(&["-v", &bind, IMAGE, "sh", "-c", script]);
    let pid = daemon.container_pid(&id);
    daemon.kill();
    std::fs::write(folder.join("now"), "").expect("the signal");
    wait_for("the container's end", SOON, || {
        (!std::path::Path::new(&format!("/proc/{pid}/cwd")).exists()).then_some(())
    });
    daemon.launch();
    let post = hook.wait_taken("the post", |body| body["container"]["id"] == id.as_str());
    assert_eq!(lines(&post.body["lines"], "line"), ["alone"]);
    assert_eq!(lines(&words(&daemon, &id, 1)["Lines"], "Line"), ["alone"]);
    // The file is lost: the next daemon finds the words in the log, and does not post again.
    daemon.kill();
    let file = daemon
        .data_root
        .join("containers")
        .join(&id)
        .join("last-words.json");
    std::fs::remove_file(file).expect("the file");
    daemon.launch();
    assert_eq!(lines(&words(&daemon, &id, 1)["Lines"], "Line"), ["alone"]);
    assert_eq!(words(&daemon, &id, 1)["Cause"], "exited");
    assert_eq!(hook.posts().len(), 1);
    daemon.finish();
}
