//! The service of a manager: a process that knows servers by name, and makes one ring of some of them at a time.
//!
//! A command may take minutes (servers join, a file is loaded), and a call may not. So [`Manager::order`] takes a command
//! and answers with its number at once, and [`Manager::outcome`] says what became of that, or waits a little.

use std::fmt;

use chordata_protocol::Address;
use serde::{Deserialize, Serialize};

/// What a manager knows a peer to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum PeerState {
    /// Registered, in no ring.
    Free,
    /// In the ring.
    InDHT,
    /// In the ring, which it leads: only by its name the ring is torn down.
    Leader,
}

impl fmt::Display for PeerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PeerState::Free => "Free",
            PeerState::InDHT => "InDHT",
            PeerState::Leader => "Leader",
        })
    }
}

/// What a manager can be told.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Command {
    /// A server on standby becomes a peer.
    Register {
        /// Its name, which nobody else has.
        name: String,
        /// Its machine.
        host: String,
        /// The port at which the manager talks to it.
        manager_port: u16,
        /// The port at which peers talk to it.
        peer_port: u16,
        /// Does the server say it itself? Then it may say it again whenever it starts.
        by_itself: bool,
    },
    /// A free peer is none any more.
    Deregister {
        /// Which.
        name: String,
    },
    /// Builds the ring and loads a year of storm events.
    SetupDht {
        /// Who leads.
        name: String,
        /// How many peers, the leader included.
        size: u32,
        /// Which year.
        year: u16,
    },
    /// Looks a storm event up.
    QueryDht {
        /// Who asks: a free peer.
        name: String,
        /// Which event; none: one of those loaded, by lot.
        event: Option<String>,
    },
    /// A peer leaves the ring; its records go to others.
    LeaveDht {
        /// Which.
        name: String,
    },
    /// A free peer joins the ring.
    JoinDht {
        /// Which.
        name: String,
    },
    /// All peers are free again, and all records gone.
    TeardownDht {
        /// Who leads.
        name: String,
    },
    /// Shows all peers.
    List,
}

/// What a manager knows of a peer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PeerLine {
    /// Its name.
    pub name: String,
    /// What it is.
    pub state: PeerState,
    /// Its machine.
    pub host: String,
    /// The port at which the manager talks to it.
    pub manager_port: u16,
    /// The port at which peers talk to it.
    pub peer_port: u16,
    /// It did not answer when its ring was torn down: what it has of that is erased when it does.
    pub to_be_released: bool,
}

/// How many records a peer has.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PeerRecords {
    /// Its name.
    pub name: String,
    /// What it is.
    pub state: PeerState,
    /// Records that it is the owner of; together they are all.
    pub records: u64,
    /// Records that it has a copy of.
    pub copies: u64,
}

/// A node that a query came to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Asked {
    /// Its name; its address, if it has none here.
    pub name: String,
    /// Its place on the ring.
    pub id: String,
}

/// What came of a command.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Report {
    /// The peer is registered.
    Registered(PeerLine),
    /// It is no peer any more.
    Deregistered {
        /// Which.
        name: String,
    },
    /// The ring is built and loaded.
    SetUp {
        /// Which year.
        year: u16,
        /// All records.
        records: u64,
        /// Those of each peer, in the order of the ring from the leader on.
        peers: Vec<PeerRecords>,
    },
    /// The event was found.
    Found {
        /// Which.
        event: String,
        /// Its fields, in the order of the file.
        fields: Vec<(String, String)>,
        /// Who was asked, in order.
        path: Vec<Asked>,
    },
    /// The peer is out of the ring.
    Left {
        /// Which.
        name: String,
        /// Who leads now.
        leader: String,
    },
    /// The peer is in the ring.
    Joined {
        /// Which.
        name: String,
    },
    /// The ring is gone.
    TornDown {
        /// Peers whose records are erased.
        released: Vec<String>,
        /// Peers that did not answer: their records are erased when they do.
        silent: Vec<String>,
    },
    /// All peers, by name.
    Peers {
        /// The year that the ring holds; none: there is no ring.
        year: Option<u16>,
        /// What is being done at the moment.
        working: Option<String>,
        /// Each.
        peers: Vec<PeerLine>,
    },
}

/// Why a command was not carried out. What it had begun is undone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// How far a command is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Progress {
    /// It waits for its turn, or is being carried out: ask again.
    Working,
    /// That came of it.
    Done(Result<Report, Refused>),
    /// Nobody knows: it was given to an earlier process, or too long ago.
    Unknown,
}

/// For whoever commands a manager.
#[tarpc::service]
pub trait Manager {
    /// Takes a command, which is carried out when those before it are; answers its number.
    async fn order(command: Command) -> Result<u64, Refused>;
    /// What became of a command; waits for it a little.
    async fn outcome(number: u64) -> Progress;
}

/// Where the manager of these settings reaches a peer.
pub fn address(host: &str, port: u16) -> Address {
    if host.contains(':') {
        Address::new(&format!("[{host}]:{port}"))
    } else {
        Address::new(&format!("{host}:{port}"))
    }
}
