//! The agent: everything that the driver does on a host, as verbs of the very binary that it uploads.
//!
//! `BINARY agent VERB ...` runs over SSH, or directly for a host that is this machine. So the logic is Rust on the
//! host, the same for both, and no shell ever reads a string that was put together. Each verb prints one JSON
//! object on one line ([`report`]) and exits 0 when done, 1 when it failed (the object is a [`report::Failure`]),
//! 2 on bad usage. `logs` prints the log itself; `listen` goes on after its line; `hold` is not for people.
//!
//! # A node's directory
//! ```text
//! NODE_DIR/ server.toml   configuration, by `configure`      log        the server's output
//!           secret        of the cluster, for the owner      pid        which process serves   (record)
//!           data/         the server's                       lock       who changes something  (lock)
//!                                                            audit.log  who changed what, when
//! ```
//!
//! # What holds
//! - **Nothing is signalled that is not the node's server.** A pid counts only with its start time and boot, and
//!   when the process looks like this node's (`process.rs`).
//! - **One server per node.** Changing verbs take the node's lock (`lock.rs`); a new server writes its own record
//!   before it is one, and holds its starter's lock until then (`hold.rs`, `start.rs`).
//! - **A crash between any two steps is repaired by the next call.** Files are replaced whole (`files.rs`); locks end
//!   with their holders; `configure`, `stop` and `erase` can be repeated (`erase.rs` removes its mark last).
//! - **A server outlives the agent and the session**: its own session and no inherited files, or systemd (`unit.rs`).
//! - **What was not made by us is not removed** (`erase.rs`).
//!
//! # Left out on purpose
//! - Log rotation: the log grows until somebody cuts it (copy and truncate works, `start` and `logs` notice).
//! - Hosts without /proc: a host is Linux.
//! - A host that ends every process of a user at logout (logind's `KillUserProcesses`, off by default) and lets the
//!   user have no lingering systemd either: there a detached server ends with the session.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use serde::Serialize;

mod bounded;
mod condition;
mod configure;
mod erase;
mod error;
mod files;
mod generate;
mod hold;
mod lock;
mod logs;
mod network;
mod node;
mod probe;
mod process;
mod record;
pub mod report;
mod start;
mod status;
mod stop;
mod systemd;
mod unit;

use error::AgentError;
pub use lock::utc;
use node::NodeDirectory;

pub use configure::ConfigureArguments;
pub use erase::EraseArguments;
pub use hold::HoldArguments;
pub use lock::{HolderArguments, LockArguments};
pub use logs::LogsArguments;
pub use network::{ListenArguments, ReachArguments};
pub use probe::ProbeArguments;
pub use start::StartArguments;
pub use status::StatusArguments;
pub use stop::{SignalArguments, SignalChoice, StopArguments};
pub use systemd::SupervisorChoice;

/// The verbs of the agent.
#[derive(Debug, Subcommand)]
pub enum AgentCommand {
    /// Write a node's configuration and secret, given as JSON on standard input
    Configure(ConfigureArguments),
    /// Start a node's server and wait until it is ready
    Start(StartArguments),
    /// Stop a node's server
    Stop(StopArguments),
    /// Pause, resume or kill a node's server
    Signal(SignalArguments),
    /// Tell what a node's server is doing
    Status(StatusArguments),
    /// Remove a node and its data
    Erase(EraseArguments),
    /// Tell facts about this host
    Probe(ProbeArguments),
    /// Answer on ports for a while, for `reach` from other hosts
    Listen(ListenArguments),
    /// Try to connect to other hosts
    Reach(ReachArguments),
    /// Print a node's log as it is
    Logs(LogsArguments),
    /// Send requests as the job on standard input says, and tell what came of it
    Generate,
    /// Become a node's server
    #[command(hide = true)]
    Hold(HoldArguments),
}

