//! How work on files fails, by what the caller does next.

use std::io;
use std::path::Path;

use chordata_client::Failure as ClientFailure;

use crate::name::{BadName, FileName};

/// Why something was not done with a file.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Failure {
    /// Mend the name.
    #[error(transparent)]
    BadName(#[from] BadName),
    /// There is no such file.
    #[error("there is no file {0}")]
    NotFound(FileName),
    /// The file is not as the condition says: nothing was changed.
    #[error("{0}")]
    Condition(String),
    /// Look at what is there now: another put of this name was first. Nothing was changed, and nothing of this one is left.
    #[error(
        "{0}: another put of this name was committed first (or this one was tidied away): nothing was changed"
    )]
    Superseded(FileName),
    /// Put it again. Eventual mode: another client had taken part in this upload, and some of its chunks are not there any
    /// more. Nothing was changed; what is left of it waits to be tidied away.
    #[error(
        "{0}: another put of the same source has ended this upload, and chunks of it are gone: nothing was changed. Put it \
         again; `chordata file tidy` removes what is left of this one when it is a day old"
    )]
    Shared(FileName),
    /// Do what the inner failure says, and tidy.
    #[error(
        "{what}: {failure}. Chunks that belong to no file any more may be left: `chordata file tidy` removes them (in \
         eventual mode when they are a day old)"
    )]
    Untidy {
        /// How far it came.
        what: String,
        /// Why not further.
        failure: Box<Failure>,
    },
    /// Begin again: the file was replaced or removed while it was read.
    #[error("{0} was replaced or removed while it was read")]
    Changed(FileName),
    /// Restore the file from elsewhere: part of it is lost or wrong, and no replica has it right.
    #[error("{name} is damaged: {what} {reason}")]
    Broken {
        /// Which file.
        name: FileName,
        /// Which part of it.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// Put it again when nobody writes to it: the source changed while it was read. Nothing was changed in the cluster.
    #[error("{0}")]
    SourceChanged(String),
    /// Cut it: it is larger than a manifest can say.
    #[error("a file of more than {0} chunks has no room in a manifest")]
    TooLarge(u64),
    /// Mend the request.
    #[error("{0}")]
    NotSupported(String),
    /// Look at the entry: it is none that this program understands.
    #[error("the entry of {name} cannot be read: {reason}")]
    BadEntry {
        /// Which file.
        name: FileName,
        /// What is wrong.
        reason: String,
    },
    /// Look at the local file or directory.
    #[error("{0}")]
    Local(String),
    /// Do what the client's failure says. What was uploaded so far stays, and can be resumed.
    #[error(transparent)]
    Cluster(#[from] ClientFailure),
}

impl Failure {
    /// A local file could not be used.
    pub fn local(path: &Path, error: &io::Error) -> Failure {
        Failure::Local(format!("{}: {error}", path.display()))
    }

    /// A step that removes a file, or puts one in the place of another, failed. It may have been done all the same: then
    /// what belonged to the one before is left.
    pub(crate) fn untidy(self, what: impl FnOnce() -> String) -> Failure {
        match self {
            Failure::Cluster(failure) if !failure.is_certain() => {
                Failure::Untidy { what: what(), failure: Box::new(failure.into()) }
            }
            other => other,
        }
    }

    /// A task of ours ended without an answer.
    pub(crate) fn task(error: &tokio::task::JoinError) -> Failure {
        Failure::Local(format!("a task ended early: {error}"))
    }
}
