//! Which cluster is meant: flags, environment, the last one, the default; and what is said about it.

use crate::support::ring::Ring;
use crate::support::{run, run_with};

#[test]
fn no_server_there_is_exit_code_4_whatever_is_asked() {
    let home = tempfile::tempdir().unwrap();
    for command in [
        &["put", "k", "v"][..],
        &["get", "k"],
        &["delete", "k"],
        &["keys"],
        &["nodes"],
        &["lookup", "k"],
        &["fingers", "0"],
        &["status"],
        &["rpc", "status"],
    ] {
        let arguments = [&["--node", "127.0.0.1:1"][..], command].concat();
        let ran = run(home.path(), &arguments).exits(4).remarks("127.0.0.1:1");
        assert_eq!(ran.out, "", "{command:?}");
    }
}

#[test]
fn an_inventory_and_a_node_together_are_a_mistake() {
    let ring = Ring::start(1);
    let inventory = ring.inventory();
    let node = ring.nodes[0].address.as_str();
    run(ring.home(), &["-i", &inventory, "--node", node, "get", "k"]).exits(2).remarks("give one of them");
    let both = [("CHORDATA_INVENTORY", inventory.as_str()), ("CHORDATA_NODE", node)];
    run_with(ring.home(), &["get", "k"], &both, b"").exits(2).remarks("unset one of them");
    // A flag is explicit: it wins over both.
    run_with(ring.home(), &["--node", node, "get", "k"], &both, b"").exits(3);
}

#[test]
fn the_environment_chooses_and_the_choice_is_said() {
    let ring = Ring::start(1);
    let inventory = ring.inventory();
    ring.run(&["put", "k", "v"]).exits(0);
    for (name, value) in
        [("CHORDATA_NODE", ring.nodes[0].address.as_str()), ("CHORDATA_INVENTORY", &inventory)]
    {
        let ran = run_with(ring.home(), &["get", "k"], &[(name, value)], b"").exits(0);
        assert_eq!(ran.out, "v");
        assert!(ran.err.contains(name) && ran.err.contains(value), "{}", ran.err);
    }
    let explicit = ring.run(&["get", "k"]).exits(0);
    assert!(!explicit.err.contains("cluster:"), "nothing to say about an explicit choice: {}", explicit.err);
    let json =
        run_with(ring.home(), &["--json", "get", "k"], &[("CHORDATA_NODE", &ring.nodes[0].address)], b"");
    json.exits(0).json();
}

#[test]
fn names_of_an_inventory_are_names_of_nodes() {
    let ring = Ring::start(2);
    let inventory = ring.inventory();
    run(ring.home(), &["-i", &inventory, "put", "k", "v", "--entry", "n1"]).exits(0);
    run(ring.home(), &["-i", &inventory, "fingers", "n1"]).exits(0).says(&ring.nodes[1].address);
    let status = run(ring.home(), &["-i", &inventory, "status"]).exits(0);
    assert!(status.out.contains("n0") && status.out.contains("n1"), "{}", status.out);
    run(ring.home(), &["-i", "missing.toml", "nodes"]).exits(2).remarks("missing.toml");
}

#[test]
fn a_cluster_with_a_secret_wants_it() {
    let keep = tempfile::tempdir().unwrap();
    let secret = keep.path().join("secret");
    std::fs::write(&secret, "a secret that is long enough\n").unwrap();
    std::fs::write(keep.path().join("other"), "another secret that is long enough\n").unwrap();
    std::fs::write(keep.path().join("short"), "short\n").unwrap();
    let ring = Ring::start_with(1, &["--secret-file", &secret.display().to_string()]);
    let with = |name: &str, command: &[&str]| {
        let path = keep.path().join(name).display().to_string();
        ring.run(&[&["--secret-file", &path][..], command].concat())
    };
    with("secret", &["put", "k", "v"]).exits(0);
    with("other", &["get", "k"]).exits(4).remarks("different secrets");
    with("short", &["get", "k"]).exits(2).remarks("16");
    with("missing", &["get", "k"]).exits(2).remarks("missing");
    ring.run(&["get", "k"]).exits(4).remarks("the cluster has a secret");
}

#[test]
fn a_malformed_address_is_exit_code_2() {
    let home = tempfile::tempdir().unwrap();
    for node in ["host:port", "host:0", ":5", ""] {
        run(home.path(), &["--node", node, "nodes"]).exits(2);
    }
}
