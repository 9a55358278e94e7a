//! What goes into a [`Member`](super::Member) or a [`Coordinator`](super::Coordinator) and what comes out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::command::{Applied, Command};
use super::message::{ChainRequest, ChainResponse, Holding, KeptResult, LogEntry};
use super::results::ResultId;
use super::view::{Epoch, Sequence, StoreId, View};
use crate::expiry::{Ending, Moment};
use crate::id::Id;
use crate::key::{Entry, Key, Outcome, Version};
use crate::message::{CallError, Range};
use crate::peer::Peer;
use crate::ring::{Caller, Token};

/// Something that happened to a member.
#[derive(Clone, Debug)]
pub enum Event {
    /// It begins to live.
    Start,
    /// Another node asks.
    Asked {
        /// Whom to answer.
        caller: Caller,
        /// What.
        request: ChainRequest,
    },
    /// A call was answered, or not.
    Reply {
        /// Which call.
        token: Token,
        /// The answer.
        result: Result<ChainResponse, CallError>,
    },
    /// What was asked of the engine with [`Effect::List`].
    Listed {
        /// Which question.
        token: Token,
        /// Keys and versions.
        keys: Vec<(Key, Version)>,
        /// These are all up to this key, included, and more may be behind it; none: that was everything.
        upto: Option<Key>,
    },
    /// What [`Effect::EraseSome`] asked for is done up to this key; none: to the end.
    Erased {
        /// Which slice.
        token: Token,
        /// Up to where.
        upto: Option<Key>,
    },
    /// What [`Effect::DropResults`] asked for is done up to this result; none: to the end.
    ResultsDropped {
        /// Which slice.
        token: Token,
        /// Up to where.
        upto: Option<ResultId>,
    },
    /// What [`Effect::FindDue`] asked for.
    Due {
        /// Which question.
        token: Token,
        /// What the wall clock shows.
        wall: Moment,
        /// Keys whose moment has come, the earliest first, with the versions of the values that are there now.
        due: Vec<(Ending, Version)>,
        /// Keys that may be due, and whose records cannot be read.
        damaged: Vec<(Id, Key)>,
        /// These are all up to this one, and more may be behind it; none: that was everything.
        upto: Option<Ending>,
    },
    /// Everything that was stored before [`Effect::Persist`] is on disk.
    Durable(Token),
    /// Entries of this epoch are on disk up to there.
    Persisted {
        /// Which epoch.
        epoch: Epoch,
        /// Up to where.
        sequence: Sequence,
    },
    /// Stored records of these keys cannot be read: their checksums are wrong.
    Damaged(Vec<(Id, Key)>),
    /// The store is a member from this view on: given before each start. (Before that a view without it does not mean that
    /// it was removed; behind it, it does, also when the store has lost every view that had it.)
    Admitted(u64),
    /// The group on this node has agreed on a newer view.
    View(Arc<View>),
    /// The leader is known to be this one.
    Leader(Peer),
    /// A timer ran out.
    Timer(Timer),
}

/// The timers of a member.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Timer {
    /// Send a heartbeat; try again what did not get through.
    Beat,
}

/// What became of a client's request that waited.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// A write is committed.
    Done {
        /// What it did.
        outcome: Outcome,
        /// Its place in the order.
        at: Version,
    },
    /// A write may or may not be done.
    Unknown(&'static str),
    /// A read may be tried again now.
    ReadAgain,
}

