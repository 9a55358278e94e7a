//! Clusters with fewer nodes than copies: one, and two.

use std::collections::BTreeMap;
use std::time::Duration;

use chordata_protocol::{Key, Record, Value};

use crate::ring::{INTERVAL, SYNC, audit, blocking, whole};
use crate::support::ring::{Server, TestRing};
use crate::support::within;

const KEYS: usize = 12;
/// With interval durability everything is on disk that was acknowledged so long ago.
const ON_DISK_WITHIN: Duration = Duration::from_secs(1);

/// Writes all keys anew; what they hold then.
async fn write(ring: &TestRing, round: usize) -> BTreeMap<Key, Option<Record>> {
    let client = ring.client().await;
    let mut written = BTreeMap::new();
    for number in 0..KEYS {
        let key = Key::new(format!("key {number}"));
        let value = Value::from(format!("value {number} of round {round}"));
        client.put(key.clone(), value.clone()).await.unwrap();
        let record = client.get(key.clone()).await.unwrap().result.unwrap();
        assert_eq!(record.value, value);
        written.insert(key, Some(record));
    }
    written
}

async fn comes_back(count: usize, settings: &[&'static str], pause: Duration) {
    let mut ring = TestRing::start(count, settings).await;
    let written = write(&ring, 0).await;
    blocking(|| {
        ring.servers.iter_mut().for_each(Server::terminate);
        ring.servers.iter_mut().for_each(Server::begin_again);
        ring.servers.iter_mut().for_each(Server::await_ready);
    });
    whole(&ring, "all were stopped and started").await;
    audit(&ring, &written).await;

    let written = write(&ring, 1).await;
    tokio::time::sleep(pause).await;
    blocking(|| {
        ring.servers.iter_mut().for_each(|server| server.process.kill());
        ring.servers.iter_mut().for_each(Server::begin_again);
        ring.servers.iter_mut().for_each(Server::await_ready);
    });
    whole(&ring, "all were killed and started").await;
    audit(&ring, &written).await;

    for place in 0..count {
        let written = write(&ring, 2 + place).await;
        tokio::time::sleep(pause).await;
        blocking(|| {
            ring.servers[place].process.kill();
            ring.servers[place].start_again();
        });
        whole(&ring, "one was killed and started").await;
        audit(&ring, &written).await;
    }
    write(&ring, 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_one_comes_back() {
    within(100, async {
        comes_back(1, SYNC, Duration::ZERO).await;
        comes_back(1, INTERVAL, ON_DISK_WITHIN).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_two_comes_back() {
    within(150, async {
        comes_back(2, SYNC, Duration::ZERO).await;
        comes_back(2, INTERVAL, ON_DISK_WITHIN).await;
    })
    .await;
}
