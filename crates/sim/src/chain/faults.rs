//! What goes wrong, by lot: crashes and pauses by role, cuts of every kind, losses, wiped disks, power cuts, joins,
//! departures, changes of the leader, also in the middle of a change of chains; and records that cannot be read any
//! more.
//!
//! Some faults destroy data for ever (a wiped disk, a forgotten member; without `sync` every crash). They are only done
//! while each range that the node serves has another serving replica that is alive, and while a majority of the voters
//! keeps its stores: what an operator who loses more than that has to do is not simulated. Now and then a crash without
//! `sync` goes on all the same: then the loss must be reported.

use std::collections::BTreeSet;
use std::time::Duration;

use chordata_protocol::chain::{Command, StoreId};
use chordata_protocol::replication::Durability;
use chordata_protocol::{Id, Key};

use super::group::Origin;
use super::node::State;
use super::queue::Item;
use super::sabotage::Sabotage;
use super::shape::Shape;
use super::world::World;

/// Members that are kept, at least.
const MEMBERS_MIN: usize = 4;
/// Longest sync of a slow disk, in microseconds.
const SLOW_SYNC_US: u64 = 400_000;
/// Faults that come before a record is damaged at a last replica, since nothing else goes wrong from then on.
const COMMON_FIRST: u64 = 8;
/// How often everything that is stored is read.
const PATROL: Duration = Duration::from_millis(1000);

/// What is wrong at the moment.
#[derive(Debug, Default)]
pub struct Faults {
    /// Do things go wrong?
    pub active: bool,
    /// How many things went wrong.
    pub count: u64,
    slow_disks: bool,
    /// Stores that do not exist any more.
    gone: BTreeSet<StoreId>,
}

impl Faults {
    /// The longest sync of a disk now, in microseconds.
    pub fn sync_max_us(&self, shape: &Shape) -> u64 {
        if self.slow_disks { SLOW_SYNC_US } else { shape.sync_max_us }
    }
}

impl World {
    /// Things begin to go wrong.
    pub fn begin_faults(&mut self) {
        if self.saboteur.does(Sabotage::Peace) {
            return;
        }
        self.faults.active = true;
        self.network.loss = self.shape.loss;
        self.network.duplicated = self.shape.duplicated;
        self.push(Duration::from_millis(100), Item::Disturb);
        self.push(PATROL, Item::Patrol);
        if self.shape.power_cut {
            let after = Duration::from_millis(self.random.u64(5_000..50_000));
            self.push(after, Item::PowerCut);
        }
    }

    /// Nothing goes wrong any more, and everything that can come back does.
    pub fn end_faults(&mut self) {
        self.faults.active = false;
        self.faults.slow_disks = false;
        self.network.loss = 0.0;
        self.network.duplicated = 0.0;
        self.network.mend();
        for slot in 0..self.nodes.len() {
            let life = self.nodes[slot].life;
            let after = Duration::from_millis(self.random.u64(..2000));
            self.push(after, Item::Restart { slot, life });
        }
    }

    /// One more thing goes wrong.
    pub(super) fn disturb(&mut self) {
        if !self.faults.active {
            return;
        }
        let (low, high) = self.shape.pace_ms;
        let pause = Duration::from_millis(self.random.u64(low..=high));
        self.push(pause, Item::Disturb);
        if self.heals() {
            return;
        }
        let done = match self.random.u8(..40) {
            0..=6 => self.crash_by_role(),
            7..=11 => self.pause_by_role(),
            12..=14 => self.cut_neighbours(),
            15 | 16 => self.cut_some(),
            17 | 18 => self.isolate(),
            19 => self.split(),
            20 | 21 => self.lose_messages(),
            22 => self.slow_disks(),
            23 | 24 => self.change_leader(),
            25 => self.wipe(),
            26 => self.forget(),
            27 | 28 => self.add(),
            32.. => self.damage(),
            _ => self.leave(),
        };
        if let Some(name) = done {
            self.count_fault(name);
        }
    }

    fn count_fault(&mut self, name: &'static str) {
        if self.verbose {
            println!("{:>12} FAULT {name}", self.now.as_micros());
        }
        self.faults.count += 1;
        self.counters.count(name);
    }

    // Who.

