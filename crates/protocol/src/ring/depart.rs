//! Departure: hand everything to the successor, tell both neighbours, be out of the ring.
//!
//! The neighbours treat the leaver as they would a dead node (Zave's model has no other way out), only at once: the
//! successor takes the leaver's predecessor, the predecessor takes the leaver's list (else a few neighbours that leave
//! together would look like as many crashes, and empty its own). A node whose successor leaves
//! at the same time waits for it; if that takes too long, the departure fails and the node stays what it was.

use super::calls::Task;
use super::{Change, Phase, Ring, Timer};
use crate::message::{Range, Request, Response};
use crate::peer::{Peer, Successor};

/// A departure under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Leaving {
    /// Neighbours that were told and have not answered; none: nobody was told yet.
    told: Option<u8>,
}

impl Ring {
    pub(super) fn depart(&mut self) {
        match self.phase {
            Phase::Member if self.is_alone() => {
                self.changed(Change::DepartFailed(
                    "this is the last node of the ring, its keys would have nowhere to go: stop it instead",
                ));
            }
            Phase::Member => {
                self.phase = Phase::Leaving(Leaving::default());
                self.set_timer(Timer::Depart, self.settings.depart_within);
                self.proceed_departure();
            }
            Phase::Leaving(_) | Phase::Left => {}
            Phase::Outside | Phase::Joining(_) => {
                self.changed(Change::DepartFailed("this node is not in the ring"));
            }
        }
    }

    pub(super) fn proceed_departure(&mut self) {
        let Phase::Leaving(Leaving { told: None }) = self.phase else { return };
        if self.ownership.outgoing.is_some() {
            return;
        }
        let Some(head) = self.successors.head().node().cloned() else { return self.retry_departure() };
        if self.is_alone() {
            let reason = "every other node has died: this is the last one of the ring";
            return self.stay(reason);
        }
        if head.address == self.me.address {
            // Somebody joined just now, and is not this node's successor yet.
            self.stabilize_soon();
            return self.retry_departure();
        }
        match self.serving() {
            Some(Range { low, high }) => self.start_handover(head, Range { low, high }),
            None => self.tell_neighbours(&head),
        }
    }

    fn is_alone(&self) -> bool {
        self.successors.head().node() == Some(&self.me) && self.predecessor == self.me
    }

    fn stay(&mut self, reason: &'static str) {
        self.phase = Phase::Member;
        self.changed(Change::DepartFailed(reason));
        self.reconcile();
        self.check_membership();
    }

    fn retry_departure(&mut self) {
        let pause = self.jitter(self.settings.retry_after);
        self.set_timer(Timer::HandOver, pause);
    }

    fn tell_neighbours(&mut self, head: &Peer) {
        let predecessor = self.predecessor.clone();
        let request = Request::Departing {
            leaver: self.me.clone(),
            predecessor: predecessor.clone(),
            successors: self.successors.entries().to_vec(),
        };
        let mut neighbours = vec![head.clone()];
        if predecessor != *head && predecessor.address != self.me.address {
            neighbours.push(predecessor);
        }
        let told = u8::try_from(neighbours.len()).unwrap_or(u8::MAX);
        self.phase = Phase::Leaving(Leaving { told: Some(told) });
        for neighbour in neighbours {
            self.call(&neighbour, request.clone(), Task::Departing);
        }
    }

    /// Whether or not a neighbour answered: it would notice by itself.
    pub(super) fn departing_answered(&mut self) {
        let Phase::Leaving(Leaving { told: Some(told) }) = &mut self.phase else { return };
        *told = told.saturating_sub(1);
        if *told == 0 {
            self.phase = Phase::Left;
            self.stepping = false;
            self.changed(Change::Left);
        }
    }

    pub(super) fn departure_overdue(&mut self) {
        let Phase::Leaving(Leaving { told: None }) = self.phase else { return };
        let serves_nothing = self.serving().is_none();
        if serves_nothing || !self.abandon_unless_granting() {
            // The successor may have the keys already: only going on is right.
            self.set_timer(Timer::Depart, self.settings.call_timeout);
            return;
        }
        self.stay("the successor did not take the keys in time (is it leaving as well?): the node stays in the ring");
    }

    pub(super) fn neighbour_departs(
        &mut self,
        leaver: &Peer,
        predecessor: Peer,
        successors: Vec<Successor>,
    ) -> Response {
        if leaver.address == self.me.address {
            return Response::Noted;
        }
        self.known.forget(&leaver.address);
        self.ownership.forget_handed(leaver);
        if let Some(substitute) = self.successor_before(leaver.id) {
            self.fingers.replace(leaver, &substitute);
        }
        if self.predecessor == *leaver {
            self.set_predecessor(predecessor);
        }
        if self.successors.nodes().any(|(_, peer)| peer == leaver) {
            self.drop_departed(leaver, successors);
        }
        self.check_membership();
        Response::Noted
    }
}
