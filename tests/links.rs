//! Links: on the default network lines in `/etc/hosts` and variables, on networks of the user names
//! that one container alone knows. Without root or `nft` they are skipped.

use serde_json::json;

use crate::harness::daemon::{Daemon, Options, taffrail_only};
use crate::harness::{image, skip};
use crate::need;

fn ready() -> Result<(), String> {
    taffrail_only()?;
    skip::program("nft")
}

fn with_bridge() -> Daemon {
    Daemon::with(Options {
        config: Some("{}".to_owned()),
        bridge: true,
        ..Options::default()
    })
}

#[track_caller]
fn ok(daemon: &Daemon, line: &str) -> String {
    daemon.docker(line.split_whitespace()).output().ok()
}

#[test]
fn a_link_is_told_in_hosts_and_variables_until_it_is_removed() {
    need!(ready());
    let daemon = with_bridge();
    let image = image::IMAGE;
    let run = format!("run -d --name db -e FOO=1 --expose 5432 {image} sleep 600");
    let id = ok(&daemon, &run);
    let ip = daemon.inspect("db")["NetworkSettings"]["IPAddress"].clone();
    let ip = ip.as_str().expect("an address").to_owned();
    let create = format!("create --name web --link db:my-db {image} sh -c");
    let words = create.split_whitespace().chain(["env; cat /etc/hosts"]);
    daemon.docker(words).output().ok();
    let links = || daemon.inspect("web")["HostConfig"]["Links"].clone();
    assert_eq!(links(), json!(["/db:/web/my-db"]));
    // A link is the container's, whatever it is called.
    ok(&daemon, "rename db store");
    assert_eq!(links(), json!(["/store:/web/my-db"]));
    let said = ok(&daemon, "start -a web");
    for line in [
        format!("MY_DB_PORT=tcp://{ip}:5432"),
        format!("MY_DB_PORT_5432_TCP_ADDR={ip}"),
        "MY_DB_PORT_5432_TCP_PORT=5432".to_owned(),
        "MY_DB_NAME=/web/my-db".to_owned(),
        "MY_DB_ENV_FOO=1".to_owned(),
        format!("{ip}\tmy-db {} store", &id[..12]),
    ] {
        assert!(said.lines().any(|one| one == line), "{line}: {said}");
    }
    // What is no link's name removes nothing.
    let no = daemon.docker(["rm", "--link", "web"]).output();
    assert!(no.err().contains("cannot remove the default link name"));
    let no = daemon.docker(["rm", "--link", "web/db"]).output();
    assert!(no.err().contains("No such container: web/db"));
    ok(&daemon, "rm --link web/my-db");
    assert_eq!(links(), json!(null));
    // Also for the next daemon.
    daemon.kill();
    daemon.launch();
    let said = ok(&daemon, "start -a web");
    assert!(!said.contains("MY_DB") && !said.contains("my-db"), "{said}");
    assert_eq!(daemon.inspect("store")["State"]["Running"], true);
    ok(&daemon, "rm -f web store");
    daemon.finish();
}

#[test]
fn a_link_of_a_network_is_one_containers_name() {
    need!(ready());
    let daemon = with_bridge();
    let image = image::IMAGE;
    ok(&daemon, "network create front");
    let run = format!("run -d --name web --network front --link db:database {image} sleep 600");
    ok(&daemon, &run);
    ok(
        &daemon,
        &format!("run -d --name other --network front {image} sleep 600"),
    );
    // The other one may come later.
    ok(
        &daemon,
        &format!("run -d --name db --network front {image} sleep 600"),
    );
    let ip = daemon.inspect("db")["NetworkSettings"]["Networks"]["front"]["IPAddress"].clone();
    let ip = ip.as_str().expect("an address").to_owned();
    let look = |container: &str, name: &str| {
        let words = ["exec", container, "nslookup", name];
        daemon.docker(words).output().out()
    };
    assert!(look("web", "database").contains(&ip));
    assert!(!look("other", "database").contains(&ip));
    let shown = daemon.inspect("web")["NetworkSettings"]["Networks"]["front"].clone();
    assert_eq!(shown["Links"], json!(["db:database"]));
    assert_eq!(shown["DriverOpts"], json!(null));
    // So with a network that is joined later.
    ok(&daemon, "network disconnect front other");
    ok(
        &daemon,
        "network connect --link db:store --driver-opt k=v front other",
    );
    assert!(look("other", "store").contains(&ip));
    let shown = daemon.inspect("other")["NetworkSettings"]["Networks"]["front"].clone();
    assert_eq!(shown["Links"], json!(["db:store"]));
    assert_eq!(shown["DriverOpts"], json!({"k": "v"}));
    ok(&daemon, "rm -f web other db");
    ok(&daemon, "network rm front");
    daemon.finish();
}
