//! Listings and dumps of everything, while a node is new or back again without what it had.

use std::collections::BTreeSet;

use chordata_client::Client;
use chordata_client::listing::{Place, Wanted};
use chordata_protocol::Key;
use chordata_rpc::service::{RecordsOptions, ScanOptions};
use chordata_rpc::within as deadline;

use crate::copies::{equal, status};
use crate::support::ring::{TestRing, stub};
use crate::support::{CALL, answer, entry, eventually, within};
use crate::{MEMORY, blocking};

const KEYS: usize = 3000;

async fn listed(client: &Client) -> BTreeSet<Key> {
    let (mut keys, mut place) = (BTreeSet::new(), Some(Place::Start));
    while let Some(begin) = place {
        let page = client.list_page(&begin, Wanted { prefix: b"", limit: 200, values: false }).await.unwrap();
        keys.extend(page.entries.into_iter().map(|(key, ..)| key));
        place = page.next;
    }
    keys
}

async fn dumped(client: &Client) -> BTreeSet<Key> {
    let (mut keys, mut dump) = (BTreeSet::new(), client.dump());
    while let Some(records) = dump.next().await.unwrap() {
        keys.extend(records.into_iter().map(|(key, _)| key));
    }
    keys
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_out_while_a_node_is_told_what_it_should_have() {
    within(150, async {
        let mut ring = TestRing::start(4, MEMORY).await;
        let client = ring.client().await;
        let all: BTreeSet<Key> = (0..KEYS).map(|number| entry(number).0).collect();
        assert!(client.put_many((0..KEYS).map(entry).collect()).await.iter().all(Result::is_ok));
        equal(&client, &ring.peers()).await;
        let before = status(&client, &ring.servers[1].address).await.unwrap();
        let serving = before.serving.unwrap();
        let theirs: BTreeSet<&Key> =
            all.iter().filter(|key| serving.contains(key.id(client.space()))).collect();
        blocking(|| {
            ring.servers[1].process.kill();
            ring.servers[1].start_again();
        });
        // From the first moment: it refuses, or it gives everything.
        let back = stub(&client, &ring.servers[1]);
        let mut refused = 0;
        eventually("it has all of its range", CALL * 2, async || {
            let options = RecordsOptions { mark: None, range: serving, after: None, limit: 10_000 };
            let records = answer(back.records(deadline(CALL), options).await);
            let options = ScanOptions { range: Some(serving), limit: 10_000, ..ScanOptions::default() };
            let keys = answer(back.scan(deadline(CALL), options).await);
            refused += usize::from(records.is_err());
            if let Ok(page) = &records {
                let keys: BTreeSet<&Key> = page.records.iter().map(|(key, _)| key).collect();
                assert!(page.more || keys == theirs, "{} of {} records", keys.len(), theirs.len());
            }
            if let Ok(page) = &keys {
                let keys: BTreeSet<&Key> = page.entries.iter().map(|(key, ..)| key).collect();
                assert!(page.more || keys == theirs, "{} of {} keys", keys.len(), theirs.len());
            }
            records.and(keys).map(drop).map_err(|error| error.to_string())
        })
        .await;
        // And whoever lists or dumps everything meanwhile is not told that there is less.
        for place in [2, 3] {
            blocking(|| {
                ring.servers[place].process.kill();
                ring.servers[place].start_again();
            });
            let fresh = ring.client_of(place).await;
            let found = if place == 2 { dumped(&fresh).await } else { listed(&fresh).await };
            assert_eq!(found.len(), all.len(), "after a restart of {place} ({refused} refusals before)");
            assert_eq!(found, all);
            let client = ring.client().await;
            equal(&client, &ring.peers()).await;
        }
        // The same while one is new.
        blocking(|| drop(ring.add().peer()));
        assert_eq!(dumped(&ring.client_of(4).await).await, all);
        assert_eq!(listed(&ring.client_of(4).await).await, all);
    })
    .await;
}
