//! Reads that take any replica, where nobody has a lease any more.

use std::time::Duration;

use chordata_client::{Client, Config, Routing};
use chordata_protocol::{Policy, Value};
use chordata_rpc::service::{Error, Level, Options, Route};

use crate::ring::{MEMORY, blocking, chains, replicas, whole};
use crate::support::ring::{TestRing, stub};
use crate::support::{CALL, WHOLE_WITHIN, entry, eventually, within};

const KEYS: usize = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_replica_is_asked_by_an_entry_node_that_has_none_where_the_majority_is_gone() {
    within(100, async {
        let mut ring = TestRing::start(5, MEMORY).await;
        let client = ring.client().await;
        for outcome in client.put_many((0..KEYS).map(entry).collect()).await {
            outcome.unwrap();
        }
        let view = whole(&ring, "all were ready").await;
        assert_eq!(chains(&view).members.len(), 5);
        // Three of five voters are gone; each of the two that are left has only some of the keys.
        blocking(|| drop(ring.servers.drain(..3)));
        let left = ring.addresses();
        let keys: Vec<_> = (0..KEYS).map(|number| entry(number).0).collect();
        let has = |place: usize, key| replicas(&view, &client, key).contains(&left[place]);
        let survives: Vec<bool> = keys.iter().map(|key| has(0, key) || has(1, key)).collect();
        assert!(keys.iter().any(|key| has(0, key) && !has(1, key)), "a key that only the first one has");
        assert!(keys.iter().any(|key| has(1, key) && !has(0, key)), "a key that only the second one has");
        // What has no survivor is soon given up.
        let config = Config { patience: Duration::from_secs(2), ..Config::default() };
        let client = Client::connect(&left, config).await.unwrap();
        eventually("nobody has a lease any more", WHOLE_WITHIN, async || {
            for key in &keys {
                let options = Options { route: Route::Direct, ..Options::default() };
                for server in &ring.servers {
                    let stub = stub(&client, server);
                    if let Ok(Ok(_)) = stub.get(chordata_rpc::within(CALL), key.clone(), options).await {
                        return Err(format!("{key} is read at {}", server.address));
                    }
                }
            }
            Ok(())
        })
        .await;
        for (place, address) in left.iter().enumerate() {
            let entry_client = client.through(address.clone(), Routing::Entry(Policy::Finger), true);
            let many = entry_client.get_many_any(keys.clone()).await;
            for (((key, found), survives), number) in keys.iter().zip(many).zip(&survives).zip(0..) {
                if !survives {
                    assert!(found.is_err(), "{key}: {found:?}");
                    continue;
                }
                let value: Value = entry(number).1;
                assert_eq!(found.unwrap().map(|record| record.value).as_ref(), Some(&value), "{key}");
                let one = entry_client.get_any(key.clone()).await.unwrap();
                assert_eq!(one.result.map(|record| record.value), Some(value), "{key}");
                let (hops, path) = (one.trip.hops, one.trip.path.len());
                assert_eq!((hops, path), if has(place, key) { (0, 1) } else { (1, 2) }, "{key}");
            }
        }
        // By its own routing as well; what nobody serves has a level, too.
        let many = client.get_many_any(keys.clone()).await;
        assert_eq!(many.iter().map(Result::is_ok).collect::<Vec<_>>(), survives);
        let foreign = keys.iter().find(|key| !has(0, key)).unwrap().clone();
        let options = Options { route: Route::Direct, level: Level::Any, ..Options::default() };
        let stub = stub(&client, &ring.servers[0]);
        let answer = stub.get(chordata_rpc::within(CALL), foreign, options).await.unwrap();
        assert!(matches!(&answer, Err(Error::NotOwner(named)) if !named.is_empty()), "{answer:?}");
    })
    .await;
}
