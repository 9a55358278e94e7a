//! A node's directory: which files are in it and whose they are.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::AgentError;
use super::files;

/// The first word of every lock file: how the agent recognises a directory that it made.
pub(super) const LOCK_MARK: &str = "chordata";

/// A node's directory. The path is absolute and without links, so that it can be compared with what a running
/// process was started with.
#[derive(Debug, Clone)]
pub(super) struct NodeDirectory {
    path: PathBuf,
}

impl NodeDirectory {
    /// Takes the path as the user gave it. It need not exist.
    pub(super) fn new(path: &Path) -> Result<NodeDirectory, AgentError> {
        Ok(NodeDirectory { path: files::absolute(path)? })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The last part of the path: what the driver calls the node.
    pub(super) fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The server's configuration.
    pub(super) fn config(&self) -> PathBuf {
        self.path.join("server.toml")
    }

    /// The cluster's secret.
    pub(super) fn secret(&self) -> PathBuf {
        self.path.join("secret")
    }

    /// The server's standard output and error.
    pub(super) fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Which process serves, see [`super::record`].
    pub(super) fn pid(&self) -> PathBuf {
        self.path.join("pid")
    }

    /// Held by whoever changes something, see [`super::lock`].
    pub(super) fn lock(&self) -> PathBuf {
        self.path.join("lock")
    }

    /// Who did what and when, see [`super::lock`].
    pub(super) fn audit(&self) -> PathBuf {
        self.path.join("audit.log")
    }

    /// What the server stores.
    pub(super) fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    pub(super) fn exists(&self) -> bool {
        self.path.is_dir()
    }

    pub(super) fn is_configured(&self) -> bool {
        self.config().is_file()
    }

    /// Whether the agent made this directory: its lock file is there, and is one of ours. `configure` makes it
    /// first and `erase` removes it last. (It is empty when a crash fell between its making and its filling.)
    pub(super) fn is_ours(&self) -> bool {
        self.lock().is_file()
            && fs::read(self.lock())
                .is_ok_and(|text| text.is_empty() || text.starts_with(LOCK_MARK.as_bytes()))
    }

    /// Every name that the agent or the server makes in here, the lock (which goes last) left out.
    pub(super) fn known_entries(&self) -> Vec<PathBuf> {
        let made = [self.data(), self.secret(), self.config(), self.log(), self.audit(), self.pid()];
        let temporary = [self.secret(), self.config(), self.pid()].map(|path| files::temporary_name(&path));
        made.into_iter().chain(temporary).collect()
    }
}
