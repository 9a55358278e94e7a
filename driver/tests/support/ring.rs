//! A ring of `chordata serve` processes.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::channel;

use tempfile::TempDir;

use super::{PATIENCE, Ran, chordata, eventually, run, run_with};

/// The id of the cluster, and the name that its inventory has.
pub(crate) const CLUSTER: &str = "00112233445566778899aabbccddeeff";

/// A server of a ring; killed when it is dropped.
pub(crate) struct Node {
    /// Where it listens.
    pub(crate) address: String,
    /// Where it answers HTTP, if it does.
    pub(crate) http: Option<String>,
    child: Child,
}

/// Ports that nobody listens on now, for servers that must come back at the same place.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

impl Node {
    /// Starts it and waits until it is in a ring.
    fn start(home: &Path, log: &Path, join: Option<&str>, more: &[&str]) -> Node {
        Node::start_at(home, log, 0, join, more)
    }

    /// The same at this port; 0 takes a free one.
    fn start_at(home: &Path, log: &Path, port: u16, join: Option<&str>, more: &[&str]) -> Node {
        let port = port.to_string();
        let mut command = chordata(home, &["serve", "--port", &port, "--cluster", CLUSTER]);
        command.args(["--stabilize-ms", "100", "--finger-ms", "300"]).args(more);
        if let Some(join) = join {
            command.args(["--join", join]);
        }
        let errors = std::fs::File::create(log).unwrap();
        // The other end of its standard input is this test's: it ends with it.
        command.arg("--until-stdin-closes").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().expect("it was piped")).lines();
        let (sender, ready) = channel();
        std::thread::spawn(move || drop(lines.next().map(|line| sender.send(line))));
        let mut node = Node { address: String::new(), http: None, child };
        let line = match ready.recv_timeout(PATIENCE) {
            Ok(line) => line.unwrap(),
            Err(error) => panic!("not ready ({error}):\n{}", std::fs::read_to_string(log).unwrap()),
        };
        // ready ID ADDRESS, and where it answers HTTP if it does.
        let mut words = line.split(' ').skip(2);
        node.address = words.next().expect("a line has three words").to_owned();
        node.http = words.next().and_then(|url| url.strip_prefix("http://")).map(str::to_owned);
        node
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it as somebody does who wants it to come back.
    pub(crate) fn stop(&mut self) {
        let pid = i32::try_from(self.child.id()).unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM).unwrap();
        self.child.wait().unwrap();
    }

    /// Has it ended by itself?
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A ring, and a home for those who talk to it.
pub(crate) struct Ring {
    /// In the order in which they joined; the first has id 0.
    pub(crate) nodes: Vec<Node>,
    home: TempDir,
    /// How servers with replicas keep them.
    consistency: &'static str,
}

impl Ring {
    /// Starts that many servers and waits until they are one ring.
    pub(crate) fn start(count: usize) -> Ring {
        Ring::start_with(count, &[])
    }

    /// The same, with one copy of each key.
    pub(crate) fn single(count: usize) -> Ring {
        Ring::start_with(count, &["--consistency", "single"])
    }

    /// The same with more arguments for each server.
    pub(crate) fn start_with(count: usize, more: &[&str]) -> Ring {
        let home = tempfile::tempdir().unwrap();
        let mut ring = Ring { nodes: Vec::new(), home, consistency: "chain" };
        for number in 0..count {
            let log = ring.home.path().join(format!("{number}.log"));
            let join = ring.nodes.first().map(|node| node.address.clone());
            ring.nodes.push(Node::start(ring.home.path(), &log, join.as_deref(), more));
        }
        if !more.contains(&"--secret-file") {
            ring.becomes_whole();
        }
        ring
    }

    /// Starts that many servers with chains of so many replicas, each with a directory for its data at `N.data`, and
    /// waits until all replicas serve.
    pub(crate) fn with_chains(count: usize, replication: usize, durability: &str) -> Ring {
        Ring::with_replicas("chain", count, replication, durability)
    }

