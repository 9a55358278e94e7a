//! Calls to other nodes: what each is for, how often it is tried, and what is done with the answer.
//!
//! A question to oneself is answered at once, without a call, and never with "busy".

use super::event::{Effect, Token};
use super::{Change, Ring};
use crate::message::{CallError, Request, Response};
use crate::peer::Peer;

/// What an answer is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Task {
    /// Stabilize A: the successor.
    Head,
    /// Stabilize B: the successor's predecessor.
    Closer,
    /// Stabilize B: a remembered node that answers.
    Remembered,
    /// The successor was notified.
    Notified,
    /// Rectify: is the predecessor alive?
    Predecessor,
    /// Is the node alive to which keys were given, or from which they came?
    Boundary,
    /// Does the predecessor point here? Then keys that nobody serves can be claimed.
    Claim,
    /// Join: the node that may be the predecessor.
    Join,
    /// A probe of a remembered address.
    Probe,
    /// A step of the lookup with this number that the ring itself drives.
    Finger(u64),
    /// A part of a hand-over.
    Chunk(u64),
    /// The end of a hand-over.
    TakeOver(u64),
    /// A neighbour was told of this node's departure.
    Departing,
}

impl Task {
    /// Is silence tried again before the node is taken for dead?
    fn is_repeated(self) -> bool {
        matches!(self, Task::Head | Task::Predecessor | Task::Boundary)
    }
}

/// A call that is out.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    to: Peer,
    task: Task,
    /// For asking again; none: silence is an answer.
    again: Option<(Request, u8)>,
}

/// A question to oneself, answered.
#[derive(Clone, Debug)]
pub(super) struct Local {
    pub(super) task: Task,
    pub(super) to: Peer,
    pub(super) response: Response,
}

impl Ring {
    pub(super) fn call(&mut self, to: &Peer, request: Request, task: Task) {
        if to.address == self.me.address {
            let stepping = std::mem::take(&mut self.stepping);
            let response = self.answer(request);
            self.stepping = stepping;
            self.local.push_back(Local { task, to: to.clone(), response });
            return;
        }
        let attempts = if task.is_repeated() { self.settings.call_attempts.saturating_sub(1) } else { 0 };
        let again = (attempts > 0).then(|| (request.clone(), attempts));
        self.send(to.clone(), request, task, again);
    }

    fn send(&mut self, to: Peer, request: Request, task: Task, again: Option<(Request, u8)>) {
        let token = self.token();
        self.effects.push(Effect::Call { token, to: to.clone(), request });
        self.calls.insert(token, Pending { to, task, again });
    }

    pub(super) fn token(&mut self) -> Token {
        self.next_token += 1;
        Token(self.next_token)
    }

    pub(super) fn replied(&mut self, token: Token, result: Result<Response, CallError>) {
        let Some(Pending { to, task, again }) = self.calls.remove(&token) else { return };
        // An impossible answer is as good as none.
        let result = match result {
            Ok(response) if !response.is_possible(self.settings.space) => Err(CallError::Unreachable),
            result => result,
        };
        match (result, again) {
            (Err(CallError::TimedOut), Some((request, attempts))) => {
                let again = (attempts > 1).then(|| (request.clone(), attempts - 1));
                self.send(to, request, task, again);
            }
            (result, _) => {
                if result.is_err() && task != Task::Probe {
                    self.suspect(&to);
                }
                self.resume(task, &to, result);
            }
        }
    }

    /// Goes on with what the answer was waited for.
    pub(super) fn resume(&mut self, task: Task, to: &Peer, result: Result<Response, CallError>) {
        match task {
            Task::Head => self.head_answered(to, result),
            Task::Closer | Task::Remembered => self.closer_answered(to, task, result),
            Task::Notified => self.notify_answered(to, result),
            Task::Predecessor => self.predecessor_answered(to, &result),
            Task::Boundary => self.boundary_answered(to, &result),
            Task::Claim => self.claim_answered(to, result),
            Task::Join => self.join_answered(to, result),
            Task::Probe => self.probe_answered(to, &result),
            Task::Finger(generation) => self.finger_answered(generation, result),
            Task::Chunk(nonce) => self.chunk_answered(nonce, &result),
            Task::TakeOver(nonce) => self.take_over_answered(nonce, &result),
            Task::Departing => self.departing_answered(),
        }
    }

    fn probe_answered(&mut self, to: &Peer, result: &Result<Response, CallError>) {
        match result {
            Ok(Response::Pong(id)) => {
                self.known.answered(&to.address, *id, self.now);
                if *id != to.id {
                    self.changed(Change::Learned(Peer::new(*id, to.address.clone())));
                }
            }
            Ok(_) | Err(_) => {
                self.known.silent(&to.address, self.now, self.settings.stabilize_every);
            }
        }
    }
}

/// Did the expected node answer a ping?
pub(super) fn is_alive(peer: &Peer, result: &Result<Response, CallError>) -> bool {
    matches!(result, Ok(Response::Pong(id)) if *id == peer.id)
}
