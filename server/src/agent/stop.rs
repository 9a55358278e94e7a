//! `stop` and `signal`: ending, holding and letting go of a server, and of nothing else.
//!
//! Only the recorded process is ever signalled, after [`super::process`] has made sure that it is the node's.
//! `stop` first writes into the record that the process was told to end: should this agent die while it waits, the
//! next `start` knows that what it sees is on its way out.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::condition::{self, Condition};
use super::error::AgentError;
use super::files;
use super::lock::{HolderArguments, LockArguments, NodeLock};
use super::node::NodeDirectory;
use super::process::Verdict;
use super::record::PidRecord;
use super::report::{NodeState, SignalReport, StopReport};
use super::systemd::Manager;

const POLL: Duration = Duration::from_millis(20);
/// How long the kernel may take to hold, release or kill a process.
const KERNEL_PATIENCE: Duration = Duration::from_secs(10);

/// `stop`: ends a node's server; its data stays.
#[derive(Debug, clap::Args)]
pub struct StopArguments {
    /// Directory of the node
    #[arg(long, value_name = "DIRECTORY")]
    pub(super) node_dir: PathBuf,
    /// How long to wait for the server's end
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = super::seconds)]
    timeout: Duration,
    /// Kill it at once instead of asking it to end
    #[arg(long)]
    kill: bool,
    #[command(flatten)]
    pub(super) lock: LockArguments,
}

/// `signal`: pauses, resumes or kills a node's server.
#[derive(Debug, clap::Args)]
pub struct SignalArguments {
    /// Directory of the node
    #[arg(long, value_name = "DIRECTORY")]
    pub(super) node_dir: PathBuf,
    /// Which signal
    #[arg(long, value_enum, ignore_case = true)]
    signal: SignalChoice,
    #[command(flatten)]
    pub(super) who: HolderArguments,
}

/// The signals that `signal` sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "UPPER")]
pub enum SignalChoice {
    /// Hold the process where it is
    Stop,
    /// Let it go on
    Cont,
    /// End it without a word; systemd will not restart it
    Kill,
}

/// Ends the server of a node.
pub(super) fn run(node: &NodeDirectory, arguments: &StopArguments) -> Result<StopReport, AgentError> {
    let began = Instant::now();
    let deadline = began + arguments.timeout;
    let report = |already_stopped, pid| StopReport {
        already_stopped,
        pid,
        killed: arguments.kill && !already_stopped,
        took_milliseconds: began.elapsed().as_millis() as u64,
    };
    if !node.is_ours() {
        return Ok(report(true, None));
    }
    let _lock = NodeLock::take(node, "stop", &arguments.lock)?;
    let pid = match condition::look(node)? {
        Condition::Running { record, .. } => {
            end(node, &record, arguments.kill)?;
            wait_until_gone(&record, deadline, arguments)?;
            Some(record.identity.pid)
        }
        Condition::Stopped { .. } => None,
    };
    // Also when no process was found: it may be between two restarts, or on its way up.
    let stopped_unit = stop_unit(node, deadline, arguments)?;
    files::remove_if_there(&node.pid())?;
    Ok(report(pid.is_none() && !stopped_unit, pid))
}

/// Tells the process to end.
fn end(node: &NodeDirectory, record: &PidRecord, kill: bool) -> Result<(), AgentError> {
    PidRecord { stopping: true, ..record.clone() }.write(node)?;
    if kill {
        record.identity.send(Signal::SIGKILL, node.path())?;
    }
    match condition::manager_of(record, node) {
        // systemd's own SIGTERM tells it that the end is wanted.
        Some(manager) => manager.stop(node),
        None if kill => Ok(()),
        None => {
            record.identity.send(Signal::SIGTERM, node.path())?;
            // A paused process would not hear the first.
            record.identity.send(Signal::SIGCONT, node.path())?;
            Ok(())
        }
    }
}

fn wait_until_gone(
    record: &PidRecord,
    deadline: Instant,
    arguments: &StopArguments,
) -> Result<(), AgentError> {
    while record.identity.lives()? {
        if Instant::now() >= deadline {
            return Err(not_ended(&format!("process {}", record.identity.pid), arguments));
        }
        thread::sleep(POLL);
    }
    Ok(())
}

/// Stops the node's unit where there is one. Answers whether there was anything to stop.
fn stop_unit(node: &NodeDirectory, deadline: Instant, arguments: &StopArguments) -> Result<bool, AgentError> {
    let Some(manager) = Manager::of_installed(node) else { return Ok(false) };
    let was_over = manager.state(node)?.is_over();
    manager.stop(node)?;
    while !manager.state(node)?.is_over() {
        if Instant::now() >= deadline {
            return Err(not_ended("the unit", arguments));
        }
        thread::sleep(POLL);
    }
    manager.forget_failure(node);
    Ok(!was_over)
}

fn not_ended(what: &str, arguments: &StopArguments) -> AgentError {
    let (seconds, told) =
        (arguments.timeout.as_secs_f64(), if arguments.kill { "SIGKILL" } else { "SIGTERM" });
    AgentError::NotEnded(format!(
        "{what} has not ended {seconds} s after {told}{}",
        if arguments.kill { "" } else { "; stop --kill ends it at once" }
    ))
}

/// Sends a signal to the server of a node, and waits for its effect.
pub(super) fn signal(node: &NodeDirectory, arguments: &SignalArguments) -> Result<SignalReport, AgentError> {
    let (record, paused) = match condition::look(node)? {
        Condition::Running { record, paused } => (record, paused),
        Condition::Stopped { .. } if arguments.signal == SignalChoice::Kill => {
            return Ok(SignalReport { changed: false, pid: None, state: NodeState::Stopped });
        }
        Condition::Stopped { .. } => return Err(AgentError::NotRunning(node.path().to_owned())),
    };
    let (signal, state) = match arguments.signal {
        SignalChoice::Stop => (Signal::SIGSTOP, NodeState::Paused),
        SignalChoice::Cont => (Signal::SIGCONT, NodeState::Running),
        SignalChoice::Kill => (Signal::SIGKILL, NodeState::Stopped),
    };
    let pid = Some(record.identity.pid);
    let before = if paused { NodeState::Paused } else { NodeState::Running };
    if before == state {
        return Ok(SignalReport { changed: false, pid, state });
    }
    let sent = record.identity.send(signal, node.path())?;
    if state == NodeState::Stopped
        && let Some(manager) = condition::manager_of(&record, node)
    {
        manager.leave_dead(node)?;
    }
    let deadline = Instant::now() + KERNEL_PATIENCE;
    loop {
        let now = match record.judge(node.path())? {
            Verdict::Gone | Verdict::Stranger => NodeState::Stopped,
            Verdict::Ours { paused: true } => NodeState::Paused,
            Verdict::Ours { paused: false } => NodeState::Running,
        };
        match now {
            now if now == state => return Ok(SignalReport { changed: sent, pid, state }),
            NodeState::Stopped => return Err(AgentError::NotRunning(node.path().to_owned())),
            _ if Instant::now() >= deadline => {
                return Err(AgentError::NotEnded(format!(
                    "process {} did not react to {signal}",
                    record.identity.pid
                )));
            }
            _ => thread::sleep(POLL),
        }
    }
}
