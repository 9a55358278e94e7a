//! What the parts of a member share: the time, its name, the effects that it collects, the calls that are out.

use std::collections::BTreeMap;

use super::event::{Change, Effect};
use super::message::ChainRequest;
use super::settings::ChainSettings;
use super::view::{Epoch, Incarnation, Sequence, StoreId};
use crate::peer::Peer;
use crate::ring::Token;
use crate::time::Time;

/// What a call was for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Task {
    /// A heartbeat, sent at that moment to that node.
    Heartbeat { sent: Time, to: Peer },
    /// A frame whose entries go up to there.
    Frame { epoch: Epoch, upto: Sequence },
    /// News of commits.
    Committed { epoch: Epoch },
    /// Levelling, for a change, up to there.
    Level { epoch: Epoch, change: Epoch, base: Sequence },
    /// A part of the filling of a newcomer.
    Fill { epoch: Epoch },
    /// A slice of removing what is others'.
    Erase { epoch: Epoch },
    /// A look for what is due to end.
    Due { epoch: Epoch },
}

/// See the [module](self).
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) settings: ChainSettings,
    pub(super) store: StoreId,
    pub(super) incarnation: Incarnation,
    pub(super) me: Peer,
    pub(super) now: Time,
    /// Is there something that the leader should hear at once?
    pub(super) urgent: bool,
    pub(super) effects: Vec<Effect>,
    tasks: BTreeMap<Token, Task>,
    next_token: u64,
}

impl Context {
    pub(super) fn new(
        settings: ChainSettings,
        store: StoreId,
        incarnation: Incarnation,
        me: Peer,
    ) -> Context {
        Context {
            settings,
            store,
            incarnation,
            me,
            now: Time::ZERO,
            urgent: false,
            effects: Vec::new(),
            tasks: BTreeMap::new(),
            next_token: 0,
        }
    }

    pub(super) fn call(&mut self, to: &Peer, request: ChainRequest, task: Task) -> Token {
        let token = self.token(task);
        self.effects.push(Effect::Call { token, to: to.clone(), request });
        token
    }

    /// A name for something that comes back.
    pub(super) fn token(&mut self, task: Task) -> Token {
        self.next_token += 1;
        let token = Token(self.next_token);
        self.tasks.insert(token, task);
        token
    }

    /// What came back was for this.
    pub(super) fn task(&mut self, token: Token) -> Option<Task> {
        self.tasks.remove(&token)
    }

    /// Heartbeats that are out to a node.
    pub(super) fn heartbeats(&self, node: &Peer) -> usize {
        self.tasks.values().filter(|task| matches!(task, Task::Heartbeat { to, .. } if to == node)).count()
    }

    pub(super) fn changed(&mut self, change: Change) {
        self.effects.push(Effect::Changed(change));
    }
}
