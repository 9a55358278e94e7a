//! All nodes of a cluster end at once, and are started again.

use std::time::Duration;

use crate::load::Load;
use crate::ring::{INTERVAL, MEMORY, SYNC, audit, blocking, whole};
use crate::support::ring::{Server, TestRing};
use crate::support::{entry, within};

/// With interval durability everything is on disk that was acknowledged so long ago.
const ON_DISK_WITHIN: Duration = Duration::from_secs(1);
const KEYS: usize = 40;

/// All die at once.
fn kill_all(ring: &mut TestRing) {
    blocking(|| ring.servers.iter_mut().for_each(|server| server.process.kill()));
}

/// All come back, whoever is first.
fn start_all(ring: &mut TestRing) {
    blocking(|| {
        ring.servers.iter_mut().for_each(Server::begin_again);
        ring.servers.iter_mut().for_each(Server::await_ready);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_sync_durability_a_power_cut_under_load_loses_nothing() {
    within(150, async {
        let mut ring = TestRing::start(5, SYNC).await;
        let load = Load::begin(&ring).await;
        let cut = load.book.now();
        kill_all(&mut ring);
        start_all(&mut ring);
        let view = whole(&ring, "all were ready again").await;
        load.everything_is_written(cut).await;
        for key in &load.steady {
            let stall = load.book.longest_stall(key, cut, load.book.now());
            println!("  {key}: stood still for {stall:.2?}");
        }
        assert_eq!(crate::ring::chains(&view).losses, [], "nobody says that something may be lost");
        load.end(&ring).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_interval_durability_a_power_cut_after_a_quiet_second_loses_nothing() {
    within(150, async {
        let mut ring = TestRing::start(5, INTERVAL).await;
        let mut load = Load::begin(&ring).await;
        load.stop().await;
        // What is promised is a time: there is no condition that could be waited for.
        tokio::time::sleep(ON_DISK_WITHIN).await;
        kill_all(&mut ring);
        start_all(&mut ring);
        whole(&ring, "all were ready again").await;
        load.end(&ring).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_memory_durability_the_ring_serves_again_empty() {
    within(100, async {
        let mut ring = TestRing::start(5, MEMORY).await;
        let client = ring.client().await;
        for outcome in client.put_many((0..KEYS).map(entry).collect()).await {
            outcome.unwrap();
        }
        kill_all(&mut ring);
        start_all(&mut ring);
        whole(&ring, "all were ready again").await;
        let client = ring.client().await;
        let mut expected = std::collections::BTreeMap::new();
        for number in 0..KEYS {
            let (key, value) = entry(number);
            assert_eq!(client.get(key.clone()).await.unwrap().result, None, "{key} was in memory");
            if number % 2 == 0 {
                client.put(key.clone(), value).await.unwrap();
            }
            expected.insert(key.clone(), client.get(key).await.unwrap().result);
        }
        assert_eq!(expected.values().flatten().count(), KEYS / 2);
        audit(&ring, &expected).await;
    })
    .await;
}
