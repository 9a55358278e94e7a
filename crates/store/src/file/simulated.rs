//! Files in memory that behave as badly as a disk may.
//!
//! Until a file is synced, its writes wait. A [`crash`](SimulatedFiles::crash) keeps any of them, loses any of them, and
//! tears any of them into sectors of 512 bytes of which some are kept; names that were not synced are kept up to some
//! point. A sync that was made to fail has lost what waited for it, although the file still shows it: a later sync does
//! not bring it back, as on Linux. All chance comes from a seed.
//!
//! Writes, syncs and changes of names are counted. [`fail_from`](SimulatedFiles::fail_from) makes the one of that number
//! and everything behind it fail, as when the machine dies there; [`fail_once`](SimulatedFiles::fail_once) only that one.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::{File, Files, Lock};

const SECTOR_BYTES: usize = 512;

/// A simulated directory. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct SimulatedFiles {
    disk: Arc<Mutex<Disk>>,
    /// Told when syncs begin or cease to be held, and when one is.
    changed: Arc<Condvar>,
}

#[derive(Debug, Default)]
struct Disk {
    contents: Vec<Content>,
    names: BTreeMap<String, usize>,
    names_on_disk: BTreeMap<String, usize>,
    waiting_names: Vec<NameChange>,
    locks: BTreeSet<String>,
    operations: u64,
    syncs: u64,
    hold_syncs: bool,
    held: u64,
    fail_from: Option<u64>,
    fail_once: Option<u64>,
    /// Handles from before a crash are dead.
    life: u64,
}

#[derive(Debug, Default)]
struct Content {
    shown: Vec<u8>,
    on_disk: Vec<u8>,
    waiting: Vec<Write>,
}

#[derive(Clone, Debug)]
enum Write {
    Bytes(usize, Vec<u8>),
    Size(usize),
}

#[derive(Debug)]
enum NameChange {
    Create(String, usize),
    Rename(String, String),
    Remove(String),
}

impl Write {
    fn make(&self, content: &mut Vec<u8>) {
        match self {
            Write::Bytes(at, bytes) => {
                let end = at + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*at..end].copy_from_slice(bytes);
            }
            Write::Size(size) => content.resize(*size, 0),
        }
    }

    /// What a crash leaves of it.
    fn torn(self, random: &mut fastrand::Rng) -> Vec<Write> {
        match (random.u8(0..3), self) {
            (0, _) => Vec::new(),
            (1, write @ (Write::Bytes(..) | Write::Size(_))) | (_, write @ Write::Size(_)) => vec![write],
            (_, Write::Bytes(at, bytes)) => {
                let sectors = bytes.chunks(SECTOR_BYTES).enumerate();
                let kept = sectors.filter(|_| random.bool());
                kept.map(|(sector, bytes)| Write::Bytes(at + sector * SECTOR_BYTES, bytes.to_vec())).collect()
            }
        }
    }
}

impl NameChange {
    fn make(self, names: &mut BTreeMap<String, usize>) {
        match self {
            NameChange::Create(name, content) => {
                names.insert(name, content);
            }
            NameChange::Rename(from, to) => {
                if let Some(content) = names.remove(&from) {
                    names.insert(to, content);
                }
            }
            NameChange::Remove(name) => {
                names.remove(&name);
            }
        }
    }
}

fn failed() -> io::Error {
    io::Error::other("the simulated disk fails here")
}

impl Disk {
    /// Counts an operation. True: it, or everything, is to fail.
    fn fails(&mut self) -> bool {
        self.operations += 1;
        let at = self.operations;
        self.is_dead() || self.fail_once == Some(at)
    }

    fn is_dead(&self) -> bool {
        self.fail_from.is_some_and(|from| self.operations >= from)
    }

    fn content(&mut self, number: usize) -> &mut Content {
        &mut self.contents[number]
    }
}

impl SimulatedFiles {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        // A test that panicked elsewhere says why by itself.
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many writes, syncs and changes of names there were.
    pub fn operations(&self) -> u64 {
        self.disk().operations
    }

    /// How many files were synced.
    pub fn syncs(&self) -> u64 {
        self.disk().syncs
    }

    /// From now on, or from now on no longer, whoever syncs a file waits: a slow disk.
    pub fn hold_syncs(&self, hold: bool) {
        self.disk().hold_syncs = hold;
        self.changed.notify_all();
    }

    /// Waits until somebody waits for a sync that is held.
    pub fn wait_for_held_sync(&self) {
        let waited = self.changed.wait_while(self.disk(), |disk| disk.held == 0);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn disk_when_not_held(&self) -> MutexGuard<'_, Disk> {
        let mut disk = self.disk();
        disk.held += 1;
        self.changed.notify_all();
        let waited = self.changed.wait_while(disk, |disk| disk.hold_syncs);
        disk = waited.unwrap_or_else(PoisonError::into_inner);
        disk.held -= 1;
        disk
    }

