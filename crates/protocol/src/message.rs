//! What nodes say to each other. These types are the wire types.
//!
//! Every request is answered from the state of the node that gets it, at once: no handler of these waits for another
//! node. That is what makes every walk over the ring non-recursive.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{Id, Space, in_half_open};
use crate::key::Entry;
use crate::membership::{Membership, Stamp};
use crate::peer::{Address, Peer, Successor};

/// The identifiers `(low, high]`, going up and around; with equal ends all of them. Never empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Range {
    /// Just before the first one.
    pub low: Id,
    /// The last one.
    pub high: Id,
}

impl Range {
    /// Is it one of them?
    pub fn contains(&self, id: Id) -> bool {
        in_half_open(self.low, id, self.high)
    }

    /// Are all of the other's its own?
    pub fn covers(&self, other: &Range, space: Space) -> bool {
        if self.low == self.high || self == other {
            return true;
        }
        let first = space.next(other.low);
        other.low != other.high
            && self.contains(first)
            && self.contains(other.high)
            && space.distance(self.low, first) <= space.distance(self.low, other.high)
    }

    /// Do the two have an identifier in common?
    pub fn overlaps(&self, other: &Range) -> bool {
        self.contains(other.high) || other.contains(self.high)
    }
}

/// How a lookup chooses the next node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// The closest preceding finger: O(log n) hops.
    #[default]
    Finger,
    /// The owner that the membership table names; fingers where it is wrong.
    OneHop,
    /// The first successor only: n/2 hops on average.
    Successor,
    /// Hot potato: a random node that was not yet asked.
    Random,
}

impl Policy {
    /// All of them, in the order in which help lists them.
    pub const ALL: [Policy; 4] = [Policy::Finger, Policy::OneHop, Policy::Successor, Policy::Random];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Policy::Finger => "finger",
            Policy::OneHop => "one-hop",
            Policy::Successor => "successor",
            Policy::Random => "random",
        }
    }
}

impl std::fmt::Display for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Policy {
    type Err = String;

    fn from_str(text: &str) -> Result<Policy, String> {
        let found = Policy::ALL.into_iter().find(|policy| policy.name() == text);
        found.ok_or_else(|| format!("{text:?} is no routing policy: finger, one-hop, successor or random"))
    }
}

/// Why a node is asked next.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// The lookup starts there.
    Start,
    /// It is this finger of the node before.
    Finger(u8),
    /// It is this entry of the successor list of the node before.
    Successor(u8),
    /// The node before handed it the keys.
    HandedOver,
    /// It is the predecessor of the node before.
    Predecessor,
    /// The membership table of the node before names it as the owner.
    Membership,
    /// By lot.
    Random,
    /// The view of the node before names it.
    View,
    /// The asker remembers it as the owner.
    Cached,
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Why::Start => f.write_str("start"),
            Why::Finger(number) => write!(f, "finger {number}"),
            Why::Successor(number) => write!(f, "successor {number}"),
            Why::HandedOver => f.write_str("handed over"),
            Why::Predecessor => f.write_str("predecessor"),
            Why::Membership => f.write_str("membership"),
            Why::Random => f.write_str("random"),
            Why::View => f.write_str("view"),
            Why::Cached => f.write_str("cached"),
        }
    }
}

/// A node to ask next, and why this one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Candidate {
    /// Whom to ask.
    pub peer: Peer,
    /// Why.
    pub why: Why,
}

/// What a node knows of an identifier's owner.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Found {
    /// It is this node: it serves the identifier now.
    Owner,
    /// Ask these, the best first.
    Next(Vec<Candidate>),
}

/// Where a joining node wants to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// In the middle of the widest arc that the asked node knows of.
    #[default]
    Bisect,
    /// At SHA-1 of its advertised address; a taken id takes the next.
    Hash,
    /// Exactly there; a taken id is an error.
    Fixed(Id),
}

