//! How the copies of a cluster in eventual mode are: who keeps what, what is still to be delivered, and who is missed.

use std::collections::{BTreeMap, BTreeSet};

use chordata_client::look::View;
use chordata_protocol::{Address, Consistency, Durability, Id, Range, Space, StoreId};
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

/// A store that is away, and for which tombstones wait.
#[derive(Debug, Serialize)]
struct Awaited {
    store: StoreId,
    /// Where it was, if any node still knows.
    address: Option<Address>,
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
        let mut awaited: BTreeMap<StoreId, Option<Address>> = BTreeMap::new();
        let mut nodes = Vec::new();
        for (number, part) in parts {
            for (store, peer) in &part.awaited {
                let known = awaited.entry(*store).or_default();
                *known = known.take().or_else(|| peer.as_ref().map(|peer| peer.address.clone()));
            }
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
        let awaited = awaited.into_iter().map(|(store, address)| Awaited { store, address });
        Some(Copies {
            consistency: kept.consistency,
            replication: kept.factor,
            durability: kept.durability,
            nodes,
            awaited: awaited.collect(),
            space,
        })
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
        let names: BTreeSet<String> = self.awaited.iter().map(Awaited::text).collect();
        if !names.is_empty() {
            let names: Vec<String> = names.into_iter().collect();
            text += &format!(
                "deletes wait for {}: start it again or, if it will not come back, `chordata forget` it\n",
                names.join(", ")
            );
        }
        text
    }
}

impl Awaited {
    fn text(&self) -> String {
        self.address.as_ref().map_or_else(|| format!("store {}", self.store), ToString::to_string)
    }
}
