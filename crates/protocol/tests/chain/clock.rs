//! Time, and what happens in it by itself: heartbeats, ticks, timeouts; and everything that is possible at one moment.

use std::time::Duration;

use chordata_protocol::chain::event::Occasion;
use chordata_protocol::chain::{Event, Timer};
use chordata_protocol::{Address, CallError, Durability, Time};

use crate::report::Chatter;
use crate::world::{CallId, Message, World};

/// More steps at one moment than this are no reaction but a circle.
const STEPS_MAX: usize = 20_000;
/// How often a disk is written under `interval`.
const INTERVAL: Duration = Duration::from_secs(1);

impl World {
    /// Does something with so much being printed.
    pub(crate) fn with_chatter<T>(&mut self, chatter: Chatter, what: impl FnOnce(&mut World) -> T) -> T {
        let before = std::mem::replace(&mut self.report.chatter, chatter);
        let result = what(self);
        self.report.chatter = before;
        result
    }

    /// Lets everything that is possible at this moment happen, in a fixed order.
    pub(crate) fn drain(&mut self) {
        for _ in 0..STEPS_MAX {
            if !self.step() {
                return;
            }
        }
        panic!("this does not come to rest: {:?}", self.flight.front());
    }

    /// The first thing that is possible.
    fn step(&mut self) -> bool {
        if self.depose() || self.tell_leader() {
            return true;
        }
        if let Some(place) = self.flight.iter().position(|message| self.may_arrive(message)) {
            if let Some(message) = self.flight.remove(place) {
                self.deliver(message);
            }
            return true;
        }
        if self.settings.replication.durability == Durability::Sync {
            let waiting = |address: &Address| !self.nodes[address].slow && self.is_unsynced(address);
            if let Some(address) = self.running().into_iter().find(waiting) {
                self.persist(&address);
                return true;
            }
        }
        if self.running().iter().any(|address| self.confirm(address)) {
            return true;
        }
        (!self.group.waits && self.is_proposed() && self.agree(true)) || self.change_voters()
    }

    fn may_arrive(&self, message: &Message) -> bool {
        let held = self.is_held(message);
        let stands = self.life(&message.to).is_some_and(|life| life.paused);
        !held && !stands
    }

    pub(crate) fn is_held(&self, message: &Message) -> bool {
        self.held.iter().any(|(from, to, kind)| {
            message.from == *from
                && message.to == *to
                && kind.as_ref().is_none_or(|kind| message.name == kind)
        })
    }

    /// A heartbeat of every node, a look around by the leader, and everything that follows.
    pub(crate) fn settle(&mut self) {
        self.drain();
        for address in self.running() {
            self.beat(&address);
        }
        self.drain();
        self.tick();
        self.drain();
    }

    pub(crate) fn beat(&mut self, address: &Address) {
        if self.is_running(address) {
            self.event(address, Event::Timer(Timer::Beat), "sends a heartbeat");
        }
    }

    pub(crate) fn tick(&mut self) {
        let leaders: Vec<Address> =
            self.running().into_iter().filter(|address| self.leads(address)).collect();
        for leader in leaders {
            self.occasion(&leader, Occasion::Tick, "looks around");
        }
    }

    /// Time passes.
    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        self.drain();
        while let Some(next) = self.next_moment().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.happen();
            self.drain();
        }
        self.now = end;
        self.happen();
        self.drain();
    }

    /// When something is due next.
    fn next_moment(&self) -> Option<Time> {
        let running = self.living().into_iter().filter(|(_, life)| !life.paused);
        let timers = running.flat_map(|(_, life)| [life.beat_at, life.tick_at]).flatten();
        let calls = self.calls.iter().filter(|(call, _)| self.is_running(&call.from));
        let timeouts = calls.map(|(_, call)| call.asked_at + self.settings.call_timeout);
        let disk =
            (self.settings.replication.durability == Durability::Interval).then(|| self.next_interval());
        timers.chain(timeouts).chain(disk).filter(|at| *at > self.now || self.is_due(*at)).min()
    }

    /// What was due while its process stood still is due now.
    fn is_due(&self, at: Time) -> bool {
        at <= self.now
    }

    fn next_interval(&self) -> Time {
        let (now, every) = (self.now.as_micros(), 1_000_000 * INTERVAL.as_secs());
        Time::from_micros((now / every + 1) * every)
    }

    /// Everything that is due now.
    fn happen(&mut self) {
        let now = self.now;
        let all: Vec<Address> = self.nodes.keys().cloned().collect();
        for address in all {
            self.observe(&address);
        }
        let late: Vec<CallId> = self
            .calls
            .iter()
            .filter(|(id, call)| {
                call.asked_at + self.settings.call_timeout <= now && self.is_running(&id.from)
            })
            .map(|(id, _)| id.clone())
            .collect();
        for call in late {
            self.time_out(&call);
        }
        if self.settings.replication.durability == Durability::Interval
            && now.as_micros().is_multiple_of(1_000_000 * INTERVAL.as_secs())
        {
            let quick = |address: &Address| !self.nodes[address].slow;
            let written: Vec<Address> = self.running().into_iter().filter(quick).collect();
            written.iter().for_each(|address| self.persist(address));
        }
        for address in self.running() {
            let due = |at: Option<Time>| at.is_some_and(|at| at <= now);
            let Some(life) = self.life(&address) else { continue };
            let (beats, ticks) = (due(life.beat_at), due(life.tick_at));
            if beats {
                self.beat(&address);
            }
            if ticks && self.leads(&address) {
                self.occasion(&address, Occasion::Tick, "looks around");
            } else if ticks && let Some(life) = self.life_mut(&address) {
                life.tick_at = None;
            }
        }
    }

    /// A question is not waited for any longer. Its message is lost, unless the script holds it back.
    pub(crate) fn time_out(&mut self, call: &CallId) {
        let flight = std::mem::take(&mut self.flight);
        self.flight = flight
            .into_iter()
            .filter(|message| message.call.as_ref() != Some(call) || self.is_held(message))
            .collect();
        self.come_back(call, Err(CallError::TimedOut));
    }

    /// Until every chain is full, and nothing has been agreed on for a while.
    pub(crate) fn run_until_quiet(&mut self) {
        const QUIET: u32 = 12;
        let mut quiet = 0;
        for _ in 0..1200 {
            let before = self.agreed().map(|view| view.index);
            self.run_for(Duration::from_millis(50));
            let same = self.agreed().map(|view| view.index) == before;
            quiet = if same { quiet + 1 } else { 0 };
            if quiet == QUIET {
                return;
            }
        }
        panic!("the cluster does not come to rest");
    }
}