/// Something that a member wants done, in order and before its next event.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Ask another node; its answer, or its silence, comes back as [`Event::Reply`].
    Call {
        /// Names the call.
        token: Token,
        /// Whom.
        to: Peer,
        /// What.
        request: ChainRequest,
    },
    /// Answer a question.
    Answer {
        /// Whose.
        caller: Caller,
        /// With what.
        response: ChainResponse,
    },
    /// Answer a question with keys and versions of the range behind a key, at most [`LISTED_MAX`](super::message::LISTED_MAX).
    AnswerListed {
        /// Whose.
        caller: Caller,
        /// Of which range.
        range: Range,
        /// Behind this key.
        after: Option<Key>,
        /// The end of the log at this moment, to be answered along.
        last: Sequence,
    },
    /// Answer a question with what keys hold, as many as fit.
    AnswerFetched {
        /// Whose.
        caller: Caller,
        /// Which keys.
        keys: Vec<Key>,
        /// At most so many bytes, but at least one key.
        bytes_max: usize,
    },
    /// Answer a client's request that waited.
    Reply {
        /// Whose.
        caller: Caller,
        /// With what.
        reply: Reply,
    },
    /// Put entries into the engine, with their results and the holding, in one batch. Visible at once; when it is on
    /// disk (only asked for under `sync`), [`Event::Persisted`].
    Store {
        /// One behind the other, of the holding's epoch.
        entries: Vec<Arc<LogEntry>>,
        /// Results that need not be kept any more.
        forgotten: Vec<(u128, u64)>,
        /// What the engine then holds of the epoch.
        holding: Holding,
    },
    /// Put what another replica has into the engine (nothing: remove the key).
    Fill(Vec<Entry>),
    /// Forget results that are kept for keys of a range and are of earlier epochs than that, looking at no more than
    /// [`LISTED_MAX`](super::message::LISTED_MAX): [`Event::ResultsDropped`].
    DropResults {
        /// Names the slice.
        token: Token,
        /// Of which range.
        range: Range,
        /// Of epochs before this one.
        before: Epoch,
        /// Behind this one.
        after: Option<ResultId>,
    },
    /// Keep these results.
    Keep(Vec<((u128, u64), KeptResult)>),
    /// Note that this is held, and that what was noted of these epochs is void.
    Hold {
        /// What is held from now on, if anything new.
        holding: Option<Holding>,
        /// Epochs that ended.
        released: Vec<Epoch>,
    },
    /// Remove all keys of a range, and the results that belong to them, before anything else: it is served as empty.
    Erase(Range),
    /// Remove the first keys of a range behind `after`, no more than [`LISTED_MAX`](super::message::LISTED_MAX):
    /// [`Event::Erased`].
    EraseSome {
        /// Names the slice.
        token: Token,
        /// Of which range.
        range: Range,
        /// Behind this key.
        after: Option<Key>,
    },
    /// Ask the engine for the keys of a range and their versions, behind `after` up to `upto` (none: to the end), no more
    /// than [`LISTED_MAX`](super::message::LISTED_MAX): [`Event::Listed`].
    List {
        /// Names the question.
        token: Token,
        /// Of which range.
        range: Range,
        /// Behind this key.
        after: Option<Key>,
        /// Up to this key, included.
        upto: Option<Key>,
    },
    /// Ask the engine at once, with the effects before this one carried out, which keys of a range have ended by the wall
    /// clock, in the order of their moments and behind `after`, looking at no more than
    /// [`LISTED_MAX`](super::message::LISTED_MAX): [`Event::Due`], before any other event.
    FindDue {
        /// Names the question.
        token: Token,
        /// Of which range.
        range: Range,
        /// Behind this one.
        after: Option<Ending>,
    },
    /// Say when everything that was stored so far is on disk: [`Event::Durable`].
    Persist(Token),
    /// Set a timer; an earlier setting of it is void.
    SetTimer {
        /// Which.
        timer: Timer,
        /// In how long.
        after: Duration,
    },
    /// Something that people and tests want to see.
    Changed(Change),
}

/// Something that people and tests want to see.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// There is a newer view.
    View(Arc<View>),
    /// A replica begins: serving or syncing.
    Began {
        /// Which epoch.
        epoch: Epoch,
        /// Of which range.
        range: Range,
        /// Serving?
        serving: bool,
    },
    /// A replica takes no writes and serves no reads any more, until the next epoch.
    Wedged(Epoch),
    /// A replica has been filled.
    Synced(Epoch),
    /// A replica has a record that cannot be read.
    Damaged(Epoch),
    /// A replica has a gap that nobody can fill.
    Broken(Epoch),
    /// A replica ended.
    Ended(Epoch),
    /// The node is no member any more.
    Removed,
}

/// Something that happened to the coordinator.
#[derive(Clone, Debug)]
pub enum Occasion {
    /// This node leads the group from now on; the view is the newest agreed one.
    Elected(Arc<View>),
    /// It does not lead any more.
    Deposed,
    /// A newer view was agreed on.
    Agreed(Arc<View>),
    /// A member's heartbeat.
    Heartbeat {
        /// Whom to answer.
        caller: Caller,
        /// What it says.
        beat: Box<super::message::Heartbeat>,
    },
    /// A round of the group that was asked for has ended: did this node still lead when it began?
    Confirmed {
        /// Which.
        token: Token,
        /// Did it?
        leads: bool,
    },
    /// A proposal has ended; none: it may or may not be agreed on.
    Proposed {
        /// Which.
        token: Token,
        /// What it did.
        applied: Option<Applied>,
    },
    /// The group's voters are these.
    Voters(BTreeSet<StoreId>),
    /// An operator accepts that acknowledged writes may be lost where no complete copy is left.
    AcceptLoss,
    /// Time passes.
    Tick,
}

/// Something that the coordinator wants done.
#[derive(Clone, Debug)]
pub enum Deed {
    /// Have the group confirm, by a round that begins now, that this node leads: [`Occasion::Confirmed`].
    Confirm(Token),
    /// Propose a command to the group: [`Occasion::Proposed`].
    Propose {
        /// Names the proposal.
        token: Token,
        /// What.
        command: Command,
    },
    /// Answer a heartbeat.
    Answer {
        /// Whose.
        caller: Caller,
        /// With what.
        response: ChainResponse,
    },
    /// Tell a member to send a heartbeat now; whether it arrives does not matter.
    Poke(Peer),
    /// Let these vote in the group: [`Occasion::Voters`] when it is so.
    Voters(BTreeSet<StoreId>),
    /// Tick again in so long.
    TickAfter(Duration),
    /// A member is thought dead, or alive again: for people.
    Lapsed {
        /// Who.
        store: StoreId,
        /// Is it silent?
        lapsed: bool,
    },
}
