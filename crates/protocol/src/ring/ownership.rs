//! Who serves which keys: `(boundary, me]`, kept apart from the predecessor pointer.
//!
//! The predecessor says who is next to this node; the *boundary* is the node up to which others serve. They differ
//! while keys are on their way, and [`Ring::reconcile`] makes them equal again:
//!
//! | boundary b, predecessor p | meaning | what is done |
//! |---|---|---|
//! | b = p | nothing is on its way | nothing |
//! | p in (b, me) | p joined | its keys `(b, p]` are handed over |
//! | b in (p, me) | b seems to be dead | b is pinged: dead, and `(p, b]` is served from now on; alive, and it is the predecessor |
//! | nothing served | this node joined | its successor hands keys over; if nobody serves them, they are claimed |
//!
//! *Claims.* A node that waits for keys from a successor that dies would wait for ever. Its next successor then serves
//! from this node's own id on, and says so when it is notified; if also the predecessor points here, nobody can be
//! between, and the node serves its arc. If nobody on the whole ring serves it, it does so too.

use super::calls::{Task, is_alive};
use super::handover::{Incoming, Outgoing};
use super::{Change, Phase, Ring};
use crate::id::{Id, between};
use crate::key::{Key, Operation, Outcome, Version};
use crate::message::{CallError, Candidate, HandoverId, Policy, Range, Request, Response, Why};
use crate::peer::{Peer, Successor};
use crate::time::Time;

/// Notifications after which a node without keys asks the whole ring for who has them.
const ROUNDS_WITHOUT_KEYS_MAX: u8 = 10;
/// Hand-overs that are remembered, for sending requests after the keys.
const HANDED_MAX: usize = 8;

/// May a request for an identifier be carried out here and now?
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Admit {
    /// Yes.
    Serve,
    /// Not yet: the keys are on their way. Ask again when what this node serves has changed.
    Wait,
    /// No: ask these.
    Elsewhere(Vec<Candidate>),
    /// No: this node is not in the ring.
    NotMember,
}

/// What a node serves, and what is on its way.
#[derive(Clone, Debug, Default)]
pub(super) struct Ownership {
    /// Up to whom others serve; none: this node serves nothing.
    pub(super) boundary: Option<Peer>,
    pub(super) outgoing: Option<Outgoing>,
    pub(super) incoming: Option<Incoming>,
    /// The number of the hand-over that this node began last; none yet: 0.
    pub(super) last_nonce: u64,
    /// Hand-overs that brought keys here, the latest last.
    pub(super) taken: Vec<HandoverId>,
    /// Is the boundary being pinged?
    pinging: bool,
    rounds_without_keys: u8,
    /// To whom what was given lately: where to send requests that come too late.
    handed: Vec<(Range, Peer, Time)>,
    pub(super) epoch: u64,
    sequence: u64,
}

impl Ownership {
    pub(super) fn range(&self, me: Id) -> Option<Range> {
        self.boundary.as_ref().map(|boundary| Range { low: boundary.id, high: me })
    }

    pub(super) fn is_handing_over(&self) -> bool {
        self.outgoing.is_some()
    }

    pub(super) fn serve_everything(&mut self, me: &Peer) {
        self.boundary = Some(me.clone());
        self.epoch += 1;
    }

    /// The hand-over with this number, if it is still under way: answers to an earlier one are not for it.
    pub(super) fn outgoing_named(&mut self, nonce: u64) -> Option<&mut Outgoing> {
        self.outgoing.as_mut().filter(|outgoing| outgoing.nonce() == nonce)
    }

    pub(super) fn remember_taken(&mut self, handover: HandoverId) {
        if self.taken.len() == HANDED_MAX {
            self.taken.remove(0);
        }
        self.taken.push(handover);
    }

    pub(super) fn remember_handed(&mut self, range: Range, to: Peer, until: Time) {
        if self.handed.len() == HANDED_MAX {
            self.handed.remove(0);
        }
        self.handed.push((range, to, until));
    }

    /// Who does not answer, or has left, is no address for requests.
    pub(super) fn forget_handed(&mut self, gone: &Peer) {
        self.handed.retain(|(_, peer, _)| peer != gone);
    }

    fn handed_to(&self, id: Id, now: Time) -> Option<&Peer> {
        let fresh = self.handed.iter().rev().filter(|(_, _, until)| *until > now);
        fresh
            .map(|(range, peer, _)| (range, peer))
            .find(|(range, _)| range.contains(id))
            .map(|(_, peer)| peer)
    }
}

impl Ring {
    /// May a request for this identifier be carried out here and now?
    pub fn admit(&self, id: Id) -> Admit {
        assert!(self.settings.owns_keys, "chains decide who serves");
        if let Phase::Outside | Phase::Joining(_) = self.phase {
            return Admit::NotMember;
        }
        if self.serves(id) {
            Admit::Serve
        } else if self.serving().is_some_and(|range| range.contains(id)) {
            Admit::Wait
        } else {
            Admit::Elsewhere(self.next_hops(id, Policy::Finger))
        }
    }

    /// Would a request for this identifier be carried out here and now?
    pub fn serves(&self, id: Id) -> bool {
        let withheld = self.ownership.outgoing.as_ref().is_some_and(|out| out.withholds(id));
        !withheld && self.serving().is_some_and(|range| range.contains(id))
    }

