//! The driver against real sshd hosts: each test is a story of somebody with a handful of machines.
//!
//! Root and the testbed are needed: `make test-system` runs them, elsewhere each says that it is left out. The program
//! that is uploaded is the very one under test.

mod support_ssh;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use support_ssh::{Driver, Testbed, address, wanted};

const CHORDATA: &str = env!("CARGO_BIN_EXE_chordata");

/// `up` with this program, as JSON.
fn up(inventory: &str) -> Vec<&str> {
    vec!["--json", "up", "-i", inventory, "--binary", CHORDATA]
}

/// `number 3, id 4ccccccc…`, as `up` says it.
fn place(host: &serde_json::Value) -> String {
    let actions = host["actions"].as_array().expect("a list").iter();
    let mut actions = actions.filter_map(|action| action.as_str());
    let place = actions.find(|action| action.contains("id ")).unwrap_or_else(|| panic!("no place in {host}"));
    place.split_once("id ").expect("just found").1.to_owned()
}

#[test]
fn five_hosts_are_brought_up_once_and_a_sixth_joins_and_destroy_leaves_nothing() {
    if !wanted("five_hosts_are_brought_up_once_and_a_sixth_joins_and_destroy_leaves_nothing") {
        return;
    }
    let (testbed, driver) = (Testbed::up(6), Driver::new());
    let five = driver.inventory("five.toml", 5, "");

    let foreseen = driver.run(&["--json", "up", "-i", &five, "--binary", CHORDATA, "--dry-run"]).ends(0);
    assert_eq!(foreseen.host("h5")["state"], "changed");
    testbed.assert_clean("h5");

    let first = driver.run(&up(&five)).ends(0);
    for name in ["h1", "h2", "h3", "h4", "h5"] {
        assert_eq!(first.host(name)["state"], "changed", "{first:?}");
    }

    let input = concat!(env!("CARGO_MANIFEST_DIR"), "/../input.txt");
    let replayed = driver.run(&["replay", input, "-i", &five]).ends(0);
    assert!(replayed.out.contains("30 of 30 gets right"), "{replayed:?}");

    let second = driver.run(&up(&five)).ends(0);
    for name in ["h1", "h2", "h3", "h4", "h5"] {
        assert_eq!(second.host(name)["state"], "unchanged", "{second:?}");
        assert_eq!(place(&second.host(name)), place(&first.host(name)));
    }
    let words = driver.run(&["up", "-i", &five, "--binary", CHORDATA]).ends(0).out;
    assert!(words.contains("5 hosts: 0 changed, 5 unchanged, 0 failed: nothing to do"), "{words}");

    // Named the same, so it is the same cluster with one host more.
    let six = driver.inventory("six.toml", 6, "");
    let grown = driver.run(&up(&six)).ends(0);
    assert_eq!(grown.host("h6")["state"], "changed");
    assert!(grown.json()["remarks"].to_string().contains("6 members"), "{grown:?}");

    // The last `up` is remembered: no -i from here on.
    let asked = driver.run(&["destroy"]).ends(2);
    assert!(asked.err.contains("--yes"), "{asked:?}");
    driver.run(&["destroy", "--yes"]).ends(0);
    for number in 1..=6 {
        testbed.assert_clean(&format!("h{number}"));
    }
    assert_eq!(driver.remembered(), [""; 0].map(std::path::PathBuf::from));
}

#[test]
fn a_dead_host_does_not_stop_the_others_and_comes_back_under_its_id() {
    if !wanted("a_dead_host_does_not_stop_the_others_and_comes_back_under_its_id") {
        return;
    }
    let (testbed, driver) = (Testbed::up(4), Driver::new());
    let inventory = driver.inventory("four.toml", 4, "");
    let before = driver.run(&up(&inventory)).ends(0);

    testbed.kill("h3");
    let without = driver.run(&up(&inventory)).ends(1);
    assert_eq!(without.host("h3")["state"], "failed");
    assert!(without.host("h3")["error"].as_str().is_some_and(|error| error.contains("does not answer")));
    assert!(without.json()["remarks"].to_string().contains("3 members"), "{without:?}");
    let words = driver.run(&["down", "-i", &inventory]).ends(1).out;
    assert!(words.contains("4 hosts: 3 changed, 0 unchanged, 1 failed\nh3 failed: "), "{words}");

    testbed.revive("h3");
    let after = driver.run(&up(&inventory)).ends(0);
    for name in ["h1", "h2", "h3", "h4"] {
        assert_eq!(after.host(name)["state"], "changed");
        assert_eq!(place(&after.host(name)), place(&before.host(name)), "{name} has another id");
    }
}

