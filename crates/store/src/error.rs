//! What can go wrong in a store, by what the caller does next.

use chordata_protocol::{Id, Key};

/// Why a store did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Fetch this record again from a replica and put it: its checksum is wrong. All other records can be read.
    #[error("the stored record of {key} at {id:?} is damaged")]
    Damaged {
        /// Where it is.
        id: Id,
        /// Which key.
        key: Key,
    },
    /// Write this note again from what is known elsewhere: its checksum is wrong.
    #[error("the stored note {:?} is damaged", String::from_utf8_lossy(.name))]
    DamagedNote {
        /// Which.
        name: Vec<u8>,
    },
    /// Restore this file, or start with an empty directory.
    #[error("{file} is damaged: {reason}")]
    DamagedFile {
        /// The file, with its directory.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Stop the other process, or take another directory.
    #[error(
        "the directory {directory} is in use by another process: stop that one, or use another directory"
    )]
    InUse {
        /// Which.
        directory: String,
    },
    /// Take a newer version of this program: this one would damage what it does not understand.
    #[error("{file} has format {found}, this program knows formats up to {known}: use a newer version of it")]
    NewerFormat {
        /// The file, with its directory.
        file: String,
        /// Its format.
        found: u32,
        /// The newest that is understood.
        known: u32,
    },
    /// Take another directory: this one holds something else.
    #[error(
        "the directory {directory} holds {file}, but it is no store of this program: use another directory"
    )]
    NotAStore {
        /// Which.
        directory: String,
        /// What was found there.
        file: String,
    },
    /// Mend the request. Nothing was changed.
    #[error("the key has {0} bytes: at most {max} are possible", max = chordata_protocol::key::KEY_BYTES_MAX)]
    KeyTooLong(usize),
    /// Stop the process: what is on the disk is no longer known. Nothing that this store says can be relied on, and
    /// trying again can lose data. What was reported durable is there after a restart.
    #[error("the store has failed: {0}")]
    Fatal(String),
}

impl StoreError {
    pub(crate) fn fatal(doing: &str, error: impl std::fmt::Display) -> StoreError {
        StoreError::Fatal(format!("{doing}: {error}"))
    }

    /// Can the process go on? True for everything that is wrong with one record or one request only.
    pub fn is_survivable(&self) -> bool {
        match self {
            StoreError::Damaged { .. } | StoreError::DamagedNote { .. } | StoreError::KeyTooLong(_) => true,
            StoreError::DamagedFile { .. }
            | StoreError::InUse { .. }
            | StoreError::NewerFormat { .. }
            | StoreError::NotAStore { .. }
            | StoreError::Fatal(_) => false,
        }
    }
}
