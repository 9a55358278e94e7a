//! The engines that are compared, behind the least that all of them can do.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use chordata_protocol::{Id, Key, Range, Record, Version};
use chordata_store::{Change, DiskEngine, DiskSettings, Engine, MemoryEngine, RealFiles};
use redb::{Durability, ReadableDatabase, TableDefinition};

use crate::BenchError;

/// Memory for pages, the same for all that can be told.
const CACHE_BYTES: usize = 64 * 1024 * 1024;
/// Unsynced changes that our engine keeps before it writes them.
const OVERLAY_BYTES_MAX: usize = 8 * 1024 * 1024;

const TABLE: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("rows");

/// Which engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Contender {
    /// fjall by itself
    Fjall,
    /// redb by itself
    Redb,
    /// Our engine on disk, which opens at once after a kill: two syncs a flush
    Disk,
    /// The same, opening after a kill by reading everything: one sync a flush
    DiskOneSync,
    /// Our engine in memory
    Memory,
}

/// A key with its place.
pub type Place = (Id, Key);

/// What is asked of each.
pub trait Contestant {
    /// Writes a batch as one transaction; synced: it is on disk when this returns.
    ///
    /// # Errors
    /// When the engine fails.
    fn write(&mut self, entries: Vec<(Place, Vec<u8>)>, sync: bool) -> Result<(), BenchError>;

    /// Brings everything to disk.
    ///
    /// # Errors
    /// When the engine fails.
    fn finish(&mut self) -> Result<(), BenchError>;

    /// How long the value is.
    ///
    /// # Errors
    /// When the engine fails.
    fn read(&self, place: &Place) -> Result<usize, BenchError>;

    /// Reads so many values from here on; answers how many there were.
    ///
    /// # Errors
    /// When the engine fails.
    fn scan(&self, from: &Place, count: usize) -> Result<usize, BenchError>;
}

impl Contender {
    /// In the order of the tables.
    pub const ALL: [Contender; 5] =
        [Contender::Fjall, Contender::Redb, Contender::Disk, Contender::DiskOneSync, Contender::Memory];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Contender::Fjall => "fjall",
            Contender::Redb => "redb",
            Contender::Disk => "disk",
            Contender::DiskOneSync => "disk-one-sync",
            Contender::Memory => "memory",
        }
    }

    /// Opens what is in the directory, or makes it.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn open(self, directory: &Path) -> Result<Box<dyn Contestant>, BenchError> {
        Ok(match self {
            Contender::Fjall => Box::new(Fjall::open(directory)?),
            Contender::Redb => Box::new(Redb::open(directory)?),
            Contender::Disk => Box::new(Ours(disk(directory, true)?)),
            Contender::DiskOneSync => Box::new(Ours(disk(directory, false)?)),
            Contender::Memory => Box::new(Ours(MemoryEngine::default())),
        })
    }
}

/// Our engine in this directory.
///
/// # Errors
/// When it cannot be opened.
pub fn disk(directory: &Path, quick_open: bool) -> Result<DiskEngine, BenchError> {
    let files = RealFiles::new(directory).map_err(BenchError::call)?;
    let settings = DiskSettings { cache_bytes: CACHE_BYTES, quick_open };
    DiskEngine::open(Arc::new(files), settings).map_err(BenchError::call)
}

/// A change as a put makes it.
pub fn put((id, key): Place, value: Vec<u8>) -> Change {
    Change::Put(
        id,
        key,
        Record { version: Version { epoch: 1, sequence: 1 }, value: value.into(), expires: None },
    )
}

fn bytes((id, key): &Place) -> Vec<u8> {
    let key = match key {
        Key::Bytes(bytes) => bytes,
        Key::Literal(id) => id.as_bytes().as_slice(),
    };
    [id.as_bytes(), key].concat()
}

struct Fjall {
    database: fjall::Database,
    rows: fjall::Keyspace,
}

impl Fjall {
    fn open(directory: &Path) -> Result<Fjall, BenchError> {
        let database = fjall::Database::builder(directory).cache_size(CACHE_BYTES as u64).open();
        let database = database.map_err(BenchError::call)?;
        let rows = database.keyspace("rows", fjall::KeyspaceCreateOptions::default);
        Ok(Fjall { rows: rows.map_err(BenchError::call)?, database })
    }
}

impl Contestant for Fjall {
    fn write(&mut self, entries: Vec<(Place, Vec<u8>)>, sync: bool) -> Result<(), BenchError> {
        let mut batch = self.database.batch();
        if sync {
            batch = batch.durability(Some(fjall::PersistMode::SyncData));
        }
        for (place, value) in entries {
            batch.insert(&self.rows, bytes(&place), value);
        }
        batch.commit().map_err(BenchError::call)
    }

