//! From a place to a node that runs: its engine, its part in chains or in eventual mode, and its way in.

use std::collections::BTreeSet;
use std::sync::Arc;

use chordata_consensus::{NodeId, Settings as GroupSettings, Storage};
use chordata_protocol::chain::{Incarnation, StoreId, View};
use chordata_protocol::ring::{Ring, RingSettings};
use chordata_protocol::{Consistency, Durability, Peer, Space};
use chordata_rpc::service::ClusterSettings;
use chordata_store::group::Mode;
use chordata_store::{DiskEngine, DiskSettings, Engine, MemoryEngine, RealFiles};
use tokio::sync::{oneshot, watch};

use super::admission::{Arrival, Place};
use super::joining::Joining;
use super::running::{Door, end, keep};
use super::{StartError, Started, Starting, random_bits};
use crate::chain::{self, Agreement, Group, Machine};
use crate::eventual;
use crate::identity::Identity;
use crate::node::{Node, Parts};

/// Short enough for a lease to outlast an election, openraft's own ticks of 75 ms counted.
const ELECTION_MAX: std::time::Duration = std::time::Duration::from_millis(180);
/// What the engine may keep of the disk in memory.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// A life of a store.
struct Life<'a> {
    store: u128,
    incarnation: u64,
    known: &'a [Peer],
    /// Is it the first of its cluster?
    founds: bool,
    /// The store of its last life, if that was in memory and this one is another.
    former: Option<u128>,
}

impl Starting {
    /// The engine, and how what is in it gets to the disk.
    fn engine(&self, cluster: &ClusterSettings) -> Result<(Box<dyn Engine>, Option<Mode>), StartError> {
        let mode = match cluster.replication.map(|replication| replication.durability) {
            None | Some(Durability::Memory) => return Ok((Box::new(MemoryEngine::default()), None)),
            Some(Durability::Interval) => Mode::INTERVAL,
            Some(Durability::Sync) => Mode::Sync,
        };
        let Some(data) = &self.ground.data else {
            return Err(StartError::NotAdmitted(
                "this cluster keeps its data on disk: give this node a directory for it with --data DIR"
                    .to_owned(),
            ));
        };
        let disk = DiskSettings { cache_bytes: CACHE_BYTES, ..DiskSettings::default() };
        let files = RealFiles::new(data.store()?).map_err(|error| failed(&error))?;
        let engine = DiskEngine::open(Arc::new(files), disk).map_err(|error| failed(&error))?;
        Ok((Box::new(engine), Some(mode)))
    }

    /// What the node needs for chains, if its cluster has them. If that fails, nothing of the group is left running.
    async fn chain_parts(
        &self,
        place: &Place,
        life: &Life<'_>,
        engine: &dyn Engine,
        seed: u64,
    ) -> Result<Option<chain::Parts>, StartError> {
        let space = Space::new(place.cluster.bits).unwrap_or_default();
        let Some(settings) = chain::settings(&place.cluster, space) else { return Ok(None) };
        let storage = match &self.ground.data {
            Some(data) => Storage::Directory(data.raft()?),
            None => Storage::Memory,
        };
        let mut group_settings = GroupSettings::new(NodeId(life.store), storage);
        group_settings.timing.election_max = ELECTION_MAX;
        let transport = chain::OverPool(self.pool.clone());
        let group = Group::start(group_settings.clone(), Machine::default(), transport).await;
        let group = group.map_err(|error| failed(&error))?;
        let (store, incarnation) = (StoreId(life.store), Incarnation(life.incarnation));
        let me = Peer::new(place.id, self.me.clone());
        let agreed = async {
            if life.founds {
                group.bootstrap(self.me.as_str()).await.map_err(|error| failed(&error))?;
                let view = View::first(space, settings.replication, store, incarnation, &me);
                let found = Agreement::Found(Box::new(view));
                group.propose(found).await.map_err(|error| failed(&error))?;
            }
            chain::load(engine, space).map_err(|error| failed(&error))
        };
        let kept = match agreed.await {
            Ok(kept) => kept,
            Err(error) => {
                group.shutdown().await;
                return Err(error);
            }
        };
        let mut contacts: Vec<Peer> = life.known.to_vec();
        contacts.extend(place.predecessor.clone());
        contacts.push(me);
        Ok(Some(chain::Parts { settings, store, incarnation, kept, contacts, group, group_settings, seed }))
    }

    /// How the node keeps its data beside others.
    async fn parts(
        &self,
        place: &Place,
        life: &Life<'_>,
        engine: &mut dyn Engine,
        seed: u64,
    ) -> Result<Parts, StartError> {
        let Some(replication) = place.cluster.replication else { return Ok(Parts::Single) };
        if replication.consistency == Consistency::Chain {
            let parts = self.chain_parts(place, life, engine, seed).await?;
            return Ok(parts.map_or(Parts::Single, |parts| Parts::Chain(Box::new(parts))));
        }
        let space = Space::new(place.cluster.bits).unwrap_or_default();
        let opened = eventual::open(engine, space);
        let opened = opened.map_err(|error| StartError::Store(error.to_string()))?;
        let (store, incarnation) = (StoreId(life.store), Incarnation(life.incarnation));
        let mut parts = opened.parts(replication, store, incarnation, seed);
        parts.briefing = place.briefing.clone();
        parts.former = life.former.map(StoreId);
        Ok(Parts::Eventual(Box::new(parts)))
    }

