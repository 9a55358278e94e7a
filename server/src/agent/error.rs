//! What can go wrong on a host, sorted by what the caller does next.
//!
//! Every variant becomes one [`Failure`]: a sentence for the person, and a kind for the driver.

use std::io;
use std::path::{Path, PathBuf};

use super::report::{Failure, FailureKind};

/// Why a verb of the agent did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub(super) enum AgentError {
    /// Another operation holds the node's lock: try again when it is done.
    #[error("{} is locked by {holder}", .node.display())]
    Locked { node: PathBuf, holder: String },
    /// The directory was never configured: `configure` comes first.
    #[error("{} is not the directory of a configured node: configure comes first", .0.display())]
    NotConfigured(PathBuf),
    /// The server runs: stop it first.
    #[error("the server in {} is running (pid {pid}): stop it first", .node.display())]
    Running { node: PathBuf, pid: i32 },
    /// The server does not run: start it first.
    #[error("the server in {} is not running", .0.display())]
    NotRunning(PathBuf),
    /// Doing it could hurt what is not ours, or makes no sense: a person must look.
    #[error("{0}")]
    Refused(String),
    /// The server lives but has not said that it is ready: wait longer, or read its log.
    #[error("{0}")]
    NotReady(String),
    /// The server ended before it was ready: its log says why.
    #[error("{sentence}")]
    Ended { sentence: String, exit_code: Option<i32>, log_tail: Vec<String> },
    /// The server was told to end and has not: wait longer, or kill it.
    #[error("{0}")]
    NotEnded(String),
    /// systemd did not do as it was told.
    #[error("{0}")]
    Supervisor(String),
    /// What came on standard input is not a request.
    #[error("{0}")]
    BadInput(String),
    /// The host's system refused an operation.
    #[error("cannot {doing}: {source}")]
    System { doing: String, source: io::Error },
}

impl AgentError {
    /// The same, as the driver reads it.
    pub(super) fn into_failure(self) -> Failure {
        let error = self.to_string();
        let kind = match &self {
            AgentError::Locked { .. } => FailureKind::Locked,
            AgentError::NotConfigured(_) => FailureKind::NotConfigured,
            AgentError::Running { .. } => FailureKind::Running,
            AgentError::NotRunning(_) => FailureKind::NotRunning,
            AgentError::Refused(_) => FailureKind::Refused,
            AgentError::NotReady(_) => FailureKind::NotReady,
            AgentError::Ended { .. } => FailureKind::Ended,
            AgentError::NotEnded(_) => FailureKind::NotEnded,
            AgentError::Supervisor(_) => FailureKind::Supervisor,
            AgentError::BadInput(_) => FailureKind::BadInput,
            AgentError::System { .. } => FailureKind::System,
        };
        match self {
            AgentError::Ended { exit_code, log_tail, .. } => Failure { error, kind, exit_code, log_tail },
            _ => Failure { error, kind, exit_code: None, log_tail: Vec::new() },
        }
    }
}

/// Gives an error of the system the words that say what was being done, and to which file.
pub(super) trait Doing<T> {
    /// `doing` completes the sentence "cannot ... PATH: reason".
    fn doing(self, doing: &str, path: &Path) -> Result<T, AgentError>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, doing: &str, path: &Path) -> Result<T, AgentError> {
        self.map_err(|error| AgentError::System {
            doing: format!("{doing} {}", path.display()),
            source: error.into(),
        })
    }
}