    /// Decides a write that was admitted: which version it gets, or that it changes nothing. The caller stores it
    /// before anything else happens to this node.
    pub fn decide(&mut self, key: &Key, operation: &Operation, current: Option<Version>) -> Outcome {
        let outcome = match operation {
            Operation::CompareAndSwap { expected, .. } if *expected != current => Outcome::Conflict(current),
            Operation::Put { .. } | Operation::CompareAndSwap { value: Some(_), .. } => {
                Outcome::Written(self.next_version())
            }
            Operation::Delete | Operation::CompareAndSwap { value: None, .. } => Outcome::Deleted(current),
        };
        let is_written = !matches!(outcome, Outcome::Conflict(_) | Outcome::Deleted(None));
        if let Some(outgoing) = self.ownership.outgoing.as_mut().filter(|_| is_written) {
            outgoing.written(key, key.id(self.settings.space));
        }
        outcome
    }

    fn next_version(&mut self) -> Version {
        self.ownership.sequence += 1;
        Version { epoch: self.ownership.epoch, sequence: self.ownership.sequence }
    }

    /// The node to which an identifier was handed over lately, if it is not served here any more.
    pub(super) fn handed_over(&self, id: Id) -> Option<Candidate> {
        let peer = self.ownership.handed_to(id, self.now)?;
        Some(Candidate { peer: peer.clone(), why: Why::HandedOver })
    }

    /// Makes boundary and predecessor equal; see the table above.
    pub(super) fn reconcile(&mut self) {
        let ownership = &self.ownership;
        let moving = ownership.outgoing.is_some() || ownership.incoming.is_some() || ownership.pinging;
        if self.phase != Phase::Member || moving {
            return;
        }
        let Some(boundary) = self.ownership.boundary.clone() else { return };
        if boundary.id == self.predecessor.id {
            self.ownership.boundary = Some(self.predecessor.clone());
        } else if between(boundary.id, self.predecessor.id, self.me.id) {
            let range = Range { low: boundary.id, high: self.predecessor.id };
            self.start_handover(self.predecessor.clone(), range);
        } else {
            self.ownership.pinging = true;
            self.call(&boundary, Request::Ping, Task::Boundary);
        }
    }

    pub(super) fn boundary_answered(&mut self, boundary: &Peer, result: &Result<Response, CallError>) {
        self.ownership.pinging = false;
        if self.phase != Phase::Member || self.ownership.boundary.as_ref() != Some(boundary) {
            return self.reconcile();
        }
        let beyond = between(self.predecessor.id, boundary.id, self.me.id);
        if is_alive(boundary, result) {
            if beyond {
                self.set_predecessor(boundary.clone());
            }
        } else if beyond || self.predecessor == self.me {
            let claimed = Range { low: self.predecessor.id, high: boundary.id };
            self.claim(self.predecessor.clone(), claimed);
        }
        self.reconcile();
    }

    fn claim(&mut self, boundary: Peer, claimed: Range) {
        self.ownership.boundary = Some(boundary);
        self.ownership.epoch = self.ownership.epoch.saturating_add(1);
        self.ownership.rounds_without_keys = 0;
        self.changed(Change::Claimed(claimed));
        self.changed(Change::Serving(self.serving()));
    }

    /// The successor was notified and serves from there: must this node wait for its keys any longer?
    pub(super) fn consider_claim(&mut self, head: &Peer, serves_from: Option<Id>) {
        if self.ownership.boundary.is_some() || !self.settings.owns_keys {
            return;
        }
        if serves_from == Some(self.me.id) {
            return self.ask_claim();
        }
        if serves_from.is_some() {
            return;
        }
        self.ownership.rounds_without_keys += 1;
        if self.ownership.rounds_without_keys < ROUNDS_WITHOUT_KEYS_MAX {
            return;
        }
        self.ownership.rounds_without_keys = 0;
        if *head == self.me {
            self.claim(self.me.clone(), Range { low: self.me.id, high: self.me.id });
        } else {
            self.search_server();
        }
    }

    /// Alone is not yet proof that nobody else serves: the others may just have left.
    pub(super) fn wait_before_claiming(&mut self) {
        self.ownership.rounds_without_keys = 0;
    }

    /// Nobody serves this node's arc, as far as can be seen from its successors. Does the predecessor agree?
    pub(super) fn ask_claim(&mut self) {
        if self.ownership.incoming.is_some() {
            return;
        }
        let predecessor = self.predecessor.clone();
        self.call(&predecessor, Request::Describe, Task::Claim);
    }

    pub(super) fn claim_answered(&mut self, predecessor: &Peer, result: Result<Response, CallError>) {
        let served = self.ownership.boundary.is_some() || self.ownership.incoming.is_some();
        if self.phase != Phase::Member || served {
            return;
        }
        let Ok(Response::Described(description)) = result else { return };
        let points_here = description.successors.first().and_then(Successor::node) == Some(&self.me);
        if points_here && self.predecessor == *predecessor && description.me == *predecessor {
            let claimed = Range { low: predecessor.id, high: self.me.id };
            self.claim(predecessor.clone(), claimed);
        }
    }
}
