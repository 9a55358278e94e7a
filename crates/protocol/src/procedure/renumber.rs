//! `update_numbers`: walk the ring, number the nodes from the lowest id, give everybody the table.
//!
//! A walk that did not get around numbers nobody.

use std::sync::Arc;

use super::walk::{Walk, Walked};
use super::{Procedure, Step, Ticket};
use crate::id::Id;
use crate::membership::{Membership, Stamp};
use crate::message::{CallError, Request, Response};
use crate::peer::Peer;
use crate::time::Time;

/// What renumbering gave.
#[derive(Clone, Debug)]
pub struct Renumbered {
    /// The table that everybody was given.
    pub membership: Arc<Membership>,
    /// Nodes that took it.
    pub told: u32,
    /// What the walk found.
    pub walked: Walked,
    /// Questions that it took.
    pub calls: u64,
}

/// Renumbering under way: first a walk, then all nodes at once.
#[derive(Clone, Debug)]
pub struct Renumber {
    by: Id,
    walk: Walk,
    telling: Option<Telling>,
}

#[derive(Clone, Debug)]
struct Telling {
    membership: Arc<Membership>,
    walked: Walked,
    out: usize,
    told: u32,
}

impl Renumber {
    /// By the node with this id, beginning at the first of these that answers.
    pub fn new(by: Id, start: &[Peer]) -> Renumber {
        Renumber { by, walk: Walk::new(start), telling: None }
    }
}

/// Numbers what a walk found, in a round behind every table that it met.
fn number(walked: &Walked, by: Id) -> Membership {
    let round = walked.nodes.iter().filter_map(|node| node.stamp).map(|stamp| stamp.round).max().unwrap_or(0);
    let nodes = walked.nodes.iter().map(|node| node.me.clone()).collect();
    Membership::new(Stamp { round: round.saturating_add(1), by }, nodes)
}

impl Procedure for Renumber {
    type Output = Renumbered;

    fn step(&mut self, now: Time) -> Step<Renumbered> {
        if let Some(telling) = &self.telling {
            if telling.out > 0 {
                return Step::Ask(Vec::new());
            }
            return Step::Done(Renumbered {
                membership: Arc::clone(&telling.membership),
                told: telling.told,
                walked: telling.walked.clone(),
                calls: self.walk.calls() + telling.walked.nodes.len() as u64,
            });
        }
        match self.walk.step(now) {
            Step::Ask(questions) => Step::Ask(questions),
            Step::Sleep(pause) => Step::Sleep(pause),
            Step::Done(walked) => {
                let membership = Arc::new(number(&walked, self.by));
                // Half a ring is no membership: nobody is told.
                let told = if walked.closed { membership.nodes() } else { &[] };
                let orders: Vec<(Ticket, Peer, Request)> = (0..)
                    .zip(told)
                    .map(|(ticket, peer)| (ticket, peer.clone(), Request::Adopt(Arc::clone(&membership))))
                    .collect();
                self.telling = Some(Telling { membership, walked, out: orders.len(), told: 0 });
                if orders.is_empty() { self.step(now) } else { Step::Ask(orders) }
            }
        }
    }

    fn answered(&mut self, now: Time, ticket: Ticket, answer: Result<Response, CallError>) {
        match &mut self.telling {
            None => self.walk.answered(now, ticket, answer),
            Some(telling) => {
                telling.out = telling.out.saturating_sub(1);
                telling.told += u32::from(answer == Ok(Response::Noted));
            }
        }
    }
}
