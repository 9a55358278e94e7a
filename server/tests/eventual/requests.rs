//! What clients may ask for, and what they are told.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chordata_client::{Client, Config, Failure};
use chordata_protocol::{Key, Value, Version};
use chordata_rpc::service::{Error, Options, Route};
use chordata_rpc::within as deadline;

use crate::copies::equal;
use crate::support::ring::{TestRing, stub};
use crate::support::{CALL, answer, entry, within};
use crate::{SYNC, blocking};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_answers_for_every_key_and_swaps_are_refused() {
    within(100, async {
        let ring = TestRing::start(5, SYNC).await;
        let client = ring.client().await;
        let direct = Options { route: Route::Direct, ..Options::default() };
        for (number, (key, value)) in (0..20).map(entry).enumerate() {
            let writer = &ring.servers[number % ring.servers.len()];
            let stored = stub(&client, writer).put(deadline(CALL), key.clone(), value.clone(), direct).await;
            answer(stored).unwrap();
        }
        equal(&client, &ring.peers()).await;
        for (key, value) in (0..20).map(entry) {
            for server in &ring.servers {
                let found = stub(&client, server).get(deadline(CALL), key.clone(), direct).await;
                let found = answer(found).unwrap().result.unwrap();
                assert_eq!(found.value, value, "{key} at {}", server.address);
            }
        }
        let (key, value) = entry(1);
        let swapped = client.compare_and_swap(key.clone(), None, Some(value)).await.unwrap_err();
        assert!(matches!(&swapped, Failure::Refused(Error::NotSupported(_))), "{swapped:?}");
        assert!(swapped.to_string().contains("chain mode"), "{swapped}");
        let deleted = client.delete(key.clone()).await.unwrap();
        assert!(deleted.at > Some(Version::default()));
        let (keys, entries): (Vec<Key>, Vec<(Key, Value)>) =
            (100..400).map(entry).map(|(key, value)| (key.clone(), (key, value))).unzip();
        assert!(client.put_many(entries.clone()).await.iter().all(Result::is_ok));
        let found = client.get_many(keys).await;
        let found: Vec<Option<Value>> =
            found.into_iter().map(|found| found.unwrap().map(|record| record.value)).collect();
        assert_eq!(found, entries.into_iter().map(|(_, value)| Some(value)).collect::<Vec<_>>());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_copies_are_stored_as_were_asked_for() {
    within(100, async {
        let mut ring = TestRing::start(3, SYNC).await;
        let all = Config { acks: 3, ..Config::default() };
        let client = Client::connect(&ring.addresses(), all.clone()).await.unwrap();
        for (key, value) in (0..10).map(entry) {
            client.put(key.clone(), value).await.unwrap();
            // No waiting: all three have it.
            for server in &ring.servers {
                let copy = client.copy(&server.address, key.clone()).await.unwrap();
                assert!(matches!(copy.held, chordata_rpc::service::Held::Value { .. }), "{copy:?}");
            }
        }
        let too_many = Config { acks: 4, ..Config::default() };
        let client = Client::connect(&ring.addresses(), too_many).await.unwrap();
        let (key, value) = entry(0);
        let refused = client.put(key, value).await.unwrap_err();
        assert!(matches!(&refused, Failure::Refused(Error::NotSupported(_))), "{refused:?}");
        // With one node away three copies are not to be had: it says so, and is not silent about what was stored.
        blocking(|| ring.servers[2].process.kill());
        let client = Client::connect(&ring.addresses()[..2], all).await.unwrap();
        let (key, value) = entry(1000);
        let fewer = client.put(key, value).await.unwrap_err();
        let says = fewer.to_string();
        assert!(says.contains("copies") || says.contains("1 to 2"), "{says}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_from_the_future_does_not_get_in_with_a_client() {
    within(100, async {
        let ring = TestRing::start(1, SYNC).await;
        let client = ring.client().await;
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_secs(3600);
        let seen = Some(Version { epoch: (wall.as_millis() as u64) << 16, sequence: 1 });
        let options = Options { route: Route::Direct, seen, ..Options::default() };
        let (key, value) = entry(0);
        let refused = stub(&client, &ring.servers[0]).put(deadline(CALL), key, value, options).await;
        let refused = answer(refused).unwrap_err();
        assert!(matches!(&refused, Error::NotSupported(reason) if reason.contains("clock")), "{refused:?}");
    })
    .await;
}
