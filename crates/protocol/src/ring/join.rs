//! Join: find p with `between(p, me, p.successors[0])`, take its whole list; the predecessor is p.
//!
//! The place was granted by its owner, which named p; if the ring has moved on since, the search goes on from there,
//! a bounded number of steps. Until it has succeeded the node answers every ring question with "not a member", so
//! that nobody takes what is left of an earlier life for a live node.

use super::calls::Task;
use super::{Change, Phase, Ring, SuccessorList, Timer};
use crate::id::between;
use crate::message::{CallError, Request, Response};
use crate::peer::{Peer, Successor};
use crate::time::Time;

/// Steps after which the node asks for a place anew.
const STEPS_MAX: u32 = 64;

/// A search for the predecessor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Joining {
    candidate: Peer,
    steps: u32,
    since: Time,
}

impl Ring {
    pub(super) fn start_join(&mut self, candidate: Peer) {
        assert!(
            matches!(self.phase, Phase::Outside | Phase::Joining(_)),
            "a node joins before it is in a ring"
        );
        self.phase = Phase::Joining(Joining { candidate, steps: 0, since: self.now });
        self.ask_join();
    }

    pub(super) fn ask_join(&mut self) {
        let Phase::Joining(joining) = &mut self.phase else { return };
        joining.steps += 1;
        // A place is kept for a while only: who comes later must ask again.
        let late = self.now.since(joining.since) * 2 > self.settings.grant_lasts;
        if late || joining.steps > STEPS_MAX || joining.candidate.address == self.me.address {
            self.phase = Phase::Outside;
            self.changed(Change::JoinFailed);
            return;
        }
        let candidate = joining.candidate.clone();
        self.call(&candidate, Request::Neighbours, Task::Join);
    }

    pub(super) fn join_answered(&mut self, to: &Peer, result: Result<Response, CallError>) {
        let Phase::Joining(joining) = &mut self.phase else { return };
        if joining.candidate != *to {
            return;
        }
        match result {
            Ok(Response::Neighbours { me: id, predecessor, successors }) => {
                self.consider_predecessor(Peer::new(id, to.address.clone()), predecessor, successors);
            }
            Ok(Response::Busy) => {
                let pause = self.jitter(self.settings.retry_after);
                self.set_timer(Timer::Join, pause);
            }
            Ok(_) | Err(_) => {
                self.phase = Phase::Outside;
                self.changed(Change::JoinFailed);
            }
        }
    }

    fn consider_predecessor(&mut self, asked: Peer, before: Peer, list: Vec<Successor>) {
        let head = list.first().cloned().unwrap_or(Successor::Node(asked.clone()));
        if asked.id != self.me.id && between(asked.id, self.me.id, head.id()) {
            self.enter(asked, list);
        } else if head.id() == self.me.id {
            // The ring still has this node from its earlier life; it will notice that it is gone.
            let pause = self.jitter(self.settings.stabilize_every);
            self.set_timer(Timer::Join, pause);
        } else {
            let Phase::Joining(joining) = &mut self.phase else { return };
            joining.candidate = match head {
                Successor::Node(next) if between(asked.id, next.id, self.me.id) => next,
                Successor::Node(_) | Successor::Pad(_) => before,
            };
            self.ask_join();
        }
    }

    fn enter(&mut self, predecessor: Peer, list: Vec<Successor>) {
        self.successors = SuccessorList::adopted(self.settings.space, list, self.settings.successors);
        if self.successors.is_dead() {
            self.successors = SuccessorList::behind(
                self.settings.space,
                &predecessor,
                Vec::new(),
                self.settings.successors,
            );
        }
        self.learn(&predecessor);
        let nodes: Vec<Peer> = self.successors.nodes().map(|(_, peer)| peer.clone()).collect();
        for peer in &nodes {
            self.learn(peer);
        }
        self.predecessor = predecessor;
        self.become_member();
    }
}
