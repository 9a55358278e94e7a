//! What group commit gains: writers that each wait until their own record is durable.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chordata_store::group::{Committer, Mode, Store};
use chordata_store::{DiskEngine, Engine, StoreError, Ticket};

use super::contenders::{disk, put};
use super::{key, value};
use crate::BenchError;

struct Owner {
    engine: Mutex<DiskEngine>,
    durable: Mutex<Result<Ticket, StoreError>>,
    changed: Condvar,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store for Owner {
    fn with_engine(&self, act: &mut dyn FnMut(&mut dyn Engine)) {
        act(&mut *lock(&self.engine));
    }

    fn durable(&self, ticket: Ticket) {
        *lock(&self.durable) = Ok(ticket);
        self.changed.notify_all();
    }

    fn failed(&self, error: StoreError) {
        *lock(&self.durable) = Err(error);
        self.changed.notify_all();
    }
}

/// Records a second, with so many writers that have one record each under way, for about so many seconds.
///
/// # Errors
/// When the engine fails.
pub fn rate(directory: &Path, writers: u64, seconds: f64) -> Result<f64, BenchError> {
    let owner = Arc::new(Owner {
        engine: Mutex::new(disk(directory, true)?),
        durable: Mutex::new(Ok(Ticket::default())),
        changed: Condvar::new(),
    });
    let store: Arc<dyn Store> = Arc::<Owner>::clone(&owner);
    let committer = Committer::start(Mode::Sync, store).map_err(BenchError::call)?;
    let mut random = fastrand::Rng::with_seed(1);
    let (started, mut applied) = (Instant::now(), 0);
    let limit = Duration::from_secs_f64(seconds);
    while started.elapsed() < limit {
        let mut durable = lock(&owner.durable);
        while matches!(&*durable, Ok(ticket) if applied - ticket.0 >= writers) {
            durable = owner.changed.wait(durable).unwrap_or_else(PoisonError::into_inner);
        }
        let free = writers - (applied - durable.clone().map_err(BenchError::call)?.0);
        drop(durable);
        for _ in 0..free {
            let change = put(key(applied), value(&mut random, 100));
            let mut engine = lock(&owner.engine);
            applied = engine.apply(vec![change]).map_err(BenchError::call)?.0;
            committer.wake(engine.overlay_bytes());
        }
    }
    let durable = lock(&owner.durable).clone().map_err(BenchError::call)?.0;
    Ok(durable as f64 / started.elapsed().as_secs_f64())
}
