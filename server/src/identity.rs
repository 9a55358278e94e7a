//! What a node keeps on disk: who it is, and every address that it has known.
//!
//! `identity.toml` (store id, incarnation, place, cluster) is written when the node first joins a ring and at each
//! start; `known.toml` whenever an address is learned. Both are replaced whole: written beside, synced, renamed, so
//! that a crash leaves the old or the new one. A lock on the directory keeps a second process out.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chordata_protocol::{Address, Id, Lease, Peer, Replication, Space};
use chordata_rpc::service::ClusterSettings;
use serde::{Deserialize, Serialize};

/// The layout of these files.
const FORMAT: u32 = 1;
/// While this is there, all else is being erased.
const LEFT: &str = "identity.left";

/// Who a node is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Names the directory's contents for ever: 128 random bits.
    pub store: u128,
    /// Counts starts of the process.
    pub incarnation: u64,
    /// Its place on the ring.
    pub id: Id,
    /// The cluster that it belongs to.
    pub cluster: ClusterSettings,
    /// The first view of chains that has it as a member: a later one without it means that it was removed.
    pub admitted: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct IdentityFile {
    format: u32,
    store: String,
    incarnation: u64,
    id: String,
    cluster: String,
    bits: u8,
    successors: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lease_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replication: Option<Replication>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    admitted: Option<u64>,
}

#[derive(Default, Serialize, Deserialize)]
struct KnownFile {
    #[serde(default)]
    known: Vec<KnownNode>,
}

#[derive(Serialize, Deserialize)]
struct KnownNode {
    address: String,
    id: String,
}

/// A data directory that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The file system refuses.
    #[error("the data directory {0} cannot be used: {1}")]
    Io(PathBuf, io::Error),
    /// Another process has it.
    #[error(
        "the data directory {0} is in use by another server: give each node a --data directory of its own"
    )]
    Locked(PathBuf),
    /// Somebody else wrote it, or a disk is broken.
    #[error("{0} is damaged: {1}. Move it away to start this node anew")]
    Damaged(PathBuf, String),
    /// A later version wrote it.
    #[error(
        "{0} has format {1}, this program knows format {FORMAT}: use the version that wrote it, or a later one"
    )]
    Newer(PathBuf, u32),
}

/// A node's directory, locked for this process.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    _lock: File,
}

impl DataDirectory {
    /// Opens the directory, and makes it if there is none.
    ///
    /// # Errors
    /// When it cannot be made or another process has it.
    pub fn open(path: &Path) -> Result<DataDirectory, DataError> {
        let failed = |error| DataError::Io(path.to_owned(), error);
        std::fs::create_dir_all(path).map_err(failed)?;
        let lock = path.join("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(lock).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {
                let directory = DataDirectory { path: path.to_owned(), _lock: lock };
                if path.join(LEFT).exists() {
                    directory.forget()?;
                }
                Ok(directory)
            }
            Err(std::fs::TryLockError::WouldBlock) => Err(DataError::Locked(path.to_owned())),
            Err(std::fs::TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// Who the node is; none if it has never been in a ring.
    ///
    /// # Errors
    /// When the file cannot be read or understood.
    pub fn identity(&self) -> Result<Option<Identity>, DataError> {
        let path = self.path.join("identity.toml");
        let Some(text) = self.read(&path)? else { return Ok(None) };
        let damaged = |reason: String| DataError::Damaged(path.clone(), reason);
        let format = text.parse::<toml::Table>().ok().and_then(|table| table.get("format")?.as_integer());
        if let Some(format) =
            format.and_then(|format| u32::try_from(format).ok()).filter(|format| *format > FORMAT)
        {
            return Err(DataError::Newer(path.clone(), format));
        }
        let file: IdentityFile = toml::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        let space = Space::new(file.bits).ok_or_else(|| damaged(format!("{} bits", file.bits)))?;
        Ok(Some(Identity {
            store: u128::from_str_radix(&file.store, 16).map_err(|error| damaged(error.to_string()))?,
            incarnation: file.incarnation,
            id: space.parse(&file.id).map_err(|error| damaged(error.to_string()))?,
            cluster: ClusterSettings {
                cluster: file.cluster.parse().map_err(damaged)?,
                bits: file.bits,
                successors: file.successors,
                replication: file.replication,
                lease: Lease {
                    lasts: file.lease_ms.map_or(Lease::default().lasts, Duration::from_millis),
                    ..Lease::default()
                },
            },
            admitted: file.admitted,
        }))
    }

    /// Keeps who the node is.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn save_identity(&self, identity: &Identity) -> Result<(), DataError> {
        let file = IdentityFile {
            format: FORMAT,
            store: format!("{:032x}", identity.store),
            incarnation: identity.incarnation,
            id: identity.id.to_literal(),
            cluster: identity.cluster.cluster.to_string(),
            bits: identity.cluster.bits,
            successors: identity.cluster.successors,
            lease_ms: u64::try_from(identity.cluster.lease.lasts.as_millis()).ok(),
            replication: identity.cluster.replication,
            admitted: identity.admitted,
        };
        self.replace("identity.toml", &file)
    }

    /// The addresses that the node knew.
    ///
    /// # Errors
    /// When the file cannot be read or understood.
    pub fn known(&self, space: Space) -> Result<Vec<Peer>, DataError> {
        let path = self.path.join("known.toml");
        let Some(text) = self.read(&path)? else { return Ok(Vec::new()) };
        let damaged = |reason: String| DataError::Damaged(path.clone(), reason);
        let file: KnownFile = toml::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        file.known
            .iter()
            .map(|node| {
                let id = space.parse(&node.id).map_err(|error| damaged(error.to_string()))?;
                Ok(Peer::new(id, Address::new(&node.address)))
            })
            .collect()
    }

    /// Keeps the addresses that the node knows.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn save_known(&self, peers: &[Peer]) -> Result<(), DataError> {
        let known = peers
            .iter()
            .map(|peer| KnownNode { address: peer.address.to_string(), id: peer.id.to_literal() })
            .collect();
        self.replace("known.toml", &KnownFile { known })
    }

