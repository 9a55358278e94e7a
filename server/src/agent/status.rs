//! `status`: what a node's server is doing. It changes nothing and waits for nobody.

use std::path::{Path, PathBuf};

use super::condition::{self, Condition};
use super::error::AgentError;
use super::files;
use super::logs::{self, Readiness, ReadyWatch};
use super::node::NodeDirectory;
use super::process;
use super::report::{NodeState, StatusReport, Supervisor};
use super::systemd::Manager;
use super::unit;

/// `status`: tells what a node's server is doing.
#[derive(Debug, clap::Args)]
pub struct StatusArguments {
    /// Directory of the node
    #[arg(long, value_name = "DIRECTORY")]
    pub(super) node_dir: PathBuf,
}

/// Describes the node. `executable` is what it would be started with.
pub(super) fn run(node: &NodeDirectory, executable: &Path) -> Result<StatusReport, AgentError> {
    let manager = Manager::of_installed(node);
    let mut report = StatusReport {
        state: if node.exists() { NodeState::Stopped } else { NodeState::Absent },
        pid: None,
        uptime_seconds: None,
        supervisor: None,
        unit: manager.as_ref().map(|_| unit::name(node)),
        unit_state: None,
        ended_unexpectedly: false,
        stopping: false,
        ready: None,
        log_bytes: logs::length(&node.log()),
        config_hash: files::read_if_there(&node.config())?.as_deref().map(files::hash),
        needs_restart: false,
        runs_this_binary: None,
    };
    if let Some(manager) = &manager {
        report.unit_state = Some(match manager.state(node) {
            Ok(state) => format!("{} ({})", state.active, state.sub),
            Err(error) => format!("unknown: {error}"),
        });
    }
    match condition::look(node)? {
        Condition::Running { record, paused } => {
            report.state = if paused { NodeState::Paused } else { NodeState::Running };
            report.pid = Some(record.identity.pid);
            report.uptime_seconds = record.identity.uptime_seconds();
            report.supervisor = Some(record.supervisor);
            report.stopping = record.stopping;
            report.needs_restart = record.is_outdated(node)?;
            report.runs_this_binary = process::runs(record.identity.pid, executable);
            if let Readiness::Ready(line) = ReadyWatch::new(node.log(), record.log_offset).look() {
                report.ready = Some(line);
            }
        }
        Condition::Stopped { left } => {
            report.ended_unexpectedly = left.is_some_and(|record| !record.stopping);
            report.supervisor = match manager {
                Some(manager) => Some(manager.supervisor()),
                None => node.exists().then_some(Supervisor::Detached),
            };
        }
    }
    Ok(report)
}
