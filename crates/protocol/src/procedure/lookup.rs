//! The iterative lookup: who serves an identifier?
//!
//! Each node asked either serves it, or names nodes to ask next, the best first (Stoica et al., section IV-C,
//! figure 5, with the loop moved to whoever looks up). Candidates are kept on a stack: when the best one does not
//! answer, the next best is asked, so that a dead finger costs one timeout and no more. Every question counts
//! against a hop limit; nothing recurses and nothing waits for ever. A node beyond the identifier that does not serve it
//! is asked only for who is just before it, so that a lookup of what nobody serves at the moment does not tour the ring.
//!
//! Hops = nodes that answered, after the start, the owner included.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Procedure, Step, Ticket};
use crate::id::{Id, Space};
use crate::message::{CallError, Candidate, Found, Policy, Request, Response, Why};
use crate::peer::{Address, Peer};
use crate::time::Time;

/// A node may be asked again when somebody names it (keys may just have moved to it), this often in all.
const ASKS_PER_NODE_MAX: u8 = 3;

/// One node on the way of a lookup.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hop {
    /// Who was asked.
    pub peer: Peer,
    /// Why this one.
    pub why: Why,
    /// How far it still was from there to the identifier, up and around.
    pub remaining: Id,
    /// How long the answer took.
    pub elapsed: Duration,
    /// Did it answer?
    pub answered: bool,
}

/// A found owner and the way to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Located {
    /// Who serves the identifier.
    pub owner: Peer,
    /// Every node asked, in order, the start first.
    pub path: Vec<Hop>,
}

/// A lookup that found nobody.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NotLocated {
    /// What went wrong.
    pub reason: NotLocatedReason,
    /// Every node asked, in order.
    pub path: Vec<Hop>,
}

/// Why nobody was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotLocatedReason {
    /// Nobody that anybody named answered, or said more than was known.
    Exhausted,
    /// The hop limit was reached.
    HopLimit,
}

impl std::fmt::Display for NotLocatedReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            NotLocatedReason::Exhausted => "no node that was asked serves the key at this moment",
            NotLocatedReason::HopLimit => "the hop limit was reached before a node that serves the key",
        })
    }
}

/// Hops in a path: nodes that answered, after the first.
pub fn hops(path: &[Hop]) -> u32 {
    let answered = path.iter().filter(|hop| hop.answered).count();
    u32::try_from(answered.saturating_sub(1)).unwrap_or(u32::MAX)
}

/// Nodes of a path that did not answer.
pub fn timeouts(path: &[Hop]) -> u32 {
    u32::try_from(path.iter().filter(|hop| !hop.answered).count()).unwrap_or(u32::MAX)
}

/// A lookup under way. Asks one node at a time.
#[derive(Clone, Debug)]
pub struct Lookup {
    space: Space,
    target: Id,
    policy: Policy,
    hop_limit: u32,
    /// The next one to ask is last. With each, how far it was from whoever named it.
    stack: Vec<(Candidate, Id)>,
    asked: BTreeMap<Address, u8>,
    path: Vec<Hop>,
    asking: Option<(Candidate, Id, Time)>,
    owner: Option<Peer>,
    /// Are the ids of the nodes to begin at known?
    start_is_placed: bool,
}

impl Lookup {
    /// Looks for who serves `target`, beginning at `start` (the best first).
    pub fn new(space: Space, target: Id, policy: Policy, hop_limit: u32, start: &[Peer]) -> Lookup {
        let first = |peer: &Peer| (Candidate { peer: peer.clone(), why: Why::Start }, Id::MAX);
        let stack = start.iter().rev().map(first).collect();
        Lookup {
            space,
            target,
            policy,
            hop_limit,
            stack,
            asked: BTreeMap::new(),
            path: Vec::new(),
            asking: None,
            owner: None,
            start_is_placed: true,
        }
    }

    /// Only the addresses of the nodes to begin at are right: their ids are not known.
    #[must_use]
    pub fn from_addresses(mut self) -> Lookup {
        self.start_is_placed = false;
        self
    }

    /// What it looks for.
    pub fn target(&self) -> Id {
        self.target
    }

    /// The next candidate that may still be asked.
    fn pop(&mut self) -> Option<(Candidate, Id)> {
        while let Some((candidate, from)) = self.stack.pop() {
            let asked = self.asked.entry(candidate.peer.address.clone()).or_insert(0);
            let again = matches!(candidate.why, Why::HandedOver | Why::Successor(_) | Why::Predecessor);
            if *asked == 0 || (again && self.policy != Policy::Random && *asked < ASKS_PER_NODE_MAX) {
                *asked += 1;
                return Some((candidate, from));
            }
        }
        None
    }

    fn failed(&mut self, reason: NotLocatedReason) -> Step<Result<Located, NotLocated>> {
        Step::Done(Err(NotLocated { reason, path: std::mem::take(&mut self.path) }))
    }

    fn push(&mut self, candidates: Vec<Candidate>, from: Id) {
        self.stack.extend(candidates.into_iter().rev().map(|candidate| (candidate, from)));
    }
}

impl Procedure for Lookup {
    type Output = Result<Located, NotLocated>;

    fn step(&mut self, now: Time) -> Step<Self::Output> {
        if let Some(owner) = self.owner.take() {
            return Step::Done(Ok(Located { owner, path: std::mem::take(&mut self.path) }));
        }
        if self.asking.is_some() {
            return Step::Ask(Vec::new());
        }
        if self.path.len() > self.hop_limit as usize {
            return self.failed(NotLocatedReason::HopLimit);
        }
        let Some((candidate, from)) = self.pop() else { return self.failed(NotLocatedReason::Exhausted) };
        let peer = candidate.peer.clone();
        self.asking = Some((candidate, from, now));
        let ticket = u32::try_from(self.path.len()).unwrap_or(u32::MAX);
        Step::Ask(vec![(ticket, peer, Request::Find { target: self.target, policy: self.policy })])
    }

    fn answered(&mut self, now: Time, _ticket: Ticket, answer: Result<Response, CallError>) {
        let Some((Candidate { peer, why }, from, since)) = self.asking.take() else { return };
        let found = match answer {
            Ok(response) if !response.is_possible(self.space) => None,
            Ok(Response::Found(found)) => Some(found),
            Ok(_) | Err(_) => None,
        };
        let remaining = self.space.distance(peer.id, self.target);
        self.path.push(Hop {
            remaining,
            peer: peer.clone(),
            why,
            elapsed: now.since(since),
            answered: found.is_some(),
        });
        match found {
            Some(Found::Owner) => self.owner = Some(peer),
            Some(Found::Next(mut candidates)) => {
                // Beyond the target, and not the owner: only what is just before it is of use. All else would lead
                // around the ring, back to where the lookup was.
                if remaining > from && self.policy != Policy::Random {
                    candidates.retain(|next| matches!(next.why, Why::HandedOver | Why::Predecessor));
                }
                let placed = why != Why::Start || self.start_is_placed;
                self.push(candidates, if placed { remaining } else { Id::MAX });
            }
            // A node that does not answer is not asked again, whoever names it.
            None => {
                self.asked.insert(peer.address, u8::MAX);
            }
        }
    }
}