#[test]
fn a_first_host_that_lost_its_data_joins_the_ring_instead_of_making_another() {
    if !wanted("a_first_host_that_lost_its_data_joins_the_ring_instead_of_making_another") {
        return;
    }
    let (testbed, driver) = (Testbed::up(3), Driver::new());
    let inventory = driver.inventory("three.toml", 3, "");
    let before = driver.run(&up(&inventory)).ends(0);
    driver.run(&["stop", "-i", &inventory, "--host", "h1"]).ends(0);
    testbed.on("h1", &["rm", "-r", "/root/.chordata/nodes/systest-h1/data"]).ends(0);
    let start = driver.run(&["--json", "start", "-i", &inventory, "--host", "h1"]).ends(1);
    assert!(
        start.host("h1")["error"].as_str().is_some_and(|error| error.contains("a second ring")),
        "{start:?}"
    );
    testbed.on("h1", &["rm", "-r", "/root/.chordata"]).ends(0);

    // Alone it must not dare, since nobody can be asked.
    testbed.kill("h2");
    testbed.kill("h3");
    let refused = driver.run(&up(&inventory)).ends(1);
    assert!(refused.err.contains("a second ring could come of it"), "{refused:?}");
    testbed.revive("h2");
    testbed.revive("h3");

    let after = driver.run(&up(&inventory)).ends(0);
    assert!(after.json()["remarks"].to_string().contains("3 members"), "{after:?}");
    for name in ["h2", "h3"] {
        assert_eq!(place(&after.host(name)), place(&before.host(name)));
    }
    let again = driver.run(&up(&inventory)).ends(0);
    assert_eq!(again.host("h1")["state"], "unchanged", "{again:?}");
}

#[test]
fn a_wrong_host_key_is_refused_at_once_and_a_new_one_is_remembered_where_allowed() {
    if !wanted("a_wrong_host_key_is_refused_at_once_and_a_new_one_is_remembered_where_allowed") {
        return;
    }
    let (testbed, driver) = (Testbed::up(2), Driver::new());
    // Another host's key under this host's name is as wrong as a key can be.
    let key_of_other = testbed.on("h2", &["sh", "-c", "cat /etc/ssh/ssh_host_*_key.pub"]).out;
    let known =
        std::fs::read_to_string("/run/chordata-testbed/known_hosts").expect("the testbed's known_hosts");
    let other: Vec<&str> = match key_of_other.split_whitespace().collect::<Vec<_>>().as_slice() {
        [kind, key, ..] => vec![*kind, *key],
        _ => {
            let line = known.lines().find(|line| line.contains(&address(2))).expect("h2 is known");
            line.split_whitespace().skip(1).take(2).collect()
        }
    };
    let line = format!("h1,{} {}\n", address(1), other.join(" "));
    let wrong = driver.write("wrong_known_hosts", &line);
    let inventory = driver.inventory("wrong.toml", 1, &format!("known_hosts = \"{wrong}\""));
    let refused = driver.run(&up(&inventory)).ends(1);
    let error = refused.host("h1")["error"].as_str().unwrap_or_default().to_owned();
    assert!(error.contains("another host key") && error.contains(&wrong), "{refused:?}");
    // Accepting new keys does not accept changed ones.
    let lenient = format!("host_keys = \"accept-new\"\nknown_hosts = \"{wrong}\"");
    let inventory = driver.inventory("lenient.toml", 1, &lenient);
    driver.run(&up(&inventory)).ends(1);
    testbed.assert_clean("h1");

    let empty = driver.write("empty_known_hosts", "");
    let inventory = driver.inventory("unknown.toml", 1, &format!("known_hosts = \"{empty}\""));
    let unknown = driver.run(&["exec", "-i", &inventory, "--", "true"]).ends(1);
    assert!(unknown.err.contains("accept-new"), "{unknown:?}");
    let inventory = driver.inventory("new.toml", 1, "host_keys = \"accept-new\"");
    driver.run(&["exec", "-i", &inventory, "--", "true"]).ends(0);
    let remembered = driver.remembered();
    assert!(remembered.iter().any(|file| file.ends_with("clusters/systest/known_hosts")), "{remembered:?}");
}

/// Needs no host: it is refused before one is asked.
#[test]
fn a_host_that_ssh_would_take_for_an_option_is_refused() {
    let driver = Driver::new();
    let trap = driver.directory.path().join("owned");
    let name = format!("-oProxyCommand=touch {}", trap.display());
    for text in [format!("hosts = [\"{name}\"]\n"), format!("[[host]]\nname = \"a\"\nssh = \"{name}\"\n")] {
        let inventory = driver.write("evil.toml", &text);
        for command in ["up", "check", "down"] {
            let refused = driver.run(&[command, "-i", &inventory]).ends(2);
            assert!(refused.err.contains("begins with `-`"), "{refused:?}");
        }
    }
    assert!(!trap.exists(), "ssh took the name for an option");
}

/// A rule on a host: from this machine nothing but SSH goes through.
const ONLY_SSH: &str = "nft add table inet onlyssh; \
    nft add chain inet onlyssh input '{ type filter hook input priority 0; }'; \
    nft add rule inet onlyssh input ip saddr 10.77.0.1 tcp dport != 22 drop";

