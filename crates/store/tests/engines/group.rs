//! The committer: all that waits goes in one transaction with one sync, nobody is told too early, failure stops it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use chordata_store::group::{Committer, Mode, Store};
use chordata_store::{Change, DiskEngine, Engine, MemoryEngine, SimulatedFiles, StoreError, Ticket};

const LONG: Duration = Duration::from_secs(3600);

/// An engine behind a lock, and what its owner was told.
struct Owner<E> {
    engine: Mutex<E>,
    told: Mutex<Told>,
    news: Condvar,
}

#[derive(Default)]
struct Told {
    durable: Ticket,
    rounds: u64,
    failure: Option<StoreError>,
}

impl<E: Engine + 'static> Owner<E> {
    fn new(engine: E) -> Arc<Owner<E>> {
        Arc::new(Owner { engine: Mutex::new(engine), told: Mutex::default(), news: Condvar::new() })
    }

    fn put(&self, committer: &Committer, number: u8) -> Ticket {
        let mut engine = self.engine.lock().unwrap();
        let ticket = engine.apply(vec![Change::Note(vec![number], Some(vec![number; 100]))]).unwrap();
        committer.wake(engine.overlay_bytes());
        ticket
    }

    /// One after another; the last one's ticket.
    fn put_all(&self, committer: &Committer, numbers: std::ops::Range<u8>) -> Ticket {
        numbers.fold(Ticket::default(), |_, number| self.put(committer, number))
    }

    /// Waits until what was told is so. A minute means never.
    fn wait(&self, is_so: impl Fn(&Told) -> bool) -> MutexGuard<'_, Told> {
        let (told, waited) = self
            .news
            .wait_timeout_while(self.told.lock().unwrap(), Duration::from_secs(60), |told| !is_so(told))
            .unwrap();
        assert!(!waited.timed_out(), "never told");
        told
    }
}

impl<E: Engine + 'static> Store for Owner<E> {
    fn with_engine(&self, act: &mut dyn FnMut(&mut dyn Engine)) {
        act(&mut *self.engine.lock().unwrap());
    }

    fn durable(&self, ticket: Ticket) {
        let mut told = self.told.lock().unwrap();
        assert!(ticket >= told.durable, "tickets go up");
        told.durable = ticket;
        told.rounds += 1;
        self.news.notify_all();
    }

    fn failed(&self, error: StoreError) {
        self.told.lock().unwrap().failure = Some(error);
        self.news.notify_all();
    }
}

fn disk(files: &SimulatedFiles) -> DiskEngine {
    DiskEngine::open(Arc::new(files.clone()), crate::truth::settings(true)).unwrap()
}

#[test]
fn what_waits_while_the_disk_works_goes_together_in_one_sync() {
    let files = SimulatedFiles::default();
    let owner = Owner::new(disk(&files));
    let committer = Committer::start(Mode::Sync, Arc::<Owner<DiskEngine>>::clone(&owner)).unwrap();
    // The price of one flush.
    let before = files.syncs();
    let first = owner.put(&committer, 0);
    drop(owner.wait(|told| told.durable >= first));
    let price = files.syncs() - before;
    assert!(price >= 1);

    // Given that the disk is slow: a hundred puts come while it syncs.
    files.hold_syncs(true);
    let before = files.syncs();
    owner.put(&committer, 1);
    files.wait_for_held_sync();
    let last = owner.put_all(&committer, 2..102);
    {
        let engine = owner.engine.lock().unwrap();
        assert_eq!(engine.note(&[50]).unwrap(), Some(vec![50; 100]), "reads see it at once");
        assert_eq!(engine.durable(), first, "but it is not yet durable");
    }
    assert_eq!(owner.told.lock().unwrap().durable, first);
    files.hold_syncs(false);
    drop(owner.wait(|told| told.durable >= last));
    assert_eq!(files.syncs() - before, 2 * price, "one flush for the first, one for all that waited");

    // Everything that was reported is there after a crash.
    files.crash(1);
    drop((committer, owner));
    assert_eq!(disk(&files).note(&[101]).unwrap(), Some(vec![101; 100]));
}

#[test]
fn the_interval_mode_waits_until_much_waits_or_somebody_asks() {
    let files = SimulatedFiles::default();
    let owner = Owner::new(disk(&files));
    let mode = Mode::Interval { after: LONG, bytes_max: 2000 };
    let committer = Committer::start(mode, Arc::<Owner<DiskEngine>>::clone(&owner)).unwrap();
    let before = files.operations();
    let few = owner.put_all(&committer, 0..5);
    assert_eq!(files.operations(), before, "nothing is written yet");
    committer.flush();
    drop(owner.wait(|told| told.durable >= few));

    let rounds = owner.told.lock().unwrap().rounds;
    let much = owner.put_all(&committer, 5..25);
    let told = owner.wait(|told| told.rounds > rounds);
    assert!(told.durable > few && told.durable <= much, "so much waits that it is written");
    drop(told);

    // What is left is written when the committer ends.
    let last = owner.put(&committer, 25);
    drop(committer);
    assert_eq!(owner.told.lock().unwrap().durable, last);
}

#[test]
fn the_interval_mode_writes_when_the_interval_ends() {
    let owner = Owner::new(disk(&SimulatedFiles::default()));
    let after = Duration::from_millis(30);
    let mode = Mode::Interval { after, bytes_max: usize::MAX - 1 };
    let committer = Committer::start(mode, Arc::<Owner<DiskEngine>>::clone(&owner)).unwrap();
    let started = Instant::now();
    let ticket = owner.put(&committer, 1);
    drop(owner.wait(|told| told.durable >= ticket));
    assert!(started.elapsed() >= after, "not before");
}

#[test]
fn a_failed_sync_ends_it_and_nothing_is_told_durable() {
    let files = SimulatedFiles::default();
    let owner = Owner::new(disk(&files));
    let committer = Committer::start(Mode::Sync, Arc::<Owner<DiskEngine>>::clone(&owner)).unwrap();
    files.fail_from(files.operations() + 1);
    owner.put(&committer, 1);
    let told = owner.wait(|told| told.failure.is_some());
    assert!(matches!(told.failure, Some(StoreError::Fatal(_))));
    assert_eq!(told.durable, Ticket::default());
}

#[test]
fn an_engine_without_a_disk_is_always_done() {
    let owner = Owner::new(MemoryEngine::default());
    let committer = Committer::start(Mode::Sync, Arc::<Owner<MemoryEngine>>::clone(&owner)).unwrap();
    let ticket = owner.put(&committer, 1);
    drop(owner.wait(|told| told.durable >= ticket));
}
