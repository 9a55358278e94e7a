//! Group commit: a thread that writes everything that waits in one transaction, synced once, again and again.
//!
//! The engine is behind a lock of its owner's, whatever lock that is; the owner says how to get at it ([`Store`]). The
//! thread holds that lock only to take what waits and to give it back, never while the disk works. What is applied
//! meanwhile waits for the next round, all of it together: the slower the disk, the larger the groups.
//!
//! When something is written is the [`Mode`]. Watchers are told by [`Store::durable`], outside of the lock.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::engine::{Engine, Ticket};
use crate::error::StoreError;

/// After so long at most a change begins to be written, in the interval mode: half a second before it must be on disk.
pub const INTERVAL: Duration = Duration::from_millis(500);
/// So many bytes that wait are written without waiting for the interval's end.
pub const INTERVAL_BYTES_MAX: usize = 8 * 1024 * 1024;

/// When what waits is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// At once: somebody waits for it.
    Sync,
    /// Some time after the first change that waits.
    Interval {
        /// How long after it.
        after: Duration,
        /// Earlier if more than this many bytes wait.
        bytes_max: usize,
    },
}

impl Mode {
    /// On disk within a second.
    pub const INTERVAL: Mode = Mode::Interval { after: INTERVAL, bytes_max: INTERVAL_BYTES_MAX };
}

/// Who owns the engine.
pub trait Store: Send + Sync + 'static {
    /// Does something with the engine under its lock.
    fn with_engine(&self, act: &mut dyn FnMut(&mut dyn Engine));

    /// Everything up to this ticket is on disk. Called without the lock.
    fn durable(&self, ticket: Ticket);

    /// The store has failed: stop the process. Called without the lock, once; the thread has ended then.
    fn failed(&self, error: StoreError);
}

#[derive(Debug, Default)]
struct Wanted {
    /// Since when something waits.
    since: Option<Instant>,
    /// Without waiting for the interval's end.
    now: bool,
    stop: bool,
}

#[derive(Debug, Default)]
struct Shared {
    wanted: Mutex<Wanted>,
    changed: Condvar,
}

impl Shared {
    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        // Nothing that holds it can panic half way.
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something is to be written. False: to be stopped behind it.
    fn next(&self, mode: Mode) -> bool {
        let mut wanted = self.wanted();
        loop {
            if wanted.stop {
                return false;
            }
            let left = match (wanted.since, mode) {
                (None, _) => None,
                (Some(_), Mode::Sync) => Some(Duration::ZERO),
                (Some(_), Mode::Interval { .. }) if wanted.now => Some(Duration::ZERO),
                (Some(since), Mode::Interval { after, .. }) => Some(after.saturating_sub(since.elapsed())),
            };
            wanted = match left {
                Some(Duration::ZERO) => {
                    (wanted.since, wanted.now) = (None, false);
                    return true;
                }
                Some(left) => {
                    let woken = self.changed.wait_timeout(wanted, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(wanted).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

/// The thread. When this is dropped, everything that waits is written, and the thread has ended.
#[derive(Debug)]
pub struct Committer {
    mode: Mode,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Committer {
    /// Begins.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub fn start(mode: Mode, store: Arc<dyn Store>) -> io::Result<Committer> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let work = move || {
            if let Err(error) = commit(mode, &theirs, &*store) {
                store.failed(error);
            }
        };
        let thread = std::thread::Builder::new().name("commit".to_owned()).spawn(work)?;
        Ok(Committer { mode, shared, thread: Some(thread) })
    }

    /// Something was applied, and so many bytes wait now ([`Engine::overlay_bytes`]). Cheap; it may be called under the
    /// engine's lock.
    pub fn wake(&self, overlay_bytes: usize) {
        let mut wanted = self.shared.wanted();
        let full = match self.mode {
            Mode::Sync => true,
            Mode::Interval { bytes_max, .. } => overlay_bytes > bytes_max,
        };
        let news = wanted.since.is_none() || (full && !wanted.now);
        wanted.now |= full;
        if wanted.since.is_none() {
            wanted.since = Some(Instant::now());
        }
        drop(wanted);
        if news {
            self.shared.changed.notify_one();
        }
    }

    /// What waits is written now, whatever the mode: somebody asked for it.
    pub fn flush(&self) {
        self.wake(usize::MAX);
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.shared.wanted().stop = true;
        self.shared.changed.notify_one();
        // The thread itself may hold the owner last: it cannot wait for its own end.
        let others = |thread: &JoinHandle<()>| thread.thread().id() != std::thread::current().id();
        if let Some(thread) = self.thread.take().filter(others) {
            // If it panicked, it has said why.
            let _ = thread.join();
        }
    }
}

fn commit(mode: Mode, shared: &Shared, store: &dyn Store) -> Result<(), StoreError> {
    while shared.next(mode) {
        round(store)?;
    }
    while round(store)? {}
    Ok(())
}

/// Writes everything that waits. False: nothing did.
fn round(store: &dyn Store) -> Result<bool, StoreError> {
    let mut begun = Ok(None);
    store.with_engine(&mut |engine| begun = engine.begin_flush());
    let Some(flush) = begun? else {
        // Batches that changed nothing are durable all the same.
        let mut durable = Ticket::default();
        store.with_engine(&mut |engine| durable = engine.durable());
        store.durable(durable);
        return Ok(false);
    };
    let mut flushed = Some(flush.run()?);
    let mut ended = Ok(Ticket::default());
    store.with_engine(&mut |engine| {
        if let Some(flushed) = flushed.take() {
            ended = engine.end_flush(flushed);
        }
    });
    store.durable(ended?);
    Ok(true)
}
