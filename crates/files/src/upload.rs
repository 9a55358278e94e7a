//! Writing a file: chunks first, then one atomic step. What that guarantees is in the [crate's documentation](crate).

use std::collections::BTreeSet;

use bytes::Bytes;
use chordata_client::Failure as ClientFailure;
use chordata_protocol::{Value, Version};
use tokio::task::JoinSet;

use crate::failure::Failure;
use crate::manifest::{
    CONTENT_TYPE_BYTES_MAX, Entry, Fingerprint, Hash, Hashes, Info, Manifest, Pending, UPLOADS_MAX,
    chunks_max, listed,
};
use crate::name::{FileName, Kind, PieceName, UploadId, now_ms};
use crate::remove::busy;
use crate::store::{Surety, Swap};
use crate::{Files, Progress, Step, UPLOAD_LIFE};

/// How often a step is tried whose outcome is unknown, or which others were faster at.
const ATTEMPTS_MAX: usize = 100;

/// When a file may be stored or removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Condition {
    /// Whatever is there.
    #[default]
    None,
    /// Only if there is no such file.
    Absent,
    /// Only if there is one.
    Present,
    /// Only if there is one with that content.
    Matches(Hash),
}

impl Condition {
    /// Is the file as it must be?
    ///
    /// # Errors
    /// [`Failure::Condition`], if not.
    pub(crate) fn check(self, name: &FileName, file: Option<&Manifest>) -> Result<(), Failure> {
        let refused = |reason: String| Err(Failure::Condition(reason));
        match (self, file) {
            (Condition::None, _)
            | (Condition::Absent, None)
            | (Condition::Present | Condition::Matches(_), Some(_))
                if self.fits(file) =>
            {
                Ok(())
            }
            (Condition::Absent, _) => refused(format!("{name} is there already: nothing was changed")),
            (Condition::Matches(_), Some(_)) => {
                refused(format!("{name} has another content: nothing was changed"))
            }
            (..) => refused(format!("there is no file {name}: nothing was changed")),
        }
    }

    fn fits(self, file: Option<&Manifest>) -> bool {
        match self {
            Condition::Matches(hash) => file.is_some_and(|file| file.hash == hash),
            Condition::None | Condition::Absent | Condition::Present => true,
        }
    }
}

/// How to store a file.
#[derive(Clone, Default)]
pub struct PutOptions {
    /// When.
    pub condition: Condition,
    /// What it is, as HTTP says it.
    pub content_type: Option<String>,
    /// Size and time (nanoseconds since 1970) of a source that can be read again: then the upload can be resumed.
    pub source: Option<(u64, u64)>,
    /// Do not go on where an earlier upload of the same source ended.
    pub from_scratch: bool,
    /// Who is told of the progress.
    pub progress: Option<Progress>,
}

/// What storing a file did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Put {
    /// The file.
    pub info: Info,
    /// What was there before.
    pub replaced: Option<Info>,
    /// Bytes that were there from an earlier attempt.
    pub reused: u64,
    /// Why chunks that belong to no file any more could not be removed; `tidy` will.
    pub leftovers: Option<Failure>,
}

/// A file that is being written. If it is dropped, nothing is visible of it, and what it has stored waits to be resumed or
/// tidied away.
pub struct Upload {
    pub(crate) files: Files,
    pub(crate) name: FileName,
    pub(crate) id: UploadId,
    /// This client's own: what it had begun with before it took another upload over.
    pub(crate) own: UploadId,
    pub(crate) options: PutOptions,
    /// Is it on the list?
    listed: bool,
    /// Is it perhaps, after a step of unknown outcome?
    perhaps_listed: bool,
    /// Were some of its chunks perhaps stored before?
    pub(crate) resumed: bool,
    buffer: Vec<u8>,
    /// None: a call was cut off half way, and nobody knows what was hashed.
    whole: Option<Box<blake3::Hasher>>,
    pub(crate) hashes: Hashes,
    size: u64,
    tasks: JoinSet<Result<u64, Failure>>,
    reused: u64,
}

