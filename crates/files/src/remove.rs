//! Removing: files, and pieces that belong to none any more.

use std::collections::BTreeSet;

use chordata_client::Failure as ClientFailure;
use chordata_protocol::Version;
use futures::stream::{self, StreamExt, TryStreamExt};

use crate::Files;
use crate::failure::Failure;
use crate::manifest::{Entry, Info, Manifest};
use crate::name::{FileName, Kind, PieceName, UploadId};
use crate::read::Reader;
use crate::store::{Surety, Swap};
use crate::upload::Condition;

/// Keys removed at once.
const AT_ONCE: usize = 16;
/// How often a step is tried whose outcome is unknown, or which others were faster at.
const ATTEMPTS_MAX: usize = 100;

/// What removing a file did: it is gone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Removed {
    /// What was there.
    pub info: Info,
    /// Why its chunks could not be removed; `tidy` will.
    pub leftovers: Option<Failure>,
}

impl Files {
    /// Removes a file: it is gone in one step, then its chunks go.
    ///
    /// # Errors
    /// [`Failure::NotFound`], [`Failure::Condition`]. [`Failure::Untidy`]: nobody knows whether the file is gone; if it is,
    /// chunks may be left for [`Files::tidy`].
    pub async fn remove(&self, name: &FileName, condition: Condition) -> Result<Removed, Failure> {
        self.check_condition(condition)?;
        // The file that a swap of unknown outcome removes, and why nobody knows.
        let mut tried: Option<(Manifest, ClientFailure)> = None;
        let unsure = |failure: Failure, tried: Option<&(Manifest, ClientFailure)>| {
            let failure = tried.map_or(failure, |(_, unknown)| unknown.clone().into());
            failure.untidy(|| format!("nobody knows whether {name} was removed"))
        };
        for _ in 0..ATTEMPTS_MAX {
            let read = self.entry(name, Surety::Newest).await;
            let (entry, version) = read.map_err(|failure| unsure(failure, tried.as_ref()))?;
            let now = entry.file.as_ref().map(|file| file.upload);
            if let Some((file, _)) = tried.as_ref().filter(|(file, _)| now != Some(file.upload)) {
                // It is gone: by that swap, or because another took its place meanwhile.
                let cleared = self.clear(name, Some(file), BTreeSet::new(), file.upload).await;
                return Ok(removed(name, file, cleared));
            }
            let Some(file) = entry.file else { return Err(Failure::NotFound(name.clone())) };
            condition.check(name, Some(&file))?;
            if !self.store.swaps() {
                let gone = self.store.remove(name.entry_key()).await;
                gone.map_err(|failure| unsure(failure, None))?;
                return Ok(removed(name, &file, self.clear_unless_back(name, &file, version).await));
            }
            // Uploads that are under way stay on the list.
            let rest = Entry::new(None, entry.uploads);
            let rest = if rest.uploads.is_empty() { None } else { Some(rest.to_value()?) };
            let swapped = self.store.swap(name.entry_key(), version, rest).await;
            match swapped.map_err(|failure| unsure(failure, tried.as_ref()))? {
                Swap::Done => {
                    let cleared = self.clear(name, Some(&file), BTreeSet::new(), file.upload).await;
                    return Ok(removed(name, &file, cleared));
                }
                Swap::Conflict => {}
                Swap::Unknown(failure) => tried = Some((file, failure)),
            }
        }
        Err(unsure(busy().into(), tried.as_ref()))
    }

    /// Removes the pieces of a file that was replaced or removed, and those of uploads that were taken off the list but for
    /// this one.
    pub(crate) async fn clear(
        &self,
        name: &FileName,
        file: Option<&Manifest>,
        mut dropped: BTreeSet<UploadId>,
        but: UploadId,
    ) -> Result<(), Failure> {
        dropped.remove(&but);
        if let Some(file) = file {
            match self.pieces_of(name, file).await {
                Ok(pieces) => self.remove_pieces(pieces).await?,
                // Its list cannot be read any more, so its pieces are looked for.
                Err(Failure::Broken { .. } | Failure::Changed(_)) => drop(dropped.insert(file.upload)),
                Err(failure) => return Err(failure),
            }
        }
        if dropped.is_empty() { Ok(()) } else { self.sweep(name, &dropped).await }
    }

