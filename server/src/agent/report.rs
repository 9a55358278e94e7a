//! What the agent says: one JSON object on one line per verb, as types that the driver reads back.
//!
//! The driver and the agent may be of different versions (the agent on a host is replaced by `deploy` only), so
//! unknown fields are ignored and a field that was added later has a default. [`parse`] tells a report from a
//! failure and skips what a talkative login script printed before it.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What a verb answers when it failed (exit code 1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{error}")]
pub struct Failure {
    /// One sentence: what was wrong, and what to do.
    pub error: String,
    /// What the caller does next.
    pub kind: FailureKind,
    /// The server's exit code, when it ended and the code is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The last lines of the server's log since this start, when it ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log_tail: Vec<String>,
}

/// The kinds of [`Failure`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// Another operation holds the node's lock.
    Locked,
    /// `configure` comes first.
    NotConfigured,
    /// The server runs, and must not for this verb.
    Running,
    /// The server does not run, and must for this verb.
    NotRunning,
    /// It could hurt what is not ours: a person must look.
    Refused,
    /// The server lives but did not say that it is ready in time. It is left running.
    NotReady,
    /// The server ended before it was ready.
    Ended,
    /// The server was told to end and did not in time.
    NotEnded,
    /// systemd did not do as it was told.
    Supervisor,
    /// The request on standard input was not understood.
    BadInput,
    /// The host's system refused an operation.
    System,
    /// The answer was not one of the agent's: another program, or a much older or newer version.
    #[serde(other)]
    Unreadable,
}

/// What `configure` reads on standard input.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigureRequest {
    /// The text of `server.toml`.
    pub config: String,
    /// The cluster's secret, written as it is to the file `secret`; without one that file is removed.
    #[serde(default)]
    pub secret: Option<String>,
}

/// Shows that there is a secret, never the secret.
impl fmt::Debug for ConfigureRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigureRequest")
            .field("config", &self.config)
            .field("secret", &self.secret.as_ref().map(|_| "..."))
            .finish()
    }
}

/// What `configure` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigureReport {
    /// Whether a file was, or with `--dry-run` would be, written.
    pub changed: bool,
    /// Which of `server.toml`, `secret` and `permissions` changed.
    pub changes: Vec<String>,
    /// BLAKE3 of the new `server.toml`, in hexadecimal.
    pub config_hash: String,
    /// The node's directory as an absolute path without links.
    pub node_dir: String,
}

/// Who keeps a server running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Supervisor {
    /// Nobody: a session of its own that survives the logout.
    Detached,
    /// A unit of the user's systemd.
    SystemdUser,
    /// A unit of the host's systemd.
    SystemdSystem,
}

/// What `start` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartReport {
    /// It ran before: nothing was started.
    pub already_running: bool,
    /// The server's process.
    pub pid: i32,
    /// Who keeps it running.
    pub supervisor: Supervisor,
    /// Name of the systemd unit, if any.
    pub unit: Option<String>,
    /// The server's own line, `ready ID ADDRESS ...`; none when it ran before and its log was cut since.
    pub ready: Option<String>,
    /// From the call to the answer.
    pub took_milliseconds: u64,
}

/// What `stop` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopReport {
    /// It did not run: nothing was stopped.
    pub already_stopped: bool,
    /// The process that ended.
    pub pid: Option<i32>,
    /// Whether it was killed rather than asked.
    pub killed: bool,
    /// From the call to the answer.
    pub took_milliseconds: u64,
}

/// What `signal` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalReport {
    /// Whether a signal was sent; not when the server was already in the state that the signal makes.
    pub changed: bool,
    /// The process it went to.
    pub pid: Option<i32>,
    /// The state after it.
    pub state: NodeState,
}

/// What a node's server is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeState {
    /// There is no such node directory.
    Absent,
    /// The directory is there, no server runs.
    Stopped,
    /// The server runs.
    Running,
    /// The server is held by a STOP signal.
    Paused,
}

/// What `status` answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusReport {
    /// The state of the server.
    pub state: NodeState,
    /// Its process, when it runs.
    pub pid: Option<i32>,
    /// How long it has run.
    pub uptime_seconds: Option<f64>,
    /// Who keeps it running; when stopped, who would as things are installed.
    pub supervisor: Option<Supervisor>,
    /// Name of the systemd unit, if one is installed.
    pub unit: Option<String>,
    /// systemd's word for the unit's state, if one is installed.
    pub unit_state: Option<String>,
    /// It ended without being told to.
    pub ended_unexpectedly: bool,
    /// It was told to end and has not yet.
    pub stopping: bool,
    /// The line `ready ID ADDRESS ...` of this run.
    pub ready: Option<String>,
    /// Bytes in the log.
    pub log_bytes: u64,
    /// BLAKE3 of `server.toml` as it is now, in hexadecimal.
    pub config_hash: Option<String>,
    /// The configuration or the secret changed since the server started.
    pub needs_restart: bool,
    /// Whether the server runs the very file that answers this; not after an upload replaced it.
    pub runs_this_binary: Option<bool>,
}

/// What `erase` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EraseReport {
    /// There was no such node directory.
    pub already_absent: bool,
    /// What was removed, as paths.
    pub removed: Vec<String>,
    /// What was found and left because it is not ours or not this node's, as paths.
    pub left: Vec<String>,
}

