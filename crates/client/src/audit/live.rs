//! Eventual mode: comparing replicas that are written to and become equal in time.
//!
//! Digests are taken of the stores as they are, so a write that is on its way to some of the replicas makes them
//! differ. What differs is looked at again, for longer than a copy takes to arrive where nothing is wrong, and told only
//! if it differs in every look. A key that is written all the time may differ whenever it is looked at: it is not told as
//! long as every replica has something newer than what any of them had one look before.
//!
//! Values that end by themselves within a minute are left out: each replica ends them by its own clock.
//!
//! The same holds for keys at nodes that are no replicas of them: a client's write may have reached such a node, which
//! gives it to the replicas within a few seconds. It is told if the same write is still there after all looks.

use std::collections::BTreeMap;
use std::time::Duration;

use chordata_protocol::{Address, Key, Peer, Range};
use chordata_rpc::service::{CopiesOptions, Held};
use futures::stream::{self, StreamExt};

use super::compare::{Different, Stop, described, kind_of, soon};
use super::{Audit, ProblemKind, ROUNDS, RangeAudit};
use crate::Client;
use crate::look::View;

/// How often what differs is looked at, and the pause between: together longer than a stray write waits for the next
/// sweep, and a copy that got lost for its next sending.
const LOOKS: (u32, Duration) = (10, Duration::from_millis(500));
/// Parts that are looked at again at once.
const PARTS_AT_ONCE: usize = 8;
/// Keys asked for at once.
const PAGE: u32 = 1000;
/// Keys that a node should not have, of one arc, that are followed over the looks.
const STRAYS_MAX: usize = 10_000;
/// Keys of them that are named.
const NAMED: usize = 3;

/// The identifiers of one owner, and who keeps copies of them.
struct Arc {
    range: Range,
    replicas: Vec<Address>,
}

/// Keys that a node has of a range of which it is no replica.
struct Strays {
    node: Address,
    range: Range,
    keys: BTreeMap<Key, Held>,
}

/// The arcs of a ring, in its order.
fn arcs(members: &[Peer], copies: usize) -> Vec<Arc> {
    let count = members.len();
    let arc = |owner: usize| Arc {
        range: Range { low: members[(owner + count - 1) % count].id, high: members[owner].id },
        replicas: (0..copies.min(count))
            .map(|step| members[(owner + step) % count].address.clone())
            .collect(),
    };
    (0..count).map(arc).collect()
}

/// What each node is no replica of, neighbours as one.
fn elsewhere(arcs: &[Arc], node: &Address) -> Vec<Range> {
    let mut found: Vec<Range> = Vec::new();
    for arc in arcs.iter().filter(|arc| !arc.replicas.contains(node)) {
        match found.last_mut() {
            Some(last) if last.high == arc.range.low => last.high = arc.range.high,
            _ => found.push(arc.range),
        }
    }
    found
}

/// Has every replica got something newer since the look before, so that a write may be on its way again?
fn moved_on(before: &[Held], now: &[Held]) -> bool {
    let version = |held: &Held| match held {
        Held::Value { version, .. } => Some(*version),
        Held::Nothing | Held::Damaged => None,
    };
    let highest = before.iter().filter_map(version).max();
    now.iter().all(|held| version(held) > highest)
}

/// Those that still differ.
fn still_different(before: Vec<Different>, now: Vec<Different>) -> Vec<Different> {
    let mut now: BTreeMap<Key, Vec<Held>> = now.into_iter().collect();
    let mut left = Vec::new();
    for (key, held) in before {
        if let Some(newer) = now.remove(&key)
            && !moved_on(&held, &newer)
        {
            left.push((key, newer));
        }
    }
    left
}