/// Names one hand-over for ever, so that repeating its last step does nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HandoverId {
    /// The node that gives.
    pub source: Id,
    /// The source's life, by lot, in the upper half; counted in the lower half.
    pub nonce: u64,
}

impl HandoverId {
    /// Did the same node, in the same life, begin this one before that one?
    pub fn is_before(&self, other: &HandoverId) -> bool {
        let life = |id: &HandoverId| (id.source, id.nonce >> 32);
        life(self) == life(other) && self.nonce < other.nonce
    }
}

/// A place that is kept for a node which has not joined yet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Grant {
    /// Where.
    pub id: Id,
    /// For whom.
    pub address: Address,
    /// For how much longer.
    pub lasts: Duration,
}

/// What a node is, for walks: never refused as busy.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Description {
    /// Itself.
    pub me: Peer,
    /// Before it.
    pub predecessor: Peer,
    /// Behind it.
    pub successors: Vec<Successor>,
    /// What it serves; none while it waits for its keys.
    pub serving: Option<Range>,
    /// Which membership table it has.
    pub stamp: Option<Stamp>,
}

/// A question or order from one node to another.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Request {
    /// Are you there? Answered at once, also in the middle of a step.
    Ping,
    /// A ring-state question of stabilize or join: answered [`Response::Busy`] in the middle of a step.
    Neighbours,
    /// I may be your predecessor (rectify).
    Notify(Peer),
    /// Who owns this identifier?
    Find {
        /// The identifier.
        target: Id,
        /// How to choose the next node.
        policy: Policy,
    },
    /// Who and where are you?
    Describe,
    /// Reserve this place, which the asked node owns, for a node that will join.
    Grant {
        /// Where: a point that the asked node serves.
        id: Id,
        /// Bisect: in the middle of what the asked node serves. Hash: there or just behind. Fixed: only there.
        placement: Placement,
        /// For whom.
        address: Address,
    },
    /// The ring's members, numbered.
    Adopt(Arc<Membership>),
    /// Refresh all fingers; answered at once with the number of the run.
    StartRefresh,
    /// What became of that run?
    RefreshReport {
        /// Its number.
        run: u64,
    },
    /// Part of a hand-over: keep these, do not serve them yet.
    Chunk {
        /// Which hand-over.
        handover: HandoverId,
        /// All that it will bring.
        range: Range,
        /// Is it the first part? Then what the receiver still has of the range goes.
        first: bool,
        /// Keys with what they hold (nothing: deleted since an earlier part).
        entries: Vec<Entry>,
    },
    /// The end of a hand-over: serve the range from now on. The sender has stopped.
    TakeOver {
        /// Which hand-over.
        handover: HandoverId,
        /// What to serve.
        range: Range,
        /// Who serves up to the range's low end.
        boundary: Peer,
        /// The sender's term: the receiver's will be higher.
        epoch: u64,
        /// Places in the range that the sender has granted: the receiver keeps its word.
        grants: Vec<Grant>,
    },
    /// I leave the ring; all that I served is handed over.
    Departing {
        /// Who leaves.
        leaver: Peer,
        /// Who was before it.
        predecessor: Peer,
        /// Who was behind it.
        successors: Vec<Successor>,
    },
}

/// Entries of a successor list from another node that are looked at.
const LIST_MAX: usize = 64;
/// No node has been handed keys so often: a term that says so is not believed, as no later one could follow it.
const EPOCH_MAX: u64 = 1 << 48;