impl Files {
    /// Begins to write a file. Nothing is changed before there is some content.
    ///
    /// # Errors
    /// When the condition does not hold now, or makes no sense in this cluster.
    pub async fn upload(&self, name: &FileName, options: PutOptions) -> Result<Upload, Failure> {
        if options.content_type.as_ref().is_some_and(|text| text.len() > CONTENT_TYPE_BYTES_MAX) {
            let reason = format!("a content type has at most {CONTENT_TYPE_BYTES_MAX} bytes");
            return Err(Failure::NotSupported(reason));
        }
        self.check_condition(options.condition)?;
        if options.condition != Condition::None {
            options.condition.check(name, self.manifest(name).await?.as_ref())?;
        }
        let own = UploadId::new()?;
        Ok(Upload {
            files: self.clone(),
            name: name.clone(),
            id: own,
            own,
            options,
            listed: false,
            perhaps_listed: false,
            resumed: false,
            buffer: Vec::new(),
            whole: Some(Box::default()),
            hashes: Hashes::default(),
            size: 0,
            tasks: JoinSet::new(),
            reused: 0,
        })
    }

    /// Conditions need one order of a key's writes.
    pub(crate) fn check_condition(&self, condition: Condition) -> Result<(), Failure> {
        if condition == Condition::None || self.store.swaps() {
            return Ok(());
        }
        let reason = "this cluster is in eventual mode: files cannot be stored or removed on a condition";
        Err(Failure::NotSupported(reason.to_owned()))
    }

    /// What is under a file's name, with its version.
    pub(crate) async fn entry(
        &self,
        name: &FileName,
        surety: Surety,
    ) -> Result<(Entry, Option<Version>), Failure> {
        match self.store.read(name.entry_key(), surety).await? {
            Some((value, version)) => Ok((Entry::of_value(name, &value)?, Some(version))),
            None => Ok((Entry::default(), None)),
        }
    }
}

impl Upload {
    /// Its name.
    pub fn id(&self) -> UploadId {
        self.id
    }

