//! What a manager knows, and what it decides: a pure state machine, kept on disk as it is.
//!
//! [`Book::begin`] takes a command, [`Book::resume`] what came of the step before, [`Book::recover`] is for a book that was
//! read from disk. Each gives the next [`Step`]. Between two steps [`Work`] says what is being done: whoever carries the
//! steps out keeps the book before each of them.

mod begin;
mod resume;

use std::collections::{BTreeMap, BTreeSet};

use chordata_protocol::Address;
use chordata_rpc::manager::{PeerLine, PeerState, Refused, Report, address};
use chordata_rpc::service::ClusterId;
use serde::{Deserialize, Serialize};

/// A ring has at least so many peers.
pub const PEERS_MIN: usize = 3;

/// A peer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Peer {
    /// Its machine.
    pub host: String,
    /// The port at which the manager talks to it.
    pub manager_port: u16,
    /// The port at which peers talk to it.
    pub peer_port: u16,
    /// What it is.
    pub state: PeerState,
}

impl Peer {
    /// Where the manager talks to it.
    pub fn address(&self) -> Address {
        address(&self.host, self.manager_port)
    }

    /// Where peers talk to it.
    pub fn ring_address(&self) -> Address {
        address(&self.host, self.peer_port)
    }
}

/// The ring.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Dht {
    /// Its cluster.
    pub cluster: ClusterId,
    /// What it holds.
    pub year: u16,
    /// Its records when it was loaded.
    pub records: u64,
}

/// What is being done: what a manager that is killed must know afterwards.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Work {
    /// A server is looked at before it becomes a peer.
    Register {
        /// Its name.
        name: String,
        /// What it will be.
        peer: Peer,
    },
    /// A ring is built.
    SetUp(SetUp),
    /// A setup is taken back, or a join.
    Undo {
        /// These are released.
        names: Vec<String>,
        /// From which cluster.
        cluster: ClusterId,
        /// Why.
        reason: String,
    },
    /// Somebody asks for an event.
    Query {
        /// Which; none: one by lot.
        event: Option<String>,
    },
    /// The leader is about to leave: who is its successor?
    FindHeir {
        /// The leader.
        name: String,
    },
    /// A peer leaves.
    Leave {
        /// Which.
        name: String,
        /// Who leads from then on, if it is the leader.
        heir: Option<String>,
    },
    /// A peer joins.
    Join {
        /// Which.
        name: String,
    },
    /// The ring is taken down.
    TearDown,
    /// Those who are owed a release, or may have left, are tried again.
    Settle,
}

/// How far a setup is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SetUp {
    /// The ring's cluster.
    pub cluster: ClusterId,
    /// Who leads.
    pub leader: String,
    /// How many peers are wanted.
    pub size: usize,
    /// Which year.
    pub year: u16,
    /// The leader and the others; empty until they are chosen.
    pub chosen: Vec<String>,
    /// So many of them are in the ring.
    pub entered: usize,
    /// May records be kept on disk?
    pub on_disk: bool,
    /// What was loaded; none: not yet.
    pub records: Option<u64>,
}

/// Something to do, in the world.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Look at servers. Answered by [`Event::Seen`].
    Look(Vec<(String, Address)>),
    /// Have a peer found a ring, or join it. If it is in that ring already, nothing; if it is in another one, that fails.
    /// Answered by [`Event::Entered`].
    Enter {
        /// Who.
        name: String,
        /// Into which cluster.
        cluster: ClusterId,
        /// Whom to ask for admission; empty: it founds the ring.
        contacts: Vec<Address>,
        /// May records be kept on disk?
        on_disk: bool,
    },
    /// Have a peer load a year's records. Answered by [`Event::Loaded`].
    Load {
        /// Who.
        name: String,
        /// Into which cluster.
        cluster: ClusterId,
        /// Which year.
        year: u16,
    },
    /// Wait until these are one whole ring and count their records. Answered by [`Event::Counted`].
    Count(Vec<String>),
    /// Look an event up, beginning at this peer. Answered by [`Event::Answered`].
    Ask {
        /// Who is asked first.
        first: String,
        /// All who can be asked.
        peers: Vec<String>,
        /// Which event; none: one by lot.
        event: Option<String>,
    },
    /// Find out who follows a peer on the ring, among these. Answered by [`Event::Heir`].
    FindHeir {
        /// Whose.
        name: String,
        /// The others.
        others: Vec<String>,
    },
    /// Have a peer leave a ring, if it is in it, with its records going to others. Answered by [`Event::Left`].
    Leave {
        /// Who.
        name: String,
        /// Which ring.
        cluster: ClusterId,
    },
    /// Release peers, each from the cluster that is meant, and from no other. Answered by [`Event::Released`].
    Release {
        /// These.
        from: BTreeMap<String, ClusterId>,
        /// These are in the ring that goes on, whose members then forget who was released.
        others: Vec<String>,
    },
}

/// What was seen of a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    /// Was it started with `--standby`?
    pub standby: bool,
    /// The cluster that it is in; none: it is in no ring.
    pub cluster: Option<ClusterId>,
    /// Does it have a directory for data?
    pub keeps_data: bool,
    /// The name that it gives itself.
    pub name: Option<String>,
    /// The port at which it says that others reach it.
    pub port: Option<u16>,
}

