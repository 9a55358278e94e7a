//! Why a connection was not let in: each reason with what to do about it, the same on both sides.

use std::io;
use std::time::Duration;

use crate::service::ClusterId;

/// Why a connection ended before its first call. `ours` is always the side that has the error in its hands.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PreambleError {
    /// Check the address and the port.
    #[error(
        "it is not Chordata that is at the other end (it began with {0}): check the address and the port"
    )]
    NotChordata(String),
    /// Install the same release on both sides.
    #[error(
        "the other end speaks version {theirs} of the protocol and this one version {ours}: install the same release \
         of chordata on both"
    )]
    WrongVersion {
        /// This side's.
        ours: u16,
        /// The other side's.
        theirs: u16,
    },
    /// Check the address, or forget what cluster it was thought to be.
    #[error(
        "the other end is of cluster {theirs}, and this one of cluster {ours}: check the address; a node changes its \
         cluster only with an empty data directory"
    )]
    WrongCluster {
        /// This side's.
        ours: ClusterId,
        /// The other side's.
        theirs: ClusterId,
    },
    /// Ask another node of the cluster: this server is of none at the moment.
    #[error(
        "the server is on standby, of no cluster at the moment, and the connecting side is of cluster {0}: ask a node of \
         that cluster"
    )]
    NoCluster(ClusterId),
    /// Give the cluster's secret to the connecting side.
    #[error("the cluster has a secret and the connecting side gave none: give it the cluster's secret")]
    SecretRequired,
    /// Start the server with the secret, or connect without it.
    #[error(
        "the connecting side has a secret and the server none, so that it cannot prove that it is of the cluster: \
         start the server with the secret, or connect without"
    )]
    SecretNotExpected,
    /// Use the same secret on both sides.
    #[error("the two ends have different secrets: give both the cluster's secret")]
    WrongSecret,
    /// Install the same release on both sides.
    #[error(
        "the server does not know the service number {0}: install the same release of chordata on both ends"
    )]
    ServiceUnknown(u8),
    /// Check the address and the port: nodes and managers are different programs.
    #[error(
        "the server is Chordata, but not for that (a manager is no node, and a node no manager): check the address and \
         the port"
    )]
    NotOffered,
    /// Try again later, or raise the server's limit.
    #[error("the server has as many connections as it allows: try again later, or raise its limit")]
    TooManyConnections,
    /// See whether the other end is overloaded or stuck, or is no Chordata server at all.
    #[error("the other end did not say who it is within {0:?}: it is stuck, overloaded, or not Chordata")]
    TimedOut(Duration),
    /// See whether the other end is still there.
    #[error("the connection broke before the other end had said who it is: {1}")]
    Io(io::ErrorKind, String),
}

impl PreambleError {
    /// May the same attempt succeed later, with nothing mended by anybody?
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            PreambleError::TooManyConnections
                | PreambleError::NoCluster(_)
                | PreambleError::TimedOut(_)
                | PreambleError::Io(..)
        )
    }
}

impl From<io::Error> for PreambleError {
    fn from(error: io::Error) -> PreambleError {
        let message = match error.kind() {
            io::ErrorKind::UnexpectedEof => String::from("it closed the connection"),
            _ => error.to_string(),
        };
        PreambleError::Io(error.kind(), message)
    }
}