#[test]
fn hosts_that_show_only_their_ssh_port_are_used_through_it() {
    if !wanted("hosts_that_show_only_their_ssh_port_are_used_through_it") {
        return;
    }
    let (testbed, driver) = (Testbed::up(3), Driver::new());
    for host in ["h1", "h2", "h3"] {
        testbed.on(host, &["sh", "-e", "-c", ONLY_SSH]).ends(0);
    }
    let hidden = driver.inventory("hidden.toml", 3, "access = \"ssh\"");
    driver.run(&up(&hidden)).ends(0);
    driver.run(&["put", "a key", "a value", "-i", &hidden]).ends(0);
    assert_eq!(driver.run(&["get", "a key", "-i", &hidden]).ends(0).out, "a value");
    driver.run(&["depart", "h2", "-i", &hidden]).ends(0);
    assert_eq!(driver.run(&["get", "a key", "-i", &hidden]).ends(0).out, "a value");

    // The way without tunnels is really closed.
    let direct = driver.inventory("direct.toml", 3, "");
    driver.run(&["get", "a key", "-i", &direct]).ends(4);
}

#[test]
fn check_finds_what_would_fail_and_leaves_nothing() {
    if !wanted("check_finds_what_would_fail_and_leaves_nothing") {
        return;
    }
    let (testbed, driver) = (Testbed::up(3), Driver::new());
    let inventory = driver.inventory("three.toml", 3, "");
    let check = ["--json", "check", "-i", &inventory, "--binary", CHORDATA];
    let verdicts = |ran: &support_ssh::Ran, check: &str| -> Vec<String> {
        let checks = ran.json()["checks"].as_array().cloned().unwrap_or_default();
        let checks = checks.iter().filter(|found| found["check"] == check);
        checks.map(|found| format!("{} {}", found["host"], found["state"]).replace('"', "")).collect()
    };
    let fit = driver.run(&check).ends(0);
    assert_eq!(verdicts(&fit, "pairs"), ["h1 ok", "h2 ok", "h3 ok"]);

    testbed.partition("h1", "h2");
    let parted = driver.run(&check).ends(1);
    assert_eq!(verdicts(&parted, "pairs"), ["h1 failed", "h2 failed", "h3 ok"]);
    testbed.heal();

    testbed.kill("h3");
    let dead = driver.run(&check).ends(1);
    assert_eq!(verdicts(&dead, "ssh"), ["h1 ok", "h2 ok", "h3 failed"]);
    testbed.assert_clean("h1");
    testbed.assert_clean("h2");
}

#[test]
fn a_driver_that_is_killed_in_an_upload_leaves_nothing_that_hinders_the_next() {
    if !wanted("a_driver_that_is_killed_in_an_upload_leaves_nothing_that_hinders_the_next") {
        return;
    }
    let (testbed, driver) = (Testbed::up(2), Driver::new());
    let inventory = driver.inventory("two.toml", 2, "");
    let mut command = driver.command(&["up", "-i", &inventory, "--binary", CHORDATA]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the driver runs");
    let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let uploading = lines.map_while(Result::ok).any(|line| line.contains("uploading"));
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    assert!(uploading, "it ended before it uploaded anything");

    driver.run(&up(&inventory)).ends(0);
    driver.run(&["destroy", "--yes", "-i", &inventory]).ends(0);
    testbed.assert_clean("h1");
    testbed.assert_clean("h2");
}

#[test]
fn servers_are_held_killed_and_restarted_one_by_one() {
    if !wanted("servers_are_held_killed_and_restarted_one_by_one") {
        return;
    }
    let (_testbed, driver) = (Testbed::up(3), Driver::new());
    let inventory = driver.inventory("three.toml", 3, "");
    driver.run(&up(&inventory)).ends(0);
    let state = |command: &[&str], host: &str| {
        let mut words = vec!["--json", "-i", &inventory];
        words.extend(command);
        driver.run(&words).ends(0).host(host)["state"].clone()
    };
    assert_eq!(state(&["pause", "h2"], "h2"), "changed");
    assert_eq!(state(&["pause", "h2"], "h2"), "unchanged");
    assert_eq!(state(&["resume", "h2"], "h2"), "changed");
    assert_eq!(state(&["kill", "h2"], "h2"), "changed");
    assert_eq!(state(&["start", "--host", "h2,h3"], "h2"), "changed");
    let restarted = driver.run(&["--json", "-i", &inventory, "restart"]).ends(0);
    for name in ["h1", "h2", "h3"] {
        assert!(restarted.host(name)["actions"].to_string().contains("the ring is whole"), "{restarted:?}");
    }
    let logs = driver.run(&["-i", &inventory, "logs", "--lines", "3"]).ends(0).out;
    assert_eq!(logs.lines().filter(|line| line.starts_with("h1 | ")).count(), 3, "{logs}");
    let said = driver.run(&["-i", &inventory, "exec", "--host", "h1", "--", "printf", "%s", "a b;c"]).ends(0);
    assert_eq!(said.out, "h1 | a b;c\n");
}
