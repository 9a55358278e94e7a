//! Timers and the time that passes.

use std::time::Duration;

use chordata_protocol::ring::{Event, Timer};
use chordata_protocol::{Address, CallError, Time};

use crate::report::Chatter;
use crate::words;
use crate::world::{CallId, World};

/// Messages after which a script is taken for one that never ends.
const MESSAGES_MAX: usize = 100_000;

enum Due {
    Timer(Address, Timer),
    TimeOut(CallId),
}

impl World {
    pub(crate) fn set_timer(&mut self, address: &Address, timer: Timer, after: Duration) {
        let due = self.now + after;
        if let Some(node) = self.nodes.get_mut(address) {
            node.timers.insert(timer, due);
        }
        // What happens again and again anyway is not worth a line, unless it is to happen sooner.
        let when = if after.is_zero() {
            "at once"
        } else if after < self.settings.stabilize_every / 2 {
            "soon"
        } else {
            "later"
        };
        match timer {
            Timer::Finger | Timer::Refresh | Timer::Renumber => {}
            Timer::Stabilize if when == "later" => {}
            Timer::Stabilize | Timer::HandOver | Timer::Join | Timer::Depart => {
                self.report.effect(format!("timer {}: {when}", words::timer(timer)));
            }
        }
    }

    /// Lets a timer of a node run out now.
    pub(crate) fn fire(&mut self, address: &Address, timer: Timer) {
        if let Some(node) = self.nodes.get_mut(address) {
            node.timers.remove(&timer);
        }
        self.event(address, Event::Timer(timer), &format!("timer {}", words::timer(timer)));
    }

    /// Delivers messages, the oldest first, until none is in flight.
    pub(crate) fn settle(&mut self) {
        for _ in 0..MESSAGES_MAX {
            let Some(message) = self.flight.pop_front() else { return };
            self.deliver(message);
        }
        panic!("{MESSAGES_MAX} messages and no end");
    }

    /// Lets time pass: messages take none, timers run out when they are due, lost questions time out.
    pub(crate) fn run(&mut self, duration: Duration) {
        let until = self.now + duration;
        loop {
            self.settle();
            let Some((at, due)) = self.next_due().filter(|(at, _)| *at <= until) else { break };
            self.now = self.now.max(at);
            match due {
                Due::Timer(address, timer) => self.fire(&address, timer),
                Due::TimeOut(call) => self.come_back(&call, Err(CallError::TimedOut)),
            }
        }
        self.now = until;
    }

    fn next_due(&self) -> Option<(Time, Due)> {
        let timers = self.nodes.iter().flat_map(|(address, node)| {
            node.timers.iter().map(|(timer, at)| (*at, Due::Timer(address.clone(), *timer)))
        });
        let calls = self.calls.iter().map(|(id, call)| {
            let at = call.asked_at + self.settings.call_timeout;
            (at, Due::TimeOut(id.clone()))
        });
        timers.chain(calls).min_by_key(|(at, _)| *at)
    }

    /// Every member stabilizes once, in the order of the ids, and all messages are delivered.
    pub(crate) fn round(&mut self) {
        let members: Vec<Address> =
            self.members().iter().map(|node| node.ring.me().address.clone()).collect();
        for address in members {
            if self.nodes.get(&address).is_some_and(|node| node.ring.is_member()) {
                self.fire(&address, Timer::Stabilize);
                self.settle();
            }
        }
    }

    /// With another loudness.
    pub(crate) fn with_chatter<T>(&mut self, chatter: Chatter, act: impl FnOnce(&mut World) -> T) -> T {
        let before = self.report.chatter;
        if before != Chatter::Nothing {
            self.report.chatter = chatter;
        }
        let result = act(self);
        self.report.chatter = before;
        result
    }
}
