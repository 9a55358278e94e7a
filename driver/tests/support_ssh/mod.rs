//! Hosts to deploy to: the testbed's, with a driver whose home is a directory of the test's own.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;

/// No command takes so long, not even on a busy machine: a test that hangs says which one hung.
const COMMAND_MAX: Duration = Duration::from_secs(180);

/// One testbed a machine: the tests take turns.
static TURN: Mutex<()> = Mutex::new(());

/// Are system tests wanted? Says that they are left out otherwise.
pub(crate) fn wanted(test: &str) -> bool {
    let wanted = std::env::var("CHORDATA_SYSTEM_TESTS").is_ok_and(|value| value == "1");
    if !wanted {
        // Past the harness, which keeps the words of tests that pass to itself.
        let _ = writeln!(
            std::io::stderr(),
            "LEFT OUT: {test} needs root and the testbed: `make test-system` runs it"
        );
    }
    wanted
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    fn of(output: Output) -> Ran {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// The command must have ended so.
    #[track_caller]
    pub(crate) fn ends(self, code: i32) -> Ran {
        assert_eq!(self.code, Some(code), "standard output:\n{}\nstandard error:\n{}", self.out, self.err);
        self
    }

    /// Its JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// A host's part of its JSON.
    #[track_caller]
    pub(crate) fn host(&self, name: &str) -> Value {
        let hosts = self.json()["hosts"].as_array().cloned().unwrap_or_default();
        let host = hosts.into_iter().find(|host| host["host"] == name);
        host.unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }
}

/// A driver with nothing of the user's: its home and its state are temporary.
pub(crate) struct Driver {
    pub(crate) directory: tempfile::TempDir,
}

impl Driver {
    pub(crate) fn new() -> Driver {
        Driver { directory: tempfile::tempdir().expect("a temporary directory") }
    }

    /// Not run yet.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chordata"));
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CHORDATA_"))
        {
            command.env_remove(name);
        }
        command.current_dir(self.directory.path()).env("HOME", self.directory.path());
        // Also what a killed driver leaves goes with the test.
        command.env("TMPDIR", self.directory.path());
        command.env("XDG_STATE_HOME", self.directory.path().join("state")).args(arguments);
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let command = assert_cmd::Command::from_std(self.command(arguments)).timeout(COMMAND_MAX).output();
        Ran::of(command.expect("the driver runs"))
    }

    /// Writes an inventory of the testbed's hosts, `more` for all of them; gives its path.
    pub(crate) fn inventory(&self, name: &str, hosts: usize, more: &str) -> String {
        let mut text =
            format!("[cluster]\nname = \"systest\"\n[defaults]\nssh_config = \"{SSH_CONFIG}\"\n{more}\n");
        for number in 1..=hosts {
            text.push_str(&format!("[[host]]\nname = \"h{number}\"\naddress = \"{}\"\n", address(number)));
        }
        self.write(name, &text)
    }

    /// Writes a file; gives its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).expect("writable");
        path.to_str().expect("UTF-8").to_owned()
    }

    /// What the driver remembers of clusters: nothing after `destroy`, but for the log of operations.
    pub(crate) fn remembered(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        collect(&self.directory.path().join("state"), &mut files);
        files.retain(|file| !file.ends_with("audit.log"));
        files
    }
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}

/// Written by `testbed/up`.
const SSH_CONFIG: &str = "/run/chordata-testbed/ssh_config";

/// The address of host `h<number>`.
pub(crate) fn address(number: usize) -> String {
    format!("10.77.0.{}", 10 + number)
}

/// Hosts `h1` and up; they go away with this, also when the test fails.
pub(crate) struct Testbed {
    _turn: MutexGuard<'static, ()>,
}

impl Testbed {
    pub(crate) fn up(hosts: usize) -> Testbed {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let testbed = Testbed { _turn: turn };
        script("up", &[&hosts.to_string()]).ends(0);
        testbed
    }

    pub(crate) fn kill(&self, host: &str) {
        script("kill", &[host]).ends(0);
    }

    pub(crate) fn revive(&self, host: &str) {
        script("revive", &[host]).ends(0);
    }

    pub(crate) fn partition(&self, one: &str, other: &str) {
        script("partition", &[one, other]).ends(0);
    }

    pub(crate) fn heal(&self) {
        script("heal", &[]).ends(0);
    }

    /// Runs a program on a host, not by way of the driver.
    pub(crate) fn on(&self, host: &str, words: &[&str]) -> Ran {
        let mut arguments = vec![host];
        arguments.extend(words);
        script("exec", &arguments)
    }

    /// Nothing of ours is there: no process, no file.
    #[track_caller]
    pub(crate) fn assert_clean(&self, host: &str) {
        let files = self.on(host, &["find", "/root", "-mindepth", "1"]).ends(0).out;
        assert_eq!(files, "", "left on {host}");
        let processes = self.on(host, &["ps", "-e", "-o", "comm="]).ends(0).out;
        assert!(!processes.contains("chordata"), "left on {host}: {processes}");
    }
}

impl Drop for Testbed {
    fn drop(&mut self) {
        let down = script("down", &[]);
        if down.code != Some(0) {
            eprintln!("the testbed was not taken down: {down:?}");
        }
    }
}

fn script(name: &str, arguments: &[&str]) -> Ran {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testbed").join(name);
    let mut command = Command::new(script);
    // The default directory: what the inventories say.
    command.args(arguments).env_remove("CHORDATA_TESTBED_DIR");
    let output = assert_cmd::Command::from_std(command).timeout(COMMAND_MAX).output();
    Ran::of(output.expect("the testbed's scripts run"))
}
