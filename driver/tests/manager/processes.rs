//! A manager and servers on standby, each a process that can be killed and started again.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::channel;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value as Json;
use tempfile::TempDir;

use crate::support::{PATIENCE, Ran, chordata, eventually, run};

/// A process that says a `ready` line; killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    /// The last word of that line.
    pub(crate) address: String,
}

impl Process {
    fn start(home: &Path, log: &Path, arguments: &[String]) -> Process {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let errors = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        let mut child = chordata(home, &arguments).stdout(Stdio::piped()).stderr(errors).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().expect("it was piped")).lines();
        let (sender, ready) = channel();
        std::thread::spawn(move || {
            // It goes on reading: the process must be able to go on writing.
            while let Some(Ok(line)) = lines.next() {
                let _ = sender.send(line);
            }
        });
        let mut process = Process { child, address: String::new() };
        match ready.recv_timeout(PATIENCE) {
            Ok(line) => process.address = line.rsplit(' ').next().unwrap().to_owned(),
            Err(error) => panic!("not ready ({error}):\n{}", std::fs::read_to_string(log).unwrap()),
        }
        process
    }

    pub(crate) fn kill(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Ports that nobody listens on now.
fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// A server that can be a peer.
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) process: Process,
    arguments: Vec<String>,
}

/// A manager with peers, and a home for all of them.
pub(crate) struct Site {
    home: TempDir,
    pub(crate) manager: Process,
    manager_arguments: Vec<String>,
    /// How all of them say their secret, if they have one.
    secret: Vec<String>,
    pub(crate) peers: Vec<Peer>,
}

/// What was written to standard error is shown by a test that failed.
impl Drop for Site {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for name in self.peers.iter().map(|peer| peer.name.as_str()).chain(["manager"]) {
            let log = std::fs::read_to_string(self.log(name)).unwrap_or_default();
            println!("--- {name}\n{log}");
        }
    }
}

/// Where the repository's samples are.
pub(crate) fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("data/storm")
}

impl Site {
    /// A manager, and these servers, which register themselves; their tables are in that directory.
    pub(crate) fn start(names: &[&str], tables: &Path) -> Site {
        Site::start_with(names, tables, None)
    }

    /// The same, all with this secret.
    pub(crate) fn start_with(names: &[&str], tables: &Path, secret: Option<&str>) -> Site {
        let home = tempfile::tempdir().unwrap();
        let secret = match secret {
            Some(text) => {
                std::fs::write(home.path().join("secret"), text).unwrap();
                ["--secret-file", "secret"].map(str::to_owned).to_vec()
            }
            None => Vec::new(),
        };
        let port = free_port().to_string();
        let mut manager_arguments: Vec<String> =
            ["manager", &port, "--data", "manager", "-v"].map(str::to_owned).to_vec();
        manager_arguments.extend(secret.clone());
        let manager = Process::start(home.path(), &home.path().join("manager.log"), &manager_arguments);
        let mut site = Site { home, manager, manager_arguments, secret, peers: Vec::new() };
        for name in names {
            site.add(name, tables, true);
        }
        eventually("all are registered", || site.states().len() == names.len());
        site
    }

    /// One more server.
    pub(crate) fn add(&mut self, name: &str, tables: &Path, registers: bool) -> &Peer {
        let port = free_port();
        let (text, data, tables) = (port.to_string(), format!("{name}.data"), tables.display().to_string());
        let fixed = ["serve", "--standby", "--name", name, "--port", &text, "--data", &data];
        let mut arguments: Vec<String> = fixed.map(str::to_owned).to_vec();
        arguments.extend(["--stabilize-ms", "100", "--dht-data", &tables].map(str::to_owned));
        arguments.extend(self.secret.clone());
        if registers {
            arguments.extend(["--manager".to_owned(), self.manager.address.clone()]);
        }
        let process = Process::start(self.home.path(), &self.log(name), &arguments);
        self.peers.push(Peer { name: name.to_owned(), port, process, arguments });
        &self.peers[self.peers.len() - 1]
    }

    fn log(&self, name: &str) -> PathBuf {
        self.home.path().join(format!("{name}.log"))
    }

