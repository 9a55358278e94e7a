//! The few operations on files that a store needs, so that a test can take their place.
//!
//! [`Files`] is one flat directory, [`File`] one file in it. [`RealFiles`] are those of the operating system.
//! [`SimulatedFiles`] are in memory: they lose or tear what was not synced when the machine crashes, and fail when they
//! are told to.
//!
//! What both guarantee, and what everything in this crate relies on:
//! - What was written is on disk after [`File::sync`] of that file, not before; before, any part of it may be.
//! - A new, renamed or removed name is on disk after [`Files::sync_directory`]; before, it may be.
//! - [`Files::rename`] is atomic: after a crash the name means the old file or the new one.

pub(crate) mod real;
pub(crate) mod simulated;

use std::any::Any;
use std::fmt::Debug;
use std::io;

pub use real::RealFiles;
pub use simulated::SimulatedFiles;

/// Held as long as it lives.
pub type Lock = Box<dyn Any + Send + Sync>;

/// One directory, without others in it.
pub trait Files: Debug + Send + Sync {
    /// Its name, for messages.
    fn name(&self) -> String;

    /// Opens a file for reading and writing. None: there is no such file, and it was not to be created.
    ///
    /// # Errors
    /// Of the file system.
    fn open(&self, name: &str, create: bool) -> io::Result<Option<Box<dyn File>>>;

    /// Is there such a file?
    ///
    /// # Errors
    /// Of the file system.
    fn exists(&self, name: &str) -> io::Result<bool>;

    /// Gives a file another name. A file that had that name is gone.
    ///
    /// # Errors
    /// Of the file system.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file, if there is one.
    ///
    /// # Errors
    /// Of the file system.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Returns when the names are on disk.
    ///
    /// # Errors
    /// Of the file system. Nothing is known of the names then.
    fn sync_directory(&self) -> io::Result<()>;

    /// Locks a file, which is created if need be, against all other processes, and against all other locks of this
    /// process. None: somebody else has it. The operating system releases it when the process ends, in whatever way.
    ///
    /// # Errors
    /// Of the file system.
    fn lock(&self, name: &str) -> io::Result<Option<Lock>>;
}

/// An open file. All positions and lengths are in bytes.
pub trait File: Debug + Send + Sync {
    /// How long it is.
    ///
    /// # Errors
    /// Of the file system.
    fn size(&self) -> io::Result<u64>;

    /// Fills the buffer from this position on.
    ///
    /// # Errors
    /// Of the file system, and when the file ends before the buffer is full.
    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes all of this from this position on.
    ///
    /// # Errors
    /// Of the file system. Any part of it may have been written then.
    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts it, or fills it up with zeros.
    ///
    /// # Errors
    /// Of the file system.
    fn set_size(&self, bytes: u64) -> io::Result<()>;

    /// Returns when everything that was written is on disk.
    ///
    /// # Errors
    /// Of the file system. Nothing is known of what was written then, and a later sync that succeeds does not mean that
    /// it is on disk.
    fn sync(&self) -> io::Result<()>;
}

/// All of a file.
pub(crate) fn read_all(file: &dyn File) -> io::Result<Vec<u8>> {
    let size = usize::try_from(file.size()?).map_err(io::Error::other)?;
    let mut bytes = vec![0; size];
    file.read_at(0, &mut bytes)?;
    Ok(bytes)
}
