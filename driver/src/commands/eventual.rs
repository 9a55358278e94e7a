//! How the copies of a cluster in eventual mode are: who keeps what, what is still to be delivered, and who is missed.

use std::collections::BTreeSet;

use chordata_client::look::View;
use chordata_protocol::{Address, Consistency, Durability, Id, Peer, Range, Space, StoreId};
use serde::Serialize;

use crate::commands::chains::range_text;
use crate::report::{Report, count, table};

/// The copies of a cluster.
#[derive(Debug, Serialize)]
pub(crate) struct Copies {
    consistency: Consistency,
    replication: u8,
    durability: Durability,
    nodes: Vec<Row>,
    awaited: Vec<Awaited>,
    /// Stores that are away and that no address names: another store answers there, or nobody knows where they were.
    unplaced: Vec<Awaited>,
    #[serde(skip)]
    space: Space,
}

#[derive(Debug, Serialize)]
struct Row {
    number: usize,
    store: StoreId,
    /// Stores that never come back, as far as the node knows.
    forgotten: Vec<StoreId>,
    /// Stores that it waits for with tombstones.
    awaited: Vec<StoreId>,
    /// What the node keeps copies of; none: it is in no ring.
    low: Option<Id>,
    high: Option<Id>,
    /// Members that it gives copies to, itself included.
    members: usize,
    tombstones: u64,
    hints: u64,
    repairs: u64,
    pulled: u64,
    pushed: u64,
    handed_off: u64,
}

/// A store that is away, and for which tombstones wait or will wait.
#[derive(Debug, Serialize)]
struct Awaited {
    store: StoreId,
    /// Where it was, if any node still knows.
    address: Option<Address>,
    #[serde(skip)]
    name: String,
}

impl Copies {
    /// From what was seen; none: the cluster is in another mode.
    pub(crate) fn new(view: &View, space: Space) -> Option<Copies> {
        let members = view.members();
        let kept = members.first()?.settings.replication?;
        if kept.consistency != Consistency::Eventual {
            return None;
        }
        let parts = members.iter().enumerate();
        let parts = parts.filter_map(|(number, status)| Some((number, status.eventual.as_ref()?)));
        let mut waited: BTreeSet<StoreId> = BTreeSet::new();
        let mut nodes = Vec::new();
        for (number, part) in parts {
            waited.extend(part.awaited.iter().map(|(store, _)| *store));
            let counters = part.counters;
            nodes.push(Row {
                number,
                store: part.store,
                forgotten: part.forgotten.clone(),
                awaited: part.awaited.iter().map(|(store, _)| *store).collect(),
                low: part.kept.map(|range| range.low),
                high: part.kept.map(|range| range.high),
                members: part.members.len(),
                tombstones: part.tombstones,
                hints: part.hints,
                repairs: counters.repairs,
                pulled: counters.pulled,
                pushed: counters.pushed,
                handed_off: counters.handed_off,
            });
        }
        let away = view.away();
        let row = |(store, peer): (&StoreId, &Option<Peer>)| Awaited {
            store: *store,
            address: peer.as_ref().map(|peer| peer.address.clone()),
            name: view.name_of(*store, peer.as_ref()),
        };
        let is_unplaced = |peer: &Option<Peer>| peer.as_ref().is_none_or(|peer| view.answers(&peer.address));
        let awaited = away.iter().filter(|(store, _)| waited.contains(*store)).map(row);
        let unplaced = away.iter().filter(|(_, peer)| is_unplaced(peer)).map(row);
        Some(Copies {
            consistency: kept.consistency,
            replication: kept.factor,
            durability: kept.durability,
            nodes,
            awaited: awaited.collect(),
            unplaced: unplaced.collect(),
            space,
        })
    }
}

impl Copies {
    /// Does every key have its replicas?
    pub(crate) fn as_far_as_known(&self) -> String {
        match self.nodes.iter().map(|row| row.hints).sum::<u64>() {
            0 => ", every key with all its replicas as far as is known".to_owned(),
            1 => ", 1 copy still on its way".to_owned(),
            hints => format!(", {hints} copies still on their way"),
        }
    }
}

impl Report for Copies {
    fn text(&self) -> String {
        let copies = count(self.replication.into(), "replica");
        let mut text = format!(
            "eventual: {copies} of every key that become equal in time, durability {}\n",
            self.durability
        );
        let rows = self.nodes.iter().map(|row| {
            let kept = row.low.zip(row.high).map(|(low, high)| range_text(Range { low, high }, self.space));
            vec![
                row.number.to_string(),
                kept.unwrap_or_else(|| "-".to_owned()),
                row.members.to_string(),
                row.hints.to_string(),
                row.tombstones.to_string(),
                row.repairs.to_string(),
                (row.pulled + row.pushed).to_string(),
                row.handed_off.to_string(),
            ]
        });
        let headings =
            ["number", "keeps", "members", "hints", "tombstones", "repaired", "compared", "handed on"];
        text += &table(&headings, rows);
        let names: Vec<&str> = self.awaited.iter().map(|one| one.name.as_str()).collect();
        if !names.is_empty() {
            text += &format!(
                "deletes wait for {}: start it again or, if it will not come back, `chordata forget` it\n",
                names.join(", ")
            );
        }
        for one in &self.unplaced {
            text += &format!(
                "{} is away: if its disk is gone, `chordata forget {}`, or deletes will wait for it\n",
                one.name, one.store
            );
        }
        text
    }
}
