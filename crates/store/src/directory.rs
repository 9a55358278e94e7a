//! The directory of a store: one process at a time, and a format that is understood.

use std::fmt;
use std::sync::Arc;

use crate::error::StoreError;
use crate::file::{Files, Lock};
use crate::state_file::StateFile;

/// The file that is locked while a process uses the directory.
pub const LOCK_FILE: &str = "store.lock";
/// The file that says in which format everything else in the directory is.
pub const FORMAT_FILE: &str = "FORMAT";
/// The format that this program writes, and the newest that it reads. Since 2 a value may end at a moment.
pub const FORMAT: u32 = 2;

const FORMAT_MAGIC: [u8; 8] = *b"CHDstore";
const CONTENT: &[u8] = b"a store of chordata: records in a redb database\n";

/// A directory that this process, and no other, uses.
pub struct Directory {
    files: Arc<dyn Files>,
    _lock: Lock,
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Directory {
    /// Takes the directory; an empty one becomes a store. `data` names the file that must not be there without the
    /// format.
    ///
    /// # Errors
    /// When another process uses it, when a newer program wrote it, when it is damaged or no store, and when the file
    /// system fails.
    pub(crate) fn open(files: Arc<dyn Files>, data: &str) -> Result<Directory, StoreError> {
        let directory = files.name();
        let failed = |error| StoreError::fatal(&format!("opening {directory}"), error);
        let Some(lock) = files.lock(LOCK_FILE).map_err(failed)? else {
            return Err(StoreError::InUse { directory });
        };
        let format = StateFile::new(Arc::clone(&files), FORMAT_FILE, FORMAT_MAGIC, FORMAT);
        match format.read()? {
            None if files.exists(data).map_err(failed)? => {
                return Err(StoreError::NotAStore { directory, file: data.to_owned() });
            }
            // What an older program wrote is read as it is, and is not for that program any more.
            Some(state) if state.format == FORMAT => {}
            None | Some(_) => format.write(CONTENT)?,
        }
        Ok(Directory { files, _lock: lock })
    }

    /// The files in it, also for [`StateFile`]s of the caller's.
    pub fn files(&self) -> &Arc<dyn Files> {
        &self.files
    }
}
