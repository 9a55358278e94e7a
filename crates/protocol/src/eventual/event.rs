//! What goes into an [`Eventual`](super::Eventual), what comes out, and what it reads of the node's store.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::merge::Stamped;
use super::message::{Request, Response};
use super::table::{StoreId, Table};
use crate::expiry::Moment;
use crate::key::{BadInput, Key, Operation, Version};
use crate::merkle::Source;
use crate::message::{CallError, Range};
pub use crate::ring::{Caller, Token};

/// What the machine reads of the node's store, as it is after all effects of earlier events.
pub trait Data: Source {
    /// What a key holds.
    fn get(&self, key: &Key) -> Option<Stamped>;

    /// The version of what a key holds.
    fn version(&self, key: &Key) -> Option<Version> {
        self.get(key).map(|held| held.version)
    }

    /// Visits the tombstones of a range in the order of [`Source::visit`], beginning behind `after`. An engine with
    /// an index of them answers this without reading values.
    fn tombstones(
        &self,
        range: Range,
        after: Option<&Key>,
        visit: &mut dyn FnMut(&Key, Version) -> ControlFlow<()>,
    );

    /// Visits the keys that hold a value whose moment is at or before this one, the earliest first. An engine with an
    /// index of moments answers this without a look at any other key.
    fn ended(&self, by: Moment, visit: &mut dyn FnMut(&Key, Version) -> ControlFlow<()>);

    /// Visits the keys that are hinted for a store.
    fn hints(&self, store: StoreId, visit: &mut dyn FnMut(&Key) -> ControlFlow<()>);
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The ring changed, or is seen for the first time.
    Members {
        /// Who is in it.
        table: Table,
        /// Stores that were forgotten, as far as the caller knows. A new node is told by whoever admits it.
        forgotten: BTreeSet<StoreId>,
        /// The highest stamp that the node which admits this one has seen ([`Eventual::highest`](super::Eventual::highest)),
        /// for a new node: it must not stamp below tombstones that were dropped before it came.
        seen: Option<Version>,
    },
    /// A client wants a change.
    Write {
        /// Who is to get the answer.
        caller: Caller,
        /// Of this key.
        key: Key,
        /// What.
        operation: Operation,
        /// Answer when so many copies are stored; at least 1.
        acks: usize,
        /// The highest version that the client has seen.
        seen: Option<Version>,
    },
    /// A client wants to know what a key holds.
    Read {
        /// Who is to get the answer.
        caller: Caller,
        /// Which key.
        key: Key,
        /// Ask so many replicas; at least 1.
        acks: usize,
        /// The highest version that the client has seen.
        seen: Option<Version>,
    },
    /// Another node asks.
    Asked {
        /// Who is to get the answer.
        caller: Caller,
        /// Which node it is.
        from: StoreId,
        /// What.
        request: Request,
    },
    /// An [`Effect::Call`] came back, or did not.
    Reply {
        /// Which call.
        token: Token,
        /// What came.
        result: Result<Response, CallError>,
    },
    /// What was stored before this [`Effect::Persist`] is on disk.
    Persisted {
        /// Which.
        token: Token,
    },
    /// A timer that was set has run out.
    Timer(Timer),
    /// This store never comes back (an operator says so, or it departed and gave everything away).
    Forget(StoreId),
    /// Something that was kept here was damaged, and is gone.
    Damaged,
}

/// The timers of a node. Setting one that is set replaces it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Timer {
    /// Compare with the other replicas.
    Sync,
    /// Hand on what is kept here and should not be.
    HandOff,
    /// Tend the tombstones.
    Collect,
    /// Make tombstones of the values that have ended.
    End,
    /// Try a store again that did not answer.
    Retry(StoreId),
}

/// A change of what is kept on disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// The key holds this from now on.
    Put(Key, Stamped),
    /// The key holds nothing from now on.
    Erase(Key),
    /// The key must still get to that store.
    Hint(StoreId, Key),
    /// It need not any more.
    Unhint(StoreId, Key),
    /// No stamp above this is given before a higher bound is stored.
    Bound(u64),
    /// The store is, or was, a member.
    Known(StoreId),
    /// The store never comes back.
    Forgotten(StoreId),
}

/// Something to be done by whoever called `handle`, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Make all these changes, or none, before the next event is handled.
    Store(Vec<Change>),
    /// Bring [`Event::Persisted`] when all that was stored so far is on disk (at once when nothing is ever).
    Persist {
        /// Names it.
        token: Token,
    },
    /// Ask another node; bring the answer as [`Event::Reply`], always, within the call timeout.
    Call {
        /// Names the call.
        token: Token,
        /// Whom.
        to: StoreId,
        /// What.
        request: Request,
    },
    /// Answer another node.
    Answer {
        /// Who asked.
        caller: Caller,
        /// What.
        response: Response,
    },
    /// Answer a client.
    Done {
        /// Who asked.
        caller: Caller,
        /// What became of it.
        result: Result<Outcome, ClientError>,
    },
    /// Bring [`Event::Timer`] after this long.
    SetTimer {
        /// Which.
        timer: Timer,
        /// After how long.
        after: Duration,
    },
    /// This store has been forgotten by the cluster: it takes and gives nothing any more, and must be formatted.
    Barred,
}

/// What a client is told.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// The write has this version.
    Written(Version),
    /// The key holds this (none: nothing is known of it; a tombstone: it was deleted then).
    Found(Option<Stamped>),
}

/// Why a client does not get what it wants.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error, Serialize, Deserialize)]
pub enum ClientError {
    /// Nothing was changed.
    #[error(transparent)]
    BadInput(#[from] BadInput),
    /// Nothing was changed.
    #[error(
        "compare-and-swap needs one order of a key's writes, which eventual mode does not have: use put, or a cluster in chain mode"
    )]
    NoCompareAndSwap,
    /// Nothing was changed.
    #[error(
        "the version that the client has seen is {ahead_ms} ms ahead of this node's clock, more than the {allowed_ms} ms allowed: check the clocks"
    )]
    FromTheFuture {
        /// How far.
        ahead_ms: u64,
        /// How far it may be.
        allowed_ms: u64,
    },
    /// Nothing was changed.
    #[error("{wanted} copies are wanted, and a key has {possible} here: ask for 1 to {possible}")]
    TooManyAcks {
        /// What was asked for.
        wanted: usize,
        /// The most that is possible.
        possible: usize,
    },
    /// It is written, and will spread, but fewer copies than wanted are known to be stored.
    #[error(
        "written with version {version}, but only {stored} copies are known to be stored and {wanted} were wanted"
    )]
    FewerCopies {
        /// Its version.
        version: Version,
        /// Copies that are stored.
        stored: usize,
        /// Copies that were wanted.
        wanted: usize,
    },
    /// Fewer replicas than wanted answered. Try again, or ask for fewer.
    #[error("only {answered} replicas answered and {wanted} were wanted")]
    FewerReplicas {
        /// How many did.
        answered: usize,
        /// How many were wanted.
        wanted: usize,
    },
    /// Nothing was changed. Try another node, or this one later.
    #[error("this node is not in the ring yet, or has too much to do")]
    Busy,
    /// Nothing was changed. Try another node.
    #[error("the cluster has forgotten this node's store: format it and join anew")]
    Barred,
}