    /// More content. Waits while too much is on its way.
    ///
    /// # Errors
    /// When a chunk cannot be stored, or another upload of this name has begun to be the last one to be able to.
    pub async fn push(&mut self, mut bytes: &[u8]) -> Result<(), Failure> {
        let chunk_bytes = self.files.settings.chunk_bytes;
        while !bytes.is_empty() {
            if self.buffer.capacity() < chunk_bytes {
                self.buffer.reserve_exact(chunk_bytes - self.buffer.len());
            }
            let (now, later) = bytes.split_at(bytes.len().min(chunk_bytes - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == chunk_bytes {
                let chunk = std::mem::take(&mut self.buffer);
                self.ship(chunk).await?;
            }
        }
        Ok(())
    }

    /// The same for a whole chunk, which is not copied if nothing waits before it.
    pub(crate) async fn push_chunk(&mut self, chunk: Vec<u8>) -> Result<(), Failure> {
        if self.buffer.is_empty() && chunk.len() == self.files.settings.chunk_bytes {
            self.ship(chunk).await
        } else {
            self.push(&chunk).await
        }
    }

    async fn ship(&mut self, chunk: Vec<u8>) -> Result<(), Failure> {
        let cut_off = || Failure::Local("the upload was cut off half way".to_owned());
        let mut whole = self.whole.take().ok_or_else(cut_off)?;
        let hashing = move || {
            whole.update(&chunk);
            (whole, Hash::of(&chunk), chunk)
        };
        let hashed = tokio::task::spawn_blocking(hashing).await;
        let (whole, hash, chunk) = hashed.map_err(|error| Failure::task(&error))?;
        self.whole = Some(whole);
        self.size += chunk.len() as u64;
        if self.hashes.len() >= chunks_max(self.files.settings.part_chunks) {
            return Err(Failure::TooLarge(chunks_max(self.files.settings.part_chunks) as u64));
        }
        if !self.listed {
            Box::pin(self.list(hash)).await?;
        }
        let index = u32::try_from(self.hashes.len()).map_err(|_| Failure::TooLarge(u64::from(u32::MAX)))?;
        self.hashes.push(hash);
        let piece = PieceName::new(&self.name, self.id, Kind::Chunk, index, &hash);
        self.store_piece(piece, hash, chunk, self.options.progress.clone()).await
    }

    /// Stores a piece beside others, as soon as there is room.
    async fn store_piece(
        &mut self,
        piece: PieceName,
        hash: Hash,
        content: Vec<u8>,
        progress: Option<Progress>,
    ) -> Result<(), Failure> {
        let window = self.files.window(self.files.settings.chunk_bytes);
        while self.tasks.len() >= window {
            self.one_stored().await?;
        }
        let (files, resumed) = (self.files.clone(), self.resumed);
        self.tasks.spawn(async move {
            let bytes = content.len() as u64;
            let reused = resumed && files.is_everywhere(&piece, &hash, content.len()).await;
            if !reused {
                files.store.write(piece.key(), Value::from(content)).await?;
            }
            if let Some(tell) = &progress {
                tell(Step { bytes, reused });
            }
            Ok(if reused { bytes } else { 0 })
        });
        Ok(())
    }

    async fn one_stored(&mut self) -> Result<(), Failure> {
        match self.tasks.join_next().await {
            None => Ok(()),
            Some(Ok(stored)) => {
                self.reused += stored?;
                Ok(())
            }
            Some(Err(error)) => Err(Failure::task(&error)),
        }
    }

    /// Puts this upload on the list, or takes over one of the same source.
    async fn list(&mut self, first: Hash) -> Result<(), Failure> {
        let chunk_bytes = u32::try_from(self.files.settings.chunk_bytes).unwrap_or(u32::MAX);
        let source =
            self.options.source.map(|(size, modified)| Fingerprint { size, modified, first, chunk_bytes });
        if !self.files.store.swaps() {
            if let Some(source) = source {
                Box::pin(self.claim(source)).await?;
            }
            self.listed = true;
            return Ok(());
        }
        let same = |pending: &Pending| source.is_some() && pending.source == source;
        let mine = |id| Pending { upload: id, source: source.clone() };
        let from_scratch = self.options.from_scratch;
        let mut unknown = None;
        for _ in 0..ATTEMPTS_MAX {
            let (mut entry, version) = self.files.entry(&self.name, Surety::Newest).await?;
            self.options.condition.check(&self.name, entry.file.as_ref())?;
            if entry.lists(self.id) {
                self.listed = true;
                return Ok(());
            }
            if let Some(pending) = entry.uploads.iter().find(|pending| !from_scratch && same(pending)) {
                (self.id, self.resumed, self.listed) = (pending.upload, true, true);
                return Ok(());
            }
            if entry.uploads.len() >= UPLOADS_MAX {
                return Err(Failure::NotSupported(format!(
                    "{UPLOADS_MAX} uploads of {} are under way or were given up: tidy first",
                    self.name
                )));
            }
            entry.uploads.push(mine(self.id));
            self.perhaps_listed = true;
            match self.files.store.swap(self.name.entry_key(), version, Some(entry.to_value()?)).await? {
                Swap::Done => {
                    self.listed = true;
                    return Ok(());
                }
                Swap::Conflict => {}
                Swap::Unknown(failure) => unknown = Some(failure),
            }
        }
        Err(unknown.unwrap_or_else(busy).into())
    }

    /// No more content: the file becomes visible, whole, or this fails.
    ///
    /// # Errors
    /// [`Failure::Superseded`], [`Failure::Condition`]: nothing is left of this upload. [`Failure::Shared`]: something is,
    /// for [`Files::tidy`]. [`Failure::Untidy`]: nobody knows. When the cluster fails otherwise it can be resumed.
    pub async fn finish(mut self) -> Result<Put, Failure> {
        if !self.buffer.is_empty() {
            let chunk = std::mem::take(&mut self.buffer);
            self.ship(chunk).await?;
        }
        let settings = self.files.settings;
        let (list, contents) = listed(self.hashes.clone(), settings.inline_chunks_max, settings.part_chunks)?;
        for (index, content) in (0..).zip(contents) {
            let hash = Hash::of(&content);
            let piece = PieceName::new(&self.name, self.id, Kind::Part, index, &hash);
            self.store_piece(piece, hash, content, None).await?;
        }
        while !self.tasks.is_empty() {
            self.one_stored().await?;
        }
        let cut_off = || Failure::Local("the upload was cut off half way".to_owned());
        let whole = self.whole.take().ok_or_else(cut_off)?;
        let manifest = Manifest {
            upload: self.id,
            size: self.size,
            hash: Hash(*whole.finalize().as_bytes()),
            modified: now_ms(),
            content_type: self.options.content_type.clone(),
            chunk_bytes: u32::try_from(settings.chunk_bytes).unwrap_or(u32::MAX),
            list,
        };
        if self.files.store.swaps() {
            Box::pin(self.commit(manifest)).await
        } else {
            Box::pin(self.overwrite(manifest)).await
        }
    }

    /// The atomic step.
    async fn commit(mut self, manifest: Manifest) -> Result<Put, Failure> {
        // What a swap of unknown outcome has replaced, if it was done, and why nobody knows.
        let mut tried: Option<(Entry, ClientFailure)> = None;
        for _ in 0..ATTEMPTS_MAX {
            let read = self.files.entry(&self.name, Surety::Newest).await;
            let (entry, version) = read.map_err(|failure| self.unsure(failure, tried.as_ref()))?;
            let before = || tried.as_ref().map(|(entry, _)| entry);
            if let Some(file) = &entry.file
                && file.upload == manifest.upload
                && file.hash == manifest.hash
            {
                // An attempt of unknown outcome was done, or another client went on with the same upload.
                let (replaced, leftovers) = self.clear_replaced(before(), &entry).await;
                return Ok(self.done(file.info(&self.name), replaced, leftovers));
            }
            if self.listed && !entry.lists(self.id) {
                // It may have been the file for a moment.
                self.clear_replaced(before(), &entry).await;
                let winner = entry.file.filter(|file| file.upload == self.id);
                self.remove_own(&manifest, winner.as_ref()).await;
                return Err(Failure::Superseded(self.name));
            }
            if let Err(refused) = self.options.condition.check(&self.name, entry.file.as_ref()) {
                self.abort().await?;
                return Err(refused);
            }
            let next = Entry::new(Some(manifest.clone()), Vec::new());
            let swapped = self.files.store.swap(self.name.entry_key(), version, Some(next.to_value()?)).await;
            match swapped.map_err(|failure| self.unsure(failure, tried.as_ref()))? {
                Swap::Done => {
                    let (replaced, leftovers) = self.clear_replaced(Some(&entry), &next).await;
                    return Ok(self.done(manifest.info(&self.name), replaced, leftovers));
                }
                Swap::Conflict => {}
                Swap::Unknown(failure) => tried = Some((entry, failure)),
            }
        }
        Err(self.unsure(busy().into(), tried.as_ref()))
    }

    /// Something is in the place of what was before. That goes, as far as it is nobody's now: the file, and the uploads
    /// that were on the list. The file that is gone, and why not all of it is.
    async fn clear_replaced(&self, before: Option<&Entry>, now: &Entry) -> (Option<Info>, Option<Failure>) {
        let Some(before) = before else { return (None, None) };
        let file = now.file.as_ref().map(|file| file.upload);
        let is_gone = |upload: UploadId| !now.lists(upload) && file != Some(upload);
        let replaced = before.file.as_ref().filter(|file| is_gone(file.upload));
        let dropped = before.uploads.iter().map(|pending| pending.upload);
        let dropped = dropped.filter(|upload| is_gone(*upload)).collect();
        let cleared = self.files.clear(&self.name, replaced, dropped, self.id).await;
        if let Err(failure) = &cleared {
            tracing::warn!(name = %self.name, %failure, "chunks of what was replaced are left: tidy removes them");
        }
        (replaced.map(|file| file.info(&self.name)), cleared.err())
    }

    /// A step that is to end the upload failed, perhaps after one of unknown outcome.
    fn unsure(&self, failure: Failure, tried: Option<&(Entry, ClientFailure)>) -> Failure {
        let failure = tried.map_or(failure, |(_, unknown)| unknown.clone().into());
        failure.untidy(|| format!("nobody knows whether {} was stored", self.name))
    }

    /// Where there is no compare-and-swap: the last writer wins.
    async fn overwrite(self, manifest: Manifest) -> Result<Put, Failure> {
        if self.id.age() >= UPLOAD_LIFE {
            self.abort().await?;
            let reason = "the upload took so long that its chunks may have been tidied away: put it again";
            return Err(Failure::NotSupported(reason.to_owned()));
        }
        if !self.is_alone().await? {
            Box::pin(self.check_pieces(&manifest)).await?;
        }
        let (before, version) = self.files.entry(&self.name, Surety::Newest).await?;
        let next = Entry::new(Some(manifest.clone()), Vec::new());
        let written = self.files.store.write(self.name.entry_key(), next.to_value()?).await;
        written.map_err(|failure| self.unsure(failure, None))?;
        let replaced = before.file.filter(|file| file.upload != self.id);
        let cleared = match &replaced {
            Some(file) => self.files.clear_unless_back(&self.name, file, version).await,
            None => Ok(()),
        };
        let forgotten = self.forget().await;
        let replaced = replaced.map(|file| file.info(&self.name));
        Ok(self.done(manifest.info(&self.name), replaced, cleared.and(forgotten).err()))
    }

    fn done(&self, info: Info, replaced: Option<Info>, leftovers: Option<Failure>) -> Put {
        Put { info, replaced, reused: self.reused, leftovers }
    }

    /// Nothing is to be left of it.
    ///
    /// # Errors
    /// When the cluster fails: what is left waits to be tidied away.
    pub async fn abort(mut self) -> Result<(), Failure> {
        // What is on its way is waited for: what is stored after its removal would be left.
        while self.tasks.join_next().await.is_some() {}
        if !self.listed && !self.perhaps_listed {
            return Ok(());
        }
        if !self.files.store.swaps() {
            if !self.is_alone().await? {
                // Another client may commit it: what is left of it is tidied away when nobody can any more.
                return Ok(());
            }
            self.forget().await?;
        }
        self.files.unlist(&self.name, &BTreeSet::from([self.id])).await?;
        // Another client may have gone on with this very upload, and have ended it: then its chunks are a file's.
        let (entry, _) = self.files.entry(&self.name, Surety::Newest).await?;
        let mut own = self.own_pieces();
        if let Some(file) = entry.file.filter(|file| file.upload == self.id) {
            let kept: BTreeSet<PieceName> =
                self.files.pieces_of(&self.name, &file).await?.into_iter().collect();
            own.retain(|piece| !kept.contains(piece));
        }
        self.files.remove_pieces(own).await
    }

    pub(crate) fn own_pieces(&self) -> Vec<PieceName> {
        let piece =
            |(index, hash): (u32, Hash)| PieceName::new(&self.name, self.id, Kind::Chunk, index, &hash);
        (0..).zip(self.hashes.iter()).map(piece).collect()
    }

    /// This upload cannot be committed any more: its pieces go, but for those that the winner has in common with it.
    async fn remove_own(&mut self, manifest: &Manifest, winner: Option<&Manifest>) {
        let parts = manifest.parts(&self.name).into_iter().map(|(piece, ..)| piece);
        let mut own: Vec<PieceName> = self.own_pieces().into_iter().chain(parts).collect();
        if let Some(winner) = winner {
            let Ok(kept) = self.files.pieces_of(&self.name, winner).await else { return };
            let kept: BTreeSet<PieceName> = kept.into_iter().collect();
            own.retain(|piece| !kept.contains(piece));
        }
        if let Err(failure) = self.files.remove_pieces(own).await {
            tracing::warn!(name = %self.name, %failure, "chunks of an upload that lost are left: tidy removes them");
        }
    }
}

impl Files {
    /// Has every replica of a piece that content? Else it is stored again: what only one of them has may not last.
    async fn is_everywhere(&self, piece: &PieceName, hash: &Hash, length: usize) -> bool {
        let key = piece.key();
        let Ok(places) = self.store.places(key.clone(), false).await else { return false };
        for place in &places {
            match self.store.look_at(place.clone(), key.clone()).await {
                Ok(copy) if copy.is(hash, length) => {}
                Ok(_) | Err(_) => return false,
            }
        }
        !places.is_empty()
    }

    /// Stores content that is at hand. For small files.
    ///
    /// # Errors
    /// As [`Upload::finish`].
    pub async fn put(&self, name: &FileName, content: Bytes, options: PutOptions) -> Result<Put, Failure> {
        let mut upload = self.upload(name, options).await?;
        upload.push(&content).await?;
        upload.finish().await
    }
}