impl Client {
    /// Compares all replicas, again if the ring changes meanwhile.
    pub(super) async fn audit_live(&self, audit: &mut Audit, view: &View) {
        audit.remarks = view.pending().remarks();
        for (store, peer) in view.away() {
            let name = view.name_of(store, peer.as_ref());
            let text = format!("{name} is away: it may have writes that nobody else has");
            // Whose node runs with another store has lost its disk, most likely.
            if peer.is_some_and(|peer| view.answers(&peer.address)) {
                audit.remarks.push(text);
            } else {
                audit.problem(ProblemKind::Cluster, None, None, text);
            }
        }
        let copies = view.nodes.first().and_then(|status| status.settings.replication);
        let copies = copies.map_or(1, |kept| kept.copies());
        let mut ring = members(view);
        for round in 1..=ROUNDS {
            if ring.is_empty() {
                let text = "no node is in the ring any more".to_owned();
                return audit.problem(ProblemKind::NotCompared, None, None, text);
            }
            let arcs = arcs(&ring, copies);
            let (compared, strays) =
                futures::join!(Box::pin(self.compare_arcs(&arcs)), Box::pin(self.strays(&ring, &arcs)));
            let now = members(&self.view().await);
            match compared {
                Ok((ranges, problems)) if now == ring || round == ROUNDS => {
                    audit.ranges = ranges;
                    for (kind, range, key, text) in problems {
                        audit.problem(kind, Some(range), Some(key), text);
                    }
                    for strays in strays {
                        tell(audit, strays);
                    }
                    if now != ring {
                        let text = "the ring kept changing while its replicas were compared".to_owned();
                        audit.problem(ProblemKind::NotCompared, None, None, text);
                    }
                    return;
                }
                Err((range, stop)) if round == ROUNDS => {
                    let text = format!("its replicas could not be compared: {}", stop.text());
                    return audit.problem(ProblemKind::NotCompared, Some(range), None, text);
                }
                Ok(_) | Err(_) => ring = now,
            }
            tokio::time::sleep(LOOKS.1).await;
        }
    }

    /// Compares the replicas of every arc; and those that differ again and again.
    async fn compare_arcs(&self, arcs: &[Arc]) -> Result<(Vec<RangeAudit>, Vec<Found>), (Range, Stop)> {
        let mut ranges = Vec::new();
        let mut parts: Vec<(&Arc, Range, Vec<Different>)> = Vec::new();
        for arc in arcs {
            let compared = Box::pin(self.compare_copies(None, arc.range, &arc.replicas)).await;
            let compared = compared.map_err(|stop| (arc.range, stop))?;
            ranges.push(RangeAudit {
                epoch: None,
                range: arc.range,
                replicas: arc.replicas.len(),
                wanted: arc.replicas.len(),
                sequence: None,
                keys: compared.keys,
                listed: compared.listed,
            });
            parts.extend(compared.parts.into_iter().map(|(range, keys)| (arc, range, keys)));
        }
        for _ in 1..LOOKS.0 {
            if parts.is_empty() {
                break;
            }
            tokio::time::sleep(LOOKS.1).await;
            let again = stream::iter(parts).map(|(arc, range, keys)| async move {
                let (_, now) =
                    self.list(&arc.replicas, None, range).await.map_err(|stop| (arc.range, stop))?;
                Ok((arc, range, still_different(keys, now)))
            });
            let looked: Vec<Result<_, (Range, Stop)>> = again.buffered(PARTS_AT_ONCE).collect().await;
            parts = looked.into_iter().collect::<Result<_, _>>()?;
            parts.retain(|(_, _, keys)| !keys.is_empty());
        }
        let found = parts.into_iter().flat_map(|(arc, _, keys)| {
            keys.into_iter()
                .map(|(key, held)| (kind_of(&held), arc.range, key, described(&arc.replicas, &held)))
        });
        Ok((ranges, found.collect()))
    }

    /// Keys that stay with nodes that are no replicas of them.
    async fn strays(&self, ring: &[Peer], arcs: &[Arc]) -> Vec<Strays> {
        let mut left: Vec<Strays> = Vec::new();
        for peer in ring {
            for range in elsewhere(arcs, &peer.address) {
                let keys = self.strays_at(&peer.address, range).await;
                left.push(Strays { node: peer.address.clone(), range, keys });
            }
        }
        for _ in 1..LOOKS.0 {
            left.retain(|strays| !strays.keys.is_empty());
            if left.is_empty() {
                break;
            }
            tokio::time::sleep(LOOKS.1).await;
            for strays in &mut left {
                let now = self.strays_at(&strays.node, strays.range).await;
                strays.keys.retain(|key, held| now.get(key) == Some(held));
            }
        }
        left.retain(|strays| !strays.keys.is_empty());
        left
    }

