//! Writes that are sent again since the head died take effect once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chordata_client::Routing;
use chordata_protocol::{Key, Policy, Value};
use chordata_sim::history::{Answer, Kind};

use crate::recorder::{Book, Recorder};
use crate::ring::{SYNC, blocking, replicas, server_at, whole};
use crate::support::ring::TestRing;
use crate::support::{WHOLE_WITHIN, eventually, within};

const CLIENTS: u64 = 5;
/// Increments before and after each death.
const ENOUGH: usize = 20;

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