    /// Builds the node, lets it in, and serves.
    pub(super) async fn run(
        self,
        arrival: Arrival,
        mut cancelled: watch::Receiver<bool>,
    ) -> Result<Started, StartError> {
        let Arrival { place, store, incarnation, known, neighbours } = arrival;
        let space = Space::new(place.cluster.bits).unwrap_or_default();
        if self.credentials.learn(place.cluster.cluster).is_err() {
            return Err(StartError::NotAdmitted("the cluster's id changed while joining".to_owned()));
        }
        if self.settings.standby && !self.returning {
            // It has a place in another ring now: what it had in the last one goes.
            self.ground.forget()?;
        }
        if !self.returning {
            self.ground.forget_unused_group()?;
        }
        let ring_settings = RingSettings {
            space,
            // In eventual mode nothing rests on who owns a range: it only says whom to ask first.
            owns_keys: place.cluster.consistency() != Some(Consistency::Chain),
            successors: usize::from(place.cluster.successors).max(1),
            ..self.settings.ring.clone()
        };
        let me = Peer::new(place.id, self.me.clone());
        let seed = u64::try_from(random_bits()? & u128::from(u64::MAX)).unwrap_or(0);
        let known: Vec<Peer> = BTreeSet::from_iter(known.into_iter().chain(neighbours)).into_iter().collect();
        let ring = Ring::new(ring_settings, me, seed, &known);
        let (mut engine, on_disk) = self.engine(&place.cluster)?;
        let founds = place.predecessor.is_none() && !self.returning;
        // What was in memory only is gone: what comes back must not pass for what had it.
        let forgets = place.cluster.consistency() == Some(Consistency::Eventual) && on_disk.is_none();
        let former = (forgets && self.returning).then_some(store);
        let store = if former.is_some() { random_bits()? } else { store };
        let life = Life { store, incarnation, known: &known, founds, former };
        let parts = self.parts(&place, &life, &mut *engine, seed).await?;
        let group = match &parts {
            Parts::Chain(parts) => Some(parts.group.clone()),
            Parts::Single | Parts::Eventual(_) => None,
        };
        let node = Node::new(ring, engine, place.cluster.clone(), self.pool.clone(), parts);
        let identity = Identity {
            store,
            incarnation,
            id: place.id,
            cluster: place.cluster.clone(),
            admitted: place.view,
        };
        if let Err(error) = self.keep(&node, on_disk, &identity, known.iter()) {
            let group = node.own_group();
            node.stop();
            end(&node, group).await;
            return Err(error);
        }
        let (stop, stopped) = watch::channel(false);
        let door = Door { node: node.clone(), stopped: stopped.clone(), seat: self.seat };
        self.ground.reception.open(self.credentials, door).await;
        let (keeper_ready, ready) = oneshot::channel();
        let keeper = tokio::spawn(keep(self.ground.clone(), node.clone(), keeper_ready, stopped));
        // An error: the keeper ended, and said why.
        let _ = ready.await;
        if let Some(group) = group {
            node.watch_over(group);
            if let Some(view) = place.view {
                node.chain_event(chordata_protocol::chain::Event::Admitted(view));
            }
            node.chain_event(chordata_protocol::chain::Event::Start);
        }
        if node.is_eventual() {
            tokio::spawn(node.clone().follow_members());
        }
        let listening = self.ground.reception.listening();
        let started = Started { node: node.clone(), listening, ground: self.ground, stop, keeper };
        let joining = Joining {
            node: &node,
            pool: &self.pool,
            patience: self.settings.join_timeout,
            contacts: &self.settings.join,
        };
        let entered = tokio::select! {
            entered = joining.enter(place.predecessor) => entered,
            Ok(_) = cancelled.wait_for(|cancelled| *cancelled) => Err(StartError::Cancelled),
        };
        match entered {
            Ok(()) => Ok(started),
            Err(error) => {
                started.end().await;
                Err(error)
            }
        }
    }

    /// From now on what the node does gets to the disk, and whoever starts next here comes back as it.
    fn keep<'a>(
        &self,
        node: &Node,
        mode: Option<Mode>,
        identity: &Identity,
        known: impl Iterator<Item = &'a Peer>,
    ) -> Result<(), StartError> {
        if let Some(mode) = mode {
            node.commit_with(mode).map_err(|error| failed(&error))?;
        }
        let Some(data) = &self.ground.data else { return Ok(()) };
        // Addresses first: whoever has been in a ring, and knows nobody of it, would go on alone.
        let known: BTreeSet<Peer> = known.filter(|peer| peer.address != self.me).cloned().collect();
        if !known.is_empty() {
            data.save_known(&Vec::from_iter(known))?;
        }
        Ok(data.save_identity(identity)?)
    }
}

fn failed(error: &dyn std::fmt::Display) -> StartError {
    StartError::Store(error.to_string())
}