    async fn strays_at(&self, node: &Address, range: Range) -> BTreeMap<Key, Held> {
        let (mut keys, mut after) = (BTreeMap::new(), None);
        // A node that is silent is a problem of the cluster, which was told, or a change of the ring.
        let ended_by = Some(soon());
        let options = |after| CopiesOptions { mark: None, range, after, limit: PAGE, ended_by };
        while keys.len() < STRAYS_MAX
            && let Ok(page) = self.copies(node, options(after.take())).await
        {
            after = page.copies.last().map(|(key, _)| key.clone());
            keys.extend(page.copies);
            if !page.more || after.is_none() {
                break;
            }
        }
        keys
    }
}

/// A key that differs: its arc, and what its replicas have.
type Found = (ProblemKind, Range, Key, String);

fn tell(audit: &mut Audit, strays: Strays) {
    let names: Vec<String> = strays.keys.keys().take(NAMED).map(Key::to_string).collect();
    let text = format!(
        "{} has {} keys of it for which it is no replica, for example {}",
        strays.node,
        strays.keys.len(),
        names.join(", ")
    );
    audit.problem(ProblemKind::Foreign, Some(strays.range), strays.keys.into_keys().next(), text);
}

/// The ring as it answers, in its order.
fn members(view: &View) -> Vec<Peer> {
    view.members().into_iter().map(|status| status.me.clone()).collect()
}

#[cfg(test)]
mod tests {
    use chordata_protocol::Version;
    use chordata_rpc::service::ValueHash;

    use super::super::tests::id;
    use super::*;

    fn ring(count: u64) -> Vec<Peer> {
        let peer = |number: u64| Peer::new(id(number * 100), Address::new(&format!("h{number}:1")));
        (1..=count).map(peer).collect()
    }

    fn held(epoch: u64, value: &str) -> Held {
        let hash = ValueHash::of(value.as_bytes());
        let (version, bytes) = (Version { epoch, sequence: 1 }, value.len() as u64);
        Held::Value { version, hash, bytes, expires: None }
    }

    #[test]
    fn an_arc_has_its_owner_and_the_next_ones_and_a_node_is_no_replica_of_the_others() {
        let four = arcs(&ring(4), 2);
        assert_eq!(four[0].range, Range { low: id(400), high: id(100) });
        let named = |arc: &Arc| arc.replicas.iter().map(Address::to_string).collect::<Vec<String>>();
        assert_eq!(named(&four[3]), ["h4:1", "h1:1"]);
        assert_eq!(elsewhere(&four, &Address::new("h1:1")), [Range { low: id(100), high: id(300) }]);
        let h4 = elsewhere(&four, &Address::new("h4:1"));
        assert_eq!(h4, [Range { low: id(400), high: id(200) }], "its arcs are 3 and 4");
        assert!(elsewhere(&arcs(&ring(2), 3), &Address::new("h1:1")).is_empty());
        assert_eq!(arcs(&ring(1), 3)[0].range, Range { low: id(100), high: id(100) });
    }

    #[test]
    fn what_differs_in_every_look_is_told_and_what_is_written_meanwhile_is_not() {
        let key = Key::new("k");
        let still = |before: &[Held], now: &[Held]| {
            let row = |held: &[Held]| vec![(key.clone(), held.to_vec())];
            !still_different(row(before), row(now)).is_empty()
        };
        let (old, new) = (held(1, "a"), held(2, "b"));
        assert!(still(&[old, new], &[old, new]), "it does not arrive");
        assert!(still(&[old, new], &[old, held(3, "c")]), "others are written, one gets nothing");
        assert!(!still(&[old, new], &[held(3, "c"), held(4, "d")]), "both have more than either had");
        assert!(still(&[old, held(1, "x")], &[old, held(1, "x")]), "one version, two values");
        assert!(still(&[Held::Nothing, old], &[Held::Nothing, old]), "a value that is missing");
        assert!(still(&[old, Held::Damaged], &[old, Held::Damaged]));
        assert!(still_different(vec![(key, vec![old, new])], Vec::new()).is_empty(), "they agree now");
    }
}
