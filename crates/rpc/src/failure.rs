//! How calls fail, by what the caller does next; above all: may it have been carried out?
//!
//! Methods of tarpc's stubs return [`RpcError`], whose variants do not say that. The stubs of [`crate::pool`] put a
//! [`CallFailure`] inside, and `?` (or `CallFailure::from`) takes it out again.

use std::time::Duration;

use chordata_protocol::{Address, CallError};
use tarpc::client::RpcError;

use crate::preamble::PreambleError;

/// Why a call has no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CallFailure {
    /// Ask another node, or the same one later. Certainly not carried out: nobody answers there.
    #[error("{0} cannot be reached: {1}")]
    Unreachable(Address, String),
    /// Mend the configuration. Certainly not carried out.
    #[error("{0} cannot be used: {1}")]
    Rejected(Address, PreambleError),
    /// Try again later, more slowly. Certainly not carried out.
    #[error("{0} has too much to do: {1}")]
    Overloaded(Address, String),
    /// Ask for less at once. Certainly not carried out: nothing was sent.
    #[error("the request cannot be sent: {0}")]
    TooLong(String),
    /// Look before trying again: it may or may not have been carried out.
    #[error("{0} did not answer within {1:?}")]
    TimedOut(Address, Duration),
    /// Look before trying again: it may or may not have been carried out.
    #[error("the connection to {0} was lost before it answered: {1}")]
    Lost(Address, String),
    /// Look before trying again: it may or may not have been carried out, and its answer cannot be sent or read.
    #[error("{0} could not answer: {1}")]
    NoAnswer(Address, String),
}

impl CallFailure {
    /// Is it certain that the request was not carried out?
    pub fn is_certain(&self) -> bool {
        match self {
            CallFailure::Unreachable(..)
            | CallFailure::Rejected(..)
            | CallFailure::Overloaded(..)
            | CallFailure::TooLong(_) => true,
            CallFailure::TimedOut(..) | CallFailure::Lost(..) | CallFailure::NoAnswer(..) => false,
        }
    }

    /// A preamble that failed, as a failed call.
    pub(crate) fn from_preamble(address: &Address, error: PreambleError) -> CallFailure {
        match error {
            PreambleError::TooManyConnections => CallFailure::Overloaded(address.clone(), error.to_string()),
            passing if passing.is_passing() => CallFailure::Unreachable(address.clone(), passing.to_string()),
            lasting => CallFailure::Rejected(address.clone(), lasting),
        }
    }

    /// An error of tarpc's client. `encoded`: had the request been encoded, so that it may have been sent?
    pub(crate) fn from_tarpc(
        address: &Address,
        error: RpcError,
        encoded: bool,
        limit: Duration,
    ) -> CallFailure {
        let address = address.clone();
        match error {
            RpcError::DeadlineExceeded => CallFailure::TimedOut(address, limit),
            RpcError::Shutdown if encoded => {
                CallFailure::Lost(address, String::from("the other end closed it"))
            }
            RpcError::Channel(error) if encoded => CallFailure::Lost(address, with_sources(&error)),
            RpcError::Send(error) if encoded || error.is::<CallFailure>() => {
                match error.downcast::<CallFailure>() {
                    Ok(failure) => *failure,
                    Err(error) => CallFailure::TooLong(error.to_string()),
                }
            }
            RpcError::Shutdown | RpcError::Channel(_) | RpcError::Send(_) => {
                CallFailure::Unreachable(address, String::from("the other end closed the connection"))
            }
            RpcError::Server(error) if error.kind == std::io::ErrorKind::WouldBlock => {
                CallFailure::Overloaded(address, String::from("too many calls at once on one connection"))
            }
            RpcError::Server(error) => CallFailure::NoAnswer(address, error.detail),
        }
    }
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// What the stubs return: tarpc's error type with ours inside.
impl From<CallFailure> for RpcError {
    fn from(failure: CallFailure) -> RpcError {
        RpcError::Send(Box::new(failure))
    }
}

/// Takes out what the stubs of the pool put in. Errors of any other stub become the nearest, with doubt.
impl From<RpcError> for CallFailure {
    fn from(error: RpcError) -> CallFailure {
        CallFailure::from_tarpc(&Address::new("the peer"), error, true, Duration::ZERO)
    }
}

/// For the protocol, which knows two cases.
impl From<CallFailure> for CallError {
    fn from(failure: CallFailure) -> CallError {
        if failure.is_certain() { CallError::Unreachable } else { CallError::TimedOut }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_comes_out_of_tarpcs_error_as_it_went_in() {
        let failure = CallFailure::TimedOut(Address::new("a:1"), Duration::from_secs(1));
        assert_eq!(CallFailure::from(RpcError::from(failure.clone())), failure);
    }

    #[test]
    fn a_lost_connection_is_certain_only_if_nothing_was_sent() {
        let address = Address::new("a:1");
        let sent = CallFailure::from_tarpc(&address, RpcError::Shutdown, true, Duration::ZERO);
        assert_eq!(CallError::from(sent), CallError::TimedOut);
        let unsent = CallFailure::from_tarpc(&address, RpcError::Shutdown, false, Duration::ZERO);
        assert_eq!(CallError::from(unsent), CallError::Unreachable);
    }

    #[test]
    fn a_full_server_asks_for_patience_and_a_wrong_cluster_for_mending() {
        let address = Address::new("a:1");
        let full = CallFailure::from_preamble(&address, PreambleError::TooManyConnections);
        assert!(matches!(full, CallFailure::Overloaded(..)));
        let wrong = CallFailure::from_preamble(&address, PreambleError::WrongSecret);
        assert_eq!(
            wrong.to_string(),
            "a:1 cannot be used: the two ends have different secrets: give both the cluster's secret"
        );
    }
}
