//! The walk around the ring: every member, in order, each from its own mouth.
//!
//! It asks a node, then its successor, and so on until it is around. A node that does not answer is passed over with
//! the next entry of the list before it. The result says whether the ring is *whole*: every node's successor and
//! predecessor are its neighbours in the list, and what it serves is exactly the arc between them.

use std::collections::VecDeque;

use super::{Procedure, Step, Ticket};
use crate::id::between;
use crate::message::{CallError, Description, Request, Response};
use crate::peer::{Peer, Successor};
use crate::time::Time;

/// Nodes after which a walk is given up: the ring is not closed.
const NODES_MAX: usize = 1_000_000;

/// What a walk found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Walked {
    /// Members in ring order, from the first that answered.
    pub nodes: Vec<Description>,
    /// Nodes that were named and did not answer.
    pub silent: Vec<Peer>,
    /// Is it a closed ring? If not, somebody did not answer and nobody behind it was known.
    pub closed: bool,
}

impl Walked {
    /// Is everything as it is after a quiet time?
    pub fn is_whole(&self) -> bool {
        self.closed && self.silent.is_empty() && self.problems().is_empty()
    }

    /// What is not (yet) as it is after a quiet time, a sentence each.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (place, node) in self.nodes.iter().enumerate() {
            let before = &self.nodes[(place + self.nodes.len() - 1) % self.nodes.len()].me;
            let behind = &self.nodes[(place + 1) % self.nodes.len()].me;
            if node.predecessor != *before {
                problems.push(format!("{} has {} before it, not {}", node.me, node.predecessor, before));
            }
            if node.successors.first().and_then(Successor::node) != Some(behind) {
                problems.push(format!("{} does not have {} behind it", node.me, behind));
            }
            match node.serving {
                None => problems.push(format!("{} still waits for its keys", node.me)),
                Some(range) if range.low != before.id => {
                    problems.push(format!("{} is still moving keys", node.me));
                }
                Some(_) => {}
            }
        }
        problems
    }
}

/// A walk under way. Asks one node at a time.
#[derive(Clone, Debug)]
pub struct Walk {
    to_ask: VecDeque<Peer>,
    asking: Option<Peer>,
    walked: Walked,
    calls: u64,
}

impl Walk {
    /// Begins at the first of these that answers.
    pub fn new(start: &[Peer]) -> Walk {
        Walk { to_ask: start.iter().cloned().collect(), asking: None, walked: Walked::default(), calls: 0 }
    }

    /// Questions so far.
    pub fn calls(&self) -> u64 {
        self.calls
    }

    /// Whom to ask behind a node: its successors that lie before the walk's start. None: it is around.
    fn behind(&mut self, node: &Description) -> bool {
        let start = self.walked.nodes.first().map_or(node.me.id, |first| first.me.id);
        self.to_ask.clear();
        for peer in node.successors.iter().filter_map(Successor::node) {
            if peer.id == start || !between(node.me.id, peer.id, start) {
                self.walked.closed = true;
                break;
            }
            if !self.to_ask.contains(peer) {
                self.to_ask.push_back(peer.clone());
            }
        }
        !self.to_ask.is_empty()
    }
}

impl Procedure for Walk {
    type Output = Walked;

    fn step(&mut self, _now: Time) -> Step<Walked> {
        if self.asking.is_some() {
            return Step::Ask(Vec::new());
        }
        if self.walked.nodes.len() >= NODES_MAX {
            self.to_ask.clear();
            self.walked.closed = false;
        }
        let Some(peer) = self.to_ask.pop_front() else {
            return Step::Done(std::mem::take(&mut self.walked));
        };
        self.calls += 1;
        self.asking = Some(peer.clone());
        Step::Ask(vec![(0, peer, Request::Describe)])
    }

    fn answered(&mut self, _now: Time, _ticket: Ticket, answer: Result<Response, CallError>) {
        let Some(asked) = self.asking.take() else { return };
        match answer {
            Ok(Response::Described(description)) if description.me == asked => {
                self.walked.closed = false;
                self.behind(&description);
                self.walked.nodes.push(*description);
            }
            // Nobody, or somebody else, answers there.
            Ok(_) | Err(_) => self.walked.silent.push(asked),
        }
    }
}
