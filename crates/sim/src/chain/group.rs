//! The coordinator's Raft group, modelled by what it guarantees: one agreed log of commands, terms, a leader per term.
//!
//! A leader is elected among the voters that reach a majority, and has everything that was agreed. Its term ends when it
//! does not reach a majority for an election timeout, sleeps, dies, or by the scenario's will. It is not told: it goes on
//! believing until it hears of a newer term, and till then its rounds fail and its proposals come to nothing - or, by
//! lot, are agreed on by the next leader, when they were on their way as the term ended. Every voter has applied a
//! prefix of the agreed log, and keeps it over crashes. Nodes that do not vote learn views from the leader's answers.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use chordata_protocol::Time;
use chordata_protocol::chain::{Applied, Command, Event, Occasion, StoreId, View};
use chordata_protocol::ring::Token;

use super::node::State;
use super::queue::Item;
use super::world::World;

/// How often voters are brought up to date, and leaders checked.
const TICK: Duration = Duration::from_millis(25);
/// Shortest and longest time without a majority until a leader's term ends, in milliseconds.
const ELECTION_MS: (u64, u64) = (200, 800);
/// After how long a leader without a majority gives a round or a proposal up.
const GIVE_UP: Duration = Duration::from_millis(500);

/// Who proposed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The coordinator.
    Coordinator(Token),
    /// The world, for a node at this slot that wants to be admitted.
    Connect {
        /// Which one.
        slot: usize,
        /// In which life.
        life: u64,
    },
    /// The world, and nobody waits.
    World,
}

#[derive(Debug)]
struct Proposal {
    slot: usize,
    life: u64,
    command: Command,
    origin: Origin,
    ready_at: Time,
}

/// The group.
#[derive(Debug)]
pub struct Group {
    /// The view after each agreed command; the first is how the cluster began.
    pub views: Vec<Arc<View>>,
    /// The newest term.
    pub term: u64,
    /// Who leads in it, and in which life; none: an election is under way.
    pub leader: Option<(usize, u64)>,
    /// Who votes.
    pub voters: BTreeSet<StoreId>,
    failing_until: Option<Time>,
    proposals: VecDeque<Proposal>,
}

impl Group {
    /// A group of one voter, which leads.
    pub fn new(first: Arc<View>, voter: StoreId) -> Group {
        Group {
            views: vec![first],
            term: 0,
            leader: None,
            voters: BTreeSet::from([voter]),
            failing_until: None,
            proposals: VecDeque::new(),
        }
    }

    /// The newest agreed view.
    pub fn newest(&self) -> &Arc<View> {
        self.views.last().expect("the first view is never removed")
    }

    /// Is that what leads, in this life?
    pub fn is_led_by(&self, slot: usize, life: u64) -> bool {
        self.leader == Some((slot, life))
    }
}

impl World {
    /// Does this node reach a majority of the voters, both ways?
    fn reaches_majority(&self, slot: usize) -> bool {
        let reached = self.nodes.iter().enumerate().filter(|(other, node)| {
            node.is_awake() && self.group.voters.contains(&node.store) && self.network.connects(slot, *other)
        });
        reached.count() * 2 > self.group.voters.len()
    }

    fn leader_works(&self) -> bool {
        self.group.leader.is_some_and(|(slot, life)| {
            let node = &self.nodes[slot];
            node.life == life && node.is_awake() && self.reaches_majority(slot)
        })
    }

    /// What the group does all the time.
    pub(super) fn group_tick(&mut self) {
        self.push(TICK, Item::GroupTick);
        if self.group.leader.is_none() {
            self.maybe_elect();
        } else if self.leader_works() {
            self.group.failing_until = None;
        } else {
            let (low, high) = ELECTION_MS;
            let patience = Duration::from_millis(self.random.u64(low..=high));
            let until = *self.group.failing_until.get_or_insert(self.now + patience);
            if self.now >= until {
                self.end_term();
            }
        }
        self.spread();
    }

    /// The leader's term ends; the leader is not told.
    pub(super) fn end_term(&mut self) {
        if self.group.leader.take().is_some() {
            self.counters.count("leader change");
        }
        self.group.failing_until = None;
    }

    fn maybe_elect(&mut self) {
        let able: Vec<usize> = (0..self.nodes.len())
            .filter(|slot| {
                let node = &self.nodes[*slot];
                node.is_awake() && self.group.voters.contains(&node.store) && self.reaches_majority(*slot)
            })
            .collect();
        if able.is_empty() || self.random.u8(..4) != 0 {
            return;
        }
        let slot = able[self.random.usize(..able.len())];
        self.elect(slot);
    }