/// Runs a verb and prints its answer.
pub fn run(command: AgentCommand) -> ExitCode {
    match command {
        AgentCommand::Configure(arguments) => {
            let request = configure::read_request(io::stdin().lock());
            if arguments.dry_run {
                let node = NodeDirectory::new(&arguments.node_dir);
                return answer(node.and_then(|node| configure::run(&node, &arguments, &request?)));
            }
            changing(&arguments.node_dir, &arguments.lock.who, "configure", |node| {
                configure::run(node, &arguments, &request?)
            })
        }
        AgentCommand::Start(arguments) => {
            changing(&arguments.node_dir, &arguments.lock.who, "start", |node| {
                start::run(node, &arguments, &this_executable()?)
            })
        }
        AgentCommand::Stop(arguments) => {
            changing(&arguments.node_dir, &arguments.lock.who, "stop", |node| stop::run(node, &arguments))
        }
        AgentCommand::Signal(arguments) => {
            changing(&arguments.node_dir, &arguments.who, "signal", |node| stop::signal(node, &arguments))
        }
        AgentCommand::Erase(arguments) => {
            changing(&arguments.node_dir, &arguments.lock.who, "erase", |node| erase::run(node, &arguments))
        }
        AgentCommand::Status(arguments) => answer(
            NodeDirectory::new(&arguments.node_dir).and_then(|node| status::run(&node, &this_executable()?)),
        ),
        AgentCommand::Probe(arguments) => answer(probe::run(&arguments)),
        AgentCommand::Reach(arguments) => answer(Ok(network::reach(&arguments))),
        AgentCommand::Listen(arguments) => network::listen(&arguments),
        AgentCommand::Logs(arguments) => logs::run(&arguments),
        AgentCommand::Generate => answer(generate::run(io::stdin().lock())),
        AgentCommand::Hold(arguments) => hold::run(&arguments),
    }
}

/// Runs a verb that changes something, and notes in the node's audit log what came of it.
fn changing<T: Serialize>(
    directory: &std::path::Path,
    who: &HolderArguments,
    verb: &str,
    work: impl FnOnce(&NodeDirectory) -> Result<T, AgentError>,
) -> ExitCode {
    let node = match NodeDirectory::new(directory) {
        Ok(node) => node,
        Err(error) => return answer::<T>(Err(error)),
    };
    let result = work(&node);
    let noted = match &result {
        Ok(report) => serde_json::to_string(report).unwrap_or_default(),
        Err(error) => format!("failed: {error}"),
    };
    lock::audit(&node, who, verb, &noted);
    answer(result)
}

/// Prints the answer of a verb and gives its exit code.
fn answer<T: Serialize>(result: Result<T, AgentError>) -> ExitCode {
    let (line, code) = match result {
        Ok(report) => (serde_json::to_string(&report), ExitCode::SUCCESS),
        Err(error) => (serde_json::to_string(&error.into_failure()), ExitCode::FAILURE),
    };
    let line = match line {
        Ok(line) => line,
        Err(error) => {
            eprintln!("the answer cannot be written as JSON: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut output = io::stdout().lock();
    // Whoever asked may be gone. What was done is done, and the exit code tells nobody.
    if writeln!(output, "{line}").and_then(|()| output.flush()).is_err() {
        return ExitCode::FAILURE;
    }
    code
}

/// The path of this program, also when an upload has replaced the file since: the path leads to the new one then.
fn this_executable() -> Result<PathBuf, AgentError> {
    let path = std::env::current_exe()
        .map_err(|source| AgentError::System { doing: "find this program's own file".into(), source })?;
    let replaced = path.to_str().and_then(|text| text.strip_suffix(" (deleted)")).map(PathBuf::from);
    Ok(replaced.filter(|file| file.is_file()).unwrap_or(path))
}

/// A number of seconds on the command line, fractions allowed.
fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "expected a number of seconds".to_owned())?;
    // A year: longer is a mistake, and would overflow a clock.
    match Duration::try_from_secs_f64(number) {
        Ok(duration) if duration.as_secs() <= 365 * 86_400 => Ok(duration),
        _ => Err("expected a number of seconds between 0 and a year".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(subcommand)]
        command: AgentCommand,
    }

    #[test]
    fn the_command_line_is_consistent() {
        Line::command().debug_assert();
    }

    #[test]
    fn bad_usage_is_found_before_anything_is_done() {
        for words in [
            vec!["agent", "start"],
            vec!["agent", "start", "--node-dir", "x", "--timeout", "-1"],
            vec!["agent", "start", "--node-dir", "x", "--timeout", "1e300"],
            vec!["agent", "signal", "--node-dir", "x", "--signal", "HUP"],
            vec!["agent", "listen", "--port", "70000", "--seconds", "1"],
            vec!["agent", "reach"],
        ] {
            let error = Line::try_parse_from(&words).expect_err("bad usage");
            assert_eq!(error.exit_code(), 2, "{words:?}");
        }
    }

    #[test]
    fn seconds_may_have_fractions() {
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        assert!(seconds("NaN").is_err() && seconds("soon").is_err());
    }
}
