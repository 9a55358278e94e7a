//! The driver as users run it, and rings of real servers for it to talk to.
//!
//! Every command runs in a home of its own, without `CHORDATA_` variables of the caller, with a limit in time. Servers
//! are killed when their guard is dropped, however the test ends.

#![allow(dead_code, reason = "each of the test targets uses its own part of this")]

pub(crate) mod ring;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value as Json;

/// How long one command may take.
const COMMAND_WITHIN: Duration = Duration::from_secs(90);
/// How long any condition may take to come true.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// What came of a command.
#[derive(Debug)]
pub(crate) struct Ran {
    /// Its exit code.
    pub(crate) code: i32,
    /// Its standard output, byte for byte.
    pub(crate) bytes: Vec<u8>,
    /// The same as text.
    pub(crate) out: String,
    /// Its standard error.
    pub(crate) err: String,
}

impl Ran {
    /// Asserts the exit code; the output is shown if it is another.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Ran {
        assert_eq!(self.code, code, "\n--- out\n{}\n--- err\n{}", self.out, self.err);
        self
    }

    /// Asserts that standard output has this.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Ran {
        assert!(self.out.contains(text), "{text:?} is missing in\n{}\n--- err\n{}", self.out, self.err);
        self
    }

    /// Asserts that standard error has this.
    #[track_caller]
    pub(crate) fn remarks(self, text: &str) -> Ran {
        assert!(self.err.contains(text), "{text:?} is missing in\n{}", self.err);
        self
    }

    /// Each line of standard output, as JSON.
    #[track_caller]
    pub(crate) fn json_lines(&self) -> Vec<Json> {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        self.out.lines().map(parse).collect()
    }

    /// Standard output, as one JSON value.
    #[track_caller]
    pub(crate) fn json(&self) -> Json {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

/// Takes everything out of a command's environment that is not the test's.
pub(crate) fn clean(command: &mut Command, home: &Path) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CHORDATA_") {
            command.env_remove(name);
        }
    }
    command.current_dir(home).env("HOME", home).env("XDG_STATE_HOME", home.join("state"));
}

/// The driver in that home.
pub(crate) fn chordata(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chordata"));
    command.args(arguments);
    clean(&mut command, home);
    command
}

/// Runs the driver to its end.
pub(crate) fn run(home: &Path, arguments: &[&str]) -> Ran {
    run_with(home, arguments, &[], b"")
}

/// The same with variables, and with that as standard input.
pub(crate) fn run_with(home: &Path, arguments: &[&str], environment: &[(&str, &str)], input: &[u8]) -> Ran {
    let mut command = chordata(home, arguments);
    command.envs(environment.iter().copied());
    let mut command = assert_cmd::Command::from_std(command);
    let output = command.write_stdin(input).timeout(COMMAND_WITHIN).output().unwrap();
    Ran {
        code: output.status.code().unwrap_or_else(|| panic!("{arguments:?} was ended: {output:?}")),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
        bytes: output.stdout,
    }
}

/// Looks again and again until a condition is true.
#[track_caller]
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(25));
    }
}

/// Does this process run? One that has ended and was not waited for does not.
pub(crate) fn is_running(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    // After the name in parentheses comes the state.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z') && !rest.starts_with('X'))
}

/// The processes that this one has started and that run.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    // Each thread has its own list.
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    let text: String = lists.collect::<Vec<_>>().join(" ");
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Processes that nobody waits for, killed when this is dropped.
pub(crate) struct Strays(pub(crate) Vec<u32>);

impl Drop for Strays {
    fn drop(&mut self) {
        use nix::sys::signal::{Signal, kill};
        for pid in self.0.iter().filter(|pid| is_running(**pid)) {
            if let Ok(pid) = i32::try_from(*pid) {
                let _ = kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }
}
