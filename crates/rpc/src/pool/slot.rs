//! A place for one connection: empty, being opened, or open.
//!
//! The attempt to open runs in a task of its own with time limits of its own, so that it comes to an end whether or
//! not those who wait for it have patience. Guarantee: at most one attempt per slot at any time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chordata_protocol::Address;
use futures::future::{BoxFuture, FutureExt, Shared as SharedFuture};
use parking_lot::RwLock;

use super::Shared;
use crate::connection::Connection;
use crate::failure::CallFailure;
use crate::kind::Kind;

/// While a peer has another connection, one that could not be opened is tried again after this long: calls do not
/// need it, and there may be hundreds of thousands of them a second.
const SPARE_RETRY: Duration = Duration::from_secs(1);

/// An attempt to open a connection; all who wait for it get its result.
pub(super) type Attempt<K> = SharedFuture<BoxFuture<'static, Result<Arc<Connection<K>>, CallFailure>>>;

/// A place for one connection.
pub(super) struct Slot<K: Kind> {
    state: RwLock<State<K>>,
}

enum State<K: Kind> {
    Empty { failed: Option<Instant> },
    Opening(Attempt<K>),
    Open(Arc<Connection<K>>),
}

/// What a slot has to offer.
pub(super) enum Found<K: Kind> {
    /// A connection.
    Open(Arc<Connection<K>>),
    /// Wait for this.
    Opening(Attempt<K>),
}

impl<K: Kind> Default for Slot<K> {
    fn default() -> Slot<K> {
        Slot { state: RwLock::new(State::Empty { failed: None }) }
    }
}

impl<K: Kind> Slot<K> {
    /// The connection, if there is one that works as far as is known.
    pub(super) fn alive(&self) -> Option<Arc<Connection<K>>> {
        match &*self.state.read() {
            State::Open(connection) if connection.is_alive() => Some(connection.clone()),
            State::Open(_) | State::Opening(_) | State::Empty { .. } => None,
        }
    }

    /// The connection, or the attempt that is under way, or a new attempt.
    pub(super) fn find(self: &Arc<Self>, shared: &Arc<Shared>, address: &Address) -> Found<K> {
        let mut state = self.state.write();
        match &*state {
            State::Open(connection) if connection.is_alive() => return Found::Open(connection.clone()),
            // One that has ended but is still here: its task was aborted.
            State::Opening(attempt) if attempt.peek().is_none() => return Found::Opening(attempt.clone()),
            State::Open(_) | State::Opening(_) | State::Empty { .. } => {}
        }
        let attempt = self.clone().attempt(shared.clone(), address.clone());
        *state = State::Opening(attempt.clone());
        Found::Opening(attempt)
    }

    /// Sees to it that there will be a connection here, for calls to come; nobody waits for it.
    pub(super) fn open_spare(self: &Arc<Self>, shared: &Arc<Shared>, address: &Address) {
        let just_failed = match &*self.state.read() {
            State::Empty { failed: Some(at) } => at.elapsed() < SPARE_RETRY,
            State::Empty { failed: None } | State::Open(_) | State::Opening(_) => false,
        };
        if !just_failed {
            self.find(shared, address);
        }
    }

    fn attempt(self: Arc<Self>, shared: Arc<Shared>, address: Address) -> Attempt<K> {
        let aborted = CallFailure::Unreachable(address.clone(), String::from("connecting was given up"));
        let task = tokio::spawn(async move {
            let opened = shared.open::<K>(&address).await;
            // Before anybody who waits gets it: whoever calls after a failure starts anew.
            *self.state.write() = match &opened {
                Ok(connection) => State::Open(connection.clone()),
                Err(_) => State::Empty { failed: Some(Instant::now()) },
            };
            opened
        });
        task.map(|joined| joined.unwrap_or(Err(aborted))).boxed().shared()
    }
}
