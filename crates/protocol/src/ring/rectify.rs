//! Rectify: keep the predecessor right (Zave 2017, section 5). A notifier becomes the predecessor if it is nearer,
//! or if the predecessor does not answer a ping.

use super::calls::{Task, is_alive};
use super::{Change, Ring};
use crate::id::between;
use crate::message::{CallError, Request, Response};
use crate::peer::Peer;

/// Is the predecessor being pinged, and who takes its place if it is dead?
#[derive(Clone, Debug, Default)]
pub(super) struct Rectify {
    substitute: Option<Peer>,
}

impl Ring {
    pub(super) fn notified(&mut self, candidate: Peer) -> Response {
        let answer = Response::Notified(self.serving().map(|range| range.low));
        if candidate != self.me {
            // Its address or its id is this node's: it cannot be a neighbour.
            if candidate.id == self.me.id || candidate.address == self.me.address {
                return answer;
            }
            self.learn(&candidate);
            self.known.answered(&candidate.address, candidate.id, self.now);
        }
        if between(self.predecessor.id, candidate.id, self.me.id) {
            self.set_predecessor(candidate);
        } else if candidate != self.predecessor {
            self.suspect_predecessor(candidate);
        }
        answer
    }

    /// Pings the predecessor; the nearest of those who notify meanwhile takes its place if it is dead.
    fn suspect_predecessor(&mut self, candidate: Peer) {
        match &self.rectify.substitute {
            Some(other) if !between(other.id, candidate.id, self.me.id) => {}
            Some(_) => self.rectify.substitute = Some(candidate),
            None => {
                self.rectify.substitute = Some(candidate);
                let predecessor = self.predecessor.clone();
                self.call(&predecessor, Request::Ping, Task::Predecessor);
            }
        }
    }

    pub(super) fn predecessor_answered(&mut self, pinged: &Peer, result: &Result<Response, CallError>) {
        let Some(substitute) = self.rectify.substitute.take() else { return };
        if self.is_member() && *pinged == self.predecessor && !is_alive(pinged, result) {
            self.set_predecessor(substitute);
        }
    }

    pub(super) fn set_predecessor(&mut self, predecessor: Peer) {
        if self.predecessor == predecessor {
            return;
        }
        self.learn(&predecessor);
        self.predecessor = predecessor.clone();
        self.changed(Change::Predecessor(predecessor));
        self.reconcile();
        self.check_membership();
    }
}
