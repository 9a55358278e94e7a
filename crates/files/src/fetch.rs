//! Getting one piece, verified: from any of its replicas, and from another one if that has none or a wrong one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chordata_client::Failure as ClientFailure;
use chordata_protocol::{Key, Value};

use crate::failure::Failure;
use crate::manifest::Hash;
use crate::store::{Store, Surety};

/// Pause between attempts.
const PAUSE: Duration = Duration::from_millis(100);

/// Why there is no piece.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum NoPiece {
    /// It is gone, or no copy of it is right: is it still wanted?
    Lost(String),
    /// Something else failed.
    Failed(Failure),
}

/// A piece that is to be got.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Its key.
    pub(crate) key: Key,
    /// What its content must have.
    pub(crate) hash: Hash,
    /// Bytes of it.
    pub(crate) length: usize,
    /// Which of the replicas is asked first: not the same one for all pieces.
    pub(crate) turn: usize,
}

/// What was found so far.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    wrong: usize,
    missing: usize,
}

impl Tally {
    fn reason(self) -> String {
        match self {
            Tally { wrong: 0, .. } => "is missing at every replica".to_owned(),
            Tally { missing: 0, .. } => "is not what was stored, at every replica".to_owned(),
            Tally { .. } => "is missing or not what was stored, at every replica".to_owned(),
        }
    }
}

/// The content, if it is right. Hashing a chunk takes about a millisecond: not on the threads that drive connections.
async fn verified(value: Value, hash: Hash, length: usize) -> Result<Option<Bytes>, Failure> {
    if value.len() != length {
        return Ok(None);
    }
    let check = move || (Hash::of(&value) == hash).then(|| Bytes::from(value.into_bytes()));
    tokio::task::spawn_blocking(check).await.map_err(|error| Failure::task(&error))
}

/// Gets a piece; tried for so long while nodes do not answer.
pub(crate) async fn piece(
    store: &Arc<dyn Store>,
    wanted: &Wanted,
    patience: Duration,
) -> Result<Bytes, NoPiece> {
    let deadline = Instant::now() + patience;
    let mut fresh = false;
    loop {
        let mut tally = Tally::default();
        let failure = match attempt(store, wanted, fresh, &mut tally).await {
            Ok(Some(content)) => return Ok(content),
            Ok(None) => return Err(NoPiece::Lost(tally.reason())),
            Err(failure) => failure,
        };
        let may_pass = matches!(
            failure,
            Failure::Cluster(
                ClientFailure::Unavailable(_) | ClientFailure::Unreachable(_) | ClientFailure::Unknown(_)
            )
        );
        if !may_pass || Instant::now() >= deadline {
            return Err(NoPiece::Failed(failure));
        }
        tokio::time::sleep(PAUSE).await;
        fresh = true;
    }
}

/// Asks every replica, and then for what holds. None: it is certain that nobody has it right.
async fn attempt(
    store: &Arc<dyn Store>,
    wanted: &Wanted,
    fresh: bool,
    tally: &mut Tally,
) -> Result<Option<Bytes>, Failure> {
    let Wanted { key, hash, length, turn } = wanted;
    let mut places = store.places(key.clone(), fresh).await?;
    if !places.is_empty() {
        let count = places.len();
        places.rotate_left(turn % count);
    }
    let mut silent = None;
    for place in places {
        match store.read_at(place.clone(), key.clone()).await {
            Ok(Some(value)) => match verified(value, *hash, *length).await? {
                Some(content) => return Ok(Some(content)),
                None => {
                    tracing::warn!(%key, %place, "a copy of a piece is not what was stored");
                    tally.wrong += 1;
                }
            },
            Ok(None) => tally.missing += 1,
            Err(failure) => silent = Some(failure),
        }
    }
    // The replicas may be others by now: this finds them.
    match store.read(key.clone(), Surety::Newest).await? {
        Some((value, _)) => {
            if let Some(content) = verified(value, *hash, *length).await? {
                return Ok(Some(content));
            }
        }
        // A replica that did not answer may have it, where nobody orders the writes of a key.
        None => {
            if let Some(failure) = silent.filter(|_| !store.swaps()) {
                return Err(failure);
            }
        }
    }
    Ok(None)
}
