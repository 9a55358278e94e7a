//! The database under the disk engine: opened, created, read, and written in one transaction a flush.

use std::fmt::Display;
use std::sync::OnceLock;

use redb::{
    Builder, Database, Durability, ReadOnlyTable, ReadableDatabase, TableDefinition, WriteTransaction,
};

use super::DiskSettings;
use super::backend::Backend;
use super::overlay::Overlay;
use super::record::{open_note, seal_note};
use crate::directory::Directory;
use crate::engine::Counts;
use crate::error::StoreError;

/// The file that holds the records.
pub(crate) const DATA_FILE: &str = "data.redb";
/// The same while it is being created.
const NEW_DATA_FILE: &str = "data.redb.new";

type Table = TableDefinition<'static, &'static [u8], &'static [u8]>;
pub(crate) type View = ReadOnlyTable<&'static [u8], &'static [u8]>;

const ROWS: Table = TableDefinition::new("rows");
const NOTES: Table = TableDefinition::new("notes");
/// Moments and places of rows that end by themselves; since format 2.
const ENDINGS: Table = TableDefinition::new("endings");
const COUNTS: Table = TableDefinition::new("counts");
const NOTHING: &[u8] = &[];
const COUNTS_NAME: &[u8] = b"counts";

/// What the engine and its flushes have in common. The directory is free again when the last of them is gone.
#[derive(Debug)]
pub(crate) struct Base {
    // Closed in front of the lock's release.
    database: Database,
    quick_open: bool,
    directory: Directory,
    /// Why nothing can be relied on any more.
    failure: OnceLock<String>,
}

/// The database as it was after some transaction.
#[derive(Debug)]
pub(crate) struct Views {
    pub(crate) rows: View,
    pub(crate) notes: View,
    pub(crate) endings: View,
}

fn opening(error: impl Display) -> StoreError {
    StoreError::fatal("opening the database", error)
}

fn database(directory: &Directory, name: &str, cache_bytes: usize) -> Result<Database, StoreError> {
    let file = directory.files().open(name, true).map_err(opening)?;
    let file = file.ok_or_else(|| opening("the file is gone"))?;
    Builder::new().set_cache_size(cache_bytes).create_with_backend(Backend(file)).map_err(opening)
}

/// A database takes its name only when it is whole: a crash leaves none, or one that can be opened.
fn create(directory: &Directory, cache_bytes: usize) -> Result<(), StoreError> {
    let files = directory.files();
    files.remove(NEW_DATA_FILE).map_err(opening)?;
    let database = database(directory, NEW_DATA_FILE, cache_bytes)?;
    write(&database, true, |transaction| {
        transaction.open_table(ROWS)?;
        transaction.open_table(NOTES)?;
        transaction.open_table(ENDINGS)?;
        let mut counts = transaction.open_table(COUNTS)?;
        counts.insert(COUNTS_NAME, &*encode(Counts::default()))?;
        Ok(())
    })
    .map_err(opening)?;
    drop(database);
    // Dropping it wrote, and errors are not told then.
    let file = files.open(NEW_DATA_FILE, false).map_err(opening)?;
    file.ok_or_else(|| opening("the file is gone"))?.sync().map_err(opening)?;
    files.rename(NEW_DATA_FILE, DATA_FILE).map_err(opening)?;
    files.sync_directory().map_err(opening)
}

fn write(
    database: &Database,
    quick_open: bool,
    change: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate).map_err(redb::Error::from)?;
    transaction.set_quick_repair(quick_open);
    change(&transaction)?;
    Ok(transaction.commit()?)
}

/// Makes the tables that an older program did not know.
fn bring_up_to_date(database: &Database, quick_open: bool) -> Result<(), redb::Error> {
    match database.begin_read()?.open_table(ENDINGS) {
        Ok(_) => Ok(()),
        Err(redb::TableError::TableDoesNotExist(_)) => write(database, quick_open, |transaction| {
            transaction.open_table(ENDINGS).map(|_| ()).map_err(redb::Error::from)
        }),
        Err(error) => Err(error.into()),
    }
}

fn encode(counts: Counts) -> Box<[u8]> {
    let numbers = [counts.keys, counts.tombstones, counts.bytes];
    seal_note(COUNTS_NAME, &numbers.map(u64::to_le_bytes).concat())
}

fn decode(bytes: &[u8]) -> Option<Counts> {
    let mut numbers = open_note(COUNTS_NAME, bytes)?.chunks_exact(8).map(|number| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(number);
        u64::from_le_bytes(bytes)
    });
    Some(Counts { keys: numbers.next()?, tombstones: numbers.next()?, bytes: numbers.next()? })
}

