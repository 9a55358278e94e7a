//! Calls and persists that are out, and who goes on when they come back.

use super::event::Caller;
use super::message::{Request, Response};
use super::{Data, Effect, Eventual, StoreId, Token};
use crate::key::{Key, Version};
use crate::merkle::Ticket;
use crate::message::CallError;

/// Why another node was called.
#[derive(Clone, Debug)]
pub(super) enum Call {
    /// To give it copies in the background.
    Deliver { to: StoreId, sent: Vec<(Key, Version)>, hinted: bool },
    /// For its own good: nothing follows from the answer.
    Aside,
    /// For a read.
    Read { read: u64, from: StoreId },
    /// To compare.
    Compare { with: StoreId, session: u64, ticket: Ticket },
    /// To get what a comparison found.
    Pull { from: StoreId, session: u64, keys: Vec<Key> },
    /// To give what a comparison found.
    Push { to: StoreId, session: u64, keys: usize },
    /// To hand on what should not be here.
    Offer { to: StoreId, sweep: u64 },
    /// To give what it wanted of that.
    HandOn { to: StoreId, sweep: u64, rest: Vec<Key> },
    /// To exchange which stores there are.
    Gossip,
    /// To have it keep tombstones.
    Keep { to: StoreId, tombstones: Vec<(Key, Version)> },
    /// To have it drop tombstones.
    Drop { to: StoreId, tombstones: Vec<(Key, Version)> },
}

/// What follows when the disk has synced.
#[derive(Clone, Debug)]
pub(super) enum After {
    /// Another node gets its answer.
    Answer(Caller, Response),
    /// This node's copy of a write counts.
    Stored(Key, Version),
    /// Stamps may go up to this.
    Bound(u64),
    /// These stores are known for ever: a table with them may be used.
    Known(Vec<StoreId>),
    /// Hints are on disk: nothing follows.
    Hints,
    /// These tombstones may be given to all.
    Tombstones(Vec<(Key, Version)>),
}

impl Eventual {
    pub(super) fn call(&mut self, to: StoreId, request: Request, why: Call) {
        let token = Token(self.number());
        self.calls.insert(token, why);
        self.effects.push(Effect::Call { token, to, request });
    }

    pub(super) fn persist(&mut self, after: After) -> Token {
        let token = Token(self.number());
        self.persists.insert(token, after);
        self.effects.push(Effect::Persist { token });
        token
    }

    pub(super) fn replied(&mut self, token: Token, result: Result<Response, CallError>, data: &dyn Data) {
        let Some(call) = self.calls.remove(&token) else { return };
        if matches!(result, Ok(Response::Barred)) {
            self.bar();
        }
        let response = result.ok();
        match call {
            Call::Deliver { to, sent, hinted } => {
                let stored = matches!(response, Some(Response::Copied));
                self.delivered(to, sent, hinted, stored, data);
            }
            Call::Aside => {}
            Call::Gossip => {
                if let Some(Response::Kept(stores)) = response {
                    self.learn(&stores, data);
                }
            }
            Call::Read { read, from } => self.read_answered(read, from, response, data),
            Call::Compare { with, session, ticket } => self.compared(with, session, ticket, response, data),
            Call::Pull { from, session, keys } => self.pulled(from, session, &keys, response, data),
            Call::Push { to, session, keys } => {
                let stored = matches!(response, Some(Response::Copied));
                self.pushed(to, session, keys, stored, data);
            }
            Call::Offer { to, sweep } => self.offered(to, sweep, response, data),
            Call::HandOn { to, sweep, rest } => {
                let stored = matches!(response, Some(Response::Copied));
                self.handed_on(to, sweep, rest, stored, data);
            }
            Call::Keep { to, tombstones } => self.kept(to, &tombstones, response, data),
            Call::Drop { to, tombstones } => {
                let dropped = matches!(response, Some(Response::Dropped));
                self.dropped(to, &tombstones, dropped, data);
            }
        }
    }

    pub(super) fn persisted(&mut self, token: Token, data: &dyn Data) {
        match self.persists.remove(&token) {
            None | Some(After::Hints) => {}
            Some(After::Answer(caller, response)) => self.effects.push(Effect::Answer { caller, response }),
            Some(After::Stored(key, version)) => self.copy_stored(self.me, &key, version),
            Some(After::Bound(bound)) => {
                self.raising_bound = false;
                self.clock.bound_persisted(bound);
                self.unpark(data);
            }
            Some(After::Known(stores)) => self.stores_saved(&stores, data),
            Some(After::Tombstones(tombstones)) => self.tombstones_saved(&tombstones, data),
        }
    }
}
