//! One node, and everybody around it says anything at any time: it never panics, and stays a possible node.
//!
//! The node's own assertions (the length of its list, a node in it, nothing served outside the ring) are checked
//! after every event. Nothing else is asked of a node among liars but that it goes on.

use std::collections::VecDeque;
use std::time::Duration;

use chordata_protocol::key::Entry;
use chordata_protocol::message::{Candidate, Description, Found, Why};
use chordata_protocol::ring::{Admit, Caller, Effect, Event, Ring, RingSettings, Timer, Token};
use chordata_protocol::{
    Address, CallError, Id, Key, Operation, Outcome, Peer, Range, Request, Response, Space, Successor, Time,
};
use proptest::prelude::*;

use crate::config;
use crate::ideal::Ideal;
use crate::messages::{Messages, any_messages, call_error};

const BITS: u8 = 6;

#[derive(Clone, Debug)]
enum Happening {
    Asked(Request),
    /// An answer to one of the questions that are out, of whatever kind.
    Answered(prop::sample::Index, Result<Response, CallError>),
    /// An answer of the kind that was asked for, from a node with this before it and these behind it.
    Fits(prop::sample::Index, Peer, Vec<Successor>),
    /// What a read found.
    Read(Vec<Entry>, Option<Key>),
    Timer(Timer),
    Silent(Peer),
    Depart,
    Renumbered,
    Put(u8),
    Passes(Duration),
}

/// Whoever may be around: nodes of the ring, strangers, and those that take the node's own id or address.
fn around() -> Messages {
    let id = (0..1u128 << BITS).prop_map(Id::from_u128).boxed();
    let peer = prop_oneof![
        8 => (0..8u128).prop_map(|place| named(place * 8, place)),
        1 => (0..8u128, id.clone()).prop_map(|(place, id)| Peer::new(id, named(0, place).address)),
        1 => id.clone().prop_map(|id| Peer::new(id, Address::new("stranger:1"))),
    ];
    let id = prop_oneof![3 => (0..8u128).prop_map(|place| Id::from_u128(place * 8)), 1 => id].boxed();
    Messages { id, peer: peer.boxed(), number: (0..3u64).boxed() }
}

fn named(id: u128, place: u128) -> Peer {
    Peer::new(Id::from_u128(id), Address::new(&format!("n{place}:1")))
}

fn happening(messages: &Messages) -> impl Strategy<Value = Happening> + use<> {
    let timers = [
        Timer::Stabilize,
        Timer::Finger,
        Timer::Refresh,
        Timer::Renumber,
        Timer::HandOver,
        Timer::Join,
        Timer::Depart,
    ];
    let result = prop_oneof![3 => messages.response().prop_map(Ok), 1 => call_error().prop_map(Err)];
    let around = (any::<prop::sample::Index>(), messages.peer.clone(), messages.successors());
    prop_oneof![
        8 => messages.request().prop_map(Happening::Asked),
        4 => (any::<prop::sample::Index>(), result)
            .prop_map(|(which, result)| Happening::Answered(which, result)),
        10 => around.prop_map(|(which, before, behind)| Happening::Fits(which, before, behind)),
        4 => (messages.entries(), prop::option::of(Just(Key::new("next"))))
            .prop_map(|(entries, next)| Happening::Read(entries, next)),
        6 => prop::sample::select(timers.to_vec()).prop_map(Happening::Timer),
        1 => messages.peer.clone().prop_map(Happening::Silent),
        1 => Just(Happening::Depart),
        1 => Just(Happening::Renumbered),
        2 => any::<u8>().prop_map(Happening::Put),
        2 => (0..12_000u64).prop_map(|millis| Happening::Passes(Duration::from_millis(millis))),
    ]
}

/// What a node with these neighbours would answer.
fn fitting(to: &Peer, request: &Request, predecessor: Peer, successors: Vec<Successor>) -> Response {
    match request {
        Request::Ping => Response::Pong(to.id),
        Request::Neighbours => Response::Neighbours { me: to.id, predecessor, successors },
        Request::Notify(_) => Response::Notified(Some(predecessor.id)),
        Request::Find { .. } => Response::Found(match successors.first().and_then(Successor::node) {
            Some(peer) => Found::Next(vec![Candidate { peer: peer.clone(), why: Why::Successor(0) }]),
            None => Found::Owner,
        }),
        Request::Describe => {
            let serving = Some(Range { low: predecessor.id, high: to.id });
            let me = to.clone();
            Response::Described(Box::new(Description { me, predecessor, successors, serving, stamp: None }))
        }
        Request::Chunk { .. } | Request::TakeOver { .. } => Response::Accepted,
        Request::Departing { .. } | Request::Adopt(_) => Response::Noted,
        Request::Grant { .. } | Request::StartRefresh | Request::RefreshReport { .. } => Response::Refused,
    }
}

/// A node, and what it waits for.
struct Node {
    ring: Ring,
    now: Time,
    calls: Vec<(Token, Peer, Request)>,
    reads: VecDeque<Token>,
    numbering: bool,
}

