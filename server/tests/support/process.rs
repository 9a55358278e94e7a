//! One server process, killed when its guard is dropped.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use chordata_protocol::{Address, Id, Space};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a server may take to get ready, or to end.
const PATIENCE: Duration = Duration::from_secs(40);

/// A running (or ended) server. Dropping it kills it.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
    log: PathBuf,
}

impl Process {
    /// Starts `chordata-server` with its home in that directory; standard error goes to the file `log` there.
    pub(crate) fn start(home: &Path, arguments: &[String], environment: &[(&str, &str)]) -> Process {
        let log = home.join("log");
        let errors = std::fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_chordata-server"));
        command.args(arguments).current_dir(home).env("HOME", home).env("XDG_STATE_HOME", home);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("CHORDATA_") || name == "NOTIFY_SOCKET" {
                command.env_remove(name);
            }
        }
        command.envs(environment.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().expect("it was piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Process { child, lines, log }
    }

    /// Waits for the line `ready ID ADDRESS`.
    ///
    /// # Panics
    /// When it does not come, with the log.
    pub(crate) fn ready(&self) -> (Id, Address) {
        let (id, address, _) = self.ready_with_http();
        (id, address)
    }

    /// Waits for the line `ready ID ADDRESS [http://ADDRESS]`.
    ///
    /// # Panics
    /// When it does not come, with the log.
    pub(crate) fn ready_with_http(&self) -> (Id, Address, Option<String>) {
        let line = self.lines.recv_timeout(PATIENCE);
        let line = line.unwrap_or_else(|error| panic!("not ready ({error}):\n{}", self.log()));
        let words: Vec<&str> = line.split(' ').collect();
        let (id, address, http) = match words[..] {
            ["ready", id, address] => (id, address, None),
            ["ready", id, address, http] => (id, address, http.strip_prefix("http://").map(str::to_owned)),
            _ => panic!("it said {line:?}"),
        };
        (Space::default().parse(id).unwrap(), Address::new(address), http)
    }

    /// Waits for the line `ready standby ADDRESS`.
    ///
    /// # Panics
    /// When it does not come, with the log.
    pub(crate) fn on_standby(&self) -> Address {
        let (address, _) = self.on_standby_with_http();
        address
    }

    /// Waits for the line `ready standby ADDRESS [http://ADDRESS]`.
    ///
    /// # Panics
    /// When it does not come, with the log.
    pub(crate) fn on_standby_with_http(&self) -> (Address, Option<String>) {
        let line = self.lines.recv_timeout(PATIENCE);
        let line = line.unwrap_or_else(|error| panic!("not on standby ({error}):\n{}", self.log()));
        let words: Vec<&str> = line.split(' ').collect();
        let (address, http) = match words[..] {
            ["ready", "standby", address] => (address, None),
            ["ready", "standby", address, http] => (address, http.strip_prefix("http://")),
            _ => panic!("it said {line:?}"),
        };
        (Address::new(address), http.map(str::to_owned))
    }

    /// Whether it has said that it is ready; waits until it has ended.
    pub(crate) fn was_ever_ready(&self) -> bool {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(_) => true,
            Err(RecvTimeoutError::Disconnected) => false,
            Err(RecvTimeoutError::Timeout) => panic!("it neither got ready nor ended:\n{}", self.log()),
        }
    }

    /// Waits until it has ended by itself; its exit code (none: a signal ended it).
    ///
    /// # Panics
    /// When it does not end.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.log());
            std::thread::sleep(super::LOOK_EVERY);
        }
    }

    /// All that it (and those before it in the same home) wrote to standard error.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its standard input: closing it is what the end of a parent does.
    pub(crate) fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(pid, signal).unwrap();
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server that is expected not to start: its exit code and what it said.
pub(crate) fn refused(arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let home = tempfile::tempdir().unwrap();
    refused_at(home.path(), arguments, environment)
}

/// The same with a home that holds files for it.
pub(crate) fn refused_at(
    home: &Path,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> (Option<i32>, String) {
    let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
    let mut process = Process::start(home, &arguments, environment);
    assert!(!process.was_ever_ready(), "it got ready:\n{}", process.log());
    (process.exit_code(), process.log())
}
