//! On the hosts of an inventory, here three directories of this machine: the hosts send, and the inventory's own cluster
//! is not touched.

use std::net::TcpListener;
use std::path::Path;

use crate::clusters::{read, sum};
use crate::support::{Ran, run};

/// Three hosts, and the commands that end their servers whatever happens.
struct Hosts {
    home: tempfile::TempDir,
}

impl Hosts {
    fn new() -> Hosts {
        let home = tempfile::tempdir().unwrap();
        let held: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind(("127.0.0.1", 0)).unwrap()).collect();
        let install = home.path().join("install");
        let mut text = format!("[cluster]\nname = \"mine\"\ninstall_dir = \"{}\"\n", install.display());
        text += "[defaults]\naccess = \"local\"\n";
        for (number, listener) in held.iter().enumerate() {
            let port = listener.local_addr().unwrap().port();
            text += &format!("[[host]]\nname = \"h{number}\"\nlisten_port = {port}\n");
        }
        std::fs::write(home.path().join("i.toml"), text).unwrap();
        Hosts { home }
    }

    fn path(&self) -> &Path {
        self.home.path()
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        run(self.path(), &[&["-i", "i.toml"][..], arguments].concat())
    }

    /// Nodes that are installed.
    fn nodes(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path().join("install/nodes"));
        let names =
            entries.into_iter().flatten().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        // Whatever the test has left.
        for node in self.nodes() {
            let pid = std::fs::read_to_string(self.path().join("install/nodes").join(node).join("pid"));
            let pid = pid.ok().and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
            if let Some(pid) = pid.and_then(|record| i32::try_from(record["pid"].as_i64()?).ok()) {
                let _ = nix::sys::signal::kill(
                    nix::unistd::Pid::from_raw(pid),
                    nix::sys::signal::Signal::SIGKILL,
                );
            }
        }
    }
}

#[test]
fn hosts_send_to_their_own_nodes_of_clusters_beside_the_inventorys_own() {
    let hosts = Hosts::new();
    hosts.run(&["up"]).exits(0);
    hosts.run(&["put", "mine", "untouched"]).exits(0);
    let running =
        ["--generate", "10", "--warm-up", "0", "--repeat", "1", "--on-hosts", "--out", "running.json"];
    hosts.run(&[&["experiment", "insert"][..], &running].concat()).exits(0).says("chain, k = 3");
    let result = read(&hosts.path().join("running.json"));
    assert_eq!(sum(&result["cells"][0], "insert", "insert", "done"), 30);
    assert_eq!(
        (&result["settings"]["generators"], &result["settings"]["on_hosts"]),
        (&3.into(), &true.into())
    );
    assert_eq!(result["cells"][0]["experiments"][0]["runs"][0]["entries"][0]["name"], "h0");

    // Beside it: the ports are the same, so the other one must not run.
    let sweep = ["experiment", "all", "--replication", "1,2", "--consistency", "eventual", "--on-hosts"];
    let more = ["--generate", "10", "--warm-up", "0", "--repeat", "1", "--out", "sweep.json"];
    let sweep = [&sweep[..], &more].concat();
    hosts.run(&sweep).exits(1).remarks("h0");
    assert_eq!(hosts.nodes(), ["mine-h0", "mine-h1", "mine-h2"], "what failed was erased");
    hosts.run(&["down"]).exits(0);
    hosts.run(&sweep).exits(0).says("eventual, k = 1").says("eventual, k = 2");
    let result = read(&hosts.path().join("sweep.json"));
    for (cell, copies) in result["cells"].as_array().unwrap().iter().zip(1..) {
        assert_eq!(cell["replication"].as_u64(), Some(copies));
        assert_eq!((sum(cell, "insert", "insert", "done"), sum(cell, "query", "query", "done")), (30, 30));
        let keys: u64 = cell["experiments"][1]["runs"][0]["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|node| node["keys"].as_u64().unwrap())
            .sum();
        assert_eq!(keys, 30 * copies, "thirty keys, k copies");
    }
    assert_eq!(hosts.nodes(), ["mine-h0", "mine-h1", "mine-h2"], "nothing of the experiment is left");
    hosts.run(&["up"]).exits(0);
    hosts.run(&["get", "mine"]).exits(0).says("untouched");
    hosts.run(&["destroy", "--yes"]).exits(0);
}