    /// The operation of this number, counted from 1, and everything behind it fails. A write that fails so may have
    /// been made nevertheless.
    pub fn fail_from(&self, operation: u64) {
        self.disk().fail_from = Some(operation);
    }

    /// The operation of this number, counted from 1, fails, and no other.
    pub fn fail_once(&self, operation: u64) {
        self.disk().fail_once = Some(operation);
    }

    /// Everything fails from now on, until the crash: nothing that is dropped can write any more.
    pub fn kill(&self) {
        self.disk().fail_from = Some(0);
    }

    /// The machine has crashed and starts again: what was not synced is kept, lost or torn as the seed will have it.
    /// Files that were open do nothing but fail, locks are free, nothing is made to fail any more.
    pub fn crash(&self, seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed);
        let disk = &mut *self.disk();
        for content in &mut disk.contents {
            for write in std::mem::take(&mut content.waiting) {
                for part in write.torn(&mut random) {
                    part.make(&mut content.on_disk);
                }
            }
            content.shown.clone_from(&content.on_disk);
        }
        let kept = random.usize(0..=disk.waiting_names.len());
        for change in disk.waiting_names.drain(..).take(kept) {
            change.make(&mut disk.names_on_disk);
        }
        disk.names.clone_from(&disk.names_on_disk);
        disk.locks.clear();
        (disk.fail_from, disk.fail_once) = (None, None);
        disk.life += 1;
    }

    /// All of a file as it is shown now: for tests that look for or make damage.
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        let disk = self.disk();
        let content = disk.contents.get(*disk.names.get(name)?)?;
        Some(content.shown.clone())
    }

    /// Makes a file hold this, on disk: for tests that make damage.
    pub fn set_content(&self, name: &str, bytes: &[u8]) {
        let disk = &mut *self.disk();
        let content = Content { shown: bytes.to_vec(), on_disk: bytes.to_vec(), waiting: Vec::new() };
        disk.contents.push(content);
        let number = disk.contents.len() - 1;
        disk.names.insert(name.to_owned(), number);
        disk.names_on_disk.insert(name.to_owned(), number);
    }
}

impl Files for SimulatedFiles {
    fn name(&self) -> String {
        "the simulated directory".to_owned()
    }

    fn open(&self, name: &str, create: bool) -> io::Result<Option<Box<dyn File>>> {
        let disk = &mut *self.disk();
        if disk.is_dead() {
            return Err(failed());
        }
        let content = match disk.names.get(name) {
            Some(content) => *content,
            None if !create => return Ok(None),
            None => {
                if disk.fails() {
                    return Err(failed());
                }
                disk.contents.push(Content::default());
                let content = disk.contents.len() - 1;
                disk.names.insert(name.to_owned(), content);
                disk.waiting_names.push(NameChange::Create(name.to_owned(), content));
                content
            }
        };
        Ok(Some(Box::new(SimulatedFile { files: self.clone(), content, life: disk.life })))
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        let disk = self.disk();
        if disk.is_dead() { Err(failed()) } else { Ok(disk.names.contains_key(name)) }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let disk = &mut *self.disk();
        if disk.fails() {
            return Err(failed());
        }
        let content = disk.names.remove(from).ok_or(ErrorKind::NotFound)?;
        disk.names.insert(to.to_owned(), content);
        disk.waiting_names.push(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let disk = &mut *self.disk();
        if disk.fails() {
            return Err(failed());
        }
        if disk.names.remove(name).is_some() {
            disk.waiting_names.push(NameChange::Remove(name.to_owned()));
        }
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        let disk = &mut *self.disk();
        if disk.fails() {
            return Err(failed());
        }
        for change in std::mem::take(&mut disk.waiting_names) {
            change.make(&mut disk.names_on_disk);
        }
        Ok(())
    }

    fn lock(&self, name: &str) -> io::Result<Option<Lock>> {
        let disk = &mut *self.disk();
        if disk.is_dead() {
            return Err(failed());
        }
        if !disk.locks.insert(name.to_owned()) {
            return Ok(None);
        }
        Ok(Some(Box::new(SimulatedLock { files: self.clone(), name: name.to_owned(), life: disk.life })))
    }
}

struct SimulatedLock {
    files: SimulatedFiles,
    name: String,
    life: u64,
}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        let disk = &mut *self.files.disk();
        if disk.life == self.life {
            disk.locks.remove(&self.name);
        }
    }
}

#[derive(Debug)]
struct SimulatedFile {
    files: SimulatedFiles,
    content: usize,
    life: u64,
}

