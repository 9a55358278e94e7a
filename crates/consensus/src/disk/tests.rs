//! Power cuts at every write: what was answered is there afterwards, and nothing is there by half.

use std::collections::BTreeMap;
use std::io;

use openraft::EntryPayload;
use parking_lot::Mutex;
use redb::StorageBackend;

use super::*;
use crate::types::{Batch, Membership, StoredMembership};

/// A disk that forgets what was not synced, and fails from a chosen operation on.
#[derive(Debug, Clone)]
struct FailingDisk(Arc<Mutex<Contents>>);

#[derive(Debug)]
struct Contents {
    /// As the program sees it.
    seen: Vec<u8>,
    /// As it was at the last sync.
    synced: Vec<u8>,
    /// Since then, in order.
    unsynced: Vec<Write>,
    /// Operations until the power is cut.
    left: u64,
}

#[derive(Debug, Clone)]
enum Write {
    Length(usize),
    Bytes(usize, Vec<u8>),
}

impl Write {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Write::Length(length) => to.resize(*length, 0),
            Write::Bytes(offset, bytes) => {
                to.resize(to.len().max(offset + bytes.len()), 0);
                to[*offset..offset + bytes.len()].copy_from_slice(bytes);
            }
        }
    }
}

impl FailingDisk {
    fn new(image: Vec<u8>, left: u64) -> Self {
        let contents = Contents { seen: image.clone(), synced: image, unsynced: Vec::new(), left };
        Self(Arc::new(Mutex::new(contents)))
    }

    fn with<T>(&self, operation: impl FnOnce(&mut Contents) -> T) -> io::Result<T> {
        let mut contents = self.0.lock();
        if contents.left == 0 {
            return Err(io::Error::other("the power is off"));
        }
        contents.left -= 1;
        Ok(operation(&mut contents))
    }

    fn write_down(&self, write: Write) -> io::Result<()> {
        self.with(|contents| {
            write.apply(&mut contents.seen);
            contents.unsynced.push(write);
        })
    }

    /// What the next start finds: all that was synced, and of the rest whatever reached the disk, in any order, perhaps
    /// torn.
    fn after_power_cut(&self, random: &mut fastrand::Rng) -> Vec<u8> {
        let mut contents = self.0.lock();
        let mut image = contents.synced.clone();
        let mut unsynced = std::mem::take(&mut contents.unsynced);
        if random.u8(..3) == 0 {
            // Only the program's last word was lost.
            unsynced.iter().for_each(|write| write.apply(&mut image));
            return image;
        }
        random.shuffle(&mut unsynced);
        for write in unsynced {
            match write {
                _ if random.bool() => {}
                Write::Bytes(offset, bytes) if random.u8(..4) == 0 => {
                    Write::Bytes(offset, bytes[..random.usize(..bytes.len())].to_vec()).apply(&mut image);
                }
                Write::Length(length) if length < image.len() => {}
                write => write.apply(&mut image),
            }
        }
        image
    }
}

impl StorageBackend for FailingDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        let contents = self.0.lock();
        let bytes = contents.seen.get(offset..offset + out.len());
        out.copy_from_slice(bytes.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.write_down(Write::Length(usize::try_from(length).unwrap()))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(|contents| {
            contents.synced = contents.seen.clone();
            contents.unsynced.clear();
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.write_down(Write::Bytes(usize::try_from(offset).unwrap(), data.to_vec()))
    }
}

const ME: NodeId = NodeId(1);

fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(openraft::CommittedLeaderId::new(term, ME), index)
}

fn entry(term: u64, index: u64, random: &mut fastrand::Rng) -> Entry {
    let length = random.usize(..3000);
    let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(length).collect();
    let batch = Batch { commands: vec![bytes.into()], ticket: None };
    Entry { log_id: log_id(term, index), payload: EntryPayload::Normal(batch) }
}

/// What the file should hold.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    log: BTreeMap<u64, Vec<u8>>,
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    lineage: Option<u128>,
    snapshot: Option<(SnapshotMeta, SnapshotBytes)>,
}

impl Model {
    fn of(loaded: Loaded) -> Self {
        let entries = loaded.entries.iter();
        Self {
            log: entries.map(|(entry, _)| (entry.log_id.index, encode(entry).unwrap())).collect(),
            vote: loaded.vote,
            committed: loaded.committed,
            purged: loaded.purged,
            lineage: loaded.lineage,
            snapshot: loaded.snapshot,
        }
    }

