//! `connect`: find a place for a node that joins, and have the place's owner keep it.

use std::collections::BTreeSet;

use super::lookup::{Lookup, NotLocatedReason};
use super::{Procedure, Step, Ticket};
use crate::id::{Id, Space};
use crate::message::{CallError, Placement, Policy, Request, Response};
use crate::peer::{Address, Peer};
use crate::time::Time;

/// Places that are tried before the ring counts as too unsettled, or too full.
const TRIES_MAX: u8 = 64;

/// A place that was granted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// Where.
    pub id: Id,
    /// Who will be before it.
    pub predecessor: Peer,
    /// Who granted it, and will be behind it.
    pub successor: Peer,
}

/// Why no place was granted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotAdmitted {
    /// The fixed id is another node's.
    Taken(Peer),
    /// Nobody serves the place at the moment: try again later.
    NotLocated(NotLocatedReason),
    /// Every id of the ring is taken.
    Full,
    /// Every place that was tried is on its way: try again later.
    Unsettled,
}

#[derive(Clone, Debug)]
enum Stage {
    Looking(Lookup),
    Asking(Peer),
    Done(Result<Place, NotAdmitted>),
}

/// An admission under way. Asks one node at a time.
#[derive(Clone, Debug)]
pub struct Admit {
    space: Space,
    hop_limit: u32,
    start: Peer,
    address: Address,
    placement: Placement,
    id: Id,
    stage: Stage,
    asked: bool,
    tries: u8,
    /// Ids of which somebody said that they are taken.
    taken: BTreeSet<Id>,
}

impl Admit {
    /// For a node at `address` that wants `placement`. `middle` is the middle of the widest arc that the asked node
    /// (`start`) knows of.
    pub fn new(
        space: Space,
        hop_limit: u32,
        start: &Peer,
        address: Address,
        placement: Placement,
        middle: Id,
    ) -> Admit {
        let id = match placement {
            Placement::Bisect => middle,
            Placement::Hash => space.hash(address.as_str().as_bytes()),
            Placement::Fixed(id) => id,
        };
        let lookup = Lookup::new(space, id, Policy::Finger, hop_limit, std::slice::from_ref(start));
        Admit {
            space,
            hop_limit,
            start: start.clone(),
            address,
            placement,
            id,
            stage: Stage::Looking(lookup),
            asked: false,
            tries: 0,
            taken: BTreeSet::new(),
        }
    }

    fn look_for(&mut self, id: Id) -> Stage {
        self.tries += 1;
        if self.tries >= TRIES_MAX {
            return Stage::Done(Err(NotAdmitted::Unsettled));
        }
        self.id = id;
        let start = std::slice::from_ref(&self.start);
        Stage::Looking(Lookup::new(self.space, id, Policy::Finger, self.hop_limit, start))
    }
}

impl Procedure for Admit {
    type Output = Result<Place, NotAdmitted>;

    fn step(&mut self, now: Time) -> Step<Self::Output> {
        if let Stage::Looking(lookup) = &mut self.stage {
            match lookup.step(now) {
                Step::Ask(questions) => return Step::Ask(questions),
                Step::Sleep(pause) => return Step::Sleep(pause),
                Step::Done(Ok(located)) => {
                    self.stage = Stage::Asking(located.owner);
                    self.asked = false;
                }
                Step::Done(Err(failed)) => return Step::Done(Err(NotAdmitted::NotLocated(failed.reason))),
            }
        }
        match &self.stage {
            Stage::Done(result) => Step::Done(result.clone()),
            Stage::Asking(owner) if !self.asked => {
                let request =
                    Request::Grant { id: self.id, placement: self.placement, address: self.address.clone() };
                self.asked = true;
                Step::Ask(vec![(0, owner.clone(), request)])
            }
            Stage::Asking(_) | Stage::Looking(_) => Step::Ask(Vec::new()),
        }
    }

    fn answered(&mut self, now: Time, ticket: Ticket, answer: Result<Response, CallError>) {
        let owner = match &mut self.stage {
            Stage::Looking(lookup) => return lookup.answered(now, ticket, answer),
            Stage::Asking(owner) => owner.clone(),
            Stage::Done(_) => return,
        };
        self.stage = match answer {
            Ok(Response::Granted { id, predecessor }) => {
                Stage::Done(Ok(Place { id, predecessor, successor: owner }))
            }
            Ok(Response::Taken(taker)) if matches!(self.placement, Placement::Fixed(_)) => {
                Stage::Done(Err(NotAdmitted::Taken(taker)))
            }
            Ok(Response::Taken(taker)) => {
                self.taken.insert(taker.id);
                let full = self.space.bits() < 6 && self.taken.len() == 1 << self.space.bits();
                if full {
                    Stage::Done(Err(NotAdmitted::Full))
                } else {
                    self.look_for(self.space.next(taker.id))
                }
            }
            Ok(_) | Err(_) => self.look_for(self.id),
        };
    }
}
