//! The audit of a cluster that is written to as fast as it can be: copies are compared at one place of the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use chordata_client::Client;
use chordata_protocol::{Key, Range, Value};
use chordata_rpc::service::{CopiesOptions, DigestOptions, Error, MarkName};
use chordata_rpc::within as deadline;

use crate::ring::{MEMORY, SYNC, a_key_of_each_range, chains};
use crate::support::ring::{TestRing, stub};
use crate::support::{CALL, WHOLE_WITHIN, answer, entry, eventually, within};

const KEYS: usize = 400;
/// Audits in a row.
const AUDITS: usize = 5;

/// Puts and deletes one key again and again, without a pause.
async fn hammer(client: Client, key: Key, stop: Arc<AtomicBool>, done: Arc<AtomicU64>) {
    let mut round = 0;
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        let written = if round % 3 == 0 {
            client.delete(key.clone()).await
        } else {
            client.put(key.clone(), Value::from(format!("{round}"))).await
        };
        written.unwrap();
        done.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_found_in_a_sound_cluster_however_much_it_is_written_to() {
    within(150, async {
        for settings in [MEMORY, SYNC] {
            let ring = TestRing::start(4, settings).await;
            let client = ring.client().await;
            for outcome in client.put_many((0..KEYS).map(entry).collect()).await {
                outcome.unwrap();
            }
            let view = ring.whole().await;
            let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
            let mut writers = Vec::new();
            for name in ["a", "b", "c"] {
                for key in a_key_of_each_range(&view, &client, name) {
                    let writer = hammer(ring.client().await, key, stop.clone(), done.clone());
                    writers.push(tokio::spawn(writer));
                }
            }
            for _ in 0..AUDITS {
                let before = done.load(Ordering::Relaxed);
                let audit = client.audit().await.unwrap();
                let meanwhile = done.load(Ordering::Relaxed) - before;
                assert!(audit.is_sound(), "{:?}", audit.problems);
                assert_eq!(audit.ranges.len(), chains(&view).ranges.len());
                for range in &audit.ranges {
                    assert_eq!((range.replicas, range.wanted, range.listed), (3, 3, 0), "{range:?}");
                }
                let keys: u64 = audit.ranges.iter().map(|range| range.keys).sum();
                assert!(keys >= KEYS as u64, "{keys}");
                assert!(meanwhile > 0, "it is written to meanwhile");
                println!("{keys} keys compared, {meanwhile} writes meanwhile");
            }
            stop.store(true, Ordering::Relaxed);
            for writer in writers {
                writer.await.unwrap();
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_replica_has_the_same_at_a_mark_and_only_what_was_written_before_it() {
    within(100, async {
        let ring = TestRing::start(3, MEMORY).await;
        let client = ring.client().await;
        for outcome in client.put_many((0..KEYS).map(entry).collect()).await {
            outcome.unwrap();
        }
        let view = ring.whole().await;
        let (epoch, active) = chains(&view).ranges.iter().next().unwrap();
        let (epoch, range) = (*epoch, active.range);
        let head = chains(&view).peer(active.head().unwrap().store).unwrap().clone();
        let mark = MarkName { epoch, name: 99 };
        for server in &ring.servers {
            let marked = answer(stub(&client, server).mark(deadline(CALL), mark).await);
            assert_eq!(marked.is_ok(), server.peer() == head, "only the head marks: {marked:?}");
        }
        // What is written, changed and removed from now on is behind the mark.
        let mine: Vec<Key> = (0..KEYS)
            .map(|number| entry(number).0)
            .filter(|key| range.contains(key.id(client.space())))
            .collect();
        client.delete(mine[0].clone()).await.unwrap();
        client.put(mine[1].clone(), Value::from("later")).await.unwrap();
        for key in a_key_of_each_range(&view, &client, "new") {
            client.put(key, Value::from("later")).await.unwrap();
        }
        let mut seen = Vec::new();
        for server in &ring.servers {
            let stub = stub(&client, server);
            let options = DigestOptions { mark: Some(mark), range, after: None, ended_by: None };
            let page = answer(stub.digest(deadline(CALL), options).await).unwrap();
            assert_eq!((page.digest.count, page.damaged, page.after), (mine.len() as u64, 0, None));
            let copies =
                CopiesOptions { mark: Some(mark), range, after: None, limit: 10_000, ended_by: None };
            let copies = answer(stub.copies(deadline(CALL), copies).await).unwrap().copies;
            assert!(mine.iter().all(|key| copies.iter().any(|(other, _)| other == key)), "{copies:?}");
            seen.push((page.digest, copies));
        }
        assert!(seen.windows(2).all(|pair| pair[0] == pair[1]));
        let unmarked = DigestOptions { mark: None, range, after: None, ended_by: None };
        let refused = answer(stub(&client, &ring.servers[0]).digest(deadline(CALL), unmarked).await);
        assert!(matches!(&refused, Err(Error::NotSupported(_))), "{refused:?}");
        // Now they have something else; and a mark that was given back is gone.
        let now = CopiesOptions { mark: None, range, after: None, limit: 10_000, ended_by: None };
        let stub = stub(&client, &ring.servers[0]);
        eventually("what was written arrives", WHOLE_WITHIN, async || {
            let copies = answer(stub.copies(deadline(CALL), now.clone()).await).unwrap().copies;
            let is_gone = copies.iter().all(|(key, _)| *key != mine[0]);
            if is_gone && copies.len() == mine.len() { Ok(()) } else { Err(format!("{}", copies.len())) }
        })
        .await;
        answer(stub.unmark(deadline(CALL), mark).await).unwrap();
        let whole = Range { low: range.low, high: range.low };
        let gone = answer(
            stub.digest(
                deadline(CALL),
                DigestOptions { mark: Some(mark), range: whole, after: None, ended_by: None },
            )
            .await,
        );
        assert!(
            matches!(&gone, Err(Error::Unavailable(reason)) if reason.contains("no copy at that mark")),
            "{gone:?}"
        );
    })
    .await;
}
