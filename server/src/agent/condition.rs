//! What a node's server is doing, from the pid file, the process and systemd together.

use super::error::AgentError;
use super::node::NodeDirectory;
use super::process::Verdict;
use super::record::PidRecord;
use super::report::Supervisor;
use super::systemd::Manager;

/// The state of a node's server.
#[derive(Debug)]
pub(super) enum Condition {
    /// No server runs. A record is what an earlier one left.
    Stopped { left: Option<PidRecord> },
    /// The recorded process lives and is the node's.
    Running { record: PidRecord, paused: bool },
}

/// Looks at a node.
///
/// # Errors
/// Refused when the recorded process lives and is not this node's: whoever asks must not go on.
pub(super) fn look(node: &NodeDirectory) -> Result<Condition, AgentError> {
    let record = PidRecord::read(node)?;
    if let Some(record) = &record {
        match record.judge(node.path())? {
            Verdict::Ours { paused } => return Ok(Condition::Running { record: record.clone(), paused }),
            Verdict::Stranger => return Err(record.identity.stranger(node.path())),
            Verdict::Gone => {}
        }
    }
    match under_systemd(node)? {
        Some((record, paused)) => Ok(Condition::Running { record, paused }),
        None => Ok(Condition::Stopped { left: record }),
    }
}

/// The unit's process, when the unit is up and the pid file was lost.
///
/// Not while the unit comes up: its process is about to write the file itself.
fn under_systemd(node: &NodeDirectory) -> Result<Option<(PidRecord, bool)>, AgentError> {
    let Some(manager) = Manager::of_installed(node) else { return Ok(None) };
    // A manager that does not answer keeps nothing running. Whoever changes something asks it again, and fails.
    let Ok(state) = manager.state(node) else { return Ok(None) };
    let Some(pid) = state.main_pid.filter(|_| state.active == "active") else { return Ok(None) };
    let Some(record) = PidRecord::adopted(pid, node, manager.supervisor())? else { return Ok(None) };
    match record.judge(node.path())? {
        Verdict::Ours { paused } => Ok(Some((record, paused))),
        Verdict::Gone | Verdict::Stranger => Ok(None),
    }
}

/// The manager that keeps this process running, if one does.
pub(super) fn manager_of(record: &PidRecord, node: &NodeDirectory) -> Option<Manager> {
    Manager::of_installed(node).filter(|_| record.supervisor != Supervisor::Detached)
}
