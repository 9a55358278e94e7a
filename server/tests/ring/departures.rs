//! Leaving the ring for good.

use chordata_rpc::service::Error;
use chordata_rpc::within as deadline;

use crate::support::ring::{TestRing, stub};
use crate::support::{CALL, PATIENT, answer, entry, within};

const KEYS: usize = 200;

#[tokio::test]
async fn a_node_that_departs_hands_its_keys_over_and_its_process_ends() {
    within(120, async {
        let mut ring = TestRing::start(4, &PATIENT).await;
        let client = ring.client().await;
        let stored = client.put_many((0..KEYS).map(entry).collect()).await;
        stored.iter().for_each(|outcome| assert!(outcome.is_ok(), "{outcome:?}"));

        // Until only the first is left; it had started the ring, and any node may go.
        for _ in 0..3 {
            let mut leaver = ring.servers.remove(0);
            answer(stub(&client, &leaver).depart(deadline(CALL * 2)).await).unwrap();
            assert_eq!(leaver.process.exit_code(), Some(0), "{}", leaver.process.log());
            assert!(!leaver.home.path().join("data/identity.toml").exists(), "it is no member any more");
            ring.whole().await;
            for place in 0..ring.servers.len() {
                let client = ring.client_of(place).await;
                for number in 0..KEYS {
                    let (key, value) = entry(number);
                    let found = client.get(key).await.unwrap().result.map(|record| record.value);
                    assert_eq!(found, Some(value), "entry {number} with {} nodes left", ring.servers.len());
                }
            }
        }

        let client = ring.client().await;
        let refusal = answer(stub(&client, &ring.servers[0]).depart(deadline(CALL)).await).unwrap_err();
        let Error::Unavailable(reason) = &refusal else { panic!("{refusal:?}") };
        assert!(reason.contains("last node"), "{reason}");
        let found = client.get(entry(7).0).await.unwrap().result;
        assert_eq!(found.map(|record| record.value), Some(entry(7).1), "it serves on");
    })
    .await;
}

#[tokio::test]
async fn all_nodes_but_one_may_depart_at_once() {
    within(120, async {
        let mut ring = TestRing::start(4, &PATIENT).await;
        let client = ring.client().await;
        let stored = client.put_many((0..KEYS).map(entry).collect()).await;
        assert!(stored.iter().all(Result::is_ok));
        let leavers = ring.servers.split_off(1);
        let client = &client;
        let departures =
            leavers.iter().map(|leaver| async move { stub(client, leaver).depart(deadline(CALL * 3)).await });
        for departed in futures::future::join_all(departures).await {
            answer(departed).unwrap();
        }
        ring.whole().await;
        let client = ring.client().await;
        for number in 0..KEYS {
            let found = client.get(entry(number).0).await.unwrap().result.map(|record| record.value);
            assert_eq!(found, Some(entry(number).1));
        }
    })
    .await;
}