    /// Starts a server again that was killed.
    pub(crate) fn revive(&mut self, name: &str) {
        let (log, place) = (self.log(name), self.place(name));
        let peer = &mut self.peers[place];
        peer.process.kill();
        peer.process = Process::start(self.home.path(), &log, &peer.arguments);
    }

    fn place(&self, name: &str) -> usize {
        self.peers.iter().position(|peer| peer.name == name).unwrap()
    }

    pub(crate) fn peer(&mut self, name: &str) -> &mut Peer {
        let place = self.place(name);
        &mut self.peers[place]
    }

    /// Kills the manager and starts it again.
    pub(crate) fn restart_manager(&mut self) {
        self.manager.kill();
        let log = self.home.path().join("manager.log");
        self.manager = Process::start(self.home.path(), &log, &self.manager_arguments);
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// What the manager wrote to standard error.
    pub(crate) fn manager_log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("manager.log")).unwrap()
    }

    /// Gives the manager a command.
    pub(crate) fn peer_command(&self, arguments: &[&str]) -> Ran {
        let secret: Vec<&str> = self.secret.iter().map(String::as_str).collect();
        tell(self.home(), &self.manager.address, &[&secret, arguments].concat())
    }

    /// Gives a node of that server a command.
    pub(crate) fn node_command(&self, name: &str, arguments: &[&str]) -> Ran {
        let address = format!("127.0.0.1:{}", self.peers[self.place(name)].port);
        let mut all: Vec<&str> = self.secret.iter().map(String::as_str).collect();
        all.extend(["--node", &address]);
        all.extend(arguments);
        run(self.home(), &all)
    }

    /// What came of a command that succeeds.
    #[track_caller]
    pub(crate) fn report(&self, arguments: &[&str]) -> Json {
        let ran = self.peer_command(&[&["--json"], arguments].concat()).exits(0);
        let mut json = ran.json();
        assert_eq!(json["outcome"], "success");
        json["report"].take()
    }

    /// Peers and what they are.
    pub(crate) fn states(&self) -> Vec<(String, String)> {
        let list = self.report(&["list"]);
        let peers = list["peers"].as_array().unwrap().iter();
        let text = |peer: &Json, field: &str| peer[field].as_str().unwrap().to_owned();
        peers.map(|peer| (text(peer, "name"), text(peer, "state"))).collect()
    }

    /// Names of peers in that state.
    pub(crate) fn those(&self, state: &str) -> Vec<String> {
        let states = self.states().into_iter();
        states.filter(|(_, is)| is == state).map(|(name, _)| name).collect()
    }

    /// What the manager is doing; none: nothing.
    pub(crate) fn working(&self) -> Option<String> {
        self.report(&["list"])["working"].as_str().map(str::to_owned)
    }

    /// How a server is, as it says itself.
    pub(crate) fn standing(&self, name: &str) -> Json {
        self.node_command(name, &["rpc", "standing"]).exits(0).json()
    }

    /// Every server is where the manager says, all of those in the ring in one.
    pub(crate) fn agrees(&self) -> Result<(), String> {
        let mut clusters = std::collections::BTreeSet::new();
        for (name, state) in self.states() {
            let standing = self.standing(&name);
            let seat = &standing["seat"];
            if seat.is_null() != (state == "Free") || standing["entering"] == true {
                return Err(format!("{name} is {state}, and says {standing}"));
            }
            if !seat.is_null() {
                clusters.insert(seat["cluster"].as_str().unwrap().to_owned());
            }
        }
        if clusters.len() < 2 { Ok(()) } else { Err(format!("there are rings {clusters:?}")) }
    }

    /// The same, in a moment.
    #[track_caller]
    pub(crate) fn will_agree(&self) {
        eventually("servers are where the manager says", || {
            let agrees = self.agrees();
            if let Err(reason) = &agrees {
                println!("{reason}");
            }
            agrees.is_ok() && self.working().is_none()
        });
    }

    /// Nothing of a ring is left on the disk of a server.
    pub(crate) fn is_erased(&self, name: &str) -> bool {
        let entries = std::fs::read_dir(self.home().join(format!("{name}.data"))).unwrap();
        let names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names == ["lock"]
    }
}

/// Gives a manager a command, from that home.
pub(crate) fn tell(home: &Path, manager: &str, arguments: &[&str]) -> Ran {
    run(home, &[&["peer", "--manager", manager], arguments].concat())
}
