//! What goes into a [`Ring`](super::Ring) and what comes out.

use std::time::Duration;

use crate::key::{Entry, Key};
use crate::message::{CallError, Range, Request, Response};
use crate::peer::Peer;

/// Names a call or a read of the ring until it is answered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Token(pub u64);

/// Names whoever asked, for the caller of `handle`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Caller(pub u64);

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// Be the first node of a ring, or the last one that is left of it.
    StartAlone,
    /// Join behind this node, which was named when the place was granted.
    StartJoin(Peer),
    /// Another node asks.
    Asked {
        /// Who is to get the answer.
        caller: Caller,
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
    /// What an [`Effect::ReadRange`] or [`Effect::ReadKeys`] found.
    Entries {
        /// Which read.
        token: Token,
        /// What the keys hold.
        entries: Vec<Entry>,
        /// More is behind this one; none: that was all.
        next: Option<Key>,
    },
    /// A timer that was set has run out.
    Timer(Timer),
    /// Somebody who routes for clients found that this node does not answer.
    Silent(Peer),
    /// Leave the ring.
    Depart,
    /// What [`Effect::Renumber`] asked for has ended.
    RenumberEnded,
}

/// The timers of a node. Setting one that is set replaces it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Timer {
    /// Ask the successor.
    Stabilize,
    /// Look one finger up.
    Finger,
    /// Look all fingers up, since the members changed.
    Refresh,
    /// Number the ring, if the numbers are still wrong.
    Renumber,
    /// Go on with a hand-over.
    HandOver,
    /// Go on with joining.
    Join,
    /// The departure takes too long.
    Depart,
}

/// Something to be done by whoever called `handle`, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Ask another node; bring the answer as [`Event::Reply`], always, within the call timeout.
    Call {
        /// Names the call.
        token: Token,
        /// Whom.
        to: Peer,
        /// What.
        request: Request,
    },
    /// Answer whoever asked.
    Answer {
        /// Who.
        caller: Caller,
        /// What.
        response: Response,
    },
    /// Bring [`Event::Timer`] after this long.
    SetTimer {
        /// Which.
        timer: Timer,
        /// After how long.
        after: Duration,
    },
    /// Read stored keys of a range in their order and bring [`Event::Entries`].
    ReadRange {
        /// Names the read.
        token: Token,
        /// Of these.
        range: Range,
        /// Begin behind this key.
        after: Option<Key>,
        /// Stop when it would be more bytes, but bring at least one entry if there is one.
        bytes_max: usize,
    },
    /// Read these keys and bring [`Event::Entries`] for the first of them that fit.
    ReadKeys {
        /// Names the read.
        token: Token,
        /// Which.
        keys: Vec<Key>,
        /// Stop when it would be more bytes, but bring at least one entry.
        bytes_max: usize,
    },
    /// Store these where their versions are higher than what is there; remove those that hold nothing.
    Merge(Vec<Entry>),
    /// Remove all keys of the range.
    Erase(Range),
    /// Walk the ring and give everybody the members, numbered; then bring [`Event::RenumberEnded`].
    Renumber,
    /// For logs, for whoever waits, and for what is kept on disk. Nothing needs to be done.
    Changed(Change),
}

/// What changed in a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// It is in the ring now.
    Joined,
    /// It could not join where it was to: ask for a place again.
    JoinFailed,
    /// Another node is before it.
    Predecessor(Peer),
    /// Another node is behind it.
    Successor(Peer),
    /// Every successor is dead: it is a ring of one.
    Alone,
    /// It serves this now; none: nothing.
    Serving(Option<Range>),
    /// It begins to give keys away.
    HandingOver {
        /// Whom.
        to: Peer,
        /// Which.
        range: Range,
    },
    /// It gave up giving keys away for now: they are still here.
    HandOverFailed {
        /// Whom.
        to: Peer,
    },
    /// Nobody served these any more (their node died): it serves them now, without what was stored there.
    Claimed(Range),
    /// A node does not answer.
    Suspected(Peer),
    /// It has a new table of members.
    Members(usize),
    /// It knows another address.
    Learned(Peer),
    /// It has left the ring.
    Left,
    /// It cannot leave the ring: it stays.
    DepartFailed(&'static str),
}
