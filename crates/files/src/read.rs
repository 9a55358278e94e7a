//! Reading a file: any range of it, several chunks at once, in order, verified.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt};
use tokio::sync::Mutex;
use tokio_util::task::AbortOnDropHandle;

use crate::Files;
use crate::failure::Failure;
use crate::fetch::{self, NoPiece, Wanted};
use crate::manifest::{Entry, Hash, Hashes, Info, List, Manifest};
use crate::name::{FileName, Kind, PieceName};
use crate::range::{Slice, slices};
use crate::store::Surety;

impl Files {
    /// A file, as it is now.
    ///
    /// # Errors
    /// [`Failure::NotFound`], and what reading its entry fails with.
    pub async fn open(&self, name: &FileName) -> Result<Reader, Failure> {
        let manifest = self.manifest(name).await?.ok_or_else(|| Failure::NotFound(name.clone()))?;
        Ok(Reader::new(self.clone(), name.clone(), manifest))
    }

    /// What there is of a name; none: nothing.
    pub(crate) async fn manifest(&self, name: &FileName) -> Result<Option<Manifest>, Failure> {
        let read = self.store.read(name.entry_key(), Surety::Newest).await?;
        let entry = read.map(|(value, _)| Entry::of_value(name, &value)).transpose()?;
        Ok(entry.and_then(|entry| entry.file))
    }
}

/// A part of a list, with its number.
type Part = (u32, Arc<Hashes>);

/// A file that is being read. Clones share what was read of its list.
#[derive(Clone)]
pub struct Reader {
    files: Files,
    name: FileName,
    manifest: Arc<Manifest>,
    /// The part of the list that was used last.
    part: Arc<Mutex<Option<Part>>>,
}

impl Reader {
    pub(crate) fn new(files: Files, name: FileName, manifest: Manifest) -> Reader {
        Reader { files, name, manifest: Arc::new(manifest), part: Arc::default() }
    }

    /// What file it is.
    pub fn info(&self) -> Info {
        self.manifest.info(&self.name)
    }

    pub(crate) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// These bytes of it, in order; what is behind its end is left out. It ends with the first failure.
    ///
    /// # Errors
    /// [`Failure::Changed`], [`Failure::Broken`], and when no replica answers in time.
    pub fn read(&self, range: Range<u64>) -> impl Stream<Item = Result<Bytes, Failure>> + Send + use<> {
        let (size, chunk_bytes) = (self.manifest.size, self.manifest.chunk_bytes as usize);
        let window = self.files.window(chunk_bytes);
        let reader = self.clone();
        let fetched = stream::iter(slices(size, chunk_bytes, range)).map(move |Slice { index, bytes }| {
            let reader = reader.clone();
            // A task of its own: it goes on while nobody asks for the next piece, and its deadlines with it.
            let task = AbortOnDropHandle::new(tokio::spawn(async move {
                reader.chunk(index).await.map(|content| content.slice(bytes))
            }));
            async move { task.await.unwrap_or_else(|error| Err(Failure::task(&error))) }
        });
        let mut failed = false;
        fetched.buffered(window).take_while(move |item| {
            let goes_on = !failed;
            failed |= item.is_err();
            futures::future::ready(goes_on)
        })
    }

    /// One chunk.
    pub(crate) async fn chunk(&self, index: u32) -> Result<Bytes, Failure> {
        let hash = self.hash_of(index).await?;
        let piece = PieceName::new(&self.name, self.manifest.upload, Kind::Chunk, index, &hash);
        self.piece(&piece, hash, self.manifest.chunk_len(index)).await
    }

    /// The hash that a chunk must have.
    pub(crate) async fn hash_of(&self, index: u32) -> Result<Hash, Failure> {
        let (part, at) = self.manifest.place_of(index);
        let hash = match (part, &self.manifest.list) {
            (Some(part), _) => self.part(part).await?.get(at),
            (None, List::Chunks(hashes)) => hashes.get(at),
            (None, List::Parts { .. }) => None,
        };
        hash.ok_or_else(|| self.broken(&format!("chunk {index}"), "has no hash in the list"))
    }

    /// The hashes of all chunks.
    pub(crate) async fn hashes(&self) -> Result<Vec<Hash>, Failure> {
        if let List::Chunks(hashes) = &self.manifest.list {
            return Ok(hashes.iter().collect());
        }
        let mut all = Vec::new();
        for part in 0..self.manifest.parts(&self.name).len() {
            let part = u32::try_from(part).map_err(|_| Failure::TooLarge(u64::from(u32::MAX)))?;
            all.extend(self.part(part).await?.iter());
        }
        Ok(all)
    }

    async fn part(&self, index: u32) -> Result<Arc<Hashes>, Failure> {
        // Who waits for the lock gets what the first one fetched.
        let mut known = self.part.lock().await;
        if let Some((at, hashes)) = &*known
            && *at == index
        {
            return Ok(Arc::clone(hashes));
        }
        let what = || format!("part {index} of the list");
        let parts = self.manifest.parts(&self.name);
        let wanted = parts.get(index as usize).cloned();
        let (piece, hash, length) = wanted.ok_or_else(|| self.broken(&what(), "is not in the manifest"))?;
        let content = self.piece(&piece, hash, length).await?;
        let hashes = Hashes::from_bytes(content.into());
        let hashes = Arc::new(hashes.ok_or_else(|| self.broken(&what(), "is no list of hashes"))?);
        *known = Some((index, Arc::clone(&hashes)));
        Ok(hashes)
    }

    async fn piece(&self, piece: &PieceName, hash: Hash, length: usize) -> Result<Bytes, Failure> {
        let wanted = Wanted { key: piece.key(), hash, length, turn: piece.index as usize };
        let got = fetch::piece(&self.files.store, &wanted, self.files.settings.patience).await;
        match got {
            Ok(content) => Ok(content),
            Err(NoPiece::Failed(failure)) => Err(failure),
            Err(NoPiece::Lost(reason)) => {
                let now = self.files.manifest(&self.name).await?;
                if now.is_none_or(|now| now.upload != self.manifest.upload) {
                    return Err(Failure::Changed(self.name.clone()));
                }
                let what = match piece.kind {
                    Kind::Chunk => format!("chunk {}", piece.index),
                    Kind::Part => format!("part {} of the list", piece.index),
                };
                Err(self.broken(&what, &format!("{reason} ({})", wanted.key)))
            }
        }
    }

    fn broken(&self, what: &str, reason: &str) -> Failure {
        Failure::Broken { name: self.name.clone(), what: what.to_owned(), reason: reason.to_owned() }
    }
}
