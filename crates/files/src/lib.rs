//! Files of any size in a cluster whose values have at most 1 MiB.
//!
//! # What there is of a file
//!
//! | key | holds |
//! |---|---|
//! | `.chordata/file/NAME` | the [`Entry`](manifest::Entry): the file's manifest, if there is a file, and uploads under way |
//! | `.chordata/chunk/NAME/UPLOAD.cINDEX.HASH` | a *chunk*: 1 MiB of the content, the last one less |
//! | `.chordata/chunk/NAME/UPLOAD.pINDEX.HASH` | a *part* of the list of chunk hashes, where that is too long for the manifest |
//! | `.chordata/upload/NAME` | eventual mode only: the upload that was begun last, so that it can be resumed, and by whom |
//!
//! The [manifest](manifest::Manifest) names the upload that the chunks belong to, the size, the BLAKE3 of the content
//! and the BLAKE3 of each chunk (or of each part). An upload has a random name of its own, and a chunk's key has its hash:
//! so a key of a chunk never has two different contents, any copy of it is as good as another, and a copy that is not what
//! the manifest says is never given out as good. Ordinary keys do not begin with `.chordata/`.
//!
//! # Writing: [`Upload`]
//!
//! 1. *List.* The upload is written into the entry, beside the file that may be there (compare-and-swap).
//! 2. *Chunks*, several at once; then the parts of the list.
//! 3. *Commit.* One compare-and-swap puts the new manifest into the entry and takes all uploads off its list. It is done
//!    only if this upload is still on the list.
//! 4. *Remove.* The chunks of the file that was replaced go, and those of uploads that were taken off the list.
//!
//! # What that guarantees (chains and single copies)
//!
//! - **No half file.** Readers see what the commit put there, and it comes last.
//! - **Of puts of one name at the same time one wins**, the one that commits first. The others find that they are not on
//!   the list any more, remove their chunks and fail with [`Failure::Superseded`]. Versions never come again, so an upload
//!   that was taken off the list can never be committed, whatever happens in between.
//! - **What belongs to nobody is known for certain**: chunks of an upload that is neither the entry's file nor on its list.
//!   As listing comes before the first chunk and is read after the chunk was seen, [`Files::tidy`] removes such chunks at
//!   once. Uploads that are on a list and older than an age it takes off the list first.
//! - A client that dies leaves an upload on the list: invisible, to be resumed, or dropped by the next put or by `tidy`.
//!
//! # Eventual mode
//!
//! It has no compare-and-swap: the commit is a plain write, and the last writer wins. Nothing is listed. Chunks of the file
//! that the writer saw before go at once; those of a writer who lost without having been seen stay until `tidy`. Tidy there
//! goes by age alone, asks *all* replicas of an entry, and so an upload must be committed within [`UPLOAD_LIFE`]; it refuses
//! to later. What happens when an upload is resumed that somebody else is still at is in `claim.rs`.
//!
//! # Reading: [`Reader`]
//!
//! Chunks are asked of any replica, several at once, and verified; a wrong or a missing one is asked of the others. If
//! nobody has it, the entry is read again: when the file was replaced or removed meanwhile that is [`Failure::Changed`],
//! else the file is damaged: [`Failure::Broken`]. [`download`](Files::download) begins again when a file changed,
//! and gives its name to what it wrote only when that is whole and verified.
//!
//! # Resuming
//!
//! An upload on the list knows size, time and first chunk of its source. A put of the same source takes the upload over:
//! it reads and hashes the source again, asks for each chunk whether a replica has it with that hash, and sends only what
//! is missing. Should the first client still be alive, both store the same keys with the same contents, and the first
//! commit counts for both (in eventual mode the second one may fail with [`Failure::Shared`]). A download begins with the chunks of its temporary file that are as the manifest says.
//!
//! # Limits
//!
//! About 90 TiB a file (the manifest must fit a value). 32 bytes of the writer's memory for each chunk. Listing and tidying
//! look at all keys of the cluster.

mod claim;
mod cluster;
mod download;
mod failure;
mod fetch;
mod list;
pub mod manifest;
pub mod name;
mod places;
pub mod range;
mod read;
mod remove;
mod source;
pub mod store;
mod tidy;
mod upload;

use std::sync::Arc;
use std::time::Duration;

use chordata_client::Client;

pub use cluster::Cluster;
pub use download::{Downloaded, Output};
pub use failure::Failure;
pub use manifest::{Hash, Info};
pub use name::{FileName, UploadId};
pub use places::{Check, Held, NodeShare, Share, Stat};
pub use read::Reader;
pub use remove::Removed;
pub use source::Source;
pub use tidy::{Leftover, Reason, Tidied};
pub use upload::{Condition, Put, PutOptions, Upload};

use store::Store;

/// In eventual mode an upload must be committed within this time, and what is younger is not tidied.
pub const UPLOAD_LIFE: Duration = Duration::from_secs(24 * 3600);

/// Bytes of a chunk, but for the last one of a file.
pub const CHUNK_BYTES: usize = chordata_protocol::key::VALUE_BYTES_MAX;

/// How much is done at once, and how files are cut.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Bytes of chunks that are on their way at once: what bounds the memory.
    pub window_bytes: usize,
    /// Bytes of a chunk of new files.
    pub chunk_bytes: usize,
    /// Up to so many chunks have their hashes in the manifest itself.
    pub inline_chunks_max: usize,
    /// Hashes in a part of the list.
    pub part_chunks: usize,
    /// How long one chunk is tried.
    pub patience: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            window_bytes: 8 * 1024 * 1024,
            chunk_bytes: CHUNK_BYTES,
            inline_chunks_max: 256,
            part_chunks: 8192,
            patience: Duration::from_secs(60),
        }
    }
}

/// What is told of a transfer while it goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// Bytes that are done with this step.
    pub bytes: u64,
    /// Were they there already, from an earlier attempt?
    pub reused: bool,
}

/// Who is told.
pub type Progress = Arc<dyn Fn(Step) + Send + Sync>;

/// The files of a cluster. Clones share connections.
#[derive(Clone)]
pub struct Files {
    store: Arc<dyn Store>,
    settings: Settings,
}

impl Files {
    /// Of a cluster.
    pub fn new(client: Client) -> Files {
        let settings = Settings::default();
        Files::with(Arc::new(Cluster::new(client, settings.patience)), settings)
    }

    /// In this store.
    pub fn with(store: Arc<dyn Store>, settings: Settings) -> Files {
        Files { store, settings }
    }

    /// What is done at once.
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// Chunks on their way at once.
    fn window(&self, chunk_bytes: usize) -> usize {
        (self.settings.window_bytes / chunk_bytes.max(1)).max(1)
    }
}
