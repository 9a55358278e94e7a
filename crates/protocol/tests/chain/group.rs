//! The group that agrees on the view, from outside: who leads, what is proposed, what is agreed on; and what the
//! coordinator on the leader has done.
//!
//! There is no log here: a proposal is agreed on or lost, in the order in which it was made. A leader hears what was
//! agreed on at once if its process runs; another node's process hears it by heartbeats, or when it is elected.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use chordata_protocol::Address;
use chordata_protocol::chain::event::{Deed, Occasion};
use chordata_protocol::chain::{Applied, Command, Event, StoreId, View};
use chordata_protocol::ring::Token;

use crate::words;
use crate::world::World;

/// A command that is not agreed on yet.
#[derive(Debug)]
struct Proposal {
    /// By which leader; none: by an operator or a node that joins.
    by: Option<(Address, Token)>,
    command: Command,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) view: Option<Arc<View>>,
    pub(crate) leader: Option<Address>,
    /// Those who think that they lead, and do not.
    deposed: BTreeSet<Address>,
    /// The view that the leader has heard of.
    told: u64,
    /// Proposals that were agreed on without the leader's knowing.
    unheard: Vec<(Address, Token)>,
    proposals: VecDeque<Proposal>,
    /// Do proposals wait for the script?
    pub(crate) waits: bool,
    /// Empty: the group is elsewhere.
    pub(crate) voters: BTreeSet<StoreId>,
    /// Voters that the leader wants.
    wanted: Option<BTreeSet<StoreId>>,
}

impl World {
    pub(crate) fn leads(&self, address: &Address) -> bool {
        self.life(address).is_some_and(|life| life.coordinator.leads())
    }

    /// Does the group's leader, and a majority of those who vote, run and reach each other?
    fn has_quorum(&self) -> bool {
        let Some(leader) = self.group.leader.as_ref().filter(|leader| self.is_running(leader)) else {
            return false;
        };
        let voters = &self.group.voters;
        let there = self.living().into_iter().filter(|(node, life)| {
            let address = &node.me.address;
            voters.contains(&node.store) && !life.paused && !self.is_cut(address, leader)
        });
        voters.is_empty() || there.count() * 2 > voters.len()
    }

    /// Gives a coordinator an occasion and carries out its deeds, in their order.
    pub(crate) fn occasion(&mut self, address: &Address, occasion: Occasion, header: &str) {
        self.report.event(format!("leader {address}"), header);
        let now = self.now;
        let Some(life) = self.life_mut(address) else { return };
        for deed in life.coordinator.handle(now, occasion) {
            self.do_deed(address, deed);
        }
        self.report_violations();
    }

    fn do_deed(&mut self, address: &Address, deed: Deed) {
        let now = self.now;
        match deed {
            Deed::Confirm(token) => {
                self.report.effect("begins a round");
                if let Some(life) = self.life_mut(address) {
                    life.rounds.push_back(token);
                }
            }
            Deed::Propose { token, command } => {
                if self.is_told(&command) {
                    let what = format!("proposes to {}", words::command(&command));
                    self.report.change(format!("leader {address}"), what);
                }
                if self.group.leader.as_ref() == Some(address) {
                    self.group.proposals.push_back(Proposal { by: Some((address.clone(), token)), command });
                }
            }
            Deed::Answer { caller, response } => self.answer(caller, response),
            Deed::Poke(to) => {
                self.report.effect(format!("pokes {}", words::peer(&to)));
                self.poke(address, to);
            }
            Deed::Voters(voters) => {
                let names = words::join(voters.iter().map(|store| words::store(*store)), " ");
                self.report.change(format!("leader {address}"), format!("wants these to vote: {names}"));
                self.group.wanted = Some(voters);
            }
            Deed::TickAfter(after) => {
                if let Some(life) = self.life_mut(address) {
                    life.tick_at = Some(now + after);
                }
            }
            Deed::Lapsed { store, lapsed } => {
                let what = if lapsed { "is silent" } else { "is heard again" };
                self.report.change(format!("leader {address}"), format!("{} {what}", words::store(store)));
            }
        }
    }