    /// Forgets who the node was: it has left the ring for good. Once begun, it is ended when the directory is opened again,
    /// if this process does not get so far: nobody finds an identity without its keys, or keys without their identity.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn forget(&self) -> Result<(), DataError> {
        let erase = || -> io::Result<()> {
            match std::fs::rename(self.path.join("identity.toml"), self.path.join(LEFT)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // What is kept under no identity is of no use to anybody either.
                    File::create(self.path.join(LEFT))?.sync_all()?;
                }
                renamed => renamed?,
            }
            self.sync()?;
            for name in ["store", "raft"] {
                let left = self.path.join(format!("{name}.left"));
                absent_is_fine(std::fs::remove_dir_all(&left))?;
                absent_is_fine(std::fs::rename(self.path.join(name), &left))?;
                absent_is_fine(std::fs::remove_dir_all(&left))?;
            }
            absent_is_fine(std::fs::remove_file(self.path.join("known.toml")))?;
            self.sync()?;
            absent_is_fine(std::fs::remove_file(self.path.join(LEFT)))?;
            self.sync()
        };
        erase().map_err(|error| DataError::Io(self.path.clone(), error))
    }

    /// Where the keys are.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn store(&self) -> Result<PathBuf, DataError> {
        self.directory("store")
    }

    /// Where the state of the coordinator's group is.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn raft(&self) -> Result<PathBuf, DataError> {
        self.directory("raft")
    }

    /// Removes the group's state.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn forget_group(&self) -> Result<(), DataError> {
        let path = self.path.join("raft");
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(DataError::Io(path, error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn directory(&self, name: &str) -> Result<PathBuf, DataError> {
        let path = self.path.join(name);
        std::fs::create_dir_all(&path).map_err(|error| DataError::Io(path.clone(), error))?;
        self.sync().map_err(|error| DataError::Io(path.clone(), error))?;
        Ok(path)
    }

    fn read(&self, path: &Path) -> Result<Option<String>, DataError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(DataError::Io(self.path.clone(), error)),
        }
    }

    fn replace(&self, name: &str, contents: &impl Serialize) -> Result<(), DataError> {
        let text = toml::to_string(contents)
            .map_err(|error| DataError::Io(self.path.clone(), io::Error::other(error)))?;
        let write = || -> io::Result<()> {
            let beside = self.path.join(format!("{name}.new"));
            let mut file = File::create(&beside)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&beside, self.path.join(name))?;
            self.sync()
        };
        write().map_err(|error| DataError::Io(self.path.clone(), error))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chordata_rpc::service::ClusterId;

    fn identity() -> Identity {
        let cluster = ClusterSettings {
            cluster: ClusterId([7; 16]),
            bits: 160,
            successors: 4,
            replication: Some(chordata_protocol::Replication::default()),
            lease: Lease::default(),
        };
        Identity { store: 5, incarnation: 3, id: Id::from_u128(42), cluster, admitted: Some(9) }
    }

    #[test]
    fn what_is_kept_is_read_back_and_forgotten_on_departure() {
        let place = tempfile::tempdir().unwrap();
        let directory = DataDirectory::open(place.path()).unwrap();
        assert_eq!(directory.identity().unwrap(), None);
        directory.save_identity(&identity()).unwrap();
        let peers = [Peer::new(Id::from_u128(1), Address::new("a:1"))];
        directory.save_known(&peers).unwrap();
        assert_eq!(directory.identity().unwrap(), Some(identity()));
        assert_eq!(directory.known(Space::default()).unwrap(), peers);
        directory.forget().unwrap();
        assert_eq!(directory.identity().unwrap(), None);
    }

    #[test]
    fn an_erasure_that_was_begun_is_ended_by_the_next_process() {
        let place = tempfile::tempdir().unwrap();
        let directory = DataDirectory::open(place.path()).unwrap();
        directory.save_identity(&identity()).unwrap();
        std::fs::write(directory.store().unwrap().join("keys"), "k").unwrap();
        // A crash right after the first step: there is no identity any more, and the keys are still there.
        std::fs::rename(place.path().join("identity.toml"), place.path().join(LEFT)).unwrap();
        drop(directory);
        let directory = DataDirectory::open(place.path()).unwrap();
        assert_eq!(directory.identity().unwrap(), None);
        let names: Vec<_> =
            std::fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["lock"]);
    }

    #[test]
    fn a_second_process_a_newer_format_and_damage_are_refused() {
        let place = tempfile::tempdir().unwrap();
        let directory = DataDirectory::open(place.path()).unwrap();
        assert!(matches!(DataDirectory::open(place.path()), Err(DataError::Locked(_))));
        std::fs::write(place.path().join("identity.toml"), "format = 2\nnew = true").unwrap();
        assert!(matches!(directory.identity(), Err(DataError::Newer(_, 2))));
        std::fs::write(place.path().join("identity.toml"), "format = 1\nid =").unwrap();
        assert!(matches!(directory.identity(), Err(DataError::Damaged(..))));
    }
}