/// What `probe` answers: facts about the host, judged by the driver.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// Version of this binary.
    pub version: String,
    /// Architecture this binary was built for, in Rust's words (`x86_64`, `aarch64`).
    pub architecture: String,
    /// Architecture of the machine in the kernel's words.
    pub machine: Option<String>,
    /// The kernel's release.
    pub kernel: Option<String>,
    /// The host's own name.
    pub hostname: Option<String>,
    /// Version of the GNU C library, if the host has one.
    pub glibc: Option<String>,
    /// Who runs the agent.
    pub user: Option<String>,
    /// Processors that the agent may use.
    pub cores: usize,
    /// Load averages over 1, 5 and 15 minutes.
    pub load: Option<[f64; 3]>,
    /// Memory of the machine.
    pub memory_total_bytes: Option<u64>,
    /// Memory that a new process can have.
    pub memory_available_bytes: Option<u64>,
    /// Where disk space was looked at: the install directory or its nearest existing parent.
    pub disk_directory: String,
    /// Free bytes there for this user.
    pub disk_free_bytes: Option<u64>,
    /// Whether this user can write there.
    pub disk_writable: bool,
    /// Open files that a process may have, and the most that it may ask for.
    pub open_files_soft: Option<u64>,
    /// The most open files that a process may ask for.
    pub open_files_hard: Option<u64>,
    /// The wall clock when the answer was made, in microseconds since 1970.
    pub clock_microseconds: u64,
    /// systemd as it is on this host.
    pub systemd: SystemdFacts,
    /// Each asked port, in the order asked.
    pub ports: Vec<PortFact>,
}

/// systemd as `start` would find it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemdFacts {
    /// It is the host's first process.
    pub booted: bool,
    /// The user's own manager answers.
    pub user_manager: bool,
    /// The user's manager stays when the user logs out.
    pub linger: bool,
    /// What `--supervisor auto` would take as things are.
    pub would_use: Supervisor,
}

/// A port of this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortFact {
    /// The port; for `listen` the one that was really taken.
    pub port: u16,
    /// Whether it could be had.
    pub state: PortState,
    /// The system's words, when it could not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Whether a port can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortState {
    /// Nobody has it (`listen`: it is ours now).
    Free,
    /// Somebody listens there.
    InUse,
    /// This user may not have it.
    Denied,
    /// The bind address is not one of this host's.
    AddressUnavailable,
    /// Another reason, in `reason`.
    Failed,
}

/// What `listen` answers, once it listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenReport {
    /// What each connection is told after `chordata-check `.
    pub nonce: String,
    /// Each asked port, in the order asked.
    pub ports: Vec<PortFact>,
}

/// What `reach` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReachReport {
    /// Each asked target, in the order asked.
    pub targets: Vec<ReachedTarget>,
}

/// One target of `reach`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReachedTarget {
    /// As it was asked for.
    pub target: String,
    /// What came of it.
    pub state: ReachState,
    /// From the call, with the name's resolution, to the connection or the failure.
    pub microseconds: u64,
    /// What `listen` says there; none when something else (a server) holds the port.
    pub nonce: Option<String>,
    /// The system's words, when it was not reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What came of one attempt to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReachState {
    /// A connection was made.
    Reachable,
    /// The host answers, nobody listens (or a firewall says so).
    Refused,
    /// No answer in time: the host is down, or a firewall drops.
    Timeout,
    /// There is no way to that address.
    Unreachable,
    /// The name means no address.
    Unresolvable,
}

/// Reads what a verb printed.
///
/// # Errors
/// The verb's own [`Failure`], or one of kind [`FailureKind::Unreadable`] when the last line is not an answer.
pub fn parse<T: DeserializeOwned>(standard_output: &[u8]) -> Result<T, Failure> {
    let text = String::from_utf8_lossy(standard_output);
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    if let Ok(failure) = serde_json::from_str::<Failure>(line) {
        return Err(failure);
    }
    serde_json::from_str(line).map_err(|error| {
        let shown: String = line.chars().take(200).collect();
        Failure {
            error: format!("the agent's answer cannot be read ({error}): {shown:?}"),
            kind: FailureKind::Unreadable,
            exit_code: None,
            log_tail: Vec::new(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_found_behind_what_a_login_script_printed() {
        let printed = b"Welcome to host7!\n{\"nonce\":\"a\",\"ports\":[]}\n";
        let report: ListenReport = parse(printed).expect("the last line is a report");
        assert_eq!(report.nonce, "a");
    }

    #[test]
    fn a_failure_is_told_from_a_report() {
        let printed = br#"{"error":"n1 is locked by ann","kind":"locked"}"#;
        let failure = parse::<StopReport>(printed).expect_err("it is a failure");
        assert_eq!((failure.kind, failure.error.as_str()), (FailureKind::Locked, "n1 is locked by ann"));
    }

    #[test]
    fn a_kind_of_a_newer_agent_and_no_answer_at_all_are_unreadable() {
        let newer = parse::<StopReport>(br#"{"error":"x","kind":"from-the-future"}"#).expect_err("a failure");
        assert_eq!((newer.kind, newer.error.as_str()), (FailureKind::Unreadable, "x"));
        let nothing = parse::<StopReport>(b"").expect_err("nothing was printed");
        assert_eq!(nothing.kind, FailureKind::Unreadable);
    }

    #[test]
    fn the_secret_is_not_shown_by_debug() {
        let request = ConfigureRequest { config: "a = 1".into(), secret: Some("hunter2".into()) };
        assert!(!format!("{request:?}").contains("hunter2"));
    }
}