    /// Eventual mode: the same for a file that had this version and was replaced or removed, unless another client that went
    /// on with the same upload has put it there once more. Nor where no replica shows what came in its place.
    pub(crate) async fn clear_unless_back(
        &self,
        name: &FileName,
        file: &Manifest,
        seen: Option<Version>,
    ) -> Result<(), Failure> {
        let (now, version) = self.entry(name, Surety::Newest).await?;
        if now.file.is_some_and(|now| now.upload == file.upload) {
            if version > seen {
                return Ok(());
            }
            let reason = "the replicas that answer still have the entry that was there before";
            return Err(ClientFailure::Unknown(reason.to_owned()).into());
        }
        self.clear(name, Some(file), BTreeSet::new(), file.upload).await
    }

    /// The pieces of a file.
    pub(crate) async fn pieces_of(
        &self,
        name: &FileName,
        file: &Manifest,
    ) -> Result<Vec<PieceName>, Failure> {
        let hashes = Reader::new(self.clone(), name.clone(), file.clone()).hashes().await?;
        let chunks = (0..).zip(&hashes);
        let chunks = chunks.map(|(index, hash)| PieceName::new(name, file.upload, Kind::Chunk, index, hash));
        Ok(chunks.chain(file.parts(name).into_iter().map(|(part, ..)| part)).collect())
    }

    /// Removes these, the list's parts last: while they are there the others can be found.
    pub(crate) async fn remove_pieces(&self, pieces: Vec<PieceName>) -> Result<(), Failure> {
        let removed = stream::iter(pieces).map(|piece| self.store.remove(piece.key()));
        removed.buffered(AT_ONCE).try_collect::<()>().await
    }

    /// Finds and removes all pieces of these uploads of a file.
    async fn sweep(&self, name: &FileName, uploads: &BTreeSet<UploadId>) -> Result<(), Failure> {
        let keys = self.store.scan(name.piece_prefix(), false);
        let theirs = keys.try_filter_map(|(key, _)| {
            let piece = PieceName::of_key(&key);
            let piece = piece.filter(|piece| piece.file == *name && uploads.contains(&piece.upload));
            futures::future::ready(Ok(piece))
        });
        let removed = theirs.map_ok(|piece| self.store.remove(piece.key()));
        removed.try_buffer_unordered(AT_ONCE).try_collect::<()>().await
    }

    /// Takes uploads off the list: from then on they cannot be committed. In eventual mode there is no list.
    pub(crate) async fn unlist(&self, name: &FileName, uploads: &BTreeSet<UploadId>) -> Result<(), Failure> {
        if !self.store.swaps() {
            return Ok(());
        }
        let mut unknown = None;
        for _ in 0..ATTEMPTS_MAX {
            let (mut entry, version) = self.entry(name, Surety::Newest).await?;
            let before = entry.uploads.len();
            entry.uploads.retain(|pending| !uploads.contains(&pending.upload));
            if entry.uploads.len() == before {
                return Ok(());
            }
            let is_empty = entry.file.is_none() && entry.uploads.is_empty();
            let value = if is_empty { None } else { Some(entry.to_value()?) };
            match self.store.swap(name.entry_key(), version, value).await? {
                Swap::Done => return Ok(()),
                Swap::Conflict => {}
                Swap::Unknown(failure) => unknown = Some(failure),
            }
        }
        Err(unknown.unwrap_or_else(busy).into())
    }
}

/// A file that is gone, and whether its chunks are.
fn removed(name: &FileName, file: &Manifest, cleared: Result<(), Failure>) -> Removed {
    Removed { info: file.info(name), leftovers: cleared.err() }
}

/// Others were faster, again and again.
pub(crate) fn busy() -> ClientFailure {
    ClientFailure::Unavailable("others keep changing the entry of the file: try again".to_owned())
}
