//! One node of the ring, as a state machine: Zave's corrected Chord, and who serves which keys.
//!
//! # What it guarantees
//!
//! *The ring* (Pamela Zave, "Reasoning about identifier spaces: how to make Chord correct", 2017). From r+1 members
//! on, and while no live node is taken for dead: every successor list has a live entry, at least r+1 nodes are
//! skipped by no list, and after a quiet time there is one ordered ring of all members. Each step reads one other
//! node and writes only this one:
//!
//! - *join* ([`join`]): find p with `between(p, me, p.successors[0])`, take its whole list.
//! - *stabilize* ([`stabilize`]): ask the successor for its predecessor and list; adopt its list; if its predecessor
//!   is nearer and answers, adopt that; always notify the successor.
//! - *rectify* ([`rectify`]): a notifier becomes the predecessor if it is nearer, or if the predecessor is dead.
//!
//! Between asking in a step and applying the answer a node answers ring-state questions with "busy"; the asker ends
//! its step and tries again after a random delay, so that two nodes that ask each other do not wait for ever.
//! Every address ever known is remembered and tried ([`known`]), so that rings that a partition made become one.
//!
//! *The keys* ([`ownership`], [`handover`]). The predecessor pointer says who is *next to* this node; what this node
//! *serves* is kept apart, as `(boundary, me]`. When a node joins, its successor copies the keys over while it still
//! serves them, stops, sends what changed meanwhile, and orders the new node to serve; requests that come in between
//! wait for the outcome. So, while no live node is taken for dead, an identifier is served by exactly one node or is
//! for a moment on its way, and no acknowledged write is left behind. A departing node does the same towards its
//! successor. What a node that dies had stored is lost: replication is another layer's.
//!
//! *Fingers* ([`finger`], [`refresh`]) and the membership table only make lookups short; no guarantee rests on them.
//!
//! # How to drive it
//!
//! Call [`Ring::handle`] with every event and carry out the effects in their order, before the next event. Every
//! [`Effect::Call`] must come back as [`Event::Reply`], every read as [`Event::Entries`]. For a client's request ask
//! [`Ring::admit`], and for a write let [`Ring::decide`] give the version, store it, all under the same lock.
//!
//! # Left out on purpose
//!
//! Suspicion is silence: a node that answers none of a few attempts is taken for dead. Two nodes may then serve the
//! same keys until they hear of each other; leases and chains, which forbid that, are a layer above.

mod calls;
mod depart;
pub mod event;
pub mod finger;
mod handover;
mod join;
pub mod known;
mod members;
mod ownership;
mod place;
mod rectify;
mod refresh;
mod routing;
pub mod settings;
mod stabilize;
pub mod successors;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

pub use event::{Caller, Change, Effect, Event, Timer, Token};
pub use finger::{FingerTable, Run};
pub use ownership::Admit;
pub use settings::RingSettings;
pub use successors::SuccessorList;

use crate::id::Id;
use crate::membership::Membership;
use crate::message::{Description, Range, Request, Response};
use crate::peer::Peer;
use crate::time::Time;
use calls::{Local, Pending};
use known::Known;
use ownership::Ownership;

/// Where a node is in its life.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Phase {
    /// Not started.
    Outside,
    /// Looking for its predecessor.
    Joining(join::Joining),
    /// In the ring.
    Member,
    /// In the ring, giving its keys away.
    Leaving(depart::Leaving),
    /// Out of the ring, for good.
    Left,
}

/// One node. See the [module](self) on what it guarantees and how to drive it.
#[derive(Clone, Debug)]
pub struct Ring {
    settings: RingSettings,
    me: Peer,
    phase: Phase,
    predecessor: Peer,
    successors: SuccessorList,
    /// Is a step of stabilize under way?
    stepping: bool,
    rectify: rectify::Rectify,
    known: Known,
    fingers: FingerTable,
    refresh: refresh::Refresh,
    membership: Option<Arc<Membership>>,
    renumbering: bool,
    /// Renumberings since the table was last right.
    renumberings: u32,
    ownership: Ownership,
    grants: Vec<place::Granted>,
    /// Places that joiners got who asked this node, until everybody knows of them.
    sent_to: Vec<(Id, Time)>,
    calls: BTreeMap<Token, Pending>,
    local: VecDeque<Local>,
    next_token: u64,
    random: fastrand::Rng,
    now: Time,
    effects: Vec<Effect>,
}

