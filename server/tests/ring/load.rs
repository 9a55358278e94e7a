//! Puts and gets that go on while the ring changes: what was acknowledged stays, what is answered is right.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chordata_client::{Client, Failure, Routing};
use chordata_protocol::{Key, Policy, Value};
use chordata_rpc::within as deadline;

use crate::support::ring::{TestRing, stub};
use crate::support::{CALL, PATIENT, answer, eventually, within};

/// What one writer knows of its keys: none but it writes them.
#[derive(Default)]
struct Ledger {
    acknowledged: BTreeMap<Key, Value>,
    unknown: usize,
    refused: usize,
    gets: usize,
}

/// Writes new keys and overwrites one, and reads both back, until it is told to stop.
async fn write_and_read(client: Client, writer: usize, stop: Arc<AtomicBool>) -> Ledger {
    let mut ledger = Ledger::default();
    let hot = Key::new(format!("hot {writer}"));
    let mut hot_values: Vec<Option<Value>> = vec![None];
    let mut number = 0_usize;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let (key, value) =
            (Key::new(format!("{writer}/{number}")), Value::from(format!("v{writer}/{number}")));
        match client.put(key.clone(), value.clone()).await {
            Ok(_) => drop(ledger.acknowledged.insert(key, value)),
            Err(Failure::Unknown(_)) => ledger.unknown += 1,
            Err(failure) if failure.is_certain() => ledger.refused += 1,
            Err(failure) => panic!("{failure:?}"),
        }
        let value = Value::from(format!("h{writer}/{number}"));
        match client.put(hot.clone(), value.clone()).await {
            Ok(_) => hot_values = vec![Some(value)],
            Err(Failure::Unknown(_)) => hot_values.push(Some(value)),
            Err(_) => ledger.refused += 1,
        }
        // An early key, one from the middle, the last: they are at many owners.
        let count = ledger.acknowledged.len();
        for place in [number % count.max(1), count / 2, count.saturating_sub(1)] {
            let Some((key, value)) = ledger.acknowledged.iter().nth(place) else { continue };
            if let Ok(answer) = client.get(key.clone()).await {
                let found = answer.result.map(|record| record.value);
                assert_eq!(found.as_ref(), Some(value), "a wrong answer for {key}, from {:?}", answer.trip);
                ledger.gets += 1;
            }
        }
        if let Ok(answer) = client.get(hot.clone()).await {
            let found = answer.result.map(|record| record.value);
            assert!(hot_values.contains(&found), "{hot} was {found:?}, possible were {hot_values:?}");
            hot_values = vec![found];
        }
    }
    ledger
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_while_nodes_join_and_depart() {
    within(180, async {
        let mut ring = TestRing::start(4, &PATIENT).await;
        let stop = Arc::new(AtomicBool::new(false));
        let mut writers = Vec::new();
        for writer in 0..4 {
            let client = ring.client().await;
            // Half of them route themselves, half let a node that stays do it.
            let routing = match writer % 2 {
                0 => Routing::Client(Policy::Finger),
                _ => Routing::Entry(Policy::Finger),
            };
            let client = client.through(ring.servers[writer % 2].address.clone(), routing, false);
            writers.push(tokio::spawn(write_and_read(client, writer, stop.clone())));
        }

        let client = ring.client().await;
        let mut leavers = Vec::new();
        for change in 0..3 {
            tokio::task::block_in_place(|| drop(ring.add().peer()));
            if change < 2 {
                let leaver = ring.servers.remove(2);
                answer(stub(&client, &leaver).depart(deadline(CALL * 2)).await).unwrap();
                leavers.push(leaver);
            }
        }
        for leaver in &mut leavers {
            assert_eq!(tokio::task::block_in_place(|| leaver.process.exit_code()), Some(0));
        }
        ring.whole().await;
        stop.store(true, Ordering::Relaxed);

        let reader = ring.client_of(2).await;
        for writer in writers {
            let ledger = writer.await.unwrap();
            println!(
                "{} acknowledged, {} unknown, {} refused, {} gets judged",
                ledger.acknowledged.len(),
                ledger.unknown,
                ledger.refused,
                ledger.gets
            );
            assert!(ledger.acknowledged.len() > 20 && ledger.gets > 20, "there was hardly any load");
            for (key, value) in ledger.acknowledged {
                let found = reader.get(key.clone()).await.unwrap().result.map(|record| record.value);
                assert_eq!(found, Some(value), "{key} was acknowledged and is lost");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn batches_go_through_while_a_node_joins() {
    within(120, async {
        let mut ring = TestRing::start(2, &PATIENT).await;
        let client = ring.client().await;
        let mut newcomer = crate::support::ring::Server::begin(Some(&ring.servers[0].address), &PATIENT);
        let mut round = 0;
        eventually("the newcomer is in the ring", Duration::from_secs(40), async || {
            round += 1;
            let batch = (0..500).map(|n| crate::support::entry(round * 1000 + n)).collect::<Vec<_>>();
            let keys = batch.iter().map(|(key, _)| key.clone()).collect();
            for outcome in client.put_many(batch.clone()).await {
                outcome.map_err(|failure| panic!("a put of a batch failed: {failure}")).ok();
            }
            for ((key, value), found) in batch.iter().zip(client.get_many(keys).await) {
                let found = found.unwrap_or_else(|failure| panic!("a get of a batch failed: {failure}"));
                assert_eq!(found.map(|record| record.value).as_ref(), Some(value), "{key}");
            }
            let view = client.view_from(vec![newcomer.address.clone()]).await;
            if view.is_whole() && view.members().len() == 3 { Ok(()) } else { Err("not yet".to_owned()) }
        })
        .await;
        newcomer.await_ready();
        ring.servers.push(newcomer);
        ring.whole().await;
    })
    .await;
}
