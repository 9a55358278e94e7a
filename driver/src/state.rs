//! What the driver remembers between commands, in the user's state directory: `$XDG_STATE_HOME/chordata`, else
//! `~/.local/state/chordata`.
//!
//! ```text
//! last                      the inventory or node of the last `up` or `demo --keep`
//! clusters/NAME/secret      of a cluster that runs on several machines (0600)
//! clusters/NAME/cluster     its id
//! clusters/NAME/known_hosts host keys accepted at first sight, where the inventory says so
//! managers/PORT/            the book of a manager that was not told where to keep it
//! loads/NAME.json           how far a load has come that was broken off
//! audit.log                 what was done, when, by whom
//! shell_history             what was typed at the shell (0600)
//! ```

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use chordata_rpc::Secret;
use chordata_rpc::service::ClusterId;
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Outcome};

/// The cluster that a command means when it does not say.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Last {
    /// This inventory (an absolute path).
    Inventory(PathBuf),
    /// This node.
    Node(String),
}

/// The user's state directory.
#[derive(Clone, Debug)]
pub(crate) struct State {
    root: PathBuf,
}

impl State {
    /// Finds the directory; it is made when something is kept.
    ///
    /// # Errors
    /// When the user has no home.
    pub(crate) fn of_user() -> Outcome<State> {
        let variable =
            |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = match (variable("XDG_STATE_HOME"), variable("HOME")) {
            (Some(state), _) => state,
            (None, Some(home)) => home.join(".local/state"),
            (None, None) => return Err(Failure::input("neither HOME nor XDG_STATE_HOME is set")),
        };
        Ok(State { root: root.join("chordata") })
    }

    /// Where a manager that listens on this port keeps its book.
    pub(crate) fn manager(&self, port: u16) -> PathBuf {
        self.root.join("managers").join(port.to_string())
    }

    /// The cluster of the last `up`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn last(&self) -> Outcome<Option<Last>> {
        let Some(text) = read(&self.root.join("last"))? else { return Ok(None) };
        let last = serde_json::from_str(&text);
        last.map(Some).map_err(|error| {
            Failure::failed(format!("{} is damaged ({error}): remove it", self.root.join("last").display()))
        })
    }

    /// Remembers a cluster.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn remember(&self, last: &Last) -> Outcome {
        let text = serde_json::to_string(last).map_err(Failure::failed)?;
        self.write(Path::new("last"), text.as_bytes())
    }

    /// Forgets it again, if it is this one.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub(crate) fn forget(&self, last: &Last) -> Outcome {
        if self.last()?.as_ref() == Some(last) {
            remove(&self.root.join("last"))?;
        }
        Ok(())
    }

    /// A cluster's own directory, made if there is none.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn cluster_directory(&self, name: &str) -> Outcome<PathBuf> {
        let path = self.root.join("clusters").join(name);
        make_directory(&path)?;
        Ok(path)
    }

    /// The id of a cluster: made the first time it is asked for.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub(crate) fn cluster_id(&self, name: &str) -> Outcome<ClusterId> {
        let path = self.cluster_directory(name)?.join("cluster");
        let text = read_or_make(&path, || Ok(ClusterId(random()?).to_string()))?;
        text.trim().parse().map_err(|error| {
            Failure::failed(format!("{} is damaged ({error}): move it away", path.display()))
        })
    }

    /// The secret of a cluster: made the first time it is asked for.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub(crate) fn cluster_secret(&self, name: &str) -> Outcome<Secret> {
        let path = self.cluster_directory(name)?.join("secret");
        let text = read_or_make(&path, || Ok(format!("{}{}", ClusterId(random()?), ClusterId(random()?))))?;
        Secret::new(&text).map_err(|error| Failure::failed(format!("{}: {error}", path.display())))
    }

    /// The secret as text, for writing it to hosts.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub(crate) fn cluster_secret_text(&self, name: &str) -> Outcome<String> {
        self.cluster_secret(name)?;
        let path = self.cluster_directory(name)?.join("secret");
        Ok(fs::read_to_string(path)?.trim().to_owned())
    }

    /// Forgets a cluster that was destroyed.
    ///
    /// # Errors
    /// When its directory cannot be removed.
    pub(crate) fn forget_cluster(&self, name: &str) -> Outcome {
        match fs::remove_dir_all(self.root.join("clusters").join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Where loads keep how far they have come; made if there is none.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn loads(&self) -> Outcome<PathBuf> {
        let path = self.root.join("loads");
        make_directory(&path)?;
        Ok(path)
    }

    /// Adds a line to the log of operations.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn audit(&self, line: &str) -> Outcome {
        make_directory(&self.root)?;
        let path = self.root.join("audit.log");
        let mut file = fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        writeln!(file, "{line}")?;
        Ok(())
    }

    /// Where the lines are that were typed at the shell.
    pub(crate) fn shell_history(&self) -> PathBuf {
        self.root.join("shell_history")
    }

    fn write(&self, name: &Path, bytes: &[u8]) -> Outcome {
        make_directory(&self.root)?;
        replace(&self.root.join(name), bytes)
    }
}

fn random() -> Outcome<[u8; 16]> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(Failure::failed)?;
    Ok(bytes)
}

fn make_directory(path: &Path) -> Outcome {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| Failure::failed(format!("{} cannot be made: {error}", path.display())))
}

fn read(path: &Path) -> Outcome<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::failed(format!("{} cannot be read: {error}", path.display()))),
    }
}

fn read_or_make(path: &Path, make: impl FnOnce() -> Outcome<String>) -> Outcome<String> {
    if let Some(text) = read(path)? {
        return Ok(text);
    }
    // Two commands at once: the first to link its file wins, both read that one.
    let text = make()?;
    let mut beside = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
    beside.write_all(text.as_bytes())?;
    beside.as_file().sync_all()?;
    match beside.persist_noclobber(path) {
        Ok(_) => Ok(text),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
            read(path)?.ok_or_else(|| Failure::failed(format!("{} vanished", path.display())))
        }
        Err(error) => Err(error.error.into()),
    }
}

fn replace(path: &Path, bytes: &[u8]) -> Outcome {
    let mut beside = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
    beside.write_all(bytes)?;
    beside.persist(path).map_err(|error| Failure::failed(error.error))?;
    Ok(())
}

fn remove(path: &Path) -> Outcome {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}
