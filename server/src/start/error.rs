//! Why a node did not start.

use crate::identity::DataError;
use crate::settings::SettingsError;

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Mend the settings.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Mend or move the data directory.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Mend or move the store.
    #[error("{0}")]
    Store(String),
    /// Listen elsewhere.
    #[error("{0}")]
    Listen(String),
    /// Nobody to join answered in time.
    #[error("no ring to join: {0}")]
    NoRing(String),
    /// The ring does not take this node.
    #[error("{0}")]
    NotAdmitted(String),
    /// The ring does not take this node with the store that it has, and never will.
    #[error("{0}")]
    Forgotten(String),
    /// Nothing: it was told to give up.
    #[error("it was told to leave before it was in the ring")]
    Cancelled,
    /// The operating system gives no randomness.
    #[error("the operating system gives no random bits: {0}")]
    Random(String),
}

impl StartError {
    /// The exit code of a server that did not start: 2 bad settings, 4 no ring, 1 all else.
    pub fn exit_code(&self) -> u8 {
        match self {
            StartError::Settings(_) => 2,
            StartError::NoRing(_) => 4,
            StartError::Data(_)
            | StartError::Store(_)
            | StartError::Listen(_)
            | StartError::NotAdmitted(_)
            | StartError::Forgotten(_)
            | StartError::Cancelled
            | StartError::Random(_) => 1,
        }
    }
}
