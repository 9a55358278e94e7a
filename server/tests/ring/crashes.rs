//! Nodes that die or freeze: the ring closes without them, and takes them back.

use std::time::Duration;

use chordata_client::Client;
use chordata_protocol::Policy;
use chordata_rpc::service::Options;
use chordata_rpc::within as deadline;
use nix::sys::signal::Signal;

use crate::support::ring::{TestRing, status, stub};
use crate::support::{CALL, QUICK, WHOLE_WITHIN, answer, entry, eventually, within};

/// How long lookups may still try a node that the ring has dropped.
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(15);

#[tokio::test]
async fn after_kill_9_the_ring_closes_and_the_node_comes_back_under_its_id() {
    within(150, async {
        let mut ring = TestRing::start(5, &QUICK).await;
        let client = ring.client().await;
        let mut kept = Vec::new();
        for number in 0..40 {
            let (key, value) = entry(number);
            let answer = client.put(key, value).await.unwrap();
            if answer.trip.owner.address != ring.servers[2].address {
                kept.push(number);
            }
        }
        assert!(!kept.is_empty() && kept.len() < 40, "the dead node held some keys, not all: {}", kept.len());

        let before = ring.servers[2].id;
        ring.servers[2].process.kill();
        let survivors = [0, 1, 3, 4];
        lookups_find_only_survivors(&ring, &client, &survivors).await;
        let view = ring.whole_with(&survivors).await;
        let numbers: Vec<Option<u32>> = view.members().iter().map(|status| status.number).collect();
        assert_eq!(numbers, [Some(0), Some(1), Some(2), Some(3)], "a death renumbers");
        gets_answer(&ring, &survivors, &kept).await;

        ring.servers[2].start_again();
        assert_eq!(ring.servers[2].id, before, "it keeps its id");
        let view = ring.whole().await;
        let numbers: Vec<Option<u32>> = view.members().iter().map(|status| status.number).collect();
        assert_eq!(numbers, (0..5).map(Some).collect::<Vec<_>>());
        gets_answer(&ring, &[0, 1, 2, 3, 4], &kept).await;
    })
    .await;
}

#[tokio::test]
async fn once_the_ring_has_closed_no_lookup_asks_the_dead_first() {
    within(120, async {
        // One after the other, so that it is known who handed keys to whom.
        let mut ring = TestRing::start(1, &QUICK).await;
        for _ in 0..2 {
            ring.add();
            ring.whole().await;
        }
        ring.servers[1].process.kill();
        let survivors = [0, 2];
        ring.whole_with(&survivors).await;
        let client = ring.client_of(0).await;
        lookups_ask_nobody_in_vain(&ring, &client, &survivors).await;
    })
    .await;
}

#[tokio::test]
async fn neighbours_that_die_together_leave_one_ring() {
    within(120, async {
        let mut ring = TestRing::start(6, &QUICK).await;
        let mut order: Vec<usize> = (0..6).collect();
        order.sort_by_key(|place| ring.servers[*place].id);
        let (dead, survivors) = order.split_at(3);
        dead.iter().for_each(|place| ring.servers[*place].process.kill());
        ring.whole_with(survivors).await;
        let client = ring.client_of(survivors[0]).await;
        lookups_find_only_survivors(&ring, &client, survivors).await;
    })
    .await;
}

#[tokio::test]
async fn a_node_that_was_frozen_until_it_was_dropped_is_in_the_ring_again() {
    within(150, async {
        let ring = TestRing::start(4, &QUICK).await;
        let ids = ring.ids();
        ring.servers[1].process.signal(Signal::SIGSTOP);
        let survivors = [0, 2, 3];
        ring.whole_with(&survivors).await;
        let client = ring.client_of(0).await;
        lookups_find_only_survivors(&ring, &client, &survivors).await;
        client.put(entry(1).0, entry(1).1).await.unwrap();

        ring.servers[1].process.signal(Signal::SIGCONT);
        let view = ring.whole().await;
        let now: Vec<_> = view.members().iter().map(|status| status.me.id).collect();
        assert_eq!(now, ids, "one ring, the same nodes");
        gets_answer(&ring, &[0, 1, 2, 3], &[1]).await;
    })
    .await;
}

#[tokio::test]
async fn a_stopped_node_is_remembered_by_the_others_and_comes_back_under_its_id() {
    within(120, async {
        let mut ring = TestRing::start(4, &QUICK).await;
        let before = ring.servers[3].peer();
        ring.servers[3].terminate();
        let survivors = [0, 1, 2];
        ring.whole_with(&survivors).await;
        let client = ring.client_of(0).await;
        eventually("somebody misses the stopped node", WHOLE_WITHIN, async || {
            let mut silent = Vec::new();
            for place in survivors {
                silent.extend(status(&client, &ring.servers[place]).await.silent);
            }
            if silent.contains(&before) { Ok(()) } else { Err(format!("missed are {silent:?}")) }
        })
        .await;
        for place in survivors {
            let known = status(&client, &ring.servers[place]).await.known;
            assert_eq!(known, 3, "all others are known still, the stopped one too");
        }
        ring.servers[3].start_again();
        assert_eq!(ring.servers[3].peer(), before);
        ring.whole().await;
    })
    .await;
}

/// From every survivor, lookups of every node's id, the dead ones' too, end at a survivor.
async fn lookups_find_only_survivors(ring: &TestRing, client: &Client, survivors: &[usize]) {
    let mut alive: Vec<_> = survivors.iter().map(|place| ring.servers[*place].peer()).collect();
    alive.sort();
    for place in survivors {
        for target in ring.ids() {
            let server = &ring.servers[*place];
            let expected = alive.iter().find(|peer| peer.id >= target).unwrap_or(&alive[0]);
            eventually("lookups work again", WHOLE_WITHIN, async || {
                let called = stub(client, server).lookup(deadline(CALL), target, Policy::Finger).await;
                let trip = called.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
                if trip.owner == *expected { Ok(()) } else { Err(format!("{} is no owner", trip.owner)) }
            })
            .await;
        }
    }
}

/// Once the ring has closed, no lookup asks the dead first.
async fn lookups_ask_nobody_in_vain(ring: &TestRing, client: &Client, survivors: &[usize]) {
    eventually("lookups have forgotten the dead", FORGOTTEN_WITHIN, async || {
        for place in survivors {
            let server = &ring.servers[*place];
            for target in ring.ids() {
                let stub = stub(client, server);
                let trip = answer(stub.lookup(deadline(CALL), target, Policy::Finger).await);
                let trip = trip.map_err(|error| error.to_string())?;
                if trip.timeouts > 0 {
                    return Err(format!("from {} to {target}: {:?}", server.address, trip.path));
                }
            }
        }
        Ok(())
    })
    .await;
}

/// Each of these servers answers gets of these entries.
async fn gets_answer(ring: &TestRing, places: &[usize], numbers: &[usize]) {
    for place in places {
        let client = ring.client_of(*place).await;
        for number in numbers {
            let (key, value) = entry(*number);
            let got = stub(&client, &ring.servers[*place]).get(deadline(CALL), key, Options::default()).await;
            let found = answer(got).unwrap().result.map(|record| record.value);
            assert_eq!(found, Some(value), "entry {number} at {}", ring.servers[*place].address);
        }
    }
}
