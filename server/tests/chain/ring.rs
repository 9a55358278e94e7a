//! What these tests ask of a ring of chains: who is what in which chain, and whether all replicas hold the same.

use std::collections::BTreeMap;
use std::time::Instant;

use chordata_client::Client;
use chordata_client::look::View;
use chordata_protocol::chain::{StoreId, View as Chains};
use chordata_protocol::{Address, Key, Peer, Record};
use chordata_rpc::service::{Error, Options, Route};
use chordata_rpc::within as deadline;

use crate::support::ring::{Server, TestRing, status};
use crate::support::{CALL, WHOLE_WITHIN, eventually};

/// Patient settings of a cluster of chains, of a durability.
macro_rules! settings {
    ($durability:literal) => {
        &[
            "--consistency",
            "chain",
            "--replication",
            "3",
            "--durability",
            $durability,
            "--stabilize-ms",
            "100",
            "--finger-ms",
            "300",
            "--call-timeout-ms",
            "2000",
            "--log",
            "info,chordata_server=debug",
        ]
    };
}

/// Nothing is on disk.
pub(crate) const MEMORY: &[&str] = settings!("memory");
/// On disk within a second.
pub(crate) const INTERVAL: &[&str] = settings!("interval");
/// On disk before the answer.
pub(crate) const SYNC: &[&str] = settings!("sync");

/// A part of a chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    Head,
    Middle,
    Tail,
}

/// Blocks this thread of the runtime: servers are started and ended by plain system calls.
pub(crate) fn blocking<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

/// The newest view that any of them has.
pub(crate) fn chains(view: &View) -> &Chains {
    view.chains().expect("the cluster keeps its data in chains")
}

/// Waits until these servers are one ring whose chains are full; how it is then.
pub(crate) async fn whole(ring: &TestRing, what: &str) -> View {
    let began = Instant::now();
    let view = ring.whole().await;
    println!("whole {:.1} s after {what}", began.elapsed().as_secs_f64());
    view
}

/// Who leads the coordinator's group, as most of them say; none: they do not agree.
pub(crate) fn leader(view: &View) -> Option<Peer> {
    let mut votes: BTreeMap<Address, (usize, Peer)> = BTreeMap::new();
    for leader in view.nodes.iter().filter_map(|node| node.chain.as_ref()?.leader.clone()) {
        votes.entry(leader.address.clone()).or_insert((0, leader)).0 += 1;
    }
    let (count, leader) = votes.into_values().max_by_key(|(count, _)| *count)?;
    (count * 2 > view.nodes.len()).then_some(leader)
}

/// The addresses of the serving replicas of a key, the head first.
pub(crate) fn replicas(view: &View, client: &Client, key: &Key) -> Vec<Address> {
    let chains = chains(view);
    let (_, active) = chains.range_of(key.id(client.space())).expect("the ranges cover the ring");
    let address = |store: StoreId| chains.peer(store).map(|peer| peer.address.clone());
    active.serving().filter_map(|link| address(link.store)).collect()
}

/// A key of each range, by the range's place in the order of the ring.
pub(crate) fn a_key_of_each_range(view: &View, client: &Client, name: &str) -> Vec<Key> {
    let chains = chains(view);
    let mut ranges: Vec<_> = chains.ranges.values().map(|active| active.range).collect();
    ranges.sort_by_key(|range| range.high);
    let key = |number: usize| Key::new(format!("{name} {number}"));
    let first = |range: &chordata_protocol::Range| {
        (0..).map(key).find(|key| range.contains(key.id(client.space()))).expect("some key is in any range")
    };
    ranges.iter().map(first).collect()
}

/// The server at an address.
pub(crate) fn server_at<'a>(ring: &'a mut TestRing, address: &Address) -> &'a mut Server {
    let found = ring.servers.iter_mut().find(|server| server.address == *address);
    found.expect("the view names servers of this ring")
}

/// Waits until every serving replica of every key holds the same, and that is this.
///
/// # Panics
/// When they do not within the deadline.
pub(crate) async fn audit(ring: &TestRing, expected: &BTreeMap<Key, Option<Record>>) {
    let client = ring.client().await;
    eventually("all replicas hold the same", WHOLE_WITHIN, async || {
        let view = ring.whole().await;
        for (key, record) in expected {
            let replicas = replicas(&view, &client, key);
            for address in &replicas {
                let found = held(&client, address, key).await?;
                if found != *record {
                    return Err(format!("{key} at {address} of {replicas:?}: {found:?}, not {record:?}"));
                }
            }
        }
        Ok(())
    })
    .await;
}

/// What one replica answers by itself.
async fn held(client: &Client, address: &Address, key: &Key) -> Result<Option<Record>, String> {
    let options = Options { route: Route::Direct, ..Options::default() };
    match client.pool().client(address).get(deadline(CALL), key.clone(), options).await {
        Ok(Ok(answer)) => Ok(answer.result),
        // A replica whose copy is not known to be committed sends its readers to the tail.
        Ok(Err(error @ (Error::NotOwner(_) | Error::Unavailable(_)))) => Err(format!("{address}: {error}")),
        Ok(Err(error)) => panic!("{address} answers: {error:?}"),
        Err(error) => Err(format!("{address}: {error}")),
    }
}

/// Waits until most servers agree who leads the coordinator's group.
pub(crate) async fn a_leader(ring: &TestRing) -> Peer {
    let client = ring.client().await;
    eventually("somebody leads", WHOLE_WITHIN, async || {
        let mut view = View::default();
        for server in &ring.servers {
            view.nodes.push(status(&client, server).await);
        }
        leader(&view).ok_or_else(|| "they do not agree".to_owned())
    })
    .await
}