    /// The same in eventual mode.
    pub(crate) fn in_eventual_mode(count: usize, replication: usize, durability: &str) -> Ring {
        Ring::with_replicas("eventual", count, replication, durability)
    }

    fn with_replicas(consistency: &'static str, count: usize, replication: usize, durability: &str) -> Ring {
        let home = tempfile::tempdir().unwrap();
        let mut ring = Ring { nodes: Vec::new(), home, consistency };
        for number in 0..count {
            let node = ring.replica_node(number, free_port(), replication, durability);
            ring.nodes.push(node);
        }
        ring.becomes_whole();
        ring
    }

    fn replica_node(&self, number: usize, port: u16, replication: usize, durability: &str) -> Node {
        let log = self.home.path().join(format!("{number}.log"));
        let (replication, data) = (replication.to_string(), format!("{number}.data"));
        let kept =
            ["--consistency", self.consistency, "--replication", &replication, "--durability", durability];
        let more = [&kept[..], &["--data", &data]].concat();
        let join = self.nodes.first().filter(|_| number > 0).map(|node| node.address.clone());
        Node::start_at(self.home.path(), &log, port, join.as_deref(), &more)
    }

    /// One more server with replicas joins.
    pub(crate) fn join_one(&mut self, replication: usize) {
        let node = self.replica_node(self.nodes.len(), free_port(), replication, "interval");
        self.nodes.push(node);
    }

    /// Starts a server with replicas again that has ended, at its old place, with its data.
    pub(crate) fn start_again(&mut self, number: usize, replication: usize, durability: &str) {
        let port = self.nodes[number].address.rsplit(':').next().expect("an address has a port");
        let node = self.replica_node(number, port.parse().unwrap(), replication, durability);
        self.nodes[number] = node;
    }

    /// One more server with replicas; it is in the ring when this returns.
    pub(crate) fn join(&mut self, number: usize, replication: usize, durability: &str) {
        let node = self.replica_node(number, free_port(), replication, durability);
        self.nodes.push(node);
    }

    /// Waits until `status` finds nothing wrong.
    pub(crate) fn becomes_whole(&self) {
        let lines = format!("healthy: {} node", self.nodes.len());
        eventually("the ring is healthy", || {
            let ran = self.run(&["status"]);
            ran.code == 0 && ran.out.contains(&lines)
        });
    }

    /// Home of the commands.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Runs a command that is told of the first server.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.run_at(0, arguments)
    }

    /// Runs a command that is told of this server.
    pub(crate) fn run_at(&self, place: usize, arguments: &[&str]) -> Ran {
        let arguments = [&["--node", &self.nodes[place].address][..], arguments].concat();
        run(self.home(), &arguments)
    }

    /// The same with standard input.
    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Ran {
        let arguments = [&["--node", &self.nodes[0].address][..], arguments].concat();
        run_with(self.home(), &arguments, &[], input)
    }

    /// Writes a file into the home of the commands.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.home().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Writes an inventory that calls the servers n0, n1, ..., and makes its cluster's id known.
    pub(crate) fn inventory(&self) -> String {
        let cluster = self.home().join("state/chordata/clusters/mine");
        std::fs::create_dir_all(&cluster).unwrap();
        std::fs::write(cluster.join("cluster"), CLUSTER).unwrap();
        let mut text = "[cluster]\nname = \"mine\"\n[defaults]\naccess = \"local\"\n".to_owned();
        for (number, node) in self.nodes.iter().enumerate() {
            let port = node.address.rsplit(':').next().expect("an address has a port");
            text += &format!("[[host]]\nname = \"n{number}\"\nlisten_port = {port}\n");
        }
        self.file("ring.toml", &text).display().to_string()
    }

    /// Keys that all servers hold together.
    pub(crate) fn keys(&self) -> u64 {
        let nodes = self.run(&["--json", "nodes"]).exits(0).json();
        let rows = nodes["nodes"].as_array().expect("a list").clone();
        rows.iter().map(|row| row["keys"].as_u64().expect("a number")).sum()
    }
}
