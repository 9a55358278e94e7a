//! How requests fail, by what the caller does next.

use chordata_protocol::BadInput;
use chordata_rpc::CallFailure;
use chordata_rpc::service::Error;
use tarpc::client::RpcError;

/// Why a request has no result.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Failure {
    /// Mend the request. Definitely not done.
    #[error(transparent)]
    BadInput(#[from] BadInput),
    /// The request makes no sense to this cluster as it is now. Definitely not done.
    #[error("{0}")]
    Refused(Error),
    /// Mend address or credentials, or start the servers. Definitely not done.
    #[error("{0}")]
    Unreachable(String),
    /// Try again later. Definitely not done.
    #[error("{0}")]
    Unavailable(String),
    /// Look before trying again: it may or may not have been done.
    #[error("outcome unknown: {0}")]
    Unknown(String),
    /// Nothing, or try again: it is done, but fewer copies than wanted are known to be stored.
    #[error("{0}")]
    FewerCopies(Error),
    /// Look before trying again: whether it was done is not known any more. In this view it may be sent anew.
    #[error("outcome unknown: the write was sent so long ago that nobody knows any more whether it was done")]
    TooOld(u64),
    /// A client needs at least one node's address.
    #[error("no node's address was given")]
    NoNodes,
}

impl Failure {
    /// From a call that has no answer.
    pub fn from_call(error: RpcError) -> Failure {
        match CallFailure::from(error) {
            failure @ (CallFailure::Unreachable(..) | CallFailure::Rejected(..)) => {
                Failure::Unreachable(failure.to_string())
            }
            failure if failure.is_certain() => Failure::Unavailable(failure.to_string()),
            failure => Failure::Unknown(failure.to_string()),
        }
    }

    /// The same for a request that changes nothing: whether it was carried out does not matter.
    #[must_use]
    pub fn of_reading(self) -> Failure {
        match self {
            Failure::Unknown(reason) => Failure::Unreachable(reason),
            other => other,
        }
    }

    /// Is it certain that nothing was done?
    pub fn is_certain(&self) -> bool {
        !matches!(self, Failure::Unknown(_) | Failure::FewerCopies(_) | Failure::TooOld(_))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match error {
            Error::BadInput(bad) => Failure::BadInput(bad),
            Error::Unknown(reason) => Failure::Unknown(reason),
            Error::TooOld(view) => Failure::TooOld(view),
            error @ Error::FewerCopies { .. } => Failure::FewerCopies(error),
            Error::Unavailable(reason) => Failure::Unavailable(reason),
            error @ (Error::Overloaded | Error::NotMember | Error::OnStandby | Error::NotOwner(_)) => {
                Failure::Unavailable(error.to_string())
            }
            error @ (Error::NoSuchNumber { .. }
            | Error::NoSuchAttribute(_)
            | Error::IdTaken(..)
            | Error::NotSupported(_)
            | Error::Barred(_)
            | Error::AlreadyMember(..)
            | Error::RingFull(_)) => Failure::Refused(error),
        }
    }
}
