//! Ideal rings: every pointer, list, finger and table is right, and each node serves exactly its arc.
//!
//! The nodes are real; they are led there by the events that a ring at rest would have brought them. A node that took
//! its place this way has handed nothing over, so its lookups go by its pointers alone.

use std::sync::Arc;

use chordata_protocol::message::{Candidate, Found, HandoverId};
use chordata_protocol::ring::{Caller, Effect, Event, Ring, RingSettings, Token};
use chordata_protocol::{
    Address, Id, Membership, Peer, Range, Request, Response, Space, Stamp, Successor, Time, Why,
};
use proptest::prelude::*;

/// A ring at rest.
#[derive(Clone)]
pub(crate) struct Ideal {
    pub(crate) settings: RingSettings,
    /// By their ids.
    pub(crate) peers: Vec<Peer>,
    pub(crate) rings: Vec<Ring>,
}

impl std::fmt::Debug for Ideal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ids = self.peers.iter().map(|peer| peer.id);
        write!(f, "{} bits, nodes at {:?}", self.settings.space.bits(), ids.collect::<Vec<_>>())
    }
}

impl Ideal {
    pub(crate) fn new(space: Space, mut ids: Vec<Id>) -> Ideal {
        ids.sort_unstable();
        ids.dedup();
        let address = |place: usize| Address::new(&format!("n{place}:1"));
        let peers: Vec<Peer> =
            ids.into_iter().enumerate().map(|(place, id)| Peer::new(id, address(place))).collect();
        let settings = RingSettings { space, ..RingSettings::default() };
        let mut ideal = Ideal { settings, peers, rings: Vec::new() };
        ideal.rings = (0..ideal.peers.len()).map(|place| ideal.make(place)).collect();
        ideal
    }

    pub(crate) fn len(&self) -> usize {
        self.peers.len()
    }

    /// So many places behind.
    pub(crate) fn behind(&self, place: usize, steps: usize) -> &Peer {
        &self.peers[(place + steps) % self.len()]
    }

    /// The place of the first node at or behind an identifier.
    pub(crate) fn owner(&self, id: Id) -> usize {
        self.peers.iter().position(|peer| peer.id >= id).unwrap_or(0)
    }

    pub(crate) fn place(&self, peer: &Peer) -> Option<usize> {
        self.peers.iter().position(|other| other == peer)
    }

    /// The list of r successors.
    fn list(&self, place: usize) -> Vec<Successor> {
        (1..=self.settings.successors).map(|step| Successor::Node(self.behind(place, step).clone())).collect()
    }

    fn make(&self, place: usize) -> Ring {
        let me = &self.peers[place];
        let mut ring = Ring::new(self.settings.clone(), me.clone(), place as u64, &[]);
        if self.len() == 1 {
            ring.handle(Time::ZERO, Event::StartAlone);
        } else {
            self.join(&mut ring, place);
        }
        let calls = calls(ask(&mut ring, Request::StartRefresh).1);
        self.look_up_fingers(&mut ring, calls);
        let stamp = Stamp { round: 1, by: me.id };
        ask(&mut ring, Request::Adopt(Arc::new(Membership::new(stamp, self.peers.clone()))));
        ring
    }

    /// Its predecessor tells it its list, its successor hands it its arc.
    fn join(&self, ring: &mut Ring, place: usize) {
        let predecessor = self.behind(place, self.len() - 1).clone();
        let asked = calls(ring.handle(Time::ZERO, Event::StartJoin(predecessor.clone())));
        let (token, ..) = asked.first().expect("who joins asks");
        let response = Response::Neighbours {
            me: predecessor.id,
            predecessor: self.behind(place, 2 * self.len() - 2).clone(),
            successors: self.list(place),
        };
        ring.handle(Time::ZERO, Event::Reply { token: *token, result: Ok(response) });
        let handover = HandoverId { source: self.behind(place, 1).id, nonce: 1 };
        let range = Range { low: predecessor.id, high: self.peers[place].id };
        let chunk = Request::Chunk { handover, range, first: true, entries: Vec::new() };
        assert_eq!(ask(ring, chunk).0, Some(Response::Accepted));
        let grant =
            Request::TakeOver { handover, range, boundary: predecessor, epoch: 1, grants: Vec::new() };
        assert_eq!(ask(ring, grant).0, Some(Response::Accepted));
    }

    /// Whoever is asked names the owner.
    fn look_up_fingers(&self, ring: &mut Ring, mut calls_out: Vec<(Token, Peer, Request)>) {
        while let Some((token, to, request)) = calls_out.pop() {
            let Request::Find { target, .. } = request else { panic!("a refresh asks nothing else") };
            let owner = self.peers[self.owner(target)].clone();
            let found = if owner == to {
                Found::Owner
            } else {
                Found::Next(vec![Candidate { peer: owner, why: Why::Successor(0) }])
            };
            let reply = Event::Reply { token, result: Ok(Response::Found(found)) };
            calls_out.extend(calls(ring.handle(Time::ZERO, reply)));
        }
    }
}

/// Asks a node; its answer, and what else it does.
pub(crate) fn ask(ring: &mut Ring, request: Request) -> (Option<Response>, Vec<Effect>) {
    let mut effects = ring.handle(Time::ZERO, Event::Asked { caller: Caller(0), request });
    let at = effects.iter().position(|effect| matches!(effect, Effect::Answer { .. }));
    let answer = at.map(|at| match effects.remove(at) {
        Effect::Answer { response, .. } => response,
        _ => unreachable!("it was an answer"),
    });
    (answer, effects)
}

fn calls(effects: Vec<Effect>) -> Vec<(Token, Peer, Request)> {
    let call = |effect| match effect {
        Effect::Call { token, to, request } => Some((token, to, request)),
        _ => None,
    };
    effects.into_iter().filter_map(call).collect()
}

/// A ring of 7 bits, of 16, or of 160.
fn space() -> impl Strategy<Value = Space> {
    prop_oneof![Just(7u8), Just(16), Just(160)].prop_map(|bits| Space::new(bits).unwrap_or_default())
}

/// Rings of up to `most` nodes at any places.
pub(crate) fn any_ideal(most: usize) -> impl Strategy<Value = Ideal> {
    (space(), prop::collection::vec(any::<[u8; 20]>(), 1..=most))
        .prop_map(|(space, names)| Ideal::new(space, names.iter().map(|name| space.hash(name)).collect()))
}
