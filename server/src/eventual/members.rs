//! From the ring's members to those that copies are given to: which store each of them has.
//!
//! A member whose store is not known yet is asked; until it has said so it is given nothing. Membership is looked at
//! whenever the ring changes, and once a second, as a member may have come back with another store.

use std::time::Duration;

use chordata_protocol::eventual::{Event, Member, Request, Stores, Table};
use chordata_protocol::ring::Ring;
use chordata_protocol::{Peer, StoreId, Time};
use chordata_rpc::service::Error;
use futures::future::join_all;
use tokio::time::Instant;
use tracing::{info, warn};

use super::{Eventual, Machine};
use crate::node::Node;

/// How often members are looked at when nothing happens.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A node that leaves and of which nobody has taken anything for so long cannot leave now.
const STUCK_AFTER: Duration = Duration::from_secs(30);
/// Times that it is said that a store is gone.
const FAREWELLS_MAX: usize = 3;
/// Why a node cannot leave.
const LAST_MEMBER: &str =
    "this is the last node of the ring, its keys would have nowhere to go: stop it instead";

/// The ring as this node sees it; none: it is in no ring.
fn nodes(ring: &Ring) -> Option<Vec<Peer>> {
    if !ring.is_member() {
        return None;
    }
    let mut nodes = match ring.membership() {
        Some(membership) => membership.nodes().to_vec(),
        // Nobody has walked the ring yet.
        None => {
            let neighbours = ring.successors().nodes().map(|(_, peer)| peer.clone());
            neighbours.chain([ring.predecessor().clone()]).collect()
        }
    };
    nodes.retain(|peer| peer.address != ring.me().address && peer.id != ring.me().id);
    nodes.push(ring.me().clone());
    nodes.sort();
    nodes.dedup();
    Some(nodes)
}

/// Nodes that were heard of at this one's place. Both sides of a split ring may have granted it: then the ring counts on
/// one of the two, and the other is to find out.
fn at_own_place(ring: &Ring) -> Vec<Peer> {
    let me = ring.me();
    ring.known().peers().filter(|peer| peer.id == me.id && peer.address != me.address).collect()
}

impl Node {
    /// Follows the ring's members until the node stops.
    pub(crate) async fn follow_members(self) {
        let mut changes = self.watch();
        loop {
            if self.with_eventual(|_, _| ()).is_none() {
                return;
            }
            self.look_at_members().await;
            // A change, one that was missed as there were too many, or none for a while.
            let _ = tokio::time::timeout(LOOK_EVERY, changes.recv()).await;
        }
    }

    async fn look_at_members(&self) {
        let Some(nodes) = self.inspect(|ring, _| nodes(ring)) else { return };
        let me = self.me().clone();
        let now = self.now();
        let unknown = self.with_eventual(|part, _| {
            let unknown = nodes.iter().filter(|peer| !part.knows(peer, now));
            unknown.filter(|peer| **peer != me).cloned().collect::<Vec<Peer>>()
        });
        let rivals = self.inspect(|ring, _| at_own_place(ring));
        // Who does not answer is left out, and asked again the next time.
        join_all(unknown.iter().flatten().chain(&rivals).map(|peer| self.greet(peer))).await;
        self.with_eventual(|part, engine| {
            let table = part.table(&me, &nodes);
            if part.machine.table() != Some(&table) {
                let (count, own) = (table.members().len(), table.kept(part.store()));
                match own {
                    Some(range) => info!(
                        node = %me.address,
                        "{count} nodes keep copies; this one those of ({:?}, {:?}]", range.low, range.high
                    ),
                    None => info!(node = %me.address, "{count} nodes keep copies, without this one"),
                }
            }
            let (forgotten, seen) = (part.forgotten.clone(), part.seen.take());
            self.carry_eventual(part, engine, Event::Members { table, forgotten, seen });
        });
    }

    // Leaving.

    /// Leaves the ring and gives everything away that this node has. In a task of its own: it must come to its end, also
    /// when whoever asked for it goes away.
    pub(crate) async fn eventual_leave(&self) -> Result<(), Error> {
        let node = self.clone();
        let left = tokio::spawn(async move { node.leave_for_good().await }).await;
        left.unwrap_or_else(|_| Err(Error::Unknown("the node stopped meanwhile".to_owned())))
    }

