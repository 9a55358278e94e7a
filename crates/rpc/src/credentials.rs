//! Who we are to a peer: which cluster, and proof that we know its secret.
//!
//! The secret itself never travels and is not kept: only a key that is derived from it. Each side proves that it has
//! the key by a keyed BLAKE3 hash over everything that both have said (see [`crate::preamble`]); as both have put a
//! fresh random number into that, a proof that somebody recorded is worth nothing later.

use std::sync::{Arc, OnceLock};

use crate::service::ClusterId;

/// A secret has at least so many characters: a stranger who talks to one of its holders can try guesses at leisure.
pub const SECRET_CHARS_MIN: usize = 16;

/// Parts keys for this purpose from keys that anything else may derive from the same secret.
const KEY_CONTEXT: &str = "chordata 2026-11 connection preamble, version 1";

/// Bytes of a proof.
pub(crate) const PROOF_BYTES: usize = blake3::OUT_LEN;

/// What everybody in a cluster knows and nobody else. Shows itself as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    key: blake3::Hash,
}

/// A text that is no secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "the secret has {0} characters: it needs at least {SECRET_CHARS_MIN}, as from `openssl rand -hex 16`"
)]
pub struct SecretTooShort(pub usize);

impl Secret {
    /// From text, without the white space around it (files end in a newline).
    ///
    /// # Errors
    /// When it has fewer than [`SECRET_CHARS_MIN`] characters.
    pub fn new(text: &str) -> Result<Secret, SecretTooShort> {
        let text = text.trim();
        let length = text.chars().count();
        if length < SECRET_CHARS_MIN {
            return Err(SecretTooShort(length));
        }
        Ok(Secret { key: blake3::Hash::from_bytes(blake3::derive_key(KEY_CONTEXT, text.as_bytes())) })
    }

    /// What only a holder of the secret can say after this conversation. Compares in constant time.
    pub(crate) fn prove(&self, by: Prover, conversation: [&[u8]; 2]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(self.key.as_bytes());
        hasher.update(&[by as u8]);
        for said in conversation {
            hasher.update(said);
        }
        hasher.finalize()
    }
}

impl std::str::FromStr for Secret {
    type Err = SecretTooShort;

    fn from_str(text: &str) -> Result<Secret, SecretTooShort> {
        Secret::new(text)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Who proves: part of what is hashed, so that a proof cannot be sent back to its author.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Prover {
    Connecting = 1,
    Accepting = 2,
}

/// The cluster, once it is known, and its secret, where it has one. Clones share what they learn.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    cluster: OnceLock<ClusterId>,
    secret: Option<Secret>,
}

impl Credentials {
    /// From their parts. No cluster: it will be learned, from the first that is connected to or is joined.
    pub fn new(cluster: Option<ClusterId>, secret: Option<Secret>) -> Credentials {
        let cluster = cluster.map_or_else(OnceLock::new, OnceLock::from);
        Credentials { shared: Arc::new(Shared { cluster, secret }) }
    }

    /// The cluster, if it is known.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.shared.cluster.get().copied()
    }

    /// The secret, if there is one.
    pub fn secret(&self) -> Option<&Secret> {
        self.shared.secret.as_ref()
    }

    /// From now on it is this cluster, for all clones.
    ///
    /// # Errors
    /// When it already is another one, which is returned.
    pub fn learn(&self, cluster: ClusterId) -> Result<(), ClusterId> {
        let known = *self.shared.cluster.get_or_init(|| cluster);
        if known == cluster { Ok(()) } else { Err(known) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_trimmed_has_a_least_length_and_does_not_show_itself() {
        let secret = Secret::new("  0123456789abcdef\n").unwrap();
        assert_eq!(secret, Secret::new("0123456789abcdef").unwrap());
        assert_ne!(secret, Secret::new("0123456789abcdeg").unwrap());
        assert_eq!(Secret::new(" 0123456789abcde "), Err(SecretTooShort(15)));
        assert_eq!(format!("{:?}", Credentials::new(None, Some(secret))).matches("***").count(), 1);
    }

    #[test]
    fn a_proof_depends_on_the_key_the_prover_and_every_word() {
        let secret = Secret::new("0123456789abcdef").unwrap();
        let proof = secret.prove(Prover::Connecting, [b"hello", b"reply"]);
        assert_eq!(proof, secret.prove(Prover::Connecting, [b"hello", b"reply"]));
        assert_ne!(proof, secret.prove(Prover::Accepting, [b"hello", b"reply"]));
        assert_ne!(proof, secret.prove(Prover::Connecting, [b"hello", b"replY"]));
        let other = Secret::new("0123456789abcdeg").unwrap();
        assert_ne!(proof, other.prove(Prover::Connecting, [b"hello", b"reply"]));
    }

    #[test]
    fn clones_share_the_cluster_and_it_is_learned_once() {
        let (first, second) = (ClusterId([1; 16]), ClusterId([2; 16]));
        let credentials = Credentials::new(None, None);
        let clone = credentials.clone();
        assert_eq!(credentials.cluster(), None);
        assert_eq!(clone.learn(first), Ok(()));
        assert_eq!(credentials.cluster(), Some(first));
        assert_eq!(credentials.learn(first), Ok(()));
        assert_eq!(credentials.learn(second), Err(first));
    }
}
