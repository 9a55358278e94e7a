//! Load: so many requests in flight, for so long.
//!
//! A closed loop: each of the tasks has one request out and makes the next when it is answered. The first moments, in
//! which connections and caches warm up, are not counted. A request that fails ends the measurement: what is faster
//! because it fails must not look fast.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::BenchError;

/// Bytes in a key.
pub const KEY_BYTES: usize = 16;
/// Bytes in a value.
pub const VALUE_BYTES: usize = 100;

/// What a request does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Stores a value.
    Put,
    /// Reads one.
    Get,
}

impl Operation {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Put => "put",
            Operation::Get => "get",
        }
    }
}

/// The key of a number below 10^12.
pub fn numbered_key(number: u64) -> [u8; KEY_BYTES] {
    let mut key = *b"key-000000000000";
    let digits = number.to_string();
    key[KEY_BYTES - digits.len()..].copy_from_slice(digits.as_bytes());
    key
}

/// Keys and the value, made before anything is measured.
#[derive(Clone)]
pub struct Workload {
    keys: Arc<[[u8; KEY_BYTES]]>,
    value: Arc<[u8; VALUE_BYTES]>,
}

impl Workload {
    /// So many different keys.
    pub fn new(keys: usize) -> Workload {
        let keys = (0u64..).take(keys).map(numbered_key).collect();
        Workload { keys, value: Arc::new([b'v'; VALUE_BYTES]) }
    }

    /// Those of the keys that pass.
    #[must_use]
    pub fn those(&self, passes: impl Fn(&[u8]) -> bool) -> Workload {
        let keys = self.keys.iter().filter(|key| passes(*key)).copied().collect();
        Workload { keys, value: Arc::clone(&self.value) }
    }

    /// How many different keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// None at all?
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// One of the keys; numbers beyond the last begin again.
    pub fn key(&self, number: usize) -> Vec<u8> {
        self.keys[number % self.keys.len()].to_vec()
    }

    /// The value.
    pub fn value(&self) -> Vec<u8> {
        self.value.to_vec()
    }
}

/// Where requests go.
pub trait Target: Clone + Send + Sync + 'static {
    /// Stores the value under the key.
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> impl Future<Output = Result<(), BenchError>> + Send;
    /// How long the key's value is, in bytes; none if it has none.
    fn get(&self, key: Vec<u8>) -> impl Future<Output = Result<Option<usize>, BenchError>> + Send;
}

/// How hard and how long.
#[derive(Clone, Copy, Debug)]
pub struct Pressure {
    /// Requests out at once.
    pub in_flight: usize,
    /// Not counted at the beginning.
    pub warm_up: Duration,
    /// Counted.
    pub measured: Duration,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// Answered requests.
    pub requests: u64,
    /// In this time.
    pub elapsed: Duration,
}

const WARMING: u8 = 0;
const MEASURING: u8 = 1;
const OVER: u8 = 2;

/// Puts every key once.
///
/// # Errors
/// When a put fails.
pub async fn fill(target: &impl Target, workload: &Workload) -> Result<(), BenchError> {
    const TASKS: usize = 64;
    let mut tasks = JoinSet::new();
    for first in 0..TASKS {
        let (target, workload) = (target.clone(), workload.clone());
        tasks.spawn(async move {
            for number in (first..workload.len()).step_by(TASKS) {
                target.put(workload.key(number), workload.value()).await?;
            }
            Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(BenchError::call)??;
    }
    Ok(())
}

/// Drives load at a target that holds all keys. `at_edge` is called when counting begins and when it has ended.
///
/// # Errors
/// When a request fails, or a get finds something else than a value of this workload.
pub async fn drive<T: Target>(
    target: &T,
    workload: &Workload,
    operation: Operation,
    pressure: Pressure,
    mut at_edge: impl FnMut(),
) -> Result<Counted, BenchError> {
    let phase = Arc::new(AtomicU8::new(WARMING));
    let mut tasks = JoinSet::new();
    for seed in (0u64..).take(pressure.in_flight) {
        tasks.spawn(requests(target.clone(), workload.clone(), operation, phase.clone(), seed));
    }
    tokio::time::sleep(pressure.warm_up).await;
    at_edge();
    let began = Instant::now();
    phase.store(MEASURING, Ordering::Relaxed);
    tokio::time::sleep(pressure.measured).await;
    phase.store(OVER, Ordering::Relaxed);
    let elapsed = began.elapsed();
    at_edge();
    let mut requests = 0;
    while let Some(ended) = tasks.join_next().await {
        requests += ended.map_err(BenchError::call)??;
    }
    Ok(Counted { requests, elapsed })
}

/// One request after another; how many were answered while it was counted.
async fn requests<T: Target>(
    target: T,
    workload: Workload,
    operation: Operation,
    phase: Arc<AtomicU8>,
    seed: u64,
) -> Result<u64, BenchError> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut answered = 0;
    loop {
        let key = workload.key(random.usize(..workload.len()));
        match operation {
            Operation::Put => target.put(key, workload.value()).await?,
            Operation::Get => match target.get(key).await? {
                Some(VALUE_BYTES) => {}
                other => return Err(BenchError::Call(format!("a get found {other:?} bytes"))),
            },
        }
        match phase.load(Ordering::Relaxed) {
            WARMING => {}
            MEASURING => answered += 1,
            _ => return Ok(answered),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Holds every key that it was given, and forgets one.
    #[derive(Clone, Default)]
    struct Memory {
        keys: Arc<parking_lot::Mutex<std::collections::BTreeSet<Vec<u8>>>>,
    }

    impl Target for Memory {
        async fn put(&self, key: Vec<u8>, value: Vec<u8>) -> Result<(), BenchError> {
            tokio::task::yield_now().await;
            assert_eq!((key.len(), value.len()), (KEY_BYTES, VALUE_BYTES));
            self.keys.lock().insert(key);
            Ok(())
        }

        async fn get(&self, key: Vec<u8>) -> Result<Option<usize>, BenchError> {
            tokio::task::yield_now().await;
            Ok(self.keys.lock().contains(&key).then_some(VALUE_BYTES))
        }
    }

    const PRESSURE: Pressure =
        Pressure { in_flight: 4, warm_up: Duration::from_millis(1), measured: Duration::from_millis(20) };

    #[tokio::test]
    async fn requests_are_counted_between_the_edges() {
        let (target, workload, mut edges) = (Memory::default(), Workload::new(100), 0);
        fill(&target, &workload).await.unwrap();
        assert_eq!(target.keys.lock().len(), 100, "keys differ");
        let counted = drive(&target, &workload, Operation::Get, PRESSURE, || edges += 1).await.unwrap();
        assert!(counted.requests > 0 && counted.elapsed >= PRESSURE.measured);
        assert_eq!(edges, 2);
    }

    #[tokio::test]
    async fn a_get_that_finds_nothing_is_no_throughput() {
        let (target, workload) = (Memory::default(), Workload::new(1));
        let failed = drive(&target, &workload, Operation::Get, PRESSURE, || ()).await;
        assert!(matches!(failed, Err(BenchError::Call(_))));
    }
}