    /// This node leads from now on. Of what its predecessor had proposed, some came through.
    pub(super) fn elect(&mut self, slot: usize) {
        self.group.term += 1;
        self.group.leader = Some((slot, self.nodes[slot].life));
        let survive = self.random.usize(0..=self.group.proposals.len());
        let orphans = std::mem::take(&mut self.group.proposals);
        for (number, orphan) in orphans.into_iter().enumerate() {
            if number < survive {
                self.counters.count("agreed without its leader");
                self.agreed(&orphan.command);
            }
            let Proposal { slot, life, origin, .. } = orphan;
            self.push(GIVE_UP, Item::Proposed { slot, life, origin, applied: None });
        }
        let term = self.group.term;
        let newest = Arc::clone(self.group.newest());
        let applied = self.group.views.len();
        let node = &mut self.nodes[slot];
        node.applied = applied;
        let Some(process) = &mut node.process else { return };
        process.leads = Some(term);
        process.knows_leader_of = term;
        let peer = node.peer.clone();
        self.occasion(slot, Occasion::Elected(Arc::clone(&newest)));
        self.occasion(slot, Occasion::Voters(self.group.voters.clone()));
        self.member_event(slot, Event::View(newest));
        if let Some(peer) = peer {
            self.member_event(slot, Event::Leader(peer));
        }
    }

    /// Voters get what they lack, and hear who leads, if the leader reaches them.
    fn spread(&mut self) {
        let Some((leader, _)) = self.group.leader.filter(|_| self.leader_works()) else { return };
        let (term, agreed) = (self.group.term, self.group.views.len());
        for slot in 0..self.nodes.len() {
            let node = &self.nodes[slot];
            let Some(process) = &node.process else { continue };
            let votes = self.group.voters.contains(&node.store);
            let (life, behind) = (node.life, votes && node.applied < agreed);
            let lost = votes && process.member.leader() != self.nodes[leader].peer.as_ref();
            let unaware = lost || (process.knows_leader_of < term && (votes || process.leads.is_some()));
            if slot == leader || !(behind || unaware) {
                continue;
            }
            let Some(delay) = self.network.delay(&mut self.random, leader, slot) else { continue };
            if behind {
                self.push(delay, Item::Replicated { slot, life, applied: agreed });
            }
            if unaware {
                self.push(delay, Item::Leader { slot, life, leader, term });
            }
        }
    }

    /// The leader wants others to vote: both the old and the new majority must be there.
    pub(super) fn ask_for_voters(&mut self, slot: usize, voters: BTreeSet<StoreId>) {
        let life = self.nodes[slot].life;
        let (there, back) = self.round_trip();
        self.push(there + back, Item::Voters { slot, life, voters });
    }

    /// Others vote from now on, or not.
    pub(super) fn voters_changed(&mut self, slot: usize, life: u64, wanted: BTreeSet<StoreId>) {
        let usable = |store: &&StoreId| {
            let found = self.nodes.iter().position(|node| node.store == **store);
            found.is_some_and(|other| self.nodes[other].is_awake() && self.network.connects(slot, other))
        };
        let ready = wanted.iter().filter(usable).count() * 2 > wanted.len();
        if self.group.is_led_by(slot, life) && self.leader_works() && ready {
            self.counters.count("voters changed");
            self.group.voters = wanted;
            // Who does not vote any more does not lead.
            if !self.group.voters.contains(&self.nodes[slot].store) {
                self.end_term();
            }
        }
        if self.nodes[slot].life == life && self.nodes[slot].is_awake() {
            self.occasion(slot, Occasion::Voters(self.group.voters.clone()));
        }
    }

    /// A voter has got some of the agreed log.
    pub(super) fn replicated(&mut self, slot: usize, applied: usize) {
        let node = &mut self.nodes[slot];
        if node.applied >= applied || !self.group.voters.contains(&node.store) {
            return;
        }
        node.applied = applied;
        let view = Arc::clone(&self.group.views[applied - 1]);
        self.occasion(slot, Occasion::Agreed(Arc::clone(&view)));
        self.member_event(slot, Event::View(view));
    }

    /// A node hears who leads.
    pub(super) fn hears_of_leader(&mut self, slot: usize, leader: usize, term: u64) {
        let Some(peer) = self.nodes[leader].peer.clone() else { return };
        let Some(process) = &mut self.nodes[slot].process else { return };
        if process.knows_leader_of > term {
            return;
        }
        process.knows_leader_of = term;
        let deposed = process.leads.take_if(|led| *led < term).is_some();
        if deposed {
            self.counters.count("deposed leader told");
            self.occasion(slot, Occasion::Deposed);
        }
        self.member_event(slot, Event::Leader(peer));
    }

    /// How long a round trip to a majority takes.
    fn round_trip(&mut self) -> (Duration, Duration) {
        (self.network.takes(&mut self.random), self.network.takes(&mut self.random))
    }

    /// A node that believes to lead wants to know whether it does.
    pub(super) fn confirm(&mut self, slot: usize, token: Token) {
        let life = self.nodes[slot].life;
        let term = self.nodes[slot].process.as_ref().and_then(|process| process.leads).unwrap_or(0);
        let (there, _) = self.round_trip();
        self.push(there, Item::Round { slot, life, term, token });
    }

