//! Eventual mode: how an upload goes on, and who goes on with it.
//!
//! There is no list of uploads in an entry there, as nobody can take one off it in the same step that commits another. The
//! upload of a name that was begun last is noted under [`FileName::upload_key`], if its source can be read again, with the
//! client that is at it. A put of the same source takes it over and writes itself in.
//!
//! So two clients may be at one upload, and chunks of one are chunks of the other. If one commits it, and the file is
//! replaced or removed, or if one gives it up, chunks go that the other counts on. Therefore:
//!
//! - *Who is not sure to have been alone looks before it commits*: all pieces must be at all replicas that answer. Sure is who
//!   began the upload and is still written in as the one that is at it. Who has taken it over never is.
//! - *Who is not sure to be alone removes nothing* when it gives up. What is left goes by its age: an upload must be
//!   committed within [`UPLOAD_LIFE`].
//! - Who commits takes the note away, so that the other one looks.
//! - Who replaces or removes a file looks whether it is there once more before its chunks go.
//!
//! What is left is a client that commits while another one, which replaced the file just before, is removing the chunks
//! behind those that the first has looked at. Without compare-and-swap this cannot be ruled out; readers are told that the
//! file is damaged then, and never get a wrong content.

use futures::stream::{self, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::time::Instant;

use crate::failure::Failure;
use crate::manifest::{Fingerprint, Hash, Manifest, Pending};
use crate::name::{FileName, PieceName, UploadId};
use crate::store::Surety;
use crate::upload::Upload;
use crate::{Files, UPLOAD_LIFE};

/// Pieces looked at at once.
const AT_ONCE: usize = 16;
/// Pause before a piece is looked at again that has not come to all replicas yet.
const PAUSE: Duration = Duration::from_millis(100);

/// What is noted of an upload.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Note {
    #[serde(flatten)]
    pending: Pending,
    /// Who is at it, by the upload that it had begun with itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    by: Option<UploadId>,
}

impl Files {
    /// What is noted of a name. What cannot be read is nobody's to be resumed.
    async fn note(&self, name: &FileName) -> Result<Option<Note>, Failure> {
        let read = self.store.read(name.upload_key(), Surety::Newest).await?;
        Ok(read.and_then(|(value, _)| serde_json::from_slice(&value).ok()))
    }

    /// Waits until all replicas that answer have a piece. Is it so in the end?
    async fn is_stored(&self, piece: &PieceName, hash: &Hash, length: usize) -> Result<bool, Failure> {
        let deadline = Instant::now() + self.settings.patience;
        let key = piece.key();
        loop {
            let (mut answered, mut right, mut silent) = (0, 0, None);
            for place in self.store.places(key.clone(), false).await? {
                match self.store.look_at(place, key.clone()).await {
                    Ok(copy) => {
                        answered += 1;
                        right += usize::from(copy.is(hash, length));
                    }
                    Err(failure) => silent = Some(failure),
                }
            }
            if answered > 0 && right == answered {
                return Ok(true);
            }
            if Instant::now() + PAUSE >= deadline {
                return silent.filter(|_| answered == 0).map_or(Ok(false), Err);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl Upload {
    /// Notes this upload, or takes over the one of the same source that is noted.
    pub(crate) async fn claim(&mut self, source: Fingerprint) -> Result<(), Failure> {
        let known = if self.options.from_scratch { None } else { self.files.note(&self.name).await? };
        let is_same = |known: &Note| {
            known.pending.source.as_ref() == Some(&source) && known.pending.upload.age() < UPLOAD_LIFE / 2
        };
        if let Some(known) = known.filter(is_same) {
            (self.id, self.resumed) = (known.pending.upload, true);
        }
        let pending = Pending { upload: self.id, source: Some(source) };
        let note = serde_json::to_vec(&Note { pending, by: Some(self.own) });
        let note = note.map_err(|error| Failure::Local(error.to_string()))?;
        self.files.store.write(self.name.upload_key(), note.into()).await
    }

    /// Is it certain that no other client is at this upload, or was?
    pub(crate) async fn is_alone(&self) -> Result<bool, Failure> {
        if self.options.source.is_none() {
            return Ok(true);
        }
        let note = if self.resumed { None } else { self.files.note(&self.name).await? };
        Ok(note.is_some_and(|note| note.pending.upload == self.id && note.by == Some(self.own)))
    }

    /// Are all pieces at the replicas?
    ///
    /// # Errors
    /// [`Failure::Shared`], if not.
    pub(crate) async fn check_pieces(&self, manifest: &Manifest) -> Result<(), Failure> {
        let chunks = (0..).zip(self.own_pieces()).zip(self.hashes.iter());
        let chunks = chunks.map(|((index, piece), hash)| (piece, hash, manifest.chunk_len(index)));
        let pieces: Vec<_> = chunks.chain(manifest.parts(&self.name)).collect();
        let looked = stream::iter(pieces)
            .map(|(piece, hash, length)| async move { self.files.is_stored(&piece, &hash, length).await });
        let missing = looked.buffer_unordered(AT_ONCE).try_filter(|is_there| {
            let is_there = *is_there;
            async move { !is_there }
        });
        match std::pin::pin!(missing).try_next().await? {
            Some(_) => Err(Failure::Shared(self.name.clone())),
            None => Ok(()),
        }
    }

    /// Takes the note away, if it is of this upload.
    pub(crate) async fn forget(&self) -> Result<(), Failure> {
        if self.options.source.is_none() {
            return Ok(());
        }
        match self.files.note(&self.name).await? {
            Some(note) if note.pending.upload == self.id => {
                self.files.store.remove(self.name.upload_key()).await
            }
            Some(_) | None => Ok(()),
        }
    }
}
