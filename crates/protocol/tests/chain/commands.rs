//! The commands of scripts.

use std::str::FromStr;
use std::time::Duration;

use chordata_protocol::{Address, Durability, Id, Key};

/// A node, by its address: `n8` has the id 8.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Name(pub(crate) Address);

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Name, String> {
        let id = text.strip_prefix('n').and_then(|digits| digits.parse::<u64>().ok());
        id.map(|_| Name(Address::new(text))).ok_or_else(|| format!("{text:?} is no node: write n8"))
    }
}

/// A duration: `500ms`, `3s`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span(pub(crate) Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Span, String> {
        let bad = |_| format!("{text:?} is no duration: write 500ms or 3s");
        match text.strip_suffix("ms") {
            Some(digits) => Ok(Span(Duration::from_millis(digits.parse().map_err(bad)?))),
            None => {
                let digits = text.strip_suffix('s').unwrap_or_default();
                Ok(Span(Duration::from_secs(digits.parse().map_err(bad)?)))
            }
        }
    }
}

/// A key: digits are a literal id, anything else is placed at its SHA-1.
#[derive(Clone, Debug)]
pub(crate) struct KeyName(pub(crate) Key);

impl FromStr for KeyName {
    type Err = String;

    fn from_str(text: &str) -> Result<KeyName, String> {
        Ok(KeyName(match text.parse() {
            Ok(number) => Key::Literal(Id::from_u128(number)),
            Err(_) => Key::new(text),
        }))
    }
}

/// What is expected: `s2` is what entry #2 of the range's epoch wrote, `none` that nothing is there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected(pub(crate) Option<u64>);

impl FromStr for Expected {
    type Err = String;

    fn from_str(text: &str) -> Result<Expected, String> {
        if text == "none" {
            return Ok(Expected(None));
        }
        let sequence = text.strip_prefix('s').and_then(|digits| digits.parse().ok());
        sequence
            .map(|sequence| Expected(Some(sequence)))
            .ok_or_else(|| format!("{text:?}: write s2, or none"))
    }
}

/// The name of a write: `a1` is the first write of client a.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) client: char,
    pub(crate) sequence: u64,
}

impl FromStr for Sent {
    type Err = String;

    fn from_str(text: &str) -> Result<Sent, String> {
        let bad = || format!("{text:?} names no write: write a1");
        let client = text.chars().next().filter(char::is_ascii_lowercase).ok_or_else(bad)?;
        let sequence = text[1..].parse().map_err(|_| bad())?;
        Ok(Sent { client, sequence })
    }
}

#[derive(Debug, goldenscript::Command)]
pub(crate) enum Command {
    /// Prints only what is about the range with this identifier.
    Watch(u64),
    /// What all nodes are told; first in a script.
    Settings {
        #[arg(key, optional)]
        copies: Option<u8>,
        #[arg(key, optional)]
        durability: Option<Durability>,
        #[arg(key, optional)]
        clean_reads: Option<bool>,
        /// Keys in one page of a list.
        #[arg(key, optional)]
        page: Option<usize>,
        /// Entries that are kept for a newcomer.
        #[arg(key, optional)]
        log: Option<usize>,
        /// Writes that may wait for their commit at a head.
        #[arg(key, optional)]
        uncommitted: Option<usize>,
        /// How long results are kept for those who ask again.
        #[arg(key, optional)]
        results: Option<Span>,
        /// Bytes that fill a frame.
        #[arg(key, optional)]
        frame: Option<usize>,
    },
    /// Makes a cluster of these, and waits until every chain in it is full and at rest. The first one leads.
    Cluster(Vec<Name>),
    /// These vote in the group from now on; without it the group is elsewhere and always there.
    Voters(Vec<Name>),

    /// A new node asks to be a member.
    Join(Vec<Name>),
    /// A node wants to leave.
    Depart(Name),
    /// An operator says that a node will not come back.
    Forget(Name),
    /// An operator accepts that acknowledged writes may be lost.
    AcceptLoss,

    /// Processes die; what was not on disk is lost.
    Crash(Vec<Name>),
    /// Stores return: processes are started again on what is on their disks.
    Restart(Vec<Name>),
    /// A new store at an old address: the disk was wiped.
    Wipe(Name),
    /// Processes stand still; messages to them wait.
    Pause(Vec<Name>),
    /// And go on.
    Resume(Vec<Name>),

    /// This node leads the group from now on. The old leader hears of it in `settle`, if it can.
    Elect(Name),
    /// Nobody leads.
    NoLeader,
    /// What is proposed from now on waits for `agree` or `lose`; `go`: it does not.
    Proposals(String),
    /// The group agrees on the oldest proposal; `unheard`: before its leader hears of it.
    Agree(#[arg(optional)] Option<String>),
    /// The oldest proposal is lost.
    Lose,

    /// Lets all that is possible happen at this moment, with a heartbeat of each node before it; prints what matters.
    Settle,
    /// The same while time passes.
    Run(Span),
    /// The wall clock of a node is ahead of the others by so much from now on.
    Ahead(Name, Span),
    /// Lets time pass in which nothing happens.
    Wait(Span),
    /// Lets everything in flight arrive at this moment, all rounds and proposals end, disks be written.
    Drain,
    /// The node sends a heartbeat.
    Beat(Vec<Name>),
    /// The leader looks around.
    Tick,
    /// Rounds of the group that a node asked for end.
    Confirm(Name),

    /// Delivers the messages in flight from one node to another, of one kind.
    Deliver(Name, Name, #[arg(optional)] Option<String>),
    /// Loses them.
    Drop(Name, Name, #[arg(optional)] Option<String>),
    /// Holds them, and all that follow, back.
    Hold(Name, Name, #[arg(optional)] Option<String>),
    /// Ends all holding back from one node to another.
    Release(Name, Name),
    /// Questions of a node to another time out.
    Timeout(Name, Name),
    /// Lists the messages in flight.
    Flight,
    /// Cuts the link between two nodes.
    Cut(Name, Name),
    /// Undoes all cuts.
    Heal,

    /// Disks that from now on are written only when the script says so.
    Slow(Vec<Name>),
    /// What a node has stored so far is on its disk.
    Persist(Vec<Name>),
    /// What a node has stored of a key cannot be read any more, and it notices.
    Damage(Name, KeyName),

    /// Stores a value, at this node.
    Put {
        node: Name,
        key: KeyName,
        value: String,
        /// As this write.
        #[arg(key = "as", optional)]
        by: Option<Sent>,
        /// The client has the results of all its writes below this one.
        #[arg(key, optional)]
        done: Option<u64>,
        /// For so long.
        #[arg(key, optional)]
        ttl: Option<Span>,
    },
    /// Removes a value, at this node.
    Delete(Name, KeyName),
    /// Compare-and-swap.
    Cas {
        node: Name,
        key: KeyName,
        expected: Expected,
        value: String,
        #[arg(key = "as", optional)]
        by: Option<Sent>,
        /// For so long.
        #[arg(key, optional)]
        ttl: Option<Span>,
    },
    /// Reads a value, at this node.
    Get(Name, KeyName),
    /// Puts a mark into the log of the range of a key, at this node.
    Mark(Name, KeyName),

    /// Prints replicas as a table.
    State(#[arg(optional)] Vec<Name>),
    /// Prints the agreed view.
    View,
    /// Prints the keys of a node.
    Keys(Vec<Name>),
    /// Prints what is on the disk of a node.
    Disk(Vec<Name>),
    /// Are all chains full and quiet, and all copies equal? If not, what is missing.
    Check,
}
