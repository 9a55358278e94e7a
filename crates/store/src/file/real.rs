//! Files of the operating system.

use std::fs::{self, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{File, Files, Lock};

/// A directory of the operating system.
#[derive(Debug)]
pub struct RealFiles {
    directory: PathBuf,
}

impl RealFiles {
    /// This directory, which is created if need be, with all above it.
    ///
    /// # Errors
    /// Of the file system.
    pub fn new(directory: impl Into<PathBuf>) -> io::Result<RealFiles> {
        let directory = directory.into();
        if !directory.is_dir() {
            fs::create_dir_all(&directory)?;
            if let Some(above) = directory.parent() {
                sync_names(above)?;
            }
        }
        Ok(RealFiles { directory })
    }
}

fn sync_names(directory: &Path) -> io::Result<()> {
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    fs::File::open(directory)?.sync_all()
}

fn absent_is_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(done) => Ok(Some(done)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Files for RealFiles {
    fn name(&self) -> String {
        self.directory.display().to_string()
    }

    fn open(&self, name: &str, create: bool) -> io::Result<Option<Box<dyn File>>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(create).truncate(false);
        let file = absent_is_none(options.open(self.directory.join(name)))?;
        Ok(file.map(|file| Box::new(file) as Box<dyn File>))
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        self.directory.join(name).try_exists()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.directory.join(from), self.directory.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        absent_is_none(fs::remove_file(self.directory.join(name))).map(|_| ())
    }

    fn sync_directory(&self) -> io::Result<()> {
        sync_names(&self.directory)
    }

    fn lock(&self, name: &str) -> io::Result<Option<Lock>> {
        let path = self.directory.join(name);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl File for fs::File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(buffer, position)
    }

    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, position)
    }

    fn set_size(&self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        // The length is among what this syncs: data behind the old end could not be read without it.
        self.sync_data()
    }
}
