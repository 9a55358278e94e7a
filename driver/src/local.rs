//! Servers as processes of this machine, for the demo and for experiments.
//!
//! They end with the driver, however that ends: each holds the other end of a pipe as its standard input, which the
//! operating system closes when the driver is gone. With `--keep` they have none, and a session of their own.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use chordata_client::Client;
use chordata_client::look::View;
use chordata_protocol::Address;
use chordata_server::settings::{ConsistencySetting, DurabilitySetting};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::failure::{Failure, Outcome};

/// How long a server may take to be in the ring.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long a server may take to stop.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// Between two looks at a ring that is not whole yet.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How servers keep data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Start {
    /// Which guarantee.
    pub(crate) consistency: ConsistencySetting,
    /// Copies of each key.
    pub(crate) replication: u8,
    /// When a write is on disk.
    pub(crate) durability: DurabilitySetting,
}

impl Start {
    /// Is anything on disk?
    pub(crate) fn keeps(&self) -> bool {
        self.consistency != ConsistencySetting::Single && self.durability != DurabilitySetting::Memory
    }

    /// What a server on this port is told.
    pub(crate) fn arguments(&self, servers: &Servers, port: u16) -> Vec<String> {
        let mut words = vec!["--consistency".to_owned(), word(&self.consistency)];
        if self.consistency != ConsistencySetting::Single {
            words.extend(["--durability".to_owned(), word(&self.durability)]);
            words.extend(["--replication".to_owned(), self.replication.to_string()]);
        }
        if self.keeps() {
            words.extend(["--data".to_owned(), servers.data(port).display().to_string()]);
        }
        words
    }
}

/// A choice as the command line writes it.
pub(crate) fn word<T: clap::ValueEnum>(choice: &T) -> String {
    choice.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// A running server.
pub(crate) struct Server {
    /// Where it listens.
    pub(crate) address: Address,
    child: Child,
    log: PathBuf,
}

/// All servers that belong together, and where their logs are.
pub(crate) struct Servers {
    running: Vec<Server>,
    directory: TempDir,
    keep: bool,
}

impl Servers {
    /// None yet. What they are for is in the name of their directory.
    ///
    /// # Errors
    /// When there is no room for logs.
    pub(crate) fn new(purpose: &str, keep: bool) -> Outcome<Servers> {
        let directory = tempfile::Builder::new().prefix(&format!("chordata-{purpose}-")).tempdir()?;
        Ok(Servers { running: Vec::new(), directory, keep })
    }

    /// Starts so many servers, on the first of these ports that are free. Each is told what `arguments` says, and `started`
    /// hears of it.
    ///
    /// # Errors
    /// When one does not get into the ring, or there are not ports enough.
    pub(crate) async fn start(
        &mut self,
        count: u16,
        mut ports: impl Iterator<Item = Outcome<u16>>,
        arguments: impl Fn(&Servers, u16) -> Vec<String>,
        started: impl Fn(&Server),
    ) -> Outcome {
        while self.running.len() < usize::from(count) {
            let port = ports.next().unwrap_or_else(|| Err(Failure::failed("no port is free")))?;
            match Server::start(self, port, &arguments(self, port)).await {
                Ok(server) => {
                    started(&server);
                    self.running.push(server);
                }
                // Somebody else was quicker.
                Err(Failure::Failed(reason)) if reason.contains("in use") => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    /// Where a server that listens on this port keeps its data.
    pub(crate) fn data(&self, port: u16) -> PathBuf {
        self.directory.path().join(format!("{port}.data"))
    }

    /// Where they listen.
    pub(crate) fn addresses(&self) -> Vec<Address> {
        self.running.iter().map(|server| server.address.clone()).collect()
    }

    /// Their processes.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.running.iter().map(Server::pid).collect()
    }

    /// Stops them all and removes their logs.
    pub(crate) async fn stop(mut self) {
        for server in &self.running {
            server.signal(Signal::SIGTERM);
        }
        for server in &mut self.running {
            if tokio::time::timeout(STOP_WITHIN, server.child.wait()).await.is_err() {
                // It did not stop when it was told to; an error means that it has ended meanwhile.
                let _ = server.child.kill().await;
            }
        }
    }

    /// Leaves them running; returns where their logs are.
    pub(crate) fn leave(self) -> PathBuf {
        for server in self.running {
            // Dropping it would end it.
            std::mem::forget(server.child);
        }
        self.directory.keep()
    }
}

impl Server {
    /// Starts a server with these arguments: the first starts the ring, the others join it. Returns when it is in the
    /// ring.
    ///
    /// # Errors
    /// When it does not get there: with the end of its log.
    async fn start(servers: &Servers, port: u16, arguments: &[String]) -> Outcome<Server> {
        let log = servers.directory.path().join(format!("{port}.log"));
        let errors = std::fs::File::create(&log)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["serve", "--port", &port.to_string()]).args(arguments);
        // What the user's environment says of other servers is not for these.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CHORDATA_")) {
            command.env_remove(name);
        }
        match servers.running.first() {
            None => command.args(["--id", "0"]),
            Some(first) => command.args(["--join", first.address.as_str()]),
        };
        if servers.keep {
            command.stdin(Stdio::null());
        } else {
            command.arg("--until-stdin-closes").stdin(Stdio::piped());
        }
        // Ctrl-C is for the driver, which then stops its servers.
        command.process_group(0).kill_on_drop(true);
        let mut child = command.stdout(Stdio::piped()).stderr(errors).spawn()?;
        let stdout = child.stdout.take().ok_or_else(|| Failure::failed("a server has no standard output"))?;
        let address = Address::new(&format!("127.0.0.1:{port}"));
        let mut lines = BufReader::new(stdout).lines();
        let ready = tokio::time::timeout(READY_WITHIN, lines.next_line()).await;
        match ready {
            Ok(Ok(Some(line))) if line.starts_with("ready ") => Ok(Server { address, child, log }),
            Ok(Ok(_) | Err(_)) | Err(_) => {
                let server = Server { address, child, log };
                Err(server.failed().await)
            }
        }
    }

    async fn failed(mut self) -> Failure {
        self.signal(Signal::SIGKILL);
        // Its end is all that is waited for.
        let _ = self.child.wait().await;
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(10)..].join("\n  ");
        Failure::failed(format!(
            "the server at {} did not get into the ring; its log ends:\n  {tail}",
            self.address
        ))
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.child.id().and_then(|pid| i32::try_from(pid).ok()) {
            // It may have ended by itself.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }
}

/// Waits until all servers are one ring, in order, served and numbered.
///
/// # Errors
/// When they are not in that time: what is missing.
pub(crate) async fn wait_until_whole(client: &Client, count: usize, limit: Duration) -> Outcome<View> {
    let deadline = Instant::now() + limit;
    loop {
        let view = client.view().await;
        if view.is_whole() && view.members().len() == count {
            return Ok(view);
        }
        if Instant::now() > deadline {
            let problems = view.problems().join("\n  ");
            return Err(Failure::failed(format!(
                "the ring is not whole after {} s:\n  {problems}",
                limit.as_secs()
            )));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