    /// The round is where the voters are: now it is decided.
    pub(super) fn round(&mut self, slot: usize, life: u64, term: u64, token: Token) {
        let leads = self.group.is_led_by(slot, life) && self.group.term == term && self.leader_works();
        let back = if leads { self.round_trip().1 } else { GIVE_UP };
        self.push(back, Item::Confirmed { slot, life, token, leads });
    }

    /// A node that believes to lead proposes.
    pub(super) fn propose(&mut self, slot: usize, command: Command, origin: Origin) {
        let life = self.nodes[slot].life;
        let term = self.nodes[slot].process.as_ref().and_then(|process| process.leads);
        if !self.group.is_led_by(slot, life) || term != Some(self.group.term) {
            self.push(GIVE_UP, Item::Proposed { slot, life, origin, applied: None });
            return;
        }
        let (there, back) = self.round_trip();
        let ready_at = self.now + there + back;
        self.disturb_proposal(slot, &command);
        let command = self.saboteur.command(command);
        self.group.proposals.push_back(Proposal { slot, life, command, origin, ready_at });
        self.push(there + back, Item::Agree);
    }

    /// Proposals are agreed on in their order, if a majority is there.
    pub(super) fn agree(&mut self) {
        while self.group.proposals.front().is_some_and(|first| first.ready_at <= self.now) {
            if !self.leader_works() {
                // They wait for the majority, or for the end of the term.
                if self.group.leader.is_some() {
                    self.push(TICK, Item::Agree);
                }
                return;
            }
            let Some(Proposal { slot, life, command, origin, .. }) = self.group.proposals.pop_front() else {
                return;
            };
            let applied = self.agreed(&command);
            let newest = Arc::clone(self.group.newest());
            self.nodes[slot].applied = self.group.views.len();
            self.occasion(slot, Occasion::Agreed(Arc::clone(&newest)));
            self.member_event(slot, Event::View(newest));
            let answered = Duration::from_micros(self.random.u64(1..2000));
            self.push(answered, Item::Proposed { slot, life, origin, applied: Some(applied) });
        }
    }

    /// A command is agreed on: this is the moment of the decision.
    fn agreed(&mut self, command: &Command) -> Applied {
        let before = Arc::clone(self.group.newest());
        let mut view = View::clone(&before);
        let applied = view.apply(command);
        let after = Arc::new(view);
        if self.verbose {
            println!("{:>12} AGREED {} {command:?} -> {applied:?}", self.now.as_micros(), after.index);
        }
        match command {
            Command::Activate { .. } if applied == Applied::Done => self.counters.count("reconfiguration"),
            Command::Reopen { loss: true, .. } if applied == Applied::Done => {
                self.counters.count("reopened with loss");
            }
            Command::Reopen { .. } if applied == Applied::Done => self.counters.count("reopened"),
            Command::Prepare { .. } => self.counters.count("prepared"),
            _ => {}
        }
        let found = self.witness.agreed(self.now, &before, &after, command);
        self.group.views.push(after);
        self.hold(found);
        applied
    }

    /// A proposal has ended.
    pub(super) fn proposed(&mut self, slot: usize, origin: Origin, applied: Option<Applied>) {
        match origin {
            Origin::Coordinator(token) => self.occasion(slot, Occasion::Proposed { token, applied }),
            Origin::Connect { slot, life } => self.connected(slot, life, applied.as_ref()),
            Origin::World => {}
        }
    }

    /// The proposer is gone: nobody is told what became of it.
    pub(super) fn unanswered(&mut self, origin: Origin) {
        if let Origin::Connect { slot, life } = origin {
            self.connected(slot, life, None);
        }
    }

    /// The leader's world proposes something, if there is a leader.
    pub(super) fn leader_proposes(&mut self, command: Command, origin: Origin) -> bool {
        let Some((leader, life)) = self.group.leader else { return false };
        let able = self.nodes[leader].life == life && self.nodes[leader].is_awake();
        if able {
            self.propose(leader, command, origin);
        }
        able
    }

    /// An operator accepts that writes are lost where no complete copy is left.
    pub fn accept_loss(&mut self) {
        self.counters.count("operator accepts loss");
        if let Some((leader, _)) = self.group.leader {
            self.occasion(leader, Occasion::AcceptLoss);
        }
    }

    /// A node that wants to join asks the leader, through whomever it reaches.
    pub(super) fn connect(&mut self, slot: usize) {
        let node = &self.nodes[slot];
        if node.state != State::Joining {
            return;
        }
        let life = node.life;
        let command = Command::Admit {
            store: node.store,
            incarnation: node.incarnation,
            address: node.address.clone(),
            placement: self.placement(slot),
        };
        let reached = self.group.leader.is_some_and(|(leader, _)| self.network.connects(slot, leader));
        let asked = reached && self.leader_proposes(command, Origin::Connect { slot, life });
        // Whoever was asked may die before it answers: then it asks again, which does no harm.
        let again = Duration::from_millis(if asked { 3000 } else { 200 });
        self.push(again, Item::Connect { slot, life });
    }
}