impl Ring {
    /// A node outside any ring. `known` are the addresses that it remembers from an earlier life.
    pub fn new(settings: RingSettings, me: Peer, seed: u64, known: &[Peer]) -> Ring {
        assert!(settings.space.contains(me.id), "a node's id is a point of its ring");
        let mut acquaintances = Known::default();
        for peer in known.iter().filter(|peer| peer.address != me.address) {
            acquaintances.learn(peer);
        }
        Ring {
            predecessor: me.clone(),
            successors: SuccessorList::alone(&me, settings.successors),
            phase: Phase::Outside,
            stepping: false,
            rectify: rectify::Rectify::default(),
            known: acquaintances,
            fingers: FingerTable::default(),
            refresh: refresh::Refresh::default(),
            membership: None,
            renumbering: false,
            renumberings: 0,
            ownership: Ownership::default(),
            grants: Vec::new(),
            sent_to: Vec::new(),
            calls: BTreeMap::new(),
            local: VecDeque::new(),
            next_token: 0,
            random: fastrand::Rng::with_seed(seed),
            now: Time::ZERO,
            effects: Vec::new(),
            settings,
            me,
        }
    }

    // Getters.

    /// Itself.
    pub fn me(&self) -> &Peer {
        &self.me
    }

    /// What it was told.
    pub fn settings(&self) -> &RingSettings {
        &self.settings
    }

    /// The node before it.
    pub fn predecessor(&self) -> &Peer {
        &self.predecessor
    }

    /// The nodes behind it.
    pub fn successors(&self) -> &SuccessorList {
        &self.successors
    }

    /// Its fingers.
    pub fn fingers(&self) -> &FingerTable {
        &self.fingers
    }

    /// Every address it has known.
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// The members, numbered; none until somebody walked the ring.
    pub fn membership(&self) -> Option<&Arc<Membership>> {
        self.membership.as_ref()
    }

    /// Is it in the ring?
    pub fn is_member(&self) -> bool {
        matches!(self.phase, Phase::Member | Phase::Leaving(_))
    }

    /// Has it left for good?
    pub fn has_left(&self) -> bool {
        self.phase == Phase::Left
    }

    /// What it serves; none: nothing.
    pub fn serving(&self) -> Option<Range> {
        self.ownership.range(self.me.id)
    }

    /// Is it giving keys away at the moment?
    pub fn is_handing_over(&self) -> bool {
        self.ownership.is_handing_over()
    }

    /// What it tells walkers.
    pub fn describe(&self) -> Description {
        Description {
            me: self.me.clone(),
            predecessor: self.predecessor.clone(),
            successors: self.successors.entries().to_vec(),
            serving: self.serving(),
            stamp: self.membership.as_ref().map(|membership| membership.stamp()),
        }
    }

    // The machine.

    /// Takes an event; returns what is to be done, in this order.
    pub fn handle(&mut self, now: Time, event: Event) -> Vec<Effect> {
        self.now = self.now.max(now);
        self.dispatch(event);
        while let Some(local) = self.local.pop_front() {
            self.resume(local.task, &local.to, Ok(local.response));
        }
        self.assert_invariants();
        std::mem::take(&mut self.effects)
    }

    fn dispatch(&mut self, event: Event) {
        match event {
            Event::StartAlone => self.start_alone(),
            Event::StartJoin(predecessor) => self.start_join(predecessor),
            Event::Asked { caller, request } => {
                let response = self.answer(request);
                self.effects.push(Effect::Answer { caller, response });
            }
            Event::Reply { token, result } => self.replied(token, result),
            Event::Entries { token, entries, next } => self.entries_read(token, entries, next),
            Event::Timer(timer) => self.timer(timer),
            Event::Silent(peer) => self.suspect(&peer),
            Event::Depart => self.depart(),
            Event::RenumberEnded => self.renumber_ended(),
        }
    }

    fn timer(&mut self, timer: Timer) {
        match timer {
            Timer::Stabilize => self.stabilize(),
            Timer::Finger => self.refresh_one(),
            Timer::Refresh => {
                self.refresh_all();
            }
            Timer::Renumber => self.renumber(),
            Timer::HandOver => self.continue_handover(),
            Timer::Join => self.ask_join(),
            Timer::Depart => self.departure_overdue(),
        }
    }

