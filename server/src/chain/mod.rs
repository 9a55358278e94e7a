//! Chains on a real node: the member and the coordinator of `protocol`, with the group, the engine and the network.
//!
//! Everything of a node changes under its one lock: an event goes in, its effects are begun before the lock is let go.
//! What takes time (calls, rounds of the group, the disk) runs in tasks of its own and comes back as an event.

mod effects;
mod group;
mod looks;
pub(crate) mod marks;
mod notes;
mod regroup;
mod requests;
mod waiters;

use std::collections::BTreeMap;
use std::sync::Arc;

use chordata_consensus::Settings as GroupSettings;
use chordata_protocol::chain::message::Heartbeat;
use chordata_protocol::chain::view::{Epoch, Sequence};
use chordata_protocol::chain::{
    ChainRequest, ChainResponse, ChainSettings, Coordinator, Event, Kept, Member, Occasion, Reply,
};
use chordata_protocol::ring::{Caller, Token};
use chordata_protocol::{Consistency, Durability, Peer, Replication};
use chordata_store::Ticket;
use tokio::task::{AbortHandle, JoinHandle};

pub use group::{Agreed, Agreement, Group, Machine, OverPool};
pub(crate) use notes::load;
pub(crate) use requests::BARRED;

use self::waiters::Waiters;
use crate::node::Node;

/// What a node needs to take part in chains, before it runs.
pub struct Parts {
    /// What chains are told.
    pub settings: ChainSettings,
    /// The store and its life.
    pub store: chordata_protocol::chain::StoreId,
    /// Its life.
    pub incarnation: chordata_protocol::chain::Incarnation,
    /// What the store has kept.
    pub kept: Kept,
    /// Whom to ask first who leads.
    pub contacts: Vec<Peer>,
    /// The group that coordinates.
    pub group: Group,
    /// What it was started with.
    pub group_settings: GroupSettings,
    /// For delays.
    pub seed: u64,
}

/// What is under way of writes to the disk.
#[derive(Debug, Default)]
struct Persisting {
    /// Entries: when the ticket is durable, they are, of this epoch up to there.
    entries: BTreeMap<Epoch, Vec<(Ticket, Sequence)>>,
    /// Barriers.
    barriers: Vec<(Ticket, Token)>,
}

/// The part of a node that chains are, under the node's lock.
pub(crate) struct Chain {
    pub(crate) member: Member,
    coordinator: Coordinator,
    pub(crate) group: Group,
    group_settings: GroupSettings,
    /// Who watches the group.
    watching: Option<JoinHandle<()>>,
    /// Is the group being replaced by a rebuilt one?
    regrouping: bool,
    durability: Durability,
    next_caller: u64,
    /// Clients' requests that wait.
    replies: Waiters<Reply>,
    /// Other nodes' questions that wait.
    answers: Waiters<ChainResponse>,
    persisting: Persisting,
    /// The copies at marks.
    pub(crate) marks: marks::Marks,
    beat: Option<AbortHandle>,
    tick: Option<AbortHandle>,
    view_saved: Option<AbortHandle>,
}

impl Chain {
    pub(crate) fn new(parts: Parts, me: &Peer) -> Chain {
        let Parts { settings, store, incarnation, kept, contacts, group, group_settings, seed } = parts;
        Chain {
            durability: settings.replication.durability,
            member: Member::new(settings.clone(), store, incarnation, me.clone(), kept, contacts, seed),
            coordinator: Coordinator::new(settings),
            group,
            group_settings,
            watching: None,
            regrouping: false,
            next_caller: 0,
            replies: Waiters::default(),
            answers: Waiters::default(),
            persisting: Persisting::default(),
            marks: marks::Marks::default(),
            beat: None,
            tick: None,
            view_saved: None,
        }
    }

    fn caller(&mut self) -> Caller {
        self.next_caller += 1;
        Caller(self.next_caller)
    }

    pub(crate) fn stop(&mut self) {
        for timer in [self.beat.take(), self.tick.take(), self.view_saved.take()].into_iter().flatten() {
            timer.abort();
        }
        self.marks = marks::Marks::default();
        self.replies.clear();
        self.answers.clear();
    }
}

impl Node {
    /// Gives the member an event and begins its effects.
    pub(crate) fn chain_event(&self, event: Event) {
        let now = self.now();
        self.with_chain(|chain, engine| {
            let effects = chain.member.handle(now, event);
            self.carry_chain(chain, engine, effects);
        });
    }

    /// Gives the coordinator an occasion and begins its deeds.
    pub(crate) fn chain_occasion(&self, occasion: Occasion) {
        let now = self.now();
        self.with_chain(|chain, _| {
            let deeds = chain.coordinator.handle(now, occasion);
            self.carry_deeds(chain, deeds);
        });
    }

    /// Answers another node's question about chains. Only a heartbeat's answer waits, for a round of the group.
    pub(crate) async fn chain_asked(&self, request: ChainRequest) -> ChainResponse {
        let now = self.now();
        let answered = self.with_chain(|chain, engine| {
            let caller = chain.caller();
            let answered = chain.answers.wait(caller);
            match request {
                ChainRequest::Heartbeat(beat) if chain.coordinator.leads() => {
                    let occasion = heard(caller, beat);
                    let deeds = chain.coordinator.handle(now, occasion);
                    self.carry_deeds(chain, deeds);
                }
                request => {
                    let effects = chain.member.handle(now, Event::Asked { caller, request });
                    self.carry_chain(chain, engine, effects);
                }
            }
            answered
        });
        let Some(answered) = answered else { return ChainResponse::NotMine };
        // The sender is dropped when the node stops.
        answered.await.unwrap_or(ChainResponse::NotLeader(None))
    }

    /// Everything up to this ticket is on disk.
    pub(crate) fn chain_durable(&self, ticket: Ticket) {
        let now = self.now();
        self.with_chain(|chain, engine| {
            let persisting = &mut chain.persisting;
            let mut events = Vec::new();
            persisting.entries.retain(|epoch, waiting| {
                let done = waiting.partition_point(|(upto, _)| *upto <= ticket);
                if let Some((_, sequence)) = waiting.drain(..done).next_back() {
                    events.push(Event::Persisted { epoch: *epoch, sequence });
                }
                !waiting.is_empty()
            });
            let (over, left): (Vec<_>, Vec<_>) =
                persisting.barriers.drain(..).partition(|(upto, _)| *upto <= ticket);
            persisting.barriers = left;
            events.extend(over.into_iter().map(|(_, token)| Event::Durable(token)));
            for event in events {
                let effects = chain.member.handle(now, event);
                self.carry_chain(chain, engine, effects);
            }
        });
    }
}

fn heard(caller: Caller, beat: Box<Heartbeat>) -> Occasion {
    Occasion::Heartbeat { caller, beat }
}

/// The settings of chains, from those of the cluster.
pub fn settings(
    cluster: &chordata_rpc::service::ClusterSettings,
    space: chordata_protocol::Space,
) -> Option<ChainSettings> {
    let is_chain = |replication: &Replication| replication.consistency == Consistency::Chain;
    let replication = cluster.replication.filter(is_chain)?;
    Some(ChainSettings { space, replication, lease: cluster.lease, ..ChainSettings::default() })
}

/// Shared by what watches the group.
pub(crate) type SharedView = Arc<chordata_protocol::chain::View>;