    fn next(&self) -> u64 {
        let last = self.log.last_key_value().map(|(index, _)| *index);
        last.max(self.purged.map(|purged| purged.index)).map_or(0, |index| index + 1)
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Append { entries, committed } => {
                self.log.extend(entries.iter().cloned());
                self.committed = committed.or(self.committed);
            }
            Change::Truncate { from } => drop(self.log.split_off(from)),
            Change::Purge { upto } => {
                self.log = self.log.split_off(&(upto.index + 1));
                self.purged = Some(*upto);
            }
            Change::Vote(vote) => self.vote = Some(*vote),
            Change::Lineage(lineage) => self.lineage = Some(*lineage),
            Change::Snapshot { meta, bytes } => self.snapshot = Some((meta.clone(), bytes.clone())),
        }
    }

    fn random_change(&self, random: &mut fastrand::Rng) -> Change {
        let next = self.next();
        match random.u8(..10) {
            0 => Change::Vote(Vote::new(random.u64(..100), ME)),
            1 => Change::Truncate { from: next.saturating_sub(random.u64(..3)) },
            2 if next > 10 => Change::Purge { upto: log_id(1, next - 5) },
            3 if next > 0 => {
                let membership = Membership::new(vec![[ME].into()], BTreeMap::from([(ME, "me".to_owned())]));
                let meta = SnapshotMeta {
                    last_log_id: Some(log_id(1, next - 1)),
                    last_membership: StoredMembership::new(Some(log_id(1, 0)), membership),
                    snapshot_id: next.to_string(),
                };
                let bytes = vec![random.u8(..); random.usize(..100_000)];
                Change::Snapshot { meta, bytes: bytes.into() }
            }
            4 => Change::Lineage(random.u128(..)),
            _ => {
                let indexes = next..next + random.u64(1..5);
                let entries =
                    indexes.map(|index| (index, encode(&entry(1, index, random)).unwrap())).collect();
                Change::Append { entries, committed: next.checked_sub(1).map(|index| log_id(1, index)) }
            }
        }
    }
}

fn open(disk: &FailingDisk) -> Result<(Database, Loaded), StoreError> {
    let path = Path::new("simulated");
    let database =
        Database::builder().create_with_backend(disk.clone()).map_err(|error| broken(path, &error))?;
    let loaded = load(&database, path, ME)?;
    Ok((database, loaded))
}

#[test]
fn a_power_cut_at_any_moment_leaves_the_state_before_or_after_a_commit() {
    let mut random = fastrand::Rng::with_seed(3);
    let mut model = Model::default();
    let mut image = Vec::new();
    let (mut commits, mut cut_in_commit, mut completed_unanswered) = (0, 0, 0);
    for _ in 0..300 {
        // Opening, and repairing what the last cut left, may be cut as well.
        let disk = FailingDisk::new(std::mem::take(&mut image), random.u64(..400));
        if let Ok((database, loaded)) = open(&disk) {
            assert_eq!(Model::of(loaded), model, "what was committed is there");
            let mut here = 0;
            loop {
                let mut after = model.clone();
                let mut changes = Vec::new();
                for _ in 0..random.u8(1..4) {
                    let change = after.random_change(&mut random);
                    after.apply(&change);
                    changes.push(change);
                }
                if commit(&database, &changes).is_err() {
                    cut_in_commit += 1;
                    drop(database);
                    image = disk.after_power_cut(&mut random);
                    // It was not answered: it may be there or not, but whole.
                    let (_, found) = open(&FailingDisk::new(image.clone(), u64::MAX)).unwrap();
                    let found = Model::of(found);
                    assert!(found == model || found == after, "half a commit is there");
                    completed_unanswered += u32::from(found == after && found != model);
                    model = found;
                    break;
                }
                commits += 1;
                here += 1;
                assert!(here <= 400, "commits do not touch the disk");
                model = after;
            }
        } else {
            image = disk.after_power_cut(&mut random);
        }
    }
    assert!(commits > 300 && cut_in_commit > 100, "{commits} commits, {cut_in_commit} cut");
    assert!(completed_unanswered > 0, "no cut came after the decisive write");
}

#[tokio::test]
async fn after_a_failed_write_every_write_fails_and_says_why() {
    let disk = FailingDisk::new(Vec::new(), u64::MAX);
    let (database, _) = open(&disk).unwrap();
    let writer = Disk::start(database);
    writer.write(Change::Lineage(1)).await.unwrap();
    disk.0.lock().left = 0;
    let first = writer.write(Change::Lineage(2)).await.unwrap_err();
    assert!(first.contains("the power is off"), "{first}");
    disk.0.lock().left = u64::MAX;
    assert_eq!(writer.write(Change::Lineage(3)).await, Err(first), "although the disk would work again");
    writer.close().await;
    assert_eq!(writer.write(Change::Lineage(4)).await, Err(closed()));
}

#[tokio::test]
async fn writes_that_wait_together_are_one_transaction() {
    let disk = FailingDisk::new(Vec::new(), 1_000_000);
    let (database, _) = open(&disk).unwrap();
    let writer = Disk::start(database);
    let left = || disk.0.lock().left;
    let before = left();
    writer.write(Change::Lineage(0)).await.unwrap();
    let one = before - left();
    let before = left();
    let writes = (0..100).map(|number| writer.write(Change::Lineage(number)));
    assert!(futures::future::join_all(writes).await.iter().all(Result::is_ok));
    let hundred = before - left();
    assert!(hundred < 10 * one, "{hundred} disk operations for 100 writes, {one} for one");
    writer.close().await;
}
