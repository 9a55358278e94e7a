//! Clients that go on while the cluster changes.
//!
//! Each range has two hot keys. A *steady* client of its own writes and reads the first, one request after the other:
//! how long its writes stand still is how long the range did. The second is fought over by clients that put, get,
//! delete and swap at all ranges, some of them through an entry node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chordata_client::{Client, Config, Routing};
use chordata_protocol::{Key, Policy, Record, Value, Version};
use chordata_sim::history::{Answer, Kind, Seen};
use tokio::task::JoinHandle;

use crate::recorder::{Book, Recorder};
use crate::ring::{a_key_of_each_range, audit};
use crate::support::ring::TestRing;
use crate::support::{WHOLE_WITHIN, eventually};

/// Pause between two requests of a client: the machine has other things to do.
const PACE: Duration = Duration::from_millis(8);
/// Clients that fight: some route themselves, some through an entry node; some are patient, some soon give up.
const FIGHTERS: [(Routing, Duration); 4] = [
    (Routing::Client(Policy::Finger), PATIENCE),
    (Routing::Entry(Policy::Finger), PATIENCE),
    (Routing::Client(Policy::Finger), IMPATIENCE),
    (Routing::Entry(Policy::Finger), IMPATIENCE),
];
const PATIENCE: Duration = Duration::from_secs(10);
/// Shorter than it takes until others have taken a dead node's place: such clients learn nothing for certain.
const IMPATIENCE: Duration = Duration::from_millis(400);
/// Writes of each key that make a load.
const ENOUGH: usize = 5;
/// The number of whoever looks at the end.
const READER: u64 = 1000;

/// See the [module](self).
pub(crate) struct Load {
    pub(crate) book: Arc<Book>,
    /// The steady key of each range, going up the ring.
    pub(crate) steady: Vec<Key>,
    fought_over: Vec<Key>,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// Begins; returns when every key was written.
    pub(crate) async fn begin(ring: &TestRing) -> Load {
        let view = ring.whole().await;
        let client = ring.client().await;
        let mut load = Load {
            book: Book::new(),
            steady: a_key_of_each_range(&view, &client, "steady"),
            fought_over: a_key_of_each_range(&view, &client, "hot"),
            stop: Arc::default(),
            clients: Vec::new(),
        };
        for (number, key) in load.steady.clone().into_iter().enumerate() {
            let recorder = load.recorder(ring, number, FIGHTERS[0]).await;
            load.clients.push(tokio::spawn(go_on_steadily(recorder, number, key, load.stop.clone())));
        }
        for (fighter, how) in FIGHTERS.into_iter().enumerate() {
            let number = load.steady.len() + fighter;
            let recorder = load.recorder(ring, number, how).await;
            let keys = load.fought_over.clone();
            load.clients.push(tokio::spawn(fight(recorder, number, keys, load.stop.clone())));
        }
        load.everything_is_written(0).await;
        load
    }

    /// A client of this load that begins at a server of its own.
    async fn recorder(
        &self,
        ring: &TestRing,
        number: usize,
        (routing, patience): (Routing, Duration),
    ) -> Recorder {
        let mut addresses = ring.addresses();
        addresses.rotate_left(number % ring.servers.len());
        // A library instance each: they share neither connections nor names of writes.
        let config = Config { routing, patience, ..Config::default() };
        let client = Client::connect(&addresses, config).await.unwrap();
        self.book.recorder(client, number as u64)
    }

    /// Waits until some writes of every key were acknowledged that were sent since then.
    pub(crate) async fn everything_is_written(&self, since: u64) {
        eventually("every range takes writes", WHOLE_WITHIN, async || {
            let missing: Vec<&Key> = self
                .steady
                .iter()
                .chain(&self.fought_over)
                .filter(|key| self.book.written_since(key, since) < ENOUGH)
                .collect();
            if missing.is_empty() { Ok(()) } else { Err(format!("not written: {missing:?}")) }
        })
        .await;
    }

    /// Stops the clients and waits for their last answers.
    pub(crate) async fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            client.await.unwrap();
        }
    }

    /// Stops, reads everything, and checks: the history, what is there in the end, and that all replicas hold it.
    pub(crate) async fn end(mut self, ring: &TestRing) {
        if !self.clients.is_empty() {
            self.everything_is_written(self.book.now()).await;
        }
        self.stop().await;
        let end = self.read_all(ring).await;
        for key in self.steady.iter().chain(&self.fought_over) {
            let count = self.book.count(key);
            println!("{key}: {} done, {} refused, {} unknown", count.done, count.refused, count.unknown);
        }
        let coverage = self.book.check(&end);
        assert_eq!(coverage.checked, self.steady.len(), "steady keys have puts and gets only");
        audit(ring, &end).await;
    }

    /// What every key holds.
    pub(crate) async fn read_all(&self, ring: &TestRing) -> BTreeMap<Key, Option<Record>> {
        let reader = self.book.recorder(ring.client().await, READER);
        let mut end = BTreeMap::new();
        for key in self.steady.iter().chain(&self.fought_over) {
            end.insert(key.clone(), reader.read(key).await);
        }
        end
    }
}

/// Two writes and a read of one key, again and again.
async fn go_on_steadily(recorder: Recorder, number: usize, key: Key, stop: Arc<AtomicBool>) {
    let mut round = 0_usize;
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        let kind = if round.is_multiple_of(3) { Kind::Get } else { Kind::Put(value(number, round)) };
        recorder.ask(&key, kind).await;
        tokio::time::sleep(PACE).await;
    }
}

/// A value that nobody else writes.
fn value(client: usize, round: usize) -> Value {
    Value::from(format!("{client}/{round}"))
}

/// All kinds of requests about all keys.
async fn fight(recorder: Recorder, number: usize, keys: Vec<Key>, stop: Arc<AtomicBool>) {
    let mut random = fastrand::Rng::with_seed(number as u64);
    // What the client saw last of each key.
    let mut seen: BTreeMap<Key, Option<Version>> = BTreeMap::new();
    let mut round = 0_usize;
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        let key = &keys[random.usize(..keys.len())];
        let expected = seen.get(key).copied().flatten();
        let kind = match random.u8(..10) {
            0..=2 => Kind::Get,
            3..=5 => Kind::Put(value(number, round)),
            6 => Kind::Delete,
            7 if expected.is_some() => Kind::CompareAndSwap { expected, value: None },
            _ => Kind::CompareAndSwap { expected, value: Some(value(number, round)) },
        };
        if let Some(answer) = recorder.ask(key, kind).await {
            let version = match answer {
                Answer::Written(version) | Answer::Conflict(Seen::Version(version)) => Some(version),
                Answer::Found(record) => Some(record.version),
                Answer::Deleted { .. } | Answer::Absent { .. } | Answer::Conflict(Seen::Absent { .. }) => {
                    None
                }
            };
            seen.insert(key.clone(), version);
        }
        tokio::time::sleep(PACE).await;
    }
}