/// How many records a peer has: those that it owns, and those that it has a copy of.
pub type Counts = (u64, u64);

/// What came of an effect. `Err`: why it failed, for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Of each server that was looked at.
    Seen(BTreeMap<String, Result<Seen, String>>),
    /// It is in the ring.
    Entered(Result<(), String>),
    /// So many records are loaded.
    Loaded(Result<u64, String>),
    /// Who has how many, in the order of the ring.
    Counted(Result<Vec<(String, Counts)>, String>),
    /// What was found (none: no such event), or that nobody answered.
    Answered(Result<Option<Report>, String>, String),
    /// Who follows.
    Heir(Result<String, String>),
    /// It is out of the ring.
    Left(Result<(), String>),
    /// Those of which nothing is left in the clusters that were meant; the others did not answer.
    Released(BTreeSet<String>),
}

/// What comes next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Keep the book, do this, and resume.
    Do(Effect),
    /// Keep the book, and answer this.
    Done(Result<Report, Refused>),
}

pub(crate) fn refused(reason: impl Into<String>) -> Step {
    Step::Done(Err(Refused(reason.into())))
}

/// What a manager knows.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Book {
    /// All peers, by name.
    pub peers: BTreeMap<String, Peer>,
    /// The ring, if there is one.
    pub dht: Option<Dht>,
    /// Free peers that are still to be released, and from which cluster.
    pub owed: BTreeMap<String, ClusterId>,
    /// Members that were told to leave and did not answer, perhaps because they have left; with who leads if they have.
    #[serde(default)]
    pub doubtful: BTreeMap<String, Option<String>>,
    /// What is being done.
    pub work: Option<Work>,
}

impl Book {
    /// Who is in the ring.
    pub fn members(&self) -> Vec<String> {
        let members = self.peers.iter().filter(|(_, peer)| peer.state != PeerState::Free);
        members.map(|(name, _)| name.clone()).collect()
    }

    /// Who leads it.
    pub fn leader(&self) -> Option<&String> {
        self.peers.iter().find(|(_, peer)| peer.state == PeerState::Leader).map(|(name, _)| name)
    }

    /// A peer as people see it.
    pub fn line(&self, name: &str, peer: &Peer) -> PeerLine {
        PeerLine {
            name: name.to_owned(),
            state: peer.state,
            host: peer.host.clone(),
            manager_port: peer.manager_port,
            peer_port: peer.peer_port,
            to_be_released: self.owed.contains_key(name),
        }
    }

    /// All peers as people see them.
    pub fn list(&self) -> Report {
        Report::Peers {
            year: self.dht.as_ref().map(|dht| dht.year),
            working: self.work.as_ref().map(Work::says),
            peers: self.peers.iter().map(|(name, peer)| self.line(name, peer)).collect(),
        }
    }

    fn set(&mut self, name: &str, state: PeerState) {
        if let Some(peer) = self.peers.get_mut(name) {
            peer.state = state;
        }
    }

    /// What must hold between two commands; for tests, and asserted by whoever keeps the book.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let leaders = self.peers.values().filter(|peer| peer.state == PeerState::Leader).count();
        let members = self.members().len();
        match &self.dht {
            None if members > 0 => {
                problems.push(format!("{members} peers are in a ring that does not exist"));
            }
            Some(_) if leaders != 1 => problems.push(format!("the ring has {leaders} leaders")),
            Some(_) if members < PEERS_MIN => problems.push(format!("the ring has only {members} peers")),
            None | Some(_) => {}
        }
        for name in self.owed.keys() {
            if self.peers.get(name).is_none_or(|peer| peer.state != PeerState::Free) {
                problems.push(format!("{name} is to be released, but is no free peer"));
            }
        }
        for name in self.doubtful.keys() {
            if self.peers.get(name).is_none_or(|peer| peer.state == PeerState::Free) {
                problems.push(format!("{name} may have left, but is no member"));
            }
        }
        problems
    }
}

impl Work {
    /// What it is, for people.
    pub fn says(&self) -> String {
        match self {
            Work::Register { name, .. } => format!("registering {name}"),
            Work::SetUp(setup) if setup.chosen.is_empty() => "setup-dht: looking who answers".to_owned(),
            Work::SetUp(setup) if setup.entered < setup.chosen.len() => {
                format!("setup-dht: {} of {} peers are in the ring", setup.entered, setup.chosen.len())
            }
            Work::SetUp(setup) if setup.records.is_none() => format!("setup-dht: loading {}", setup.year),
            Work::SetUp(_) => "setup-dht: counting".to_owned(),
            Work::Undo { reason, .. } => format!("taking back what was begun: {reason}"),
            Work::Query { .. } => "query-dht".to_owned(),
            Work::FindHeir { name } | Work::Leave { name, .. } => format!("leave-dht of {name}"),
            Work::Join { name } => format!("join-dht of {name}"),
            Work::TearDown => "teardown-dht".to_owned(),
            Work::Settle => "releasing peers that did not answer before".to_owned(),
        }
    }
}