    async fn leave_for_good(&self) -> Result<(), Error> {
        let refused = self.with_eventual(|part, _| {
            if part.machine.table().is_none_or(|table| table.members().len() < 2) {
                return Some(LAST_MEMBER);
            }
            (std::mem::replace(&mut part.leaving, true)).then_some("this node is leaving already")
        });
        if let Some(reason) = refused.ok_or(Error::NotMember)? {
            return Err(Error::Unavailable(reason.to_owned()));
        }
        // What it has is given away while it is in the ring: it can still stay if that fails.
        self.look_at_members().await;
        let swept = self.given(Machine::is_swept).await;
        let left = match swept {
            Ok(()) => self.leave_ring().await,
            Err(error) => Err(error),
        };
        if let Err(error) = left {
            self.with_eventual(|part, _| part.leaving = false);
            self.look_at_members().await;
            return Err(error);
        }
        // What others brought until they knew that it has left. From then on it takes nothing any more.
        while !self.close() {
            if let Err(Error::Unavailable(reason)) = self.given(Machine::is_drained).await {
                warn!(node = %self.me().address, "this node has left the ring, but still has keys: {reason}");
            }
        }
        self.farewell().await;
        self.with_eventual(|part, _| part.gone = true);
        self.serving_changed();
        Ok(())
    }

    /// Takes nothing any more, if all that this node had is with others.
    fn close(&self) -> bool {
        let closed = self.with_eventual(|part, _| {
            part.closed = part.is_given(Machine::is_drained);
            part.closed
        });
        // A node that has stopped does nothing anyway.
        closed.unwrap_or(true)
    }

    /// Waits until what this node has is with others; gives up when nothing is taken for a while.
    async fn given(&self, is_given: fn(&Machine) -> bool) -> Result<(), Error> {
        let mut changed = self.subscribe_serving();
        let (mut moved, mut deadline) = (0, Instant::now() + STUCK_AFTER);
        loop {
            let look =
                self.with_eventual(|part, _| (part.is_given(is_given), part.machine.counters().handed_off));
            let (given, handed) = look.ok_or(Error::NotMember)?;
            if given {
                return Ok(());
            }
            if handed > moved {
                (moved, deadline) = (handed, Instant::now() + STUCK_AFTER);
            }
            if Instant::now() >= deadline {
                let reason = "the others take nothing over; ask again later";
                return Err(Error::Unavailable(reason.to_owned()));
            }
            // A change, or none for a while.
            let _ = tokio::time::timeout(LOOK_EVERY, changed.changed()).await;
        }
    }

    /// Tells the others that this store never comes back. Its node has left the ring.
    async fn farewell(&self) {
        let told = self.with_eventual(|part, _| {
            let stores = part.machine.stores();
            let mut forgotten = stores.forgotten.clone();
            forgotten.insert(part.store());
            let members = part.machine.table().map(|table| table.members().to_vec()).unwrap_or_default();
            let others: Vec<StoreId> = members.iter().map(|member| member.store).collect();
            (others, Stores { known: stores.known.clone(), forgotten })
        });
        let Some((mut others, stores)) = told else { return };
        let count = others.len();
        for _ in 0..FAREWELLS_MAX {
            let letters = others.iter().map(|store| {
                let request = Request::Keep { tombstones: Vec::new(), stores: stores.clone() };
                self.send_letter(*store, request)
            });
            let answers = join_all(letters).await;
            others = others
                .into_iter()
                .zip(answers)
                .filter(|(_, answer)| answer.is_err())
                .map(|(store, _)| store)
                .collect();
            if others.is_empty() {
                return;
            }
        }
        // Those that heard it tell the others.
        if others.len() == count {
            warn!(node = %self.me().address, "nobody was told that this store is gone: say `forget` for this node");
        }
    }
}

impl Eventual {
    /// Is everything given away, with a table of members in which this node is not?
    fn is_given(&self, is_given: fn(&Machine) -> bool) -> bool {
        let table = self.machine.table();
        let others = table.is_some_and(|table| !table.has(self.store()) && !table.members().is_empty());
        others && is_given(&self.machine)
    }

    /// Is it known which store that node has? One that was forgotten has another by now, or may not be there; and so may
    /// one that has joined at another place.
    fn knows(&self, peer: &Peer, now: Time) -> bool {
        let store = self.directory.store_at(&peer.address, now);
        store.is_some_and(|store| {
            let is_there = self.directory.peer(store).as_ref() == Some(peer);
            is_there && !self.machine.stores().forgotten.contains(&store)
        })
    }

    /// The members among these nodes whose stores are known; without this one if it leaves.
    fn table(&self, me: &Peer, nodes: &[Peer]) -> Table {
        let member = |peer: &Peer| {
            let store = if peer == me {
                Some(self.store()).filter(|_| !self.leaving)
            } else {
                self.directory.last_store_at(&peer.address)
            };
            Some(Member { id: peer.id, store: store? })
        };
        let forgotten = &self.machine.stores().forgotten;
        let members = nodes.iter().filter_map(member).filter(|member| !forgotten.contains(&member.store));
        Table::new(members.collect(), self.replication.copies())
    }
}
