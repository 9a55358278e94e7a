//! The book on disk: one file, replaced whole (written beside, synced, renamed), in a directory that one process has.
//!
//! A manager that is killed at any moment leaves the old book or the new one.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::book::Book;

/// The layout of the file.
const FORMAT: u32 = 1;
const NAME: &str = "manager.json";

/// A directory that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The file system refuses.
    #[error("the manager's directory {0} cannot be used: {1}")]
    Io(PathBuf, io::Error),
    /// Another process has it.
    #[error(
        "the manager's directory {0} is in use by another manager: give each a --data directory of its own"
    )]
    Locked(PathBuf),
    /// Somebody else wrote it, or a disk is broken.
    #[error("{0} is damaged: {1}. Move it away to begin with no peers")]
    Damaged(PathBuf, String),
    /// A later version wrote it.
    #[error(
        "{0} has format {1}, this program knows format {FORMAT}: use the version that wrote it, or a later one"
    )]
    Newer(PathBuf, u32),
}

#[derive(Serialize, Deserialize)]
struct Page {
    format: u32,
    book: Book,
}

/// A manager's directory, locked for this process.
#[derive(Debug)]
pub struct Shelf {
    path: PathBuf,
    _lock: File,
}

impl Shelf {
    /// Opens the directory, and makes it if there is none.
    ///
    /// # Errors
    /// When it cannot be made, or another process has it.
    pub fn open(path: &Path) -> Result<Shelf, DiskError> {
        let failed = |error| DiskError::Io(path.to_owned(), error);
        std::fs::create_dir_all(path).map_err(failed)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path.join("lock"));
        let lock = lock.map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Shelf { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(DiskError::Locked(path.to_owned())),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// The book; an empty one, if none was kept yet.
    ///
    /// # Errors
    /// When it cannot be read or understood.
    pub fn read(&self) -> Result<Book, DiskError> {
        let path = self.path.join(NAME);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Book::default()),
            Err(error) => return Err(DiskError::Io(self.path.clone(), error)),
        };
        let damaged = |error: serde_json::Error| DiskError::Damaged(path.clone(), error.to_string());
        let any: serde_json::Value = serde_json::from_slice(&text).map_err(damaged)?;
        let format = any
            .get("format")
            .and_then(serde_json::Value::as_u64)
            .and_then(|format| u32::try_from(format).ok());
        if let Some(format) = format.filter(|format| *format > FORMAT) {
            return Err(DiskError::Newer(path, format));
        }
        let page: Page = serde_json::from_value(any).map_err(damaged)?;
        Ok(page.book)
    }

    /// Keeps the book; it is on disk when this returns.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn keep(&self, book: &Book) -> Result<(), DiskError> {
        let write = || -> io::Result<()> {
            let text = serde_json::to_vec_pretty(&Page { format: FORMAT, book: book.clone() })?;
            let beside = self.path.join(format!("{NAME}.new"));
            let mut file = File::create(&beside)?;
            file.write_all(&text)?;
            file.sync_all()?;
            std::fs::rename(&beside, self.path.join(NAME))?;
            File::open(&self.path)?.sync_all()
        };
        write().map_err(|error| DiskError::Io(self.path.clone(), error))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;
    use crate::book::{Peer, Work};
    use chordata_rpc::manager::PeerState;
    use chordata_rpc::service::ClusterId;

    #[test]
    fn a_book_is_read_as_it_was_kept_and_only_by_one_process() {
        let place = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(place.path()).unwrap();
        assert_eq!(shelf.read().unwrap(), Book::default());
        let mut book = Book::default();
        let peer = Peer { host: "h".to_owned(), manager_port: 1, peer_port: 2, state: PeerState::Free };
        book.peers.insert("a".to_owned(), peer);
        let (names, cluster) = (vec!["a".to_owned()], ClusterId([3; 16]));
        book.work = Some(Work::Undo { names, cluster, reason: "no".to_owned() });
        shelf.keep(&book).unwrap();
        assert_eq!(shelf.read().unwrap(), book);
        assert!(matches!(Shelf::open(place.path()), Err(DiskError::Locked(_))));
    }

    #[test]
    fn what_was_half_written_is_not_read_and_what_is_damaged_or_newer_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(place.path()).unwrap();
        std::fs::write(place.path().join("manager.json.new"), "{").unwrap();
        assert_eq!(shelf.read().unwrap(), Book::default());
        std::fs::write(place.path().join(NAME), "{").unwrap();
        assert!(matches!(shelf.read(), Err(DiskError::Damaged(..))));
        std::fs::write(place.path().join(NAME), r#"{"format": 2, "shelf": 1}"#).unwrap();
        assert!(matches!(shelf.read(), Err(DiskError::Newer(_, 2))));
    }
}
