//! Nodes that join and depart, under load and down to the last, and nodes that are given up.

use std::collections::BTreeMap;

use chordata_client::{Client, Config};
use chordata_protocol::chain::{Applied, Command};
use chordata_protocol::{Key, Record};
use chordata_rpc::service::Error;
use chordata_rpc::within as deadline;

use crate::load::Load;
use crate::ring::{INTERVAL, MEMORY, SYNC, a_leader, audit, blocking, chains, whole};
use crate::support::ring::{Server, TestRing, stub};
use crate::support::{CALL, answer, entry, within};

const KEYS: usize = 40;

/// Stores some keys; what they hold.
async fn store(ring: &TestRing) -> BTreeMap<Key, Option<Record>> {
    let client = ring.client().await;
    let mut stored = BTreeMap::new();
    for (key, value) in (0..KEYS).map(entry) {
        client.put(key.clone(), value).await.unwrap();
        stored.insert(key.clone(), client.get(key).await.unwrap().result);
    }
    assert_eq!(stored.values().flatten().count(), KEYS);
    stored
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_joins_and_two_depart_under_load() {
    within(200, async {
        let mut ring = TestRing::start(5, INTERVAL).await;
        let load = Load::begin(&ring).await;

        let joined = load.book.now();
        blocking(|| drop(ring.add().peer()));
        let view = whole(&ring, "a sixth joined").await;
        assert_eq!(view.members().len(), 6);
        load.everything_is_written(joined).await;

        // Of those who depart one leads the coordinator's group.
        let leader = a_leader(&ring).await.address;
        let other = ring.addresses().into_iter().rev().find(|address| *address != leader).unwrap();
        for address in [other, leader] {
            let place = ring.servers.iter().position(|server| server.address == address).unwrap();
            let mut leaver = ring.servers.remove(place);
            let client = ring.client().await;
            let departs = load.book.now();
            answer(stub(&client, &leaver).depart(deadline(CALL * 4)).await).unwrap();
            println!("departed after {:.1} s", (load.book.now() - departs) as f64 / 1e6);
            assert_eq!(blocking(|| leaver.process.exit_code()), Some(0), "{}", leaver.process.log());
            assert!(!leaver.home.path().join("data/identity.toml").exists(), "it is no member any more");
            whole(&ring, "it departed").await;
            load.everything_is_written(departs).await;
        }
        load.end(&ring).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_depart_until_one_is_left_and_that_one_stays() {
    within(150, async {
        let mut ring = TestRing::start(4, SYNC).await;
        let stored = store(&ring).await;
        for _ in 0..3 {
            let mut leaver = ring.servers.remove(0);
            let client = ring.client().await;
            answer(stub(&client, &leaver).depart(deadline(CALL * 4)).await).unwrap();
            assert_eq!(blocking(|| leaver.process.exit_code()), Some(0), "{}", leaver.process.log());
            whole(&ring, "it departed").await;
            audit(&ring, &stored).await;
        }
        let client = ring.client().await;
        let refusal = answer(stub(&client, &ring.servers[0]).depart(deadline(CALL * 6)).await).unwrap_err();
        let Error::Unavailable(reason) = &refusal else { panic!("{refusal:?}") };
        assert!(reason.contains("the last node"), "{reason}");
        audit(&ring, &stored).await;
        blocking(|| drop(ring.add().peer()));
        whole(&ring, "another came").await;
        audit(&ring, &stored).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_node_that_is_forgotten_is_replaced_at_once() {
    within(150, async {
        let mut ring = TestRing::start(5, SYNC).await;
        let stored = store(&ring).await;
        let mut dead = ring.servers.remove(3);
        blocking(|| dead.process.kill());
        let client = ring.client().await;
        answer(stub(&client, &ring.servers[0]).forget(deadline(CALL), dead.id).await).unwrap();
        whole(&ring, "it was forgotten").await;
        audit(&ring, &stored).await;

        // Its store may not come back, and is told so.
        blocking(|| dead.begin_again());
        assert_eq!(blocking(|| dead.process.exit_code()), Some(1), "{}", dead.process.log());
        assert!(dead.process.log().contains("forgotten by its cluster"), "{}", dead.process.log());
        whole(&ring, "it tried to come back").await;
        audit(&ring, &stored).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_departs_as_soon_as_it_is_back_hands_over_first() {
    within(150, async {
        let mut ring = TestRing::start(5, SYNC).await;
        let stored = store(&ring).await;
        for _ in 0..2 {
            blocking(|| {
                ring.servers.iter_mut().for_each(|server| server.process.kill());
                ring.servers.iter_mut().for_each(Server::begin_again);
            });
            // It is asked at once, before it knows anybody in the ring.
            let mut leaver = ring.servers.remove(2);
            blocking(|| leaver.await_ready());
            let client = Client::connect(&[leaver.address.clone()], Config::default()).await.unwrap();
            answer(stub(&client, &leaver).depart(deadline(CALL * 4)).await).unwrap();
            assert_eq!(blocking(|| leaver.process.exit_code()), Some(0), "{}", leaver.process.log());
            blocking(|| ring.servers.iter_mut().for_each(Server::await_ready));
            whole(&ring, "it departed").await;
            audit(&ring, &stored).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_removed_while_it_was_away_says_so_and_ends() {
    within(150, async {
        // In memory, so that who comes back has no view that has it as a member.
        let mut ring = TestRing::start(4, MEMORY).await;
        let view = whole(&ring, "four began").await;
        let voters = &view.nodes[0].chain.as_ref().unwrap().voters;
        let others = chains(&view).members.iter().find(|(store, _)| !voters.contains(store));
        let (store, member) = others.map(|(store, member)| (*store, member.clone())).unwrap();
        let place = ring.servers.iter().position(|server| server.id == member.peer.id).unwrap();
        let mut gone = ring.servers.remove(place);
        blocking(|| gone.process.kill());
        let client = ring.client().await;
        let leader = a_leader(&ring).await;
        let left = client.pool().ring(&leader.address).propose(deadline(CALL), Command::Leave(store)).await;
        assert_eq!(answer(left).unwrap(), Applied::Done);
        whole(&ring, "it left").await;

        blocking(|| gone.begin_again());
        assert_eq!(blocking(|| gone.process.exit_code()), Some(1), "{}", gone.process.log());
        assert!(gone.process.log().contains("no member of its cluster any more"), "{}", gone.process.log());
        assert_eq!(whole(&ring, "it tried to come back").await.members().len(), 3);
    })
    .await;
}