impl SimulatedFile {
    fn look<T>(&self, look: impl FnOnce(&Content) -> io::Result<T>) -> io::Result<T> {
        let disk = &mut *self.files.disk();
        if disk.life != self.life || disk.is_dead() {
            return Err(failed());
        }
        look(disk.content(self.content))
    }

    fn write(&self, write: Write) -> io::Result<()> {
        let disk = &mut *self.files.disk();
        if disk.life != self.life || disk.is_dead() {
            return Err(failed());
        }
        let fails = disk.fails();
        let content = disk.content(self.content);
        write.make(&mut content.shown);
        content.waiting.push(write);
        if fails { Err(failed()) } else { Ok(()) }
    }
}

fn place(position: u64) -> io::Result<usize> {
    usize::try_from(position).map_err(io::Error::other)
}

impl File for SimulatedFile {
    fn size(&self) -> io::Result<u64> {
        self.look(|content| Ok(content.shown.len() as u64))
    }

    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        let at = place(position)?;
        self.look(|content| {
            let bytes = content.shown.get(at..at + buffer.len()).ok_or(ErrorKind::UnexpectedEof)?;
            buffer.copy_from_slice(bytes);
            Ok(())
        })
    }

    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        self.write(Write::Bytes(place(position)?, bytes.to_vec()))
    }

    fn set_size(&self, bytes: u64) -> io::Result<()> {
        self.write(Write::Size(place(bytes)?))
    }

    fn sync(&self) -> io::Result<()> {
        let disk = &mut *self.files.disk_when_not_held();
        if disk.life != self.life {
            return Err(failed());
        }
        let (dead, fails) = (disk.is_dead(), disk.fails());
        disk.syncs += 1;
        let content = disk.content(self.content);
        if fails {
            // A machine that died in the middle of it may have written any part; a disk that answered with an error
            // has not, and what waited is forgotten.
            if !dead && disk.fail_from.is_none() {
                disk.content(self.content).waiting.clear();
            }
            return Err(failed());
        }
        for write in std::mem::take(&mut content.waiting) {
            write.make(&mut content.on_disk);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(files: &SimulatedFiles, name: &str, bytes: &[u8]) -> Box<dyn File> {
        let file = files.open(name, true).unwrap().unwrap();
        file.write_at(0, bytes).unwrap();
        file
    }

    #[test]
    fn a_crash_keeps_loses_and_tears_what_was_not_synced() {
        let mut seen = BTreeSet::new();
        for seed in 0..100 {
            let files = SimulatedFiles::default();
            let file = written(&files, "f", &[1; 2 * SECTOR_BYTES]);
            file.sync().unwrap();
            files.sync_directory().unwrap();
            file.write_at(0, &[2; 2 * SECTOR_BYTES]).unwrap();
            files.crash(seed);
            let content = files.content("f").unwrap();
            assert_eq!(content.len(), 2 * SECTOR_BYTES);
            seen.insert((content[0], content[SECTOR_BYTES]));
            assert!(file.size().is_err(), "handles of the time before are dead");
        }
        assert_eq!(seen, BTreeSet::from([(1, 1), (1, 2), (2, 1), (2, 2)]));
    }

    #[test]
    fn a_name_that_was_not_synced_may_be_gone_and_one_that_was_is_not() {
        let left = |seed| {
            let files = SimulatedFiles::default();
            written(&files, "old", b"old").sync().unwrap();
            files.sync_directory().unwrap();
            written(&files, "new", b"new").sync().unwrap();
            files.rename("new", "old").unwrap();
            files.crash(seed);
            files.content("old").unwrap()
        };
        let left: BTreeSet<Vec<u8>> = (0..50).map(left).collect();
        assert_eq!(left, BTreeSet::from([b"old".to_vec(), b"new".to_vec()]));
    }

    #[test]
    fn what_waited_for_a_sync_that_failed_is_lost_although_a_later_one_succeeds() {
        let files = SimulatedFiles::default();
        let file = written(&files, "f", b"first");
        file.sync().unwrap();
        files.sync_directory().unwrap();
        file.write_at(0, b"later").unwrap();
        files.fail_once(files.operations() + 1);
        assert!(file.sync().is_err());
        assert_eq!(files.content("f").unwrap(), b"later", "it is still shown");
        file.sync().unwrap();
        files.crash(0);
        assert_eq!(files.content("f").unwrap(), b"first");
    }

    #[test]
    fn everything_fails_from_the_operation_on() {
        let files = SimulatedFiles::default();
        let file = written(&files, "f", b"1");
        files.fail_from(files.operations() + 2);
        file.sync().unwrap();
        assert!(file.sync().is_err());
        assert!(file.read_at(0, &mut [0]).is_err());
        assert!(
            files.open("g", true).is_err() && files.lock("l").is_err() && files.sync_directory().is_err()
        );
    }
}
