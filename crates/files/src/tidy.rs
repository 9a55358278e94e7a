//! Finding and removing what belongs to no file: chunks whose remover died, and uploads that were given up.
//!
//! Pieces are seen first, then the entry of their file is read, and only then they are judged. So (where there is
//! compare-and-swap) a piece whose upload is neither the file nor on the list belongs to nobody and never will. In eventual
//! mode there is no list: there only age says that an upload is over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::stream::TryStreamExt;
use serde::Serialize;

use crate::failure::Failure;
use crate::manifest::{Entry, Pending};
use crate::name::{FileName, PieceName, UPLOAD_PREFIX, UploadId};
use crate::store::Surety;
use crate::{Files, UPLOAD_LIFE};

/// Pieces that are judged together.
const PIECES_AT_ONCE: usize = 20_000;

/// Why something is in the way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// It is of no file and of no upload under way.
    Leftover,
    /// Of an upload under way, or given up.
    Unfinished,
}

/// Pieces of one upload that is not the file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Leftover {
    /// Of which file.
    pub name: FileName,
    /// Of which upload.
    pub upload: UploadId,
    /// How long ago it began, in seconds.
    pub age_seconds: u64,
    /// Why.
    pub reason: Reason,
    /// How many pieces.
    pub pieces: u64,
    /// Were they removed?
    pub removed: bool,
}

/// What tidying found.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Tidied {
    /// Each upload that is not a file.
    pub uploads: Vec<Leftover>,
    /// Names of which it could not be said what belongs to them: nothing of theirs was touched.
    pub unjudged: Vec<(FileName, String)>,
}

type Found = BTreeMap<(FileName, UploadId), (Reason, u64, bool)>;

impl Files {
    /// Removes what belongs to no file; of uploads under way those that began so long ago. Looks at all keys of the cluster.
    /// With `dry_run` nothing is removed.
    ///
    /// # Errors
    /// When nobody has all of some part of the ring.
    pub async fn tidy(&self, age: Duration, dry_run: bool) -> Result<Tidied, Failure> {
        let mut work = Work { files: self, age, dry_run, found: Found::new(), unjudged: BTreeMap::new() };
        // Uploads that have stored nothing yet, too.
        let mut entries = self.entries("");
        while let Some((name, entry)) = entries.try_next().await? {
            let uploads = entry.map(|entry| entry.uploads).unwrap_or_default();
            let old: BTreeSet<UploadId> = uploads.iter().map(|pending| pending.upload).collect();
            work.drop_old(&name, &old).await?;
        }
        let mut keys = self.store.scan(crate::name::CHUNK_PREFIX.into(), false);
        let mut seen: BTreeMap<FileName, Vec<PieceName>> = BTreeMap::new();
        let mut count = 0;
        while let Some((key, _)) = keys.try_next().await? {
            let Some(piece) = PieceName::of_key(&key) else { continue };
            seen.entry(piece.file.clone()).or_default().push(piece);
            count += 1;
            if count == PIECES_AT_ONCE {
                work.judge_all(std::mem::take(&mut seen)).await?;
                count = 0;
            }
        }
        work.judge_all(seen).await?;
        work.old_records().await?;
        let leftover = |((name, upload), (reason, pieces, removed)): (_, (Reason, u64, bool))| {
            let upload: UploadId = upload;
            Leftover { name, upload, age_seconds: upload.age().as_secs(), reason, pieces, removed }
        };
        Ok(Tidied {
            uploads: work.found.into_iter().map(leftover).collect(),
            unjudged: work.unjudged.into_iter().collect(),
        })
    }
}

struct Work<'a> {
    files: &'a Files,
    age: Duration,
    dry_run: bool,
    found: Found,
    unjudged: BTreeMap<FileName, String>,
}

impl Work<'_> {
    /// Takes uploads off the list that began too long ago; all of them are told of.
    async fn drop_old(&mut self, name: &FileName, listed: &BTreeSet<UploadId>) -> Result<(), Failure> {
        let old: BTreeSet<UploadId> =
            listed.iter().copied().filter(|upload| upload.age() >= self.age).collect();
        let removed = !self.dry_run && !old.is_empty();
        if removed {
            self.files.unlist(name, &old).await?;
        }
        for upload in listed {
            let gone = removed && old.contains(upload);
            self.found.entry((name.clone(), *upload)).or_insert((Reason::Unfinished, 0, gone)).2 |= gone;
        }
        Ok(())
    }

    async fn judge_all(&mut self, seen: BTreeMap<FileName, Vec<PieceName>>) -> Result<(), Failure> {
        for (name, pieces) in seen {
            if let Err(failure) = Box::pin(self.judge(&name, pieces)).await {
                // Whatever cannot be judged stays.
                self.unjudged.insert(name, failure.to_string());
            }
        }
        Ok(())
    }

    async fn judge(&mut self, name: &FileName, pieces: Vec<PieceName>) -> Result<(), Failure> {
        let (entry, _) = self.files.entry(name, Surety::Certain).await?;
        let Entry { file, uploads, .. } = entry;
        let of_file: BTreeSet<PieceName> = match &file {
            Some(file) if pieces.iter().any(|piece| piece.upload == file.upload) => {
                self.files.pieces_of(name, file).await?.into_iter().collect()
            }
            Some(_) | None => BTreeSet::new(),
        };
        let swaps = self.files.store.swaps();
        let mut doomed = Vec::new();
        for piece in pieces {
            if of_file.contains(&piece) {
                continue;
            }
            let listed = uploads.iter().any(|pending| pending.upload == piece.upload);
            let reason = if listed || !swaps { Reason::Unfinished } else { Reason::Leftover };
            let goes = match reason {
                // Old ones are not on the list any more.
                Reason::Unfinished if swaps => false,
                Reason::Unfinished => piece.upload.age() >= self.age,
                Reason::Leftover => true,
            };
            let key = (name.clone(), piece.upload);
            let found = self.found.entry(key).or_insert((reason, 0, false));
            found.1 += 1;
            found.2 |= goes && !self.dry_run;
            if goes && !self.dry_run {
                doomed.push(piece);
            }
        }
        self.files.remove_pieces(doomed).await
    }

    /// Eventual mode: what would be resumed is too old for that.
    async fn old_records(&mut self) -> Result<(), Failure> {
        if self.files.store.swaps() {
            return Ok(());
        }
        let mut records = self.files.store.scan(UPLOAD_PREFIX.into(), true);
        let mut old = Vec::new();
        while let Some((key, value)) = records.try_next().await? {
            let record: Option<Pending> = value.and_then(|value| serde_json::from_slice(&value).ok());
            // What is no record is of no use to anybody.
            if record.is_none_or(|record| record.upload.age() >= self.age.max(UPLOAD_LIFE / 2)) {
                old.push(key);
            }
        }
        if !self.dry_run {
            for key in old {
                self.files.store.remove(key).await?;
            }
        }
        Ok(())
    }
}