    // Who leads.

    pub(crate) fn elect(&mut self, address: &Address) {
        if let Some(old) = self.group.leader.take().filter(|old| old != address) {
            self.group.deposed.insert(old);
        }
        self.group.deposed.remove(address);
        self.group.leader = Some(address.clone());
        self.group.proposals.retain(|proposal| proposal.by.is_none());
        self.group.wanted = None;
        self.group.unheard.clear();
        let Some(view) = self.group.view.clone() else { return };
        self.group.told = view.index;
        let header = format!("is elected, with view {}", view.index);
        if let Some(life) = self.life_mut(address) {
            life.rounds.clear();
        }
        self.event(address, Event::View(Arc::clone(&view)), "learns of the agreed view");
        self.occasion(address, Occasion::Elected(view), &header);
        if !self.group.voters.is_empty() {
            let voters = self.group.voters.clone();
            self.occasion(address, Occasion::Voters(voters), "learns who votes");
        }
        let me = self.nodes[address].me.clone();
        for other in self.running() {
            if !self.is_cut(&other, address) && !self.group.deposed.contains(&other) {
                self.event(&other, Event::Leader(me.clone()), &format!("learns that {address} leads"));
            }
        }
    }

    pub(crate) fn no_leader(&mut self) {
        let old = self.group.leader.take();
        self.group.deposed.extend(old);
        self.group.proposals.retain(|proposal| proposal.by.is_none());
    }

    /// Deposed leaders that can hear of it do; true: one did.
    pub(crate) fn depose(&mut self) -> bool {
        let new = self.group.leader.clone();
        let hears = |old: &&Address| {
            self.is_running(old)
                && new.as_ref().is_none_or(|new| self.is_running(new) && !self.is_cut(old, new))
        };
        let Some(old) = self.group.deposed.iter().find(hears).cloned() else { return false };
        self.group.deposed.remove(&old);
        if let Some(life) = self.life_mut(&old) {
            life.rounds.clear();
            life.tick_at = None;
        }
        self.report.say(format!("leader {old} is deposed"));
        self.occasion(&old, Occasion::Deposed, "forgets everything");
        if let Some(new) = new {
            let peer = self.nodes[&new].me.clone();
            self.event(&old, Event::Leader(peer), &format!("learns that {new} leads"));
        }
        true
    }

    /// A process of the group died.
    pub(crate) fn group_loses(&mut self, address: &Address) {
        self.group.deposed.remove(address);
        if self.group.leader.as_ref() == Some(address) {
            self.group.leader = None;
            self.group.proposals.retain(|proposal| proposal.by.is_none());
        }
    }

    // Rounds.

    /// All rounds that a node waits for end, if it leads; true: there were some.
    pub(crate) fn confirm(&mut self, address: &Address) -> bool {
        let leads = self.group.leader.as_ref() == Some(address) && self.has_quorum();
        let Some(life) = self.life_mut(address) else { return false };
        if !leads || life.paused {
            return false;
        }
        let Some(token) = life.rounds.pop_front() else { return false };
        self.occasion(address, Occasion::Confirmed { token, leads }, "the round has ended");
        true
    }

    // Proposals.

    pub(crate) fn propose(&mut self, command: Command) {
        self.group.proposals.push_back(Proposal { by: None, command });
    }

    pub(crate) fn is_proposed(&self) -> bool {
        !self.group.proposals.is_empty() && self.has_quorum()
    }

