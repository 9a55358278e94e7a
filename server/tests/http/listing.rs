//! Pages over all keys, while the ring stays and while it changes.

use std::collections::BTreeSet;

use crate::support::ring::TestRing;
use crate::support::{entry, within};
use crate::web::{Web, escape};
use crate::{CHAINS, SINGLE, web};

/// The next page: its keys, and the cursor.
async fn page(web: &Web, query: &str, cursor: Option<&str>) -> (Vec<String>, Option<String>) {
    let cursor = cursor.map_or(String::new(), |cursor| format!("&cursor={cursor}"));
    let reply = web.get(&format!("/v1/kv?{query}{cursor}")).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let json = reply.json();
    let keys = json["keys"].as_array().unwrap().iter();
    let keys = keys.map(|key| key["key"].as_str().unwrap().to_owned()).collect();
    (keys, json["cursor"].as_str().map(str::to_owned))
}

async fn all(web: &Web, query: &str, limit: usize) -> Vec<String> {
    let (mut keys, mut cursor) = (Vec::new(), None);
    loop {
        let (some, next) = page(web, query, cursor.as_deref()).await;
        assert!(some.len() <= limit);
        keys.extend(some);
        match next {
            Some(next) => cursor = Some(next),
            None => return keys,
        }
    }
}

async fn lists_everything_once(settings: &[&'static str]) {
    let ring = TestRing::start(3, settings).await;
    let client = ring.client().await;
    assert!(client.put_many((0..500).map(entry).collect()).await.iter().all(Result::is_ok));
    let expected: BTreeSet<String> = (0..500).map(|number| entry(number).0.to_string()).collect();
    for limit in [1000, 70, 1] {
        let keys = all(&web(&ring, limit % 3), &format!("limit={limit}"), limit).await;
        assert_eq!(keys.len(), 500, "once each, with pages of {limit}");
        assert_eq!(keys.iter().cloned().collect::<BTreeSet<String>>(), expected);
        let space = client.space();
        let ids: Vec<_> =
            keys.iter().map(|key| chordata_protocol::Key::new(key.as_str()).id(space)).collect();
        assert!(ids.is_sorted(), "in the order of their identifiers");
    }
    let some = all(&web(&ring, 0), &format!("limit=7&prefix={}", escape(b"key 1")), 7).await;
    assert_eq!(some.len(), 111, "1, 10 to 19, 100 to 199");
    assert_eq!(all(&web(&ring, 0), "prefix=nobody", 100).await, [""; 0]);
    let values = web(&ring, 1).get("/v1/kv?values&limit=5").await.json();
    for key in values["keys"].as_array().unwrap() {
        let number = key["key"].as_str().unwrap().strip_prefix("key ").unwrap();
        assert_eq!(key["value"], format!("value {number}"));
        assert!(key["version"].as_str().unwrap().contains('.'));
    }
}

#[tokio::test]
async fn pages_list_every_key_once_in_single_copies() {
    within(120, lists_everything_once(&SINGLE)).await;
}

#[tokio::test]
async fn pages_list_every_key_once_in_chains() {
    within(120, lists_everything_once(&CHAINS)).await;
}

#[tokio::test]
async fn large_values_end_a_page_early() {
    within(90, async {
        let ring = TestRing::start(1, &SINGLE).await;
        let web = web(&ring, 0);
        for number in 0..9 {
            assert_eq!(web.put(&format!("/v1/kv/{number}"), vec![b'x'; 1024 * 1024]).await.status, 204);
        }
        let first = web.get("/v1/kv?values=true").await;
        assert!(first.body.len() < 6 * 1024 * 1024, "{} bytes", first.body.len());
        assert_eq!(all(&web, "values=true", 100).await.len(), 9);
    })
    .await;
}

/// A listing goes on where it was when nodes have joined, departed and died meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_outlives_changes_of_the_ring() {
    within(180, async {
        let mut ring = TestRing::start(4, &CHAINS).await;
        let client = ring.client().await;
        assert!(client.put_many((0..400).map(entry).collect()).await.iter().all(Result::is_ok));
        let web = web(&ring, 0);
        let (mut keys, mut cursor) = (Vec::new(), None);
        for step in 0.. {
            let (some, next) = page(&web, "limit=80", cursor.as_deref()).await;
            keys.extend(some);
            match next {
                Some(next) => cursor = Some(next),
                None => break,
            }
            tokio::task::block_in_place(|| match step {
                0 => drop(ring.add()),
                1 => ring.servers[3].process.kill(),
                _ => {}
            });
            if step == 2 {
                assert_eq!(crate::web(&ring, 1).post("/depart").await.status, 200);
            }
        }
        keys.sort();
        let expected: BTreeSet<String> = (0..400).map(|number| entry(number).0.to_string()).collect();
        assert_eq!(keys, expected.into_iter().collect::<Vec<String>>(), "each once");
    })
    .await;
}
