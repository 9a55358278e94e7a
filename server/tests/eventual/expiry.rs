//! Values that end by themselves, in eventual mode: from their moment on no node answers with them, whatever it has stored.

use chordata_client::Client;
use chordata_protocol::{Key, Value};

use crate::support::expiry::{clients, gone, put_for, seen_by_all};
use crate::support::ring::{TestRing, status};
use crate::support::{WHOLE_WITHIN, eventually, within};
use crate::{SYNC, blocking};

const ALL: [usize; 4] = [0, 1, 2, 3];

/// Waits until no node has a tombstone any more.
async fn collected(ring: &TestRing, client: &Client) {
    eventually("tombstones are collected", WHOLE_WITHIN, async || {
        for server in &ring.servers {
            let node = status(client, server).await;
            let tombstones = node.eventual.map_or(0, |part| part.tombstones);
            if tombstones > 0 {
                return Err(format!("{} has {tombstones}", server.address));
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_is_seen_on_every_node_until_its_moment_and_on_none_afterwards() {
    within(150, async {
        let ring = TestRing::start(4, SYNC).await;
        let client = ring.client().await.with_acks(3);
        let all: Vec<Client> =
            clients(&ring, &ALL).await.into_iter().map(|client| client.with_acks(3)).collect();
        let key = Key::new("session");
        client.put(key.clone(), Value::from("older")).await.unwrap();
        let expires = put_for(&client, &key, "open", "3s").await;
        let seen = seen_by_all(&all, &key).await.expect("its time is not over");
        assert_eq!((seen.value, seen.expires), (Value::from("open"), Some(expires)));

        gone(&client, &key, expires).await;
        assert_eq!(seen_by_all(&all, &key).await, None, "neither it nor the older value");
        let audit = client.audit().await.unwrap();
        assert!(audit.is_sound(), "some replicas may have ended it and others not: {audit:?}");
        collected(&ring, &client).await;
        assert_eq!(seen_by_all(&all, &key).await, None);
        eventually("nothing is left of it", WHOLE_WITHIN, async || {
            for server in &ring.servers {
                let keys = status(&client, server).await.keys;
                if keys > 0 {
                    return Err(format!("{} has {keys}", server.address));
                }
            }
            Ok(())
        })
        .await;

        put_for(&client, &key, "short", "1500ms").await;
        client.put(key.clone(), Value::from("stays")).await.unwrap();
        let last = Key::new("last");
        let expires = put_for(&client, &last, "x", "2s").await;
        gone(&client, &last, expires).await;
        let seen = seen_by_all(&all, &key).await.expect("it has no end any more");
        assert_eq!((seen.value, seen.expires), (Value::from("stays"), None));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_away_does_not_bring_the_older_value_back() {
    within(150, async {
        let mut ring = TestRing::start(4, SYNC).await;
        let client = ring.client().await.with_acks(3);
        let key = Key::new("session");
        client.put(key.clone(), Value::from("older")).await.unwrap();
        let mut members = ring.peers();
        members.sort();
        let owner = members.partition_point(|peer| peer.id < key.id(client.space())) % members.len();
        let away = members[(owner + 2) % members.len()].address.clone();
        let away = ring.servers.iter().position(|server| server.address == away).unwrap();
        blocking(|| ring.servers[away].process.kill());
        let left: Vec<usize> = ALL.into_iter().filter(|place| *place != away).collect();
        ring.whole_with(&left).await;

        let others = clients(&ring, &left).await;
        let expires = put_for(&others[0], &key, "open", "2s").await;
        gone(&others[0], &key, expires).await;
        blocking(|| ring.servers[away].start_again());
        ring.whole().await;
        let back = ring.client_of(away).await;
        eventually("the older value is gone there as well", WHOLE_WITHIN, async || {
            match back.get(key.clone()).await.unwrap().result {
                Some(record) => Err(format!("{record:?}")),
                None => Ok(()),
            }
        })
        .await;
        let all = clients(&ring, &ALL).await;
        collected(&ring, &all[0]).await;
        assert_eq!(seen_by_all(&all, &key).await, None, "it does not come back");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ends_while_everything_is_off_is_gone_and_the_rest_keeps_its_moment() {
    within(150, async {
        let mut ring = TestRing::start(4, SYNC).await;
        let client = ring.client().await.with_acks(3);
        let (soon, later) = (Key::new("soon"), Key::new("later"));
        let ends_later = put_for(&client, &later, "x", "1h").await;
        let ends_soon = put_for(&client, &soon, "x", "1s").await;
        blocking(|| ring.servers.iter_mut().for_each(|server| server.process.kill()));
        ring.servers.iter_mut().for_each(|server| server.begin_again());
        blocking(|| ring.servers.iter_mut().for_each(|server| server.await_ready()));
        ring.whole().await;
        let all = clients(&ring, &ALL).await;
        gone(&all[0], &soon, ends_soon).await;
        assert_eq!(seen_by_all(&all, &soon).await, None);
        assert_eq!(seen_by_all(&all, &later).await.unwrap().expires, Some(ends_later));
    })
    .await;
}
