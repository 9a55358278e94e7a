//! Writes that are sent again since the head died take effect once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use chordata_client::Routing;
use chordata_protocol::chain::WriteId;
use chordata_protocol::{Key, Outcome, Policy, Value};
use chordata_rpc::service::{Error, Options, Route};
use chordata_sim::history::{Answer, Kind};

use crate::recorder::{Book, Recorder};
use crate::ring::{SYNC, blocking, replicas, server_at, whole};
use crate::support::ring::{TestRing, stub};
use crate::support::{CALL, WHOLE_WITHIN, entry, eventually, within};

const CLIENTS: u64 = 5;
/// Increments before and after each death.
const ENOUGH: usize = 20;
/// Batches before and after each death: each of them goes to all heads.
const BATCHES: usize = 5;

/// Adds one by compare-and-swap, again and again; how often it was told that it did.
async fn count_up(recorder: Recorder, number: u64, key: Key, stop: Arc<AtomicBool>) -> u64 {
    let (mut done, mut round) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        let (count, expected) = match recorder.ask(&key, Kind::Get).await {
            Some(Answer::Found(record)) => (count_in(&record.value), Some(record.version)),
            Some(_) => (0, None),
            None => continue,
        };
        // The value names its write, too.
        let value = Value::from(format!("{} {number}/{round}", count + 1));
        let kind = Kind::CompareAndSwap { expected, value: Some(value) };
        if let Some(Answer::Written(_)) = recorder.ask(&key, kind).await {
            done += 1;
        }
    }
    done
}

fn count_in(value: &Value) -> u64 {
    value.to_string().split(' ').next().unwrap().parse().unwrap()
}

