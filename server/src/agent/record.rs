//! The pid file: which process serves a node, and what it was started with.
//!
//! It is written by the process itself, before it becomes the server ([`super::hold`]): there is never a server
//! without a record of it, whatever happens to the agent that started it. Under systemd each restart writes a new
//! one. A record outlives its process until `stop` or the next start; that is how an end that nobody asked for
//! shows.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::AgentError;
use super::files;
use super::logs;
use super::node::NodeDirectory;
use super::process::{Identity, Verdict};
use super::report::Supervisor;

/// What the pid file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PidRecord {
    #[serde(flatten)]
    pub(super) identity: Identity,
    pub(super) supervisor: Supervisor,
    /// How long the log was when this process started: what follows is its own.
    pub(super) log_offset: u64,
    /// BLAKE3 of the configuration it was started with.
    pub(super) config_hash: Option<String>,
    /// BLAKE3 of the secret it was started with. It stays in this private file.
    pub(super) secret_hash: Option<String>,
    /// It was told to end.
    #[serde(default)]
    pub(super) stopping: bool,
}

impl PidRecord {
    /// Describes the calling process, about to become the server.
    pub(super) fn of_this_process(
        node: &NodeDirectory,
        supervisor: Supervisor,
    ) -> Result<PidRecord, AgentError> {
        let pid = std::process::id() as i32;
        let identity = Identity::of(pid)?.ok_or_else(|| AgentError::System {
            doing: format!("find this process ({pid}) in /proc"),
            source: std::io::ErrorKind::NotFound.into(),
        })?;
        PidRecord::new(identity, node, supervisor)
    }

    fn new(
        identity: Identity,
        node: &NodeDirectory,
        supervisor: Supervisor,
    ) -> Result<PidRecord, AgentError> {
        Ok(PidRecord {
            identity,
            supervisor,
            log_offset: logs::length(&node.log()),
            config_hash: files::read_if_there(&node.config())?.as_deref().map(files::hash),
            secret_hash: files::read_if_there(&node.secret())?.as_deref().map(files::hash),
            stopping: false,
        })
    }

    /// Describes a process that systemd names as the unit's, when the pid file was lost.
    pub(super) fn adopted(
        pid: i32,
        node: &NodeDirectory,
        supervisor: Supervisor,
    ) -> Result<Option<PidRecord>, AgentError> {
        let Some(identity) = Identity::of(pid)? else { return Ok(None) };
        let record = PidRecord::new(identity, node, supervisor)?;
        // Where its part of the log begins is lost: no log is that long, which reads as "cut since".
        Ok(Some(PidRecord { log_offset: u64::MAX, ..record }))
    }

    /// Reads the pid file. One that cannot be understood is as good as none: it names nobody for certain.
    pub(super) fn read(node: &NodeDirectory) -> Result<Option<PidRecord>, AgentError> {
        Ok(files::read_if_there(&node.pid())?.and_then(|text| serde_json::from_slice(&text).ok()))
    }

    /// Writes the pid file.
    pub(super) fn write(&self, node: &NodeDirectory) -> Result<(), AgentError> {
        let mut text = serde_json::to_vec(self).map_err(|error| AgentError::System {
            doing: "write the pid file".into(),
            source: error.into(),
        })?;
        text.push(b'\n');
        files::replace(&node.pid(), &text)
    }

    /// What has become of the process.
    pub(super) fn judge(&self, directory: &Path) -> Result<Verdict, AgentError> {
        self.identity.judge(directory)
    }

    /// Whether the configuration or the secret is not what the process was started with.
    pub(super) fn is_outdated(&self, node: &NodeDirectory) -> Result<bool, AgentError> {
        let config = files::read_if_there(&node.config())?.as_deref().map(files::hash);
        let secret = files::read_if_there(&node.secret())?.as_deref().map(files::hash);
        Ok(config != self.config_hash || secret != self.secret_hash)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_record_comes_back_as_it_was_written_and_damage_names_nobody() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let node = NodeDirectory::new(directory.path()).expect("a path");
        assert_eq!(PidRecord::read(&node).expect("readable"), None);

        let record = PidRecord::of_this_process(&node, Supervisor::Detached).expect("we live");
        record.write(&node).expect("writable");
        assert_eq!(PidRecord::read(&node).expect("readable"), Some(record));

        for damage in ["", "4242\n", "{\"pid\":42"] {
            fs::write(node.pid(), damage).expect("writable");
            assert_eq!(PidRecord::read(&node).expect("readable"), None, "{damage:?}");
        }
    }

    #[test]
    fn a_changed_configuration_or_secret_outdates_the_record() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let node = NodeDirectory::new(directory.path()).expect("a path");
        fs::write(node.config(), "a = 1").expect("writable");
        let record = PidRecord::of_this_process(&node, Supervisor::Detached).expect("we live");
        assert!(!record.is_outdated(&node).expect("readable"));
        fs::write(node.secret(), "s").expect("writable");
        assert!(record.is_outdated(&node).expect("readable"));
        fs::remove_file(node.secret()).expect("removable");
        fs::write(node.config(), "a = 2").expect("writable");
        assert!(record.is_outdated(&node).expect("readable"));
    }
}
