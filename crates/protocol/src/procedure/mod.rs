//! Walks over many nodes as state machines: who drives one asks, one bounded question at a time or several at once.
//!
//! This is what "non-recursive" means here. A lookup does not travel from node to node inside handlers that wait for
//! one another; whoever started it asks a node, is told whom to ask next, and asks that one. A [`Procedure`] is that
//! walk without the asking: it names the questions, and is told the answers.

pub mod admit;
pub mod lookup;
pub mod refresh;
pub mod renumber;
pub mod walk;

use std::time::Duration;

use crate::message::{CallError, Request, Response};
use crate::peer::Peer;
use crate::time::Time;

/// Names a question of a procedure until it is answered.
pub type Ticket = u32;

/// What a procedure wants next.
#[derive(Debug)]
pub enum Step<T> {
    /// Ask these, at once. Then tell it every answer, in any order, and call `step` again after each. An empty
    /// list: wait for answers that are still out.
    Ask(Vec<(Ticket, Peer, Request)>),
    /// Nothing is out: call `step` again after this long.
    Sleep(Duration),
    /// It has ended.
    Done(T),
}

/// A walk over many nodes. Call [`step`](Procedure::step); do what it says; repeat.
pub trait Procedure {
    /// What it finds.
    type Output;

    /// What to do next.
    fn step(&mut self, now: Time) -> Step<Self::Output>;

    /// Tells it the answer to a question that `step` returned.
    fn answered(&mut self, now: Time, ticket: Ticket, answer: Result<Response, CallError>);
}
