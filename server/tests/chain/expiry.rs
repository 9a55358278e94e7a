//! Values that end by themselves, in chains of real processes: everybody sees them until they are ended, and nobody
//! afterwards, whoever died or was started again meanwhile.

use chordata_client::{Client, Failure};
use chordata_protocol::{BadInput, Key, Outcome, Value};
use chordata_rpc::service::Held;
use chordata_rpc::within as deadline;

use crate::ring::{SYNC, blocking, replicas, server_at, whole};
use crate::support::expiry::{clients, for_a_while, gone, put_for, seen_by_all};
use crate::support::ring::{Server, TestRing};
use crate::support::{CALL, answer, entry, within};

const ALL: [usize; 5] = [0, 1, 2, 3, 4];

/// What every node's store has of a key, whoever may serve it.
async fn stored(ring: &TestRing, client: &Client, key: &Key) -> Vec<Held> {
    let mut found = Vec::new();
    for server in &ring.servers {
        let stub = client.pool().client(&server.address);
        found.push(answer(stub.copy(deadline(CALL), key.clone()).await).unwrap().held);
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_is_seen_on_every_node_until_it_ends_and_on_none_afterwards() {
    within(150, async {
        let ring = TestRing::start(5, SYNC).await;
        let (client, all) = (ring.client().await, clients(&ring, &ALL).await);
        let key = Key::new("session");
        let expires = put_for(&client, &key, "open", "3s").await;
        let seen = seen_by_all(&all, &key).await.expect("its time is not over");
        assert_eq!((seen.value, seen.expires), (Value::from("open"), Some(expires)));
        let copies = stored(&ring, &client, &key).await;
        let is_right = |held: &&Held| matches!(held, Held::Value { expires: at, .. } if *at == Some(expires));
        assert_eq!(copies.iter().filter(is_right).count(), 3, "{copies:?}");

        gone(&client, &key, expires).await;
        // Once one of them has found nothing, none finds it any more.
        assert_eq!(seen_by_all(&all, &key).await, None);
        assert_eq!(stored(&ring, &client, &key).await, [Held::Nothing; 5], "nothing is left of it");

        // A put without a time to live clears it; so does a swap.
        let expires = put_for(&client, &key, "short", "1500ms").await;
        client.put(key.clone(), Value::from("stays")).await.unwrap();
        let other = Key::new("other");
        put_for(&client, &other, "short", "1500ms").await;
        let version = client.get(other.clone()).await.unwrap().result.unwrap().version;
        client.compare_and_swap(other.clone(), Some(version), Some(Value::from("stays"))).await.unwrap();
        // What is written behind them and ends later is gone: so they have been looked at.
        let last = Key::new("last");
        let last_expires = put_for(&client, &last, "x", "2s").await;
        assert!(last_expires >= expires);
        gone(&client, &last, last_expires).await;
        for key in [key, other] {
            let seen = seen_by_all(&all, &key).await.expect("it has no end any more");
            assert_eq!((seen.value, seen.expires), (Value::from("stays"), None));
        }
        assert!(client.audit().await.unwrap().is_sound());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swaps_and_batches_have_times_to_live_and_what_cannot_be_is_refused() {
    within(150, async {
        let ring = TestRing::start(3, SYNC).await;
        let client = ring.client().await;
        let key = Key::new("lock");
        let swap = async |expected, value: Option<&str>, ttl: &str| {
            let value = value.map(Value::from);
            client.compare_and_swap_with(key.clone(), expected, value, for_a_while(ttl)).await
        };
        let taken = swap(None, Some("mine"), "2s").await.unwrap().result;
        let Outcome::Written(version) = taken else { panic!("{taken:?}") };
        assert_eq!(swap(None, Some("yours"), "2s").await.unwrap().result, Outcome::Conflict(Some(version)));
        let expires = client.get(key.clone()).await.unwrap().result.unwrap().expires.unwrap();
        gone(&client, &key, expires).await;
        // A lock that nobody gave back can be taken again.
        assert!(matches!(swap(None, Some("yours"), "60s").await.unwrap().result, Outcome::Written(_)));

        let entries: Vec<(Key, Value)> = (0..200).map(entry).collect();
        let keys: Vec<Key> = entries.iter().map(|(key, _)| key.clone()).collect();
        for outcome in client.put_many_with(entries, for_a_while("2s")).await {
            outcome.unwrap();
        }
        let found = client.get_many(keys.clone()).await;
        let ends = found.into_iter().map(|record| record.unwrap().unwrap().expires.unwrap());
        for (key, expires) in keys.iter().zip(ends.collect::<Vec<_>>()) {
            gone(&client, key, expires).await;
        }
        let left = client.get_many(keys).await;
        assert!(left.into_iter().all(|found| found.unwrap().is_none()));

        let refused = swap(None, None, "2s").await.unwrap_err();
        assert_eq!(refused, Failure::BadInput(BadInput::TtlWithoutValue));
        let stub = client.pool().client(&ring.servers[0].address);
        let options = chordata_rpc::service::Options::default();
        let never = chordata_rpc::service::Options { ttl: nothing_to_live(), ..options };
        let refused = stub.put(deadline(CALL), key.clone(), Value::from("x"), never).await;
        let bad = chordata_rpc::service::Error::BadInput(BadInput::TtlOutOfRange(0));
        assert_eq!(answer(refused).unwrap_err(), bad, "a server looks for itself");
    })
    .await;
}

/// No time to live at all, as only the wire can carry it.
fn nothing_to_live() -> Option<chordata_protocol::Ttl> {
    serde_json::from_str("0").ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_head_dies_before_the_moment_and_the_next_one_ends_the_value() {
    within(150, async {
        let mut ring = TestRing::start(5, SYNC).await;
        let client = ring.client().await;
        let view = ring.whole().await;
        let key = Key::new("session");
        let expires = put_for(&client, &key, "open", "4s").await;
        let head = replicas(&view, &client, &key)[0].clone();
        blocking(|| server_at(&mut ring, &head).process.kill());
        let dead = ring.servers.iter().position(|server| server.address == head).unwrap();
        let alive: Vec<usize> = ALL.into_iter().filter(|place| *place != dead).collect();
        let others = clients(&ring, &alive).await;
        gone(&others[0], &key, expires).await;
        assert_eq!(seen_by_all(&others, &key).await, None);

        // It comes back with the value on its disk.
        blocking(|| server_at(&mut ring, &head).start_again());
        whole(&ring, "the head is back").await;
        let all = clients(&ring, &ALL).await;
        assert_eq!(seen_by_all(&all, &key).await, None, "it does not come back");
        assert_eq!(stored(&ring, &all[0], &key).await, [Held::Nothing; 5]);
        assert!(all[0].audit().await.unwrap().is_sound());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ends_while_everything_is_off_is_gone_and_the_rest_keeps_its_moment() {
    within(150, async {
        let mut ring = TestRing::start(5, SYNC).await;
        let client = ring.client().await;
        let (soon, later) = (Key::new("soon"), Key::new("later"));
        let ends_later = put_for(&client, &later, "x", "1h").await;
        let ends_soon = put_for(&client, &soon, "x", "1s").await;
        client.put(Key::new("for ever"), Value::from("x")).await.unwrap();
        blocking(|| ring.servers.iter_mut().for_each(|server| server.process.kill()));
        blocking(|| {
            ring.servers.iter_mut().for_each(Server::begin_again);
            ring.servers.iter_mut().for_each(Server::await_ready);
        });
        whole(&ring, "all were ready again").await;
        let all = clients(&ring, &ALL).await;
        gone(&all[0], &soon, ends_soon).await;
        assert_eq!(seen_by_all(&all, &soon).await, None);
        assert_eq!(seen_by_all(&all, &later).await.unwrap().expires, Some(ends_later));
        assert_eq!(seen_by_all(&all, &Key::new("for ever")).await.unwrap().expires, None);
    })
    .await;
}
