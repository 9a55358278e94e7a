//! What will happen, by true time.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use chordata_protocol::chain::{Applied, ChainRequest, ChainResponse, StoreId, Timer};
use chordata_protocol::ring::Token;
use chordata_protocol::{CallError, Time};

use super::client::{Answer, Asked};
use super::group::Origin;
use super::node::{Attempt, Waiter};

/// Something that will happen.
#[derive(Debug)]
pub enum Item {
    /// A request arrives at a node.
    Ask {
        /// Which node.
        to: usize,
        /// Who asks.
        from: usize,
        /// Who waits for the answer.
        waiter: Waiter,
        /// What.
        request: ChainRequest,
    },
    /// An answer arrives, or it is certain that none will.
    Answered {
        /// Which node.
        slot: usize,
        /// In which life.
        life: u64,
        /// Which call.
        token: Token,
        /// The answer, or why there is none.
        result: Result<ChainResponse, CallError>,
    },
    /// A member's timer runs out.
    Timer {
        /// Which node.
        slot: usize,
        /// In which life.
        life: u64,
        /// Which.
        timer: Timer,
        /// Which setting of it: later ones void earlier ones.
        setting: u64,
    },
    /// A coordinator's time has passed.
    Tick {
        /// Which node.
        slot: usize,
        /// In which life.
        life: u64,
        /// Which setting of it: later ones void earlier ones.
        setting: u64,
    },
    /// A sync of a disk is through.
    Synced {
        /// Which node.
        slot: usize,
        /// In which life.
        life: u64,
    },
    /// A paused node goes on.
    Resume {
        /// Which node.
        slot: usize,
        /// In which life.
        life: u64,
    },
    /// A node asks to be admitted.
    Connect {
        /// Which node.
        slot: usize,
        /// In which life.
        life: u64,
    },
    /// A crashed node starts again.
    Restart {
        /// Which node.
        slot: usize,
        /// In which life.
        life: u64,
    },
    /// The group does what it does all the time.
    GroupTick,
    /// Proposals may have been agreed on.
    Agree,
    /// A round of the group reaches a majority, if it can.
    Round {
        /// Which node.
        slot: usize,
        /// In which life.
        life: u64,
        /// In which term.
        term: u64,
        /// Which question.
        token: Token,
    },
    /// The round has come back.
    Confirmed {
        /// Which node.
        slot: usize,
        /// In which life.
        life: u64,
        /// Which question.
        token: Token,
        /// Did the node lead?
        leads: bool,
    },
    /// A proposal has ended.
    Proposed {
        /// Which node.
        slot: usize,
        /// In which life.
        life: u64,
        /// Who proposed.
        origin: Origin,
        /// What it did; none: unknown.
        applied: Option<Applied>,
    },
    /// Other nodes vote, if the leader still leads.
    Voters {
        /// Which node.
        slot: usize,
        /// In which life.
        life: u64,
        /// Who.
        voters: BTreeSet<StoreId>,
    },
    /// A voter has the agreed commands up to there.
    Replicated {
        /// Which node.
        slot: usize,
        /// In which life.
        life: u64,
        /// How many commands.
        applied: usize,
    },
    /// A voter hears who leads.
    Leader {
        /// Which node.
        slot: usize,
        /// In which life.
        life: u64,
        /// Who leads.
        leader: usize,
        /// In which term.
        term: u64,
    },
    /// A client's request arrives at a node.
    ClientAsk {
        /// Which node.
        to: usize,
        /// Which sending of which operation.
        attempt: Attempt,
        /// What.
        asked: Asked,
    },
    /// Its answer arrives at the client.
    ClientAnswer {
        /// Which sending of which operation.
        attempt: Attempt,
        /// What.
        answer: Answer,
    },
    /// A client has waited for long enough.
    ClientTimeout {
        /// Which sending of which operation.
        attempt: Attempt,
    },
    /// A client sends again.
    ClientAgain {
        /// Which sending of which operation.
        attempt: Attempt,
    },
    /// A client's lane begins its next operation.
    ClientNext {
        /// Which client.
        client: usize,
        /// Which of its lanes.
        lane: usize,
    },
    /// Something goes wrong.
    Disturb,
    /// Everything that is stored is read.
    Patrol,
    /// Everything is switched off.
    PowerCut,
    /// Cuts, losses and slow disks end, if nothing newer took their place.
    Mend {
        /// How many faults there were when they began.
        fault: u64,
    },
    /// The leader's term ends.
    Depose {
        /// In which term.
        term: u64,
    },
}