    /// Answers another node. Only `Grant`, `Adopt`, `Notify`, `Chunk`, `TakeOver` and `Departing` change anything.
    fn answer(&mut self, request: Request) -> Response {
        if !self.is_member() {
            return Response::NotMember;
        }
        if !request.is_possible(self.settings.space) {
            return Response::Refused;
        }
        match request {
            Request::Ping => Response::Pong(self.me.id),
            Request::Neighbours if self.stepping => Response::Busy,
            Request::Neighbours => self.neighbours(),
            Request::Notify(candidate) => self.notified(candidate),
            Request::Find { target, policy } => Response::Found(self.find(target, policy)),
            Request::Describe => Response::Described(Box::new(self.describe())),
            Request::Grant { id, placement, address } => self.grant(id, placement, address),
            Request::Adopt(membership) => self.adopt_membership(membership),
            Request::StartRefresh => Response::Started(self.refresh_all()),
            Request::RefreshReport { run } => self.refresh_report(run),
            Request::Chunk { handover, range, first, entries } => {
                self.take_chunk(handover, range, first, entries)
            }
            Request::TakeOver { handover, range, boundary, epoch, grants } => {
                self.take_over(handover, range, boundary, epoch, grants)
            }
            Request::Departing { leaver, predecessor, successors } => {
                self.neighbour_departs(&leaver, predecessor, successors)
            }
        }
    }

    fn neighbours(&self) -> Response {
        Response::Neighbours {
            me: self.me.id,
            predecessor: self.predecessor.clone(),
            successors: self.successors.entries().to_vec(),
        }
    }

    // Used by all parts.

    fn start_alone(&mut self) {
        assert_eq!(self.phase, Phase::Outside, "a node starts once");
        if self.settings.owns_keys {
            self.ownership.serve_everything(&self.me);
        }
        self.become_member();
    }

    fn become_member(&mut self) {
        self.phase = Phase::Member;
        self.changed(Change::Joined);
        self.changed(Change::Serving(self.serving()));
        self.set_timer(Timer::Stabilize, Duration::ZERO);
        let first_finger = self.jitter(self.settings.finger_every);
        self.set_timer(Timer::Finger, first_finger);
        self.check_membership();
    }

    fn changed(&mut self, change: Change) {
        self.effects.push(Effect::Changed(change));
    }

    fn set_timer(&mut self, timer: Timer, after: Duration) {
        self.effects.push(Effect::SetTimer { timer, after });
    }

    /// From half to one and a half of the duration.
    fn jitter(&mut self, around: Duration) -> Duration {
        let micros = u64::try_from(around.as_micros()).unwrap_or(u64::MAX / 2);
        Duration::from_micros(micros / 2 + self.random.u64(0..=micros))
    }

    fn learn(&mut self, peer: &Peer) {
        if peer.address != self.me.address && self.known.learn(peer) {
            self.changed(Change::Learned(peer.clone()));
        }
    }

    /// A node does not answer: its fingers go elsewhere at once, and it is asked less often.
    fn suspect(&mut self, peer: &Peer) {
        self.known.silent(&peer.address, self.now, self.settings.stabilize_every);
        self.ownership.forget_handed(peer);
        if self.fingers.points_to(peer.id) {
            if let Some(substitute) = self.successor_before(peer.id) {
                self.fingers.replace(peer, &substitute);
            }
            self.changed(Change::Suspected(peer.clone()));
        }
    }

    /// The farthest node of the successor list that is not beyond the id; else the nearest node of it.
    fn successor_before(&self, id: Id) -> Option<Peer> {
        let limit = self.settings.space.distance(self.me.id, id);
        let reach = |peer: &Peer| self.settings.space.distance(self.me.id, peer.id);
        let nodes = || self.successors.nodes().map(|(_, peer)| peer);
        let others = || nodes().filter(|peer| peer.id != id && **peer != self.me);
        others()
            .filter(|peer| reach(peer) < limit)
            .max_by_key(|peer| reach(peer))
            .or_else(|| others().next())
            .cloned()
    }

    fn assert_invariants(&self) {
        assert_eq!(
            self.successors.entries().len(),
            self.settings.successors,
            "the successor list has exactly r entries"
        );
        assert!(!self.successors.is_dead(), "the successor list has a node in it");
        if let Phase::Outside | Phase::Joining(_) = self.phase {
            assert!(self.serving().is_none(), "a node outside the ring serves nothing");
        }
    }
}