/// Waits until a number of increments that begin now have succeeded.
async fn it_is_counted(book: &Book, key: &Key) {
    let since = book.now();
    eventually("it is counted", WHOLE_WITHIN, async || match book.written_since(key, since) {
        0..ENOUGH => Err("not yet".to_owned()),
        ENOUGH.. => Ok(()),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn increments_across_the_deaths_of_heads_are_counted_once() {
    within(150, async {
        let mut ring = TestRing::start(5, SYNC).await;
        let (book, stop) = (Book::new(), Arc::new(AtomicBool::new(false)));
        let key = Key::new("counter");
        let mut clients = Vec::new();
        for number in 0..CLIENTS {
            let routing =
                if number == 0 { Routing::Entry(Policy::Finger) } else { Routing::Client(Policy::Finger) };
            let client = ring.client().await;
            let client = client.through(client.entry(), routing, false);
            let recorder = book.recorder(client, number);
            clients.push(tokio::spawn(count_up(recorder, number, key.clone(), stop.clone())));
        }
        let client = ring.client().await;
        for _ in 0..2 {
            let view = ring.whole().await;
            let head = replicas(&view, &client, &key).remove(0);
            it_is_counted(&book, &key).await;
            let killed = book.now();
            blocking(|| server_at(&mut ring, &head).process.kill());
            it_is_counted(&book, &key).await;
            println!("stood still for {:.2?}", book.longest_stall(&key, killed, book.now()));
            blocking(|| server_at(&mut ring, &head).start_again());
            whole(&ring, "the head is back").await;
        }
        stop.store(true, Ordering::Relaxed);
        let mut done = 0;
        for client in clients {
            done += client.await.unwrap();
        }
        let end = book.recorder(ring.client().await, CLIENTS).read(&key).await;
        let counted = end.as_ref().map_or(0, |record| count_in(&record.value));
        let unknown = book.count(&key).unknown as u64;
        println!("{done} increments acknowledged, {unknown} unknown, the counter says {counted}");
        assert!((done..=done + unknown).contains(&counted), "{counted} of {done} and {unknown} unknown");
        book.check(&[(key, end)].into());
    })
    .await;
}

const MANY: usize = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writes_in_one_request_that_is_sent_twice_take_effect_once() {
    within(100, async {
        let ring = TestRing::start(3, SYNC).await;
        let client = ring.client().await;
        let context = || chordata_rpc::within(CALL);
        let entries: Vec<(Key, Value)> = (0..MANY).map(entry).collect();
        let by = WriteId { client: 7, sequence: 100, done_below: 100, first_sent: 0 };
        let options = Options { route: Route::Entry(Policy::Finger), by: Some(by), ..Options::default() };
        let stubs: Vec<_> = ring.servers.iter().map(|server| stub(&client, server)).collect();
        let first = stubs[0].put_many(context(), entries.clone(), options).await.unwrap();
        // Somebody else writes meanwhile: a write that took effect again would undo that.
        for (key, _) in &entries {
            client.put(key.clone(), Value::from("later")).await.unwrap();
        }
        for stub in &stubs {
            let again = stub.put_many(context(), entries.clone(), options).await.unwrap();
            assert_eq!(again, first, "by an entry node");
            // A part of them, under the same names, by the nodes that order them.
            let part = WriteId { sequence: 100 + 10, ..by };
            let direct = Options { route: Route::Direct, by: Some(part), ..options };
            let again = stub.put_many(context(), entries[10..].to_vec(), direct).await.unwrap();
            let mut here = 0;
            for (answer, expected) in again.iter().zip(&first[10..]) {
                match answer {
                    Err(Error::NotOwner(_)) => {}
                    answer => {
                        assert_eq!(answer, expected);
                        here += 1;
                    }
                }
            }
            assert!(here > 0 && here < again.len(), "each node is the head of some of them: {here}");
        }
        for (key, _) in &entries {
            let found = client.get(key.clone()).await.unwrap().result.unwrap();
            assert_eq!(found.value, Value::from("later"), "{key}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_across_the_deaths_of_heads_are_written_and_none_is_left_unknown() {
    within(150, async {
        let mut ring = TestRing::start(5, SYNC).await;
        for routing in [Routing::Client(Policy::Finger), Routing::Entry(Policy::Finger)] {
            let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
            let writer = ring.client().await;
            let writer = writer.through(writer.entry(), routing, false);
            let task = tokio::spawn(write_batches(writer, stop.clone(), rounds.clone()));
            let client = ring.client().await;
            // The first key's head, and whoever follows it.
            for _ in 0..2 {
                let view = ring.whole().await;
                let head = replicas(&view, &client, &entry(0).0).remove(0);
                more_rounds(&rounds).await;
                blocking(|| server_at(&mut ring, &head).process.kill());
                more_rounds(&rounds).await;
                blocking(|| server_at(&mut ring, &head).start_again());
                whole(&ring, "the head is back").await;
            }
            stop.store(true, Ordering::Relaxed);
            let last = task.await.unwrap();
            for (number, written) in last.iter().enumerate() {
                let key = entry(number).0;
                let found = client.get(key.clone()).await.unwrap().result.unwrap();
                assert_eq!(
                    Outcome::Written(found.version),
                    *written,
                    "{key}: what was written last is there"
                );
            }
        }
    })
    .await;
}

/// Writes all keys again and again; the last outcome of each. None of them may fail.
async fn write_batches(
    client: chordata_client::Client,
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicUsize>,
) -> Vec<Outcome> {
    let mut last = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let round = rounds.load(Ordering::Relaxed);
        let entries = (0..MANY).map(|number| (entry(number).0, Value::from(format!("{number}/{round}"))));
        let outcomes = client.put_many(entries.collect()).await;
        last = outcomes.into_iter().map(|outcome| outcome.unwrap()).collect();
        rounds.fetch_add(1, Ordering::Relaxed);
    }
    last
}

/// Waits for some batches that are begun from now on.
async fn more_rounds(rounds: &AtomicUsize) {
    let since = rounds.load(Ordering::Relaxed);
    eventually("batches are written", WHOLE_WITHIN, async || {
        let done = rounds.load(Ordering::Relaxed) - since;
        if done > BATCHES { Ok(()) } else { Err(format!("{done} of them")) }
    })
    .await;
}