impl Item {
    /// The node that it happens to, whose pause holds it back.
    pub fn slot(&self) -> Option<usize> {
        match self {
            Item::Ask { to, .. } | Item::ClientAsk { to, .. } => Some(*to),
            Item::Answered { slot, .. }
            | Item::Timer { slot, .. }
            | Item::Tick { slot, .. }
            | Item::Synced { slot, .. }
            | Item::Confirmed { slot, .. }
            | Item::Proposed { slot, .. }
            | Item::Replicated { slot, .. }
            | Item::Leader { slot, .. } => Some(*slot),
            _ => None,
        }
    }

    /// A number that tells kinds and addressees apart, for the trace.
    pub fn digest(&self) -> u64 {
        let (kind, a, b) = match self {
            Item::Ask { to, from, request, .. } => (1, *to, *from + 100 * request.name().len()),
            Item::Answered { slot, token, result, .. } => {
                (2, *slot, token.0 as usize * 2 + usize::from(result.is_ok()))
            }
            Item::Timer { slot, .. } => (3, *slot, 0),
            Item::Tick { slot, .. } => (4, *slot, 0),
            Item::Synced { slot, .. } => (5, *slot, 0),
            Item::Resume { slot, .. } => (6, *slot, 0),
            Item::Connect { slot, .. } => (7, *slot, 0),
            Item::Restart { slot, .. } => (8, *slot, 0),
            Item::GroupTick => (9, 0, 0),
            Item::Agree => (10, 0, 0),
            Item::Round { slot, term, .. } => (11, *slot, *term as usize),
            Item::Confirmed { slot, leads, .. } => (12, *slot, usize::from(*leads)),
            Item::Proposed { slot, applied, .. } => (13, *slot, usize::from(applied.is_some())),
            Item::Voters { slot, voters, .. } => (25, *slot, voters.len()),
            Item::Replicated { slot, applied, .. } => (14, *slot, *applied),
            Item::Leader { slot, leader, .. } => (15, *slot, *leader),
            Item::ClientAsk { to, attempt, .. } => (16, *to, attempt.operation as usize),
            Item::ClientAnswer { attempt, answer } => (17, attempt.client, answer.digest()),
            Item::ClientTimeout { attempt } => (18, attempt.client, attempt.operation as usize),
            Item::ClientAgain { attempt } => (19, attempt.client, attempt.operation as usize),
            Item::ClientNext { client, lane } => (20, *client, *lane),
            Item::Disturb => (21, 0, 0),
            Item::PowerCut => (22, 0, 0),
            Item::Mend { fault } => (23, *fault as usize, 0),
            Item::Patrol => (26, 0, 0),
            Item::Depose { term } => (24, *term as usize, 0),
        };
        (kind << 56) ^ ((a as u64) << 40) ^ b as u64
    }
}

#[derive(Debug)]
struct Scheduled {
    at: Time,
    number: u64,
    item: Item,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Scheduled) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Scheduled) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Scheduled) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// What will happen, the next first; of two at one moment, the one that was put in first.
#[derive(Debug, Default)]
pub struct Queue {
    heap: BinaryHeap<Reverse<Scheduled>>,
    next: u64,
}

impl Queue {
    /// This happens at that moment.
    pub fn push(&mut self, at: Time, item: Item) {
        self.next += 1;
        self.heap.push(Reverse(Scheduled { at, number: self.next, item }));
    }

    /// The next thing, if it happens up to that moment.
    pub fn pop(&mut self, until: Time) -> Option<(Time, Item)> {
        if self.heap.peek()?.0.at > until {
            return None;
        }
        self.heap.pop().map(|Reverse(next)| (next.at, next.item))
    }
}
