//! Small states on disk that change as a whole: who this node is, whom it knows, how far its clock may have run.
//!
//! A write goes to a temporary file, which is synced and takes the place of the old one; then the directory is synced. A
//! crash at any moment leaves the old content or the new one. The file says what it is (8 bytes), in which format
//! (4 bytes), how long the content is (8 bytes), and a checksum of all of it (8 bytes) follows; then the content.

use std::sync::Arc;

use crc_fast::{CrcAlgorithm, Digest};

use crate::error::StoreError;
use crate::file::{Files, read_all};

const MAGIC_BYTES: usize = 8;
const HEAD_BYTES: usize = 28;

/// One such file.
#[derive(Clone, Debug)]
pub struct StateFile {
    files: Arc<dyn Files>,
    name: String,
    magic: [u8; MAGIC_BYTES],
    format: u32,
}

/// What such a file holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct State {
    /// In which format: the current one or an older.
    pub format: u32,
    /// The bytes.
    pub content: Vec<u8>,
}

fn checksum(head: &[u8], content: &[u8]) -> u64 {
    let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
    digest.update(head);
    digest.update(content);
    digest.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

impl StateFile {
    /// The file of this name, whether it is there or not. The magic tells it from all other files, `format` is what this
    /// program writes and the newest that it reads.
    pub fn new(files: Arc<dyn Files>, name: &str, magic: [u8; MAGIC_BYTES], format: u32) -> StateFile {
        StateFile { files, name: name.to_owned(), magic, format }
    }

    fn shown(&self) -> String {
        format!("{} in {}", self.name, self.files.name())
    }

    /// What it holds; none: it was never written.
    ///
    /// # Errors
    /// When it is damaged or something else, when a newer program wrote it, and when the file system fails.
    pub fn read(&self) -> Result<Option<State>, StoreError> {
        let failed = |error| StoreError::fatal(&format!("reading {}", self.shown()), error);
        let Some(file) = self.files.open(&self.name, false).map_err(failed)? else { return Ok(None) };
        let bytes = read_all(&*file).map_err(failed)?;
        self.parse(&bytes).map(Some)
    }

    fn parse(&self, bytes: &[u8]) -> Result<State, StoreError> {
        let damaged =
            |reason: &str| StoreError::DamagedFile { file: self.shown(), reason: reason.to_owned() };
        if !bytes.starts_with(&self.magic) {
            return Err(damaged("it does not begin as such a file does"));
        }
        let cut = || damaged("its end is missing");
        let format = u32_at(bytes, MAGIC_BYTES).ok_or_else(cut)?;
        if format > self.format {
            return Err(StoreError::NewerFormat { file: self.shown(), found: format, known: self.format });
        }
        let length = u64_at(bytes, MAGIC_BYTES + 4).ok_or_else(cut)?;
        let expected = u64_at(bytes, HEAD_BYTES - 8).ok_or_else(cut)?;
        let content = &bytes[HEAD_BYTES..];
        if length != content.len() as u64 {
            return Err(damaged("it is not as long as it says"));
        }
        if checksum(&bytes[..HEAD_BYTES - 8], content) != expected {
            return Err(damaged("its checksum is wrong"));
        }
        Ok(State { format, content: content.to_vec() })
    }

    /// Makes it hold this. When this returns, it is on disk.
    ///
    /// # Errors
    /// When the file system fails: it holds the old content or the new one then, and the process must stop.
    pub fn write(&self, content: &[u8]) -> Result<(), StoreError> {
        self.replace(content).map_err(|error| StoreError::fatal(&format!("writing {}", self.shown()), error))
    }

    fn replace(&self, content: &[u8]) -> std::io::Result<()> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + content.len());
        bytes.extend_from_slice(&self.magic);
        bytes.extend_from_slice(&self.format.to_le_bytes());
        bytes.extend_from_slice(&(content.len() as u64).to_le_bytes());
        let checksum = checksum(&bytes, content);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes.extend_from_slice(content);

        let temporary = format!("{}.new", self.name);
        let file = self.files.open(&temporary, true)?.ok_or(std::io::ErrorKind::NotFound)?;
        // It may be left from a crash.
        file.set_size(0)?;
        file.write_at(0, &bytes)?;
        file.sync()?;
        self.files.rename(&temporary, &self.name)?;
        self.files.sync_directory()
    }
}
