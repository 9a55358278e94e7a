//! Where files are: the nodes that have the pieces of one, and the files that one node has pieces of.

use std::collections::BTreeMap;
use std::sync::Arc;

use chordata_protocol::Address;
use futures::stream::{self, StreamExt, TryStreamExt};
use serde::Serialize;

use crate::Files;
use crate::failure::Failure;
use crate::manifest::{Entry, Hash, Info};
use crate::name::{FILE_PREFIX, FileName, Kind, PieceName, UploadId};
use crate::read::Reader;
use crate::store::{Copied, Store};

/// Pieces asked about at once.
const AT_ONCE: usize = 16;

/// What one node has, or should have, of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Share {
    /// Chunks.
    pub chunks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The entry, with the manifest?
    pub manifest: bool,
    /// Parts of the list of chunks.
    pub parts: u64,
}

/// A node's share of a file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct NodeShare {
    /// The node.
    pub node: Address,
    /// What it should have.
    #[serde(flatten)]
    pub share: Share,
    /// Asked: pieces that it does not have as they should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wrong: Option<u64>,
}

/// What is known of a file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Stat {
    /// The file.
    #[serde(flatten)]
    pub info: Info,
    /// Bytes of a chunk.
    pub chunk_bytes: u32,
    /// The key of its manifest.
    pub key: String,
    /// Who has how much of it.
    pub nodes: Vec<NodeShare>,
    /// Uploads of this name that are under way or were given up.
    pub uploads: usize,
}

/// Are the nodes asked what they have?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Check {
    /// No: what they should have.
    No,
    /// Every replica of every chunk, by its hash.
    Copies,
}

/// What one node has of a file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Held {
    /// The file.
    pub name: FileName,
    /// Of the file as it is.
    #[serde(flatten)]
    pub share: Share,
    /// Pieces of uploads that are not the file: under way, or given up.
    pub other_pieces: u64,
}

impl Files {
    /// What is known of a file, and where it is.
    ///
    /// # Errors
    /// [`Failure::NotFound`], [`Failure::Broken`] if its list is damaged, and when nodes do not answer.
    pub async fn stat(&self, name: &FileName, check: Check) -> Result<Stat, Failure> {
        let (Entry { file, uploads, .. }, _) = self.entry(name, crate::store::Surety::Newest).await?;
        let file = file.ok_or_else(|| Failure::NotFound(name.clone()))?;
        let reader = Reader::new(self.clone(), name.clone(), file.clone());
        let mut shares: BTreeMap<Address, (Share, u64)> = BTreeMap::new();
        for place in self.store.places(name.entry_key(), true).await? {
            shares.entry(place).or_default().0.manifest = true;
        }
        let chunks = (0..).zip(reader.hashes().await?).map(|(index, hash)| {
            let piece = PieceName::new(name, file.upload, Kind::Chunk, index, &hash);
            (piece, hash, file.chunk_len(index))
        });
        let pieces: Vec<_> = chunks.chain(file.parts(name)).collect();
        let asked = stream::iter(pieces).map(|piece| placed(Arc::clone(&self.store), piece, check));
        let mut placed = asked.buffer_unordered(AT_ONCE);
        while let Some((kind, bytes, places)) = placed.try_next().await? {
            for (place, right) in places {
                let (share, wrong) = shares.entry(place).or_default();
                match kind {
                    Kind::Chunk => {
                        share.chunks += 1;
                        share.bytes += bytes as u64;
                    }
                    Kind::Part => share.parts += 1,
                }
                *wrong += u64::from(!right);
            }
        }
        let node = |(node, (share, wrong)): (Address, (Share, u64))| NodeShare {
            node,
            share,
            wrong: (check == Check::Copies).then_some(wrong),
        };
        Ok(Stat {
            info: file.info(name),
            chunk_bytes: file.chunk_bytes,
            key: name.entry_key().to_string(),
            nodes: shares.into_iter().map(node).collect(),
            uploads: uploads.len(),
        })
    }

    /// The files of which a node has anything, in the order of their names.
    ///
    /// # Errors
    /// When a node does not answer.
    pub async fn held_at(&self, node: &Address) -> Result<Vec<Held>, Failure> {
        // The files first: a chunk that is seen later and belongs to none of them is of an upload that began meanwhile.
        let entries = self.entries("");
        let named = entries.try_filter_map(|(name, entry)| {
            let file = entry.ok().and_then(|entry| entry.file);
            futures::future::ready(Ok(file.map(|file| (name, file.upload))))
        });
        let uploads: BTreeMap<FileName, UploadId> = named.try_collect().await?;
        let current = |name: &FileName| uploads.get(name).copied();
        let mut held: BTreeMap<FileName, (Share, u64)> = BTreeMap::new();
        let mut copies = self.store.held_at(node.clone());
        while let Some((key, copy)) = copies.try_next().await? {
            let bytes = match copy {
                Copied::Value { bytes, .. } => bytes,
                Copied::Nothing | Copied::Damaged => 0,
            };
            if let Some(piece) = PieceName::of_key(&key) {
                let is_current = current(&piece.file) == Some(piece.upload);
                let (share, others) = held.entry(piece.file).or_default();
                match piece.kind {
                    _ if !is_current => *others += 1,
                    Kind::Chunk => {
                        share.chunks += 1;
                        share.bytes += bytes;
                    }
                    Kind::Part => share.parts += 1,
                }
            } else if let Some(name) = FileName::behind(&key, FILE_PREFIX) {
                let is_file = current(&name).is_some();
                held.entry(name).or_default().0.manifest = is_file;
            }
        }
        let all = held.into_iter().map(|(name, (share, other_pieces))| Held { name, share, other_pieces });
        Ok(all.collect())
    }
}

/// Who should have a piece, and whether they have.
async fn placed(
    store: Arc<dyn Store>,
    (piece, hash, length): (PieceName, Hash, usize),
    check: Check,
) -> Result<(Kind, usize, Vec<(Address, bool)>), Failure> {
    let mut places = Vec::new();
    for place in store.places(piece.key(), false).await? {
        let right = match check {
            Check::No => true,
            // A node that does not answer does not have it, for now.
            Check::Copies => {
                store.look_at(place.clone(), piece.key()).await.is_ok_and(|copy| copy.is(&hash, length))
            }
        };
        places.push((place, right));
    }
    Ok((piece.kind, length, places))
}