impl Node {
    fn new(ring: Ring) -> Node {
        Node { ring, now: Time::ZERO, calls: Vec::new(), reads: VecDeque::new(), numbering: false }
    }

    fn event(&mut self, event: Event) {
        let asked = matches!(event, Event::Asked { .. });
        let mut answers = 0;
        for effect in self.ring.handle(self.now, event) {
            match effect {
                Effect::Call { token, to, request } => {
                    assert_ne!(to.address, self.ring.me().address, "it answers itself");
                    self.calls.push((token, to, request));
                }
                Effect::ReadRange { token, .. } | Effect::ReadKeys { token, .. } => {
                    self.reads.push_back(token);
                }
                Effect::Answer { .. } => answers += 1,
                Effect::Renumber => self.numbering = true,
                Effect::SetTimer { .. } | Effect::Merge(_) | Effect::Erase(_) | Effect::Changed(_) => {}
            }
        }
        assert_eq!(answers, usize::from(asked), "every question is answered, at once and once");
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Asked(request) => self.event(Event::Asked { caller: Caller(0), request }),
            Happening::Answered(which, result) if !self.calls.is_empty() => {
                let (token, ..) = self.calls.swap_remove(which.index(self.calls.len()));
                self.event(Event::Reply { token, result });
            }
            Happening::Fits(which, before, behind) if !self.calls.is_empty() => {
                let (token, to, request) = self.calls.swap_remove(which.index(self.calls.len()));
                let result = Ok(fitting(&to, &request, before, behind));
                self.event(Event::Reply { token, result });
            }
            Happening::Read(entries, next) => {
                if let Some(token) = self.reads.pop_front() {
                    self.event(Event::Entries { token, entries, next });
                }
            }
            Happening::Timer(timer) => self.event(Event::Timer(timer)),
            Happening::Silent(peer) => self.event(Event::Silent(peer)),
            Happening::Depart => self.event(Event::Depart),
            Happening::Renumbered if self.numbering => {
                self.numbering = false;
                self.event(Event::RenumberEnded);
            }
            Happening::Put(number) => self.put(Id::from_u128(u128::from(number % (1 << BITS)))),
            Happening::Passes(time) => self.now = self.now + time,
            Happening::Answered(..) | Happening::Fits(..) | Happening::Renumbered => {}
        }
        self.check();
    }

    fn put(&mut self, id: Id) {
        if self.ring.admit(id) == Admit::Serve {
            let key = Key::Literal(id);
            let outcome = self.ring.decide(&key, &Operation::put("x"), None);
            assert!(matches!(outcome, Outcome::Written(_)));
        }
    }

    fn check(&mut self) {
        let ring = &self.ring;
        assert!(!(ring.is_member() && ring.has_left()));
        let space = ring.settings().space;
        assert!(space.contains(ring.predecessor().id) || !ring.is_member());
        for id in (0..1u128 << BITS).map(Id::from_u128) {
            let within = ring.serving().is_some_and(|range| range.contains(id));
            assert!(within || !ring.serves(id), "what is served is within the range");
            assert_eq!(ring.admit(id) == Admit::Serve, ring.serves(id) && ring.is_member(), "{id:?}");
            assert_eq!(ring.admit(id) == Admit::Wait, within && !ring.serves(id), "{id:?}");
        }
        if let Some(range) = ring.serving() {
            assert_eq!(range.high, ring.me().id, "nobody serves beyond itself");
        }
    }
}

fn settings() -> RingSettings {
    RingSettings { space: Space::new(BITS).unwrap_or_default(), ..RingSettings::default() }
}

proptest! {
    #![proptest_config(config())]

    /// A member of a ring of one to eight, n0 to n7 at 0, 8, ..., 56.
    #[test]
    fn a_member_survives_whatever_is_said(
        nodes in 1..=8u128,
        happenings in prop::collection::vec(happening(&around()), 1..150),
    ) {
        let ids = (0..nodes).map(|place| Id::from_u128(place * 8)).collect();
        let mut node = Node::new(Ideal::new(settings().space, ids).rings.swap_remove(0));
        for happening in happenings {
            node.happen(happening);
        }
    }

    #[test]
    fn a_joining_node_survives_whatever_is_said(
        happenings in prop::collection::vec(happening(&around()), 1..150),
    ) {
        let mut node = Node::new(Ring::new(settings(), named(0, 0), 1, &[named(8, 1)]));
        node.event(Event::StartJoin(named(56, 7)));
        for happening in happenings {
            node.happen(happening);
        }
    }

    /// Also what no node of this ring could say: ids outside it, terms at the end of their range.
    #[test]
    fn a_member_survives_what_the_wire_can_carry(
        happenings in prop::collection::vec(happening(&any_messages()), 1..60),
    ) {
        let ids = [0, 8, 16, 24, 32, 40].map(Id::from_u128).to_vec();
        let mut node = Node::new(Ideal::new(settings().space, ids).rings.swap_remove(0));
        for happening in happenings {
            node.happen(happening);
        }
    }
}