impl Request {
    /// Could a node of this ring have said it? Lists have bounds, ids are points of the ring.
    pub fn is_possible(&self, space: Space) -> bool {
        let point = |id: &Id| space.contains(*id);
        let arc = |range: &Range| point(&range.low) && point(&range.high);
        match self {
            Request::Ping | Request::Neighbours | Request::Describe => true,
            Request::StartRefresh | Request::RefreshReport { .. } => true,
            Request::Notify(peer) => point(&peer.id),
            Request::Find { target, .. } => point(target),
            Request::Grant { id, placement, .. } => {
                point(id) && !matches!(placement, Placement::Fixed(fixed) if fixed != id)
            }
            Request::Adopt(membership) => membership.nodes().iter().all(|peer| point(&peer.id)),
            Request::Chunk { range, .. } => arc(range),
            Request::TakeOver { range, boundary, epoch, grants, .. } => {
                arc(range)
                    && boundary.id == range.low
                    && *epoch < EPOCH_MAX
                    && grants.iter().all(|grant| range.contains(grant.id))
            }
            Request::Departing { leaver, predecessor, successors } => {
                point(&leaver.id)
                    && point(&predecessor.id)
                    && successors.len() <= LIST_MAX
                    && successors.iter().all(|entry| point(&entry.id()))
            }
        }
    }

    /// Its name in logs and in the graph of who awaits whom.
    pub fn name(&self) -> &'static str {
        match self {
            Request::Ping => "ping",
            Request::Neighbours => "neighbours",
            Request::Notify(_) => "notify",
            Request::Find { .. } => "find",
            Request::Describe => "describe",
            Request::Grant { .. } => "grant",
            Request::Adopt(_) => "adopt",
            Request::StartRefresh => "start_refresh",
            Request::RefreshReport { .. } => "refresh_report",
            Request::Chunk { .. } => "chunk",
            Request::TakeOver { .. } => "take_over",
            Request::Departing { .. } => "departing",
        }
    }
}

/// What a finger refresh did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RefreshSummary {
    /// Entries (of one per bit) that now point elsewhere.
    pub changed: u32,
    /// Questions that it took.
    pub calls: u64,
}

impl Response {
    /// Could a node of this ring have answered it?
    pub fn is_possible(&self, space: Space) -> bool {
        let point = |id: &Id| space.contains(*id);
        let list = |list: &[Successor]| list.len() <= LIST_MAX && list.iter().all(|entry| point(&entry.id()));
        match self {
            Response::Neighbours { me, predecessor, successors } => {
                point(me) && point(&predecessor.id) && list(successors)
            }
            Response::Described(described) => {
                point(&described.me.id) && point(&described.predecessor.id) && list(&described.successors)
            }
            Response::Found(Found::Next(candidates)) => {
                candidates.len() <= LIST_MAX && candidates.iter().all(|candidate| point(&candidate.peer.id))
            }
            Response::Granted { id, predecessor } => point(id) && point(&predecessor.id),
            _ => true,
        }
    }
}

/// An answer to a [`Request`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Response {
    /// To ping.
    Pong(Id),
    /// To neighbours.
    Neighbours {
        /// The answering node's place: it may not be the one that the asker expects at this address.
        me: Id,
        /// Before it.
        predecessor: Peer,
        /// Behind it.
        successors: Vec<Successor>,
    },
    /// To neighbours: in the middle of a step of its own; ask again a little later.
    Busy,
    /// To all: this node is not in the ring (it is joining, or has left).
    NotMember,
    /// To notify: where the answering node begins to serve; none while it serves nothing.
    Notified(Option<Id>),
    /// To find.
    Found(Found),
    /// To describe.
    Described(Box<Description>),
    /// To grant.
    Granted {
        /// The place.
        id: Id,
        /// Who will be before it.
        predecessor: Peer,
    },
    /// To grant: the place is taken.
    Taken(Peer),
    /// To start of a refresh: the number of the run.
    Started(u64),
    /// To a report: it still runs.
    Running,
    /// To a report: it has ended.
    Refreshed(RefreshSummary),
    /// To chunk and take-over: done.
    Accepted,
    /// To chunk, take-over and grant: not done, and nothing was changed.
    Refused,
    /// To adopt and departing.
    Noted,
}

/// A call without an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum CallError {
    /// It certainly did not arrive: nobody listens there, or not somebody of this cluster.
    Unreachable,
    /// It may have arrived.
    TimedOut,
}
