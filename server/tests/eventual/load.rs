//! Clients that go on while the cluster changes, each with keys that nobody else writes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use chordata_client::{Client, Config, Failure, Routing};
use chordata_protocol::{Address, Key, Outcome, Peer, Policy, Value, Version};
use chordata_rpc::service::{Answer, Held, ValueHash};
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use crate::copies::{equal, nothing_pending};
use crate::support::{WHOLE_WITHIN, eventually};

/// Clients.
const CLIENTS: usize = 6;
/// Keys of each.
const KEYS: usize = 25;
/// Pause between two requests of a client: the machine has other things to do.
const PACE: Duration = Duration::from_millis(4);

/// What is known of a key's writes.
#[derive(Clone, Debug, Default)]
struct Fate {
    /// Of the last one that was acknowledged (none: a delete).
    acknowledged: Option<Option<Value>>,
    /// Those that were sent since then, of which nobody knows whether they were done.
    possible: Vec<Option<Value>>,
}

/// See the [module](self).
pub(crate) struct Load {
    fates: Arc<Mutex<BTreeMap<Key, Fate>>>,
    done: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// Begins; returns when every client has written something.
    pub(crate) async fn begin(nodes: &[Address], config: Config) -> Load {
        let mut load = Load {
            fates: Arc::default(),
            done: Arc::default(),
            refused: Arc::default(),
            stop: Arc::default(),
            clients: Vec::new(),
        };
        for number in 0..CLIENTS {
            let mut nodes = nodes.to_vec();
            let turn = number % nodes.len();
            nodes.rotate_left(turn);
            let policy = Policy::Finger;
            let routing = if number % 2 == 0 { Routing::Client(policy) } else { Routing::Entry(policy) };
            let config = Config { routing, acks: 1 + u8::from(number % 3 == 2), ..config.clone() };
            let client = Client::connect(&nodes, config).await.unwrap();
            load.add(client, &format!("client {number}"));
        }
        load.goes_on().await;
        load
    }

    /// One more client, with keys of its own.
    pub(crate) fn add(&mut self, client: Client, name: &str) {
        let writer = Writer {
            client,
            keys: (0..KEYS).map(|key| Key::new(format!("{name}, key {key}"))).collect(),
            fates: self.fates.clone(),
            done: self.done.clone(),
            refused: self.refused.clone(),
            stop: self.stop.clone(),
        };
        self.clients.push(tokio::spawn(writer.go_on(self.clients.len() as u64)));
    }

    /// Waits until some more writes were acknowledged.
    pub(crate) async fn goes_on(&self) {
        let before = self.done.load(Ordering::Relaxed);
        eventually("writes are acknowledged", WHOLE_WITHIN, async || {
            let done = self.done.load(Ordering::Relaxed) - before;
            if done > self.clients.len() * KEYS { Ok(()) } else { Err(format!("{done}")) }
        })
        .await;
    }

    /// Acknowledged so far, and refused.
    pub(crate) fn count(&self) -> (usize, usize) {
        (self.done.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }

    /// Stops, and checks that all replicas come to hold what they must. How long that took.
    pub(crate) async fn end(&mut self, client: &Client, nodes: &[Peer]) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            client.await.unwrap();
        }
        let (held, took) = equal(client, nodes).await;
        let (done, refused) = self.count();
        println!("{done} writes acknowledged, {refused} refused; all replicas were equal after {took:.1?}");
        for (key, fate) in self.fates.lock().iter() {
            let hash = |value: &Value| ValueHash::of(value);
            let found = match held.get(key) {
                None => None,
                Some(Held::Value { hash, .. }) => Some(*hash),
                Some(other) => panic!("{key}: {other:?}"),
            };
            let fits = |value: &Option<Value>| value.as_ref().map(hash) == found;
            let is_right = fate.acknowledged.as_ref().is_none_or(fits) || fate.possible.iter().any(fits);
            assert!(is_right, "{key} was lost: {fate:?}, but its replicas hold {:?}", held.get(key));
        }
        nothing_pending(client, nodes).await;
        took
    }
}

struct Writer {
    client: Client,
    keys: Vec<Key>,
    fates: Arc<Mutex<BTreeMap<Key, Fate>>>,
    done: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Writer {
    async fn go_on(self, seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut highest = Version::default();
        let mut round = 0_u64;
        while !self.stop.load(Ordering::Relaxed) {
            round += 1;
            let key = &self.keys[random.usize(..self.keys.len())];
            let value = (random.u8(..4) > 0).then(|| Value::from(format!("{key} in round {round}")));
            // Before it is sent: the node may have it when the client knows nothing yet.
            self.fates.lock().entry(key.clone()).or_default().possible.push(value.clone());
            let answer = match value.clone() {
                Some(value) => self.client.put(key.clone(), value).await,
                None => self.client.delete(key.clone()).await,
            };
            self.settle(key, value, answer, &mut highest);
            tokio::time::sleep(PACE).await;
        }
    }

    /// Notes what became of a write.
    fn settle(
        &self,
        key: &Key,
        value: Option<Value>,
        answer: Result<Answer<Outcome>, Failure>,
        highest: &mut Version,
    ) {
        let mut fates = self.fates.lock();
        let fate = fates.entry(key.clone()).or_default();
        match answer {
            Ok(answer) => {
                let version = answer.at.unwrap();
                assert!(version > *highest, "a client's writes get higher and higher versions");
                if let Outcome::Written(written) = answer.result {
                    assert_eq!(written, version);
                }
                *highest = version;
                *fate = Fate { acknowledged: Some(value), possible: Vec::new() };
                self.done.fetch_add(1, Ordering::Relaxed);
            }
            Err(failure) if failure.is_certain() => {
                fate.possible.pop();
                self.refused.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
