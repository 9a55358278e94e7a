//! A store in memory with three places, which fails, forgets and lies when it is told to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chordata_client::Failure as ClientFailure;
use chordata_files::manifest::Hash;
use chordata_files::store::{Copied, Doing, Listing, Store, Surety, Swap};
use chordata_files::{Failure, FileName, Files, Put, PutOptions, Settings};
use chordata_protocol::{Address, Key, Value, Version};
use futures::FutureExt;
use futures::stream::{self, StreamExt};
use parking_lot::Mutex;
use tokio::sync::watch;

/// Bytes of a chunk in these tests.
pub(crate) const CHUNK: usize = 16;

/// What is called before something is done.
type Hook = Box<dyn FnMut(&Fake, &Key) + Send>;

#[derive(Default)]
struct Inner {
    keys: BTreeMap<Key, (Value, Version)>,
    counter: u64,
    /// What single places have in place of what holds.
    lies: BTreeMap<(Address, Key), Option<Value>>,
    silent: BTreeSet<Address>,
    writes: usize,
    writes_allowed: Option<usize>,
    unknown: Option<bool>,
    /// Changes of entries do not say whether they were done; swaps are not.
    mute: bool,
    before_read_at: Option<Hook>,
}

/// The store.
#[derive(Clone)]
pub(crate) struct Fake {
    inner: Arc<Mutex<Inner>>,
    swaps: bool,
    in_flight: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    /// Are writes carried out, or do they wait?
    open: Arc<watch::Sender<bool>>,
}

impl Fake {
    pub(crate) fn new() -> Fake {
        Fake {
            inner: Arc::default(),
            swaps: true,
            in_flight: Arc::default(),
            most: Arc::default(),
            open: Arc::new(watch::Sender::new(true)),
        }
    }

    pub(crate) fn without_swaps() -> Fake {
        Fake { swaps: false, ..Fake::new() }
    }

    /// Small chunks, lists in parts from three chunks on.
    pub(crate) fn files(&self) -> Files {
        let settings = Settings {
            window_bytes: 4 * CHUNK,
            chunk_bytes: CHUNK,
            inline_chunks_max: 2,
            part_chunks: 3,
            patience: Duration::from_millis(300),
        };
        Files::with(Arc::new(self.clone()), settings)
    }

    pub(crate) fn places() -> [Address; 3] {
        ["a:1", "b:1", "c:1"].map(Address::new)
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        self.inner.lock().keys.keys().map(ToString::to_string).collect()
    }

    pub(crate) fn chunk_keys(&self) -> Vec<Key> {
        let inner = self.inner.lock();
        let keys = inner.keys.keys().filter(|key| key.to_string().starts_with(".chordata/chunk/"));
        keys.cloned().collect()
    }

    /// Something happens to a key behind everybody's back.
    pub(crate) fn set(&self, key: &Key, value: Option<Value>) {
        let mut inner = self.inner.lock();
        inner.counter += 1;
        let version = Version { epoch: 1, sequence: inner.counter };
        match value {
            Some(value) => drop(inner.keys.insert(key.clone(), (value, version))),
            None => drop(inner.keys.remove(key)),
        }
    }

    pub(crate) fn value(&self, key: &Key) -> Option<Value> {
        self.inner.lock().keys.get(key).map(|(value, _)| value.clone())
    }

    /// One place has this of a key.
    pub(crate) fn lie(&self, place: &Address, key: &Key, value: Option<Value>) {
        self.inner.lock().lies.insert((place.clone(), key.clone()), value);
    }

    pub(crate) fn silence(&self, place: &Address) {
        self.inner.lock().silent.insert(place.clone());
    }

    /// Only so many writes from now on; none: all.
    pub(crate) fn allow_writes(&self, count: Option<usize>) {
        self.inner.lock().writes_allowed = count;
    }

    /// From now on writes wait at the nodes; or no longer.
    pub(crate) fn hold_writes(&self, hold: bool) {
        self.open.send_replace(!hold);
    }

    /// The next swap says nothing; is it done?
    pub(crate) fn next_swap_is_unknown(&self, done: bool) {
        self.inner.lock().unknown = Some(done);
    }

    /// Waits until the nodes have carried out what was sent to them, also by those who do not wait for it any more.
    pub(crate) async fn settled(&self) {
        while self.in_flight.load(Ordering::Relaxed) > 0 {
            tokio::task::yield_now().await;
        }
    }

    /// Whether changes of entries were done is not said any more.
    pub(crate) fn entries_say_nothing(&self, mute: bool) {
        self.inner.lock().mute = mute;
    }

    fn said(&self, key: &Key) -> Result<(), Failure> {
        let is_entry = key.to_string().starts_with(".chordata/file/");
        let is_mute = is_entry && self.inner.lock().mute;
        if is_mute { Err(ClientFailure::Unknown("told to be".to_owned()).into()) } else { Ok(()) }
    }

    pub(crate) fn before_read_at(&self, hook: impl FnMut(&Fake, &Key) + Send + 'static) {
        self.inner.lock().before_read_at = Some(Box::new(hook));
    }

    pub(crate) fn writes(&self) -> usize {
        self.inner.lock().writes
    }