impl Base {
    pub(crate) fn open(directory: Directory, settings: DiskSettings) -> Result<Base, StoreError> {
        let DiskSettings { cache_bytes, quick_open } = settings;
        if !directory.files().exists(DATA_FILE).map_err(opening)? {
            create(&directory, cache_bytes)?;
        }
        let database = database(&directory, DATA_FILE, cache_bytes)?;
        bring_up_to_date(&database, quick_open).map_err(opening)?;
        Ok(Base { database, quick_open, directory, failure: OnceLock::new() })
    }

    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// # Errors
    /// When the store has failed.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        self.failure.get().map_or(Ok(()), |reason| Err(StoreError::Fatal(reason.clone())))
    }

    /// Nothing can be relied on from now on.
    pub(crate) fn fail(&self, doing: &str, error: impl Display) -> StoreError {
        let reason = self.failure.get_or_init(|| format!("{doing}: {error}"));
        StoreError::Fatal(reason.clone())
    }

    pub(crate) fn views(&self) -> Result<Views, StoreError> {
        let open = || -> Result<Views, redb::Error> {
            let transaction = self.database.begin_read()?;
            let [rows, notes, endings] = [ROWS, NOTES, ENDINGS].map(|table| transaction.open_table(table));
            Ok(Views { rows: rows?, notes: notes?, endings: endings? })
        };
        open().map_err(|error| self.fail("reading the database", error))
    }

    pub(crate) fn counts(&self) -> Result<Counts, StoreError> {
        let read = || -> Result<Option<Counts>, redb::Error> {
            let table = self.database.begin_read()?.open_table(COUNTS)?;
            Ok(table.get(COUNTS_NAME)?.and_then(|bytes| decode(bytes.value())))
        };
        let counts = read().map_err(|error| self.fail("reading the database", error))?;
        counts.ok_or_else(|| StoreError::DamagedFile {
            file: format!("{DATA_FILE} in {}", self.directory.files().name()),
            reason: "it does not say how many keys it holds".to_owned(),
        })
    }

    /// Writes all of an overlay: one transaction, one or two syncs.
    pub(crate) fn flush(&self, overlay: &Overlay, counts: Counts) -> Result<(), StoreError> {
        self.check()?;
        let written = write(&self.database, self.quick_open, |transaction| {
            let mut rows = transaction.open_table(ROWS)?;
            for (place, row) in &overlay.rows {
                match row {
                    Some(row) => drop(rows.insert(&**place, &*row.0)?),
                    None => drop(rows.remove(&**place)?),
                }
            }
            let mut notes = transaction.open_table(NOTES)?;
            for (name, note) in &overlay.notes {
                match note {
                    Some(note) => drop(notes.insert(&**name, &**note)?),
                    None => drop(notes.remove(&**name)?),
                }
            }
            if !overlay.endings.is_empty() {
                let mut endings = transaction.open_table(ENDINGS)?;
                for (ending, ends) in &overlay.endings {
                    match ends {
                        Some(()) => drop(endings.insert(&**ending, NOTHING)?),
                        None => drop(endings.remove(&**ending)?),
                    }
                }
            }
            transaction.open_table(COUNTS)?.insert(COUNTS_NAME, &*encode(counts))?;
            Ok(())
        });
        written.map_err(|error| self.fail("writing to disk", error))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chordata_protocol::{Id, Key, Moment, Record, Value, Version};

    use super::*;
    use crate::engine::{Change, Engine};
    use crate::{DiskEngine, SimulatedFiles};

    #[test]
    fn a_database_without_moments_gets_a_table_for_them() {
        let files = SimulatedFiles::default();
        let open = || DiskEngine::open(Arc::new(files.clone()), DiskSettings::default()).unwrap();
        let record = |expires| Record { version: Version::default(), value: Value::from("v"), expires };
        let flush = |engine: &mut DiskEngine| {
            let flushed = engine.begin_flush().unwrap().unwrap().run().unwrap();
            engine.end_flush(flushed).unwrap();
        };
        let mut engine = open();
        engine.apply(vec![Change::Put(Id::ZERO, Key::new("old"), record(None))]).unwrap();
        flush(&mut engine);
        drop(engine);
        // As the program before wrote it.
        let directory = Directory::open(Arc::new(files.clone()), DATA_FILE).unwrap();
        let old = database(&directory, DATA_FILE, 1 << 16).unwrap();
        write(&old, true, |transaction| {
            assert!(transaction.delete_table(ENDINGS)?);
            Ok(())
        })
        .unwrap();
        drop((old, directory));

        let mut engine = open();
        engine
            .apply(vec![Change::Put(Id::ZERO, Key::new("new"), record(Some(Moment::from_millis(5))))])
            .unwrap();
        flush(&mut engine);
        drop(engine);
        let engine = open();
        assert_eq!(engine.get(Id::ZERO, &Key::new("old")).unwrap(), Some(record(None)));
        let mut found = Vec::new();
        engine
            .endings(None, &mut |ending| {
                found.push(ending.key);
                std::ops::ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(found, [Key::new("new")]);
        engine.verify().unwrap();
    }
}
