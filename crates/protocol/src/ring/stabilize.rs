//! Stabilize: keep the successor list right (Zave 2017, section 5).
//!
//! ```text
//! A: ask h = successors[0] for its predecessor n and its list
//!      no answer    drop h, pad the tail, go to A
//!      busy         end; again after a random delay
//!      answer       successors := [h] + h.list minus its last; if between(me, n, h) go to B
//! B: ask n for its list; answer: successors := [n] + n.list minus its last
//! then B once more with the nearest remembered node between me and successors[0] that answers pings
//! always: notify successors[0]
//! ```
//! When every entry is dead the node is a ring of one, and tries the addresses that it remembers.

use std::time::Duration;

use super::calls::Task;
use super::{Change, Phase, Ring, SuccessorList, Timer};
use crate::id::between;
use crate::message::{CallError, Request, Response};
use crate::peer::{Peer, Successor};

/// Remembered addresses that are pinged in one round.
const PROBES_PER_ROUND: usize = 4;

impl Ring {
    pub(super) fn stabilize(&mut self) {
        if !self.is_member() {
            return;
        }
        let pause = self.settings.stabilize_every.mul_f64(0.75 + self.random.f64() / 2.0);
        self.set_timer(Timer::Stabilize, pause);
        self.drop_stale_transfer();
        self.reconcile();
        if !self.stepping {
            self.probe_remembered();
            self.ask_head();
        }
    }

    pub(super) fn stabilize_soon(&mut self) {
        self.set_timer(Timer::Stabilize, Duration::ZERO);
    }

    fn probe_remembered(&mut self) {
        let (space, me, head) = (self.settings.space, self.me.id, self.successors.head().id());
        for peer in self.known.due(space, me, head, self.now, PROBES_PER_ROUND) {
            self.call(&peer, Request::Ping, Task::Probe);
        }
    }

    fn ask_head(&mut self) {
        self.stepping = true;
        while let Successor::Pad(_) = self.successors.head() {
            self.drop_head();
        }
        if let Some(head) = self.successors.head().node().cloned() {
            self.call(&head, Request::Neighbours, Task::Head);
        }
    }

    fn drop_head(&mut self) {
        self.successors.drop_head(self.settings.space);
        if self.successors.is_dead() {
            self.be_alone();
        }
        self.head_changed();
    }

    /// Drops a node that said that it leaves; if it was the successor, its list takes the place of this node's.
    pub(super) fn drop_departed(&mut self, leaver: &Peer, list: Vec<Successor>) {
        let before = self.successors.head().clone();
        if before.node() == Some(leaver) {
            let taken = SuccessorList::adopted(self.settings.space, list, self.settings.successors);
            if !taken.is_dead() {
                self.successors = taken;
            }
        }
        self.successors.drop_node(leaver, self.settings.space);
        if self.successors.is_dead() {
            self.be_alone();
        }
        if *self.successors.head() != before {
            self.head_changed();
        }
        self.stabilize_soon();
    }

    /// Nobody is left: a ring of one, until a remembered address answers.
    fn be_alone(&mut self) {
        self.successors = SuccessorList::alone(&self.me, self.settings.successors);
        self.changed(Change::Alone);
        self.wait_before_claiming();
        self.known.hurry(self.now);
        self.set_predecessor(self.me.clone());
    }

    fn head_changed(&mut self) {
        if let Some(head) = self.successors.head().node().cloned() {
            self.changed(Change::Successor(head));
            self.check_membership();
        }
    }

    fn adopt(&mut self, head: &Peer, list: Vec<Successor>) {
        let before = self.successors.head().clone();
        self.successors = SuccessorList::behind(self.settings.space, head, list, self.settings.successors);
        let nodes: Vec<Peer> = self.successors.nodes().map(|(_, peer)| peer.clone()).collect();
        for peer in &nodes {
            self.learn(peer);
        }
        self.known.answered(&head.address, head.id, self.now);
        if *self.successors.head() != before {
            self.head_changed();
        }
    }

    pub(super) fn head_answered(&mut self, head: &Peer, result: Result<Response, CallError>) {
        if !self.is_member() {
            return;
        }
        if self.successors.head().node() != Some(head) {
            // It left while the question was out, and was dropped.
            self.stepping = false;
            self.stabilize_soon();
            return;
        }
        match result {
            Ok(Response::Neighbours { me, predecessor, successors }) if me == head.id => {
                self.adopt(head, successors);
                self.learn(&predecessor);
                if between(self.me.id, predecessor.id, head.id) && predecessor.address != self.me.address {
                    self.call(&predecessor, Request::Neighbours, Task::Closer);
                } else {
                    self.try_remembered();
                }
            }
            Ok(Response::Busy) => {
                self.stepping = false;
                let pause = self.jitter(self.settings.retry_after);
                self.set_timer(Timer::Stabilize, pause);
            }
            // Somebody else answers at its address, it is not in the ring, or nobody answers.
            Ok(_) | Err(_) => {
                self.drop_head();
                self.ask_head();
            }
        }
    }

    fn try_remembered(&mut self) {
        let (space, within) = (self.settings.space, self.settings.stabilize_every * 4);
        let head = self.successors.head().id();
        match self.known.nearest_answering(space, self.me.id, head, self.now, within) {
            Some(peer) => self.call(&peer, Request::Neighbours, Task::Remembered),
            None => self.finish_step(),
        }
    }

    pub(super) fn closer_answered(&mut self, peer: &Peer, task: Task, result: Result<Response, CallError>) {
        if !self.is_member() {
            return;
        }
        match result {
            Ok(Response::Neighbours { me, successors, .. })
                if me == peer.id && between(self.me.id, me, self.successors.head().id()) =>
            {
                self.adopt(peer, successors);
            }
            // Silence was noted already.
            Ok(Response::Busy) | Err(_) => {}
            Ok(_) => {
                self.known.silent(&peer.address, self.now, self.settings.stabilize_every);
            }
        }
        if task == Task::Closer { self.try_remembered() } else { self.finish_step() }
    }

    fn finish_step(&mut self) {
        self.stepping = false;
        if let Some(head) = self.successors.head().node().cloned() {
            self.call(&head, Request::Notify(self.me.clone()), Task::Notified);
        }
    }

    pub(super) fn notify_answered(&mut self, head: &Peer, result: Result<Response, CallError>) {
        if let (Phase::Member, Ok(Response::Notified(serves_from))) = (&self.phase, result) {
            self.consider_claim(head, serves_from);
        }
    }
}