    fn finish(&mut self) -> Result<(), BenchError> {
        self.database.persist(fjall::PersistMode::SyncData).map_err(BenchError::call)
    }

    fn read(&self, place: &Place) -> Result<usize, BenchError> {
        let value = self.rows.get(bytes(place)).map_err(BenchError::call)?;
        Ok(value.map_or(0, |value| value.len()))
    }

    fn scan(&self, from: &Place, count: usize) -> Result<usize, BenchError> {
        let mut found = 0;
        for row in self.rows.range(bytes(from)..).take(count) {
            let (_, value) = row.into_inner().map_err(BenchError::call)?;
            found += usize::from(!value.is_empty());
        }
        Ok(found)
    }
}

struct Redb(redb::Database);

impl Redb {
    fn open(directory: &Path) -> Result<Redb, BenchError> {
        let file = directory.join("data.redb");
        let database = redb::Builder::new().set_cache_size(CACHE_BYTES).create(file);
        let mut redb = Redb(database.map_err(BenchError::call)?);
        redb.write(Vec::new(), true)?;
        Ok(redb)
    }

    fn transaction(&self, entries: Vec<(Place, Vec<u8>)>, sync: bool) -> Result<(), redb::Error> {
        let mut transaction = self.0.begin_write()?;
        let durability = if sync { Durability::Immediate } else { Durability::None };
        transaction.set_durability(durability)?;
        {
            let mut table = transaction.open_table(TABLE)?;
            for (place, value) in entries {
                table.insert(&*bytes(&place), &*value)?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn look<T>(
        &self,
        look: impl FnOnce(redb::ReadOnlyTable<&'static [u8], &'static [u8]>) -> Result<T, redb::Error>,
    ) -> Result<T, BenchError> {
        let table = || -> Result<_, redb::Error> { Ok(self.0.begin_read()?.open_table(TABLE)?) };
        table().and_then(look).map_err(BenchError::call)
    }
}

impl Contestant for Redb {
    fn write(&mut self, entries: Vec<(Place, Vec<u8>)>, sync: bool) -> Result<(), BenchError> {
        self.transaction(entries, sync).map_err(BenchError::call)
    }

    fn finish(&mut self) -> Result<(), BenchError> {
        self.write(Vec::new(), true)
    }

    fn read(&self, place: &Place) -> Result<usize, BenchError> {
        self.look(|table| Ok(table.get(&*bytes(place))?.map_or(0, |value| value.value().len())))
    }

    fn scan(&self, from: &Place, count: usize) -> Result<usize, BenchError> {
        self.look(|table| {
            let mut found = 0;
            for row in table.range(&*bytes(from)..)?.take(count) {
                found += usize::from(!row?.1.value().is_empty());
            }
            Ok(found)
        })
    }
}

struct Ours<E>(E);

impl<E: Engine> Ours<E> {
    fn flush(&mut self) -> Result<(), BenchError> {
        if let Some(flush) = self.0.begin_flush().map_err(BenchError::call)? {
            let flushed = flush.run().map_err(BenchError::call)?;
            self.0.end_flush(flushed).map_err(BenchError::call)?;
        }
        Ok(())
    }
}

impl<E: Engine> Contestant for Ours<E> {
    fn write(&mut self, entries: Vec<(Place, Vec<u8>)>, sync: bool) -> Result<(), BenchError> {
        let changes = entries.into_iter().map(|(place, value)| put(place, value)).collect();
        self.0.apply(changes).map_err(BenchError::call)?;
        if sync || self.0.overlay_bytes() > OVERLAY_BYTES_MAX { self.flush() } else { Ok(()) }
    }

    fn finish(&mut self) -> Result<(), BenchError> {
        self.flush()
    }

    fn read(&self, (id, key): &Place) -> Result<usize, BenchError> {
        let record = self.0.get(*id, key).map_err(BenchError::call)?;
        Ok(record.map_or(0, |record| record.value.len()))
    }

    fn scan(&self, from: &Place, count: usize) -> Result<usize, BenchError> {
        let mut found = 0;
        let all = Range { low: Id::MAX, high: Id::MAX };
        let visit = &mut |item: chordata_store::Item<'_>| {
            found += usize::from(item.value.is_some_and(|value| !value.is_empty()));
            if found < count { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        self.0.scan(all, Some(from), visit).map_err(BenchError::call)?;
        Ok(found)
    }
}