    /// The oldest proposal is agreed on; false: there is none.
    pub(crate) fn agree(&mut self, heard: bool) -> bool {
        let Some(Proposal { by, command }) = self.group.proposals.pop_front() else { return false };
        let Some(old) = &self.group.view else { return false };
        let mut view = View::clone(old);
        let applied = view.apply(&command);
        let what = words::applied(&view, &applied);
        if self.is_told(&command) {
            self.report.say(format!("view {}: {}{what}", view.index, words::command(&command)));
        }
        self.group.view = Some(Arc::new(view));
        self.note_ranges();
        if heard {
            self.tell_leader();
            if let Some((address, token)) = by.filter(|(address, _)| self.is_running(address)) {
                self.proposed(&address, token, Some(applied));
            }
        } else {
            self.group.unheard.extend(by);
        }
        // Who asked to be a member is told, and starts.
        if let Command::Admit { address, .. } = command {
            let contacts = self.group.leader.iter().filter_map(|leader| self.nodes.get(leader));
            let contacts = contacts.map(|node| node.me.clone()).collect();
            self.start(&address, contacts);
        }
        true
    }

    /// The oldest proposal is lost; its leader does not know whether it was agreed on.
    pub(crate) fn lose(&mut self) -> bool {
        let Some(Proposal { by, command }) = self.group.proposals.pop_front() else { return false };
        self.report.say(format!("lost: {}", words::command(&command)));
        if let Some((address, token)) = by.filter(|(address, _)| self.is_running(address)) {
            self.proposed(&address, token, None);
        }
        true
    }

    fn proposed(&mut self, address: &Address, token: Token, applied: Option<Applied>) {
        let header = if applied.is_some() { "its proposal has ended" } else { "its proposal may be lost" };
        self.occasion(address, Occasion::Proposed { token, applied }, header);
    }

    /// The leader hears what was agreed on; true: there was something.
    pub(crate) fn tell_leader(&mut self) -> bool {
        // What it did not hear it hears with what is agreed on next.
        if self.group.waits && !self.group.unheard.is_empty() {
            return false;
        }
        let (Some(leader), Some(view)) = (self.group.leader.clone(), self.group.view.clone()) else {
            return false;
        };
        if self.group.told >= view.index || !self.is_running(&leader) {
            return false;
        }
        self.group.told = view.index;
        self.occasion(
            &leader,
            Occasion::Agreed(Arc::clone(&view)),
            &format!("view {} is agreed on", view.index),
        );
        self.event(&leader, Event::View(view), "learns of the agreed view");
        for (address, token) in std::mem::take(&mut self.group.unheard) {
            if address == leader {
                self.proposed(&address, token, None);
            }
        }
        true
    }

    /// Those vote whom the leader wants; true: they did not yet.
    pub(crate) fn change_voters(&mut self) -> bool {
        let Some(leader) = self.group.leader.clone().filter(|_| self.has_quorum()) else { return false };
        let Some(voters) = self.group.wanted.take() else { return false };
        self.group.voters.clone_from(&voters);
        self.report.say("they vote");
        self.occasion(&leader, Occasion::Voters(voters), "they vote");
        true
    }

    /// Is a command about what the script watches?
    fn is_told(&self, command: &Command) -> bool {
        match command {
            Command::Prepare { parents, .. } => parents.iter().any(|parent| self.is_shown(*parent)),
            Command::Activate { change, .. } => {
                let pending = self.agreed().and_then(|view| view.pending.get(change));
                pending.is_none_or(|pending| pending.parents.iter().any(|parent| self.is_shown(*parent)))
            }
            Command::Reopen { epoch, .. } => self.is_shown(*epoch),
            _ => true,
        }
    }

    /// Remembers which epochs are about which identifiers.
    pub(crate) fn note_ranges(&mut self) {
        let Some(view) = self.group.view.clone() else { return };
        self.ranges.extend(view.ranges.iter().map(|(epoch, active)| (*epoch, active.range)));
        let children = view.pending.values().flat_map(|pending| &pending.children);
        self.ranges.extend(children.map(|child| (child.epoch, child.range)));
    }

    /// The agreed view.
    pub(crate) fn agreed(&self) -> Option<&Arc<View>> {
        self.group.view.as_ref()
    }
}