    pub(crate) fn most_in_flight(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    fn at(&self, place: &Address, key: &Key) -> Result<Option<Value>, Failure> {
        let hook = self.inner.lock().before_read_at.take();
        if let Some(mut hook) = hook {
            hook(self, key);
            self.inner.lock().before_read_at.get_or_insert(hook);
        }
        let inner = self.inner.lock();
        if inner.silent.contains(place) {
            return Err(unavailable());
        }
        let lie = inner.lies.get(&(place.clone(), key.clone()));
        Ok(lie.cloned().unwrap_or_else(|| inner.keys.get(key).map(|(value, _)| value.clone())))
    }
}

fn unavailable() -> Failure {
    ClientFailure::Unavailable("told to be".to_owned()).into()
}

impl Store for Fake {
    fn swaps(&self) -> bool {
        self.swaps
    }

    fn read(&self, key: Key, surety: Surety) -> Doing<Option<(Value, Version)>> {
        let mine = self.clone();
        async move {
            let inner = mine.inner.lock();
            if surety == Surety::Certain && !mine.swaps && !inner.silent.is_empty() {
                return Err(unavailable());
            }
            Ok(inner.keys.get(&key).cloned())
        }
        .boxed()
    }

    fn write(&self, key: Key, value: Value) -> Doing<()> {
        let mine = self.clone();
        async move {
            let now = mine.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
            mine.most.fetch_max(now, Ordering::Relaxed);
            // A node carries out what it has, also when whoever sent it does not wait for the answer any more.
            let at_the_node = tokio::spawn(async move {
                tokio::task::yield_now().await;
                mine.open.subscribe().wait_for(|open| *open).await.unwrap();
                let allowed = {
                    let mut inner = mine.inner.lock();
                    inner.writes += 1;
                    match &mut inner.writes_allowed {
                        Some(0) => false,
                        Some(left) => {
                            *left -= 1;
                            true
                        }
                        None => true,
                    }
                };
                if allowed {
                    mine.set(&key, Some(value));
                }
                mine.in_flight.fetch_sub(1, Ordering::Relaxed);
                if allowed { mine.said(&key) } else { Err(unavailable()) }
            });
            at_the_node.await.unwrap()
        }
        .boxed()
    }

    fn swap(&self, key: Key, expected: Option<Version>, value: Option<Value>) -> Doing<Swap> {
        let mine = self.clone();
        async move {
            let unknown = mine.inner.lock().unknown.take();
            let said = || Swap::Unknown(ClientFailure::Unknown("told to be".to_owned()));
            if unknown == Some(false) || mine.said(&key).is_err() {
                return Ok(said());
            }
            if mine.inner.lock().keys.get(&key).map(|(_, version)| *version) != expected {
                return Ok(Swap::Conflict);
            }
            mine.set(&key, value);
            Ok(if unknown.is_some() { said() } else { Swap::Done })
        }
        .boxed()
    }

    fn remove(&self, key: Key) -> Doing<()> {
        let mine = self.clone();
        async move {
            mine.set(&key, None);
            mine.said(&key)
        }
        .boxed()
    }

    fn places(&self, _: Key, _: bool) -> Doing<Vec<Address>> {
        async { Ok(Fake::places().to_vec()) }.boxed()
    }

    fn read_at(&self, place: Address, key: Key) -> Doing<Option<Value>> {
        let mine = self.clone();
        async move { mine.at(&place, &key) }.boxed()
    }

    fn look_at(&self, place: Address, key: Key) -> Doing<Copied> {
        let mine = self.clone();
        async move { Ok(mine.at(&place, &key)?.map_or(Copied::Nothing, |value| copied(&value))) }.boxed()
    }

    fn scan(&self, prefix: Vec<u8>, values: bool) -> Listing<(Key, Option<Value>)> {
        let inner = self.inner.lock();
        let begins = |key: &Key| matches!(key, Key::Bytes(bytes) if bytes.starts_with(&prefix));
        let found = inner.keys.iter().filter(|(key, _)| begins(key));
        let found = found.map(|(key, (value, _))| Ok((key.clone(), values.then(|| value.clone()))));
        stream::iter(found.collect::<Vec<_>>()).boxed()
    }

    fn held_at(&self, place: Address) -> Listing<(Key, Copied)> {
        let keys: Vec<Key> = self.inner.lock().keys.keys().cloned().collect();
        let held = keys.into_iter().filter_map(|key| {
            let value = self.at(&place, &key).unwrap()?;
            Some(Ok((key, copied(&value))))
        });
        stream::iter(held.collect::<Vec<_>>()).boxed()
    }
}

fn copied(value: &Value) -> Copied {
    let mut hash = [0; 16];
    hash.copy_from_slice(&Hash::of(value).0[..16]);
    Copied::Value { bytes: value.len() as u64, hash }
}

/// A name.
pub(crate) fn name(text: &str) -> FileName {
    FileName::new(text).unwrap()
}

/// Content that no other number has.
pub(crate) fn content(number: u8, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|place| number.wrapping_mul(31).wrapping_add(u8::try_from(place % 253).unwrap())).collect()
}

/// Stores a file.
pub(crate) async fn put(files: &Files, text: &str, bytes: &[u8]) -> Result<Put, Failure> {
    files.put(&name(text), bytes.to_vec().into(), PutOptions::default()).await
}

/// Reads a file.
pub(crate) async fn get(files: &Files, text: &str) -> Result<Vec<u8>, Failure> {
    let mut all = Vec::new();
    let mut content = Box::pin(files.open(&name(text)).await?.read(0..u64::MAX));
    while let Some(bytes) = content.next().await {
        all.extend_from_slice(&bytes?);
    }
    Ok(all)
}