    fn running(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|slot| self.nodes[*slot].process.is_some()).collect()
    }

    fn slot_of(&self, store: StoreId) -> Option<usize> {
        self.nodes.iter().position(|node| node.store == store && node.process.is_some())
    }

    fn any(&mut self, slots: &[usize]) -> Option<usize> {
        if slots.is_empty() { None } else { Some(slots[self.random.usize(..slots.len())]) }
    }

    /// The chain of a key that is used much.
    fn busy_chain(&mut self) -> Vec<usize> {
        let hot = self.random.usize(..self.shape.hot_keys + self.shape.plain_keys);
        let view = self.group.newest();
        let active = view.range_of(self.subjects[hot].id).map(|(_, active)| active);
        let stores: Vec<StoreId> =
            active.iter().flat_map(|active| &active.chain).map(|link| link.store).collect();
        stores.into_iter().filter_map(|store| self.slot_of(store)).collect()
    }

    /// The leader, a head, a tail, somebody between, or anybody; and what it is called.
    fn by_role(&mut self) -> Option<(usize, &'static str)> {
        let chain = self.busy_chain();
        match self.random.u8(..6) {
            0 => self.group.leader.map(|(slot, _)| (slot, "leader")),
            1 => chain.first().map(|slot| (*slot, "head")),
            2 => chain.last().map(|slot| (*slot, "tail")),
            3 if chain.len() > 2 => Some((chain[1], "middle")),
            _ => {
                let running = self.running();
                self.any(&running).map(|slot| (slot, "anybody"))
            }
        }
    }

    /// Does everything that this node serves have another living replica that can be read, and the group its majority?
    fn can_be_destroyed(&self, slot: usize) -> bool {
        let view = self.group.newest();
        let store = self.nodes[slot].store;
        let ranges = view.ranges.iter().all(|(epoch, active)| {
            let other = active.serving().any(|link| {
                link.store != store
                    && self
                        .slot_of(link.store)
                        .map(|other| &self.nodes[other])
                        .is_some_and(|n| n.is_alive_as(link.store, link.incarnation) && !n.disk.is_damaged())
            });
            let mine = active.chain.iter().any(|link| link.store == store);
            !mine || (other && view.change_of(*epoch).is_none())
        });
        let voters = &self.group.voters;
        let gone = voters.iter().filter(|voter| self.faults.gone.contains(voter) || **voter == store).count();
        ranges && gone * 2 < voters.len()
    }

    // Crashes and pauses.

    fn crash_by_role(&mut self) -> Option<&'static str> {
        let (slot, role) = self.by_role()?;
        let sync = self.settings.replication.durability == Durability::Sync;
        if self.nodes[slot].process.is_none() || self.running().len() <= 2 {
            return None;
        }
        // Without sync a crash may lose the last copy: seldom.
        if !sync && !self.can_be_destroyed(slot) && self.random.u8(..20) != 0 {
            return None;
        }
        self.crash_and_restart(slot);
        Some(match role {
            "leader" => "crash of the leader",
            "head" => "crash of a head",
            "tail" => "crash of a tail",
            "middle" => "crash of a middle",
            _ => "crash",
        })
    }

    fn crash_and_restart(&mut self, slot: usize) {
        self.crash(slot);
        let life = self.nodes[slot].life;
        let millis = match self.random.u8(..10) {
            0..=3 => self.random.u64(20..500),
            4..=8 => self.random.u64(500..6_000),
            _ => self.random.u64(6_000..40_000),
        };
        self.push(Duration::from_millis(millis), Item::Restart { slot, life });
    }

    fn pause_by_role(&mut self) -> Option<&'static str> {
        let (slot, role) = self.by_role()?;
        let millis = if self.random.bool() { self.random.u64(50..900) } else { self.random.u64(900..5000) };
        self.pause(slot, Duration::from_millis(millis));
        Some(match role {
            "leader" => "pause of the leader",
            "head" => "pause of a head",
            "tail" => "pause of a tail",
            _ => "pause",
        })
    }

    /// Everything is switched off, and comes back.
    pub(super) fn power_cut(&mut self) {
        if !self.faults.active {
            return;
        }
        if self.heals() {
            self.push(PATROL, Item::PowerCut);
            return;
        }
        self.count_fault("power cut");
        for slot in self.running() {
            self.crash(slot);
            let life = self.nodes[slot].life;
            let after = Duration::from_millis(self.random.u64(200..4_000));
            self.push(after, Item::Restart { slot, life });
        }
    }

    // The network.

    fn mend_later(&mut self, longest_ms: u64) {
        let after = Duration::from_millis(self.random.u64(300..longest_ms));
        let fault = self.faults.count;
        self.push(after, Item::Mend { fault });
    }

    /// Cuts, losses and slow disks end, unless something else went wrong meanwhile: then they may last a little longer.
    pub(super) fn mend(&mut self, fault: u64) {
        if fault < self.faults.count && self.faults.active && self.random.bool() {
            let after = Duration::from_millis(self.random.u64(100..3_000));
            let fault = self.faults.count;
            self.push(after, Item::Mend { fault });
            return;
        }
        self.network.mend();
        self.faults.slow_disks = false;
        self.network.loss = if self.faults.active { self.shape.loss } else { 0.0 };
    }

    /// Two neighbours in a chain do not reach each other; both reach everybody else.
    fn cut_neighbours(&mut self) -> Option<&'static str> {
        let chain = self.busy_chain();
        if chain.len() < 2 {
            return None;
        }
        let at = self.random.usize(..chain.len() - 1);
        let (above, below) = (chain[at], chain[at + 1]);
        let ways = self.random.u8(..3);
        if ways != 0 {
            self.network.cut(above, below);
        }
        if ways != 1 {
            self.network.cut(below, above);
        }
        self.mend_later(9_000);
        Some("link of a chain cut")
    }

    /// A few links are cut, one way or both.
    fn cut_some(&mut self) -> Option<&'static str> {
        for _ in 0..self.random.usize(1..6) {
            let running = self.running();
            let (a, b) = (self.any(&running)?, self.any(&running)?);
            self.network.cut(a, b);
            if self.random.bool() {
                self.network.cut(b, a);
            }
        }
        self.mend_later(6_000);
        Some("links cut")
    }

    /// A node is not heard, or does not hear, or both.
    fn isolate(&mut self) -> Option<&'static str> {
        let (slot, _) = self.by_role()?;
        let ways = self.random.u8(..3);
        for other in 0..self.nodes.len() {
            if ways != 0 {
                self.network.cut(slot, other);
            }
            if ways != 1 {
                self.network.cut(other, slot);
            }
        }
        self.mend_later(6_000);
        Some(if ways == 2 { "node isolated" } else { "node half isolated" })
    }

    /// Two sides do not reach each other.
    fn split(&mut self) -> Option<&'static str> {
        let far: Vec<bool> = self.nodes.iter().map(|_| self.random.bool()).collect();
        for a in 0..far.len() {
            for b in 0..far.len() {
                if far[a] != far[b] {
                    self.network.cut(a, b);
                }
            }
        }
        self.mend_later(8_000);
        Some("partition")
    }

    fn lose_messages(&mut self) -> Option<&'static str> {
        self.network.loss = self.random.f64() * 0.3;
        self.mend_later(5_000);
        Some("messages lost")
    }

    fn slow_disks(&mut self) -> Option<&'static str> {
        self.faults.slow_disks = true;
        self.mend_later(5_000);
        Some("slow disks")
    }

    // The group.

    fn change_leader(&mut self) -> Option<&'static str> {
        self.group.leader?;
        self.end_term();
        Some("leader deposed")
    }

    /// Something happens in the middle of a change of chains.
    pub(super) fn disturb_proposal(&mut self, leader: usize, command: &Command) {
        let Command::Prepare { children, .. } = command else { return };
        if !self.faults.active || self.heals() || self.random.f64() >= self.shape.at_prepare {
            return;
        }
        let links: Vec<StoreId> =
            children.iter().flat_map(|(_, chain)| chain).map(|link| link.store).collect();
        let slots: Vec<usize> = links.into_iter().filter_map(|store| self.slot_of(store)).collect();
        let after = Duration::from_micros(self.random.u64(..60_000));
        let chosen = self.any(&slots);
        let pause = Duration::from_millis(self.random.u64(100..3000));
        match (self.random.u8(..4), chosen) {
            (0 | 1, _) => {
                let term = self.group.term;
                self.push(after, Item::Depose { term });
                self.count_fault("leader deposed in a change");
            }
            (2, _) => {
                self.pause(leader, pause);
                self.count_fault("leader paused in a change");
            }
            (_, Some(slot)) => {
                self.pause(slot, pause);
                self.count_fault("replica paused in a change");
            }
            (_, None) => {}
        }
    }

    /// Is there a range whose only serving replica has a record that it cannot read?
    pub(super) fn is_beyond_healing(&self) -> bool {
        self.group.newest().ranges.values().any(|active| {
            let serving: Vec<StoreId> = active.serving().map(|link| link.store).collect();
            let [only] = serving[..] else { return false };
            let node = self.nodes.iter().find(|node| node.store == only);
            node.is_some_and(|node| node.disk.seen.engine.damaged().any(|(id, _)| active.range.contains(*id)))
        })
    }

    /// Is there a record which is to be fetched again? Nothing else goes wrong meanwhile: a range whose other replicas go
    /// then is left with a copy that nobody can be filled from.
    fn heals(&self) -> bool {
        self.nodes.iter().any(|node| node.process.is_some() && node.disk.is_damaged())
    }

    /// A record cannot be read any more at one replica, while everything else is well. Half of the time it is noticed at
    /// once, else when it is used, or when everything is read.
    fn damage(&mut self) -> Option<&'static str> {
        let running = self.running();
        let slot = self.any(&running)?;
        let busy = self.shape.hot_keys + self.shape.plain_keys;
        let among = if self.random.bool() || self.saboteur.does(Sabotage::ServesDamage) {
            busy
        } else {
            self.subjects.len()
        };
        let subject = self.subjects[self.random.usize(..among)].clone();
        let store = self.nodes[slot].store;
        let (_, active) = self.group.newest().range_of(subject.id)?;
        let serves = active.serving().any(|link| link.store == store);
        let calm = self.network.is_whole() && self.network.loss <= self.shape.loss;
        let calm = calm && self.nodes.iter().all(|node| node.paused_until.is_none());
        if !serves
            || !calm
            || !self.can_be_destroyed(slot)
            || !self.nodes[slot].disk.damage(subject.id, &subject.key)
        {
            return None;
        }
        let others: Vec<usize> = active
            .serving()
            .filter(|link| link.store != store)
            .filter_map(|link| self.slot_of(link.store))
            .collect();
        let sync = self.settings.replication.durability == Durability::Sync;
        if sync && self.faults.count >= COMMON_FIRST && self.random.u8(..3) == 0 {
            // Who comes back is filled anew by the only one who still serves, and cannot be.
            for slot in others {
                self.crash_and_restart(slot);
            }
            self.notice_damage(slot, subject.id, &subject.key);
            return Some("record damaged at the last replica");
        }
        if self.random.bool() {
            self.notice_damage(slot, subject.id, &subject.key);
        }
        Some("record damaged")
    }

    /// Everything is read everywhere, again and again: what is damaged is noticed.
    pub(super) fn patrol(&mut self) {
        self.push(PATROL, Item::Patrol);
        for slot in 0..self.nodes.len() {
            let damaged: Vec<(Id, Key)> = self.nodes[slot].disk.seen.engine.damaged().cloned().collect();
            if self.nodes[slot].is_awake() {
                for (id, key) in damaged {
                    self.notice_damage(slot, id, &key);
                }
            }
        }
    }

    // Members.

    fn staying(&self) -> usize {
        self.group.newest().members.values().filter(|member| !member.leaving).count()
    }

    fn add(&mut self) -> Option<&'static str> {
        let vacant: Vec<usize> =
            (0..self.nodes.len()).filter(|slot| self.nodes[*slot].state == State::Vacant).collect();
        let slot = self.any(&vacant)?;
        self.join(slot);
        Some("member added")
    }

    fn leave(&mut self) -> Option<&'static str> {
        if self.staying() <= MEMBERS_MIN {
            return None;
        }
        let running = self.running();
        let slot = self.any(&running)?;
        let command = Command::Leave(self.nodes[slot].store);
        self.leader_proposes(command, Origin::World).then_some("member leaves")
    }

    /// A disk is replaced: the node comes back as another store at the same address.
    fn wipe(&mut self) -> Option<&'static str> {
        let running = self.running();
        let slot = self.any(&running)?;
        if !self.can_be_destroyed(slot) {
            return None;
        }
        self.faults.gone.insert(self.nodes[slot].store);
        self.crash(slot);
        self.join(slot);
        Some("disk wiped")
    }

    /// A member is forgotten, dead or alive.
    fn forget(&mut self) -> Option<&'static str> {
        let there: Vec<usize> = (0..self.nodes.len())
            .filter(|slot| matches!(self.nodes[*slot].state, State::Running | State::Crashed))
            .collect();
        let slot = self.any(&there)?;
        if self.staying() <= MEMBERS_MIN || !self.can_be_destroyed(slot) {
            return None;
        }
        let store = self.nodes[slot].store;
        if !self.leader_proposes(Command::Forget(store), Origin::World) {
            return None;
        }
        self.faults.gone.insert(store);
        Some("member forgotten")
    }
}
