//! What all nodes have: do the replicas of every key hold the same, and nobody else anything?

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chordata_client::Client;
use chordata_protocol::{Address, Id, Key, Peer, Range};
use chordata_rpc::service::{CopiesOptions, Held, Status};

use crate::support::eventually;

/// Copies of each key.
pub(crate) const REPLICAS: usize = 3;
/// How long replicas may take to become equal, on a busy machine. The promise is 30 s after faults have stopped.
pub(crate) const EQUAL_WITHIN: Duration = Duration::from_secs(60);

type Copies = BTreeMap<Key, Held>;

async fn all_of(client: &Client, node: &Address) -> Result<Copies, String> {
    let range = Range { low: Id::ZERO, high: Id::ZERO };
    let (mut copies, mut after) = (Copies::new(), None);
    loop {
        let page = client
            .copies(
                node,
                CopiesOptions { range, after: after.clone(), limit: 1000, mark: None, ended_by: None },
            )
            .await;
        let page = page.map_err(|failure| format!("{node}: {failure}"))?;
        after = page.copies.last().map(|(key, _)| key.clone());
        copies.extend(page.copies);
        if !page.more {
            return Ok(copies);
        }
    }
}

/// What every key holds if all its replicas hold it, and nobody else.
async fn agreed(client: &Client, nodes: &[Peer]) -> Result<Copies, String> {
    let mut members = nodes.to_vec();
    members.sort();
    let mut all: Vec<Copies> = Vec::new();
    for member in &members {
        all.push(all_of(client, &member.address).await?);
    }
    let mut agreed = Copies::new();
    for (key, held) in all.iter().flatten() {
        agreed.entry(key.clone()).or_insert(*held);
    }
    for (key, held) in &agreed {
        let owner = members.partition_point(|peer| peer.id < key.id(client.space()));
        for (place, copies) in all.iter().enumerate() {
            let steps = (place + members.len() - owner % members.len()) % members.len();
            let wanted = (steps < REPLICAS).then_some(held);
            if copies.get(key) != wanted {
                let there = copies.get(key);
                return Err(format!("{key} at {}: {there:?}, not {wanted:?}", members[place].address));
            }
        }
    }
    Ok(agreed)
}

/// Waits until the replicas of all keys are equal; what they hold, and how long it took.
pub(crate) async fn equal(client: &Client, nodes: &[Peer]) -> (Copies, Duration) {
    let began = Instant::now();
    let held = eventually("all replicas are equal", EQUAL_WITHIN, async || agreed(client, nodes).await).await;
    (held, began.elapsed())
}

/// Waits until no node has a tombstone or a hint left, asking how each is.
pub(crate) async fn nothing_pending(client: &Client, nodes: &[Peer]) {
    eventually("no tombstones and hints are left", EQUAL_WITHIN, async || {
        for peer in nodes {
            let status = status(client, &peer.address).await?;
            let eventual = status.eventual.ok_or("it is in eventual mode")?;
            if eventual.tombstones + eventual.hints > 0 {
                let (tombstones, hints) = (eventual.tombstones, eventual.hints);
                return Err(format!(
                    "{peer}: {tombstones} tombstones, {hints} hints, waiting for {:?}",
                    eventual.awaited
                ));
            }
        }
        Ok(())
    })
    .await;
}

pub(crate) async fn status(client: &Client, node: &Address) -> Result<Status, String> {
    let status = chordata_client::status_of(client.pool(), node, crate::support::CALL).await;
    status.map_err(|failure| format!("{node}: {failure}"))
}
