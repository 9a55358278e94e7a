//! The preamble's bytes: four messages of fixed sizes, coded by hand.
//!
//! The first ten bytes of the first two messages (magic and version) are the same in every version for ever; so each
//! side can tell a peer of any other version what is wrong. All numbers are big-endian.
//!
//! ```text
//! greeting  64 B, both ways   magic 8 | version 2 | subject 1 | flags 1 | cluster 16 | nonce 32 | zero 4
//!                             subject: of the connecting side the service, of the accepting side its verdict
//!                             flags:   1 the cluster is known, 2 there is a secret
//! proof     32 B, to server   only where both have a secret
//! ruling    33 B, to client   after a proof: verdict 1 | proof 32
//! ```

use tokio::io::{AsyncRead, AsyncReadExt};

use super::error::PreambleError;
use crate::credentials::PROOF_BYTES;
use crate::service::ClusterId;

/// What every connection begins with, both ways.
pub const MAGIC: [u8; 8] = *b"CHORDATA";

/// Bytes that all versions have in common: magic and version.
const COMMON_BYTES: usize = 10;
/// Bytes of a greeting.
pub(super) const GREETING_BYTES: usize = 64;
/// Bytes of a ruling.
pub(super) const RULING_BYTES: usize = 1 + PROOF_BYTES;

const FLAG_CLUSTER: u8 = 1;
const FLAG_SECRET: u8 = 2;

/// What the accepting side says to a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Welcome = 0,
    WrongVersion = 1,
    WrongCluster = 2,
    SecretRequired = 3,
    SecretNotExpected = 4,
    WrongSecret = 5,
    ServiceUnknown = 6,
    TooManyConnections = 7,
    NoCluster = 8,
    NotOffered = 9,
}

impl Verdict {
    const ALL: [Verdict; 10] = [
        Verdict::Welcome,
        Verdict::WrongVersion,
        Verdict::WrongCluster,
        Verdict::SecretRequired,
        Verdict::SecretNotExpected,
        Verdict::WrongSecret,
        Verdict::ServiceUnknown,
        Verdict::TooManyConnections,
        Verdict::NoCluster,
        Verdict::NotOffered,
    ];

    pub(super) fn from_byte(byte: u8) -> Option<Verdict> {
        Verdict::ALL.into_iter().find(|verdict| *verdict as u8 == byte)
    }
}

/// The first message of either side.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Greeting {
    pub(super) version: u16,
    pub(super) subject: u8,
    pub(super) cluster: Option<ClusterId>,
    pub(super) has_secret: bool,
    pub(super) nonce: [u8; 32],
}

impl Greeting {
    pub(super) fn to_bytes(&self) -> [u8; GREETING_BYTES] {
        let mut bytes = [0; GREETING_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&self.version.to_be_bytes());
        bytes[10] = self.subject;
        if let Some(ClusterId(cluster)) = self.cluster {
            bytes[11] |= FLAG_CLUSTER;
            bytes[12..28].copy_from_slice(&cluster);
        }
        if self.has_secret {
            bytes[11] |= FLAG_SECRET;
        }
        bytes[28..60].copy_from_slice(&self.nonce);
        bytes
    }

    fn from_bytes(bytes: &[u8; GREETING_BYTES]) -> Greeting {
        let mut cluster = [0; 16];
        cluster.copy_from_slice(&bytes[12..28]);
        let mut nonce = [0; 32];
        nonce.copy_from_slice(&bytes[28..60]);
        Greeting {
            version: u16::from_be_bytes([bytes[8], bytes[9]]),
            subject: bytes[10],
            cluster: (bytes[11] & FLAG_CLUSTER != 0).then_some(ClusterId(cluster)),
            has_secret: bytes[11] & FLAG_SECRET != 0,
            nonce,
        }
    }

    /// Reads a greeting of version `ours`; of a greeting of another version no more than its first ten bytes.
    ///
    /// # Errors
    /// [`PreambleError::NotChordata`] at the first byte that is not the magic's, without waiting for more;
    /// [`PreambleError::WrongVersion`]; and when the stream fails or ends.
    pub(super) async fn read<S: AsyncRead + Unpin>(
        stream: &mut S,
        ours: u16,
    ) -> Result<(Greeting, [u8; GREETING_BYTES]), PreambleError> {
        let mut bytes = [0; GREETING_BYTES];
        let mut have = 0;
        while have < COMMON_BYTES {
            let count = stream.read(&mut bytes[have..COMMON_BYTES]).await?;
            if count == 0 {
                return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
            }
            have += count;
            let magic = have.min(MAGIC.len());
            if bytes[..magic] != MAGIC[..magic] {
                return Err(PreambleError::NotChordata(format!("\"{}\"", bytes[..have].escape_ascii())));
            }
        }
        let theirs = u16::from_be_bytes([bytes[8], bytes[9]]);
        if theirs != ours {
            return Err(PreambleError::WrongVersion { ours, theirs });
        }
        stream.read_exact(&mut bytes[COMMON_BYTES..]).await?;
        Ok((Greeting::from_bytes(&bytes), bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_greeting_is_read_back_as_it_was_written(
            subject: u8, cluster: Option<[u8; 16]>, has_secret: bool, nonce: [u8; 32],
        ) {
            let greeting =
                Greeting { version: 1, subject, cluster: cluster.map(ClusterId), has_secret, nonce };
            let bytes = greeting.to_bytes();
            let read = futures::executor::block_on(Greeting::read(&mut &bytes[..], 1));
            prop_assert_eq!(read, Ok((greeting, bytes)));
        }

        #[test]
        fn any_bytes_are_an_error_or_a_greeting_but_never_a_panic(bytes: Vec<u8>, magic: bool) {
            let bytes = if magic { [&MAGIC[..], &bytes].concat() } else { bytes };
            let mut rest = &bytes[..];
            let read = futures::executor::block_on(Greeting::read(&mut rest, 1));
            prop_assert!(read.is_err() || bytes.len() - rest.len() == GREETING_BYTES);
        }
    }

    #[test]
    fn what_is_not_ours_is_known_by_its_first_byte() {
        let mut stream = &b"GET / HTTP/1.1\r\n"[..];
        let error = futures::executor::block_on(Greeting::read(&mut stream, 1)).unwrap_err();
        assert_eq!(error, PreambleError::NotChordata(String::from("\"GET / HTTP\"")));
    }

    #[test]
    fn of_another_version_only_the_common_part_is_read() {
        let mut stream = &b"CHORDATA\x00\x09whatever version 9 may say"[..];
        let error = futures::executor::block_on(Greeting::read(&mut stream, 1)).unwrap_err();
        assert_eq!(error, PreambleError::WrongVersion { ours: 1, theirs: 9 });
        assert_eq!(stream, b"whatever version 9 may say");
    }
}
