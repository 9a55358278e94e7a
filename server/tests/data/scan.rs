//! Pages of the keys that a node serves.

use std::collections::BTreeSet;

use chordata_client::{Client, Failure};
use chordata_protocol::{Key, Range, Value, Version};
use chordata_rpc::service::{Error, RecordsOptions, ScanOptions};

use crate::support::ring::{Server, TestRing};
use crate::support::{CALL, PATIENT, entry, within};

type Row = (Key, Version, Option<Value>);

/// All pages of a node, and how many there were.
async fn all_pages(client: &Client, server: &Server, options: ScanOptions) -> (Vec<Row>, usize) {
    let (mut rows, mut pages, mut options) = (Vec::new(), 0, options);
    loop {
        let page = client.scan(&server.address, options.clone()).await.unwrap();
        pages += 1;
        assert!(page.entries.len() <= options.limit.max(1) as usize, "a page over its limit");
        assert!(page.range.is_some());
        assert!(!page.more || !page.entries.is_empty(), "a page that leads nowhere");
        rows.extend(page.entries);
        options.after = rows.last().map(|(key, _, _)| key.clone());
        if !page.more {
            return (rows, pages);
        }
    }
}

#[tokio::test]
async fn pages_list_every_key_once_in_the_order_of_the_ring() {
    within(90, async {
        let ring = TestRing::start(3, &PATIENT).await;
        let client = ring.client().await;
        assert!(client.put_many((0..300).map(entry).collect()).await.iter().all(Result::is_ok));
        let expected: BTreeSet<Key> = (0..300).map(|number| entry(number).0).collect();
        for limit in [1000, 7, 1] {
            let mut found = BTreeSet::new();
            for server in &ring.servers {
                let options = ScanOptions { limit, ..ScanOptions::default() };
                let (rows, pages) = all_pages(&client, server, options).await;
                assert!(pages >= rows.len().div_ceil(limit as usize));
                let space = client.space();
                let status = crate::support::ring::status(&client, server).await;
                let low = status.serving.expect("a whole ring serves").low;
                let distances: Vec<_> =
                    rows.iter().map(|(key, _, _)| space.distance(low, key.id(space))).collect();
                assert!(distances.is_sorted(), "in the order of the ring, from the low end");
                for (key, _, value) in rows {
                    assert_eq!(value, None, "values were not asked for");
                    assert!(found.insert(key.clone()), "{key} twice");
                }
            }
            assert_eq!(found, expected, "with pages of {limit}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_prefix_and_values_are_what_was_asked_for() {
    within(60, async {
        let ring = TestRing::start(1, &PATIENT).await;
        let client = ring.client().await;
        assert!(client.put_many((0..200).map(entry).collect()).await.iter().all(Result::is_ok));
        let options =
            ScanOptions { prefix: b"key 1".to_vec(), limit: 10, values: true, ..ScanOptions::default() };
        let (rows, _) = all_pages(&client, &ring.servers[0], options).await;
        assert_eq!(rows.len(), 111, "1, 10 to 19, 100 to 199");
        for (key, version, value) in rows {
            let record = client.get(key.clone()).await.unwrap().result.unwrap();
            assert_eq!((version, value), (record.version, Some(record.value)), "{key}");
        }
        let options = ScanOptions { prefix: b"nobody".to_vec(), limit: 10, ..ScanOptions::default() };
        assert_eq!(all_pages(&client, &ring.servers[0], options).await, (Vec::new(), 1));
    })
    .await;
}

#[tokio::test]
async fn a_page_of_large_values_fits_an_answer() {
    within(60, async {
        let ring = TestRing::start(1, &PATIENT).await;
        let client = ring.client().await;
        for number in 0..5 {
            client.put(entry(number).0, Value::from(vec![9; 1024 * 1024])).await.unwrap();
        }
        let options = ScanOptions { limit: 100, values: true, ..ScanOptions::default() };
        let (rows, pages) = all_pages(&client, &ring.servers[0], options).await;
        assert_eq!(rows.len(), 5);
        assert!(pages >= 5, "each is a page of its own");
        assert!(
            rows.iter().all(|(_, _, value)| value.as_ref().is_some_and(|value| value.len() == 1024 * 1024))
        );
    })
    .await;
}

#[tokio::test]
async fn rare_keys_among_large_values_are_found_in_slices() {
    within(60, async {
        let ring = TestRing::start(1, &PATIENT).await;
        let (client, server) = (ring.client().await, &ring.servers[0]);
        for number in 0..14 {
            client.put(entry(number).0, Value::from(vec![9; 1024 * 1024])).await.unwrap();
        }
        let rare: BTreeSet<Key> = (0..3).map(|number| Key::new(format!("rare {number}"))).collect();
        for key in &rare {
            client.put(key.clone(), Value::from("x")).await.unwrap();
        }
        for limit in [1, 2, 100] {
            let options = ScanOptions { prefix: b"rare".to_vec(), limit, ..ScanOptions::default() };
            let (rows, _) = all_pages(&client, server, options).await;
            assert_eq!(rows.into_iter().map(|(key, ..)| key).collect::<BTreeSet<Key>>(), rare);
        }
        // One look passes by a few of them, and says where to go on.
        let options = ScanOptions { prefix: b"key".to_vec(), limit: 100, ..ScanOptions::default() };
        let page = client.scan(&server.address, options).await.unwrap();
        assert!(page.more && page.entries.len() < 14, "{}", page.entries.len());
        assert!(page.after.is_some());
    })
    .await;
}

/// Whoever does not serve all of what is asked for says so: what it has of it would pass for everything.
#[tokio::test]
async fn a_part_of_the_ring_is_listed_by_who_serves_all_of_it() {
    within(60, async {
        let ring = TestRing::start(2, &PATIENT).await;
        let client = ring.client().await;
        assert!(client.put_many((0..100).map(entry).collect()).await.iter().all(Result::is_ok));
        let server = &ring.servers[0];
        let serving = crate::support::ring::status(&client, server).await.serving.unwrap();
        let middle = client.space().middle(serving.low, serving.high);
        let part = Range { low: serving.low, high: middle };
        let options = |range| ScanOptions { range: Some(range), limit: 7, ..ScanOptions::default() };
        let (rows, _) = all_pages(&client, server, options(part)).await;
        assert!(!rows.is_empty() && rows.iter().all(|(key, _, _)| part.contains(key.id(client.space()))));
        let (whole, _) = all_pages(&client, server, options(serving)).await;
        assert!(whole.len() > rows.len());
        let beyond = Range { low: serving.low, high: client.space().next(serving.high) };
        let records = async |place: usize, range| {
            let stub = crate::support::ring::stub(&client, &ring.servers[place]);
            let options = RecordsOptions { mark: None, range, after: None, limit: 1000 };
            crate::support::answer(stub.records(chordata_rpc::within(CALL), options).await)
        };
        assert_eq!(records(0, part).await.unwrap().records.len(), rows.len());
        for (place, range) in [(0, beyond), (1, part), (0, Range { low: middle, high: middle })] {
            let refused = client.scan(&ring.servers[place].address, options(range)).await;
            assert!(matches!(refused, Err(Failure::Unavailable(_))), "{refused:?}");
            let refused = records(place, range).await;
            assert!(matches!(refused, Err(Error::NotOwner(_))), "{refused:?}");
        }
    })
    .await;
}
