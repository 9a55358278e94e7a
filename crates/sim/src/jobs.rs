//! Walks over the simulated ring: whoever drives one, its questions travel over the simulated network.

use std::time::Duration;

use chordata_protocol::procedure::admit::{Admit, NotAdmitted, Place};
use chordata_protocol::procedure::lookup::{Located, Lookup, NotLocated};
use chordata_protocol::procedure::refresh::{RefreshAll, RefreshedAll};
use chordata_protocol::procedure::renumber::{Renumber, Renumbered};
use chordata_protocol::procedure::{Procedure, Step, Ticket};
use chordata_protocol::{Address, CallError, Peer, Request, Response, Time};

/// Names a walk.
pub type JobId = u64;

/// A walk under way.
#[derive(Debug)]
pub enum Walk {
    /// Numbers the ring, for the node at this address.
    Renumber(Renumber),
    /// Finds a place for a node that joins.
    Admit(Admit),
    /// Finds who serves a key.
    Lookup(Lookup),
    /// Refreshes all fingers of all nodes.
    Refresh(RefreshAll),
}

/// What a walk found.
#[derive(Debug)]
pub enum Found {
    /// The ring is numbered.
    Renumbered(Renumbered),
    /// A place, or none.
    Admitted(Result<Place, NotAdmitted>),
    /// An owner, or none.
    Located(Result<Located, NotLocated>),
    /// All fingers are refreshed.
    Refreshed(RefreshedAll),
}

/// What a walk wants next.
#[derive(Debug)]
pub enum Next {
    /// Ask these.
    Ask(Vec<(Ticket, Peer, Request)>),
    /// Go on later.
    Sleep(Duration),
    /// It has ended.
    Done(Found),
}

/// A walk and who drives it.
#[derive(Debug)]
pub struct Job {
    /// Where its questions come from.
    pub from: Address,
    /// The walk.
    pub walk: Walk,
}

fn map<T>(step: Step<T>, found: impl FnOnce(T) -> Found) -> Next {
    match step {
        Step::Ask(questions) => Next::Ask(questions),
        Step::Sleep(pause) => Next::Sleep(pause),
        Step::Done(output) => Next::Done(found(output)),
    }
}

impl Walk {
    /// What to do next.
    pub fn step(&mut self, now: Time) -> Next {
        match self {
            Walk::Renumber(walk) => map(walk.step(now), Found::Renumbered),
            Walk::Admit(walk) => map(walk.step(now), Found::Admitted),
            Walk::Lookup(walk) => map(walk.step(now), Found::Located),
            Walk::Refresh(walk) => map(walk.step(now), Found::Refreshed),
        }
    }

    /// Tells it an answer.
    pub fn answered(&mut self, now: Time, ticket: Ticket, answer: Result<Response, CallError>) {
        match self {
            Walk::Renumber(walk) => walk.answered(now, ticket, answer),
            Walk::Admit(walk) => walk.answered(now, ticket, answer),
            Walk::Lookup(walk) => walk.answered(now, ticket, answer),
            Walk::Refresh(walk) => walk.answered(now, ticket, answer),
        }
    }
}
